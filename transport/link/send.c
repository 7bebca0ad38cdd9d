/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sending: messages wait in their slots, packets are made of what is lost first, then of what is new, control before
 * data. A packet is as full as the window of congestion control and of the lane allows.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/link/link.h"
#include "transport/link/mutant.h"

static uint32_t stamp_of(uint64_t now_ns)
{
    return (uint32_t)(now_ns >> XP_LINK_STAMP_SHIFT);
}

struct xp_link_slot *xp_link_begin(struct xp_link *link, enum xp_class lane, uint32_t body_bytes)
{
    struct xp_link_tx *tx = &link->tx[lane];
    struct xp_link_slot *slot;

    if (CF_UNLIKELY(xp_credit_available(&tx->credit) == 0)) {
        xp_link_settle(link);
        if (xp_credit_available(&tx->credit) == 0)
            return NULL;
    }
    slot = &tx->slots[(tx->credit.sent + 1) & tx->mask];
    tx->body_bytes = body_bytes;
    tx->is_begun = true;
    return slot;
}

static uint32_t total_of(const struct xp_link_slot *slot)
{
    return XP_HEADER_BYTES + slot->body_bytes + xp_link_block_bytes(slot->class_index);
}

void xp_link_post(struct xp_link *link, enum xp_class lane, uint16_t type, uint64_t scn,
                  const struct xp_link_block *block)
{
    struct xp_link_tx *tx = &link->tx[lane];
    struct xp_link_slot *slot = &tx->slots[(tx->credit.sent + 1) & tx->mask];

    cf_assert(tx->is_begun);
    tx->is_begun = false;
    slot->message = ++tx->credit.sent;
    slot->body_bytes = tx->body_bytes & 0x7fff;
    slot->is_torn = 0;
    slot->class_index = XP_LINK_NO_BLOCK;
    slot->segments = 1;
    xp_link_header_put(&slot->header, &tx->who, type, tx->body_bytes, link->epoch, scn, slot->message);
    if (block != NULL) {
        slot->block = *block;
        slot->class_index = block->class_index;
        slot->segments = (uint8_t)((total_of(slot) + link->chunk_bytes - 1) / link->chunk_bytes);
    }
    cf_assert_id(tx->credit.sent - tx->credit.returned <= tx->credit.window, "L-2");
    xp_link_slot_expect(&tx->slots[(tx->credit.sent + 1) & tx->mask]);
}

/* What goes into chunk `index` of the slot's message. */
static void piece_fill(const struct xp_link *link, struct xp_link_piece *piece, uint32_t index)
{
    const struct xp_link_slot *slot = piece->slot;
    uint32_t front = XP_HEADER_BYTES + slot->body_bytes;
    uint32_t bytes = xp_link_chunk_of(total_of(slot), link->chunk_bytes, index);

    piece->front_bytes = index == 0 ? front : 0;
    piece->block_bytes = bytes - piece->front_bytes;
    piece->block_from = index == 0 ? 0 : index * link->chunk_bytes - front;
    piece->head.flags &= (uint8_t)~XP_LINK_TORN;
    if (slot->is_torn) {
        piece->block_bytes = 0;
        piece->head.flags |= XP_LINK_TORN;
    }
    piece->head.bytes = (uint16_t)(piece->front_bytes + piece->block_bytes);
}

/* Adds one transmission of a segment when it fits; its flight is filled in. */
static bool piece_add(struct xp_link *link, struct xp_link_packet *packet, uint32_t lane, uint32_t sequence,
                      const struct xp_link_flight *flight)
{
    struct xp_link_tx *tx = &link->tx[lane];
    struct xp_link_piece *piece = &packet->pieces[packet->pieces_count];

    piece->slot = &tx->slots[flight->message & tx->mask];
    cf_assert(piece->slot->message == flight->message);
    piece->head = (struct xp_link_segment){
        .sequence = sequence,
        .message = (uint32_t)flight->message,
        .index = flight->index,
        .body = piece->slot->body_bytes,
        .flags = (uint8_t)((lane == XP_DATA ? XP_LINK_LANE : 0) |
                           (flight->index + 1 == piece->slot->segments ? XP_LINK_LAST : 0)),
        .class_index = piece->slot->class_index};
    piece_fill(link, piece, flight->index);
    if (packet->bytes + xp_link_piece_bytes(piece) > link->options.packet_bytes)
        return false;
    packet->bytes += xp_link_piece_bytes(piece);
    packet->pieces_count++;
    tx->flights[sequence % XP_LINK_SEGMENTS] = (struct xp_link_flight){
        .message = flight->message, .order = link->order + 1, .index = flight->index};
    link->inflight++;
    link->counters.segments_sent++;
    return true;
}

static bool has_room(const struct xp_link *link, const struct xp_link_packet *packet)
{
    return packet->pieces_count < XP_LINK_PIECES_MAX && link->inflight < xp_swift_segments(&link->swift);
}

static void add_lost(struct xp_link *link, struct xp_link_packet *packet, uint32_t lane)
{
    struct xp_link_tx *tx = &link->tx[lane];

    for (uint64_t left = tx->lost; left != 0 && has_room(link, packet); left &= left - 1) {
        uint32_t at = (uint32_t)__builtin_ctzll(left), sequence = tx->una + at;
        struct xp_link_flight flight = tx->flights[sequence % XP_LINK_SEGMENTS];

        if (xp_link_mutant(XP_LINK_MUT_RETRANSMIT) && (tx->sent_again >> at & 1) != 0)
            continue;
        if (!piece_add(link, packet, lane, sequence, &flight))
            return;
        tx->lost &= ~(UINT64_C(1) << at);
        tx->sent_again |= UINT64_C(1) << at;
        link->counters.segments_again++;
    }
}

static void add_new(struct xp_link *link, struct xp_link_packet *packet, uint32_t lane)
{
    struct xp_link_tx *tx = &link->tx[lane];

    while (xp_link_has_new(tx) && has_room(link, packet)) {
        struct xp_link_flight flight = {.message = tx->message, .index = (uint16_t)tx->index};

        if (!piece_add(link, packet, lane, tx->next, &flight))
            return;
        tx->next++;
        if (++tx->index == tx->slots[tx->message & tx->mask].segments) {
            tx->message++;
            tx->index = 0;
        }
    }
}

static bool wants_ack(const struct xp_link *link, uint64_t now_ns)
{
    if (link->must_ack || link->ack_count >= XP_LINK_ACK_SEGMENTS)
        return true;
    if (link->ack_count != 0 && now_ns - link->ack_since_ns >= link->options.ack_delay_ns)
        return true;
    return xp_credit_taker_is_due(&link->rx[0].taker) || xp_credit_taker_is_due(&link->rx[1].taker);
}

static bool may_send_segments(const struct xp_link *link, uint64_t now_ns)
{
    if (link->inflight >= xp_swift_segments(&link->swift) || now_ns < link->pace_ns)
        return false;
    return (link->tx[0].lost | link->tx[1].lost) != 0 || xp_link_has_new(&link->tx[0]) ||
           xp_link_has_new(&link->tx[1]);
}

bool xp_link_has_work(const struct xp_link *link, uint64_t now_ns)
{
    return !link->is_violated &&
           (may_send_segments(link, now_ns) || link->must_probe || wants_ack(link, now_ns));
}

_Static_assert(offsetof(struct xp_link_head, bytes) == 8 && offsetof(struct xp_link_head, version) == 10 &&
                   offsetof(struct xp_link_head, kind) == 11 && offsetof(struct xp_link_head, from) == 12 &&
                   offsetof(struct xp_link_head, to) == 14 && offsetof(struct xp_link_head, session) == 16 &&
                   offsetof(struct xp_link_head, stamp) == 20 && offsetof(struct xp_link_head, echo) == 24 &&
                   offsetof(struct xp_link_head, held) == 28 && offsetof(struct xp_link_head, lanes) == 32 &&
                   offsetof(struct xp_link_one, lanes) == 32 &&
                   offsetof(struct xp_link_one, sequence) == 48 && offsetof(struct xp_link_one, scn) == 56 &&
                   offsetof(struct xp_link_one, type) == 72 && offsetof(struct xp_link_one, body) == 74 &&
                   offsetof(struct xp_link_one, lane) == 76,
               "words of the heads");

_Static_assert(offsetof(struct xp_link_segment, message) == 4 &&
                   offsetof(struct xp_link_segment, index) == 8 &&
                   offsetof(struct xp_link_segment, body) == 10 &&
                   offsetof(struct xp_link_segment, flags) == 12 &&
                   offsetof(struct xp_link_segment, class_index) == 13 &&
                   offsetof(struct xp_link_segment, bytes) == 14,
               "words of a segment's head");

/* What both heads begin with, but for the checksum. What has arrived is told by what the caller puts behind it. */
static void front_put(struct xp_link *link, uint64_t now_ns, uint32_t bytes, enum xp_link_kind kind,
                      uint8_t *out)
{
    const struct xp_link_options *options = &link->options;
    uint64_t stamp = stamp_of(now_ns);
    uint64_t held = link->has_heard ? (uint32_t)(stamp - stamp_of(link->heard_ns)) : XP_LINK_HELD_NONE;

    xp_link_put_word(out, 0, options->tag);
    xp_link_put_word(out, 1,
                     bytes | (uint64_t)XP_LINK_VERSION << 16 | (uint64_t)kind << 24 |
                         (uint64_t)options->node << 32 | (uint64_t)options->peer << 48);
    xp_link_put_word(out, 2, options->session | stamp << 32);
    xp_link_put_word(out, 3, link->peer_stamp | held << 32);
    link->must_ack = false;
    link->ack_count = 0;
    link->sent_ns = now_ns;
    link->counters.packets_sent++;
}

static uint64_t told_of(struct xp_link_rx *rx)
{
    rx->taker.told = rx->taker.taken;
    return rx->next | rx->taker.taken << 32;
}

/* All of a head but its checksum. */
static void head_put(struct xp_link *link, uint64_t now_ns, uint32_t bytes, uint8_t *out)
{
    front_put(link, now_ns, bytes, link->must_probe ? XP_LINK_PROBE : XP_LINK_DATA, out);
    for (uint32_t i = 0; i < XP_LANES; i++) {
        xp_link_put_word(out, 4 + 2 * i, told_of(&link->rx[i]));
        xp_link_put_word(out, 5 + 2 * i, link->rx[i].got);
    }
    link->must_probe = false;
}

bool xp_link_build(struct xp_link *link, uint64_t now_ns, struct xp_link_packet *packet_out)
{
    uint64_t gap_ns;

    xp_link_settle(link);
    packet_out->pieces_count = 0;
    packet_out->bytes = XP_LINK_HEAD_BYTES;
    if (link->is_violated)
        return false;
    if (may_send_segments(link, now_ns)) {
        for (uint32_t lane = 0; lane < XP_LANES; lane++)
            add_lost(link, packet_out, lane);
        for (uint32_t lane = 0; lane < XP_LANES; lane++)
            add_new(link, packet_out, lane);
    }
    if (packet_out->pieces_count == 0) {
        if (!link->must_probe && !wants_ack(link, now_ns))
            return false;
        link->counters.acks_alone++;
    } else {
        link->order++;
        if (link->timer_ns == 0)
            link->timer_ns = now_ns + xp_link_rtt_wait_ns(&link->rtt, link->backoff);
        gap_ns = xp_swift_gap_ns(&link->swift, link->rtt.srtt_ns);
        if (gap_ns != 0)
            link->pace_ns = now_ns + gap_ns;
    }
    head_put(link, now_ns, packet_out->bytes, (uint8_t *)&packet_out->head);
    return true;
}

/* ------------------------------------------------------------------ one small message */

/* The lane whose next message is all there is to say, a small one; XP_LANES: there is something else as well. */
static uint32_t lane_alone(const struct xp_link *link, uint64_t now_ns)
{
    const struct xp_link_tx *control = &link->tx[XP_CONTROL], *data = &link->tx[XP_DATA], *tx;
    uint32_t lane = xp_link_has_new(control) ? XP_CONTROL : XP_DATA;

    tx = &link->tx[lane];
    if ((control->lost | data->lost | link->rx[0].got | link->rx[1].got) != 0 ||
        (link->must_probe | link->is_violated) || now_ns < link->pace_ns ||
        link->swift.window < XP_SWIFT_ONE || link->inflight >= xp_swift_segments(&link->swift) ||
        tx->message != tx->credit.sent || tx->next - tx->una >= XP_LINK_SEGMENTS ||
        (lane == XP_CONTROL && xp_link_has_new(data)) ||
        tx->slots[tx->message & tx->mask].class_index != XP_LINK_NO_BLOCK)
        return XP_LANES;
    return lane;
}

/* What build and encode do for it, in a head that says all of it. */
static uint32_t send_alone(struct xp_link *link, uint64_t now_ns, uint32_t lane, uint8_t *out)
{
    struct xp_link_tx *tx = &link->tx[lane];
    struct xp_link_slot *slot = &tx->slots[tx->message & tx->mask];
    uint32_t body_bytes = slot->body_bytes, bytes = XP_LINK_ONE_BYTES + xp_link_align(body_bytes), crc;

    cf_assert(slot->message == tx->message);
    front_put(link, now_ns, bytes, XP_LINK_ONE, out);
    xp_link_put_word(out, 4, told_of(&link->rx[0]));
    xp_link_put_word(out, 5, told_of(&link->rx[1]));
    xp_link_put_word(out, 6, tx->next | slot->message << 32);
    xp_link_put_word(out, 7, slot->header.scn);
    xp_link_put_word(out, 8, slot->header.epoch);
    xp_link_put_word(out, 9, slot->header.type | (uint64_t)body_bytes << 16 | (uint64_t)lane << 32);
    xp_link_copy_body(out + XP_LINK_ONE_BYTES, slot->body, body_bytes);
    for (uint32_t i = XP_LINK_ONE_BYTES + body_bytes; i < bytes; i++)
        out[i] = 0;
    crc = xp_link_crc(out, bytes);
    memcpy(out + offsetof(struct xp_link_head, crc), &crc, sizeof(crc));
    tx->flights[tx->next % XP_LINK_SEGMENTS] = (struct xp_link_flight){.message = tx->message,
                                                                       .order = ++link->order};
    tx->next++;
    tx->message++;
    link->inflight++;
    link->counters.segments_sent++;
    if (link->timer_ns == 0)
        link->timer_ns = now_ns + xp_link_rtt_wait_ns(&link->rtt, link->backoff);
    return bytes;
}

/* A function of its own: the list of pieces takes room that one message does not need. */
__attribute__((noinline)) static uint32_t send_pieces(struct xp_link *link, uint64_t now_ns, uint8_t *out,
                                                      struct xp_link_sent *sent_out)
{
    struct xp_link_packet packet;

    if (!xp_link_build(link, now_ns, &packet))
        return 0;
    *sent_out = (struct xp_link_sent){.has_pieces = packet.pieces_count != 0, .has_more = true};
    return xp_link_encode_apart(link, &packet, out, sent_out);
}

uint32_t xp_link_send(struct xp_link *link, uint64_t now_ns, const uint8_t front[XP_ETHER_FRONT_BYTES],
                      uint8_t *frame, struct xp_link_sent *sent_out)
{
    uint32_t lane = lane_alone(link, now_ns), bytes;

    if (CF_LIKELY(lane != XP_LANES)) {
        bytes = send_alone(link, now_ns, lane, frame + XP_ETHER_FRONT_BYTES);
        *sent_out = (struct xp_link_sent){.has_pieces = true};
    } else {
        bytes = send_pieces(link, now_ns, frame + XP_ETHER_FRONT_BYTES, sent_out);
        if (bytes == 0)
            return 0;
    }
    xp_ether_place(frame, front, bytes + sent_out->apart_bytes);
    return XP_ETHER_FRONT_BYTES + bytes;
}
