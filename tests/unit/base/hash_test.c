/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: published SipHash-2-4 vectors, dependence on the key, bijection of the local mix on samples. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/hash.h"

static struct cf_hash_key counting_key(void)
{
    struct cf_hash_key key;

    for (uint8_t i = 0; i < sizeof(key.k); i++)
        key.k[i] = i;
    return key;
}

/* Vectors of the reference implementation: key 00..0f, message 00, 01, 02, ... of the length. */
static void gives_the_published_vectors(void **state)
{
    static const struct {
        size_t length;
        uint64_t hash;
    } vectors[] = {
        {0, UINT64_C(0x726fdb47dd0e0e31)},
        {1, UINT64_C(0x74f839c593dc67fd)},
        {8, UINT64_C(0x93f5f5799a932462)},
        {15, UINT64_C(0xa129ca6149be45e5)},
    };
    struct cf_hash_key key = counting_key();
    uint8_t message[16];

    (void)state;
    for (uint8_t i = 0; i < sizeof(message); i++)
        message[i] = i;
    for (size_t i = 0; i < CF_COUNTOF(vectors); i++)
        assert_true(cf_siphash(&key, message, vectors[i].length) == vectors[i].hash);
}

static void sixteen_bytes_hash_the_same_by_the_short_way(void **state)
{
    struct cf_hash_key key;
    uint8_t message[17];

    (void)state;
    assert_true(cf_hash_init());
    for (uint32_t i = 0; i < 10000; i++) {
        cf_hash_key_random(&key);
        for (uint32_t at = 0; at < sizeof message; at++)
            message[at] = (uint8_t)(i * 31 + at * (i >> 3));
        assert_true(cf_siphash16(&key, message + i % 2) == cf_siphash(&key, message + i % 2, 16));
    }
}

static void another_key_gives_another_hash(void **state)
{
    struct cf_hash_key one, other;

    (void)state;
    assert_true(cf_hash_init());
    assert_true(cf_hash_init());
    cf_hash_key_random(&one);
    cf_hash_key_random(&other);
    assert_memory_not_equal(&one, &other, sizeof(one));
    assert_true(cf_siphash(&one, "block", 5) != cf_siphash(&other, "block", 5));
}

static void mix_keeps_different_numbers_different(void **state)
{
    uint64_t low_bits_seen[16] = {0};

    (void)state;
    for (uint64_t x = 0; x < 1024; x++)
        low_bits_seen[(cf_mix64(x, 99) & 1023) / 64] |= UINT64_C(1) << (cf_mix64(x, 99) & 63);
    for (uint64_t x = 1; x < 1000; x++) {
        assert_true(cf_mix64(x, 5) != cf_mix64(x - 1, 5));
        assert_true(cf_mix64(x, 5) != cf_mix64(x, 6));
    }
    /* sequential keys spread: of 1024 buckets about 63 % are hit, none of 16 groups is starved */
    for (size_t i = 0; i < CF_COUNTOF(low_bits_seen); i++)
        assert_in_range(__builtin_popcountll(low_bits_seen[i]), 25, 56);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_published_vectors),
        cmocka_unit_test(sixteen_bytes_hash_the_same_by_the_short_way),
        cmocka_unit_test(another_key_gives_another_hash),
        cmocka_unit_test(mix_keeps_different_numbers_different),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
