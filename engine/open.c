/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Opening an instance. Everything the data path needs is taken here: the order of the steps is the order
 * of dependence, and close.c gives back what the steps took.
 *
 *   options -> plan -> transport -> frames (transport's memory) -> store -> map, masters, local -> pools
 *           -> lend frames, start the transport -> poller -> wait for the members
 */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "base/clock.h"
#include "engine/directory.h"
#include "engine/metrics.h"
#include "engine/open.h"
#include "engine/status.h"

const char *cf_version(void)
{
    return "0.1.0";
}

uint32_t cf_abi_version(void)
{
    return CF_ABI;
}

/* The device that a transport's address names, as hwloc knows it; NULL: it names none. */
static const char *nic_of(const struct cf_options *options, char name[CF_OPTION_STRING_BYTES])
{
    const char *verbs = "verbs:", *transport = options->transport;

    if (strncmp(transport, verbs, strlen(verbs)) != 0)
        return NULL;
    transport += strlen(verbs);
    snprintf(name, CF_OPTION_STRING_BYTES, "%.*s", (int)strcspn(transport, "?"), transport);
    return name[0] != '\0' ? name : NULL;
}

static enum cf_rc open_guard(struct cf_instance *instance, struct cf_error *error)
{
    size_t bytes = eng_guard_bytes(instance);
    struct eng_guard *guard = mmap(NULL, bytes, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

    /* A simulator may go on in a copy of its process: nothing there is shared with another. */
    if (guard == MAP_FAILED || (!instance->is_manual && madvise(guard, bytes, MADV_WIPEONFORK) != 0)) {
        eng_error_set(error, CF_SYSTEM, 0, instance->node,
                      "the pages that tell a forked child cannot be had");
        if (guard != MAP_FAILED)
            munmap(guard, bytes);
        return CF_SYSTEM;
    }
    guard->state = ENG_RUNS;
    instance->guard = guard;
    return CF_OK;
}

static enum cf_rc open_trace(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error)
{
    void *records;
    enum cf_rc rc = CF_OK;

    if (instance->options.trace) {
        rc = eng_open_take(instance, &records, ENG_TRACE_RECORDS * sizeof *instance->trace.records,
                           "the trace", error);
        if (rc == CF_OK)
            cf_trace_init(&instance->trace, records, ENG_TRACE_RECORDS);
    }
    instance->trace.now_ns = now_ns;
    return rc;
}

/* Where threads go. An instance that is driven by hand has none. */
static enum cf_rc open_plan(struct cf_instance *instance, struct cf_error *error)
{
    char nic[CF_OPTION_STRING_BYTES];
    enum cf_rc rc;

    if (instance->is_manual) {
        instance->is_compact = true;
        return CF_OK;
    }
    rc = eng_plan_make(&instance->options, nic_of(&instance->options, nic), &instance->plan, error);
    if (rc != CF_OK)
        return rc;
    cf_log_info(&instance->log, "engine", "%s", instance->plan.text);
    instance->is_compact = instance->plan.is_compact;
    return CF_OK;
}

static enum cf_rc open_map(struct cf_instance *instance)
{
    uint16_t members[CF_NODES_MAX];
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        members[n] = (uint16_t)n;
    return grd_map_open(&instance->cluster_key, instance->epoch, (uint32_t)instance->options.buckets,
                        instance->shards, members, instance->nodes, instance->allocator, &instance->map);
}

/* Whoever drives an instance by hand brings a store. */
static enum cf_rc open_store(struct cf_instance *instance, struct cf_error *error)
{
    struct eng_store_options store = {.depth = (uint32_t)instance->options.io_depth,
                                      .backend = instance->options.storage,
                                      .allocator = instance->allocator,
                                      .log = &instance->log};

    return instance->is_manual ? CF_OK : eng_store_open(&store, &instance->store, error);
}

static enum cf_rc open_parts(struct cf_instance *instance, const struct eng_manual *manual,
                             struct cf_error *error)
{
    uint64_t now_ns = manual ? manual->now_ns : cf_now_ns();
    uint32_t count[CF_BLOCK_SIZES];
    uint64_t frames = eng_open_frames_of(&instance->options, count);
    enum cf_rc rc = open_guard(instance, error);

    if (rc == CF_OK)
        rc = open_trace(instance, now_ns, error);
    if (rc == CF_OK)
        rc = open_plan(instance, error);
    if (rc == CF_OK)
        rc = open_map(instance);
    if (rc == CF_OK)
        rc = eng_move_open(instance, now_ns, error);
    if (rc == CF_OK)
        rc = eng_open_transport(instance, frames, manual ? manual->network : NULL, error);
    if (rc == CF_OK)
        rc = eng_open_frames(instance, count, frames, error);
    if (rc == CF_OK)
        rc = open_store(instance, error);
    if (rc == CF_OK)
        rc = eng_open_directory(instance, frames, manual, now_ns, error);
    if (rc == CF_OK)
        rc = eng_open_local(instance, frames, now_ns, error);
    if (rc == CF_OK && instance->options.locks)
        rc = eng_locks_open(instance, now_ns, error);
    if (rc == CF_OK)
        rc = eng_open_pools(instance, error);
    if (rc != CF_OK)
        return rc;
    cf_wheel_init(&instance->op_wheel, now_ns, ENG_TIMER_TICK_NS);
    instance->scan_next_ns = now_ns;
    instance->opened_ns = now_ns;
    return eng_open_transport_start(instance, count, error);
}

static enum cf_rc instance_new(const struct cf_options *options, const struct cf_callbacks *callbacks,
                               const struct eng_manual *manual, struct cf_instance **instance_out,
                               struct cf_error *error)
{
    const struct cf_allocator *allocator = manual ? cf_allocator_lazy() : cf_allocator_default();
    struct cf_instance *instance;
    enum cf_rc rc;

    rc = cf_options_check(options, error);
    if (rc != CF_OK)
        return rc;
    if (!cf_hash_init()) {
        eng_error_set(error, CF_SYSTEM, 0, CF_NODE_NONE, "no source of randomness");
        return CF_SYSTEM;
    }
    instance = cf_alloc(allocator, sizeof *instance, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (instance == NULL) {
        eng_error_set(error, CF_MEMORY, 0, CF_NODE_NONE, "no memory for an instance");
        return CF_MEMORY;
    }
    instance->magic = ENG_MAGIC;
    instance->allocator = allocator;
    memcpy(&instance->options, options, options->size < sizeof *options ? options->size : sizeof *options);
    if (callbacks)
        memcpy(&instance->callbacks, callbacks,
               callbacks->size < sizeof *callbacks ? callbacks->size : sizeof *callbacks);
    instance->node = (uint16_t)options->node;
    instance->nodes = (uint32_t)options->nodes;
    instance->shards = (uint32_t)options->shards;
    instance->incarnation = options->incarnation ? (uint32_t)options->incarnation
                                                 : (uint32_t)(cf_wall_ns() / CF_NS_PER_MS) | 1;
    instance->epoch = ENG_EPOCH_STATIC;
    instance->is_manual = manual != NULL;
    instance->poll_fd = instance->wake_fd = -1;
    instance->store = manual ? manual->store : NULL;
    instance->locks.victim = manual ? manual->victim : NULL;
    instance->locks.victim_context = manual ? manual->victim_context : NULL;
    atomic_init(&instance->scn, 1);
    atomic_init(&instance->client_spin_ns, options->spin);
    atomic_init(&instance->poller_spin_ns, options->spin);
    atomic_init(&instance->client_free_ns, options->spin);
    pthread_mutex_init(&instance->lock, NULL);
    cf_log_init(&instance->log, manual ? CF_LOG_ERROR : (int)options->log, manual ? NULL : stderr,
                instance->node);
    grd_map_key(options->cluster, options->secret, &instance->cluster_key);
    rc = open_parts(instance, manual, error);
    if (rc != CF_OK) {
        eng_instance_free(instance);
        return rc;
    }
    *instance_out = instance;
    return CF_OK;
}

static bool view_is_there(void *arg)
{
    struct cf_instance *instance = arg;

    return cf_observe_u32(&instance->is_open) != 0 || eng_state(instance) != CF_OK;
}

enum cf_rc cf_open(const struct cf_options *options, const struct cf_callbacks *callbacks,
                   struct cf_instance **instance_out, struct cf_error *error)
{
    struct cf_instance *instance;
    enum cf_rc rc = instance_new(options, callbacks, NULL, &instance, error);

    if (rc != CF_OK)
        return rc;
    rc = eng_threads_start(instance, error);
    if (rc == CF_OK && !eng_instance_wait(instance, view_is_there, options->open_timeout)) {
        eng_error_set(error, CF_TIMEOUT, 0, instance->node, "%u of %u members are here after open_timeout",
                      instance->peers_up + 1, instance->nodes);
        rc = CF_TIMEOUT;
    }
    if (rc == CF_OK && eng_state(instance) != CF_OK) {
        if (error)
            *error = instance->stop_error;
        rc = eng_state(instance);
    }
    if (rc == CF_OK && options->metrics[0] != 0)
        rc = eng_metrics_start(instance, error);
    if (rc == CF_OK && options->status_path[0] != 0)
        rc = eng_status_start(instance, error);
    if (rc != CF_OK) {
        eng_instance_free(instance);
        return rc;
    }
    *instance_out = instance;
    return CF_OK;
}

/* ------------------------------------------------------------------ driven by hand */

enum cf_rc eng_open_manual(const struct cf_options *options, const struct cf_callbacks *callbacks,
                           const struct eng_manual *manual, struct cf_instance **instance_out,
                           struct cf_error *error)
{
    return instance_new(options, callbacks, manual, instance_out, error);
}

bool eng_turn(struct cf_instance *instance, uint64_t now_ns)
{
    return eng_turn_owner(instance, now_ns);
}

uint64_t eng_next_ns(const struct cf_instance *instance)
{
    return eng_next_ns_owner(instance);
}

bool eng_is_open(const struct cf_instance *instance)
{
    return cf_observe_u32(&instance->is_open) != 0;
}
