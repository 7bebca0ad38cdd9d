/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The calls of a client thread on blocks: hits on the frame word alone; everything else as an op that the owner of
 * progress serves, with the caller driving when nobody else does.
 */
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

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

static void op_prepare(struct cf_session *session, struct cf_op *op, bool is_sync)
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

static bool may_own(const struct cf_instance *instance)
{
    return instance->is_compact || !instance->has_poller;
}

/*
 * Lines of what a conversation begins with, which were used long ago: they come while the op is made. First those that anybody
 * may look up, so that they are under way while progress is taken; then those that progress owns.
 */
static uint64_t op_foresee(const struct cf_instance *instance, const struct cf_op *op)
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

static void op_foresee_owner(struct cf_instance *instance, const struct cf_op *op, uint64_t hash)
{
    struct cf_block_key key;

    if (op->kind != CF_OP_GET)
        return;
    eng_key_of(op->file, op->block, &key);
    eng_hash_note_owner(instance, &key, hash);
    grd_local_prefetch_free(instance->local);
    eng_frame_prefetch_free_owner(instance->frames, op->file->class_index);
    xp_warm(instance->xp);
}

/* With progress held: what the caller wants done, and what follows from it in this instance. */
static void submit_quiet_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    bool is_get = op->kind == CF_OP_GET;

    if (is_get)
        xp_warm(instance->xp);
    eng_op_submit_owner(instance, op, now_ns);
    if (is_get)
        xp_warm(instance->xp);
    eng_actions_run(instance, now_ns);
    eng_self_drain(instance, now_ns);
}

static void submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    bool is_get = op->kind == CF_OP_GET; /* afterwards it may be the caller's again */

    submit_quiet_owner(instance, op, now_ns);
    xp_flush(instance->xp);
    if (is_get)
        xp_warm(instance->xp);
}

static bool op_push_quiet(struct cf_instance *instance, struct cf_op *op)
{
    struct eng_inbox_record record = {ENG_IN_OP, op};

    return cf_mpsc_push(&instance->inbox, &record);
}

static bool op_push(struct cf_instance *instance, struct cf_op *op)
{
    if (!op_push_quiet(instance, op))
        return false;
    eng_kick(instance);
    return true;
}

/* Hands the op to the owner of progress; the caller becomes it if nobody is. */
static bool op_hand_over(struct cf_instance *instance, struct cf_op *op)
{
    if (!may_own(instance) || !eng_progress_try(instance))
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
    hash = may_own(instance) ? op_foresee(instance, op) : 0;
    /* The op's own deadline ends it; it must be over before its memory may go. */
    if (may_own(instance) && eng_progress_try(instance)) {
        op_foresee_owner(instance, op, hash);
        op_prepare(session, op, true);
        submit_owner(instance, op, inner->started_ns);
        if (!eng_wait_driving(instance, &wait, inner->started_ns))
            cf_unreachable();
        return op->rc;
    }
    op_prepare(session, op, true);
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
    struct cf_op op = {.kind = CF_OP_GET,
                       .flags = flags,
                       .file = file,
                       .block = block,
                       .mode = mode,
                       .deadline_ns = deadline_ns};
    enum cf_rc rc = eng_op_run(session, &op);

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

/* The version of a change: above every version this instance has seen, the block's own included. */
static void ref_change(struct cf_instance *instance, struct cf_ref *ref, uint64_t version, uint64_t position)
{
    struct eng_frame *descriptor = eng_frames_at(instance->frames, eng_ref_frame(ref));
    struct cf_file *file = ref->file;

    cf_assert_id(version > descriptor->version, "I-2");
    descriptor->version = version;
    if (position > descriptor->position)
        descriptor->position = position;
    if (file->format == CF_FORMAT_NATIVE) {
        struct eng_block_header *header = (void *)descriptor->data;

        header->version = version;
        header->position = descriptor->position;
    }
    if (file->format != CF_FORMAT_NATIVE && file->foreign.version_set)
        file->foreign.version_set(file->foreign.context, descriptor->data, file->block_bytes, version);
    ref->version = version;
    ref->private_ |= ENG_REF_DIRTY;
}

static uint64_t scn_next(struct cf_instance *instance)
{
    return atomic_fetch_add_explicit(&instance->scn, 1, memory_order_relaxed) + 1;
}

enum cf_rc cf_dirty(struct cf_session *session, struct cf_ref *ref, uint64_t position)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (ref->data == NULL || ref->mode != CF_MODE_X)
        return eng_fail(session, CF_INVALID, "only a block held in X can be changed");
    ref_change(instance, ref, scn_next(instance), position);
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

/* ------------------------------------------------------------------ several at once */

static int by_block(const void *a, const void *b)
{
    uint64_t x = **(const uint64_t *const *)a, y = **(const uint64_t *const *)b;

    return x < y ? -1 : x > y;
}

enum cf_rc cf_get_many(struct cf_session *session, struct cf_file *file, const uint64_t *blocks,
                       uint32_t count, enum cf_mode mode, uint64_t deadline_ns, struct cf_ref *refs_out)
{
    const uint64_t *order[CF_GET_MANY_MAX];
    enum cf_rc rc = CF_OK;
    uint32_t i;

    if (count > CF_GET_MANY_MAX)
        return eng_fail(session, CF_INVALID, "count is %u, at most %u", count, CF_GET_MANY_MAX);
    for (i = 0; i < count; i++)
        order[i] = &blocks[i];
    qsort(order, count, sizeof order[0], by_block);
    for (i = 1; i < count; i++)
        if (*order[i] == *order[i - 1])
            return eng_fail(session, CF_INVALID, "block %llu is named twice", (unsigned long long)*order[i]);
    if (mode == CF_MODE_S)
        for (i = 0; i < count; i++)
            (void)cf_prefetch(session, file, *order[i],
                              1); /* all conversations at once; the gets below collect */
    for (i = 0; i < count; i++) {
        rc = cf_get(session, file, *order[i], mode, 0, deadline_ns, &refs_out[order[i] - blocks]);
        if (rc != CF_OK)
            break;
    }
    if (rc == CF_OK)
        return CF_OK;
    while (i-- > 0)
        cf_put(session, &refs_out[order[i] - blocks]);
    return rc;
}

/* False: it is here already. */
static bool is_wanted(struct cf_session *session, struct cf_file *file, uint64_t block)
{
    struct cf_instance *instance = session->instance;
    struct cf_block_key key;
    uint32_t frame;

    eng_key_of(file, block, &key);
    if (eng_pool_pin_try(instance->frames, &key, CF_MODE_S, &frame) != ENG_PIN_OK)
        return true;
    if (eng_pool_unpin(instance->frames->words, frame, CF_MODE_S, false))
        eng_put_tell(instance);
    return false;
}

/* The session's next op of its own, ready to be submitted. NULL: as many as can be are under way. */
static struct cf_op *prefetch_op(struct cf_session *session, struct cf_file *file, uint64_t block)
{
    struct cf_op *op = &session->prefetch[session->prefetch_next % ENG_PREFETCH_OPS];
    struct eng_op *inner = eng_op_of(op);

    if (inner->session != NULL && cf_observe_u32(&inner->done) == 0)
        return NULL;
    memset(op, 0, sizeof *op);
    op->kind = CF_OP_GET;
    op->file = file;
    op->block = block;
    op->mode = CF_MODE_S;
    op->deadline_ns = CF_FOREVER;
    op_prepare(session, op, true);
    inner->is_internal = 1;
    return op;
}

/* All go out together: progress is taken and let go, the network told, or who drives woken, once for all of them. */
uint32_t cf_prefetch(struct cf_session *session, struct cf_file *file, uint64_t first, uint32_t count)
{
    struct cf_instance *instance = session->instance;
    struct cf_op *op, *last = NULL; /* submitted while what the next one begins with is on its way here */
    uint32_t i, started = 0;
    bool is_owner;

    if (eng_enter(instance) != CF_OK || cf_peek_u32(&file->is_stopped))
        return 0;
    is_owner = may_own(instance) && eng_progress_try(instance);
    for (i = 0; i < count && first + i < cf_peek_u64(&file->blocks); i++) {
        if (!is_wanted(session, file, first + i))
            continue;
        op = prefetch_op(session, file, first + i);
        if (op == NULL)
            break;
        if (is_owner) {
            op_foresee(instance, op);
            if (last != NULL)
                submit_quiet_owner(instance, last, eng_op_of(last)->started_ns);
            last = op;
        } else if (!op_push_quiet(instance, op)) {
            eng_op_of(op)->session = NULL;
            break;
        }
        session->prefetch_next++;
        started++;
    }
    if (is_owner) {
        if (last != NULL)
            submit_quiet_owner(instance, last, eng_op_of(last)->started_ns);
        xp_flush(instance->xp);
        eng_progress_leave(instance);
    } else if (started != 0) {
        eng_kick(instance);
    }
    return started;
}

enum cf_rc cf_flush(struct cf_session *session, struct cf_file *file, uint64_t deadline_ns)
{
    struct cf_op op = {.kind = CF_OP_FLUSH, .file = file, .deadline_ns = deadline_ns};
    enum cf_rc rc = eng_enter(session->instance);

    if (rc == CF_OK)
        rc = eng_op_run(session, &op);
    return rc == CF_OK ? CF_OK : eng_fail(session, rc, "flush: %s", cf_rc_text(rc));
}

/* ------------------------------------------------------------------ asynchronous form */

static void ready_push(struct cf_session *session, struct cf_op *op)
{
    eng_op_of(op)->next = NULL;
    if (session->ready_first == NULL)
        session->ready_first = op;
    else
        eng_op_of(session->ready_last)->next = op;
    session->ready_last = op;
}

enum cf_rc cf_submit(struct cf_session *session, struct cf_op *op)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);
    struct cf_block_key key;
    uint32_t frame;

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (session->under_way >= instance->options.outstanding)
        return eng_fail(session, CF_AGAIN, "%u ops are under way", session->under_way);
    if (op->kind == CF_OP_GET) {
        rc = eng_get_check(session, op->file, op->block, op->mode, op->flags, op->deadline_ns);
        if (rc != CF_OK)
            return rc;
    } else if (op->kind == CF_OP_UPGRADE) {
        if (op->ref.data == NULL || op->ref.mode != CF_MODE_S || op->ref.file->read_only)
            return eng_fail(session, CF_INVALID,
                            "only a block held in S, of a file attached for writing, can be upgraded");
        op->file = op->ref.file;
        op->block = op->ref.block;
    } else if (op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ) {
        rc = eng_lock_check(session, op);
        if (rc != CF_OK)
            return rc;
    } else if (op->kind == CF_OP_SNAPSHOT) {
        rc = eng_snapshot_check(session, op);
        if (rc != CF_OK)
            return rc;
        op->mode = CF_MODE_S;
    } else if (op->kind != CF_OP_FLUSH) {
        return eng_fail(session, CF_INVALID, "no such kind of op: %u", op->kind);
    }
    op_prepare(session, op, false);
    if (op->kind == CF_OP_GET) {
        eng_key_of(op->file, op->block, &key);
        if (eng_pool_pin_try(instance->frames, &key, op->mode, &frame) == ENG_PIN_OK) {
            eng_ref_fill(instance, op->file, op->block, frame, op->mode, &op->ref);
            op->rc = CF_OK;
            eng_op_of(op)->state = ENG_OP_DONE;
            eng_op_of(op)->hops = ENG_OP_WAS_HIT;
            cf_count_u64(&session->other_hits);
            ready_push(session, op);
            session->under_way++;
            return CF_OK;
        }
    }
    if (op->kind == CF_OP_SNAPSHOT && eng_snapshot_hit(session, op)) {
        op->rc = CF_OK;
        eng_op_of(op)->state = ENG_OP_DONE;
        ready_push(session, op);
        session->under_way++;
        return CF_OK;
    }
    session->under_way++;
    if (op->kind == CF_OP_UPGRADE)
        eng_pin_forget(session, &op->ref);
    if (!op_hand_over(instance, op)) {
        session->under_way--;
        if (op->kind == CF_OP_UPGRADE)
            eng_pin_note(session, &op->ref);
        return eng_fail(session, CF_AGAIN, "the inbox is full");
    }
    return CF_OK;
}

static void polled(struct cf_session *session, struct cf_op *op)
{
    session->under_way--;
    if (op->kind == CF_OP_GET && op->rc == CF_OK) {
        session->other_refs++;
        eng_pin_note(session, &op->ref);
        if (eng_op_of(op)->hops != ENG_OP_WAS_HIT)
            cf_count_u64(&session->slow_gets);
    } else if (op->kind == CF_OP_SNAPSHOT && op->rc == CF_OK) {
        cf_count_u64(&session->snapshots);
    } else if (op->kind == CF_OP_UPGRADE && op->rc == CF_OK) {
        eng_pin_note(session, &op->ref);
    } else if (op->kind == CF_OP_UPGRADE) {
        memset(&op->ref, 0, sizeof op->ref);
        session->other_refs--;
    }
    if (op->rc == CF_TIMEOUT)
        cf_count_u64(&session->timeouts);
    if (op->rc == CF_DEADLOCK)
        eng_lock_error(session, op);
    else if (op->rc != CF_OK && op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ)
        eng_lock_say(session, op, op->rc);
}

static uint32_t collect(struct cf_session *session, struct cf_op **done, uint32_t max)
{
    uint32_t count = 0;

    while (count < max && session->ready_first) {
        done[count] = session->ready_first;
        session->ready_first = eng_op_of(session->ready_first)->next;
        polled(session, done[count++]);
    }
    while (count < max && cf_spsc_pop(&session->done, &done[count]))
        polled(session, done[count++]);
    return count;
}

uint32_t cf_poll(struct cf_session *session, struct cf_op **done, uint32_t max)
{
    uint32_t count = collect(session, done, max);

    if (count || session->under_way == 0 || session->instance->is_manual || eng_is_forked(session->instance))
        return count;
    eng_kick(session->instance);
    return collect(session, done, max);
}

static bool something_is_done(void *arg)
{
    struct cf_session *session = arg;

    return session->ready_first != NULL || cf_spsc_count(&session->done) != 0;
}

uint32_t cf_wait(struct cf_session *session, struct cf_op **done, uint32_t max, uint64_t deadline_ns)
{
    struct eng_wait wait = {something_is_done, session, deadline_ns, &session->wake, &session->sleeping};

    if (session->under_way == 0 || session->instance->is_manual || eng_is_forked(session->instance))
        return collect(session, done, max);
    (void)eng_wait_for(session->instance, &wait);
    return collect(session, done, max);
}

static void cancel_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    uint32_t i;

    for (i = 0; i < ENG_INBOX_SLOTS / ENG_TURN_OPS_MAX && eng_inbox_take(instance, now_ns); i++)
        ; /* the op may still be in there */
    eng_op_cancel_owner(instance, arg);
}

enum cf_rc cf_cancel(struct cf_session *session, struct cf_op *op)
{
    enum cf_rc rc = eng_enter(session->instance);

    if (rc == CF_INVALID || rc == CF_FORKED)
        return rc;
    return eng_call_run(session->instance, cancel_run,
                        op); /* at once, so that *op cannot be polled and gone before */
}

/* ------------------------------------------------------------------ mini-transactions */

enum cf_rc cf_mtr_begin(struct cf_session *session, struct cf_mtr *mtr)
{
    enum cf_rc rc = eng_enter(session->instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    mtr->session = session;
    mtr->count = 0;
    mtr->open = 1;
    return CF_OK;
}

int cf_mtr_add(struct cf_mtr *mtr, struct cf_ref *ref)
{
    if (!mtr->open || mtr->count == CF_MTR_BLOCKS_MAX || ref->data == NULL || ref->mode != CF_MODE_X)
        return -1;
    mtr->refs[mtr->count] = *ref;
    memset(ref, 0, sizeof *ref);
    return (int)mtr->count++;
}

enum cf_rc cf_mtr_commit(struct cf_mtr *mtr, uint64_t position, cf_scn *version_out)
{
    struct cf_session *session = mtr->session;
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);
    uint64_t version;
    uint32_t i;

    if (!mtr->open)
        return eng_fail(session, CF_INVALID, "the mini-transaction is not open");
    mtr->open = 0;
    version = scn_next(instance);
    for (i = 0; i < mtr->count && rc == CF_OK; i++) /* all get their version before the first is let go */
        ref_change(instance, &mtr->refs[i], version, position);
    for (i = 0; i < mtr->count; i++)
        cf_put(session, &mtr->refs[i]);
    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (version_out)
        *version_out = version;
    return CF_OK;
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
