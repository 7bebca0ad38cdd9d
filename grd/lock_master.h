/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_MASTER_H
#define GRD_LOCK_MASTER_H

/*
 * The master of the locks of one shard: which instance holds which lock in which mode, who waits, and the lock's
 * value. Its store is a pool with a byte budget taken at open. Pure, like grd/master.h, and owned by the same
 * thread.
 *
 *   REQUEST --> queue --> GRANT (tenure, mode, value)
 *                 |  who stands against the first that wait is told: DEMAND --> DOWN, LOWERED
 *                 +--> REFUSED: try, deadlock, name taken, cancelled, number spent
 *
 * A lock with no claim left keeps its value until its record is needed for another lock: oldest first.
 *
 * Invariants, beside those of grd/lock_queue.h:
 *  - A tenure is given once on this shard. DOWN changes only the claim whose tenure it names.
 *  - mark[n] is at least every request number of n whose claim is gone (as in grd/master.h).
 *  - A value's version never falls; that of a lock met anew is above that of every lock forgotten.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/status.h>

#include "base/alloc.h"
#include "grd/action.h"
#include "grd/detect.h"
#include "grd/lock_value.h"

struct grd_lock_master;

struct grd_lock_master_options {
    uint16_t node;      /* of this instance */
    uint32_t nodes;     /* of the view */
    uint32_t resources; /* locks known at once: with claims, or only remembered for their value */
    uint32_t claims;    /* instances x what each may attach of this shard covers all */
    uint64_t demand_ns; /* a demand unanswered this long is said again */
    uint64_t epoch;
    uint64_t seed;
    uint64_t now_ns;
    uint64_t wheel_tick_ns;
    struct grd_lock_record *records; /* [resources] for one-sided reads, or NULL; the caller's */
    const struct cf_allocator *allocator;
};

struct grd_lock_master_counters {
    uint64_t requests, grants, conversions, demands, downs, refused, bounced, repeated, stale, deadlocks,
        demoted, swaps, swaps_busy, reads, taken_names, refused_bounds, forgotten, invalidated;
    uint32_t overtaken_max; /* most that a waiter was overtaken */
};

/* Memory this takes, all included. */
uint64_t grd_lock_master_bytes(const struct grd_lock_master_options *options);
CF_CHECK enum cf_rc grd_lock_master_open(const struct grd_lock_master_options *options,
                                         struct grd_lock_master **master_out);
void grd_lock_master_close(struct grd_lock_master **master);

/* A LOCK_* message for a master: REQUEST, CANCEL, IN_USE, DOWN, SWAP, READ. `hash` is the keyed hash of msg->key. */
CF_HOT void grd_lock_master_step(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                                 uint64_t now_ns, struct grd_actions *actions);
bool grd_lock_master_tick(struct grd_lock_master *master, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_lock_master_next_ns(const struct grd_lock_master *master);

/*
 * The instance is gone: its claims go, values it could have been writing (PW, EX) are marked not valid, the others
 * are served. A lock at a time: *cursor starts at 0; true = call again, before anything else.
 */
bool grd_lock_master_remove_instance(struct grd_lock_master *master, uint16_t node, uint32_t *cursor,
                                     uint64_t now_ns, struct grd_actions *actions);

/*
 * For the detector: asks that have waited since before_ns or longer, and whom they wait for (BEHIND), from where
 * *cursor stands (0 = the beginning); answers how many of reports_max were filled. *cursor is 0 again at the end.
 * Looks at GRD_LOCK_SCAN_MAX records a call.
 */
uint32_t grd_lock_master_waits(const struct grd_lock_master *master, uint64_t before_ns, uint64_t *cursor,
                               struct grd_detect_report *reports, uint32_t reports_max);

struct grd_lock_master_counters grd_lock_master_counts(const struct grd_lock_master *master);
struct grd_lock_master_use {
    uint32_t resources; /* with claims */
    uint32_t remembered;
    uint32_t claims;
    uint32_t timers;
};
struct grd_lock_master_use grd_lock_master_used(const struct grd_lock_master *master);
/* What instance `node` holds of a lock as the master knows it: false = it has no claim. */
bool grd_lock_master_holds(const struct grd_lock_master *master, const struct cf_block_key *key,
                           uint64_t hash, uint16_t node, uint8_t *mode_out);
/* The value last stored at the master, or NULL: the lock is not known. */
const struct grd_lock_value *grd_lock_master_value(const struct grd_lock_master *master,
                                                   const struct cf_block_key *key, uint64_t hash);
void grd_lock_master_check(const struct grd_lock_master *master);
void grd_lock_master_dump(const struct grd_lock_master *master, FILE *out);

#endif
