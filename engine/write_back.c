/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Who has blocks written before somebody needs their frames: a scan by age, a bounded number of frames a tick, and
 * callers that flush.
 */
#include "engine/pool.h"
#include "engine/storage.h"

bool eng_write_back_tick(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i, count = eng_frames_count(instance->frames);

    if (now_ns < instance->scan_next_ns)
        return false;
    instance->scan_next_ns = now_ns + ENG_SCAN_TICK_NS;
    eng_room_keep(instance, now_ns);
    for (i = 0; i < ENG_SCAN_FRAMES_MAX && i < count; i++) {
        uint32_t frame = instance->scan_hand++ % count;
        struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);

        if (instance->scan_hand % count == 0) { /* a whole sweep: were there any? */
            instance->dirty_seen = instance->dirty_met;
            instance->dirty_met = false;
        }
        if (!(eng_frames_word(instance->frames, frame) & ENG_WORD_DIRTY) ||
            (eng_frames_word(instance->frames, frame) & ENG_WORD_MODE) == CF_MODE_N)
            continue;
        instance->dirty_met = instance->dirty_seen = true;
        if (descriptor->dirty_since_ns == 0)
            descriptor->dirty_since_ns = now_ns;
        else if (now_ns - descriptor->dirty_since_ns >= instance->options.dirty_age)
            eng_write_start(instance, &instance->local->blocks[descriptor->local]);
    }
    eng_actions_run(instance, now_ns);
    return true;
}

void eng_past_ask(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct grd_msg msg = {.type = GRD_MSG_WRITE_ASK, .key = block->key, .version = block->past_version};

    if (block->past_asked_ns != 0 && now_ns - block->past_asked_ns < instance->options.resend)
        return;
    block->past_asked_ns = now_ns;
    eng_send_owner(instance, grd_local_master(instance->local, block), &msg);
}

/* True when nothing of the file that this instance changed up to `version` is newer than storage. */
static bool flush_pass(struct cf_instance *instance, const struct cf_op *op, uint64_t now_ns)
{
    struct grd_local *local = instance->local;
    bool is_clean = true;
    uint32_t i;

    for (i = 0; i < local->blocks_count; i++) {
        struct grd_block *block = &local->blocks[i];

        if (!block->in_use || (op->file && block->key.file != op->file->id))
            continue;
        if (block->past_version != 0 && block->past_version <= op->ref.version) {
            eng_past_ask(instance, block, now_ns);
            is_clean = false;
        }
        if (block->mode == CF_MODE_N || !block->has_duty)
            continue;
        if (block->durable >= op->ref.version)
            continue; /* changed again since, but everything up to the flush is durable */
        if (block->is_writing || !eng_block_refresh(instance, block)) {
            is_clean = false;
        } else if (block->version > block->durable) {
            eng_write_start(instance, block);
            is_clean = false;
        }
    }
    return is_clean;
}

/* op->ref.version carries the clock at submit, op->block the time of the next look. */
bool eng_flush_turn(struct cf_instance *instance, uint64_t now_ns)
{
    struct cf_op *op, *next;
    bool did = false;

    for (op = instance->flush_first; op != NULL; op = next) {
        next = eng_op_of(op)->next;
        if (op->block > now_ns)
            continue;
        did = true;
        op->block = now_ns + ENG_FLUSH_TICK_NS;
        if (flush_pass(instance, op, now_ns)) {
            struct cf_op **link = &instance->flush_first;

            while (*link != op)
                link = &eng_op_of(*link)->next;
            *link = next;
            eng_op_complete_owner(instance, op, CF_OK);
        }
        eng_actions_run(instance, now_ns);
    }
    return did;
}
