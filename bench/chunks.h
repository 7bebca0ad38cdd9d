/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_CHUNKS_H
#define BENCH_CHUNKS_H

/*
 * Time is taken a chunk of steps at a time and the median chunk is the figure, so that a processor that is taken away for
 * milliseconds does not show.
 */
#include <stdint.h>
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"

#define BENCH_CHUNKS 1024u

struct bench_chunks {
    uint64_t ns[BENCH_CHUNKS];
    uint64_t began_ns;
    uint64_t each; /* steps */
    uint64_t count;
};

static inline int bench_by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* steps: BENCH_CHUNKS at least. */
static inline void bench_chunks_begin(struct bench_chunks *chunks, uint64_t steps)
{
    *chunks = (struct bench_chunks){.began_ns = cf_now_ns(), .each = steps / BENCH_CHUNKS};
}

/* `done` steps have been made in all. */
static inline void bench_chunks_step(struct bench_chunks *chunks, uint64_t done)
{
    uint64_t now;

    if (chunks->count == BENCH_CHUNKS || done < (chunks->count + 1) * chunks->each)
        return;
    now = cf_now_ns();
    chunks->ns[chunks->count++] = now - chunks->began_ns;
    chunks->began_ns = now;
}

/* Picoseconds a step of the median chunk. */
static inline uint64_t bench_chunks_median(struct bench_chunks *chunks)
{
    cf_assert(chunks->count != 0);
    qsort(chunks->ns, chunks->count, sizeof(chunks->ns[0]), bench_by_value);
    return chunks->ns[chunks->count / 2] * 1000 / chunks->each;
}

#endif
