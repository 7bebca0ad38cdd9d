/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Releases, which are open until they are acknowledged, and the timers by which everything unanswered is said again.
 */
#include "base/assert.h"
#include "grd/backoff.h"
#include "grd/local_impl.h"

/* Questions that are asked only in case a message was lost wait this many periods. */
#define GRD_SLOW_PERIODS 4u
/* A past image normally waits for a write-back by age: its question, this many periods; 4 when there are too many. */
#define GRD_PAST_PERIODS 256u

/* ------------------------------------------------------------------ timers */

static void arm_at(struct grd_local *local, struct grd_block *block, uint64_t due_ns)
{
    block->quiet_ns = due_ns;
    cf_wheel_arm(&local->wheel, &block->timer, due_ns);
}

/* A timer that is armed already goes off where it is and is put to the later time then: most have nothing to do by then. */
void grd_local_arm(struct grd_local *local, struct grd_block *block, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + local->resend_ns;

    block->retries = 0;
    if (cf_timer_armed(&block->timer) && block->timer.due_ns <= due_ns)
        block->quiet_ns = due_ns;
    else
        arm_at(local, block, due_ns);
}

bool grd_local_release_has_room(const struct grd_local *local, uint32_t but)
{
    return local->release_next + but - local->releases.low < GRD_WINDOW;
}

void grd_local_release_begin(struct grd_local *local, struct grd_block *block, uint64_t tenure,
                             uint64_t version, uint64_t durable)
{
    cf_assert(block->release_tenure == 0 && tenure != 0);
    cf_assert_id(grd_local_release_has_room(local, 0), "G-15");
    block->release_tenure = tenure;
    block->release_version = version;
    block->release_durable = durable;
    block->release_number = local->release_next++;
    local->releases_used++;
}

void grd_local_release_end(struct grd_local *local, struct grd_block *block)
{
    bool is_noted = grd_window_end(&local->releases, block->release_number);

    cf_assert_id(is_noted, "G-15");
    grd_window_slide(&local->releases);
    block->release_tenure = 0;
    local->releases_used--;
}

void grd_local_release_name(const struct grd_local *local, const struct grd_block *block, uint64_t tenure,
                            struct grd_msg *msg)
{
    bool is_open = block && block->release_tenure != 0 && block->release_tenure == tenure;

    msg->number = is_open ? block->release_number : 0;
    msg->behind = is_open ? (uint16_t)(block->release_number - local->releases.low) : 0;
}

void grd_local_send_release(const struct grd_local *local, struct grd_block *block,
                            struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_RELEASE,
                                          &block->key);

    grd_local_release_name(local, block, block->release_tenure, msg);
    msg->tenure = block->release_tenure;
    msg->version = block->release_version;
    msg->durable = block->release_durable;
}

static void send_past(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions)
{
    bool over = local->past_used > local->past_max;
    uint64_t period_ns = local->resend_ns * (over ? GRD_SLOW_PERIODS : GRD_PAST_PERIODS);

    if (block->past_asked_ns == 0)
        block->past_asked_ns = now_ns;
    if (now_ns - block->past_asked_ns < period_ns)
        return;
    block->past_asked_ns = now_ns;
    grd_action_send(actions, grd_local_master(local, block), over ? GRD_MSG_WRITE_ASK : GRD_MSG_PAST,
                    &block->key)
        ->version = block->past_version;
    local->counters.resends++;
    local->counters.write_asks += over;
}

static bool asks(const struct grd_block *block, const struct grd_conv *conv)
{
    return !conv->is_reading && !(conv->is_granted && conv->failed && block->release_tenure);
}

static void send_again(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                       struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);
    struct grd_msg *msg;

    if (conv && asks(block, conv)) {
        grd_requester_send(local, block, actions);
        local->counters.resends++;
    }
    if (block->release_tenure) {
        grd_local_send_release(local, block, actions);
        local->counters.resends++;
    }
    if (block->past_version)
        send_past(local, block, now_ns, actions);
    if (block->kept_tenure && block->retries % GRD_SLOW_PERIODS == GRD_SLOW_PERIODS - 1) {
        msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_KEPT, &block->key);
        msg->tenure = block->kept_tenure;
        msg->requester = block->kept_for;
        local->counters.resends++;
    }
}

/* The residency of a copy is over: those who wait for it are served. */
static bool stay_tick(struct grd_local *local, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&local->stays, now_ns);
    struct grd_block *block;

    if (timer == NULL)
        return false;
    block = cf_container_of(timer, struct grd_block, stay);
    grd_holder_serve(local, block, now_ns, actions);
    grd_local_settle(local, block);
    return true;
}

bool grd_local_tick(struct grd_local *local, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&local->wheel, now_ns);
    struct grd_block *block;
    bool is_needed;

    if (timer == NULL)
        return stay_tick(local, now_ns, actions);
    block = cf_container_of(timer, struct grd_block, timer);
    is_needed = block->conv != GRD_FRAME_NONE || block->release_tenure || block->kept_tenure ||
                block->past_version || block->demand_first != GRD_FRAME_NONE;
    if (!is_needed) {
        grd_local_settle(local, block);
        return true;
    }
    if (now_ns < block->quiet_ns) {
        arm_at(local, block, block->quiet_ns);
        return true;
    }
    grd_requester_on_released(local, block, now_ns,
                              actions); /* a failed grant that found no release number */
    send_again(local, block, now_ns, actions);
    block->retries++;
    arm_at(local, block, now_ns + grd_backoff_ns(local->resend_ns, block->retries));
    grd_holder_serve(local, block, now_ns, actions);
    return true;
}

void grd_local_moved(struct grd_local *local, uint32_t bucket, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t i;

    for (i = 0; i < local->outstanding; i++) {
        struct grd_conv *conv = &local->convs[i];
        struct grd_block *block = conv->block == GRD_FRAME_NONE ? NULL : &local->blocks[conv->block];

        if (block == NULL || grd_map_bucket(local->map, block->hash) != bucket)
            continue;
        if (asks(block, conv))
            grd_requester_moved(local, block, now_ns, actions);
        else
            grd_local_arm(local, block, now_ns);
    }
}

uint64_t grd_local_next_ns(const struct grd_local *local)
{
    uint64_t next_ns = cf_wheel_next_ns(&local->wheel), stay_ns = grd_local_stay_ns(local);

    return next_ns < stay_ns ? next_ns : stay_ns;
}

void grd_local_reset(struct grd_local *local, uint16_t node, uint64_t now_ns)
{
    uint32_t i;

    (void)node; /* a holder's lane carries ships for conversations of any master: all of them look again */
    for (i = 0; i < local->blocks_count; i++) {
        struct grd_block *block = &local->blocks[i];

        if (block->in_use && cf_timer_armed(&block->timer)) {
            block->retries = GRD_SLOW_PERIODS - 1;
            arm_at(local, block, now_ns);
        }
    }
}
