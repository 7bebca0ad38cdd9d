/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner of progress's side of locks: ops that could not be served at once, messages, timers. Every entrance here
 * ends in eng_lock_news_owner, which hands out what the step brought.
 */
#include <string.h>

#include "base/assert.h"
#include "engine/instance.h"
#include "engine/lock_impl.h"

/* ------------------------------------------------------------------ ops */

static bool value_in(const struct cf_lock_value *from, struct grd_lock_value *to)
{
    if (from == NULL)
        return false;
    to->version = 0;
    to->is_valid = true;
    to->bytes_count = from->bytes_count; /* checked by whoever takes it */
    memcpy(to->bytes, from->bytes, sizeof to->bytes);
    return true;
}

static enum cf_rc want(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    struct grd_lock_want want = {.owner = inner->owner,
                                 .cookie = eng_lock_cookie_of_op(op),
                                 .cost = inner->cost,
                                 .mode = (uint8_t)op->lock->mode,
                                 .flags = (uint8_t)op->flags};
    enum cf_rc rc = grd_lock_local_want(locks->local, (struct grd_lock_resource *)(void *)op->lock->lock,
                                        &want, now_ns, locks->filling, &inner->claim);

    if (rc == CF_OK) {
        eng_lock_claim_out(op, inner->claim, (uint8_t)op->lock->mode, true, false);
        eng_lock_value_out(op, grd_lock_local_value(locks->local, inner->claim));
    }
    return rc;
}

/* A publishing call carries the number of a slot as its cookie. CF_AGAIN: all are taken. */
static enum cf_rc claim_begin(struct cf_instance *instance, struct cf_op *op)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    uint64_t cookie = eng_lock_cookie_of_op(op);
    enum cf_rc rc;

    inner->claim = op->lock->claim->private_;
    if (op->flags & CF_LOCK_PUBLISH) {
        inner->call = eng_lock_call_take(locks, op);
        if (inner->call == ENG_LOCK_NO_CALL)
            return CF_AGAIN;
        cookie = eng_lock_cookie_of_call(inner->call);
    }
    rc = grd_lock_local_cookie_set(locks->local, inner->claim, cookie);
    if (rc != CF_OK && inner->call != ENG_LOCK_NO_CALL)
        eng_lock_call_give(locks, inner->call);
    return rc;
}

static enum cf_rc convert(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    struct grd_lock_value value;
    bool has_value = value_in(op->lock->value, &value), is_demoted;
    enum cf_rc rc = claim_begin(instance, op);
    uint8_t mode;

    if (rc != CF_OK)
        return rc;
    rc = grd_lock_local_convert(locks->local, inner->claim, (uint8_t)op->lock->mode, (uint8_t)op->flags,
                                has_value ? &value : NULL, now_ns, locks->filling);
    if (rc != CF_PENDING && inner->call != ENG_LOCK_NO_CALL)
        eng_lock_call_give(locks, inner->call);
    if (rc == CF_PENDING)
        return rc;
    /* Also one that is refused may have given up what it held. */
    if (grd_lock_local_held(locks->local, inner->claim, &mode, &is_demoted))
        eng_lock_claim_out(op, inner->claim, mode, true, is_demoted);
    if (rc == CF_OK)
        eng_lock_value_out(op, grd_lock_local_value(locks->local, inner->claim));
    return rc;
}

static enum cf_rc unlock(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    struct grd_lock_value value;
    bool has_value = value_in(op->lock->value, &value);
    enum cf_rc rc = claim_begin(instance, op);

    if (rc != CF_OK)
        return rc;
    rc = grd_lock_local_unlock(locks->local, inner->claim, (uint8_t)op->flags, has_value ? &value : NULL,
                               now_ns, locks->filling);
    if (rc != CF_PENDING && inner->call != ENG_LOCK_NO_CALL)
        eng_lock_call_give(locks, inner->call);
    if (rc == CF_OK || rc == CF_PENDING) /* given up, whatever becomes of the value */
        memset(op->lock->claim, 0, sizeof *op->lock->claim);
    return rc;
}

static enum cf_rc call(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_resource *resource = (void *)op->lock->lock;
    struct eng_op *inner = eng_op_of(op);
    struct grd_lock_value value = {.version = 0};
    enum cf_rc rc;

    (void)value_in(op->lock->value, &value);
    inner->call = eng_lock_call_take(locks, op);
    if (inner->call == ENG_LOCK_NO_CALL)
        return CF_AGAIN;
    rc = op->kind == CF_OP_VALUE_SWAP
             ? grd_lock_local_swap(locks->local, resource, op->lock->expected, &value,
                                   eng_lock_cookie_of_call(inner->call), now_ns, locks->filling)
             : grd_lock_local_read(locks->local, resource, eng_lock_cookie_of_call(inner->call), now_ns,
                                   locks->filling);
    if (rc == CF_PENDING)
        return rc;
    eng_lock_call_give(locks, inner->call);
    eng_lock_value_out(op, grd_lock_resource_value(resource));
    return rc;
}

static enum cf_rc step(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    bool has_handle = op->kind == CF_OP_LOCK || op->kind == CF_OP_VALUE_SWAP || op->kind == CF_OP_VALUE_READ;

    if (has_handle && !grd_lock_resource_is_open(locks->local, (void *)op->lock->lock))
        return CF_INVALID;
    switch (op->kind) {
    case CF_OP_LOCK:
        return want(instance, op, now_ns);
    case CF_OP_CONVERT:
        return convert(instance, op, now_ns);
    case CF_OP_UNLOCK:
        return unlock(instance, op, now_ns);
    default:
        return call(instance, op, now_ns);
    }
}

void eng_lock_submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    enum cf_rc rc;

    eng_op_of(op)->call = ENG_LOCK_NO_CALL;
    if (op->kind == CF_OP_VALUE_READ && eng_lock_read_start(instance, op, now_ns)) {
        eng_lock_waiting_add(locks, op);
        return;
    }
    eng_lock_enter_to_step(instance);
    rc = step(instance, op, now_ns);
    eng_gate_leave(locks);
    if (rc == CF_PENDING)
        eng_lock_waiting_add(locks, op);
    else
        eng_lock_complete_owner(instance, op, rc, now_ns);
    eng_lock_news_owner(instance, now_ns);
}

void eng_lock_read_by_message(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    enum cf_rc rc;

    eng_op_of(op)->call = ENG_LOCK_NO_CALL;
    eng_lock_enter_to_step(instance);
    rc = step(instance, op, now_ns);
    eng_gate_leave(&instance->locks);
    if (rc != CF_PENDING)
        eng_lock_complete_owner(instance, op, rc, now_ns);
    eng_lock_news_owner(instance, now_ns);
}

void eng_lock_end_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    bool is_published;

    if (op->kind == CF_OP_CONVERT || op->kind == CF_OP_UNLOCK) {
        eng_lock_enter_to_step(instance);
        is_published = inner->call != ENG_LOCK_NO_CALL &&
                       !grd_lock_local_unpublish(locks->local, inner->claim, now_ns, locks->filling);
        eng_gate_leave(locks);
        if (is_published) { /* its completion is on its way */
            eng_lock_news_owner(instance, now_ns);
            return;
        }
        if (inner->call !=
            ENG_LOCK_NO_CALL) { /* the value goes to the master later; the claim is its owner's again */
            eng_lock_call_give(locks, inner->call);
            inner->call = ENG_LOCK_NO_CALL;
            if (op->kind == CF_OP_CONVERT)
                eng_lock_claim_out(op, inner->claim, (uint8_t)op->lock->mode, true, false);
            eng_lock_complete_owner(instance, op, rc, now_ns);
            return;
        }
    }
    if (inner->call != ENG_LOCK_NO_CALL) { /* it goes on without its caller */
        if (inner->call >= ENG_LOCK_CALLS)
            eng_lock_read_leave(instance, inner->call, now_ns);
        else
            locks->calls[inner->call] = NULL;
        eng_lock_complete_owner(instance, op, rc, now_ns);
        eng_lock_news_owner(instance, now_ns);
        return;
    }
    eng_lock_enter_to_step(instance);
    if (grd_lock_local_cancel(locks->local, inner->claim, rc, now_ns, locks->filling) != CF_OK)
        cf_assert(grd_lock_local_has_news(locks->local)); /* its completion is on its way */
    eng_gate_leave(locks);
    eng_lock_news_owner(instance, now_ns);
}

/* ------------------------------------------------------------------ deadlocks */

void eng_lock_cycle_keep(struct eng_locks *locks, const struct cf_op *op, const char *text)
{
    struct eng_lock_cycle *cycle = &locks->cycles[locks->cycle_next++ % ENG_LOCK_CYCLES];

    cycle->op = op;
    snprintf(cycle->text, sizeof cycle->text, "%s", text);
}

bool eng_lock_victim_owner(struct cf_instance *instance, uint64_t wait, const char *cycle, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct cf_op *op;
    grd_lock_id claim;

    eng_lock_enter_to_step(instance);
    claim = grd_lock_local_waiter(locks->local, wait);
    for (op = claim ? locks->waiting_first : NULL; op; op = eng_op_of(op)->next)
        if (eng_op_of(op)->claim == claim && eng_op_of(op)->call == ENG_LOCK_NO_CALL)
            break;
    if (op && locks->victim && !locks->victim(locks->victim_context, op))
        op = NULL;
    if (op) {
        eng_lock_cycle_keep(locks, op, cycle);
        if (grd_lock_local_cancel(locks->local, claim, CF_DEADLOCK, now_ns, locks->filling) != CF_OK)
            cf_unreachable(); /* it waits: grd_lock_local_waiter said so inside the same gate */
    }
    eng_gate_leave(locks);
    eng_lock_news_owner(instance, now_ns);
    return op != NULL;
}

/* ------------------------------------------------------------------ messages, timers, the end */

void eng_lock_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;

    if (locks->local == NULL) {
        instance->counters.bad_messages++;
        return;
    }
    eng_lock_enter_to_step(instance);
    grd_lock_local_step(locks->local, msg, now_ns, locks->filling);
    eng_gate_leave(locks);
    eng_lock_news_owner(instance, now_ns);
}

bool eng_lock_tick_owner(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    bool again = locks->local != NULL;
    uint32_t i;

    for (i = 0; again && i < ENG_TURN_TIMERS_MAX; i++) {
        eng_lock_enter_to_step(instance);
        again = grd_lock_local_next_ns(locks->local) <= now_ns &&
                grd_lock_local_tick(locks->local, now_ns, locks->filling);
        eng_gate_leave(locks);
    }
    return i > 1 ? eng_lock_news_owner(instance, now_ns) || true : false;
}

uint64_t eng_lock_next_ns_owner(const struct cf_instance *instance)
{
    struct eng_locks *locks = (struct eng_locks *)&instance->locks;
    uint64_t next;

    if (locks->local == NULL)
        return UINT64_MAX;
    eng_gate_enter(locks); /* a session's thread may be arming a timer */
    next = grd_lock_local_next_ns(locks->local);
    eng_gate_leave(locks);
    return next;
}

void eng_lock_reset_owner(struct cf_instance *instance, uint64_t now_ns)
{
    if (instance->locks.local == NULL)
        return;
    eng_gate_enter(&instance->locks);
    grd_lock_local_reset(instance->locks.local, now_ns);
    eng_gate_leave(&instance->locks);
}

/* The instance has stopped: whoever waits for a lock is told. */
void eng_lock_fail_all(struct cf_instance *instance, enum cf_rc rc)
{
    struct cf_op *op;

    eng_lock_reads_fail_all(instance);
    while ((op = instance->locks.waiting_first) != NULL)
        eng_lock_complete_owner(instance, op, rc, 0);
}
