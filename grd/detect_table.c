/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Vertices and edges by name. Records are numbered as they come, so all that follows is the same for the same
 * reports.
 */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "grd/detect_impl.h"

#define AHEAD 16u /* records asked for before they are inserted */

static uint64_t mixed(const struct grd_detect *detect, uint64_t a, uint64_t b, uint64_t c)
{
    return cf_mix64(cf_mix64(a, detect->seed) ^ b, c * UINT64_C(0x9e3779b97f4a7c15));
}

uint64_t grd_detect_table_vertex_hash(const struct grd_detect *detect, const struct vertex *name)
{
    uint64_t key = name->kind == VERTEX_OWNER ? 0 : name->key;
    uint64_t mode = name->kind == VERTEX_STANDS ? name->mode : 0;

    return mixed(detect, name->id, key,
                 name->node | (uint64_t)name->kind << 16 | (uint64_t)name->side << 20 | mode << 24);
}

uint64_t grd_detect_table_edge_hash(const struct grd_detect *detect, const struct edge *edge)
{
    return mixed(detect, edge->wait, edge->grant,
                 (uint64_t)(edge->from & EDGE_VERTEX) << 32 | (edge->to & EDGE_VERTEX));
}

static bool is_vertex(const struct vertex *a, const struct vertex *b)
{
    if (a->id != b->id || a->node != b->node || a->kind != b->kind || a->side != b->side)
        return false;
    return a->kind == VERTEX_OWNER || (a->key == b->key && (a->kind != VERTEX_STANDS || a->mode == b->mode));
}

static bool is_edge(const struct edge *a, const struct edge *b)
{
    return ((a->from ^ b->from) & EDGE_VERTEX) == 0 && ((a->to ^ b->to) & EDGE_VERTEX) == 0 &&
           a->wait == b->wait && a->grant == b->grant;
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

uint32_t grd_detect_table_vertex_find(const struct grd_detect *detect, const struct vertex *name,
                                      uint64_t hash)
{
    const struct table *table = &detect->vertex_table;
    uint32_t word;

    for (uint32_t slot = grd_detect_table_slot(table, hash); (word = table->slots[slot]) != 0;
         slot = slot_next(table, slot)) {
        if (((word ^ (uint32_t)hash) & ~table->count_mask) == 0 &&
            is_vertex(&detect->vertices[(word & table->count_mask) - 1], name))
            return (word & table->count_mask) - 1;
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

uint32_t grd_detect_table_vertex_get(struct grd_detect *detect, const struct vertex *name, uint64_t hash)
{
    uint32_t found = grd_detect_table_vertex_find(detect, name, hash);

    if (found != NONE || detect->vertices_count == detect->vertices_max)
        return found;
    found = detect->vertices_count++;
    detect->vertices[found] = *name;
    insert(&detect->vertex_table, hash, found);
    return found;
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

static void edges_insert_all(struct grd_detect *detect)
{
    struct table *table = &detect->edge_table;
    uint64_t hashes[AHEAD];

    memset(table->slots, 0, table->slots_count * sizeof(uint32_t));
    for (uint32_t at = 0; at < detect->edges_count; at += AHEAD) {
        uint32_t count = detect->edges_count - at < AHEAD ? detect->edges_count - at : AHEAD;

        for (uint32_t i = 0; i < count; i++) {
            hashes[i] = grd_detect_table_edge_hash(detect, &detect->edges[at + i]);
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
            hashes[i] = grd_detect_table_vertex_hash(detect, &detect->vertices[at + i]);
            __builtin_prefetch(&table->slots[grd_detect_table_slot(table, hashes[i])], 1);
        }
        for (uint32_t i = 0; i < count; i++)
            insert(table, hashes[i], at + i);
    }
}

void grd_detect_table_sweep(struct grd_detect *detect)
{
    uint32_t *renumbered = grd_detect_graph_at(&detect->graph); /* no graph stands between rounds' ends */
    uint32_t kept = 0;

    cf_assert(!detect->is_resolving);
    memset(renumbered, 0, detect->vertices_count * sizeof(uint32_t));
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        struct edge *edge = &detect->edges[i];

        if (!(edge->from & EDGE_SEEN))
            continue;
        renumbered[edge->from & EDGE_VERTEX] = 1;
        renumbered[edge->to & EDGE_VERTEX] = 1;
        if (detect->vertices[edge->from & EDGE_VERTEX].edge == i)
            detect->vertices[edge->from & EDGE_VERTEX].edge = kept;
        detect->edges[kept++] = *edge;
    }
    detect->edges_count = kept;
    kept = 0;
    for (uint32_t i = 0; i < detect->vertices_count; i++) {
        if (!renumbered[i])
            continue;
        renumbered[i] = kept;
        detect->vertices[kept++] = detect->vertices[i];
    }
    detect->vertices_count = kept;
    for (uint32_t i = 0; i < detect->edges_count; i++) {
        struct edge *edge = &detect->edges[i];

        edge->from = (edge->from & ~EDGE_VERTEX) | renumbered[edge->from & EDGE_VERTEX];
        edge->to = (edge->to & ~EDGE_VERTEX) | renumbered[edge->to & EDGE_VERTEX];
    }
    vertices_insert_all(detect);
    edges_insert_all(detect);
}

void grd_detect_table_clear(struct grd_detect *detect)
{
    detect->vertices_count = 0;
    detect->edges_count = 0;
    memset(detect->vertex_table.slots, 0, detect->vertex_table.slots_count * sizeof(uint32_t));
    memset(detect->edge_table.slots, 0, detect->edge_table.slots_count * sizeof(uint32_t));
}
