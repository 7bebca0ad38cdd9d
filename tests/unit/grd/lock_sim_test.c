/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Masters and instances of locks in a simulated cluster (lock_sim.h): under loss, doubles, disorder and a crash no
 * two owners ever hold what does not go together (I-11), values are the newest (I-12), everything ends once
 * faults cease (I-16) and nothing is left over (I-28). Deadlocks across locks are found and only real ones (I-14,
 * I-15).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "tests/unit/grd/lock_sim.h"

static uint64_t seeds(uint64_t few)
{
    const char *full = getenv("FULL");

    return full && strcmp(full, "1") == 0 ? few * 20 : few;
}

static void add(struct lock_sim_result *sum, const struct lock_sim_result *one)
{
    uint64_t *to = (uint64_t *)sum;
    const uint64_t *from = (const uint64_t *)one;

    for (size_t i = 0; i < offsetof(struct lock_sim_result, stuck_ns_max) / sizeof *to; i++)
        to[i] += from[i];
    if (one->overtaken_max > sum->overtaken_max)
        sum->overtaken_max = one->overtaken_max;
    if (one->stuck_ns_max > sum->stuck_ns_max)
        sum->stuck_ns_max = one->stuck_ns_max;
}

static void print(const struct lock_sim_result *r)
{
    printf("grants %" PRIu64 " waits %" PRIu64 " cached %" PRIu64 " busy %" PRIu64 " cancelled %" PRIu64
           " deadlocks %" PRIu64 " demoted %" PRIu64 " swaps %" PRIu64 "+%" PRIu64 " values %" PRIu64
           " not valid %" PRIu64 " released %" PRIu64 " forgotten %" PRIu64 " full %" PRIu64
           " messages %" PRIu64 " victims %" PRIu64 " overtaken %u stuck %" PRIu64 " us\n",
           r->grants, r->waits, r->cached, r->busy, r->cancelled, r->deadlocks, r->demoted, r->swaps_done,
           r->swaps_changed, r->values_checked, r->invalid_seen, r->released, r->forgotten, r->full,
           r->messages, r->victims, r->overtaken_max, r->stuck_ns_max / 1000);
}

static void no_grant_ever_conflicts_and_all_ends(void **state)
{
    struct lock_sim_result sum = {0};
    const char *only = getenv("LOCK_SEED");

    (void)state;
    for (uint64_t seed = 1; seed <= seeds(120); seed++) {
        struct lock_sim_options options = lock_sim_draw(only ? strtoull(only, NULL, 0) : seed);
        struct lock_sim_result result;

        lock_sim_run(&options, &result);
        add(&sum, &result);
        if (only)
            break;
    }
    print(&sum);
    if (only)
        return;
    assert_true(sum.grants > 10000);
    assert_true(sum.deadlocks > 10);
    assert_true(sum.demoted > 10);
    assert_true(sum.swaps_done > 100);
    assert_true(sum.cancelled > 10);
    assert_true(sum.invalid_seen > 0);
    assert_in_range(sum.overtaken_max, 1, GRD_LOCK_OVERTAKE_MAX);
}

static void deadlocks_across_locks_are_found_and_only_real_ones(void **state)
{
    struct lock_sim_result sum = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= seeds(40); seed++) {
        struct lock_sim_options options = lock_sim_draw_deadlocks(seed);
        struct lock_sim_result result;

        lock_sim_run(&options, &result);
        add(&sum, &result);
    }
    print(&sum);
    assert_true(sum.victims > 20);
    assert_true(sum.stuck_ns_max > 0); /* and no more than LSIM_STUCK_NS_MAX */
    assert_true(sum.max_cycle > 4);
}

static void the_same_seed_gives_the_same_run(void **state)
{
    (void)state;
    for (uint64_t seed = 500; seed < 505; seed++) {
        struct lock_sim_options options = lock_sim_draw(seed);
        struct lock_sim_result once, again;

        memset(&once, 0, sizeof once);
        memset(&again, 0, sizeof again);
        lock_sim_run(&options, &once);
        lock_sim_run(&options, &again);
        assert_memory_equal(&once, &again, sizeof once);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_grant_ever_conflicts_and_all_ends),
        cmocka_unit_test(deadlocks_across_locks_are_found_and_only_real_ones),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
    };

    return cmocka_run_group_tests_name("grd/lock_sim", tests, NULL, NULL);
}
