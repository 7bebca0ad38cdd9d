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
 *   STANDS  the same and a mode: the owners of that mode behind it
 * Edges as stored:
 *   LOCAL   OWNER -> OWNER      (wait id, grant id)
 *   ASKS    OWNER -> ASK        (wait id, id of the ask)
 *   BEHIND  ASK -> GROUP        (mode asked, 0); EDGE_JOIN. In the graph: ASK -> STANDS for each mode that
 *           conflicts
 *   STAKE   STANDS -> OWNER     (0, grant id or wait id there)
 */
#include "grd/detect.h"
#include "grd/detect_graph.h"

#define NONE UINT32_MAX

enum vertex_kind { VERTEX_OWNER = 0, VERTEX_ASK = 1, VERTEX_GROUP = 2, VERTEX_STANDS = 3 };

struct vertex {
    uint64_t id;
    uint64_t key;  /* OWNER: of its oldest wait, not part of the name */
    uint32_t age;  /* OWNER: of its oldest wait, in AGE_NS */
    uint32_t edge; /* OWNER: the edge that told of its oldest wait; NONE: does not wait */
    uint32_t cost; /* OWNER: of its dearest wait */
    uint16_t node;
    uint8_t kind : 4;
    uint8_t side : 4;
    uint8_t mode; /* STANDS: mode; GROUP: bit for each mode that has been reported */
};
_Static_assert(sizeof(struct vertex) == 32, "grd_detect_bytes promises 64 bytes an edge");
#define AGE_NS UINT64_C(16384) /* 2^32 of them are 19 hours; older waits count as equal */

struct edge {
    uint32_t from; /* vertex and EDGE_SEEN, EDGE_OLD */
    uint32_t to;   /* vertex and EDGE_JOIN */
    uint64_t wait;
    uint64_t grant;
};
_Static_assert(sizeof(struct edge) == 24, "grd_detect_bytes promises 64 bytes an edge");
#define EDGE_SEEN (1u << 31) /* reported in the last round begun */
#define EDGE_OLD (1u << 30)  /* reported in the round before that */
#define EDGE_CONFIRMED (EDGE_SEEN | EDGE_OLD)
#define EDGE_JOIN (1u << 31)
#define EDGE_VERTEX (EDGE_OLD - 1)

/*
 * Open addressing: record number + 1 in the low bits, a tag of the hash above; 0 is free. 5 slots for 4
 * records.
 */
struct table {
    uint32_t *slots;
    uint32_t slots_count;
    uint32_t count_mask; /* of the low bits */
};

struct grd_detect {
    uint32_t vertices_max;
    uint32_t edges_max;
    uint32_t vertices_count;
    uint32_t edges_count;
    struct vertex *vertices;
    struct edge *edges;
    struct table vertex_table;
    struct table edge_table;
    uint64_t seed;
    uint8_t conflicts[GRD_DETECT_MODES];
    bool is_round;       /* between round_begin and round_end */
    bool is_resolving;   /* the graph stands */
    bool is_part;        /* the last component of members is being worked on; its states are below DONE */
    uint32_t part_begin; /* of that component in members */
    uint32_t stamp;      /* of the last search for a cycle in it */
    uint64_t part_work;  /* targets looked at since its components were last computed */
    struct grd_detect_graph graph;
    struct grd_detect_counts counts;
};

/* detect_table.c */
uint64_t grd_detect_table_vertex_hash(const struct grd_detect *detect, const struct vertex *name);
uint64_t grd_detect_table_edge_hash(const struct grd_detect *detect, const struct edge *edge);
/* NONE: there is none. */
uint32_t grd_detect_table_vertex_find(const struct grd_detect *detect, const struct vertex *name,
                                      uint64_t hash);
/* NONE: no room. */
uint32_t grd_detect_table_vertex_get(struct grd_detect *detect, const struct vertex *name, uint64_t hash);
uint32_t grd_detect_table_edge_get(struct grd_detect *detect, const struct edge *edge, uint64_t hash);
/* Drops the edges that are not SEEN, and the vertices without edges. */
void grd_detect_table_sweep(struct grd_detect *detect);
void grd_detect_table_clear(struct grd_detect *detect);

static inline uint32_t grd_detect_table_slot(const struct table *table, uint64_t hash)
{
    return (uint32_t)(((hash >> 32) * table->slots_count) >> 32);
}

/* detect_join.c: rows of the confirmed edges. */
void grd_detect_join(struct grd_detect *detect);

#endif
