/* SPDX-License-Identifier: Apache-2.0 */
/* One moment of an instance for the status: bounded, and taken by the owner of progress inside one turn. */
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/status.h"

static void take_waiter(struct eng_status_shot *shot, const struct cf_block_key *key, struct cf_op *op)
{
    uint64_t began = eng_op_of(op)->started_ns;

    if (shot->waiters_count < ENG_STATUS_LIST_MAX)
        shot->waiters[shot->waiters_count++] = (struct eng_status_waiter){
            *key, (uint8_t)(op->kind == CF_OP_UPGRADE ? CF_MODE_X : op->mode),
            shot->now_ns > began ? shot->now_ns - began : 0};
    shot->waiters_total++;
}

static void take_block(struct cf_instance *instance, struct eng_status_shot *shot,
                       const struct grd_block *block)
{
    const struct grd_conv *conv = grd_local_conv(instance->local, block);
    struct cf_op *op;

    shot->modes[block->mode]++;
    if (conv) {
        if (shot->convs_count < ENG_STATUS_LIST_MAX)
            shot->convs[shot->convs_count++] = (struct eng_status_conv){
                block->key,
                conv->want,
                conv->is_granted,
                grd_local_master(instance->local, block),
                conv->need.count,
                conv->acks.count,
                shot->now_ns - conv->since_ns};
        shot->convs_total++;
    }
    for (op = block->waiter_first; op != NULL; op = eng_op_of(op)->next)
        take_waiter(shot, &block->key, op);
}

/* Those who wait for a frame or a conversation, and are in no block's queue. */
static void take_starved(struct cf_instance *instance, struct eng_status_shot *shot)
{
    struct cf_block_key key;
    struct cf_op *op;

    for (op = instance->starved.first; op != NULL; op = eng_op_of(op)->next) {
        eng_key_of(op->file, op->block, &key);
        take_waiter(shot, &key, op);
    }
}

void eng_status_shot_take(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct eng_status_shot *shot = arg;
    uint32_t i, c;

    shot->now_ns = now_ns;
    for (i = 0; i < instance->local->blocks_count; i++)
        if (instance->local->blocks[i].in_use)
            take_block(instance, shot, &instance->local->blocks[i]);
    take_starved(instance, shot);
    for (i = 0; i < instance->nodes; i++)
        shot->up[i] = i == instance->node || instance->peers[i].state == ENG_PEER_UP;
    for (c = 0; c < CF_BLOCK_SIZES; c++) {
        const struct eng_frame_class *class = &instance->frames->classes[c];

        shot->classes[c].bytes = class->bytes;
        shot->classes[c].total = class->count;
        shot->classes[c].free = class->free_count;
        for (i = 0; i < class->count; i++)
            shot->classes[c].dirty += (eng_frames_word(instance->frames, class->first + i) &
                                       ENG_WORD_DIRTY) != 0;
    }
    shot->past_images = instance->local->past_used;
    shot->kept = instance->local->kept_used;
    shot->releases = instance->local->releases_used;
    shot->demands = instance->local->demands_used;
}
