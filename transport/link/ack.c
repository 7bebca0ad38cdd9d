/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the peer's head says has arrived: acknowledged segments, credits, the round trip, and what must be lost. And
 * what the clock decides: time-outs, probes, keep-alive.
 */
#include "base/assert.h"
#include "transport/link/link.h"
#include "transport/link/mutant.h"

static uint64_t low_mask(uint32_t count)
{
    return count >= 64 ? UINT64_MAX : (UINT64_C(1) << count) - 1;
}

static uint64_t shift_down(uint64_t word, uint32_t count)
{
    return count >= 64 ? 0 : word >> count;
}

/* Segments of the mask have arrived. */
static void mark_acked(struct xp_link *link, struct xp_link_tx *tx, uint64_t mask)
{
    uint64_t was_lost = mask & tx->lost;

    for (uint64_t left = mask; left != 0; left &= left - 1) {
        uint32_t sequence = tx->una + (uint32_t)__builtin_ctzll(left);
        const struct xp_link_flight *flight = &tx->flights[sequence % XP_LINK_SEGMENTS];

        if (flight->order > link->order_acked)
            link->order_acked = flight->order;
    }
    tx->acked |= mask;
    tx->lost &= ~mask;
    link->inflight -= (uint32_t)__builtin_popcountll(mask & ~was_lost);
}

/* The oldest segments up to `count` are over. */
static void forget(struct xp_link_tx *tx, uint32_t count)
{
    for (uint32_t i = 0; i < count; i++) {
        const struct xp_link_flight *flight = &tx->flights[(tx->una + i) % XP_LINK_SEGMENTS];

        if (flight->index + 1u == tx->slots[flight->message & tx->mask].segments)
            tx->messages_acked++;
    }
    tx->una += count;
    tx->acked = shift_down(tx->acked, count);
    tx->lost = shift_down(tx->lost, count);
    tx->sent_again = shift_down(tx->sent_again, count);
}

static uint32_t lane_ack(struct xp_link *link, struct xp_link_tx *tx, const struct xp_link_lane_head *head)
{
    uint32_t outstanding = tx->next - tx->una, through = head->next - tx->una;
    uint64_t mask, fresh;

    /* An old head tells of less than is known already; one that tells of what was never sent is a lie. */
    if ((int32_t)through < 0 || (xp_link_mutant(XP_LINK_MUT_WRAP) && head->next < tx->una))
        return 0;
    if (through > outstanding) {
        link->is_violated = true;
        return 0;
    }
    mask = low_mask(through) | (through >= 64 ? 0 : (head->got & ~UINT64_C(1)) << through);
    fresh = mask & low_mask(outstanding) & ~tx->acked;
    if (fresh == 0)
        return 0;
    mark_acked(link, tx, fresh);
    forget(tx, (uint32_t)__builtin_ctzll(~tx->acked | (outstanding >= 64 ? 0 : UINT64_C(1) << outstanding)));
    return (uint32_t)__builtin_popcountll(fresh);
}

/*
 * What nearly every head says: the oldest segments have arrived, in the order in which they went, and none beyond a hole.
 * False: it says something else.
 */
static bool lane_ack_in_order(struct xp_link *link, struct xp_link_tx *tx,
                              const struct xp_link_lane_head *head, uint32_t *fresh_out)
{
    uint32_t through = head->next - tx->una;

    if ((tx->acked | tx->lost | tx->sent_again | head->got) != 0 || through > tx->next - tx->una)
        return false;
    *fresh_out = through;
    if (through == 0)
        return true;
    /* Nothing was sent again, so the newest of them went last. */
    link->order_acked = xp_link_max(link->order_acked,
                                    tx->flights[(tx->una + through - 1) % XP_LINK_SEGMENTS].order);
    link->inflight -= through;
    for (uint32_t i = 0; i < through; i++) {
        const struct xp_link_flight *flight = &tx->flights[(tx->una + i) % XP_LINK_SEGMENTS];

        tx->messages_acked += flight->index + 1u == tx->slots[flight->message & tx->mask].segments;
    }
    tx->una += through;
    return true;
}

/* All of a full window acknowledged at once leaves no zero bit to find. */
static uint32_t lane_ack_full(struct xp_link *link, struct xp_link_tx *tx,
                              const struct xp_link_lane_head *head)
{
    uint32_t fresh;

    if (lane_ack_in_order(link, tx, head, &fresh))
        return fresh;
    if (tx->next - tx->una != XP_LINK_SEGMENTS || head->next != tx->next)
        return lane_ack(link, tx, head);
    fresh = XP_LINK_SEGMENTS - (uint32_t)__builtin_popcountll(tx->acked);
    mark_acked(link, tx, ~tx->acked);
    forget(tx, XP_LINK_SEGMENTS);
    return fresh;
}

static void lane_credit(struct xp_link *link, struct xp_link_tx *tx, uint32_t taken)
{
    int32_t more = (int32_t)(taken - (uint32_t)tx->credit.returned);
    uint64_t told;

    if (more <= 0)
        return;
    told = tx->credit.returned + (uint32_t)more;
    /* L-2: what was taken has arrived, and that it has is in the same head. */
    if (told > tx->messages_acked || !xp_credit_return(&tx->credit, told))
        link->is_violated = true;
}

/* A segment is lost when one that went XP_LINK_REORDER_PACKETS packets later has arrived. */
static uint32_t lane_find_lost(struct xp_link *link, struct xp_link_tx *tx)
{
    uint64_t open = low_mask(tx->next - tx->una) & ~tx->acked & ~tx->lost, lost = 0;

    for (uint64_t left = open; left != 0; left &= left - 1) {
        uint32_t at = (uint32_t)__builtin_ctzll(left);

        if (tx->flights[(tx->una + at) % XP_LINK_SEGMENTS].order + XP_LINK_REORDER_PACKETS <=
            link->order_acked)
            lost |= UINT64_C(1) << at;
        else if (tx->sent_again == 0)
            break; /* later segments went later */
    }
    tx->lost |= lost;
    link->inflight -= (uint32_t)__builtin_popcountll(lost);
    return (uint32_t)__builtin_popcountll(lost);
}

static void sample_settle(struct xp_link *link)
{
    const struct xp_link_sample *sample = &link->sample;

    if (sample->now_ns == 0)
        return;
    xp_link_rtt_sample(&link->rtt, sample->rtt_ns);
    if (sample->fresh != 0)
        xp_swift_on_ack(&link->swift, sample->now_ns, sample->rtt_ns, link->rtt.srtt_ns, sample->fresh);
    link->sample.now_ns = 0;
}

static void sample_take(struct xp_link *link, uint64_t now_ns, const struct xp_link_head *head,
                        uint32_t fresh)
{
    uint32_t now = (uint32_t)(now_ns >> XP_LINK_STAMP_SHIFT);

    if (head->held == XP_LINK_HELD_NONE || head->echo == link->echo_seen || head->held > now - head->echo)
        return;
    link->echo_seen = head->echo;
    link->sample = (struct xp_link_sample){.now_ns = now_ns,
                                           .rtt_ns = (uint64_t)(now - head->echo - head->held)
                                                     << XP_LINK_STAMP_SHIFT,
                                           .fresh = fresh};
}

void xp_link_ack(struct xp_link *link, uint64_t now_ns, const struct xp_link_head *head)
{
    uint32_t fresh = 0, lost = 0;

    for (uint32_t i = 0; i < XP_LANES; i++) {
        struct xp_link_tx *tx = &link->tx[i];
        const struct xp_link_lane_head *lane = &head->lanes[i];

        if (lane->next == tx->una && lane->got == 0 && lane->taken == (uint32_t)tx->credit.returned)
            continue; /* nothing that is not known */
        fresh += lane_ack_full(link, tx, lane);
        if (!link->is_violated)
            lane_credit(link, tx, lane->taken);
    }
    sample_settle(link);
    sample_take(link, now_ns, head, fresh);
    if (fresh == 0)
        return;
    link->backoff = 0;
    for (uint32_t i = 0; i < XP_LANES && link->inflight != 0; i++)
        if (link->tx[i].next != link->tx[i].una)
            lost += lane_find_lost(link, &link->tx[i]);
    if (lost != 0) {
        link->counters.lost += lost;
        sample_settle(link);
        xp_swift_on_loss(&link->swift, now_ns, link->rtt.srtt_ns);
    }
    link->timer_ns = link->inflight != 0 ? now_ns + xp_link_rtt_wait_ns(&link->rtt, 0) : 0;
}

void xp_link_settle(struct xp_link *link)
{
    if (link->late.is_there) {
        link->late.is_there = false;
        xp_link_ack(link, link->late.now_ns, &link->late.head);
    }
    sample_settle(link);
}

static bool waits_for_credit(const struct xp_link *link)
{
    for (uint32_t i = 0; i < XP_LANES; i++)
        if (link->tx[i].credit.returned != link->tx[i].credit.sent)
            return true;
    return false;
}

/* Nothing acknowledged for the time-out: all that is in flight counts as lost. */
static void time_out(struct xp_link *link, uint64_t now_ns)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        struct xp_link_tx *tx = &link->tx[i];

        tx->lost |= low_mask(tx->next - tx->una) & ~tx->acked;
    }
    link->inflight = 0;
    link->timer_ns = 0;
    link->backoff++;
    link->counters.timeouts++;
    xp_swift_on_timeout(&link->swift, now_ns, link->rtt.srtt_ns);
}

/*
 * Messages that are acknowledged but not taken: the credit may have been told in a packet that was lost, so the peer
 * is asked, at the pace of time-outs at first, then of the keep-alive.
 */
static uint64_t probe_ns(const struct xp_link *link)
{
    uint64_t quiet_ns = link->options.keepalive_ns;

    if (waits_for_credit(link)) {
        uint64_t wait_ns = xp_link_rtt_wait_ns(&link->rtt, 2);
        quiet_ns = wait_ns < quiet_ns ? wait_ns : quiet_ns;
    }
    return link->sent_ns + quiet_ns;
}

void xp_link_tick(struct xp_link *link, uint64_t now_ns)
{
    xp_link_settle(link);
    if (link->timer_ns != 0 && now_ns >= link->timer_ns)
        time_out(link, now_ns);
    if (link->timer_ns == 0 && !link->must_probe && now_ns >= probe_ns(link)) {
        link->must_probe = true;
        link->counters.probes++;
    }
}

uint64_t xp_link_due_ns(const struct xp_link *link)
{
    uint64_t due_ns = link->timer_ns != 0 ? link->timer_ns : probe_ns(link);

    if (link->is_violated)
        return UINT64_MAX;
    if (link->ack_count != 0 && link->ack_since_ns + link->options.ack_delay_ns < due_ns)
        due_ns = link->ack_since_ns + link->options.ack_delay_ns;
    /* A full window waits for an acknowledgement, or for the timer; else it is the pace that keeps segments back. */
    if (link->inflight < xp_swift_segments(&link->swift) &&
        ((link->tx[0].lost | link->tx[1].lost) != 0 || xp_link_has_new(&link->tx[0]) ||
         xp_link_has_new(&link->tx[1])))
        due_ns = link->pace_ns < due_ns ? link->pace_ns : due_ns;
    return due_ns;
}
