/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/pool.h"

#include <inttypes.h>

#include <cachefusion/status.h>

_Static_assert(ENG_FRAMES_MAX <= ENG_LOOKUP_FRAMES_MAX, "frame numbers fit the slots of the table");

/* Frames are written and read by direct I/O. */
#define ENG_FRAME_ALIGN UINT64_C(4096)

static uint64_t round_up(uint64_t bytes, uint64_t align)
{
    return (bytes + align - 1) & ~(align - 1);
}

static uint64_t class_bytes(uint32_t class_index, uint32_t count)
{
    return round_up((uint64_t)count * (CF_BLOCK_BYTES_MIN << class_index), ENG_FRAME_ALIGN);
}

uint64_t eng_frames_bytes(const uint32_t count[CF_BLOCK_SIZES])
{
    uint64_t bytes = 0;

    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        bytes += class_bytes(c, count[c]);
    return bytes;
}

/* Lays the classes out; all frames of a class go to its free list, the first one on top. */
static void open_classes(struct eng_frames *frames, const uint32_t count[CF_BLOCK_SIZES])
{
    uint32_t first = 0;
    uint64_t offset = 0;

    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
        struct eng_frame_class *class = &frames->classes[c];

        *class = (struct eng_frame_class){
            .first = first,
            .count = count[c],
            .bytes = CF_BLOCK_BYTES_MIN << c,
            .free_count = count[c],
            .offset = offset,
            .free_head = count[c] != 0 ? first : ENG_FRAME_NONE,
        };
        for (uint32_t i = 0; i < count[c]; i++) {
            struct eng_frame *frame = &frames->frames[first + i];

            frame->data = frames->base + offset + (uint64_t)i * class->bytes;
            frame->next = i + 1 < count[c] ? first + i + 1 : ENG_FRAME_NONE;
            frame->local = ENG_FRAME_NONE;
            frame->class_index = c;
            frame->bytes = class->bytes;
        }
        first += count[c];
        offset += class_bytes(c, count[c]);
    }
}

enum cf_rc eng_frames_open(const struct eng_frames_options *options, struct eng_frames **frames_out)
{
    uint64_t count = 0, descriptors_at, slots_at, bytes;
    struct eng_frames *frames;
    uint8_t *memory;

    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        count += options->count[c];
    if (count == 0 || count > ENG_FRAMES_MAX)
        return CF_OPTION;
    if (options->base == NULL || options->words == NULL || options->allocator == NULL)
        return CF_INVALID;

    descriptors_at = round_up(sizeof(*frames), CF_CACHE_LINE);
    slots_at = descriptors_at + count * sizeof(struct eng_frame);
    bytes = slots_at + eng_lookup_slots(count) * sizeof(uint64_t);
    memory = cf_alloc(options->allocator, bytes, CF_CACHE_LINE, CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    if (memory == NULL)
        return CF_MEMORY;

    frames = (struct eng_frames *)memory;
    frames->words = options->words;
    frames->frames = (struct eng_frame *)(memory + descriptors_at);
    frames->count = (uint32_t)count;
    frames->base = options->base;
    frames->allocator = options->allocator;
    frames->memory_bytes = bytes;
    eng_lookup_init(&frames->lookup, (_Atomic uint64_t *)(memory + slots_at), count, options->seed);
    open_classes(frames, options->count);
    *frames_out = frames;
    return CF_OK;
}

void eng_frames_close(struct eng_frames **frames)
{
    if (*frames == NULL)
        return;
    cf_free((*frames)->allocator, *frames, (*frames)->memory_bytes);
    *frames = NULL;
}

void eng_frames_space(const struct eng_frames *frames, struct xp_frame_space *space_out)
{
    *space_out = (struct xp_frame_space){
        .base = frames->base,
        .words = frames->words,
        .words_stable_mask = ENG_WORD_STABLE,
        .count = frames->count,
    };
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
        const struct eng_frame_class *class = &frames->classes[c];

        space_out->classes[c] = (struct xp_frame_class){
            .first = class->first,
            .count = class->count,
            .bytes = class->count != 0 ? class->bytes : 0,
            .offset = class->offset,
        };
        space_out->bytes += class_bytes(c, class->count);
    }
}

uint32_t eng_frames_count(const struct eng_frames *frames)
{
    return frames->count;
}

uint32_t eng_frames_free_count(const struct eng_frames *frames, uint32_t class_index)
{
    cf_assert(class_index < CF_BLOCK_SIZES);
    return frames->classes[class_index].free_count;
}

struct eng_frame *eng_frames_at(struct eng_frames *frames, uint32_t frame)
{
    cf_assert(frame < frames->count);
    return &frames->frames[frame];
}

void *eng_frames_data(const struct eng_frames *frames, uint32_t frame)
{
    cf_assert(frame < frames->count);
    return frames->frames[frame].data;
}

uint64_t eng_frames_word(const struct eng_frames *frames, uint32_t frame)
{
    cf_assert(frame < frames->count);
    return cf_observe_u64(&frames->words[frame]);
}

uint64_t eng_frames_hash(const struct eng_frames *frames, const struct cf_block_key *key)
{
    return eng_lookup_hash(&frames->lookup, key->file, key->block);
}

/* One look at the word: clients may be at work. */
static void check_word(const struct eng_frame *frame, uint64_t word)
{
    uint64_t mode = word & ENG_WORD_MODE;

    cf_assert(mode <= CF_MODE_X);
    cf_assert((word & ENG_WORD_RESERVED) == 0);
    if (word & ENG_WORD_EXCL) {
        cf_assert(mode == CF_MODE_X);
        cf_assert((word & ENG_WORD_PINS) == 0);
    }
    if (mode == CF_MODE_N)
        cf_assert((word & (ENG_WORD_PINS | ENG_WORD_CLOSING)) == 0);
    if (frame->next != ENG_FRAME_TAKEN) {
        cf_assert(mode == CF_MODE_N);
        cf_assert((word & ~ENG_WORD_STABLE) == 0);
    }
}

static void check_free_list(const struct eng_frames *frames, const struct eng_frame_class *class)
{
    uint32_t listed_count = 0, free_count = 0;

    for (uint32_t i = 0; i < class->count; i++)
        free_count += frames->frames[class->first + i].next != ENG_FRAME_TAKEN;
    for (uint32_t f = class->free_head; f != ENG_FRAME_NONE; f = frames->frames[f].next) {
        cf_assert(f - class->first < class->count);
        listed_count++;
        cf_assert(listed_count <= class->count);
    }
    cf_assert(listed_count == free_count);
    cf_assert(listed_count == class->free_count);
}

void eng_frames_check_owner(const struct eng_frames *frames)
{
    uint64_t held_count = 0;

    for (uint32_t f = 0; f < frames->count; f++) {
        const struct eng_frame *frame = &frames->frames[f];
        uint64_t word = cf_observe_u64(&frames->words[f]);

        check_word(frame, word);
        if ((word & ENG_WORD_MODE) == CF_MODE_N)
            continue;
        held_count++;
        cf_assert(eng_frame_find_owner((struct eng_frames *)(uintptr_t)frames, &frame->key) == f);
    }
    cf_assert(held_count == frames->used_count);
    cf_assert(held_count == eng_lookup_check(&frames->lookup));
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++)
        check_free_list(frames, &frames->classes[c]);
}

void eng_frames_dump(const struct eng_frames *frames, FILE *out)
{
    static const char modes[] = "NSX?";

    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
        const struct eng_frame_class *class = &frames->classes[c];

        if (class->count != 0)
            fprintf(out, "frames class %" PRIu32 " bytes %" PRIu32 " count %" PRIu32 " free %" PRIu32 "\n", c,
                    class->bytes, class->count, class->free_count);
    }
    for (uint32_t f = 0; f < frames->count; f++) {
        const struct eng_frame *frame = &frames->frames[f];
        uint64_t word = cf_observe_u64(&frames->words[f]);

        if (frame->next != ENG_FRAME_TAKEN)
            continue;
        fprintf(out,
                "frame %" PRIu32 " mode %c pins %" PRIu64 " %c%c%c%c%c generation %" PRIu64 " file %" PRIu32
                " file_generation %" PRIu32 " block %" PRIu64 "\n",
                f, modes[word & ENG_WORD_MODE], (uint64_t)(word & ENG_WORD_PINS) >> ENG_WORD_PIN_SHIFT,
                word & ENG_WORD_EXCL ? 'e' : '-', word & ENG_WORD_CLOSING ? 'c' : '-',
                word & ENG_WORD_WAITER ? 'w' : '-', word & ENG_WORD_REF ? 'r' : '-',
                word & ENG_WORD_DIRTY ? 'd' : '-', word >> ENG_WORD_GENERATION_SHIFT, frame->key.file,
                frame->key.generation, frame->key.block);
    }
}
