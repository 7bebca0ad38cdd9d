/* SPDX-License-Identifier: Apache-2.0 */
/* Records, pools and timers of the locks of an instance, and the dispatch of messages. */
#include "grd/lock_local.h"

#include <string.h>

#include "base/assert.h"
#include "grd/lock_local_impl.h"

/* The timer doubles its period at each repetition, up to this many times. */
#define GRD_LOCK_BACKOFF_MAX 4u
#define NONE UINT32_MAX

static uint32_t table_slots(uint32_t resources)
{
    uint32_t slots = 64;

    while (slots < resources * 2u)
        slots *= 2;
    return slots;
}

static void pools_link(struct grd_lock_local *local)
{
    const struct grd_lock_local_options *o = &local->options;

    memset(local->table, 0xff, (local->table_mask + (size_t)1) * sizeof *local->table);
    for (uint32_t i = o->resources; i > 0; i--) {
        local->resources[i - 1].next = local->resource_free;
        local->resource_free = &local->resources[i - 1];
    }
    for (uint32_t i = o->claims; i > 0; i--) {
        local->owners[i - 1].number = i - 1;
        local->owners[i - 1].claim.next = local->owner_free;
        local->owner_free = &local->owners[i - 1].claim;
    }
    for (uint32_t i = o->calls; i > 0; i--) {
        local->calls[i - 1].next = local->call_free;
        local->call_free = &local->calls[i - 1];
    }
}

enum cf_rc grd_lock_local_open(const struct grd_lock_local_options *options,
                               struct grd_lock_local **local_out)
{
    const struct cf_allocator *a = options->allocator;
    struct grd_lock_local *local = cf_alloc(a, sizeof *local, CF_CACHE_LINE, CF_ALLOC_ZERO);

    if (local == NULL)
        return CF_MEMORY;
    cf_assert(options->claims <= GRD_LOCK_CLAIMS_MAX);
    cf_assert(options->calls <= GRD_LOCK_CALLS_MAX);
    local->options = *options;
    local->request_next = 1;
    local->table_mask = table_slots(options->resources) - 1;
    local->resources = cf_alloc(a, options->resources * sizeof *local->resources, CF_CACHE_LINE,
                                CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    local->owners = cf_alloc(a, options->claims * sizeof *local->owners, CF_CACHE_LINE,
                             CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    local->calls = cf_alloc(a, options->calls * sizeof *local->calls, CF_CACHE_LINE, CF_ALLOC_ZERO);
    local->table = cf_alloc(a, (local->table_mask + (size_t)1) * sizeof *local->table, CF_CACHE_LINE,
                            CF_ALLOC_HUGE);
    if (!local->resources || !local->owners || !local->calls || !local->table) {
        grd_lock_local_close(&local);
        return CF_MEMORY;
    }
    pools_link(local);
    cf_wheel_init(&local->wheel, options->now_ns, options->wheel_tick_ns);
    *local_out = local;
    return CF_OK;
}

void grd_lock_local_close(struct grd_lock_local **local)
{
    struct grd_lock_local *l = *local;
    const struct cf_allocator *a;

    if (l == NULL)
        return;
    a = l->options.allocator;
    cf_free(a, l->resources, l->options.resources * sizeof *l->resources);
    cf_free(a, l->owners, l->options.claims * sizeof *l->owners);
    cf_free(a, l->calls, l->options.calls * sizeof *l->calls);
    cf_free(a, l->table, (l->table_mask + (size_t)1) * sizeof *l->table);
    cf_free(a, l, sizeof *l);
    *local = NULL;
}

/* ------------------------------------------------------------------ table: linear probing, deletion by shifting back */

/* By what stands in reports: the rest of the key is keyed hash as well. */
static uint32_t slot_of(const struct grd_lock_local *local, const struct cf_block_key *key)
{
    return (uint32_t)cf_mix64(grd_lock_report_key(key), local->options.seed) & local->table_mask;
}

struct grd_lock_resource *grd_lock_local_find(const struct grd_lock_local *local,
                                              const struct cf_block_key *key)
{
    uint32_t slot = slot_of(local, key), number;

    while ((number = local->table[slot]) != NONE) {
        if (grd_key_equal(&local->resources[number].key, key))
            return &local->resources[number];
        slot = (slot + 1) & local->table_mask;
    }
    return NULL;
}

struct grd_lock_resource *grd_lock_local_find_report(const struct grd_lock_local *local, uint64_t report_key)
{
    struct cf_block_key key = {.block = report_key};
    uint32_t slot = slot_of(local, &key), number;

    while ((number = local->table[slot]) != NONE) {
        if (grd_lock_report_key(&local->resources[number].key) == report_key)
            return &local->resources[number];
        slot = (slot + 1) & local->table_mask;
    }
    return NULL;
}

static void table_remove(struct grd_lock_local *local, const struct grd_lock_resource *resource)
{
    uint32_t slot = slot_of(local, &resource->key), hole, home;

    while (&local->resources[local->table[slot]] != resource)
        slot = (slot + 1) & local->table_mask;
    for (hole = slot;;) {
        slot = (slot + 1) & local->table_mask;
        if (local->table[slot] == NONE)
            break;
        home = slot_of(local, &local->resources[local->table[slot]].key);
        if (((slot - home) & local->table_mask) >= ((slot - hole) & local->table_mask)) {
            local->table[hole] = local->table[slot];
            hole = slot;
        }
    }
    local->table[hole] = NONE;
}

enum cf_rc grd_lock_local_attach(struct grd_lock_local *local, const struct grd_lock_name *name,
                                 struct grd_lock_resource **resource_out)
{
    const struct grd_map *map = local->options.map;
    struct grd_lock_resource *resource;
    struct cf_block_key key;
    uint32_t slot;

    grd_lock_key(&map->key, name, &key);
    resource = grd_lock_local_find(local, &key);
    if (resource) {
        if (!grd_lock_name_equal(&resource->name, name))
            return CF_NAME_TAKEN;
        resource->handles++;
        if (resource->leaving == GRD_LOCK_CLOSED)
            resource->leaving = GRD_LOCK_STAYS;
        *resource_out = resource;
        return CF_OK;
    }
    resource = local->resource_free;
    if (resource == NULL)
        return CF_AGAIN;
    local->resource_free = resource->next;
    local->resources_used++;
    memset(resource, 0, sizeof *resource);
    resource->key = key;
    resource->name = *name;
    resource->master = grd_map_master(map, grd_map_hash(map, &key));
    resource->value.is_valid = true;
    atomic_store_explicit(&resource->record, NONE, memory_order_relaxed);
    resource->in_use = true;
    resource->handles = 1;
    cf_timer_init(&resource->timer, 0);
    slot = slot_of(local, &key);
    while (local->table[slot] != NONE)
        slot = (slot + 1) & local->table_mask;
    local->table[slot] = (uint32_t)(resource - local->resources);
    *resource_out = resource;
    return CF_OK;
}

static void wanted_unlink(struct grd_lock_local *local, struct grd_lock_resource *resource)
{
    struct grd_lock_resource **at = &local->wanted_first, *before = NULL;

    while (*at != resource) {
        before = *at;
        at = &before->wanted_next;
    }
    *at = resource->wanted_next;
    if (local->wanted_last == resource)
        local->wanted_last = before;
    resource->wanted_mode = GRD_LOCK_NL;
}

void grd_lock_local_settle(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions)
{
    if (resource->handles > 0 || resource->holds > 0 || resource->publish_first || resource->call_first ||
        resource->ask_request != 0)
        return;
    if (resource->tenure != 0) {
        if (!grd_lock_is_releasing(resource))
            grd_lock_ask_release(local, resource, now_ns, actions);
        return;
    }
    cf_assert(resource->queue.claims_count == 0);
    cf_assert(resource->lower_tenure == 0);
    cf_wheel_disarm(&local->wheel, &resource->timer);
    if (resource->wanted_mode != GRD_LOCK_NL)
        wanted_unlink(local, resource);
    table_remove(local, resource);
    resource->in_use = false;
    resource->next = local->resource_free;
    local->resource_free = resource;
    local->resources_used--;
}

void grd_lock_local_detach(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions)
{
    cf_assert(resource->in_use);
    cf_assert(resource->handles > 0);
    cf_assert(resource->handles > 1 || resource->queue.claims_count == 0);
    if (--resource->handles == 0 && resource->leaving == GRD_LOCK_STAYS)
        resource->leaving = GRD_LOCK_CLOSED;
    grd_lock_local_settle(local, resource, now_ns, actions);
}

void grd_lock_local_hold(struct grd_lock_resource *resource)
{
    cf_assert(resource->in_use);
    resource->holds++;
}

void grd_lock_local_unhold(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns,
                           struct grd_actions *actions)
{
    cf_assert(resource->in_use && resource->holds > 0);
    resource->holds--;
    grd_lock_local_settle(local, resource, now_ns, actions);
}

/* ------------------------------------------------------------------ who is wanted */

void grd_lock_local_note_wanted(struct grd_lock_local *local, struct grd_lock_resource *resource,
                                uint8_t mode)
{
    if (mode == GRD_LOCK_NL)
        return;
    if (resource->wanted_mode != GRD_LOCK_NL) {
        resource->wanted_mode = grd_lock_join(resource->wanted_mode, mode);
        return;
    }
    resource->wanted_mode = mode;
    resource->wanted_next = NULL;
    *(local->wanted_last ? &local->wanted_last->wanted_next : &local->wanted_first) = resource;
    local->wanted_last = resource;
}

bool grd_lock_local_next_wanted(struct grd_lock_local *local, struct grd_lock_resource **resource_out,
                                uint8_t *mode_out)
{
    struct grd_lock_resource *resource = local->wanted_first;

    if (resource == NULL)
        return false;
    *resource_out = resource;
    *mode_out = resource->wanted_mode;
    wanted_unlink(local, resource);
    return true;
}

/* ------------------------------------------------------------------ timer: one a lock */

void grd_lock_local_arm(struct grd_lock_local *local, struct grd_lock_resource *resource, uint64_t now_ns)
{
    resource->retries = 0;
    cf_wheel_arm(&local->wheel, &resource->timer, now_ns + local->options.resend_ns);
}

bool grd_lock_local_tick(struct grd_lock_local *local, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&local->wheel, now_ns);
    struct grd_lock_resource *resource;
    bool is_needed;

    if (timer == NULL)
        return false;
    resource = cf_container_of(timer, struct grd_lock_resource, timer);
    is_needed = grd_lock_ask_again(local, resource, actions);
    is_needed = grd_lock_call_again(local, resource, actions) || is_needed;
    is_needed = grd_lock_hear_demand_end(local, resource, now_ns, actions) || is_needed;
    if (!is_needed) { /* the last swap may have ended here, after the last handle */
        grd_lock_local_settle(local, resource, now_ns, actions);
        return true;
    }
    local->counters.resends++;
    if (resource->retries < GRD_LOCK_BACKOFF_MAX)
        resource->retries++;
    cf_wheel_arm(&local->wheel, timer, now_ns + (local->options.resend_ns << resource->retries));
    return true;
}

uint64_t grd_lock_local_next_ns(const struct grd_lock_local *local)
{
    return cf_wheel_next_ns(&local->wheel);
}

void grd_lock_local_reset(struct grd_lock_local *local, uint64_t now_ns)
{
    for (uint32_t i = 0; i < local->options.resources; i++) {
        struct grd_lock_resource *resource = &local->resources[i];

        if (resource->in_use && cf_timer_armed(&resource->timer)) {
            resource->retries = 0;
            cf_wheel_arm(&local->wheel, &resource->timer, now_ns);
        }
    }
}

/* ------------------------------------------------------------------ messages */

void grd_lock_local_step(struct grd_lock_local *local, const struct grd_msg *msg, uint64_t now_ns,
                         struct grd_actions *actions)
{
    struct grd_lock_resource *resource = grd_lock_local_find(local, &msg->key);

    if (resource == NULL || msg->from != resource->master) {
        local->counters.stale++;
        return;
    }
    switch (msg->type) {
    case GRD_MSG_LOCK_GRANT:
        grd_lock_hear_grant(local, resource, msg, now_ns, actions);
        break;
    case GRD_MSG_LOCK_REFUSED:
        grd_lock_hear_refused(local, resource, msg, now_ns, actions);
        break;
    case GRD_MSG_LOCK_DEMAND:
        grd_lock_hear_demand(local, resource, msg, now_ns, actions);
        break;
    case GRD_MSG_LOCK_LOWERED:
        grd_lock_hear_lowered(local, resource, msg, now_ns, actions);
        break;
    case GRD_MSG_LOCK_VALUE:
        grd_lock_call_on_value(local, resource, msg, now_ns, actions);
        break;
    default:
        local->counters.stale++;
        break;
    }
    grd_lock_local_settle(local, resource, now_ns, actions);
}
