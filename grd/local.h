/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCAL_H
#define GRD_LOCAL_H

/*
 * What one instance knows of the blocks it has business with: the copy it holds, the conversation it has open, the
 * release not yet acknowledged, the image it keeps for a repeated forward, its past image, and the demands that
 * wait. Requester and holder in one object, since they share the copy. Pure, like the master.
 *
 *   requester:  want --REQUEST--> (grant | ship, invalidated*) --> begin --INSTALLED-->
 *   holder:     FORWARD or INVALIDATE --> parked until no write is in flight --CLOSE--> closed --> ship / invalidated
 *   keeper:     kept image: until CONFIRMED;  past image: until DISCARD;  release: until RELEASED
 *
 * Two timers a block: one repairs every lost message and says again what has not been answered; the other, of a finer
 * wheel, ends the residency of a copy that somebody waits for. They are two so that neither puts the other off.
 *
 * Owner: the thread with progress. Bounds: blocks, conversations and demands come from pools taken at open.
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/status.h>

#include "base/alloc.h"
#include "base/wheel.h"
#include "grd/action.h"
#include "grd/map.h"
#include "grd/window.h"

#define GRD_FRAME_NONE UINT32_MAX
/* Torn images of a conversation that are asked for again at once. */
#define GRD_TORN_MAX 16u

/* An open conversation. At most one a block; `outstanding` of an instance. */
struct grd_conv {
    uint8_t want;        /* enum cf_mode: S or X */
    uint8_t flags;       /* GRD_FLAG_NEW, _REFUSED */
    uint8_t how;         /* of the grant */
    uint8_t hops;        /* of the ship */
    bool is_granted;     /* the grant's words are here */
    bool has_data;       /* the image is here (or need not come) */
    bool is_reading;     /* the disk read of the grant is under way */
    uint32_t torn_count; /* images that did not come whole, of this conversation */
    int32_t failed;      /* enum cf_rc of a failed read, 0 = none */
    bool is_cancelled;   /* that read belongs to a grant since refused: ask again when it ends */
    uint32_t frame;      /* reserved, or the one the image landed in */
    uint32_t block;      /* whose it is; NONE: it is free */
    uint32_t next;       /* free list; of an open one the number of its block */
    uint64_t request;
    uint32_t place; /* number of the bucket under which that number is asked, and no other [G-19] */
    uint64_t tenure;
    uint64_t version;
    uint64_t durable;
    uint64_t refuse; /* S grants of a tenure up to this were invalidated before they came [1] */
    uint64_t since_ns;
    struct grd_set need; /* sharers to wait for [4] */
    struct grd_set acks; /* invalidated received, also before the grant [5] */
};

/* A forward or invalidate that waits for pins, a write, or the residency of the copy. */
struct grd_demand {
    struct grd_msg msg;
    uint32_t next;
};

/*
 * A transfer passes over the first three lines; what seldom happens to a block is behind them. The engine's waiters:
 * ops that wait for the block, first come first served; the record stays while there are any.
 */
struct grd_block {
    CF_ALIGNED(CF_CACHE_LINE) struct cf_block_key key;
    uint64_t hash; /* keyed hash of the key */
    /* the copy */
    uint8_t mode;    /* enum cf_mode */
    uint8_t closing; /* 0, or 1 + the mode the frame is being brought down to */
    bool is_closed;  /* the frame has arrived there and the step that asked for it is due */
    bool has_duty;   /* write-responsible */
    bool is_writing; /* a disk write of this copy is in flight */
    bool in_use;
    uint32_t frame; /* of the copy; NONE in mode N */
    uint32_t conv;  /* number of the conversation, or NONE */
    uint64_t tenure;
    uint64_t version; /* of the bytes, as last told by grd_local_changed */
    uint64_t durable; /* newest version known on storage */

    uint64_t begun_ns;       /* when this tenure began: residency */
    uint64_t release_tenure; /* of a release that is not acknowledged yet */
    uint64_t kept_tenure;    /* of an image shipped with X, until confirmed [15] */
    uint64_t past_version;   /* of the past image */
    uint32_t kept_frame, past_frame;
    uint32_t demand_first;
    uint32_t users; /* the engine's */
    void *waiter_first, *waiter_last;

    struct cf_timer timer; /* of `wheel`: what is unanswered is said again */
    uint64_t quiet_ns;     /* until when it says nothing: it is armed for then, or for earlier */
    uint64_t kept_version, kept_durable;
    uint16_t kept_for;
    uint16_t retries; /* of the timer since something moved: back-off */
    union {
        uint32_t demand_last; /* if there is a first */
        uint32_t next;        /* of a free record */
    };

    struct cf_timer stay; /* of `stays`: the residency is over and demands wait */
    uint64_t release_version, release_durable, release_number;
    uint64_t writing_version;

    uint64_t past_asked_ns; /* when its block was last asked to be written */
};

struct grd_local_options {
    uint16_t node;
    uint32_t frames;      /* of all classes */
    uint32_t outstanding; /* conversations */
    uint32_t demands;
    uint32_t past_images; /* bound, over which holders are asked to write */
    uint64_t resend_ns;
    uint64_t residency_ns;
    uint64_t now_ns;
    uint64_t wheel_tick_ns;
    uint64_t seed; /* of the local table */
    const struct grd_map *map;
    const struct cf_allocator *allocator;
};

struct grd_local_counters {
    uint64_t conversations, resends, bounced, refused, stale, not_held, shipped, shipped_again, invalidated,
        downgraded, evicted, upgrades, torn, demands_dropped, past_made, past_dropped, write_asks;
    uint64_t refused_again; /* S conversations refused a second time: never [G-17] */
};

struct grd_local {
    uint16_t node;
    uint32_t outstanding, past_max;
    uint64_t resend_ns, residency_ns;
    uint64_t request_next;
    uint64_t release_next;      /* number of the next release */
    struct grd_window releases; /* those acknowledged */
    const struct grd_map *map;
    const struct cf_allocator *allocator;
    struct cf_wheel wheel, stays;
    struct grd_block *blocks;
    struct grd_conv *convs;
    struct grd_demand *demands;
    uint32_t blocks_count, demands_count;
    uint32_t block_free, conv_free, demand_free;
    uint32_t blocks_used, convs_used, demands_used, past_used, kept_used, releases_used, releases_max;
    uint32_t *table; /* open addressing: number of a block or NONE */
    uint32_t table_mask, table_shift;
    uint64_t seed;
    struct grd_local_counters counters;
};

CF_CHECK enum cf_rc grd_local_open(const struct grd_local_options *options, struct grd_local **local_out);
void grd_local_close(struct grd_local **local);

/* The block's record, or NULL. */
CF_HOT struct grd_block *grd_local_find(struct grd_local *local, const struct cf_block_key *key);
/* Finds or makes it. NULL: the pool is used up (more releases unacknowledged than the bound). */
CF_HOT CF_CHECK struct grd_block *grd_local_get(struct grd_local *local, const struct cf_block_key *key);
/* Makes the record of a block that has none; `hash` is grd_map_hash of its key. */
CF_HOT CF_CHECK struct grd_block *grd_local_make(struct grd_local *local, const struct cf_block_key *key,
                                                 uint64_t hash);
/* Gives the record back if nothing is left to remember and users = 0. True: it is gone. */
CF_HOT bool grd_local_settle(struct grd_local *local, struct grd_block *block);

static inline struct grd_conv *grd_local_conv(struct grd_local *local, const struct grd_block *block)
{
    return block->conv == GRD_FRAME_NONE ? NULL : &local->convs[block->conv];
}
/* Who masters the block now, as far as is known here. */
uint16_t grd_local_master(const struct grd_local *local, const struct grd_block *block);
/* The bucket has another owner: what is asked of its blocks is asked of that one. */
void grd_local_moved(struct grd_local *local, uint32_t bucket, uint64_t now_ns, struct grd_actions *actions);
/* Conversations that may still be opened. */
static inline uint32_t grd_local_room(const struct grd_local *local)
{
    return local->outstanding - local->convs_used;
}

/*
 * Opens a conversation for S or X; the caller has checked that none is open, that the copy's mode is weaker, and that
 * there is room. `frame` is a free frame of the block's class, the conversation's own until an action gives it back.
 */
CF_HOT void grd_local_want(struct grd_local *local, struct grd_block *block, enum cf_mode mode, uint8_t flags,
                           uint32_t frame, uint64_t now_ns, struct grd_actions *actions);
/* A message for requester or holder. A SHIP comes with the frame its image landed in; every other with NONE. */
CF_HOT void grd_local_step(struct grd_local *local, const struct grd_msg *msg, uint32_t frame,
                           uint64_t now_ns, struct grd_actions *actions);
/* A SHIP whose image could not be copied whole: ask again at once. */
void grd_local_torn(struct grd_local *local, const struct grd_msg *msg, uint64_t now_ns,
                    struct grd_actions *actions);
/*
 * The READ of a grant failed: the conversation ends without a copy. It still waits for its whole set, then the
 * tenure is released [3, 9], and GRD_ACT_FAILED hands `rc` on to those who wait.
 */
void grd_local_read_failed(struct grd_local *local, struct grd_block *block, int32_t rc, uint64_t now_ns,
                           struct grd_actions *actions);
/* The READ or FORMAT of a grant is done; the image has this version. */
void grd_local_read_done(struct grd_local *local, struct grd_block *block, uint64_t version, uint64_t now_ns,
                         struct grd_actions *actions);
/* The frame has reached the mode of the CLOSE action. Call grd_local_changed before. */
CF_HOT void grd_local_closed(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                             struct grd_actions *actions);
/* The bytes have this version now (read while no thread changes them). */
static inline void grd_local_changed(struct grd_block *block, uint64_t version)
{
    if (version > block->version)
        block->version = version;
}

/* May the copy go to make room? It must be clean or somebody else's duty, and nothing about it may be open. */
bool grd_local_can_evict(const struct grd_local *local, const struct grd_block *block);
/* The frame is closed to N already: the copy ends, a release goes out. */
void grd_local_evict(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                     struct grd_actions *actions);
/* The same, and the release is said by the answer to a RECALL that is at hand, or by the timer. */
void grd_local_withdraw(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                        struct grd_actions *actions);
/* Is a disk write of the copy due and allowed? */
bool grd_local_can_write(const struct grd_block *block);
void grd_local_write_begin(struct grd_block *block, uint64_t version);
/* Tells the master again what is durable: somebody asked for a write that is not needed. */
void grd_local_say_written(const struct grd_local *local, struct grd_block *block,
                           struct grd_actions *actions);
/* The write is durable. */
void grd_local_write_done(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                          struct grd_actions *actions);

/* One expired timer: true = call again. */
bool grd_local_tick(struct grd_local *local, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_local_next_ns(const struct grd_local *local);
/* The part of it that cannot wait for the next look at timers of the coarse wheel: ends of residencies. */
static inline uint64_t grd_local_stay_ns(const struct grd_local *local)
{
    return local->stays.armed_count == 0 ? UINT64_MAX : cf_wheel_next_ns(&local->stays);
}
/* A lane to `node` was rebuilt: everything unanswered that concerns it is said again at the next tick. */
void grd_local_reset(struct grd_local *local, uint16_t node, uint64_t now_ns);

/*
 * Ask for lines that are to be written soon: where a block is looked up (any thread), of the record that is made next, of a
 * record.
 */
CF_HOT void grd_local_prefetch(const struct grd_local *local, const struct cf_block_key *key);
CF_HOT void grd_local_prefetch_free(const struct grd_local *local);
CF_HOT void grd_local_prefetch_record(const struct grd_block *block);

void grd_block_dump(const struct grd_local *local, const struct grd_block *block, FILE *out);

#endif
