/* SPDX-License-Identifier: Apache-2.0 */
/* The planner: which use has a bucket go, which does not, and how often. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "tests/unit/grd/move_fixture.h"

#define PERIOD_NS UINT64_C(1000000000)
#define REST_NS (20 * PERIOD_NS)
#define GAP_NS (PERIOD_NS / 4)
#define LOOKS 50u

/* Instances whose planner looks once a period; the work of the thread is nothing beside it. */
static void open_planning(struct moves *c)
{
    moves_open(c, 4096);
    for (uint32_t n = 0; n < NODES; n++) {
        struct grd_move *move = c->node[n].move;

        move->period_ns = PERIOD_NS;
        move->rest_ns = REST_NS;
        move->gap_ns = GAP_NS;
        move->plan_next_ns = moves_now(c) + PERIOD_NS / 2;
    }
}

/* Requests in one period, each instance's in turn with the others'. */
static void use(struct moves *c, uint32_t bucket, const uint16_t *counts)
{
    struct grd_move *move = c->node[moves_owner(c, bucket)].move;

    for (uint32_t i = 0; i < 100; i++)
        for (uint16_t n = 0; n < NODES; n++)
            if (i < counts[n])
                grd_move_count(move, bucket, n);
}

/* The same use in each of some periods. Returns the moves that came of it, of whatever bucket. */
static uint64_t moves_of(struct moves *c, uint32_t bucket, const uint16_t *counts, uint32_t periods)
{
    uint64_t before = 0, after = 0;

    for (uint32_t n = 0; n < NODES; n++)
        before += c->node[n].move->counters.moved;
    for (uint32_t i = 0; i < periods; i++) {
        use(c, bucket, counts);
        moves_pass(c, PERIOD_NS);
        moves_settle(c);
    }
    for (uint32_t n = 0; n < NODES; n++)
        after += c->node[n].move->counters.moved;
    return after - before;
}

static uint32_t bucket_owned_by(const struct moves *c, uint16_t node, uint32_t from)
{
    while (moves_owner(c, from) != node)
        from++;
    assert_true(from < BUCKETS);
    return from;
}

static void a_bucket_goes_to_its_user_when_two_looks_agree(void **state)
{
    struct moves c;
    uint32_t bucket;

    (void)state;
    open_planning(&c);
    bucket = bucket_owned_by(&c, 0, 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 20, 0}, 1), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){60, 20, 0}, 1), 0); /* the row is broken */
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 90, 0}, 1), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 90, 0}, 1), 1);
    assert_int_equal(moves_owner(&c, bucket), 1);
    moves_close(&c);
}

static void three_of_four_requests_are_a_clear_gain_and_less_is_none(void **state)
{
    struct moves c;
    uint32_t bucket;

    (void)state;
    open_planning(&c);
    bucket = bucket_owned_by(&c, 0, 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){13, 72, 13}, LOOKS), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){50, 50, 0}, LOOKS), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){33, 33, 33}, LOOKS), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){99, 0, 0}, LOOKS), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){12, 76, 12}, LOOKS), 1);
    assert_int_equal(moves_owner(&c, bucket), 1);
    moves_close(&c);
}

static void a_bucket_that_is_hardly_used_stays(void **state)
{
    struct moves c;
    uint32_t bucket;

    (void)state;
    open_planning(&c);
    bucket = bucket_owned_by(&c, 0, 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 3, 0}, LOOKS), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 8, 0}, LOOKS), 1);
    moves_close(&c);
}

static void a_bucket_that_has_come_rests(void **state)
{
    struct moves c;
    uint32_t bucket;

    (void)state;
    open_planning(&c);
    bucket = bucket_owned_by(&c, 0, 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 90, 0}, 2), 1);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 0, 90}, REST_NS / PERIOD_NS - 2), 0);
    assert_int_equal(moves_of(&c, bucket, (uint16_t[]){0, 0, 90}, 4), 1);
    assert_int_equal(moves_owner(&c, bucket), 2);
    moves_close(&c);
}

/* Users that take turns in longer phases than a look: no more than a move a rest. */
static void users_that_take_turns_move_a_bucket_once_a_rest(void **state)
{
    struct moves c;
    uint32_t bucket;
    uint64_t moved = 0;

    (void)state;
    open_planning(&c);
    bucket = bucket_owned_by(&c, 0, 0);
    for (uint32_t i = 0; i < LOOKS; i++)
        moved += moves_of(&c, bucket, i % 2 == 0 ? (uint16_t[]){0, 90, 0} : (uint16_t[]){0, 0, 90}, 4);
    assert_true(moved > 1);
    assert_true(moved <= 1 + 4 * LOOKS * PERIOD_NS / REST_NS);
    moves_close(&c);
}

static void the_next_bucket_goes_after_the_gap(void **state)
{
    struct moves c;
    uint32_t first, second;

    (void)state;
    open_planning(&c);
    first = bucket_owned_by(&c, 0, 0);
    second = bucket_owned_by(&c, 0, first + 1);
    for (uint32_t i = 0; i < 2; i++) {
        use(&c, first, (uint16_t[]){0, 90, 0});
        use(&c, second, (uint16_t[]){0, 90, 0});
        moves_pass(&c, PERIOD_NS);
    }
    moves_settle(&c);
    assert_int_equal(c.node[0].move->counters.moved, 1);
    moves_pass(&c, GAP_NS / 2);
    moves_settle(&c);
    assert_int_equal(c.node[0].move->counters.moved, 1);
    moves_pass(&c, GAP_NS / 2);
    moves_settle(&c);
    assert_int_equal(c.node[0].move->counters.moved, 2);
    moves_close(&c);
}

static void without_a_planner_nothing_goes(void **state)
{
    struct moves c;

    (void)state;
    open_planning(&c);
    for (uint32_t n = 0; n < NODES; n++)
        grd_move_plan_none(c.node[n].move);
    assert_int_equal(moves_of(&c, bucket_owned_by(&c, 0, 0), (uint16_t[]){0, 90, 0}, LOOKS), 0);
    moves_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_goes_to_its_user_when_two_looks_agree),
        cmocka_unit_test(three_of_four_requests_are_a_clear_gain_and_less_is_none),
        cmocka_unit_test(a_bucket_that_is_hardly_used_stays),
        cmocka_unit_test(a_bucket_that_has_come_rests),
        cmocka_unit_test(users_that_take_turns_move_a_bucket_once_a_rest),
        cmocka_unit_test(the_next_bucket_goes_after_the_gap),
        cmocka_unit_test(without_a_planner_nothing_goes),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
