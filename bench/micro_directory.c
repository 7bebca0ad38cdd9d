/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a find, a grant with its release, and an eviction cost in a directory of N entries, at blocks
 * drawn at random, one after the other? bench/grd_directory.c asks for more sizes and for batches.
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/hash.h"
#include "base/rng.h"
#include "bench/harness.h"
#include "grd/directory.h"

#define BUCKETS 4096u

struct subject {
    struct grd_directory *directory;
    struct cf_rng rng;
    uint64_t entries;
    uint64_t next_block; /* was never asked for */
};

static uint64_t hash_of(uint64_t block)
{
    return cf_mix64(block, UINT64_C(0x9e3779b97f4a7c15));
}

static struct grd_entry *entry_get(struct subject *subject, uint64_t block)
{
    struct cf_block_key key = {.file = 7, .generation = 1, .block = block};
    uint64_t hash = hash_of(block);

    return grd_entry_get(subject->directory, &key, hash, (uint32_t)hash % BUCKETS);
}

static void hold(struct subject *subject, uint64_t block)
{
    struct grd_entry *entry = entry_get(subject, block);
    struct grd_holder holder = {.node = 1, .tenure = grd_entry_tenure(subject->directory, entry)};

    grd_holder_set(subject->directory, entry, &holder);
    grd_entry_settle(subject->directory, entry);
}

/* Half of the entries are held, so that room can be made. */
static void *subject_open(uint64_t entries, uint32_t threads)
{
    struct subject *subject = calloc(1, sizeof *subject);
    struct grd_directory_options options = {
        .entries = entries, .buckets = BUCKETS, .seed = 1, .allocator = cf_allocator_default()};
    enum cf_rc rc;

    (void)threads;
    cf_assert(subject != NULL);
    rc = grd_directory_open(&options, &subject->directory);
    cf_assert(rc == CF_OK);
    cf_rng_seed(&subject->rng, entries);
    subject->entries = entries;
    subject->next_block = entries;
    for (uint64_t block = 0; block < entries; block++)
        if (block % 2 == 0)
            hold(subject, block);
        else
            grd_entry_settle(subject->directory, entry_get(subject, block));
    return subject;
}

static void subject_close(void *state)
{
    struct subject *subject = state;

    grd_directory_close(&subject->directory);
    free(subject);
}

static void find(void *state, uint32_t thread, uint64_t iterations)
{
    struct subject *subject = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        uint64_t block = cf_rng_below(&subject->rng, subject->entries);
        struct cf_block_key key = {.file = 7, .generation = 1, .block = block};

        bench_use(grd_entry_find(subject->directory, &key, hash_of(block)) != NULL);
    }
}

static void grant_and_release(void *state, uint32_t thread, uint64_t iterations)
{
    struct subject *subject = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        uint64_t block = cf_rng_below(&subject->rng, subject->entries) | 1;
        struct cf_block_key key = {.file = 7, .generation = 1, .block = block};
        struct grd_entry *entry;

        hold(subject, block);
        entry = grd_entry_find(subject->directory, &key, hash_of(block));
        cf_assert(entry != NULL);
        grd_holder_remove(subject->directory, entry, 1);
        grd_entry_settle(subject->directory, entry);
    }
}

static void evict(void *state, uint32_t thread, uint64_t iterations)
{
    struct subject *subject = state;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++)
        grd_entry_settle(subject->directory, entry_get(subject, subject->next_block++));
}

#define SIZES .args = {1000, 10000, 100000, 1000000}, .args_count = 4
static const struct bench_case cases[] = {
    {.name = "directory/find", .open = subject_open, .run = find, .close = subject_close, SIZES},
    {.name = "directory/grant-release",
     .open = subject_open,
     .run = grant_and_release,
     .close = subject_close,
     SIZES},
    {.name = "directory/evict", .open = subject_open, .run = evict, .close = subject_close, SIZES},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
