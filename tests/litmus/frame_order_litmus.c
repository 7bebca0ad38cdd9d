/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Claims of engine/frame.h and engine/pool.h about memory order:
 *   what was written under excl is seen by the next that pins (plain bytes: ThreadSanitizer checks it too);
 *   the generation moves before bytes do: a peer that copies through a view of its own and finds the word's
 *   stable bits unchanged has bytes of one version. The peer's copies are relaxed atomics here, plain in the
 *   transport.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cachefusion/status.h>

#include "base/assert.h"
#include "base/rng.h"
#include "engine/pool.h"
#include "tests/unit/engine/frames_fixture.h"

#define THREADS 3u
#define CHANGES 100000u /* a thread */
#define PULLS 1000000u
#define REST_PAUSES_MAX 64u /* between two changes, so that there are times to copy in */
#define COPY_WORDS 64u
#define FRAME_BYTES 2048u

static const struct cf_block_key key = {.file = 1, .generation = 1, .block = 42};
static const struct cf_block_key other_key = {.file = 1, .generation = 1, .block = 43};

/* ---- excl ---- */

static void *change(void *arg)
{
    struct frames_fixture *fixture = arg;
    struct cf_rng rng;
    uint64_t newest = 0;

    cf_rng_seed(&rng, (uint64_t)(uintptr_t)pthread_self());
    for (uint32_t i = 0; i < CHANGES;) {
        enum cf_mode mode = cf_rng_below(&rng, 2) == 0 ? CF_MODE_S : CF_MODE_X;
        uint64_t *bytes;
        uint32_t frame;

        if (eng_frame_pin_try(fixture->frames, &key, mode, &frame) != ENG_PIN_OK) {
            sched_yield();
            continue;
        }
        bytes = eng_frames_data(fixture->frames, frame);
        cf_assert(bytes[0] == bytes[FRAME_BYTES / sizeof(uint64_t) - 1]);
        cf_assert(bytes[0] >= newest);
        if (mode == CF_MODE_X) {
            bytes[0]++;
            bytes[FRAME_BYTES / sizeof(uint64_t) - 1]++;
            i++;
        }
        newest = bytes[0];
        (void)eng_frame_unpin(fixture->frames, frame, mode, mode == CF_MODE_X);
    }
    return NULL;
}

static void what_excl_wrote_is_seen_by_the_next_pin(void **state)
{
    struct frames_fixture fixture;
    pthread_t threads[THREADS];
    uint32_t frame;

    (void)state;
    frames_fixture_open(&fixture, 0, 1);
    frame = frames_fixture_load(&fixture, 0, &key, CF_MODE_X, 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, change, &fixture), 0);
    for (uint32_t i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(*(uint64_t *)eng_frames_data(fixture.frames, frame), THREADS * CHANGES);
    frames_fixture_close(&fixture);
}

/* ---- generation ---- */

struct peer {
    const _Atomic uint64_t *word; /* views of its own, read-only */
    const _Atomic uint64_t *bytes;
    _Atomic bool is_done;
    uint64_t accepted_count, torn_count, mixed_count, wrong_count;
};

static void *pull(void *arg)
{
    struct peer *peer = arg;
    uint64_t copy[COPY_WORDS];

    for (uint32_t i = 0; i < PULLS; i++) {
        uint64_t before = cf_observe_u64(peer->word), after;
        bool is_mixed = false;

        /* Nobody sends word of a frame that is N or being changed; the writer goes on until this ends. */
        while ((before & ENG_WORD_MODE) == CF_MODE_N || (before & ENG_WORD_EXCL)) {
            cf_pause();
            before = cf_observe_u64(peer->word);
        }
        for (uint32_t w = 0; w < COPY_WORDS; w++)
            copy[w] = cf_peek_u64(&peer->bytes[w]);
        cf_fence_after_copy(); /* partner: eng_pool_generation_fence */
        after = cf_peek_u64(peer->word);
        for (uint32_t w = 1; w < COPY_WORDS; w++)
            is_mixed |= copy[w] != copy[0];
        peer->mixed_count += is_mixed;
        if ((before ^ after) & ENG_WORD_STABLE) {
            peer->torn_count++;
            continue;
        }
        peer->accepted_count++;
        peer->wrong_count += is_mixed;
    }
    atomic_store(&peer->is_done, true);
    return NULL;
}

static void fill(_Atomic uint64_t *bytes, uint64_t version)
{
    for (uint32_t w = 0; w < FRAME_BYTES / sizeof(uint64_t); w++)
        cf_poke_u64(&bytes[w], version);
}

/* Changes the frame under excl, and every eighth time gives it to another block. */
static void change_until(struct eng_frames *frames, const _Atomic bool *is_done)
{
    const struct cf_block_key *held = &key;
    uint64_t version = 0;
    uint32_t frame = eng_frame_take_owner(frames, 0);
    struct cf_rng rng;

    cf_rng_seed(&rng, 0x31);
    cf_assert(frame == 0);
    fill(eng_frames_data(frames, frame), ++version);
    eng_frame_open_owner(frames, frame, held, CF_MODE_X, false);
    while (!atomic_load((_Atomic bool *)(uintptr_t)is_done)) {
        cf_assert(eng_frame_pin_try(frames, held, CF_MODE_X, &frame) == ENG_PIN_OK);
        fill(eng_frames_data(frames, frame), ++version);
        cf_assert(!eng_frame_unpin(frames, frame, CF_MODE_X, true));
        for (uint64_t rest = cf_rng_below(&rng, REST_PAUSES_MAX); rest > 0; rest--)
            cf_pause();
        if (version % 8 != 0)
            continue;
        held = held == &key ? &other_key : &key;
        cf_assert(eng_frame_close_begin_owner(frames, frame, CF_MODE_N));
        eng_frame_close_end_owner(frames, frame, CF_MODE_N);
        eng_frame_free_owner(frames, frame);
        cf_assert(eng_frame_take_owner(frames, 0) == 0);
        fill(eng_frames_data(frames, 0), ++version);
        eng_frame_open_owner(frames, 0, held, CF_MODE_X, false);
    }
}

static void a_copy_under_one_generation_is_of_one_version(void **state)
{
    enum { REGION_BYTES = 8192, WORDS_AT = 4096 };
    struct eng_frames_options options = {.count = {1}, .allocator = cf_allocator_default(), .seed = 1};
    int fd = memfd_create("frame_order_litmus", MFD_CLOEXEC);
    struct eng_frames *frames = NULL;
    struct peer peer = {.is_done = false};
    pthread_t thread;
    uint8_t *own, *view;

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, REGION_BYTES), 0);
    own = mmap(NULL, REGION_BYTES, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
    view = mmap(NULL, REGION_BYTES, PROT_READ, MAP_SHARED, fd, 0);
    assert_ptr_not_equal(own, MAP_FAILED);
    assert_ptr_not_equal(view, MAP_FAILED);
    options.base = own;
    options.words = (_Atomic uint64_t *)(void *)(own + WORDS_AT);
    peer.bytes = (const _Atomic uint64_t *)(const void *)view;
    peer.word = (const _Atomic uint64_t *)(const void *)(view + WORDS_AT);
    assert_int_equal(eng_frames_open(&options, &frames), CF_OK);
    assert_int_equal(pthread_create(&thread, NULL, pull, &peer), 0);
    change_until(frames, &peer.is_done);
    assert_int_equal(pthread_join(thread, NULL), 0);
    printf("copies accepted %llu refused %llu, mixed among all %llu\n",
           (unsigned long long)peer.accepted_count, (unsigned long long)peer.torn_count,
           (unsigned long long)peer.mixed_count);
    assert_true(peer.accepted_count > 0);
    assert_true(peer.torn_count > 0);
    assert_int_equal(peer.wrong_count, 0);
    eng_frames_close(&frames);
    assert_int_equal(munmap(own, REGION_BYTES), 0);
    assert_int_equal(munmap(view, REGION_BYTES), 0);
    assert_int_equal(close(fd), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_excl_wrote_is_seen_by_the_next_pin),
        cmocka_unit_test(a_copy_under_one_generation_is_of_one_version),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
