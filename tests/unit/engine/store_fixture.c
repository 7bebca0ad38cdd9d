/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/engine/store_fixture.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <poll.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

static int begin(void **state, uint32_t backend)
{
    struct store_fixture *f = calloc(1, sizeof *f);
    const char *folder = getenv("TMPDIR");
    struct eng_store_options options = {
        .depth = FIXTURE_DEPTH, .backend = backend, .allocator = cf_allocator_default()};
    struct cf_error error;

    if (f == NULL)
        return -1;
    snprintf(f->folder, sizeof f->folder, "%s/cf-store-XXXXXX", folder != NULL ? folder : "/tmp");
    if (mkdtemp(f->folder) == NULL) {
        free(f);
        return -1;
    }
    cf_log_init(&f->log, CF_LOG_INFO, open_memstream(&f->log_text, &f->log_bytes), 0);
    options.log = &f->log;
    if (eng_store_open(&options, &f->store, &error) != CF_OK)
        print_message("no store: %s\n", error.text);
    *state = f;
    return 0;
}

int store_fixture_uring(void **state)
{
    return begin(state, FIXTURE_URING);
}

int store_fixture_threads(void **state)
{
    return begin(state, FIXTURE_THREADS);
}

int store_fixture_close(void **state)
{
    struct store_fixture *f = *state;
    char command[320];

    eng_store_close(&f->store);
    cf_log_close(&f->log);
    fclose(f->log.out);
    free(f->log_text);
    umount2(f->folder, MNT_DETACH); /* when the test mounted something */
    snprintf(command, sizeof command, "rm -rf '%s'", f->folder);
    if (system(command) != 0)
        return -1;
    free(f);
    return 0;
}

struct store_fixture *store_fixture_of(void **state)
{
    struct store_fixture *f = *state;

    if (f->store == NULL) {
        print_message("skipped: the kernel offers no io_uring here\n");
        skip();
    }
    return f;
}

char *store_fixture_path(const struct store_fixture *fixture, const char *name, char *buf)
{
    snprintf(buf, 320, "%s/%s", fixture->folder, name);
    return buf;
}

uint8_t store_fixture_byte(uint64_t offset)
{
    return (uint8_t)((offset * UINT64_C(0x9e3779b97f4a7c15)) >> 56);
}

void store_fixture_make(const char *path, uint64_t bytes)
{
    FILE *file = fopen(path, "wb");

    assert_non_null(file);
    for (uint64_t i = 0; i < bytes; i++)
        assert_int_not_equal(putc(store_fixture_byte(i), file), EOF);
    assert_int_equal(fclose(file), 0);
}

struct eng_io *store_fixture_wait(struct eng_store *store)
{
    struct pollfd ready = {.fd = store->ops->fd(store), .events = POLLIN};
    struct eng_io *io;
    int rc;

    assert_true(ready.fd >= 0);
    while (store->ops->poll(store, &io, 1) == 0) {
        rc = poll(&ready, 1, FIXTURE_WAIT_MS_MAX);
        assert_true(rc == 1 || (rc < 0 && errno == EINTR)); /* 0: a completion that woke nobody */
    }
    return io;
}

struct eng_io store_fixture_run(struct eng_store *store, struct eng_store_file *file, uint8_t op,
                                uint64_t offset, void *buffer, uint32_t bytes)
{
    struct eng_io io = {.op = op, .file = file, .offset = offset, .buffer = buffer, .bytes = bytes};

    assert_int_equal(store->ops->submit(store, &io), CF_OK);
    assert_ptr_equal(store_fixture_wait(store), &io);
    assert_int_equal(store->ops->in_flight(store), 0);
    return io;
}

bool store_fixture_tmpfs(const char *folder, const char *options)
{
    if (unshare(CLONE_NEWNS) == 0 && mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL) == 0 &&
        mount("tmpfs", folder, "tmpfs", 0, options) == 0)
        return true;
    print_message("skipped: no tmpfs can be mounted here: %s\n", strerror(errno));
    return false;
}

bool store_fixture_forbid(long system_call)
{
    struct sock_filter filter[] = {
        BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, (uint32_t)system_call, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM),
        BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
    };
    struct sock_fprog program = {.len = CF_COUNTOF(filter), .filter = filter};

    return prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0 &&
           prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0) == 0;
}
