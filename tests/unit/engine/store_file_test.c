/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: opening files and what is no file, O_DIRECT and doing without, lengths, full and read-only file
 * systems, the choice of backend where io_uring is forbidden, results of system calls. Not here: transfers
 * that go well (store_test.c).
 */
#include "tests/unit/engine/store_fixture.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "engine/store_file.h"

#define BYTES FIXTURE_BLOCK_BYTES

static enum cf_rc open_rc(struct store_fixture *f, const char *path, bool read_only, uint32_t direct,
                          struct eng_store_file **file_out)
{
    struct cf_error error = {0};
    enum cf_rc rc = f->store->ops->open_file(f->store, path, read_only, direct, file_out, &error);

    assert_int_equal(error.rc, rc);
    assert_true(rc == CF_OK || strstr(error.text, path) != NULL);
    return rc;
}

/* ------------------------------------------------------------------ open */

static void what_is_no_file_is_refused_by_name(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file = NULL;
    char path[320];

    assert_int_equal(open_rc(f, store_fixture_path(f, "missing", path), false, 0, &file), CF_NOT_FOUND);
    assert_int_equal(open_rc(f, f->folder, true, 0, &file), CF_FORMAT);
    assert_int_equal(mkfifo(store_fixture_path(f, "pipe", path), 0600), 0);
    assert_int_equal(open_rc(f, path, true, 0, &file), CF_FORMAT); /* and does not wait for a writer */
    assert_null(file);
}

static uint32_t count_of(const char *text, const char *word)
{
    uint32_t count = 0;

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        count++;
    return count;
}

/* Files of procfs are regular and know no O_DIRECT. */
static void without_direct_io_auto_goes_on_and_says_so_once(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file[2] = {NULL, NULL}, *none = NULL;
    struct eng_store_file_info info;
    uint8_t *data = aligned_alloc(4096, BYTES);

    assert_non_null(data);
    assert_int_equal(open_rc(f, "/proc/version", true, 1, &none), CF_UNSUPPORTED);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(open_rc(f, "/proc/version", true, 0, &file[i]), CF_OK);
        assert_int_equal(f->store->ops->file_info(f->store, file[i], &info), CF_OK);
        assert_false(info.direct);
        assert_int_equal(info.align, 1);
    }
    fflush(f->log.out);
    assert_int_equal(count_of(f->log_text, "no direct_io"), 1);
    assert_int_equal(store_fixture_run(f->store, file[0], ENG_IO_READ, 0, data, BYTES).rc, CF_OK);
    assert_memory_equal(data, "Linux version", 13);
    f->store->ops->close_file(f->store, &file[0]);
    f->store->ops->close_file(f->store, &file[1]);
    free(data);
}

static void direct_io_is_off_when_asked_and_its_unit_is_told(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file_info info;
    struct eng_store_file *file;
    char path[320];

    store_fixture_make(store_fixture_path(f, "file", path), 3 * BYTES + 17);
    assert_int_equal(open_rc(f, path, false, 2, &file), CF_OK);
    assert_int_equal(f->store->ops->file_info(f->store, file, &info), CF_OK);
    assert_false(info.direct);
    assert_int_equal(info.bytes, 3 * BYTES + 17);
    f->store->ops->close_file(f->store, &file);
    assert_int_equal(open_rc(f, path, false, 0, &file), CF_OK);
    assert_int_equal(f->store->ops->file_info(f->store, file, &info), CF_OK);
    assert_int_equal(info.align & (info.align - 1), 0);
    assert_true(info.direct ? info.align > 1 && info.align <= ENG_STORE_ALIGN_MAX : info.align == 1);
    print_message("direct_io here: %s, unit %u\n", info.direct ? "yes" : "no", info.align);
    f->store->ops->close_file(f->store, &file);
}

/* What O_DIRECT cannot do goes through the page cache: here a buffer, an offset and a length off the unit. */
static void transfers_off_the_unit_are_done_all_the_same(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    uint8_t *data = aligned_alloc(4096, BYTES);
    struct eng_store_file *file;
    struct eng_io io;
    char path[320];

    assert_non_null(data);
    store_fixture_make(store_fixture_path(f, "unit", path), 4 * BYTES);
    assert_int_equal(open_rc(f, path, false, 0, &file), CF_OK);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 100, data + 1, 1000);
    assert_int_equal(io.rc, CF_OK);
    for (uint32_t i = 0; i < 1000; i++)
        assert_int_equal(data[1 + i], store_fixture_byte(100 + i));
    memset(data, 0x5a, BYTES);
    assert_int_equal(store_fixture_run(f->store, file, ENG_IO_WRITE, BYTES + 3, data + 1, 1000).rc, CF_OK);
    io = store_fixture_run(f->store, file, ENG_IO_READ, BYTES, data, BYTES);
    assert_int_equal(io.rc, CF_OK);
    for (uint32_t i = 0; i < BYTES; i++)
        assert_int_equal(data[i], i >= 3 && i < 1003 ? 0x5a : store_fixture_byte(BYTES + i));
    f->store->ops->close_file(f->store, &file);
    free(data);
}

/* ------------------------------------------------------------------ lengths */

static void resize_grows_with_zeroes_and_cuts(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    uint8_t *data = aligned_alloc(4096, BYTES);
    struct eng_store_file_info info;
    struct eng_store_file *file;
    struct cf_error error;
    struct eng_io io;
    struct stat status;
    char path[320];

    assert_non_null(data);
    store_fixture_make(store_fixture_path(f, "grow", path), BYTES);
    assert_int_equal(open_rc(f, path, false, 0, &file), CF_OK);
    assert_int_equal(f->store->ops->resize(f->store, file, 40 * BYTES, &error), CF_OK);
    assert_int_equal(f->store->ops->file_info(f->store, file, &info), CF_OK);
    assert_int_equal(info.bytes, 40 * BYTES);
    assert_int_equal(stat(path, &status), 0);
    assert_true((uint64_t)status.st_blocks * 512 >= 40 * BYTES); /* the space is there, not promised */
    io = store_fixture_run(f->store, file, ENG_IO_READ, 39 * BYTES, data, BYTES);
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(io.short_bytes, 0);
    for (uint32_t i = 0; i < BYTES; i++)
        assert_int_equal(data[i], 0);
    assert_int_equal(f->store->ops->resize(f->store, file, BYTES, &error), CF_OK);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 39 * BYTES, data, BYTES);
    assert_int_equal(io.short_bytes, BYTES);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 0, data, BYTES);
    assert_int_equal(data[4711], store_fixture_byte(4711));
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_full_disk_is_no_space_and_changes_no_length(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    uint8_t *data = aligned_alloc(4096, BYTES);
    struct eng_store_file_info info;
    struct eng_store_file *file;
    struct cf_error error;
    struct eng_io io;
    char path[320];

    assert_non_null(data);
    memset(data, 1, BYTES);
    if (!store_fixture_tmpfs(f->folder, "size=256k")) {
        free(data);
        skip();
    }
    store_fixture_make(store_fixture_path(f, "full", path), BYTES);
    assert_int_equal(open_rc(f, path, false, 0, &file), CF_OK);
    assert_int_equal(f->store->ops->resize(f->store, file, 100 * BYTES, &error), CF_NO_SPACE);
    assert_int_equal(error.rc, CF_NO_SPACE);
    assert_int_equal(error.system, ENOSPC);
    assert_int_equal(f->store->ops->file_info(f->store, file, &info), CF_OK);
    assert_int_equal(info.bytes, BYTES);
    for (uint64_t block = 1; block < 100; block++) {
        io = store_fixture_run(f->store, file, ENG_IO_WRITE, block * BYTES, data, BYTES);
        if (io.rc != CF_OK)
            break;
    }
    assert_int_equal(io.rc, CF_NO_SPACE);
    assert_int_equal(io.system, ENOSPC);
    io = store_fixture_run(f->store, file, ENG_IO_READ, 0, data, BYTES);
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(data[17], store_fixture_byte(17));
    f->store->ops->close_file(f->store, &file);
    free(data);
}

static void a_read_only_file_system_is_read_only(void **state)
{
    struct store_fixture *f = store_fixture_of(state);
    struct eng_store_file *file = NULL;
    char path[320];

    if (!store_fixture_tmpfs(f->folder, "size=256k"))
        skip();
    store_fixture_make(store_fixture_path(f, "ro", path), BYTES);
    assert_int_equal(mount(NULL, f->folder, NULL, MS_REMOUNT | MS_RDONLY, NULL), 0);
    assert_int_equal(open_rc(f, path, false, 0, &file), CF_READ_ONLY);
    assert_int_equal(open_rc(f, path, true, 0, &file), CF_OK);
    f->store->ops->close_file(f->store, &file);
}

/* ------------------------------------------------------------------ results of system calls */

static void results_become_codes(void **state)
{
    static const struct {
        int system;
        enum cf_rc rc;
    } row[] = {{ENOSPC, CF_NO_SPACE}, {EDQUOT, CF_NO_SPACE}, {EROFS, CF_READ_ONLY},
               {EBADF, CF_READ_ONLY}, {EIO, CF_IO},          {EINVAL, CF_IO}};

    (void)state;
    for (size_t i = 0; i < CF_COUNTOF(row); i++) {
        struct eng_io io = {.op = ENG_IO_WRITE, .bytes = BYTES};

        assert_false(eng_store_io_continue(&io, -row[i].system));
        assert_int_equal(io.rc, row[i].rc);
        assert_int_equal(io.system, row[i].system);
    }
}

static void interrupted_calls_are_repeated_but_not_for_ever(void **state)
{
    static const int system[] = {EINTR, EAGAIN, ECANCELED};

    (void)state;
    for (size_t i = 0; i < CF_COUNTOF(system); i++) {
        struct eng_io io = {.op = ENG_IO_WRITE, .bytes = BYTES};
        uint32_t calls = 1;

        while (eng_store_io_continue(&io, -system[i]) && calls < 1000)
            calls++;
        assert_int_equal(calls, ENG_STORE_TRIES_MAX);
        assert_int_equal(io.rc, CF_IO);
        assert_int_equal(io.system, system[i]);
    }
}

static void short_transfers_go_on_where_they_stopped(void **state)
{
    uint8_t data[64];
    struct eng_io io = {.op = ENG_IO_READ, .bytes = sizeof data, .buffer = data};

    (void)state;
    memset(data, 0xee, sizeof data);
    assert_true(eng_store_io_continue(&io, 40));
    assert_int_equal(io.done_bytes, 40);
    assert_true(eng_store_io_continue(&io, -EINTR));
    assert_false(eng_store_io_continue(&io, 24));
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(io.system, 0);
    assert_int_equal(io.short_bytes, 0);

    io = (struct eng_io){.op = ENG_IO_READ, .bytes = sizeof data, .buffer = data};
    assert_true(eng_store_io_continue(&io, 40));
    assert_false(eng_store_io_continue(&io, 0));
    assert_int_equal(io.rc, CF_OK);
    assert_int_equal(io.short_bytes, 24);
    assert_int_equal(data[39], 0xee);
    assert_int_equal(data[40], 0);

    io = (struct eng_io){.op = ENG_IO_WRITE, .bytes = sizeof data, .buffer = data};
    assert_true(eng_store_io_continue(&io, 40));
    assert_false(eng_store_io_continue(&io, 0)); /* a device that writes nothing and calls it success */
    assert_int_equal(io.rc, CF_IO);
    assert_int_equal(io.system, EIO);
}

/*
 * ------------------------------------------------------------------ io_uring forbidden: in a child of its
 * own
 */

enum { CHILD_GOOD = 0, CHILD_CANNOT = 77 };

static void in_child(int (*run)(void))
{
    pid_t child;
    int status;

    fflush(NULL);
    child = fork();
    assert_true(child >= 0);
    if (child == 0)
        _exit(run());
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFEXITED(status));
    if (WEXITSTATUS(status) == CHILD_CANNOT) {
        print_message("skipped: no seccomp filter, or no io_uring to forbid\n");
        skip();
    }
    assert_int_equal(WEXITSTATUS(status), CHILD_GOOD); /* else the line of the check that did not hold */
}

static int child_falls_back(void)
{
    struct cf_log log;
    char *text = NULL;
    size_t text_bytes = 0;
    struct eng_store_options options = {.depth = 4, .allocator = cf_allocator_default(), .log = &log};
    struct eng_store *store = NULL;
    struct cf_error error = {0};
    FILE *out = open_memstream(&text, &text_bytes);
    int step = 1;

    cf_log_init(&log, CF_LOG_INFO, out, 0);
    if (!store_fixture_forbid(__NR_io_uring_setup))
        return CHILD_CANNOT;
    options.backend = 1;
    if (eng_store_open(&options, &store, &error) != CF_SYSTEM || error.system != EPERM || store != NULL)
        return step;
    step++;
    fflush(out);
    if (text_bytes != 0) /* who asked for io_uring gets an error, no log line */
        return step;
    step++;
    options.backend = 0;
    if (eng_store_open(&options, &store, &error) != CF_OK || strcmp(store->ops->name, "threads") != 0)
        return step;
    step++;
    fflush(out);
    if (count_of(text, "no io_uring") != 1)
        return step;
    eng_store_close(&store);
    return CHILD_GOOD;
}

static void auto_falls_back_to_threads_and_says_so_once(void **state)
{
    (void)state;
    in_child(child_falls_back);
}

/*
 * A ring that was opened before a filter forbade its use: what it took is answered, nothing waits for ever.
 */
static int child_is_refused(void)
{
    struct eng_store_options options = {.depth = 4, .backend = 1, .allocator = cf_allocator_default()};
    struct eng_store *store = NULL;
    struct eng_store_file *file = NULL;
    struct cf_error error;
    struct eng_io io[3] = {0}, *done[4];
    static _Alignas(4096) uint8_t data[3][BYTES];

    if (eng_store_open(&options, &store, &error) != CF_OK)
        return CHILD_CANNOT;
    if (store->ops->open_file(store, "/proc/self/exe", true, 0, &file, &error) != CF_OK)
        return 1;
    if (!store_fixture_forbid(__NR_io_uring_enter))
        return CHILD_CANNOT;
    for (uint32_t round = 0; round < 2; round++) { /* the second round meets a store that knows */
        for (uint32_t i = 0; i < 3; i++) {
            io[i] = (struct eng_io){.op = ENG_IO_READ, .bytes = BYTES, .file = file, .buffer = data[i]};
            if (store->ops->submit(store, &io[i]) != CF_OK)
                return 2;
        }
        if (store->ops->poll(store, done, 4) != 3 || store->ops->in_flight(store) != 0)
            return 3;
        for (uint32_t i = 0; i < 3; i++)
            if (io[i].rc != CF_IO || io[i].system != EPERM)
                return 4;
    }
    if (store->ops->submit(store, &io[0]) != CF_OK)
        return 5;
    store->ops->close_file(store, &file);
    eng_store_close(&store);
    return io[0].rc == CF_IO && io[0].in_flight == 0 ? CHILD_GOOD : 6;
}

static void a_ring_the_kernel_refuses_answers_with_errors(void **state)
{
    (void)state;
    in_child(child_is_refused);
}

#define BOTH(test)                                                                 \
    {#test " (io_uring)", test, store_fixture_uring, store_fixture_close, NULL},   \
    {                                                                              \
#test " (threads)", test, store_fixture_threads, store_fixture_close, NULL \
    }

int main(void)
{
    const struct CMUnitTest tests[] = {
        BOTH(what_is_no_file_is_refused_by_name),
        BOTH(without_direct_io_auto_goes_on_and_says_so_once),
        BOTH(direct_io_is_off_when_asked_and_its_unit_is_told),
        BOTH(transfers_off_the_unit_are_done_all_the_same),
        BOTH(resize_grows_with_zeroes_and_cuts),
        BOTH(a_full_disk_is_no_space_and_changes_no_length),
        BOTH(a_read_only_file_system_is_read_only),
        cmocka_unit_test(results_become_codes),
        cmocka_unit_test(interrupted_calls_are_repeated_but_not_for_ever),
        cmocka_unit_test(short_transfers_go_on_where_they_stopped),
        cmocka_unit_test(auto_falls_back_to_threads_and_says_so_once),
        cmocka_unit_test(a_ring_the_kernel_refuses_answers_with_errors),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
