/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Transfers between frames and storage: as many at once as the store is deep, each in a slot with a buffer of its own.
 * read.c and write.c say what goes in and what a completion means.
 *
 *   slot: FREE -> [LOG -> CALLBACK ->] DISK -> FREE
 */
#include "base/assert.h"
#include "engine/format.h"
#include "engine/storage.h"

struct eng_slot *eng_slot_take(struct cf_instance *instance)
{
    uint32_t number = instance->slot_free;

    if (number == GRD_FRAME_NONE)
        return NULL;
    instance->slot_free = instance->slots[number].next;
    instance->slots_used++;
    return &instance->slots[number];
}

void eng_slot_free(struct cf_instance *instance, struct eng_slot *slot)
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

void eng_slot_submit(struct cf_instance *instance, struct eng_slot *slot, const struct cf_file *file,
                     enum eng_io_op op, void *buffer)
{
    slot->stage = ENG_SLOT_DISK;
    slot->io.op = op;
    slot->io.bytes = file->block_bytes;
    slot->io.file = file->store_file;
    slot->io.offset = offset_of(file, &slot->key);
    slot->io.buffer = buffer;
    slot->io.owner = slot;
    if (instance->store->ops->submit(instance->store, &slot->io) != CF_OK)
        cf_unreachable(); /* there are as many slots as the store is deep */
}

bool eng_store_turn(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_io *done[ENG_TURN_IO_MAX];
    uint32_t count, i;

    if (instance->slots_used == 0)
        return false;
    eng_writes_advance(instance);
    count = instance->store->ops->poll(instance->store, done, ENG_TURN_IO_MAX);
    for (i = 0; i < count; i++) {
        struct eng_slot *slot = done[i]->owner;
        struct cf_block_key key = slot->key;
        struct grd_block *block;

        if (slot->io.op == ENG_IO_READ)
            eng_read_end(instance, slot, now_ns);
        else
            eng_write_end(instance, slot, now_ns);
        eng_slot_free(instance, slot);
        eng_actions_run(instance, now_ns);
        block = grd_local_find(instance->local, &key);
        if (block)
            grd_local_settle(instance->local, block);
    }
    if (count) {
        eng_reads_start(instance, now_ns);
        eng_actions_run(instance, now_ns);
    }
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
        eng_slot_free(instance, done[i]->owner);
}
