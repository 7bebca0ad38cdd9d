/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters in which nothing goes wrong with messages: deadlocks of locks are timed from the first one on (I-15), and every
 * victim of the detector that nothing else could have saved is spared in a copy (I-14). With faults: cluster_sim.c.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/sim/harness.h"

static void no_victim_is_a_phantom_and_no_deadlock_outlives_the_bound(void **state)
{
    bool full = sim_is_full();
    uint64_t done, failed;
    struct sim_sweep what = {
        .first = {.seed = 2000, .run_ns = CF_NS_PER_S, .ops_max = 6000, .is_quiet = true},
        .seeds = full ? 2000 : 40,
        .wall_ns_max = full ? 0 : 20 * CF_NS_PER_S,
        .seeds_min = 10,
    };

    (void)state;
    failed = sim_sweep_run(&what, &done);
    printf("%llu seeds done, %llu failed\n", (unsigned long long)done, (unsigned long long)failed);
    assert_int_equal(failed, 0);
    assert_true(done >= what.seeds_min);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_victim_is_a_phantom_and_no_deadlock_outlives_the_bound),
    };

    return cmocka_run_group_tests_name("sim/deadlock", tests, NULL, NULL);
}
