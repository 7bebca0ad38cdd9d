/* SPDX-License-Identifier: Apache-2.0 */
/* Connections by the clock, and what the layer above decides of them: the state machine drawn in dpdk.h. */
#include "base/assert.h"
#include "transport/dpdk/conn.h"

/* Chosen. A turn runs every TURN_NS. */
#define TURN_NS (1 * CF_NS_PER_MS)
/* Who comes so late to a turn did not run: deadlines of others are put off by as much. */
#define AWAY_NS (10 * CF_NS_PER_MS)
/* Bursts looked at before a peer is called lost: a device of this host holds what it sent last. */
#define LAST_BURSTS 16

/* A peer that has left may have said so, in frames that nobody has looked at yet. */
static void look_again(struct xp_dpdk *dpdk)
{
    for (uint32_t i = 0; i < LAST_BURSTS && xp_dpdk_receive(dpdk); i++)
        continue;
}

static void up_turn(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    uint64_t quiet_ns = dpdk->now_ns - peer->link.heard_ns;

    if (dpdk->now_ns < peer->link.heard_ns || quiet_ns < XP_DPDK_LOOK_NS ||
        dpdk->now_ns < peer->looked_ns + XP_DPDK_LOOK_NS)
        return;
    peer->looked_ns = dpdk->now_ns;
    if (dpdk->is_local ? xp_shm_place_is_held(&dpdk->place, peer->node)
                       : quiet_ns < xp_dpdk_patience_ns(dpdk))
        return;
    look_again(dpdk);
    if (peer->state == XP_DPDK_UP)
        xp_dpdk_life_drain(dpdk, peer, CF_PEER_LOST, 0);
}

static void peer_turn(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    switch (peer->state) {
    case XP_DPDK_ABSENT:
    case XP_DPDK_ASKED:
    case XP_DPDK_GRANTED:
        if (peer->state == XP_DPDK_GRANTED && dpdk->now_ns >= peer->deadline_ns) {
            if (peer->was_up) {
                xp_dpdk_life_drain(dpdk, peer, CF_PEER_LOST, 0);
            } else {
                peer->is_known = false; /* it never lived here: the same life may come again */
                xp_dpdk_life_bury(dpdk, peer);
            }
        } else if (dpdk->now_ns >= peer->retry_ns) {
            peer->retry_ns = dpdk->now_ns + XP_DPDK_CONNECT_NS;
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
            xp_dpdk_life_begin(dpdk, peer);
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
        if (!dpdk->is_local && away_ns > xp_dpdk_patience_ns(dpdk) / 4)
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
            at = (peer->looked_ns > peer->link.heard_ns ? peer->looked_ns : peer->link.heard_ns) +
                 XP_DPDK_LOOK_NS;
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
        for (int i = 0; i < XP_DPDK_BYE_TIMES; i++)
            xp_dpdk_say(dpdk, peer, &peer->lived, XP_SHAKE_REFUSE, CF_STALE, "evicted");
        xp_dpdk_bus_flush(&dpdk->bus);
        xp_dpdk_gate_leave(dpdk->gate);
    }
    xp_dpdk_life_bury(dpdk, peer);
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
