/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets that move. That no schedule of faults breaks it is the simulator's business (tests/sim, --moves). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/hist.h"
#include "tests/unit/grd/move_fixture.h"

#define MANY 100000u
#define MOVES 60u
#define FREEZE_NS_MAX 1000000u

static void a_bucket_of_many_entries_is_frozen_for_less_than_a_millisecond(void **state)
{
    struct moves c;
    uint64_t block = 0, request = 1;

    (void)state;
    moves_open(&c, MANY + 1024);
    for (uint32_t held = 0; held < MANY; block++) {
        if (moves_bucket(&c, block) != 5)
            continue;
        moves_hold(&c, block, (uint16_t)(held % NODES), request++, true);
        c.count = 0;
        held++;
    }
    for (uint32_t i = 0; i < MOVES; i++) {
        uint16_t from = moves_owner(&c, 5), to = moves_next(&c, 5);

        assert_int_equal(grd_directory_entries(c.node[from].master->directory), MANY);
        moves_begin(&c, 5, to);
        moves_settle(&c);
        assert_int_equal(moves_owner(&c, 5), to);
        assert_int_equal(grd_directory_entries(c.node[from].master->directory), 0);
        assert_int_equal(grd_directory_entries(c.node[to].master->directory), MANY);
        assert_int_equal(c.node[from].move->freeze_hist->count, i / NODES + 1);
        assert_true(c.node[from].move->freeze_hist->max < FREEZE_NS_MAX);
        grd_directory_check(c.node[to].master->directory);
    }
    for (uint32_t n = 1; n < NODES; n++)
        cf_hist_merge(c.node[0].move->freeze_hist, c.node[n].move->freeze_hist);
    printf("%u moves of a bucket of %u entries: frozen for %llu ns (p50), %llu ns (p99) of both sides' work, "
           "%llu at most\n",
           MOVES, MANY, (unsigned long long)cf_hist_percentile(c.node[0].move->freeze_hist, 0.5),
           (unsigned long long)cf_hist_percentile(c.node[0].move->freeze_hist, 0.99),
           (unsigned long long)cf_hist_max(c.node[0].move->freeze_hist));
    moves_close(&c);
}

static void holders_and_tenures_come_along(void **state)
{
    struct moves c;
    struct grd_holder holder;
    struct cf_block_key key = moves_key(7);
    uint64_t hash, tenure;
    uint32_t bucket;
    struct grd_entry *entry;

    (void)state;
    moves_open(&c, 4096);
    bucket = moves_bucket(&c, 7);
    hash = grd_map_hash(&c.node[0].map, &key);
    moves_hold(&c, 7, 1, 10, true);
    tenure = c.tenure;
    moves_begin(&c, bucket, moves_next(&c, bucket));
    moves_settle(&c);
    entry = grd_entry_find(c.node[moves_owner(&c, bucket)].master->directory, &key, hash);
    assert_non_null(entry);
    assert_true(grd_holder_find(c.node[moves_owner(&c, bucket)].master->directory, entry, 1, &holder));
    assert_int_equal(holder.tenure, tenure);
    assert_int_equal(entry->last_tenure, tenure);
    moves_close(&c);
}

static void a_bucket_at_work_is_served_on_and_moves_later(void **state)
{
    struct moves c;
    struct grd_msg msg = {.type = GRD_MSG_INSTALLED, .from = 1, .key = moves_key(7)};
    uint32_t bucket;
    uint16_t first;

    (void)state;
    moves_open(&c, 4096);
    bucket = moves_bucket(&c, 7);
    first = moves_owner(&c, bucket);
    moves_hold(&c, 7, 1, 10, false);
    moves_begin(&c, bucket, moves_next(&c, bucket));
    moves_run(&c);
    assert_int_equal(moves_owner(&c, bucket), first);
    assert_true(grd_move_serves(c.node[first].move, bucket));
    assert_int_equal(c.node[first].move->counters.retried, 1);
    msg.request = 10;
    msg.tenure = c.tenure;
    moves_deliver(&c, first, &msg);
    moves_settle(&c);
    assert_int_not_equal(moves_owner(&c, bucket), first);
    moves_close(&c);
}

static void a_bucket_that_is_never_at_rest_stays(void **state)
{
    struct moves c;
    uint32_t bucket;
    uint16_t first;

    (void)state;
    moves_open(&c, 4096);
    bucket = moves_bucket(&c, 7);
    first = moves_owner(&c, bucket);
    moves_hold(&c, 7, 1, 10, false);
    moves_begin(&c, bucket, moves_next(&c, bucket));
    moves_settle(&c);
    assert_int_equal(moves_owner(&c, bucket), first);
    assert_int_equal(c.node[first].move->counters.given_up, 1);
    moves_close(&c);
}

static void requests_of_another_time_of_the_owner_are_told(void **state)
{
    struct moves c;
    uint32_t bucket;
    uint16_t first;
    struct grd_msg msg = {.type = GRD_MSG_REQUEST,
                          .from = 1,
                          .key = moves_key(7),
                          .request = 10,
                          .mode = CF_MODE_S,
                          .place = 0};

    (void)state;
    moves_open(&c, 4096);
    bucket = moves_bucket(&c, 7);
    first = moves_owner(&c, bucket);
    for (uint32_t i = 0; i < NODES; i++) { /* once round */
        moves_begin(&c, bucket, moves_next(&c, bucket));
        moves_settle(&c);
    }
    assert_int_equal(moves_owner(&c, bucket), first);
    assert_int_equal(c.node[0].map.number[bucket], NODES);
    moves_deliver(&c, first, &msg);
    assert_int_equal(c.node[first].master->counters.requests, 0);
    msg.place = NODES;
    moves_deliver(&c, first, &msg);
    assert_int_equal(c.node[first].master->counters.requests, 1);
    moves_close(&c);
}

static bool loses_each_kind_once(struct moves *c, uint16_t to, const struct grd_msg *msg)
{
    static uint64_t seen;
    uint64_t bit = UINT64_C(1) << msg->type;

    (void)to;
    if (c->lost == 0 && c->count == 0 && msg->type == GRD_MSG_MOVE_OFFER)
        seen = 0;
    if (msg->type == GRD_MSG_MOVE_WHERE || (seen & bit) != 0)
        return false;
    seen |= bit;
    return true;
}

static void each_message_may_be_lost(void **state)
{
    struct moves c;
    uint32_t bucket;
    uint16_t to;

    (void)state;
    moves_open(&c, 4096);
    bucket = moves_bucket(&c, 7);
    moves_hold(&c, 7, 1, 10, true);
    moves_run(&c);
    to = moves_next(&c, bucket);
    c.loses = loses_each_kind_once;
    moves_begin(&c, bucket, to);
    moves_settle(&c);
    assert_true(c.lost >= 8);
    assert_true(grd_move_serves(c.node[to].move, bucket));
    assert_int_equal(grd_directory_entries(c.node[to].master->directory), 1);
    moves_close(&c);
}

static void what_cannot_be_is_refused(void **state)
{
    struct moves c;
    uint16_t owner;

    (void)state;
    moves_open(&c, 4096);
    owner = moves_owner(&c, 0);
    assert_int_equal(grd_move_begin(c.node[owner].move, BUCKETS, 0, 0, c.actions), CF_OPTION);
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, NODES, 0, c.actions), CF_OPTION);
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, owner, 0, c.actions), CF_OPTION);
    assert_int_equal(
        grd_move_begin(c.node[(owner + 1) % NODES].move, 0, (uint16_t)((owner + 2) % NODES), 0, c.actions),
        CF_INVALID);
    moves_begin(&c, 0, moves_next(&c, 0));
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, moves_next(&c, 0), 0, c.actions), CF_BUSY);
    moves_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_of_many_entries_is_frozen_for_less_than_a_millisecond),
        cmocka_unit_test(holders_and_tenures_come_along),
        cmocka_unit_test(a_bucket_at_work_is_served_on_and_moves_later),
        cmocka_unit_test(a_bucket_that_is_never_at_rest_stays),
        cmocka_unit_test(requests_of_another_time_of_the_owner_are_told),
        cmocka_unit_test(each_message_may_be_lost),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
