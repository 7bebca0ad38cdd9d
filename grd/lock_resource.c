/* SPDX-License-Identifier: Apache-2.0 */
/* What the engine, tests, checkers and tools may ask of the locks of an instance. */
#include <inttypes.h>

#include "base/assert.h"
#include "grd/lock_local_impl.h"

bool grd_lock_resource_is_ours(const struct grd_lock_local *local, const struct grd_lock_resource *resource)
{
    uintptr_t offset = (uintptr_t)resource - (uintptr_t)local->resources;

    return offset < local->options.resources * sizeof *resource && offset % sizeof *resource == 0;
}

bool grd_lock_resource_is_open(const struct grd_lock_local *local, const struct grd_lock_resource *resource)
{
    return grd_lock_resource_is_ours(local, resource) && resource->in_use && resource->handles > 0;
}

void grd_lock_resource_learn(struct grd_lock_resource *resource, struct grd_lock_value *value)
{
    if (value->version > resource->value.version) {
        resource->value = *value;
        resource->is_dirty = false;
    } else {
        *value = resource->value;
    }
}

const struct grd_lock_value *grd_lock_resource_value(const struct grd_lock_resource *resource)
{
    return &resource->value;
}

uint32_t grd_lock_resource_claims(const struct grd_lock_resource *resource)
{
    return resource->queue.claims_count;
}

uint32_t grd_lock_resource_handles(const struct grd_lock_resource *resource)
{
    return resource->handles;
}

const struct cf_block_key *grd_lock_resource_key(const struct grd_lock_resource *resource)
{
    return &resource->key;
}

const struct grd_lock_name *grd_lock_resource_name(const struct grd_lock_resource *resource)
{
    return &resource->name;
}

uint16_t grd_lock_resource_master(const struct grd_lock_resource *resource)
{
    return resource->master;
}

uint8_t grd_lock_resource_mode(const struct grd_lock_resource *resource)
{
    return resource->mode;
}

uint8_t grd_lock_resource_used(const struct grd_lock_resource *resource)
{
    return grd_lock_queue_join(&resource->queue);
}

uint32_t grd_lock_resource_record(const struct grd_lock_resource *resource)
{
    return atomic_load_explicit(&resource->record, memory_order_relaxed);
}

/* ------------------------------------------------------------------ claims */

bool grd_lock_local_has_news(const struct grd_lock_local *local)
{
    return local->done_first || local->call_done_first || local->wanted_first;
}

struct grd_lock_resource *grd_lock_local_resource(const struct grd_lock_local *local, grd_lock_id lock)
{
    const struct grd_lock_owner *owner = grd_lock_owner_of(local, lock);

    return owner ? owner->resource : NULL;
}

grd_lock_id grd_lock_local_waiter(const struct grd_lock_local *local, uint64_t wait)
{
    uint32_t number = (uint32_t)wait & (GRD_LOCK_CLAIMS_MAX - 1);
    const struct grd_lock_owner *owner;

    if (number >= local->options.claims)
        return 0;
    owner = &local->owners[number];
    return owner->resource && grd_lock_is_waiting(&owner->claim) && owner->wait_id == wait
               ? grd_lock_owner_id(owner)
               : 0;
}

const struct grd_lock_value *grd_lock_local_value(const struct grd_lock_local *local, grd_lock_id lock)
{
    const struct grd_lock_owner *owner = grd_lock_owner_of(local, lock);

    return owner && owner->claim.is_known ? &owner->resource->value : NULL;
}

bool grd_lock_local_is_wanted(const struct grd_lock_local *local, grd_lock_id lock)
{
    const struct grd_lock_owner *owner = grd_lock_owner_of(local, lock);
    const struct grd_lock_claim *waiter;

    if (owner == NULL || !owner->claim.is_known)
        return false;
    if (!grd_lock_compatible(owner->claim.held, owner->resource->demand))
        return true;
    for (waiter = owner->resource->queue.convert_first; waiter; waiter = waiter->queue_next)
        if (waiter != &owner->claim && !grd_lock_compatible(owner->claim.held, waiter->want))
            return true;
    for (waiter = owner->resource->queue.new_first; waiter; waiter = waiter->queue_next)
        if (waiter != &owner->claim && !grd_lock_compatible(owner->claim.held, waiter->want))
            return true;
    return false;
}

struct grd_lock_local_counters grd_lock_local_counts(const struct grd_lock_local *local)
{
    struct grd_lock_local_counters counters = local->counters;

    counters.locks += local->counters_taken;
    counters.cached += local->counters_taken;
    return counters;
}

struct grd_lock_local_use grd_lock_local_used(const struct grd_lock_local *local)
{
    struct grd_lock_local_use use = {.resources = local->resources_used, .calls = local->calls_used};

    for (uint32_t i = 0; i < local->options.claims; i++)
        use.claims += local->owners[i].resource != NULL;
    return use;
}

void grd_lock_local_check(const struct grd_lock_local *local)
{
    uint32_t resources_count = 0, claims_count = 0;

    for (uint32_t i = 0; i < local->options.resources; i++) {
        const struct grd_lock_resource *r = &local->resources[i];

        if (!r->in_use)
            continue;
        resources_count++;
        claims_count += r->queue.claims_count;
        cf_assert(grd_lock_local_find(local, &r->key) == r);
        grd_lock_queue_check(&r->queue);
        cf_assert_id(grd_lock_covers(r->mode, grd_lock_queue_join(&r->queue)), "I-11");
        cf_assert(r->tenure != 0 || r->mode == GRD_LOCK_NL);
        cf_assert(!grd_lock_is_releasing(r) || r->lower_tenure == r->tenure);
        cf_assert(cf_timer_armed(&r->timer) || (r->ask_request == 0 && r->lower_tenure == 0));
    }
    cf_assert(resources_count == local->resources_used);
    cf_assert(claims_count <= grd_lock_local_used(local).claims);
}

void grd_lock_local_dump(const struct grd_lock_local *local, FILE *out)
{
    for (uint32_t i = 0; i < local->options.resources; i++) {
        const struct grd_lock_resource *r = &local->resources[i];
        const struct grd_lock_claim *claim;

        if (!r->in_use)
            continue;
        fprintf(out,
                "lock %016" PRIx64 " node %u master %u mode %s tenure %" PRIu64 " demand %s ask %" PRIu64
                " %s%s down %" PRIu64 " %s%s value %" PRIu64 "%s handles %u\n",
                r->key.block, local->options.node, r->master, grd_lock_mode_name(r->mode), r->tenure,
                grd_lock_mode_name(r->demand), r->ask_request, grd_lock_mode_name(r->ask_mode),
                r->ask_is_cancelled ? " cancelled" : "", r->lower_tenure, grd_lock_mode_name(r->lower_mode),
                grd_lock_is_releasing(r) ? " releasing" : "", r->value.version, r->is_dirty ? " dirty" : "",
                r->handles);
        for (claim = r->queue.first; claim; claim = claim->next)
            fprintf(out, "  owner %" PRIu64 " state %u held %s want %s overtaken %u\n",
                    cf_container_of(claim, struct grd_lock_owner, claim)->owner, claim->state,
                    grd_lock_mode_name(claim->held), grd_lock_mode_name(claim->want), claim->overtaken);
    }
}
