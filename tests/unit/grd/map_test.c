/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: the map of buckets: the same everywhere (I-10), even, and moved by a member's share only. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <math.h>
#include <string.h>

#include "base/rng.h"
#include "grd/map.h"

#define BUCKETS 4096u

static int ready(void **state)
{
    (void)state;
    return cf_hash_init() ? 0 : -1;
}

static struct grd_map open_map(const struct cf_hash_key *key, const uint16_t *members, uint32_t count,
                               uint32_t shards)
{
    struct grd_map map;

    assert_int_equal(grd_map_open(key, 1, BUCKETS, shards, members, count, cf_allocator_default(), &map),
                     CF_OK);
    return map;
}

static void first_members(uint16_t members[CF_NODES_MAX])
{
    for (uint32_t i = 0; i < CF_NODES_MAX; i++)
        members[i] = (uint16_t)i;
}

static void every_instance_computes_the_same_map(void **state)
{
    uint16_t members[CF_NODES_MAX];
    struct cf_hash_key here, there;
    struct grd_map a, b;

    (void)state;
    first_members(members);
    grd_map_key("orders", "a secret", &here);
    grd_map_key("orders", "a secret", &there);
    assert_memory_equal(&here, &there, sizeof here);
    a = open_map(&here, members, 9, 1);
    b = open_map(&there, members, 9, 4); /* shards are each instance's own matter */
    assert_memory_equal(a.master, b.master, BUCKETS * sizeof a.master[0]);
    grd_map_close(&a);
    grd_map_close(&b);
}

/* The numbers come from a BLAKE2b and a SipHash written elsewhere; every build and host must come to them. */
static void hash_and_masters_are_the_ones_of_every_build(void **state)
{
    const struct cf_block_key block = {.file = 7, .generation = 1, .block = 4711};
    uint16_t members[CF_NODES_MAX];
    struct cf_hash_key key;
    struct grd_map map;
    uint64_t sum = 0;

    (void)state;
    first_members(members);
    grd_map_key("c", "s", &key);
    map = open_map(&key, members, 5, 1);
    for (uint32_t i = 0; i < BUCKETS; i++)
        sum = sum * 31 + map.master[i];
    assert_int_equal(grd_map_hash(&map, &block), UINT64_C(0xe3e2ceaea76f2b22));
    assert_int_equal(sum, UINT64_C(0x371b88296c27733e));
    grd_map_close(&map);
}

static void cluster_and_secret_are_told_apart(void **state)
{
    struct cf_hash_key a, b;

    (void)state;
    grd_map_key("ab", "c", &a);
    grd_map_key("a", "bc", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
    grd_map_key("ab", "", &b);
    assert_memory_not_equal(&a, &b, sizeof a);
}

static void counts_of(const struct grd_map *map, uint32_t counts[CF_NODES_MAX])
{
    memset(counts, 0, CF_NODES_MAX * sizeof counts[0]);
    for (uint32_t i = 0; i < map->buckets; i++)
        counts[map->master[i]]++;
}

static void share_bounds(const struct grd_map *map, const uint16_t *members, uint32_t members_count)
{
    uint32_t counts[CF_NODES_MAX], share = map->buckets / members_count, sum = 0;

    counts_of(map, counts);
    for (uint32_t i = 0; i < members_count; i++) {
        assert_in_range(counts[members[i]], share, share + 1);
        sum += counts[members[i]];
    }
    assert_int_equal(sum, map->buckets); /* nobody else has any */
}

/* Five per cent: as soon as there are twenty buckets a member, which are what one bucket more or less is of. */
static void shares_differ_by_one_bucket_and_by_less_than_five_percent(void **state)
{
    uint16_t members[CF_NODES_MAX];
    struct cf_hash_key key;

    (void)state;
    first_members(members);
    grd_map_key("fair", "s", &key);
    for (uint32_t count = 1; count <= CF_NODES_MAX; count++) {
        uint32_t buckets = count * 20 <= BUCKETS ? BUCKETS : 32768, counts[CF_NODES_MAX];
        struct grd_map map;

        assert_int_equal(grd_map_open(&key, 1, buckets, 1, members, count, cf_allocator_default(), &map),
                         CF_OK);
        share_bounds(&map, members, count);
        counts_of(&map, counts);
        for (uint32_t i = 0; i < count; i++)
            assert_true(fabs(counts[i] - (double)buckets / count) <= 0.05 * buckets / count);
        grd_map_close(&map);
    }
}

/* What is dealt are buckets; that blocks follow is the keyed hash's doing. */
static void blocks_are_shared_within_five_percent(void **state)
{
    static const uint32_t sizes[] = {3, 7, 64, 200};
    uint16_t members[CF_NODES_MAX];
    struct cf_hash_key key;

    (void)state;
    first_members(members);
    grd_map_key("blocks", "s", &key);
    for (uint32_t s = 0; s < sizeof sizes / sizeof sizes[0]; s++) {
        struct grd_map map = open_map(&key, members, sizes[s], 1);
        uint32_t counts[CF_NODES_MAX] = {0}, blocks = 20000 * sizes[s];

        for (uint64_t block = 0; block < blocks; block++) {
            const struct cf_block_key name = {.file = 3, .generation = 1, .block = block};

            counts[grd_map_master(&map, grd_map_hash(&map, &name))]++;
        }
        for (uint32_t i = 0; i < sizes[s]; i++)
            assert_true(fabs(counts[i] - 20000.0) <= 1000); /* seven deviations */
        grd_map_close(&map);
    }
}

static uint32_t moved(const struct grd_map *before, const struct grd_map *after)
{
    uint32_t count = 0;

    for (uint32_t i = 0; i < before->buckets; i++)
        count += before->master[i] != after->master[i];
    return count;
}

static struct grd_map next_map(struct grd_map *from, const uint16_t *members, uint32_t count)
{
    struct grd_map map;

    assert_int_equal(grd_map_next(from, from->epoch + 1, members, count, &map), CF_OK);
    assert_int_equal(map.epoch, from->epoch + 1);
    share_bounds(&map, members, count);
    return map;
}

/* From 3 to 1,024, one at a time, and back: shares stay even, and what moves is what the newcomer is due or the leaver had. */
static void views_that_change_by_one_move_one_share(void **state)
{
    uint16_t members[CF_NODES_MAX];
    uint32_t count = 3;
    struct cf_hash_key key;
    struct cf_rng rng;
    struct grd_map map, next;

    (void)state;
    first_members(members);
    grd_map_key("views", "s", &key);
    cf_rng_seed(&rng, 5);
    assert_int_equal(grd_map_open(&key, 1, 32768, 1, members, count, cf_allocator_default(), &map), CF_OK);
    while (count < CF_NODES_MAX) {
        count++;
        next = next_map(&map, members, count);
        assert_int_equal(moved(&map, &next), map.buckets / count);
        grd_map_close(&map);
        map = next;
    }
    while (count > 3) {
        uint32_t counts[CF_NODES_MAX], lost = (uint32_t)cf_rng_below(&rng, count);
        uint16_t leaver = members[lost];

        counts_of(&map, counts);
        memmove(&members[lost], &members[lost + 1], (count - lost - 1) * sizeof members[0]);
        count--;
        next = next_map(&map, members, count);
        assert_int_equal(moved(&map, &next), counts[leaver]);
        grd_map_close(&map);
        map = next;
    }
    grd_map_close(&map);
}

/* Members drawn at will, several of them coming and going at once. */
static void views_that_change_at_will_move_no_more_than_they_must(void **state)
{
    uint16_t members[CF_NODES_MAX] = {0};
    uint32_t count = 1;
    struct cf_hash_key key;
    struct cf_rng rng;
    struct grd_map map, next;

    (void)state;
    grd_map_key("drawn", "s", &key);
    cf_rng_seed(&rng, 7);
    map = open_map(&key, members, count, 1);
    for (uint32_t round = 0; round < 200; round++) {
        uint32_t counts[CF_NODES_MAX], must = 0, kept = 0;
        bool is_in[CF_NODES_MAX] = {false};

        counts_of(&map, counts);
        count = 0;
        for (uint16_t node = 0; node < 40; node++) {
            is_in[node] = cf_rng_below(&rng, 2) == 0 || (node == 39 && count == 0);
            if (is_in[node])
                members[count++] = node;
        }
        next = next_map(&map, members, count);
        for (uint32_t i = 0; i < map.buckets; i++)
            kept += is_in[map.master[i]] && map.master[i] == next.master[i];
        for (uint32_t node = 0; node < 40; node++) {
            uint32_t due = BUCKETS / count + (BUCKETS % count != 0);

            must += !is_in[node] ? counts[node] : counts[node] > due ? counts[node] - due : 0;
        }
        /* Beside that: who gets one of the buckets left over by the division. */
        assert_in_range(BUCKETS - kept, must, must + count);
        grd_map_close(&map);
        map = next;
    }
    grd_map_close(&map);
}

static void a_bucket_that_was_moved_by_use_stays_with_a_member(void **state)
{
    static const uint16_t all[] = {0, 1, 2}, two[] = {0, 2};
    struct cf_hash_key key;
    struct grd_map map, next;

    (void)state;
    grd_map_key("stays", "s", &key);
    map = open_map(&key, all, 3, 1);
    map.owner[0] = 2; /* of master 0 */
    map.owner[3] = 1;
    map.number[0] = map.number[3] = 1;
    next = next_map(&map, two, 2);
    assert_int_equal(next.owner[0], 2);
    assert_int_equal(next.number[0], 1);
    assert_int_equal(next.owner[3], next.master[3]);
    assert_int_equal(next.owner[1], next.master[1]);
    assert_int_not_equal(next.master[1], 1);
    grd_map_close(&map);
    grd_map_close(&next);
}

/* Keys picked so that all fall into one bucket of a cluster whose secret is known fall anywhere in another. */
static void crafted_keys_do_not_fill_a_bucket(void **state)
{
    const struct cf_hash_key nothing = {{0}};
    uint16_t members[CF_NODES_MAX];
    uint32_t counts[BUCKETS] = {0}, crafted = 0, most = 0;
    struct cf_hash_key known, secret;
    struct grd_map guess, real;

    (void)state;
    first_members(members);
    grd_map_key("crafted", "known", &known);
    grd_map_key("crafted", "secret", &secret);
    assert_memory_not_equal(&known, &nothing, sizeof known);
    guess = open_map(&known, members, 4, 1);
    real = open_map(&secret, members, 4, 1);
    for (uint64_t block = 0; crafted < 1000; block++) {
        struct cf_block_key key = {.file = 7, .generation = 1, .block = block};

        if (grd_map_bucket(&guess, grd_map_hash(&guess, &key)) != 0)
            continue;
        crafted++;
        most = (uint32_t)fmax(most, ++counts[grd_map_bucket(&real, grd_map_hash(&real, &key))]);
    }
    assert_in_range(most, 1, 8); /* a thousand into 4096: eight in one is less likely than 10^-5 */
    grd_map_close(&guess);
    grd_map_close(&real);
}

static void node_ids_with_gaps_are_members(void **state)
{
    static const uint16_t members[] = {3, 400, 1023};
    struct cf_hash_key key;
    struct grd_map map;
    uint32_t counts[CF_NODES_MAX];

    (void)state;
    grd_map_key("gaps", "s", &key);
    map = open_map(&key, members, 3, 1);
    counts_of(&map, counts);
    assert_int_equal(counts[3] + counts[400] + counts[1023], BUCKETS);
    grd_map_close(&map);
}

/* The shard must not follow from the bucket: a master of few buckets would leave workers idle. */
static void shards_of_one_bucket_differ(void **state)
{
    static const uint16_t members[] = {0};
    uint32_t seen[8] = {0};
    struct cf_hash_key key;
    struct grd_map map;

    (void)state;
    grd_map_key("shards", "s", &key);
    map = open_map(&key, members, 1, 8);
    for (uint64_t block = 0; block < 400000; block++) {
        const struct cf_block_key name = {.file = 1, .generation = 1, .block = block};
        uint64_t hash = grd_map_hash(&map, &name);

        assert_int_equal(grd_map_master(&map, hash), 0);
        assert_true(grd_map_bucket(&map, hash) < BUCKETS);
        assert_true(grd_map_shard(&map, hash) < 8);
        if (grd_map_bucket(&map, hash) == 5)
            seen[grd_map_shard(&map, hash)]++;
    }
    for (uint32_t i = 0; i < 8; i++)
        assert_true(seen[i] > 0);
    grd_map_close(&map);
}

static void closing_clears_the_map(void **state)
{
    static const uint16_t members[] = {0};
    struct cf_hash_key key = {{0}};
    struct grd_map map = open_map(&key, members, 1, 1);

    (void)state;
    grd_map_close(&map);
    assert_null(map.master);
    grd_map_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_instance_computes_the_same_map),
        cmocka_unit_test(hash_and_masters_are_the_ones_of_every_build),
        cmocka_unit_test(cluster_and_secret_are_told_apart),
        cmocka_unit_test(shares_differ_by_one_bucket_and_by_less_than_five_percent),
        cmocka_unit_test(blocks_are_shared_within_five_percent),
        cmocka_unit_test(views_that_change_by_one_move_one_share),
        cmocka_unit_test(views_that_change_at_will_move_no_more_than_they_must),
        cmocka_unit_test(a_bucket_that_was_moved_by_use_stays_with_a_member),
        cmocka_unit_test(crafted_keys_do_not_fill_a_bucket),
        cmocka_unit_test(node_ids_with_gaps_are_members),
        cmocka_unit_test(shards_of_one_bucket_differ),
        cmocka_unit_test(closing_clears_the_map),
    };

    return cmocka_run_group_tests_name("grd/map", tests, ready, NULL);
}
