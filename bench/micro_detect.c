/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does Tarjan's search cost an iteration over N waiters with two random edges each, and over one cycle of
 * all of them? bench/detector.c asks the same an edge, for more shapes, beside Boost.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/rng.h"
#include "bench/harness.h"
#include "grd/detect_graph.h"

#define EDGES_A_WAITER 2u
#define LINE 64u

struct waits {
    struct grd_detect_graph graph;
    void *memory;
};

/* Each waiter waits for the next one, or for two that are drawn. */
static uint32_t target_of(uint32_t from, uint32_t count, struct cf_rng *rng)
{
    return rng == NULL ? (from + 1) % count : (uint32_t)cf_rng_below(rng, count);
}

static struct waits *waits_open(uint32_t count, uint32_t edges_each, uint64_t seed)
{
    struct waits *waits = calloc(1, sizeof *waits);
    uint64_t bytes = grd_detect_graph_bytes(count, count * edges_each);
    struct cf_rng rng;

    cf_assert(waits != NULL);
    waits->memory = aligned_alloc(LINE, (bytes + LINE - 1) / LINE * LINE);
    cf_assert(waits->memory != NULL);
    grd_detect_graph_open(&waits->graph, count, count * edges_each, waits->memory);
    grd_detect_graph_begin(&waits->graph, count);
    for (uint32_t from = 0; from < count; from++)
        for (uint32_t e = 0; e < edges_each; e++)
            grd_detect_graph_count(&waits->graph, from);
    grd_detect_graph_place(&waits->graph);
    cf_rng_seed(&rng, seed);
    for (uint32_t from = 0; from < count; from++)
        for (uint32_t e = 0; e < edges_each; e++)
            grd_detect_graph_put(&waits->graph, from, target_of(from, count, edges_each > 1 ? &rng : NULL));
    grd_detect_graph_seal(&waits->graph);
    return waits;
}

static void *random_open(uint64_t waiters, uint32_t threads)
{
    (void)threads;
    return waits_open((uint32_t)waiters, EDGES_A_WAITER, 1);
}

static void *cycle_open(uint64_t waiters, uint32_t threads)
{
    (void)threads;
    return waits_open((uint32_t)waiters, 1, 1);
}

static void waits_close(void *state)
{
    struct waits *waits = state;

    free(waits->memory);
    free(waits);
}

static void search(void *state, uint32_t thread, uint64_t iterations)
{
    struct waits *waits = state;
    struct grd_detect_graph *graph = &waits->graph;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        grd_detect_graph_unvisit(graph);
        bench_use(grd_detect_scc_all(graph));
    }
}

#define WAITERS .args = {100, 1000, 10000}, .args_count = 3, .batch = 1
static const struct bench_case cases[] = {
    {.name = "tarjan/random", .open = random_open, .run = search, .close = waits_close, WAITERS},
    {.name = "tarjan/cycle", .open = cycle_open, .run = search, .close = waits_close, WAITERS},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
