/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rendezvous (highest random weight) hashing: D. Thaler, C. Ravishankar, "Using name-based mappings to increase
 * hit rates", IEEE/ACM Transactions on Networking, 1998. Ties go to the lower node id.
 */
#include "grd/map.h"

#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "grd/mutant.h"

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

static uint16_t heaviest(const struct cf_hash_key *key, uint32_t bucket, const uint16_t *members,
                         uint32_t members_count)
{
    uint64_t best_weight = 0;
    uint16_t best = members[0];
    uint32_t i;

    for (i = 0; i < members_count; i++) {
        struct {
            uint32_t bucket;
            uint32_t node;
        } name = {bucket, members[i]};
        uint64_t weight = cf_siphash(key, &name, sizeof name);

        if (i == 0 || weight > best_weight) {
            best_weight = weight;
            best = members[i];
        }
    }
    return best;
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
    map.master = cf_alloc(allocator, buckets * sizeof *map.master, CF_CACHE_LINE, CF_ALLOC_ZERO);
    map.owner = cf_alloc(allocator, buckets * sizeof *map.owner, CF_CACHE_LINE, CF_ALLOC_ZERO);
    map.number = cf_alloc(allocator, buckets * sizeof *map.number, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (map.master == NULL || map.owner == NULL || map.number == NULL) {
        grd_map_close(&map);
        return CF_MEMORY;
    }
    for (bucket = 0; bucket < buckets; bucket++)
        map.owner[bucket] = map.master[bucket] = heaviest(key, bucket, members, members_count);
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
