/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets go to those who use them, under virtual time, and stay where nobody uses them more than others. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tools/sim/cluster.h"

#define INSTANCES 4u
#define RUN_NS (200 * CF_NS_PER_MS)
#define LOCAL_PERCENT_MIN 95
#define TWO_HOPS_PERCENT_MIN 90u

static struct sim_own run(uint32_t own_percent)
{
    struct sim_options options = {
        .seed = 1, .instances = INSTANCES, .run_ns = RUN_NS, .own = 1 + own_percent};
    static struct sim_result result;
    struct sim_plan plan;

    sim_plan_draw(&options, &plan);
    sim_cluster_run(&plan, stdout, &result);
    assert_true(result.ok);
    sim_own_print(&result.own, INSTANCES, stdout);
    assert_true(result.own.end.requests > result.own.half.requests);
    return result.own;
}

static void buckets_follow_those_who_use_them(void **state)
{
    struct sim_own own = run(98);
    uint64_t hops2 = own.end.hops2 - own.half.hops2, hops3 = own.end.hops3 - own.half.hops3;

    (void)state;
    assert_true(own.end.moved > 0);
    assert_true(sim_own_local(&own.half, &own.end) >= LOCAL_PERCENT_MIN);
    assert_true(hops2 * 100 >= (hops2 + hops3) * TWO_HOPS_PERCENT_MIN);
}

static void buckets_that_all_use_stay(void **state)
{
    struct sim_own own = run(0);

    (void)state;
    assert_int_equal(own.end.moved, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(buckets_follow_those_who_use_them),
        cmocka_unit_test(buckets_that_all_use_stay),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
