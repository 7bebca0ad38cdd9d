/* SPDX-License-Identifier: Apache-2.0 */
/* The holder's side: where the bytes are that a reader asks for. */
#include "engine/pool.h"
#include "engine/snapshot.h"

/* The bytes may be named while they stand still, and their redo is durable (I-7). */
static bool look(struct cf_instance *instance, const struct grd_block *block, struct grd_msg *there)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, block->frame);
    uint64_t position, word;
    bool is_pinned;

    if (!eng_pool_hold_owner(instance->frames, block->frame, &is_pinned))
        return false;
    word = eng_frames_word(instance->frames, block->frame);
    there->word = word & ENG_WORD_STABLE;
    there->version = descriptor->version;
    position = descriptor->position;
    eng_pool_unhold_owner(instance->frames, block->frame, is_pinned);
    there->offset = (uint64_t)(descriptor->data - instance->space.base);
    there->frame = block->frame;
    return !(word & ENG_WORD_DIRTY) || eng_log_is_durable(instance, position);
}

void eng_snapshot_on_look(struct cf_instance *instance, const struct grd_msg *msg)
{
    const struct grd_block *block = grd_local_find(instance->local, &msg->key);
    struct grd_msg there = {.type = GRD_MSG_THERE, .key = msg->key, .request = msg->request};

    if (block != NULL && block->mode != CF_MODE_N && !block->closing && look(instance, block, &there))
        there.how = GRD_THERE_HERE;
    eng_send_owner(instance, msg->requester, &there);
}
