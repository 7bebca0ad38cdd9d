/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a pin and unpin of a cached frame cost, and how much more when two threads want the same frame?
 *
 * hit: a thread by itself; apart: two threads, each at frames of its own; same: both pin one frame in S, so that its
 * word changes hands; exclude: both want one frame in X and try until they have it.
 */
#include <ck_pr.h>
#include <sched.h>
#include <stdlib.h>

#include "base/assert.h"
#include "bench/harness.h"
#include "engine/pool.h"

#define FRAMES 256u /* of a thread */
#define THREADS 2u
#define CLASS 2u
/* A thread that was refused this often lets the other have the processor: there may be one only. */
#define REFUSALS_MAX 1000u

struct cache {
    struct eng_frames *frames;
    struct cf_block_key keys[THREADS][FRAMES];
    void *base;
    void *words;
};

static void *cache_open(uint64_t arg, uint32_t threads)
{
    struct cache *cache = calloc(1, sizeof *cache);
    struct eng_frames_options options = {.allocator = cf_allocator_default(), .seed = 1};
    enum cf_rc rc;

    (void)arg;
    (void)threads;
    cf_assert(cache != NULL);
    options.count[CLASS] = THREADS * FRAMES;
    cache->base = aligned_alloc(4096, eng_frames_bytes(options.count));
    cache->words = calloc(options.count[CLASS], sizeof(*options.words));
    cf_assert(cache->base != NULL);
    cf_assert(cache->words != NULL);
    options.base = cache->base;
    options.words = cache->words;
    rc = eng_frames_open(&options, &cache->frames);
    cf_assert(rc == CF_OK);
    for (uint32_t t = 0; t < THREADS; t++)
        for (uint32_t i = 0; i < FRAMES; i++) {
            cache->keys[t][i] = (struct cf_block_key){.file = 1, .generation = 1, .block = t * FRAMES + i};
            eng_frame_open_owner(cache->frames, eng_frame_take_owner(cache->frames, CLASS),
                                 &cache->keys[t][i], CF_MODE_X, false);
        }
    return cache;
}

static void cache_close(void *state)
{
    struct cache *cache = state;

    eng_frames_close(&cache->frames);
    free(cache->words);
    free(cache->base);
    free(cache);
}

static void pair(struct cache *cache, const struct cf_block_key *key, enum cf_mode mode)
{
    uint32_t frame, refusals = 0;

    while (eng_pool_pin_try(cache->frames, key, mode, &frame) != ENG_PIN_OK) {
        ck_pr_stall();
        if (++refusals % REFUSALS_MAX == 0)
            sched_yield();
    }
    /* Nobody waits at the word, so nobody is to be woken. */
    bench_use(eng_pool_unpin(cache->frames->words, frame, mode, false));
}

static void own(void *state, uint32_t thread, uint64_t iterations)
{
    struct cache *cache = state;

    for (uint64_t i = 0; i < iterations; i++)
        pair(cache, &cache->keys[thread][i * 37 % FRAMES], CF_MODE_S);
}

static void own_x(void *state, uint32_t thread, uint64_t iterations)
{
    struct cache *cache = state;

    for (uint64_t i = 0; i < iterations; i++)
        pair(cache, &cache->keys[thread][i * 37 % FRAMES], CF_MODE_X);
}

static void same(void *state, uint32_t thread, uint64_t iterations)
{
    struct cache *cache = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++)
        pair(cache, &cache->keys[0][0], CF_MODE_S);
}

static void exclude(void *state, uint32_t thread, uint64_t iterations)
{
    struct cache *cache = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++)
        pair(cache, &cache->keys[0][0], CF_MODE_X);
}

static const struct bench_case cases[] = {
    {.name = "frame/hit-s", .open = cache_open, .run = own, .close = cache_close},
    {.name = "frame/hit-x", .open = cache_open, .run = own_x, .close = cache_close},
    {.name = "frame/apart-s", .open = cache_open, .run = own, .close = cache_close, .threads = THREADS},
    {.name = "frame/same-s", .open = cache_open, .run = same, .close = cache_close, .threads = THREADS},
    {.name = "frame/exclude-x", .open = cache_open, .run = exclude, .close = cache_close, .threads = THREADS},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
