/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The poller, and the start and stop of all threads of an instance.
 *
 * Bounds: the poller sleeps at most ENG_SLEEP_NS_MAX, so that timers armed meanwhile are served.
 */
#include <errno.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/thread.h"
#include "engine/directory.h"
#include "engine/progress.h"

#define ENG_SLEEP_NS_MAX 4000000ull
/* A nap in adaptive waiting: the longest that a peer waits for an instance whose clients have just stopped calling. */
#define ENG_ADAPTIVE_NAP_NS 200000ull

/* What is left undone while nobody drives is looked at when the earliest timer is due. */
static uint64_t sleep_ns(struct cf_instance *instance, uint64_t now_ns)
{
    uint64_t next = eng_next_ns_owner(instance);

    if (next <= now_ns)
        return 0;
    return next - now_ns < ENG_SLEEP_NS_MAX ? next - now_ns : ENG_SLEEP_NS_MAX;
}

/* True: something woke it. */
static bool poller_sleep(struct cf_instance *instance, uint64_t ns)
{
    struct epoll_event events[4];
    struct timespec timeout = {(time_t)(ns / CF_NS_PER_S), (long)(ns % CF_NS_PER_S)};
    int count = epoll_pwait2(instance->poll_fd, events, 4, &timeout, NULL);
    uint64_t drained;

    if (count < 0 && errno == ENOSYS) /* kernels before 5.11 and emulators: milliseconds */
        count = epoll_wait(instance->poll_fd, events, 4, (int)((ns + CF_NS_PER_MS - 1) / CF_NS_PER_MS));
    cf_assert(count >= 0 || errno == EINTR);
    (void)!read(instance->wake_fd, &drained, sizeof drained);
    return count > 0;
}

/*
 * Turns while there is work, then for the spin budget; returns when nothing came, or a client wants to drive. Progress is
 * held at the beginning; the result tells whether it is at the end.
 */
static bool poller_drive(struct cf_instance *instance, uint64_t *worked_ns, bool clients_drove)
{
    uint64_t now = cf_now_ns(), idle_since = now;
    uint64_t spin_ns = clients_drove ? 0 : eng_spin_budget(instance, &instance->poller_spin_ns);
    uint32_t idle_turns = 0;

    while (!atomic_load_explicit(&instance->stop_threads, memory_order_relaxed)) {
        if (idle_turns++ % ENG_CLOCK_TURNS == 0)
            now = cf_now_ns();
        if (eng_turn_owner(instance, now)) {
            idle_turns = 0;
            eng_spin_learn(&instance->poller_spin_ns, instance->options.spin, now - *worked_ns);
            *worked_ns = idle_since = now;
        } else {
            enum eng_idle step = clients_drove
                                     ? ENG_IDLE_ENOUGH
                                     : eng_idle_step(instance, now - idle_since, spin_ns, ENG_YIELD_NS);

            if (step == ENG_IDLE_ENOUGH) {
                if (now - *worked_ns >
                    instance->options.spin) /* nothing came for longer than spinning is for */
                    eng_spin_learn(&instance->poller_spin_ns, instance->options.spin, now - *worked_ns);
                return true;
            }
            if ((step == ENG_IDLE_OFFER || eng_is_storage_offer(instance, idle_turns)) &&
                !eng_core_offer_owner(instance))
                return false;
        }
        if (instance->is_compact && atomic_load_explicit(&instance->clients_waiting, memory_order_relaxed))
            return true;
    }
    return true;
}

/*
 * While clients drive, the poller only naps: it may share their core, and to be woken by each message would cost more than the
 * message. It takes over when none has driven for a nap, or when one has gone to sleep. False: one has.
 */
static bool poller_naps(struct cf_instance *instance)
{
    bool is_wanted;

    /* First the word, then the look: a client that goes to sleep does it the other way round (client_sleep). */
    atomic_store_explicit(&instance->is_asleep, ENG_POLLER_NAPS, memory_order_seq_cst);
    is_wanted = atomic_load_explicit(&instance->clients_asleep, memory_order_seq_cst) != 0;
    if (!is_wanted)
        (void)poller_sleep(instance,
                           instance->options.waiting == ENG_WAIT_BUSY ? ENG_NAP_NS : ENG_ADAPTIVE_NAP_NS);
    atomic_store_explicit(&instance->is_asleep, ENG_POLLER_AWAKE, memory_order_relaxed);
    return !is_wanted;
}

static void *poller_main(void *arg)
{
    struct cf_instance *instance = arg;
    uint64_t ns, worked_ns = cf_now_ns(), seen = 0, client_turns;
    bool clients_drove, is_woken = false;

    cf_trace_bind_thread(&instance->trace);
    eng_slice_shorten();
    if (!instance->is_compact && eng_plan_bind_thread(&instance->plan, instance->plan.poller_cpu) != CF_OK)
        cf_log_warn(&instance->log, "engine", "the poller could not be bound to cpu %d",
                    instance->plan.poller_cpu);
    while (!atomic_load_explicit(&instance->stop_threads, memory_order_acquire)) {
        client_turns = atomic_load_explicit(&instance->client_drives, memory_order_relaxed);
        clients_drove = instance->is_compact && client_turns != seen;
        seen = client_turns;
        if (clients_drove && instance->options.waiting != ENG_WAIT_SLEEP && poller_naps(instance))
            continue;
        if (eng_progress_try(instance) && poller_drive(instance, &worked_ns, clients_drove)) {
            instance->counters.sleeps++;
            ns = sleep_ns(instance, cf_now_ns());
            atomic_store_explicit(&instance->is_asleep, ENG_POLLER_SLEEPS, memory_order_seq_cst);
            eng_progress_leave(instance);
        } else {
            /* What woke it is the driver's, who may have looked just before: the descriptor says it once only. */
            ns = instance->options.waiting == ENG_WAIT_BUSY ? ENG_NAP_NS
                 : is_woken                                 ? ENG_ADAPTIVE_NAP_NS
                                                            : ENG_SLEEP_NS_MAX;
            atomic_store_explicit(&instance->is_asleep, ENG_POLLER_SLEEPS, memory_order_seq_cst);
            /* It was let go in between: the one who left may not have seen the flag. */
            if (eng_progress_try(instance))
                eng_progress_leave(instance);
        }
        is_woken = poller_sleep(instance, ns);
        atomic_store_explicit(&instance->is_asleep, ENG_POLLER_AWAKE, memory_order_relaxed);
    }
    return NULL;
}

/*
 * By edges: what came for the transport or the storage while a client drives is read by that client when it runs. A poller to
 * whom it was said again and again would spin, and keep the client, which may wait for this very core, from running.
 */
static bool watch(int poll_fd, int fd)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLET};

    return fd < 0 || epoll_ctl(poll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

enum cf_rc eng_threads_start(struct cf_instance *instance, struct cf_error *error)
{
    enum cf_rc rc;
    int system;

    instance->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    instance->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (instance->poll_fd < 0 || instance->wake_fd < 0 || !watch(instance->poll_fd, instance->wake_fd) ||
        !watch(instance->poll_fd, xp_fd(instance->xp)) ||
        !watch(instance->poll_fd, instance->store->ops->fd(instance->store))) {
        eng_error_set(error, CF_SYSTEM, errno, CF_NODE_NONE, "no descriptors for the poller");
        return CF_SYSTEM;
    }
    rc = eng_workers_start(instance, error);
    if (rc == CF_OK)
        rc = eng_detect_start(instance, error);
    if (rc != CF_OK)
        return rc;
    instance->has_poller = true;
    system = cf_thread_start(&instance->poller, "cf-poller", poller_main, instance);
    if (system != 0) {
        instance->has_poller = false;
        eng_error_set(error, CF_SYSTEM, system, CF_NODE_NONE, "the poller thread could not be started");
        return CF_SYSTEM;
    }
    return CF_OK;
}

void eng_threads_stop(struct cf_instance *instance)
{
    uint64_t one = 1;

    if (instance->has_poller) {
        atomic_store_explicit(&instance->stop_threads, 1, memory_order_release);
        (void)!write(instance->wake_fd, &one, sizeof one);
        pthread_join(instance->poller, NULL);
    }
    atomic_store_explicit(&instance->stop_threads, 1, memory_order_release);
    eng_detect_stop(instance);
    eng_workers_stop(instance);
    instance->has_poller = false; /* last: the threads above look whom to wake */
    if (instance->poll_fd >= 0)
        close(instance->poll_fd);
    if (instance->wake_fd >= 0)
        close(instance->wake_fd);
    instance->poll_fd = instance->wake_fd = -1;
}
