/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The stop rule: an instance dies; every call at the others ends with CF_PEER_LOST, nothing is served or written
 * by one that knows, and nobody is ever shown an older version.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/sim/harness.h"

#define S CF_NS_PER_S

static void survivors_stop_and_serve_nothing_older(void **state)
{
    bool full = sim_is_full();
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = 400001, .run_ns = S, .ops_max = 600, .faults = SIM_FAULTS_ALL, .crash = true},
        .seeds = full ? 2000 : 60,
        .wall_ns_max = full ? 0 : 15 * S,
    };

    (void)state;
    assert_int_equal(sim_sweep_run(&what, &done), 0);
    assert_true(done >= 10);
}

static void one_seed_holds(uint64_t seed)
{
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = seed, .run_ns = S / 5, .ops_max = 500, .faults = SIM_FAULTS_ALL, .crash = true},
        .seeds = 1,
    };

    assert_int_equal(sim_sweep_run(&what, &done), 0);
    assert_int_equal(done, 1);
}

/* Its conversion stands at the master, who has not heard that it died, and another one's is refused for it. */
static void a_deadlock_with_one_who_died_is_one(void **state)
{
    (void)state;
    one_seed_holds(95054);
}

/* The refusal is under way while the other one's caller cancels. */
static void a_deadlock_that_is_cancelled_before_its_victim_hears_was_one(void **state)
{
    (void)state;
    one_seed_holds(4002453);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_deadlock_with_one_who_died_is_one),
        cmocka_unit_test(a_deadlock_that_is_cancelled_before_its_victim_hears_was_one),
        cmocka_unit_test(survivors_stop_and_serve_nothing_older),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
