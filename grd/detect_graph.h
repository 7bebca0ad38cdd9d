/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DETECT_GRAPH_H
#define GRD_DETECT_GRAPH_H

/*
 * A graph as compressed rows: what a search needs when it comes to a vertex lies in one line.
 *
 *   rows:  | state | target target ... target | state | state | target ...
 *            ^                         ^         ^
 *            a target is the place     the last  a row without targets
 *            of a row                  is flagged
 *
 * Rows are in the order of vertices; every 16th vertex has its row in `index`, from which the others are found.
 *
 * state: 0 not yet visited; below GRD_DETECT_DONE the search's number; from it on finished: the number of a
 * component, GRD_DETECT_ALONE where no cycle goes through the vertex, GRD_DETECT_LEAF where it has no targets. Leaves are
 * finished from the start.
 * Not here: who the vertices are (detect_impl.h).
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

#define GRD_DETECT_LAST (1u << 31)              /* of a target: the last of its row */
#define GRD_DETECT_SELF (1u << 30)              /* of the first target: one of the row's is the row itself */
#define GRD_DETECT_TARGET (GRD_DETECT_SELF - 1) /* of a target: its row */
#define GRD_DETECT_DONE (1u << 31)
#define GRD_DETECT_LEAF (1u << 30)
#define GRD_DETECT_ALONE (1u << 29)
#define GRD_DETECT_COMPONENT (GRD_DETECT_ALONE - 1)
#define GRD_DETECT_INDEX_STEP 16u

struct grd_detect_graph {
    uint32_t vertices_max;
    uint32_t targets_max;
    uint32_t vertices;
    uint32_t words; /* of rows in use */
    uint32_t targets;
    uint32_t leaves;
    uint32_t components; /* numbers given so far */
    uint32_t cyclic;     /* vertices on cycles, as far as the last search went */
    uint32_t largest; /* state of the vertices of the largest component with cycles that it found; 0: none */
    uint32_t largest_count;
    uint32_t *rows;  /* vertices_max + targets_max */
    uint32_t *stack; /* vertices_max: of searches; while rows are built, where each vertex has its row */
    uint32_t *index; /* vertices_max / GRD_DETECT_INDEX_STEP + 1 */
    uint64_t work;   /* targets the last search has looked at */
};

uint64_t grd_detect_graph_bytes(uint32_t vertices_max, uint32_t targets_max);
/* Lays the arrays into `memory`, aligned to a cache line. */
void grd_detect_graph_open(struct grd_detect_graph *graph, uint32_t vertices_max, uint32_t targets_max,
                           void *memory);

/* Building, in this order: begin, count for each edge, place, put for each of the same edges, seal. */
void grd_detect_graph_begin(struct grd_detect_graph *graph, uint32_t vertices);
void grd_detect_graph_place(struct grd_detect_graph *graph);
void grd_detect_graph_seal(struct grd_detect_graph *graph);
/* As after seal, whatever searches have been made. */
void grd_detect_graph_unvisit(struct grd_detect_graph *graph);

/* The row of a vertex, from place on until the first search. */
static inline uint32_t *grd_detect_graph_at(const struct grd_detect_graph *graph)
{
    return graph->stack;
}

static inline void grd_detect_graph_count(struct grd_detect_graph *graph, uint32_t from)
{
    grd_detect_graph_at(graph)[from]++;
}

static inline void grd_detect_graph_put(struct grd_detect_graph *graph, uint32_t from, uint32_t to)
{
    const uint32_t *at = grd_detect_graph_at(graph);
    uint32_t row = at[from];

    /* While rows are built the state word says where the next target goes. */
    graph->rows[graph->rows[row]++] = at[to];
    if (from == to)
        graph->rows[row + 1] |= GRD_DETECT_SELF;
}

static inline bool grd_detect_is_leaf(uint32_t state)
{
    return (state & (GRD_DETECT_DONE | GRD_DETECT_LEAF)) == (GRD_DETECT_DONE | GRD_DETECT_LEAF);
}

/* On a cycle, as far as the last search knows. */
static inline bool grd_detect_is_live(uint32_t state)
{
    return (state & (GRD_DETECT_DONE | GRD_DETECT_ALONE)) == GRD_DETECT_DONE;
}

/* The row behind this one; `words` behind the last. */
static inline uint32_t grd_detect_graph_next(const struct grd_detect_graph *graph, uint32_t row)
{
    const uint32_t *rows = graph->rows;
    uint32_t at = row + 1;

    if (grd_detect_is_leaf(rows[row]))
        return at;
    while (!(rows[at] & GRD_DETECT_LAST))
        at++;
    return at + 1;
}

/* The vertex of a row. */
uint32_t grd_detect_graph_vertex(const struct grd_detect_graph *graph, uint32_t row);

/*
 * Strongly connected components in O(V+E), without recursion. Numbers rise in the order in which components are
 * finished: one comes after all it can reach. Answers the number of components.
 */
CF_HOT uint32_t grd_detect_scc_all(struct grd_detect_graph *graph);
/* The same for what is still live. All other states are GRD_DETECT_DONE or more, and stay. */
CF_HOT void grd_detect_scc_again(struct grd_detect_graph *graph);
/* The same for those of these rows that are live. `list` lies behind the first `count` words of the stack. */
CF_HOT void grd_detect_scc_list(struct grd_detect_graph *graph, const uint32_t *list, uint32_t count);

#endif
