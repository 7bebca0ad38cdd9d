/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: the tables of modes and values against their text; the order of grants against a brute-force model over
 * random histories (I-11) and in small cases; the bound on overtaking. Not here: who says what to whom
 * (lock_sim_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>

#include "grd/lock_queue.h"
#include "tests/unit/grd/lock_model.h"

static const struct grd_lock_limit none = {
    .is_known = true, .cap = GRD_LOCK_EX, .ask_cap = GRD_LOCK_EX, .demand = GRD_LOCK_NL};

static void modes_go_together_as_the_table_says(void **state)
{
    (void)state;
    for (uint8_t held = 0; held < GRD_LOCK_MODES; held++)
        for (uint8_t wanted = 0; wanted < GRD_LOCK_MODES; wanted++) {
            assert_int_equal(grd_lock_compatible(held, wanted), lock_model_compatible(held, wanted));
            assert_int_equal(grd_lock_compatible(held, wanted), grd_lock_compatible(wanted, held));
        }
}

static void values_move_as_the_table_says(void **state)
{
    /* Rows: new NL CR CW PR PW EX. */
    static const char *const rows[] = {"RRRRRR", "RRRRRR", "-RRRRR", "--RRRR", "---RRR", "WWWWWR", "WWWWWW"};
    static const uint8_t from[] = {GRD_LOCK_ROW_NEW, 0, 1, 2, 3, 4, 5};
    static const char letters[] = "-RW";

    (void)state;
    for (uint8_t row = 0; row < 7; row++)
        for (uint8_t to = 0; to < GRD_LOCK_MODES; to++)
            assert_int_equal(letters[grd_lock_value_move(from[row], to)], rows[row][to]);
}

static void a_mode_covers_what_keeps_no_more_out(void **state)
{
    (void)state;
    for (uint8_t a = 0; a < GRD_LOCK_MODES; a++)
        for (uint8_t b = 0; b < GRD_LOCK_MODES; b++) {
            bool covers = true;
            uint8_t join = grd_lock_join(a, b), lowered = grd_lock_lowered(a, b);

            for (uint8_t m = 0; m < GRD_LOCK_MODES; m++)
                covers = covers && (lock_model_compatible(m, b) || !lock_model_compatible(m, a));
            assert_int_equal(grd_lock_covers(a, b), covers);
            assert_true(grd_lock_covers(join, a) && grd_lock_covers(join, b));
            for (uint8_t m = 0; m < GRD_LOCK_MODES; m++)
                if (grd_lock_covers(m, a) && grd_lock_covers(m, b))
                    assert_true(grd_lock_covers(m, join));
            assert_true(grd_lock_covers(a, lowered));
            assert_true(grd_lock_compatible(lowered, b));
            /* Whoever stands beneath a and goes together with b can stay. */
            for (uint8_t m = 0; m < GRD_LOCK_MODES; m++)
                if (grd_lock_covers(a, m) && grd_lock_compatible(m, b))
                    assert_true(grd_lock_covers(lowered, m));
        }
}

static void random_histories_agree_with_brute_force(void **state)
{
    struct lock_model_counts sum = {0}, one;

    (void)state;
    for (uint64_t seed = 1; seed <= 1000; seed++) {
        assert_true(lock_model_run(seed, 1500, &one));
        sum.grants += one.grants;
        sum.conversions += one.conversions;
        sum.held_back += one.held_back;
        sum.passed += one.passed;
        if (one.overtaken_most > sum.overtaken_most)
            sum.overtaken_most = one.overtaken_most;
    }
    printf("grants %" PRIu64 " conversions %" PRIu64 " held back %" PRIu64 " passed %" PRIu64 "\n",
           sum.grants, sum.conversions, sum.held_back, sum.passed);
    assert_true(sum.grants > 50000);
    assert_true(sum.conversions > 10000);
    assert_true(sum.passed > 1000);
    assert_true(sum.held_back > 1000);
    assert_int_equal(sum.overtaken_most, GRD_LOCK_OVERTAKE_MAX);
}

struct bench {
    struct grd_lock_queue queue;
    struct grd_lock_claim claims[4];
    uint64_t arrival;
};

static bool ask(struct bench *b, uint32_t i, uint8_t mode, uint8_t flags)
{
    struct grd_lock_claim *claim = &b->claims[i], *lacks;

    if (claim->state == GRD_LOCK_FREE)
        grd_lock_queue_enter(&b->queue, claim);
    claim->flags = flags;
    grd_lock_queue_add(&b->queue, claim, mode, ++b->arrival);
    while ((claim = grd_lock_queue_next(&b->queue, &none, &lacks)) != NULL)
        grd_lock_queue_grant(&b->queue, claim, claim->want);
    grd_lock_queue_check(&b->queue);
    return !grd_lock_is_waiting(&b->claims[i]);
}

static void a_conversion_goes_before_an_older_new_request(void **state)
{
    struct bench b = {0};
    struct grd_lock_claim *lacks;

    (void)state;
    assert_true(ask(&b, 0, GRD_LOCK_CR, 0));
    assert_true(ask(&b, 1, GRD_LOCK_PW, 0));
    assert_false(ask(&b, 2, GRD_LOCK_PW, 0));
    assert_false(ask(&b, 0, GRD_LOCK_PW, 0));
    grd_lock_queue_drop(&b.queue, &b.claims[1]);
    assert_ptr_equal(grd_lock_queue_next(&b.queue, &none, &lacks), &b.claims[0]);
}

static void a_waiter_is_overtaken_so_often_and_no_more(void **state)
{
    struct bench b = {0};
    uint32_t times = 0;

    (void)state;
    assert_true(ask(&b, 0, GRD_LOCK_CR, 0));
    assert_true(ask(&b, 1, GRD_LOCK_PR, 0));
    assert_false(ask(&b, 2, GRD_LOCK_CW, 0));
    while (times < 100 && ask(&b, 0, GRD_LOCK_PR, 0)) {
        grd_lock_queue_lower(&b.queue, &b.claims[0], GRD_LOCK_CR);
        times++;
    }
    assert_int_equal(times, GRD_LOCK_OVERTAKE_MAX);
    grd_lock_queue_drop(&b.queue, &b.claims[1]);
    assert_false(ask(&b, 3, GRD_LOCK_NL, 0) && grd_lock_is_waiting(&b.claims[2]));
}

static void two_conversions_that_keep_one_another_out_are_seen(void **state)
{
    struct bench b = {0};

    (void)state;
    assert_true(ask(&b, 0, GRD_LOCK_PR, 0));
    assert_true(ask(&b, 1, GRD_LOCK_PR, 0));
    assert_false(ask(&b, 0, GRD_LOCK_EX, 0));
    assert_null(grd_lock_queue_deadlock(&b.queue, &b.claims[0], NULL));
    assert_false(ask(&b, 1, GRD_LOCK_EX, 0));
    assert_ptr_equal(grd_lock_queue_deadlock(&b.queue, &b.claims[1], NULL), &b.claims[0]);
    assert_null(grd_lock_queue_deadlock(&b.queue, &b.claims[1], &b.claims[0]));
}

/* What one holds and what it wants instead. */
struct conversion {
    uint8_t held, want;
};

static bool keeps_out(struct conversion a, struct conversion b)
{
    return !grd_lock_compatible(a.held, b.want);
}

/* A ring of three or four conversions: there are two among them that keep one another out. */
static bool ring_has_pair(const struct conversion *ring, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        if (!keeps_out(ring[i], ring[(i + 1) % count]))
            return true; /* no ring */
        for (uint32_t k = 0; k < i; k++)
            if (!grd_lock_compatible(ring[i].held, ring[k].held))
                return true; /* cannot be */
    }
    for (uint32_t i = 0; i < count; i++)
        for (uint32_t k = 0; k < i; k++)
            if (keeps_out(ring[i], ring[k]) && keeps_out(ring[k], ring[i]))
                return true;
    return false;
}

/* Why grd_lock_queue_deadlock looks at pairs only. */
static void every_ring_of_conversions_has_a_pair(void **state)
{
    struct conversion all[GRD_LOCK_MODES * GRD_LOCK_MODES], ring[4];
    uint32_t count = 0;

    (void)state;
    for (uint8_t held = GRD_LOCK_CR; held < GRD_LOCK_MODES; held++)
        for (uint8_t want = 0; want < GRD_LOCK_MODES; want++)
            if (!grd_lock_covers(held, want))
                all[count++] = (struct conversion){held, want};
    for (uint32_t i = 0; i < count * count * count * count; i++) {
        uint32_t rest = i;

        for (uint32_t k = 0; k < 4; k++, rest /= count)
            ring[k] = all[rest % count];
        assert_true(ring_has_pair(ring, 3));
        assert_true(ring_has_pair(ring, 4));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(modes_go_together_as_the_table_says),
        cmocka_unit_test(values_move_as_the_table_says),
        cmocka_unit_test(a_mode_covers_what_keeps_no_more_out),
        cmocka_unit_test(random_histories_agree_with_brute_force),
        cmocka_unit_test(a_conversion_goes_before_an_older_new_request),
        cmocka_unit_test(a_waiter_is_overtaken_so_often_and_no_more),
        cmocka_unit_test(two_conversions_that_keep_one_another_out_are_seen),
        cmocka_unit_test(every_ring_of_conversions_has_a_pair),
    };

    return cmocka_run_group_tests_name("grd/lock_queue", tests, NULL, NULL);
}
