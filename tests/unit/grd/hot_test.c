/* SPDX-License-Identifier: Apache-2.0 */
/* The sketch of hot blocks: what is in it, who, decay, bounds. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>

#include <cmocka.h>

#include "base/rng.h"
#include "grd/hot.h"

#define VIEWS 20u

static struct cf_block_key key_of(uint64_t block)
{
    return (struct cf_block_key){.file = 7, .generation = 1, .block = block};
}

static struct grd_hot *table_make(void)
{
    struct grd_hot *hot = aligned_alloc(64, sizeof *hot);

    assert_non_null(hot);
    *hot = (struct grd_hot){0};
    return hot;
}

static void count(struct grd_hot *hot, uint64_t block, uint16_t node, enum cf_mode mode, uint64_t now_ns)
{
    struct cf_block_key key = key_of(block);

    grd_hot_note(hot, &key, node, mode, now_ns);
}

static uint32_t top(struct grd_hot *hot, uint64_t now_ns, struct grd_hot_view *views)
{
    const struct grd_hot *table = hot;

    grd_hot_settle(hot);
    return grd_hot_top(&table, 1, now_ns, views, VIEWS);
}

static void a_hot_block_stands_out_of_many_cold_ones_with_those_who_want_it(void **state)
{
    struct grd_hot *hot = table_make();
    struct grd_hot_view views[VIEWS];
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 5);
    for (uint32_t i = 0; i < 100000; i++) {
        count(hot, 1000 + cf_rng_below(&rng, 100000), (uint16_t)cf_rng_below(&rng, 8), CF_MODE_S, 1);
        if (i % 10 == 0)
            count(hot, 3, (uint16_t)(i % 30 == 0 ? 2 : 1), i % 20 == 0 ? CF_MODE_X : CF_MODE_S, 1);
    }
    assert_int_equal(top(hot, 1, views), VIEWS);
    assert_int_equal(views[0].key.block, 3);
    assert_in_range(views[0].s + views[0].x - views[0].error, 1, 10000);
    assert_true(views[0].s + views[0].x >= 10000); /* never too low */
    assert_int_equal(views[0].who[0].node, 1);
    assert_int_equal(views[0].who[1].node, 2);
    for (uint32_t i = 1; i < VIEWS; i++)
        assert_true(views[i].s + views[i].x <= views[i - 1].s + views[i - 1].x);
    free(hot);
}

/* Holds only if each block that comes in takes the place of one that is as cold as any. */
static void no_count_is_too_high_by_more_than_its_share_of_all(void **state)
{
    struct grd_hot *hot = table_make();
    struct grd_hot_view views[GRD_HOT_ENTRIES];
    uint64_t times[300] = {0}, sum = 0, all = 0;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 11);
    for (uint32_t i = 0; i < 60000; i++) {
        uint64_t block = cf_rng_below(&rng, cf_rng_below(&rng, 300) + 1);

        count(hot, block, 1, CF_MODE_S, 1);
        times[block]++;
        all++;
    }
    grd_hot_settle(hot);
    assert_int_equal(grd_hot_top((const struct grd_hot *const[]){hot}, 1, 1, views, GRD_HOT_ENTRIES),
                     GRD_HOT_ENTRIES);
    for (uint32_t i = 0; i < GRD_HOT_ENTRIES; i++) {
        sum += views[i].s;
        assert_in_range(views[i].s, times[views[i].key.block], times[views[i].key.block] + views[i].error);
        assert_in_range(views[i].error, 0, all / GRD_HOT_ENTRIES);
    }
    assert_int_equal(sum, all);
    free(hot);
}

static void what_nobody_fights_over_any_more_fades(void **state)
{
    struct grd_hot *hot = table_make();
    struct grd_hot_view views[VIEWS];

    (void)state;
    for (uint32_t i = 0; i < 1024; i++)
        count(hot, 9, 4, CF_MODE_X, 0);
    assert_int_equal(top(hot, 3 * GRD_HOT_HALF_NS, views), 1); /* a reader halves by itself */
    assert_int_equal(views[0].x, 128);
    assert_int_equal(views[0].who[0].x, 128);
    count(hot, 10, 1, CF_MODE_S, 5 * GRD_HOT_HALF_NS);
    assert_int_equal(top(hot, 5 * GRD_HOT_HALF_NS, views), 2);
    assert_int_equal(views[0].x, 32);
    assert_int_equal(top(hot, 500 * GRD_HOT_HALF_NS, views), 0);
    free(hot);
}

static void several_tables_give_one_list(void **state)
{
    struct grd_hot *a = table_make(), *b = table_make();
    const struct grd_hot *both[2] = {a, b};
    struct grd_hot_view views[VIEWS];

    (void)state;
    for (uint32_t i = 0; i < 60; i++) {
        for (uint32_t n = 0; n <= i; n++)
            count(i % 2 ? a : b, i, 0, CF_MODE_S, 0);
    }
    grd_hot_settle(a);
    grd_hot_settle(b);
    assert_int_equal(grd_hot_top(both, 2, 0, views, VIEWS), VIEWS);
    for (uint32_t i = 0; i < VIEWS; i++) {
        assert_int_equal(views[i].key.block, 59 - i);
        assert_int_equal(views[i].s, 60 - i);
        assert_int_equal(views[i].error, 0);
    }
    free(a);
    free(b);
}

static void a_transfer_is_counted_once_and_no_later_than_somebody_has_to_know(void **state)
{
    struct grd_hot *hot = table_make();
    const struct grd_hot *table = hot;
    struct grd_hot_view views[VIEWS];
    struct cf_block_key key = key_of(5);
    uint64_t until_ns;

    (void)state;
    for (uint32_t i = 0; i < GRD_HOT_LATER_MAX; i++)
        count(hot, 9, 4, CF_MODE_S, 1);
    assert_int_equal(grd_hot_top(&table, 1, 1, views, VIEWS), 0); /* noted only */
    count(hot, 9, 4, CF_MODE_S, 1);
    assert_int_equal(grd_hot_top(&table, 1, 1, views, VIEWS), 1); /* there was no room for more */
    assert_int_equal(views[0].s, GRD_HOT_LATER_MAX);
    assert_int_equal(top(hot, 1, views), 1);
    assert_int_equal(views[0].s, GRD_HOT_LATER_MAX + 1);
    assert_int_equal(top(hot, 1, views), 1);
    assert_int_equal(views[0].s, GRD_HOT_LATER_MAX + 1);

    count(hot, 5, 1, CF_MODE_X, 10);
    for (uint32_t i = 0; i < GRD_HOT_SHARED_READS; i++)
        count(hot, 5, (uint16_t)(2 + i), CF_MODE_S, 20);
    assert_int_not_equal(grd_hot_shared(hot, &key, &until_ns), UINT32_MAX); /* the last of them are known */
    assert_int_equal(until_ns, 30);
    free(hot);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_hot_block_stands_out_of_many_cold_ones_with_those_who_want_it),
        cmocka_unit_test(no_count_is_too_high_by_more_than_its_share_of_all),
        cmocka_unit_test(what_nobody_fights_over_any_more_fades),
        cmocka_unit_test(several_tables_give_one_list),
        cmocka_unit_test(a_transfer_is_counted_once_and_no_later_than_somebody_has_to_know),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
