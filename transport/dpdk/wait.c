/* SPDX-License-Identifier: Apache-2.0 */
/* Going to sleep and getting up; why no wake-up is lost stands in nap.h. */
#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "transport/dpdk/dpdk.h"

static bool has_work(const struct xp_dpdk *dpdk)
{
    if (dpdk->is_control_due)
        return true;
    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        const struct xp_dpdk_peer *peer = &dpdk->peers[i];

        if (peer->must_say_hello || peer->must_say_up || peer->must_say_down ||
            peer->state == XP_DPDK_DRAINING)
            return true;
        if (peer->state != XP_DPDK_UP)
            continue;
        for (uint32_t lane = 0; lane < XP_LANES; lane++)
            if (peer->link.rx[lane].complete != peer->link.rx[lane].taker.taken)
                return true;
        if (peer->has_posted || peer->link.is_violated)
            return true;
    }
    return false;
}

/* What peers wait for goes out now: nobody will do it while we sleep. True when somebody here waits for credit. */
static bool settle(struct xp_dpdk *dpdk)
{
    bool is_starved = false;

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];
        struct xp_link *link = &peer->link;

        if (!peer->is_open || peer->state != XP_DPDK_UP)
            continue;
        if (link->ack_count != 0)
            link->must_ack = true;
        xp_dpdk_send(dpdk, peer);
        for (uint32_t lane = 0; lane < XP_LANES; lane++) {
            if (xp_credit_available(&link->tx[lane].credit) != 0)
                peer->is_starved = false;
            /* Messages that wait for the window of the lane or of congestion control go when it opens. */
            is_starved |= link->tx[lane].message <= link->tx[lane].credit.sent || link->tx[lane].lost != 0;
        }
        is_starved |= peer->is_starved;
    }
    return is_starved;
}

static uint64_t due_ns(const struct xp_dpdk *dpdk)
{
    uint64_t due = xp_dpdk_conn_due_ns(dpdk);

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        const struct xp_dpdk_peer *peer = &dpdk->peers[i];
        uint64_t link_due;

        if (!peer->is_open || peer->state != XP_DPDK_UP)
            continue;
        link_due = xp_link_due_ns(&peer->link);
        due = link_due < due ? link_due : due;
    }
    return due;
}

/* When the sleep ends by itself; never 0. */
static uint64_t wake_ns(struct xp_dpdk *dpdk)
{
    uint64_t due = due_ns(dpdk), nap_due = dpdk->now_ns + dpdk->nap_ns;

    if (dpdk->is_local || dpdk->nap.bell_fd >= 0)
        return due | 1;
    dpdk->nap_ns = 2 * dpdk->nap_ns < XP_DPDK_NAP_NS_MAX ? 2 * dpdk->nap_ns : XP_DPDK_NAP_NS_MAX;
    return (due < nap_due ? due : nap_due) | 1;
}

bool xp_dpdk_arm(struct xp *xp)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    bool is_starved, has_come;

    cf_assert(!dpdk->is_armed);
    if (!dpdk->is_started || has_work(dpdk) || !xp_dpdk_gate_enter(dpdk->gate))
        return false;
    dpdk->now_ns = cf_now_ns();
    dpdk->quiet_until_ns = 0;
    is_starved = settle(dpdk);
    xp_dpdk_nap_say(&dpdk->nap, XP_DPDK_ASLEEP | (is_starved ? XP_DPDK_STARVED : 0));
    cf_fence_full(); /* partner: the fence of xp_dpdk_send */
    has_come = xp_dpdk_receive(dpdk);
    xp_dpdk_gate_leave(dpdk->gate);
    if (has_come) {
        xp_dpdk_nap_unsay(&dpdk->nap);
        return false;
    }
    xp_dpdk_nap_begin(&dpdk->nap, dpdk->now_ns, wake_ns(dpdk));
    dpdk->is_armed = true;
    return true;
}

void xp_dpdk_disarm(struct xp *xp)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);

    if (!dpdk->is_armed)
        return;
    dpdk->is_armed = false;
    xp_dpdk_nap_end(&dpdk->nap);
}
