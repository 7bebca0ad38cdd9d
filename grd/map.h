/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MAP_H
#define GRD_MAP_H

/*
 * From a resource to its master under an epoch: key -> keyed hash -> bucket (low bits) -> instance. The first map deals
 * the buckets to the members in turn; the map of each later epoch follows from the one before and the members, so that
 * all members compute the same one (I-10). Members' shares differ by one bucket at most, in every epoch. A member that
 * leaves moves the buckets it had, one that comes is given buckets / members, rounded down, and nothing else moves.
 * The shard comes from bits that the bucket does not use.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/alloc.h"
#include "base/hash.h"

struct grd_map {
    struct cf_hash_key key; /* of the cluster: from its name and secret */
    uint64_t epoch;
    uint32_t buckets; /* a power of two */
    uint32_t shards;
    uint16_t *master; /* [buckets]: as the members give it; of locks always */
    /*
     * [buckets], owner of progress: who masters the blocks of a bucket now, as far as this instance has heard, and
     * how often the bucket has been moved. A higher number is a later truth (docs/remaster.md).
     */
    uint16_t *owner;
    uint32_t *number;
    const struct cf_allocator *allocator;
};

/* The cluster's hash key from its name and secret. */
void grd_map_key(const char *cluster, const char *secret, struct cf_hash_key *key_out);
/* `members` = sorted node ids of the view. */
CF_CHECK enum cf_rc grd_map_open(const struct cf_hash_key *key, uint64_t epoch, uint32_t buckets,
                                 uint32_t shards, const uint16_t *members, uint32_t members_count,
                                 const struct cf_allocator *allocator, struct grd_map *map_out);
/*
 * The map of the next epoch, which every member computes from the same last one; a member that comes is given that.
 * Where several come or go at once, no more move than those who go had and those who come are due. The engine's view
 * does not change yet (docs/limits.md), so that nothing but tests/unit/grd/map_test.c asks for a second map.
 */
CF_CHECK enum cf_rc grd_map_next(const struct grd_map *from, uint64_t epoch, const uint16_t *members,
                                 uint32_t members_count, struct grd_map *map_out);
void grd_map_close(struct grd_map *map);

static inline uint64_t grd_map_hash(const struct grd_map *map, const struct cf_block_key *key)
{
    _Static_assert(sizeof *key == 16, "a key is hashed as it lies in memory, without gaps");

    return cf_siphash16(&map->key, key);
}
static inline uint32_t grd_map_bucket(const struct grd_map *map, uint64_t hash)
{
    return (uint32_t)hash & (map->buckets - 1);
}
static inline uint16_t grd_map_master(const struct grd_map *map, uint64_t hash)
{
    return map->master[grd_map_bucket(map, hash)];
}
/* The same for blocks, whose buckets move. */
static inline uint16_t grd_map_owner(const struct grd_map *map, uint64_t hash)
{
    return map->owner[grd_map_bucket(map, hash)];
}
static inline uint32_t grd_map_number(const struct grd_map *map, uint64_t hash)
{
    return map->number[grd_map_bucket(map, hash)];
}
/* The shard of an instance that has so many. */
static inline uint32_t grd_map_shard_of(uint64_t hash, uint32_t shards)
{
    return (uint32_t)(hash >> 32) % shards;
}
static inline uint32_t grd_map_shard(const struct grd_map *map, uint64_t hash)
{
    return grd_map_shard_of(hash, map->shards);
}

#endif
