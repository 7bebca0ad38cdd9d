/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_CACHED_H
#define GRD_LOCK_CACHED_H

/*
 * Request and unlock of a lock that this instance caches, inline for the engine's fast path. Where nobody else is
 * there and nothing is under way, the queue of the lock has one claim or none, and what lock_queue.c does in general
 * comes down to a few stores; a test compares the two. Everything else goes on in lock_owner.c.
 */
#include "grd/lock_local_impl.h"

/* Nobody holds it or waits, no peer wants it, nothing is asked, a handle is open: what the instance holds is all that limits. */
static inline bool grd_lock_is_idle(const struct grd_lock_resource *resource)
{
    return resource->queue.claims_count == 0 && resource->ask_request == 0 && resource->tenure != 0 &&
           (resource->demand | resource->leaving | resource->queue.guard) == GRD_LOCK_NL;
}

/* As grd_lock_local_want without flags, where the lock is idle. False: nothing happened, grd_lock_local_want knows. */
static inline bool grd_lock_local_take(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                       uint8_t mode, uint64_t owner_id, uint32_t cost, grd_lock_id *lock_out)
{
    struct grd_lock_queue *queue = &resource->queue;
    struct grd_lock_owner *owner;

    if (CF_UNLIKELY(!grd_lock_is_idle(resource) || !grd_lock_covers(resource->mode, mode) ||
                    local->owner_free == NULL))
        return false;
    owner = grd_lock_owner_from(local->owner_free);
    local->owner_free = owner->claim.next;
    owner->resource = resource;
    owner->owner = owner_id;
    owner->cost = cost;
    owner->claim.next = NULL; /* what is not set here is so in the free list: owner_give */
    owner->claim.held = owner->claim.want = owner->claim.stake = mode;
    owner->claim.state = GRD_LOCK_HELD;
    owner->claim.flags = 0;
    owner->claim.is_known = true;
    queue->first = queue->last = &owner->claim;
    queue->claims_count = 1;
    queue->held_count[mode] = 1;
    owner->grant_id = ++local->id_last << GRD_LOCK_NUMBER_BITS | owner->number;
    local->counters_taken++;
    *lock_out = (uint64_t)owner->generation << 32 | (owner->number + 1);
    return true;
}

/* As grd_lock_local_unlock without value and flags, of the only claim of a lock. False: nothing happened. */
static inline bool grd_lock_local_leave(struct grd_lock_local *local, grd_lock_id lock)
{
    struct grd_lock_owner *owner = grd_lock_owner_held(local, lock);
    struct grd_lock_resource *resource;

    if (CF_UNLIKELY(owner == NULL))
        return false;
    resource = owner->resource;
    if (CF_UNLIKELY(resource->queue.claims_count != 1 || resource->demand != GRD_LOCK_NL))
        return false;
    resource->queue.first = resource->queue.last = NULL;
    resource->queue.claims_count = 0;
    resource->queue.held_count[owner->claim.held] = 0;
    owner->claim.state = GRD_LOCK_FREE;
    owner->claim.is_known = false;
    owner->resource = NULL;
    owner->generation++;
    owner->claim.next = local->owner_free;
    local->owner_free = &owner->claim;
    return true;
}

#endif
