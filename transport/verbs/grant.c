/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Grants and counts. A frame lent to the transport is a receive in the queue of its size, which all peers share. So
 * that none sends into an empty queue, each is granted a number of blocks; the grants outstanding of all peers
 * never exceed the frames posted. Grants are spread evenly; a peer that had a block and no grant is served first,
 * and when there is nothing left the richest peer is asked to give back what it does not use.
 *
 * Counts go with every message. A STATE carries them alone when a peer would otherwise wait for them.
 */
#include "base/assert.h"
#include "transport/verbs/parts.h"

/* Credits that are not told because they are few are told after this (chosen). */
#define IDLE_NS (2 * CF_NS_PER_MS)

static inline uint32_t outstanding(const struct xp_verbs_grants *grants)
{
    return grants->given - grants->used - grants->returned;
}

static uint32_t share_of(const struct xp_verbs *vb, const struct xp_verbs_pool *pool)
{
    uint32_t share = pool->lent / (vb->nodes > 1 ? vb->nodes - 1 : 1);

    return share != 0 ? share : 1;
}

void xp_verbs_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_pool *pool = &vb->pools[1 + class_index];
    uint32_t slot;

    cf_assert_id(class_index < CF_BLOCK_SIZES &&
                     frame - vb->space.classes[class_index].first < vb->space.classes[class_index].count,
                 "T-4");
    cf_assert_id(pool->lent < vb->lane_slots && pool->free_count != 0, "T-4");
    slot = pool->free[--pool->free_count];
    pool->frames[slot] = frame;
    pool->lent++;
    pool->ungranted++;
    vb->is_granting = true;
    xp_verbs_pool_again(pool, slot);
}

void xp_verbs_grants_open(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        peer->grants[i] = (struct xp_verbs_grants){.given = 0};
    vb->is_granting = true;
}

/* What the peer had not used is there for others. A block that it was sending is counted by its completion. */
void xp_verbs_grants_close(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        vb->pools[1 + i].ungranted += outstanding(&peer->grants[i]);
        peer->grants[i] = (struct xp_verbs_grants){.given = 0};
    }
    vb->is_granting = true;
}

static void give(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t size, uint32_t count)
{
    struct xp_verbs_grants *grants = &peer->grants[size];

    vb->pools[1 + size].ungranted -= count;
    grants->given += count;
    /* Told alone when a peer waits, or when what it knows of is less than half its share. */
    if (grants->is_needy || (grants->given - grants->told) * 2 >= share_of(vb, &vb->pools[1 + size]))
        peer->is_state_due = true;
    grants->is_needy = false;
    vb->attentive |= xp_verbs_bit(peer);
}

static void spread(struct xp_verbs *vb, uint32_t size)
{
    struct xp_verbs_pool *pool = &vb->pools[1 + size];
    uint32_t share = share_of(vb, pool);

    for (uint32_t pass = 0; pass < 2; pass++)
        for (uint32_t i = 0; i < vb->nodes && pool->ungranted != 0; i++) {
            struct xp_verbs_peer *peer = &vb->peers[i];
            uint32_t has = outstanding(&peer->grants[size]), want = has < share ? share - has : 0;

            if (peer->state != XP_VERBS_UP || peer->pairs[1 + size].qp == NULL ||
                (pass == 0 && !peer->grants[size].is_needy))
                continue;
            if (pass == 0 && want == 0)
                want = 1;
            if (want != 0)
                give(vb, peer, size, want < pool->ungranted ? want : pool->ungranted);
        }
}

/* Somebody waits and all is granted: the richest of the others gives back. */
static void recall(struct xp_verbs *vb, uint32_t size)
{
    struct xp_verbs_peer *rich = NULL;
    bool is_wanted = false;

    for (uint32_t i = 0; i < vb->nodes; i++) {
        struct xp_verbs_peer *peer = &vb->peers[i];
        struct xp_verbs_grants *grants = &peer->grants[size];

        if (peer->state != XP_VERBS_UP)
            continue;
        if (grants->is_needy)
            is_wanted = true;
        else if (outstanding(grants) != 0 &&
                 (rich == NULL || outstanding(grants) > outstanding(&rich->grants[size])))
            rich = peer;
    }
    if (!is_wanted || rich == NULL || rich->grants[size].is_recalled)
        return;
    rich->grants[size].is_recalled = true;
    rich->is_state_due = true;
    vb->attentive |= xp_verbs_bit(rich);
}

/* T-2: a count that falls is an older one that another pair has overtaken; one too high is a lie. */
static bool credit_take(struct xp_credit *credit, uint32_t told)
{
    int32_t more = (int32_t)(told - (uint32_t)credit->returned);

    return more <= 0 || xp_credit_return(credit, credit->returned + (uint32_t)more);
}

/* The peer wants back what it granted and we do not use. */
static void hand_back(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint8_t recalled)
{
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        struct xp_verbs_grants *grants = &peer->grants[i];

        if ((recalled >> i & 1) == 0)
            continue;
        grants->handed = grants->got - grants->sent;
        peer->is_state_due = true;
        vb->attentive |= xp_verbs_bit(peer);
    }
}

bool xp_verbs_counts_take(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct xp_verbs_ext *ext)
{
    uint8_t states = (uint8_t)(ext->states - peer->states_acked);

    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (!credit_take(&peer->tx[lane].credit, ext->told[lane]))
            return false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if ((int32_t)(ext->granted[i] - peer->grants[i].got) > 0)
            peer->grants[i].got = ext->granted[i];
    if (states <= (uint8_t)(peer->states_sent - peer->states_acked))
        peer->states_acked = ext->states;
    if (CF_UNLIKELY(ext->recall != 0))
        hand_back(vb, peer, ext->recall);
    vb->starved &= ~xp_verbs_bit(peer);
    return true;
}

bool xp_verbs_state_take(struct xp_verbs *vb, struct xp_verbs_peer *peer, const struct xp_verbs_state *state)
{
    peer->states_taken++;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        struct xp_verbs_grants *grants = &peer->grants[i];
        int32_t more = (int32_t)(state->returned[i] - grants->returned);

        if (more > 0 && (uint32_t)more > outstanding(grants))
            return false;
        if (more > 0) {
            grants->returned += (uint32_t)more;
            vb->pools[1 + i].ungranted += (uint32_t)more;
            vb->is_granting = true;
        }
        grants->is_recalled = false;
    }
    return true;
}

void xp_verbs_counts_stamp(struct xp_verbs_peer *peer, struct xp_verbs_ext *ext)
{
    uint8_t recalled = 0;

    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        struct xp_credit_taker *taker = &peer->rx[lane].taker;

        taker->told = taker->taken;
        ext->told[lane] = (uint32_t)taker->taken;
    }
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        peer->grants[i].told = peer->grants[i].given;
        ext->granted[i] = peer->grants[i].given;
        recalled |= (uint8_t)(peer->grants[i].is_recalled << i);
    }
    ext->recall = recalled;
    ext->states = peer->states_taken;
    peer->states_told = peer->states_taken;
}

static bool is_due(const struct xp_verbs_peer *peer)
{
    return peer->is_state_due || xp_credit_taker_is_due(&peer->rx[XP_CONTROL].taker) ||
           xp_credit_taker_is_due(&peer->rx[XP_DATA].taker);
}

/* What may wait for a message, but not for ever; and a word to an idle peer, so that its end is noticed. */
static bool is_due_when_idle(const struct xp_verbs *vb, const struct xp_verbs_peer *peer)
{
    uint64_t silent_ns = vb->now_ns - peer->sent_ns;

    if (silent_ns >= vb->peer_timeout_ns / 4)
        return true;
    if (silent_ns < IDLE_NS)
        return false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (peer->grants[i].given != peer->grants[i].told)
            return true;
    return xp_credit_taker_owes(&peer->rx[XP_CONTROL].taker) ||
           xp_credit_taker_owes(&peer->rx[XP_DATA].taker);
}

/* At most STATES_MAX are under way, for which the peer keeps receives; what else is due goes with the next. */
static void state_say(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct xp_verbs_state state;

    if ((uint8_t)(peer->states_sent - peer->states_acked) >= XP_VERBS_STATES_MAX)
        return;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        state.returned[i] = peer->grants[i].handed;
    if (!xp_verbs_say(vb, peer, XP_VERBS_STATE, &state, sizeof(state)))
        return;
    peer->states_sent++;
    peer->is_state_due = false;
    vb->states++;
}

void xp_verbs_attend(struct xp_verbs *vb, bool is_turn)
{
    bool is_refused;
    uint64_t peers;

    xp_verbs_pools_post(vb);
    is_refused = vb->pools[0].wait_count != 0;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES && (vb->is_granting || is_turn); i++) {
        if (vb->pools[1 + i].count == 0)
            continue;
        if (CF_UNLIKELY(vb->pools[1 + i].wait_count != 0)) {
            is_refused = true; /* by the device, for now: what is not posted is not granted */
            continue;
        }
        spread(vb, i);
        if (is_turn)
            recall(vb, i);
    }
    vb->is_granting = is_refused;
    peers = is_turn ? UINT64_MAX >> (64 - vb->nodes) : vb->attentive;
    vb->attentive = 0;
    for (; peers != 0; peers &= peers - 1) {
        struct xp_verbs_peer *peer = &vb->peers[__builtin_ctzll(peers)];

        if (peer->state != XP_VERBS_UP || peer->is_failed)
            continue;
        if (is_due(peer) || (is_turn && is_due_when_idle(vb, peer)))
            state_say(vb, peer);
        else if (is_turn && peer->states_told != peer->states_taken)
            (void)xp_verbs_say(vb, peer, XP_VERBS_ACK, NULL, 0); /* else with the next turn */
        if (is_due(peer))
            vb->attentive |= xp_verbs_bit(peer);
    }
}
