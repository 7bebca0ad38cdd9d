/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_OWN_H
#define TOOLS_SIM_OWN_H

/*
 * Each instance's calls go mostly to its own part of the blocks, half of them write, without faults; buckets move to whoever
 * uses them. What that does to masters is told for the time before any has moved and for the last half.
 */
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/stats.h>

struct sim_plan;
struct sim_cluster;

/* A look at who uses which bucket. */
#define SIM_OWN_PERIOD_NS UINT64_C(10000000)

/* Sums over all instances at a moment. */
struct sim_own_sums {
    uint64_t gets, messages, requests, requests_local, hops2, hops3, moved;
};
struct sim_own {
    struct sim_own_sums first, half, end; /* after a tenth of the time, after half of it, at its end */
};

/* With options.own: sizes, times and work in place of those drawn. */
void sim_own_plan(struct sim_plan *plan);
/* A block of the node's part. */
uint64_t sim_own_block(const struct sim_plan *plan, uint16_t node, uint64_t drawn);
void sim_own_count(struct sim_cluster *cluster, struct sim_own_sums *sums);
/* Percent of the requests between two moments that were the master's own. */
double sim_own_local(const struct sim_own_sums *from, const struct sim_own_sums *to);
void sim_own_print(const struct sim_own *own, uint32_t instances, FILE *out);

#endif
