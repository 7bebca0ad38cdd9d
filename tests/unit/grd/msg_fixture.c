/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/msg_fixture.h"

#include <stdio.h>
#include <string.h>

#include "grd/msg_fields.h"

static void random_u8(struct cf_rng *rng, uint8_t *v)
{
    *v = (uint8_t)cf_rng_next(rng);
}

static void random_u16(struct cf_rng *rng, uint16_t *v)
{
    *v = (uint16_t)cf_rng_next(rng);
}

static void random_u32(struct cf_rng *rng, uint32_t *v)
{
    *v = (uint32_t)cf_rng_next(rng);
}

/* Small, large and everything between. */
static void random_u64(struct cf_rng *rng, uint64_t *v)
{
    *v = cf_rng_next(rng) >> cf_rng_below(rng, 64);
}

static void random_key(struct cf_rng *rng, struct cf_block_key *v)
{
    random_u32(rng, &v->file);
    random_u32(rng, &v->generation);
    random_u64(rng, &v->block);
}

static void random_set(struct cf_rng *rng, struct grd_set *set)
{
    (void)rng;
    grd_set_clear(set);
}

static void random_text(struct cf_rng *rng, struct grd_lock_bytes *v)
{
    v->count = (uint8_t)cf_rng_below(rng, GRD_LOCK_VALUE_BYTES + 1);
    for (uint32_t i = 0; i < v->count; i++)
        random_u8(rng, &v->bytes[i]);
}

static void random_name(struct cf_rng *rng, struct grd_lock_name *v)
{
    char bytes[GRD_LOCK_NAME_BYTES];

    for (uint32_t i = 0; i < sizeof bytes; i++)
        bytes[i] = (char)cf_rng_next(rng);
    if (cf_rng_chance(rng, 0.5))
        grd_lock_name_ids((uint32_t)cf_rng_next(rng), cf_rng_next(rng), cf_rng_next(rng), v);
    else if (grd_lock_name_text(bytes, 1 + cf_rng_below(rng, sizeof bytes), v) != CF_OK)
        v->kind = GRD_LOCK_NAME_NONE;
}

static void random_words(struct cf_rng *rng, struct grd_words *v)
{
    v->count = (uint8_t)cf_rng_below(rng, GRD_WORDS_MAX + 1);
    for (uint32_t i = 0; i < v->count; i++)
        random_u64(rng, &v->word[i]);
}

/* Knuth's selection: each subset of that size is as likely as any other. */
static void random_members(struct cf_rng *rng, uint32_t nodes, uint32_t members, struct grd_set *set)
{
    for (uint32_t node = 0; node < nodes && set->count < members; node++)
        if (cf_rng_below(rng, nodes - node) < members - set->count)
            grd_set_add(set, (uint16_t)node);
}

static bool has_set(uint16_t type)
{
    return type == GRD_MSG_GRANT || type == GRD_MSG_FORWARD || type == GRD_MSG_SHIP;
}

static void random_lock(struct cf_rng *rng, struct grd_msg *msg)
{
    msg->mode = (uint8_t)cf_rng_below(rng, GRD_LOCK_MODES);
    msg->now = (uint8_t)cf_rng_below(rng, GRD_LOCK_MODES);
    msg->stake = (uint8_t)cf_rng_below(rng, GRD_LOCK_MODES);
    msg->slot = (uint8_t)cf_rng_below(rng, GRD_LOCK_SWAP_SLOTS);
    msg->how = (uint8_t)(1 + cf_rng_below(rng, GRD_LOCK_CHANGED - 1));
    msg->flags = (uint8_t)cf_rng_below(rng, 2);
    if (msg->type == GRD_MSG_LOCK_LOWERED)
        msg->flags *= GRD_FLAG_RELEASE;
    if (msg->type == GRD_MSG_LOCK_DOWN) {
        msg->flags = (uint8_t)cf_rng_below(rng, 8);
        if (!(msg->flags & GRD_FLAG_VALUE)) {
            msg->flags &= GRD_FLAG_RELEASE;
            msg->value.count = 0;
        }
    }
    if (msg->type == GRD_MSG_LOCK_REQUEST) {
        if (cf_rng_chance(rng, 0.5)) {
            msg->held = 0;
            msg->now = GRD_LOCK_NL;
        } else {
            msg->held |= 1;
            msg->name.kind = msg->name.bytes_count = 0;
        }
    }
}

/* A copy, a release, or nothing. */
static void random_held(struct cf_rng *rng, struct grd_msg *msg)
{
    uint64_t kind = cf_rng_below(rng, 3);

    msg->mode = kind == 0 ? msg->mode : CF_MODE_N;
    msg->tenure = kind == 2 ? 0 : msg->tenure | 1;
    msg->flags = kind == 0 ? (uint8_t)cf_rng_below(rng, 2) : kind == 1 ? GRD_FLAG_RELEASED : 0;
}

/* What the last owner of a bucket may know of a block: one in X, or some in S, one with the duty; past images. */
static void random_entry(struct cf_rng *rng, uint32_t nodes, struct grd_msg *msg)
{
    bool is_x = cf_rng_chance(rng, 0.3);

    msg->how = (uint8_t)cf_rng_below(rng, GRD_MOVE_ALL + 1);
    msg->tenure = 1 + cf_rng_below(rng, GRD_MOVE_VALUE_MAX);
    if (msg->how != GRD_MOVE_ENTRY)
        msg->words.count = 0;
    for (uint32_t i = 0; i < msg->words.count; i++) {
        uint64_t flags = i > 0 && (is_x || cf_rng_chance(rng, 0.3)) ? GRD_MOVE_PAST : 0;

        if (i == 0)
            flags = is_x ? GRD_MOVE_X | GRD_MOVE_DUTY : GRD_MOVE_DUTY;
        msg->words.word[i] = (1 + cf_rng_below(rng, msg->tenure)) << GRD_MOVE_SHIFT | flags |
                             cf_rng_below(rng, nodes);
    }
}

void msg_random(struct cf_rng *rng, uint16_t type, uint32_t nodes, uint32_t members, struct grd_msg *msg)
{
    memset(msg, 0x5e, sizeof *msg);
    msg->type = type;
    switch (type) {
#define FIELD_RANDOM(width, member) random_##width(rng, &msg->member);
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        GRD_FIELDS_##name(FIELD_RANDOM) break;
#include "grd/msg.def"
#undef GRD_MSG
    }
    msg->requester = (uint16_t)cf_rng_below(rng, nodes);
    msg->hops = (uint8_t)(2 + cf_rng_below(rng, 2));
    msg->mode = cf_rng_chance(rng, 0.5) ? CF_MODE_S : CF_MODE_X;
    if (type == GRD_MSG_REQUEST)
        msg->flags = (uint8_t)cf_rng_below(rng, 2) ? GRD_FLAG_NEW : 0;
    msg->behind %= GRD_WINDOW;
    if (type == GRD_MSG_HELD)
        random_held(rng, msg);
    if (type == GRD_MSG_SHIP)
        msg->flags = (uint8_t)cf_rng_below(rng, 2) ? GRD_FLAG_CHECKED : 0;
    if (has_set(type)) {
        random_members(rng, nodes, members < nodes ? members : nodes, &msg->set);
        if (msg->set.count > 0)
            msg->mode = CF_MODE_X;
    }
    msg->how = GRD_HOW_DISK;
    if (msg->mode == CF_MODE_X)
        msg->how = (uint8_t)(GRD_HOW_DISK + cf_rng_below(rng, GRD_HOW_NEW));
    if (type == GRD_MSG_THERE)
        msg->how = (uint8_t)cf_rng_below(rng, 2);
    if (type == GRD_MSG_MOVE_ACCEPT)
        msg->how = (uint8_t)cf_rng_below(rng, 2);
    if (type == GRD_MSG_MOVE_DONE)
        msg->flags = (uint8_t)cf_rng_below(rng, 2);
    if (type == GRD_MSG_MOVE_ENTRY)
        random_entry(rng, nodes, msg);
    if (type >= GRD_MSG_DETECT_ASK) {
        msg->hops = (uint8_t)(1 + cf_rng_below(rng, 65));
        msg->how = (uint8_t)cf_rng_below(rng, type == GRD_MSG_DETECT_TOLD ? 2 : msg->hops);
        msg->flags = (uint8_t)cf_rng_below(rng, 2);
        if (type == GRD_MSG_DETECT_ASK && cf_rng_chance(rng, 0.5))
            msg->flags |= GRD_FLAG_SINCE | (cf_rng_chance(rng, 0.5) ? GRD_FLAG_MORE : 0);
        if (type == GRD_MSG_DETECT_REPORT && cf_rng_chance(rng, 0.3))
            msg->flags = cf_rng_chance(rng, 0.5) ? GRD_FLAG_TAKEN : GRD_FLAG_LAST | GRD_FLAG_UNKNOWN;
    } else if (type >= GRD_MSG_LOCK_REQUEST)
        random_lock(rng, msg);
}

static bool equal_u8(const uint8_t *a, const uint8_t *b)
{
    return *a == *b;
}

static bool equal_u16(const uint16_t *a, const uint16_t *b)
{
    return *a == *b;
}

static bool equal_u32(const uint32_t *a, const uint32_t *b)
{
    return *a == *b;
}

static bool equal_u64(const uint64_t *a, const uint64_t *b)
{
    return *a == *b;
}

static bool equal_key(const struct cf_block_key *a, const struct cf_block_key *b)
{
    return grd_key_equal(a, b);
}

static bool equal_set(const struct grd_set *a, const struct grd_set *b)
{
    if (a->count != b->count)
        return false;
    for (uint32_t node = 0; node < CF_NODES_MAX; node++)
        if (grd_set_has(a, (uint16_t)node) != grd_set_has(b, (uint16_t)node))
            return false;
    return true;
}

static bool equal_text(const struct grd_lock_bytes *a, const struct grd_lock_bytes *b)
{
    return a->count == b->count && memcmp(a->bytes, b->bytes, a->count) == 0;
}

static bool equal_name(const struct grd_lock_name *a, const struct grd_lock_name *b)
{
    return grd_lock_name_equal(a, b);
}

static bool equal_words(const struct grd_words *a, const struct grd_words *b)
{
    return a->count == b->count && memcmp(a->word, b->word, a->count * sizeof a->word[0]) == 0;
}

static bool told(bool is_equal, const char *message, const char *field)
{
    if (!is_equal)
        fprintf(stderr, "%s: field %s differs\n", message, field);
    return is_equal;
}

bool msg_equal(const struct grd_msg *a, const struct grd_msg *b)
{
    if (!told(a->type == b->type, grd_msg_name(a->type), "type"))
        return false;
    switch (a->type) {
#define FIELD_EQUAL(width, member) \
    &&told(equal_##width(&a->member, &b->member), grd_msg_name(a->type), #member)
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        return true GRD_FIELDS_##name(FIELD_EQUAL);
#include "grd/msg.def"
#undef GRD_MSG
    }
    return false;
}
