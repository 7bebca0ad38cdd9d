/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_OP_H
#define ENGINE_OP_H

/* Calls that the owner of progress serves (E-10 to E-12). [own] and the other tags: instance.h. */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "base/wheel.h"

struct grd_block;

/* What the engine keeps in cf_op.private_. */
struct eng_op {
    struct cf_timer timer; /* [own] deadline */
    struct cf_op *next;    /* [own] queue of its block or of those that wait for a frame */
    struct cf_session *session;
    uint64_t started_ns;
    uint8_t state;       /* enum eng_op_state, [own] once submitted */
    uint8_t is_sync;     /* completion is told by `done`, not by the session's ring */
    uint8_t hops;        /* ENG_OP_WAS_HIT: satisfied at submit, by the frame word alone; ENG_OP_BY_MESSAGE */
    uint8_t is_internal; /* prefetch: no completion; back to the pool */
    _Atomic uint32_t done; /* [atomic] sync: 1 = completed */
    /* lock ops */
    struct cf_op *prev; /* of those that wait; `next` is the other way */
    uint64_t claim;     /* grd_lock_id that waits; 0: a call, by its number */
    uint32_t call;
    uint32_t cost; /* as set by cf_owner_set at submit */
    uint64_t owner;
};
_Static_assert(sizeof(struct eng_op) <= sizeof(((struct cf_op *)0)->private_), "room in cf_op");
static inline struct eng_op *eng_op_of(struct cf_op *op)
{
    return (struct eng_op *)(void *)op->private_;
}
#define ENG_OP_WAS_HIT 1u
#define ENG_OP_BY_MESSAGE 2u /* snapshot: READs are given up */
enum eng_op_state {
    ENG_OP_IDLE = 0,
    ENG_OP_QUEUED,   /* in the inbox */
    ENG_OP_BLOCK,    /* waits in its block's queue */
    ENG_OP_FRAME,    /* waits for a free frame, a conversation or a record */
    ENG_OP_FLUSH,    /* in the list of flushes */
    ENG_OP_LOCK,     /* in the list of lock ops */
    ENG_OP_SNAPSHOT, /* has a slot of the snapshots */
    ENG_OP_DONE
};
/* Linked by `next`. */
struct eng_op_list {
    struct cf_op *first, *last;
};

/* ---- op.c, queue.c: callers. ---- */
void eng_op_submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns);
void eng_op_cancel_owner(struct cf_instance *instance, struct cf_op *op);
void eng_op_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc);
/* The wait for a block with this id ends with CF_DEADLOCK. False: it has ended. */
bool eng_op_victim_owner(struct cf_instance *instance, uint64_t wait, const char *cycle);
void eng_ops_expire(struct cf_instance *instance, uint64_t now_ns);
bool eng_ops_starved(struct cf_instance *instance, uint64_t now_ns);
/* Gives the block to those who wait for it, as far as possible; opens the conversation the first of them needs. */
void eng_block_serve(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);
/* The grant came, the block could not be had: everybody who waits for it gets rc. */
void eng_block_fail(struct cf_instance *instance, struct grd_block *block, enum cf_rc rc);
void eng_ops_fail_all(struct cf_instance *instance, enum cf_rc rc);
void eng_ref_fill(struct cf_instance *instance, struct cf_file *file, uint64_t block, uint32_t frame,
                  enum cf_mode mode, struct cf_ref *ref);

#endif
