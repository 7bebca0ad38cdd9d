/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: second chance, what the sweep passes over, refusal by the caller, its bound. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "tests/unit/engine/frames_fixture.h"

#define FRAMES 8u

static struct cf_block_key key_of(uint64_t block)
{
    return (struct cf_block_key){.file = 1, .generation = 1, .block = block};
}

/* All frames held in X and without ref: frame i holds block i. */
static int setup(void **state)
{
    static struct frames_fixture fixture;

    frames_fixture_open(&fixture, 0, FRAMES);
    for (uint32_t i = 0; i < FRAMES; i++) {
        struct cf_block_key key = key_of(i);

        if (frames_fixture_load(&fixture, 0, &key, CF_MODE_X, 0) != i)
            return -1;
        atomic_fetch_and(&fixture.words[i], ~ENG_WORD_REF);
    }
    *state = &fixture;
    return 0;
}

static int teardown(void **state)
{
    frames_fixture_close(*state);
    return 0;
}

static uint32_t pin(struct frames_fixture *fixture, uint64_t block, enum cf_mode mode)
{
    struct cf_block_key key = key_of(block);
    uint32_t frame = ENG_FRAME_NONE;

    assert_int_equal(eng_frame_pin_try(fixture->frames, &key, mode, &frame), ENG_PIN_OK);
    return frame;
}

static void the_hand_goes_round(void **state)
{
    struct frames_fixture *fixture = *state;

    for (uint32_t i = 0; i < 2 * FRAMES; i++)
        assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), i % FRAMES);
}

static void a_used_frame_gets_one_more_turn(void **state)
{
    struct frames_fixture *fixture = *state;

    assert_false(eng_frame_unpin(fixture->frames, pin(fixture, 0, CF_MODE_S), CF_MODE_S, false));
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 1);
    for (uint32_t i = 2; i < FRAMES; i++)
        assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), i);
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 0);
}

static void all_used_still_gives_one(void **state)
{
    struct frames_fixture *fixture = *state;

    for (uint32_t i = 0; i < FRAMES; i++)
        assert_false(eng_frame_unpin(fixture->frames, pin(fixture, i, CF_MODE_S), CF_MODE_S, false));
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 0);
}

static void it_passes_over_frames_in_use(void **state)
{
    struct frames_fixture *fixture = *state;

    pin(fixture, 0, CF_MODE_S);
    pin(fixture, 1, CF_MODE_X);
    (void)eng_frame_close_begin_owner(fixture->frames, 2, CF_MODE_N);
    eng_frame_waiter_owner(fixture->frames, 3, true);
    assert_true(eng_frame_close_begin_owner(fixture->frames, 4, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, 4, CF_MODE_N); /* taken */
    assert_true(eng_frame_close_begin_owner(fixture->frames, 5, CF_MODE_N));
    eng_frame_close_end_owner(fixture->frames, 5, CF_MODE_N);
    eng_frame_free_owner(fixture->frames, 5);
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 6);
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 7);
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, NULL, NULL), 6);
}

struct refusal {
    uint32_t asked_count;
    uint32_t accepted; /* ENG_FRAME_NONE: none */
};

static bool accept(void *arg, uint32_t frame)
{
    struct refusal *refusal = arg;

    refusal->asked_count++;
    return frame == refusal->accepted;
}

static void the_caller_may_refuse(void **state)
{
    struct frames_fixture *fixture = *state;
    struct refusal refusal = {.accepted = 5};

    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, accept, &refusal), 5);
    assert_int_equal(refusal.asked_count, 6);
    refusal = (struct refusal){.accepted = ENG_FRAME_NONE};
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 0, accept, &refusal), ENG_FRAME_NONE);
    assert_int_equal(refusal.asked_count, 2 * FRAMES);
    /* A class without frames offers none. */
    assert_int_equal(eng_frame_victim_owner(fixture->frames, 1, NULL, NULL), ENG_FRAME_NONE);
}

#define TEST(name) cmocka_unit_test_setup_teardown(name, setup, teardown)

int main(void)
{
    const struct CMUnitTest tests[] = {
        TEST(the_hand_goes_round),      TEST(a_used_frame_gets_one_more_turn),
        TEST(all_used_still_gives_one), TEST(it_passes_over_frames_in_use),
        TEST(the_caller_may_refuse),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
