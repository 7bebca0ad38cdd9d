/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection ends: refused, lost, drained, buried. States and edges are drawn in shm.h. */
#include <unistd.h>

#include "base/assert.h"
#include "base/log.h"
#include "transport/shm/conn.h"
#include "transport/shm/sock.h"

/* Used when options leave peer_timeout_ns 0. */
#define BROKEN_NS (1 * CF_NS_PER_S)

static const char component[] = "transport";

static void set_readable(struct xp_shm *shm, struct xp_shm_peer *peer, bool readable)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    shm->readable = readable ? shm->readable | bit : shm->readable & ~bit;
}

/* Closes the socket; the mapping stays for who drains it. */
void xp_shm_life_hang_up(struct xp_shm_peer *peer)
{
    if (peer->fd >= 0)
        close(peer->fd);
    peer->fd = -1;
}

static void lanes_shut(struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        peer->tx[lane].credit.window = 0;
}

/* The end of a life of a peer: nothing of it is delivered after this. */
void xp_shm_life_bury(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    xp_shm_life_hang_up(peer);
    xp_shm_peer_unmap(shm, peer);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    peer->is_known = false;
    peer->was_up = false;
    peer->state = XP_SHM_ABSENT;
    peer->retry_ns = shm->now_ns + CONNECT_NS;
}

static void report_down(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                        struct xp_shm_batch *batch)
{
    cf_log_info(shm->log, component, "peer down node %u rc %d %s", peer->node, rc, why);
    xp_shm_emit(batch, XP_EV_DOWN, peer->node, rc);
}

/* Lanes stop; what the peer has published before is taken first, then XP_EV_DOWN tells the rc. */
void xp_shm_life_drain(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc)
{
    xp_shm_life_hang_up(peer);
    lanes_shut(peer);
    peer->down_rc = rc;
    peer->state = XP_SHM_DRAINING;
    set_readable(shm, peer, peer->control.base != NULL);
    shm->is_control_due = true;
}

void xp_shm_life_drained(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    cf_assert(peer->state == XP_SHM_DRAINING);
    report_down(shm, peer, peer->down_rc, "", batch);
    xp_shm_life_bury(shm, peer);
}

void xp_shm_life_violate(struct xp_shm *shm, struct xp_shm_peer *peer, const char *what)
{
    cf_log_warn(shm->log, component, "peer broke the rules node %u %s", peer->node, what);
    if (peer->state != XP_SHM_UP && peer->state != XP_SHM_DRAINING)
        return;
    if (peer->fd >= 0)
        xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, CF_INVALID, what);
    xp_shm_life_hang_up(peer);
    lanes_shut(peer);
    /* Not readable: nothing more is taken, and the next turn reports it down. */
    set_readable(shm, peer, false);
    peer->down_rc = CF_INVALID;
    peer->state = XP_SHM_DRAINING;
    shm->is_control_due = true;
}

/* A socket ended without a word. Before lanes were open that is a failed attempt; after it, alive or dead decides. */
void xp_shm_life_lost(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    uint64_t patience_ns = shm->peer_timeout_ns != 0 ? shm->peer_timeout_ns : BROKEN_NS;

    xp_shm_life_hang_up(peer);
    if (peer->state == XP_SHM_UP) {
        lanes_shut(peer);
        set_readable(shm, peer, false);
        peer->deadline_ns = shm->now_ns + patience_ns;
        peer->state = XP_SHM_BROKEN;
    } else if (peer->was_up) {
        peer->state = XP_SHM_BROKEN;
    } else {
        peer->is_known = false;
        peer->state = XP_SHM_ABSENT;
    }
    peer->retry_ns = shm->now_ns;
}

/* Ends an attempt to connect; both sides report the reason, and once while it does not change. */
void xp_shm_life_refused(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                         struct xp_shm_batch *batch)
{
    bool is_news = peer->told_rc != rc || peer->was_up;

    xp_shm_life_hang_up(peer);
    if (peer->was_up)
        xp_shm_life_bury(shm, peer);
    else
        xp_shm_peer_unmap(shm, peer);
    peer->is_known = false;
    peer->state = XP_SHM_REFUSED;
    peer->retry_ns = shm->now_ns + REFUSED_NS;
    peer->told_rc = rc;
    if (is_news)
        report_down(shm, peer, rc, why, batch);
}

void xp_shm_life_refuse(struct xp_shm *shm, struct xp_shm_peer *peer, enum cf_rc rc, const char *why,
                        struct xp_shm_batch *batch)
{
    shm->base.counters.hello_refused++;
    xp_shm_sock_brief(peer->fd, XP_SHM_REFUSE, rc, why);
    xp_shm_life_refused(shm, peer, rc, why, batch);
}
