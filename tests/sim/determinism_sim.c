/* SPDX-License-Identifier: Apache-2.0 */
/* I-27: a seed gives the same run twice, event by event, also beside another run in the same process. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/sim/harness.h"
#include "tools/sim/cluster.h"

#define DOUBLE_RUNS 12u
#define DOUBLE_RUNS_FULL 500u
#define OPS 400u

static struct sim_result run(uint64_t seed)
{
    struct sim_options options = {
        .seed = seed, .run_ns = CF_NS_PER_S, .ops_max = OPS, .faults = SIM_FAULTS_ALL};
    struct sim_result result;
    struct sim_plan plan;

    sim_plan_draw(&options, &plan);
    sim_cluster_run(&plan, stdout, &result);
    return result;
}

static void same_seed_gives_the_same_run(void **state)
{
    uint32_t runs = sim_is_full() ? DOUBLE_RUNS_FULL : DOUBLE_RUNS;

    (void)state;
    for (uint64_t seed = 500001; seed < 500001 + runs; seed++) {
        struct sim_result first = run(seed);
        struct sim_result second = run(seed);

        assert_true(first.ok);
        assert_int_equal(first.trace, second.trace);
        assert_int_equal(first.events, second.events);
        assert_int_equal(first.virtual_ns, second.virtual_ns);
    }
}

static void other_seed_gives_another_run(void **state)
{
    (void)state;
    assert_int_not_equal(run(500001).trace, run(500002).trace);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(same_seed_gives_the_same_run),
        cmocka_unit_test(other_seed_gives_another_run),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
