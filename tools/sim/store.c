/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/store.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/rng.h"
#include "engine/format.h"

/* Transfers of one instance under way; a submit beyond it answers CF_AGAIN. */
#define DEPTH 64u
/* Blocks of a file in front of the first data block and behind the last, whatever the engine puts there. */
#define SPARE_BLOCKS 2u

struct eng_store_file {
    struct sim_disk *disk;
};

struct transfer {
    struct eng_io *io; /* NULL = free */
    uint64_t effect_ns;
    uint64_t done_ns;
    bool has_effect;
};

struct way {
    struct eng_store store; /* first: the engine's handle */
    struct eng_store_file file;
    struct sim_disk *disk;
    struct transfer transfers[DEPTH];
    uint32_t count;
    uint16_t node;
    bool is_stopped;
};

struct slot {
    uint64_t block; /* as its header says, once written */
    uint64_t version;
    uint32_t writes; /* under way */
    uint16_t writer; /* of them */
    bool is_written;
};

struct sim_disk {
    struct sim_disk_options options;
    struct cf_rng rng;
    uint64_t now_ns;
    uint64_t effect_next_ns;
    uint64_t slots_count;
    struct slot *slots;
    uint8_t *bytes;
    uint64_t *slot_of; /* [blocks] 1 + slot, 0 = not written yet */
    struct way *ways;
    uint64_t reads, writes;
    char broken[240];
};

CF_PRINTF(2, 3) static void break_it(struct sim_disk *disk, const char *format, ...)
{
    va_list arguments;

    if (disk->broken[0] != 0)
        return;
    va_start(arguments, format);
    vsnprintf(disk->broken, sizeof(disk->broken), format, arguments);
    va_end(arguments);
}

static struct slot *slot_at(struct sim_disk *disk, const struct eng_io *io)
{
    uint64_t index = io->offset / disk->options.block_bytes;

    cf_assert(io->offset % disk->options.block_bytes == 0);
    cf_assert(io->bytes == disk->options.block_bytes);
    cf_assert(index < disk->slots_count);
    return &disk->slots[index];
}

static void take_effect_write(struct way *way, struct eng_io *io)
{
    struct sim_disk *disk = way->disk;
    struct slot *slot = slot_at(disk, io);
    const struct eng_block_header *header = io->buffer;
    struct cf_block_key key = {
        .file = disk->options.file_id, .generation = header->generation, .block = header->block};
    uint64_t version = 0;
    enum eng_damage damage = eng_block_verify(io->buffer, io->bytes, &key, &version);
    uint64_t index = (uint64_t)(slot - disk->slots);

    slot->writes--;
    if (damage != ENG_DAMAGE_NONE)
        break_it(disk, "image: node %u wrote a block that is not whole (%s) at offset %llu", way->node,
                 eng_damage_name(damage), (unsigned long long)io->offset);
    if (slot->is_written && slot->block != header->block)
        break_it(disk, "image: node %u wrote block %llu over block %llu", way->node,
                 (unsigned long long)header->block, (unsigned long long)slot->block);
    if (version < slot->version)
        break_it(disk, "I-8 block %llu: node %u wrote version %llu over version %llu",
                 (unsigned long long)header->block, way->node, (unsigned long long)version,
                 (unsigned long long)slot->version);
    if (header->node != way->node)
        break_it(disk, "I-8 block %llu: node %u wrote an image that names node %u as its writer",
                 (unsigned long long)header->block, way->node, header->node);
    slot->block = header->block;
    slot->version = version;
    slot->is_written = true;
    if (header->block < disk->options.blocks)
        disk->slot_of[header->block] = index + 1;
    memcpy(disk->bytes + io->offset, io->buffer, io->bytes);
    disk->writes++;
}

static void take_effect(struct way *way, struct transfer *transfer)
{
    struct eng_io *io = transfer->io;

    transfer->has_effect = true;
    io->rc = CF_OK;
    if (io->op == ENG_IO_WRITE) {
        take_effect_write(way, io);
    } else if (io->op == ENG_IO_READ) {
        memcpy(io->buffer,
               way->disk->bytes + (uint64_t)(slot_at(way->disk, io) - way->disk->slots) * io->bytes,
               io->bytes);
        way->disk->reads++;
    }
}

/* In time order over all instances: a read sees exactly the writes that took effect before it. */
void sim_disk_advance(struct sim_disk *disk, uint64_t now_ns)
{
    disk->now_ns = now_ns;
    while (disk->effect_next_ns <= now_ns) {
        struct transfer *first = NULL;
        struct way *way = NULL;
        uint64_t second_ns = UINT64_MAX;

        for (uint32_t n = 0; n < disk->options.nodes; n++) {
            for (uint32_t i = 0; disk->ways[n].count > 0 && i < DEPTH; i++) {
                struct transfer *t = &disk->ways[n].transfers[i];

                if (t->io == NULL || t->has_effect)
                    continue;
                if (first == NULL || t->effect_ns < first->effect_ns) {
                    second_ns = first != NULL ? first->effect_ns : second_ns;
                    first = t;
                    way = &disk->ways[n];
                } else if (t->effect_ns < second_ns) {
                    second_ns = t->effect_ns;
                }
            }
        }
        disk->effect_next_ns = second_ns;
        if (first != NULL)
            take_effect(way, first);
    }
}

static enum cf_rc store_submit(struct eng_store *store, struct eng_io *io)
{
    struct way *way = (struct way *)store;
    struct sim_disk *disk = way->disk;
    struct transfer *transfer = way->transfers;
    uint64_t took_ns;

    if (way->count == DEPTH)
        return CF_AGAIN;
    while (transfer->io != NULL)
        transfer++;
    way->count++;
    took_ns = disk->options.delay_floor_ns + cf_rng_below(&disk->rng, 2 * disk->options.delay_mean_ns + 1);
    *transfer = (struct transfer){.io = io,
                                  .done_ns = disk->now_ns + took_ns,
                                  .effect_ns = disk->now_ns + cf_rng_below(&disk->rng, took_ns + 1)};
    io->in_flight = 1;
    io->short_bytes = 0;
    io->system = 0;
    if (transfer->effect_ns < disk->effect_next_ns)
        disk->effect_next_ns = transfer->effect_ns;
    if (io->op == ENG_IO_WRITE) {
        struct slot *slot = slot_at(disk, io);

        if (way->is_stopped)
            break_it(disk, "stop rule: node %u began a write at offset %llu after it had learned of the loss",
                     way->node, (unsigned long long)io->offset);
        if (slot->writes > 0 && slot->writer != way->node)
            break_it(disk, "I-9 offset %llu: node %u writes while node %u does",
                     (unsigned long long)io->offset, way->node, slot->writer);
        slot->writes++;
        slot->writer = way->node;
    }
    return CF_OK;
}

static uint32_t store_poll(struct eng_store *store, struct eng_io **done, uint32_t max)
{
    struct way *way = (struct way *)store;
    uint32_t count = 0;

    for (uint32_t i = 0; way->count > 0 && i < DEPTH && count < max; i++) {
        struct transfer *t = &way->transfers[i];

        if (t->io == NULL || t->done_ns > way->disk->now_ns)
            continue;
        cf_assert(t->has_effect);
        t->io->in_flight = 0;
        done[count++] = t->io;
        t->io = NULL;
        way->count--;
    }
    return count;
}

static enum cf_rc store_open_file(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                                  struct eng_store_file **file_out, struct cf_error *error)
{
    (void)path, (void)read_only, (void)direct, (void)error;
    *file_out = &((struct way *)store)->file;
    return CF_OK;
}

static void store_close_file(struct eng_store *store, struct eng_store_file **file)
{
    (void)store;
    *file = NULL;
}

static enum cf_rc store_file_info(struct eng_store *store, struct eng_store_file *file,
                                  struct eng_store_file_info *info_out)
{
    (void)store;
    *info_out = (struct eng_store_file_info){.bytes = file->disk->slots_count *
                                                      file->disk->options.block_bytes,
                                             .align = file->disk->options.block_bytes};
    return CF_OK;
}

static enum cf_rc store_resize(struct eng_store *store, struct eng_store_file *file, uint64_t bytes,
                               struct cf_error *error)
{
    (void)store, (void)error;
    return bytes <= file->disk->slots_count * file->disk->options.block_bytes ? CF_OK : CF_NO_SPACE;
}

static void store_close(struct eng_store *store)
{
    (void)store;
}

static int store_fd(const struct eng_store *store)
{
    (void)store;
    return -1;
}

static uint32_t store_in_flight(const struct eng_store *store)
{
    return ((const struct way *)store)->count;
}

static const struct eng_store_ops ops = {
    .name = "sim",
    .close = store_close,
    .open_file = store_open_file,
    .close_file = store_close_file,
    .file_info = store_file_info,
    .resize = store_resize,
    .submit = store_submit,
    .poll = store_poll,
    .fd = store_fd,
    .in_flight = store_in_flight,
};

enum cf_rc sim_disk_open(const struct sim_disk_options *options, struct sim_disk **disk_out)
{
    struct sim_disk *disk = calloc(1, sizeof(*disk));

    if (disk == NULL)
        return CF_MEMORY;
    disk->options = *options;
    disk->effect_next_ns = UINT64_MAX;
    disk->slots_count = options->blocks + SPARE_BLOCKS;
    cf_rng_seed(&disk->rng, options->seed);
    disk->slots = calloc(disk->slots_count, sizeof(*disk->slots));
    disk->bytes = calloc(disk->slots_count, options->block_bytes);
    disk->slot_of = calloc(options->blocks, sizeof(*disk->slot_of));
    disk->ways = calloc(options->nodes, sizeof(*disk->ways));
    if (disk->slots == NULL || disk->bytes == NULL || disk->slot_of == NULL || disk->ways == NULL) {
        sim_disk_close(&disk);
        return CF_MEMORY;
    }
    for (uint32_t n = 0; n < options->nodes; n++)
        disk->ways[n] = (struct way){
            .store = {.ops = &ops}, .file = {.disk = disk}, .disk = disk, .node = (uint16_t)n};
    *disk_out = disk;
    return CF_OK;
}

void sim_disk_close(struct sim_disk **disk_ref)
{
    struct sim_disk *disk = *disk_ref;

    if (disk == NULL)
        return;
    free(disk->slots);
    free(disk->bytes);
    free(disk->slot_of);
    free(disk->ways);
    free(disk);
    *disk_ref = NULL;
}

struct eng_store *sim_disk_store(struct sim_disk *disk, uint16_t node)
{
    return &disk->ways[node].store;
}

struct eng_store_file *sim_disk_file(struct sim_disk *disk, uint16_t node)
{
    return &disk->ways[node].file;
}

uint64_t sim_disk_next_ns(const struct sim_disk *disk, uint16_t node)
{
    const struct way *way = &disk->ways[node];
    uint64_t next_ns = UINT64_MAX;

    for (uint32_t i = 0; way->count > 0 && i < DEPTH; i++) {
        if (way->transfers[i].io != NULL && way->transfers[i].done_ns < next_ns)
            next_ns = way->transfers[i].done_ns;
    }
    return next_ns;
}

void sim_disk_delay_set(struct sim_disk *disk, uint64_t delay_mean_ns)
{
    disk->options.delay_mean_ns = delay_mean_ns;
}

void sim_disk_stop(struct sim_disk *disk, uint16_t node)
{
    disk->ways[node].is_stopped = true;
}

void sim_disk_crash(struct sim_disk *disk, uint16_t node)
{
    struct way *way = &disk->ways[node];

    for (uint32_t i = 0; i < DEPTH; i++) {
        struct transfer *t = &way->transfers[i];

        if (t->io == NULL)
            continue;
        if (!t->has_effect && t->io->op == ENG_IO_WRITE) {
            if ((cf_rng_next(&disk->rng) & 1) != 0)
                take_effect(way, t);
            else
                slot_at(disk, t->io)->writes--;
        }
        t->io = NULL;
    }
    way->count = 0;
}

uint64_t sim_disk_version(const struct sim_disk *disk, uint64_t block)
{
    uint64_t slot = disk->slot_of[block];

    return slot != 0 ? disk->slots[slot - 1].version : 0;
}

const void *sim_disk_image(const struct sim_disk *disk, uint64_t block)
{
    uint64_t slot = disk->slot_of[block];

    return slot != 0 ? disk->bytes + (slot - 1) * disk->options.block_bytes : NULL;
}

uint64_t sim_disk_writes(const struct sim_disk *disk)
{
    return disk->writes;
}

uint64_t sim_disk_reads(const struct sim_disk *disk)
{
    return disk->reads;
}

const char *sim_disk_broken(const struct sim_disk *disk)
{
    return disk->broken[0] != 0 ? disk->broken : NULL;
}
