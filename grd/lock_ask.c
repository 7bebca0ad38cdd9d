/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What an instance says to the master of a lock, and when; lock_hear.c is what it hears.
 *
 *                 serve: somebody lacks the mode                    grant
 *     held ------------------------------------------> asking --------------> held, new tenure
 *      |  ^                                            |   |  refused
 *      |  |                                            |   +--------------> held as before
 *      |  | lowered                 nobody wants it:   v
 *      |  |                                        cancelling (until granted or refused)
 *      |  |
 *      +--+-- serve: demanded, and nobody stands against it: DOWN to what still goes together
 *      |
 *      +----- release: the last handle is gone: DOWN(release) ... lowered ... nothing
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
              grd_lock_is_releasing(resource) ? GRD_FLAG_RELEASE : 0, actions);
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

void grd_lock_ask_lower(struct grd_lock_local *local, struct grd_lock_resource *resource, uint8_t mode,
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
    resource->leaving = GRD_LOCK_RELEASES;
    resource->demand = GRD_LOCK_NL;
    local->counters.released++;
    grd_lock_ask_lower(local, resource, GRD_LOCK_NL, now_ns, actions);
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
        grd_lock_ask_lower(local, resource, needed, now_ns, actions);
        return true;
    }
    resource->demand = GRD_LOCK_NL;
    if (!grd_lock_compatible(resource->mode, demand))
        grd_lock_ask_lower(local, resource, grd_lock_lowered(resource->mode, demand), now_ns, actions);
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

/*
 * A conversion from something held says more to the master than one from nothing, or a new request. NL comes before
 * all: where the instance holds nothing yet, only the master knows the value that goes with it, and grants it at once.
 */
static uint32_t rank_of(const struct grd_lock_owner *owner)
{
    if (owner->claim.state == GRD_LOCK_CONVERTING)
        return 1 + (owner->claim.held != GRD_LOCK_NL);
    return owner->claim.want == GRD_LOCK_NL ? 3 : 0;
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
        if (next && !grd_lock_is_releasing(resource))
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
