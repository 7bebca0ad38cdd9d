/* SPDX-License-Identifier: Apache-2.0 */
/* Question: what does it cost to count a latency, and to ask for a percentile? */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hist.h"
#include "base/rng.h"
#include "bench/harness.h"

#define VALUES 4096u /* a power of two */

struct subject {
    struct cf_hist hist;
    uint64_t value[VALUES];
};

/* Latencies as they come: most near each other, some far out. */
static void *subject_open(uint64_t arg, uint32_t threads)
{
    struct subject *subject = calloc(1, sizeof *subject);
    struct cf_rng rng;

    (void)arg;
    (void)threads;
    cf_assert(subject != NULL);
    cf_rng_seed(&rng, 1);
    cf_hist_init(&subject->hist);
    for (uint32_t i = 0; i < VALUES; i++) {
        subject->value[i] = 1000 + cf_rng_below(&rng, cf_rng_chance(&rng, 0.01) ? 1000000 : 400);
        cf_hist_add(&subject->hist, subject->value[i]);
    }
    return subject;
}

static void add(void *state, uint32_t thread, uint64_t iterations)
{
    struct subject *subject = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++)
        cf_hist_add(&subject->hist, subject->value[i % VALUES]);
    bench_use(subject->hist.count);
}

static void percentile(void *state, uint32_t thread, uint64_t iterations)
{
    struct subject *subject = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++)
        bench_use(cf_hist_percentile(&subject->hist, 0.999));
}

static const struct bench_case cases[] = {
    {.name = "hist/add", .open = subject_open, .run = add, .close = free},
    {.name = "hist/percentile", .open = subject_open, .run = percentile, .close = free},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
