/* SPDX-License-Identifier: Apache-2.0 */
/*
 * cf_lock_request and cf_lock_unlock where the lock is cached here and nobody else is at it: a few stores inside the
 * gate. Every other way out is a tail call, so that these functions save no register.
 */
#include "engine/instance.h"
#include "grd/lock_cached.h"

/* Somebody sleeps at the gate that has just been left. */
static CF_NOINLINE enum cf_rc wake(struct eng_locks *locks)
{
    eng_gate_wake(&locks->gate);
    return CF_OK;
}

static inline bool gate_try(struct eng_locks *locks)
{
    uint32_t open = ENG_GATE_OPEN;

    return atomic_compare_exchange_strong_explicit(&locks->gate, &open, ENG_GATE_TAKEN, memory_order_acquire,
                                                   memory_order_relaxed);
}

static inline enum cf_rc gate_leave(struct eng_locks *locks)
{
    if (CF_UNLIKELY(atomic_exchange_explicit(&locks->gate, ENG_GATE_OPEN, memory_order_release) ==
                    ENG_GATE_WANTED))
        return wake(locks);
    return CF_OK;
}

/*
 * Who takes and leaves cached locks all the time has no need of the network, but a peer's demand for them has come by it.
 * The caller is inside the gate.
 */
static CF_COLD enum cf_rc leave_and_look(struct cf_session *session)
{
    eng_gate_leave(&session->instance->locks);
    if (session->instance->is_compact)
        eng_kick(session->instance);
    return CF_OK;
}

enum cf_rc cf_lock_request(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                           uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out)
{
    struct eng_locks *locks = &session->instance->locks;

    /* Without locks there is no handle; one that was closed names a lock that has no tenure, or is another's. */
    if (CF_UNLIKELY(flags != 0 || (unsigned)mode > CF_LOCK_EX || lock == NULL ||
                    session->guard->state != ENG_RUNS || !gate_try(locks)))
        return eng_lock_request_slow(session, lock, mode, flags, deadline_ns, claim_out);
    if (CF_UNLIKELY(!grd_lock_local_take(locks->local, (struct grd_lock_resource *)(void *)lock,
                                         (uint8_t)mode, session->owner, session->cost, &claim_out->private_)))
        return eng_lock_request_inside(session, lock, mode, flags, deadline_ns, claim_out);
    claim_out->lock = lock;
    claim_out->mode = mode;
    claim_out->is_demoted = 0;
    return gate_leave(locks);
}

enum cf_rc cf_lock_unlock(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                          const struct cf_lock_value *value)
{
    struct eng_locks *locks = &session->instance->locks;

    if (CF_UNLIKELY(flags != 0 || value != NULL || session->guard->state != ENG_RUNS ||
                    session->instance->locks.local == NULL || !gate_try(locks)))
        return eng_lock_unlock_slow(session, claim, flags, value);
    if (CF_UNLIKELY(!grd_lock_local_leave(locks->local, claim->private_)))
        return eng_lock_unlock_inside(session, claim, flags, value);
    claim->lock = NULL;
    claim->private_ = 0;
    if (CF_UNLIKELY(locks->local->counters_taken % ENG_LOCKS_A_TURN == 0))
        return leave_and_look(session);
    return gate_leave(locks);
}
