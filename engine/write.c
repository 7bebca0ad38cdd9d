/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Storage. A write takes a private copy of the image under a momentary pin, waits for the redo that describes it
 * (I-7) and for before_write, seals it and goes out; while it is in flight grd/ gives neither X nor the write duty
 * away. Complete means durable. A read goes straight into the frame of its conversation.
 *
 *   slot: FREE -> [LOG -> CALLBACK ->] DISK -> FREE
 */
#include <string.h>

#include "base/assert.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "grd/mutant.h"

static struct eng_slot *slot_take(struct cf_instance *instance)
{
    uint32_t number = instance->slot_free;

    if (number == GRD_FRAME_NONE)
        return NULL;
    instance->slot_free = instance->slots[number].next;
    instance->slots_used++;
    return &instance->slots[number];
}

static void slot_free(struct cf_instance *instance, struct eng_slot *slot)
{
    slot->stage = ENG_SLOT_FREE;
    atomic_store_explicit(&slot->ticket, 0, memory_order_relaxed);
    slot->next = instance->slot_free;
    instance->slot_free = (uint32_t)(slot - instance->slots);
    instance->slots_used--;
}

static uint64_t offset_of(const struct cf_file *file, const struct cf_block_key *key)
{
    if (file->format == CF_FORMAT_FOREIGN)
        return key->block * file->block_bytes;
    return key->block == ENG_SUPER_BLOCK ? 0 : (key->block + 1) * file->block_bytes;
}

bool eng_block_refresh(struct cf_instance *instance, struct grd_block *block)
{
    uint64_t version, position;

    if (block->mode == CF_MODE_N ||
        !eng_frame_copy_owner(instance->frames, block->frame, NULL, &version, &position))
        return false;
    grd_local_changed(block, version);
    return true;
}

/* ------------------------------------------------------------------ reads */

static void read_submit(struct cf_instance *instance, struct eng_slot *slot, struct grd_block *block,
                        uint64_t now_ns)
{
    struct grd_conv *conv = grd_local_conv(instance->local, block);
    struct cf_file *file = eng_file_of_key(instance, &block->key);

    cf_assert(file != NULL);
    slot->key = block->key;
    slot->frame = conv->frame;
    slot->stage = ENG_SLOT_DISK;
    slot->io.op = ENG_IO_READ;
    slot->io.kind = ENG_IO_BLOCK_READ;
    slot->io.bytes = file->block_bytes;
    slot->io.file = file->store_file;
    slot->io.offset = offset_of(file, &block->key);
    slot->io.buffer = eng_frames_data(instance->frames, conv->frame);
    slot->io.submitted_ns = now_ns;
    slot->io.owner = slot;
    if (instance->store->ops->submit(instance->store, &slot->io) != CF_OK)
        cf_unreachable(); /* there are as many slots as the store is deep */
    instance->counters.disk_reads++;
}

void eng_read_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct eng_slot *slot;

    if (eng_file_of_key(instance, &block->key) ==
        NULL) { /* detached meanwhile: nobody can want it any more */
        grd_local_read_failed(instance->local, block, CF_STALE, now_ns, instance->actions);
        return;
    }
    slot = instance->read_wait_head == instance->read_wait_tail ? slot_take(instance) : NULL;
    if (slot == NULL) {
        cf_assert(instance->read_wait_tail - instance->read_wait_head < instance->local->outstanding);
        instance->read_wait[instance->read_wait_tail++ % instance->local->outstanding] =
            (uint32_t)(block - instance->local->blocks);
        return;
    }
    read_submit(instance, slot, block, now_ns);
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

static void on_read(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
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

/* ------------------------------------------------------------------ writes */

static void write_submit(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
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
    slot->stage = ENG_SLOT_DISK;
    slot->io.op = ENG_IO_WRITE;
    slot->io.kind = ENG_IO_BLOCK_WRITE;
    slot->io.bytes = file->block_bytes;
    slot->io.file = file->store_file;
    slot->io.offset = offset_of(file, &slot->key);
    slot->io.buffer = slot->buffer;
    slot->io.submitted_ns = now_ns;
    slot->io.owner = slot;
    if (instance->store->ops->submit(instance->store, &slot->io) != CF_OK)
        cf_unreachable();
    instance->counters.disk_writes++;
}

static void before_write_ended(struct cf_instance *instance, struct eng_slot *slot, enum cf_rc rc,
                               uint64_t now_ns)
{
    atomic_store_explicit(&slot->ticket, 0, memory_order_relaxed);
    if (rc == CF_OK)
        write_submit(instance, slot, now_ns);
    else
        eng_stop_owner(instance, CF_IO, 0, CF_NODE_NONE, "before_write refused file %u block %llu: %s",
                       slot->key.file, (unsigned long long)slot->key.block, cf_rc_name(rc));
}

/* Moves a write on: the log, then the callback, then the disk. */
static void write_advance(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
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
            before_write_ended(instance, slot, rc, now_ns);
            return;
        }
        write_submit(instance, slot, now_ns);
    } else if (slot->stage == ENG_SLOT_CALLBACK &&
               (atomic_load_explicit(&slot->ticket, memory_order_acquire) & ENG_TICKET_ANSWERED)) {
        before_write_ended(instance, slot,
                           (enum cf_rc)atomic_load_explicit(&slot->answer, memory_order_relaxed), now_ns);
    }
}

bool eng_write_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns)
{
    struct cf_file *file = eng_file_of_key(instance, &block->key);
    struct eng_slot *slot;

    if (file == NULL || file->read_only || eng_state(instance) != CF_OK)
        return false;
    slot = slot_take(instance);
    if (slot == NULL)
        return false;
    if (!eng_frame_copy_owner(instance->frames, block->frame, slot->buffer, &slot->version,
                              &slot->position)) {
        slot_free(instance, slot);
        return false; /* a thread is changing it now */
    }
    grd_local_changed(block, slot->version);
    if (!grd_local_can_write(block)) {
        slot_free(instance, slot);
        return false;
    }
    slot->key = block->key;
    slot->frame = block->frame;
    slot->stage = ENG_SLOT_LOG;
    grd_local_write_begin(block, slot->version);
    write_advance(instance, slot, now_ns);
    return true;
}

static void on_write(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns)
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

/* ------------------------------------------------------------------ the turn */

static void reads_start(struct cf_instance *instance, uint64_t now_ns)
{
    while (instance->read_wait_head != instance->read_wait_tail) {
        struct eng_slot *slot = slot_take(instance);
        struct grd_block *block;

        if (slot == NULL)
            return;
        block = &instance->local
                     ->blocks[instance->read_wait[instance->read_wait_head++ % instance->local->outstanding]];
        read_submit(instance, slot, block, now_ns);
    }
}

/* Writes that wait for the log or a callback are looked at again each turn. */
static void writes_advance(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i;

    if (instance->callbacks.log_ensure == NULL && instance->callbacks.before_write == NULL)
        return;
    for (i = 0; i < instance->slots_count; i++)
        if (instance->slots[i].stage == ENG_SLOT_LOG || instance->slots[i].stage == ENG_SLOT_CALLBACK)
            write_advance(instance, &instance->slots[i], now_ns);
}

bool eng_store_turn(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_io *done[ENG_TURN_IO_MAX];
    uint32_t count, i;

    if (instance->slots_used == 0)
        return false;
    writes_advance(instance, now_ns);
    count = instance->store->ops->poll(instance->store, done, ENG_TURN_IO_MAX);
    for (i = 0; i < count; i++) {
        struct eng_slot *slot = done[i]->owner;
        struct cf_block_key key = slot->key;
        struct grd_block *block;

        if (slot->io.kind == ENG_IO_BLOCK_READ)
            on_read(instance, slot, now_ns);
        else
            on_write(instance, slot, now_ns);
        slot_free(instance, slot);
        eng_actions_run(instance, now_ns);
        block = grd_local_find(instance->local, &key);
        if (block)
            grd_local_settle(instance->local, block);
    }
    if (count)
        reads_start(instance, now_ns);
    return count != 0;
}

void eng_store_abandon(struct cf_instance *instance)
{
    struct eng_io *done[ENG_TURN_IO_MAX];
    uint32_t count, i;

    if (instance->slots_used == 0)
        return;
    count = instance->store->ops->poll(instance->store, done, ENG_TURN_IO_MAX);
    for (i = 0; i < count; i++)
        slot_free(instance, done[i]->owner);
}

/* ------------------------------------------------------------------ room */

struct room {
    struct cf_instance *instance;
    uint64_t now_ns;
};

/* May this frame's block go? A dirty one is written first, and offered again later. */
static bool accept_victim(void *arg, uint32_t frame)
{
    struct room *room = arg;
    struct cf_instance *instance = room->instance;
    struct grd_block *block = &instance->local->blocks[eng_frames_at(instance->frames, frame)->local];

    if (block->waiter_first || !eng_block_refresh(instance, block))
        return false;
    if (grd_local_can_write(block) && !grd_mutant(GRD_MUT_DROP_DIRTY)) {
        eng_write_start(instance, block, room->now_ns);
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
    struct room room = {instance, now_ns};
    uint32_t frame = eng_frame_victim_owner(instance->frames, class_index, accept_victim, &room);

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
    if (evict_one(instance, class_index, now_ns))
        eng_actions_run(
            instance,
            now_ns); /* inside a step the frame comes free a little later: the caller starves until then */
    return eng_frame_take_owner(instance->frames, class_index);
}

/* ------------------------------------------------------------------ write-back by age, room ahead of need */

#define ENG_EVICT_TICK_MAX 32u

static void keep_room(struct cf_instance *instance, uint64_t now_ns)
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

bool eng_write_back_tick(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i, count = eng_frames_count(instance->frames);

    if (now_ns < instance->scan_next_ns)
        return false;
    instance->scan_next_ns = now_ns + ENG_SCAN_TICK_NS;
    keep_room(instance, now_ns);
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
            eng_write_start(instance, &instance->local->blocks[descriptor->local], now_ns);
    }
    eng_actions_run(instance, now_ns);
    return true;
}

/* ------------------------------------------------------------------ flush */

/* Has the block of a past image written by whoever has the duty; not more often than other things are said again. */
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
            eng_write_start(instance, block, now_ns);
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
