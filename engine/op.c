/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Callers. An op waits in the queue of its block, first come first served; the queue's head opens the conversation
 * that the block needs, so that an instance never has more than one open for a block. What the head gets, it gets
 * as a pin on its behalf, before any demand of a peer is served: each grant serves at least one caller.
 *
 *   submit -> block queue -> (pin) -> complete
 *               |   ^  conversation begins, frame unpinned, frame closed
 *               v   |
 *             starved: no frame, no conversation, no record: tried again each turn
 */
#include "base/assert.h"
#include "engine/pool.h"
#include "engine/queue.h"
#include "engine/snapshot.h"

void eng_op_complete_owner(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc)
{
    struct eng_op *inner = eng_op_of(op);
    struct cf_session *session = inner->session;

    cf_wheel_disarm(&instance->op_wheel, &inner->timer);
    inner->state = ENG_OP_DONE;
    op->rc = rc;
    if (inner->is_internal) { /* a prefetch: nobody waits, and what it pinned is let go */
        if (rc == CF_OK && eng_frame_unpin(instance->frames, eng_ref_frame(&op->ref), CF_MODE_S, false))
            atomic_store_explicit(&instance->attention, 1, memory_order_release);
        cf_publish_u32(&inner->done, 1); /* partner: cf_prefetch takes it again */
        return;
    }
    if (inner->is_sync) {
        cf_publish_u32(&inner->done, 1); /* partner: eng_op_run; *op is the caller's from here on */
    } else {
        bool is_room = cf_spsc_push(&session->done, &op);

        cf_assert(is_room); /* a session has at most `outstanding` ops under way */
    }
    /* Rises before `sleeping` is read; the sleeper sets `sleeping` before it reads `wake` (client.c). */
    atomic_fetch_add_explicit(&session->wake, 1, memory_order_seq_cst);
    if (atomic_load_explicit(&session->sleeping, memory_order_seq_cst))
        eng_futex_wake(&session->wake);
}

void eng_op_starve(struct cf_instance *instance, struct cf_op *op)
{
    eng_op_of(op)->next = NULL;
    eng_op_of(op)->state = ENG_OP_FRAME;
    if (instance->starved.first == NULL)
        instance->starved.first = op;
    else
        eng_op_of(instance->starved.last)->next = op;
    instance->starved.last = op;
}

/*
 * The caller's S pin is let go at once: two that upgrade would wait for each other, and a close for both. The version
 * it saw tells in the end whether anything happened. It goes ahead of those who wait to get the block.
 */
static void submit_upgrade(struct cf_instance *instance, struct grd_block *block, struct cf_op *op,
                           uint64_t now_ns)
{
    if (op->ref.data != NULL && eng_frame_unpin(instance->frames, eng_ref_frame(&op->ref), CF_MODE_S, false))
        atomic_store_explicit(&instance->attention, 1, memory_order_release);
    op->ref.data = NULL;
    block->users++;
    eng_op_of(op)->state = ENG_OP_BLOCK;
    eng_op_of(op)->next = block->waiter_first;
    if (block->waiter_first == NULL)
        block->waiter_last = op;
    block->waiter_first = op;
    eng_block_serve(instance, block, now_ns);
    grd_local_settle(instance->local, block);
}

/*
 * The caller has looked already; a truncate may have come in between. An upgrade that starved is asked too: it holds
 * no pin any more that would have kept the file from being given up.
 */
static enum cf_rc file_refuses(const struct cf_file *file, uint64_t block)
{
    if (atomic_load_explicit(&file->is_stopped, memory_order_acquire))
        return CF_STALE;
    return block < cf_peek_u64(&file->blocks) ? CF_OK : CF_RANGE;
}

/* The instance has stopped. */
static void submit_refuse(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc)
{
    if (op->kind == CF_OP_UPGRADE && op->ref.data != NULL)
        (void)eng_frame_unpin(instance->frames, eng_ref_frame(&op->ref), CF_MODE_S, false);
    eng_op_complete_owner(instance, op, rc);
}

static void submit_flush(struct cf_instance *instance, struct cf_op *op)
{
    eng_op_of(op)->state = ENG_OP_FLUSH;
    op->ref.version = atomic_load_explicit(&instance->scn, memory_order_relaxed);
    op->block = 0; /* time of the next look */
    eng_op_of(op)->next = instance->flush_first;
    instance->flush_first = op;
}

/* Into the block's queue. */
static void submit_block(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct cf_block_key key;
    struct grd_block *block;

    eng_op_of(op)->claim = ENG_WAIT_BLOCK | ++instance->block_wait_last;
    eng_key_of(op->file, op->block, &key);
    block = grd_local_find(instance->local, &key);
    if (block == NULL && (op->flags & CF_GET_TRY)) { /* it is not here, and it does not wait for a record */
        eng_op_complete_owner(instance, op, CF_BUSY);
        return;
    }
    if (block == NULL)
        block = grd_local_make(instance->local, &key, eng_hash_owner(instance, &key));
    if (block == NULL) {
        eng_op_starve(instance, op);
        return;
    }
    if (op->kind == CF_OP_UPGRADE) {
        submit_upgrade(instance, block, op, now_ns);
        return;
    }
    if ((op->flags & CF_GET_TRY) &&
        block->waiter_first != NULL) { /* these come first, and it does not wait */
        eng_op_complete_owner(instance, op, CF_BUSY);
        return;
    }
    eng_queue_push(block, op);
    if (block->waiter_first == op)
        eng_block_serve(instance, block, now_ns);
    grd_local_settle(instance->local, block);
}

void eng_op_submit_owner(struct cf_instance *instance, struct cf_op *op, uint64_t now_ns)
{
    struct eng_op *inner = eng_op_of(op);
    enum cf_rc rc = eng_state(instance);

    if (rc != CF_OK) {
        submit_refuse(instance, op, rc);
        return;
    }
    if (op->deadline_ns != CF_FOREVER && !cf_timer_armed(&inner->timer))
        cf_wheel_arm(&instance->op_wheel, &inner->timer, op->deadline_ns);
    if (op->kind >= CF_OP_LOCK && op->kind <= CF_OP_VALUE_READ) {
        eng_lock_submit_owner(instance, op, now_ns);
        return;
    }
    if (op->kind == CF_OP_FLUSH) {
        submit_flush(instance, op);
        return;
    }
    if (op->block != ENG_SUPER_BLOCK && (op->kind != CF_OP_UPGRADE || op->ref.data == NULL)) {
        rc = file_refuses(op->file, op->block);
        if (rc != CF_OK) {
            eng_op_complete_owner(instance, op, rc);
            return;
        }
    }
    if (op->kind == CF_OP_SNAPSHOT && eng_snapshot_start(instance, op, now_ns))
        return;
    submit_block(instance, op, now_ns);
}

/* Takes a waiting op out of whatever it waits in. False: it does not wait (it is done). */
static bool op_withdraw(struct cf_instance *instance, struct cf_op *op)
{
    struct cf_block_key key;
    struct grd_block *block;
    struct cf_op **link;

    switch ((enum eng_op_state)eng_op_of(op)->state) {
    case ENG_OP_BLOCK:
        eng_key_of(op->file, op->block, &key);
        block = grd_local_find(instance->local, &key);
        cf_assert(block != NULL);
        eng_queue_remove(block, op);
        if (block->waiter_first == NULL && block->mode != CF_MODE_N && !block->closing)
            eng_frame_waiter_owner(instance->frames, block->frame, false);
        else
            atomic_store_explicit(&instance->attention, 1,
                                  memory_order_relaxed); /* the next in line may be served */
        grd_local_settle(instance->local, block);
        return true;
    case ENG_OP_FRAME:
        eng_op_unlink(&instance->starved, op);
        return true;
    case ENG_OP_FLUSH:
        for (link = &instance->flush_first; *link != op; link = &eng_op_of(*link)->next)
            ;
        *link = eng_op_of(op)->next;
        return true;
    case ENG_OP_SNAPSHOT:
        eng_snapshot_withdraw(instance, op);
        return true;
    case ENG_OP_LOCK: /* op_end_early ends these */
    case ENG_OP_IDLE:
    case ENG_OP_QUEUED:
    case ENG_OP_DONE:
        return false;
    }
    return false;
}

static void op_end_early(struct cf_instance *instance, struct cf_op *op, enum cf_rc rc)
{
    if (eng_op_of(op)->state == ENG_OP_LOCK) {
        eng_lock_end_owner(instance, op, rc, instance->trace.now_ns);
        return;
    }
    if (!op_withdraw(instance, op))
        return;
    if (rc == CF_TIMEOUT)
        instance->counters.timeouts++;
    eng_op_complete_owner(instance, op, rc);
}

void eng_op_cancel_owner(struct cf_instance *instance, struct cf_op *op)
{
    op_end_early(instance, op, CF_CANCELLED);
}

bool eng_op_victim_owner(struct cf_instance *instance, uint64_t wait, const char *cycle)
{
    struct cf_op *op = eng_block_waiter(instance, wait);

    if (op == NULL)
        return false;
    eng_gate_enter(&instance->locks);
    eng_lock_cycle_keep(&instance->locks, op, cycle);
    eng_gate_leave(&instance->locks);
    instance->locks.deadlocks++;
    op_end_early(instance, op, CF_DEADLOCK);
    return true;
}

void eng_ops_expire(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i;

    for (i = 0; i < ENG_TURN_TIMERS_MAX; i++) {
        struct cf_timer *timer = cf_wheel_expire(&instance->op_wheel, now_ns);
        struct eng_op *inner;

        if (timer == NULL)
            return;
        inner = cf_container_of(timer, struct eng_op, timer);
        op_end_early(instance, (struct cf_op *)(void *)((uint8_t *)inner - offsetof(struct cf_op, private_)),
                     CF_TIMEOUT);
    }
}

/* Those who starved, oldest first, until one starves again. True: at least one did not. */
bool eng_ops_starved(struct cf_instance *instance, uint64_t now_ns)
{
    struct cf_op *op = instance->starved.first, *last = instance->starved.last, *next;
    bool did = false;

    for (; op != NULL; op = next) {
        next = op == last ? NULL : eng_op_of(op)->next;
        eng_op_unlink(&instance->starved, op);
        eng_op_submit_owner(instance, op, now_ns);
        eng_actions_run(instance, now_ns);
        if (instance->starved.last == op)
            break;
        did = true;
    }
    return did;
}

/* The instance has stopped: everybody who waits is told. */
void eng_ops_fail_all(struct cf_instance *instance, enum cf_rc rc)
{
    uint32_t i;

    for (i = 0; i < instance->local->blocks_count; i++) {
        struct grd_block *block = &instance->local->blocks[i];

        if (block->in_use)
            eng_block_fail(instance, block, rc);
    }
    eng_snapshots_fail_all(instance, rc);
    while (instance->starved.first)
        op_end_early(instance, instance->starved.first, rc);
    while (instance->flush_first)
        op_end_early(instance, instance->flush_first, rc);
    eng_lock_fail_all(instance, rc);
}
