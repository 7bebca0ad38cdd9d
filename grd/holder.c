/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The holder's steps. A demand (forward or invalidate) names the tenure of the copy it is about [11]; one for a copy
 * that is not here is answered with the truth. Demands of a block are served in order of arrival:
 *
 *   arrive --> park --> no disk write in flight --> residency over --> CLOSE(mode) --> closed --> ship / invalidated
 *                       (S forward of an S copy: served at once, the copy stays)
 *
 * While the frame closes, nothing is held and nobody waits: the last unpin reports, and the step goes on.
 */
#include "base/assert.h"
#include "grd/local_impl.h"
#include "grd/mutant.h"

static void send_invalidated(uint16_t to, const struct grd_msg *demand, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, to, GRD_MSG_INVALIDATED, &demand->key);

    msg->request = demand->request;
    msg->tenure = demand->tenure;
    msg->held = demand->held;
}

/* With the number of the release that says the same, since the master may hear of that one much later. */
static void send_not_held(const struct grd_local *local, const struct grd_block *block,
                          const struct grd_msg *demand, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, demand->from, GRD_MSG_NOT_HELD, &demand->key);

    grd_local_release_name(local, block, demand->held, msg);

    msg->request = demand->request;
    msg->tenure = demand->tenure;
    msg->held = demand->held;
    msg->requester = demand->requester;
}

static void send_ship(const struct grd_local *local, const struct grd_msg *demand, uint64_t version,
                      uint64_t durable, uint32_t frame, struct grd_actions *actions)
{
    struct grd_action *action = grd_action_add(actions, GRD_ACT_SHIP);
    struct grd_msg *msg = &action->msg;

    action->to = demand->requester;
    action->frame = frame;
    msg->type = GRD_MSG_SHIP;
    msg->key = demand->key;
    msg->request = demand->request;
    msg->tenure = demand->tenure;
    msg->version = version;
    msg->durable = durable;
    msg->mode = demand->mode;
    msg->flags = 0;
    msg->checksum = 0;
    msg->hops = demand->from == local->node || demand->from == demand->requester ? 2 : 3;
    grd_set_copy(&msg->set, &demand->set);
}

void grd_holder_answer_gone(struct grd_local *local, const struct grd_block *block, const struct grd_msg *msg,
                            struct grd_actions *actions)
{
    if (msg->type == GRD_MSG_INVALIDATE) {
        send_invalidated(msg->requester, msg, actions);
        return;
    }
    if (block && block->kept_tenure != 0 && block->kept_tenure == msg->tenure &&
        block->kept_for == msg->requester) {
        send_ship(local, msg, block->kept_version, block->kept_durable, block->kept_frame,
                  actions); /* [15] */
        local->counters.shipped_again++;
        return;
    }
    local->counters.not_held++;
    send_not_held(local, block, msg, actions);
}

/*
 * The copy ends because X or the duty goes elsewhere. A dirty copy with the duty becomes a past image, the newest
 * one replacing an older. What neither keeps nor remembers gives its frame back.
 */
static void copy_end(struct grd_local *local, struct grd_block *block, struct grd_actions *actions)
{
    uint32_t frame = block->frame;

    if (block->has_duty && block->version > block->durable) {
        grd_local_past_drop(local, block, actions);
        block->past_version = block->version;
        block->past_asked_ns = 0;
        block->past_frame = frame;
        local->past_used++;
        local->counters.past_made++;
    }
    block->mode = CF_MODE_N;
    block->frame = GRD_FRAME_NONE;
    block->tenure = 0;
    block->has_duty = false;
    if (frame != block->past_frame && frame != block->kept_frame)
        grd_local_free_frame(actions, frame);
}

static void do_ship_x(struct grd_local *local, struct grd_block *block, const struct grd_msg *demand,
                      uint64_t now_ns, struct grd_actions *actions)
{
    send_ship(local, demand, block->version, block->durable, block->frame, actions);
    grd_local_kept_drop(local, block, actions);
    if (!grd_mutant(GRD_MUT_NO_KEEP)) {
        block->kept_tenure = demand->tenure;
        block->kept_version = block->version;
        block->kept_durable = block->durable;
        block->kept_frame = block->frame;
        block->kept_for = demand->requester;
        local->kept_used++;
    }
    local->counters.shipped++;
    copy_end(local, block, actions);
    grd_local_arm(local, block, now_ns);
}

static void do_invalidate(struct grd_local *local, struct grd_block *block, const struct grd_msg *demand,
                          uint64_t now_ns, struct grd_actions *actions)
{
    local->counters.invalidated++;
    copy_end(local, block, actions);
    send_invalidated(demand->requester, demand, actions);
    if (block->past_version)
        grd_local_arm(local, block, now_ns);
}

static void do_ship_s(struct grd_local *local, struct grd_block *block, const struct grd_msg *demand,
                      struct grd_actions *actions)
{
    if (block->mode == CF_MODE_X) {
        block->mode = CF_MODE_S; /* the write duty stays */
        local->counters.downgraded++;
    }
    send_ship(local, demand, block->version, block->durable, block->frame, actions);
    local->counters.shipped++;
}

/* Does the demand still concern the copy that is here? */
static bool concerns(const struct grd_block *block, const struct grd_msg *demand)
{
    if (block->mode == CF_MODE_N)
        return false;
    return block->tenure == demand->held ||
           (grd_mutant(GRD_MUT_FORWARD_ANY_TENURE) && demand->type == GRD_MSG_FORWARD);
}

/* The mode the copy must come down to for this demand; its own mode = serve at once. */
static uint8_t mode_after(const struct grd_block *block, const struct grd_msg *demand)
{
    if (demand->type == GRD_MSG_FORWARD && demand->mode == CF_MODE_S)
        return block->mode == CF_MODE_X ? CF_MODE_S : block->mode;
    return CF_MODE_N;
}

/* Nothing is given up while a disk write is in flight, nor before the residency is over. */
static bool must_wait(const struct grd_local *local, const struct grd_block *block, uint64_t now_ns)
{
    if (block->is_writing && !grd_mutant(GRD_MUT_SHIP_DURING_WRITE))
        return true;
    return local->residency_ns != 0 && now_ns < block->begun_ns + local->residency_ns;
}

void grd_holder_serve(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions)
{
    while (block->demand_first != GRD_FRAME_NONE) {
        const struct grd_msg *demand = &local->demands[block->demand_first].msg;
        uint8_t after;

        if (!concerns(block, demand)) {
            grd_holder_answer_gone(local, block, demand, actions);
            grd_local_demand_pop(local, block);
            continue;
        }
        after = mode_after(block, demand);
        if (after != block->mode && !(block->is_closed && block->closing == after + 1)) {
            if (block->closing)
                return;
            if (must_wait(local, block, now_ns)) {
                if (!block->is_writing) /* the residency: look again when it is over */
                    cf_wheel_arm(&local->stays, &block->stay, block->begun_ns + local->residency_ns);
                return;
            }
            block->closing = (uint8_t)(after + 1);
            block->is_closed = false;
            {
                struct grd_action *action = grd_action_add(actions, GRD_ACT_CLOSE);

                action->block = block;
                action->frame = block->frame;
                action->mode = after;
            }
            return;
        }
        if (after != block->mode) {
            block->closing = 0;
            block->is_closed = false;
        }
        if (demand->type == GRD_MSG_INVALIDATE)
            do_invalidate(local, block, demand, now_ns, actions);
        else if (demand->mode == CF_MODE_X)
            do_ship_x(local, block, demand, now_ns, actions);
        else
            do_ship_s(local, block, demand, actions);
        grd_local_demand_pop(local, block);
    }
}

void grd_local_closed(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions)
{
    cf_assert(block->closing != 0 && !block->is_closed);
    block->is_closed = true;
    grd_holder_serve(local, block, now_ns, actions);
    cf_assert(block->closing == 0 || !block->is_closed);
}

void grd_holder_on_demand(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                          uint64_t now_ns, struct grd_actions *actions)
{
    if (!concerns(block, msg)) {
        /* An invalidate that overtook its S copy is acknowledged at once; the copy is refused when it comes [1]. */
        bool is_noted = msg->type == GRD_MSG_INVALIDATE &&
                        grd_requester_refuse(local, block, msg->held, now_ns, actions);

        /* The master has taken this copy off its entry, so there is nothing left to release [G-15]. */
        if (msg->type == GRD_MSG_INVALIDATE && block->release_tenure != 0 &&
            block->release_tenure == msg->held) {
            grd_local_release_end(local, block);
            grd_requester_on_released(local, block, now_ns, actions);
        }
        if (!(is_noted && grd_mutant(GRD_MUT_GIVE_ACK_LATE)))
            grd_holder_answer_gone(local, block, msg, actions);
        return;
    }
    if (grd_local_demand_add(local, block, msg) == GRD_FRAME_NONE)
        return;
    grd_holder_serve(local, block, now_ns, actions);
    if (block->demand_first != GRD_FRAME_NONE && !cf_timer_armed(&block->timer))
        grd_local_arm(local, block, now_ns);
}

void grd_holder_on_recall(const struct grd_local *local, const struct grd_block *block,
                          const struct grd_msg *ask, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, ask->from, GRD_MSG_HELD, &ask->key);

    msg->request = ask->request;
    msg->tenure = msg->version = msg->durable = msg->held = msg->number = 0;
    msg->behind = 0;
    msg->mode = CF_MODE_N;
    msg->flags = 0;
    if (block == NULL)
        return;
    msg->held = block->past_version;
    if (block->mode !=
        CF_MODE_N) { /* a release that is open beside a copy was heard: the copy was granted after it */
        msg->mode = block->mode;
        msg->flags = block->has_duty ? GRD_FLAG_DUTY : 0;
        msg->tenure = block->tenure;
        msg->version = block->version;
        msg->durable = block->durable;
    } else if (block->release_tenure != 0) {
        msg->flags = GRD_FLAG_RELEASED;
        msg->tenure = block->release_tenure;
        msg->version = block->release_version;
        msg->durable = block->release_durable;
        grd_local_release_name(local, block, block->release_tenure, msg);
    }
}

/* ------------------------------------------------------------------ eviction and writing */

bool grd_local_can_evict(const struct grd_local *local, const struct grd_block *block)
{
    if (block->mode == CF_MODE_N || block->conv != GRD_FRAME_NONE /* [6] */ || block->release_tenure != 0 ||
        block->closing || block->demand_first != GRD_FRAME_NONE ||
        local->releases_used >= local->releases_max ||
        !grd_local_release_has_room(local, GRD_WINDOW / 4)) /* the last quarter is for grants that failed */
        return false;
    if (block->is_writing)
        return grd_mutant(GRD_MUT_RELEASE_EARLY) && block->writing_version == block->version;
    return !(block->has_duty && block->version > block->durable) || grd_mutant(GRD_MUT_DROP_DIRTY);
}

void grd_local_withdraw(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                        struct grd_actions *actions)
{
    uint32_t frame = block->frame;

    cf_assert(grd_local_can_evict(local, block));
    grd_local_release_begin(local, block, block->tenure, block->version, block->durable);
    local->counters.evicted++;
    block->mode = CF_MODE_N;
    block->tenure = 0;
    block->frame = GRD_FRAME_NONE;
    block->has_duty = false;
    grd_local_free_frame(actions, frame);
    grd_local_arm(local, block, now_ns);
}

void grd_local_evict(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                     struct grd_actions *actions)
{
    grd_local_withdraw(local, block, now_ns, actions);
    grd_local_send_release(local, block, actions);
}

bool grd_local_can_write(const struct grd_block *block)
{
    /* A copy that is closing is on its way out, and the duty with it: a write begun now would be overtaken. */
    return block->mode != CF_MODE_N && !block->closing && block->has_duty && !block->is_writing &&
           block->version > block->durable;
}

void grd_local_write_begin(struct grd_block *block, uint64_t version)
{
    cf_assert(block->mode != CF_MODE_N && block->has_duty && !block->is_writing);
    block->is_writing = true;
    block->writing_version = version;
}

void grd_local_say_written(const struct grd_local *local, struct grd_block *block,
                           struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_WRITTEN,
                                          &block->key);

    msg->tenure = block->tenure;
    msg->durable = grd_mutant(GRD_MUT_DISCARD_EARLY) ? block->version : block->durable;
}

/* Complete means durable [I-8, I-9]: durable rises, an own past image up to it goes, and the master hears of it. */
void grd_local_write_done(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                          struct grd_actions *actions)
{
    uint64_t durable = block->writing_version;

    cf_assert(block->is_writing);
    block->is_writing = false;
    if (block->mode != CF_MODE_N && block->durable < durable)
        block->durable = durable;
    if (block->past_version != 0 && block->past_version <= durable)
        grd_local_past_drop(local, block, actions);
    grd_local_say_written(local, block, actions);
    grd_holder_serve(local, block, now_ns, actions);
}
