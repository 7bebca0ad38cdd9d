/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The owner of progress's side of locks: ops that could not be served at once, messages, timers, completions. Every
 * entrance here ends in eng_lock_news_owner, which hands out what the step brought.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/instance.h"

#define NO_CALL UINT32_MAX

/* ------------------------------------------------------------------ ops that wait */

static void waiting_add(struct eng_locks *locks, struct cf_op *op)
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

/*
 * A completion names an op by a cookie. Waits that can be cancelled carry the op's address: it stays until the
 * completion. Swaps, reads and publishing unlocks cannot be taken back once they are under way, but their callers may
 * leave at their deadline: they carry the number of a slot, which outlives the op.
 */
static uint64_t cookie_of_op(struct cf_op *op)
{
    return (uint64_t)(uintptr_t)op;
}

static uint64_t cookie_of_call(uint32_t call)
{
    return (uint64_t)call << 1 | 1;
}

static uint32_t call_take(struct eng_locks *locks, struct cf_op *op)
{
    for (uint32_t i = 0; i < ENG_LOCK_CALLS; i++) {
        if (locks->call_is_used[i])
            continue;
        locks->call_is_used[i] = true;
        locks->calls[i] = op;
        return i;
    }
    return NO_CALL;
}

static void call_give(struct eng_locks *locks, uint32_t call)
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
    call_give(locks, call);
    return op;
}

/* ------------------------------------------------------------------ completions */

static void value_out(struct cf_op *op, const struct grd_lock_value *value)
{
    struct cf_lock_value *out = op->lock->value_out;

    if (out == NULL || value == NULL)
        return;
    out->version = value->version;
    out->is_valid = value->is_valid;
    out->bytes_count = value->bytes_count;
    memcpy(out->bytes, value->bytes, value->bytes_count);
}

static void claim_out(struct cf_op *op, grd_lock_id claim, uint8_t mode, bool is_held, bool is_demoted)
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
        value_out(op, done->value);
        return;
    }
    claim_out(op, done->lock, done->mode, done->is_held, done->is_demoted);
    if (done->is_held)
        value_out(op, grd_lock_local_value(locks->local, done->lock));
}

void eng_lock_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc, uint64_t now_ns)
{
    struct eng_op *inner = eng_op_of(op);

    if (inner->state == ENG_OP_LOCK) {
        waiting_remove(&instance->locks, op);
        cf_hist_add(&instance->locks.wait_hist, now_ns > inner->started_ns ? now_ns - inner->started_ns : 0);
    }
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

/* Enters the gate with room for what a step may want to send. */
static void enter_to_step(struct cf_instance *instance)
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
                                 .cookie = cookie_of_op(op),
                                 .cost = inner->cost,
                                 .mode = (uint8_t)op->lock->mode,
                                 .flags = (uint8_t)op->flags};
    enum cf_rc rc = grd_lock_local_want(locks->local, (struct grd_lock_resource *)(void *)op->lock->lock,
                                        &want, now_ns, locks->filling, &inner->claim);

    if (rc == CF_OK) {
        claim_out(op, inner->claim, (uint8_t)op->lock->mode, true, false);
        value_out(op, grd_lock_local_value(locks->local, inner->claim));
    }
    return rc;
}

/* A publishing call carries the number of a slot as its cookie. CF_AGAIN: all are taken. */
static enum cf_rc claim_begin(struct cf_instance *instance, struct cf_op *op)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    uint64_t cookie = cookie_of_op(op);
    enum cf_rc rc;

    inner->claim = op->lock->claim->private_;
    if (op->flags & CF_LOCK_PUBLISH) {
        inner->call = call_take(locks, op);
        if (inner->call == NO_CALL)
            return CF_AGAIN;
        cookie = cookie_of_call(inner->call);
    }
    rc = grd_lock_local_cookie_set(locks->local, inner->claim, cookie);
    if (rc != CF_OK && inner->call != NO_CALL)
        call_give(locks, inner->call);
    return rc;
}

static enum cf_rc convert(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;
    struct eng_op *inner = eng_op_of(op);
    struct grd_lock_value value;
    bool has_value = value_in(op->lock->value, &value);
    enum cf_rc rc = claim_begin(instance, op);

    if (rc != CF_OK)
        return rc;
    rc = grd_lock_local_convert(locks->local, inner->claim, (uint8_t)op->lock->mode, (uint8_t)op->flags,
                                has_value ? &value : NULL, now_ns, locks->filling);
    if (rc != CF_PENDING && inner->call != NO_CALL)
        call_give(locks, inner->call);
    if (rc == CF_OK) {
        claim_out(op, inner->claim, (uint8_t)op->lock->mode, true, false);
        value_out(op, grd_lock_local_value(locks->local, inner->claim));
    }
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
    if (rc != CF_PENDING && inner->call != NO_CALL)
        call_give(locks, inner->call);
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
    inner->call = call_take(locks, op);
    if (inner->call == NO_CALL)
        return CF_AGAIN;
    rc = op->kind == CF_OP_VALUE_SWAP
             ? grd_lock_local_swap(locks->local, resource, op->lock->expected, &value,
                                   cookie_of_call(inner->call), now_ns, locks->filling)
             : grd_lock_local_read(locks->local, resource, cookie_of_call(inner->call), now_ns,
                                   locks->filling);
    if (rc == CF_PENDING)
        return rc;
    call_give(locks, inner->call);
    value_out(op, grd_lock_resource_value(resource));
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

    eng_op_of(op)->call = NO_CALL;
    if (op->kind == CF_OP_VALUE_READ && grd_lock_resource_is_ours(locks->local, (void *)op->lock->lock) &&
        eng_lock_read_start(instance, op)) {
        waiting_add(locks, op);
        return;
    }
    enter_to_step(instance);
    rc = step(instance, op, now_ns);
    eng_gate_leave(locks);
    if (rc == CF_PENDING)
        waiting_add(locks, op);
    else
        eng_lock_complete_owner(instance, op, rc, now_ns);
    eng_lock_news_owner(instance, now_ns);
}

void eng_lock_read_by_message(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    enum cf_rc rc;

    eng_op_of(op)->call = NO_CALL;
    enter_to_step(instance);
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
        enter_to_step(instance);
        is_published = inner->call != NO_CALL &&
                       !grd_lock_local_unpublish(locks->local, inner->claim, now_ns, locks->filling);
        eng_gate_leave(locks);
        if (is_published) { /* its completion is on its way */
            eng_lock_news_owner(instance, now_ns);
            return;
        }
        if (inner->call != NO_CALL) { /* the value goes to the master later; the claim is its owner's again */
            call_give(locks, inner->call);
            inner->call = NO_CALL;
            if (op->kind == CF_OP_CONVERT)
                claim_out(op, inner->claim, (uint8_t)op->lock->mode, true, false);
            eng_lock_complete_owner(instance, op, rc, now_ns);
            return;
        }
    }
    if (inner->call != NO_CALL) { /* it goes on without its caller */
        if (inner->call >= ENG_LOCK_CALLS)
            eng_lock_read_leave(instance, inner->call);
        else
            locks->calls[inner->call] = NULL;
        eng_lock_complete_owner(instance, op, rc, now_ns);
        return;
    }
    enter_to_step(instance);
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

    enter_to_step(instance);
    claim = grd_lock_local_waiter(locks->local, wait);
    for (op = claim ? locks->waiting_first : NULL; op; op = eng_op_of(op)->next)
        if (eng_op_of(op)->claim == claim && eng_op_of(op)->call == NO_CALL)
            break;
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
    enter_to_step(instance);
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
        enter_to_step(instance);
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

    while ((op = instance->locks.waiting_first) != NULL)
        eng_lock_complete_owner(instance, op, rc, 0);
}

/* ------------------------------------------------------------------ masters, of blocks and locks alike */

void eng_master_step(struct cf_instance *instance, uint32_t shard, const struct grd_msg *msg, uint64_t hash,
                     uint64_t now_ns, struct grd_actions *actions)
{
    if (msg->type == GRD_MSG_MOVE_ORDER)
        grd_master_order(instance->masters[shard], msg, now_ns, actions);
    else if (!eng_lock_is_for_master(msg->type))
        grd_master_step(instance->masters[shard], msg, hash, now_ns, actions);
    else if (instance->locks.masters[shard])
        grd_lock_master_step(instance->locks.masters[shard], msg, hash, now_ns, actions);
}

bool eng_master_tick(struct cf_instance *instance, uint32_t shard, uint64_t now_ns,
                     struct grd_actions *actions)
{
    struct grd_lock_master *locks = instance->locks.masters[shard];

    if (grd_master_next_ns(instance->masters[shard]) <= now_ns &&
        grd_master_tick(instance->masters[shard], now_ns, actions))
        return true;
    return locks && grd_lock_master_next_ns(locks) <= now_ns && grd_lock_master_tick(locks, now_ns, actions);
}

uint64_t eng_master_next_ns(const struct cf_instance *instance, uint32_t shard)
{
    uint64_t blocks = grd_master_next_ns(instance->masters[shard]), locks = UINT64_MAX;

    if (instance->locks.masters[shard])
        locks = grd_lock_master_next_ns(instance->locks.masters[shard]);
    return blocks < locks ? blocks : locks;
}
