/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of the handshake (link/shake.h). A message is believed when it is signed and echoes a nonce of ours: that of
 * the attempt under way, or that of the session, for what belongs to the session.
 */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/dpdk/conn.h"

/* Chosen. What was sent before a BYE may come behind it, so long. */
#define BYE_WAIT_NS (20 * CF_NS_PER_MS)

/* Where a word to a peer goes before its card is known. */
static const uint8_t nobody[XP_SHAKE_NONCE_BYTES];
static const uint8_t everybody[XP_ETHER_MAC_BYTES] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff};

void xp_dpdk_say(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const struct xp_dpdk_nonces *nonces,
                 enum xp_shake_stage stage, enum cf_rc rc, const char *why)
{
    struct xp_shake shake = {.stage = stage, .rc = rc, .facts = dpdk->facts};
    uint8_t *frame = xp_dpdk_bus_begin(&dpdk->bus, peer->port);
    struct xp_ether_end to = peer->end;
    uint32_t bytes;

    if (frame == NULL)
        return; /* it is said again */
    memcpy(shake.nonce, nonces->own, sizeof(shake.nonce));
    memcpy(shake.echo, nonces->peer, sizeof(shake.echo));
    for (uint32_t i = 0; i < XP_LANES && peer->is_open; i++)
        shake.sent[i] = peer->link.tx[i].credit.sent;
    snprintf(shake.why, sizeof(shake.why), "%s", why);
    xp_shake_sign(&shake, dpdk->key);
    if (!peer->is_known)
        memcpy(to.mac, everybody, sizeof(everybody));
    xp_ether_front(frame, &dpdk->bus.end, &to, (uint16_t)(XP_ETHER_SOURCE_PORT + dpdk->node));
    bytes = xp_shake_encode(&shake, dpdk->filter.tag, peer->node, frame + XP_ETHER_FRONT_BYTES);
    xp_ether_finish(frame, bytes);
    xp_dpdk_bus_end(&dpdk->bus, peer->port, XP_ETHER_FRONT_BYTES + bytes);
}

static bool is_same(const uint8_t *a, const uint8_t *b)
{
    return memcmp(a, b, XP_SHAKE_NONCE_BYTES) == 0;
}

static void refuse(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const uint8_t *peer_nonce, enum cf_rc rc,
                   const char *why)
{
    struct xp_dpdk_nonces nonces = peer->attempt;

    memcpy(nonces.peer, peer_nonce, sizeof(nonces.peer));
    dpdk->base.counters.hello_refused++;
    xp_dpdk_say(dpdk, peer, &nonces, XP_SHAKE_REFUSE, rc, why);
    xp_dpdk_life_refused(dpdk, peer, rc, why);
}

/* Of the session that is open, or that we have granted. False: it belongs to none. */
static bool on_session(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const struct xp_shake *shake)
{
    if (!peer->is_open || !is_same(shake->echo, peer->lived.own) ||
        !is_same(shake->nonce, peer->lived.peer) || !xp_shake_is_signed(shake, dpdk->key))
        return false;
    switch ((enum xp_shake_stage)shake->stage) {
    case XP_SHAKE_HELLO:
    case XP_SHAKE_ACCEPT:
        if (peer->state == XP_DPDK_GRANTED && shake->stage == XP_SHAKE_ACCEPT)
            xp_dpdk_life_up(dpdk, peer);
        else if (peer->state == XP_DPDK_GRANTED ||
                 (peer->state == XP_DPDK_UP && shake->stage == XP_SHAKE_HELLO))
            xp_dpdk_say(dpdk, peer, &peer->lived, XP_SHAKE_ACCEPT, CF_OK, "");
        else if (peer->state == XP_DPDK_UP)
            peer->link.must_ack =
                true; /* it still waits for ours, which was lost; a packet of the session does as well */
        break;
    case XP_SHAKE_REFUSE:
        if (peer->state == XP_DPDK_UP)
            xp_dpdk_life_drain(dpdk, peer, (enum cf_rc)shake->rc, 0);
        else if (peer->state == XP_DPDK_GRANTED)
            xp_dpdk_life_refused(dpdk, peer, (enum cf_rc)shake->rc, shake->why);
        break;
    case XP_SHAKE_BYE:
        if (peer->state != XP_DPDK_UP && peer->state != XP_DPDK_GRANTED)
            break;
        memcpy(peer->final, shake->sent, sizeof(peer->final));
        if (peer->state == XP_DPDK_UP)
            xp_dpdk_life_drain(dpdk, peer, CF_CLOSING, BYE_WAIT_NS);
        else
            xp_dpdk_life_bury(dpdk, peer);
        break;
    }
    return true;
}

/* What a peer that proved itself says of itself: CF_OK, or why it may not come in. */
static void judge(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const struct xp_shake *shake,
                  struct xp_shm_verdict *verdict)
{
    xp_shake_check(&dpdk->facts, &shake->facts, peer->node, verdict);
    if (verdict->rc == CF_STALE)
        dpdk->base.counters.stale_epoch++;
    if (verdict->rc == CF_OK && shake->facts.incarnation < peer->incarnation_min) {
        dpdk->base.counters.stale_incarnation++;
        verdict->rc = CF_STALE;
        peer->told_rc = CF_STALE; /* its end was told when it came: only the peer is answered */
        snprintf(verdict->why, sizeof(verdict->why),
                 "incarnation %u of node %u is over: start it under a higher one", shake->facts.incarnation,
                 peer->node);
    }
    if (verdict->rc == CF_OK && peer->is_refused && peer->refused_incarnation == shake->facts.incarnation) {
        verdict->rc = peer->told_rc != CF_OK ? peer->told_rc : CF_OPTION;
        snprintf(verdict->why, sizeof(verdict->why), "refused before");
    }
}

/* A HELLO or ACCEPT that echoes the nonce of this attempt and is signed: the peer is here, now. */
static void on_proof(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const struct xp_shake *shake,
                     const struct xp_ether_end *from)
{
    struct xp_shm_verdict verdict;
    bool is_same_life = peer->was_up && peer->facts.incarnation == shake->facts.incarnation;
    /* It began anew before it heard our yes: that still holds. */
    bool has_answer = peer->state == XP_DPDK_GRANTED && peer->facts.incarnation == shake->facts.incarnation;

    judge(dpdk, peer, shake, &verdict);
    if (peer->state == XP_DPDK_UP || peer->state == XP_DPDK_GRANTED) {
        if (verdict.rc == CF_OK && peer->was_up && !is_same_life) {
            /* A new life answers: the old one is over, and that is told before anything of the new one. */
            xp_dpdk_life_drain(dpdk, peer, CF_PEER_LOST, 0);
            return;
        }
        if (verdict.rc != CF_OK && peer->state == XP_DPDK_UP)
            return; /* a late word of a life that is over does not end the one that lives */
    }
    if (verdict.rc != CF_OK) {
        refuse(dpdk, peer, shake->nonce, verdict.rc, verdict.why);
        return;
    }
    memcpy(peer->attempt.peer, shake->nonce, sizeof(peer->attempt.peer));
    peer->facts = shake->facts;
    peer->is_known = true;
    peer->end = *from;
    peer->has_granted = shake->stage == XP_SHAKE_ACCEPT;
    if (is_same_life || has_answer) {
        xp_dpdk_life_grant(dpdk, peer);
    } else if (peer->state != XP_DPDK_ASKED) {
        peer->state = XP_DPDK_ASKED;
        peer->must_say_hello = true;
        xp_dpdk_say(dpdk, peer, &peer->attempt, XP_SHAKE_HELLO, CF_OK, "");
    }
}

void xp_dpdk_on_shake(struct xp_dpdk *dpdk, uint32_t port, const uint8_t *frame, const uint8_t *packet,
                      uint32_t bytes)
{
    struct xp_dpdk_peer *peer;
    struct xp_dpdk_nonces reply;
    struct xp_ether_end from;
    struct xp_shake shake;

    if (!xp_shake_decode(packet, bytes, &shake) || shake.facts.node >= dpdk->nodes ||
        shake.facts.node == dpdk->node || port != dpdk->peers[shake.facts.node].port) {
        dpdk->malformed++;
        dpdk->base.counters.bad_header++;
        return;
    }
    peer = &dpdk->peers[shake.facts.node];
    xp_ether_sender(frame, &from);
    if (peer->state == XP_DPDK_REFUSED || peer->state == XP_DPDK_DRAINING || on_session(dpdk, peer, &shake))
        return;
    if (is_same(shake.echo, peer->attempt.own)) {
        if (!xp_shake_is_signed(&shake, dpdk->key)) {
            dpdk->base.counters.bad_tag++;
            if (peer->state == XP_DPDK_ABSENT)
                refuse(dpdk, peer, shake.nonce, CF_CLUSTER, "cluster name or secret differ");
        } else if (shake.stage == XP_SHAKE_REFUSE) {
            if (peer->state != XP_DPDK_UP)
                xp_dpdk_life_refused(dpdk, peer, (enum cf_rc)shake.rc, shake.why);
        } else if (shake.stage != XP_SHAKE_BYE) {
            on_proof(dpdk, peer, &shake, &from);
        }
        return;
    }
    /* It does not know our nonce yet, or knows an old one: it is told, and has to come again. */
    if (shake.stage != XP_SHAKE_HELLO && shake.stage != XP_SHAKE_ACCEPT)
        return;
    if (peer->state == XP_DPDK_UP) {
        /* Late words of the handshake that is over; who begins anew knows no nonce of ours. */
        if (is_same(shake.nonce, peer->lived.peer) || !is_same(shake.echo, nobody))
            return;
    }
    reply = peer->attempt;
    memcpy(reply.peer, shake.nonce, sizeof(reply.peer));
    xp_dpdk_say(dpdk, peer, &reply, XP_SHAKE_HELLO, CF_OK, "");
}

void xp_dpdk_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    struct xp_dpdk_peer *peer;
    uint32_t incarnation;

    cf_assert(node < dpdk->nodes);
    peer = &dpdk->peers[node];
    if (peer->state != XP_DPDK_ASKED)
        return; /* it left before it was answered */
    if (rc == CF_OK && peer->facts.epoch != dpdk->epoch) {
        dpdk->base.counters.stale_epoch++;
        rc = CF_STALE;
        why = "the epoch moved during the handshake";
    }
    xp_dpdk_gate_force(dpdk->gate);
    if (rc == CF_OK) {
        xp_dpdk_life_grant(dpdk, peer);
    } else {
        /* The layer above knows what it answered: only the peer is told. */
        incarnation = peer->facts.incarnation;
        peer->told_rc = rc;
        refuse(dpdk, peer, peer->attempt.peer, rc, why != NULL ? why : "");
        peer->is_refused = true;
        peer->refused_incarnation = incarnation;
    }
    xp_dpdk_bus_flush(&dpdk->bus);
    xp_dpdk_gate_leave(dpdk->gate);
    dpdk->is_control_due = true;
}
