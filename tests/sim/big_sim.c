/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thousand and twenty-four instances: the largest cluster there may be, with directories that hold every entry and with
 * some that must give entries back. Only in the full run (FULL=1): 3.3 GB, and 160 s of a processor for all four seeds.
 * Where directories are short, most of it is 1,024 questions and answers for each block that was given back.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cachefusion/types.h>

#include "base/clock.h"
#include "tests/sim/harness.h"

static void run_largest(uint64_t seed, uint64_t ops_max, uint32_t cold)
{
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = seed,
                  .instances = CF_NODES_MAX,
                  .run_ns = CF_NS_PER_S,
                  .ops_max = ops_max,
                  .faults = SIM_FAULTS_ALL,
                  .cold = cold},
        .seeds = 2,
    };

    if (!sim_is_full())
        skip();
    assert_int_equal(sim_sweep_run(&what, &done), 0);
    assert_int_equal(done, what.seeds);
}

static void largest_cluster_holds_every_invariant(void **state)
{
    (void)state;
    run_largest(600001, 4000, 0);
}

static void largest_cluster_gives_entries_back(void **state)
{
    (void)state;
    run_largest(610001, 1000, 4);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_cluster_holds_every_invariant),
        cmocka_unit_test(largest_cluster_gives_entries_back),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
