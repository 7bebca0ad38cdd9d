/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does it cost to write a lock's value, and to read it without a lock, alone and while another thread
 * writes it all the time?
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "bench/harness.h"
#include "grd/lock_value.h"

#define EPOCH 7u

struct value {
    struct grd_lock_record record;
    struct cf_block_key key;
};

static void *value_open(uint64_t arg, uint32_t threads)
{
    static const struct cf_hash_key secret;
    struct value *value = aligned_alloc(CF_CACHE_LINE,
                                        (sizeof *value + CF_CACHE_LINE - 1) & ~(CF_CACHE_LINE - 1));
    struct grd_lock_value first = {.version = 2, .is_valid = true, .bytes_count = (uint8_t)arg};
    struct grd_lock_name name;

    (void)threads;
    cf_assert(value != NULL);
    cf_assert(arg <= GRD_LOCK_VALUE_BYTES);
    memset(value, 0, sizeof *value);
    grd_lock_name_ids(1, 2, 3, &name);
    grd_lock_key(&secret, &name, &value->key);
    grd_lock_record_write(&value->record, &value->key, EPOCH, &first);
    return value;
}

static void write_all(struct value *value, uint64_t iterations)
{
    struct grd_lock_value next = {.is_valid = true, .bytes_count = GRD_LOCK_VALUE_BYTES};

    for (uint64_t i = 0; i < iterations; i++) {
        next.version += 2;
        next.bytes[0] = (uint8_t)i;
        grd_lock_record_write(&value->record, &value->key, EPOCH, &next);
    }
}

static void write_value(void *state, uint32_t thread, uint64_t iterations)
{
    (void)thread;
    write_all(state, iterations);
}

static void read_value(void *state, uint32_t thread, uint64_t iterations)
{
    struct value *value = state;
    struct grd_lock_value seen;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        bool is_read = grd_lock_record_read(&value->record, &value->key, EPOCH, &seen);

        cf_assert(is_read);
        bench_use(seen.version);
    }
}

/* What a peer does with the bytes a device has brought. */
static void check_copy(void *state, uint32_t thread, uint64_t iterations)
{
    struct value *value = state;
    struct grd_lock_value seen;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        bool is_good = grd_lock_record_check(&value->record, &value->key, EPOCH, &seen);

        cf_assert(is_good);
        bench_use(seen.version);
    }
}

/* Thread 0 writes as fast as it can, thread 1 reads; a read that met GRD_LOCK_READ_TRIES writes counts as one. */
static void read_while_written(void *state, uint32_t thread, uint64_t iterations)
{
    struct value *value = state;
    struct grd_lock_value seen;

    if (thread == 0) {
        write_all(value, iterations);
        return;
    }
    for (uint64_t i = 0; i < iterations; i++)
        bench_use(grd_lock_record_read(&value->record, &value->key, EPOCH, &seen));
}

static void *key_open(uint64_t arg, uint32_t threads)
{
    struct grd_lock_name *name = calloc(1, sizeof *name);
    enum cf_rc rc = CF_OK;

    (void)threads;
    cf_assert(name != NULL);
    if (arg > 0)
        rc = grd_lock_name_text("an index of a table of somebody's orders that has a name", arg, name);
    else
        grd_lock_name_ids(1, 2, 3, name);
    cf_assert(rc == CF_OK);
    return name;
}

static void make_key(void *state, uint32_t thread, uint64_t iterations)
{
    static const struct cf_hash_key secret;
    struct cf_block_key key;

    (void)thread;
    for (uint64_t i = 0; i < iterations; i++) {
        grd_lock_key(&secret, state, &key);
        bench_use(key.block);
    }
}

static const struct bench_case cases[] = {
    {.name = "lock-value/write", .open = value_open, .run = write_value, .close = free},
    {.name = "lock-value/read",
     .open = value_open,
     .run = read_value,
     .close = free,
     .args = {8, 64},
     .args_count = 2},
    {.name = "lock-value/check-copy", .open = value_open, .run = check_copy, .close = free},
    {.name = "lock-value/read-while-written",
     .open = value_open,
     .run = read_while_written,
     .close = free,
     .threads = 2},
    {.name = "lock-value/key",
     .open = key_open,
     .run = make_key,
     .close = free,
     .args = {0, 16, 48},
     .args_count = 3},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
