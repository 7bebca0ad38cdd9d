/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_RUN_TOTALS_H
#define TOOLS_RUN_TOTALS_H

/* What a run's report is made of: figures of all instances together. */
#include "tools/run.h"

struct run_totals {
    struct cf_stats stats;
    struct cf_latency op;
    uint64_t ops;
};

/* How the instances share: 1 = alike, 1 / instances = one has all. */
struct run_sharing {
    double ops, transfers; /* Jain's index */
    uint64_t transfers_count;
    uint64_t waiting_p999_ns; /* of those who waited for another instance; the worst instance's */
};

/* Of the time in which the clients worked. */
double run_seconds(const struct run *run);
double run_per_second(const struct run *run, uint64_t count);
double run_hit_ratio(const struct cf_stats *stats);
struct run_totals run_totals_of(const struct run *run);
struct run_sharing run_sharing_of(const struct run *run);

#endif
