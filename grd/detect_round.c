/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rounds: reports become edges, and an edge reported in two rounds in turn is confirmed. The second round
 * begins after the first has ended, so each confirmed edge was there at the end of the first: all of them at
 * the same moment.
 */
#include "base/assert.h"
#include "base/hash.h"
#include "grd/detect_impl.h"

#define BATCH 16u /* reports whose memory is asked for before it is used */

/* A report on its way into the tables. */
struct entry {
    struct name from;
    struct name to;
    struct name group; /* STAKE: of its STANDS */
    struct edge edge;
    uint64_t from_hash;
    uint64_t to_hash;
    uint64_t edge_hash;
};

/* ------------------------------------------------------------------ prints */

/* Each number by itself, so that they are mixed side by side. */
static uint64_t mixed(uint64_t number, uint64_t place)
{
    return cf_mix64(number, place * UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t grd_detect_print(const struct grd_detect_report *report)
{
    bool is_owner = report->kind == GRD_DETECT_LOCAL || report->kind == GRD_DETECT_ASKS;
    uint64_t what = report->kind | (uint64_t)report->node << 32, sum;

    if (!is_owner)
        what |= (uint64_t)report->side << 8 | (uint64_t)report->mode << 16;
    if (report->kind == GRD_DETECT_BEHIND)
        what |= (uint64_t)report->peer << 48;
    sum = mixed(what, 1) + mixed(report->wait, 2) + mixed(report->grant, 3);
    if (report->kind != GRD_DETECT_LOCAL)
        sum += mixed(report->key, 4);
    if (report->kind != GRD_DETECT_BEHIND)
        sum += mixed(report->owner, 5);
    if (report->kind == GRD_DETECT_LOCAL)
        sum += mixed(report->holder, 6);
    return mixed(sum, 7);
}

static uint32_t tag_of(uint64_t wait)
{
    return (uint32_t)mixed(wait, 8) & ((1u << 2 * EDGE_TAG_BITS) - 1);
}

static uint32_t edge_tag(const struct edge *edge)
{
    uint32_t mask = (1u << EDGE_TAG_BITS) - 1;

    return (edge->from >> EDGE_TAG_SHIFT & mask) | (edge->to >> EDGE_TAG_SHIFT & mask) << EDGE_TAG_BITS;
}

/* ------------------------------------------------------------------ beginning */

static void round_open(struct grd_detect *detect)
{
    cf_assert(!detect->is_round);
    detect->is_round = true;
    detect->is_resolving = false;
    detect->gone = 0;
    grd_detect_table_restore(detect);
}

void grd_detect_round_begin(struct grd_detect *detect)
{
    round_open(detect);
    detect->is_unnoted = detect->is_stale = false;
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        uint32_t *from = &detect->edges[i].from;

        /* The end of the last round left none that was not seen in it. */
        *from = (*from & ~EDGE_SEEN) | EDGE_OLD;
    }
    for (uint32_t i = 0; i < detect->vertices_count; i++)
        if (grd_detect_kind_of(detect->whats[i]) == VERTEX_OWNER)
            detect->whats[i] &= (uint16_t)~WHAT_NOTES;
}

void grd_detect_round_continue(struct grd_detect *detect, uint64_t since_ns)
{
    round_open(detect);
    detect->clock_ns += since_ns;
    for (uint32_t i = 0; i < detect->edges_count; i++)
        detect->edges[i].from |= EDGE_OLD;
    for (uint32_t i = 0; i < detect->vertices_count; i++)
        if (grd_detect_kind_of(detect->whats[i]) == VERTEX_OWNER && (detect->whats[i] & WHAT_WAITS))
            detect->whats[i] |= WHAT_CONFIRMED;
}

void grd_detect_round_gone(struct grd_detect *detect, const uint64_t *prints, uint32_t prints_count)
{
    cf_assert(detect->is_round);
    for (uint32_t i = 0; i < prints_count; i++) {
        uint32_t edge = grd_detect_table_edge_find(detect, prints[i]);

        if (edge == NONE)
            continue; /* it had found no room */
        detect->edges[edge].from &= ~EDGE_CONFIRMED;
        detect->gone++;
    }
}

/* ------------------------------------------------------------------ reports */

static bool is_well_formed(const struct grd_detect_report *report)
{
    uint32_t sides = report->kind == GRD_DETECT_BEHIND ? GRD_DETECT_SIDES + 1 : GRD_DETECT_SIDES;

    switch (report->kind) {
    case GRD_DETECT_LOCAL:
    case GRD_DETECT_ASKS:
        return report->node < GRD_DETECT_NODES_MAX;
    case GRD_DETECT_BEHIND:
    case GRD_DETECT_STAKE:
        return report->side < sides && report->mode < GRD_DETECT_MODES &&
               report->node < GRD_DETECT_NODES_MAX && report->peer < GRD_DETECT_NODES_MAX;
    default:
        return false;
    }
}

static struct name name_make(enum vertex_kind kind, uint16_t node, uint64_t key, uint64_t id)
{
    return (struct name){.id = id, .key = key, .what = (uint16_t)(node | (uint32_t)kind << WHAT_KIND_SHIFT)};
}

static struct name stake_of(const struct grd_detect_report *report, enum vertex_kind kind, uint16_t node,
                            uint64_t id)
{
    struct name name = name_make(kind, node, report->key, id);

    name.what |= (uint16_t)((uint32_t)report->side << WHAT_SIDE_SHIFT);
    if (kind == VERTEX_STANDS)
        name.what |= (uint16_t)((uint32_t)report->mode << WHAT_MODE_SHIFT);
    return name;
}

static void entry_make(struct entry *entry, const struct grd_detect_report *report)
{
    entry->edge.print = grd_detect_print(report);
    switch ((enum grd_detect_kind)report->kind) {
    case GRD_DETECT_LOCAL:
        entry->from = name_make(VERTEX_OWNER, report->node, 0, report->owner);
        entry->to = name_make(VERTEX_OWNER, report->node, 0, report->holder);
        break;
    case GRD_DETECT_ASKS:
        entry->from = name_make(VERTEX_OWNER, report->node, 0, report->owner);
        entry->to = name_make(VERTEX_ASK, report->node, report->key, report->grant);
        break;
    case GRD_DETECT_BEHIND:
        entry->from = name_make(VERTEX_ASK, report->node, report->key, report->wait);
        entry->to = report->side == GRD_DETECT_ITSELF
                        ? name_make(VERTEX_ASK, report->peer, report->key, report->grant)
                        : stake_of(report, VERTEX_GROUP, report->peer, report->grant);
        break;
    case GRD_DETECT_STAKE:
        entry->from = stake_of(report, VERTEX_STANDS, report->node, report->wait);
        entry->to = name_make(VERTEX_OWNER, report->node, 0, report->owner);
        entry->group = stake_of(report, VERTEX_GROUP, report->node, report->wait);
        break;
    case GRD_DETECT_KINDS:
        cf_unreachable();
    }
}

/*
 * The dearest wait of the owner, and the oldest: those that can be confirmed by this round come before new
 * ones.
 */
static void owner_note(struct grd_detect *detect, uint32_t owner, bool is_old,
                       const struct grd_detect_report *report)
{
    struct vertex *vertex = &detect->vertices[owner];
    uint64_t age = report->age_ns / AGE_NS;
    uint16_t *what = &detect->whats[owner];
    bool was_old = (*what & WHAT_CONFIRMED) != 0;

    if (age > AGE_MAX)
        age = AGE_MAX;
    if (!(*what & WHAT_WAITS))
        vertex->of.waits.cost = report->cost;
    else if (report->cost > vertex->of.waits.cost)
        vertex->of.waits.cost = report->cost;
    if ((*what & WHAT_WAITS) && (was_old != is_old ? was_old : age <= grd_detect_age(detect, vertex)))
        return;
    *what = (uint16_t)((*what & ~WHAT_CONFIRMED) | WHAT_WAITS | (is_old ? WHAT_CONFIRMED : 0));
    vertex->of.waits.began = (uint32_t)(detect->clock_ns / AGE_NS) - (uint32_t)age;
    vertex->key = report->key;
    vertex->wait = report->wait;
}

/* The stakes of a group are chained, so that an ask behind it finds them. */
static uint32_t stands_get(struct grd_detect *detect, const struct entry *entry)
{
    uint32_t group = grd_detect_table_vertex_get(detect, &entry->group,
                                                 grd_detect_table_vertex_hash(detect, &entry->group));
    uint32_t stands = group == NONE ? NONE
                                    : grd_detect_table_vertex_get(detect, &entry->from, entry->from_hash);
    struct vertex *vertex = &detect->vertices[stands];

    if (stands == NONE || vertex->of.chain.group != NONE)
        return stands;
    vertex->of.chain.group = group;
    vertex->of.chain.first = detect->vertices[group].of.chain.first;
    detect->vertices[group].of.chain.first = stands;
    return stands;
}

static bool entry_vertices(struct grd_detect *detect, struct entry *entry,
                           const struct grd_detect_report *report)
{
    uint32_t from = report->kind == GRD_DETECT_STAKE
                        ? stands_get(detect, entry)
                        : grd_detect_table_vertex_get(detect, &entry->from, entry->from_hash);
    uint32_t to = grd_detect_table_vertex_get(detect, &entry->to, entry->to_hash);
    uint32_t tag = 0, flag = 0;

    if (from == NONE || to == NONE)
        return false;
    if (report->kind == GRD_DETECT_LOCAL || report->kind == GRD_DETECT_ASKS) {
        tag = tag_of(report->wait);
        flag = EDGE_WAIT;
    } else if (report->kind == GRD_DETECT_BEHIND) {
        tag = report->mode;
        flag = report->side == GRD_DETECT_ITSELF ? 0 : EDGE_JOIN;
    }
    entry->edge.from = from | (tag & ((1u << EDGE_TAG_BITS) - 1)) << EDGE_TAG_SHIFT;
    entry->edge.to = to | tag >> EDGE_TAG_BITS << EDGE_TAG_SHIFT | flag;
    entry->edge_hash = grd_detect_table_edge_hash(detect, entry->edge.print);
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
        owner_note(detect, entry->edge.from & EDGE_VERTEX, (detect->edges[edge].from & EDGE_OLD) != 0,
                   report);
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

/* ------------------------------------------------------------------ the end */

/* Notes of waits that are over. What an owner waits for beside them is told again in a round told anew. */
static void notes_check(struct grd_detect *detect)
{
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        const struct edge *edge = &detect->edges[i];
        uint32_t from = edge->from & EDGE_VERTEX;
        uint16_t what = detect->whats[from];

        if ((edge->from & EDGE_SEEN) && (edge->to & EDGE_WAIT))
            detect->whats[from] |= (what & WHAT_WAITS) &&
                                           edge_tag(edge) == tag_of(detect->vertices[from].wait)
                                       ? WHAT_ALIVE
                                       : WHAT_OTHER;
    }
    detect->is_unnoted = false;
    for (uint32_t i = 0; i < detect->vertices_count; i++) {
        uint16_t what = detect->whats[i];

        if (grd_detect_kind_of(what) != VERTEX_OWNER)
            continue;
        if (!(what & WHAT_ALIVE)) {
            detect->is_unnoted |= (what & WHAT_OTHER) != 0;
            detect->whats[i] &= (uint16_t)~WHAT_WAITS;
        }
        detect->whats[i] &= (uint16_t) ~(WHAT_ALIVE | WHAT_OTHER);
    }
}

uint32_t grd_detect_round_end(struct grd_detect *detect)
{
    uint32_t confirmed = 0, seen = 0, waits = 0;

    cf_assert(detect->is_round);
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        uint32_t from = detect->edges[i].from;

        seen += (from & EDGE_SEEN) != 0;
        waits += (from & EDGE_SEEN) != 0 && (detect->edges[i].to & EDGE_WAIT) != 0;
        confirmed += (from & EDGE_CONFIRMED) == EDGE_CONFIRMED;
    }
    if (detect->gone > 0)
        notes_check(detect);
    if (seen < detect->edges_count)
        grd_detect_table_sweep(detect);
    detect->waits = waits;
    detect->is_round = false;
    detect->counts.rounds++;
    return confirmed;
}
