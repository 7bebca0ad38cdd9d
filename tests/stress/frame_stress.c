/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Four clients and an owner on few frames and more keys than frames. Clients pin in S and check that all bytes
 * of the frame are equal and of the block asked for; in X they write it anew. Those that find no way queue at
 * the owner. The owner loads, closes, undoes, raises, copies, cleans, frees and sweeps at random, and looks
 * after a queue or a close only when it was told to: by an unpin that returned true, or by a change of its
 * own. A shadow counts readers and writers without ordering anything.
 *
 * In the first test the changes of the owner come at any time. In the second it keeps off frames that somebody
 * queues for and off closes that only lack their report: there lost reports of closes hang the test, which
 * then ends with a dump. Not covered here: a lost report to a queue, when a later client's report of the same
 * frame makes up for it (tests/unit/engine/frame_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/rng.h"
#include "engine/pool.h"
#include "tests/unit/engine/frames_fixture.h"

#define CLIENTS 4u
#define FRAMES 6u
#define KEYS 9u
#define WORDS (CF_BLOCK_BYTES_MIN / sizeof(uint64_t))
#define PINS_PER_CLIENT (CF_TSAN ? 40000u : 300000u)
#define CHECK_TURNS 512u
#define HANG_LOOKS 256u
#define HANG_NS (20 * CF_NS_PER_S)

enum request_state { REQUEST_NONE, REQUEST_ASKED, REQUEST_GRANTED };

struct client {
    struct stress *stress;
    pthread_t thread;
    uint64_t seed;
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t request; /* enum request_state */
    struct cf_block_key key; /* [client] until it asks, then [owner] until granted */
    enum cf_mode mode;
    uint32_t frame; /* [owner] until granted */
    bool is_due;    /* [owner] look after it: it is new or its frame moved */
    uint64_t queued_count, pinned_count;
};

struct stress {
    struct frames_fixture fixture;
    struct client clients[CLIENTS];
    _Atomic uint32_t told[FRAMES];
    _Atomic uint32_t readers[FRAMES], writers[FRAMES]; /* the shadow, relaxed */
    _Atomic uint32_t done_count;
    enum cf_mode close_to[FRAMES]; /* [owner] while the frame is closing */
    bool is_reserved;              /* [const] the owner leaves alone what waits for a report */
    uint64_t closes_count, undone_count, copies_count, waited_closes_count, granted_count;
};

/* How long nobody who queues has been granted anything. */
struct progress {
    uint64_t granted_count, at_ns;
    uint32_t looks;
};

static struct cf_block_key key_of(uint64_t block)
{
    return (struct cf_block_key){.file = 5, .generation = 1, .block = block};
}

/* ---- clients ---- */

static void shadow_enter(struct stress *stress, uint32_t frame, enum cf_mode mode)
{
    uint32_t others;

    if (mode == CF_MODE_S) {
        cf_add_u32(&stress->readers[frame], 1);
        others = cf_peek_u32(&stress->writers[frame]);
    } else {
        others = cf_add_u32(&stress->writers[frame], 1) + cf_peek_u32(&stress->readers[frame]);
    }
    cf_assert_id(others == 0, "single writer");
}

static void shadow_leave(struct stress *stress, uint32_t frame, enum cf_mode mode)
{
    cf_add_u32(mode == CF_MODE_S ? &stress->readers[frame] : &stress->writers[frame], UINT32_MAX);
}

/* Plain accesses, so that ThreadSanitizer sees every one that the word does not order. */
static void check_bytes(const uint64_t *bytes, const struct cf_block_key *key)
{
    cf_assert(bytes[0] >> 32 == key->block);
    for (uint32_t w = 1; w < WORDS; w++)
        cf_assert(bytes[w] == bytes[0]);
}

static void use(struct client *client, uint32_t frame, const struct cf_block_key *key, enum cf_mode mode,
                bool exclude)
{
    struct stress *stress = client->stress;
    struct eng_frames *frames = stress->fixture.frames;
    uint64_t *bytes = eng_frames_data(frames, frame);

    shadow_enter(stress, frame, mode);
    check_bytes(bytes, key);
    if (mode == CF_MODE_S && exclude) {
        shadow_leave(stress, frame, CF_MODE_S);
        mode = eng_frame_exclude_try(frames, frame) ? CF_MODE_X : CF_MODE_S;
        shadow_enter(stress, frame, mode);
    }
    if (mode == CF_MODE_X) {
        uint64_t next = bytes[0] + 1;

        for (uint32_t w = 0; w < WORDS; w++)
            bytes[w] = next;
        eng_frames_at(frames, frame)->version++;
    }
    client->pinned_count++;
    shadow_leave(stress, frame, mode);
    if (eng_frame_unpin(frames, frame, mode, mode == CF_MODE_X))
        cf_publish_u32(&stress->told[frame], 1);
}

static void queue(struct client *client, const struct cf_block_key *key, enum cf_mode mode)
{
    client->key = *key;
    client->mode = mode;
    client->queued_count++;
    cf_publish_u32(&client->request, REQUEST_ASKED);
    while (cf_observe_u32(&client->request) != REQUEST_GRANTED)
        sched_yield();
    cf_publish_u32(&client->request, REQUEST_NONE);
    use(client, client->frame, key, mode, false);
}

static void *run_client(void *arg)
{
    struct client *client = arg;
    struct cf_rng rng;

    cf_rng_seed(&rng, client->seed);
    while (client->pinned_count < PINS_PER_CLIENT) {
        struct cf_block_key key = key_of(cf_rng_below(&rng, KEYS));
        enum cf_mode mode = cf_rng_chance(&rng, 0.3) ? CF_MODE_X : CF_MODE_S;
        uint32_t frame;

        if (eng_frame_pin_try(client->stress->fixture.frames, &key, mode, &frame) == ENG_PIN_OK)
            use(client, frame, &key, mode, cf_rng_chance(&rng, 0.1));
        else if (cf_rng_chance(&rng, 0.5))
            queue(client, &key, mode);
    }
    atomic_fetch_add(&client->stress->done_count, 1);
    return NULL;
}

/* ---- owner ---- */

static bool is_held(struct stress *stress, uint32_t frame)
{
    return (eng_frames_word(stress->fixture.frames, frame) & ENG_WORD_MODE) != CF_MODE_N;
}

static bool is_closing(struct stress *stress, uint32_t frame)
{
    return (eng_frames_word(stress->fixture.frames, frame) & ENG_WORD_CLOSING) != 0;
}

static bool is_asked(struct client *client)
{
    return cf_observe_u32(&client->request) == REQUEST_ASKED;
}

/* Does something wait for a report about this frame that may be under way? */
static bool is_reported_soon(struct stress *stress, uint32_t frame)
{
    uint64_t word = eng_frames_word(stress->fixture.frames, frame);

    if (word & ENG_WORD_CLOSING)
        return (word & (ENG_WORD_EXCL | ENG_WORD_PINS)) == 0;
    return (word & ENG_WORD_WAITER) != 0;
}

/* The frame's state moved: whoever queues for its block is looked after again. */
static void frame_moved(struct stress *stress, uint32_t frame)
{
    for (uint32_t c = 0; c < CLIENTS; c++) {
        struct client *client = &stress->clients[c];

        if (is_asked(client) && eng_frame_find_owner(stress->fixture.frames, &client->key) == frame)
            client->is_due = true;
    }
}

static void end_close(struct stress *stress, uint32_t frame)
{
    eng_frame_close_end_owner(stress->fixture.frames, frame, stress->close_to[frame]);
    if (stress->close_to[frame] == CF_MODE_N)
        eng_frame_free_owner(stress->fixture.frames, frame);
    else
        frame_moved(stress, frame);
    stress->closes_count++;
}

static void begin_close(struct stress *stress, uint32_t frame, enum cf_mode to)
{
    stress->close_to[frame] = to;
    if (eng_frame_close_begin_owner(stress->fixture.frames, frame, to))
        end_close(stress, frame);
    else
        stress->waited_closes_count++;
}

static void listen(struct stress *stress)
{
    for (uint32_t f = 0; f < FRAMES; f++) {
        if (cf_peek_u32(&stress->told[f]) == 0 || cf_swap_u32(&stress->told[f], 0) == 0)
            continue;
        if (is_closing(stress, f) &&
            eng_frame_close_ready_owner(stress->fixture.frames, f, stress->close_to[f]))
            end_close(stress, f);
        frame_moved(stress, f);
    }
}

static bool is_open(void *arg, uint32_t frame)
{
    cf_assert(is_held(arg, frame));
    return !is_closing(arg, frame);
}

static void load(struct stress *stress, const struct cf_block_key *key, enum cf_mode mode)
{
    struct eng_frames *frames = stress->fixture.frames;
    uint32_t frame = eng_frame_take_owner(frames, 0);

    if (frame == ENG_FRAME_NONE) {
        frame = eng_frame_victim_owner(frames, 0, is_open, stress);
        if (frame != ENG_FRAME_NONE)
            begin_close(stress, frame, CF_MODE_N);
        return;
    }
    for (uint32_t w = 0; w < WORDS; w++)
        ((uint64_t *)eng_frames_data(frames, frame))[w] = key->block << 32;
    eng_frame_open_owner(frames, frame, key, mode, false);
    frame_moved(stress, frame);
}

static void serve(struct stress *stress, struct client *client)
{
    struct eng_frames *frames = stress->fixture.frames;
    uint32_t frame = eng_frame_find_owner(frames, &client->key);
    bool is_awaited = false;

    if (frame == ENG_FRAME_NONE) {
        load(stress, &client->key, client->mode);
        client->is_due = true;
        return;
    }
    if (!client->is_due)
        return;
    client->is_due = false;
    eng_frame_waiter_owner(frames, frame, true);
    if (!is_closing(stress, frame) && client->mode == CF_MODE_X &&
        (eng_frames_word(frames, frame) & ENG_WORD_MODE) == CF_MODE_S)
        eng_frame_raise_owner(frames, frame);
    if (!eng_frame_pin_owner(frames, frame, client->mode))
        return;
    client->frame = frame;
    client->is_due = true; /* for its next request */
    stress->granted_count++;
    for (uint32_t c = 0; c < CLIENTS; c++) {
        struct client *other = &stress->clients[c];

        is_awaited |= other != client && is_asked(other) &&
                      memcmp(&other->key, &client->key, sizeof(other->key)) == 0;
    }
    eng_frame_waiter_owner(frames, frame, is_awaited);
    cf_publish_u32(&client->request, REQUEST_GRANTED);
}

static void disturb(struct stress *stress, struct cf_rng *rng)
{
    struct eng_frames *frames = stress->fixture.frames;
    uint32_t frame = (uint32_t)cf_rng_below(rng, FRAMES);
    uint64_t copy[WORDS], version, position;

    if (!is_held(stress, frame)) {
        struct cf_block_key key = key_of(cf_rng_below(rng, KEYS));

        if (eng_frame_find_owner(frames, &key) == ENG_FRAME_NONE)
            load(stress, &key, cf_rng_chance(rng, 0.5) ? CF_MODE_S : CF_MODE_X);
        return;
    }
    if (stress->is_reserved && is_reported_soon(stress, frame))
        return;
    switch (cf_rng_below(rng, 4)) {
    case 0:
        if (!is_closing(stress, frame)) {
            bool is_x = (eng_frames_word(frames, frame) & ENG_WORD_MODE) == CF_MODE_X;

            begin_close(stress, frame, is_x && cf_rng_chance(rng, 0.5) ? CF_MODE_S : CF_MODE_N);
        }
        if (is_closing(stress, frame) && cf_rng_chance(rng, 0.2)) {
            eng_frame_close_undo_owner(frames, frame);
            stress->undone_count++;
            frame_moved(stress, frame);
        }
        break;
    case 1:
        if (eng_frame_copy_owner(frames, frame, copy, &version, &position)) {
            check_bytes(copy, &eng_frames_at(frames, frame)->key);
            stress->copies_count += eng_frame_clean_owner(frames, frame, version);
        }
        break;
    case 2:
        frame = eng_frame_victim_owner(frames, 0, is_open, stress);
        if (frame != ENG_FRAME_NONE && cf_rng_chance(rng, 0.5))
            begin_close(stress, frame, CF_MODE_N);
        break;
    default:
        break;
    }
}

/* Nobody was granted anything for so long and for so many turns: a report was lost, however busy the machine is. */
static void check_progress(struct stress *stress, struct progress *progress)
{
    uint64_t now_ns = cf_now_ns();

    if (progress->granted_count != stress->granted_count) {
        *progress = (struct progress){.granted_count = stress->granted_count, .at_ns = now_ns};
    } else if (++progress->looks > HANG_LOOKS && now_ns - progress->at_ns > HANG_NS) {
        eng_frames_dump(stress->fixture.frames, stderr);
        cf_assert_id(false, "every report arrives");
    }
}

static void run_owner(struct stress *stress)
{
    struct progress progress = {.at_ns = cf_now_ns()};
    struct cf_rng rng;

    cf_rng_seed(&rng, 0x77);
    for (uint64_t turn = 0; atomic_load(&stress->done_count) < CLIENTS; turn++) {
        listen(stress);
        for (uint32_t c = 0; c < CLIENTS; c++)
            if (is_asked(&stress->clients[c]))
                serve(stress, &stress->clients[c]);
        if (turn % 4 == 0)
            disturb(stress, &rng);
        if (turn % CHECK_TURNS == 0) {
            eng_frames_check_owner(stress->fixture.frames);
            check_progress(stress, &progress);
        }
        sched_yield();
    }
}

static void run(bool is_reserved)
{
    struct stress *stress = aligned_alloc(CF_CACHE_LINE, sizeof(*stress));
    uint64_t queued_count = 0;

    assert_non_null(stress);
    memset(stress, 0, sizeof(*stress));
    stress->is_reserved = is_reserved;
    frames_fixture_open(&stress->fixture, 0, FRAMES);
    for (uint32_t c = 0; c < CLIENTS; c++) {
        struct client *client = &stress->clients[c];

        client->stress = stress;
        client->seed = 0x100 + c;
        client->is_due = true;
        assert_int_equal(pthread_create(&client->thread, NULL, run_client, client), 0);
    }
    run_owner(stress);
    for (uint32_t c = 0; c < CLIENTS; c++) {
        assert_int_equal(pthread_join(stress->clients[c].thread, NULL), 0);
        queued_count += stress->clients[c].queued_count;
    }
    for (uint32_t f = 0; f < FRAMES; f++)
        assert_int_equal(eng_frames_word(stress->fixture.frames, f) & (ENG_WORD_PINS | ENG_WORD_EXCL), 0);
    eng_frames_check_owner(stress->fixture.frames);
    printf("queued %llu closes %llu waited %llu undone %llu copies %llu\n", (unsigned long long)queued_count,
           (unsigned long long)stress->closes_count, (unsigned long long)stress->waited_closes_count,
           (unsigned long long)stress->undone_count, (unsigned long long)stress->copies_count);
    /* It was a test only if each of these came about. */
    assert_true(queued_count > 0);
    assert_true(stress->closes_count > 0);
    assert_true(stress->waited_closes_count > 0);
    assert_true(stress->undone_count > 0);
    assert_true(stress->copies_count > 0);
    frames_fixture_close(&stress->fixture);
    free(stress);
}

static void clients_and_owner_agree(void **state)
{
    (void)state;
    run(false);
}

static void every_report_arrives(void **state)
{
    (void)state;
    run(true);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(clients_and_owner_agree),
        cmocka_unit_test(every_report_arrives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
