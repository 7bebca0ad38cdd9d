/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The edges of frame.def. An owner's edge is a single fetch-and-op where its own bits are enough, else a
 * compare-and-swap that is tried again when a client moved the word. Orders: acquire, to see what clients did
 * before they unpinned; release, to show clients and peers what the owner did before.
 */
#include <string.h>

#include "engine/pool.h"

enum eng_pin eng_frame_pin_try(struct eng_frames *frames, const struct cf_block_key *key, enum cf_mode mode,
                               uint32_t *frame_out)
{
    return eng_pool_pin_try(frames, key, mode, frame_out);
}

/* As eng_pool_pin_try, for one frame; false: it is not (or no longer) this block's. */
static bool pin_frame(struct eng_frames *frames, uint32_t frame, const struct cf_block_key *key,
                      enum cf_mode mode, enum eng_pin *result_out)
{
    uint64_t name = eng_pool_key_name(key);
    uint64_t word = cf_observe_u64(&frames->words[frame]);

    *result_out = ENG_PIN_BUSY;
    for (uint32_t tries = 0; tries < ENG_PIN_TRIES_MAX; tries++) {
        uint64_t held = word & ENG_WORD_MODE;
        uint64_t pinned = eng_pool_pinned(word, mode, ENG_POOL_PINS_BARRED);

        /* Read after the word, as pool.h says: the frame may have got another block since the last try. */
        if (held == CF_MODE_N || !eng_pool_is_key(&frames->frames[frame], name, key->block))
            return false;
        if (held < mode) {
            *result_out = ENG_PIN_WEAK;
            return true;
        }
        if (pinned == 0)
            return true;
        if (cf_cas_u64(&frames->words[frame], &word, pinned)) {
            eng_pool_generation_fence();
            *result_out = ENG_PIN_OK;
            return true;
        }
        cf_pause();
    }
    return true;
}

enum eng_pin eng_pool_pin_slow(struct eng_frames *frames, const struct cf_block_key *key, enum cf_mode mode,
                               uint32_t *frame_out)
{
    uint32_t tag = eng_lookup_tag(eng_frames_hash(frames, key));
    enum eng_pin result;

    for (uint64_t step = 0; step <= frames->lookup.mask; step++) {
        uint64_t slot = eng_lookup_slot(&frames->lookup, tag, step);
        uint32_t frame = eng_lookup_slot_frame(slot);

        if (slot == 0)
            break;
        if (eng_lookup_slot_tag(slot) != tag || !pin_frame(frames, frame, key, mode, &result))
            continue;
        if (result == ENG_PIN_OK)
            *frame_out = frame;
        return result;
    }
    return ENG_PIN_MISS;
}

bool eng_frame_unpin(struct eng_frames *frames, uint32_t frame, enum cf_mode mode, bool dirty)
{
    cf_assert((eng_frames_word(frames, frame) & (mode == CF_MODE_S ? ENG_WORD_PINS : ENG_WORD_EXCL)) != 0);
    return eng_pool_unpin(frames->words, frame, mode, dirty);
}

bool eng_frame_exclude_try(struct eng_frames *frames, uint32_t frame)
{
    uint64_t word = eng_frames_word(frames, frame);

    /* Another pin ends this at once: only changes of ref and dirty make it try again. */
    for (uint32_t tries = 0; tries < ENG_PIN_TRIES_MAX; tries++) {
        if ((word & ENG_WORD_MODE) != CF_MODE_X || (word & ENG_WORD_PINS) != ENG_WORD_PIN ||
            (word & ENG_POOL_PINS_BARRED))
            return false;
        if (cf_cas_u64(&frames->words[frame], &word,
                       (word - ENG_WORD_PIN + ENG_WORD_GENERATION) | ENG_WORD_EXCL | ENG_WORD_REF)) {
            eng_pool_generation_fence();
            return true;
        }
    }
    return false;
}

void eng_frame_prefetch_owner(const struct eng_frames *frames, uint32_t frame)
{
    cf_prefetch_write((const void *)&frames->words[frame]);
    cf_prefetch_write(&frames->frames[frame]);
}

void eng_frame_prefetch_free_owner(const struct eng_frames *frames, uint32_t class_index)
{
    uint32_t frame = frames->classes[class_index].free_head;

    if (frame != ENG_FRAME_NONE)
        eng_frame_prefetch_owner(frames, frame);
}

uint32_t eng_frame_take_owner(struct eng_frames *frames, uint32_t class_index)
{
    struct eng_frame_class *class;
    struct eng_frame *frame;
    uint64_t before;
    uint32_t index;

    cf_assert(class_index < CF_BLOCK_SIZES);
    class = &frames->classes[class_index];
    index = class->free_head;
    if (index == ENG_FRAME_NONE)
        return ENG_FRAME_NONE;
    frame = &frames->frames[index];
    class->free_head = frame->next;
    class->free_count--;
    frame->next = ENG_FRAME_TAKEN;
    frame->local = ENG_FRAME_NONE;
    frame->version = 0;
    frame->position = 0;
    frame->dirty_since_ns = 0;
    before = atomic_fetch_add_explicit(&frames->words[index], ENG_WORD_GENERATION, memory_order_acq_rel);
    cf_assert((before & ~ENG_WORD_STABLE) == 0);
    eng_pool_generation_fence();
    return index;
}

void eng_frame_free_owner(struct eng_frames *frames, uint32_t frame)
{
    struct eng_frame *descriptor = eng_frames_at(frames, frame);
    struct eng_frame_class *class = &frames->classes[descriptor->class_index];
    uint64_t word = cf_observe_u64(&frames->words[frame]);
    bool is_moved;

    cf_assert((word & ENG_WORD_MODE) == CF_MODE_N);
    cf_assert(descriptor->next == ENG_FRAME_TAKEN);
    /* Clients do not move the word of an N frame. */
    is_moved = cf_cas_u64(&frames->words[frame], &word, (word & ENG_WORD_STABLE) + ENG_WORD_GENERATION);
    cf_assert(is_moved);
    eng_pool_generation_fence();
    descriptor->next = class->free_head;
    class->free_head = frame;
    class->free_count++;
}

void eng_frame_open_owner(struct eng_frames *frames, uint32_t frame, const struct cf_block_key *key,
                          enum cf_mode mode, bool dirty)
{
    struct eng_frame *descriptor = eng_frames_at(frames, frame);
    uint64_t name = eng_pool_key_name(key);
    uint64_t word = cf_observe_u64(&frames->words[frame]);
    uint64_t opened;
    bool is_moved;

    cf_assert((word & ENG_WORD_MODE) == CF_MODE_N);
    cf_assert(mode == CF_MODE_S || mode == CF_MODE_X);
    cf_assert(descriptor->next == ENG_FRAME_TAKEN);
    cf_assert(eng_frame_find_owner(frames, key) == ENG_FRAME_NONE);
    opened = (word & ~ENG_WORD_DIRTY) | ENG_WORD_REF | mode | (dirty ? ENG_WORD_DIRTY : 0);
    if (!eng_pool_is_key(descriptor, name, key->block)) {
        /* No word value of the old key comes back under the new one (pool.h). */
        opened += ENG_WORD_GENERATION;
        cf_poke_u64(&descriptor->key_name, name);
        cf_poke_u64(&descriptor->key_block, key->block);
    }
    is_moved = cf_cas_u64(&frames->words[frame], &word, opened);
    cf_assert(is_moved);
    frames->used_count++;
    cf_assert(frames->used_count <= frames->count);
    eng_lookup_insert(&frames->lookup, eng_lookup_tag(eng_frames_hash(frames, key)), frame);
}

void eng_frame_raise_owner(struct eng_frames *frames, uint32_t frame)
{
    uint64_t before = atomic_fetch_add_explicit(&frames->words[frame], CF_MODE_X - CF_MODE_S,
                                                memory_order_acq_rel);

    cf_assert((before & ENG_WORD_MODE) == CF_MODE_S);
    cf_assert((before & ENG_WORD_CLOSING) == 0);
}

uint32_t eng_frame_find_owner(struct eng_frames *frames, const struct cf_block_key *key)
{
    uint64_t name = eng_pool_key_name(key);
    uint32_t tag = eng_lookup_tag(eng_frames_hash(frames, key));

    for (uint64_t step = 0; step <= frames->lookup.mask; step++) {
        uint64_t slot = eng_lookup_slot(&frames->lookup, tag, step);
        uint32_t frame = eng_lookup_slot_frame(slot);

        if (slot == 0)
            break;
        if (eng_lookup_slot_tag(slot) == tag && eng_pool_is_key(&frames->frames[frame], name, key->block))
            return frame;
    }
    return ENG_FRAME_NONE;
}

bool eng_frame_pin_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode mode)
{
    uint64_t word = eng_frames_word(frames, frame);

    cf_assert(mode == CF_MODE_S || mode == CF_MODE_X);
    /* With waiter set only unpins can win the swap, and the last of them reports. */
    for (uint32_t tries = 0; tries < ENG_PIN_TRIES_MAX; tries++) {
        uint64_t pinned = eng_pool_pinned(word, mode, ENG_WORD_EXCL | ENG_WORD_CLOSING);

        if (pinned == 0)
            return false;
        if (cf_cas_u64(&frames->words[frame], &word, pinned)) {
            eng_pool_generation_fence();
            return true;
        }
    }
    return false;
}

void eng_frame_waiter_owner(struct eng_frames *frames, uint32_t frame, bool waiting)
{
    if (waiting)
        (void)atomic_fetch_or_explicit(&frames->words[frame], ENG_WORD_WAITER, memory_order_acq_rel);
    else
        (void)atomic_fetch_and_explicit(&frames->words[frame], ~ENG_WORD_WAITER, memory_order_acq_rel);
}

static bool is_close_ready(uint64_t word, enum cf_mode to)
{
    uint64_t in_the_way = to == CF_MODE_S ? ENG_WORD_EXCL : ENG_WORD_EXCL | ENG_WORD_PINS;

    return (word & ENG_WORD_CLOSING) && (word & in_the_way) == 0;
}

bool eng_frame_close_begin_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode to)
{
    uint64_t before = atomic_fetch_or_explicit(&frames->words[frame], ENG_WORD_CLOSING, memory_order_acq_rel);

    cf_assert((before & ENG_WORD_MODE) > to);
    return is_close_ready(before | ENG_WORD_CLOSING, to);
}

bool eng_frame_close_ready_owner(const struct eng_frames *frames, uint32_t frame, enum cf_mode to)
{
    return is_close_ready(eng_frames_word(frames, frame), to);
}

void eng_frame_close_end_owner(struct eng_frames *frames, uint32_t frame, enum cf_mode to)
{
    uint64_t word = eng_frames_word(frames, frame);
    uint64_t mode = word & ENG_WORD_MODE;

    cf_assert(mode > to);
    cf_assert(is_close_ready(word, to));
    if (to == CF_MODE_N) {
        frames->used_count--;
        eng_lookup_remove(&frames->lookup,
                          eng_lookup_tag(eng_frames_hash(frames, &frames->frames[frame].key)), frame);
    }
    /* Mode and closing are the owner's bits, so neither has moved since they were read. */
    (void)atomic_fetch_sub_explicit(&frames->words[frame], (mode - to) | ENG_WORD_CLOSING,
                                    memory_order_acq_rel);
}

void eng_frame_close_undo_owner(struct eng_frames *frames, uint32_t frame)
{
    uint64_t before = atomic_fetch_and_explicit(&frames->words[frame], ~ENG_WORD_CLOSING,
                                                memory_order_acq_rel);

    cf_assert((before & ENG_WORD_CLOSING) != 0);
}

/*
 * While closing or waiter is set, and in mode N, no client can begin to exclude: the owner alone ends
 * that. Else a pin for the moment keeps them out. Nobody sets closing or waiter before this pin ends,
 * since only the owner does, so its end is never one that the owner must be told of.
 */
bool eng_pool_hold_owner(struct eng_frames *frames, uint32_t frame, bool *is_pinned_out)
{
    uint64_t word = eng_frames_word(frames, frame);

    for (uint32_t tries = 0; tries < ENG_PIN_TRIES_MAX; tries++) {
        if (word & ENG_WORD_EXCL)
            return false;
        if ((word & ENG_WORD_MODE) == CF_MODE_N || (word & (ENG_WORD_CLOSING | ENG_WORD_WAITER))) {
            *is_pinned_out = false;
            return true;
        }
        if (word & ENG_WORD_PINS_FULL)
            return false;
        if (cf_cas_u64(&frames->words[frame], &word, word + ENG_WORD_PIN)) {
            *is_pinned_out = true;
            return true;
        }
    }
    return false;
}

void eng_pool_unhold_owner(struct eng_frames *frames, uint32_t frame, bool is_pinned)
{
    bool is_awaited = is_pinned && eng_pool_unpin(frames->words, frame, CF_MODE_S, false);

    cf_assert(!is_awaited);
}

bool eng_frame_clean_owner(struct eng_frames *frames, uint32_t frame, uint64_t version)
{
    struct eng_frame *descriptor = eng_frames_at(frames, frame);
    bool is_pinned, is_same;

    if (!eng_pool_hold_owner(frames, frame, &is_pinned))
        return false;
    is_same = descriptor->version == version;
    if (is_same) {
        (void)atomic_fetch_and_explicit(&frames->words[frame], ~ENG_WORD_DIRTY, memory_order_acq_rel);
        descriptor->dirty_since_ns = 0;
    }
    eng_pool_unhold_owner(frames, frame, is_pinned);
    return is_same;
}

bool eng_frame_copy_owner(struct eng_frames *frames, uint32_t frame, void *to, uint64_t *version_out,
                          uint64_t *position_out)
{
    const struct eng_frame *descriptor = eng_frames_at(frames, frame);
    bool is_pinned;

    if (!eng_pool_hold_owner(frames, frame, &is_pinned))
        return false;
    if (to != NULL)
        memcpy(to, descriptor->data, descriptor->bytes);
    *version_out = descriptor->version;
    *position_out = descriptor->position;
    eng_pool_unhold_owner(frames, frame, is_pinned);
    return true;
}
