/* SPDX-License-Identifier: Apache-2.0 */
/* How a connection ends: refused, lost, drained, buried. States and edges are drawn in verbs.h. */
#include <stdio.h>
#include <sodium.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

/* How often a peer that is not there is looked for at first and at last, how often one that refused is asked again,
 * how long a last word and the device's giving back may take (chosen). */
#define RETRY_NS (5 * CF_NS_PER_MS)
#define RETRY_SHIFT_MAX 6u
#define REFUSED_NS (250 * CF_NS_PER_MS)
#define LINGER_NS (100 * CF_NS_PER_MS)
#define GIVE_BACK_NS (300 * CF_NS_PER_MS)
#define DRAIN_NS (2 * CF_NS_PER_S)

static const char component[] = "transport";

/* Doubles, with half of it by chance: instances that lost each other do not knock in step. */
static uint64_t back_off_ns(const struct xp_verbs_peer *peer)
{
    uint64_t ns = RETRY_NS << (peer->tries < RETRY_SHIFT_MAX ? peer->tries : RETRY_SHIFT_MAX);

    return ns / 2 + randombytes_uniform((uint32_t)(ns / 2) + 1);
}

static void rest(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    peer->state = peer->was_up ? XP_VERBS_BROKEN : XP_VERBS_ABSENT;
    peer->is_known = peer->was_up && peer->is_known;
    peer->retry_ns = vb->now_ns + back_off_ns(peer);
    if (peer->tries < RETRY_SHIFT_MAX)
        peer->tries++;
}

/* The end of a life of a peer: nothing of it is delivered after this. */
static void bury(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    xp_verbs_rings_drop(vb, peer);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    peer->is_known = false;
    peer->was_up = false;
    peer->tries = 0;
    peer->state = XP_VERBS_ABSENT;
    peer->retry_ns = vb->now_ns + RETRY_NS;
}

static void report_down(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    cf_log_info(vb->log, component, "peer down node %u rc %d %s", peer->node, (int)rc, why);
    xp_verbs_news(vb, XP_EV_DOWN, peer->node, rc);
}

/*
 * Lanes stop. With `linger` the last word is sent before the queue pairs are stopped. What comes next is decided
 * now and done by xp_verbs_torn when the device has given everything back.
 */
static void tear(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum xp_verbs_peer_state after,
                 enum cf_rc rc, bool linger)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        peer->tx[lane].credit.window = 0;
    xp_verbs_grants_close(vb, peer);
    peer->state = XP_VERBS_TEARING;
    peer->after = after;
    peer->down_rc = rc;
    peer->is_failed = false;
    peer->is_stopped = false;
    peer->deadline_ns = vb->now_ns + LINGER_NS;
    xp_verbs_hurry(vb);
    if (linger)
        xp_verbs_peer_flush(vb, peer);
    else
        peer->deadline_ns = vb->now_ns;
}

static void stop(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    peer->is_stopped = true;
    peer->deadline_ns = vb->now_ns + GIVE_BACK_NS;
    xp_verbs_pairs_stop(vb, peer);
    if (peer->id != NULL)
        (void)vb->calls->cm_disconnect(peer->id); /* a kindness: the peer would find out by itself */
}

static void torn(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    xp_verbs_drain(vb);
    xp_verbs_pairs_destroy(vb, peer);
    xp_verbs_cm_hang_up(vb, peer);
    if (peer->after == XP_VERBS_REFUSED) {
        if (peer->was_up)
            bury(vb, peer);
        peer->is_known = false;
        peer->state = XP_VERBS_REFUSED;
        peer->retry_ns = vb->now_ns + REFUSED_NS;
    } else if (peer->after == XP_VERBS_BROKEN) {
        rest(vb, peer);
        peer->retry_ns = vb->now_ns;
    } else {
        bury(vb, peer);
    }
}

/* A step of TEARING. */
void xp_verbs_tearing(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    bool is_late = vb->now_ns >= peer->deadline_ns, is_idle = xp_verbs_pairs_are_idle(peer);
    bool has_told = peer->after != XP_VERBS_ABSENT || peer->down_rc == CF_OK;

    if (!peer->is_stopped && (is_idle || is_late))
        stop(vb, peer);
    if (!peer->is_stopped || (!xp_verbs_pairs_are_idle(peer) && vb->now_ns < peer->deadline_ns))
        return;
    /* What it sent before its end comes before the news of it. */
    if (!has_told && !xp_verbs_rings_are_empty(vb, peer) && !peer->is_guilty)
        return;
    if (!has_told)
        report_down(vb, peer, peer->down_rc, "");
    torn(vb, peer);
}

void xp_verbs_lost(struct xp_verbs *vb, struct xp_verbs_peer *peer, const char *why)
{
    if (peer->is_failed || !(xp_verbs_is_connected(peer) || peer->state == XP_VERBS_CONNECTING))
        return;
    peer->is_failed = true;
    peer->failed_why = why;
    xp_verbs_hurry(vb);
}

void xp_verbs_violate(struct xp_verbs *vb, struct xp_verbs_peer *peer, const char *why)
{
    if (!xp_verbs_is_connected(peer) || peer->is_guilty)
        return;
    peer->is_failed = true;
    peer->is_guilty = true;
    peer->failed_why = why;
    xp_verbs_hurry(vb);
}

/* What xp_verbs_lost and xp_verbs_violate have left to the turn. */
void xp_verbs_failed(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    const char *why = peer->failed_why;

    peer->is_failed = false;
    cf_log_warn(vb->log, component, "connection to node %u failed: %s", peer->node, why);
    if (peer->is_guilty) {
        struct xp_verbs_refuse refuse;

        xp_verbs_rings_drop(vb, peer);
        xp_verbs_refusal(&refuse, CF_INVALID, why);
        (void)xp_verbs_say(vb, peer, XP_VERBS_REFUSE, &refuse, sizeof(refuse));
        tear(vb, peer, peer->was_up ? XP_VERBS_ABSENT : XP_VERBS_REFUSED, peer->was_up ? CF_INVALID : CF_OK,
             true);
    } else if (peer->state == XP_VERBS_UP) {
        peer->broken_ns = vb->now_ns + vb->peer_timeout_ns;
        peer->tries = 0;
        tear(vb, peer, XP_VERBS_BROKEN, CF_OK, false);
    } else if (peer->state == XP_VERBS_DRAINING) {
        tear(vb, peer, XP_VERBS_ABSENT, peer->down_rc, false);
    } else {
        xp_verbs_attempt_failed(vb, peer);
    }
}

void xp_verbs_attempt_failed(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    if (peer->pairs[0].qp != NULL) {
        tear(vb, peer, XP_VERBS_BROKEN, CF_OK, false); /* rest decides: a peer that was never up is absent */
        return;
    }
    xp_verbs_cm_hang_up(vb, peer);
    rest(vb, peer);
}

void xp_verbs_ended(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    tear(vb, peer, XP_VERBS_ABSENT, CF_PEER_LOST, false);
}

void xp_verbs_drain_out(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        peer->tx[lane].credit.window = 0;
    peer->down_rc = rc;
    peer->deadline_ns = vb->now_ns + DRAIN_NS;
    peer->state = XP_VERBS_DRAINING;
    xp_verbs_hurry(vb);
}

/* A step of DRAINING: has all come that the peer said it sent? */
void xp_verbs_draining(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    bool has_all = xp_verbs_rings_are_empty(vb, peer);

    for (uint32_t lane = 0; lane < XP_LANES && peer->has_bye; lane++)
        has_all = has_all && peer->rx[lane].delivered == peer->bye.sent[lane];
    if (has_all || vb->now_ns >= peer->deadline_ns)
        tear(vb, peer, XP_VERBS_ABSENT, peer->down_rc, true);
}

/* Reports a refusal once while the reason stays the same. */
static void refusal_report(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    bool is_news = peer->told_rc != rc || peer->was_up;

    peer->told_rc = rc;
    if (is_news)
        report_down(vb, peer, rc, why);
}

void xp_verbs_refused(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    refusal_report(vb, peer, rc, why);
    tear(vb, peer, XP_VERBS_REFUSED, CF_OK, true);
}

void xp_verbs_refuse(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    struct xp_verbs_refuse refuse;

    vb->base.counters.hello_refused++;
    xp_verbs_refusal(&refuse, rc, why);
    (void)xp_verbs_say(vb, peer, XP_VERBS_REFUSE, &refuse, sizeof(refuse));
    xp_verbs_refused(vb, peer, rc, why);
}

void xp_verbs_turned_away(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    peer->told_rc = rc;
    peer->is_refused = true;
    peer->refused_incarnation = peer->facts.incarnation;
    xp_verbs_refuse(vb, peer, rc, why);
}

void xp_verbs_stranger(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why)
{
    if (peer->state == XP_VERBS_ABSENT || peer->state == XP_VERBS_REFUSED)
        refusal_report(vb, peer, rc, why);
}

void xp_verbs_evict(struct xp *xp, uint16_t node)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer;
    struct xp_verbs_refuse refuse;

    cf_assert(node < vb->nodes && node != vb->node);
    peer = &vb->peers[node];
    xp_verbs_refusal(&refuse, CF_STALE, "evicted");
    if (xp_verbs_is_connected(peer) && !peer->is_failed) {
        xp_verbs_pair_fence(vb, peer);
        (void)xp_verbs_say(vb, peer, XP_VERBS_REFUSE, &refuse, sizeof(refuse));
    }
    xp_verbs_rings_drop(vb, peer);
    if (peer->is_known && peer->facts.incarnation >= peer->incarnation_min)
        peer->incarnation_min = peer->facts.incarnation + 1;
    if (peer->id != NULL || peer->pairs[0].qp != NULL)
        tear(vb, peer, XP_VERBS_ABSENT, CF_OK, true);
    else
        bury(vb, peer);
}

void xp_verbs_set_epoch(struct xp *xp, uint64_t epoch)
{
    struct xp_verbs *vb = xp_verbs_of(xp);

    vb->epoch = epoch;
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];

        xp_verbs_lanes_epoch(vb, peer);
        peer->is_refused = false;
        peer->told_rc = CF_OK;
        if (peer->state == XP_VERBS_REFUSED)
            peer->retry_ns = vb->now_ns;
    }
    xp_verbs_hurry(vb);
}
