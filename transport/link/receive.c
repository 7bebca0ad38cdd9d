/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Receiving: segments go where their message is put together, header and body into its slot, the block straight into
 * a lent frame. Everything of the peer is checked before it is used; what is wrong is counted and dropped.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/link/link.h"
#include "transport/link/mutant.h"

static bool is_sound(const struct xp_link *link, const struct xp_link_segment *head)
{
    uint32_t total, front = XP_HEADER_BYTES + head->body, chunk, last;
    bool is_torn = (head->flags & XP_LINK_TORN) != 0;

    if ((head->flags & ~XP_LINK_FLAGS) != 0 || head->body > XP_BODY_BYTES_MAX ||
        (head->class_index != XP_LINK_NO_BLOCK && head->class_index >= CF_BLOCK_SIZES))
        return false;
    total = front + xp_link_block_bytes(head->class_index);
    last = (total - 1) / link->chunk_bytes;
    if (head->index > last || ((head->flags & XP_LINK_LAST) != 0) != (head->index == last))
        return false;
    if (is_torn)
        return head->class_index != XP_LINK_NO_BLOCK && head->bytes == (head->index == 0 ? front : 0);
    chunk = xp_link_chunk_of(total, link->chunk_bytes, head->index);
    return head->bytes == chunk;
}

static void frame_drop(struct xp_link_slot *slot, const struct xp_link_frames *frames)
{
    if (slot->frame != XP_LINK_FRAME_NONE)
        frames->give(frames->arg, slot->class_index, slot->frame);
    slot->frame = XP_LINK_FRAME_NONE;
    slot->is_torn = true;
}

/* The slot of the segment's message, made ready by the first of its segments; NULL: no honest peer sends that. */
static struct xp_link_slot *slot_of(struct xp_link_rx *rx, const struct xp_link_segment *head,
                                    const struct xp_link_frames *frames)
{
    int32_t ahead = (int32_t)(head->message - (uint32_t)rx->complete);
    uint64_t message = rx->complete + (uint64_t)(int64_t)ahead;
    struct xp_link_slot *slot;

    if (ahead <= 0 || message - rx->taker.taken > rx->window)
        return NULL;
    slot = &rx->slots[message & rx->mask];
    if (slot->message == message)
        return slot->class_index == head->class_index && slot->body_bytes == head->body ? slot : NULL;
    slot->message = message;
    slot->body_bytes = head->body & 0x7fff;
    slot->class_index = head->class_index;
    slot->frame = XP_LINK_FRAME_NONE;
    slot->is_torn = false;
    slot->segments = 0;
    if (head->class_index != XP_LINK_NO_BLOCK) {
        slot->frame = frames->take(frames->arg, head->class_index);
        slot->is_torn = slot->frame == XP_LINK_FRAME_NONE;
    }
    return slot;
}

static void segment_store(const struct xp_link *link, struct xp_link_slot *slot,
                          const struct xp_link_segment *head, const uint8_t *bytes,
                          const struct xp_link_frames *frames)
{
    uint32_t front = XP_HEADER_BYTES + head->body;
    uint32_t from = head->index == 0 ? 0 : head->index * link->chunk_bytes - front;
    uint32_t left = head->bytes;

    if (head->index == 0) {
        memcpy(&slot->header, bytes, XP_HEADER_BYTES);
        xp_link_copy_body(slot->body, bytes + XP_HEADER_BYTES, head->body);
        bytes += front;
        left -= front;
    }
    if ((head->flags & XP_LINK_TORN) != 0)
        frame_drop(slot, frames);
    else if (left != 0 && slot->frame != XP_LINK_FRAME_NONE)
        memcpy(frames->bytes(frames->arg, head->class_index, slot->frame) + from, bytes, left);
}

/* The segments from `next` on that have arrived are over; whole messages among them may be taken. */
static void advance(struct xp_link_rx *rx)
{
    while ((rx->got & 1) != 0) {
        rx->complete += rx->last & 1;
        rx->got >>= 1;
        rx->last >>= 1;
        rx->next++;
    }
}

static void segment_receive(struct xp_link *link, const struct xp_link_segment *head, const uint8_t *bytes,
                            const struct xp_link_frames *frames)
{
    struct xp_link_rx *rx = &link->rx[(head->flags & XP_LINK_LANE) != 0 ? XP_DATA : XP_CONTROL];
    int32_t at = (int32_t)(head->sequence - rx->next); /* sequences wrap */
    struct xp_link_slot *slot;

    if (at < 0 || (at < (int32_t)XP_LINK_SEGMENTS && (rx->got >> at & 1) != 0)) {
        link->counters.duplicates++;
        link->must_ack = true;
        if (xp_link_mutant(XP_LINK_MUT_DUPLICATE))
            rx->complete += (head->flags & XP_LINK_LAST) != 0 && rx->complete - rx->taker.taken < rx->window;
        return;
    }
    if (at >= (int32_t)XP_LINK_SEGMENTS) {
        link->counters.beyond_window++;
        return;
    }
    slot = slot_of(rx, head, frames);
    if (slot == NULL) {
        link->counters.malformed++;
        return;
    }
    segment_store(link, slot, head, bytes, frames);
    slot->segments++;
    link->counters.segments_received++;
    if (at != 0) {
        link->counters.reordered++;
        link->must_ack = true;
    }
    if (xp_link_mutant(XP_LINK_MUT_HOLE) && at == 2) {
        rx->got |= 3;
        rx->last |= rx->got & 3;
    }
    if (xp_link_mutant(XP_LINK_MUT_REASSEMBLE) && (head->flags & XP_LINK_LAST) != 0 && head->index != 0)
        rx->got |= (UINT64_C(1) << at) - 1;
    rx->got |= UINT64_C(1) << at;
    if ((head->flags & XP_LINK_LAST) != 0)
        rx->last |= UINT64_C(1) << at;
    advance(rx);
}

/*
 * What most segments are: the next one of its lane, with nothing behind a hole, and a whole message without a block.
 * False: it is something else, or not sound; nothing happened.
 */
static bool message_receive(struct xp_link *link, const struct xp_link_segment *head, const uint8_t *bytes)
{
    struct xp_link_rx *rx = &link->rx[(head->flags & XP_LINK_LANE) != 0 ? XP_DATA : XP_CONTROL];
    uint64_t message = rx->complete + 1;
    struct xp_link_slot *slot = &rx->slots[message & rx->mask];

    if ((head->flags & ~XP_LINK_LANE) != XP_LINK_LAST || head->class_index != XP_LINK_NO_BLOCK ||
        head->index != 0 || head->body > XP_BODY_BYTES_MAX || head->bytes != XP_HEADER_BYTES + head->body ||
        head->sequence != rx->next || rx->got != 0 || head->message != (uint32_t)message ||
        message - rx->taker.taken > rx->window)
        return false;
    slot->message = message;
    slot->body_bytes = head->body & 0x7fff;
    slot->class_index = XP_LINK_NO_BLOCK;
    slot->frame = XP_LINK_FRAME_NONE;
    slot->is_torn = false;
    slot->segments = 1;
    memcpy(&slot->header, bytes, XP_HEADER_BYTES);
    xp_link_copy_body(slot->body, bytes + XP_HEADER_BYTES, head->body);
    rx->next++;
    rx->complete = message;
    link->counters.segments_received++;
    return true;
}

/* A message of a packet of its own that is not the next one: as a segment, with the header that it stands for. */
static void one_store(struct xp_link *link, const uint8_t *packet, const struct xp_link_frames *frames)
{
    uint8_t bytes[XP_HEADER_BYTES + XP_BODY_BYTES_MAX];
    struct xp_link_one one;
    struct xp_link_segment head;
    struct xp_header header;
    struct xp_link_rx *rx;
    int32_t ahead;

    memcpy(&one, packet, sizeof(one));
    rx = &link->rx[one.lane];
    ahead = (int32_t)(one.message - (uint32_t)rx->complete);
    head = (struct xp_link_segment){.sequence = one.sequence,
                                    .message = one.message,
                                    .body = one.body,
                                    .flags = XP_LINK_LAST | (one.lane == XP_DATA ? XP_LINK_LANE : 0),
                                    .class_index = XP_LINK_NO_BLOCK,
                                    .bytes = (uint16_t)(XP_HEADER_BYTES + one.body)};
    xp_link_header_put(&header, &rx->who, one.type, one.body, one.epoch, one.scn,
                       rx->complete + (uint64_t)(int64_t)ahead);
    memcpy(bytes, &header, XP_HEADER_BYTES);
    memcpy(bytes + XP_HEADER_BYTES, packet + XP_LINK_ONE_BYTES, one.body);
    segment_receive(link, &head, bytes, frames);
}

/* A message of a packet of its own; nearly always the next one of its lane, with nothing behind a hole. */
static void one_receive(struct xp_link *link, const uint8_t *packet, uint32_t bytes,
                        const struct xp_link_frames *frames)
{
    uint64_t numbers = xp_link_word(packet, 6), what = xp_link_word(packet, 9), message;
    uint32_t body_bytes = (uint16_t)(what >> 16), lane = (uint32_t)(what >> 32);
    struct xp_link_slot *slot;
    struct xp_link_rx *rx;

    if (lane >= XP_LANES || body_bytes > XP_BODY_BYTES_MAX ||
        bytes != XP_LINK_ONE_BYTES + xp_link_align(body_bytes)) {
        link->counters.malformed++;
        return;
    }
    link->ack_count++;
    rx = &link->rx[lane];
    message = rx->complete + 1;
    if (CF_UNLIKELY((uint32_t)numbers != rx->next || rx->got != 0 || numbers >> 32 != (uint32_t)message ||
                    message - rx->taker.taken > rx->window)) {
        one_store(link, packet, frames);
        return;
    }
    slot = &rx->slots[message & rx->mask];
    slot->message = message;
    slot->body_bytes = body_bytes & 0x7fff;
    slot->class_index = XP_LINK_NO_BLOCK;
    slot->frame = XP_LINK_FRAME_NONE;
    slot->is_torn = false;
    slot->segments = 1;
    xp_link_header_put(&slot->header, &rx->who, (uint16_t)what, body_bytes, xp_link_word(packet, 8),
                       xp_link_word(packet, 7), message);
    xp_link_copy_body(slot->body, packet + XP_LINK_ONE_BYTES, body_bytes);
    xp_link_slot_expect(&rx->slots[(message + 1) & rx->mask]);
    rx->next++;
    rx->complete = message;
    link->counters.segments_received++;
}

/* Bytes of the packet that the segment takes; UINT32_MAX: more than are left. Block bytes that end the packet need no padding. */
static uint32_t room_of(const struct xp_link_segment *head, uint32_t left)
{
    uint32_t front = head->index == 0 ? XP_HEADER_BYTES + head->body : 0;

    if (xp_link_align(head->bytes) <= left)
        return xp_link_align(head->bytes);
    /* Bodies are copied in whole words: those must not reach beyond the packet. */
    return head->bytes == left && head->class_index != XP_LINK_NO_BLOCK && left >= front + XP_LINK_ALIGN
               ? left
               : UINT32_MAX;
}

static void segments_receive(struct xp_link *link, const uint8_t *packet, uint32_t bytes,
                             const struct xp_link_frames *frames)
{
    uint32_t at = XP_LINK_HEAD_BYTES;

    while (bytes - at >= XP_LINK_SEGMENT_BYTES) {
        struct xp_link_segment head;
        uint32_t room;

        memcpy(&head, packet + at, sizeof(head));
        at += XP_LINK_SEGMENT_BYTES;
        room = room_of(&head, bytes - at);
        if (room > bytes - at) {
            link->counters.malformed++;
            return;
        }
        if (!message_receive(link, &head, packet + at)) {
            if (!is_sound(link, &head)) {
                link->counters.malformed++;
                return;
            }
            segment_receive(link, &head, packet + at, frames);
        }
        at += room;
        link->ack_count++;
    }
    if (at != bytes)
        link->counters.malformed++;
}

/* What the head of one message says of the lanes, as the other head has it. */
static void one_head(const uint8_t *packet, struct xp_link_head *head_out)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        uint64_t lane = xp_link_word(packet, 4 + i);

        head_out->lanes[i] = (struct xp_link_lane_head){.next = (uint32_t)lane,
                                                        .taken = (uint32_t)(lane >> 32)};
    }
}

void xp_link_receive(struct xp_link *link, uint64_t now_ns, const uint8_t *packet, uint32_t bytes,
                     const struct xp_link_frames *frames)
{
    uint32_t ack_before = link->ack_count;
    struct xp_link_head *head = &link->late.head;
    bool is_one;

    if (bytes < XP_LINK_HEAD_BYTES || link->is_violated)
        return;
    if (CF_UNLIKELY(link->late.is_there)) {
        xp_link_settle(link);
        if (link->is_violated)
            return;
    }
    memcpy(head, packet, sizeof(*head));
    is_one = head->kind == XP_LINK_ONE;
    if (is_one) {
        if (bytes < XP_LINK_ONE_BYTES) {
            link->counters.malformed++;
            return;
        }
        one_head(packet, head);
    }
    link->counters.packets_received++;
    link->has_heard = true;
    link->peer_stamp = head->stamp;
    link->heard_ns = now_ns;
    if (head->kind == XP_LINK_PROBE)
        link->must_ack = true;
    if (is_one) { /* no guess: a compiler makes the other way small, and copies there byte by byte */
        link->late.now_ns = now_ns;
        link->late.is_there = true;
        one_receive(link, packet, bytes, frames);
    } else {
        xp_link_ack(link, now_ns, head);
        if (link->is_violated)
            return;
        segments_receive(link, packet, bytes, frames);
    }
    if (ack_before == 0 && link->ack_count != 0)
        link->ack_since_ns = now_ns;
}

static uint32_t segments_of(const struct xp_link *link, const struct xp_link_slot *slot)
{
    uint32_t front = XP_HEADER_BYTES + slot->body_bytes;

    if (slot->class_index == XP_LINK_NO_BLOCK) /* a chunk holds it: XP_LINK_CHUNK_BYTES_MIN */
        return 1;
    return (front + xp_link_block_bytes(slot->class_index) - 1) / link->chunk_bytes + 1;
}

bool xp_link_take(struct xp_link *link, enum xp_class lane, struct xp_link_delivery *delivery_out)
{
    struct xp_link_rx *rx = &link->rx[lane];
    struct xp_link_slot *slot;

    if (rx->delivered == rx->complete || link->is_violated)
        return false;
    slot = &rx->slots[(rx->delivered + 1) & rx->mask];
    if (slot->message != rx->delivered + 1 || slot->segments != segments_of(link, slot)) {
        /* Segments of one number and messages of another: no honest peer numbers them so. */
        link->is_violated = true;
        return false;
    }
    rx->delivered++;
    *delivery_out = (struct xp_link_delivery){.header = &slot->header,
                                              .body = slot->body,
                                              .body_bytes = slot->body_bytes,
                                              .frame = slot->frame,
                                              .is_torn = slot->is_torn,
                                              .class_index = slot->class_index};
    return true;
}

void xp_link_give(struct xp_link *link)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        struct xp_link_rx *rx = &link->rx[i];
        uint64_t more = rx->delivered - rx->taker.taken;

        if (more == 0)
            continue;
        if (xp_link_mutant(XP_LINK_MUT_CREDIT))
            more *= 2;
        rx->taker.taken += more;
        if (link->ack_count == 0) {
            link->ack_count = 1;
            link->ack_since_ns = link->heard_ns;
        }
    }
}
