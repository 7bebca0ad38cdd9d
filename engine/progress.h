/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PROGRESS_H
#define ENGINE_PROGRESS_H

/* How one waits: between progress.c, wait.c and poller.c. */
#include "base/clock.h"
#include "engine/instance.h"

/* Busy waiting in the compact plan: a poller that finds a client driving looks again after this. */
#define ENG_NAP_NS 1000000ull
/* Adaptive waiting never spins shorter than this. */
#define ENG_SPIN_NS_MIN 500ull
/* An answer that is on its way comes within this: until then a turn that finds nothing is followed by the next at once. */
#define ENG_PAUSE_AFTER_NS 4000ull
/* Then it offers its core to others for so long before it sleeps. Measured: bench/model.md, Waiting. */
#define ENG_YIELD_NS 10000ull
/* The clock is read once in so many turns that find nothing: it costs as much as half a turn. */
#define ENG_CLOCK_TURNS 8u

/* is_asleep: a poller that sleeps wants the transport armed by whoever leaves; one that naps comes back by itself. */
enum { ENG_POLLER_AWAKE = 0, ENG_POLLER_SLEEPS = 1, ENG_POLLER_NAPS = 2 };

/* The choices of option waiting, in the order of options.def. */
enum { ENG_WAIT_BUSY = 0, ENG_WAIT_ADAPTIVE = 1, ENG_WAIT_SLEEP = 2 };

enum eng_idle { ENG_IDLE_SPIN, ENG_IDLE_OFFER, ENG_IDLE_ENOUGH };

/*
 * How long to spin: for ever, not at all, or as long as it would have paid off. A wait that was over within the option
 * `spin`, asleep or not, doubles the budget up to the option; a longer one halves it. So two that answer each other in
 * microseconds spin, and on a machine with more threads than cores, where answers take a time slice, one sleeps at once.
 */
static inline uint64_t eng_spin_budget(const struct cf_instance *instance,
                                       const _Atomic uint64_t *adaptive_ns)
{
    switch (instance->options.waiting) {
    case ENG_WAIT_BUSY:
        return UINT64_MAX;
    case ENG_WAIT_SLEEP:
        return 0;
    default:
        return atomic_load_explicit(adaptive_ns, memory_order_relaxed);
    }
}

static inline void eng_spin_learn(_Atomic uint64_t *adaptive_ns, uint64_t max, uint64_t waited_ns)
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
static inline enum eng_idle eng_idle_step(const struct cf_instance *instance, uint64_t idle_ns,
                                          uint64_t spin_ns, uint64_t offer_ns)
{
    if (idle_ns < spin_ns) {
        if (idle_ns >= ENG_PAUSE_AFTER_NS)
            cf_pause();
        return ENG_IDLE_SPIN;
    }
    return instance->options.waiting == ENG_WAIT_ADAPTIVE && idle_ns - spin_ns < offer_ns ? ENG_IDLE_OFFER
                                                                                          : ENG_IDLE_ENOUGH;
}

/*
 * What storage has under way may be carried by a thread of the kernel, or ours, that is bound to this core: one that spins
 * would keep it waiting until its slice ends.
 */
static inline bool eng_is_storage_offer(const struct cf_instance *instance, uint32_t idle_turns)
{
    return instance->slots_used != 0 && idle_turns % ENG_CLOCK_TURNS == 0;
}

static inline void eng_client_drove(struct cf_instance *instance)
{
    instance->counters.client_turns++;
    atomic_store_explicit(&instance->client_drives, instance->counters.client_turns, memory_order_relaxed);
}

/*
 * Offers the core with progress let go: a client of this instance that gets it may run for a whole slice, and would find
 * that nobody serves the peers meanwhile. Nothing is armed and nobody woken, since this thread looks again as soon as
 * it runs. False: somebody else drives then.
 */
CF_CHECK bool eng_core_offer_owner(struct cf_instance *instance);

#endif
