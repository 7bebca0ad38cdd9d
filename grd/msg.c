/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec: straight-line code for each message, made from msg_fields.h. What has a fixed width comes first in every
 * message, so that one comparison of lengths is enough for all of it.
 */
#include "grd/msg.h"

#include <string.h>

#include "base/assert.h"
#include "grd/msg_check.h"
#include "grd/msg_fields.h"
#include "grd/msg_wire.h"

const char *grd_msg_name(uint16_t type)
{
    switch (type) {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        return #name;
#include "grd/msg.def"
#undef GRD_MSG
    }
    return "?";
}

/* What is done with each field of a message; first those of a fixed width, then those whose contents tell their bytes. */
#define BYTES_u8 1u
#define BYTES_u16 2u
#define BYTES_u32 4u
#define BYTES_u64 8u
#define BYTES_key 16u
#define BYTES_set 0u
#define BYTES_text 0u
#define BYTES_name 0u
#define BYTES_words 0u
#define FIELD_BYTES(width, member) +BYTES_##width

#define VARIES_u8(v) 0u
#define VARIES_u16(v) 0u
#define VARIES_u32(v) 0u
#define VARIES_u64(v) 0u
#define VARIES_key(v) 0u
#define VARIES_set(v) set_bytes(v)
#define VARIES_text(v) text_bytes(v)
#define VARIES_name(v) name_bytes(v)
#define VARIES_words(v) words_bytes(v)
#define FIELD_VARIES(width, member) +VARIES_##width(&msg->member)

#define TAKE_u8(v) p = take_u8(p, v);
#define TAKE_u16(v) p = take_u16(p, v);
#define TAKE_u32(v) p = take_u32(p, v);
#define TAKE_u64(v) p = take_u64(p, v);
#define TAKE_key(v) p = take_key(p, v);
#define TAKE_set(v)
#define TAKE_text(v)
#define TAKE_name(v)
#define TAKE_words(v)
#define FIELD_TAKE(width, member) TAKE_##width(&msg->member)

#define GET_u8(v)
#define GET_u16(v)
#define GET_u32(v)
#define GET_u64(v)
#define GET_key(v)
#define GET_set(v) &&get_set(&r, v)
#define GET_text(v) &&get_text(&r, v)
#define GET_name(v) &&get_name(&r, v)
#define GET_words(v) &&get_words(&r, v)
#define FIELD_GET(width, member) GET_##width(&msg->member)

#define FIELD_PUT(width, member) p = put_##width(p, &msg->member);

uint32_t grd_msg_bytes(const struct grd_msg *msg)
{
    switch (msg->type) {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        return 0 GRD_FIELDS_##name(FIELD_BYTES) GRD_FIELDS_##name(FIELD_VARIES);
#include "grd/msg.def"
#undef GRD_MSG
    }
    cf_unreachable();
}

uint32_t grd_msg_encode(const struct grd_msg *msg, void *to)
{
    uint8_t *p = to;

    switch (msg->type) {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        GRD_FIELDS_##name(FIELD_PUT) return (uint32_t)(p - (uint8_t *)to);
#include "grd/msg.def"
#undef GRD_MSG
    }
    cf_unreachable();
}

bool grd_msg_decode(uint16_t type, const void *from, uint32_t bytes, uint32_t nodes, struct grd_msg *msg)
{
    struct reader r = {from, (const uint8_t *)from + bytes, nodes};
    const uint8_t *p = from;

    msg->type = type;
    if (is_lock(type) || has_words(type))
        grd_set_clear(&msg->set);
    switch (type) {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        if (bytes < 0 GRD_FIELDS_##name(FIELD_BYTES))               \
            return false;                                           \
        GRD_FIELDS_##name(FIELD_TAKE) r.from = p;                   \
        return true GRD_FIELDS_##name(FIELD_GET) && r.from == r.end && enumerations_ok(number, msg, nodes);
#include "grd/msg.def"
#undef GRD_MSG
    }
    return false;
}

void grd_msg_copy(struct grd_msg *to, const struct grd_msg *from)
{
    memcpy(to, from, offsetof(struct grd_msg, set));
    if (CF_UNLIKELY(has_words(from->type))) {
        grd_set_clear(&to->set);
        to->words.count = from->type == GRD_MSG_DETECT_TOLD ? 0 : from->words.count;
        memcpy(to->words.word, from->words.word, to->words.count * sizeof to->words.word[0]);
        return;
    }
    if (!is_lock(from->type)) {
        grd_set_copy(&to->set, &from->set);
        return;
    }
    memcpy(&to->set, &from->set, offsetof(struct grd_msg, value) - offsetof(struct grd_msg, set));
    to->value.count = from->value.count;
    memcpy(to->value.bytes, from->value.bytes, from->value.count);
    to->name.kind = from->name.kind;
    to->name.bytes_count = from->name.bytes_count;
    memcpy(to->name.bytes, from->name.bytes, from->name.bytes_count);
}
