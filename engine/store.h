/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STORE_H
#define ENGINE_STORE_H

/*
 * Storage: reads and writes of whole blocks, asynchronous, bounded. A backend is a table of functions: io_uring,
 * a few threads with pread/pwrite, or the simulator's disk. A write that completes with CF_OK is durable.
 *
 * Threads: one thread (the owner of progress) submits and polls.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/log.h"

enum eng_io_op { ENG_IO_READ = 1, ENG_IO_WRITE = 2, ENG_IO_SYNC = 3 };

/* One transfer. The submitter owns it and its buffer; both stay as they are until it is polled. */
struct eng_io {
    uint8_t op;
    uint8_t in_flight; /* [store] */
    uint32_t bytes;
    struct eng_store_file *file;
    uint64_t offset; /* multiple of the block size */
    void *buffer;    /* 4 KiB aligned */
    enum cf_rc
        rc; /* CF_OK, CF_IO, CF_NO_SPACE, CF_READ_ONLY; a read beyond the end is zero-filled, CF_OK, short > 0 */
    int system;           /* errno */
    uint32_t short_bytes; /* read: bytes that lay beyond the end of the file */
    uint32_t tries;       /* [store] */
    uint32_t done_bytes;  /* [store] of a transfer that came back short */
    void *owner;          /* the submitter's */
    struct eng_io *next;  /* [store] */
};

struct eng_store_options {
    uint32_t depth;   /* transfers under way at most */
    uint32_t backend; /* 0 auto, 1 io_uring, 2 threads (option `storage`) */
    const struct cf_allocator *allocator;
    struct cf_log *log;
    void (*wake)(
        void *
            arg); /* called from any thread when completions are there and the owner may sleep; may be NULL */
    void *wake_arg;
};

struct eng_store_file_info {
    uint64_t bytes; /* length now */
    bool is_block_device;
    bool direct;    /* O_DIRECT in use */
    uint32_t align; /* offsets and lengths must be multiples of this when direct */
};

struct eng_store;
struct eng_store_file;

struct eng_store_ops {
    const char *name;
    void (*close)(struct eng_store *store);
    enum cf_rc (*open_file)(struct eng_store *store, const char *path, bool read_only,
                            uint32_t direct, /* option direct_io */
                            struct eng_store_file **file_out, struct cf_error *error);
    void (*close_file)(struct eng_store *store, struct eng_store_file **file);
    enum cf_rc (*file_info)(struct eng_store *store, struct eng_store_file *file,
                            struct eng_store_file_info *info_out);
    /* Sets the length (allocates what is new). Control path: may block. */
    enum cf_rc (*resize)(struct eng_store *store, struct eng_store_file *file, uint64_t bytes,
                         struct cf_error *error);
    enum cf_rc (*submit)(struct eng_store *store, struct eng_io *io); /* CF_AGAIN: depth is used up */
    uint32_t (*poll)(struct eng_store *store, struct eng_io **done, uint32_t max);
    int (*fd)(
        const struct eng_store *store); /* readable when completions are there; -1 = none (wake is used) */
    uint32_t (*in_flight)(const struct eng_store *store);
};

struct eng_store {
    const struct eng_store_ops *ops;
};

/* io_uring where the kernel has it, else threads. CF_SYSTEM. */
CF_CHECK enum cf_rc eng_store_open(const struct eng_store_options *options, struct eng_store **store_out,
                                   struct cf_error *error);
void eng_store_close(struct eng_store **store);

#endif
