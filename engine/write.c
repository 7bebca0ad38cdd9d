/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Writes. A write takes a private copy of the image under a momentary pin, waits for the redo that describes it (I-7)
 * and for before_write, seals it and goes out; while it is in flight grd/ gives neither X nor the write duty away.
 * Complete means durable. Who has blocks written, and when: write_back.c and evict.c.
 */
#include "base/assert.h"
#include "engine/format.h"
#include "engine/pool.h"
#include "engine/storage.h"

bool eng_block_refresh(struct cf_instance *instance, struct grd_block *block)
{
    uint64_t version, position;

    if (block->mode == CF_MODE_N ||
        !eng_frame_copy_owner(instance->frames, block->frame, NULL, &version, &position))
        return false;
    grd_local_changed(block, version);
    return true;
}

static void write_submit(struct cf_instance *instance, struct eng_slot *slot)
{
    struct cf_file *file = eng_file_of_key(instance, &slot->key);
    struct eng_writer writer = {instance->node, instance->incarnation, instance->epoch};

    cf_assert(file != NULL);
    /* A change made elsewhere and not touched here since keeps the position that came with its header. */
    if (file->format == CF_FORMAT_NATIVE)
        eng_block_seal(slot->buffer, file->block_bytes, &slot->key, slot->version,
                       slot->position ? slot->position
                                      : ((const struct eng_block_header *)(void *)slot->buffer)->position,
                       &writer);
    else if (file->foreign.version_set)
        file->foreign.version_set(file->foreign.context, slot->buffer, file->block_bytes, slot->version);
    eng_slot_submit(instance, slot, file, ENG_IO_WRITE, slot->buffer);
    instance->counters.disk_writes++;
}

static void before_write_ended(struct cf_instance *instance, struct eng_slot *slot, enum cf_rc rc)
{
    atomic_store_explicit(&slot->ticket, 0, memory_order_relaxed);
    if (rc == CF_OK)
        write_submit(instance, slot);
    else
        eng_stop_owner(instance, CF_IO, 0, CF_NODE_NONE, "before_write refused file %u block %llu: %s",
                       slot->key.file, (unsigned long long)slot->key.block, cf_rc_name(rc));
}

/* Moves a write on: the log, then the callback, then the disk. */
static void write_advance(struct cf_instance *instance, struct eng_slot *slot)
{
    struct cf_file *file = eng_file_of_key(instance, &slot->key);
    const struct cf_callbacks *callbacks = &instance->callbacks;
    enum cf_rc rc;

    if (slot->stage == ENG_SLOT_LOG) {
        if (slot->position != 0 && callbacks->log_ensure &&
            slot->position > atomic_load_explicit(&instance->log_durable, memory_order_acquire) &&
            callbacks->log_ensure(callbacks->context, slot->position) != CF_OK)
            return;
        slot->stage = ENG_SLOT_CALLBACK;
        if (callbacks->before_write) {
            atomic_store_explicit(&slot->ticket, ++instance->ticket_next, memory_order_release);
            rc = callbacks->before_write(callbacks->context, &slot->key, slot->buffer + file->header_bytes,
                                         file->block_bytes - file->header_bytes, instance->ticket_next);
            if (rc == CF_PENDING)
                return;
            before_write_ended(instance, slot, rc);
            return;
        }
        write_submit(instance, slot);
    } else if (slot->stage == ENG_SLOT_CALLBACK &&
               (atomic_load_explicit(&slot->ticket, memory_order_acquire) & ENG_TICKET_ANSWERED)) {
        before_write_ended(instance, slot,
                           (enum cf_rc)atomic_load_explicit(&slot->answer, memory_order_relaxed));
    }
}

void eng_writes_advance(struct cf_instance *instance)
{
    uint32_t i;

    if (instance->callbacks.log_ensure == NULL && instance->callbacks.before_write == NULL)
        return;
    for (i = 0; i < instance->slots_count; i++)
        if (instance->slots[i].stage == ENG_SLOT_LOG || instance->slots[i].stage == ENG_SLOT_CALLBACK)
            write_advance(instance, &instance->slots[i]);
}

bool eng_write_start(struct cf_instance *instance, struct grd_block *block)
{
    struct cf_file *file = eng_file_of_key(instance, &block->key);
    struct eng_slot *slot;

    if (file == NULL || file->read_only || eng_state(instance) != CF_OK)
        return false;
    slot = eng_slot_take(instance);
    if (slot == NULL)
        return false;
    if (!eng_frame_copy_owner(instance->frames, block->frame, slot->buffer, &slot->version,
                              &slot->position)) {
        eng_slot_free(instance, slot);
        return false; /* a thread is changing it now */
    }
    grd_local_changed(block, slot->version);
    if (!grd_local_can_write(block)) {
        eng_slot_free(instance, slot);
        return false;
    }
    slot->key = block->key;
    slot->stage = ENG_SLOT_LOG;
    grd_local_write_begin(block, slot->version);
    write_advance(instance, slot);
    return true;
}

void eng_write_end(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
{
    struct grd_block *block = grd_local_find(instance->local, &slot->key);

    if (slot->io.rc != CF_OK) {
        eng_stop_owner(instance, slot->io.rc, slot->io.system, instance->node,
                       "file %u block %llu could not be written: %s", slot->key.file,
                       (unsigned long long)slot->key.block, cf_rc_text(slot->io.rc));
        return;
    }
    cf_trace_add(&instance->trace, CF_TRACE_DISK_WRITE, 0, slot->key.file, slot->key.block, slot->version);
    cf_assert_id(block != NULL && block->is_writing, "I-9");
    if (block->mode != CF_MODE_N && eng_frame_clean_owner(instance->frames, block->frame, slot->version))
        eng_frames_at(instance->frames, block->frame)->dirty_since_ns = 0;
    grd_local_write_done(instance->local, block, now_ns, instance->actions);
}
