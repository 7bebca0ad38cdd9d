/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_FORMAT_H
#define ENGINE_FORMAT_H

/*
 * The native format of a data file. Block 0 is the superblock, data block n lies at (n + 1) * block_bytes.
 * Every block begins with a 64-byte header, the rest is the database's. All fields little endian.
 *
 * The superblock is a block like any other to the protocol (key block = ENG_SUPER_BLOCK): changed under X,
 * read under S, so that all instances agree on length, generation and who is attached.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/compiler.h"

#define ENG_FORMAT_VERSION 1u
#define ENG_BLOCK_HEADER_BYTES 64u
/* Number of the superblock in block keys; data blocks are numbered from 0. */
#define ENG_SUPER_BLOCK UINT64_MAX

struct eng_block_header {
    uint32_t magic;  /* ENG_BLOCK_MAGIC */
    uint16_t format; /* ENG_FORMAT_VERSION */
    uint16_t flags;
    uint32_t file;
    uint32_t generation; /* of the file when the block was last changed */
    uint64_t block;
    uint64_t version; /* SCN of the last change */
    uint16_t node;    /* I-8: who wrote it */
    uint16_t reserved;
    uint32_t incarnation;
    uint64_t epoch;
    uint32_t bytes;    /* block size */
    uint32_t checksum; /* CRC32C of the whole block with this field 0 */
    uint64_t position; /* redo position of the last change */
};
_Static_assert(sizeof(struct eng_block_header) == ENG_BLOCK_HEADER_BYTES, "block header");
#define ENG_BLOCK_MAGIC 0x4b424643u /* "CFBK" */

/* Behind the header of the superblock. */
struct eng_super {
    uint64_t magic; /* ENG_SUPER_MAGIC */
    uint8_t file_uuid[16];
    uint8_t cluster[64]; /* name of the cluster that attached it last, zero-terminated; empty = none yet */
    uint64_t blocks;     /* data blocks */
    uint32_t file_id;
    uint32_t generation;
    uint32_t block_bytes;
    uint32_t dropped;                       /* 1: cf_drop */
    uint64_t view;                          /* hash of the view whose members have it open for writing */
    uint32_t attached;                      /* how many of them; 0 = clean */
    uint32_t losses;                        /* times it was opened with accept_loss */
    uint64_t scn;                           /* highest SCN when it was last closed */
    uint8_t attached_map[CF_NODES_MAX / 8]; /* which nodes */
};
#define ENG_SUPER_MAGIC 0x31454c4946464343ull

/* What is wrong with a block, in the order in which it is looked at. */
enum eng_damage {
    ENG_DAMAGE_NONE = 0,
    ENG_DAMAGE_MAGIC,  /* not a block of ours */
    ENG_DAMAGE_FORMAT, /* another format version */
    ENG_DAMAGE_CHECKSUM,
    ENG_DAMAGE_PLACE,      /* a good block at the wrong place: file, block number or size differ */
    ENG_DAMAGE_GENERATION, /* newer than the file's generation */
    ENG_DAMAGE_VERSION, /* newer than the SCN of a superblock that was closed cleanly; found by check only */
    ENG_DAMAGE_LENGTH,  /* the file ends before the block does; found by check only */
};
const char *eng_damage_name(enum eng_damage damage);

/* Prepares a private image for storage: header fields and checksum. */
struct eng_writer {
    uint16_t node;
    uint32_t incarnation;
    uint64_t epoch;
};
void eng_block_seal(void *image, uint32_t bytes, const struct cf_block_key *key, uint64_t version,
                    uint64_t position, const struct eng_writer *writer);
/* A block of zeroes is one that was never written: ENG_DAMAGE_NONE and *version_out = 0. */
enum eng_damage eng_block_verify(const void *image, uint32_t bytes, const struct cf_block_key *key,
                                 uint64_t *version_out);
/* Header only: what is checked on every arrival. */
enum eng_damage eng_block_verify_header(const void *image, uint32_t bytes, const struct cf_block_key *key,
                                        uint64_t *version_out);
uint32_t eng_block_checksum(const void *image, uint32_t bytes);

/* Block sizes that a file may have. */
static inline bool eng_block_bytes_ok(uint32_t bytes)
{
    return bytes >= CF_BLOCK_BYTES_MIN && bytes <= CF_BLOCK_BYTES_MAX && (bytes & (bytes - 1)) == 0;
}

/* True when these first bytes (at least CF_BLOCK_BYTES_MIN) were a superblock once, damaged or not. */
bool eng_super_is_ours(const void *first_bytes);
/* Superblock checks: CF_OK, CF_FORMAT, CF_VERSION, CF_CORRUPT, CF_BLOCK_SIZE with words in *error. Which cluster
 * a file belongs to is for the one who attaches it to look at. */
enum cf_rc eng_super_verify(const void *image, uint32_t bytes, struct cf_error *error);
static inline struct eng_super *eng_super_of(void *image)
{
    return (struct eng_super *)((uint8_t *)image + ENG_BLOCK_HEADER_BYTES);
}

/* Reads the block size of a native file from its first bytes (the smallest block is enough). */
enum cf_rc eng_super_probe(const void *first_bytes, uint32_t bytes, uint32_t *block_bytes_out,
                           struct cf_error *error);

/* Control path, plain blocking calls of their own: used by mkfs, check and tests. */
struct eng_mkfs {
    const char *path;
    uint64_t blocks;
    uint32_t block_bytes;
    uint32_t file_id; /* 0 = derived from the uuid */
    bool force;       /* overwrite an existing file of ours, or whatever a block device holds */
};
/*
 * CF_OK: the file and its name are durable. CF_INVALID (sizes), CF_FORMAT (not empty, or with force not ours), CF_NO_SPACE,
 * CF_READ_ONLY, CF_IO: a file that this call created is removed again.
 */
enum cf_rc eng_format_make(const struct eng_mkfs *what, struct cf_error *error);

struct eng_check_result {
    uint64_t blocks, written;
    uint64_t damaged;          /* blocks; those the file is too short for and a damaged superblock included */
    uint64_t newer_than_super; /* good blocks that a cleanly closed superblock knows nothing of */
    uint64_t
        beyond_bytes; /* of a regular file behind its last block: an extend or truncate cut short leaves them */
    uint64_t highest_version;
    bool super_damaged; /* then no data block was looked at */
    bool unclean;       /* instances have it open for writing, or died */
    struct eng_super super;
};
/*
 * Reads the whole file; `report` (may be NULL) is called for every finding, for missing blocks once. CF_OK when it
 * could be read at all; CF_NOT_FOUND, CF_FORMAT (not a file of ours), CF_VERSION, CF_MEMORY, CF_IO.
 */
enum cf_rc eng_format_check(const char *path,
                            void (*report)(void *arg, uint64_t block, enum eng_damage damage,
                                           const char *text),
                            void *arg, struct eng_check_result *result_out, struct cf_error *error);

/* Fills *error (may be NULL) and returns rc. */
CF_COLD enum cf_rc eng_format_fail(struct cf_error *error, enum cf_rc rc, int system, const char *fmt, ...)
    CF_PRINTF(4, 5);

#endif
