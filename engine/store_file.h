/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STORE_FILE_H
#define ENGINE_STORE_FILE_H

/*
 * What the two real backends share: files, the course of one transfer, lists of them. Private to the store's
 * files.
 */
#include <stdatomic.h>

#include "base/assert.h"
#include "engine/store.h"

/* A transfer that comes back short, interrupted or cancelled is continued at most so often. */
#define ENG_STORE_TRIES_MAX 16u
/* Buffers are aligned to this; a device that wants more is read and written through the page cache. */
#define ENG_STORE_ALIGN_MAX 4096u

/* Begins every backend's struct. */
struct eng_store_base {
    struct eng_store store;
    const struct cf_allocator *allocator; /* [const] */
    struct cf_log *log;                   /* [const] */
    uint32_t depth;                       /* [const] */
    uint32_t in_flight;                   /* [own] */
    _Atomic bool told_no_direct;          /* [atomic] the log line is printed once a store */
};

/*
 * A file is open twice when the file system does O_DIRECT: directly, and through the page cache for what
 * O_DIRECT cannot do: the tail of a foreign file, whose length need not be a multiple of anything, and blocks
 * smaller than the device's unit.
 *
 * References: one of the opener, one of each transfer. Whoever drops the last closes the descriptors, so that
 * a transfer under way never meets a descriptor number that means another file by now.
 */
struct eng_store_file {
    int fd;          /* [const] whole blocks */
    int buffered_fd; /* [const] the same as fd when there is no O_DIRECT */
    bool direct;     /* [const] */
    bool is_block_device;
    uint32_t align; /* [const] power of two; 1 when not direct */
    _Atomic uint32_t references;
    const struct cf_allocator *allocator;
};

enum cf_rc eng_store_file_open(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                               struct eng_store_file **file_out, struct cf_error *error);
void eng_store_file_close(struct eng_store *store, struct eng_store_file **file);
enum cf_rc eng_store_file_info_get(struct eng_store *store, struct eng_store_file *file,
                                   struct eng_store_file_info *info_out);
enum cf_rc eng_store_file_resize(struct eng_store *store, struct eng_store_file *file, uint64_t bytes,
                                 struct cf_error *error);

/* False with errno. */
bool eng_store_length(int fd, bool *is_block_device_out, uint64_t *bytes_out);
/*
 * Grows a regular file, with its space where the file system can promise it. 0 or an errno, and then as it
 * was.
 */
int eng_store_extend(int fd, uint64_t old_bytes, uint64_t bytes);
/* The result code of a system call that failed. */
enum cf_rc eng_store_rc(int system);

/* One transfer: begin, then calls on `fd` with continue after each until that is false, then end. */
void eng_store_io_begin(struct eng_store_base *base, struct eng_io *io);
int eng_store_io_fd(const struct eng_io *io);
/* Takes the result of one system call: bytes, or a negative errno. True: the rest is to be asked for. */
bool eng_store_io_continue(struct eng_io *io, int result);
void eng_store_io_end(struct eng_store_base *base, struct eng_io *io);

static inline uint32_t eng_store_io_left(const struct eng_io *io)
{
    return io->bytes - io->done_bytes;
}

static inline uint8_t *eng_store_io_at(const struct eng_io *io)
{
    return (uint8_t *)io->buffer + io->done_bytes;
}

struct eng_io_list {
    struct eng_io *first, *last;
};

static inline void eng_io_push(struct eng_io_list *list, struct eng_io *io)
{
    io->next = NULL;
    if (list->first == NULL)
        list->first = io;
    else
        list->last->next = io;
    list->last = io;
}

static inline struct eng_io *eng_io_pop(struct eng_io_list *list)
{
    struct eng_io *io = list->first;

    if (io != NULL)
        list->first = io->next;
    return io;
}

/* CF_OK, CF_MEMORY, or CF_SYSTEM with an errno. */
enum cf_rc eng_store_uring_open(const struct eng_store_options *options, struct eng_store **store_out,
                                int *system_out);
enum cf_rc eng_store_threads_open(const struct eng_store_options *options, struct eng_store **store_out,
                                  int *system_out);

#endif
