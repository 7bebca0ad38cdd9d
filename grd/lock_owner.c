/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Calls of owners: want, cancel, waits, and what becomes of them; lock_convert.c has the rest. A call that cannot be answered at once
 * is answered by a completion; completions wait in a list of the records themselves, so that their number needs
 * no bound of its own.
 */
#include "base/assert.h"
#include "grd/lock_local_impl.h"

#define WANT_FLAGS (GRD_LOCK_TRY | GRD_LOCK_NOTIFY | GRD_LOCK_HEAD)

/* ------------------------------------------------------------------ records */

static struct grd_lock_owner *owner_take(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                         const struct grd_lock_want *want)
{
    struct grd_lock_owner *owner;

    if (local->owner_free == NULL)
        return NULL;
    owner = grd_lock_owner_from(local->owner_free);
    local->owner_free = owner->claim.next;
    owner->resource = resource;
    owner->owner = want->owner;
    owner->cookie = want->cookie;
    owner->cost = want->cost;
    owner->claim.flags = want->flags;
    grd_lock_queue_enter(&resource->queue, &owner->claim);
    return owner;
}

/* The claim is out of its queue already. What a record in the free list looks like lock_cached.h relies on. */
void grd_lock_owner_give(struct grd_lock_local *local, struct grd_lock_owner *owner)
{
    owner->publish_version = 0;
    owner->is_done = owner->is_in_call = owner->is_demoted = owner->has_value = false;
    owner->claim.overtaken = 0;
    owner->resource = NULL;
    owner->generation++;
    owner->claim.next = local->owner_free;
    local->owner_free = &owner->claim;
}

/* ------------------------------------------------------------------ completions */

void grd_lock_owner_complete(struct grd_lock_local *local, struct grd_lock_owner *owner, enum cf_rc rc)
{
    owner->rc = (int16_t)rc;
    if (owner->is_in_call)
        return;
    owner->is_done = true;
    owner->done_next = NULL;
    *(local->done_last ? &local->done_last->done_next : &local->done_first) = owner;
    local->done_last = owner;
}

bool grd_lock_local_next_done(struct grd_lock_local *local, struct grd_lock_done *done_out)
{
    struct grd_lock_owner *owner = local->done_first;

    if (owner == NULL)
        return grd_lock_call_next_done(local, done_out);
    local->done_first = owner->done_next;
    if (local->done_first == NULL)
        local->done_last = NULL;
    owner->is_done = false;
    *done_out = (struct grd_lock_done){
        .lock = grd_lock_owner_id(owner),
        .owner = owner->owner,
        .cookie = owner->cookie,
        .rc = (enum cf_rc)owner->rc,
        .mode = owner->claim.held,
        .is_held = owner->claim.state != GRD_LOCK_FREE,
        .is_demoted = owner->is_demoted,
        .value = owner->has_value ? &owner->resource->value : NULL,
    };
    owner->has_value = false;
    if (owner->claim.state == GRD_LOCK_FREE)
        grd_lock_owner_give(local, owner);
    return true;
}

void grd_lock_owner_fail(struct grd_lock_local *local, struct grd_lock_owner *owner, enum cf_rc rc)
{
    struct grd_lock_resource *resource = owner->resource;

    resource->tries -= (owner->claim.flags & GRD_LOCK_TRY) != 0;
    grd_lock_queue_leave(&resource->queue, &owner->claim);
    if (resource->ask_for == owner)
        resource->ask_for = NULL;
    if (!owner->claim.is_known)
        grd_lock_queue_drop(&resource->queue, &owner->claim);
    grd_lock_owner_complete(local, owner, rc);
}

void grd_lock_owner_grant(struct grd_lock_local *local, struct grd_lock_owner *owner)
{
    struct grd_lock_claim *claim = &owner->claim;
    uint8_t row = claim->is_known ? claim->held : GRD_LOCK_ROW_NEW;

    owner->resource->tries -= (claim->flags & GRD_LOCK_TRY) != 0;
    owner->has_value = grd_lock_value_move(row, claim->want) == GRD_LOCK_READ_VALUE;
    grd_lock_queue_grant(&owner->resource->queue, claim, claim->want);
    owner->grant_id = grd_lock_local_id(local, owner);
    if (owner->resource->ask_for == owner)
        owner->resource->ask_for = NULL;
    grd_lock_owner_complete(local, owner, CF_OK);
}

void grd_lock_owner_demote(struct grd_lock_local *local, struct grd_lock_owner *owner)
{
    grd_lock_queue_lower(&owner->resource->queue, &owner->claim, GRD_LOCK_NL);
    owner->grant_id = grd_lock_local_id(local, owner);
    owner->is_demoted = true;
    local->counters.demoted++;
}

void grd_lock_owner_published(struct grd_lock_local *local, struct grd_lock_resource *resource,
                              uint64_t version)
{
    struct grd_lock_owner **at = &resource->publish_first, *owner;

    while ((owner = *at) != NULL) {
        if (owner->publish_version > version) {
            at = &owner->publish_next;
            continue;
        }
        *at = owner->publish_next;
        owner->publish_version = 0;
        grd_lock_owner_complete(local, owner, CF_OK);
    }
}

/* ------------------------------------------------------------------ waiting */

static void wait_begin(struct grd_lock_local *local, struct grd_lock_owner *owner, uint8_t mode,
                       uint64_t now_ns)
{
    owner->wait_id = grd_lock_local_id(local, owner);
    owner->since_ns = now_ns;
    owner->is_demoted = false;
    owner->resource->tries += (owner->claim.flags & GRD_LOCK_TRY) != 0;
    grd_lock_queue_add(&owner->resource->queue, &owner->claim, mode, ++local->arrival_last);
}

static void demote_here(struct grd_lock_local *local, struct grd_lock_owner *owner)
{
    if (owner->resource->ask_for == owner) /* it said what the owner held: asked anew */
        owner->resource->ask_for = NULL;
    grd_lock_owner_demote(local, owner);
}

/* True: `owner` itself shall end. */
static bool deadlock_break(struct grd_lock_local *local, struct grd_lock_owner *owner)
{
    struct grd_lock_queue *queue = &owner->resource->queue;
    struct grd_lock_claim *other = grd_lock_queue_deadlock(queue, &owner->claim, NULL), *next;

    if (other == NULL)
        return false;
    local->counters.deadlocks++;
    if (owner->claim.flags & GRD_LOCK_DEMOTE) {
        demote_here(local, owner);
        return false;
    }
    for (; other; other = grd_lock_queue_deadlock(queue, &owner->claim, other))
        if (!(other->flags & GRD_LOCK_DEMOTE))
            return true;
    for (other = grd_lock_queue_deadlock(queue, &owner->claim, NULL); other; other = next) {
        next = grd_lock_queue_deadlock(queue, &owner->claim, other);
        demote_here(local, grd_lock_owner_from(other));
    }
    return false;
}

/* What a call answers after its claim has been queued. */
static enum cf_rc wait_answer(struct grd_lock_local *local, struct grd_lock_owner *owner, uint64_t now_ns,
                              struct grd_actions *actions)
{
    struct grd_lock_resource *resource = owner->resource;
    struct grd_lock_owner *next;
    enum cf_rc rc = CF_OK;

    owner->is_in_call = true;
    next = grd_lock_ask_serve(local, resource, now_ns, actions);
    if (owner->claim.state == GRD_LOCK_CONVERTING &&
        grd_lock_queue_deadlock(&resource->queue, &owner->claim, NULL)) {
        if (deadlock_break(local, owner))
            rc = CF_DEADLOCK;
        else
            next = grd_lock_ask_serve(local, resource, now_ns, actions);
    }
    if (grd_lock_is_waiting(&owner->claim) && rc == CF_OK) {
        if (!(owner->claim.flags & GRD_LOCK_TRY) ||
            (next == owner && (resource->ask_for == NULL || resource->ask_for == owner))) {
            owner->is_in_call = false;
            return CF_PENDING;
        }
        rc = CF_BUSY;
        if (owner->claim.flags & GRD_LOCK_NOTIFY)
            grd_lock_local_note_wanted(local, resource, owner->claim.want);
    }
    if (rc != CF_OK) {
        grd_lock_owner_fail(local, owner, rc);
        if (owner->claim.state == GRD_LOCK_FREE)
            grd_lock_owner_give(local, owner);
        grd_lock_ask_serve(local, resource, now_ns, actions);
    }
    owner->is_in_call = owner->has_value = false;
    return rc;
}

enum cf_rc grd_lock_owner_wait(struct grd_lock_local *local, struct grd_lock_owner *owner, uint8_t mode,
                               uint64_t now_ns, struct grd_actions *actions)
{
    enum cf_rc rc;

    local->counters.locks++;
    wait_begin(local, owner, mode, now_ns);
    rc = wait_answer(local, owner, now_ns, actions);
    local->counters.cached += rc == CF_OK;
    return rc;
}

/* Can the mode be had at once beneath what this instance holds, with nobody overtaken? */
static bool is_free(const struct grd_lock_resource *resource, const struct grd_lock_claim *claim,
                    uint8_t mode)
{
    struct grd_lock_limit limit = grd_lock_local_limit(resource);

    return !grd_lock_queue_waits(&resource->queue) && limit.is_known && grd_lock_covers(limit.cap, mode) &&
           grd_lock_covers(limit.ask_cap, mode) && grd_lock_compatible(mode, limit.demand) &&
           grd_lock_queue_fits(&resource->queue, claim, mode);
}

static void grant_here(struct grd_lock_local *local, struct grd_lock_owner *owner, uint8_t mode)
{
    grd_lock_queue_grant(&owner->resource->queue, &owner->claim, mode);
    owner->grant_id = grd_lock_local_id(local, owner);
    local->counters.cached++;
    local->counters.locks++;
}

enum cf_rc grd_lock_local_want_now(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                   const struct grd_lock_want *want, grd_lock_id *lock_out)
{
    static const struct grd_lock_claim nobody = {.state = GRD_LOCK_FREE};
    struct grd_lock_owner *owner;

    if (want->mode >= GRD_LOCK_MODES || (want->flags & ~WANT_FLAGS))
        return CF_LOCK_MODE;
    if (!is_free(resource, &nobody, want->mode))
        return CF_PENDING;
    owner = owner_take(local, resource, want);
    if (owner == NULL)
        return CF_AGAIN;
    grant_here(local, owner, want->mode);
    *lock_out = grd_lock_owner_id(owner);
    return CF_OK;
}

enum cf_rc grd_lock_local_want(struct grd_lock_local *local, struct grd_lock_resource *resource,
                               const struct grd_lock_want *want, uint64_t now_ns, struct grd_actions *actions,
                               grd_lock_id *lock_out)
{
    struct grd_lock_owner *owner;
    grd_lock_id lock;
    enum cf_rc rc;

    cf_assert(resource->handles > 0);
    if (want->mode >= GRD_LOCK_MODES || (want->flags & ~WANT_FLAGS))
        return CF_LOCK_MODE;
    owner = owner_take(local, resource, want);
    if (owner == NULL)
        return CF_AGAIN;
    lock = grd_lock_owner_id(owner);
    if (CF_LIKELY(is_free(resource, &owner->claim, want->mode))) {
        grant_here(local, owner, want->mode);
        *lock_out = lock;
        return CF_OK;
    }
    rc = grd_lock_owner_wait(local, owner, want->mode, now_ns, actions);
    if (rc == CF_OK || rc == CF_PENDING)
        *lock_out = lock;
    return rc;
}

enum cf_rc grd_lock_local_cookie_set(struct grd_lock_local *local, grd_lock_id lock, uint64_t cookie)
{
    struct grd_lock_owner *owner = grd_lock_owner_held(local, lock);

    if (owner == NULL)
        return CF_NOT_HELD;
    owner->cookie = cookie;
    return CF_OK;
}

enum cf_rc grd_lock_local_cancel(struct grd_lock_local *local, grd_lock_id lock, enum cf_rc rc,
                                 uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_owner *owner = grd_lock_owner_of(local, lock);

    if (owner == NULL || !grd_lock_is_waiting(&owner->claim))
        return CF_NOT_HELD;
    grd_lock_owner_fail(local, owner, rc);
    grd_lock_ask_serve(local, owner->resource, now_ns, actions);
    return CF_OK;
}
