/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who drives. Progress is held by one thread at a time; it passes by one compare-and-swap.
 *
 *   compact:    a client that waits drives; the poller drives when no client does, and sleeps in between
 *   dedicated:  the poller has a core of its own and drives always; clients spin or sleep on their session
 *
 * Sleeping. The poller sets is_asleep, and whoever leaves progress while it is set arms the transport first, so that
 * a peer's next message wakes the poller (transport/xp.h: arm, look again, sleep). Work that comes from this process
 * (inbox, attention) is looked for again after progress was let go: the one who adds work and the one who leaves
 * cannot both miss the other, since each writes first and reads second with a full fence between.
 */
#include <linux/futex.h>
#include <sched.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "engine/client.h"
#include "engine/directory.h"
#include "engine/progress.h"

/* Turns that a leaving client takes for arrivals before it leaves them to the poller. */
#define ENG_LEAVE_TURNS_MAX 4u

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

bool eng_core_offer_owner(struct cf_instance *instance)
{
    atomic_store_explicit(&instance->progress, 0, memory_order_release); /* partner: eng_progress_try */
    sched_yield();
    return eng_progress_try(instance);
}

static bool work_from_inside(struct cf_instance *instance)
{
    return cf_mpsc_count(&instance->inbox) != 0 ||
           atomic_load_explicit(&instance->attention, memory_order_relaxed) != 0 ||
           (instance->workers_count && eng_workers_have(instance));
}

void eng_progress_leave(struct cf_instance *instance)
{
    bool is_busy = instance->options.waiting == ENG_WAIT_BUSY;
    uint32_t turns = 0;

    if (instance->is_manual) { /* whoever drives by hand takes the next turn */
        atomic_store_explicit(&instance->progress, 0, memory_order_release);
        return;
    }
    for (;;) {
        if (instance->has_poller && !is_busy &&
            atomic_load_explicit(&instance->is_asleep, memory_order_relaxed) == ENG_POLLER_SLEEPS) {
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
                 atomic_load_explicit(&instance->is_asleep, memory_order_relaxed) != ENG_POLLER_SLEEPS))
                return;
        }
        if (!eng_progress_try(instance))
            return; /* whoever has it now looks for the same things when it leaves */
        eng_turn_owner(instance, cf_now_ns());
    }
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
    if (eng_may_own(instance)) {
        if (eng_progress_try(instance)) {
            eng_turn_owner(instance, cf_now_ns());
            eng_client_drove(instance);
            eng_progress_leave(instance);
        }
        return;
    }
    eng_poller_wake(instance);
}
