/* SPDX-License-Identifier: Apache-2.0 */
/* Claims that are held: conversion, unlock, and the values that they store and publish. */
#include <string.h>

#include "grd/lock_local_impl.h"

#define CONVERT_FLAGS                                                                      \
    (GRD_LOCK_TRY | GRD_LOCK_NOTIFY | GRD_LOCK_FIFO | GRD_LOCK_DEMOTE | GRD_LOCK_PUBLISH | \
     GRD_LOCK_INVALIDATE)
#define UNLOCK_FLAGS (GRD_LOCK_PUBLISH | GRD_LOCK_INVALIDATE)

/* May this value be given, with these flags, to a conversion that moves it so? */
static bool value_is_good(enum grd_lock_move move, uint8_t flags, const struct grd_lock_value *value)
{
    if (move == GRD_LOCK_WRITE_VALUE)
        return value == NULL || value->bytes_count <= GRD_LOCK_VALUE_BYTES;
    return value == NULL && (flags & (GRD_LOCK_PUBLISH | GRD_LOCK_INVALIDATE)) == 0;
}

static void value_store(struct grd_lock_resource *resource, uint8_t flags, const struct grd_lock_value *value)
{
    if (value) {
        resource->value.bytes_count = value->bytes_count;
        memcpy(resource->value.bytes, value->bytes, value->bytes_count);
    }
    if (value || (flags & GRD_LOCK_INVALIDATE)) {
        resource->value.is_valid = (flags & GRD_LOCK_INVALIDATE) == 0;
        resource->value.version++;
        resource->is_dirty = true;
    }
}

/* True: the completion tells when the master has the value. */
static bool publish_begin(struct grd_lock_local *local, struct grd_lock_owner *owner, uint8_t flags,
                          uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_resource *resource = owner->resource;

    if (!(flags & GRD_LOCK_PUBLISH) || !resource->is_dirty)
        return false;
    owner->publish_version = resource->value.version;
    owner->publish_next = resource->publish_first;
    resource->publish_first = owner;
    grd_lock_ask_publish(local, resource, now_ns, actions);
    return true;
}

static bool is_asked_of(const struct grd_lock_resource *resource)
{
    return grd_lock_queue_waits(&resource->queue) || resource->demand != GRD_LOCK_NL;
}

enum cf_rc grd_lock_local_convert(struct grd_lock_local *local, grd_lock_id lock, uint8_t mode, uint8_t flags,
                                  const struct grd_lock_value *value, uint64_t now_ns,
                                  struct grd_actions *actions)
{
    struct grd_lock_owner *owner = grd_lock_owner_held(local, lock);
    struct grd_lock_resource *resource;
    bool is_published;

    if (mode >= GRD_LOCK_MODES || (flags & ~CONVERT_FLAGS))
        return CF_LOCK_MODE;
    if (owner == NULL)
        return CF_NOT_HELD;
    if (!value_is_good(grd_lock_value_move(owner->claim.held, mode), flags, value))
        return CF_VALUE_MODE;
    resource = owner->resource;
    if (!grd_lock_covers(owner->claim.held, mode)) {
        owner->claim.flags = flags;
        return grd_lock_owner_wait(local, owner, mode, now_ns, actions);
    }
    local->counters.locks++;
    owner->is_demoted = false;
    value_store(resource, flags, value);
    is_published = publish_begin(local, owner, flags, now_ns, actions);
    if (mode != owner->claim.held) {
        grd_lock_queue_lower(&resource->queue, &owner->claim, mode);
        owner->grant_id = grd_lock_local_id(local, owner);
        if (is_asked_of(resource))
            grd_lock_ask_serve(local, resource, now_ns, actions);
    }
    local->counters.cached++;
    return is_published ? CF_PENDING : CF_OK;
}

enum cf_rc grd_lock_local_unlock(struct grd_lock_local *local, grd_lock_id lock, uint8_t flags,
                                 const struct grd_lock_value *value, uint64_t now_ns,
                                 struct grd_actions *actions)
{
    struct grd_lock_owner *owner = grd_lock_owner_held(local, lock);
    struct grd_lock_resource *resource;
    bool is_published;

    if (flags & ~UNLOCK_FLAGS)
        return CF_LOCK_MODE;
    if (owner == NULL)
        return CF_NOT_HELD;
    if (!value_is_good(grd_lock_value_move(owner->claim.held, GRD_LOCK_NL), flags, value))
        return CF_VALUE_MODE;
    resource = owner->resource;
    value_store(resource, flags, value);
    is_published = publish_begin(local, owner, flags, now_ns, actions);
    grd_lock_queue_drop(&resource->queue, &owner->claim);
    if (!is_published)
        grd_lock_owner_give(local, owner);
    if (is_asked_of(resource))
        grd_lock_ask_serve(local, resource, now_ns, actions);
    return is_published ? CF_PENDING : CF_OK;
}

bool grd_lock_local_held(const struct grd_lock_local *local, grd_lock_id lock, uint8_t *mode_out,
                         bool *is_demoted_out)
{
    const struct grd_lock_owner *owner = grd_lock_owner_held(local, lock);

    if (owner == NULL)
        return false;
    *mode_out = owner->claim.held;
    *is_demoted_out = owner->is_demoted;
    return true;
}

bool grd_lock_local_unpublish(struct grd_lock_local *local, grd_lock_id lock, uint64_t now_ns,
                              struct grd_actions *actions)
{
    struct grd_lock_owner *owner = grd_lock_owner_of(local, lock), **at;
    struct grd_lock_resource *resource;

    if (owner == NULL || owner->publish_version == 0)
        return false;
    resource = owner->resource;
    for (at = &resource->publish_first; *at != owner;)
        at = &(*at)->publish_next;
    *at = owner->publish_next;
    owner->publish_version = 0;
    if (owner->claim.state == GRD_LOCK_FREE)
        grd_lock_owner_give(local, owner);
    grd_lock_local_settle(local, resource, now_ns, actions);
    return true;
}
