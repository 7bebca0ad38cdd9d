/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_JOURNAL_H
#define TOOLS_SIM_JOURNAL_H

/* The last messages of a run, decoded, so that a failing check can show how its block came there. */
#include <stdint.h>
#include <stdio.h>

#include "transport/sim/sim.h"

#define SIM_JOURNAL_ENTRIES 16384u

struct sim_journal;

struct sim_journal *sim_journal_open(uint32_t nodes);
void sim_journal_close(struct sim_journal **journal);
/* A sim_observe_fn; arg = the journal. */
void sim_journal_observe(void *arg, const struct sim_seen *seen);
/* Something else that happened, in words. Text must live as long as the journal. block UINT64_MAX = to all. */
void sim_journal_note(struct sim_journal *journal, uint64_t now_ns, uint64_t block, uint16_t node,
                      const char *text, uint64_t value);
/* The last `max` entries about the block (UINT64_MAX = any), oldest first. */
void sim_journal_dump(const struct sim_journal *journal, uint64_t block, uint32_t max, FILE *out);

#endif
