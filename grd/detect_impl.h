/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DETECT_IMPL_H
#define GRD_DETECT_IMPL_H

/*
 * What the files of the detector share.
 *
 * Vertices, each with its name:
 *   OWNER   node, owner id
 *   ASK     node, key, id of the ask
 *   GROUP   side, node, key, id of the grant or ask: what a peer's ask can stand behind; has no edges out
 *   STANDS  the same and a mode: the owners of that mode behind it; those of one group are chained
 * Edges as stored:
 *   LOCAL   OWNER -> OWNER
 *   ASKS    OWNER -> ASK
 *   BEHIND  ASK -> GROUP        JOIN. In the graph: ASK -> STANDS for each mode that conflicts with the mode asked
 *           ASK -> ASK          side ITSELF
 *   STAKE   STANDS -> OWNER
 *
 * An edge has no ids of its own: it is known by the print of its report.
 *
 * Memory. What is between rounds, and what is needed at one time only, in the same place:
 *
 *   | vertices | what they are | edges | tables, while reports are taken          |
 *                                      | graph, while it is resolved; then tables |
 *                                      | are made anew when the next round begins |
 */
#include "grd/detect.h"
#include "grd/detect_graph.h"

#define NONE UINT32_MAX

enum vertex_kind { VERTEX_OWNER = 0, VERTEX_ASK = 1, VERTEX_GROUP = 2, VERTEX_STANDS = 3 };

struct vertex {
    uint64_t id;
    uint64_t key;  /* OWNER: of its oldest wait, not part of the name */
    uint64_t wait; /* OWNER: wait id of its oldest wait */
    union {
        struct {
            uint32_t began; /* OWNER: its oldest wait, in AGE_NS of the clock */
            uint32_t cost;  /* OWNER: of its dearest wait */
        } waits;
        struct {
            uint32_t first; /* GROUP: of its STANDS; STANDS: the next; NONE */
            uint32_t group; /* STANDS: whose it is */
        } chain;
    } of;
};
_Static_assert(sizeof(struct vertex) == 32, "grd_detect_bytes promises 64 bytes an edge");
#define AGE_NS UINT64_C(16384)
#define AGE_MAX (UINT32_MAX / 2) /* 9 hours; older waits count as equal */

/*
 * What a vertex is, beside its record:
 *   node 10 | kind 2 | side 1 | mode 3
 * In an OWNER the last four are notes.
 */
#define WHAT_KIND_SHIFT 10u
#define WHAT_SIDE_SHIFT 12u
#define WHAT_MODE_SHIFT 13u
#define WHAT_NODE (GRD_DETECT_NODES_MAX - 1)
#define WHAT_WAITS (1u << 12)     /* it has told of a wait: waits is valid */
#define WHAT_CONFIRMED (1u << 13) /* the noted wait can be confirmed by this round */
#define WHAT_ALIVE (1u << 14)     /* while a round ends: an edge of the noted wait was met */
#define WHAT_OTHER (1u << 15)     /* while a round ends: an edge of another wait was met */
#define WHAT_NOTES (WHAT_WAITS | WHAT_CONFIRMED | WHAT_ALIVE | WHAT_OTHER)
_Static_assert(GRD_DETECT_NODES_MAX == 1u << WHAT_KIND_SHIFT, "a node fits");

struct name {
    uint64_t id, key;
    uint16_t what;
};

struct edge {
    uint32_t from; /* vertex, low bits of the tag, EDGE_SEEN, EDGE_OLD */
    uint32_t to;   /* vertex, high bits of the tag, EDGE_JOIN, EDGE_WAIT */
    uint64_t print;
};
_Static_assert(sizeof(struct edge) == 16, "grd_detect_bytes promises 64 bytes an edge");
#define EDGE_SEEN (1u << 31) /* reported in the last round begun */
#define EDGE_OLD (1u << 30)  /* reported in the round before that */
#define EDGE_CONFIRMED (EDGE_SEEN | EDGE_OLD)
#define EDGE_JOIN (1u << 31)
#define EDGE_WAIT (1u << 30) /* of `to`: an owner's wait, LOCAL or ASKS */
#define EDGE_VERTEX (GRD_DETECT_VERTICES_MAX - 1)
/* LOCAL, ASKS: 8 bits of hash of the wait id. JOIN: the mode asked. */
#define EDGE_TAG_SHIFT 26u
#define EDGE_TAG_BITS 4u
_Static_assert(GRD_DETECT_VERTICES_MAX == 1u << EDGE_TAG_SHIFT, "a vertex and a tag fit");

/*
 * Open addressing: record number + 1 in the low bits, a tag of the hash above; 0 is free. 5 slots for 4
 * records.
 */
struct table {
    uint32_t *slots;
    uint32_t slots_count;
    uint32_t count_mask; /* of the low bits */
};

/* Owners looked at before those of the part are gone through again. */
#define GRD_DETECT_BATCH_MAX 64u

/* What victims are being taken from: detect_victim.c. */
struct part {
    bool is_open;
    bool is_listed;     /* its rows lie at the end of the stack, else it is most of the graph */
    bool has_all;       /* the batch has all owners that are left */
    uint32_t component; /* state of its vertices */
    uint32_t count;     /* rows, when it was opened */
    uint32_t batch_count, batch_at;
    uint64_t work, work_max; /* targets looked at since it was opened; when to compute its components anew */
    struct {
        uint32_t row, vertex;
    } batch[GRD_DETECT_BATCH_MAX];
};

struct grd_detect {
    uint32_t vertices_max;
    uint32_t edges_max;
    uint32_t vertices_count;
    uint32_t edges_count;
    struct vertex *vertices;
    uint16_t *whats;
    struct edge *edges;
    struct table vertex_table;
    struct table edge_table;
    uint64_t seed;
    uint64_t clock_ns; /* rises with rounds that continue */
    uint64_t gone;     /* edges taken back in this round */
    uint32_t waits;    /* edges of owners in the last round that has ended */
    uint8_t conflicts[GRD_DETECT_MODES];
    bool is_round;     /* between round_begin and round_end */
    bool is_resolving; /* the graph stands */
    bool has_tables;   /* else they are to be made */
    bool is_unnoted;   /* an owner waits, and which is its oldest wait is not known */
    bool is_stale;
    uint32_t cursor; /* no live row before it */
    struct part part;
    struct grd_detect_graph graph;
    struct grd_detect_counts counts;
};

static inline enum vertex_kind grd_detect_kind_of(uint16_t what)
{
    return (enum vertex_kind)(what >> WHAT_KIND_SHIFT & 3);
}

static inline uint32_t grd_detect_age(const struct grd_detect *detect, const struct vertex *vertex)
{
    return (uint32_t)(detect->clock_ns / AGE_NS) - vertex->of.waits.began;
}

/* detect_table.c */
uint64_t grd_detect_table_vertex_hash(const struct grd_detect *detect, const struct name *name);
uint64_t grd_detect_table_edge_hash(const struct grd_detect *detect, uint64_t print);
/* NONE: no room. */
uint32_t grd_detect_table_vertex_get(struct grd_detect *detect, const struct name *name, uint64_t hash);
uint32_t grd_detect_table_edge_get(struct grd_detect *detect, const struct edge *edge, uint64_t hash);
/* NONE: there is none. */
uint32_t grd_detect_table_edge_find(const struct grd_detect *detect, uint64_t print);
/* Drops the edges that are not SEEN, and the vertices without edges. */
void grd_detect_table_sweep(struct grd_detect *detect);
void grd_detect_table_clear(struct grd_detect *detect);
/* Makes the tables where the graph was. */
void grd_detect_table_restore(struct grd_detect *detect);

static inline uint32_t grd_detect_table_slot(const struct table *table, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * table->slots_count) >> 32);
}

/* detect_join.c: rows of the confirmed edges. */
void grd_detect_join(struct grd_detect *detect);

#endif
