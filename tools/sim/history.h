/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_HISTORY_H
#define TOOLS_SIM_HISTORY_H

/*
 * What callers saw, block by block, and whether one order explains it (strict serializability of single blocks,
 * linearizability of registers). Values are unique and a write names the value it replaced, so the order of
 * writes is known; what is left to check is that the writes form one line from 0 and that the order agrees with
 * real time: no operation may stand behind another that began after it had ended.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

struct sim_history;

struct sim_history_op {
    uint64_t block;
    uint64_t value;    /* written or seen */
    uint64_t replaced; /* writes */
    uint64_t begin_ns; /* the effect lies between the two */
    uint64_t end_ns;
    uint16_t node;
    bool is_write;
};

struct sim_history *sim_history_open(void);
void sim_history_close(struct sim_history **history);
/* Ops beyond the memory bound are counted and left out from the end of the run on. */
void sim_history_add(struct sim_history *history, const struct sim_history_op *op);
uint64_t sim_history_count(const struct sim_history *history);
/* False: text says why no order explains the ops. Sorts what it holds. */
bool sim_history_check(struct sim_history *history, char *text, size_t text_bytes);

#endif
