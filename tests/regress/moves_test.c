/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated seeds in which buckets move that once broke, or were said to: a checker took what one master had said for the word of
 * another (8, 18, 159: I-3 when all was quiet), others broke before the moves were mended (12, 206, 260, 276).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "tools/sim/seed.h"

static const struct {
    uint64_t seed, moves_us; /* 0: drawn */
    enum sim_network network;
} known[] = {
    {8, 300, SIM_NETWORK_LANES},   {18, 300, SIM_NETWORK_LANES},  {159, 300, SIM_NETWORK_LANES},
    {12, 500, SIM_NETWORK_DRAWN},  {206, 500, SIM_NETWORK_DRAWN}, {260, 500, SIM_NETWORK_DRAWN},
    {276, 500, SIM_NETWORK_DRAWN}, {76, 0, SIM_NETWORK_DRAWN},    {1282, 0, SIM_NETWORK_DRAWN},
    {1669, 0, SIM_NETWORK_DRAWN},
};

static void seeds_that_once_broke_hold(void **state)
{
    uint32_t failed = 0;

    (void)state;
    for (uint32_t i = 0; i < CF_COUNTOF(known); i++) {
        struct sim_options options = {.seed = known[i].seed,
                                      .moves = known[i].moves_us,
                                      .network = known[i].network,
                                      .run_ns = CF_NS_PER_S,
                                      .ops_max = 1500,
                                      .faults = SIM_FAULTS_ALL,
                                      .is_quiet = true};

        failed += !sim_seed_run(&options, stdout);
    }
    assert_int_equal(failed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(seeds_that_once_broke_hold),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
