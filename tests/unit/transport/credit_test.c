/* SPDX-License-Identifier: Apache-2.0 */
/* T-2 as arithmetic: conservation, refusal of a lying peer, wrap-around of the counts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/rng.h"
#include "transport/credit.h"

#define WINDOW 16u

static void window_is_available_after_open(void **state)
{
    struct xp_credit credit;

    (void)state;
    xp_credit_open(&credit, WINDOW);
    assert_int_equal(xp_credit_available(&credit), WINDOW);
    credit.sent = WINDOW;
    assert_int_equal(xp_credit_available(&credit), 0);
}

static void a_closed_lane_has_none_whatever_is_under_way(void **state)
{
    struct xp_credit credit;

    (void)state;
    xp_credit_open(&credit, WINDOW);
    credit.sent = 5;
    credit.window = 0;
    assert_int_equal(xp_credit_available(&credit), 0);
}

static void counts_beyond_what_was_sent_are_refused(void **state)
{
    struct xp_credit credit;

    (void)state;
    xp_credit_open(&credit, WINDOW);
    credit.sent = 7;
    assert_false(xp_credit_return(&credit, 8));
    assert_false(xp_credit_return(&credit, UINT64_MAX));
    assert_int_equal(credit.returned, 0);
    assert_true(xp_credit_return(&credit, 7));
    assert_int_equal(xp_credit_available(&credit), WINDOW);
}

static void counts_that_fall_are_refused(void **state)
{
    struct xp_credit credit;

    (void)state;
    xp_credit_open(&credit, WINDOW);
    credit.sent = 7;
    assert_true(xp_credit_return(&credit, 5));
    assert_false(xp_credit_return(&credit, 4));
    assert_int_equal(credit.returned, 5);
}

static void credits_are_conserved_across_a_wrap(void **state)
{
    struct xp_credit credit = {.window = WINDOW, .sent = UINT64_MAX - 40, .returned = UINT64_MAX - 40};
    struct xp_credit_taker taker = {.batch = 2, .taken = UINT64_MAX - 40, .told = UINT64_MAX - 40};
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 7);
    for (uint32_t i = 0; i < 10000; i++) {
        if (cf_rng_below(&rng, 2) == 0 && xp_credit_available(&credit) > 0)
            credit.sent++;
        if (cf_rng_below(&rng, 2) == 0 && taker.taken != credit.sent)
            taker.taken++;
        if (xp_credit_taker_is_due(&taker)) {
            assert_true(xp_credit_taker_owes(&taker));
            taker.told = taker.taken;
            assert_true(xp_credit_return(&credit, taker.told));
        }
        assert_int_equal(xp_credit_available(&credit) + (credit.sent - credit.returned), WINDOW);
        assert_true(credit.sent - taker.taken <= WINDOW);
    }
    assert_true(credit.sent < 10000); /* it did wrap */
}

static void a_taker_tells_after_a_part_of_the_window(void **state)
{
    struct xp_credit_taker taker;

    (void)state;
    xp_credit_taker_open(&taker, 64);
    taker.taken = 64 / XP_CREDIT_BATCHES - 1;
    assert_false(xp_credit_taker_is_due(&taker));
    taker.taken++;
    assert_true(xp_credit_taker_is_due(&taker));
    xp_credit_taker_open(&taker, 2);
    taker.taken = 1;
    assert_true(xp_credit_taker_is_due(&taker));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(window_is_available_after_open),
        cmocka_unit_test(a_closed_lane_has_none_whatever_is_under_way),
        cmocka_unit_test(counts_beyond_what_was_sent_are_refused),
        cmocka_unit_test(counts_that_fall_are_refused),
        cmocka_unit_test(credits_are_conserved_across_a_wrap),
        cmocka_unit_test(a_taker_tells_after_a_part_of_the_window),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
