/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a lock's value: one writer, several readers without a lock. What is read is of one version (each byte
 * follows from it), of the lock asked for and of the epoch; versions never fall for a reader, and one version is one
 * value: the writer gives the record to two locks in turn, poisons it between, and goes back to values of before under
 * new versions (no ABA). Every other read is a copy of the words in an order that is drawn, as a device makes it: those that
 * are torn are counted, and none is taken. READS=<number> reads as often, all readers together.
 */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/hash.h"
#include "base/rng.h"
#include "grd/lock_value.h"

#define READERS 3u
#define READS (CF_TSAN ? 1000000u : 10000000u)
#define READS_FULL 10000000u
#define LOCKS 2u
#define EPOCH 9u
#define LENGTH_BYTES_MIN 1u
/* Writes for one lock before the record goes to the other. */
#define TENANCY 1000u

struct scene {
    struct grd_lock_record record;
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t readers_left;
    uint64_t reads; /* [const] of each reader */
    uint64_t writes;
};

struct reader {
    struct scene *scene;
    uint32_t number;
    uint64_t taken, missed;
    uint64_t copied, under_way,
        torn; /* by a device: taken; refused with an odd version; refused with an even one */
};

static struct cf_block_key key_of(uint32_t lock)
{
    return (struct cf_block_key){.file = 1, .generation = 1, .block = lock};
}

/* Odd versions all have the same bytes but for their length: what differs is the version alone. */
static void value_of(uint32_t lock, uint64_t version, struct grd_lock_value *value)
{
    uint64_t seed = version % 2 ? lock : cf_mix64(version, lock);

    value->version = version;
    value->is_valid = version % 5 != 0;
    value->bytes_count = (uint8_t)(LENGTH_BYTES_MIN + version % GRD_LOCK_VALUE_BYTES);
    for (uint32_t i = 0; i < value->bytes_count; i++)
        value->bytes[i] = (uint8_t)(seed >> (i % 8 * 8)) ^ (uint8_t)i;
}

static void *write_on(void *arg)
{
    struct scene *scene = arg;
    struct grd_lock_value value;
    uint64_t version = 0;

    while (atomic_load_explicit(&scene->readers_left, memory_order_acquire) > 0) {
        uint32_t lock = (uint32_t)(version / TENANCY % LOCKS);
        struct cf_block_key key = key_of(lock);

        if (++version % TENANCY == 0)
            grd_lock_record_poison(&scene->record);
        lock = (uint32_t)(version / TENANCY % LOCKS);
        key = key_of(lock);
        value_of(lock, version, &value);
        grd_lock_record_write(&scene->record, &key, EPOCH, &value);
        for (uint64_t pause = version % 256; pause > 0; pause--)
            cf_pause();
    }
    scene->writes = version;
    return NULL;
}

static void look(const struct reader *reader, uint32_t lock, const struct grd_lock_value *got,
                 uint64_t *newest)
{
    struct grd_lock_value whole;

    value_of(lock, got->version, &whole);
    if (got->version / TENANCY % LOCKS != lock || whole.bytes_count != got->bytes_count ||
        whole.is_valid != got->is_valid || memcmp(whole.bytes, got->bytes, got->bytes_count) != 0) {
        fprintf(stderr, "reader %u: version %llu of lock %u is not of one write\n", reader->number,
                (unsigned long long)got->version, lock);
        exit(1);
    }
    if (got->version < *newest) {
        fprintf(stderr, "reader %u: version %llu after %llu\n", reader->number,
                (unsigned long long)got->version, (unsigned long long)*newest);
        exit(1);
    }
    *newest = got->version;
}

/* As a device copies: one word after the other, each once, from anywhere on in either direction. */
static void read_as_device(struct reader *reader, uint32_t lock, struct cf_rng *rng, uint64_t *newest)
{
    enum { WORD_VERSION = 3 }; /* grd/lock_value.h: after key and epoch */
    struct grd_lock_record *record = &reader->scene->record;
    struct cf_block_key key = key_of(lock);
    uint64_t copy[GRD_LOCK_RECORD_WORDS], draw = cf_rng_next(rng);
    uint32_t step = draw & 1 ? 1 : GRD_LOCK_RECORD_WORDS - 1, at = (uint32_t)(draw >> 32);
    struct grd_lock_value got;

    for (uint32_t w = 0; w < GRD_LOCK_RECORD_WORDS; w++, at += step)
        copy[at % GRD_LOCK_RECORD_WORDS] = atomic_load_explicit(&record->word[at % GRD_LOCK_RECORD_WORDS],
                                                                memory_order_relaxed);
    if (grd_lock_record_check(copy, &key, EPOCH, &got)) {
        reader->copied++;
        look(reader, lock, &got, newest);
    } else if (copy[WORD_VERSION] & 1) {
        reader->under_way++;
    } else if (copy[0] == ((uint64_t)key.generation << 32 | key.file) && copy[1] == key.block) {
        reader->torn++; /* key and version alone would have let it pass */
    }
}

static void *read_on(void *arg)
{
    struct reader *reader = arg;
    struct scene *scene = reader->scene;
    struct grd_lock_value got;
    struct cf_rng rng;
    uint64_t newest = 0;

    cf_rng_seed(&rng, reader->number);
    for (uint64_t i = 0; i < scene->reads; i++) {
        uint32_t lock = (uint32_t)(cf_rng_next(&rng) >> 63);
        struct cf_block_key key = key_of(lock);

        if (i & 1)
            read_as_device(reader, lock, &rng, &newest);
        else if (grd_lock_record_read(&scene->record, &key, EPOCH, &got)) {
            reader->taken++;
            look(reader, lock, &got, &newest);
        } else {
            reader->missed++;
        }
        cf_assert(!grd_lock_record_read(&scene->record, &key, EPOCH + 1, &got));
    }
    atomic_fetch_sub_explicit(&scene->readers_left, 1, memory_order_release);
    return NULL;
}

static uint64_t reads_wanted(void)
{
    const char *full = getenv("FULL"), *reads = getenv("READS");
    uint64_t all = full && strcmp(full, "1") == 0 ? READS_FULL : READS;

    if (reads && *reads)
        all = strtoull(reads, NULL, 10);
    return all / READERS + 1;
}

int main(void)
{
    static struct scene scene;
    static struct reader readers[READERS];
    struct reader sum = {0};
    pthread_t writer, threads[READERS];

    scene.reads = reads_wanted();
    atomic_store_explicit(&scene.readers_left, READERS, memory_order_relaxed);
    for (uint32_t i = 0; i < READERS; i++) {
        readers[i] = (struct reader){.scene = &scene, .number = i};
        cf_assert(pthread_create(&threads[i], NULL, read_on, &readers[i]) == 0);
    }
    cf_assert(pthread_create(&writer, NULL, write_on, &scene) == 0);
    for (uint32_t i = 0; i < READERS; i++) {
        cf_assert(pthread_join(threads[i], NULL) == 0);
        sum.taken += readers[i].taken;
        sum.missed += readers[i].missed;
        sum.copied += readers[i].copied;
        sum.under_way += readers[i].under_way;
        sum.torn += readers[i].torn;
    }
    cf_assert(pthread_join(writer, NULL) == 0);
    printf("%llu reads under %llu writes: %llu values taken and %llu missed by looks; of copies as of a "
           "device %llu taken, "
           "%llu met a write under way, %llu torn with an even version and refused\n",
           (unsigned long long)(scene.reads * READERS), (unsigned long long)scene.writes,
           (unsigned long long)sum.taken, (unsigned long long)sum.missed, (unsigned long long)sum.copied,
           (unsigned long long)sum.under_way, (unsigned long long)sum.torn);
    if (sum.taken < scene.reads / 100 || sum.copied < scene.reads / 100 || scene.writes < TENANCY ||
        sum.torn == 0) {
        fprintf(stderr, "the readers met too few writes to prove anything\n");
        return 1;
    }
    return 0;
}
