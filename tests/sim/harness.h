/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_SIM_HARNESS_H
#define TESTS_SIM_HARNESS_H

/* Runs of many seeds inside a budget of wall time. */
#include <stdbool.h>
#include <stdint.h>

#include "tools/sim/plan.h"

struct sim_sweep {
    struct sim_options first; /* seeds count up from first.seed */
    uint64_t seeds;
    uint64_t wall_ns_max; /* 0 = no bound */
    uint64_t seeds_min;   /* that are run even if it is over: a loaded machine only takes longer */
};

/* FULL=1 in the environment. */
bool sim_is_full(void);
/* Prints the last lines of every seed that fails; returns how many did. *done_out = seeds run. */
uint64_t sim_sweep_run(const struct sim_sweep *sweep, uint64_t *done_out);

#endif
