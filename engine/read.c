/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks come from storage, straight into the frame of their conversation, and are verified before anybody sees them
 * (E-17). New blocks are made here as well: they come from nowhere.
 */
#include <string.h>

#include "base/assert.h"
#include "engine/format.h"
#include "engine/pool.h"
#include "engine/storage.h"

static void read_begin(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct grd_conv *conv = grd_local_conv(instance->local, block);
    struct cf_file *file = eng_file_of_key(instance, &block->key);
    struct eng_slot *slot;

    if (file == NULL) { /* detached meanwhile: nobody can want it any more */
        grd_local_read_failed(instance->local, block, CF_STALE, now_ns, instance->actions);
        return;
    }
    slot = eng_slot_take(instance);
    cf_assert(slot != NULL);
    slot->key = block->key;
    eng_slot_submit(instance, slot, file, ENG_IO_READ, eng_frames_data(instance->frames, conv->frame));
    instance->counters.disk_reads++;
}

void eng_read_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    uint32_t room = instance->local->outstanding;

    if (instance->read_wait_count == 0 && instance->slot_free != GRD_FRAME_NONE) {
        read_begin(instance, block, now_ns);
        return;
    }
    cf_assert(instance->read_wait_count < room);
    instance->read_wait[(instance->read_wait_first + instance->read_wait_count++) % room] =
        (uint32_t)(block - instance->local->blocks);
}

void eng_reads_start(struct cf_instance *instance, uint64_t now_ns)
{
    while (instance->read_wait_count != 0 && instance->slot_free != GRD_FRAME_NONE) {
        uint32_t number = instance->read_wait[instance->read_wait_first];

        instance->read_wait_first = (instance->read_wait_first + 1) % instance->local->outstanding;
        instance->read_wait_count--;
        read_begin(instance, &instance->local->blocks[number], now_ns);
    }
}

/* A new block: zeroes under a header of its own. */
static void block_blank(struct cf_file *file, const struct cf_block_key *key, void *data)
{
    struct eng_block_header *header = data;

    if (file->format != CF_FORMAT_NATIVE)
        return;
    header->magic = ENG_BLOCK_MAGIC;
    header->format = ENG_FORMAT_VERSION;
    header->file = key->file;
    header->generation = key->generation;
    header->block = key->block;
    header->bytes = file->block_bytes;
}

void eng_format_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct grd_conv *conv = grd_local_conv(instance->local, block);
    struct cf_file *file = eng_file_of_key(instance, &block->key);
    void *data = eng_frames_data(instance->frames, conv->frame);
    uint64_t version;

    if (file == NULL) {
        grd_local_read_failed(instance->local, block, CF_STALE, now_ns, instance->actions);
        return;
    }
    memset(data, 0, file->block_bytes);
    block_blank(file, &block->key, data);
    /* Until the caller changes it, it goes under the version that the master knows: peers check the header by it. */
    version = conv->version;
    if (file->format == CF_FORMAT_NATIVE)
        ((struct eng_block_header *)data)->version = version;
    else if (file->foreign.version_set)
        file->foreign.version_set(file->foreign.context, data, file->block_bytes, version);
    grd_local_read_done(instance->local, block, version, now_ns, instance->actions);
}

/* What came from storage: CF_OK and its version, or why it cannot be used. */
static enum cf_rc block_check(struct cf_file *file, const struct eng_slot *slot, uint64_t *version_out)
{
    uint8_t *data = slot->io.buffer;
    enum cf_rc rc = CF_OK;

    if (slot->io.rc != CF_OK)
        return slot->io.rc;
    if (file->format == CF_FORMAT_NATIVE) {
        if (eng_block_verify(data, file->block_bytes, &slot->key, version_out) != ENG_DAMAGE_NONE)
            return CF_CORRUPT;
        if (*version_out == 0)
            block_blank(file, &slot->key, data);
        return CF_OK;
    }
    if (file->foreign.verify)
        rc = file->foreign.verify(file->foreign.context, data, file->block_bytes);
    *version_out = file->foreign.version_get
                       ? file->foreign.version_get(file->foreign.context, data, file->block_bytes)
                       : 0;
    return rc;
}

void eng_read_end(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
{
    struct grd_block *block = grd_local_find(instance->local, &slot->key);
    struct cf_file *file = eng_file_of_key(instance, &slot->key);
    struct grd_conv *conv;
    uint64_t version = 0;
    enum cf_rc rc;

    cf_assert(block != NULL && block->conv != GRD_FRAME_NONE);
    conv = grd_local_conv(instance->local, block);
    rc = file ? block_check(file, slot, &version) : CF_STALE;
    /* Storage that is older than what the master knows to have been written has lost a write. */
    if (rc == CF_OK && version < conv->version && !conv->is_cancelled && file->format == CF_FORMAT_NATIVE)
        rc = CF_CORRUPT;
    cf_trace_add(&instance->trace, CF_TRACE_DISK_READ, (uint16_t)rc, slot->key.file, slot->key.block,
                 version);
    if (rc != CF_OK) {
        instance->counters.checksum_failures += rc == CF_CORRUPT;
        cf_log_error(&instance->log, "engine", "file %u block %llu cannot be read: %s", slot->key.file,
                     (unsigned long long)slot->key.block, cf_rc_text(rc));
        grd_local_read_failed(instance->local, block, rc, now_ns, instance->actions);
    } else {
        eng_scn_raise(instance, version);
        grd_local_read_done(instance->local, block, version, now_ns, instance->actions);
    }
}
