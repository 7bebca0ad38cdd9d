/* SPDX-License-Identifier: Apache-2.0 */
/* Connections: the state machine drawn in dpdk.h, but for the words of the handshake (shake.c). */
#include <inttypes.h>
#include <sched.h>
#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "transport/dpdk/dpdk.h"
#include "transport/link/linger.h"

/*
 * Chosen. A word of the handshake is repeated every CONNECT_NS, a peer that refused is asked again after REFUSED_NS, a
 * peer that said yes and nothing more is given up after HANDSHAKE_NS. A turn runs every TURN_NS. A peer of this host
 * that is silent for LOOK_NS is looked for: its process may be gone.
 */
#define CONNECT_NS (5 * CF_NS_PER_MS)
#define REFUSED_NS (250 * CF_NS_PER_MS)
#define HANDSHAKE_NS (2 * CF_NS_PER_S)
#define TURN_NS (1 * CF_NS_PER_MS)
#define LOOK_NS (20 * CF_NS_PER_MS)
#define TIMEOUT_NS (1 * CF_NS_PER_S)
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
/*
 * A close waits so long for what it posted to be acknowledged (linger.h): a peer that is scheduled out, and time-outs of
 * frames that are lost again, take tens of milliseconds each. BYE is not acknowledged: all of so many are lost once in
 * 10^5 closes at 20 %. Who comes AWAY_NS late to a turn did not run: deadlines of others are put off by as much.
 */
#define LINGER_NS (500 * CF_NS_PER_MS)
#define LINGER_NS_MAX (10 * CF_NS_PER_S)
#define LINGER_STEP_NS (2 * CF_NS_PER_MS)
#define BYE_TIMES 8
#define AWAY_NS (10 * CF_NS_PER_MS)
/* Bursts looked at before a peer is called lost: a device of this host holds what it sent last. */
#define LAST_BURSTS 16

static const char component[] = "transport";

static uint64_t patience_ns(const struct xp_dpdk *dpdk)
{
    return dpdk->peer_timeout_ns != 0 ? dpdk->peer_timeout_ns : TIMEOUT_NS;
}

/* A fresh attempt: nothing said before is believed. */
void xp_dpdk_conn_begin(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    randombytes_buf(peer->attempt.own, sizeof(peer->attempt.own));
    memset(peer->attempt.peer, 0, sizeof(peer->attempt.peer));
    peer->has_granted = false;
    peer->retry_ns = dpdk->now_ns;
}

static void link_shut(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    if (peer->is_open)
        xp_link_close(&peer->link, &dpdk->frames);
    peer->is_open = false;
    peer->session = 0;
}

void xp_dpdk_conn_bury(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    link_shut(dpdk, peer);
    xp_dpdk_bed_close(&peer->bed);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    peer->is_known = peer->was_up = false;
    peer->must_say_hello = peer->must_say_up = peer->must_say_down = false;
    peer->state = XP_DPDK_ABSENT;
    xp_dpdk_conn_begin(dpdk, peer);
    peer->retry_ns += CONNECT_NS;
    dpdk->is_control_due = true;
}

/* Lanes stop; what has arrived is taken first, then XP_EV_DOWN tells the rc. */
void xp_dpdk_conn_drain(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, uint64_t wait_ns)
{
    if (peer->state == XP_DPDK_DRAINING)
        return;
    if (rc == CF_INVALID || peer->state != XP_DPDK_UP)
        link_shut(dpdk, peer);
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

void xp_dpdk_conn_drained(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch)
{
    for (uint32_t i = 0; i < XP_LANES && peer->is_open; i++)
        if (peer->link.rx[i].delivered != peer->link.rx[i].complete)
            return;
    if (peer->is_open && peer->down_rc == CF_CLOSING && !has_all(peer) && dpdk->now_ns < peer->deadline_ns)
        return;
    report_down(dpdk, peer, peer->down_rc, batch);
    xp_dpdk_conn_bury(dpdk, peer);
}

void xp_dpdk_conn_refused(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, const char *why)
{
    bool is_news = peer->told_rc != rc || peer->was_up;
    uint32_t min = peer->incarnation_min;

    cf_log_info(dpdk->log, component, "peer refused node %u rc %d %s", peer->node, rc, why);
    if (!peer->was_up)
        peer->is_known = false; /* it never lived here: the same life may come again */
    xp_dpdk_conn_bury(dpdk, peer);
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
    struct xp_link_options options = {.lane_slots = dpdk->lane_slots,
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
                                      .keepalive_ns = dpdk->is_local ? CF_NS_PER_S : patience_ns(dpdk) / 8,
                                      .target_ns = dpdk->address.target_ns,
                                      .apart_bytes = dpdk->bus.apart_bytes,
                                      .window_min = dpdk->address.kind == XP_DPDK_PCI ? WINDOW_MIN_WIRE
                                                                                      : WINDOW_MIN_SOFT};

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

/* We say yes: the session is made, and packets of it are taken from now on. */
void xp_dpdk_conn_grant(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    bool is_low = dpdk->node < peer->node;
    const uint8_t *own = peer->attempt.own, *theirs = peer->attempt.peer;

    link_shut(dpdk, peer);
    peer->lived = peer->attempt;
    peer->session = xp_shake_session(dpdk->key, is_low ? own : theirs, is_low ? theirs : own);
    link_open(dpdk, peer);
    peer->is_open = true;
    peer->state = XP_DPDK_GRANTED;
    peer->retry_ns = dpdk->now_ns;
    peer->deadline_ns = dpdk->now_ns + HANDSHAKE_NS;
    dpdk->is_control_due = true;
    if (peer->has_granted)
        xp_dpdk_conn_up(dpdk, peer);
}

void xp_dpdk_conn_up(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
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
    xp_dpdk_conn_begin(dpdk, peer);
    if (dpdk->is_local && !peer->facts.is_busy)
        xp_dpdk_bed_open(&peer->bed, &dpdk->nap, peer->node);
    cf_log_info(dpdk->log, component, "peer up node %u incarnation %u epoch %" PRIu64 " session %08x",
                peer->node, peer->facts.incarnation, dpdk->epoch, peer->session);
}

void xp_dpdk_conn_events(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch)
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

/* A peer that has left may have said so, in frames that nobody has looked at yet. */
static void look_again(struct xp_dpdk *dpdk)
{
    for (uint32_t i = 0; i < LAST_BURSTS && xp_dpdk_receive(dpdk); i++)
        continue;
}

static void up_turn(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    uint64_t quiet_ns = dpdk->now_ns - peer->link.heard_ns;

    if (dpdk->now_ns < peer->link.heard_ns || quiet_ns < LOOK_NS || dpdk->now_ns < peer->looked_ns + LOOK_NS)
        return;
    peer->looked_ns = dpdk->now_ns;
    if (dpdk->is_local ? xp_shm_place_is_held(&dpdk->place, peer->node) : quiet_ns < patience_ns(dpdk))
        return;
    look_again(dpdk);
    if (peer->state == XP_DPDK_UP)
        xp_dpdk_conn_drain(dpdk, peer, CF_PEER_LOST, 0);
}

static void peer_turn(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    switch (peer->state) {
    case XP_DPDK_ABSENT:
    case XP_DPDK_ASKED:
    case XP_DPDK_GRANTED:
        if (peer->state == XP_DPDK_GRANTED && dpdk->now_ns >= peer->deadline_ns) {
            if (peer->was_up) {
                xp_dpdk_conn_drain(dpdk, peer, CF_PEER_LOST, 0);
            } else {
                peer->is_known = false; /* it never lived here: the same life may come again */
                xp_dpdk_conn_bury(dpdk, peer);
            }
        } else if (dpdk->now_ns >= peer->retry_ns) {
            peer->retry_ns = dpdk->now_ns + CONNECT_NS;
            xp_dpdk_say(dpdk, peer, peer->state == XP_DPDK_GRANTED ? &peer->lived : &peer->attempt,
                        peer->state == XP_DPDK_GRANTED ? XP_SHAKE_ACCEPT : XP_SHAKE_HELLO, CF_OK, "");
        }
        break;
    case XP_DPDK_UP:
        up_turn(dpdk, peer);
        break;
    case XP_DPDK_REFUSED:
        if (dpdk->now_ns >= peer->retry_ns) {
            peer->state = XP_DPDK_ABSENT;
            xp_dpdk_conn_begin(dpdk, peer);
        }
        break;
    case XP_DPDK_DRAINING:
    case XP_DPDK_SELF:
        break;
    }
}

/* Who did not look has not heard: silence counts only while this instance itself had a processor. */
static void forgive(struct xp_dpdk *dpdk)
{
    uint64_t away_ns = dpdk->now_ns - dpdk->control_next_ns;

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        dpdk->peers[i].deadline_ns += away_ns;
        if (!dpdk->is_local && away_ns > patience_ns(dpdk) / 4)
            dpdk->peers[i].link.heard_ns = dpdk->now_ns;
    }
}

void xp_dpdk_conn_turn(struct xp_dpdk *dpdk)
{
    if (dpdk->control_next_ns != 0 && dpdk->now_ns > dpdk->control_next_ns + AWAY_NS)
        forgive(dpdk);
    dpdk->is_control_due = false;
    dpdk->control_next_ns = dpdk->now_ns + TURN_NS;
    if (dpdk->now_ns >= dpdk->ports_next_ns) {
        dpdk->ports_next_ns = dpdk->now_ns + 2 * TURN_NS;
        if (xp_dpdk_bus_turn(&dpdk->bus, &dpdk->place))
            xp_dpdk_gate_turn();
    }
    for (uint32_t i = 0; i < dpdk->nodes; i++)
        peer_turn(dpdk, &dpdk->peers[i]);
    xp_dpdk_bus_flush(&dpdk->bus);
}

uint64_t xp_dpdk_conn_due_ns(const struct xp_dpdk *dpdk)
{
    uint64_t due = UINT64_MAX;

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        const struct xp_dpdk_peer *peer = &dpdk->peers[i];
        uint64_t at = peer->retry_ns;

        if (peer->state == XP_DPDK_SELF)
            continue;
        if (peer->state == XP_DPDK_UP)
            at = (peer->looked_ns > peer->link.heard_ns ? peer->looked_ns : peer->link.heard_ns) + LOOK_NS;
        due = at < due ? at : due;
    }
    return due;
}

void xp_dpdk_conn_evict(struct xp *xp, uint16_t node)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    struct xp_dpdk_peer *peer;

    cf_assert(node < dpdk->nodes && node != dpdk->node);
    peer = &dpdk->peers[node];
    if (peer->is_open && xp_dpdk_gate_enter(dpdk->gate)) {
        for (int i = 0; i < BYE_TIMES; i++)
            xp_dpdk_say(dpdk, peer, &peer->lived, XP_SHAKE_REFUSE, CF_STALE, "evicted");
        xp_dpdk_bus_flush(&dpdk->bus);
        xp_dpdk_gate_leave(dpdk->gate);
    }
    xp_dpdk_conn_bury(dpdk, peer);
}

void xp_dpdk_conn_epoch(struct xp *xp, uint64_t epoch)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);

    dpdk->epoch = dpdk->facts.epoch = epoch;
    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];

        peer->link.epoch = epoch;
        for (uint32_t lane = 0; lane < XP_LANES; lane++)
            peer->in[lane].epoch = epoch;
        if (peer->state == XP_DPDK_REFUSED) {
            peer->retry_ns = dpdk->now_ns;
            peer->told_rc = CF_OK;
            peer->is_refused = false;
        }
    }
    dpdk->is_control_due = true;
}

static bool has_unacknowledged(const struct xp_dpdk_peer *peer)
{
    bool has_open = false;

    for (uint32_t lane = 0; lane < XP_LANES && peer->state == XP_DPDK_UP; lane++)
        has_open |= peer->link.tx[lane].messages_acked != peer->link.tx[lane].credit.sent;
    return has_open;
}

/* A peer of this host whose process is gone acknowledges nothing any more. */
static bool is_owed(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    if (!has_unacknowledged(peer))
        return false;
    if (dpdk->is_local && dpdk->now_ns >= peer->looked_ns + LOOK_NS) {
        peer->looked_ns = dpdk->now_ns;
        if (!xp_shm_place_is_held(&dpdk->place, peer->node))
            peer->state = XP_DPDK_ABSENT;
    }
    return peer->state == XP_DPDK_UP;
}

static bool all_sent(struct xp_dpdk *dpdk)
{
    bool is_any_owed = false;

    for (uint32_t i = 0; i < dpdk->nodes; i++)
        is_any_owed |= is_owed(dpdk, &dpdk->peers[i]);
    return !is_any_owed;
}

/* Packets of the peers that are waited for. */
static uint64_t heard_count(const struct xp_dpdk *dpdk)
{
    uint64_t count = 0;

    for (uint32_t i = 0; i < dpdk->nodes; i++)
        if (has_unacknowledged(&dpdk->peers[i]))
            count += dpdk->peers[i].link.counters.packets_received;
    return count;
}

void xp_dpdk_conn_close(struct xp_dpdk *dpdk)
{
    const struct xp_linger_options options = {
        .quiet_ns_max = LINGER_NS, .whole_ns_max = LINGER_NS_MAX, .step_ns_max = LINGER_STEP_NS};
    struct xp_linger linger;

    xp_linger_open(&linger, &options, cf_now_ns(), heard_count(dpdk));
    do {
        dpdk->now_ns = cf_now_ns();
        if (!xp_dpdk_receive(dpdk))
            sched_yield();
        for (uint32_t i = 0; i < dpdk->nodes; i++)
            if (dpdk->peers[i].state == XP_DPDK_UP) {
                xp_link_tick(&dpdk->peers[i].link, dpdk->now_ns);
                xp_dpdk_send(dpdk, &dpdk->peers[i]);
            }
    } while (!all_sent(dpdk) && xp_linger_step(&linger, dpdk->now_ns, heard_count(dpdk)));
    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];

        for (int n = 0; n < BYE_TIMES && peer->is_open; n++)
            xp_dpdk_say(dpdk, peer, &peer->lived, XP_SHAKE_BYE, CF_CLOSING, "");
        xp_dpdk_bus_flush(&dpdk->bus);
        cf_fence_full(); /* partner: the fence of xp_dpdk_arm */
        (void)xp_dpdk_bed_rouse(&peer->bed, &dpdk->nap, peer->node, XP_DPDK_ASLEEP);
        link_shut(dpdk, peer);
        xp_dpdk_bed_close(&peer->bed);
    }
}
