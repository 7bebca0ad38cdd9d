/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a lookup of a directory entry cost beside DPDK's rte_hash and liburcu's lfht?
 *
 * The same keys (16 bytes) in the same random order, hashed beforehand for all three: find the record of 56 bytes that
 * belongs to the key and change a word of it. One by one, and 16 at a time where the table has a way to (ours: two rounds of
 * prefetches; rte_hash: its bulk lookup; lfht: none). The tables take turns, round by round; one is freed before a
 * size begins anew. Figures are medians of processor time of the thread; bytes are what the process grew by (RSS), record included.
 *
 *   directory_peers [--entries N] [--rounds N]
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_hash.h>
#include <urcu/urcu-memb.h>
#include <urcu/rculfhash.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "base/rng.h"
#include "base/units.h"
#include "bench/harness.h"
#include "grd/directory.h"

#define BATCH 16u
#define OPERATIONS (BATCH << 13)
#define ROUNDS_MAX 64u
#define TABLES 3u

struct record {
    struct cf_block_key key;
    uint64_t words[5];
};
_Static_assert(sizeof(struct record) == sizeof(struct grd_entry), "the same record for all");

struct op {
    struct cf_block_key key;
    uint64_t hash;
};

struct lf_record {
    struct cds_lfht_node node;
    struct record record;
};

struct tables {
    uint64_t entries;
    struct grd_directory *directory;
    struct rte_hash *rte;
    struct record *rte_records;
    struct cds_lfht *lf;
    struct lf_record *lf_records;
};

static void draw(struct op *op, uint64_t block)
{
    op->key = (struct cf_block_key){.file = 7, .generation = 1, .block = block};
    op->hash = cf_mix64(block, UINT64_C(0x9e3779b97f4a7c15));
}

static uint64_t rss_bytes(void)
{
    unsigned long long pages = 0;
    FILE *statm = fopen("/proc/self/statm", "re");

    if (statm == NULL)
        return 0;
    if (fscanf(statm, "%*u %llu", &pages) != 1)
        pages = 0;
    fclose(statm);
    return pages * (uint64_t)sysconf(_SC_PAGESIZE);
}

/* ---- ours ---- */

static void ours_open(struct tables *t)
{
    struct grd_directory_options options = {
        .entries = t->entries, .buckets = 4096, .seed = 0x51, .allocator = cf_allocator_default()};
    enum cf_rc rc = grd_directory_open(&options, &t->directory);

    cf_assert(rc == CF_OK);
    for (uint64_t block = 0; block < t->entries; block++) {
        struct grd_holder holder = {.node = 1};
        struct grd_entry *entry;
        struct op op;

        draw(&op, block);
        entry = grd_entry_get(t->directory, &op.key, op.hash, 0);
        holder.tenure = grd_entry_tenure(t->directory, entry);
        grd_holder_set(t->directory, entry, &holder);
        grd_entry_settle(t->directory, entry);
    }
}

static void ours_close(struct tables *t)
{
    grd_directory_close(&t->directory);
}

static void ours_one(struct tables *t, const struct op *op)
{
    grd_entry_find(t->directory, &op->key, op->hash)->version++;
}

static void ours_batch(struct tables *t, const struct op *ops)
{
    for (uint32_t i = 0; i < BATCH; i++)
        grd_entry_prefetch(t->directory, ops[i].hash);
    for (uint32_t i = 0; i < BATCH; i++)
        grd_entry_prefetch_record(t->directory, ops[i].hash);
    for (uint32_t i = 0; i < BATCH; i++)
        ours_one(t, &ops[i]);
}

/* ---- rte_hash ---- */

static uint32_t rte_sig(const void *key, uint32_t key_bytes, uint32_t seed)
{
    struct op op;

    (void)key_bytes;
    (void)seed;
    draw(&op, ((const struct cf_block_key *)key)->block);
    return (uint32_t)op.hash;
}

static void rte_open(struct tables *t)
{
    struct rte_hash_parameters parameters = {.name = "peers",
                                             .entries = (uint32_t)t->entries,
                                             .key_len = sizeof(struct cf_block_key),
                                             .hash_func = rte_sig,
                                             .extra_flag = RTE_HASH_EXTRA_FLAGS_EXT_TABLE};

    t->rte = rte_hash_create(&parameters);
    if (t->rte == NULL) {
        fprintf(stderr, "directory_peers: rte_hash of %" PRIu64 " entries: %s\n", t->entries,
                rte_strerror(rte_errno));
        exit(3);
    }
    t->rte_records = calloc(t->entries, sizeof *t->rte_records);
    cf_assert(t->rte_records != NULL);
    for (uint64_t block = 0; block < t->entries; block++) {
        struct op op;
        int rc;

        draw(&op, block);
        t->rte_records[block].key = op.key;
        rc = rte_hash_add_key_with_hash_data(t->rte, &op.key, (uint32_t)op.hash, &t->rte_records[block]);
        cf_assert(rc == 0);
    }
}

static void rte_close(struct tables *t)
{
    rte_hash_free(t->rte);
    free(t->rte_records);
}

static void rte_one(struct tables *t, const struct op *op)
{
    void *record = NULL;
    int rc = rte_hash_lookup_with_hash_data(t->rte, &op->key, (uint32_t)op->hash, &record);

    cf_assert(rc >= 0);
    ((struct record *)record)->words[0]++;
}

static void rte_batch(struct tables *t, const struct op *ops)
{
    const void *keys[BATCH];
    void *records[BATCH];
    hash_sig_t sigs[BATCH];
    uint64_t hits = 0;

    for (uint32_t i = 0; i < BATCH; i++) {
        keys[i] = &ops[i].key;
        sigs[i] = (uint32_t)ops[i].hash;
    }
    rte_hash_lookup_with_hash_bulk_data(t->rte, keys, sigs, BATCH, &hits, records);
    cf_assert(hits == (UINT64_C(1) << BATCH) - 1);
    for (uint32_t i = 0; i < BATCH; i++)
        ((struct record *)records[i])->words[0]++;
}

/* ---- lfht ---- */

static int lf_match(struct cds_lfht_node *node, const void *key)
{
    return grd_key_equal(&caa_container_of(node, struct lf_record, node)->record.key, key);
}

static void lf_open(struct tables *t)
{
    uint64_t slots = 64;

    while (slots < t->entries)
        slots *= 2;
    t->lf = cds_lfht_new_flavor(slots, slots, slots, 0, &urcu_memb_flavor, NULL);
    t->lf_records = calloc(t->entries, sizeof *t->lf_records);
    cf_assert(t->lf != NULL && t->lf_records != NULL);
    urcu_memb_read_lock();
    for (uint64_t block = 0; block < t->entries; block++) {
        struct op op;

        draw(&op, block);
        t->lf_records[block].record.key = op.key;
        cds_lfht_add(t->lf, op.hash, &t->lf_records[block].node);
    }
    urcu_memb_read_unlock();
}

static void lf_close(struct tables *t)
{
    struct cds_lfht_iter iter;
    struct cds_lfht_node *node;

    urcu_memb_read_lock();
    cds_lfht_for_each(t->lf, &iter, node)(void) cds_lfht_del(t->lf, node);
    urcu_memb_read_unlock();
    (void)cds_lfht_destroy(t->lf, NULL);
    free(t->lf_records);
}

static void lf_one(struct tables *t, const struct op *op)
{
    struct cds_lfht_iter iter;

    cds_lfht_lookup(t->lf, op->hash, lf_match, &op->key, &iter);
    caa_container_of(cds_lfht_iter_get_node(&iter), struct lf_record, node)->record.words[0]++;
}

static void lf_batch(struct tables *t, const struct op *ops)
{
    for (uint32_t i = 0; i < BATCH; i++)
        lf_one(t, &ops[i]);
}

static const struct table {
    const char *name;
    void (*open)(struct tables *t);
    void (*close)(struct tables *t);
    void (*one)(struct tables *t, const struct op *op);
    void (*batch)(struct tables *t, const struct op *ops);
} kinds[TABLES] = {
    {"directory", ours_open, ours_close, ours_one, ours_batch},
    {"rte_hash", rte_open, rte_close, rte_one, rte_batch},
    {"lfht", lf_open, lf_close, lf_one, lf_batch},
};

/* Time of this thread on a processor, so that other work on the machine does not count. */
static uint64_t cpu_ns(void)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (uint64_t)t.tv_sec * CF_NS_PER_S + (uint64_t)t.tv_nsec;
}

static double measure(struct tables *t, const struct table *kind, const struct op *ops, bool is_batched)
{
    uint64_t start_ns;

    urcu_memb_read_lock(); /* costs nothing a lookup: the section is as long as the round */
    start_ns = cpu_ns();
    for (uint32_t i = 0; i < OPERATIONS; i += is_batched ? BATCH : 1) {
        if (is_batched)
            kind->batch(t, &ops[i]);
        else
            kind->one(t, &ops[i]);
    }
    start_ns = cpu_ns() - start_ns;
    urcu_memb_read_unlock();
    return (double)start_ns / OPERATIONS;
}

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static void run(uint64_t entries, uint32_t rounds, struct op *ops)
{
    static double ns[TABLES][2][ROUNDS_MAX];
    struct tables t = {.entries = entries};
    uint64_t bytes[TABLES];
    struct cf_rng rng;

    cf_rng_seed(&rng, entries);
    for (uint32_t k = 0; k < TABLES; k++) {
        uint64_t before = rss_bytes();

        kinds[k].open(&t);
        bytes[k] = rss_bytes() - before;
    }
    for (uint32_t round = 0; round < rounds; round++) {
        for (uint32_t i = 0; i < OPERATIONS; i++)
            draw(&ops[i], cf_rng_below(&rng, entries));
        for (uint32_t k = 0; k < TABLES; k++)
            for (uint32_t is_batched = 0; is_batched < 2; is_batched++)
                ns[k][is_batched][round] = measure(&t, &kinds[k], ops, is_batched);
    }
    for (uint32_t k = 0; k < TABLES; k++) {
        qsort(ns[k][0], rounds, sizeof(double), by_value);
        qsort(ns[k][1], rounds, sizeof(double), by_value);
        printf("%-10s %10" PRIu64 "  one by one %6.1f ns  in batches %6.1f ns  %6.1f bytes an entry\n",
               kinds[k].name, entries, ns[k][0][rounds / 2], ns[k][1][rounds / 2],
               (double)bytes[k] / (double)entries);
        kinds[k].close(&t);
    }
}

int main(int argc, char **argv)
{
    static const uint64_t entries_default[] = {1000, 100000, 10000000};
    char *eal[] = {argv[0],
                   (char[]){"--no-huge"},
                   (char[]){"--no-pci"},
                   (char[]){"--no-shconf"},
                   (char[]){"-m"},
                   (char[]){"2048"},
                   (char[]){"-l"},
                   (char[]){"0"},
                   (char[]){"--log-level=4"}};
    uint64_t entries = 0, rounds = 9;
    struct op *ops = malloc(OPERATIONS * sizeof *ops);
    int i;

    for (i = 1; i + 1 < argc; i += 2) {
        if (strcmp(argv[i], "--entries") == 0 && cf_parse_u64(argv[i + 1], &entries) == 0 && entries > 0)
            continue;
        if (strcmp(argv[i], "--rounds") == 0 && cf_parse_u64(argv[i + 1], &rounds) == 0 && rounds > 0 &&
            rounds <= ROUNDS_MAX)
            continue;
        break;
    }
    if (i != argc || ops == NULL) {
        fprintf(stderr, "usage: directory_peers [--entries N] [--rounds N, at most %u]\n", ROUNDS_MAX);
        return 2;
    }
    if (rte_eal_init(sizeof eal / sizeof eal[0], eal) < 0) {
        fprintf(stderr, "directory_peers: EAL does not start: %s\n", rte_strerror(rte_errno));
        return 3;
    }
    urcu_memb_register_thread();
    for (uint32_t k = 0; k < CF_COUNTOF(entries_default); k++)
        if (entries == 0 || k == 0)
            run(entries ? entries : entries_default[k], (uint32_t)rounds, ops);
    urcu_memb_unregister_thread();
    free(ops);
    return rte_eal_cleanup();
}
