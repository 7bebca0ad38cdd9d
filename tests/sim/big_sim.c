/* SPDX-License-Identifier: Apache-2.0 */
/* A thousand and twenty-four instances: the largest cluster there may be. Only in the full run (FULL=1). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <cachefusion/types.h>

#include "base/clock.h"
#include "tests/sim/harness.h"

static void largest_cluster_holds_every_invariant(void **state)
{
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = 600001,
                  .instances = CF_NODES_MAX,
                  .run_ns = CF_NS_PER_S,
                  .ops_max = 4000,
                  .faults = SIM_FAULTS_ALL},
        .seeds = 2,
    };

    (void)state;
    if (!sim_is_full())
        skip();
    assert_int_equal(sim_sweep_run(&what, &done), 0);
    assert_int_equal(done, what.seeds);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(largest_cluster_holds_every_invariant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
