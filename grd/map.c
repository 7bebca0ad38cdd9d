/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buckets are dealt, not drawn: which block is in which bucket follows a keyed hash, so who gets which bucket need not.
 * Drawn shares (rendezvous hashing) differ by about 1 / sqrt(buckets a member), dealt ones by one bucket
 * (docs/decisions/0012).
 */
#include "grd/map.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"

void grd_map_key(const char *cluster, const char *secret, struct cf_hash_key *key_out)
{
    crypto_generichash_state state;
    static const char label[] = "cachefusion directory hash v1";

    crypto_generichash_init(&state, NULL, 0, sizeof key_out->k);
    crypto_generichash_update(&state, (const unsigned char *)label, sizeof label);
    crypto_generichash_update(&state, (const unsigned char *)cluster, strlen(cluster) + 1);
    crypto_generichash_update(&state, (const unsigned char *)secret, strlen(secret) + 1);
    crypto_generichash_final(&state, key_out->k, sizeof key_out->k);
}

static enum cf_rc tables_take(struct grd_map *map)
{
    const struct cf_allocator *a = map->allocator;
    uint64_t buckets = map->buckets;

    map->master = cf_alloc(a, buckets * sizeof *map->master, CF_CACHE_LINE, CF_ALLOC_ZERO);
    map->owner = cf_alloc(a, buckets * sizeof *map->owner, CF_CACHE_LINE, CF_ALLOC_ZERO);
    map->number = cf_alloc(a, buckets * sizeof *map->number, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (map->master && map->owner && map->number)
        return CF_OK;
    grd_map_close(map);
    return CF_MEMORY;
}

enum cf_rc grd_map_open(const struct cf_hash_key *key, uint64_t epoch, uint32_t buckets, uint32_t shards,
                        const uint16_t *members, uint32_t members_count, const struct cf_allocator *allocator,
                        struct grd_map *map_out)
{
    struct grd_map map = {
        .key = *key, .epoch = epoch, .buckets = buckets, .shards = shards, .allocator = allocator};
    uint32_t bucket;

    cf_assert(buckets > 0 && (buckets & (buckets - 1)) == 0);
    cf_assert(members_count > 0);
    if (tables_take(&map) != CF_OK)
        return CF_MEMORY;
    for (bucket = 0; bucket < buckets; bucket++)
        map.owner[bucket] = map.master[bucket] = members[bucket % members_count];
    *map_out = map;
    return CF_OK;
}

/* What each node has and is to have. */
struct quotas {
    uint32_t has[CF_NODES_MAX];
    uint32_t is_due[CF_NODES_MAX];
    bool is_member[CF_NODES_MAX];
};

/*
 * Everybody is due the even share; the buckets left over by the division, one each, go to those who have more than that
 * already, in order of their ids, then to the others. Those who have more by one are never more than are left over when
 * one member leaves, so nothing moves from one that stays; when one comes it is due no more than the even share.
 */
static void quotas_fill(const struct grd_map *from, const uint16_t *members, uint32_t members_count,
                        struct quotas *quotas)
{
    uint32_t share = from->buckets / members_count, more = from->buckets % members_count, i, pass;

    memset(quotas, 0, sizeof *quotas);
    for (i = 0; i < from->buckets; i++)
        quotas->has[from->master[i]]++;
    for (i = 0; i < members_count; i++) {
        quotas->is_due[members[i]] = share;
        quotas->is_member[members[i]] = true;
    }
    for (pass = 0; pass < 2; pass++)
        for (i = 0; i < members_count && more > 0; i++) {
            if (quotas->is_due[members[i]] != share || (pass == 0 && quotas->has[members[i]] <= share))
                continue;
            quotas->is_due[members[i]]++;
            more--;
        }
}

enum cf_rc grd_map_next(const struct grd_map *from, uint64_t epoch, const uint16_t *members,
                        uint32_t members_count, struct grd_map *map_out)
{
    struct grd_map map = *from;
    struct quotas quotas;
    uint32_t bucket, at = 0;

    cf_assert(members_count > 0 && epoch > from->epoch);
    map.epoch = epoch;
    if (tables_take(&map) != CF_OK)
        return CF_MEMORY;
    quotas_fill(from, members, members_count, &quotas);
    for (bucket = 0; bucket < map.buckets; bucket++) {
        uint16_t master = from->master[bucket], owner = from->owner[bucket];

        map.number[bucket] = from->number[bucket];
        if (quotas.has[master] > quotas.is_due[master]) {
            quotas.has[master]--;
            while (quotas.has[members[at]] >= quotas.is_due[members[at]])
                at++;
            master = members[at];
            quotas.has[master]++;
        }
        map.master[bucket] = master;
        /* One that had been moved stays where it is, as long as that is a member. */
        map.owner[bucket] = map.number[bucket] != 0 && quotas.is_member[owner] ? owner : master;
    }
    *map_out = map;
    return CF_OK;
}

void grd_map_close(struct grd_map *map)
{
    if (map->master)
        cf_free(map->allocator, map->master, map->buckets * sizeof *map->master);
    if (map->owner)
        cf_free(map->allocator, map->owner, map->buckets * sizeof *map->owner);
    if (map->number)
        cf_free(map->allocator, map->number, map->buckets * sizeof *map->number);
    memset(map, 0, sizeof *map);
}
