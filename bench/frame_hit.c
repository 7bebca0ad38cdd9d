/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a get and put of a cached block cost?
 *
 * Pins and unpins blocks that are in the cache, each thread blocks of its own: in S, in X with dirty, and
 * in S through the functions instead of their inlined bodies. Prints nanoseconds a pair, 1 thread and 2,
 * median, best and worst of several rounds. --once N KIND does N pairs of one kind and nothing else, for a
 * count of instructions:
 *
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null bench/frame_hit --once 0 s
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null bench/frame_hit --once 100000 s
 *
 * The difference of the two totals, divided by 100000, is instructions a pair; some 10 of them are the loop.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cachefusion/status.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/units.h"
#include "engine/pool.h"

#define THREADS_MAX 2u
#define BLOCKS 1024u /* a thread: words and descriptors fit the second-level cache */
#define ROUNDS 9u
#define PAIRS 2000000u
#define CLASS 2u

struct cache {
    struct eng_frames *frames;
    struct cf_block_key keys[THREADS_MAX][BLOCKS];
    uint8_t *base;
    _Atomic uint64_t *words;
};

struct run {
    struct cache *cache;
    uint32_t thread;
    uint32_t kind;
    _Atomic uint32_t *started; /* threads that are ready */
    uint32_t threads;
    uint64_t ns;
};

static void cache_open(struct cache *cache)
{
    struct eng_frames_options options = {.allocator = cf_allocator_default(), .seed = 0x51};
    enum cf_rc rc;

    options.count[CLASS] = THREADS_MAX * BLOCKS;
    cache->base = aligned_alloc(4096, eng_frames_bytes(options.count));
    cache->words = calloc(options.count[CLASS], sizeof(*cache->words));
    cf_assert(cache->base != NULL);
    cf_assert(cache->words != NULL);
    options.base = cache->base;
    options.words = cache->words;
    rc = eng_frames_open(&options, &cache->frames);
    cf_assert(rc == CF_OK);
    for (uint32_t t = 0; t < THREADS_MAX; t++) {
        for (uint32_t i = 0; i < BLOCKS; i++) {
            uint32_t frame = eng_frame_take_owner(cache->frames, CLASS);

            cache->keys[t][i] = (struct cf_block_key){.file = 1, .generation = 1, .block = t * BLOCKS + i};
            eng_frame_open_owner(cache->frames, frame, &cache->keys[t][i], CF_MODE_X, false);
        }
    }
}

static void cache_close(struct cache *cache)
{
    eng_frames_check_owner(cache->frames);
    eng_frames_close(&cache->frames);
    free((void *)cache->words);
    free(cache->base);
}

/* A stride that is prime to the number of blocks: neither the same block nor its neighbour. */
static inline const struct cf_block_key *pick(const struct cache *cache, uint32_t thread, uint64_t i)
{
    return &cache->keys[thread][i * 37 % BLOCKS];
}

static __attribute__((noinline)) void pairs_s(struct cache *cache, uint32_t thread, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t frame;

        if (eng_pool_pin_try(cache->frames, pick(cache, thread, i), CF_MODE_S, &frame) != ENG_PIN_OK)
            cf_unreachable();
        if (eng_pool_unpin(cache->frames->words, frame, CF_MODE_S, false))
            cf_unreachable();
    }
}

static __attribute__((noinline)) void pairs_x(struct cache *cache, uint32_t thread, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t frame;

        if (eng_pool_pin_try(cache->frames, pick(cache, thread, i), CF_MODE_X, &frame) != ENG_PIN_OK)
            cf_unreachable();
        if (eng_pool_unpin(cache->frames->words, frame, CF_MODE_X, true))
            cf_unreachable();
    }
}

static __attribute__((noinline)) void pairs_called(struct cache *cache, uint32_t thread, uint64_t count)
{
    for (uint64_t i = 0; i < count; i++) {
        uint32_t frame;

        if (eng_frame_pin_try(cache->frames, pick(cache, thread, i), CF_MODE_S, &frame) != ENG_PIN_OK)
            cf_unreachable();
        if (eng_frame_unpin(cache->frames, frame, CF_MODE_S, false))
            cf_unreachable();
    }
}

static const struct {
    const char *name;
    void (*pairs)(struct cache *cache, uint32_t thread, uint64_t count);
} kinds[] = {{"s", pairs_s}, {"x", pairs_x}, {"s_called", pairs_called}};

static void *run_thread(void *arg)
{
    struct run *run = arg;
    uint64_t begin_ns;

    kinds[run->kind].pairs(run->cache, run->thread, BLOCKS);
    atomic_fetch_add(run->started, 1);
    while (atomic_load(run->started) < run->threads)
        cf_pause();
    begin_ns = cf_now_ns();
    kinds[run->kind].pairs(run->cache, run->thread, PAIRS);
    run->ns = cf_now_ns() - begin_ns;
    return NULL;
}

static int compare(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(struct cache *cache, uint32_t kind, uint32_t threads)
{
    double ns[ROUNDS];

    for (uint32_t r = 0; r < ROUNDS; r++) {
        pthread_t ids[THREADS_MAX];
        struct run runs[THREADS_MAX];
        _Atomic uint32_t started = 0;
        double sum_ns = 0;

        for (uint32_t t = 0; t < threads; t++) {
            runs[t] = (struct run){cache, t, kind, &started, threads, 0};
            if (pthread_create(&ids[t], NULL, run_thread, &runs[t]) != 0)
                cf_unreachable();
        }
        for (uint32_t t = 0; t < threads; t++) {
            if (pthread_join(ids[t], NULL) != 0)
                cf_unreachable();
            sum_ns += (double)runs[t].ns;
        }
        ns[r] = sum_ns / threads / PAIRS;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), compare);
    printf("kind %s threads %u ns_per_pair median %.1f best %.1f worst %.1f\n", kinds[kind].name, threads,
           ns[ROUNDS / 2], ns[0], ns[ROUNDS - 1]);
    printf("figure %s-%u-threads %.6g ns\n", kinds[kind].name, threads, ns[ROUNDS / 2]);
}

/* The kind of this name, or -1. */
static int find_kind(const char *name)
{
    for (size_t i = 0; i < CF_COUNTOF(kinds); i++)
        if (strcmp(kinds[i].name, name) == 0)
            return (int)i;
    return -1;
}

int main(int argc, char **argv)
{
    struct cache *cache;
    uint64_t count = 0;
    bool is_once = argc == 4 && strcmp(argv[1], "--once") == 0 && find_kind(argv[3]) >= 0;

    if (argc != 1 && (!is_once || cf_parse_u64(argv[2], &count) != 0)) {
        fprintf(stderr, "usage: frame_hit [--once PAIRS s|x|s_called]\n");
        return 2;
    }
    cache = calloc(1, sizeof(*cache));
    cf_assert(cache != NULL);
    cache_open(cache);
    if (is_once) {
        kinds[find_kind(argv[3])].pairs(cache, 0, count);
    } else {
        for (uint32_t threads = 1; threads <= THREADS_MAX; threads++)
            for (uint32_t kind = 0; kind < CF_COUNTOF(kinds); kind++)
                measure(cache, kind, threads);
    }
    cache_close(cache);
    free(cache);
    return 0;
}
