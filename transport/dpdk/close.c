/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The end of an instance's links. A close waits so long for what it posted to be acknowledged (linger.h): a peer that is
 * scheduled out, and time-outs of frames that are lost again, take tens of milliseconds each.
 */
#include <sched.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "transport/dpdk/conn.h"
#include "transport/link/linger.h"

#define LINGER_NS (500 * CF_NS_PER_MS)
#define LINGER_NS_MAX (10 * CF_NS_PER_S)
#define LINGER_STEP_NS (2 * CF_NS_PER_MS)

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
    if (dpdk->is_local && dpdk->now_ns >= peer->looked_ns + XP_DPDK_LOOK_NS) {
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

static void linger(struct xp_dpdk *dpdk)
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
}

static void leave(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    for (int n = 0; n < XP_DPDK_BYE_TIMES && peer->is_open; n++)
        xp_dpdk_say(dpdk, peer, &peer->lived, XP_SHAKE_BYE, CF_CLOSING, "");
    xp_dpdk_bus_flush(&dpdk->bus);
    cf_fence_full(); /* partner: the fence of xp_dpdk_arm */
    (void)xp_dpdk_bed_rouse(&peer->bed, &dpdk->nap, peer->node, XP_DPDK_ASLEEP);
    xp_dpdk_life_shut(dpdk, peer);
    xp_dpdk_bed_close(&peer->bed);
}

void xp_dpdk_close_links(struct xp_dpdk *dpdk)
{
    linger(dpdk);
    for (uint32_t i = 0; i < dpdk->nodes; i++)
        leave(dpdk, &dpdk->peers[i]);
}
