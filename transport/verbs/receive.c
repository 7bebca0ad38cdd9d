/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receiving half of the data path. A completion names a slot; the message in it goes into the ring of its lane
 * at the place of its sequence number, and from there in order to the layer above (T-1, deliver.c).
 */
#include <string.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

/* Completions handled in one poll. */
#define COMPLETIONS_BUDGET 64u

void xp_verbs_slot_drop(struct xp_verbs *vb, uint32_t ref)
{
    struct xp_verbs_pool *pool = &vb->pools[ref >> 24];

    if (ref >> 24 != 0) {
        pool->ungranted++;
        vb->is_granting = true;
    }
    xp_verbs_pool_again(pool, ref & XP_VERBS_SLOT_MASK);
}

void xp_verbs_rings_drop(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        for (uint32_t i = 0; i < vb->lane_slots; i++) {
            uint32_t cell = peer->rx[lane].ring[i];

            if (cell != 0)
                xp_verbs_slot_drop(vb, cell - 1);
            peer->rx[lane].ring[i] = 0;
        }
    vb->ready &= ~xp_verbs_bit(peer);
}

bool xp_verbs_rings_are_empty(const struct xp_verbs *vb, const struct xp_verbs_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (peer->rx[lane].ring[peer->rx[lane].delivered & (vb->lane_slots - 1)] != 0)
            return false;
    return true;
}

static bool length_is_sound(const struct xp_verbs *vb, const struct xp_verbs_message *message, uint32_t pool,
                            uint32_t bytes)
{
    uint32_t body = message->header.bytes;

    if (body > XP_BODY_BYTES_MAX)
        return false;
    if (pool == 0)
        return bytes == XP_VERBS_HEAD_BYTES + body && (message->ext.flags & XP_VERBS_BLOCK) == 0;
    return bytes == XP_VERBS_FIRST_BYTES + vb->space.classes[pool - 1].bytes +
                        (body > XP_VERBS_FIRST_BODY_BYTES ? body - XP_VERBS_FIRST_BODY_BYTES : 0) &&
           (message->ext.flags & XP_VERBS_BLOCK) != 0 && message->ext.kind == XP_VERBS_LANE;
}

/* Puts a message of a lane into its ring; NULL, or what is wrong with it. */
static const char *ring_put(struct xp_verbs *vb, struct xp_verbs_peer *peer,
                            const struct xp_verbs_message *message, uint32_t pool, uint32_t slot)
{
    struct xp_verbs_rx *rx;
    uint64_t ahead;
    uint32_t *cell;

    if (message->header.lane_class >= XP_LANES) {
        vb->base.counters.bad_header++;
        return "a lane that does not exist";
    }
    rx = &peer->rx[message->header.lane_class];
    ahead = message->header.sequence - rx->delivered - 1;
    cell = &rx->ring[(message->header.sequence - 1) & (vb->lane_slots - 1)];
    if (ahead >= vb->lane_slots || *cell != 0) {
        vb->base.counters.bad_sequence++;
        return "a message is out of sequence";
    }
    if (pool != 0) {
        struct xp_verbs_grants *grants = &peer->grants[pool - 1];

        if (grants->given == grants->used + grants->returned) {
            vb->base.counters.bad_frame++;
            return "a block that no frame was granted for";
        }
        grants->used++;
    } else if ((message->ext.flags & XP_VERBS_MISSING) != 0) {
        uint32_t size = message->ext.flags >> XP_VERBS_SIZE_SHIFT;

        if (size >= CF_BLOCK_SIZES) {
            vb->base.counters.bad_header++;
            return "a block size that does not exist";
        }
        peer->grants[size].is_needy = true;
        vb->is_granting = true;
    }
    *cell = 1 + xp_verbs_ref(pool, slot);
    vb->ready |= xp_verbs_bit(peer);
    return NULL;
}

static void message_take(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t pool, uint32_t slot,
                         uint32_t bytes)
{
    const struct xp_verbs_message *message = xp_verbs_pool_slot(&vb->pools[pool], slot);
    bool has_lanes = peer->has_ready_sent && peer->state >= XP_VERBS_GRANTED &&
                     peer->state <= XP_VERBS_DRAINING;
    const char *why = NULL;

    if (bytes < XP_VERBS_HEAD_BYTES || !length_is_sound(vb, message, pool, bytes)) {
        vb->base.counters.bad_length++;
        why = "the length of a message is wrong";
    } else if (message->ext.kind != XP_VERBS_LANE) {
        xp_verbs_shake_take(vb, peer, message);
    } else if (!has_lanes) {
        vb->base.counters.bad_header++;
        why = "a message before lanes were open";
    } else if (!xp_verbs_counts_take(vb, peer, &message->ext)) {
        vb->base.counters.bad_sequence++;
        why = "it says it took messages that were never sent";
    } else {
        why = ring_put(vb, peer, message, pool, slot);
        if (why == NULL) {
            vb->attentive |= xp_verbs_bit(peer);
            return;
        }
    }
    xp_verbs_pool_again(&vb->pools[pool], slot);
    vb->attentive |= xp_verbs_bit(peer); /* posted before this poll ends: the peer may send more at once */
    if (why != NULL)
        xp_verbs_violate(vb, peer, why);
}

static void receive_take(struct xp_verbs *vb, const struct ibv_wc *wc)
{
    uint32_t pool = (uint32_t)(wc->wr_id >> 32 & 0xff), slot = (uint32_t)wc->wr_id, index = 0;
    struct xp_verbs_peer *peer = xp_verbs_pair_find(vb, wc->qp_num, &index);

    cf_assert(pool < XP_VERBS_POOLS && slot < vb->pools[pool].count);
    if (pool != 0) {
        uint64_t number = vb->pools[pool].posted[slot];

        vb->pools[pool].posted[slot] = 0;
        if (number > vb->pools[pool].seen)
            vb->pools[pool].seen = number;
    }
    if (wc->status == IBV_WC_SUCCESS && peer != NULL && !peer->is_failed && xp_verbs_is_connected(peer)) {
        message_take(vb, peer, pool, slot, wc->byte_len);
        return;
    }
    xp_verbs_pool_again(&vb->pools[pool], slot);
    if (wc->status != IBV_WC_SUCCESS && peer != NULL) {
        vb->base.counters.device_errors += wc->status != IBV_WC_WR_FLUSH_ERR;
        xp_verbs_lost(vb, peer, ibv_wc_status_str(wc->status));
    }
}

static void send_take(struct xp_verbs *vb, const struct ibv_wc *wc)
{
    uint32_t node = (uint32_t)(wc->wr_id >> 40 & 0xfff), index = (uint32_t)(wc->wr_id >> 32 & 0xff);
    struct xp_verbs_peer *peer = &vb->peers[node];

    cf_assert(node < vb->nodes && index < XP_VERBS_PAIRS);
    if ((wc->wr_id >> 52 & 0xff) != (peer->life & 0xff) || peer->pairs[index].qp == NULL)
        return; /* of a connection whose requests have all been taken back */
    xp_verbs_completed(vb, peer, index, (uint32_t)wc->wr_id,
                       wc->status == IBV_WC_SUCCESS ? CF_OK : CF_PEER_LOST);
    if (CF_LIKELY(wc->status == IBV_WC_SUCCESS) || peer->state == XP_VERBS_TEARING)
        return;
    /* Flushed requests of a pair that nobody here has stopped are all that is heard of some failures. */
    if (wc->status == IBV_WC_RETRY_EXC_ERR)
        vb->base.counters.retries_exceeded++;
    else if (wc->status == IBV_WC_RNR_RETRY_EXC_ERR)
        vb->base.counters.rnr++;
    else if (wc->status != IBV_WC_WR_FLUSH_ERR)
        vb->base.counters.device_errors++;
    xp_verbs_lost(vb, peer, ibv_wc_status_str(wc->status));
}

static inline void completion_take(struct xp_verbs *vb, const struct ibv_wc *wc)
{
    if (wc->wr_id >> 60 == 1)
        receive_take(vb, wc);
    else
        send_take(vb, wc);
}

/* True while there may be more. */
static bool completions_take(struct xp_verbs *vb, uint32_t *taken)
{
    struct ibv_wc wcs[XP_VERBS_COMPLETIONS_MAX];
    int count = vb->calls->poll_cq(vb->device.cq, XP_VERBS_COMPLETIONS_MAX, wcs);

    if (CF_UNLIKELY(count < 0)) {
        vb->base.counters.device_errors++;
        cf_log_error(vb->log, "transport", "%s: the completion queue cannot be polled", vb->device.name);
        return false;
    }
    for (int i = 0; i < count; i++)
        completion_take(vb, &wcs[i]);
    *taken += (uint32_t)count;
    return count == XP_VERBS_COMPLETIONS_MAX;
}

static void staged_take(struct xp_verbs *vb)
{
    for (uint32_t i = 0; i < vb->staged_count; i++)
        completion_take(vb, &vb->staged[i]);
    vb->staged_count = 0;
}

void xp_verbs_drain(struct xp_verbs *vb)
{
    uint32_t taken = 0, bound = vb->completions_max;

    staged_take(vb);
    while (completions_take(vb, &taken) && taken < bound)
        ;
}

uint32_t xp_verbs_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_batch batch = {.events = events, .max = max <= XP_EVENTS_MAX ? max : XP_EVENTS_MAX};
    uint32_t taken = 0;
    bool is_turn = now_ns >= vb->control_next_ns || vb->is_control_due;

    vb->now_ns = now_ns;
    if (vb->held_count != 0) {
        xp_verbs_held_release(vb);
        xp_verbs_pools_post(vb);
    }
    if (vb->staged_count != 0)
        staged_take(vb);
    while (completions_take(vb, &taken) && taken < COMPLETIONS_BUDGET)
        ;
    if (CF_UNLIKELY(is_turn))
        xp_verbs_turn(vb);
    if (CF_UNLIKELY(vb->news_count != 0))
        xp_verbs_news_tell(vb, &batch);
    if (vb->ready != 0 && vb->news_count == 0)
        xp_verbs_deliver(vb, &batch);
    if (CF_UNLIKELY(vb->reads_ended != 0))
        xp_verbs_reads_tell(vb, &batch);
    if (vb->attentive != 0 || vb->is_granting || is_turn) {
        xp_verbs_attend(vb, is_turn);
        if (vb->unflushed != 0)
            xp_verbs_flush(xp);
    }
    return batch.count;
}
