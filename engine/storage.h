/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STORAGE_H
#define ENGINE_STORAGE_H

/* Blocks between frames and storage. Owner of progress, but for the answer to before_write. */
#include "engine/instance.h"

/* One disk transfer with its own buffer. */
struct eng_slot {
    struct eng_io io;
    uint8_t *buffer; /* CF_BLOCK_BYTES_MAX, 4 KiB aligned */
    struct cf_block_key key;
    uint32_t next;
    uint64_t version, position;
    _Atomic uint64_t
        ticket; /* [atomic] of a pending before_write, 0: none; any thread adds ENG_TICKET_ANSWERED */
    _Atomic int32_t answer; /* [atomic] enum cf_rc, valid once ANSWERED is set */
    uint8_t stage;          /* enum eng_slot_stage */
};
#define ENG_TICKET_ANSWERED (1ull << 63)
enum eng_slot_stage { ENG_SLOT_FREE = 0, ENG_SLOT_LOG, ENG_SLOT_CALLBACK, ENG_SLOT_DISK };

/* ---- storage.c: transfers under way ---- */
/* A free slot; NULL: there are as many transfers as the store is deep. */
struct eng_slot *eng_slot_take(struct cf_instance *instance);
void eng_slot_free(struct cf_instance *instance, struct eng_slot *slot);
/* Gives the transfer of the block slot->key to storage. */
void eng_slot_submit(struct cf_instance *instance, struct eng_slot *slot, const struct cf_file *file,
                     enum eng_io_op op, void *buffer);
/* What storage has completed, and what that lets begin. True: something. */
bool eng_store_turn(struct cf_instance *instance, uint64_t now_ns);
/* After a stop: takes what storage still completes, without any effect. */
void eng_store_abandon(struct cf_instance *instance);

/* ---- read.c ---- */
/* Into the frame of the block's conversation; it waits if no slot is free. */
void eng_read_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);
/* Those that waited for a slot. */
void eng_reads_start(struct cf_instance *instance, uint64_t now_ns);
void eng_read_end(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns);
/* A block that is new, made in the frame of its conversation. */
void eng_format_start(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);

/* ---- write.c ---- */
/* The version a block has now, read when no thread changes it; false = it is being changed. */
bool eng_block_refresh(struct cf_instance *instance, struct grd_block *block);
/* False: not now, or there is nothing to write. */
bool eng_write_start(struct cf_instance *instance, struct grd_block *block);
/* Writes that wait for the log or a callback are looked at again each turn. */
void eng_writes_advance(struct cf_instance *instance);
void eng_write_end(struct cf_instance *instance, struct eng_slot *slot, uint64_t now_ns);

/* ---- evict.c ---- */
/* A free frame of the class: from the free list or by eviction; NONE when there is none now. */
uint32_t eng_frame_make_room(struct cf_instance *instance, uint32_t class_index, uint64_t now_ns);
/* Gives up copies ahead of need, so that frames for ships are free. */
void eng_room_keep(struct cf_instance *instance, uint64_t now_ns);
/* Closes the frame and releases the copy, if it may go and nobody holds it. False: not now, nothing changed. */
bool eng_block_evict(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);
/* The same without a message: the answer to the master's question, which follows, names the release. */
bool eng_block_withdraw(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);

/* ---- write_back.c ---- */
bool eng_write_back_tick(struct cf_instance *instance, uint64_t now_ns);
bool eng_flush_turn(struct cf_instance *instance, uint64_t now_ns);
/* Has the block of a past image written by whoever has the duty; not more often than other things are said again. */
void eng_past_ask(struct cf_instance *instance, struct grd_block *block, uint64_t now_ns);

#endif
