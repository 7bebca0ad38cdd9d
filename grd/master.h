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
#include "base/hist.h"
#include "base/wheel.h"
#include "grd/action.h"
#include "grd/detect.h"
#include "grd/directory.h"
#include "grd/hot.h"
#include "grd/window.h"

struct grd_master_options {
    struct grd_directory_options directory;
    uint16_t node;     /* this instance */
    uint32_t nodes;    /* of the view */
    uint64_t probe_ns; /* a grant unanswered this long is asked after */
    uint64_t now_ns;
    uint64_t wheel_tick_ns;
    uint32_t
        export_window; /* entries of a bucket that goes under way, and looked at in a step; 0: as is good */
    const uint16_t *hosts; /* [nodes] equal numbers: on one host; NULL: not known. Copied. */
};

struct grd_master_counters {
    uint64_t requests, grants, forwards, invalidates, not_held, bounced, repeated, probes, stale,
        refused_bounds;
    uint64_t
        rebuilds; /* of entries that may have been given back; rebuilds_all: of these, everybody was asked */
    uint64_t rebuilds_all, recalls, recalled_again;
    uint64_t entries_sent, entries_taken, owners_asked;
    uint64_t overtakings, readers_first; /* G-16, G-17 */
    uint64_t shared; /* times X waited until sharers had had a read-mostly block for a while */
};
/* Grants to others that a queued request lets pass at most while its own release or installed is under way [G-16]. */
#define GRD_OVERTAKEN_MAX 2u

/* What a timer of the wheel belongs to. */
enum grd_timer_kind { GRD_TIMER_PENDING = 0, GRD_TIMER_REBUILD = 1, GRD_TIMER_EXPORT = 2 };

/* X of a read-mostly block that waits for its sharers' time to end; one for each place of the hot table. */
struct grd_share {
    struct cf_timer timer; /* of `shares` */
    struct grd_entry *entry;
    struct cf_block_key key;
};
#define GRD_SHARE_TICK_NS UINT64_C(1000)

/* A bucket whose entries come from its last owner. */
struct grd_import {
    bool is_active;
    uint32_t bucket;
    uint32_t place;
};
/* The bucket that goes, or has gone and whose entries go: one at a time. */
struct grd_export {
    bool is_active;
    bool is_started; /* its next owner has it: entries are sent */
    bool is_done;
    uint8_t state; /* of the bucket before */
    uint16_t peer;
    uint16_t shard; /* as the order names this one */
    uint32_t bucket;
    uint32_t place;
    uint64_t order;  /* number of the order to start */
    uint32_t cursor; /* over the entries */
    uint32_t found;  /* in this pass over the entries; the one that finds none is the last */
    uint32_t sent;   /* in this pass; what of it is not taken yet bounds what is under way */
    uint32_t taken;
    struct cf_timer timer;
};

/* A message other than a request that waits for its rebuild to begin. */
struct grd_late {
    struct cf_block_key key;
    uint64_t hash, tenure, version, durable, number;
    uint16_t from, type;
};
/* A cache that is emptied releases as many blocks at once; one more is dropped and comes again. */
#define GRD_LATE_MAX 1024u

struct grd_master {
    struct grd_directory *directory;
    struct cf_wheel wheel;
    uint16_t node;
    uint32_t nodes;
    uint32_t buckets;
    uint64_t probe_ns;
    uint32_t export_window, export_looks;
    const struct cf_allocator *allocator;
    /*
     * mark[n]: highest request number ever granted to instance n on this shard whose grant is finished. A request
     * at or below it that is neither queued nor pending may be a late double of one that was served: it is bounced,
     * and a requester that still waits takes a new number. So nothing need be remembered a resource (rule 14).
     */
    uint64_t *mark;
    /* seen[n]: which releases of instance n were heard. */
    struct grd_window *seen;
    uint64_t *is_late;          /* [nodes][GRD_WINDOW / 64] which of them wait in `late` */
    struct grd_import *imports; /* [nodes] by last owner; NULL: buckets do not move */
    struct grd_export export;
    uint64_t rebuild_last; /* number of the last rebuild */
    struct grd_late *late; /* [GRD_LATE_MAX] ring */
    uint32_t late_first, late_count;
    struct cf_hist *rebuild_hist;
    uint16_t *hosts;     /* [nodes] [const] */
    struct grd_hot *hot; /* what is fought over; anybody may read it */
    struct cf_wheel shares;
    struct grd_share share[GRD_HOT_ENTRIES];
    struct grd_master_counters counters;
};

/* All it takes, and the most of a directory that a budget allows: grd_directory_fit with the rest counted in. */
uint64_t grd_master_size(const struct grd_master_options *options);
CF_CHECK enum cf_rc grd_master_fit(const struct grd_master_options *need, uint64_t bytes,
                                   struct grd_directory_options *fit_out, uint64_t *bytes_min_out);
CF_CHECK enum cf_rc grd_master_open(const struct grd_master_options *options, struct grd_master **master_out);
void grd_master_close(struct grd_master **master);
uint64_t grd_master_bytes(const struct grd_master *master);
/* May the resource have been given back? For checkers: what has a holder and no entry must be. */
bool grd_master_is_cold(const struct grd_master *master, uint64_t hash);

/*
 * What the detector is told of requests that wait since before_ns or longer: which conversation each stands behind. A
 * part; *cursor 0: all has been told.
 */
uint32_t grd_master_waits(struct grd_master *master, uint64_t before_ns, uint64_t *cursor,
                          struct grd_detect_report *reports, uint32_t reports_max);

/* A message for this shard from instance msg->from (itself included). `hash` is the keyed hash of msg->key. */
CF_HOT void grd_master_step(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                            uint64_t now_ns, struct grd_actions *actions);
/* What progress orders of a shard when a bucket moves (grd/move.h), a MOVE_ORDER from this instance; MOVE_REPORT answers. */
void grd_master_order(struct grd_master *master, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions);
/* Is the bucket this shard's, as far as the shard knows? For checkers. */
bool grd_master_has_left(const struct grd_master *master, uint64_t hash);
/* One expired timer, if there is one: true = call again. `hash_of` gives the keyed hash of a key. */
bool grd_master_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_master_next_ns(const struct grd_master *master);
/* What steps have left for a moment in which nobody waits. Without it nothing is lost: it is done when there is more of it. */
static inline void grd_master_settle(struct grd_master *master)
{
    if (master->hot->later_count != 0)
        grd_hot_settle(master->hot);
}
/* The part of it that cannot wait for the next look at timers of the coarse wheel. */
static inline uint64_t grd_master_share_ns(const struct grd_master *master)
{
    return master->shares.armed_count == 0 ? UINT64_MAX : cf_wheel_next_ns(&master->shares);
}

#endif
