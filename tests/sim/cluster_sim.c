/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Whole clusters under faults by seed, every invariant of tools/sim/README.md checked after every turn. Not here:
 * that a planted mistake is caught (mutants_sim.c), a thousand instances (big_sim.c).
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

static void sweep(uint32_t instances, uint32_t faults, uint64_t ops, uint64_t first, uint64_t seeds,
                  uint64_t seeds_full, uint64_t wall_ns, uint64_t seeds_min)
{
    bool full = sim_is_full();
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = first, .instances = instances, .run_ns = S, .ops_max = ops, .faults = faults},
        .seeds = full ? seeds_full : seeds,
        .wall_ns_max = full ? 0 : wall_ns,
        .seeds_min = seeds_min,
    };
    uint64_t failed = sim_sweep_run(&what, &done);

    printf("%llu seeds done, %llu failed\n", (unsigned long long)done, (unsigned long long)failed);
    assert_int_equal(failed, 0);
    assert_true(done >= what.seeds_min);
}

static void small_clusters_hold_every_invariant_under_faults(void **state)
{
    (void)state;
    sweep(0, SIM_FAULTS_ALL, 1500, 1, 480, 9000, 65 * S, 60);
}

static void small_clusters_hold_every_invariant_without_faults(void **state)
{
    (void)state;
    sweep(0, 0, 3000, 100001, 12, 500, 8 * S, 3);
}

/* The reliability machine of dpdk: under the whole protocol; its own invariants are checked at every frame. */
static void clusters_over_links_hold_every_invariant_under_faults(void **state)
{
    bool full = sim_is_full();
    uint64_t done;
    struct sim_sweep what = {
        .first = {.seed = 600001,
                  .run_ns = S,
                  .ops_max = 1500,
                  .faults = SIM_FAULTS_ALL,
                  .network = SIM_NETWORK_LINKS},
        .seeds = full ? 3000 : 100,
        .wall_ns_max = full ? 0 : 12 * S,
        .seeds_min = 15,
    };

    (void)state;
    assert_int_equal(sim_sweep_run(&what, &done), 0);
    assert_true(done >= what.seeds_min);
}

static void sixteen_instances_hold_every_invariant(void **state)
{
    (void)state;
    sweep(16, SIM_FAULTS_ALL, 1500, 200001, 6, 400, 8 * S, 2);
}

static void sixty_four_instances_hold_every_invariant(void **state)
{
    (void)state;
    sweep(64, SIM_FAULTS_ALL, 2000, 300001, 2, 100, 15 * S, 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(small_clusters_hold_every_invariant_under_faults),
        cmocka_unit_test(small_clusters_hold_every_invariant_without_faults),
        cmocka_unit_test(clusters_over_links_hold_every_invariant_under_faults),
        cmocka_unit_test(sixteen_instances_hold_every_invariant),
        cmocka_unit_test(sixty_four_instances_hold_every_invariant),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
