/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: percentiles against a sorted array, the error bound, merge, edges. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/hist.h"
#include "base/rng.h"

#define VALUES 20000

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

static void percentiles_are_within_the_bound_of_a_sorted_array(void **state)
{
    static const double quantiles[] = {0.0, 0.001, 0.25, 0.5, 0.9, 0.99, 0.999, 1.0};
    static uint64_t values[VALUES];
    static struct cf_hist hist;
    struct cf_rng rng;
    double sum = 0;

    (void)state;
    cf_rng_seed(&rng, 42);
    cf_hist_init(&hist);
    for (int i = 0; i < VALUES; i++) {
        values[i] = cf_rng_next(&rng) >> cf_rng_below(&rng, 64);
        sum += (double)values[i];
        cf_hist_add(&hist, values[i]);
    }
    qsort(values, VALUES, sizeof(values[0]), by_value);
    for (size_t q = 0; q < CF_COUNTOF(quantiles); q++) {
        double rank = quantiles[q] * VALUES;
        size_t index = rank > 1.0 ? (size_t)(rank + 0.999999) - 1 : 0;
        double truth = (double)values[index];
        double told = (double)cf_hist_percentile(&hist, quantiles[q]);
        assert_true(told >= truth * (1 - 0.016) && told <= truth * (1 + 0.016));
    }
    assert_int_equal(cf_hist_count(&hist), VALUES);
    assert_true(cf_hist_min(&hist) == values[0]);
    assert_true(cf_hist_max(&hist) == values[VALUES - 1]);
    assert_true(cf_hist_mean(&hist) > 0.999999 * sum / VALUES &&
                cf_hist_mean(&hist) < 1.000001 * sum / VALUES);
}

static void buckets_are_in_order_and_inside_the_array(void **state)
{
    uint32_t before = 0;

    (void)state;
    assert_int_equal(cf_hist_bucket(0), 0);
    assert_int_equal(cf_hist_bucket(UINT64_MAX), CF_HIST_BUCKETS - 1);
    for (unsigned shift = 0; shift < 64; shift++) {
        for (int around = -1; around <= 1; around++) {
            uint64_t value = (UINT64_C(1) << shift) + (uint64_t)(int64_t)around;
            uint32_t bucket = cf_hist_bucket(value);
            assert_true(bucket < CF_HIST_BUCKETS);
            if (shift > 1)
                assert_true(bucket >= before);
            before = bucket;
        }
    }
}

static void small_values_are_exact(void **state)
{
    static struct cf_hist hist;

    (void)state;
    for (uint64_t value = 0; value < CF_HIST_SUB; value++) {
        cf_hist_init(&hist);
        cf_hist_add(&hist, 0);
        cf_hist_add(&hist, value);
        cf_hist_add(&hist, 1000);
        assert_int_equal(cf_hist_percentile(&hist, 0.6), value);
    }
}

static void merged_equals_added_together(void **state)
{
    static struct cf_hist one, other, both;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 7);
    cf_hist_init(&one);
    cf_hist_init(&other);
    cf_hist_init(&both);
    for (int i = 0; i < 1000; i++) {
        uint64_t value = cf_rng_below(&rng, 1000000);
        cf_hist_add(i % 3 == 0 ? &one : &other, value);
        cf_hist_add(&both, value);
    }
    cf_hist_merge(&one, &other);
    assert_int_equal(one.count, both.count);
    assert_true(one.min == both.min && one.max == both.max);
    assert_memory_equal(one.buckets, both.buckets, sizeof(one.buckets));
}

static void empty_is_all_zero(void **state)
{
    static struct cf_hist hist, other;

    (void)state;
    cf_hist_init(&hist);
    cf_hist_init(&other);
    cf_hist_merge(&hist, &other);
    assert_int_equal(cf_hist_percentile(&hist, 0.99), 0);
    assert_int_equal(cf_hist_min(&hist), 0);
    assert_int_equal(cf_hist_max(&hist), 0);
    assert_true(cf_hist_mean(&hist) == 0.0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(percentiles_are_within_the_bound_of_a_sorted_array),
        cmocka_unit_test(buckets_are_in_order_and_inside_the_array),
        cmocka_unit_test(small_values_are_exact),
        cmocka_unit_test(merged_equals_added_together),
        cmocka_unit_test(empty_is_all_zero),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
