/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room: which copies go, and how. A victim of the sweep that is dirty is written first and offered again later; a
 * copy goes only if grd/ can do without it.
 */
#include "engine/pool.h"
#include "engine/storage.h"
#include "grd/mutant.h"

/* May this frame's block go? A dirty one is written first, and offered again later. */
static bool accept_victim(void *arg, uint32_t frame)
{
    struct cf_instance *instance = arg;
    struct grd_block *block = &instance->local->blocks[eng_frames_at(instance->frames, frame)->local];

    if (block->waiter_first || !eng_block_refresh(instance, block))
        return false;
    if (grd_local_can_write(block) && !grd_mutant(GRD_MUT_DROP_DIRTY)) {
        eng_write_start(instance, block);
        return false;
    }
    return grd_local_can_evict(instance->local, block);
}

/* Closes the frame of a copy that may go. */
static bool frame_goes(struct cf_instance *instance, struct grd_block *block)
{
    uint32_t frame = block->frame;

    if (!eng_frame_close_begin_owner(instance->frames, frame, CF_MODE_N)) {
        eng_frame_close_undo_owner(instance->frames, frame);
        return false;
    }
    eng_block_refresh(instance, block);
    if (!grd_local_can_evict(instance->local, block)) { /* changed between the look and the close */
        eng_frame_close_undo_owner(instance->frames, frame);
        return false;
    }
    eng_frame_close_end_owner(instance->frames, frame, CF_MODE_N);
    return true;
}

bool eng_block_evict(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    if (!frame_goes(instance, block))
        return false;
    grd_local_evict(instance->local, block, now_ns, instance->actions);
    return true;
}

bool eng_block_withdraw(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    if (!frame_goes(instance, block))
        return false;
    grd_local_withdraw(instance->local, block, now_ns, instance->actions);
    return true;
}

static bool evict_one(struct cf_instance *instance, uint32_t class_index, uint64_t now_ns)
{
    uint32_t frame = eng_frame_victim_owner(instance->frames, class_index, accept_victim, instance);

    if (frame == ENG_FRAME_NONE)
        return false;
    return eng_block_evict(instance, &instance->local->blocks[eng_frames_at(instance->frames, frame)->local],
                           now_ns);
}

uint32_t eng_frame_make_room(struct cf_instance *instance, uint32_t class_index, uint64_t now_ns)
{
    uint32_t frame = eng_frame_take_owner(instance->frames, class_index);

    if (frame != ENG_FRAME_NONE)
        return frame;
    /* Inside a step the frame comes free a little later: the caller starves until then. */
    if (evict_one(instance, class_index, now_ns))
        eng_actions_run(instance, now_ns);
    return eng_frame_take_owner(instance->frames, class_index);
}

/* Copies given up a tick, of each size of block. */
#define ENG_EVICT_TICK_MAX 32u

void eng_room_keep(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t c, i;

    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        uint32_t low = instance->lent_target[c];

        for (i = 0; i < ENG_EVICT_TICK_MAX && low && eng_frames_free_count(instance->frames, c) < low; i++)
            if (!evict_one(instance, c, now_ns))
                break;
        eng_actions_run(instance, now_ns);
        if (i && instance->callbacks.memory_pressure)
            instance->callbacks.memory_pressure(instance->callbacks.context,
                                                eng_frames_free_count(instance->frames, c),
                                                instance->frames->classes[c].count);
    }
}
