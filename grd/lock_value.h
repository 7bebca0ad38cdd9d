/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_VALUE_H
#define GRD_LOCK_VALUE_H

/*
 * A lock's name, its key, its value, and the record of the value that anybody may read without a lock: a thread
 * of this host, or a peer that copies its bytes with a one-sided READ.
 *
 *   record, two lines:  | key 16 | epoch 8 | version 8 | value 64 | length and state 8 | hash 8 | spare 16 |
 *
 * One thread writes a record: it makes `version` odd, writes, makes it even and higher. A reader takes `version`
 * before and after; a copy taken by the device, which orders nothing, is accepted only if the hash over all words
 * is right. A version is never used twice, so equal versions mean equal values.
 */
#include <stdatomic.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/compiler.h"
#include "base/hash.h"

#define GRD_LOCK_NAME_BYTES 64u
#define GRD_LOCK_VALUE_BYTES 64u
#define GRD_LOCK_IDS_BYTES 20u

enum grd_lock_name_kind {
    GRD_LOCK_NAME_NONE = 0, /* in a message: the name does not come along */
    GRD_LOCK_NAME_TEXT = 1, /* 1 to 64 bytes, any */
    GRD_LOCK_NAME_IDS = 2,  /* type, id1, id2: 4 + 8 + 8 bytes, little endian */
};

struct grd_lock_name {
    uint8_t kind; /* enum grd_lock_name_kind */
    uint8_t bytes_count;
    uint8_t bytes[GRD_LOCK_NAME_BYTES];
};

struct grd_lock_value {
    uint64_t version; /* rises with each change, never used twice for a lock */
    bool is_valid;    /* false: who could write it died, its last value may be lost */
    uint8_t bytes_count;
    uint8_t bytes[GRD_LOCK_VALUE_BYTES];
};

/* CF_NAME_LONG, with *name_out untouched: no bytes, or more than 64. */
CF_CHECK enum cf_rc grd_lock_name_text(const void *bytes, size_t bytes_count, struct grd_lock_name *name_out);
void grd_lock_name_ids(uint32_t type, uint64_t id1, uint64_t id2, struct grd_lock_name *name_out);
bool grd_lock_name_equal(const struct grd_lock_name *a, const struct grd_lock_name *b);
/* For people: lock 'accounts', lock (7, 1, 0); bytes that cannot be shown as ?. */
void grd_lock_name_print(const struct grd_lock_name *name, char *text, size_t text_bytes);
/*
 * 128 bits of keyed hash of the name, in the shape of a block's key so that map and messages serve both. Locks
 * and blocks never meet: they have messages and stores of their own.
 */
void grd_lock_key(const struct cf_hash_key *cluster, const struct grd_lock_name *name,
                  struct cf_block_key *key_out);

/* ------------------------------------------------------------------ the record */

#define GRD_LOCK_RECORD_BYTES 128u
#define GRD_LOCK_RECORD_WORDS (GRD_LOCK_RECORD_BYTES / 8u)
/* A reader that meets a write this often asks by message instead. */
#define GRD_LOCK_READ_TRIES 3u

struct grd_lock_record {
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t word[GRD_LOCK_RECORD_WORDS]; /* [owner] writes, all read */
};
_Static_assert(sizeof(struct grd_lock_record) == GRD_LOCK_RECORD_BYTES, "two lines");

/* The owner alone. All bytes of the value and its version are those of *value; readers of other keys miss. */
void grd_lock_record_write(struct grd_lock_record *record, const struct cf_block_key *key, uint64_t epoch,
                           const struct grd_lock_value *value);
/* The owner alone: from here on every reader misses, whatever its key. */
void grd_lock_record_poison(struct grd_lock_record *record);
/* Any thread that shares the memory. False: another key or epoch, or GRD_LOCK_READ_TRIES writes in a row. */
CF_HOT CF_CHECK bool grd_lock_record_read(const struct grd_lock_record *record,
                                          const struct cf_block_key *key, uint64_t epoch,
                                          struct grd_lock_value *value_out);
/* The same for a copy of the bytes made by a device: one try. */
CF_CHECK bool grd_lock_record_check(const void *copy, const struct cf_block_key *key, uint64_t epoch,
                                    struct grd_lock_value *value_out);

#endif
