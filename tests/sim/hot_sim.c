/* SPDX-License-Identifier: Apache-2.0 */
/* Hot blocks under virtual time: more instances do not make less of them, and none comes short. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tools/sim/cluster.h"

/* Largest difference of an instance's calls from their mean, in percent. */
#define UNFAIR_PERCENT_MAX 10u

static uint64_t gets_a_second(uint32_t instances, uint32_t writes)
{
    struct sim_options options = {
        .seed = 1, .instances = instances, .run_ns = 10 * CF_NS_PER_MS, .hot = 1 + writes};
    static struct sim_result result;
    struct sim_plan plan;
    uint64_t gets = 0;

    sim_plan_draw(&options, &plan);
    sim_cluster_run(&plan, stdout, &result);
    assert_true(result.ok);
    sim_hot_print(&result.hot, instances, result.stats.hops2 + result.stats.hops3 + result.stats.upgrades,
                  stdout);
    for (uint32_t n = 0; n < instances; n++)
        gets += result.hot.gets[n];
    for (uint32_t n = 0; n < instances; n++)
        assert_in_range(result.hot.gets[n] * instances * 100, gets * (100 - UNFAIR_PERCENT_MAX),
                        gets * (100 + UNFAIR_PERCENT_MAX));
    return gets * CF_NS_PER_S / result.hot.work_ns;
}

static void eight_instances_do_no_less_than_two_and_share_alike(void **state)
{
    static const uint32_t writes[] = {0, 1, 10};

    (void)state;
    for (uint32_t i = 0; i < sizeof(writes) / sizeof(writes[0]); i++) {
        uint64_t two = gets_a_second(2, writes[i]);

        (void)gets_a_second(3, writes[i]);
        assert_true(gets_a_second(8, writes[i]) >= two);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(eight_instances_do_no_less_than_two_and_share_alike),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
