/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MOVE_H
#define GRD_MOVE_H

/*
 * Moving the mastership of a bucket's blocks from its owner to another instance (docs/remaster.md). One object an
 * instance: which instance owns each bucket as far as is known here (in the map), the one bucket that goes, those that come, and
 * who uses what. Pure, like the master; what it wants of its own shards it says by MOVE_ORDER to itself.
 *
 *   owner A                                                 next owner B
 *   OFFERED    --MOVE_OFFER------------------------------->  nothing of it left here?
 *   CLOSING    <-MOVE_ACCEPT------------------------------
 *     shards CLOSE; one is busy: open again, later once more
 *   GIVEN      --MOVE_TAKE(tenure)------------------------>  shards IMPORT
 *   EXPORTING  <-MOVED------------------------------------   owner; MOVED to everybody
 *     shards START: --MOVE_ENTRY..--> <--MOVE_GOT..
 *   LEAVING    --MOVE_DONE-------------------------------->  shards END
 *              <-MOVE_OVER--------------------------------
 *
 * From CLOSING to EXPORTING the bucket is frozen: messages for it are held, and then told who owns it. Whatever is not answered
 * is said again. There is no way back once TAKE has been said.
 *
 * Owner: the thread with progress.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>

#include "base/alloc.h"
#include "base/hist.h"
#include "grd/action.h"
#include "grd/map.h"

enum grd_move_phase {
    GRD_MOVE_IDLE = 0,
    GRD_MOVE_OFFERED,
    GRD_MOVE_CLOSING,
    GRD_MOVE_OPENING, /* a shard was busy */
    GRD_MOVE_PAUSE,   /* served as ever; tried again later */
    GRD_MOVE_DRAIN,   /* requests are held, the rest is served, so that what is under way ends */
    GRD_MOVE_GIVEN,
    GRD_MOVE_EXPORTING,
    GRD_MOVE_LEAVING
};

/* Messages held while a bucket is frozen; more are dropped, and come again. */
#define GRD_MOVE_HELD_MAX 128u
/* A bucket is frozen for a move at most this long while its shards are busy, then served again for a while. */
#define GRD_MOVE_FREEZE_NS_MAX 400000u
/* Tries before requests are held for the sake of the move; tries in all. */
#define GRD_MOVE_TRIES_PLAIN 8u
#define GRD_MOVE_TRIES_MAX 64u
/* Users of a bucket that are counted one by one. */
#define GRD_MOVE_USERS 4u

/* Who asks for blocks of a bucket: the most frequent users, halved each period ("space saving"). */
struct grd_move_use {
    uint16_t node[GRD_MOVE_USERS];
    uint16_t count[GRD_MOVE_USERS];
};

struct grd_move_options {
    uint16_t node;
    uint32_t nodes;
    uint32_t shards;
    uint64_t resend_ns;
    uint64_t period_ns; /* a planner's look at all buckets; 0 = no planner */
    uint64_t rest_ns;   /* a bucket that has come is not given away for so long */
    uint64_t gap_ns;    /* between the planner's moves of this instance */
    bool is_off;        /* nothing goes from here */
    uint64_t now_ns;
    struct grd_map *map;
    const struct cf_allocator *allocator;
};

struct grd_move_counters {
    uint64_t requests, requests_local; /* of blocks, at this master; from this instance */
    uint64_t begun, moved, taken, refused, given_up, retried, held, held_dropped, told, stale;
    uint64_t planned, wished;
};

/* What goes. */
struct grd_move_out {
    uint8_t phase; /* enum grd_move_phase */
    bool is_waiting_answer;
    uint16_t to;
    uint16_t tries;
    uint16_t reports;
    bool has_busy;
    bool is_cold;
    uint32_t bucket;
    uint32_t place; /* the number under which it goes */
    uint64_t attempt;
    uint64_t tenure;
    uint64_t frozen_ns; /* since when, 0 = not */
    uint64_t next_ns;   /* when to say it again, or to try again */
    uint64_t begun_ns;
};
/* What comes from one instance. */
struct grd_move_in {
    uint8_t phase; /* 0 none, 1 shards import, 2 owner, 3 shards end */
    bool is_cold;
    uint16_t reports;
    uint32_t bucket;
    uint32_t place;
    uint64_t tenure;
    uint64_t attempt;
    uint64_t next_ns;
};

struct grd_move {
    uint16_t node;
    bool is_off;
    uint32_t nodes, shards;
    uint64_t resend_ns, period_ns, rest_ns, gap_ns;
    struct grd_map *map;
    const struct cf_allocator *allocator;
    struct grd_move_out out;
    struct grd_move_in *in; /* [nodes] by last owner */
    uint32_t in_count;
    uint64_t attempt_last;
    struct grd_msg *held; /* [GRD_MOVE_HELD_MAX] */
    uint32_t held_count;
    uint32_t release_count;   /* of these, to be delivered now */
    struct grd_move_use *use; /* [buckets] */
    uint64_t *came_ns;        /* [buckets] when it came; NULL without planner */
    uint8_t *streak;          /* [buckets] looks in a row that found a better owner */
    uint32_t plan_hand, begin_hand;
    uint32_t begin_left; /* buckets to look at for one that is to go */
    uint64_t plan_next_ns, plan_gap_ns;
    struct cf_hist
        *freeze_hist; /* at the owner that gives: from CLOSING to MOVED heard, or to served again */
    struct grd_move_counters counters;
};

/* What to do with a message of blocks for the master. */
enum grd_move_verdict {
    GRD_MOVE_SERVE = 0, /* by the shard */
    GRD_MOVE_HELD,      /* it is kept for later */
    GRD_MOVE_TOLD       /* its sender is told who owns the bucket; or it is dropped */
};

uint64_t grd_move_bytes(const struct grd_move_options *options);
CF_CHECK enum cf_rc grd_move_open(const struct grd_move_options *options, struct grd_move **move_out);
void grd_move_close(struct grd_move **move);

/* Where a message goes whose receiver is the master of a block. */
CF_HOT enum grd_move_verdict grd_move_route(struct grd_move *move, const struct grd_msg *msg, uint64_t hash,
                                            struct grd_actions *actions);
/* Held messages that are to be delivered now, first to last; false: none. */
bool grd_move_release(struct grd_move *move, struct grd_msg *msg_out);
/* CF_OPTION: no such bucket or instance, or it is there already; CF_BUSY: another one goes, or this one has hardly come;
 * CF_INVALID: this instance does not own it; CF_UNSUPPORTED: nothing goes from here. */
CF_CHECK enum cf_rc grd_move_begin(struct grd_move *move, uint32_t bucket, uint16_t to, uint64_t now_ns,
                                   struct grd_actions *actions);
/*
 * A MOVE_* message or MOVED. True: *bucket_out has another owner than was known here, and conversations of its blocks
 * are to be begun again.
 */
CF_CHECK bool grd_move_step(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                            struct grd_actions *actions, uint32_t *bucket_out);
void grd_move_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions);
uint64_t grd_move_next_ns(const struct grd_move *move);
/* Does this instance serve the bucket now? For checkers: I-10. */
bool grd_move_serves(const struct grd_move *move, uint32_t bucket);
/* Is nothing of a move under way here? */
bool grd_move_is_quiet(const struct grd_move *move);

/* move_plan.c */
CF_HOT void grd_move_count(struct grd_move *move, uint32_t bucket, uint16_t node);
/* Some buckets are looked at; one that is found to be better elsewhere begins to move. */
void grd_move_plan(struct grd_move *move);
/* Nothing is looked for: a bucket goes only when it is told to. */
static inline void grd_move_plan_none(struct grd_move *move)
{
    move->period_ns = 0;
}
void grd_move_plan_begin(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions);

#endif
