/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Values without a lock: compare-and-swap and read. A swap counts as PW held for an instant. Where this instance
 * holds PW or EX it is done here; else the master does it, and nothing that conflicts is granted here meanwhile
 * (the queue's guard).
 */
#include <string.h>

#include "base/assert.h"
#include "grd/lock_local_impl.h"

static void send_call(const struct grd_lock_local *local, const struct grd_lock_call *call,
                      struct grd_actions *actions)
{
    const struct grd_lock_resource *resource = call->resource;
    struct grd_msg *msg = grd_action_send(
        actions, resource->master, call->is_swap ? GRD_MSG_LOCK_SWAP : GRD_MSG_LOCK_READ, &resource->key);

    msg->request = call->request;
    if (!call->is_swap)
        return;
    msg->held = call->expected;
    msg->slot = (uint8_t)(call - local->calls);
    msg->value.count = call->value.bytes_count;
    memcpy(msg->value.bytes, call->value.bytes, call->value.bytes_count);
    msg->name = resource->name;
}

static struct grd_lock_call *call_begin(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                        uint64_t cookie)
{
    struct grd_lock_call *call = local->call_free;

    if (call == NULL)
        return NULL;
    local->call_free = call->next;
    local->calls_used++;
    call->resource = resource;
    call->request = local->request_next++;
    call->cookie = cookie;
    call->tries = 0;
    call->is_swap = call->is_resting = false;
    call->next = resource->call_first;
    resource->call_first = call;
    return call;
}

/* Off its lock, onto the completions. */
static void call_end(struct grd_lock_local *local, struct grd_lock_call *call, enum cf_rc rc)
{
    struct grd_lock_call **at = &call->resource->call_first;

    while (*at != call)
        at = &(*at)->next;
    *at = call->next;
    if (call->is_swap && !call->is_resting)
        call->resource->queue.guard = GRD_LOCK_NL;
    call->rc = (int16_t)rc;
    call->value = call->resource->value;
    call->next = NULL;
    *(local->call_done_last ? &local->call_done_last->next : &local->call_done_first) = call;
    local->call_done_last = call;
}

bool grd_lock_call_next_done(struct grd_lock_local *local, struct grd_lock_done *done_out)
{
    struct grd_lock_call *call = local->call_done_first;

    if (call == NULL)
        return false;
    local->call_done_first = call->next;
    if (local->call_done_first == NULL)
        local->call_done_last = NULL;
    local->done_value = call->value;
    *done_out = (struct grd_lock_done){
        .cookie = call->cookie, .rc = (enum cf_rc)call->rc, .value = &local->done_value};
    call->resource = NULL;
    call->next = local->call_free;
    local->call_free = call;
    local->calls_used--;
    return true;
}

/* What can be said without the master; CF_PENDING: nothing. */
static enum cf_rc swap_here(struct grd_lock_resource *resource, uint64_t expected,
                            const struct grd_lock_value *value)
{
    if (resource->queue.guard != GRD_LOCK_NL ||
        !grd_lock_compatible(grd_lock_queue_join(&resource->queue), GRD_LOCK_PW))
        return CF_BUSY;
    if (!grd_lock_covers(resource->mode, GRD_LOCK_PW))
        return CF_PENDING;
    if (resource->value.version != expected)
        return CF_VALUE_CHANGED;
    resource->value.version++;
    resource->value.is_valid = true;
    resource->value.bytes_count = value->bytes_count;
    memcpy(resource->value.bytes, value->bytes, value->bytes_count);
    resource->is_dirty = true;
    return CF_OK;
}

enum cf_rc grd_lock_local_swap(struct grd_lock_local *local, struct grd_lock_resource *resource,
                               uint64_t expected, const struct grd_lock_value *value, uint64_t cookie,
                               uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_call *call;
    enum cf_rc rc;

    cf_assert(resource->handles > 0);
    if (value->bytes_count > GRD_LOCK_VALUE_BYTES)
        return CF_VALUE_MODE;
    local->counters.swaps++;
    rc = swap_here(resource, expected, value);
    if (rc != CF_PENDING)
        return rc;
    call = call_begin(local, resource, cookie);
    if (call == NULL)
        return CF_AGAIN;
    call->is_swap = true;
    call->expected = expected;
    call->value = *value;
    resource->queue.guard = GRD_LOCK_PW;
    send_call(local, call, actions);
    grd_lock_local_arm(local, resource, now_ns);
    return CF_PENDING;
}

enum cf_rc grd_lock_local_read(struct grd_lock_local *local, struct grd_lock_resource *resource,
                               uint64_t cookie, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_call *call = call_begin(local, resource, cookie);

    cf_assert(resource->handles > 0);
    if (call == NULL)
        return CF_AGAIN;
    local->counters.reads++;
    send_call(local, call, actions);
    grd_lock_local_arm(local, resource, now_ns);
    return CF_PENDING;
}

bool grd_lock_call_again(struct grd_lock_local *local, struct grd_lock_resource *resource,
                         struct grd_actions *actions)
{
    struct grd_lock_call *call, *next;

    for (call = resource->call_first; call; call = next) {
        enum cf_rc rc = CF_PENDING;

        next = call->next;
        if (call->is_resting) {
            rc = swap_here(resource, call->expected, &call->value);
            call->is_resting = rc != CF_PENDING;
        }
        if (rc != CF_PENDING) {
            call_end(local, call, rc);
            continue;
        }
        if (call->is_swap)
            resource->queue.guard = GRD_LOCK_PW;
        send_call(local, call, actions);
    }
    return resource->call_first != NULL;
}

static void swap_done(struct grd_lock_resource *resource, const struct grd_lock_call *call, uint64_t version)
{
    if (version <= resource->value.version)
        return;
    resource->value = call->value;
    resource->value.version = version;
    resource->value.is_valid = true;
    resource->is_dirty = false;
}

/*
 * A busy swap was not carried out, and never will be under that number: the timer sends it again under another one. In
 * between nobody here has to wait for it.
 */
static bool swap_rests(struct grd_lock_local *local, struct grd_lock_call *call)
{
    if (++call->tries == GRD_LOCK_SWAP_TRIES)
        return false;
    call->request = local->request_next++;
    call->is_resting = true;
    call->resource->queue.guard = GRD_LOCK_NL;
    return true;
}

void grd_lock_call_on_value(struct grd_lock_local *local, struct grd_lock_resource *resource,
                            const struct grd_msg *msg, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_call *call = resource->call_first;

    while (call && call->request != msg->request)
        call = call->next;
    if (call == NULL) {
        local->counters.stale++;
        return;
    }
    atomic_store_explicit(&resource->record, msg->record, memory_order_relaxed);
    if (call->is_swap && msg->how == GRD_LOCK_DONE) {
        swap_done(resource, call, msg->version);
    } else {
        bool rests = call->is_swap && msg->how == GRD_LOCK_BUSY && swap_rests(local, call);

        grd_lock_hear_value(resource, msg);
        if (rests) {
            grd_lock_ask_serve(local, resource, now_ns, actions);
            return;
        }
    }
    switch (msg->how) {
    case GRD_LOCK_DONE:
        call_end(local, call, CF_OK);
        break;
    case GRD_LOCK_CHANGED:
        call_end(local, call, CF_VALUE_CHANGED);
        break;
    case GRD_LOCK_TAKEN:
        call_end(local, call, CF_NAME_TAKEN);
        break;
    case GRD_LOCK_FULL:
        call_end(local, call, CF_AGAIN);
        break;
    default:
        call_end(local, call, CF_BUSY);
        break;
    }
    grd_lock_ask_serve(local, resource, now_ns, actions);
}
