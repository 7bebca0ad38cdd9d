/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FRAME_H
#define ENGINE_FRAME_H

/*
 * Frames: the slots of the buffer cache. A frame has a 64-bit word (shared memory, read by peers), a
 * descriptor (this process), and its bytes. The word is moved only by compare-and-swap (or one
 * fetch-and-op) through the named transitions below; frame.def lists its fields and edges.
 *
 *     63            24 23     8  7   6     5    4       3        2     1 0
 *    +----------------+---------+---+-----+----+-------+---------+----+-----+
 *    | generation 40  | pins 16 | - |dirty| ref|waiter | closing |excl|mode |
 *    +----------------+---------+---+-----+----+-------+---------+----+-----+
 *
 *   mode        N, S, X: the mode this instance holds the block in
 *   excl        one local thread holds the block exclusively (then pins = 0)
 *   closing     the owner wants to take part of the mode away: no new pin; the last unpin that the close waits
 *               for reports it (its caller tells the owner)
 *   waiter      somebody queues for this frame at the owner: new pins must queue behind (first come, first served)
 *   ref         used since the sweep's hand passed
 *   dirty       newer than storage
 *   pins        threads that hold it shared
 *   generation  changes before the bytes change: when a frame gets another block and when excl is taken. A wrap
 *               needs 2^40 such steps within one copy of one block: at 100 M/s that is three hours against a microsecond.
 *
 *   FREE (N) --eng_frame_open--> S or X --eng_frame_close_begin--> closing --eng_frame_close_end--> S or N --eng_frame_free--> FREE
 *                                S --eng_frame_raise--> X
 *
 * Writers: any client thread: pins, excl, ref, dirty (pin, unpin, mark dirty). The owner (the thread with
 * progress): everything else. Orders: a pin is acquire, an unpin is release, so that what one thread wrote
 * under excl is seen by the next that pins, and the owner sees it when the close is complete.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/types.h>

#include "base/compiler.h"
#include "transport/xp.h"

#define ENG_WORD_MODE 0x3ull
#define ENG_WORD_EXCL (1ull << 2)
#define ENG_WORD_CLOSING (1ull << 3)
#define ENG_WORD_WAITER (1ull << 4)
#define ENG_WORD_REF (1ull << 5)
#define ENG_WORD_DIRTY (1ull << 6)
#define ENG_WORD_RESERVED (1ull << 7)
#define ENG_WORD_PIN_SHIFT 8
#define ENG_WORD_PIN (1ull << ENG_WORD_PIN_SHIFT)
#define ENG_WORD_PINS (0xffffull << ENG_WORD_PIN_SHIFT)
/* The highest of the pins' bits: no pin is added once 32,768 are there, so that they never overflow. */
#define ENG_WORD_PINS_FULL (0x8000ull << ENG_WORD_PIN_SHIFT)
#define ENG_WORD_GENERATION_SHIFT 24
#define ENG_WORD_GENERATION (1ull << ENG_WORD_GENERATION_SHIFT)
/* What must not move while a peer copies the bytes. */
#define ENG_WORD_STABLE (~(ENG_WORD_GENERATION - 1))

#define ENG_FRAME_NONE UINT32_MAX
#define ENG_FRAME_TAKEN (UINT32_MAX - 1)
/* Frames of one instance at most, so that a 32-bit tag can place an entry in the lookup table. */
#define ENG_FRAMES_MAX (1u << 30)

/* The descriptor: one cache line. */
struct eng_frame {
    union {
        struct cf_block_key key; /* [owner] changes only in mode N, and only in eng_frame_open_owner */
        struct {                 /* the same bytes as clients check them between load and CAS of the word */
            _Atomic uint64_t key_name; /* file and generation */
            _Atomic uint64_t key_block;
        };
    };
    uint8_t *data;           /* [const] its bytes */
    uint64_t version;        /* [excl holder] version of the bytes; the owner reads it when no excl is set */
    uint64_t position;       /* [excl holder] highest redo position that describes the bytes */
    uint64_t dirty_since_ns; /* [owner] 0 = clean or not noticed yet */
    uint32_t local;          /* [owner] index of the grd_block record, or NONE */
    uint32_t next;           /* [owner] free list: the next one or NONE; ENG_FRAME_TAKEN when not in it */
    uint32_t class_index;    /* [const] block size class */
    uint32_t bytes;          /* [const] */
};
_Static_assert(sizeof(struct eng_frame) == CF_CACHE_LINE, "one descriptor, one cache line");

struct eng_frames; /* frames, their lookup table, free lists and sweep hands: pool.h of this layer */

enum eng_pin {
    ENG_PIN_OK = 0,
    ENG_PIN_MISS, /* not in the table (or the lookup raced with a change): ask the owner */
    ENG_PIN_WEAK, /* here, but in a mode that is not enough */
    ENG_PIN_BUSY, /* here and strong enough, but excluded, closing, or others wait first */
};

/* Memory that eng_frames_open needs besides the frames' bytes and words. */
struct eng_frames_options {
    uint32_t count[CF_BLOCK_SIZES]; /* frames a class: 2, 4, 8, 16, 32 KiB */
    uint8_t *base;                  /* frames' bytes, from xp_memory */
    _Atomic uint64_t *words;        /* from xp_memory, zeroed */
    const struct cf_allocator *allocator;
    uint64_t seed; /* of the lookup hash, per process */
};
/* Bytes of frame memory for these counts (classes one behind the other, each 4 KiB aligned). */
uint64_t eng_frames_bytes(const uint32_t count[CF_BLOCK_SIZES]);
CF_CHECK enum cf_rc eng_frames_open(const struct eng_frames_options *options, struct eng_frames **frames_out);
void eng_frames_close(struct eng_frames **frames);
/* The transport's view of them. */
void eng_frames_space(const struct eng_frames *frames, struct xp_frame_space *space_out);
uint32_t eng_frames_count(const struct eng_frames *frames);
uint32_t eng_frames_free_count(const struct eng_frames *frames, uint32_t class_index);
struct eng_frame *eng_frames_at(struct eng_frames *frames, uint32_t frame);
void *eng_frames_data(const struct eng_frames *frames, uint32_t frame);
uint64_t eng_frames_word(const struct eng_frames *frames, uint32_t frame);
uint64_t eng_frames_hash(const struct eng_frames *frames, const struct cf_block_key *key);

/* ---- any thread ---- */
/* Looks the block up and pins it: S shares, X takes excl (and bumps the generation). One RMW when it succeeds. */
CF_HOT enum eng_pin eng_frame_pin_try(struct eng_frames *frames, const struct cf_block_key *key,
                                      enum cf_mode mode, uint32_t *frame_out);
/*
 * Ends a pin. `dirty`: the bytes were changed (X only). True: the owner must be told (a close or a waiter
 * waits for this). A close or waiter that has to wait is reported at least once after it was set; there
 * may be reports that nobody waits for, so the owner looks again (eng_frame_close_ready_owner,
 * eng_frame_pin_owner).
 */
CF_HOT bool eng_frame_unpin(struct eng_frames *frames, uint32_t frame, enum cf_mode mode, bool dirty);
/* S pin to excl, for a frame already in mode X with this one pin and no waiter; false = not possible now. */
bool eng_frame_exclude_try(struct eng_frames *frames, uint32_t frame);

/* ---- owner only ---- */
/* Takes a free frame of a class, or ENG_FRAME_NONE. It is in mode N, in no table, generation bumped: its bytes may be written. */
uint32_t eng_frame_take_owner(struct eng_frames *frames, uint32_t class_index);
/* Gives an N frame back to the free list; bumps the generation (what a peer still copies is torn). */
void eng_frame_free_owner(struct eng_frames *frames, uint32_t frame);
/* N -> S or X under `key`, visible in the table. dirty as given. */
void eng_frame_open_owner(struct eng_frames *frames, uint32_t frame, const struct cf_block_key *key,
                          enum cf_mode mode, bool dirty);
/* S -> X. */
void eng_frame_raise_owner(struct eng_frames *frames, uint32_t frame);
/* Asks for the lines of a frame's word and descriptor, to be written soon; of the frame that is taken next. */
void eng_frame_prefetch_owner(const struct eng_frames *frames, uint32_t frame);
void eng_frame_prefetch_free_owner(const struct eng_frames *frames, uint32_t class_index);
/* Authoritative lookup. */
uint32_t eng_frame_find_owner(struct eng_frames *frames, const struct cf_block_key *key);
/*
 * Pins on behalf of a waiter, passing over `waiter`; false = excluded or closing or mode too weak. Set
 * `waiter` first, then try: whoever is in the way then reports its unpin.
 */
bool eng_frame_pin_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode mode);
void eng_frame_waiter_owner(struct eng_frames *frames, uint32_t frame, bool waiting);
/* Begins to take the mode down to `to` (S: waits for excl to end; N: waits for excl and all pins). True = complete already:
 * call close_end now; false: the last unpin that matters will report it. May be repeated, to S then to N
 * too. */
bool eng_frame_close_begin_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode to);
/* True when a begun close to `to` may end now. */
bool eng_frame_close_ready_owner(const struct eng_frames *frames, uint32_t frame, enum cf_mode to);
/* Ends it: mode = to, closing cleared; to N: out of the table. The bytes stay until the frame is freed. */
void eng_frame_close_end_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode to);
/* Gives up a begun close (the peer's demand went away). */
void eng_frame_close_undo_owner(struct eng_frames *frames, uint32_t frame);
/*
 * Clears dirty if the bytes are still of this version (which the caller knows to be durable); false = excl
 * is held now or the version is newer, and dirty stays.
 */
CF_CHECK bool eng_frame_clean_owner(struct eng_frames *frames, uint32_t frame, uint64_t version);
/*
 * Copies the bytes out while no thread changes them; false = excl is held now. `to` may be NULL: version
 * and position alone, which is how the owner reads them of a frame that clients can exclude.
 */
CF_CHECK bool eng_frame_copy_owner(struct eng_frames *frames, uint32_t frame, void *to, uint64_t *version_out,
                                   uint64_t *position_out);
/* Next frame of a class the sweep offers for replacement (held, unpinned, not used since the last pass), or NONE
 * after two full turns (the first may only clear ref bits). accept(arg, frame) may refuse it (a
 * conversation is open, dirty and nothing may be written). */
uint32_t eng_frame_victim_owner(struct eng_frames *frames, uint32_t class_index,
                                bool (*accept)(void *arg, uint32_t frame), void *arg);
/* Asserts every word, the table and the free lists against each other (tests, debug dumps). */
void eng_frames_check_owner(const struct eng_frames *frames);
void eng_frames_dump(const struct eng_frames *frames, FILE *out);

#endif
