/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_LOOKUP_H
#define ENGINE_LOOKUP_H

/*
 * Which frame holds a block: open addressing with linear probing in a power of two of 64-bit slots, at
 * most half of them used. A slot is 0 (empty) or (tag, frame + 1): the tag is 32 bits of the key's hash
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

struct eng_lookup {
    _Atomic uint64_t *slots; /* [const] pointer; [owner] writes the slots, everyone reads */
    uint64_t mask;           /* [const] slots - 1 */
    uint64_t seed;           /* [const] */
};

/* Slots of a table for `count` entries: a power of two, at least twice the count. */
uint64_t eng_lookup_slots(uint64_t count);
/* `slots` holds eng_lookup_slots(count) zeroes. */
void eng_lookup_init(struct eng_lookup *lookup, _Atomic uint64_t *slots, uint64_t count, uint64_t seed);

/* Of the two halves of a key. The product moves file and file generation to bits that block numbers leave. */
static inline uint64_t eng_lookup_hash(const struct eng_lookup *lookup, uint64_t name, uint64_t block)
{
    return cf_mix64(block ^ (name * UINT64_C(0x9e3779b97f4a7c15)), lookup->seed);
}

static inline uint32_t eng_lookup_tag(uint64_t hash)
{
    return (uint32_t)hash;
}

/* Slot number `step` of the probe for a tag; 0 <= step <= mask. Pairs with the publishing in lookup.c. */
static inline uint64_t eng_lookup_slot(const struct eng_lookup *lookup, uint32_t tag, uint64_t step)
{
    return cf_observe_u64(&lookup->slots[(tag + step) & lookup->mask]);
}

/*
 * The first frame entered under a tag, or UINT32_MAX. Two keys may have one tag: see eng_lookup_slot for
 * the rest. Changes behind a reader could keep it from meeting an empty slot, so it goes round once at most.
 */
static inline uint64_t eng_lookup_probe(const struct eng_lookup *lookup, uint32_t tag)
{
    uint64_t base = (uint64_t)tag << 32;

    for (uint64_t at = tag;; at++) {
        uint64_t slot = cf_observe_u64(&lookup->slots[at & lookup->mask]);

        /* A slot of this tag lies above base by frame + 1; an empty one does not, not even for tag 0. */
        if (CF_LIKELY(slot - base - 1 < ENG_LOOKUP_FRAMES_MAX))
            return slot - base - 1;
        if (slot == 0 || at - tag == lookup->mask)
            break;
    }
    return UINT32_MAX;
}

static inline uint32_t eng_lookup_slot_tag(uint64_t slot)
{
    return (uint32_t)(slot >> 32);
}

static inline uint32_t eng_lookup_slot_frame(uint64_t slot)
{
    return (uint32_t)slot - 1;
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
