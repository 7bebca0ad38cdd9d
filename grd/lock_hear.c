/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance hears of the master of a lock; lock_ask.c is what it says. */
#include <string.h>

#include "base/assert.h"
#include "grd/lock_local_impl.h"
#include "grd/lock_mutant.h"

static void ask_end(struct grd_lock_resource *resource)
{
    resource->ask_request = 0;
    resource->ask_for = NULL;
    resource->ask_is_cancelled = false;
}

void grd_lock_hear_value(struct grd_lock_resource *resource, const struct grd_msg *msg)
{
    if (msg->version <= resource->value.version)
        return;
    resource->is_dirty = false;
    resource->value.version = msg->version;
    resource->value.is_valid = !(msg->flags & GRD_FLAG_LOST);
    resource->value.bytes_count = msg->value.count;
    memcpy(resource->value.bytes, msg->value.bytes, msg->value.count);
}

void grd_lock_hear_grant(struct grd_lock_local *local, struct grd_lock_resource *resource,
                         const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    bool is_mine = resource->ask_request == msg->request && resource->ask_mode == msg->mode;

    if (grd_lock_mutant(GRD_LOCK_MUT_GRANT_ANY))
        is_mine = is_mine || (!grd_lock_is_releasing(resource) && resource->tenure != 0);
    if (msg->request == 0 || !is_mine) {
        local->counters.stale++;
        return;
    }
    ask_end(resource);
    resource->tenure = msg->tenure;
    resource->mode = msg->mode;
    atomic_store_explicit(&resource->record, msg->record, memory_order_relaxed);
    resource->lower_tenure = 0; /* of an older tenure: the master knows better by now */
    resource->demand = GRD_LOCK_NL;
    cf_assert_id(grd_lock_covers(resource->mode, grd_lock_queue_join(&resource->queue)) ||
                     grd_lock_mutant(GRD_LOCK_MUT_GRANT_ANY),
                 "I-11");
    grd_lock_hear_value(resource, msg);
    grd_lock_ask_serve(local, resource, now_ns, actions);
}

static enum cf_rc rc_of(uint8_t how)
{
    switch (how) {
    case GRD_LOCK_BUSY:
        return CF_BUSY;
    case GRD_LOCK_DEADLOCK:
        return CF_DEADLOCK;
    case GRD_LOCK_TAKEN:
        return CF_NAME_TAKEN;
    case GRD_LOCK_FULL:
        return CF_AGAIN;
    default:
        return CF_CANCELLED;
    }
}

void grd_lock_hear_refused(struct grd_lock_local *local, struct grd_lock_resource *resource,
                           const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_owner *owner = resource->ask_for;

    if (resource->ask_request == 0 || resource->ask_request != msg->request) {
        local->counters.stale++;
        return;
    }
    if (msg->how == GRD_LOCK_SPENT) {
        local->counters.bounced++;
        owner = NULL; /* it still waits: serve asks anew */
    }
    ask_end(resource);
    if (owner) {
        local->counters.deadlocks += msg->how == GRD_LOCK_DEADLOCK;
        grd_lock_owner_fail(local, owner, rc_of(msg->how));
    }
    grd_lock_ask_serve(local, resource, now_ns, actions);
}

/* Somebody only tries: down at once, or not at all. */
static void try_demand(struct grd_lock_local *local, struct grd_lock_resource *resource,
                       const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_msg *answer;

    if (grd_lock_compatible(grd_lock_queue_join(&resource->queue), msg->mode)) {
        grd_lock_ask_lower(local, resource, grd_lock_lowered(resource->mode, msg->mode), now_ns, actions);
        grd_lock_ask_serve(local, resource, now_ns, actions);
        return;
    }
    answer = grd_action_send(actions, resource->master, GRD_MSG_LOCK_IN_USE, &resource->key);
    answer->tenure = msg->tenure;
    answer->mode = msg->mode;
    if (msg->flags & GRD_LOCK_NOTIFY)
        grd_lock_local_note_wanted(local, resource, msg->mode);
}

void grd_lock_hear_demand(struct grd_lock_local *local, struct grd_lock_resource *resource,
                          const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_owner *owner = resource->ask_for;

    if (resource->tenure == 0 || resource->tenure != msg->tenure || grd_lock_is_releasing(resource)) {
        local->counters.stale++;
        return;
    }
    if (msg->mode == GRD_LOCK_NL) {
        if (resource->demand_number != msg->request)
            return;
        resource->demand = GRD_LOCK_NL;
        grd_lock_ask_serve(local, resource, now_ns, actions);
        return;
    }
    local->counters.demands++;
    if ((msg->flags & GRD_LOCK_DEMOTE) && owner && resource->ask_request == msg->request &&
        owner->claim.state == GRD_LOCK_CONVERTING && owner->claim.held != GRD_LOCK_NL) {
        grd_lock_owner_demote(local, owner);
        resource->ask_stake = GRD_LOCK_NL;
    }
    if (grd_lock_compatible(resource->mode, msg->mode))
        return; /* it crossed the down */
    if (msg->flags & GRD_LOCK_TRY) {
        try_demand(local, resource, msg, now_ns, actions);
        return;
    }
    resource->demand = msg->mode;
    resource->demand_number = msg->flags & GRD_LOCK_DEMOTE ? 0 : msg->request;
    resource->demand_ns = now_ns;
    grd_lock_ask_serve(local, resource, now_ns, actions);
    if (resource->demand == GRD_LOCK_NL)
        return;
    grd_lock_local_note_wanted(local, resource, msg->mode);
    if (!cf_timer_armed(&resource->timer))
        grd_lock_local_arm(local, resource, now_ns);
}

bool grd_lock_hear_demand_end(struct grd_lock_local *local, struct grd_lock_resource *resource,
                              uint64_t now_ns, struct grd_actions *actions)
{
    if (resource->demand == GRD_LOCK_NL)
        return false;
    if (now_ns - resource->demand_ns >= local->options.resend_ns * GRD_LOCK_DEMAND_PERIODS) {
        resource->demand = GRD_LOCK_NL;
        grd_lock_ask_serve(local, resource, now_ns, actions);
    }
    return true;
}

void grd_lock_hear_lowered(struct grd_lock_local *local, struct grd_lock_resource *resource,
                           const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    bool is_release = (msg->flags & GRD_FLAG_RELEASE) != 0;

    if (msg->version >= resource->value.version)
        resource->is_dirty = false;
    grd_lock_owner_published(local, resource, msg->version);
    if (resource->lower_tenure == 0 || resource->lower_tenure != msg->tenure ||
        resource->lower_mode != msg->mode || grd_lock_is_releasing(resource) != is_release ||
        resource->is_dirty)
        return;
    resource->lower_tenure = 0;
    if (!is_release)
        return;
    resource->leaving = resource->handles > 0 ? GRD_LOCK_STAYS : GRD_LOCK_CLOSED;
    resource->tenure = 0;
    grd_lock_ask_serve(local, resource, now_ns, actions);
}
