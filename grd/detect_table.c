/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vertices by name and edges by print. Records are numbered as they come, so all that follows is the same for the same
 * reports.
 */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "grd/detect_impl.h"

#define AHEAD 16u /* records asked for before they are inserted */

/* Of a vertex, what is its name. */
static struct name name_of(const struct grd_detect *detect, uint32_t vertex)
{
    const struct vertex *record = &detect->vertices[vertex];
    uint16_t what = detect->whats[vertex];

    if (grd_detect_kind_of(what) == VERTEX_OWNER)
        return (struct name){.id = record->id, .what = (uint16_t)(what & ~WHAT_NOTES)};
    return (struct name){.id = record->id, .key = record->key, .what = what};
}

uint64_t grd_detect_table_vertex_hash(const struct grd_detect *detect, const struct name *name)
{
    return cf_mix64(cf_mix64(name->id, detect->seed) ^ name->key, name->what * UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t grd_detect_table_edge_hash(const struct grd_detect *detect, uint64_t print)
{
    return cf_mix64(print, detect->seed);
}

static bool is_vertex(const struct grd_detect *detect, uint32_t vertex, const struct name *name)
{
    const struct vertex *record = &detect->vertices[vertex];
    uint16_t what = detect->whats[vertex];

    if (record->id != name->id)
        return false;
    if (grd_detect_kind_of(name->what) == VERTEX_OWNER)
        return (what & ~WHAT_NOTES) == name->what;
    return what == name->what && record->key == name->key;
}

static uint32_t slot_word(const struct table *table, uint64_t hash, uint32_t record)
{
    return ((uint32_t)hash & ~table->count_mask) | (record + 1);
}

/* A free slot ends the search: there always is one, slots are more than records. */
static uint32_t slot_next(const struct table *table, uint32_t slot)
{
    return slot + 1 == table->slots_count ? 0 : slot + 1;
}

uint32_t grd_detect_table_vertex_get(struct grd_detect *detect, const struct name *name, uint64_t hash)
{
    struct table *table = &detect->vertex_table;
    uint32_t slot = grd_detect_table_slot(table, hash), word, record;

    for (; (word = table->slots[slot]) != 0; slot = slot_next(table, slot)) {
        record = (word & table->count_mask) - 1;
        if (((word ^ (uint32_t)hash) & ~table->count_mask) == 0 && is_vertex(detect, record, name))
            return record;
    }
    if (detect->vertices_count == detect->vertices_max)
        return NONE;
    record = detect->vertices_count++;
    memset(&detect->vertices[record], 0, sizeof detect->vertices[record]);
    detect->vertices[record].id = name->id;
    detect->vertices[record].key = name->key;
    if (grd_detect_kind_of(name->what) >= VERTEX_GROUP)
        detect->vertices[record].of.chain.first = detect->vertices[record].of.chain.group = NONE;
    detect->whats[record] = name->what;
    table->slots[slot] = slot_word(table, hash, record);
    return record;
}

static bool is_edge(const struct edge *a, const struct edge *b)
{
    return a->print == b->print && ((a->from ^ b->from) & EDGE_VERTEX) == 0 &&
           ((a->to ^ b->to) & EDGE_VERTEX) == 0;
}

uint32_t grd_detect_table_edge_get(struct grd_detect *detect, const struct edge *edge, uint64_t hash)
{
    struct table *table = &detect->edge_table;
    uint32_t slot = grd_detect_table_slot(table, hash), word, record;

    for (; (word = table->slots[slot]) != 0; slot = slot_next(table, slot)) {
        record = (word & table->count_mask) - 1;
        if (((word ^ (uint32_t)hash) & ~table->count_mask) == 0 && is_edge(&detect->edges[record], edge))
            return record;
    }
    if (detect->edges_count == detect->edges_max)
        return NONE;
    record = detect->edges_count++;
    detect->edges[record] = *edge;
    table->slots[slot] = slot_word(table, hash, record);
    return record;
}

uint32_t grd_detect_table_edge_find(const struct grd_detect *detect, uint64_t print)
{
    const struct table *table = &detect->edge_table;
    uint64_t hash = grd_detect_table_edge_hash(detect, print);
    uint32_t slot = grd_detect_table_slot(table, hash), word, record;

    for (; (word = table->slots[slot]) != 0; slot = slot_next(table, slot)) {
        record = (word & table->count_mask) - 1;
        if (((word ^ (uint32_t)hash) & ~table->count_mask) == 0 && detect->edges[record].print == print)
            return record;
    }
    return NONE;
}

static void insert(struct table *table, uint64_t hash, uint32_t record)
{
    uint32_t slot = grd_detect_table_slot(table, hash);

    while (table->slots[slot] != 0)
        slot = slot_next(table, slot);
    table->slots[slot] = slot_word(table, hash, record);
}

static void edges_insert_all(struct grd_detect *detect)
{
    struct table *table = &detect->edge_table;
    uint64_t hashes[AHEAD];

    memset(table->slots, 0, table->slots_count * sizeof(uint32_t));
    for (uint32_t at = 0; at < detect->edges_count; at += AHEAD) {
        uint32_t count = detect->edges_count - at < AHEAD ? detect->edges_count - at : AHEAD;

        for (uint32_t i = 0; i < count; i++) {
            hashes[i] = grd_detect_table_edge_hash(detect, detect->edges[at + i].print);
            __builtin_prefetch(&table->slots[grd_detect_table_slot(table, hashes[i])], 1);
        }
        for (uint32_t i = 0; i < count; i++)
            insert(table, hashes[i], at + i);
    }
}

static void vertices_insert_all(struct grd_detect *detect)
{
    struct table *table = &detect->vertex_table;
    uint64_t hashes[AHEAD];

    memset(table->slots, 0, table->slots_count * sizeof(uint32_t));
    for (uint32_t at = 0; at < detect->vertices_count; at += AHEAD) {
        uint32_t count = detect->vertices_count - at < AHEAD ? detect->vertices_count - at : AHEAD;

        for (uint32_t i = 0; i < count; i++) {
            struct name name = name_of(detect, at + i);

            hashes[i] = grd_detect_table_vertex_hash(detect, &name);
            __builtin_prefetch(&table->slots[grd_detect_table_slot(table, hashes[i])], 1);
        }
        for (uint32_t i = 0; i < count; i++)
            insert(table, hashes[i], at + i);
    }
}

void grd_detect_table_restore(struct grd_detect *detect)
{
    if (detect->has_tables)
        return;
    vertices_insert_all(detect);
    edges_insert_all(detect);
    detect->has_tables = true;
}

/* Edges that stay, and a mark for each vertex that they need. */
static void edges_sweep(struct grd_detect *detect, uint32_t *marks)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < detect->edges_count; i++) {
        struct edge *edge = &detect->edges[i];
        uint32_t from = edge->from & EDGE_VERTEX;

        if (!(edge->from & EDGE_SEEN))
            continue;
        marks[from] = marks[edge->to & EDGE_VERTEX] = 1;
        if (grd_detect_kind_of(detect->whats[from]) == VERTEX_STANDS)
            marks[detect->vertices[from].of.chain.group] = 1;
        detect->edges[kept++] = *edge;
    }
    detect->edges_count = kept;
}

/* Of each group those that are left, the last that came first. */
static void chains_make(struct grd_detect *detect, const uint32_t *renumbered)
{
    for (uint32_t i = 0; i < detect->vertices_count; i++)
        if (grd_detect_kind_of(detect->whats[i]) == VERTEX_GROUP)
            detect->vertices[i].of.chain.first = NONE;
    for (uint32_t i = 0; i < detect->vertices_count; i++) {
        struct vertex *vertex = &detect->vertices[i], *group;

        if (grd_detect_kind_of(detect->whats[i]) != VERTEX_STANDS)
            continue;
        vertex->of.chain.group = renumbered[vertex->of.chain.group];
        group = &detect->vertices[vertex->of.chain.group];
        vertex->of.chain.first = group->of.chain.first;
        group->of.chain.first = i;
    }
}

void grd_detect_table_sweep(struct grd_detect *detect)
{
    uint32_t *renumbered = grd_detect_graph_at(
        &detect->graph); /* no graph stands: it is the place of the tables */
    uint32_t kept = 0;

    cf_assert(!detect->is_resolving);
    detect->has_tables = false;
    memset(renumbered, 0, detect->vertices_count * sizeof(uint32_t));
    edges_sweep(detect, renumbered);
    for (uint32_t i = 0; i < detect->vertices_count; i++) {
        if (!renumbered[i])
            continue;
        renumbered[i] = kept;
        detect->whats[kept] = detect->whats[i];
        detect->vertices[kept++] = detect->vertices[i];
    }
    detect->vertices_count = kept;
    chains_make(detect, renumbered);
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        struct edge *edge = &detect->edges[i];

        edge->from = (edge->from & ~EDGE_VERTEX) | renumbered[edge->from & EDGE_VERTEX];
        edge->to = (edge->to & ~EDGE_VERTEX) | renumbered[edge->to & EDGE_VERTEX];
    }
}

void grd_detect_table_clear(struct grd_detect *detect)
{
    detect->vertices_count = 0;
    detect->edges_count = 0;
    detect->has_tables = false;
}
