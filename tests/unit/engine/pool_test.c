/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: layout of classes, refusals of open, free lists, the transport's view, a full pool, the dump. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include <cachefusion/status.h>

#include "tests/unit/engine/frames_fixture.h"

static const uint32_t mixed[CF_BLOCK_SIZES] = {3, 0, 2, 1, 5};
#define MIXED_COUNT 11u

static void classes_follow_each_other_aligned(void **state)
{
    const uint64_t bytes = 8192 + 2 * 8192 + 16384 + 5 * 32768;
    uint8_t *base = aligned_alloc(4096, bytes);
    _Atomic uint64_t words[MIXED_COUNT] = {0};
    struct eng_frames_options options = {
        .base = base, .words = words, .allocator = cf_allocator_default(), .seed = 4};
    struct eng_frames *frames = NULL;
    struct xp_frame_space space;

    (void)state;
    assert_non_null(base);
    memcpy(options.count, mixed, sizeof(mixed));
    assert_int_equal(eng_frames_bytes(mixed), bytes);
    assert_int_equal(eng_frames_open(&options, &frames), CF_OK);
    assert_int_equal(eng_frames_count(frames), MIXED_COUNT);
    eng_frames_space(frames, &space);
    assert_int_equal(space.bytes, bytes);
    assert_int_equal(space.count, MIXED_COUNT);
    assert_int_equal(space.words_stable_mask, ENG_WORD_STABLE);
    for (uint32_t c = 0; c < CF_BLOCK_SIZES; c++) {
        const struct xp_frame_class *class = &space.classes[c];

        assert_int_equal(class->count, mixed[c]);
        assert_int_equal(class->bytes, mixed[c] != 0 ? CF_BLOCK_BYTES_MIN << c : 0);
        assert_int_equal(class->offset % 4096, 0);
        for (uint32_t i = 0; i < class->count; i++) {
            assert_ptr_equal(eng_frames_data(frames, class->first + i),
                             base + class->offset + i * class->bytes);
            assert_int_equal(eng_frames_at(frames, class->first + i)->class_index, c);
        }
    }
    eng_frames_check_owner(frames);
    eng_frames_close(&frames);
    assert_null(frames);
    free(base);
}

static void open_refuses_what_it_cannot_do(void **state)
{
    uint8_t byte;
    _Atomic uint64_t word = 0;
    const struct eng_frames_options good = {
        .count = {1}, .base = &byte, .words = &word, .allocator = cf_allocator_default()};
    struct eng_frames_options bad = good;
    struct eng_frames *frames = NULL;

    (void)state;
    bad.count[0] = 0;
    assert_int_equal(eng_frames_open(&bad, &frames), CF_OPTION);
    bad.count[0] = ENG_FRAMES_MAX;
    bad.count[4] = 1;
    assert_int_equal(eng_frames_open(&bad, &frames), CF_OPTION);
    bad = good;
    bad.base = NULL;
    assert_int_equal(eng_frames_open(&bad, &frames), CF_INVALID);
    bad = good;
    bad.words = NULL;
    assert_int_equal(eng_frames_open(&bad, &frames), CF_INVALID);
    assert_null(frames);
    eng_frames_close(&frames);
}

static void *no_memory(void *ctx, size_t bytes, size_t align, unsigned flags)
{
    (void)ctx, (void)bytes, (void)align, (void)flags;
    return NULL;
}

static void open_reports_no_memory(void **state)
{
    uint8_t byte;
    _Atomic uint64_t word = 0;
    struct cf_allocator allocator = {.size = sizeof(allocator), .alloc = no_memory};
    struct eng_frames_options options = {
        .count = {1}, .base = &byte, .words = &word, .allocator = &allocator};
    struct eng_frames *frames = NULL;

    (void)state;
    assert_int_equal(eng_frames_open(&options, &frames), CF_MEMORY);
    assert_null(frames);
}

/* All frames held under keys of one file, then closed in another order. */
static void a_full_pool_holds_every_frame(void **state)
{
    enum { FRAMES = 1000, STRIDE = 7 };
    struct frames_fixture fixture;
    struct cf_block_key key = {.file = 1, .generation = 1};
    uint32_t found;

    (void)state;
    frames_fixture_open(&fixture, 0, FRAMES);
    for (key.block = 0; key.block < FRAMES; key.block++)
        frames_fixture_load(&fixture, 0, &key, CF_MODE_S, (uint8_t)key.block);
    assert_int_equal(eng_frames_free_count(fixture.frames, 0), 0);
    assert_int_equal(eng_frame_take_owner(fixture.frames, 0), ENG_FRAME_NONE);
    eng_frames_check_owner(fixture.frames);
    for (uint64_t i = 0; i < FRAMES; i++) {
        key.block = i * STRIDE % FRAMES;
        assert_int_equal(eng_frame_pin_try(fixture.frames, &key, CF_MODE_S, &found), ENG_PIN_OK);
        assert_int_equal(*(uint8_t *)eng_frames_data(fixture.frames, found), (uint8_t)key.block);
        assert_false(eng_frame_unpin(fixture.frames, found, CF_MODE_S, false));
        assert_true(eng_frame_close_begin_owner(fixture.frames, found, CF_MODE_N));
        eng_frame_close_end_owner(fixture.frames, found, CF_MODE_N);
        eng_frame_free_owner(fixture.frames, found);
        assert_int_equal(eng_frame_pin_try(fixture.frames, &key, CF_MODE_S, &found), ENG_PIN_MISS);
    }
    assert_int_equal(eng_frames_free_count(fixture.frames, 0), FRAMES);
    eng_frames_check_owner(fixture.frames);
    frames_fixture_close(&fixture);
}

static void the_dump_shows_held_frames(void **state)
{
    struct frames_fixture fixture;
    struct cf_block_key key = {.file = 12, .generation = 34, .block = 56};
    char *text = NULL;
    size_t text_bytes = 0;
    FILE *out = open_memstream(&text, &text_bytes);

    (void)state;
    assert_non_null(out);
    frames_fixture_open(&fixture, 2, 2);
    frames_fixture_load(&fixture, 2, &key, CF_MODE_X, 0);
    eng_frames_dump(fixture.frames, out);
    assert_int_equal(fclose(out), 0);
    assert_string_equal(text,
                        "frames class 2 bytes 8192 count 2 free 1\n"
                        "frame 0 mode X pins 0 ---r- generation 2 file 12 file_generation 34 block 56\n");
    free(text);
    frames_fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(classes_follow_each_other_aligned),
        cmocka_unit_test(open_refuses_what_it_cannot_do),
        cmocka_unit_test(open_reports_no_memory),
        cmocka_unit_test(a_full_pool_holds_every_frame),
        cmocka_unit_test(the_dump_shows_held_frames),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
