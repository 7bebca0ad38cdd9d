/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The detector's role in an instance: where it runs, and how messages come to it and go from it.
 *
 *   dedicated   progress --(in)--> thread: eng_role_message, eng_role_turn --(out)--> progress, which sends
 *   compact     progress calls both, with a bound of work a turn
 *
 * Both rings are bounded. Progress never waits for the thread: what finds `in` full is dropped, and the round ends without
 * it. A thread that finds `out` full waits for progress, which empties it every turn.
 */
#include "engine/detect.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/detect_impl.h"
#include "engine/directory.h"
#include "engine/instance.h"

#define DETECT_IN_SLOTS 1024u
#define DETECT_OUT_SLOTS 256u
/* The thread looks after so long whatever happens. */
#define DETECT_SLEEP_NS_MAX 1000000000ull
/* Messages taken from the thread a turn. */
#define DETECT_TAKE_MAX 32u

struct detect_out {
    uint64_t to;
    struct grd_msg msg;
};

static bool is_heard(const struct cf_instance *instance)
{
    return atomic_load_explicit(&instance->stop_threads, memory_order_acquire) == 0 &&
           eng_state(instance) == CF_OK;
}

uint16_t eng_detect_node(const struct cf_instance *instance)
{
    for (uint32_t n = 0; n < instance->nodes; n++)
        if (n == instance->node ? atomic_load_explicit(&instance->closing, memory_order_relaxed) != 2
                                : !cf_observe_bool(&instance->peers[n].has_left))
            return (uint16_t)n;
    return CF_NODE_NONE;
}

/* ------------------------------------------------------------------ open, close */

enum cf_rc eng_detect_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error)
{
    const struct cf_allocator *a = instance->allocator;
    struct eng_detector *detector;
    enum cf_rc rc = CF_MEMORY;

    (void)now_ns;
    if (instance->options.deadlock_edges == 0)
        return CF_OK;
    detector = cf_alloc(a, sizeof *detector, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (detector) {
        instance->locks.detector = detector;
        pthread_mutex_init(&detector->role.seen_lock, NULL);
        rc = eng_reporter_open(&detector->reporter, a, (uint32_t)instance->options.deadlock_edges);
        if (rc == CF_OK)
            rc = eng_role_open(&detector->role, instance);
    }
    if (rc != CF_OK)
        eng_error_set(error, rc, 0, instance->node,
                      "memory for %llu edges of the deadlock detector is not to be had",
                      (unsigned long long)instance->options.deadlock_edges);
    return rc;
}

void eng_detect_close(struct cf_instance *instance)
{
    struct eng_detector *detector = instance->locks.detector;
    const struct cf_allocator *a = instance->allocator;

    if (detector == NULL)
        return;
    eng_role_close(&detector->role);
    pthread_mutex_destroy(&detector->role.seen_lock);
    eng_reporter_close(&detector->reporter, a);
    cf_free(a, detector, sizeof *detector);
    instance->locks.detector = NULL;
}

/* ------------------------------------------------------------------ the thread */

static bool thread_turn(struct eng_detector *detector)
{
    struct grd_msg msg;
    bool did = false;

    while (cf_spsc_pop(&detector->in, &msg)) {
        eng_role_message(&detector->role, &msg, cf_now_ns());
        did = true;
    }
    return eng_role_turn(&detector->role, UINT32_MAX, ENG_DETECT_VICTIMS_MAX, cf_now_ns()) || did;
}

static void thread_sleep(struct cf_instance *instance, struct eng_detector *detector)
{
    uint32_t seen = atomic_load_explicit(&detector->wake, memory_order_seq_cst);
    uint64_t next = eng_role_next_ns(&detector->role), now = cf_now_ns(), ns = DETECT_SLEEP_NS_MAX;

    if (next <= now)
        return;
    if (next - now < ns)
        ns = next - now;
    atomic_store_explicit(&detector->sleeping, 1, memory_order_seq_cst);
    if (cf_spsc_count(&detector->in) == 0 && is_heard(instance))
        eng_futex_wait(&detector->wake, seen, ns);
    atomic_store_explicit(&detector->sleeping, 0, memory_order_relaxed);
}

static void *thread_main(void *arg)
{
    struct cf_instance *instance = arg;
    struct eng_detector *detector = instance->locks.detector;

    if (eng_plan_bind_thread(&instance->plan, instance->plan.detector_cpu) != CF_OK)
        cf_log_warn(&instance->log, "detect", "the detector could not be bound to cpu %d",
                    instance->plan.detector_cpu);
    while (atomic_load_explicit(&instance->stop_threads, memory_order_acquire) == 0) {
        if (eng_state(instance) != CF_OK) /* nothing is left to do but to end */
            eng_futex_wait(&detector->wake, atomic_load_explicit(&detector->wake, memory_order_seq_cst),
                           CF_NS_PER_MS);
        else if (!thread_turn(detector))
            thread_sleep(instance, detector);
    }
    return NULL;
}

enum cf_rc eng_detect_start(struct cf_instance *instance, struct cf_error *error)
{
    struct eng_detector *detector = instance->locks.detector;
    const struct cf_allocator *a = instance->allocator;
    int rc;

    if (detector == NULL || instance->workers_count == 0)
        return CF_OK;
    detector->in_mem = cf_alloc(a, cf_ring_bytes(DETECT_IN_SLOTS, sizeof(struct grd_msg)), CF_CACHE_LINE,
                                CF_ALLOC_ZERO);
    detector->out_mem = cf_alloc(a, cf_ring_bytes(DETECT_OUT_SLOTS, sizeof(struct detect_out)), CF_CACHE_LINE,
                                 CF_ALLOC_ZERO);
    if (detector->in_mem == NULL || detector->out_mem == NULL) {
        eng_error_set(error, CF_MEMORY, 0, instance->node, "no memory for the detector's thread");
        return CF_MEMORY;
    }
    cf_spsc_init(&detector->in, detector->in_mem, DETECT_IN_SLOTS, sizeof(struct grd_msg));
    cf_spsc_init(&detector->out, detector->out_mem, DETECT_OUT_SLOTS, sizeof(struct detect_out));
    rc = cf_thread_start(&detector->thread, "cf-detect", thread_main, instance);
    if (rc != 0) {
        eng_error_set(error, CF_SYSTEM, rc, instance->node, "the detector's thread could not be started");
        return CF_SYSTEM;
    }
    detector->has_thread = true;
    return CF_OK;
}

static void thread_wake(struct eng_detector *detector)
{
    atomic_fetch_add_explicit(&detector->wake, 1, memory_order_seq_cst);
    eng_futex_wake(&detector->wake);
}

/* After the poller has ended; stop_threads is set. */
void eng_detect_stop(struct cf_instance *instance)
{
    struct eng_detector *detector = instance->locks.detector;
    const struct cf_allocator *a = instance->allocator;

    if (detector == NULL)
        return;
    if (detector->has_thread) {
        thread_wake(detector);
        pthread_join(detector->thread, NULL);
        detector->has_thread = false;
    }
    cf_free(a, detector->in_mem, cf_ring_bytes(DETECT_IN_SLOTS, sizeof(struct grd_msg)));
    cf_free(a, detector->out_mem, cf_ring_bytes(DETECT_OUT_SLOTS, sizeof(struct detect_out)));
    detector->in_mem = detector->out_mem = NULL;
}

void eng_detector_emit(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg)
{
    struct eng_detector *detector = instance->locks.detector;
    struct detect_out out = {.to = to};

    if (!detector->has_thread) {
        eng_send_owner(instance, to, msg);
        return;
    }
    grd_msg_copy(&out.msg, msg);
    while (!cf_spsc_push(&detector->out, &out)) {
        if (!is_heard(instance))
            return;
        eng_poller_wake(instance);
        cf_pause();
    }
    cf_fence_full(); /* the message comes before the look at is_asleep; partner: eng_progress_leave */
    eng_poller_wake(instance);
}

/* ------------------------------------------------------------------ the owner of progress */

bool eng_detect_has(const struct cf_instance *instance)
{
    const struct eng_detector *detector = instance->locks.detector;

    return detector && detector->has_thread && cf_spsc_count(&detector->out) != 0 &&
           eng_state(instance) == CF_OK;
}

bool eng_detect_take(struct cf_instance *instance)
{
    struct eng_detector *detector = instance->locks.detector;
    struct detect_out out;
    uint32_t i = 0;

    if (detector == NULL || !detector->has_thread)
        return false;
    while (i < DETECT_TAKE_MAX && cf_spsc_pop(&detector->out, &out)) {
        eng_send_owner(instance, (uint16_t)out.to, &out.msg);
        i++;
    }
    return i != 0;
}

static void role_push(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct eng_detector *detector = instance->locks.detector;

    if (!detector->has_thread) {
        eng_role_message(&detector->role, msg, now_ns);
        return;
    }
    if (!cf_spsc_push(&detector->in, msg)) {
        instance->counters.backlog_dropped++;
        return;
    }
    cf_fence_full(); /* the message comes before the look at `sleeping`; partner: thread_sleep */
    if (atomic_load_explicit(&detector->sleeping, memory_order_relaxed))
        thread_wake(detector);
}

static void on_victim(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct grd_msg answer = {.type = GRD_MSG_DETECT_TOLD, .request = msg->request, .how = GRD_DETECT_GONE};
    char text[sizeof((struct cf_error *)0)->text];
    struct eng_detect_cycle cycle;

    if (!eng_detect_cycle_unpack(&msg->words, instance->nodes, &cycle)) {
        instance->counters.bad_messages++;
        return;
    }
    eng_detect_cycle_text(instance, &cycle, text, sizeof text);
    if (msg->held & ENG_WAIT_BLOCK ? eng_op_victim_owner(instance, msg->held, text)
                                   : eng_lock_victim_owner(instance, msg->held, text, now_ns))
        answer.how = GRD_DETECT_ENDED;
    eng_send_owner(instance, msg->from, &answer);
}

void eng_detect_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct eng_detector *detector = instance->locks.detector;

    if (detector == NULL) {
        instance->counters.bad_messages++;
        return;
    }
    if (msg->type == GRD_MSG_DETECT_REPORT || msg->type == GRD_MSG_DETECT_TOLD ||
        (msg->flags & GRD_FLAG_WAITS))
        role_push(instance, msg, now_ns);
    else if (msg->from != eng_detect_node(instance))
        return; /* it has not heard yet who has left, or this instance has not */
    else if (msg->type == GRD_MSG_DETECT_ASK)
        eng_reporter_ask(instance, &detector->reporter, msg, now_ns);
    else
        on_victim(instance, msg, now_ns);
}

bool eng_detect_turn_owner(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_detector *detector = instance->locks.detector;
    bool did;

    if (detector == NULL)
        return false;
    did = eng_reporter_notice(instance, &detector->reporter, now_ns);
    did |= eng_reporter_turn(instance, &detector->reporter, now_ns);
    if (!detector->has_thread && eng_role_next_ns(&detector->role) <= now_ns)
        did |= eng_role_turn(&detector->role, ENG_ROLE_TURN_MESSAGES, ENG_ROLE_TURN_VICTIMS, now_ns);
    return did;
}

uint64_t eng_detect_next_ns_owner(const struct cf_instance *instance)
{
    const struct eng_detector *detector = instance->locks.detector;
    uint64_t next, role;

    if (detector == NULL)
        return UINT64_MAX;
    next = eng_reporter_next_ns(instance, &detector->reporter);
    role = detector->has_thread ? UINT64_MAX : eng_role_next_ns(&detector->role);
    return next < role ? next : role;
}

/* ------------------------------------------------------------------ figures */

void eng_detect_counts(const struct cf_instance *instance, struct eng_detect_counts *counts)
{
    const struct eng_detector *detector = instance->locks.detector;
    struct grd_detect_counts core;

    memset(counts, 0, sizeof *counts);
    if (detector == NULL)
        return;
    *counts = detector->role.counts;
    grd_detect_counts(detector->role.core, &core);
    counts->told = detector->reporter.known.told;
    counts->cut = core.cut + detector->reporter.known.lost;
    eng_workers_known(instance, counts);
}

const struct cf_hist *eng_detect_hist(const struct cf_instance *instance)
{
    return instance->locks.detector ? &instance->locks.detector->role.hist : NULL;
}
