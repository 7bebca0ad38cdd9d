/* SPDX-License-Identifier: Apache-2.0 */
/* Calls on blocks that do not wait for each: several at once, prefetch, flush, and ops that are submitted and polled. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "engine/client.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

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
    eng_op_prepare(session, op, true);
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
    is_owner = eng_may_own(instance) && eng_progress_try(instance);
    for (i = 0; i < count && first + i < cf_peek_u64(&file->blocks); i++) {
        if (!is_wanted(session, file, first + i))
            continue;
        op = prefetch_op(session, file, first + i);
        if (op == NULL)
            break;
        if (is_owner) {
            eng_op_foresee(instance, op);
            if (last != NULL)
                eng_submit_quiet_owner(instance, last, eng_op_of(last)->started_ns);
            last = op;
        } else if (!eng_op_push_quiet(instance, op)) {
            eng_op_of(op)->session = NULL;
            break;
        }
        session->prefetch_next++;
        started++;
    }
    if (is_owner) {
        if (last != NULL)
            eng_submit_quiet_owner(instance, last, eng_op_of(last)->started_ns);
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

/* Is the call in order, as far as can be told without progress? What the op leaves out is filled in. */
static enum cf_rc submit_check(struct cf_session *session, struct cf_op *op)
{
    enum cf_rc rc = CF_OK;

    if (op->kind == CF_OP_GET) {
        rc = eng_get_check(session, op->file, op->block, op->mode, op->flags, op->deadline_ns);
    } else if (op->kind == CF_OP_UPGRADE) {
        if (op->ref.data == NULL || op->ref.mode != CF_MODE_S || op->ref.file->read_only)
            return eng_fail(session, CF_INVALID,
                            "only a block held in S, of a file attached for writing, can be upgraded");
        op->file = op->ref.file;
        op->block = op->ref.block;
    } else if (op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ) {
        rc = eng_lock_check(session, op);
    } else if (op->kind == CF_OP_SNAPSHOT) {
        rc = eng_snapshot_check(session, op);
        if (rc == CF_OK)
            op->mode = CF_MODE_S;
    } else if (op->kind != CF_OP_FLUSH) {
        return eng_fail(session, CF_INVALID, "no such kind of op: %u", op->kind);
    }
    return rc;
}

/* Satisfied by the frame word alone? */
static bool submit_hit(struct cf_session *session, struct cf_op *op)
{
    struct cf_instance *instance = session->instance;
    struct cf_block_key key;
    uint32_t frame;

    if (op->kind != CF_OP_GET)
        return op->kind == CF_OP_SNAPSHOT && eng_snapshot_hit(session, op);
    eng_key_of(op->file, op->block, &key);
    if (eng_pool_pin_try(instance->frames, &key, op->mode, &frame) != ENG_PIN_OK)
        return false;
    eng_ref_fill(instance, op->file, op->block, frame, op->mode, &op->ref);
    eng_op_of(op)->hops = ENG_OP_WAS_HIT;
    cf_count_u64(&session->other_hits);
    return true;
}

enum cf_rc cf_submit(struct cf_session *session, struct cf_op *op)
{
    struct cf_instance *instance = session->instance;
    enum cf_rc rc = eng_enter(instance);

    if (rc != CF_OK)
        return eng_fail(session, rc, "%s", cf_rc_text(rc));
    if (session->under_way >= instance->options.outstanding)
        return eng_fail(session, CF_AGAIN, "%u ops are under way", session->under_way);
    rc = submit_check(session, op);
    if (rc != CF_OK)
        return rc;
    eng_op_prepare(session, op, false);
    session->under_way++;
    if (submit_hit(session, op)) {
        op->rc = CF_OK;
        eng_op_of(op)->state = ENG_OP_DONE;
        ready_push(session, op);
        return CF_OK;
    }
    if (op->kind == CF_OP_UPGRADE)
        eng_pin_forget(session, &op->ref);
    if (!eng_op_hand_over(instance, op)) {
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
