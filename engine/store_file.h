/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STORE_FILE_H
#define ENGINE_STORE_FILE_H

/* Files and block devices as the two real backends share them. Private to the store's files. */
#include "engine/store.h"

/*
 * A file is open twice when the file system does O_DIRECT: directly, and through the page cache for the tail of a
 * foreign file, whose length need not be a multiple of anything.
 */
struct eng_store_file {
    int fd;          /* reads and writes of whole blocks */
    int buffered_fd; /* unaligned tails; the same as fd when there is no O_DIRECT */
    bool direct;
    bool is_block_device;
    bool read_only;
    uint32_t align;
    uint64_t bytes;  /* length when it was opened or resized last */
    const struct cf_allocator *allocator;
};

enum cf_rc eng_store_file_open(struct eng_store *store, const char *path, bool read_only, uint32_t direct,
                               struct eng_store_file **file_out, struct cf_error *error);
void eng_store_file_close(struct eng_store *store, struct eng_store_file **file);
enum cf_rc eng_store_file_info_get(struct eng_store *store, struct eng_store_file *file, struct eng_store_file_info *info_out);
enum cf_rc eng_store_file_resize(struct eng_store *store, struct eng_store_file *file, uint64_t bytes, struct cf_error *error);

/* The descriptor for what is left of a transfer. */
int eng_store_fd(const struct eng_io *io, uint32_t left);
/* Takes the result of one system call (bytes, or a negative errno). True: it must be continued. */
bool eng_store_continue(struct eng_io *io, int result);

enum cf_rc eng_store_uring_open(const struct eng_store_options *options, struct eng_store **store_out, int *system_out);
enum cf_rc eng_store_threads_open(const struct eng_store_options *options, struct eng_store **store_out, int *system_out);

#endif
