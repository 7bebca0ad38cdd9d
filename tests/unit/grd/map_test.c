/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: the map of buckets: the same everywhere (I-10), fair, and moved by a member's share only. */
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
    assert_int_equal(sum, UINT64_C(0x910a293b1a49a4b8));
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

/*
 * Shares are drawn, not dealt: a member's deviates by about sqrt(share). So up to four members are within ten
 * per cent at 4096 buckets, and 32 members at 65536 (share 2048, deviation 2 %); for all others, deviation
 * squared by share, summed up, must be that of fair drawing (chi-square, five deviations).
 */
static void shares_are_fair(uint32_t buckets, uint32_t members_count, const struct cf_hash_key *key,
                            bool is_within_tenth)
{
    double share = (double)buckets / members_count, chi_square = 0, freedom = members_count - 1;
    uint16_t members[CF_NODES_MAX];
    uint32_t counts[CF_NODES_MAX];
    struct grd_map map;

    first_members(members);
    assert_int_equal(grd_map_open(key, 1, buckets, 1, members, members_count, cf_allocator_default(), &map),
                     CF_OK);
    counts_of(&map, counts);
    for (uint32_t i = 0; i < members_count; i++) {
        double off = counts[i] - share;

        chi_square += off * off / share;
        if (is_within_tenth)
            assert_true(fabs(off) <= 0.1 * share);
        assert_true(fabs(off) <= 5 * sqrt(share));
    }
    assert_true(chi_square <= freedom + 5 * sqrt(2 * freedom));
    grd_map_close(&map);
}

static void buckets_are_shared_fairly(void **state)
{
    (void)state;
    for (uint32_t seed = 0; seed < 3; seed++) {
        const char secret[2] = {(char)('a' + seed), 0};
        struct cf_hash_key key;

        grd_map_key("fair", secret, &key);
        for (uint32_t members = 1; members <= 64; members += 1 + members / 8)
            shares_are_fair(BUCKETS, members, &key, members <= 4);
        shares_are_fair(65536, 32, &key, true);
    }
}

static void a_new_member_takes_its_share_and_moves_nothing_else(void **state)
{
    uint16_t members[CF_NODES_MAX];
    struct cf_hash_key key;

    (void)state;
    first_members(members);
    grd_map_key("grow", "s", &key);
    for (uint32_t count = 1; count <= 64; count += 1 + count / 4) {
        struct grd_map before = open_map(&key, members, count, 1),
                       after = open_map(&key, members, count + 1, 1);
        double share = (double)BUCKETS / (count + 1);
        uint32_t moved = 0;

        for (uint32_t i = 0; i < BUCKETS; i++) {
            if (before.master[i] != after.master[i]) {
                assert_int_equal(after.master[i], count);
                moved++;
            }
        }
        assert_true(fabs(moved - share) <= fmax(0.1 * share, 5 * sqrt(share)));
        grd_map_close(&before);
        grd_map_close(&after);
    }
}

static void a_lost_member_leaves_the_others_buckets_alone(void **state)
{
    uint16_t members[CF_NODES_MAX], without[CF_NODES_MAX];
    struct cf_hash_key key;

    (void)state;
    first_members(members);
    grd_map_key("shrink", "s", &key);
    for (uint16_t lost = 0; lost < 8; lost++) {
        struct grd_map before = open_map(&key, members, 8, 1), after;
        uint32_t count = 0;

        for (uint16_t i = 0; i < 8; i++)
            if (i != lost)
                without[count++] = i;
        after = open_map(&key, without, count, 1);
        for (uint32_t i = 0; i < BUCKETS; i++) {
            assert_int_not_equal(after.master[i], lost);
            if (before.master[i] != lost)
                assert_int_equal(before.master[i], after.master[i]);
        }
        grd_map_close(&before);
        grd_map_close(&after);
    }
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
        cmocka_unit_test(buckets_are_shared_fairly),
        cmocka_unit_test(a_new_member_takes_its_share_and_moves_nothing_else),
        cmocka_unit_test(a_lost_member_leaves_the_others_buckets_alone),
        cmocka_unit_test(crafted_keys_do_not_fill_a_bucket),
        cmocka_unit_test(node_ids_with_gaps_are_members),
        cmocka_unit_test(shards_of_one_bucket_differ),
        cmocka_unit_test(closing_clears_the_map),
    };

    return cmocka_run_group_tests_name("grd/map", tests, ready, NULL);
}
