/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: the fixed sequence of a seed, range and balance of draws. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/rng.h"

/* First outputs for state 1, 2, 3, 4, as the authors of xoshiro256** give them. */
static void gives_the_published_sequence(void **state)
{
    static const uint64_t expected[] = {UINT64_C(11520), UINT64_C(0), UINT64_C(1509978240),
                                        UINT64_C(1215971899390074240)};
    struct cf_rng rng = {{1, 2, 3, 4}};

    (void)state;
    for (unsigned i = 0; i < 4; i++)
        assert_true(cf_rng_next(&rng) == expected[i]);
}

static void a_seed_names_a_sequence(void **state)
{
    struct cf_rng one, same, other;
    int equal_count = 0;

    (void)state;
    cf_rng_seed(&one, 0);
    cf_rng_seed(&same, 0);
    cf_rng_seed(&other, 1);
    for (int i = 0; i < 1000; i++) {
        uint64_t x = cf_rng_next(&one);
        assert_true(x == cf_rng_next(&same));
        equal_count += x == cf_rng_next(&other);
    }
    assert_int_equal(equal_count, 0);
}

static void below_stays_below_and_is_balanced(void **state)
{
    uint64_t hits[7] = {0};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 11);
    assert_int_equal(cf_rng_below(&rng, 0), 0);
    assert_int_equal(cf_rng_below(&rng, 1), 0);
    for (int i = 0; i < 70000; i++)
        hits[cf_rng_below(&rng, 7)]++;
    for (int i = 0; i < 7; i++)
        assert_in_range(hits[i], 9500, 10500);
    for (int i = 0; i < 1000; i++)
        assert_true(cf_rng_below(&rng, (UINT64_C(1) << 63) + 1) <= UINT64_C(1) << 63);
}

/* 2^64 is a third more than this bound: without refusing, its lowest third would come up twice as often. */
static void large_bounds_have_no_bias(void **state)
{
    const uint64_t bound = UINT64_C(3) << 62;
    struct cf_rng rng;
    int low_count = 0;

    (void)state;
    cf_rng_seed(&rng, 13);
    for (int i = 0; i < 30000; i++)
        low_count += cf_rng_below(&rng, bound) < UINT64_C(1) << 62;
    assert_in_range(low_count, 9500, 10500);
}

static void chance_follows_its_probability(void **state)
{
    struct cf_rng rng;
    int hits = 0;

    (void)state;
    cf_rng_seed(&rng, 12);
    for (int i = 0; i < 100000; i++) {
        double unit = cf_rng_unit(&rng);
        assert_true(unit >= 0.0 && unit < 1.0);
        hits += cf_rng_chance(&rng, 0.3);
        assert_false(cf_rng_chance(&rng, 0.0));
        assert_true(cf_rng_chance(&rng, 1.0));
    }
    assert_in_range(hits, 29000, 31000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gives_the_published_sequence),      cmocka_unit_test(a_seed_names_a_sequence),
        cmocka_unit_test(below_stays_below_and_is_balanced), cmocka_unit_test(large_bounds_have_no_bias),
        cmocka_unit_test(chance_follows_its_probability),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
