/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives, and how one waits. Progress is held by one thread at a time; it passes by one compare-and-swap.
 *
 *   compact:    a client that waits drives; the poller drives when no client does, and sleeps in between
 *   dedicated:  the poller has a core of its own and drives always; clients spin or sleep on their session
 *
 * Sleeping. The poller sets is_asleep, and whoever leaves progress while it is set arms the transport first, so that
 * a peer's next message wakes the poller (transport/xp.h: arm, look again, sleep). Work that comes from this process
 * (inbox, attention) is looked for again after progress was let go: the one who adds work and the one who leaves
 * cannot both miss the other, since each writes first and reads second with a full fence between.
 *
 * Bounds: the poller sleeps at most ENG_SLEEP_NS_MAX, so that timers armed meanwhile are served.
 */
#include <errno.h>
#include <linux/futex.h>
#include <sched.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/instance.h"

#define ENG_SLEEP_NS_MAX 4000000ull
/* Busy waiting in the compact plan: a poller that finds a client driving looks again after this. */
#define ENG_NAP_NS 1000000ull

/* Turns that a leaving client takes for arrivals before it leaves them to the poller. */
#define ENG_LEAVE_TURNS_MAX 4u
/* Adaptive waiting never spins shorter than this. */
#define ENG_SPIN_NS_MIN 500ull
/* An answer that is on its way comes within this: until then a turn that finds nothing is followed by the next at once. */
#define ENG_PAUSE_AFTER_NS 4000ull
/* Then it offers its core to others for so long before it sleeps. Measured: bench/model.md, Waiting. */
#define ENG_YIELD_NS 10000ull

/*
 * A core that nobody else wants: an offer of it comes back at once. There it goes on offering for as long as that has paid off,
 * up to so many times the option `spin`. Two that both sleep answer each other in two wake-ups, longer than `spin` where
 * idle processors are halted; had they to find out within `spin`, they would never be awake at the same time again.
 */
#define ENG_OFFER_TAKEN_NS 5000ull
#define ENG_FREE_SPINS 20u

/* The same for adaptive waiting: the longest that a peer waits for an instance whose clients have just stopped calling. */
#define ENG_ADAPTIVE_NAP_NS 200000ull

/* is_asleep: a poller that sleeps wants the transport armed by whoever leaves; one that naps comes back by itself. */
enum { POLLER_AWAKE = 0, POLLER_SLEEPS = 1, POLLER_NAPS = 2 };

enum { WAIT_BUSY = 0, WAIT_ADAPTIVE = 1, WAIT_SLEEP = 2 };

enum idle_step { IDLE_SPIN, IDLE_OFFER, IDLE_ENOUGH };

/* The clock is read once in so many turns that find nothing: it costs as much as half a turn. */
#define ENG_CLOCK_TURNS 8u

void eng_futex_wait(_Atomic uint32_t *word, uint32_t value, uint64_t timeout_ns)
{
    struct timespec timeout = {(time_t)(timeout_ns / CF_NS_PER_S), (long)(timeout_ns % CF_NS_PER_S)};

    (void)syscall(SYS_futex, word, FUTEX_WAIT_PRIVATE, value, &timeout, NULL,
                  0); /* a wake, a change or the time: the caller looks again */
}

void eng_futex_wake(_Atomic uint32_t *word)
{
    (void)syscall(SYS_futex, word, FUTEX_WAKE_PRIVATE, INT32_MAX, NULL, NULL, 0);
}

bool eng_progress_try(struct cf_instance *instance)
{
    uint32_t free = 0;

    if (atomic_load_explicit(&instance->progress, memory_order_relaxed) != 0 ||
        !atomic_compare_exchange_strong_explicit(&instance->progress, &free, 1, memory_order_acquire,
                                                 memory_order_relaxed))
        return false;
    if (instance->is_armed) {
        xp_disarm(instance->xp);
        instance->is_armed = false;
    }
    return true;
}

static bool work_from_inside(struct cf_instance *instance)
{
    return cf_mpsc_count(&instance->inbox) != 0 ||
           atomic_load_explicit(&instance->attention, memory_order_relaxed) != 0 ||
           (instance->workers_count && eng_workers_have(instance));
}

/*
 * How long to spin: for ever, not at all, or as long as it would have paid off. A wait that was over within the option
 * `spin`, asleep or not, doubles the budget up to the option; a longer one halves it. So two that answer each other in
 * microseconds spin, and on a machine with more threads than cores, where answers take a time slice, one sleeps at once.
 */
static uint64_t spin_budget(const struct cf_instance *instance, const _Atomic uint64_t *adaptive_ns)
{
    switch (instance->options.waiting) {
    case WAIT_BUSY:
        return UINT64_MAX;
    case WAIT_SLEEP:
        return 0;
    default:
        return atomic_load_explicit(adaptive_ns, memory_order_relaxed);
    }
}

static void spin_learn(_Atomic uint64_t *adaptive_ns, uint64_t max, uint64_t waited_ns)
{
    uint64_t now = atomic_load_explicit(adaptive_ns, memory_order_relaxed);

    now = waited_ns <= max ? now * 2 : now / 2;
    if (now < ENG_SPIN_NS_MIN)
        now = ENG_SPIN_NS_MIN;
    atomic_store_explicit(adaptive_ns, now < max ? now : max, memory_order_relaxed);
}

/*
 * One step of waiting for what comes from outside. Adaptive waiting spins while that pays off, then gives the
 * core to whoever wants it, and sleeps at last: on a machine with more threads than cores the answer comes from a thread
 * that waits for this core, and to be woken costs more than to be scheduled.
 */
static enum idle_step idle_step(const struct cf_instance *instance, uint64_t idle_ns, uint64_t spin_ns,
                                uint64_t offer_ns)
{
    if (idle_ns < spin_ns) {
        if (idle_ns >= ENG_PAUSE_AFTER_NS)
            cf_pause();
        return IDLE_SPIN;
    }
    return instance->options.waiting == WAIT_ADAPTIVE && idle_ns - spin_ns < offer_ns ? IDLE_OFFER
                                                                                      : IDLE_ENOUGH;
}

/*
 * Offers the core with progress let go: a client of this instance that gets it may run for a whole slice, and would find
 * that nobody serves the peers meanwhile. Nothing is armed and nobody woken, since this thread looks again as soon as
 * it runs. False: somebody else drives then.
 */
static bool core_offer_owner(struct cf_instance *instance)
{
    atomic_store_explicit(&instance->progress, 0, memory_order_release); /* partner: eng_progress_try */
    sched_yield();
    return eng_progress_try(instance);
}

/*
 * What storage has under way may be carried by a thread of the kernel, or ours, that is bound to this core: one that spins
 * would keep it waiting until its slice ends.
 */
static bool is_storage_offer(const struct cf_instance *instance, uint32_t idle_turns)
{
    return instance->slots_used != 0 && idle_turns % ENG_CLOCK_TURNS == 0;
}

void eng_progress_leave(struct cf_instance *instance)
{
    bool is_busy = instance->options.waiting == WAIT_BUSY;
    uint32_t turns = 0;

    if (instance->is_manual) { /* whoever drives by hand takes the next turn */
        atomic_store_explicit(&instance->progress, 0, memory_order_release);
        return;
    }
    for (;;) {
        if (instance->has_poller && !is_busy &&
            atomic_load_explicit(&instance->is_asleep, memory_order_relaxed) == POLLER_SLEEPS) {
            if (xp_arm(instance->xp)) {
                instance->is_armed = true;
            } else if (turns++ < ENG_LEAVE_TURNS_MAX) {
                eng_turn_owner(instance, cf_now_ns());
                continue;
            } else { /* they keep coming: they are the poller's */
                atomic_store_explicit(&instance->progress, 0, memory_order_release);
                eng_poller_wake(instance);
                return;
            }
        }
        {
            bool is_armed = instance->is_armed;

            atomic_store_explicit(&instance->progress, 0,
                                  memory_order_release); /* partner: eng_progress_try */
            cf_fence_full();
            if (!work_from_inside(instance) &&
                (is_armed || is_busy || !instance->has_poller ||
                 atomic_load_explicit(&instance->is_asleep, memory_order_relaxed) != POLLER_SLEEPS))
                return;
        }
        if (!eng_progress_try(instance))
            return; /* whoever has it now looks for the same things when it leaves */
        eng_turn_owner(instance, cf_now_ns());
    }
}

static void client_drove(struct cf_instance *instance)
{
    instance->counters.client_turns++;
    atomic_store_explicit(&instance->client_drives, instance->counters.client_turns, memory_order_relaxed);
}

void eng_poller_wake(struct cf_instance *instance)
{
    uint64_t one = 1;

    if (instance->has_poller && atomic_load_explicit(&instance->is_asleep, memory_order_seq_cst))
        (void)!write(instance->wake_fd, &one, sizeof one); /* full counter: it is readable already */
}

/* Work was added from inside the process: drive a turn, or leave it to whoever drives. */
void eng_kick(struct cf_instance *instance)
{
    if (instance->is_manual)
        return;
    cf_fence_full(); /* what was added comes before the look at progress */
    if (instance->is_compact || !instance->has_poller) {
        if (eng_progress_try(instance)) {
            eng_turn_owner(instance, cf_now_ns());
            client_drove(instance);
            eng_progress_leave(instance);
        }
        return;
    }
    eng_poller_wake(instance);
}

/* ------------------------------------------------------------------ a client that waits */

/* How long to go on offering the core, after an offer that took so long. */
static uint64_t offer_learned(const struct cf_instance *instance, uint64_t took_ns)
{
    uint64_t free_ns = atomic_load_explicit(&instance->client_free_ns, memory_order_relaxed);

    return took_ns < ENG_OFFER_TAKEN_NS && free_ns > ENG_YIELD_NS ? free_ns : ENG_YIELD_NS;
}

/* Progress is held at the beginning; the result tells whether it is at the end. */
static bool drive(struct cf_instance *instance, struct eng_wait *wait, uint64_t now, uint64_t spin_ns)
{
    uint64_t idle_since = now, offer_ns = ENG_YIELD_NS;
    uint32_t idle_turns = 0;

    while (!wait->is_done(wait->arg)) {
        enum idle_step step;

        if (++idle_turns % ENG_CLOCK_TURNS == 0)
            now = cf_now_ns();
        if (eng_turn_owner(instance, now)) {
            idle_turns = 0;
            idle_since = now;
            continue;
        }
        step = now >= wait->until_ns ? IDLE_ENOUGH : idle_step(instance, now - idle_since, spin_ns, offer_ns);
        if (step == IDLE_ENOUGH)
            return true;
        if (step != IDLE_OFFER && !is_storage_offer(instance, idle_turns))
            continue;
        now = cf_now_ns();
        if (!core_offer_owner(instance))
            return false;
        offer_ns = offer_learned(instance, cf_now_ns() - now);
    }
    return true;
}

static bool may_drive(const struct cf_instance *instance)
{
    return instance->is_compact || !instance->has_poller;
}

/* Somebody else drives; a client that may drive itself comes back as soon as nobody does. */
static void spin(const struct cf_instance *instance, struct eng_wait *wait, uint64_t spin_ns)
{
    bool can_drive = may_drive(instance);
    uint64_t began = cf_now_ns();
    uint32_t i;

    for (i = 0; !wait->is_done(wait->arg); i++) {
        if (can_drive && atomic_load_explicit(&instance->progress, memory_order_relaxed) == 0)
            return;
        if ((i & 63) != 63)
            cf_pause();
        else {
            enum idle_step step = idle_step(instance, cf_now_ns() - began, spin_ns, ENG_YIELD_NS);

            if (step == IDLE_ENOUGH)
                return;
            if (step == IDLE_OFFER)
                sched_yield();
        }
    }
}

#define ENG_CLIENT_SLEEP_NS_MAX 10000000ull

static void client_sleep(struct cf_instance *instance, struct eng_wait *wait)
{
    uint32_t seen = atomic_load_explicit(wait->wake, memory_order_seq_cst);
    uint64_t now = cf_now_ns(), ns = ENG_CLIENT_SLEEP_NS_MAX;

    /* While it sleeps it does not want to drive: the poller does. Partner of the flag: eng_op_complete_owner. */
    atomic_fetch_sub_explicit(&instance->clients_waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&instance->clients_asleep, 1,
                              memory_order_seq_cst); /* before is_asleep is read; partner: poller_main */
    atomic_store_explicit(wait->sleeping, 1, memory_order_seq_cst);
    if (!wait->is_done(wait->arg) && now < wait->until_ns) {
        if (wait->until_ns - now < ns)
            ns = wait->until_ns - now;
        if (atomic_load_explicit(&instance->is_asleep, memory_order_seq_cst) == POLLER_NAPS)
            eng_poller_wake(instance); /* nobody would look at the network until the nap is over */
        eng_futex_wait(wait->wake, seen, ns);
    }
    atomic_fetch_sub_explicit(&instance->clients_asleep, 1, memory_order_relaxed);
    atomic_store_explicit(wait->sleeping, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&instance->clients_waiting, 1, memory_order_seq_cst);
}

static bool wait_on(struct cf_instance *instance, struct eng_wait *wait, uint64_t began, bool holds_progress)
{
    uint64_t spin_ns = spin_budget(instance, &instance->client_spin_ns), now = began;
    bool is_done = false;

    atomic_fetch_add_explicit(&instance->clients_waiting, 1, memory_order_seq_cst);
    while (!(is_done = wait->is_done(wait->arg))) {
        if (holds_progress || (may_drive(instance) && eng_progress_try(instance))) {
            holds_progress = drive(instance, wait, now, spin_ns);
            if (holds_progress) {
                client_drove(instance);
                eng_progress_leave(instance);
                holds_progress = false;
            }
        } else {
            eng_poller_wake(instance);
            spin(instance, wait, instance->options.waiting == WAIT_BUSY ? ENG_NAP_NS : spin_ns);
            if (may_drive(instance) && atomic_load_explicit(&instance->progress, memory_order_relaxed) == 0 &&
                (now = cf_now_ns()) < wait->until_ns)
                continue;
        }
        if ((is_done = wait->is_done(wait->arg)) || (now = cf_now_ns()) >= wait->until_ns)
            break;
        if (instance->options.waiting != WAIT_BUSY && instance->has_poller) {
            client_sleep(instance, wait);
            now = cf_now_ns();
        }
    }
    if (holds_progress)
        eng_progress_leave(instance);
    atomic_fetch_sub_explicit(&instance->clients_waiting, 1, memory_order_relaxed);
    if (instance->options.waiting == WAIT_ADAPTIVE) {
        now = cf_now_ns() - began;
        spin_learn(&instance->client_spin_ns, instance->options.spin, now);
        spin_learn(&instance->client_free_ns, instance->options.spin * ENG_FREE_SPINS, now);
    }
    return is_done;
}

bool eng_wait_for(struct cf_instance *instance, struct eng_wait *wait)
{
    return wait_on(instance, wait, cf_now_ns(), false);
}

bool eng_wait_driving(struct cf_instance *instance, struct eng_wait *wait, uint64_t now_ns)
{
    return wait_on(instance, wait, now_ns, true);
}

/* ------------------------------------------------------------------ the poller */

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
    uint64_t spin_ns = clients_drove ? 0 : spin_budget(instance, &instance->poller_spin_ns);
    uint32_t idle_turns = 0;

    while (!atomic_load_explicit(&instance->stop_threads, memory_order_relaxed)) {
        if (idle_turns++ % ENG_CLOCK_TURNS == 0)
            now = cf_now_ns();
        if (eng_turn_owner(instance, now)) {
            idle_turns = 0;
            spin_learn(&instance->poller_spin_ns, instance->options.spin, now - *worked_ns);
            *worked_ns = idle_since = now;
        } else {
            enum idle_step step = clients_drove
                                      ? IDLE_ENOUGH
                                      : idle_step(instance, now - idle_since, spin_ns, ENG_YIELD_NS);

            if (step == IDLE_ENOUGH) {
                if (now - *worked_ns >
                    instance->options.spin) /* nothing came for longer than spinning is for */
                    spin_learn(&instance->poller_spin_ns, instance->options.spin, now - *worked_ns);
                return true;
            }
            if ((step == IDLE_OFFER || is_storage_offer(instance, idle_turns)) && !core_offer_owner(instance))
                return false;
        }
        if (instance->is_compact && atomic_load_explicit(&instance->clients_waiting, memory_order_relaxed))
            return true;
    }
    return true;
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
        /*
         * While clients drive, the poller only naps: it may share their core, and to be woken by each message would
         * cost more than the message. It takes over when none has driven for a nap, or when one has gone to sleep.
         */
        client_turns = atomic_load_explicit(&instance->client_drives, memory_order_relaxed);
        clients_drove = instance->is_compact && client_turns != seen;
        seen = client_turns;
        if (clients_drove && instance->options.waiting != WAIT_SLEEP) {
            bool is_wanted;

            /* First the word, then the look: a client that goes to sleep does it the other way round. */
            atomic_store_explicit(&instance->is_asleep, POLLER_NAPS, memory_order_seq_cst);
            is_wanted = atomic_load_explicit(&instance->clients_asleep, memory_order_seq_cst) != 0;
            if (!is_wanted)
                (void)poller_sleep(instance,
                                   instance->options.waiting == WAIT_BUSY ? ENG_NAP_NS : ENG_ADAPTIVE_NAP_NS);
            atomic_store_explicit(&instance->is_asleep, POLLER_AWAKE, memory_order_relaxed);
            if (!is_wanted)
                continue;
        }
        if (eng_progress_try(instance) && poller_drive(instance, &worked_ns, clients_drove)) {
            instance->counters.sleeps++;
            ns = sleep_ns(instance, cf_now_ns());
            atomic_store_explicit(&instance->is_asleep, POLLER_SLEEPS, memory_order_seq_cst);
            eng_progress_leave(instance);
        } else {
            /* What woke it is the driver's, who may have looked just before: the descriptor says it once only. */
            ns = instance->options.waiting == WAIT_BUSY ? ENG_NAP_NS
                 : is_woken                             ? ENG_ADAPTIVE_NAP_NS
                                                        : ENG_SLEEP_NS_MAX;
            atomic_store_explicit(&instance->is_asleep, POLLER_SLEEPS, memory_order_seq_cst);
            if (eng_progress_try(
                    instance)) /* it was let go in between: the one who left may not have seen the flag */
                eng_progress_leave(instance);
        }
        is_woken = poller_sleep(instance, ns);
        atomic_store_explicit(&instance->is_asleep, POLLER_AWAKE, memory_order_relaxed);
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
    int rc;

    instance->poll_fd = epoll_create1(EPOLL_CLOEXEC);
    instance->wake_fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (instance->poll_fd < 0 || instance->wake_fd < 0 || !watch(instance->poll_fd, instance->wake_fd) ||
        !watch(instance->poll_fd, xp_fd(instance->xp)) ||
        !watch(instance->poll_fd, instance->store->ops->fd(instance->store))) {
        eng_error_set(error, CF_SYSTEM, errno, CF_NODE_NONE, "no descriptors for the poller");
        return CF_SYSTEM;
    }
    if (eng_workers_start(instance, error) != CF_OK || eng_detect_start(instance, error) != CF_OK)
        return CF_MEMORY;
    instance->has_poller = true;
    rc = pthread_create(&instance->poller, NULL, poller_main, instance);
    if (rc != 0) {
        instance->has_poller = false;
        eng_error_set(error, CF_SYSTEM, rc, CF_NODE_NONE, "the poller thread could not be started");
        return CF_SYSTEM;
    }
    pthread_setname_np(instance->poller, "cf-poller");
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
