/* SPDX-License-Identifier: Apache-2.0 */
/* What a connection becomes: attempts, sessions, endings, and the events that tell of them. When: conn.c, shake.c. */
#include <inttypes.h>
#include <sodium.h>
#include <string.h>

#include "transport/dpdk/conn.h"

/* Chosen. A peer that refused is asked again after so long; one that said yes and nothing more is given up. */
#define REFUSED_NS (250 * CF_NS_PER_MS)
#define HANDSHAKE_NS (2 * CF_NS_PER_S)
/* Round trips of software devices are microseconds, but a loaded host schedules a peer out for milliseconds. */
#define RTO_NS_MIN (500 * CF_NS_PER_US)
/*
 * On one host what takes longer is a peer without a processor. Across hosts a round trip may be as long (an emulated card's is
 * 5 to 30 ms), and a time-out shorter than it sends everything twice.
 */
#define RTO_NS_MAX_LOCAL (20 * CF_NS_PER_MS)
#define RTO_NS_MAX_WIRE (200 * CF_NS_PER_MS)
#define ACK_DELAY_NS (20 * CF_NS_PER_US)
/* On a network the window may fall below one segment, and packets are paced; on software devices there is nothing to spare. */
#define WINDOW_MIN_WIRE (XP_SWIFT_ONE / 4)
#define WINDOW_MIN_SOFT (4 * XP_SWIFT_ONE)

static const char component[] = "transport";

void xp_dpdk_life_begin(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    randombytes_buf(peer->attempt.own, sizeof(peer->attempt.own));
    memset(peer->attempt.peer, 0, sizeof(peer->attempt.peer));
    peer->has_granted = false;
    peer->retry_ns = dpdk->now_ns;
}

void xp_dpdk_life_shut(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    if (peer->is_open)
        xp_link_close(&peer->link, &dpdk->frames);
    peer->is_open = false;
    peer->session = 0;
}

void xp_dpdk_life_bury(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    xp_dpdk_life_shut(dpdk, peer);
    xp_dpdk_bed_close(&peer->bed);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    peer->is_known = peer->was_up = false;
    peer->must_say_hello = peer->must_say_up = peer->must_say_down = false;
    peer->state = XP_DPDK_ABSENT;
    xp_dpdk_life_begin(dpdk, peer);
    peer->retry_ns += XP_DPDK_CONNECT_NS;
    dpdk->is_control_due = true;
}

void xp_dpdk_life_drain(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, uint64_t wait_ns)
{
    if (peer->state == XP_DPDK_DRAINING)
        return;
    if (rc == CF_INVALID || peer->state != XP_DPDK_UP)
        xp_dpdk_life_shut(dpdk, peer);
    peer->down_rc = rc;
    peer->deadline_ns = dpdk->now_ns + wait_ns;
    peer->state = XP_DPDK_DRAINING;
}

static bool has_all(const struct xp_dpdk_peer *peer)
{
    for (uint32_t i = 0; i < XP_LANES; i++)
        if (peer->link.rx[i].complete < peer->final[i])
            return false;
    return true;
}

static void report_down(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc,
                        struct xp_dpdk_batch *batch)
{
    cf_log_info(dpdk->log, component, "peer down node %u rc %d", peer->node, rc);
    batch->events[batch->count++] = (struct xp_event){.type = XP_EV_DOWN, .node = peer->node, .rc = rc};
}

void xp_dpdk_life_drained(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch)
{
    for (uint32_t i = 0; i < XP_LANES && peer->is_open; i++)
        if (peer->link.rx[i].delivered != peer->link.rx[i].complete)
            return;
    if (peer->is_open && peer->down_rc == CF_CLOSING && !has_all(peer) && dpdk->now_ns < peer->deadline_ns)
        return;
    report_down(dpdk, peer, peer->down_rc, batch);
    xp_dpdk_life_bury(dpdk, peer);
}

void xp_dpdk_life_refused(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, const char *why)
{
    bool is_news = peer->told_rc != rc || peer->was_up;
    uint32_t min = peer->incarnation_min;

    cf_log_info(dpdk->log, component, "peer refused node %u rc %d %s", peer->node, rc, why);
    if (!peer->was_up)
        peer->is_known = false; /* it never lived here: the same life may come again */
    xp_dpdk_life_bury(dpdk, peer);
    peer->incarnation_min = peer->incarnation_min > min ? peer->incarnation_min : min;
    peer->state = XP_DPDK_REFUSED;
    peer->retry_ns = dpdk->now_ns + REFUSED_NS;
    peer->told_rc = rc;
    peer->down_rc = rc;
    peer->must_say_down = is_news;
}

static void link_open(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    uint32_t own = dpdk->facts.packet_bytes, theirs = peer->facts.packet_bytes;
    struct xp_link_options options = {
        .lane_slots = dpdk->lane_slots,
        .packet_bytes = own < theirs ? own : theirs,
        .tag = dpdk->filter.tag,
        .session = peer->session,
        .node = dpdk->node,
        .peer = peer->node,
        .incarnation = dpdk->facts.incarnation,
        .peer_incarnation = peer->facts.incarnation,
        .message_tag = dpdk->tag,
        .rto_ns_min = RTO_NS_MIN,
        .rto_ns_max = dpdk->is_local ? RTO_NS_MAX_LOCAL : RTO_NS_MAX_WIRE,
        .ack_delay_ns = ACK_DELAY_NS,
        .keepalive_ns = dpdk->is_local ? CF_NS_PER_S : xp_dpdk_patience_ns(dpdk) / 8,
        .target_ns = dpdk->address.target_ns,
        .apart_bytes = dpdk->bus.apart_bytes,
        .window_min = dpdk->address.kind == XP_DPDK_PCI ? WINDOW_MIN_WIRE : WINDOW_MIN_SOFT};

    xp_link_open(&peer->link, &options, peer->memory, dpdk->now_ns);
    peer->link.epoch = dpdk->epoch;
    for (uint32_t i = 0; i < XP_LANES; i++)
        peer->in[i] = (struct xp_lane_facts){.node = peer->node,
                                             .lane_class = (uint16_t)i,
                                             .incarnation = peer->facts.incarnation,
                                             .generation = peer->session,
                                             .tag = dpdk->tag,
                                             .epoch = dpdk->epoch};
    xp_ether_front(peer->front, &dpdk->bus.end, &peer->end, (uint16_t)(XP_ETHER_SOURCE_PORT + dpdk->node));
}

void xp_dpdk_life_grant(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    bool is_low = dpdk->node < peer->node;
    const uint8_t *own = peer->attempt.own, *theirs = peer->attempt.peer;

    xp_dpdk_life_shut(dpdk, peer);
    peer->lived = peer->attempt;
    peer->session = xp_shake_session(dpdk->key, is_low ? own : theirs, is_low ? theirs : own);
    link_open(dpdk, peer);
    peer->is_open = true;
    peer->state = XP_DPDK_GRANTED;
    peer->retry_ns = dpdk->now_ns;
    peer->deadline_ns = dpdk->now_ns + HANDSHAKE_NS;
    dpdk->is_control_due = true;
    if (peer->has_granted)
        xp_dpdk_life_up(dpdk, peer);
}

void xp_dpdk_life_up(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    struct xp_dpdk_nonces lived = peer->lived;

    peer->state = XP_DPDK_UP;
    peer->must_say_up = true;
    peer->told_rc = CF_OK;
    peer->is_starved = false;
    peer->looked_ns = dpdk->now_ns;
    /* The peer may still wait for our ACCEPT; a packet of the session does as well. */
    xp_dpdk_say(dpdk, peer, &lived, XP_SHAKE_ACCEPT, CF_OK, "");
    xp_dpdk_bus_flush(&dpdk->bus);
    xp_dpdk_life_begin(dpdk, peer);
    if (dpdk->is_local && !peer->facts.is_busy)
        xp_dpdk_bed_open(&peer->bed, &dpdk->nap, peer->node);
    cf_log_info(dpdk->log, component, "peer up node %u incarnation %u epoch %" PRIu64 " session %08x",
                peer->node, peer->facts.incarnation, dpdk->epoch, peer->session);
}

void xp_dpdk_life_events(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch)
{
    if (peer->must_say_down && batch->count < batch->max) {
        peer->must_say_down = false;
        report_down(dpdk, peer, peer->down_rc, batch);
    }
    if (peer->must_say_hello && batch->count < batch->max) {
        peer->must_say_hello = false;
        batch->events[batch->count++] = (struct xp_event){
            .type = XP_EV_HELLO, .node = peer->node, .bytes = XP_HELLO_BYTES, .message = peer->facts.hello};
    }
    if (peer->must_say_up && batch->count < batch->max) {
        peer->must_say_up = false;
        batch->events[batch->count++] = (struct xp_event){.type = peer->was_up ? XP_EV_RESET : XP_EV_UP,
                                                          .node = peer->node};
        dpdk->base.counters.resets += peer->was_up;
        peer->was_up = true;
    }
}
