/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DETECT_GRAPH_H
#define GRD_DETECT_GRAPH_H

/*
 * A graph as compressed rows that carry their vertex: what a search needs when it comes to a vertex lies in
 * one line.
 *
 *   rows:  | state | vertex | target target ... target | state | vertex | ...
 *            ^                                  ^
 *            a target is the place of a row     the last one is flagged; a row without targets is flagged in
 *            `vertex`
 *
 * state: 0 not yet visited; below GRD_DETECT_DONE the search's number; from it on finished, in a component.
 * Not here: who the vertices are (detect_impl.h).
 */
#include <stdint.h>

#include "base/compiler.h"

#define GRD_DETECT_LAST (1u << 31) /* of a target, of a member: the last of its row, of its component */
#define GRD_DETECT_LEAF (1u << 31) /* of the vertex word: no targets */
#define GRD_DETECT_SELF (1u << 30) /* of the vertex word: a target is the vertex itself */
#define GRD_DETECT_VERTEX (GRD_DETECT_SELF - 1)
#define GRD_DETECT_DONE (1u << 31) /* of the state word */
#define GRD_DETECT_HEAD 2u         /* words before the targets */

struct grd_detect_graph {
    uint32_t vertices_max;
    uint32_t targets_max;
    uint32_t vertices;
    uint32_t words; /* of rows in use */
    uint32_t targets;
    uint32_t *rows;
    uint64_t *stack;   /* vertices_max: of searches; while rows are built, where each vertex has its row */
    uint32_t *members; /* vertices_max: rows of the vertices on cycles, component after component */
    uint32_t *spare;   /* vertices_max */
    uint32_t members_count;
    uint64_t work; /* targets the last search has looked at */
};

uint64_t grd_detect_graph_bytes(uint32_t vertices_max, uint32_t targets_max);
/* Lays the arrays into `memory`, aligned to a cache line. */
void grd_detect_graph_open(struct grd_detect_graph *graph, uint32_t vertices_max, uint32_t targets_max,
                           void *memory);

/* Building, in this order: begin, count for each edge, place, put for each of the same edges, seal. */
void grd_detect_graph_begin(struct grd_detect_graph *graph, uint32_t vertices);
void grd_detect_graph_place(struct grd_detect_graph *graph);
void grd_detect_graph_seal(struct grd_detect_graph *graph);

/* The row of a vertex, from place on until the first search. */
static inline uint32_t *grd_detect_graph_at(const struct grd_detect_graph *graph)
{
    return (uint32_t *)(void *)graph->stack;
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

/* The row behind this one; `words` behind the last. */
static inline uint32_t grd_detect_graph_next(const struct grd_detect_graph *graph, uint32_t row)
{
    const uint32_t *rows = graph->rows;
    uint32_t at = row + GRD_DETECT_HEAD;

    if (rows[row + 1] & GRD_DETECT_LEAF)
        return at;
    while (!(rows[at] & GRD_DETECT_LAST))
        at++;
    return at + 1;
}

/*
 * Strongly connected components in O(V+E), without recursion. Every state is GRD_DETECT_DONE + number of its
 * component, numbers in the order in which the components were finished: a component comes after all it can
 * reach. `members` gets the vertices that lie on cycles. Answers the number of components.
 */
CF_HOT uint32_t grd_detect_scc_all(struct grd_detect_graph *graph);
/*
 * The same for the part of the graph whose states are 0: all of them are among `members` from `begin` on,
 * which what is still on cycles replaces. Other states are GRD_DETECT_DONE or more.
 */
CF_HOT void grd_detect_scc_part(struct grd_detect_graph *graph, uint32_t begin);

#endif
