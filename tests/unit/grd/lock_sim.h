/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GRD_LOCK_SIM_H
#define TESTS_UNIT_GRD_LOCK_SIM_H

/*
 * A small cluster of lock masters and instances in one thread and virtual time: messages are lost, doubled, late
 * and out of order by seed; clients lock, convert, write values, unlock, cancel, swap. A checker that knows what
 * all clients hold looks at every grant. The first thing that is wrong prints the seed and ends the process with
 * status 1.
 */
#include <stdbool.h>
#include <stdint.h>

#include "grd/lock_local.h"
#include "grd/lock_master.h"

struct lock_sim_options {
    uint64_t seed;
    uint32_t nodes;      /* instances, 1 to 8 */
    uint32_t masters;    /* the first so many are masters; those behind may crash */
    uint32_t locks;      /* 1 to 20 */
    uint32_t clients;    /* of an instance */
    uint32_t locks_each; /* a client holds at once: above 1 there are deadlocks across locks */
    uint32_t turns;      /* of 100 us, with faults; then one without */
    double loss, dup, late;
    bool has_crash; /* the last instance crashes in the middle */
    bool has_swaps;
    bool has_handles;  /* handles are closed and opened again: locks are released, values forgotten */
    bool is_tight;     /* masters have room for some of the locks and claims only */
    bool has_resets;   /* lanes are rebuilt */
    bool has_detector; /* looks for deadlocks every few milliseconds */
    bool has_cancels;
};

struct lock_sim_result {
    uint64_t grants, waits, busy, deadlocks, cancelled, swaps_done, swaps_changed, messages, values_checked,
        invalid_seen, victims, max_cycle, cached, demoted, released, forgotten, full;
    uint64_t stuck_ns_max; /* longest a deadlock lived while there were no faults */
    uint32_t overtaken_max;
};

/* Options drawn from a seed: every size and fault class appears. */
struct lock_sim_options lock_sim_draw(uint64_t seed);
/* The same with a detector and deadlocks across locks, and nothing but the detector to end them. */
struct lock_sim_options lock_sim_draw_deadlocks(uint64_t seed);
void lock_sim_run(const struct lock_sim_options *options, struct lock_sim_result *result_out);

#endif
