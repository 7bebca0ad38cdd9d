/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a client thread on blocks: hits on the frame word alone; everything else as an op that the owner of
 * progress serves, with the caller driving when nobody else does.
 */
#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/client.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/storage.h"

void eng_error_set(struct cf_error *error, enum cf_rc rc, int system, uint16_t node, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return;
    error->rc = rc;
    error->system = system;
    error->node = node;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
}

enum cf_rc eng_fail(struct cf_session *session, enum cf_rc rc, const char *fmt, ...)
{
    struct cf_error *error = &session->error;
    va_list args;

    if (rc == eng_state(session->instance)) { /* it has stopped: say why it did */
        *error = session->instance->stop_error;
        return rc;
    }
    error->rc = rc;
    error->system = 0;
    error->node = CF_NODE_NONE;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return rc;
}

/* ------------------------------------------------------------------ ops */

void eng_op_prepare(struct cf_session *session, struct cf_op *op, bool is_sync)
{
    struct eng_op *inner = eng_op_of(op);
    bool is_lock = op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ;
    const struct cf_lock_args *lock = is_lock ? op->lock : NULL;

    memset(inner, 0, sizeof *inner);
    inner->session = session;
    inner->started_ns = session->instance->is_manual ? session->instance->trace.now_ns : cf_now_ns();
    inner->is_sync = is_sync;
    inner->state = ENG_OP_QUEUED;
    inner->owner = lock && lock->owner ? lock->owner : session->owner;
    inner->cost = lock && lock->owner ? lock->cost : session->cost;
    cf_timer_init(&inner->timer, 0);
}

uint64_t eng_op_foresee(const struct cf_instance *instance, const struct cf_op *op)
{
    struct cf_block_key key;
    uint64_t hash;

    if (op->kind != CF_OP_GET)
        return 0;
    eng_key_of(op->file, op->block, &key);
    grd_local_prefetch(instance->local, &key);
    hash = grd_map_hash(&instance->map, &key);
    if (instance->workers_count == 0)
        grd_entry_prefetch(instance->masters[grd_map_shard(&instance->map, hash)]->directory, hash);
    return hash;
}

/* The same of what progress owns; `hash` is what eng_op_foresee answered. */
static void op_foresee_owner(struct cf_instance *instance, const struct cf_op *op, uint64_t hash)
{
    struct cf_block_key key;

    if (op->kind != CF_OP_GET)
        return;
    eng_key_of(op->file, op->block, &key);
    eng_hash_note_owner(instance, &key, hash);
    grd_local_prefetch_free(instance->local);
    eng_frame_prefetch_free_owner(instance->frames, op->file->class_index);
}

void eng_submit_quiet_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    eng_op_submit_owner(instance, op, now_ns);
    eng_actions_run(instance, now_ns);
    eng_self_drain(instance, now_ns);
}

static void submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    eng_submit_quiet_owner(instance, op, now_ns);
    xp_flush(instance->xp);
}

bool eng_op_push_quiet(struct cf_instance *instance, struct cf_op *op)
{
    struct eng_inbox_record record = {ENG_IN_OP, op};

    return cf_mpsc_push(&instance->inbox, &record);
}

static bool op_push(struct cf_instance *instance, struct cf_op *op)
{
    if (!eng_op_push_quiet(instance, op))
        return false;
    eng_kick(instance);
    return true;
}

bool eng_op_hand_over(struct cf_instance *instance, struct cf_op *op)
{
    if (!eng_may_own(instance) || !eng_progress_try(instance))
        return op_push(instance, op);
    submit_owner(instance, op, eng_op_of(op)->started_ns);
    eng_progress_leave(instance);
    return true;
}

static bool op_is_done(void *arg)
{
    return cf_observe_u32(arg) != 0;
}

enum cf_rc eng_op_run(struct cf_session *session, struct cf_op *op)
{
    struct cf_instance *instance = session->instance;
    struct eng_op *inner = eng_op_of(op);
    struct eng_wait wait = {op_is_done, &inner->done, UINT64_MAX, &session->wake, &session->sleeping};
    uint64_t hash;

    if (instance->is_manual)
        return CF_UNSUPPORTED;
    hash = eng_may_own(instance) ? eng_op_foresee(instance, op) : 0;
    /* The op's own deadline ends it; it must be over before its memory may go. */
    if (eng_may_own(instance) && eng_progress_try(instance)) {
        op_foresee_owner(instance, op, hash);
        eng_op_prepare(session, op, true);
        submit_owner(instance, op, inner->started_ns);
        if (!eng_wait_driving(instance, &wait, inner->started_ns))
            cf_unreachable();
        return op->rc;
    }
    eng_op_prepare(session, op, true);
    while (!op_push(instance, op))
        eng_kick(instance);
    if (!eng_wait_for(instance, &wait))
        cf_unreachable();
    return op->rc;
}

static bool call_is_done(void *arg)
{
    return cf_observe_u32(&((struct eng_call *)arg)->done) != 0;
}

enum cf_rc eng_call_run(struct cf_instance *instance, void (*run)(struct cf_instance *, void *, uint64_t),
                        void *arg)
{
    struct eng_call call = {run, arg, 0};
    struct eng_inbox_record record = {ENG_IN_CALL, &call};
    _Atomic uint32_t sleeping = 0;
    struct eng_wait wait = {call_is_done, &call, UINT64_MAX, &call.done, &sleeping};

    if (eng_progress_try(instance)) {
        uint64_t now_ns = instance->is_manual ? instance->trace.now_ns : cf_now_ns();

        run(instance, arg, now_ns);
        eng_actions_run(instance, now_ns);
        eng_self_drain(instance, now_ns);
        xp_flush(instance->xp);
        eng_progress_leave(instance);
        return CF_OK;
    }
    while (!cf_mpsc_push(&instance->inbox, &record))
        eng_kick(instance);
    eng_kick(instance);
    if (!eng_wait_for(instance, &wait))
        cf_unreachable();
    return CF_OK;
}

/* ------------------------------------------------------------------ get and put */

enum cf_rc eng_get(struct cf_session *session, struct cf_file *file, uint64_t block, enum cf_mode mode,
                   uint32_t flags, uint64_t deadline_ns, struct cf_ref *ref_out)
{
    struct cf_op op; /* its inner part is cleared when it is prepared */
    enum cf_rc rc;

    op.kind = CF_OP_GET;
    op.flags = flags;
    op.file = file;
    op.block = block;
    op.mode = mode;
    op.rc = CF_OK;
    op.deadline_ns = deadline_ns;
    op.user = NULL;
    op.ref.data = NULL;
    op.lock = NULL;
    rc = eng_op_run(session, &op);
    if (rc != CF_OK) {
        (void)eng_fail(session, rc, "file %u block %llu: %s", file->id, (unsigned long long)block,
                       cf_rc_text(rc));
        if (rc == CF_DEADLOCK)
            eng_lock_error(session, &op);
        return rc;
    }
    *ref_out = op.ref;
    eng_pin_note(session, ref_out);
    session->other_refs++;
    return CF_OK;
}

enum cf_rc cf_upgrade(struct cf_session *session, struct cf_ref *ref, uint64_t deadline_ns)
{
    struct cf_instance *instance = session->instance;
    struct cf_op op = {.kind = CF_OP_UPGRADE, .deadline_ns = deadline_ns, .mode = CF_MODE_X};
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (ref->data == NULL || ref->mode != CF_MODE_S)
        return eng_fail(session, CF_INVALID, "only a block held in S can be upgraded");
    if (ref->file->read_only)
        return eng_fail(session, CF_READ_ONLY, "file %u is attached read-only", ref->file->id);
    eng_pin_forget(session, ref);
    if (eng_frame_exclude_try(instance->frames, eng_ref_frame(ref))) {
        ref->mode = CF_MODE_X;
        ref->private_ |= ENG_REF_X;
        eng_pin_note(session, ref);
        return CF_OK;
    }
    op.file = ref->file;
    op.block = ref->block;
    op.ref = *ref;
    rc = eng_op_run(session, &op);
    if (rc == CF_OK) {
        *ref = op.ref;
        eng_pin_note(session, ref);
        return CF_OK;
    }
    memset(ref, 0, sizeof *ref); /* put, whatever the reason */
    session->other_refs--;
    (void)eng_fail(session, rc, "upgrade of file %u block %llu: %s", op.file->id,
                   (unsigned long long)op.block, cf_rc_text(rc));
    if (rc == CF_DEADLOCK)
        eng_lock_error(session, &op);
    return rc;
}

/* ------------------------------------------------------------------ callbacks' answers */

/* Answers of callbacks never drive: they may come from inside one. Attention, for a poller that is about to sleep. */
static void answer_tell(struct cf_instance *instance)
{
    if (instance->is_manual)
        return;
    atomic_store_explicit(&instance->attention, 1, memory_order_release);
    cf_fence_full(); /* before the look at is_asleep; partner: eng_progress_leave */
    eng_poller_wake(instance);
}

void cf_log_durable(struct cf_instance *instance, uint64_t position)
{
    uint64_t now = atomic_load_explicit(&instance->log_durable, memory_order_relaxed);

    while (now < position &&
           !atomic_compare_exchange_weak_explicit(&instance->log_durable, &now, position,
                                                  memory_order_release, memory_order_relaxed))
        ;
    if (now < position)
        answer_tell(instance);
}

enum cf_rc cf_callback_done(struct cf_instance *instance, uint64_t ticket, enum cf_rc rc)
{
    uint32_t i;

    /* A slot's answer is a word of its own: set here by any thread, taken by the owner in its next turn. */
    for (i = 0; i < instance->slots_count; i++) {
        struct eng_slot *slot = &instance->slots[i];
        uint64_t waiting = ticket;

        if (ticket != 0 && atomic_load_explicit(&slot->ticket, memory_order_acquire) == ticket) {
            atomic_store_explicit(&slot->answer, (int32_t)rc, memory_order_relaxed);
            if (!atomic_compare_exchange_strong_explicit(&slot->ticket, &waiting,
                                                         ticket | ENG_TICKET_ANSWERED, memory_order_release,
                                                         memory_order_relaxed))
                return CF_NOT_FOUND;
            answer_tell(instance);
            return CF_OK;
        }
    }
    return CF_NOT_FOUND;
}
