/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds: reports become edges, and an edge reported in two rounds in turn is confirmed. The second round
 * begins after the first has ended, so each confirmed edge was there at the end of the first: all of them at
 * the same moment.
 */
#include <string.h>

#include "base/assert.h"
#include "grd/detect_impl.h"

#define BATCH 16u /* reports whose memory is asked for before it is used */

/* A report on its way into the tables. */
struct entry {
    struct vertex from;
    struct vertex to;
    struct edge edge;
    uint64_t from_hash;
    uint64_t to_hash;
    uint64_t edge_hash;
};

void grd_detect_round_begin(struct grd_detect *detect)
{
    cf_assert(!detect->is_round);
    detect->is_round = true;
    detect->is_resolving = false;
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        uint32_t from = detect->edges[i].from;

        /* The end of the last round left none that was not seen in it. */
        detect->edges[i].from = (from & EDGE_VERTEX) | EDGE_OLD;
    }
    for (uint32_t i = 0; i < detect->vertices_count; i++) {
        struct vertex *vertex = &detect->vertices[i];

        vertex->age = 0;
        vertex->cost = 0;
        vertex->edge = NONE;
        if (vertex->kind == VERTEX_GROUP)
            vertex->mode = 0;
    }
}

static bool is_well_formed(const struct grd_detect_report *report)
{
    switch (report->kind) {
    case GRD_DETECT_LOCAL:
    case GRD_DETECT_ASKS:
        return true;
    case GRD_DETECT_BEHIND:
    case GRD_DETECT_STAKE:
        return report->side < GRD_DETECT_SIDES && report->mode < GRD_DETECT_MODES;
    default:
        return false;
    }
}

static struct vertex owner_of(const struct grd_detect_report *report, uint64_t owner)
{
    return (struct vertex){.kind = VERTEX_OWNER, .node = report->node, .id = owner, .edge = NONE};
}

static struct vertex stake_of(const struct grd_detect_report *report, enum vertex_kind kind, uint16_t node,
                              uint64_t id)
{
    return (struct vertex){.kind = kind & 3,
                           .side = report->side & 1,
                           .mode = kind == VERTEX_STANDS ? report->mode : 0,
                           .node = node,
                           .key = report->key,
                           .id = id,
                           .edge = NONE};
}

static struct vertex ask_of(const struct grd_detect_report *report, uint64_t ask)
{
    return (struct vertex){
        .kind = VERTEX_ASK, .node = report->node, .key = report->key, .id = ask, .edge = NONE};
}

static void entry_make(struct entry *entry, const struct grd_detect_report *report)
{
    entry->edge = (struct edge){.wait = report->wait, .grant = report->grant};
    switch ((enum grd_detect_kind)report->kind) {
    case GRD_DETECT_LOCAL:
        entry->from = owner_of(report, report->owner);
        entry->to = owner_of(report, report->holder);
        break;
    case GRD_DETECT_ASKS:
        entry->from = owner_of(report, report->owner);
        entry->to = ask_of(report, report->grant);
        break;
    case GRD_DETECT_BEHIND:
        entry->from = ask_of(report, report->wait);
        entry->to = stake_of(report, VERTEX_GROUP, report->peer, report->grant);
        entry->edge.wait = report->mode;
        entry->edge.grant = 0;
        break;
    case GRD_DETECT_STAKE:
        entry->from = stake_of(report, VERTEX_STANDS, report->node, report->wait);
        entry->to = owner_of(report, report->owner);
        entry->edge.wait = 0;
        break;
    case GRD_DETECT_KINDS:
        cf_unreachable();
    }
}

/*
 * The dearest wait of the owner, and the oldest: those that can be confirmed by this round come before new
 * ones.
 */
static void owner_note(struct grd_detect *detect, uint32_t owner, uint32_t edge,
                       const struct grd_detect_report *report)
{
    struct vertex *vertex = &detect->vertices[owner];
    uint64_t age = report->age_ns / AGE_NS;
    bool is_old = (detect->edges[edge].from & EDGE_OLD) != 0, was_old;

    if (age > UINT32_MAX)
        age = UINT32_MAX;
    if (report->cost > vertex->cost)
        vertex->cost = report->cost;
    if (vertex->edge != NONE) {
        was_old = (detect->edges[vertex->edge].from & EDGE_OLD) != 0;
        if (was_old != is_old ? was_old : age <= vertex->age)
            return;
    }
    vertex->age = (uint32_t)age;
    vertex->key = report->key;
    vertex->edge = edge;
}

/* The ask behind this instance will want to know which modes there are. */
static bool group_note(struct grd_detect *detect, const struct grd_detect_report *report)
{
    struct vertex name = stake_of(report, VERTEX_GROUP, report->node, report->wait);
    uint32_t group = grd_detect_table_vertex_get(detect, &name, grd_detect_table_vertex_hash(detect, &name));

    if (group == NONE)
        return false;
    detect->vertices[group].mode |= (uint8_t)(1u << report->mode);
    return true;
}

static bool entry_vertices(struct grd_detect *detect, struct entry *entry,
                           const struct grd_detect_report *report)
{
    uint32_t from = grd_detect_table_vertex_get(detect, &entry->from, entry->from_hash);
    uint32_t to = grd_detect_table_vertex_get(detect, &entry->to, entry->to_hash);

    if (from == NONE || to == NONE || (report->kind == GRD_DETECT_STAKE && !group_note(detect, report)))
        return false;
    entry->edge.from = from;
    entry->edge.to = to | (report->kind == GRD_DETECT_BEHIND ? EDGE_JOIN : 0);
    entry->edge_hash = grd_detect_table_edge_hash(detect, &entry->edge);
    return true;
}

static bool entry_edge(struct grd_detect *detect, const struct entry *entry,
                       const struct grd_detect_report *report)
{
    uint32_t edge = grd_detect_table_edge_get(detect, &entry->edge, entry->edge_hash);

    if (edge == NONE)
        return false;
    detect->edges[edge].from |= EDGE_SEEN;
    if (report->kind == GRD_DETECT_LOCAL || report->kind == GRD_DETECT_ASKS)
        owner_note(detect, entry->edge.from, edge, report);
    return true;
}

/* The record the first slot of a name points to; most names are found there. */
static void prefetch_vertex(const struct grd_detect *detect, uint64_t hash)
{
    const struct table *table = &detect->vertex_table;
    uint32_t record = table->slots[grd_detect_table_slot(table, hash)] & table->count_mask;

    if (record != 0)
        __builtin_prefetch(&detect->vertices[record - 1]);
}

static void prefetch_edge(const struct grd_detect *detect, uint64_t hash)
{
    const struct table *table = &detect->edge_table;
    uint32_t record = table->slots[grd_detect_table_slot(table, hash)] & table->count_mask;

    if (record != 0)
        __builtin_prefetch(&detect->edges[record - 1], 1);
}

static void batch_add(struct grd_detect *detect, const struct grd_detect_report *const *reports,
                      uint32_t count)
{
    struct entry entries[BATCH];
    bool has_room[BATCH];

    for (uint32_t i = 0; i < count; i++) {
        struct entry *entry = &entries[i];

        entry_make(entry, reports[i]);
        entry->from_hash = grd_detect_table_vertex_hash(detect, &entry->from);
        entry->to_hash = grd_detect_table_vertex_hash(detect, &entry->to);
        __builtin_prefetch(
            &detect->vertex_table.slots[grd_detect_table_slot(&detect->vertex_table, entry->from_hash)]);
        __builtin_prefetch(
            &detect->vertex_table.slots[grd_detect_table_slot(&detect->vertex_table, entry->to_hash)]);
    }
    for (uint32_t i = 0; i < count; i++) {
        prefetch_vertex(detect, entries[i].from_hash);
        prefetch_vertex(detect, entries[i].to_hash);
    }
    for (uint32_t i = 0; i < count; i++) {
        has_room[i] = entry_vertices(detect, &entries[i], reports[i]);
        if (has_room[i])
            __builtin_prefetch(
                &detect->edge_table.slots[grd_detect_table_slot(&detect->edge_table, entries[i].edge_hash)]);
    }
    for (uint32_t i = 0; i < count; i++)
        if (has_room[i])
            prefetch_edge(detect, entries[i].edge_hash);
    for (uint32_t i = 0; i < count; i++)
        if (!has_room[i] || !entry_edge(detect, &entries[i], reports[i]))
            detect->counts.cut++;
}

void grd_detect_round_report(struct grd_detect *detect, const struct grd_detect_report *reports,
                             uint32_t reports_count)
{
    const struct grd_detect_report *batch[BATCH];
    uint32_t count = 0;

    cf_assert(detect->is_round);
    for (uint32_t i = 0; i < reports_count; i++) {
        if (!is_well_formed(&reports[i])) {
            detect->counts.refused++;
            continue;
        }
        batch[count++] = &reports[i];
        if (count == BATCH) {
            batch_add(detect, batch, count);
            count = 0;
        }
    }
    batch_add(detect, batch, count);
}

uint32_t grd_detect_round_end(struct grd_detect *detect)
{
    uint32_t confirmed = 0, seen = 0;

    cf_assert(detect->is_round);
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        uint32_t from = detect->edges[i].from;

        seen += (from & EDGE_SEEN) != 0;
        confirmed += (from & EDGE_CONFIRMED) == EDGE_CONFIRMED;
    }
    if (seen < detect->edges_count)
        grd_detect_table_sweep(detect);
    detect->is_round = false;
    detect->counts.rounds++;
    return confirmed;
}
