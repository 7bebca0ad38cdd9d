/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From the rings to the layer above: messages in order, what happened to connections before them. A slot is the layer
 * above's until the next poll, which posts it again and only then counts it as taken (T-2): a credit is never given for a
 * receive that is not there.
 */
#include "base/assert.h"
#include "transport/verbs/parts.h"

/* Messages delivered of one lane before the next one has its turn. */
#define LANE_BUDGET 16u

static inline uint32_t *next_cell(const struct xp_verbs *vb, struct xp_verbs_rx *rx)
{
    return &rx->ring[rx->delivered & (vb->lane_slots - 1)];
}

void xp_verbs_news(struct xp_verbs *vb, uint8_t type, uint16_t node, enum cf_rc rc)
{
    struct xp_event *event = &vb->news[(vb->news_first + vb->news_count) % vb->news_max];

    /* A peer has at most three before the layer above takes them: its end, a hello, its beginning (life.c). */
    cf_assert(vb->news_count < vb->news_max);
    vb->news_count++;
    *event = (struct xp_event){.type = type, .node = node, .rc = rc};
    if (type == XP_EV_HELLO) {
        event->message = vb->peers[node].facts.hello;
        event->bytes = XP_HELLO_BYTES;
    }
}

void xp_verbs_news_tell(struct xp_verbs *vb, struct xp_verbs_batch *batch)
{
    while (vb->news_count != 0 && batch->count < batch->max) {
        batch->events[batch->count++] = vb->news[vb->news_first];
        vb->news_first = (vb->news_first + 1) % vb->news_max;
        vb->news_count--;
    }
}

void xp_verbs_held_release(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < vb->held_count; i++) {
        const struct xp_verbs_held *held = &vb->held[i];
        struct xp_verbs_peer *peer = &vb->peers[held->node];
        struct xp_verbs_pool *pool = &vb->pools[held->ref >> 24];

        if (held->is_frame_gone)
            pool->free[pool->free_count++] = held->ref & XP_VERBS_SLOT_MASK;
        else
            xp_verbs_slot_drop(vb, held->ref);
        if (held->life != peer->life)
            continue;
        peer->rx[held->lane].taker.taken++;
        vb->attentive |= xp_verbs_bit(peer);
    }
    vb->held_count = 0;
}

/* One message into one event. */
static void event_fill(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t lane, uint32_t ref,
                       struct xp_verbs_batch *batch)
{
    struct xp_verbs_pool *pool = &vb->pools[ref >> 24];
    const struct xp_verbs_message *message = xp_verbs_pool_slot(pool, ref & XP_VERBS_SLOT_MASK);
    struct xp_counters *counters = &vb->base.counters;
    struct xp_event *event = &batch->events[batch->count++];
    struct xp_verbs_held *held = &vb->held[vb->held_count++];

    *event = (struct xp_event){.type = XP_EV_MESSAGE,
                               .lane_class = (uint8_t)lane,
                               .node = peer->node,
                               .bytes = message->header.bytes,
                               .header = &message->header,
                               .message = message->body,
                               .rc = CF_OK};
    *held = (struct xp_verbs_held){.ref = ref, .life = peer->life, .node = peer->node, .lane = (uint8_t)lane};
    counters->received++;
    counters->bytes_received += event->bytes;
    if (ref >> 24 != 0) {
        event->type = XP_EV_BLOCK;
        event->frame = pool->frames[ref & XP_VERBS_SLOT_MASK];
        held->is_frame_gone = true;
        pool->lent--;
        counters->blocks_received++;
        counters->bytes_received += vb->space.classes[(ref >> 24) - 1].bytes;
    } else if ((message->ext.flags & XP_VERBS_MISSING) != 0) {
        event->type = XP_EV_TORN;
        counters->unasked++;
    }
}

static void lane_deliver(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t lane,
                         struct xp_verbs_batch *batch)
{
    struct xp_verbs_rx *rx = &peer->rx[lane];

    for (uint32_t i = 0; i < LANE_BUDGET && batch->count < batch->max; i++) {
        uint32_t *cell = next_cell(vb, rx), ref = *cell - 1;
        enum xp_lane_verdict verdict = XP_LANE_PASS;
        const struct xp_header *header;

        if (*cell == 0)
            return;
        header = &xp_verbs_pool_slot(&vb->pools[ref >> 24], ref & XP_VERBS_SLOT_MASK)->header;
        *cell = 0;
        rx->delivered++;
        if (CF_UNLIKELY(!xp_lane_is_sound(&rx->facts, header)))
            verdict = xp_lane_judge(&rx->facts, header, &vb->base.counters);
        if (verdict == XP_LANE_PASS) {
            event_fill(vb, peer, lane, ref, batch);
            continue;
        }
        xp_verbs_slot_drop(vb, ref);
        rx->taker.taken++;
        if (verdict == XP_LANE_FAULT) {
            xp_verbs_violate(vb, peer, "a message header is wrong");
            return;
        }
    }
}

/* Lanes of a connection that has just broken are emptied too: what arrived before the end is delivered before it. */
static void peer_deliver(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_batch *batch)
{
    bool is_open = peer->state == XP_VERBS_UP || peer->state == XP_VERBS_DRAINING ||
                   peer->state == XP_VERBS_TEARING || peer->state == XP_VERBS_BROKEN;

    if (!is_open || peer->is_guilty)
        return;
    for (uint32_t lane = 0; lane < XP_LANES && !peer->is_guilty; lane++)
        lane_deliver(vb, peer, lane, batch);
    if (xp_verbs_rings_are_empty(vb, peer))
        vb->ready &= ~xp_verbs_bit(peer);
}

void xp_verbs_deliver(struct xp_verbs *vb, struct xp_verbs_batch *batch)
{
    uint64_t before = vb->ready & ((UINT64_C(1) << vb->turn) - 1), after = vb->ready & ~before;

    for (; after != 0 && batch->count < batch->max; after &= after - 1)
        peer_deliver(vb, &vb->peers[__builtin_ctzll(after)], batch);
    for (; before != 0 && batch->count < batch->max; before &= before - 1)
        peer_deliver(vb, &vb->peers[__builtin_ctzll(before)], batch);
    vb->turn = vb->turn + 1 < vb->nodes ? vb->turn + 1 : 0;
}
