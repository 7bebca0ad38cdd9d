/* SPDX-License-Identifier: Apache-2.0 */
/* A client that waits: it drives, spins while somebody else does, or sleeps until what it waits for is told. */
#include <sched.h>

#include "engine/client.h"
#include "engine/progress.h"

/*
 * A core that nobody else wants: an offer of it comes back at once. There it goes on offering for as long as that has paid off,
 * up to so many times the option `spin`. Two that both sleep answer each other in two wake-ups, longer than `spin` where
 * idle processors are halted; had they to find out within `spin`, they would never be awake at the same time again.
 */
#define ENG_OFFER_TAKEN_NS 5000ull
#define ENG_FREE_SPINS 20u
#define ENG_CLIENT_SLEEP_NS_MAX 10000000ull

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
        enum eng_idle step;

        if (++idle_turns % ENG_CLOCK_TURNS == 0)
            now = cf_now_ns();
        if (eng_turn_owner(instance, now)) {
            idle_turns = 0;
            idle_since = now;
            continue;
        }
        step = now >= wait->until_ns ? ENG_IDLE_ENOUGH
                                     : eng_idle_step(instance, now - idle_since, spin_ns, offer_ns);
        if (step == ENG_IDLE_ENOUGH)
            return true;
        if (step != ENG_IDLE_OFFER && !eng_is_storage_offer(instance, idle_turns))
            continue;
        now = cf_now_ns();
        if (!eng_core_offer_owner(instance))
            return false;
        offer_ns = offer_learned(instance, cf_now_ns() - now);
    }
    return true;
}

/* Somebody else drives; a client that may drive itself comes back as soon as nobody does. */
static void spin(const struct cf_instance *instance, struct eng_wait *wait, uint64_t spin_ns)
{
    bool can_drive = eng_may_own(instance);
    uint64_t began = cf_now_ns();
    uint32_t i;

    for (i = 0; !wait->is_done(wait->arg); i++) {
        if (can_drive && atomic_load_explicit(&instance->progress, memory_order_relaxed) == 0)
            return;
        if ((i & 63) != 63)
            cf_pause();
        else {
            enum eng_idle step = eng_idle_step(instance, cf_now_ns() - began, spin_ns, ENG_YIELD_NS);

            if (step == ENG_IDLE_ENOUGH)
                return;
            if (step == ENG_IDLE_OFFER)
                sched_yield();
        }
    }
}

static void client_sleep(struct cf_instance *instance, struct eng_wait *wait)
{
    uint32_t seen = atomic_load_explicit(wait->wake, memory_order_seq_cst);
    uint64_t now = cf_now_ns(), ns = ENG_CLIENT_SLEEP_NS_MAX;

    /* While it sleeps it does not want to drive: the poller does. Partner of the flag: eng_op_complete_owner. */
    atomic_fetch_sub_explicit(&instance->clients_waiting, 1, memory_order_relaxed);
    atomic_fetch_add_explicit(&instance->clients_asleep, 1,
                              memory_order_seq_cst); /* before is_asleep is read; partner: poller_naps */
    atomic_store_explicit(wait->sleeping, 1, memory_order_seq_cst);
    if (!wait->is_done(wait->arg) && now < wait->until_ns) {
        if (wait->until_ns - now < ns)
            ns = wait->until_ns - now;
        if (atomic_load_explicit(&instance->is_asleep, memory_order_seq_cst) == ENG_POLLER_NAPS)
            eng_poller_wake(instance); /* nobody would look at the network until the nap is over */
        eng_futex_wait(wait->wake, seen, ns);
    }
    atomic_fetch_sub_explicit(&instance->clients_asleep, 1, memory_order_relaxed);
    atomic_store_explicit(wait->sleeping, 0, memory_order_relaxed);
    atomic_fetch_add_explicit(&instance->clients_waiting, 1, memory_order_seq_cst);
}

static bool wait_on(struct cf_instance *instance, struct eng_wait *wait, uint64_t began, bool holds_progress)
{
    uint64_t spin_ns = eng_spin_budget(instance, &instance->client_spin_ns), now = began;
    bool is_done = false;

    atomic_fetch_add_explicit(&instance->clients_waiting, 1, memory_order_seq_cst);
    while (!(is_done = wait->is_done(wait->arg))) {
        if (holds_progress || (eng_may_own(instance) && eng_progress_try(instance))) {
            holds_progress = drive(instance, wait, now, spin_ns);
            if (holds_progress) {
                eng_client_drove(instance);
                eng_progress_leave(instance);
                holds_progress = false;
            }
        } else {
            eng_poller_wake(instance);
            spin(instance, wait, instance->options.waiting == ENG_WAIT_BUSY ? ENG_NAP_NS : spin_ns);
            if (eng_may_own(instance) &&
                atomic_load_explicit(&instance->progress, memory_order_relaxed) == 0 &&
                (now = cf_now_ns()) < wait->until_ns)
                continue;
        }
        if ((is_done = wait->is_done(wait->arg)) || (now = cf_now_ns()) >= wait->until_ns)
            break;
        if (instance->options.waiting != ENG_WAIT_BUSY && instance->has_poller) {
            client_sleep(instance, wait);
            now = cf_now_ns();
        }
    }
    if (holds_progress)
        eng_progress_leave(instance);
    atomic_fetch_sub_explicit(&instance->clients_waiting, 1, memory_order_relaxed);
    if (instance->options.waiting == ENG_WAIT_ADAPTIVE) {
        now = cf_now_ns() - began;
        eng_spin_learn(&instance->client_spin_ns, instance->options.spin, now);
        eng_spin_learn(&instance->client_free_ns, instance->options.spin * ENG_FREE_SPINS, now);
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
