/* SPDX-License-Identifier: Apache-2.0 */
/* Memory of a detector: one arena, cut at open. */
#include "grd/detect.h"

#include <string.h>

#include "base/assert.h"
#include "grd/detect_impl.h"

static uint64_t lines_of(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
}

static uint32_t slots_of(uint32_t records_max)
{
    return records_max + records_max / 4 + 1;
}

static uint64_t tables_bytes(uint32_t vertices_max, uint32_t edges_max)
{
    return lines_of((uint64_t)slots_of(vertices_max) * sizeof(uint32_t)) +
           lines_of((uint64_t)slots_of(edges_max) * sizeof(uint32_t));
}

uint64_t grd_detect_bytes(uint32_t vertices_max, uint32_t edges_max)
{
    uint64_t tables, graph;

    if (vertices_max == 0 || edges_max == 0 || vertices_max > GRD_DETECT_VERTICES_MAX ||
        edges_max > GRD_DETECT_EDGES_MAX)
        return 0;
    tables = tables_bytes(vertices_max, edges_max);
    graph = grd_detect_graph_bytes(vertices_max, edges_max);
    return lines_of(sizeof(struct grd_detect)) + lines_of((uint64_t)vertices_max * sizeof(struct vertex)) +
           lines_of((uint64_t)vertices_max * sizeof(uint16_t)) +
           lines_of((uint64_t)edges_max * sizeof(struct edge)) + (tables > graph ? tables : graph);
}

static void *cut(char **at, uint64_t bytes)
{
    void *piece = *at;

    *at += lines_of(bytes);
    return piece;
}

static void table_open(struct table *table, uint32_t records_max, char **at)
{
    table->slots_count = slots_of(records_max);
    table->slots = cut(at, (uint64_t)table->slots_count * sizeof(uint32_t));
    table->count_mask = 1;
    while (table->count_mask < records_max)
        table->count_mask = table->count_mask << 1 | 1;
}

enum cf_rc grd_detect_open(const struct grd_detect_options *options, void *arena, uint64_t arena_bytes,
                           struct grd_detect **detect_out)
{
    uint64_t bytes = grd_detect_bytes(options->vertices_max, options->edges_max);
    struct grd_detect *detect = arena;
    char *at = arena;

    if (bytes == 0 || (uintptr_t)arena % CF_CACHE_LINE != 0)
        return CF_INVALID;
    if (arena_bytes < bytes)
        return CF_MEMORY;
    cut(&at, sizeof *detect);
    memset(detect, 0, sizeof *detect);
    detect->vertices_max = options->vertices_max;
    detect->edges_max = options->edges_max;
    detect->seed = options->seed;
    memcpy(detect->conflicts, options->conflicts, sizeof detect->conflicts);
    detect->vertices = cut(&at, (uint64_t)options->vertices_max * sizeof(struct vertex));
    detect->whats = cut(&at, (uint64_t)options->vertices_max * sizeof(uint16_t));
    detect->edges = cut(&at, (uint64_t)options->edges_max * sizeof(struct edge));
    grd_detect_graph_open(&detect->graph, options->vertices_max, options->edges_max, at);
    table_open(&detect->vertex_table, options->vertices_max, &at); /* where the graph is */
    table_open(&detect->edge_table, options->edges_max, &at);
    grd_detect_table_clear(detect);
    *detect_out = detect;
    return CF_OK;
}

void grd_detect_clear(struct grd_detect *detect)
{
    detect->is_round = false;
    detect->is_resolving = false;
    detect->is_unnoted = detect->is_stale = false;
    detect->gone = 0;
    detect->waits = 0;
    grd_detect_table_clear(detect);
}

void grd_detect_counts(const struct grd_detect *detect, struct grd_detect_counts *counts_out)
{
    *counts_out = detect->counts;
}

bool grd_detect_is_stale(const struct grd_detect *detect)
{
    return detect->is_stale;
}

uint32_t grd_detect_waits(const struct grd_detect *detect)
{
    return detect->waits;
}
