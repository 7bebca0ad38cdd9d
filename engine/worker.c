/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Directory workers of the dedicated plan: each owns some shards on a core of its own.
 *
 *   progress --(in: messages for masters)--> worker: grd_master_step --(out: messages to send)--> progress
 *
 * Both rings are bounded. Progress never waits for a worker: a message that finds `in` full is dropped and counted,
 * and timers say it again. A worker that finds `out` full waits for progress, which empties it every turn.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/directory.h"
#include "engine/instance.h"

#define WORKER_SLOTS 1024u
/* Messages that are taken together: the lines of the directory that they will need are asked for first. */
#define WORKER_BATCH 16u
#define WORKER_SLEEP_NS_MAX 4000000ull
/* Messages taken from one worker a turn. */
#define WORKER_TURN_MAX 128u

struct worker_out {
    uint64_t to;
    struct grd_msg msg;
};

struct eng_worker {
    struct cf_instance *instance;
    uint32_t number;
    int cpu;
    pthread_t thread;
    bool is_running;
    struct cf_spsc in, out;
    void *in_mem, *out_mem;
    struct grd_actions *actions;
    struct grd_msg batch[WORKER_BATCH];
    uint64_t hashes[WORKER_BATCH];   /* of the keys */
    struct eng_detect_stream stream; /* its part of an answer to the deadlock detector */
    struct eng_known known;          /* no room: there is no detector */
    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t wake; /* futex: rises when something was put into `in` for a sleeper */
    CF_ALIGNED(CF_CACHE_LINE)
    _Atomic uint32_t sleeping; /* 1 while the worker sleeps; partner: eng_worker_push */
};

static bool is_stopped(const struct eng_worker *worker)
{
    return atomic_load_explicit(&worker->instance->stop_threads, memory_order_acquire) != 0;
}

/* A stopped instance takes nothing from its workers any more: what they would say is dropped. */
static bool is_heard(const struct eng_worker *worker)
{
    return !is_stopped(worker) && eng_state(worker->instance) == CF_OK;
}

static void hand_out(struct eng_worker *worker)
{
    struct grd_actions *actions = worker->actions;
    uint32_t i;

    for (i = 0; i < actions->count; i++) {
        struct worker_out out;

        cf_assert(actions->item[i].type == GRD_ACT_SEND);
        out.to = actions->item[i].to;
        out.msg = actions->item[i].msg;
        while (!cf_spsc_push(&worker->out, &out)) {
            if (!is_heard(worker))
                break;
            eng_poller_wake(worker->instance);
            cf_pause();
        }
    }
    if (actions->count) {
        cf_fence_full(); /* the messages come before the look at is_asleep; partner: eng_progress_leave */
        eng_poller_wake(worker->instance);
    }
    actions->count = 0;
}

/* A bounded part of what the detector has asked for. True: there is more. */
static bool detect_turn(struct eng_worker *worker, uint64_t now_ns)
{
    struct grd_action *action;
    struct grd_msg msg;

    if (worker->stream.stage == ENG_DETECT_OFF)
        return false;
    if (eng_detect_stream_step(worker->instance, &worker->stream, now_ns, &msg)) {
        action = grd_action_add(worker->actions, GRD_ACT_SEND);
        action->to = worker->stream.to;
        grd_msg_copy(&action->msg, &msg);
        hand_out(worker);
    }
    return true;
}

/* The directory that the message's key leads to; NULL: it is about no block of this worker's shards. */
static const struct grd_directory *directory_of(const struct eng_worker *worker, uint32_t at)
{
    const struct cf_instance *instance = worker->instance;
    uint16_t type = worker->batch[at].type;

    if (type == GRD_MSG_DETECT_ASK || type == GRD_MSG_MOVE_ORDER || eng_lock_is_for_master(type))
        return NULL;
    return instance->masters[grd_map_shard(&instance->map, worker->hashes[at])]->directory;
}

/* Takes what is there, at most WORKER_BATCH, and asks for the index's lines, then, through those, for the entries'. */
static uint32_t batch_take(struct eng_worker *worker)
{
    const struct grd_directory *directory;
    uint32_t count = 0, i;

    for (; count < WORKER_BATCH && cf_spsc_pop(&worker->in, &worker->batch[count]); count++) {
        worker->hashes[count] = grd_map_hash(&worker->instance->map, &worker->batch[count].key);
        directory = directory_of(worker, count);
        if (directory != NULL)
            grd_entry_prefetch(directory, worker->hashes[count]);
    }
    for (i = 0; count > 1 && i < count; i++) {
        directory = directory_of(worker, i);
        if (directory != NULL)
            grd_entry_prefetch_record(directory, worker->hashes[i]);
    }
    return count;
}

static void one_message(struct eng_worker *worker, uint32_t at, uint64_t now_ns)
{
    struct cf_instance *instance = worker->instance;
    const struct grd_msg *msg = &worker->batch[at];
    uint64_t hash = worker->hashes[at];
    uint32_t shard;

    if (msg->type == GRD_MSG_DETECT_ASK) {
        eng_detect_stream_begin(&worker->stream, &worker->known, msg, worker->number, instance->workers_count,
                                now_ns);
        return;
    }
    shard = msg->type == GRD_MSG_MOVE_ORDER ? msg->requester : grd_map_shard(&instance->map, hash);
    eng_master_step(instance, shard, msg, hash, now_ns, worker->actions);
    hand_out(worker);
}

/* Messages in their order, then timers of each shard it owns. */
static bool worker_turn(struct eng_worker *worker, uint64_t now_ns)
{
    struct cf_instance *instance = worker->instance;
    uint32_t count, s, i;
    bool did = false;

    while ((count = batch_take(worker)) != 0) {
        for (i = 0; i < count; i++)
            one_message(worker, i, now_ns);
        did = true;
    }
    did |= detect_turn(worker, now_ns);
    for (s = worker->number; s < instance->shards && is_heard(worker); s += instance->workers_count) {
        grd_master_settle(instance->masters[s]);
        while (eng_master_tick(instance, s, now_ns, worker->actions)) {
            hand_out(worker);
            did = true;
        }
    }
    return did;
}

static void worker_sleep(struct eng_worker *worker)
{
    uint32_t seen = atomic_load_explicit(&worker->wake, memory_order_seq_cst);

    atomic_store_explicit(&worker->sleeping, 1, memory_order_seq_cst);
    if (cf_spsc_count(&worker->in) == 0 && !is_stopped(worker))
        eng_futex_wait(&worker->wake, seen, WORKER_SLEEP_NS_MAX);
    atomic_store_explicit(&worker->sleeping, 0, memory_order_relaxed);
}

static void *worker_main(void *arg)
{
    struct eng_worker *worker = arg;
    struct cf_instance *instance = worker->instance;
    uint64_t now = cf_now_ns(), idle_since = now;

    if (worker->cpu >= 0 && eng_plan_bind_thread(&instance->plan, worker->cpu) != CF_OK)
        cf_log_warn(&instance->log, "engine", "directory worker %u could not be bound to cpu %d",
                    worker->number, worker->cpu);
    while (!is_stopped(worker)) {
        now = cf_now_ns();
        if (worker_turn(worker, now)) {
            idle_since = now;
            continue;
        }
        cf_pause();
        if (instance->options.waiting == 0 ||
            (instance->options.waiting == 1 && now - idle_since < instance->options.spin))
            continue;
        worker_sleep(worker);
    }
    return NULL;
}

/* ------------------------------------------------------------------ progress's side */

void eng_worker_push(struct cf_instance *instance, const struct grd_msg *msg, uint32_t shard)
{
    struct eng_worker *worker = &instance->workers[shard % instance->workers_count];

    if (!cf_spsc_push(&worker->in, msg)) {
        instance->counters.backlog_dropped++;
        return;
    }
    cf_fence_full(); /* the message comes before the look at `sleeping` */
    if (atomic_load_explicit(&worker->sleeping, memory_order_relaxed)) {
        atomic_fetch_add_explicit(&worker->wake, 1, memory_order_seq_cst);
        eng_futex_wake(&worker->wake);
    }
}

bool eng_workers_have(const struct cf_instance *instance)
{
    uint32_t w;

    if (eng_detect_has(instance))
        return true;
    for (w = 0; w < instance->workers_count; w++)
        if (cf_spsc_count(&instance->workers[w].out) != 0)
            return eng_state(instance) == CF_OK;
    return false;
}

void eng_workers_known(const struct cf_instance *instance, struct eng_detect_counts *counts)
{
    for (uint32_t w = 0; w < instance->workers_count; w++) {
        counts->told += instance->workers[w].known.told;
        counts->cut += instance->workers[w].known.lost;
    }
}

bool eng_workers_take(struct cf_instance *instance)
{
    struct worker_out out;
    bool did = eng_detect_take(instance);
    uint32_t w, i;

    for (w = 0; w < instance->workers_count; w++)
        for (i = 0; i < WORKER_TURN_MAX && cf_spsc_pop(&instance->workers[w].out, &out); i++) {
            eng_send_owner(instance, (uint16_t)out.to, &out.msg);
            did = true;
        }
    return did;
}

enum cf_rc eng_workers_start(struct cf_instance *instance, struct cf_error *error)
{
    uint32_t count = instance->plan.workers < instance->shards ? instance->plan.workers : instance->shards, w;
    const struct cf_allocator *a = instance->allocator;
    enum cf_rc rc = CF_OK;

    if (instance->is_compact || count == 0)
        return CF_OK;
    instance->workers = cf_alloc(a, count * sizeof *instance->workers, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (instance->workers == NULL)
        return CF_MEMORY;
    instance->workers_count = count;
    for (w = 0; w < count; w++) {
        struct eng_worker *worker = &instance->workers[w];

        worker->instance = instance;
        worker->number = w;
        worker->cpu = instance->plan.worker_cpu[w];
        worker->in_mem = cf_alloc(a, cf_ring_bytes(WORKER_SLOTS, sizeof(struct grd_msg)), CF_CACHE_LINE,
                                  CF_ALLOC_ZERO);
        worker->out_mem = cf_alloc(a, cf_ring_bytes(WORKER_SLOTS, sizeof(struct worker_out)), CF_CACHE_LINE,
                                   CF_ALLOC_ZERO);
        worker->actions = cf_alloc(a, sizeof *worker->actions, CF_CACHE_LINE, CF_ALLOC_ZERO);
        if (instance->locks.detector)
            rc = eng_known_open(&worker->known, a, (uint32_t)instance->options.deadlock_edges);
        if (rc != CF_OK || worker->in_mem == NULL || worker->out_mem == NULL || worker->actions == NULL) {
            eng_error_set(error, CF_MEMORY, 0, instance->node, "no memory for directory worker %u", w);
            return CF_MEMORY;
        }
        cf_spsc_init(&worker->in, worker->in_mem, WORKER_SLOTS, sizeof(struct grd_msg));
        cf_spsc_init(&worker->out, worker->out_mem, WORKER_SLOTS, sizeof(struct worker_out));
    }
    for (w = 0; w < count; w++) {
        int code = cf_thread_start(&instance->workers[w].thread, "cf-directory", worker_main,
                                   &instance->workers[w]);

        if (code != 0) {
            eng_error_set(error, CF_SYSTEM, code, instance->node, "directory worker %u could not be started",
                          w);
            return CF_SYSTEM;
        }
        instance->workers[w].is_running = true;
    }
    return CF_OK;
}

/* After the poller has ended; stop_threads is set. */
void eng_workers_stop(struct cf_instance *instance)
{
    const struct cf_allocator *a = instance->allocator;
    uint32_t w;

    for (w = 0; w < instance->workers_count; w++) {
        struct eng_worker *worker = &instance->workers[w];

        atomic_fetch_add_explicit(&worker->wake, 1, memory_order_seq_cst);
        eng_futex_wake(&worker->wake);
        if (worker->is_running)
            pthread_join(worker->thread, NULL);
        cf_free(a, worker->in_mem, cf_ring_bytes(WORKER_SLOTS, sizeof(struct grd_msg)));
        cf_free(a, worker->out_mem, cf_ring_bytes(WORKER_SLOTS, sizeof(struct worker_out)));
        cf_free(a, worker->actions, sizeof *worker->actions);
        eng_known_close(&worker->known, a);
    }
    cf_free(a, instance->workers, instance->workers_count * sizeof *instance->workers);
    instance->workers = NULL;
    instance->workers_count = 0;
}
