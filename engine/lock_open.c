/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What locks take at start. An instance attaches at most options.locks names. Keyed hashing deals the names of all
 * instances to all shards, so a shard meets a share that is a mean and a few deviations: with d deviations and more the
 * chance is below e^(-d^2/3) (Chernoff), 10^-9 at 8. Where a shard is full all the same the call answers CF_AGAIN.
 */
#include <math.h>
#include <string.h>

#include "base/assert.h"
#include "engine/instance.h"

#define SPREAD_DEVIATIONS 8.0
/* Where means are small the tail is longer than deviations say. */
#define SPREAD_LEAST 64u
/* Names remembered for their values alone, as a share of those in use. */
#define REMEMBERED_SHARE 1u

static uint32_t spread(double mean)
{
    return (uint32_t)(mean + SPREAD_DEVIATIONS * sqrt(mean)) + SPREAD_LEAST;
}

/* Different names that a shard may meet at once; all instances may use the same ones, or each its own. */
static uint32_t names_shard(const struct cf_instance *instance)
{
    return spread((double)instance->options.locks / instance->shards);
}

/* Claims of a shard: an instance and a name. Heaviest where all instances use the same names. */
static uint32_t claims_shard(const struct cf_instance *instance)
{
    double share = (double)instance->options.locks / (instance->shards * (double)instance->nodes);
    uint64_t claims = (uint64_t)instance->nodes * spread(share);

    return claims < names_shard(instance) ? names_shard(instance) : (uint32_t)claims;
}

static struct grd_lock_master_options master_options(const struct cf_instance *instance)
{
    return (struct grd_lock_master_options){.node = instance->node,
                                            .nodes = instance->nodes,
                                            .resources = names_shard(instance) * (1 + REMEMBERED_SHARE),
                                            .claims = claims_shard(instance),
                                            .demand_ns = instance->options.resend,
                                            .epoch = instance->epoch,
                                            .seed = instance->incarnation,
                                            .wheel_tick_ns = ENG_TIMER_TICK_NS,
                                            .allocator = instance->allocator};
}

uint64_t eng_locks_record_bytes(const struct cf_instance *instance)
{
    struct grd_lock_master_options options = master_options(instance);

    return (uint64_t)options.resources * instance->shards * sizeof(struct grd_lock_record);
}

void eng_locks_records_set(struct cf_instance *instance, void *memory)
{
    instance->locks.records = memory;
    instance->locks.records_shard = master_options(instance).resources;
}

uint64_t eng_locks_bytes(const struct cf_instance *instance)
{
    struct grd_lock_master_options options = master_options(instance);

    return grd_lock_master_bytes(&options) * instance->shards;
}

static enum cf_rc open_masters(struct cf_instance *instance, uint64_t now_ns)
{
    struct grd_lock_master_options options = master_options(instance);
    struct eng_locks *locks = &instance->locks;

    options.now_ns = now_ns;
    for (uint32_t s = 0; s < instance->shards; s++) {
        enum cf_rc rc;

        options.records = locks->records + (size_t)s * locks->records_shard;
        rc = grd_lock_master_open(&options, &locks->masters[s]);
        if (rc != CF_OK)
            return rc;
    }
    return CF_OK;
}

enum cf_rc eng_locks_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error)
{
    const struct cf_allocator *a = instance->allocator;
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_local_options options = {
        .node = instance->node,
        .resources = (uint32_t)instance->options.locks,
        .claims = (uint32_t)instance->options.claims,
        .calls = GRD_LOCK_CALLS_MAX,
        .resend_ns = instance->options.resend,
        .now_ns = now_ns,
        .wheel_tick_ns = ENG_TIMER_TICK_NS,
        .seed = instance->is_manual ? instance->node : cf_mix64(now_ns, instance->node + 1u), /* I-27 */
        .epoch = instance->epoch,
        .map = &instance->map,
        .allocator = a,
    };
    enum cf_rc rc;

    cf_hist_init(&locks->wait_hist);
    locks->filling = cf_alloc(a, sizeof *locks->filling, CF_CACHE_LINE, CF_ALLOC_ZERO);
    locks->sending = cf_alloc(a, sizeof *locks->sending, CF_CACHE_LINE, CF_ALLOC_ZERO);
    rc = locks->filling && locks->sending ? open_masters(instance, now_ns) : CF_MEMORY;
    if (rc == CF_OK)
        rc = grd_lock_local_open(&options, &locks->local);
    if (rc == CF_OK && (rc = eng_detect_open(instance, now_ns, error)) != CF_OK)
        return rc;
    if (rc != CF_OK)
        eng_error_set(
            error, rc, 0, instance->node,
            "records of %llu locks, %llu claims and a share of the other members' are not to be had",
            (unsigned long long)instance->options.locks, (unsigned long long)instance->options.claims);
    return rc;
}

void eng_locks_close(struct cf_instance *instance)
{
    const struct cf_allocator *a = instance->allocator;
    struct eng_locks *locks = &instance->locks;

    for (uint32_t s = 0; s < instance->shards; s++)
        grd_lock_master_close(&locks->masters[s]);
    eng_detect_close(instance);
    grd_lock_local_close(&locks->local);
    cf_free(a, locks->filling, sizeof *locks->filling);
    cf_free(a, locks->sending, sizeof *locks->sending);
}

uint64_t eng_lock_leaks(struct cf_instance *instance, char *text, size_t text_bytes)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_local_use use;
    uint32_t calls = 0, i;

    eng_gate_enter(locks);
    use = grd_lock_local_used(locks->local);
    grd_lock_local_check(locks->local);
    eng_gate_leave(locks);
    for (i = 0; i < ENG_LOCK_CALLS; i++)
        calls += locks->call_is_used[i];
    if (use.claims == 0 && use.calls == 0 && calls == 0 && locks->waiting_first == NULL)
        return 0;
    snprintf(text, text_bytes, "locks: %u claims, %u and %u calls, waiters %s", use.claims, use.calls, calls,
             locks->waiting_first ? "left" : "none");
    return 1;
}
