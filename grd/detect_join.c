/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From confirmed edges to rows. Here an ask of one instance meets the owners behind another one's grant or
 * earlier ask: those alone whose mode conflicts with the mode asked.
 */
#include "base/assert.h"
#include "grd/detect_impl.h"

#define AHEAD 16u /* edges whose target's row is asked for before it is used */

/* STANDS vertices of the group that `edge` leads to; at most one a mode. */
static uint32_t behind(const struct grd_detect *detect, const struct edge *edge, uint32_t *stands_out)
{
    uint32_t mode = edge->from >> EDGE_TAG_SHIFT & (GRD_DETECT_MODES - 1), count = 0;
    uint32_t at = detect->vertices[edge->to & EDGE_VERTEX].of.chain.first;

    for (; at != NONE; at = detect->vertices[at].of.chain.first)
        if (detect->conflicts[mode] >> (detect->whats[at] >> WHAT_MODE_SHIFT) & 1)
            stands_out[count++] = at;
    cf_assert(count <= GRD_DETECT_MODES);
    return count;
}

/* Where an ask meets several modes there can be more targets than edges; what finds no room is cut. */
static void count_all(struct grd_detect *detect)
{
    uint32_t stands[GRD_DETECT_MODES], room = detect->graph.targets_max;

    for (uint32_t i = 0; i < detect->edges_count; i++) {
        struct edge *edge = &detect->edges[i];
        uint32_t count = 1;

        if ((edge->from & EDGE_CONFIRMED) != EDGE_CONFIRMED)
            continue;
        if (edge->to & EDGE_JOIN)
            count = behind(detect, edge, stands);
        if (count > room) {
            edge->from &= ~EDGE_OLD; /* put does not meet it either; it can be confirmed in the next round */
            detect->counts.cut++;
            continue;
        }
        room -= count;
        for (; count > 0; count--)
            grd_detect_graph_count(&detect->graph, edge->from & EDGE_VERTEX);
    }
}

static void put_all(struct grd_detect *detect)
{
    const uint32_t *at = grd_detect_graph_at(&detect->graph);
    uint32_t stands[GRD_DETECT_MODES];

    for (uint32_t i = 0; i < detect->edges_count; i++) {
        const struct edge *edge = &detect->edges[i];
        uint32_t from = edge->from & EDGE_VERTEX;

        if (i + AHEAD < detect->edges_count)
            __builtin_prefetch(&at[detect->edges[i + AHEAD].to & EDGE_VERTEX]);
        if ((edge->from & EDGE_CONFIRMED) != EDGE_CONFIRMED)
            continue;
        if (edge->to & EDGE_JOIN) {
            uint32_t count = behind(detect, edge, stands);

            for (uint32_t s = 0; s < count; s++)
                grd_detect_graph_put(&detect->graph, from, stands[s]);
        } else {
            grd_detect_graph_put(&detect->graph, from, edge->to & EDGE_VERTEX);
        }
    }
}

void grd_detect_join(struct grd_detect *detect)
{
    detect->has_tables = false; /* they are where the graph is built */
    grd_detect_graph_begin(&detect->graph, detect->vertices_count);
    count_all(detect);
    grd_detect_graph_place(&detect->graph);
    put_all(detect);
    grd_detect_graph_seal(&detect->graph);
}
