/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: what a directory takes, and that its pools last for the worst that the options allow; what happens to
 * those who go beyond (G-12). Each worst case ends with one more grant being possible.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "grd/directory_impl.h"
#include "tests/unit/grd/directory_fixture.h"

#define ENTRIES 1000u

struct count {
    struct cf_allocator allocator;
    uint64_t calls, bytes, bytes_freed;
    bool is_empty;
};

static void *count_alloc(void *ctx, size_t bytes, size_t align, unsigned flags)
{
    struct count *count = ctx;

    if (count->is_empty)
        return NULL;
    count->calls++;
    count->bytes += bytes;
    return cf_alloc(cf_allocator_default(), bytes, align, flags);
}

static void count_free(void *ctx, void *p, size_t bytes)
{
    struct count *count = ctx;

    count->bytes_freed += bytes;
    cf_free(cf_allocator_default(), p, bytes);
}

static void open_takes_what_size_says_at_once(void **state)
{
    const uint64_t sizes[] = {1, 3, 1000, 77777};
    uint32_t i;

    (void)state;
    for (i = 0; i < CF_COUNTOF(sizes); i++) {
        struct count count = {.allocator = {sizeof count.allocator, &count, count_alloc, count_free}};
        struct grd_directory_options options = {.entries = sizes[i],
                                                .conversations = sizes[i] / 3,
                                                .holders = sizes[i] * 2,
                                                .past_images = sizes[i] / 2,
                                                .buckets = 16,
                                                .allocator = &count.allocator};
        struct grd_directory *directory;

        assert_int_equal(grd_directory_open(&options, &directory), CF_OK);
        assert_int_equal(count.calls, 1);
        assert_int_equal(count.bytes, grd_directory_size(&options));
        assert_int_equal(count.bytes, grd_directory_bytes(directory));
        grd_directory_close(&directory);
        assert_int_equal(count.bytes_freed, count.bytes);
    }
}

static void open_without_memory_says_so(void **state)
{
    struct count count = {.allocator = {sizeof count.allocator, &count, count_alloc, count_free},
                          .is_empty = true};
    struct grd_directory_options options = {.entries = 10, .buckets = 16, .allocator = &count.allocator};
    struct grd_directory *directory = NULL;

    (void)state;
    assert_int_equal(grd_directory_open(&options, &directory), CF_MEMORY);
    assert_null(directory);
}

static void an_entry_takes_72_bytes_at_most_with_everything(void **state)
{
    struct grd_directory_options options = {.entries = 1000000, .buckets = 16};
    double bytes = (double)grd_directory_size(&options) / (double)options.entries;

    (void)state;
    print_message("%.2f bytes an entry without side records\n", bytes);
    assert_true(bytes <= 72);
}

/* Room for one more grant, whatever it entails, is what the master needs to go on. */
static void assert_goes_on(struct grd_directory *directory, struct grd_entry *entry)
{
    struct grd_pending *pending;

    assert_true(grd_side_fits(directory, entry));
    pending = grd_pending_add(directory, entry);
    assert_non_null(pending);
    grd_pending_remove(directory, entry, pending);
}

static void hold_many(struct grd_directory *directory, uint64_t block, uint16_t from, uint16_t to)
{
    struct grd_entry *entry = directory_get(directory, block);

    for (; from < to; from++)
        directory_hold(directory, entry, from);
}

static void every_entry_can_have_five_holders(void **state)
{
    struct grd_directory *directory = directory_open(ENTRIES, 1, 5 * ENTRIES, 0);
    uint64_t block;

    (void)state;
    for (block = 0; block < ENTRIES; block++)
        hold_many(directory, block, 0, 5);
    assert_int_equal(directory->chunk_pool.used, ENTRIES);
    assert_int_equal(directory->side_pool.used, ENTRIES);
    assert_goes_on(directory, directory_get(directory, 0));
    directory_close(directory);
}

/* Many holders pass through each entry, five at a time: what counts is who is there. */
static void holders_that_left_cost_no_chunks(void **state)
{
    struct grd_directory *directory = directory_open(ENTRIES, 1, 5 * ENTRIES, 0);
    uint64_t block;
    uint16_t node;

    (void)state;
    for (block = 0; block < ENTRIES; block++) {
        hold_many(directory, block, 0, 5);
        for (node = 5; node < 30; node++) { /* a holder leaves, another comes */
            grd_holder_remove(directory, directory_get(directory, block), (uint16_t)(node - 5));
            hold_many(directory, block, node, (uint16_t)(node + 1));
        }
    }
    assert_int_equal(directory->chunk_pool.used, ENTRIES);
    for (block = 0; block < ENTRIES; block++) { /* one stays, and had been in a chunk */
        for (node = 25; node < 29; node++)
            grd_holder_remove(directory, directory_get(directory, block), node);
        grd_entry_settle(directory, directory_get(directory, block));
    }
    assert_int_equal(directory->chunk_pool.used, 0);
    assert_int_equal(directory->side_pool.used, 0);
    directory_close(directory);
}

static void an_entry_can_have_all_nodes_as_holders_and_as_sharers(void **state)
{
    struct grd_directory *directory = directory_open(4, 1, CF_NODES_MAX, 0);
    struct grd_entry *entry = directory_get(directory, 1);
    struct grd_pair pair;
    uint32_t cursor = 0, count = 0;
    uint16_t node;

    (void)state;
    hold_many(directory, 1, 0, CF_NODES_MAX);
    assert_goes_on(directory, entry);
    assert_non_null(grd_pending_add(directory, entry));
    for (node = 0; node < CF_NODES_MAX; node++)
        grd_list_set(directory, entry, GRD_LIST_SHARERS, node, 1000u + node);
    assert_int_equal(grd_holders_count(directory, entry), CF_NODES_MAX);
    while (grd_list_next(directory, entry, GRD_LIST_SHARERS, &cursor, &pair)) {
        assert_int_equal(pair.value, 1000u + pair.node);
        count++;
    }
    assert_int_equal(count, CF_NODES_MAX);
    directory_close(directory);
}

static void all_conversations_can_be_open_anywhere(void **state)
{
    const uint32_t conversations = 300;
    uint32_t spread, i;

    (void)state;
    for (spread = 0; spread < 2; spread++) { /* all of one entry, each of its own */
        struct grd_directory *directory = directory_open(ENTRIES, conversations, ENTRIES, 0);
        struct grd_waiter *waiter = NULL;
        struct grd_pending *pending = NULL;

        for (i = 0; i < conversations; i++) {
            waiter = grd_waiter_add(directory, directory_get(directory, spread * i));
            assert_non_null(waiter);
            pending = grd_pending_add(directory, directory_get(directory, spread * (ENTRIES - 1 - i)));
            assert_non_null(pending);
            grd_list_set(directory, directory_get(directory, spread * (ENTRIES - 1 - i)), GRD_LIST_SHARERS, 1,
                         1);
        }
        assert_null(grd_waiter_add(directory, directory_get(directory, 0)));
        assert_null(grd_pending_add(directory, directory_get(directory, 0)));
        grd_waiter_remove(directory, directory_get(directory, spread * (conversations - 1)), waiter);
        grd_pending_remove(directory, directory_get(directory, spread * (ENTRIES - conversations)), pending);
        assert_non_null(grd_waiter_add(directory, directory_get(directory, 0)));
        assert_non_null(grd_pending_add(directory, directory_get(directory, 0)));
        directory_close(directory);
    }
}

/* Holders in fives, a past image an entry, a sharer and a waiter for every conversation, all at once. */
static void the_worst_of_all_pools_at_once_leaves_room_for_a_grant(void **state)
{
    const uint32_t conversations = 400;
    struct grd_directory *directory = directory_open(4 * ENTRIES, conversations + 1, 5 * ENTRIES, ENTRIES);
    uint32_t i;

    (void)state;
    for (i = 0; i < ENTRIES; i++) {
        hold_many(directory, i, 0, 5);
        grd_list_set(directory, directory_get(directory, ENTRIES + i), GRD_LIST_PAST, 9, 1);
    }
    for (i = 0; i < conversations; i++) {
        struct grd_entry *entry = directory_get(directory, 2 * ENTRIES + i);

        assert_non_null(grd_waiter_add(directory, directory_get(directory, 3 * ENTRIES + i)));
        assert_non_null(grd_pending_add(directory, entry));
        grd_list_set(directory, entry, GRD_LIST_SHARERS, 9, 1);
        grd_list_set(directory, entry, GRD_LIST_PAST, 9, 0);
    }
    assert_goes_on(directory, directory_get(directory, 0));
    assert_goes_on(directory, directory_get(directory, 3 * ENTRIES - 1));
    directory_close(directory);
}

/*
 * Instances keep more past images than they said, of many blocks or of few: cold entries go back to their holders, and
 * every grant finds its room.
 */
static void break_bounds(uint32_t blocks)
{
    struct grd_directory *directory = directory_open(ENTRIES, 4, ENTRIES, 8);
    const struct grd_directory_counters *counters = grd_directory_counters(directory);
    uint32_t done;

    for (done = 0; done < ENTRIES * 20; done++) { /* a grant, a past image */
        struct grd_entry *entry = directory_get(directory, done % blocks);
        struct grd_pending *pending = grd_pending_add(directory, entry);

        assert_non_null(pending);
        directory_hold(directory, entry, (uint16_t)(done % 3));
        grd_list_set(directory, entry, GRD_LIST_PAST, (uint16_t)(done / blocks % CF_NODES_MAX), 1);
        grd_pending_remove(directory, entry, pending);
        grd_entry_settle(directory, entry);
    }
    assert_true(counters->given_for_room > 0);
    assert_true(counters->given_past >= counters->given_for_room);
    assert_int_equal(grd_directory_summary(directory)->keys, counters->given_past);
    directory_close(directory);
}

static void beyond_the_bounds_entries_are_given_back(void **state)
{
    (void)state;
    break_bounds(ENTRIES); /* side records run out */
    break_bounds(10);      /* chunks do */
}

/* What conversations hold up cannot be given back: then, and only then, a grant waits. */
static void grants_wait_when_all_is_under_way(void **state)
{
    struct grd_directory *directory = directory_open(ENTRIES, 4, 4, 4);
    uint32_t i;

    (void)state;
    for (i = 0; i < 4; i++)
        assert_non_null(grd_waiter_add(directory, directory_get(directory, i)));
    assert_null(grd_waiter_add(directory, directory_get(directory, 4)));
    grd_entry_settle(directory, directory_get(directory, 4));
    directory_close(directory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(open_takes_what_size_says_at_once),
        cmocka_unit_test(open_without_memory_says_so),
        cmocka_unit_test(an_entry_takes_72_bytes_at_most_with_everything),
        cmocka_unit_test(every_entry_can_have_five_holders),
        cmocka_unit_test(holders_that_left_cost_no_chunks),
        cmocka_unit_test(an_entry_can_have_all_nodes_as_holders_and_as_sharers),
        cmocka_unit_test(all_conversations_can_be_open_anywhere),
        cmocka_unit_test(the_worst_of_all_pools_at_once_leaves_room_for_a_grant),
        cmocka_unit_test(beyond_the_bounds_entries_are_given_back),
        cmocka_unit_test(grants_wait_when_all_is_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
