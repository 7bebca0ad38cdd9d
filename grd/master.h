/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MASTER_H
#define GRD_MASTER_H

/*
 * The master of blocks: grants, forwards, invalidates, and forgets. One object a shard, owned by the shard's
 * directory worker. Pure: its only inputs are the message or the time, its only outputs the actions.
 *
 *   request --> queue --> serve ----------------------------------------------+
 *                           | nobody else holds            | somebody holds   |
 *                           v                              v                  v
 *                      grant (disk, new, upgrade)      forward -> holder   X: invalidate -> every other sharer
 *                           |                              |  not-held: choose again, same tenure
 *                           +-------> pending <------------+
 *                                        | installed (or the release that overtook it); a timer probes
 *                                        v
 *                                     holder                 while an X is pending nothing else is granted
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/hash.h"
#include "base/wheel.h"
#include "grd/action.h"
#include "grd/directory.h"

struct grd_master_options {
    struct grd_directory_options directory;
    uint16_t node;     /* this instance */
    uint32_t nodes;    /* of the view */
    uint64_t probe_ns; /* a grant unanswered this long is asked after */
    uint64_t now_ns;
    uint64_t wheel_tick_ns;
};

struct grd_master_counters {
    uint64_t requests, grants, forwards, invalidates, not_held, bounced, repeated, probes, stale,
        refused_bounds;
};

struct grd_master {
    struct grd_directory *directory;
    struct cf_wheel wheel;
    uint16_t node;
    uint32_t nodes;
    uint32_t buckets;
    uint64_t probe_ns;
    const struct cf_allocator *allocator;
    /*
     * mark[n]: highest request number ever granted to instance n on this shard whose grant is finished. A request
     * at or below it that is neither queued nor pending may be a late double of one that was served: it is bounced,
     * and a requester that still waits takes a new number. So nothing need be remembered a resource (rule 14).
     */
    uint64_t *mark;
    struct grd_master_counters counters;
};

CF_CHECK enum cf_rc grd_master_open(const struct grd_master_options *options, struct grd_master **master_out);
void grd_master_close(struct grd_master **master);

/* A message for this shard from instance msg->from (itself included). `hash` is the keyed hash of msg->key. */
CF_HOT void grd_master_step(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                            uint64_t now_ns, struct grd_actions *actions);
/* One expired timer, if there is one: true = call again. `hash_of` gives the keyed hash of a key. */
bool grd_master_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_master_next_ns(const struct grd_master *master);

#endif
