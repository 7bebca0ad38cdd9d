/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_CONN_H
#define TRANSPORT_DPDK_CONN_H

/* Between the files of a connection: conn.c, life.c, shake.c, close.c, and the data path. Inside the gate. */
#include "base/clock.h"
#include "transport/dpdk/dpdk.h"

/* Chosen. A word of the handshake is repeated so often. */
#define XP_DPDK_CONNECT_NS (5 * CF_NS_PER_MS)
/* A peer of this host that is silent for so long is looked for: its process may be gone. */
#define XP_DPDK_LOOK_NS (20 * CF_NS_PER_MS)
#define XP_DPDK_TIMEOUT_NS (1 * CF_NS_PER_S)
/* The last word is not acknowledged: all of so many are lost once in 10^5 closes at 20 %. */
#define XP_DPDK_BYE_TIMES 8

static inline uint64_t xp_dpdk_patience_ns(const struct xp_dpdk *dpdk)
{
    return dpdk->peer_timeout_ns != 0 ? dpdk->peer_timeout_ns : XP_DPDK_TIMEOUT_NS;
}

/* conn.c: what the clock decides. */
void xp_dpdk_conn_turn(struct xp_dpdk *dpdk);

/* life.c */
/* A fresh attempt: nothing said before is believed. */
void xp_dpdk_life_begin(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);
/* We say yes: the session is made, and packets of it are taken from now on. */
void xp_dpdk_life_grant(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);
void xp_dpdk_life_up(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);
/* Events of connections, before the messages of the peer. */
void xp_dpdk_life_events(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch);
void xp_dpdk_life_refused(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, const char *why);
/* Lanes stop; what has arrived is taken first, then XP_EV_DOWN tells the rc. */
void xp_dpdk_life_drain(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, enum cf_rc rc, uint64_t wait_ns);
/* After the last message of a departed peer. */
void xp_dpdk_life_drained(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, struct xp_dpdk_batch *batch);
void xp_dpdk_life_bury(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);
/* The session's link, if there is one, is over. */
void xp_dpdk_life_shut(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);

/* close.c: what was posted arrives, then the peers hear that this instance goes. */
void xp_dpdk_close_links(struct xp_dpdk *dpdk);

#endif
