/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: what pins answer, what unpins report, generations, dirty and clean, copies, waiters; one thread.
 * Not covered here: which edges there are (frame_edge_test.c), threads (tests/stress, tests/litmus).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "tests/unit/engine/frames_fixture.h"

#define CLASS 2
#define FRAMES 4
#define FRAME_BYTES 8192

static const struct cf_block_key key = {.file = 7, .generation = 2, .block = 1234567};

static int setup(void **state)
{
    static struct frames_fixture fixture;

    frames_fixture_open(&fixture, CLASS, FRAMES);
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    struct frames_fixture *fixture = *state;

    eng_frames_check_owner(fixture->frames);
    frames_fixture_close(fixture);
    return 0;
}

static uint64_t generation(const struct frames_fixture *fixture, uint32_t frame)
{
    return eng_frames_word(fixture->frames, frame) >> ENG_WORD_GENERATION_SHIFT;
}

static bool has(const struct frames_fixture *fixture, uint32_t frame, uint64_t bits)
{
    return (eng_frames_word(fixture->frames, frame) & bits) == bits;
}

static enum eng_pin pin(struct frames_fixture *fixture, enum cf_mode mode)
{
    uint32_t frame = ENG_FRAME_NONE;
    enum eng_pin result = eng_frame_pin_try(fixture->frames, &key, mode, &frame);

    /* The out parameter is written on success only. */
    assert_int_equal(result == ENG_PIN_OK, frame != ENG_FRAME_NONE);
    return result;
}

static void pin_tells_why_it_failed(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame;

    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_MISS);
    frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_S, 1);
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_WEAK);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    eng_frame_raise_owner(fixture->frames, frame);
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_BUSY); /* pinned */
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_BUSY); /* excluded */
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_BUSY);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, false));
    assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_BUSY); /* closing */
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_MISS);
}

static void a_key_is_all_of_its_fields(void **state)
{
    struct frames_fixture *fixture = *state;
    struct cf_block_key other[] = {key, key, key};
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_S, 1), found = 0;

    other[0].file++;
    other[1].generation++;
    other[2].block++;
    for (size_t i = 0; i < CF_COUNTOF(other); i++) {
        assert_int_equal(eng_frame_pin_try(fixture->frames, &other[i], CF_MODE_S, &found), ENG_PIN_MISS);
        assert_int_equal(eng_frame_find_owner(fixture->frames, &other[i]), ENG_FRAME_NONE);
    }
    assert_int_equal(eng_frame_find_owner(fixture->frames, &key), frame);
    assert_memory_equal(&eng_frames_at(fixture->frames, frame)->key, &key, sizeof(key));
}

static void generation_moves_with_the_bytes_and_only_then(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = eng_frame_take_owner(fixture->frames, CLASS);
    uint64_t taken = generation(fixture, frame), opened;

    assert_true(taken > 0);
    eng_frame_open_owner(fixture->frames, frame, &key, CF_MODE_X, false);
    opened = generation(fixture, frame);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_int_equal(generation(fixture, frame), opened);
    assert_true(eng_frame_exclude_try(fixture->frames, frame));
    assert_int_equal(generation(fixture, frame), opened + 1);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_int_equal(generation(fixture, frame), opened + 2);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
    /* Shipped: a peer may copy until it is freed, and a second grant of the same block keeps the bytes. */
    assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    assert_int_equal(generation(fixture, frame), opened + 2);
    eng_frame_open_owner(fixture->frames, frame, &key, CF_MODE_S, false);
    assert_int_equal(generation(fixture, frame), opened + 2);
    assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    eng_frame_free_owner(fixture->frames, frame);
    assert_int_equal(generation(fixture, frame), opened + 3);
    assert_int_equal(eng_frame_take_owner(fixture->frames, CLASS), frame);
    assert_int_equal(generation(fixture, frame), opened + 4);
}

static void another_key_has_another_generation(void **state)
{
    struct frames_fixture *fixture = *state;
    struct cf_block_key other = {.file = 7, .generation = 2, .block = 5};
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_S, 1);
    uint64_t before = generation(fixture, frame);

    assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    eng_frame_open_owner(fixture->frames, frame, &other, CF_MODE_S, false);
    assert_true(generation(fixture, frame) > before);
}

static void a_wrapped_generation_leaves_the_other_bits(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);

    atomic_fetch_or(&fixture->words[frame], ENG_WORD_STABLE);
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_int_equal(eng_frames_word(fixture->frames, frame), ENG_WORD_EXCL | ENG_WORD_REF | CF_MODE_X);
}

static void a_close_to_n_is_reported_by_the_last_pin(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);

    for (int i = 0; i < 3; i++)
        assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_false(eng_frame_close_ready_owner(fixture->frames, frame, CF_MODE_N));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_true(eng_frame_close_ready_owner(fixture->frames, frame, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    assert_int_equal(eng_frame_find_owner(fixture->frames, &key), ENG_FRAME_NONE);
}

static void a_close_to_s_waits_for_excl_only(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);

    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_S));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_S);
    eng_frame_raise_owner(fixture->frames, frame);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_S));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_S);
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_WEAK);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_true(has(fixture, frame, ENG_WORD_DIRTY));
}

static void a_close_to_s_may_become_one_to_n(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);

    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_S));
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, false));
    assert_true(eng_frame_close_ready_owner(fixture->frames, frame, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
}

static void an_undone_close_lets_pins_in_again(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_S, 1);

    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_BUSY);
    eng_frame_close_undo_owner(fixture->frames, frame);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
}

static void a_waiter_goes_before_new_pins(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);

    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    eng_frame_waiter_owner(fixture->frames, frame, true);
    assert_false(eng_frame_pin_owner(fixture->frames, frame, CF_MODE_X));
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_BUSY);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_false(eng_frame_exclude_try(fixture->frames, frame));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_true(eng_frame_pin_owner(fixture->frames, frame, CF_MODE_X));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, false)); /* the next waiter */
    assert_true(eng_frame_pin_owner(fixture->frames, frame, CF_MODE_S));
    eng_frame_waiter_owner(fixture->frames, frame, false);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
}

static void full_pins_refuse_one_more(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_S, 1);
    uint64_t version, position;

    atomic_fetch_or(&fixture->words[frame], ENG_WORD_PINS_FULL);
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_BUSY);
    assert_false(eng_frame_pin_owner(fixture->frames, frame, CF_MODE_S));
    assert_false(eng_frame_copy_owner(fixture->frames, frame, NULL, &version, &position));
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_S, false));
    assert_int_equal(pin(fixture, CF_MODE_S), ENG_PIN_OK);
    assert_true(has(fixture, frame, ENG_WORD_PINS_FULL));
}

static void dirty_is_cleared_for_the_version_that_is_durable(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 1);
    struct eng_frame *descriptor = eng_frames_at(fixture->frames, frame);

    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    descriptor->version = 10;
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
    descriptor->dirty_since_ns = 5;
    assert_true(has(fixture, frame, ENG_WORD_DIRTY));
    assert_false(eng_frame_clean_owner(fixture->frames, frame, 9));
    assert_true(has(fixture, frame, ENG_WORD_DIRTY));
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    assert_false(eng_frame_clean_owner(fixture->frames, frame, 10)); /* excluded: may be changing */
    assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, false));
    assert_true(has(fixture, frame, ENG_WORD_DIRTY));
    assert_true(eng_frame_clean_owner(fixture->frames, frame, 10));
    assert_false(has(fixture, frame, ENG_WORD_DIRTY));
    assert_int_equal(descriptor->dirty_since_ns, 0);
    /* Dirty twice is dirty, not a carry into the next bit. */
    for (int i = 0; i < 2; i++) {
        assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
        assert_false(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
        assert_true(has(fixture, frame, ENG_WORD_DIRTY));
    }
}

static void a_copy_leaves_the_word_and_is_of_bytes_at_rest(void **state)
{
    struct frames_fixture *fixture = *state;
    uint32_t frame = frames_fixture_load(fixture, CLASS, &key, CF_MODE_X, 0x5a);
    uint64_t version = 0, position = 0, word;
    uint8_t copy[FRAME_BYTES], wanted[FRAME_BYTES];

    memset(wanted, 0x5a, sizeof(wanted));
    assert_int_equal(pin(fixture, CF_MODE_X), ENG_PIN_OK);
    eng_frames_at(fixture->frames, frame)->version = 3;
    eng_frames_at(fixture->frames, frame)->position = 4;
    assert_false(eng_frame_copy_owner(fixture->frames, frame, copy, &version, &position));
    assert_int_equal(version, 0);
    assert_false(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
    assert_true(eng_frame_unpin(fixture->frames, frame, CF_MODE_X, true));
    for (int i = 0; i < 3; i++) { /* closing, then open, then N */
        memset(copy, 0, sizeof(copy));
        word = eng_frames_word(fixture->frames, frame);
        assert_true(eng_frame_copy_owner(fixture->frames, frame, copy, &version, &position));
        assert_int_equal(eng_frames_word(fixture->frames, frame), word);
        assert_memory_equal(copy, wanted, sizeof(copy));
        assert_int_equal(version, 3);
        assert_int_equal(position, 4);
        if (i == 0)
            eng_frame_close_undo_owner(fixture->frames, frame);
        else if (i == 1)
            assert_true(eng_frame_close_begin_owner(fixture->frames, frame, CF_MODE_N));
        if (i == 1)
            eng_frame_close_end_owner(fixture->frames, frame, CF_MODE_N);
    }
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(pin_tells_why_it_failed),
        TEST(a_key_is_all_of_its_fields),
        TEST(generation_moves_with_the_bytes_and_only_then),
        TEST(another_key_has_another_generation),
        TEST(a_wrapped_generation_leaves_the_other_bits),
        TEST(a_close_to_n_is_reported_by_the_last_pin),
        TEST(a_close_to_s_waits_for_excl_only),
        TEST(a_close_to_s_may_become_one_to_n),
        TEST(an_undone_close_lets_pins_in_again),
        TEST(a_waiter_goes_before_new_pins),
        TEST(full_pins_refuse_one_more),
        TEST(dirty_is_cleared_for_the_version_that_is_durable),
        TEST(a_copy_leaves_the_word_and_is_of_bytes_at_rest),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
