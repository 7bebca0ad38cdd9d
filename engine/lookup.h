/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LOOKUP_H
#define ENGINE_LOOKUP_H

/*
 * Which frame holds a block: open addressing with linear probing in a power of two of 64-bit slots, at
 * most a quarter of them used: a hit looks at one slot, and the others are for eng_pool_pin_slow. A slot is 0 (empty) or (tag, frame): the tag is 32 bits of the key's hash
 * and gives the place where probing starts (tag & mask), so that an entry can be moved without looking at
 * its key.
 *
 * One writer (the owner), any number of readers without locks.
 *
 * Removal leaves no tombstone: later entries of the run move back over the hole, each written to its new slot
 * before its old one is overwritten. A reader that passed the new slot before and reaches the old one
 * after the move misses the entry. That is the only harm: a slot is one word and never torn, so a reader
 * finds a frame that was entered under this tag at some time, or misses. What the frame holds now is
 * decided by its word and key (pool.h), and a miss by the owner, whose own lookups race with nobody.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/atomic.h"
#include "base/compiler.h"
#include "base/hash.h"

/* Frame numbers are below this. */
#define ENG_LOOKUP_FRAMES_MAX (UINT32_C(1) << 30)
/* Set in every hash, and so in every tag: no entry looks like an empty slot. */
#define ENG_LOOKUP_USED (UINT64_C(1) << 63)

struct eng_lookup {
    _Atomic uint64_t *slots; /* [const] pointer; [owner] writes the slots, everyone reads */
    uint64_t mask;           /* [const] slots - 1 */
    uint64_t seed;           /* [const] */
};

/* Slots of a table for `count` entries: a power of two, at least four times the count. */
uint64_t eng_lookup_slots(uint64_t count);
/* `slots` holds eng_lookup_slots(count) zeroes. */
void eng_lookup_init(struct eng_lookup *lookup, _Atomic uint64_t *slots, uint64_t count, uint64_t seed);

/* Of a file: its part of the hash of each of its blocks, of every generation. */
static inline uint64_t eng_lookup_file_hash(const struct eng_lookup *lookup, uint32_t file)
{
    return cf_mix64(file, lookup->seed);
}

/*
 * Of a block, one multiplication, the halves of the product folded (as in wyhash by Wang Yi, whose constant this is, with
 * one round). The upper half of the result is the good one: it hangs on all lower bits of the block's number.
 */
static inline uint64_t eng_lookup_block_hash(uint64_t file_hash, uint64_t block)
{
    __extension__ typedef unsigned __int128 wide;
    wide product = (wide)(block ^ file_hash) * UINT64_C(0xe7037ed1a0b428db);

    return ((uint64_t)product ^ (uint64_t)(product >> 64)) | ENG_LOOKUP_USED;
}

static inline uint64_t eng_lookup_hash(const struct eng_lookup *lookup, uint32_t file, uint64_t block)
{
    return eng_lookup_block_hash(eng_lookup_file_hash(lookup, file), block);
}

static inline uint32_t eng_lookup_tag(uint64_t hash)
{
    return (uint32_t)(hash >> 32);
}

/* Slot number `step` of the probe for a tag; 0 <= step <= mask. Pairs with the publishing in lookup.c. */
static inline uint64_t eng_lookup_slot(const struct eng_lookup *lookup, uint32_t tag, uint64_t step)
{
    return cf_observe_u64(&lookup->slots[(tag + step) & lookup->mask]);
}

/*
 * The frame at the first place of a hash; false: it was not entered under its tag. Others of the tag, or moved on, are
 * behind it: eng_lookup_slot.
 */
static inline bool eng_lookup_first(const struct eng_lookup *lookup, uint64_t hash, uint32_t *frame_out)
{
    uint64_t slot = cf_observe_u64(&lookup->slots[(hash >> 32) & lookup->mask]);

    *frame_out = (uint32_t)slot;
    return (slot ^ hash) >> 32 == 0;
}

static inline uint32_t eng_lookup_slot_tag(uint64_t slot)
{
    return (uint32_t)(slot >> 32);
}

static inline uint32_t eng_lookup_slot_frame(uint64_t slot)
{
    return (uint32_t)slot;
}

/* ---- owner only ---- */
/*
 * Enters a frame; the caller knows that its key is not in the table, and that the table holds less than
 * the count it was made for.
 */
void eng_lookup_insert(struct eng_lookup *lookup, uint32_t tag, uint32_t frame);
/* Takes out the frame that was entered under this tag; asserts that it is there. */
void eng_lookup_remove(struct eng_lookup *lookup, uint32_t tag, uint32_t frame);
/* Asserts that every entry can be reached from its first slot; returns how many there are. */
uint64_t eng_lookup_check(const struct eng_lookup *lookup);

#endif
