/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_DATAFILE_H
#define TOOLS_DATAFILE_H

/* What a file is, found by plain reads of its first bytes. */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>

struct datafile {
    bool exists;
    bool is_native;
    uint64_t bytes;
    uint32_t block_bytes; /* native: by the superblock */
    uint32_t file_id;
    uint64_t blocks;
    char cluster[65]; /* that attached it last; empty: none yet */
    bool is_unclean;  /* instances had it open for writing and did not close it */
};

/* CF_OK also when there is no such file, or a foreign one; `error` says what kept it from being read. */
enum cf_rc datafile_probe(const char *path, struct datafile *file_out, struct cf_error *error);

#endif
