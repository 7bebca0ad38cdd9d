/* SPDX-License-Identifier: Apache-2.0 */
/* Sets of instances: a list that rises up to GRD_SET_LIST members, a map of all instances beyond. */
#include <string.h>

#include "base/assert.h"
#include "grd/msg.h"

void grd_set_clear(struct grd_set *set)
{
    set->count = 0;
    set->is_map = 0;
}

static void set_spread(struct grd_set *set)
{
    uint16_t list[GRD_SET_LIST];
    uint32_t i, n = set->count;

    memcpy(list, set->list, n * sizeof list[0]);
    memset(set->map, 0, sizeof set->map);
    for (i = 0; i < n; i++)
        set->map[list[i] / 64] |= 1ull << (list[i] % 64);
    set->is_map = 1;
}

void grd_set_add(struct grd_set *set, uint16_t node)
{
    uint32_t i;

    cf_assert(node < CF_NODES_MAX);
    if (grd_set_has(set, node))
        return;
    if (!set->is_map && set->count == GRD_SET_LIST)
        set_spread(set);
    if (set->is_map) {
        set->map[node / 64] |= 1ull << (node % 64);
    } else {
        for (i = set->count; i > 0 && set->list[i - 1] > node; i--)
            set->list[i] = set->list[i - 1];
        set->list[i] = node;
    }
    set->count++;
}

bool grd_set_has(const struct grd_set *set, uint16_t node)
{
    uint32_t i;

    if (set->is_map)
        return set->map[node / 64] >> (node % 64) & 1;
    for (i = 0; i < set->count; i++)
        if (set->list[i] == node)
            return true;
    return false;
}

void grd_set_remove(struct grd_set *set, uint16_t node)
{
    uint16_t list[GRD_SET_LIST];
    uint32_t i, n = 0, at;

    if (!grd_set_has(set, node))
        return;
    set->count--;
    if (set->is_map) {
        set->map[node / 64] &= ~(1ull << (node % 64));
        if (set->count > GRD_SET_LIST)
            return;
        for (at = grd_set_next(set, 0); at < CF_NODES_MAX; at = grd_set_next(set, at + 1))
            list[n++] = (uint16_t)at;
        memcpy(set->list, list, sizeof list);
        set->is_map = 0;
        return;
    }
    for (i = 0; set->list[i] != node; i++)
        ;
    for (; i < set->count; i++)
        set->list[i] = set->list[i + 1];
}

void grd_set_copy(struct grd_set *to, const struct grd_set *from)
{
    to->count = from->count;
    to->is_map = from->is_map;
    if (from->is_map)
        memcpy(to->map, from->map, sizeof to->map);
    else if (from->count != 0)
        memcpy(to->list, from->list, from->count * sizeof to->list[0]);
}

uint32_t grd_set_next(const struct grd_set *set, uint32_t from)
{
    uint32_t i;

    if (!set->is_map) {
        for (i = 0; i < set->count; i++)
            if (set->list[i] >= from)
                return set->list[i];
        return CF_NODES_MAX;
    }
    while (from < CF_NODES_MAX) {
        uint64_t word = set->map[from / 64] >> (from % 64);

        if (word)
            return from + (uint32_t)__builtin_ctzll(word);
        from = (from / 64 + 1) * 64;
    }
    return CF_NODES_MAX;
}
