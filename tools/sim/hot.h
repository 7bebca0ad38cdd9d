/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_HOT_H
#define TOOLS_SIM_HOT_H

/* A few blocks that everybody wants, without faults: what fairness and throughput are under virtual time. */
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/types.h>

#include "base/hist.h"

/* Blocks that all clients want. */
#define SIM_HOT_BLOCKS 4u

struct sim_plan;

struct sim_hot {
    struct cf_hist waits; /* from call to block, of those that had to wait */
    uint64_t gets[CF_NODES_MAX];
    uint64_t work_ns;
};

/* With options.hot: sizes, times and work in place of those drawn. */
void sim_hot_plan(struct sim_plan *plan);
void sim_hot_print(const struct sim_hot *hot, uint32_t instances, uint64_t transfers, FILE *out);

#endif
