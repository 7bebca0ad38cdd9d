/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path, incoming: no system call but what a driver makes, no allocation. Frames come in bursts and go through the
 * filter (link/ether.h) to the link of their sender; polls hand out what the links have complete.
 */
#include <string.h>

#include "transport/dpdk/conn.h"
#include "transport/dpdk/dpdk.h"

/* Messages taken of one lane before the next one has its turn. */
#define LANE_BUDGET 16u

static void on_packet(struct xp_dpdk *dpdk, const uint8_t *packet, uint32_t bytes)
{
    uint16_t from = (uint16_t)(xp_link_word(packet, 1) >> 32);
    uint32_t session = (uint32_t)xp_link_word(packet, 2);
    struct xp_dpdk_peer *peer = from < dpdk->nodes ? &dpdk->peers[from] : NULL;

    if (CF_UNLIKELY(peer == NULL || !peer->is_open || session != peer->session)) {
        dpdk->unknown_session++;
        dpdk->base.counters.stale_generation++;
        return;
    }
    if (CF_UNLIKELY(peer->state == XP_DPDK_GRANTED))
        xp_dpdk_life_up(dpdk, peer); /* nobody else knows the session: the peer has accepted */
    xp_link_receive(&peer->link, dpdk->now_ns, packet, bytes, &dpdk->frames);
}

static CF_COLD void arp_answer(struct xp_dpdk *dpdk, uint32_t port, const uint8_t *frame)
{
    uint8_t *answer = xp_dpdk_bus_begin(&dpdk->bus, port);

    if (answer == NULL)
        return; /* it is asked again */
    memset(answer, 0, XP_ETHER_BYTES_MIN);
    memcpy(answer, frame, XP_ETHER_ARP_BYTES);
    xp_dpdk_bus_end(&dpdk->bus, port, XP_ETHER_BYTES_MIN);
    xp_dpdk_bus_flush(&dpdk->bus);
}

static void on_frame(void *arg, uint32_t port, uint8_t *frame, uint32_t bytes)
{
    struct xp_dpdk *dpdk = arg;
    const uint8_t *packet;
    uint32_t packet_bytes;

    switch (xp_ether_open(&dpdk->filter, frame, bytes, &packet, &packet_bytes)) {
    case XP_ETHER_OURS:
        if (CF_LIKELY(packet[offsetof(struct xp_link_head, kind)] != XP_LINK_SHAKE))
            on_packet(dpdk, packet, packet_bytes);
        else
            xp_dpdk_on_shake(dpdk, port, frame, packet, packet_bytes);
        break;
    case XP_ETHER_FOREIGN:
        dpdk->foreign++;
        break;
    case XP_ETHER_ARP:
        dpdk->arps++;
        if (xp_ether_arp_answer(frame, bytes, &dpdk->bus.end))
            arp_answer(dpdk, port, frame);
        break;
    case XP_ETHER_MALFORMED:
        dpdk->malformed++;
        dpdk->base.counters.bad_header++;
        break;
    case XP_ETHER_DAMAGED:
        dpdk->damaged++;
        break;
    }
}

bool xp_dpdk_receive(struct xp_dpdk *dpdk)
{
    return xp_dpdk_bus_receive(&dpdk->bus, on_frame, dpdk);
}

static void violate(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const char *what)
{
    cf_log_warn(dpdk->log, "transport", "peer broke the rules node %u %s", peer->node, what);
    xp_dpdk_life_drain(dpdk, peer, CF_INVALID, 0);
}

/* Fills in the event of a message; false: it is not delivered. */
static bool judge(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, uint32_t lane,
                  const struct xp_link_delivery *d)
{
    struct xp_counters *counters = &dpdk->base.counters;
    enum xp_lane_verdict verdict = XP_LANE_PASS;

    if (CF_UNLIKELY(!xp_lane_is_sound(&peer->in[lane], d->header)))
        verdict = xp_lane_judge(&peer->in[lane], d->header, counters);
    if (verdict == XP_LANE_PASS && CF_UNLIKELY(d->header->sequence != peer->link.rx[lane].delivered ||
                                               d->header->bytes != d->body_bytes)) {
        counters->bad_sequence++;
        verdict = XP_LANE_FAULT;
    }
    if (CF_LIKELY(verdict == XP_LANE_PASS))
        return true;
    if (d->frame != XP_LINK_FRAME_NONE)
        xp_lent_push(&dpdk->lent, d->class_index, d->frame);
    if (verdict == XP_LANE_FAULT)
        violate(dpdk, peer, "a message header is wrong");
    return false;
}

static void deliver(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, uint32_t lane,
                    const struct xp_link_delivery *d, struct xp_event *event)
{
    struct xp_counters *counters = &dpdk->base.counters;

    *event = (struct xp_event){.type = XP_EV_MESSAGE,
                               .lane_class = (uint8_t)lane,
                               .node = peer->node,
                               .bytes = d->body_bytes,
                               .header = d->header,
                               .message = d->body};
    counters->received++;
    counters->bytes_received += d->body_bytes;
    if (d->frame != XP_LINK_FRAME_NONE) {
        event->type = XP_EV_BLOCK;
        event->frame = d->frame;
        counters->blocks_received++;
        counters->bytes_received += dpdk->space.classes[d->class_index].bytes;
    } else if (d->class_index != XP_LINK_NO_BLOCK) {
        event->type = XP_EV_TORN;
        counters->torn++;
    }
}

static void lane_take(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, uint32_t lane,
                      struct xp_dpdk_batch *batch)
{
    const struct xp_link_rx *rx = &peer->link.rx[lane];
    struct xp_link_delivery d;

    for (uint32_t i = 0;
         i < LANE_BUDGET && rx->delivered != rx->complete && batch->count < batch->max && peer->is_open;
         i++) {
        if (!xp_link_take(&peer->link, (enum xp_class)lane, &d))
            return;
        if (judge(dpdk, peer, lane, &d))
            deliver(dpdk, peer, lane, &d, &batch->events[batch->count++]);
    }
}

static void peer_take(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch)
{
    if (CF_UNLIKELY(peer->must_say_hello || peer->must_say_up || peer->must_say_down))
        xp_dpdk_life_events(dpdk, peer, batch);
    if (peer->state != XP_DPDK_UP && peer->state != XP_DPDK_DRAINING)
        return;
    for (uint32_t lane = 0; lane < XP_LANES && peer->is_open && !peer->must_say_up; lane++)
        lane_take(dpdk, peer, lane, batch);
    if (CF_UNLIKELY(peer->state == XP_DPDK_DRAINING) && batch->count < batch->max)
        xp_dpdk_life_drained(dpdk, peer, batch);
}

static void peers_send(struct xp_dpdk *dpdk)
{
    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];

        if (!peer->is_open || peer->state != XP_DPDK_UP)
            continue;
        xp_link_tick(&peer->link, dpdk->now_ns);
        peer->has_posted = false;
        if (xp_link_has_work(&peer->link, dpdk->now_ns))
            xp_dpdk_send(dpdk, peer);
        if (CF_UNLIKELY(peer->link.is_violated)) {
            dpdk->base.counters.bad_sequence++;
            violate(dpdk, peer, "it acknowledges what was never sent");
        }
    }
}

/* Until then polls need only look at the ports, unless something is posted; 0: the next one has work. */
static uint64_t quiet_until(const struct xp_dpdk *dpdk)
{
    uint64_t until_ns = dpdk->control_next_ns;

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        const struct xp_dpdk_peer *peer = &dpdk->peers[i];
        const struct xp_link *link = &peer->link;
        uint64_t due_ns;

        if (peer->must_say_hello || peer->must_say_up || peer->must_say_down ||
            peer->state == XP_DPDK_DRAINING)
            return 0;
        if (!peer->is_open || peer->state != XP_DPDK_UP)
            continue;
        if (link->rx[XP_CONTROL].complete != link->rx[XP_CONTROL].taker.taken ||
            link->rx[XP_DATA].complete != link->rx[XP_DATA].taker.taken || peer->has_posted ||
            link->is_violated || xp_link_has_work(link, dpdk->now_ns))
            return 0;
        due_ns = xp_link_due_ns(link);
        until_ns = due_ns < until_ns ? due_ns : until_ns;
    }
    return until_ns;
}

static void peers_take(struct xp_dpdk *dpdk, struct xp_dpdk_batch *batch)
{
    for (uint32_t i = 0; i < dpdk->nodes && batch->count < batch->max; i++) {
        uint32_t at = dpdk->turn + i;

        peer_take(dpdk, &dpdk->peers[at < dpdk->nodes ? at : at - dpdk->nodes], batch);
    }
    dpdk->turn = dpdk->turn + 1 < dpdk->nodes ? dpdk->turn + 1 : 0;
}

/*
 * Most polls of a poller find nothing and have nothing to do. One that finds messages in quiet times hands them out before
 * anything else: what they are answered with takes the acknowledgement along.
 */
uint32_t xp_dpdk_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    struct xp_dpdk_batch batch = {.events = events, .max = max <= XP_EVENTS_MAX ? max : XP_EVENTS_MAX};
    bool is_due = now_ns >= dpdk->control_next_ns || dpdk->is_control_due;
    bool is_quiet = !is_due && now_ns < dpdk->quiet_until_ns;
    bool has_come = false, is_inside = xp_dpdk_gate_enter(dpdk->gate);

    dpdk->now_ns = now_ns;
    for (uint32_t i = 0; !is_quiet && i < dpdk->nodes; i++)
        if (dpdk->peers[i].is_open)
            xp_link_give(&dpdk->peers[i].link);
    if (CF_LIKELY(is_inside))
        has_come = xp_dpdk_receive(dpdk);
    if (!has_come && dpdk->lent.is_cold)
        xp_lent_warm(&dpdk->lent, &dpdk->space);
    if (is_quiet && !has_come) {
        xp_dpdk_gate_leave(dpdk->gate);
        return 0;
    }
    dpdk->quiet_until_ns = 0;
    if (has_come)
        dpdk->nap_ns = XP_DPDK_NAP_NS_MIN;
    if (CF_UNLIKELY(is_due) && is_inside)
        xp_dpdk_conn_turn(dpdk);
    peers_take(dpdk, &batch);
    if (is_inside && (!is_quiet || batch.count == 0))
        peers_send(dpdk);
    if (!has_come && batch.count == 0)
        dpdk->quiet_until_ns = quiet_until(dpdk);
    xp_dpdk_gate_leave(dpdk->gate);
    return batch.count;
}
