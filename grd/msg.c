/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The codec: straight-line code for each message, made from msg_fields.h. Numbers are little endian on the wire;
 * on a big-endian host the put/get functions would swap, which cf_le makes explicit.
 */
#include "grd/msg.h"

#include <string.h>

#include "base/assert.h"
#include "grd/msg_fields.h"

#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
#define cf_le16(x) (x)
#define cf_le32(x) (x)
#define cf_le64(x) (x)
#else
#define cf_le16(x) __builtin_bswap16(x)
#define cf_le32(x) __builtin_bswap32(x)
#define cf_le64(x) __builtin_bswap64(x)
#endif

#define BYTES_u8 1u
#define BYTES_u16 2u
#define BYTES_u32 4u
#define BYTES_u64 8u
#define BYTES_key 16u
#define BYTES_set 0u /* these four by their contents */
#define BYTES_text 0u
#define BYTES_name 0u
#define BYTES_words 0u

static uint8_t *put_u8(uint8_t *to, const uint8_t *v)
{
    *to = *v;
    return to + 1;
}

static uint8_t *put_u16(uint8_t *to, const uint16_t *v)
{
    uint16_t x = cf_le16(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static uint8_t *put_u32(uint8_t *to, const uint32_t *v)
{
    uint32_t x = cf_le32(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static uint8_t *put_u64(uint8_t *to, const uint64_t *v)
{
    uint64_t x = cf_le64(*v);

    memcpy(to, &x, sizeof x);
    return to + sizeof x;
}

static uint8_t *put_key(uint8_t *to, const struct cf_block_key *key)
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

/* Readers: move *from on; false when the body is too short or the value out of range. */
struct reader {
    const uint8_t *from;
    const uint8_t *end;
    uint32_t nodes;
};

static bool get_u8(struct reader *r, uint8_t *v)
{
    if (r->end - r->from < 1)
        return false;
    *v = *r->from++;
    return true;
}

static bool get_u16(struct reader *r, uint16_t *v)
{
    uint16_t x;

    if (r->end - r->from < (ptrdiff_t)sizeof x)
        return false;
    memcpy(&x, r->from, sizeof x);
    *v = cf_le16(x);
    r->from += sizeof x;
    return true;
}

static bool get_u32(struct reader *r, uint32_t *v)
{
    uint32_t x;

    if (r->end - r->from < (ptrdiff_t)sizeof x)
        return false;
    memcpy(&x, r->from, sizeof x);
    *v = cf_le32(x);
    r->from += sizeof x;
    return true;
}

static bool get_u64(struct reader *r, uint64_t *v)
{
    uint64_t x;

    if (r->end - r->from < (ptrdiff_t)sizeof x)
        return false;
    memcpy(&x, r->from, sizeof x);
    *v = cf_le64(x);
    r->from += sizeof x;
    return true;
}

static bool get_key(struct reader *r, struct cf_block_key *key)
{
    return get_u32(r, &key->file) && get_u32(r, &key->generation) && get_u64(r, &key->block);
}

/* A list must rise strictly and a map must agree with its count: one encoding for one set. */
static bool get_set(struct reader *r, struct grd_set *set)
{
    uint32_t i, bits = 0;
    uint8_t is_map;

    if (!get_u16(r, &set->count) || !get_u8(r, &is_map) || is_map > 1)
        return false;
    set->is_map = is_map;
    if (is_map) {
        for (i = 0; i < CF_NODES_MAX / 64; i++) {
            if (!get_u64(r, &set->map[i]))
                return false;
            bits += (uint32_t)__builtin_popcountll(set->map[i]);
        }
        if (bits != set->count || bits <= GRD_SET_LIST)
            return false;
        for (i = r->nodes; i < CF_NODES_MAX; i++)
            if (set->map[i / 64] >> (i % 64) & 1)
                return false;
        return true;
    }
    if (set->count > GRD_SET_LIST)
        return false;
    for (i = 0; i < set->count; i++) {
        if (!get_u16(r, &set->list[i]) || set->list[i] >= r->nodes)
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

static bool get_text(struct reader *r, struct grd_lock_bytes *text)
{
    return get_u8(r, &text->count) && text->count <= GRD_LOCK_VALUE_BYTES &&
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
    return get_u8(r, &name->kind) && get_u8(r, &name->bytes_count) && name_is_good(name) &&
           get_bytes(r, name->bytes, name->bytes_count);
}

static bool get_words(struct reader *r, struct grd_words *words)
{
    if (!get_u8(r, &words->count) || words->count > GRD_WORDS_MAX)
        return false;
    for (uint32_t i = 0; i < words->count; i++)
        if (!get_u64(r, &words->word[i]))
            return false;
    return true;
}

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

/* One body of code per message: FIELD is what is done with each field. */
#define FIELD_BYTES(width, member) +BYTES_##width
#define FIELD_PUT(width, member) p = put_##width(p, &msg->member);
#define FIELD_GET(width, member) &&get_##width(&r, &msg->member)

/* Bytes of what has no fixed width. */
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

static bool is_lock(uint16_t type)
{
    return type >= GRD_MSG_LOCK_REQUEST && type <= GRD_MSG_LOCK_VALUE;
}

static bool is_detect(uint16_t type)
{
    return type >= GRD_MSG_DETECT_ASK && type <= GRD_MSG_DETECT_TOLD;
}

static bool has_words(uint16_t type)
{
    return is_detect(type) || type == GRD_MSG_MOVE_ENTRY;
}

/* More keys are asked for only where the answer before counts. */
static bool ask_flags_ok(uint8_t flags)
{
    return (flags & ~(GRD_FLAG_LAST | GRD_FLAG_SINCE | GRD_FLAG_MORE)) == 0 &&
           (!(flags & GRD_FLAG_MORE) || (flags & GRD_FLAG_SINCE));
}

static bool lock_enumerations_ok(const struct grd_msg *msg)
{
    switch (msg->type) {
    case GRD_MSG_LOCK_REQUEST:
        return msg->mode < GRD_LOCK_MODES && msg->now < GRD_LOCK_MODES && msg->stake < GRD_LOCK_MODES &&
               (msg->flags & ~GRD_LOCK_REQUEST_FLAGS) == 0 &&
               (msg->held != 0) == (msg->name.kind == GRD_LOCK_NAME_NONE) &&
               (msg->held != 0 || msg->now == GRD_LOCK_NL);
    case GRD_MSG_LOCK_GRANT:
        return msg->mode < GRD_LOCK_MODES && msg->flags <= GRD_FLAG_LOST;
    case GRD_MSG_LOCK_REFUSED:
        return msg->how > GRD_LOCK_DONE && msg->how < GRD_LOCK_CHANGED;
    case GRD_MSG_LOCK_DEMAND:
        return msg->mode < GRD_LOCK_MODES && (msg->flags & ~GRD_LOCK_DEMAND_FLAGS) == 0;
    case GRD_MSG_LOCK_IN_USE:
        return msg->mode < GRD_LOCK_MODES;
    case GRD_MSG_LOCK_DOWN:
        return msg->mode < GRD_LOCK_MODES &&
               (msg->flags & ~(GRD_FLAG_LOST | GRD_FLAG_RELEASE | GRD_FLAG_VALUE)) == 0 &&
               ((msg->flags & GRD_FLAG_VALUE) || (msg->value.count == 0 && !(msg->flags & GRD_FLAG_LOST)));
    case GRD_MSG_LOCK_LOWERED:
        return msg->mode < GRD_LOCK_MODES && (msg->flags & ~GRD_FLAG_RELEASE) == 0;
    case GRD_MSG_LOCK_SWAP:
        return msg->slot < GRD_LOCK_SWAP_SLOTS && msg->name.kind != GRD_LOCK_NAME_NONE;
    case GRD_MSG_LOCK_VALUE:
        return msg->how < GRD_LOCK_ANSWERS && msg->flags <= GRD_FLAG_LOST;
    default:
        return true;
    }
}

/* At most one holder has X, and then it is the only one; at most one has the duty; no tenure is above the entry's. */
static bool move_entry_ok(const struct grd_msg *msg, uint32_t nodes)
{
    uint32_t holders = 0, exclusive = 0, duties = 0, i;

    if (msg->how > GRD_MOVE_ALL || (msg->how != GRD_MOVE_ENTRY && msg->words.count != 0))
        return false;
    for (i = 0; i < msg->words.count; i++) {
        uint64_t word = msg->words.word[i], value = word >> GRD_MOVE_SHIFT;

        if ((word & GRD_MOVE_NODE) >= nodes || (word & 0xe000u) != 0)
            return false;
        if (word & GRD_MOVE_PAST) {
            if (word & (GRD_MOVE_X | GRD_MOVE_DUTY))
                return false;
            continue;
        }
        holders++;
        exclusive += (word & GRD_MOVE_X) != 0;
        duties += (word & GRD_MOVE_DUTY) != 0;
        if (value == 0 || value > msg->tenure)
            return false;
    }
    return duties <= 1 && (exclusive == 0 || holders == 1);
}

static bool enumerations_ok(const struct grd_msg *msg, uint32_t nodes)
{
    switch (msg->type) {
    case GRD_MSG_REQUEST:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) &&
               (msg->flags & ~(GRD_FLAG_NEW | GRD_FLAG_REFUSED)) == 0;
    case GRD_MSG_GRANT:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && msg->how >= GRD_HOW_DISK &&
               msg->how <= GRD_HOW_NEW &&
               (msg->mode == CF_MODE_X || (msg->how == GRD_HOW_DISK && msg->set.count == 0));
    case GRD_MSG_FORWARD:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && msg->requester < nodes &&
               (msg->mode == CF_MODE_X || msg->set.count == 0);
    case GRD_MSG_SHIP:
        return (msg->mode == CF_MODE_S || msg->mode == CF_MODE_X) && (msg->hops == 2 || msg->hops == 3) &&
               (msg->flags & ~GRD_FLAG_CHECKED) == 0 && (msg->mode == CF_MODE_X || msg->set.count == 0);
    case GRD_MSG_NOT_HELD:
        return msg->requester < nodes && msg->behind < GRD_WINDOW;
    case GRD_MSG_RELEASE:
        return msg->behind < GRD_WINDOW;
    case GRD_MSG_HELD:
        return msg->mode <= CF_MODE_X && msg->flags <= (GRD_FLAG_DUTY | GRD_FLAG_RELEASED) &&
               msg->behind < GRD_WINDOW &&
               (msg->mode == CF_MODE_N) == (msg->tenure == 0 || (msg->flags & GRD_FLAG_RELEASED)) &&
               (msg->mode != CF_MODE_N || !(msg->flags & GRD_FLAG_DUTY));
    case GRD_MSG_INVALIDATE:
    case GRD_MSG_KEPT:
    case GRD_MSG_LOOK:
        return msg->requester < nodes;
    case GRD_MSG_THERE:
        return msg->how <= GRD_THERE_HERE;
    case GRD_MSG_MOVE_ACCEPT:
        return msg->how <= 1;
    case GRD_MSG_MOVED:
    case GRD_MSG_MOVE_WISH:
        return msg->requester < nodes;
    case GRD_MSG_MOVE_ENTRY:
        return move_entry_ok(msg, nodes);
    case GRD_MSG_MOVE_DONE:
        return msg->flags <= GRD_FLAG_COLD;
    case GRD_MSG_MOVE_ORDER:
    case GRD_MSG_MOVE_REPORT:
        return false; /* between the threads of an instance: no peer says them */
    case GRD_MSG_DETECT_ASK:
        return msg->flags == GRD_FLAG_WAITS || ask_flags_ok(msg->flags);
    case GRD_MSG_DETECT_REPORT:
        return msg->how < msg->hops &&
               (msg->flags <= GRD_FLAG_TAKEN || msg->flags == (GRD_FLAG_LAST | GRD_FLAG_UNKNOWN));
    case GRD_MSG_DETECT_VICTIM:
        return msg->flags == 0 || msg->flags == GRD_FLAG_LAST;
    case GRD_MSG_DETECT_TOLD:
        return msg->how <= GRD_DETECT_GONE;
    default:
        return !is_lock(msg->type) || lock_enumerations_ok(msg);
    }
}

bool grd_msg_decode(uint16_t type, const void *from, uint32_t bytes, uint32_t nodes, struct grd_msg *msg)
{
    struct reader r = {from, (const uint8_t *)from + bytes, nodes};
    bool ok;

    msg->type = type;
    if (is_lock(type) || has_words(type))
        grd_set_clear(&msg->set);
    switch (type) {
#define GRD_MSG(name, number, sender, receiver, lane, answer, text) \
    case number:                                                    \
        ok = true GRD_FIELDS_##name(FIELD_GET);                     \
        break;
#include "grd/msg.def"
#undef GRD_MSG
    default:
        return false;
    }
    return ok && r.from == r.end && enumerations_ok(msg, nodes);
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

void grd_set_clear(struct grd_set *set)
{
    set->count = 0;
    set->is_map = 0;
}

static void set_spread(struct grd_set *set)
{
    uint16_t list[GRD_SET_LIST];
    uint32_t i, n = set->count;

    memcpy(list, set->list, n * sizeof list[0]);
    memset(set->map, 0, sizeof set->map);
    for (i = 0; i < n; i++)
        set->map[list[i] / 64] |= 1ull << (list[i] % 64);
    set->is_map = 1;
}

void grd_set_add(struct grd_set *set, uint16_t node)
{
    uint32_t i;

    cf_assert(node < CF_NODES_MAX);
    if (grd_set_has(set, node))
        return;
    if (!set->is_map && set->count == GRD_SET_LIST)
        set_spread(set);
    if (set->is_map) {
        set->map[node / 64] |= 1ull << (node % 64);
    } else {
        for (i = set->count; i > 0 && set->list[i - 1] > node; i--)
            set->list[i] = set->list[i - 1];
        set->list[i] = node;
    }
    set->count++;
}

bool grd_set_has(const struct grd_set *set, uint16_t node)
{
    uint32_t i;

    if (set->is_map)
        return set->map[node / 64] >> (node % 64) & 1;
    for (i = 0; i < set->count; i++)
        if (set->list[i] == node)
            return true;
    return false;
}

void grd_set_remove(struct grd_set *set, uint16_t node)
{
    uint16_t list[GRD_SET_LIST];
    uint32_t i, n = 0, at;

    if (!grd_set_has(set, node))
        return;
    set->count--;
    if (set->is_map) {
        set->map[node / 64] &= ~(1ull << (node % 64));
        if (set->count > GRD_SET_LIST)
            return;
        for (at = grd_set_next(set, 0); at < CF_NODES_MAX; at = grd_set_next(set, at + 1))
            list[n++] = (uint16_t)at;
        memcpy(set->list, list, sizeof list);
        set->is_map = 0;
        return;
    }
    for (i = 0; set->list[i] != node; i++)
        ;
    for (; i < set->count; i++)
        set->list[i] = set->list[i + 1];
}

void grd_set_copy(struct grd_set *to, const struct grd_set *from)
{
    to->count = from->count;
    to->is_map = from->is_map;
    if (from->is_map)
        memcpy(to->map, from->map, sizeof to->map);
    else
        memcpy(to->list, from->list, from->count * sizeof to->list[0]);
}

uint32_t grd_set_next(const struct grd_set *set, uint32_t from)
{
    uint32_t i;

    if (!set->is_map) {
        for (i = 0; i < set->count; i++)
            if (set->list[i] >= from)
                return set->list[i];
        return CF_NODES_MAX;
    }
    while (from < CF_NODES_MAX) {
        uint64_t word = set->map[from / 64] >> (from % 64);

        if (word)
            return from + (uint32_t)__builtin_ctzll(word);
        from = (from / 64 + 1) * 64;
    }
    return CF_NODES_MAX;
}
