/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a record cost on its way through a ring, in one thread (no line changes hands) and
 * between two? The argument is the record's size. An iteration is one record pushed and popped;
 * between two threads the harness counts it at both, so that a record costs twice the figure.
 */
#include <ck_pr.h>
#include <sched.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/ring.h"
#include "bench/harness.h"

#define SLOTS 1024u
#define RECORD_BYTES_MAX 64u
/* A side that found nothing this many times lets the other have the cpu: there may be one only. */
#define IDLE_TURNS_MAX 1000u

struct rings {
    struct cf_spsc spsc;
    struct cf_mpsc mpsc;
    void *spsc_slots, *mpsc_slots;
};

static void *rings_open(uint64_t record_bytes, uint32_t threads)
{
    struct rings *rings = aligned_alloc(CF_CACHE_LINE,
                                        (sizeof *rings + CF_CACHE_LINE - 1) & ~(size_t)(CF_CACHE_LINE - 1));
    size_t bytes = cf_ring_bytes(SLOTS, (uint32_t)record_bytes);

    (void)threads;
    cf_assert(rings != NULL);
    cf_assert(record_bytes <= RECORD_BYTES_MAX);
    rings->spsc_slots = aligned_alloc(CF_CACHE_LINE, bytes);
    rings->mpsc_slots = aligned_alloc(CF_CACHE_LINE, bytes);
    cf_assert(rings->spsc_slots != NULL);
    cf_assert(rings->mpsc_slots != NULL);
    cf_spsc_init(&rings->spsc, rings->spsc_slots, SLOTS, (uint32_t)record_bytes);
    cf_mpsc_init(&rings->mpsc, rings->mpsc_slots, SLOTS, (uint32_t)record_bytes);
    return rings;
}

static void rings_close(void *state)
{
    struct rings *rings = state;

    free(rings->spsc_slots);
    free(rings->mpsc_slots);
    free(rings);
}

static void idle(uint32_t *turns)
{
    ck_pr_stall();
    if (++*turns > IDLE_TURNS_MAX) {
        sched_yield();
        *turns = 0;
    }
}

static void spsc_alone(void *state, uint32_t thread, uint64_t iterations)
{
    struct rings *rings = state;
    uint64_t record[RECORD_BYTES_MAX / sizeof(uint64_t)] = {0};

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        bool moved = cf_spsc_push(&rings->spsc, record) && cf_spsc_pop(&rings->spsc, record);

        cf_assert(moved);
    }
    bench_use(record[0]);
}

static void mpsc_alone(void *state, uint32_t thread, uint64_t iterations)
{
    struct rings *rings = state;
    uint64_t record[RECORD_BYTES_MAX / sizeof(uint64_t)] = {0};

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        bool moved = cf_mpsc_push(&rings->mpsc, record) && cf_mpsc_pop(&rings->mpsc, record);

        cf_assert(moved);
    }
    bench_use(record[0]);
}

/* Thread 0 pops what thread 1 pushes; both have the same number to do. */
static void spsc_pair(void *state, uint32_t thread, uint64_t iterations)
{
    struct rings *rings = state;
    uint64_t record[RECORD_BYTES_MAX / sizeof(uint64_t)] = {0};
    uint32_t turns = 0;

    for (uint64_t i = 0; i < iterations; i++)
        while (!(thread == 0 ? cf_spsc_pop(&rings->spsc, record) : cf_spsc_push(&rings->spsc, record)))
            idle(&turns);
    bench_use(record[0]);
}

static void mpsc_pair(void *state, uint32_t thread, uint64_t iterations)
{
    struct rings *rings = state;
    uint64_t record[RECORD_BYTES_MAX / sizeof(uint64_t)] = {0};
    uint32_t turns = 0;

    for (uint64_t i = 0; i < iterations; i++)
        while (!(thread == 0 ? cf_mpsc_pop(&rings->mpsc, record) : cf_mpsc_push(&rings->mpsc, record)))
            idle(&turns);
    bench_use(record[0]);
}

#define SIZES .args = {16, 64}, .args_count = 2
static const struct bench_case cases[] = {
    {.name = "spsc/alone", .open = rings_open, .run = spsc_alone, .close = rings_close, SIZES},
    {.name = "mpsc/alone", .open = rings_open, .run = mpsc_alone, .close = rings_close, SIZES},
    {.name = "spsc/pair", .open = rings_open, .run = spsc_pair, .close = rings_close, .threads = 2, SIZES},
    {.name = "mpsc/pair", .open = rings_open, .run = mpsc_pair, .close = rings_close, .threads = 2, SIZES},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
