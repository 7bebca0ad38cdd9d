/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance says to the master of a lock, and what it hears.
 *
 *                 serve: somebody lacks the mode                 on_grant
 *     held ------------------------------------------> asking --------------> held, new tenure
 *      |  ^                                            |   |  on_refused
 *      |  |                                            |   +--------------> held as before
 *      |  | on_lowered              nobody wants it:   v
 *      |  |                                        cancelling (until granted or refused)
 *      |  |
 *      +--+-- serve: demanded, and nobody stands against it: DOWN to what still goes together
 *      |
 *      +----- release: the last handle is gone: DOWN(release) ... on_lowered ... nothing
 *
 * Asking and coming down go on side by side: a grant names a new tenure, and a down of the old one is answered but
 * changes nothing.
 */
#include <string.h>

#include "base/assert.h"
#include "grd/lock_local_impl.h"
#include "grd/lock_mutant.h"

/* ------------------------------------------------------------------ sending */

static void send_request(const struct grd_lock_resource *resource, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(
        actions, resource->master, resource->ask_is_cancelled ? GRD_MSG_LOCK_CANCEL : GRD_MSG_LOCK_REQUEST,
        &resource->key);

    msg->request = resource->ask_request;
    if (resource->ask_is_cancelled)
        return;
    msg->held = resource->tenure;
    msg->mode = resource->ask_mode;
    msg->now = resource->mode;
    msg->stake = resource->ask_stake;
    msg->flags = resource->ask_flags;
    msg->name.kind = GRD_LOCK_NAME_NONE;
    msg->name.bytes_count = 0;
    if (resource->tenure == 0)
        msg->name = resource->name;
}

static void send_down(const struct grd_lock_resource *resource, uint64_t tenure, uint8_t mode, uint8_t flags,
                      struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, resource->master, GRD_MSG_LOCK_DOWN, &resource->key);

    msg->tenure = tenure;
    msg->mode = mode;
    msg->flags = flags;
    msg->version = resource->value.version;
    msg->value.count = 0;
    if (!resource->is_dirty || grd_lock_mutant(GRD_LOCK_MUT_VALUE_STAYS))
        return;
    msg->flags |= GRD_FLAG_VALUE | (resource->value.is_valid ? 0 : GRD_FLAG_LOST);
    msg->value.count = resource->value.bytes_count;
    memcpy(msg->value.bytes, resource->value.bytes, resource->value.bytes_count);
}

static void send_lower(const struct grd_lock_resource *resource, struct grd_actions *actions)
{
    send_down(resource, resource->lower_tenure, resource->lower_mode,
              resource->is_releasing ? GRD_FLAG_RELEASE : 0, actions);
}

bool grd_lock_ask_again(struct grd_lock_local *local, struct grd_lock_resource *resource,
                        struct grd_actions *actions)
{
    bool is_needed = false;

    (void)local;
    /* The down first: a request says in which mode it was sent, and waits for the down it has overtaken. */
    if (resource->lower_tenure) {
        if (!grd_lock_mutant(GRD_LOCK_MUT_NO_DOWN_AGAIN))
            send_lower(resource, actions);
        is_needed = true;
    } else if (resource->publish_first) {
        send_down(resource, resource->tenure, resource->mode, 0, actions);
        is_needed = true;
    }
    if (resource->ask_request) {
        send_request(resource, actions);
        is_needed = true;
    }
    return is_needed;
}

/* ------------------------------------------------------------------ coming down */

static void lower(struct grd_lock_local *local, struct grd_lock_resource *resource, uint8_t mode,
                  uint64_t now_ns, struct grd_actions *actions)
{
    resource->mode = mode;
    resource->lower_tenure = resource->tenure;
    resource->lower_mode = mode;
    local->counters.lowered++;
    send_lower(resource, actions);
    grd_lock_local_arm(local, resource, now_ns);
}

void grd_lock_ask_release(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                          struct grd_actions *actions)
{
    resource->is_releasing = true;
    resource->demand = GRD_LOCK_NL;
    local->counters.released++;
    lower(local, resource, GRD_LOCK_NL, now_ns, actions);
}

void grd_lock_ask_publish(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                          struct grd_actions *actions)
{
    send_down(resource, resource->tenure, resource->mode, 0, actions);
    grd_lock_local_arm(local, resource, now_ns);
}

/*
 * True: something changed. Where owners stand against the demand, all that they do not need is given up at once: a
 * peer further back in the queue may need no more than that, and the detector takes it for granted.
 */
static bool try_lower(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                      struct grd_actions *actions)
{
    uint8_t demand = resource->demand, needed = grd_lock_queue_join(&resource->queue);

    if (demand == GRD_LOCK_NL)
        return false;
    if (!grd_lock_compatible(needed, demand) && !grd_lock_mutant(GRD_LOCK_MUT_DOWN_EARLY)) {
        if (needed == resource->mode)
            return false;
        lower(local, resource, needed, now_ns, actions);
        return true;
    }
    resource->demand = GRD_LOCK_NL;
    if (!grd_lock_compatible(resource->mode, demand))
        lower(local, resource, grd_lock_lowered(resource->mode, demand), now_ns, actions);
    return true;
}

/* ------------------------------------------------------------------ asking */

static void ask_begin(struct grd_lock_local *local, struct grd_lock_resource *resource,
                      struct grd_lock_owner *owner, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_claim *claim = &owner->claim;

    resource->ask_request = local->request_next++;
    resource->ask_for = owner;
    /* With what the claim itself holds: it may be cancelled, and keep that. */
    resource->ask_mode = grd_lock_join(grd_lock_queue_join(&resource->queue), claim->want);
    resource->ask_stake = claim->state == GRD_LOCK_CONVERTING ? claim->held : GRD_LOCK_NL;
    resource->ask_flags = claim->flags & GRD_LOCK_REQUEST_FLAGS;
    resource->ask_is_cancelled = false;
    local->counters.requests++;
    send_request(resource, actions);
    grd_lock_local_arm(local, resource, now_ns);
}

/* The one it was asked for is gone: the next may take it over if it would ask for the same. */
static void ask_pass_on(struct grd_lock_local *local, struct grd_lock_resource *resource,
                        struct grd_lock_owner *next, uint64_t now_ns, struct grd_actions *actions)
{
    if (next && next->claim.state == GRD_LOCK_WAITING && resource->ask_stake == GRD_LOCK_NL &&
        (next->claim.flags & GRD_LOCK_REQUEST_FLAGS) == resource->ask_flags &&
        grd_lock_join(grd_lock_queue_join(&resource->queue), next->claim.want) == resource->ask_mode) {
        resource->ask_for = next;
        return;
    }
    resource->ask_is_cancelled = true;
    send_request(resource, actions);
    grd_lock_local_arm(local, resource, now_ns);
}

/* A conversion from something held says more to the master than one from nothing, or a new request. */
static uint32_t rank_of(const struct grd_lock_owner *owner)
{
    return owner->claim.state == GRD_LOCK_CONVERTING ? 1 + (owner->claim.held != GRD_LOCK_NL) : 0;
}

/* Who only tries, and is neither the next nor asked for, would have to wait for others: it ends. */
static bool fail_tries(struct grd_lock_local *local, struct grd_lock_resource *resource,
                       const struct grd_lock_owner *next)
{
    struct grd_lock_claim *claim;
    struct grd_lock_owner *owner;

    for (claim = resource->tries > 0 ? resource->queue.first : NULL; claim; claim = claim->next) {
        owner = grd_lock_owner_from(claim);
        if (!grd_lock_is_waiting(claim) || !(claim->flags & GRD_LOCK_TRY) || owner->is_in_call ||
            owner == next || owner == resource->ask_for)
            continue;
        grd_lock_owner_fail(local, owner, CF_BUSY);
        return true;
    }
    return false;
}

static struct grd_lock_owner *serve_once(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                         uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_claim *claim, *lacks;
    struct grd_lock_owner *next;

    do {
        struct grd_lock_limit limit = grd_lock_local_limit(resource);

        while ((claim = grd_lock_queue_next(&resource->queue, &limit, &lacks)) != NULL)
            grd_lock_owner_grant(local, grd_lock_owner_from(claim));
    } while (try_lower(local, resource, now_ns, actions));
    next = lacks ? grd_lock_owner_from(lacks) : NULL;
    if (resource->ask_request == 0) {
        if (next && !resource->is_releasing)
            ask_begin(local, resource, next, now_ns, actions);
    } else if (!resource->ask_is_cancelled) {
        /* Conversions come first; and the master must know of one to see that it deadlocks. */
        if (next && resource->ask_for && rank_of(next) > rank_of(resource->ask_for))
            resource->ask_for = NULL;
        if (resource->ask_for == NULL)
            ask_pass_on(local, resource, next, now_ns, actions);
    }
    return next;
}

struct grd_lock_owner *grd_lock_ask_serve(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                          uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_owner *next;

    do
        next = serve_once(local, resource, now_ns, actions);
    while (fail_tries(local, resource, next));
    return next;
}

static void ask_end(struct grd_lock_resource *resource)
{
    resource->ask_request = 0;
    resource->ask_for = NULL;
    resource->ask_is_cancelled = false;
}

/* ------------------------------------------------------------------ messages */

void grd_lock_ask_learn(struct grd_lock_resource *resource, const struct grd_msg *msg)
{
    if (msg->version <= resource->value.version)
        return;
    resource->is_dirty = false;
    resource->value.version = msg->version;
    resource->value.is_valid = !(msg->flags & GRD_FLAG_LOST);
    resource->value.bytes_count = msg->value.count;
    memcpy(resource->value.bytes, msg->value.bytes, msg->value.count);
}

void grd_lock_ask_on_grant(struct grd_lock_local *local, struct grd_lock_resource *resource,
                           const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    bool is_mine = resource->ask_request == msg->request && resource->ask_mode == msg->mode;

    if (grd_lock_mutant(GRD_LOCK_MUT_GRANT_ANY))
        is_mine = is_mine || (!resource->is_releasing && resource->tenure != 0);
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
    grd_lock_ask_learn(resource, msg);
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

void grd_lock_ask_on_refused(struct grd_lock_local *local, struct grd_lock_resource *resource,
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
        lower(local, resource, grd_lock_lowered(resource->mode, msg->mode), now_ns, actions);
        grd_lock_ask_serve(local, resource, now_ns, actions);
        return;
    }
    answer = grd_action_send(actions, resource->master, GRD_MSG_LOCK_IN_USE, &resource->key);
    answer->tenure = msg->tenure;
    answer->mode = msg->mode;
    if (msg->flags & GRD_LOCK_NOTIFY)
        grd_lock_local_note_wanted(local, resource, msg->mode);
}

void grd_lock_ask_on_demand(struct grd_lock_local *local, struct grd_lock_resource *resource,
                            const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_owner *owner = resource->ask_for;

    if (resource->tenure == 0 || resource->tenure != msg->tenure || resource->is_releasing) {
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

bool grd_lock_ask_demand_ends(struct grd_lock_local *local, struct grd_lock_resource *resource,
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

void grd_lock_ask_on_lowered(struct grd_lock_local *local, struct grd_lock_resource *resource,
                             const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    bool is_release = (msg->flags & GRD_FLAG_RELEASE) != 0;

    if (msg->version >= resource->value.version)
        resource->is_dirty = false;
    grd_lock_owner_published(local, resource, msg->version);
    if (resource->lower_tenure == 0 || resource->lower_tenure != msg->tenure ||
        resource->lower_mode != msg->mode || resource->is_releasing != is_release || resource->is_dirty)
        return;
    resource->lower_tenure = 0;
    if (!is_release)
        return;
    resource->is_releasing = false;
    resource->tenure = 0;
    grd_lock_ask_serve(local, resource, now_ns, actions);
}
