/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: transfers on both backends, with and without O_DIRECT, against a model; ends of files; the
 * descriptor to sleep on; files closed and threads ended while transfers are under way. Not here: opening,
 * falling back, a full disk (store_file_test.c).
 */
#include "tests/unit/engine/store_fixture.h"

#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/rng.h"

#define BLOCKS 64u
#define STEPS 3000u
#define WAKES 2000u
#define BYTES FIXTURE_BLOCK_BYTES

static uint8_t *buffers_new(uint32_t count)
{
    uint8_t *buffers = aligned_alloc(4096, (size_t)count * BYTES);

    assert_non_null(buffers);
    memset(buffers, 0xee, (size_t)count * BYTES);
    return buffers;
}

static struct eng_store_file *file_open(struct store_fixture *f, const char *name, bool read_only,
                                        uint32_t direct)
{
    struct eng_store_file *file = NULL;
    struct cf_error error = {0};
    char path[320];

    assert_int_equal(f->store->ops->open_file(f->store, store_fixture_path(f, name, path), read_only, direct,
                                              &file, &error),
                     CF_OK);
    return file;
}

/* ------------------------------------------------------------------ model */

struct model {
    uint32_t version[BLOCKS]; /* 0: as the file was made */
    bool busy[BLOCKS];
    struct eng_io io[FIXTURE_DEPTH];
    uint32_t writing[FIXTURE_DEPTH]; /* the version a write brings; 0: a read */
    uint8_t *buffers;
};

static uint8_t model_byte(uint32_t block, uint32_t version, uint32_t i)
{
    if (version == 0)
        return store_fixture_byte((uint64_t)block * BYTES + i);
    return store_fixture_byte(((uint64_t)version << 32) + (uint64_t)block * BYTES + i);
}

static void model_check(const struct model *m, const uint8_t *data, uint32_t block)
{
    for (uint32_t i = 0; i < BYTES; i++)
        if (data[i] != model_byte(block, m->version[block], i))
            fail_msg("block %u byte %u is not that of version %u", block, i, m->version[block]);
}

static void model_done(struct model *m, struct eng_io *io)
{
    uint32_t block = (uint32_t)(io->offset / BYTES), slot = (uint32_t)(io - m->io);

    assert_int_equal(io->rc, CF_OK);
    assert_int_equal(io->short_bytes, 0);
    assert_int_equal(io->in_flight, 0);
    m->busy[block] = false;
    if (m->writing[slot] != 0)
        m->version[block] = m->writing[slot];
    else
        model_check(m, io->buffer, block);
    io->file = NULL;
}

static void model_start(struct model *m, struct eng_store *store, struct eng_store_file *file,
                        struct cf_rng *rng, uint32_t step)
{
    uint32_t slot = 0, block = (uint32_t)cf_rng_below(rng, BLOCKS);
    struct eng_io *io;

    while (m->io[slot].file != NULL)
        slot++;
    if (m->busy[block])
        return;
    io = &m->io[slot];
    *io = (struct eng_io){.op = ENG_IO_READ,
                          .bytes = BYTES,
                          .file = file,
                          .offset = (uint64_t)block * BYTES,
                          .buffer = m->buffers + (size_t)slot * BYTES};
    m->writing[slot] = 0;
    memset(io->buffer, 0xee, BYTES);
    if (cf_rng_chance(rng, 0.4)) {
        io->op = ENG_IO_WRITE;
        m->writing[slot] = step;
        for (uint32_t i = 0; i < BYTES; i++)
            ((uint8_t *)io->buffer)[i] = model_byte(block, step, i);
    }
    m->busy[block] = true;
    assert_int_equal(store->ops->submit(store, io), CF_OK);
}

static void run_model(struct store_fixture *f, uint32_t direct)
{
    struct model *m = calloc(1, sizeof *m);
    struct eng_store *store = f->store;
    struct eng_store_file *file;
    struct cf_rng rng;
    char path[320];
    int fd;

    assert_non_null(m);
    m->buffers = buffers_new(FIXTURE_DEPTH);
    cf_rng_seed(&rng, 1 + direct);
    store_fixture_make(store_fixture_path(f, "model", path), (uint64_t)BLOCKS * BYTES);
    file = file_open(f, "model", false, direct);
    for (uint32_t step = 1; step <= STEPS; step++) {
        if (store->ops->in_flight(store) == FIXTURE_DEPTH || cf_rng_chance(&rng, 0.3)) {
            if (store->ops->in_flight(store) > 0)
                model_done(m, store_fixture_wait(store));
        } else {
            model_start(m, store, file, &rng, step);
        }
    }
    while (store->ops->in_flight(store) > 0)
        model_done(m, store_fixture_wait(store));
    store->ops->close_file(store, &file);
    assert_null(file);
    fd = open(path, O_RDONLY);
    assert_true(fd >= 0);
    for (uint32_t block = 0; block < BLOCKS; block++) {
        assert_int_equal(pread(fd, m->buffers, BYTES, (off_t)block * BYTES), BYTES);
        model_check(m, m->buffers, block);
    }
    close(fd);
    free(m->buffers);
    free(m);
}

static void random_transfers_agree_with_a_model(void **state)
{
    struct store_fixture *f = store_fixture_of(state);

    run_model(f, 0);
    run_model(f, 2);
}

/* ------------------------------------------------------------------ ends of files */

static void tail_check(struct store_fixture *f, uint32_t direct)
{
    struct eng_store_file *file = file_open(f, "tail", true, direct);
    uint8_t *data = buffers_new(1);

    for (uint32_t block = 0; block < 6; block++) {
        uint64_t offset = (uint64_t)block * BYTES, end = 3 * BYTES + 17;
        uint32_t there = offset + BYTES <= end ? BYTES : offset < end ? (uint32_t)(end - offset) : 0;
        struct eng_io io = store_fixture_run(f->store, file, ENG_IO_READ, offset, data, BYTES);

        assert_int_equal(io.rc, CF_OK);
        assert_int_equal(io.system, 0);
        assert_int_equal(io.short_bytes, BYTES - there);
        for (uint32_t i = 0; i < BYTES; i++)
            assert_int_equal(data[i], i < there ? store_fixture_byte(offset + i) : 0);
        memset(data, 0xee, BYTES);
    }
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_tail_of_17_bytes_is_read_and_filled_with_zeroes(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    char path[320];

    store_fixture_make(store_fixture_path(f, "tail", path), 3 * BYTES + 17);
    tail_check(f, 0);
    tail_check(f, 2);
}

static void a_file_of_no_bytes_reads_as_zeroes(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file;
    uint8_t *data = buffers_new(1);
    struct eng_io io;
    char path[320];

    store_fixture_make(store_fixture_path(f, "none", path), 0);
    file = file_open(f, "none", true, 0);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 0, data, BYTES);
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(io.short_bytes, BYTES);
    for (uint32_t i = 0; i < BYTES; i++)
        assert_int_equal(data[i], 0);
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_write_to_a_file_opened_for_reading_is_read_only(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file;
    uint8_t *data = buffers_new(1);
    struct eng_io io;
    char path[320];

    store_fixture_make(store_fixture_path(f, "ro", path), BYTES);
    file = file_open(f, "ro", true, 0);
    io = store_fixture_run(f->store, file, ENG_IO_WRITE, 0, data, BYTES);
    assert_int_equal(io.rc, CF_READ_ONLY);
    assert_int_not_equal(io.system, 0);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 0, data, BYTES);
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(data[100], store_fixture_byte(100));
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_sync_completes(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file;
    char path[320];

    store_fixture_make(store_fixture_path(f, "sync", path), BYTES);
    file = file_open(f, "sync", false, 0);
    assert_int_equal(store_fixture_run(f->store, file, ENG_IO_SYNC, 0, NULL, 0).rc, CF_OK);
    f->store->ops->close_file(f->store, &file);
}

/* ------------------------------------------------------------------ bounds and waiting */

static void no_more_than_depth_are_under_way(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_io io[FIXTURE_DEPTH + 1] = {0};
    uint8_t *data = buffers_new(FIXTURE_DEPTH + 1);
    struct eng_store_file *file;
    char path[320];

    store_fixture_make(store_fixture_path(f, "depth", path), BYTES);
    file = file_open(f, "depth", true, 0);
    for (uint32_t i = 0; i <= FIXTURE_DEPTH; i++) {
        io[i] = (struct eng_io){
            .op = ENG_IO_READ, .bytes = BYTES, .file = file, .buffer = data + (size_t)i * BYTES};
        assert_int_equal(f->store->ops->submit(f->store, &io[i]), i < FIXTURE_DEPTH ? CF_OK : CF_AGAIN);
    }
    assert_int_equal(f->store->ops->in_flight(f->store), FIXTURE_DEPTH);
    assert_int_equal(io[FIXTURE_DEPTH].in_flight, 0);
    store_fixture_wait(f->store);
    assert_int_equal(f->store->ops->submit(f->store, &io[FIXTURE_DEPTH]), CF_OK);
    while (f->store->ops->in_flight(f->store) > 0)
        assert_int_equal(store_fixture_wait(f->store)->rc, CF_OK);
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static bool is_readable(struct eng_store *store)
{
    struct pollfd ready = {.fd = store->ops->fd(store), .events = POLLIN};

    return poll(&ready, 1, 0) == 1;
}

/* store_fixture_wait fails when a completion leaves the descriptor asleep. */
static void every_completion_wakes_and_none_leaves_the_descriptor_awake(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    uint8_t *data = buffers_new(1);
    struct eng_store_file *file;
    char path[320];

    store_fixture_make(store_fixture_path(f, "wake", path), 4 * BYTES);
    file = file_open(f, "wake", false, 2);
    assert_false(is_readable(f->store));
    for (uint32_t i = 0; i < WAKES; i++) {
        uint8_t op = i % 4 == 0 ? ENG_IO_WRITE : ENG_IO_READ;

        assert_int_equal(store_fixture_run(f->store, file, op, (i % 3) * BYTES, data, BYTES).rc, CF_OK);
        assert_false(is_readable(f->store));
    }
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_completion_not_polled_keeps_the_descriptor_readable(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_io io[2] = {0}, *done;
    uint8_t *data = buffers_new(2);
    struct eng_store_file *file;
    uint32_t count = 0;
    char path[320];

    store_fixture_make(store_fixture_path(f, "two", path), 2 * BYTES);
    file = file_open(f, "two", true, 0);
    for (uint32_t i = 0; i < 2; i++) {
        io[i] = (struct eng_io){
            .op = ENG_IO_READ, .bytes = BYTES, .file = file, .buffer = data + (size_t)i * BYTES};
        assert_int_equal(f->store->ops->submit(f->store, &io[i]), CF_OK);
    }
    assert_int_equal(f->store->ops->poll(f->store, &done, 0), 0); /* hands over, takes none */
    while (count < 2) {
        struct pollfd ready = {.fd = f->store->ops->fd(f->store), .events = POLLIN};

        assert_int_equal(poll(&ready, 1, FIXTURE_WAIT_MS_MAX), 1);
        count += f->store->ops->poll(f->store, &done, 1);
    }
    assert_false(is_readable(f->store));
    f->store->ops->close_file(f->store, &file);
    free(data);
}

/* ------------------------------------------------------------------ ends while under way */

static void a_closed_file_serves_what_is_under_way(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file, *other[4];
    struct eng_io io[8] = {0};
    uint8_t *data = buffers_new(8);
    char path[320];

    store_fixture_make(store_fixture_path(f, "first", path), 8 * BYTES);
    store_fixture_make(store_fixture_path(f, "other", path), 1);
    file = file_open(f, "first", true, 0);
    for (uint32_t i = 0; i < 8; i++) {
        io[i] = (struct eng_io){.op = ENG_IO_READ,
                                .bytes = BYTES,
                                .file = file,
                                .offset = (uint64_t)i * BYTES,
                                .buffer = data + (size_t)i * BYTES};
        assert_int_equal(f->store->ops->submit(f->store, &io[i]), CF_OK);
    }
    f->store->ops->close_file(f->store, &file);
    for (uint32_t i = 0; i < 4; i++) /* would take the numbers of descriptors that were closed */
        other[i] = file_open(f, "other", true, 0);
    while (f->store->ops->in_flight(f->store) > 0)
        assert_int_equal(store_fixture_wait(f->store)->rc, CF_OK);
    for (uint32_t i = 0; i < 8; i++)
        assert_int_equal(io[i].short_bytes, 0);
    for (uint32_t i = 0; i < 8 * BYTES; i++)
        assert_int_equal(data[i], store_fixture_byte(i));
    for (uint32_t i = 0; i < 4; i++)
        f->store->ops->close_file(f->store, &other[i]);
    free(data);
}

struct leaver {
    struct eng_store *store;
    struct eng_io *io;
    uint32_t count;
};

/* Submits, hands over and ends, as a client does that drove progress for a moment. */
static void *leave_early(void *arg)
{
    struct leaver *leaver = arg;
    struct eng_io *done;

    for (uint32_t i = 0; i < leaver->count; i++)
        if (leaver->store->ops->submit(leaver->store, &leaver->io[i]) != CF_OK)
            return leaver;
    return leaver->store->ops->poll(leaver->store, &done, 0) == 0 ? NULL : leaver;
}

static void transfers_outlive_the_thread_that_submitted_them(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_io io[FIXTURE_DEPTH];
    struct leaver leaver = {f->store, io, FIXTURE_DEPTH};
    uint8_t *data = buffers_new(FIXTURE_DEPTH);
    struct eng_store_file *file;
    pthread_t thread;
    char path[320];
    void *wrong;

    store_fixture_make(store_fixture_path(f, "leave", path), FIXTURE_DEPTH * BYTES);
    file = file_open(f, "leave", false, 2);
    for (uint32_t round = 0; round < 20; round++) {
        for (uint32_t i = 0; i < FIXTURE_DEPTH; i++)
            io[i] = (struct eng_io){.op = i % 2 ? ENG_IO_WRITE : ENG_IO_SYNC,
                                    .bytes = i % 2 ? BYTES : 0,
                                    .file = file,
                                    .offset = (uint64_t)i * BYTES,
                                    .buffer = data + (size_t)i * BYTES};
        assert_int_equal(pthread_create(&thread, NULL, leave_early, &leaver), 0);
        assert_int_equal(pthread_join(thread, &wrong), 0);
        assert_null(wrong);
        while (f->store->ops->in_flight(f->store) > 0)
            assert_int_equal(store_fixture_wait(f->store)->rc, CF_OK);
    }
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void closing_the_store_waits_for_what_is_under_way(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_io io[FIXTURE_DEPTH] = {0};
    uint8_t *data = buffers_new(FIXTURE_DEPTH);
    struct eng_store_file *file;
    char path[320];

    store_fixture_make(store_fixture_path(f, "last", path), FIXTURE_DEPTH * BYTES);
    file = file_open(f, "last", false, 0);
    for (uint32_t i = 0; i < FIXTURE_DEPTH; i++) {
        io[i] = (struct eng_io){.op = ENG_IO_WRITE,
                                .bytes = BYTES,
                                .file = file,
                                .offset = (uint64_t)i * BYTES,
                                .buffer = data + (size_t)i * BYTES};
        assert_int_equal(f->store->ops->submit(f->store, &io[i]), CF_OK);
    }
    f->store->ops->close_file(f->store, &file);
    eng_store_close(&f->store);
    for (uint32_t i = 0; i < FIXTURE_DEPTH; i++) {
        assert_int_equal(io[i].in_flight, 0);
        assert_int_equal(io[i].rc, CF_OK);
    }
    free(data);
}

#define BOTH(test)                                                                 \
    {#test " (io_uring)", test, store_fixture_uring, store_fixture_close, NULL},   \
    {                                                                              \
#test " (threads)", test, store_fixture_threads, store_fixture_close, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(random_transfers_agree_with_a_model),
        BOTH(a_tail_of_17_bytes_is_read_and_filled_with_zeroes),
        BOTH(a_file_of_no_bytes_reads_as_zeroes),
        BOTH(a_write_to_a_file_opened_for_reading_is_read_only),
        BOTH(a_sync_completes),
        BOTH(no_more_than_depth_are_under_way),
        BOTH(every_completion_wakes_and_none_leaves_the_descriptor_awake),
        BOTH(a_completion_not_polled_keeps_the_descriptor_readable),
        BOTH(a_closed_file_serves_what_is_under_way),
        BOTH(transfers_outlive_the_thread_that_submitted_them),
        BOTH(closing_the_store_waits_for_what_is_under_way),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
