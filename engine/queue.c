/* SPDX-License-Identifier: Apache-2.0 */
/* Who waits for a block gets it first come, first served; the head's need opens the conversation for all (E-11). */
#include <string.h>

#include "engine/pool.h"
#include "engine/queue.h"
#include "engine/snapshot.h"
#include "engine/storage.h"

void eng_ref_fill(struct cf_instance *instance, struct cf_file *file, uint64_t block, uint32_t frame,
                  enum cf_mode mode, struct cf_ref *ref)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);

    ref->data = descriptor->data + file->header_bytes;
    ref->bytes = file->block_bytes - file->header_bytes;
    ref->mode = mode;
    ref->version = descriptor->version;
    ref->file = file;
    ref->block = block;
    ref->private_ = frame | (mode == CF_MODE_X ? ENG_REF_X : 0);
}

static void give(struct cf_instance *instance, struct cf_op *op, uint32_t frame, enum cf_mode mode)
{
    eng_ref_fill(instance, op->file, op->block, frame, mode, &op->ref);
    eng_op_complete_owner(instance, op, CF_OK);
}

/* Opens the conversation that the head of the queue needs. False: nothing to open it with now; the head starves. */
static bool converse(struct cf_instance *instance, struct grd_block *block, struct cf_op *op, uint64_t now_ns)
{
    struct grd_local *local = instance->local;
    enum cf_mode wanted = op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode;
    uint32_t frame;

    if (block->conv != GRD_FRAME_NONE)
        return true;
    if (grd_local_room(local) == 0)
        return false;
    frame = eng_frame_make_room(instance, op->file->class_index, now_ns);
    if (frame == ENG_FRAME_NONE)
        return false;
    grd_local_want(local, block, wanted, (op->flags & CF_GET_NEW) ? GRD_FLAG_NEW : 0, frame, now_ns,
                   instance->actions);
    return true;
}

/*
 * An upgrade whose block is pinned in X: it has won if the version is the one the caller saw, since versions rise with
 * each change (I-2); then nothing happened in between, wherever the block has been.
 */
static void give_upgrade(struct cf_instance *instance, struct cf_op *op, uint32_t frame)
{
    if (eng_frames_at(instance->frames, frame)->version == op->ref.version) {
        give(instance, op, frame, CF_MODE_X);
        return;
    }
    if (eng_frame_unpin(instance->frames, frame, CF_MODE_X, false))
        atomic_store_explicit(&instance->attention, 1, memory_order_release);
    memset(&op->ref, 0, sizeof op->ref);
    eng_op_complete_owner(instance, op, CF_UPGRADE_LOST);
}

/* Tries to give the block to the head; false = not now (and `waiter` is set, so that the next unpin tells us). */
static bool serve_head(struct cf_instance *instance, struct grd_block *block, struct cf_op *op)
{
    enum cf_mode mode = op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode;
    uint32_t frame = block->frame;
    int tries;

    for (tries = 0; tries < 2; tries++) {
        if (eng_frame_pin_owner(instance->frames, frame, mode)) {
            eng_queue_remove(block, op);
            if (op->kind == CF_OP_UPGRADE)
                give_upgrade(instance, op, frame);
            else if (op->kind == CF_OP_SNAPSHOT)
                eng_snapshot_give(instance, op, frame);
            else
                give(instance, op, frame, mode);
            return true;
        }
        eng_frame_waiter_owner(instance->frames, frame,
                               true); /* first the bit, then the second try: none is missed */
    }
    return false;
}

void eng_block_serve(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct cf_op *op;

    while ((op = block->waiter_first) != NULL) {
        enum cf_mode wanted = op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode;

        if (block->closing)
            return; /* served when the close is complete */
        if (block->mode >= wanted && serve_head(instance, block, op))
            continue;
        if (op->flags & CF_GET_TRY) {
            eng_queue_remove(block, op);
            eng_op_complete_owner(instance, op, CF_BUSY);
            continue;
        }
        if (block->mode >= wanted) {
            eng_attention_add(instance, block);
            return;
        }
        if (converse(instance, block, op, now_ns))
            return;
        eng_queue_remove(block, op);
        eng_op_starve(instance, op);
    }
    /* The owner alone sets the bit, so a look tells whether it is to be cleared. */
    if (block->mode != CF_MODE_N && !block->closing &&
        (eng_frames_word(instance->frames, block->frame) & ENG_WORD_WAITER))
        eng_frame_waiter_owner(instance->frames, block->frame, false);
}

void eng_block_fail(struct cf_instance *instance, struct grd_block *block, enum cf_rc rc)
{
    struct cf_op *op;

    while ((op = block->waiter_first) != NULL) {
        eng_queue_remove(block, op);
        eng_op_complete_owner(instance, op, rc);
    }
}
