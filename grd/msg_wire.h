/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MSG_WIRE_H
#define GRD_MSG_WIRE_H

/*
 * How each width of grd/msg_fields.h stands in a body; for grd/msg.c. Numbers are little endian on the wire; on a big-endian
 * host the functions swap, which cf_le makes explicit.
 */
#include <stddef.h>
#include <string.h>

#include "grd/msg.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define cf_le16(x) (x)
#define cf_le32(x) (x)
#define cf_le64(x) (x)
#else
#define cf_le16(x) __builtin_bswap16(x)
#define cf_le32(x) __builtin_bswap32(x)
#define cf_le64(x) __builtin_bswap64(x)
#endif

static inline uint8_t *put_u8(uint8_t *to, const uint8_t *v)
{
    *to = *v;
    return to + 1;
}

static inline uint8_t *put_u16(uint8_t *to, const uint16_t *v)
{
    uint16_t x = cf_le16(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static inline uint8_t *put_u32(uint8_t *to, const uint32_t *v)
{
    uint32_t x = cf_le32(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static inline uint8_t *put_u64(uint8_t *to, const uint64_t *v)
{
    uint64_t x = cf_le64(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static inline uint8_t *put_key(uint8_t *to, const struct cf_block_key *key)
{
    to = put_u32(to, &key->file);
    to = put_u32(to, &key->generation);
    return put_u64(to, &key->block);
}

/* u16 count, u8 is_map, then the list or the whole map. */
#define SET_HEAD_BYTES 3u
static uint32_t set_bytes(const struct grd_set *set)
{
    return SET_HEAD_BYTES + (set->is_map ? (uint32_t)sizeof set->map : set->count * 2u);
}

static uint8_t *put_set(uint8_t *to, const struct grd_set *set)
{
    uint8_t is_map = set->is_map != 0;
    uint32_t i;

    to = put_u16(to, &set->count);
    to = put_u8(to, &is_map);
    if (is_map) {
        for (i = 0; i < CF_NODES_MAX / 64; i++)
            to = put_u64(to, &set->map[i]);
    } else {
        for (i = 0; i < set->count; i++)
            to = put_u16(to, &set->list[i]);
    }
    return to;
}

static uint32_t text_bytes(const struct grd_lock_bytes *text)
{
    return 1u + text->count;
}

static uint8_t *put_text(uint8_t *to, const struct grd_lock_bytes *text)
{
    to = put_u8(to, &text->count);
    memcpy(to, text->bytes, text->count);
    return to + text->count;
}

static uint32_t name_bytes(const struct grd_lock_name *name)
{
    return 2u + name->bytes_count;
}

static uint8_t *put_name(uint8_t *to, const struct grd_lock_name *name)
{
    to = put_u8(to, &name->kind);
    to = put_u8(to, &name->bytes_count);
    memcpy(to, name->bytes, name->bytes_count);
    return to + name->bytes_count;
}

static uint32_t words_bytes(const struct grd_words *words)
{
    return 1u + words->count * 8u;
}

static uint8_t *put_words(uint8_t *to, const struct grd_words *words)
{
    to = put_u8(to, &words->count);
    for (uint32_t i = 0; i < words->count; i++)
        to = put_u64(to, &words->word[i]);
    return to;
}

/* ------------------------------------------------------------------ what has a fixed width: the body is long enough */

static inline const uint8_t *take_u8(const uint8_t *from, uint8_t *v)
{
    *v = *from;
    return from + 1;
}

static inline const uint8_t *take_u16(const uint8_t *from, uint16_t *v)
{
    uint16_t x;

    memcpy(&x, from, sizeof x);
    *v = cf_le16(x);
    return from + sizeof x;
}

static inline const uint8_t *take_u32(const uint8_t *from, uint32_t *v)
{
    uint32_t x;

    memcpy(&x, from, sizeof x);
    *v = cf_le32(x);
    return from + sizeof x;
}

static inline const uint8_t *take_u64(const uint8_t *from, uint64_t *v)
{
    uint64_t x;

    memcpy(&x, from, sizeof x);
    *v = cf_le64(x);
    return from + sizeof x;
}

static inline const uint8_t *take_key(const uint8_t *from, struct cf_block_key *key)
{
    from = take_u32(from, &key->file);
    from = take_u32(from, &key->generation);
    return take_u64(from, &key->block);
}

/* ------------------------------------------------------------------ what follows: bytes are counted as they are read */

/* False of a reader's call: the body is too short, or the value out of range. */
struct reader {
    const uint8_t *from;
    const uint8_t *end;
    uint32_t nodes;
};

/* A list must rise strictly and a map must agree with its count: one encoding for one set. */
static bool get_set(struct reader *r, struct grd_set *set)
{
    uint32_t i, bits = 0;
    uint8_t is_map;

    if (r->end - r->from < (ptrdiff_t)SET_HEAD_BYTES)
        return false;
    r->from = take_u8(take_u16(r->from, &set->count), &is_map);
    if (is_map > 1)
        return false;
    set->is_map = is_map;
    if ((set->count | is_map) == 0)
        return true;
    if (is_map) {
        if (r->end - r->from < (ptrdiff_t)sizeof set->map)
            return false;
        for (i = 0; i < CF_NODES_MAX / 64; i++) {
            r->from = take_u64(r->from, &set->map[i]);
            bits += (uint32_t)__builtin_popcountll(set->map[i]);
        }
        if (bits != set->count || bits <= GRD_SET_LIST)
            return false;
        for (i = r->nodes; i < CF_NODES_MAX; i++)
            if (set->map[i / 64] >> (i % 64) & 1)
                return false;
        return true;
    }
    if (set->count > GRD_SET_LIST || r->end - r->from < (ptrdiff_t)(set->count * sizeof set->list[0]))
        return false;
    for (i = 0; i < set->count; i++) {
        r->from = take_u16(r->from, &set->list[i]);
        if (set->list[i] >= r->nodes)
            return false;
        if (i > 0 && set->list[i] <= set->list[i - 1])
            return false;
    }
    return true;
}

static bool get_bytes(struct reader *r, uint8_t *bytes, uint32_t count)
{
    if (r->end - r->from < (ptrdiff_t)count)
        return false;
    memcpy(bytes, r->from, count);
    r->from += count;
    return true;
}

/* How long what follows is. */
static inline bool get_count(struct reader *r, uint8_t *count)
{
    if (r->end - r->from < 1)
        return false;
    r->from = take_u8(r->from, count);
    return true;
}

static bool get_text(struct reader *r, struct grd_lock_bytes *text)
{
    return get_count(r, &text->count) && text->count <= GRD_LOCK_VALUE_BYTES &&
           get_bytes(r, text->bytes, text->count);
}

static bool name_is_good(const struct grd_lock_name *name)
{
    switch (name->kind) {
    case GRD_LOCK_NAME_NONE:
        return name->bytes_count == 0;
    case GRD_LOCK_NAME_TEXT:
        return name->bytes_count >= 1 && name->bytes_count <= GRD_LOCK_NAME_BYTES;
    case GRD_LOCK_NAME_IDS:
        return name->bytes_count == GRD_LOCK_IDS_BYTES;
    default:
        return false;
    }
}

static bool get_name(struct reader *r, struct grd_lock_name *name)
{
    return get_count(r, &name->kind) && get_count(r, &name->bytes_count) && name_is_good(name) &&
           get_bytes(r, name->bytes, name->bytes_count);
}

static bool get_words(struct reader *r, struct grd_words *words)
{
    if (!get_count(r, &words->count) || words->count > GRD_WORDS_MAX ||
        r->end - r->from < (ptrdiff_t)(words->count * sizeof words->word[0]))
        return false;
    for (uint32_t i = 0; i < words->count; i++)
        r->from = take_u64(r->from, &words->word[i]);
    return true;
}

#endif
