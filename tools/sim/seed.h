/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_SEED_H
#define TOOLS_SIM_SEED_H

/* One seed in a process of its own, so that a failing assertion, too, ends with the command that repeats it. */
#include <stdbool.h>
#include <stdio.h>

#include "tools/sim/plan.h"

/* In front of the name of a planted mistake of transport/link. */
#define SIM_LINK_MUTANT "link_"
#define SIM_LOCK_MUTANT "lock_"

/* A run that takes longer than this is ended and counts as failed (I-16 of the simulator itself). */
#define SIM_SEED_WALL_S_MAX 600u

/* Prints what broke, the repeating command when something did, and the result line. True: all held. */
bool sim_seed_run(const struct sim_options *options, FILE *out);
/* Draws, runs, reports, in this process. */
bool sim_seed_run_here(const struct sim_options *options, FILE *out);
void sim_seed_command(const struct sim_options *options, char *text, size_t text_bytes);

#endif
