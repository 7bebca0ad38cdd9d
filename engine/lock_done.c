/* SPDX-License-Identifier: Apache-2.0 */
/* Ops that wait for locks, and what becomes of them: completions to their callers, messages out. */
#include <string.h>

#include "base/assert.h"
#include "base/probe.h"
#include "engine/instance.h"
#include "engine/lock_impl.h"

void eng_lock_waiting_add(struct eng_locks *locks, struct cf_op *op)
{
    struct eng_op *inner = eng_op_of(op);

    inner->state = ENG_OP_LOCK;
    inner->prev = NULL;
    inner->next = locks->waiting_first;
    *(inner->next ? &eng_op_of(inner->next)->prev : &locks->waiting_last) = op;
    locks->waiting_first = op;
    locks->waits++;
}

static void waiting_remove(struct eng_locks *locks, struct cf_op *op)
{
    struct eng_op *inner = eng_op_of(op);

    *(inner->next ? &eng_op_of(inner->next)->prev : &locks->waiting_last) = inner->prev;
    *(inner->prev ? &eng_op_of(inner->prev)->next : &locks->waiting_first) = inner->next;
}

uint64_t eng_lock_cookie_of_op(struct cf_op *op)
{
    return (uint64_t)(uintptr_t)op;
}

uint64_t eng_lock_cookie_of_call(uint32_t call)
{
    return (uint64_t)call << 1 | 1;
}

uint32_t eng_lock_call_take(struct eng_locks *locks, struct cf_op *op)
{
    for (uint32_t i = 0; i < ENG_LOCK_CALLS; i++) {
        if (locks->call_is_used[i])
            continue;
        locks->call_is_used[i] = true;
        locks->calls[i] = op;
        return i;
    }
    return ENG_LOCK_NO_CALL;
}

void eng_lock_call_give(struct eng_locks *locks, uint32_t call)
{
    locks->call_is_used[call] = false;
    locks->calls[call] = NULL;
}

static struct cf_op *op_of_cookie(struct eng_locks *locks, uint64_t cookie)
{
    uint32_t call = (uint32_t)(cookie >> 1);
    struct cf_op *op;

    if ((cookie & 1) == 0)
        return (struct cf_op *)(uintptr_t)cookie;
    cf_assert(call < ENG_LOCK_CALLS && locks->call_is_used[call]);
    op = locks->calls[call];
    eng_lock_call_give(locks, call);
    return op;
}

/* ------------------------------------------------------------------ completions */

void eng_lock_value_out(struct cf_op *op, const struct grd_lock_value *value)
{
    struct cf_lock_value *out = op->lock->value_out;

    if (out == NULL || value == NULL)
        return;
    out->version = value->version;
    out->is_valid = value->is_valid;
    out->bytes_count = value->bytes_count;
    memcpy(out->bytes, value->bytes, value->bytes_count);
}

void eng_lock_claim_out(struct cf_op *op, grd_lock_id claim, uint8_t mode, bool is_held, bool is_demoted)
{
    struct cf_claim *out = op->lock->claim;

    if (!is_held) {
        if (op->kind != CF_OP_CONVERT)
            memset(out, 0, sizeof *out);
        return;
    }
    out->lock = op->kind == CF_OP_LOCK ? op->lock->lock : out->lock;
    out->private_ = claim;
    out->mode = mode;
    out->is_demoted = is_demoted;
}

/* Inside the gate. */
static void done_out(struct eng_locks *locks, struct cf_op *op, const struct grd_lock_done *done)
{
    if (op->kind == CF_OP_VALUE_READ || op->kind == CF_OP_VALUE_SWAP) {
        eng_lock_value_out(op, done->value);
        return;
    }
    eng_lock_claim_out(op, done->lock, done->mode, done->is_held, done->is_demoted);
    if (done->is_held)
        eng_lock_value_out(op, grd_lock_local_value(locks->local, done->lock));
}

/* The probe is given where the name stands, and nothing is read: the handle may be closed beside, and its record reused. */
static void wait_end(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns)
{
    const struct cf_lock *lock = op->kind == CF_OP_CONVERT ? op->lock->claim->lock : op->lock->lock;
    const void *name = lock != NULL ? grd_lock_resource_name((const void *)lock)->bytes : NULL;
    uint64_t began_ns = eng_op_of(op)->started_ns, wait_ns = now_ns > began_ns ? now_ns - began_ns : 0;

    waiting_remove(&instance->locks, op);
    cf_hist_add(&instance->locks.wait_hist, wait_ns);
    CF_PROBE6(lock_wait, instance->node, name, op->lock->mode, op->kind, rc, wait_ns);
}

void eng_lock_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns)
{
    if (eng_op_of(op)->state == ENG_OP_LOCK)
        wait_end(instance, op, rc, now_ns);
    instance->locks.timeouts += rc == CF_TIMEOUT;
    instance->locks.deadlocks += rc == CF_DEADLOCK;
    eng_op_complete_owner(instance, op, rc);
}

/* True: there may be another one. */
static bool take_done(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_done done;
    struct cf_op *op = NULL;
    bool is_done;

    eng_gate_enter(locks);
    is_done = grd_lock_local_next_done(locks->local, &done);
    if (is_done && (op = op_of_cookie(locks, done.cookie)) != NULL)
        done_out(locks, op, &done);
    eng_gate_leave(locks);
    if (op)
        eng_lock_complete_owner(instance, op, done.rc, now_ns);
    return is_done;
}

static bool take_wanted(struct cf_instance *instance)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_lock_resource *resource;
    uint8_t mode;
    bool is_wanted;

    eng_gate_enter(locks);
    is_wanted = grd_lock_local_next_wanted(locks->local, &resource, &mode);
    eng_gate_leave(locks);
    if (is_wanted && instance->callbacks.lock_wanted)
        instance->callbacks.lock_wanted(instance->callbacks.context, (struct cf_lock *)(void *)resource,
                                        mode);
    return is_wanted;
}

static bool send_all(struct cf_instance *instance)
{
    struct eng_locks *locks = &instance->locks;
    struct grd_actions *full;
    uint32_t i;

    eng_gate_enter(locks);
    full = locks->filling;
    locks->filling = locks->sending;
    eng_gate_leave(locks);
    locks->sending = full;
    for (i = 0; i < full->count; i++) {
        cf_assert(full->item[i].type == GRD_ACT_SEND);
        eng_send_owner(instance, full->item[i].to, &full->item[i].msg);
    }
    full->count = 0;
    return i != 0;
}

void eng_lock_enter_to_step(struct cf_instance *instance)
{
    struct eng_locks *locks = &instance->locks;

    eng_gate_enter(locks);
    while (locks->filling->count + ENG_LOCK_STEP_ACTIONS > GRD_ACTIONS_MAX) {
        eng_gate_leave(locks);
        send_all(instance);
        eng_gate_enter(locks);
    }
}

bool eng_lock_news_owner(struct cf_instance *instance, uint64_t now_ns)
{
    bool did = false, again;

    if (instance->locks.local == NULL || eng_state(instance) != CF_OK)
        return false;
    do {
        again = take_done(instance, now_ns);
        again |= take_wanted(instance);
        did |= again;
    } while (again);
    return send_all(instance) || did;
}
