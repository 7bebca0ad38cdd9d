/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: which entries are evicted and what of them stays (G-5), holders beyond the inline slots and beyond 24
 * bits of difference, the index after much churn, leaks and dumps. Not here: random calls (directory_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "grd/directory_impl.h"
#include "tests/unit/grd/directory_fixture.h"

static void an_evicted_entry_leaves_its_tenure_to_those_that_follow(void **state)
{
    struct grd_directory *directory = directory_open(4, 4, 4, 4);
    struct grd_entry *entry = directory_get(directory, 1);
    uint64_t last = 0;
    uint32_t i;

    (void)state;
    for (i = 0; i < 50; i++)
        last = directory_hold(directory, entry, 3);
    entry->version = 9;
    grd_holder_remove(directory, entry, 3);
    grd_entry_settle(directory, entry);
    for (i = 100; i < 104; i++)
        directory_get(directory, i);
    assert_null(directory_find(directory, 1));
    assert_true(grd_directory_counters(directory)->forgotten > 0);
    entry = directory_get(directory, 1);
    assert_int_equal(entry->version, 0);
    assert_true(grd_entry_tenure(directory, entry) > last);
    directory_close(directory);
}

static void entries_with_content_are_never_evicted(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 8, 8);
    struct grd_pending *pending;
    struct grd_waiter *waiter;
    uint64_t block, value;

    (void)state;
    directory_hold(directory, directory_get(directory, 1), 3);
    waiter = grd_waiter_add(directory, directory_get(directory, 2));
    pending = grd_pending_add(directory, directory_get(directory, 3));
    grd_list_set(directory, directory_get(directory, 4), GRD_LIST_PAST, 5, 17);
    for (block = 1; block <= 4; block++)
        grd_entry_settle(directory, directory_get(directory, block));
    for (block = 100; block < 1100; block++)
        grd_entry_settle(directory, directory_get(directory, block));
    assert_int_equal(grd_directory_counters(directory)->forgotten, 996);
    assert_int_equal(grd_holders_count(directory, directory_find(directory, 1)), 1);
    assert_true(grd_waiter_first(directory, directory_find(directory, 2)) == waiter);
    assert_true(grd_pending_first(directory, directory_find(directory, 3)) == pending);
    assert_true(grd_list_find(directory, directory_find(directory, 4), GRD_LIST_PAST, 5, &value));
    assert_int_equal(value, 17);
    directory_close(directory);
}

static void the_idle_entry_that_was_not_used_goes_first(void **state)
{
    struct grd_directory *directory = directory_open(16, 4, 4, 4);
    uint64_t block;

    (void)state;
    for (block = 0; block < 16; block++)
        directory_get(directory, block);
    for (block = 0; block < 4; block++)
        assert_non_null(directory_find(directory, block));
    directory_get(directory, 100);
    assert_null(directory_find(directory, 4));
    for (block = 0; block < 16; block++)
        assert_int_equal(directory_find(directory, block) != NULL, block != 4);
    directory_close(directory);
}

static void an_eviction_looks_at_nine_entries_at_most(void **state)
{
    struct grd_directory *directory = directory_open(64, 4, 4, 4);
    uint64_t block;

    (void)state;
    for (block = 0; block < 64; block++)
        directory_get(directory, block);
    for (block = 0; block < 64; block++)
        directory_find(directory, block);
    directory_get(directory, 100); /* eight lose their marks, the ninth goes with its own */
    for (block = 0; block < 64; block++)
        assert_int_equal(directory_find(directory, block) != NULL, block != 8);
    directory_close(directory);
}

/* Mean distance from home. Linear probing at seven tenths: 1.17 on average when just filled (Knuth 6.4). */
static double index_distance(const struct grd_directory *directory)
{
    uint64_t slot, home, sum = 0, count = 0;

    for (slot = 0; slot < directory->slots; slot++) {
        if (directory->index[slot] == 0)
            continue;
        home = (directory->index[slot] >> 32) * directory->slots >> 32;
        sum += slot >= home ? slot - home : slot + directory->slots - home;
        count++;
    }
    return (double)sum / (double)count;
}

static void the_index_does_not_degrade_by_evictions(void **state)
{
    struct grd_directory *directory = directory_open(10000, 4, 4, 4);
    uint64_t block;
    double fresh, old;

    (void)state;
    for (block = 0; block < 10000; block++)
        directory_get(directory, block);
    fresh = index_distance(directory);
    for (; block < 1000000; block++)
        directory_get(directory, block);
    old = index_distance(directory);
    print_message("mean distance from home: %.2f when filled, %.2f after 990000 evictions\n", fresh, old);
    assert_int_equal(grd_directory_counters(directory)->forgotten, 990000);
    assert_true(fresh < 1.6);
    assert_true(old < 1.6);
    directory_close(directory);
}

static void assert_tenure(const struct grd_directory *directory, const struct grd_entry *entry, uint16_t node,
                          uint64_t tenure)
{
    struct grd_holder holder;

    assert_true(grd_holder_find(directory, entry, node, &holder));
    assert_int_equal(holder.tenure, tenure);
}

static void the_fifth_holder_goes_to_a_chunk_and_comes_back(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    struct grd_entry *entry = directory_get(directory, 1);
    uint64_t tenure[5];
    uint16_t node;

    (void)state;
    for (node = 0; node < 5; node++)
        tenure[node] = directory_hold(directory, entry, node);
    assert_int_equal(directory->chunk_pool.used, 1);
    assert_int_equal(grd_holders_count(directory, entry), 5);
    for (node = 0; node < 5; node++)
        assert_tenure(directory, entry, node, tenure[node]);
    grd_holder_remove(directory, entry, 1);
    assert_int_equal(directory->chunk_pool.used, 0);
    grd_entry_settle(directory, entry);
    assert_int_equal(directory->side_pool.used, 0);
    assert_int_equal(grd_holders_count(directory, entry), 4);
    assert_tenure(directory, entry, 4, tenure[4]);
    directory_close(directory);
}

static void all_nodes_can_hold_an_entry_and_leave_it_in_any_order(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, CF_NODES_MAX, 8);
    struct grd_entry *entry = directory_get(directory, 1);
    uint64_t tenure[CF_NODES_MAX];
    uint16_t left[CF_NODES_MAX];
    uint32_t count = CF_NODES_MAX, i;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 7);
    for (i = 0; i < CF_NODES_MAX; i++) {
        left[i] = (uint16_t)i;
        tenure[i] = directory_hold(directory, entry, (uint16_t)i);
    }
    while (count > 0) {
        uint32_t at = (uint32_t)cf_rng_below(&rng, count);

        assert_int_equal(grd_holders_count(directory, entry), count);
        assert_int_equal(directory->chunk_pool.used, count > 4 ? (count - 4 + 5) / 6 : 0);
        assert_tenure(directory, entry, left[at], tenure[left[at]]);
        assert_true(grd_holder_remove(directory, entry, left[at]));
        assert_false(grd_holder_remove(directory, entry, left[at]));
        left[at] = left[--count];
    }
    grd_entry_settle(directory, entry);
    assert_int_equal(directory->side_pool.used, 0);
    directory_close(directory);
}

static void tenures_stay_exact_when_2_to_the_24_are_between_them(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    struct grd_entry *entry = directory_get(directory, 1);
    uint64_t first = directory_hold(directory, entry, 1), second = 0, newest = 0, i;
    struct grd_holder old;

    (void)state;
    for (i = 0; i < (UINT64_C(5) << 23); i++) {
        if (i == (UINT64_C(1) << 22))
            second = directory_hold(directory, entry, 2);
        newest = grd_entry_tenure(directory, entry);
        if (i % 999983 == 0) {
            assert_tenure(directory, entry, 1, first);
            assert_int_equal(grd_holders_count(directory, entry), second ? 2 : 1);
        }
    }
    assert_tenure(directory, entry, 1, first);
    assert_tenure(directory, entry, 2, second);
    assert_true(newest - first > (UINT64_C(1) << 25));
    assert_true(grd_holder_find(directory, entry, 1, &old));
    old.has_duty = true; /* set again, old as it is */
    grd_holder_set(directory, entry, &old);
    assert_tenure(directory, entry, 1, first);
    newest = directory_hold(directory, entry, 2); /* young again: back in its slot */
    assert_tenure(directory, entry, 2, newest);
    assert_int_equal(grd_holders_count(directory, entry), 2);
    assert_true(grd_holder_remove(directory, entry, 1));
    assert_true(grd_holder_remove(directory, entry, 2));
    assert_int_equal(grd_holders_count(directory, entry), 0);
    grd_entry_settle(directory, entry);
    assert_int_equal(directory->side_pool.used, 0);
    directory_close(directory);
}

/* Old enough for a chunk, not yet moved there: set again it must not be there twice. */
static void an_inline_holder_set_when_old_is_there_once(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    struct grd_entry *entry = directory_get(directory, 1);
    uint64_t first = directory_hold(directory, entry, 1), i;
    struct grd_holder old;

    (void)state;
    for (i = 0; i < SPILL_AGE + SPILL_PERIOD / 2; i++)
        grd_entry_tenure(directory, entry);
    assert_true(grd_holder_find(directory, entry, 1, &old));
    assert_int_equal(directory->chunk_pool.used, 0);
    grd_holder_set(directory, entry, &old);
    assert_int_equal(grd_holders_count(directory, entry), 1);
    assert_tenure(directory, entry, 1, first);
    directory_close(directory);
}

static void prefetching_changes_nothing(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    uint64_t block;

    (void)state;
    for (block = 0; block < 8; block++)
        directory_get(directory, block);
    for (block = 0; block < 16; block++) { /* those that are there, and those that are not */
        grd_entry_prefetch(directory, directory_hash(block));
        grd_entry_prefetch_record(directory, directory_hash(block));
    }
    directory_get(directory, 8);
    assert_null(directory_find(directory, 0)); /* it bore no mark */
    directory_close(directory);
}

static void leaks_name_what_is_left_over(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    struct grd_entry *entry = directory_get(directory, 1);
    struct grd_pending *pending = grd_pending_add(directory, entry);
    struct grd_waiter *waiter = grd_waiter_add(directory, entry);
    char text[256] = "";

    (void)state;
    grd_list_set(directory, entry, GRD_LIST_SHARERS, 3, 1);
    grd_list_set(directory, entry, GRD_LIST_PAST, 3, 1);
    directory_hold(directory, entry, 3);
    assert_int_equal(grd_directory_leaks(directory, text, sizeof text), 3);
    assert_string_equal(
        text,
        "directory: 1 waiters, 1 pending grants, 0 rebuilds, 1 chunks of sharers, 0 empty side records");
    grd_pending_remove(directory, entry, pending);
    grd_waiter_remove(directory, entry, waiter);
    grd_list_clear(directory, entry, GRD_LIST_SHARERS);
    assert_int_equal(grd_directory_leaks(directory, text, sizeof text), 0); /* a past image explains itself */
    grd_list_clear(directory, entry, GRD_LIST_PAST);
    assert_int_equal(grd_directory_leaks(directory, text, sizeof text), 1); /* not settled */
    grd_entry_settle(directory, entry);
    assert_int_equal(grd_directory_leaks(directory, text, sizeof text), 0);
    directory_close(directory);
}

static void a_dump_tells_all_that_is_known_of_an_entry(void **state)
{
    struct grd_directory *directory = directory_open(8, 8, 64, 8);
    struct grd_entry *entry = directory_get(directory, 42);
    struct grd_holder holder = {.node = 3, .is_x = true, .has_duty = true, .is_pending = true};
    struct grd_pending *pending;
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    (void)state;
    assert_non_null(out);
    holder.tenure = grd_entry_tenure(directory, entry);
    grd_holder_set(directory, entry, &holder);
    grd_waiter_add(directory, entry)->node = 4;
    pending = grd_pending_add(directory, entry);
    pending->node = 3;
    pending->tenure = 1;
    grd_list_set(directory, entry, GRD_LIST_SHARERS, 6, 11);
    grd_list_set(directory, entry, GRD_LIST_PAST, 7, 12);
    grd_entry_dump(directory, entry, out);
    fclose(out);
    assert_string_equal(text, "entry file 7 generation 1 block 42 last tenure 1 version 0 durable 0\n"
                              "  node 3 X tenure 1 pending duty\n"
                              "  waits node 4 request 0 mode 0 held 0\n"
                              "  granted node 3 request 0 mode 0 tenure 1 source 0\n"
                              "  sharer node 6 tenure 11\n"
                              "  past image node 7 version 12\n");
    free(text);
    directory_close(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_evicted_entry_leaves_its_tenure_to_those_that_follow),
        cmocka_unit_test(entries_with_content_are_never_evicted),
        cmocka_unit_test(the_idle_entry_that_was_not_used_goes_first),
        cmocka_unit_test(an_eviction_looks_at_nine_entries_at_most),
        cmocka_unit_test(the_index_does_not_degrade_by_evictions),
        cmocka_unit_test(the_fifth_holder_goes_to_a_chunk_and_comes_back),
        cmocka_unit_test(all_nodes_can_hold_an_entry_and_leave_it_in_any_order),
        cmocka_unit_test(tenures_stay_exact_when_2_to_the_24_are_between_them),
        cmocka_unit_test(an_inline_holder_set_when_old_is_there_once),
        cmocka_unit_test(prefetching_changes_nothing),
        cmocka_unit_test(leaks_name_what_is_left_over),
        cmocka_unit_test(a_dump_tells_all_that_is_known_of_an_entry),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
