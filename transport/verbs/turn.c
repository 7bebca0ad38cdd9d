/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the clock decides. Everything here is off the data path: it runs once a millisecond or when a descriptor has
 * something to say, makes system calls, logs, and does not wait (rdma_cm's calls take microseconds). Only
 * xp_verbs_leave, at the end of an instance, waits for its last words.
 */
#include "base/assert.h"
#include "transport/verbs/parts.h"

/* Chosen: as shm. */
#define TURN_NS (1 * CF_NS_PER_MS)
#define TURN_CONNECTING_NS (200 * CF_NS_PER_US)
/* A closing instance waits so long for its peers' devices to have its last word, over a network that loses much; a
 * device that is not there ends the wait sooner, when the retries are used up. */
#define LEAVE_NS (3 * CF_NS_PER_S)

static bool in_handshake(const struct xp_verbs_peer *peer)
{
    return peer->state >= XP_VERBS_RESOLVING && peer->state <= XP_VERBS_GRANTED;
}

static void handshake_tick(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    /* Our layer above, or the peer's, may take its time to answer a hello. */
    bool may_take_time = peer->state == XP_VERBS_ASKED || (peer->state == XP_VERBS_GRANTED && !peer->was_up);

    if (!may_take_time && vb->now_ns >= peer->deadline_ns)
        xp_verbs_attempt_failed(vb, peer);
    else if (may_take_time && vb->now_ns - peer->sent_ns >= vb->peer_timeout_ns / 4)
        xp_verbs_probe(vb, peer);
}

static void peer_tick(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    bool is_connector = vb->node > peer->node;
    bool is_broken = peer->was_up && (in_handshake(peer) || peer->state == XP_VERBS_BROKEN);

    if (peer->is_failed)
        xp_verbs_failed(vb, peer);
    else if (is_broken && vb->now_ns >= peer->broken_ns)
        xp_verbs_ended(vb, peer);
    else if (in_handshake(peer))
        handshake_tick(vb, peer);
    else if (peer->state == XP_VERBS_DRAINING)
        xp_verbs_draining(vb, peer);
    else if (peer->state == XP_VERBS_BROKEN && vb->now_ns >= peer->retry_ns)
        xp_verbs_cm_connect(vb, peer);
    else if (is_connector && (peer->state == XP_VERBS_ABSENT || peer->state == XP_VERBS_REFUSED) &&
             vb->now_ns >= peer->retry_ns)
        xp_verbs_cm_connect(vb, peer);
    if (peer->state == XP_VERBS_TEARING)
        xp_verbs_tearing(vb, peer);
}

static bool is_settled(const struct xp_verbs_peer *peer)
{
    return (peer->state == XP_VERBS_UP && !peer->is_failed) || peer->state == XP_VERBS_SELF;
}

static bool has_guests(const struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < XP_VERBS_GUESTS_MAX; i++)
        if (vb->guests[i].id != NULL)
            return true;
    return false;
}

void xp_verbs_turn(struct xp_verbs *vb)
{
    uint64_t period = TURN_NS;

    vb->is_control_due = false;
    xp_verbs_watches_take(vb);
    xp_verbs_guests_turn(vb);
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];

        if (!is_settled(peer))
            peer_tick(vb, peer);
        if (!is_settled(peer) && peer->state != XP_VERBS_ABSENT && peer->state != XP_VERBS_REFUSED)
            period = TURN_CONNECTING_NS;
    }
    if (vb->now_ns >= vb->recount_ns) {
        xp_verbs_pools_recount(vb);
        vb->recount_ns = vb->now_ns + 2 * vb->peer_timeout_ns;
    }
    vb->control_next_ns = vb->now_ns + period;
}

uint64_t xp_verbs_due_ns(const struct xp_verbs *vb)
{
    uint64_t due_ns = vb->peer_timeout_ns / 4;

    if (has_guests(vb))
        return TURN_NS;
    for (uint32_t i = 0; i < vb->nodes; i++) {
        const struct xp_verbs_peer *peer = &vb->peers[i];

        if (is_settled(peer) || peer->state == XP_VERBS_ASKED)
            continue;
        if (peer->state != XP_VERBS_ABSENT && peer->state != XP_VERBS_REFUSED)
            return TURN_NS;
        due_ns = 5 * TURN_NS < due_ns ? 5 * TURN_NS : due_ns;
    }
    return due_ns;
}

/* Completions are taken until the pairs of all peers are idle, or the time is over. */
static void await_idle(struct xp_verbs *vb)
{
    uint64_t end_ns = cf_now_ns() + LEAVE_NS;
    bool is_idle = false;

    while (!is_idle && cf_now_ns() < end_ns) {
        xp_verbs_drain(vb);
        is_idle = true;
        for (uint32_t i = 0; i < vb->nodes; i++)
            is_idle = is_idle && xp_verbs_pairs_are_idle(&vb->peers[i]);
    }
}

void xp_verbs_leave(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];
        struct xp_verbs_bye bye = {.sent = {peer->tx[0].credit.sent, peer->tx[1].credit.sent}};

        if (peer->state == XP_VERBS_UP && !peer->is_failed)
            (void)xp_verbs_say(vb, peer, XP_VERBS_BYE, &bye, sizeof(bye));
        if (peer->pairs[0].qp != NULL && !peer->is_stopped)
            xp_verbs_peer_flush(vb, peer);
    }
    await_idle(vb);
    for (uint32_t i = 0; i < vb->nodes; i++)
        if (vb->peers[i].pairs[0].qp != NULL && !vb->peers[i].is_stopped)
            xp_verbs_pairs_stop(vb, &vb->peers[i]);
    await_idle(vb);
    for (uint32_t i = 0; i < vb->nodes; i++)
        if (vb->peers[i].pairs[0].qp != NULL)
            xp_verbs_pairs_destroy(vb, &vb->peers[i]);
}
