/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/link/link.h"

#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"

uint32_t xp_link_crc(const uint8_t *packet, uint32_t bytes)
{
    return cf_crc32c(0, packet + XP_LINK_CRC_FROM, bytes - XP_LINK_CRC_FROM);
}

static struct xp_link_who who_of(const struct xp_link_options *options, uint32_t lane, bool is_own)
{
    uint64_t node = is_own ? options->node : options->peer;
    uint64_t incarnation = is_own ? options->incarnation : options->peer_incarnation;

    return (struct xp_link_who){.sender = node | (uint64_t)lane << 16 | incarnation << 32,
                                .connection = options->session | (uint64_t)options->message_tag << 32};
}

uint64_t xp_link_bytes(uint32_t lane_slots)
{
    return (uint64_t)lane_slots * sizeof(struct xp_link_slot) * XP_LANES * 2;
}

void xp_link_open(struct xp_link *link, const struct xp_link_options *options, void *memory, uint64_t now_ns)
{
    struct xp_link_slot *slots = memory;

    cf_assert((options->lane_slots & (options->lane_slots - 1)) == 0);
    cf_assert(options->packet_bytes >= XP_LINK_PACKET_BYTES_MIN);
    memset(link, 0, sizeof(*link));
    link->options = *options;
    link->chunk_bytes = (options->packet_bytes - XP_LINK_HEAD_BYTES - XP_LINK_SEGMENT_BYTES) &
                        ~(XP_LINK_ALIGN - 1);
    for (uint32_t i = 0; i < XP_LANES; i++) {
        struct xp_link_tx *tx = &link->tx[i];
        struct xp_link_rx *rx = &link->rx[i];

        tx->slots = slots;
        rx->slots = slots + options->lane_slots;
        slots += (uint64_t)2 * options->lane_slots;
        for (uint32_t s = 0; s < options->lane_slots; s++) {
            tx->slots[s].message = 0;
            rx->slots[s].message = 0;
        }
        tx->mask = rx->mask = options->lane_slots - 1;
        tx->who = who_of(options, i, true);
        rx->who = who_of(options, i, false);
        rx->window = options->lane_slots;
        tx->message = 1;
        tx->una = tx->next = rx->next = XP_LINK_SEQUENCE_FIRST;
        xp_credit_open(&tx->credit, options->lane_slots);
        xp_credit_taker_open(&rx->taker, options->lane_slots);
    }
    xp_link_rtt_open(&link->rtt, options->rto_ns_min, options->rto_ns_max);
    xp_swift_open(&link->swift, options->target_ns, options->window_min,
                  XP_LANES * XP_LINK_SEGMENTS * XP_SWIFT_ONE);
    link->sent_ns = link->heard_ns = now_ns;
}

void xp_link_close(struct xp_link *link, const struct xp_link_frames *frames)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        struct xp_link_rx *rx = &link->rx[i];

        for (uint64_t s = 0; rx->slots != NULL && s <= rx->mask; s++) {
            struct xp_link_slot *slot = &rx->slots[s];

            if (slot->message > rx->delivered && slot->frame != XP_LINK_FRAME_NONE)
                frames->give(frames->arg, slot->class_index, slot->frame);
            slot->message = 0;
        }
        rx->slots = link->tx[i].slots = NULL;
        link->tx[i].credit.window = 0;
    }
}

static uint32_t bits(uint64_t word)
{
    return (uint32_t)__builtin_popcountll(word);
}

static const char *tx_check(const struct xp_link_tx *tx, uint32_t *inflight)
{
    uint32_t outstanding = tx->next - tx->una;
    uint64_t mask = outstanding >= 64 ? UINT64_MAX : (UINT64_C(1) << outstanding) - 1;

    if (outstanding > XP_LINK_SEGMENTS || ((tx->acked | tx->lost) & ~mask) != 0 ||
        (tx->acked & tx->lost) != 0)
        return "L-3: segments outstanding";
    if ((tx->acked & 1) != 0)
        return "L-3: an acknowledged segment is the oldest outstanding";
    *inflight += outstanding - bits(tx->acked) - bits(tx->lost);
    if (tx->credit.window != 0 &&
        xp_credit_available(&tx->credit) + (tx->credit.sent - tx->credit.returned) != tx->credit.window)
        return "L-2: credits available + in flight = window";
    if (tx->credit.returned > tx->messages_acked || tx->messages_acked > tx->credit.sent)
        return "L-2: returned <= acknowledged <= sent";
    return NULL;
}

const char *xp_link_check(const struct xp_link *link)
{
    uint32_t inflight = 0;

    for (uint32_t i = 0; i < XP_LANES; i++) {
        const char *why = tx_check(&link->tx[i], &inflight);
        const struct xp_link_rx *rx = &link->rx[i];

        if (why != NULL)
            return why;
        if ((rx->got & 1) != 0 || (rx->last & ~rx->got) != 0)
            return "L-1: the first missing segment has arrived";
        if (rx->delivered > rx->complete || rx->taker.taken > rx->delivered ||
            rx->complete - rx->taker.taken > rx->window)
            return "L-1: taken <= delivered <= complete <= taken + window";
    }
    return inflight == link->inflight ? NULL : "L-3: segments in flight";
}
