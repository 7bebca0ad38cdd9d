/* SPDX-License-Identifier: Apache-2.0 */
/* The handshake of one peer, message by message (wire.h); the edges from PROVING to UP in verbs.h. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

/* How long each message of a handshake may take (chosen). */
#define HANDSHAKE_NS (2 * CF_NS_PER_S)

static const char component[] = "transport";

/* A new connection: nothing of the one before is left. */
void xp_verbs_shake_begin(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    xp_verbs_rings_drop(vb, peer);
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        xp_credit_open(&peer->tx[lane].credit, 0);
        peer->tx[lane].slot = XP_VERBS_NONE;
        peer->rx[lane].delivered = 0;
        xp_credit_taker_open(&peer->rx[lane].taker, vb->lane_slots);
    }
    xp_verbs_grants_close(vb, peer);
    peer->states_sent = peer->states_acked = peer->states_taken = peer->states_told = 0;
    peer->is_state_due = peer->has_accept = peer->has_hello_sent = peer->has_ready_sent = false;
    peer->has_bye = peer->is_failed = peer->is_guilty = peer->is_stopped = false;
    peer->down_rc = CF_OK;
}

void xp_verbs_shake_hello(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct xp_verbs_hello hello = {.facts = vb->facts};

    if (peer->has_hello_sent)
        return;
    hello.facts.epoch = vb->epoch;
    hello.facts.generation = peer->was_up ? peer->generation : 0;
    xp_verbs_hello_sign(&hello, vb->key, peer->peer_nonce, peer->own_nonce);
    peer->has_hello_sent = true;
    peer->deadline_ns = vb->now_ns + HANDSHAKE_NS;
    if (!xp_verbs_say(vb, peer, XP_VERBS_HELLO, &hello, sizeof(hello)))
        xp_verbs_lost(vb, peer, "no slot for its hello");
    xp_verbs_peer_flush(vb, peer);
}

void xp_verbs_lanes_epoch(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        peer->tx[lane].facts.epoch = vb->epoch;
        peer->rx[lane].facts.epoch = vb->epoch;
    }
}

/* What headers say from now on. The lanes of the peer may be open before ours. */
static void lanes_prepare(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        struct xp_lane_facts facts = {.lane_class = (uint16_t)lane,
                                      .generation = peer->generation,
                                      .tag = vb->facts.tag,
                                      .epoch = vb->epoch};

        facts.node = vb->node;
        facts.incarnation = vb->facts.incarnation;
        peer->tx[lane].facts = facts;
        facts.node = peer->node;
        facts.incarnation = peer->facts.incarnation;
        peer->rx[lane].facts = facts;
    }
}

static void on_accept(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    int failed = 0;

    peer->has_accept = false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES && failed == 0; i++) {
        bool has_ours = peer->pairs[1 + i].qp != NULL;

        if (has_ours != (peer->accept.pairs[i].number != 0)) {
            xp_verbs_refuse(vb, peer, CF_BLOCK_SIZE, "queue pairs for blocks do not match");
            return;
        }
        if (has_ours)
            failed = xp_verbs_pair_join(vb, peer, 1 + i, &peer->accept.pairs[i]);
    }
    if (failed != 0) {
        vb->base.counters.device_errors++;
        xp_verbs_lost(vb, peer, strerror(failed));
        return;
    }
    lanes_prepare(vb, peer);
    peer->has_ready_sent = true;
    if (!xp_verbs_say(vb, peer, XP_VERBS_READY, NULL, 0))
        xp_verbs_lost(vb, peer, "no slot to say ready");
    xp_verbs_peer_flush(vb, peer);
}

/* Our layer above has said yes: the peer learns where our frames are. */
static void grant(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    const struct xp_verbs_memory *frames = vb->frames_memory < XP_VERBS_MEMORIES_MAX
                                               ? &vb->memories[vb->frames_memory]
                                               : NULL;
    struct xp_verbs_accept accept = {.counters_address = (uint64_t)(uintptr_t)vb->counters.base,
                                     .counters_key = vb->counters.mr != NULL ? vb->counters.mr->rkey : 0};
    int failed = xp_verbs_pairs_prepare(vb, peer);

    if (failed != 0) {
        vb->base.counters.device_errors++;
        xp_verbs_lost(vb, peer, strerror(failed));
        return;
    }
    if (frames != NULL) {
        accept.frames_address = (uint64_t)(uintptr_t)vb->space.base;
        accept.frames_bytes = vb->space.bytes;
        accept.frames_key = frames->mr->rkey;
    }
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (peer->pairs[1 + i].qp != NULL)
            accept.pairs[i] = (struct xp_verbs_wire_pair){.number = peer->pairs[1 + i].qp->qp_num,
                                                          .first = peer->pairs[1 + i].first};
    peer->state = XP_VERBS_GRANTED;
    peer->deadline_ns = vb->now_ns + HANDSHAKE_NS;
    if (!xp_verbs_say(vb, peer, XP_VERBS_ACCEPT, &accept, sizeof(accept)))
        xp_verbs_lost(vb, peer, "no slot to accept");
    xp_verbs_peer_flush(vb, peer);
    if (peer->has_accept)
        on_accept(vb, peer);
}

static void on_hello(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct xp_verbs_hello *hello)
{
    struct xp_verbs_verdict verdict;
    bool is_same_life;

    xp_verbs_shake_hello(vb, peer);
    if (!xp_verbs_hello_is_signed(hello, vb->key, peer->own_nonce, peer->peer_nonce)) {
        vb->base.counters.bad_tag++;
        xp_verbs_refuse(vb, peer, CF_CLUSTER, "cluster name or secret differ");
        return;
    }
    vb->facts.epoch = vb->epoch;
    xp_verbs_facts_check(&vb->facts, &hello->facts, peer->node, &verdict);
    if (verdict.rc == CF_STALE)
        vb->base.counters.stale_epoch++;
    if (verdict.rc == CF_OK && hello->facts.incarnation < peer->incarnation_min) {
        vb->base.counters.stale_incarnation++;
        verdict.rc = CF_STALE;
        peer->told_rc = CF_STALE; /* its end was told when it came: only the peer is answered */
        snprintf(verdict.why, sizeof(verdict.why),
                 "incarnation %u of node %u is over: start it under a higher one", hello->facts.incarnation,
                 peer->node);
    }
    if (verdict.rc != CF_OK) {
        xp_verbs_refuse(vb, peer, verdict.rc, verdict.why);
        return;
    }
    is_same_life = peer->was_up && peer->facts.incarnation == hello->facts.incarnation;
    if (peer->was_up && !is_same_life) {
        /* A new life answers: the old one is over, and that is told before anything of the new one. */
        xp_verbs_ended(vb, peer);
        return;
    }
    peer->generation = (is_same_life && peer->generation > hello->facts.generation
                            ? peer->generation
                            : hello->facts.generation) +
                       1;
    peer->facts = hello->facts;
    peer->is_known = true;
    if (is_same_life) {
        grant(vb, peer);
    } else if (peer->is_refused && peer->refused_incarnation == hello->facts.incarnation) {
        xp_verbs_refuse(vb, peer, peer->told_rc, "refused before");
    } else {
        peer->state = XP_VERBS_ASKED;
        xp_verbs_news(vb, XP_EV_HELLO, peer->node, CF_OK);
    }
}

static void on_ready(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        xp_credit_open(&peer->tx[lane].credit, vb->lane_slots);
    xp_verbs_lanes_epoch(vb, peer);
    xp_verbs_grants_open(vb, peer);
    xp_verbs_news(vb, peer->was_up ? XP_EV_RESET : XP_EV_UP, peer->node, CF_OK);
    if (peer->was_up)
        vb->base.counters.resets++;
    cf_log_info(vb->log, component, "peer up node %u incarnation %u epoch %" PRIu64 " generation %u",
                peer->node, peer->facts.incarnation, vb->epoch, peer->generation);
    peer->was_up = true;
    peer->tries = 0;
    peer->told_rc = CF_OK;
    peer->state = XP_VERBS_UP;
}

static void on_refuse(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct xp_verbs_refuse *told)
{
    struct xp_verbs_refuse refuse = *told;

    refuse.why[sizeof(refuse.why) - 1] = 0;
    if (refuse.rc >= 0) {
        xp_verbs_violate(vb, peer, "a refusal without reason");
    } else if (peer->state == XP_VERBS_UP) {
        xp_verbs_drain_out(vb, peer, (enum cf_rc)refuse.rc);
    } else if (peer->state != XP_VERBS_DRAINING) {
        xp_verbs_refused(vb, peer, (enum cf_rc)refuse.rc, refuse.why);
    }
}

static void on_bye(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct xp_verbs_bye *bye)
{
    if (peer->state != XP_VERBS_UP) {
        xp_verbs_lost(vb, peer, "it closes");
        return;
    }
    peer->bye = *bye;
    peer->has_bye = true;
    xp_verbs_drain_out(vb, peer, CF_CLOSING);
}

/* Messages of the provider's own, of any state. */
void xp_verbs_shake_take(struct xp_verbs *vb, struct xp_verbs_peer *peer,
                         const struct xp_verbs_message *message)
{
    static const uint32_t sizes[] = {[XP_VERBS_HELLO] = sizeof(struct xp_verbs_hello),
                                     [XP_VERBS_ACCEPT] = sizeof(struct xp_verbs_accept),
                                     [XP_VERBS_READY] = 0,
                                     [XP_VERBS_REFUSE] = sizeof(struct xp_verbs_refuse),
                                     [XP_VERBS_BYE] = sizeof(struct xp_verbs_bye),
                                     [XP_VERBS_STATE] = sizeof(struct xp_verbs_state),
                                     [XP_VERBS_ACK] = 0};
    enum xp_verbs_peer_state state = peer->state;
    uint8_t kind = message->ext.kind;
    bool is_open = peer->has_ready_sent && state >= XP_VERBS_GRANTED;
    bool is_good = kind < CF_COUNTOF(sizes) && message->header.bytes == sizes[kind] &&
                   message->header.version == XP_WIRE_VERSION && message->header.node == peer->node;

    if (is_good && is_open)
        is_good = xp_verbs_counts_take(vb, peer, &message->ext);
    if (!is_good) {
        vb->base.counters.bad_header++;
        xp_verbs_violate(vb, peer, "a message of the provider is wrong");
    } else if (kind == XP_VERBS_HELLO && state == XP_VERBS_PROVING) {
        on_hello(vb, peer, (const struct xp_verbs_hello *)message->body);
    } else if (kind == XP_VERBS_ACCEPT && (state == XP_VERBS_ASKED || state == XP_VERBS_GRANTED) &&
               !peer->has_accept && !peer->has_ready_sent) {
        memcpy(&peer->accept, message->body, sizeof(peer->accept));
        peer->has_accept = true;
        if (state == XP_VERBS_GRANTED)
            on_accept(vb, peer);
    } else if (kind == XP_VERBS_READY && state == XP_VERBS_GRANTED && is_open) {
        on_ready(vb, peer);
    } else if (kind == XP_VERBS_REFUSE) {
        on_refuse(vb, peer, (const struct xp_verbs_refuse *)message->body);
    } else if (kind == XP_VERBS_BYE) {
        on_bye(vb, peer, (const struct xp_verbs_bye *)message->body);
    } else if (kind == XP_VERBS_ACK && is_open) {
        return; /* its counts are all it is for */
    } else if (kind == XP_VERBS_STATE && is_open &&
               xp_verbs_state_take(vb, peer, (const struct xp_verbs_state *)message->body)) {
        return;
    } else {
        vb->base.counters.bad_header++;
        xp_verbs_violate(vb, peer, "a message of the provider out of turn");
    }
}

void xp_verbs_shake_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer;

    cf_assert(node < vb->nodes);
    peer = &vb->peers[node];
    if (peer->state != XP_VERBS_ASKED || peer->is_failed)
        return; /* it left before it was answered */
    if (rc == CF_OK && peer->facts.epoch != vb->epoch) {
        vb->base.counters.stale_epoch++;
        rc = CF_STALE;
        why = "the epoch moved during the handshake";
    }
    xp_verbs_hurry(vb);
    if (rc == CF_OK)
        grant(vb, peer);
    else
        xp_verbs_turned_away(vb, peer, rc, why);
}
