/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a directory operation cost at N entries?
 *
 *   find     the entry of a block that is there
 *   miss     the answer that a block is not there
 *   grant    get, a new tenure, a holder set; settle
 *   release  find, the holder removed; settle: the entry is idle
 *   evict    get of a new block in a full directory: an idle entry goes, the new one comes
 *   mix      of ten: six find, two grant, two release
 *
 * Blocks are drawn at random, so that beyond the caches each operation meets lines nobody has touched for long. One
 * by one, and in batches of 16 that ask for their lines first. Prints million operations a second, the median of
 * several rounds, with the worst and the best round, in processor time of the thread, and bytes an entry, all included.
 *
 * And what is the longest step while it fills from nothing, and while all of it is replaced once? Each step is timed by
 * the wall clock; the fill is repeated, and a step of chance (an interrupt, another program) is not at the same place again: of
 * each STRETCH of steps the least of the repetitions' longest counts, and of these the longest.
 *
 *   grd_directory [--entries N] [--rounds N] [--small-pages on]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/units.h"
#include "bench/facts.h"
#include "bench/harness.h"
#include "grd/directory.h"

#define BATCH 16u
#define OPERATIONS (BATCH << 13) /* a round */
#define ROUNDS_MAX 64u
#define STRETCH 16u
#define FILLS 4u

struct load {
    struct grd_directory *directory;
    uint64_t entries;
    uint64_t next_block; /* was never asked for */
    struct cf_rng rng;
};

/* One operation as drawn before the clock starts. */
struct op {
    struct cf_block_key key;
    uint64_t hash;
    uint32_t what; /* of mix */
};

static void draw(struct op *op, uint64_t block)
{
    op->key = (struct cf_block_key){.file = 7, .generation = 1, .block = block};
    op->hash = cf_mix64(block, UINT64_C(0x9e3779b97f4a7c15));
}

static void do_find(struct load *load, const struct op *op)
{
    struct grd_entry *entry = grd_entry_find(load->directory, &op->key, op->hash);

    bench_use(entry ? entry->version : 1);
}

static void do_grant(struct load *load, const struct op *op)
{
    struct grd_entry *entry = grd_entry_get(load->directory, &op->key, op->hash, (uint32_t)op->hash & 4095);
    struct grd_holder holder = {.node = op->hash >> 62, .tenure = grd_entry_tenure(load->directory, entry)};

    grd_holder_set(load->directory, entry, &holder);
    grd_entry_settle(load->directory, entry);
}

static void do_release(struct load *load, const struct op *op)
{
    struct grd_entry *entry = grd_entry_find(load->directory, &op->key, op->hash);

    if (entry == NULL)
        return;
    grd_holder_remove(load->directory, entry, (uint16_t)(op->hash >> 62));
    grd_entry_settle(load->directory, entry);
}

static void do_evict(struct load *load, const struct op *op)
{
    struct grd_entry *entry = grd_entry_get(load->directory, &op->key, op->hash, (uint32_t)op->hash & 4095);

    grd_entry_settle(load->directory, entry);
}

static void do_mix(struct load *load, const struct op *op)
{
    if (op->what < 6)
        do_find(load, op);
    else if (op->what < 8)
        do_grant(load, op);
    else
        do_release(load, op);
}

static const struct kind {
    const char *name;
    void (*run)(struct load *load, const struct op *op);
    bool is_new; /* of blocks that were never asked for */
} kinds[] = {
    {"find", do_find, false},       {"grant", do_grant, false}, {"mix", do_mix, false},
    {"release", do_release, false}, {"miss", do_find, true},    {"evict", do_evict, true},
};

static void run_one_by_one(struct load *load, const struct kind *kind, const struct op *ops)
{
    for (uint32_t i = 0; i < OPERATIONS; i++)
        kind->run(load, &ops[i]);
}

static void run_in_batches(struct load *load, const struct kind *kind, const struct op *ops)
{
    for (uint32_t i = 0; i < OPERATIONS; i += BATCH) {
        for (uint32_t b = 0; b < BATCH; b++)
            grd_entry_prefetch(load->directory, ops[i + b].hash);
        for (uint32_t b = 0; b < BATCH; b++)
            grd_entry_prefetch_record(load->directory, ops[i + b].hash);
        for (uint32_t b = 0; b < BATCH; b++)
            kind->run(load, &ops[i + b]);
    }
}

/* Time of this thread on a processor, so that other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * CF_NS_PER_S + (uint64_t)t.tv_nsec;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void measure(struct load *load, const struct kind *kind, struct op *ops, uint32_t rounds,
                    bool is_batched)
{
    double rate[ROUNDS_MAX] = {0};

    for (uint32_t round = 0; round < rounds; round++) {
        uint64_t start_ns;

        for (uint32_t i = 0; i < OPERATIONS; i++) {
            draw(&ops[i], kind->is_new ? load->next_block + i : cf_rng_below(&load->rng, load->entries));
            ops[i].what = (uint32_t)cf_rng_below(&load->rng, 10);
        }
        if (kind->run == do_evict)
            load->next_block += OPERATIONS;
        start_ns = cpu_ns();
        if (is_batched)
            run_in_batches(load, kind, ops);
        else
            run_one_by_one(load, kind, ops);
        rate[round] = OPERATIONS * 1e3 / (double)(cpu_ns() - start_ns);
    }
    qsort(rate, rounds, sizeof rate[0], by_value);
    printf("%-8s %10" PRIu64 "  %-10s %8.1f M/s  (%.1f to %.1f)  %6.1f ns\n", kind->name, load->entries,
           is_batched ? "batches" : "one by one", rate[rounds / 2], rate[0], rate[rounds - 1],
           1e3 / rate[rounds / 2]);
    printf("figure %s-%" PRIu64 "%s %.6g op/s\n", kind->name, load->entries, is_batched ? "-batched" : "",
           rate[rounds / 2] * 1e6);
}

static struct grd_directory *directory_open(uint64_t entries)
{
    struct grd_directory_options options = {
        .entries = entries, .buckets = 4096, .seed = 0x51, .allocator = cf_allocator_default()};
    struct grd_directory *directory;
    enum cf_rc rc = grd_directory_open(&options, &directory);

    cf_assert(rc == CF_OK);
    return directory;
}

/* One step of a directory that fills, nine of ten blocks held, and when it is full is given new blocks for those. */
static void fill_step(struct load *load, uint64_t block)
{
    struct op op;

    draw(&op, block);
    if (block % 10)
        do_grant(load, &op);
    else
        do_evict(load, &op);
}

static void measure_steps(uint64_t entries)
{
    uint64_t stretches = (2 * entries + STRETCH - 1) / STRETCH, longest_ns = 0, sum_ns = 0;
    uint64_t *least_ns = malloc(stretches * sizeof *least_ns);
    uint32_t fill;

    cf_assert(least_ns != NULL);
    memset(least_ns, 0xff, stretches * sizeof *least_ns);
    for (fill = 0; fill < FILLS; fill++) {
        struct load load = {.directory = directory_open(entries), .entries = entries};

        for (uint64_t s = 0; s < stretches; s++) {
            uint64_t worst_ns = 0, then_ns = cf_now_ns();

            for (uint64_t block = s * STRETCH; block < (s + 1) * STRETCH; block++) {
                uint64_t now_ns;

                fill_step(&load, block);
                now_ns = cf_now_ns();
                if (now_ns - then_ns > worst_ns)
                    worst_ns = now_ns - then_ns;
                sum_ns += now_ns - then_ns;
                then_ns = now_ns;
            }
            if (worst_ns < least_ns[s])
                least_ns[s] = worst_ns;
        }
        grd_directory_close(&load.directory);
    }
    for (uint64_t s = 0; s < stretches; s++)
        if (least_ns[s] > longest_ns)
            longest_ns = least_ns[s];
    printf("steps    %10" PRIu64 "  longest %.2f us, mean %.3f us with the clock\n", entries,
           (double)longest_ns / 1e3, (double)sum_ns / (double)(FILLS * stretches * STRETCH) / 1e3);
    printf("figure longest-step-%" PRIu64 " %" PRIu64 " ns\n", entries, longest_ns);
    free(least_ns);
}

static void run(uint64_t entries, uint32_t rounds, struct op *ops)
{
    struct load load = {.directory = directory_open(entries), .entries = entries, .next_block = entries};

    cf_rng_seed(&load.rng, entries);
    printf("%" PRIu64 " entries: %.2f bytes an entry\n", entries,
           (double)grd_directory_bytes(load.directory) / (double)entries);
    for (uint64_t block = 0; block < entries; block++) /* full, nine of ten held */
        fill_step(&load, block);
    for (uint32_t k = 0; k < CF_COUNTOF(kinds); k++)
        for (uint32_t is_batched = 0; is_batched < 2; is_batched++)
            measure(&load, &kinds[k], ops, rounds, is_batched);
    grd_directory_close(&load.directory);
    measure_steps(entries);
}

static void print_fact(void *arg, const char *name, const char *value)
{
    (void)arg;
    printf("# %s: %s\n", name, value);
}

int main(int argc, char **argv)
{
    static const uint64_t entries_default[] = {1000, 100000, 10000000};
    uint64_t entries = 0, rounds = 9;
    struct op *ops;
    int i;

    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--entries") == 0 && cf_parse_u64(argv[i + 1], &entries) == 0 && entries > 0)
            continue;
        if (strcmp(argv[i], "--rounds") == 0 && cf_parse_u64(argv[i + 1], &rounds) == 0 && rounds > 0 &&
            rounds <= ROUNDS_MAX)
            continue;
        if (strcmp(argv[i], "--small-pages") == 0 && strcmp(argv[i + 1], "on") == 0 &&
            prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0) == 0)
            continue;
        break;
    }
    if (i != argc) {
        fprintf(stderr, "usage: grd_directory [--entries N] [--rounds N, at most %u] [--small-pages on]\n",
                ROUNDS_MAX);
        return 2;
    }
    ops = malloc(OPERATIONS * sizeof *ops);
    cf_assert(ops != NULL);
    bench_facts(print_fact, NULL);
    if (entries) {
        run(entries, (uint32_t)rounds, ops);
    } else {
        for (uint32_t k = 0; k < CF_COUNTOF(entries_default); k++)
            run(entries_default[k], (uint32_t)rounds, ops);
    }
    free(ops);
    return 0;
}
