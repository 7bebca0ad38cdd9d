/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_STORE_FIXTURE_H
#define TESTS_STORE_FIXTURE_H

/* A store of one backend and a folder of its own; a tmpfs of any size where the test may mount one. */
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include "engine/store.h"

#define FIXTURE_BLOCK_BYTES 8192u
#define FIXTURE_DEPTH 16u
#define FIXTURE_WAIT_MS_MAX 10000

enum { FIXTURE_URING = 1, FIXTURE_THREADS = 2 };

struct store_fixture {
    struct eng_store *store; /* NULL: this backend is not to be had here */
    struct cf_log log;
    char *log_text;
    size_t log_bytes;
    char folder[256];
};

/* Setup and teardown of cmocka; initial state: NULL for threads, anything else for io_uring. */
int store_fixture_uring(void **state);
int store_fixture_threads(void **state);
int store_fixture_close(void **state);

/* The fixture; skips the test, with the reason, when there is no store. */
struct store_fixture *store_fixture_of(void **state);
/* path of a file in the folder; returns buf of 320 bytes. */
char *store_fixture_path(const struct store_fixture *fixture, const char *name, char *buf);
/* Makes a file of `bytes` bytes, byte i of it being store_fixture_byte(i). */
void store_fixture_make(const char *path, uint64_t bytes);
uint8_t store_fixture_byte(uint64_t offset);

/*
 * Waits on the store's descriptor, never longer than FIXTURE_WAIT_MS_MAX, and polls until one transfer is
 * done.
 */
struct eng_io *store_fixture_wait(struct eng_store *store);
/* One transfer from beginning to end. */
struct eng_io store_fixture_run(struct eng_store *store, struct eng_store_file *file, uint8_t op,
                                uint64_t offset, void *buffer, uint32_t bytes);

/*
 * A tmpfs in a mount namespace that only this process sees. False: not allowed here, the reason was printed.
 */
bool store_fixture_tmpfs(const char *folder, const char *options);
/*
 * From now on the system call fails with EPERM, as in a container; for a forked child. False: not allowed
 * here.
 */
bool store_fixture_forbid(long system_call);

#endif
