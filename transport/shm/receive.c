/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path, incoming: no system call, no allocation, no read-modify-write.
 *
 * Ordering. A message is observed by the acquire load of its slot's sequence word; partner: publish in send.c. A slot is
 * handed back by the release store of the taken count. Frames: see block_pull.
 *
 * Trust. A peer can write its region at any time, so everything is copied out once and then checked; what is
 * delivered is the copy.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/shm/data.h"

/* Messages taken of one lane before the next one has its turn. */
#define LANE_BUDGET 16u

static inline void tell(struct xp_shm_rx *rx)
{
    rx->taker.told = rx->taker.taken;
    cf_publish_u64(rx->told, rx->taker.taken); /* partner: observe in xp_shm_credit_refresh */
}

static void tell_peer(struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (peer->rx[lane].slots != NULL && xp_credit_taker_owes(&peer->rx[lane].taker))
            tell(&peer->rx[lane]);
}

void xp_shm_tell_all(struct xp_shm *shm)
{
    for (uint64_t left = shm->owing; left != 0; left &= left - 1)
        tell_peer(&shm->peers[__builtin_ctzll(left)]);
    shm->owing = 0;
}

/*
 * Copies a block out of the peer's frame. The bytes belong to the message while the stable bits of the word stay:
 * the holder changes the word before it changes the bytes (its compare-and-swap, then a release fence, then the
 * bytes), we read the bytes, fence, then the word. If any byte was newer, the word read is the newer one.
 */
static bool block_pull(const struct xp_shm_peer *peer, const struct xp_shm_block_ref *ref,
                       const uint8_t *source, uint8_t *target, uint32_t bytes)
{
    xp_shm_copy(target, source, bytes);
    cf_fence_after_copy();
    return (cf_peek_u64(&peer->words[ref->frame]) & peer->facts.words_stable_mask) == ref->word;
}

/* Fills in the block half of an event. False: the peer named a frame it does not have. */
static bool block_take(struct xp_shm *shm, const struct xp_shm_peer *peer, const struct xp_shm_block_ref *ref,
                       struct xp_event *event)
{
    const struct xp_shm_wire_class *theirs = peer->facts.classes;
    struct xp_counters *counters = &shm->base.counters;
    const struct xp_frame_class *ours;
    uint32_t i = 0, frame;

    while (i < CF_BLOCK_SIZES && ref->frame - theirs[i].first >= theirs[i].count)
        i++;
    if (i == CF_BLOCK_SIZES)
        return false;
    event->type = XP_EV_TORN;
    frame = xp_lent_next(&shm->lent, i);
    if (frame == XP_LENT_NONE) {
        counters->unasked++;
        return true;
    }
    ours = &shm->space.classes[i];
    /* Its holder has just changed the word: the line is on its way while the bytes are copied. */
    __builtin_prefetch((const void *)&peer->words[ref->frame]);
    if (!block_pull(peer, ref,
                    peer->frames + theirs[i].offset + (uint64_t)(ref->frame - theirs[i].first) * ours->bytes,
                    xp_space_bytes(&shm->space, i, frame), ours->bytes)) {
        counters->torn++;
        return true;
    }
    (void)xp_lent_take(&shm->lent, i);
    event->type = XP_EV_BLOCK;
    event->frame = frame;
    counters->blocks_received++;
    counters->bytes_received += ours->bytes;
    return true;
}

/* Copies the message and judges it. */
static inline enum xp_lane_verdict message_copy(struct xp_shm *shm, struct xp_shm_rx *rx,
                                                const struct xp_shm_slot *slot, struct xp_shm_slot *copy,
                                                uint64_t word)
{
    memcpy(copy, slot, CF_CACHE_LINE);
    copy->header.sequence = word & ~XP_SHM_BLOCK_BIT;
    if (CF_UNLIKELY(!xp_lane_is_sound(&rx->facts, &copy->header)))
        return xp_lane_judge(&rx->facts, &copy->header, &shm->base.counters);
    if (copy->header.bytes > XP_SHM_INLINE_BYTES || (word & XP_SHM_BLOCK_BIT) != 0)
        for (uint32_t at = 0; at < copy->header.bytes; at += CF_CACHE_LINE)
            memcpy(copy->body + at, slot->body + at, CF_CACHE_LINE);
    return XP_LANE_PASS;
}

/* One message into one event. */
static enum xp_lane_verdict message_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_rx *rx,
                                         const struct xp_shm_slot *slot, uint64_t word,
                                         struct xp_shm_batch *batch)
{
    struct xp_shm_slot *copy = &shm->inbox[batch->count];
    struct xp_event *event = &batch->events[batch->count];
    bool has_block = (word & XP_SHM_BLOCK_BIT) != 0;
    enum xp_lane_verdict verdict = message_copy(shm, rx, slot, copy, word);

    if (CF_UNLIKELY(verdict != XP_LANE_PASS))
        return verdict;
    event->type = XP_EV_MESSAGE;
    event->lane_class = (uint8_t)rx->facts.lane_class;
    event->node = peer->node;
    event->bytes = copy->header.bytes;
    event->header = &copy->header;
    event->message = has_block || event->bytes > XP_SHM_INLINE_BYTES ? copy->body : copy->inline_body;
    event->frame = 0;
    event->rc = CF_OK;
    event->token = 0;
    event->value = 0;
    if (has_block && !block_take(shm, peer, &copy->block, event)) {
        shm->base.counters.bad_frame++;
        return XP_LANE_FAULT;
    }
    shm->base.counters.received++;
    shm->base.counters.bytes_received += event->bytes;
    batch->count++;
    return XP_LANE_PASS;
}

static inline const struct xp_shm_slot *rx_slot(const struct xp_shm_rx *rx)
{
    return (const struct xp_shm_slot *)(rx->slots + (rx->taker.taken & rx->mask) * XP_SHM_SLOT_BYTES);
}

/* T-1: until the next message is there, its slot shows the one a lap ago. */
static inline uint64_t rx_sequence_idle(const struct xp_shm_rx *rx)
{
    return rx->taker.taken >= rx->window ? rx->taker.taken + 1 - rx->window : 0;
}

/* Nothing new, and nothing wrong. */
static inline bool lane_is_idle(const struct xp_shm_rx *rx)
{
    return (cf_observe_u64(xp_shm_sequence_of(rx_slot(rx))) & ~XP_SHM_BLOCK_BIT) == rx_sequence_idle(rx);
}

/* Takes at most LANE_BUDGET messages; true when it took any. */
static CF_HOT bool lane_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_rx *rx,
                             struct xp_shm_batch *batch)
{
    uint64_t first = rx->taker.taken;

    for (uint32_t i = 0; i < LANE_BUDGET && batch->count < batch->max; i++) {
        uint64_t next = rx->taker.taken + 1;
        const struct xp_shm_slot *slot = rx_slot(rx);
        uint64_t word = cf_observe_u64(xp_shm_sequence_of(slot)); /* partner: publish in send.c */
        uint64_t sequence = word & ~XP_SHM_BLOCK_BIT;

        if (sequence != next) {
            if (CF_UNLIKELY(sequence != rx_sequence_idle(rx))) {
                shm->base.counters.bad_sequence++;
                xp_shm_life_violate(shm, peer, "a message is out of sequence");
            }
            break;
        }
        if (CF_UNLIKELY(message_take(shm, peer, rx, slot, word, batch) == XP_LANE_FAULT)) {
            xp_shm_life_violate(shm, peer, "a message header or block reference is wrong");
            break;
        }
        rx->taker.taken = next;
        if (xp_credit_taker_is_due(&rx->taker))
            tell(rx);
    }
    return rx->taker.taken != first;
}

/* A peer that has nothing new: it learns what was taken, and if it waits for that, it is woken. */
static void peer_idle(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    if ((shm->owing & bit) != 0) {
        shm->owing &= ~bit;
        tell_peer(peer);
        if (!peer->facts.is_busy && peer->state == XP_SHM_UP) {
            cf_fence_full(); /* partner: the fence of xp_shm_arm */
            xp_shm_rouse(shm, bit, XP_SHM_STARVED);
        }
    }
    if (CF_UNLIKELY(peer->state == XP_SHM_DRAINING) && batch->count < batch->max)
        xp_shm_life_drained(shm, peer, batch);
}

static inline void peer_take(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch)
{
    bool took = !lane_is_idle(&peer->rx[XP_CONTROL]) && lane_take(shm, peer, &peer->rx[XP_CONTROL], batch);

    /* A fault in the first lane ends the peer. */
    if (CF_LIKELY((shm->readable >> peer->node & 1) != 0) && !lane_is_idle(&peer->rx[XP_DATA]))
        took |= lane_take(shm, peer, &peer->rx[XP_DATA], batch);
    if (took)
        shm->owing |= UINT64_C(1) << peer->node;
    else if ((shm->readable >> peer->node & 1) != 0 && batch->count < batch->max)
        peer_idle(shm, peer, batch);
}

uint32_t xp_shm_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_batch batch = {.events = events, .max = max <= XP_EVENTS_MAX ? max : XP_EVENTS_MAX};
    uint64_t before, after;

    shm->now_ns = now_ns;
    if (CF_UNLIKELY(now_ns >= shm->control_next_ns || shm->is_control_due))
        xp_shm_conn_turn(shm, now_ns, &batch);
    if (CF_UNLIKELY(shm->reads_count != 0))
        xp_shm_reads_end(shm, &batch);
    /* Round robin: the peers from `turn` on, then the others. */
    before = shm->readable & ((UINT64_C(1) << shm->turn) - 1);
    after = shm->readable & ~before;
    for (; after != 0 && batch.count < batch.max; after &= after - 1)
        peer_take(shm, &shm->peers[__builtin_ctzll(after)], &batch);
    for (; before != 0 && batch.count < batch.max; before &= before - 1)
        peer_take(shm, &shm->peers[__builtin_ctzll(before)], &batch);
    shm->turn = shm->turn + 1 < shm->nodes ? shm->turn + 1 : 0;
    if (batch.count == 0 && shm->lent.is_cold)
        xp_lent_warm(&shm->lent, &shm->space);
    return batch.count;
}
