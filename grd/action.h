/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_ACTION_H
#define GRD_ACTION_H

/*
 * What a step function wants done. Steps touch nothing but their own state: they append actions, and whoever
 * drives them (the engine's threads, or the simulator) carries the actions out in order.
 */
#include <stdint.h>

#include "base/assert.h"
#include "base/compiler.h"
#include "grd/msg.h"

struct grd_block;

enum grd_action_type {
    GRD_ACT_SEND = 1, /* message `msg` to instance `to`, which may be this one */
    GRD_ACT_SHIP,     /* the same, with the bytes of `frame` */
    GRD_ACT_READ, /* read block `block` from storage into its conversation's frame; answer grd_local_read_done */
    GRD_ACT_FORMAT, /* zero the conversation's frame: a new block; answer grd_local_read_done with version 0 */
    GRD_ACT_CLOSE,  /* bring the frame of `block` down to `mode`; answer grd_local_closed, at once or later */
    GRD_ACT_BEGIN, /* the copy of `block` is held in `mode` under `frame` from now on: open or raise the frame */
    GRD_ACT_FAILED, /* the grant of `block` ended without a copy; `frame` carries the enum cf_rc of the failed read */
    GRD_ACT_FREE, /* `frame` holds nothing that matters any more */
    GRD_ACT_WRITE /* somebody needs `block` on storage soon */
};

struct grd_action {
    uint8_t type; /* enum grd_action_type */
    uint8_t mode; /* enum cf_mode */
    uint16_t to;
    uint32_t frame;
    struct grd_block *block;
    struct grd_msg msg; /* SEND and SHIP only; its last member is touched only where it is used */
};

/*
 * A step of the master may tell every instance that its past image is durable, forward for every instance that
 * waits for S, and have every sharer invalidate for the X behind them: three messages an instance, plus a few.
 */
#define GRD_STEP_ACTIONS_MAX (3u * CF_NODES_MAX + 64u)
/* A step of the master may be followed by one that waited for it. */
#define GRD_ACTIONS_MAX (GRD_STEP_ACTIONS_MAX + CF_NODES_MAX)

struct grd_actions {
    uint32_t count;
    struct grd_action item[GRD_ACTIONS_MAX];
};

static inline struct grd_action *grd_action_add(struct grd_actions *actions, enum grd_action_type type)
{
    struct grd_action *action;

    cf_assert(actions->count < GRD_ACTIONS_MAX);
    action = &actions->item[actions->count++];
    action->type = (uint8_t)type;
    return action;
}

/* A message to `to`; the caller fills in the members its type carries. */
static inline struct grd_msg *grd_action_send(struct grd_actions *actions, uint16_t to,
                                              enum grd_msg_type type, const struct cf_block_key *key)
{
    struct grd_action *action = grd_action_add(actions, GRD_ACT_SEND);

    action->to = to;
    action->msg.type = (uint16_t)type;
    action->msg.key = *key;
    action->msg.set.count = 0;
    action->msg.set.is_map = 0;
    if (type >= GRD_MSG_LOCK_REQUEST &&
        type <= GRD_MSG_LOCK_VALUE) { /* where a message of another kind may have been */
        action->msg.value.count = 0;
        action->msg.name.kind = GRD_LOCK_NAME_NONE;
        action->msg.name.bytes_count = 0;
    }
    return &action->msg;
}

#endif
