/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ordering of a record. The writer stores an odd version, then each word with release, then the even version with
 * release; the reader loads the version and each word with acquire, then the version again. A reader that has seen
 * a new word has therefore seen the odd version, and its second look cannot give the version before it. No fence,
 * so that ThreadSanitizer understands it; on x86-64 all of these are plain moves.
 */
#include "grd/lock_value.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"

enum word { WORD_KEY = 0, WORD_EPOCH = 2, WORD_VERSION = 3, WORD_VALUE = 4, WORD_STATE = 12, WORD_HASH = 13 };
#define STATE_VALID (UINT64_C(1) << 8)
#define STATE_LENGTH UINT64_C(0xff)
_Static_assert(WORD_VALUE + GRD_LOCK_VALUE_BYTES / 8 == WORD_STATE,
               "the value lies between version and state");
_Static_assert(WORD_HASH < GRD_LOCK_RECORD_WORDS, "the hash is inside");

enum cf_rc grd_lock_name_text(const void *bytes, size_t bytes_count, struct grd_lock_name *name_out)
{
    if (bytes_count == 0 || bytes_count > GRD_LOCK_NAME_BYTES)
        return CF_NAME_LONG;
    memset(name_out, 0, sizeof *name_out);
    name_out->kind = GRD_LOCK_NAME_TEXT;
    name_out->bytes_count = (uint8_t)bytes_count;
    memcpy(name_out->bytes, bytes, bytes_count);
    return CF_OK;
}

static uint8_t *put_le(uint8_t *to, uint64_t value, uint32_t bytes_count)
{
    for (uint32_t i = 0; i < bytes_count; i++)
        *to++ = (uint8_t)(value >> (8 * i));
    return to;
}

void grd_lock_name_ids(uint32_t type, uint64_t id1, uint64_t id2, struct grd_lock_name *name_out)
{
    memset(name_out, 0, sizeof *name_out);
    name_out->kind = GRD_LOCK_NAME_IDS;
    name_out->bytes_count = GRD_LOCK_IDS_BYTES;
    put_le(put_le(put_le(name_out->bytes, type, 4), id1, 8), id2, 8);
}

bool grd_lock_name_equal(const struct grd_lock_name *a, const struct grd_lock_name *b)
{
    return a->kind == b->kind && a->bytes_count == b->bytes_count &&
           memcmp(a->bytes, b->bytes, a->bytes_count) == 0;
}

void grd_lock_name_print(const struct grd_lock_name *name, char *text, size_t text_bytes)
{
    uint32_t type, i;
    uint64_t id[2];
    int length;

    if (name->kind == GRD_LOCK_NAME_IDS) {
        memcpy(&type, name->bytes, sizeof type);
        memcpy(id, name->bytes + sizeof type, sizeof id);
        snprintf(text, text_bytes, "lock (%u, %" PRIu64 ", %" PRIu64 ")", type, id[0], id[1]);
        return;
    }
    length = snprintf(text, text_bytes, "lock '");
    for (i = 0; i < name->bytes_count && (size_t)length + 2 < text_bytes; i++)
        text[length++] = name->bytes[i] >= 0x20 && name->bytes[i] < 0x7f ? (char)name->bytes[i] : '?';
    snprintf(text + length, text_bytes - (size_t)length, "'");
}

/* Two hashes of the same bytes under one key, told apart by the first byte hashed. */
void grd_lock_key(const struct cf_hash_key *cluster, const struct grd_lock_name *name,
                  struct cf_block_key *key_out)
{
    uint8_t text[3 + GRD_LOCK_NAME_BYTES] = {'L', name->kind, name->bytes_count};
    uint64_t low, high;

    cf_assert(name->bytes_count <= GRD_LOCK_NAME_BYTES);
    memcpy(text + 3, name->bytes, name->bytes_count);
    low = cf_siphash(cluster, text, 3u + name->bytes_count);
    text[0] = 'H';
    high = cf_siphash(cluster, text, 3u + name->bytes_count);
    *key_out = (struct cf_block_key){
        .file = (uint32_t)high, .generation = (uint32_t)(high >> 32), .block = low};
}

/* ------------------------------------------------------------------ the record */

/* Every bit counts, and where it stands: a torn mixture of two records has another hash but for 2^-64. */
static uint64_t hash_of(const uint64_t *words)
{
    uint64_t hash = UINT64_C(0x6c6f636b76616c75);

    for (uint32_t i = 0; i < WORD_HASH; i++)
        hash = cf_mix64(hash + words[i], (i + 1) * UINT64_C(0x9e3779b97f4a7c15));
    return hash;
}

static void key_words(const struct cf_block_key *key, uint64_t *words)
{
    words[WORD_KEY] = (uint64_t)key->generation << 32 | key->file;
    words[WORD_KEY + 1] = key->block;
}

static void poke(struct grd_lock_record *record, uint32_t at, uint64_t value)
{
    atomic_store_explicit(&record->word[at], value, memory_order_release);
}

void grd_lock_record_write(struct grd_lock_record *record, const struct cf_block_key *key, uint64_t epoch,
                           const struct grd_lock_value *value)
{
    uint64_t words[GRD_LOCK_RECORD_WORDS] = {0};

    cf_assert(value->bytes_count <= GRD_LOCK_VALUE_BYTES);
    key_words(key, words);
    words[WORD_EPOCH] = epoch;
    words[WORD_VERSION] = value->version << 1;
    memcpy(&words[WORD_VALUE], value->bytes, value->bytes_count);
    words[WORD_STATE] = value->bytes_count | (value->is_valid ? STATE_VALID : 0);
    words[WORD_HASH] = hash_of(words);
    /* Odd until all is written. Pairs with take(). */
    atomic_store_explicit(&record->word[WORD_VERSION], value->version << 1 | 1, memory_order_relaxed);
    for (uint32_t i = 0; i < GRD_LOCK_RECORD_WORDS; i++)
        if (i != WORD_VERSION)
            poke(record, i, words[i]);
    poke(record, WORD_VERSION, words[WORD_VERSION]);
}

/*
 * The version of a poisoned record is odd, so that no reader takes it, and its hash is wrong, so that no copy of it
 * is taken either.
 */
void grd_lock_record_poison(struct grd_lock_record *record)
{
    uint64_t version = atomic_load_explicit(&record->word[WORD_VERSION], memory_order_relaxed);

    atomic_store_explicit(&record->word[WORD_VERSION], version | 1, memory_order_relaxed);
    for (uint32_t i = 0; i < GRD_LOCK_RECORD_WORDS; i++)
        if (i != WORD_VERSION)
            poke(record, i, 0);
}

static bool accept(const uint64_t *words, const struct cf_block_key *key, uint64_t epoch,
                   struct grd_lock_value *value_out)
{
    uint64_t wanted[2];

    key_words(key, wanted);
    if ((words[WORD_VERSION] & 1) || words[WORD_KEY] != wanted[0] || words[WORD_KEY + 1] != wanted[1] ||
        words[WORD_EPOCH] != epoch || words[WORD_HASH] != hash_of(words) ||
        (words[WORD_STATE] & ~(STATE_VALID | STATE_LENGTH)) ||
        (words[WORD_STATE] & STATE_LENGTH) > GRD_LOCK_VALUE_BYTES)
        return false;
    value_out->version = words[WORD_VERSION] >> 1;
    value_out->is_valid = (words[WORD_STATE] & STATE_VALID) != 0;
    value_out->bytes_count = (uint8_t)(words[WORD_STATE] & STATE_LENGTH);
    memcpy(value_out->bytes, &words[WORD_VALUE], value_out->bytes_count);
    return true;
}

/* A copy that no write went through. Pairs with grd_lock_record_write. */
static bool take(const struct grd_lock_record *record, uint64_t *words)
{
    struct grd_lock_record *shared = (struct grd_lock_record *)(uintptr_t)record;
    uint64_t version = atomic_load_explicit(&shared->word[WORD_VERSION], memory_order_acquire);

    if (version & 1)
        return false;
    for (uint32_t i = 0; i <= WORD_HASH; i++)
        words[i] = atomic_load_explicit(&shared->word[i], memory_order_acquire);
    words[WORD_VERSION] = version;
    return atomic_load_explicit(&shared->word[WORD_VERSION], memory_order_relaxed) == version;
}

bool grd_lock_record_read(const struct grd_lock_record *record, const struct cf_block_key *key,
                          uint64_t epoch, struct grd_lock_value *value_out)
{
    uint64_t words[GRD_LOCK_RECORD_WORDS];

    for (uint32_t tries = 0; tries < GRD_LOCK_READ_TRIES; tries++)
        if (take(record, words))
            return accept(words, key, epoch, value_out);
    return false;
}

bool grd_lock_record_check(const void *copy, const struct cf_block_key *key, uint64_t epoch,
                           struct grd_lock_value *value_out)
{
    uint64_t words[GRD_LOCK_RECORD_WORDS];

    memcpy(words, copy, sizeof words);
    return accept(words, key, epoch, value_out);
}
