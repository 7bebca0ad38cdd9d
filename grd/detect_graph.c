/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and rows of a graph. */
#include "grd/detect_graph.h"

#include <string.h>

#include "base/assert.h"

static uint64_t lines_of(uint64_t words)
{
    uint64_t bytes = words * sizeof(uint32_t);

    return (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
}

static uint64_t index_bytes(uint32_t vertices_max)
{
    return lines_of(vertices_max / GRD_DETECT_INDEX_STEP + 1);
}

uint64_t grd_detect_graph_bytes(uint32_t vertices_max, uint32_t targets_max)
{
    return lines_of((uint64_t)vertices_max + targets_max) + lines_of(vertices_max) +
           index_bytes(vertices_max);
}

void grd_detect_graph_open(struct grd_detect_graph *graph, uint32_t vertices_max, uint32_t targets_max,
                           void *memory)
{
    char *at = memory;

    memset(graph, 0, sizeof *graph);
    graph->vertices_max = vertices_max;
    graph->targets_max = targets_max;
    graph->stack = (uint32_t *)(void *)at;
    at += lines_of(vertices_max);
    graph->index = (uint32_t *)(void *)at;
    at += index_bytes(vertices_max);
    graph->rows = (uint32_t *)(void *)at;
}

void grd_detect_graph_begin(struct grd_detect_graph *graph, uint32_t vertices)
{
    cf_assert(vertices <= graph->vertices_max);
    graph->vertices = vertices;
    graph->words = 0;
    graph->targets = 0;
    graph->leaves = 0;
    graph->components = 0;
    graph->cyclic = 0;
    graph->largest = graph->largest_count = 0;
    memset(grd_detect_graph_at(graph), 0, vertices * sizeof(uint32_t));
}

void grd_detect_graph_place(struct grd_detect_graph *graph)
{
    uint32_t *at = grd_detect_graph_at(graph), *rows = graph->rows;
    uint32_t row = 0;

    for (uint32_t vertex = 0; vertex < graph->vertices; vertex++) {
        uint32_t targets = at[vertex];

        graph->targets += targets;
        cf_assert(targets <= graph->targets_max && graph->targets <= graph->targets_max);
        at[vertex] = row;
        if (vertex % GRD_DETECT_INDEX_STEP == 0)
            graph->index[vertex / GRD_DETECT_INDEX_STEP] = row;
        rows[row] = row + 1;
        row += 1 + targets;
    }
    graph->words = row;
}

void grd_detect_graph_seal(struct grd_detect_graph *graph)
{
    const uint32_t *at = grd_detect_graph_at(graph);
    uint32_t *rows = graph->rows;

    for (uint32_t vertex = 0; vertex < graph->vertices; vertex++) {
        uint32_t row = at[vertex], end = vertex + 1 < graph->vertices ? at[vertex + 1] : graph->words;

        cf_assert(rows[row] == end); /* as many were put as were counted */
        if (end == row + 1) {
            rows[row] = GRD_DETECT_DONE | GRD_DETECT_LEAF | GRD_DETECT_ALONE | graph->leaves++;
            continue;
        }
        rows[end - 1] |= GRD_DETECT_LAST;
        rows[row] = 0;
    }
    graph->components = graph->leaves;
}

void grd_detect_graph_unvisit(struct grd_detect_graph *graph)
{
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        if (!grd_detect_is_leaf(graph->rows[row]))
            graph->rows[row] = 0;
    graph->components = graph->leaves;
}

uint32_t grd_detect_graph_vertex(const struct grd_detect_graph *graph, uint32_t row)
{
    uint32_t low = 0, high = (graph->vertices - 1) / GRD_DETECT_INDEX_STEP, vertex, at;

    cf_assert(row < graph->words);
    while (low < high) { /* the last of the index that is not behind the row */
        uint32_t middle = high - (high - low) / 2;

        if (graph->index[middle] <= row)
            low = middle;
        else
            high = middle - 1;
    }
    vertex = low * GRD_DETECT_INDEX_STEP;
    for (at = graph->index[low]; at < row; at = grd_detect_graph_next(graph, at))
        vertex++;
    cf_assert(at == row);
    return vertex;
}
