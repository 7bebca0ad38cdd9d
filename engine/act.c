/* SPDX-License-Identifier: Apache-2.0 */
/* Carries out what the step functions want: closes, begins, frees; reads and writes are in storage.h, what leaves in send.c. */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/probe.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/storage.h"
#include "grd/mutant.h"

void eng_frame_give_back(struct cf_instance *instance, uint32_t frame)
{
    uint32_t class_index = eng_frames_at(instance->frames, frame)->class_index;

    if (CF_UNLIKELY(xp_frame_is_sending(instance->xp, frame))) {
        /* A device still reads it: an S copy may be evicted while a ship of it is under way. */
        cf_assert(instance->sending_count < eng_frames_count(instance->frames));
        instance->sending_list[instance->sending_count++] = frame;
        return;
    }
    /* One that was reserved and never opened is as it was taken: no peer has been told of it. */
    if (eng_frames_at(instance->frames, frame)->local == ENG_FRAME_NONE &&
        instance->lent[class_index] < instance->lent_target[class_index]) {
        instance->lent[class_index]++;
        xp_frame_post(instance->xp, class_index, frame);
        return;
    }
    /* Free bumps the generation, so that a peer which still copies out of it finds out; take makes it writable. */
    eng_frame_free_owner(instance->frames, frame);
    if (instance->lent[class_index] < instance->lent_target[class_index]) {
        uint32_t lent = eng_frame_take_owner(instance->frames, class_index);

        cf_assert(lent != ENG_FRAME_NONE);
        instance->lent[class_index]++;
        xp_frame_post(instance->xp, class_index, lent);
    }
}

void eng_frames_sent(struct cf_instance *instance)
{
    uint32_t i = 0;

    while (i < instance->sending_count) {
        uint32_t frame = instance->sending_list[i];

        if (xp_frame_is_sending(instance->xp, frame)) {
            i++;
            continue;
        }
        instance->sending_list[i] = instance->sending_list[--instance->sending_count];
        eng_frame_give_back(instance, frame);
    }
}

void eng_attention_add(struct cf_instance *instance, struct grd_block *block)
{
    uint32_t number = (uint32_t)(block - instance->local->blocks);

    if (instance->is_attended[number])
        return;
    cf_assert(instance->attention_count < instance->local->blocks_count);
    instance->is_attended[number] = true;
    instance->attention_list[instance->attention_count++] = number;
}

static void do_close(struct cf_instance *instance, struct grd_block *block, enum cf_mode to, uint64_t now_ns)
{
    if (to == CF_MODE_N && instance->callbacks.before_invalidate)
        instance->callbacks.before_invalidate(instance->callbacks.context, &block->key);
    if (!eng_frame_close_begin_owner(instance->frames, block->frame, to) &&
        !grd_mutant(GRD_MUT_PIN_WHILE_CLOSING)) {
        eng_attention_add(instance, block);
        return;
    }
    eng_block_refresh(instance, block);
    eng_frame_close_end_owner(instance->frames, block->frame, to);
    grd_local_closed(instance->local, block, now_ns, instance->actions);
    eng_block_serve(instance, block, now_ns);
    grd_local_settle(instance->local, block);
}

/* One look at each block of the list; those that need no more looking leave it. */
void eng_attention_walk(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i, kept = 0, count = instance->attention_count;

    for (i = 0; i < count; i++) {
        uint32_t number = instance->attention_list[i];
        struct grd_block *block = &instance->local->blocks[number];
        bool is_waiting = false;

        if (!block->in_use) {
            instance->is_attended[number] = false;
            continue;
        }
        if (block->closing && !block->is_closed) {
            enum cf_mode to = (enum cf_mode)(block->closing - 1);

            if (eng_frame_close_ready_owner(instance->frames, block->frame, to)) {
                eng_block_refresh(instance, block);
                eng_frame_close_end_owner(instance->frames, block->frame, to);
                grd_local_closed(instance->local, block, now_ns, instance->actions);
                eng_block_serve(instance, block, now_ns);
                eng_actions_run(instance, now_ns);
            } else {
                is_waiting = true;
            }
        } else if (block->waiter_first) {
            eng_block_serve(instance, block, now_ns);
            eng_actions_run(instance, now_ns);
        }
        if (block->in_use &&
            ((block->closing && !block->is_closed) || (block->waiter_first && block->mode != CF_MODE_N)))
            is_waiting = true;
        if (is_waiting) {
            instance->attention_list[kept++] = number;
            continue;
        }
        instance->is_attended[number] = false;
        if (block->in_use) /* an action may have settled it */
            grd_local_settle(instance->local, block);
    }
    /* Steps above may have added blocks behind `count`. */
    for (; i < instance->attention_count; i++)
        instance->attention_list[kept++] = instance->attention_list[i];
    instance->attention_count = kept;
}

/* How the block came, in the number that the probe `install` tells; 2 and 3 are hops. */
static inline uint8_t way_of(const struct grd_msg *msg)
{
    return msg->how == GRD_HOW_DISK      ? 0
           : msg->how == GRD_HOW_UPGRADE ? 1
           : msg->how == GRD_HOW_SHIP    ? msg->hops
                                         : 4;
}

/* The mode begins: the frame becomes visible, and who waited is served before anybody else can take it away. */
static void do_begin(struct cf_instance *instance, const struct grd_action *action, uint64_t now_ns)
{
    struct grd_block *block = action->block;
    struct eng_frame *descriptor = eng_frames_at(instance->frames, block->frame);
    struct cf_hist *hist = NULL;
    uint64_t took_ns = 0;

    if (action->msg.how == GRD_HOW_UPGRADE) {
        eng_frame_raise_owner(instance->frames, block->frame);
        instance->counters.upgrades++;
        hist = &instance->hists[3];
    } else {
        descriptor->local = (uint32_t)(block - instance->local->blocks);
        descriptor->version = block->version;
        descriptor->position = 0;
        descriptor->dirty_since_ns = 0;
        if (instance->callbacks.arrived)
            instance->callbacks.arrived(instance->callbacks.context, &block->key, descriptor->data,
                                        descriptor->bytes);
        eng_frame_open_owner(instance->frames, block->frame, &block->key, (enum cf_mode)action->mode,
                             block->has_duty && block->version > block->durable);
        if (action->msg.how == GRD_HOW_SHIP) {
            instance->counters.hops2 += action->msg.hops == 2;
            instance->counters.hops3 += action->msg.hops == 3;
            hist = &instance->hists[action->msg.hops == 2 ? 0 : 1];
        } else if (action->msg.how == GRD_HOW_DISK) {
            hist = &instance->hists[2];
        } else {
            instance->counters.news++;
        }
    }
    if (hist) { /* a turn's time may be some turns old, which is half of what a remote block takes */
        took_ns = (instance->is_manual ? now_ns : cf_now_ns()) - action->msg.request;
        cf_hist_add(hist, took_ns);
    }
    CF_PROBE6(install, instance->node, block->key.file, block->key.block, action->mode, way_of(&action->msg),
              took_ns);
    eng_block_serve(instance, block, now_ns);
}

/* Somebody who holds too many past images wants the block on storage. */
static void do_write_asked(struct cf_instance *instance, struct grd_block *block)
{
    if (block->is_writing || !eng_block_refresh(instance, block))
        return; /* it will be written, or is being changed: the asker asks again */
    if (grd_local_can_write(block))
        eng_write_start(instance, block);
    else
        grd_local_say_written(instance->local, block, instance->actions);
}

/*
 * Steps append to one list; whoever called them runs it. Carrying an action out may append more, so that the list
 * grows behind the loop; a call from inside the loop leaves the work to it.
 */
void eng_actions_run(struct cf_instance *instance, uint64_t now_ns)
{
    struct grd_actions *actions = instance->actions;
    uint32_t i;

    if (instance->is_acting || actions->count == 0)
        return;
    instance->is_acting = true;
    for (i = 0; i < actions->count; i++) {
        struct grd_action *action = &actions->item[i];

        switch ((enum grd_action_type)action->type) {
        case GRD_ACT_SEND:
            eng_send_owner(instance, action->to, &action->msg);
            break;
        case GRD_ACT_SHIP:
            eng_ship_owner(instance, action);
            break;
        case GRD_ACT_READ:
            eng_read_start(instance, action->block, now_ns);
            break;
        case GRD_ACT_FORMAT:
            eng_format_start(instance, action->block, now_ns);
            break;
        case GRD_ACT_CLOSE:
            do_close(instance, action->block, (enum cf_mode)action->mode, now_ns);
            break;
        case GRD_ACT_BEGIN:
            do_begin(instance, action, now_ns);
            break;
        case GRD_ACT_FAILED:
            eng_block_fail(instance, action->block, (enum cf_rc)(int32_t)action->frame);
            grd_local_settle(instance->local, action->block);
            break;
        case GRD_ACT_FREE:
            eng_frame_give_back(instance, action->frame);
            break;
        case GRD_ACT_WRITE:
            do_write_asked(instance, action->block);
            break;
        }
    }
    actions->count = 0;
    instance->is_acting = false;
}
