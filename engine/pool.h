/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_POOL_H
#define ENGINE_POOL_H

/*
 * Inside of struct eng_frames, and the hit path for callers that want it inlined. Other layers use frame.h.
 *
 * Why a pin is of the block that was asked for. A client reads the table, then the frame's word (acquire),
 * then the descriptor's key, then moves the word by compare-and-swap. A key is written only in mode N, by the
 * owner, and a frame that is opened under another key than before has another generation. If the swap works
 * the word had not moved, or had come back to the same value, which needs the same generation and so the same
 * key. The key that was read is not a later one either: the owner writes that after it has moved the word to
 * N, a move that came after this swap and synchronises with it, so the client's read happens before.
 *
 * The generation and the bytes. Whoever moves the generation in order to change bytes calls
 * eng_pool_generation_fence before the first of these changes. Partner: a peer that reads the word, copies
 * the bytes, fences (acquire), reads the word again and compares the two under ENG_WORD_STABLE. If the
 * copy has one byte written after the move, the second read finds the move.
 */
#include "base/assert.h"
#include "base/atomic.h"
#include "engine/frame.h"
#include "engine/lookup.h"

/* Swaps of a word that other threads may win before a client gives up and asks the owner. Chosen. */
#define ENG_PIN_TRIES_MAX 1000u

struct eng_frame_class {
    uint32_t first;      /* [const] */
    uint32_t count;      /* [const] */
    uint32_t bytes;      /* [const] */
    uint32_t free_count; /* [owner] */
    uint64_t offset;     /* [const] of its first frame's bytes */
    uint32_t free_head;  /* [owner] */
    uint32_t hand;       /* [owner] where the next sweep starts, 0 .. count - 1 */
};

/* What a hit reads; sessions have a copy. */
struct eng_frame_view {
    struct eng_lookup lookup; /* [const] */
    _Atomic uint64_t *words;  /* [const] pointer; the words: see frame.h */
    struct eng_frame *frames; /* [const] pointer */
};

/* The view is in the first cache line; what the owner writes is in others. */
struct eng_frames {
    union {
        struct eng_frame_view view;
        struct { /* the same */
            struct eng_lookup lookup;
            _Atomic uint64_t *words;
            struct eng_frame *frames;
        };
    };
    uint32_t count;                          /* [const] */
    size_t memory_bytes;                     /* [const] of this struct, descriptors and table */
    CF_ALIGNED(CF_CACHE_LINE) uint8_t *base; /* [const] */
    const struct cf_allocator *allocator;    /* [const] */
    uint64_t used_count;                     /* [owner] entries of the table */
    struct eng_frame_class classes[CF_BLOCK_SIZES];
};
_Static_assert(offsetof(struct eng_frames, base) == CF_CACHE_LINE,
               "the owner's part begins in the second line");

static inline uint64_t eng_pool_key_name(const struct cf_block_key *key)
{
    /* The same 8 bytes as the key_name that lies over it in struct eng_frame. */
    union {
        struct {
            uint32_t file;
            uint32_t generation;
        } parts;
        uint64_t name;
    } half = {.parts = {key->file, key->generation}};

    return half.name;
}

/* Partner: cf_fence_after_copy. ThreadSanitizer does not see the order: tests that need it copy with atomics. */
static inline void eng_pool_generation_fence(void)
{
    cf_fence_before_change();
}

/* Is this the frame's key? Relaxed: the word's acquire before and release after hold the reads in place. */
static inline bool eng_pool_is_key(const struct eng_frame *descriptor, uint64_t name, uint64_t block)
{
    return cf_peek_u64(&descriptor->key_block) == block && cf_peek_u64(&descriptor->key_name) == name;
}

/* The mode is a constant where these are used, which halves their branches. */
#define ENG_POOL_INLINE static inline __attribute__((always_inline))

#define ENG_POOL_PINS_BARRED (ENG_WORD_EXCL | ENG_WORD_CLOSING | ENG_WORD_WAITER)

/*
 * The word with one pin of this mode more; 0 when that may not be. A pin is at least REF, so 0 is no such
 * word. `barred`: bits that keep it out besides those of its mode.
 */
static inline uint64_t eng_pool_pinned(uint64_t word, enum cf_mode mode, uint64_t barred)
{
    if (mode == CF_MODE_S) {
        if ((word & ENG_WORD_MODE) == CF_MODE_N || (word & (barred | ENG_WORD_PINS_FULL)))
            return 0;
        return (word + ENG_WORD_PIN) | ENG_WORD_REF;
    }
    if ((word & (ENG_WORD_MODE | barred | ENG_WORD_PINS)) != CF_MODE_X)
        return 0;
    return (word + ENG_WORD_GENERATION) | ENG_WORD_EXCL | ENG_WORD_REF;
}

/* What eng_pool_pin_first leaves over. Starts again. */
CF_COLD enum eng_pin eng_pool_pin_slow(struct eng_frames *frames, const struct cf_block_key *key,
                                       enum cf_mode mode, uint32_t *frame_out);

/* A frame that was pinned. */
struct eng_pinned {
    uint64_t frame;
    const struct eng_frame *descriptor;
};

/*
 * Pins the frame at the first place of the block's hash; false: there is none, or it is another block's, or a swap was
 * lost, or a refusal. The swap is acquire (sees what the last holder of excl wrote) and release (the key was read
 * before it).
 */
ENG_POOL_INLINE bool eng_pool_pin_first(const struct eng_frame_view *view, uint64_t name, uint64_t file_hash,
                                        uint64_t block, enum cf_mode mode, struct eng_pinned *pinned_out)
{
    const struct eng_frame *descriptor;
    _Atomic uint64_t *word_at;
    uint64_t word, pinned;
    uint32_t frame;

    cf_assert_slow(mode == CF_MODE_S || mode == CF_MODE_X);
    if (CF_UNLIKELY(!eng_lookup_first(&view->lookup, eng_lookup_block_hash(file_hash, block), &frame)))
        return false;
    word_at = &view->words[frame];
    descriptor = &view->frames[frame];
    word = cf_observe_u64(word_at);
    if (CF_UNLIKELY(!eng_pool_is_key(descriptor, name, block)))
        return false;
    pinned = eng_pool_pinned(word, mode, ENG_POOL_PINS_BARRED);
    if (CF_UNLIKELY(pinned == 0) || CF_UNLIKELY(!cf_cas_u64(word_at, &word, pinned)))
        return false;
    eng_pool_generation_fence();
    *pinned_out = (struct eng_pinned){frame, descriptor};
    return true;
}

/* eng_frame_pin_try, inlined. */
ENG_POOL_INLINE enum eng_pin eng_pool_pin_try(struct eng_frames *frames, const struct cf_block_key *key,
                                              enum cf_mode mode, uint32_t *frame_out)
{
    uint64_t file_hash = eng_lookup_file_hash(&frames->lookup, key->file);
    struct eng_pinned pinned;

    if (CF_LIKELY(eng_pool_pin_first(&frames->view, eng_pool_key_name(key), file_hash, key->block, mode,
                                     &pinned))) {
        *frame_out = (uint32_t)pinned.frame;
        return ENG_PIN_OK;
    }
    return eng_pool_pin_slow(frames, key, mode, frame_out);
}

/*
 * eng_frame_unpin, inlined; that there is a pin is asserted there, and here in debug builds. Release: what this thread did with the bytes comes before the next pin or the
 * end of the close (acquire). One fetch-and-subtract each:
 *
 * S: pins only fall while closing or waiter is set (but for pins that the owner itself hands out), and the
 *    owner sets them by an atomic change of the same word. So one that had to wait for pins is followed by
 *    the unpin that takes them to 0, and that one sees it.
 * X: only the holder of excl sets dirty, and the owner clears it only while there is none, so dirty does not
 *    move between the load and the subtraction.
 */
ENG_POOL_INLINE bool eng_pool_unpin(_Atomic uint64_t *words, uint32_t frame, enum cf_mode mode, bool dirty)
{
    _Atomic uint64_t *word_at = &words[frame];
    uint64_t before, change;

    if (mode == CF_MODE_S) {
        cf_assert_slow(!dirty);
        before = atomic_fetch_sub_explicit(word_at, ENG_WORD_PIN, memory_order_release);
        cf_assert_slow((before & ENG_WORD_PINS) != 0);
        if (CF_LIKELY((before & (ENG_WORD_CLOSING | ENG_WORD_WAITER)) == 0))
            return false;
        return (before & ENG_WORD_PINS) == ENG_WORD_PIN;
    }
    change = ENG_WORD_EXCL;
    if (dirty && !(cf_peek_u64(word_at) & ENG_WORD_DIRTY))
        change -= ENG_WORD_DIRTY;
    before = atomic_fetch_sub_explicit(word_at, change, memory_order_release);
    cf_assert((before & ENG_WORD_EXCL) != 0);
    return (before & (ENG_WORD_CLOSING | ENG_WORD_WAITER)) != 0;
}

/* ---- owner only ---- */
/* Makes bytes, version and position stand still; false = excl is held now. See eng_frame_copy_owner. */
CF_CHECK bool eng_pool_hold_owner(struct eng_frames *frames, uint32_t frame, bool *is_pinned_out);
void eng_pool_unhold_owner(struct eng_frames *frames, uint32_t frame, bool is_pinned);

#endif
