/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Clusters that cache 10 and 100 times as many blocks as their directories have entries: every invariant holds, the
 * summaries never miss a block, and what they know is exact when all is quiet. Drawn clusters of cluster_sim.c have
 * short directories in half of their seeds, where few blocks are fought over; here it is about many.
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

static void sweep(uint32_t cold, uint32_t instances, uint64_t first, uint64_t seeds, uint64_t seeds_full,
                  uint64_t wall_ns)
{
    bool full = sim_is_full();
    uint64_t done, failed;
    struct sim_sweep what = {
        .first = {.seed = first,
                  .instances = instances,
                  .run_ns = 2 * S,
                  .ops_max = 2500,
                  .faults = SIM_FAULTS_ALL,
                  .cold = cold},
        .seeds = full ? seeds_full : seeds,
        .wall_ns_max = full ? 0 : wall_ns,
        .seeds_min = 2,
    };

    failed = sim_sweep_run(&what, &done);
    printf("%llu seeds done, %llu failed\n", (unsigned long long)done, (unsigned long long)failed);
    assert_int_equal(failed, 0);
    assert_true(done >= what.seeds_min);
}

static void ten_times_what_directories_hold_is_cached(void **state)
{
    (void)state;
    sweep(10, 0, 700001, 24, 2000, 8 * S);
}

static void a_hundred_times_what_directories_hold_is_cached(void **state)
{
    (void)state;
    sweep(100, 3, 800001, 4, 200, 8 * S);
}

static void sixteen_instances_give_back_and_ask(void **state)
{
    (void)state;
    sweep(5, 16, 900001, 3, 100, 6 * S);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(ten_times_what_directories_hold_is_cached),
        cmocka_unit_test(a_hundred_times_what_directories_hold_is_cached),
        cmocka_unit_test(sixteen_instances_give_back_and_ask),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
