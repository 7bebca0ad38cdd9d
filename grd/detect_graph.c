/* SPDX-License-Identifier: Apache-2.0 */
/* Memory and rows of a graph. */
#include "grd/detect_graph.h"

#include <string.h>

#include "base/assert.h"

static uint64_t lines_of(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
}

static uint64_t rows_bytes(uint32_t vertices_max, uint32_t targets_max)
{
    return lines_of(((uint64_t)vertices_max * GRD_DETECT_HEAD + targets_max) * sizeof(uint32_t));
}

uint64_t grd_detect_graph_bytes(uint32_t vertices_max, uint32_t targets_max)
{
    return rows_bytes(vertices_max, targets_max) + lines_of(vertices_max * sizeof(uint64_t)) +
           2 * lines_of(vertices_max * sizeof(uint32_t));
}

void grd_detect_graph_open(struct grd_detect_graph *graph, uint32_t vertices_max, uint32_t targets_max,
                           void *memory)
{
    char *at = memory;

    memset(graph, 0, sizeof *graph);
    graph->vertices_max = vertices_max;
    graph->targets_max = targets_max;
    graph->rows = (uint32_t *)(void *)at;
    at += rows_bytes(vertices_max, targets_max);
    graph->stack = (uint64_t *)(void *)at;
    at += lines_of(vertices_max * sizeof(uint64_t));
    graph->members = (uint32_t *)(void *)at;
    at += lines_of(vertices_max * sizeof(uint32_t));
    graph->spare = (uint32_t *)(void *)at;
}

void grd_detect_graph_begin(struct grd_detect_graph *graph, uint32_t vertices)
{
    cf_assert(vertices <= graph->vertices_max);
    graph->vertices = vertices;
    graph->words = 0;
    graph->targets = 0;
    graph->members_count = 0;
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
        rows[row] = row + GRD_DETECT_HEAD;
        rows[row + 1] = vertex | (targets == 0 ? GRD_DETECT_LEAF : 0);
        row += GRD_DETECT_HEAD + targets;
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
        if (end > row + GRD_DETECT_HEAD)
            rows[end - 1] |= GRD_DETECT_LAST;
        rows[row] = 0;
    }
}
