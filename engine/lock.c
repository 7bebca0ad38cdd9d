/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a session's thread on locks. What is cached here and wanted by nobody else is served inside the gate;
 * the rest is an op for the owner of progress.
 */
#include "engine/lock.h"

#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/instance.h"
#include "engine/lock_impl.h"

_Static_assert((int)CF_LOCK_EX == (int)GRD_LOCK_EX && (int)CF_LOCK_CW == (int)GRD_LOCK_CW, "modes");
_Static_assert(CF_LOCK_TRY == GRD_LOCK_TRY && CF_LOCK_NOTIFY == GRD_LOCK_NOTIFY &&
                   CF_LOCK_HEAD == GRD_LOCK_HEAD && CF_LOCK_FIFO == GRD_LOCK_FIFO &&
                   CF_LOCK_DEMOTE == GRD_LOCK_DEMOTE && CF_LOCK_PUBLISH == GRD_LOCK_PUBLISH &&
                   CF_LOCK_INVALIDATE == GRD_LOCK_INVALIDATE,
               "flags");
_Static_assert(CF_LOCK_NAME_BYTES == GRD_LOCK_NAME_BYTES && CF_LOCK_VALUE_BYTES == GRD_LOCK_VALUE_BYTES,
               "bytes");

#define GATE_SPINS 64u

/*
 * The gate: an exchange takes it, a word that says "wanted" has who leaves it wake one (U. Drepper, Futexes Are
 * Tricky, mutex 2). It is held for a step: spinning pays off unless its holder was sent off its core.
 */
CF_COLD void eng_gate_wait(_Atomic uint32_t *gate)
{
    uint32_t i;

    for (i = 0; i < GATE_SPINS; i++) {
        uint32_t open = ENG_GATE_OPEN;

        if (atomic_load_explicit(gate, memory_order_relaxed) == ENG_GATE_OPEN &&
            atomic_compare_exchange_weak_explicit(gate, &open, ENG_GATE_TAKEN, memory_order_acquire,
                                                  memory_order_relaxed))
            return;
        cf_pause();
    }
    while (atomic_exchange_explicit(gate, ENG_GATE_WANTED, memory_order_acquire) != ENG_GATE_OPEN)
        eng_futex_wait(gate, ENG_GATE_WANTED, UINT64_MAX);
}

CF_COLD void eng_gate_wake(_Atomic uint32_t *gate)
{
    eng_futex_wake(gate);
}

static inline struct grd_lock_resource *resource_of(struct cf_lock *lock)
{
    return (struct grd_lock_resource *)(void *)lock;
}

static CF_COLD enum cf_rc refuse(struct cf_session *session, enum cf_rc rc)
{
    return eng_fail(session, rc, "%s", cf_rc_text(rc));
}

enum cf_rc eng_lock_enter(struct cf_session *session)
{
    enum cf_rc rc = eng_enter(session->instance);

    if (rc == CF_OK && session->instance->locks.local == NULL)
        return eng_fail(session, CF_UNSUPPORTED, "the option locks is 0");
    return rc == CF_OK ? CF_OK : refuse(session, rc);
}

/* A step inside the gate has left something for others, or for the network. */
static CF_NOINLINE void news_tell(struct cf_instance *instance)
{
    atomic_store_explicit(&instance->locks.news, 1, memory_order_relaxed);
    eng_put_tell(instance);
}

static bool has_news(const struct eng_locks *locks)
{
    return locks->filling->count != 0 || grd_lock_local_has_news(locks->local);
}

enum cf_rc cf_owner_set(struct cf_session *session, uint64_t owner, uint32_t cost)
{
    if (owner >= ENG_OWNER_SESSION)
        return eng_fail(session, CF_INVALID, "an owner is a number below 2^63");
    session->owner = owner ? owner : eng_owner_default(session);
    session->cost = cost;
    eng_pin_look_set(session);
    return CF_OK;
}

/* ------------------------------------------------------------------ handles */

static enum cf_rc attach(struct cf_session *session, const struct grd_lock_name *name,
                         struct cf_lock **lock_out)
{
    struct eng_locks *locks = &session->instance->locks;
    struct grd_lock_resource *resource = NULL;
    enum cf_rc rc = eng_lock_enter(session);

    if (rc != CF_OK)
        return rc;
    eng_gate_enter(locks);
    rc = grd_lock_local_attach(locks->local, name, &resource);
    eng_gate_leave(locks);
    if (rc != CF_OK)
        return eng_fail(session, rc, "lock: %s (option locks is %llu)", cf_rc_text(rc),
                        (unsigned long long)session->instance->options.locks);
    *lock_out = (struct cf_lock *)(void *)resource;
    return CF_OK;
}

enum cf_rc cf_lock_open(struct cf_session *session, const void *name, size_t bytes, struct cf_lock **lock_out)
{
    struct grd_lock_name text;
    enum cf_rc rc = grd_lock_name_text(name, bytes, &text);

    return rc == CF_OK ? attach(session, &text, lock_out) : refuse(session, rc);
}

enum cf_rc cf_lock_open_ids(struct cf_session *session, uint32_t type, uint64_t id1, uint64_t id2,
                            struct cf_lock **lock_out)
{
    struct grd_lock_name ids;

    grd_lock_name_ids(type, id1, id2, &ids);
    return attach(session, &ids, lock_out);
}

struct detach {
    struct grd_lock_resource *resource;
    enum cf_rc rc;
};

static void detach_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct detach *detach = arg;
    struct eng_locks *locks = &instance->locks;
    uint32_t i;

    for (i = 0; i < ENG_INBOX_SLOTS / ENG_TURN_OPS_MAX && eng_inbox_take(instance, now_ns); i++)
        ; /* as cf_cancel does: what is in there may be of this handle */
    eng_lock_enter_to_step(instance);
    if (!grd_lock_resource_is_open(locks->local, detach->resource))
        detach->rc = CF_INVALID;
    else if (grd_lock_resource_handles(detach->resource) == 1 &&
             grd_lock_resource_claims(detach->resource) != 0)
        detach->rc = CF_BUSY;
    else
        grd_lock_local_detach(locks->local, detach->resource, now_ns, locks->filling);
    eng_gate_leave(locks);
    eng_lock_news_owner(instance, now_ns);
}

enum cf_rc cf_lock_close(struct cf_session *session, struct cf_lock **lock)
{
    struct detach detach = {.resource = resource_of(*lock)};
    enum cf_rc rc;

    if (*lock == NULL)
        return CF_OK;
    rc = eng_lock_enter(session);
    if (rc != CF_OK) { /* stopped: handles go with the instance */
        *lock = NULL;
        return rc;
    }
    rc = eng_call_run(session->instance, detach_run, &detach);
    if (rc == CF_OK)
        rc = detach.rc;
    if (rc != CF_OK)
        return refuse(session, rc);
    *lock = NULL;
    return CF_OK;
}

/* ------------------------------------------------------------------ request, convert, unlock */

enum cf_rc eng_lock_check(struct cf_session *session, const struct cf_op *op)
{
    const struct cf_lock_args *args = op->lock;
    bool has_handle = op->kind == CF_OP_LOCK || op->kind >= CF_OP_VALUE_SWAP;
    bool has_claim = op->kind <= CF_OP_UNLOCK;
    enum cf_rc rc = eng_lock_enter(session);

    if (rc != CF_OK)
        return rc;
    if (args == NULL || (has_handle && args->lock == NULL) || (has_claim && args->claim == NULL) ||
        (op->kind == CF_OP_VALUE_SWAP && args->value == NULL) ||
        (op->kind == CF_OP_VALUE_READ && args->value_out == NULL))
        return eng_fail(session, CF_INVALID, "an argument of a lock op is missing");
    if (args->mode > CF_LOCK_EX || op->flags > UINT8_MAX) {
        eng_lock_say(session, op, CF_LOCK_MODE);
        return CF_LOCK_MODE;
    }
    return CF_OK;
}

CF_NOINLINE enum cf_rc eng_lock_run(struct cf_session *session, struct cf_op *op)
{
    enum cf_rc rc = eng_lock_check(session, op);

    if (rc != CF_OK)
        return rc;
    rc = eng_op_run(session, op);
    if (rc == CF_DEADLOCK)
        eng_lock_error(session, op);
    else if (rc != CF_OK)
        eng_lock_say(session, op, rc);
    if (rc == CF_TIMEOUT)
        cf_count_u64(&session->timeouts);
    return rc;
}

/* The caller is inside the gate. What can be had at once is, also beside others; the rest is for the owner of progress. */
enum cf_rc eng_lock_request_inside(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                   uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out)
{
    struct eng_locks *locks = &session->instance->locks;
    struct cf_lock_args args = {.lock = lock, .claim = claim_out, .mode = mode};
    struct cf_op op = {.kind = CF_OP_LOCK, .flags = flags, .deadline_ns = deadline_ns, .lock = &args};
    struct grd_lock_want want = {.owner = session->owner, .cost = session->cost, .mode = (uint8_t)mode};
    enum cf_rc rc = CF_PENDING;

    if (flags == 0 && grd_lock_resource_is_open(locks->local, resource_of(lock)))
        rc = grd_lock_local_want_now(locks->local, resource_of(lock), &want, &claim_out->private_);
    eng_gate_leave(locks);
    if (rc != CF_OK)
        return eng_lock_run(session, &op);
    claim_out->lock = lock;
    claim_out->mode = mode;
    claim_out->is_demoted = 0;
    return CF_OK;
}

enum cf_rc eng_lock_request_slow(struct cf_session *session, struct cf_lock *lock, enum cf_lock_mode mode,
                                 uint32_t flags, uint64_t deadline_ns, struct cf_claim *claim_out)
{
    struct cf_lock_args args = {.lock = lock, .claim = claim_out, .mode = mode};
    struct cf_op op = {.kind = CF_OP_LOCK, .flags = flags, .deadline_ns = deadline_ns, .lock = &args};
    enum cf_rc rc = eng_lock_check(session, &op);

    if (rc != CF_OK)
        return rc;
    eng_gate_enter(&session->instance->locks);
    return eng_lock_request_inside(session, lock, mode, flags, deadline_ns, claim_out);
}

enum cf_rc cf_lock_convert(struct cf_session *session, struct cf_claim *claim, enum cf_lock_mode mode,
                           uint32_t flags, const struct cf_lock_value *value, uint64_t deadline_ns)
{
    struct cf_lock_args args = {.claim = claim, .mode = mode, .value = value};
    struct cf_op op = {.kind = CF_OP_CONVERT, .flags = flags, .deadline_ns = deadline_ns, .lock = &args};

    return eng_lock_run(session, &op);
}

/* To publish, or where the list of what is to be sent is full. */
static enum cf_rc unlock_by_owner(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                  const struct cf_lock_value *value)
{
    struct cf_instance *instance = session->instance;
    struct cf_lock_args args = {.claim = claim, .value = value};
    struct cf_op op = {.kind = CF_OP_UNLOCK, .flags = flags, .deadline_ns = CF_FOREVER, .lock = &args};

    if (flags & CF_LOCK_PUBLISH)
        op.deadline_ns = eng_call_deadline(instance);
    return eng_lock_run(session, &op);
}

static CF_COLD enum cf_rc unlock_refused(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                         const struct cf_lock_value *value, enum cf_rc rc)
{
    struct cf_lock_args args = {.claim = claim, .value = value};
    struct cf_op op = {.kind = CF_OP_UNLOCK, .flags = flags, .lock = &args};

    eng_lock_say(session, &op, rc);
    return rc;
}

/* The caller is inside the gate. */
enum cf_rc eng_lock_unlock_inside(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                  const struct cf_lock_value *value)
{
    struct cf_instance *instance = session->instance;
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_value given;
    enum cf_rc rc = CF_PENDING;
    bool is_told;

    if (value)
        memcpy(&given, value, sizeof given);
    if ((flags & CF_LOCK_PUBLISH) == 0 && flags <= UINT8_MAX &&
        locks->filling->count + ENG_LOCK_STEP_ACTIONS <= GRD_ACTIONS_MAX)
        rc = grd_lock_local_unlock(locks->local, claim->private_, (uint8_t)flags, value ? &given : NULL,
                                   eng_now(instance), locks->filling);
    is_told = has_news(locks);
    eng_gate_leave(locks);
    if (is_told)
        news_tell(instance);
    if (rc == CF_PENDING)
        return unlock_by_owner(session, claim, flags, value);
    if (rc != CF_OK)
        return unlock_refused(session, claim, flags, value, rc);
    claim->lock = NULL;
    claim->private_ = 0;
    return CF_OK;
}

enum cf_rc eng_lock_unlock_slow(struct cf_session *session, struct cf_claim *claim, uint32_t flags,
                                const struct cf_lock_value *value)
{
    enum cf_rc rc = eng_lock_enter(session);

    if (rc != CF_OK)
        return rc;
    eng_gate_enter(&session->instance->locks);
    return eng_lock_unlock_inside(session, claim, flags, value);
}

bool cf_lock_is_wanted(struct cf_session *session, const struct cf_claim *claim)
{
    struct eng_locks *locks = &session->instance->locks;
    bool is_wanted;

    if (eng_enter(session->instance) != CF_OK || locks->local == NULL)
        return false;
    eng_gate_enter(locks);
    is_wanted = grd_lock_local_is_wanted(locks->local, claim->private_);
    eng_gate_leave(locks);
    return is_wanted;
}
