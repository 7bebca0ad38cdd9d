/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path, outgoing: no system call, no allocation, no read-modify-write.
 *
 * Ordering. A message is published by the release store of its slot's sequence word; partner: the acquire load in
 * receive.c. A slot is used again after the acquire load of the peer's taken count; partner: the release store there.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/shm/data.h"

static inline struct xp_shm_slot *tx_slot(const struct xp_shm_tx *tx, uint64_t number)
{
    return (struct xp_shm_slot *)(tx->slots + (number & tx->mask) * XP_SHM_SLOT_BYTES);
}

bool xp_shm_credit_refresh(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx)
{
    if (tx->credit.window == 0)
        return false;
    /* Partner: the publish in tell. What the peer has taken it no longer reads. */
    if (!xp_credit_return(&tx->credit, cf_observe_u64(tx->told))) {
        shm->base.counters.bad_sequence++;
        xp_shm_life_violate(shm, peer, "it says it took messages that were never sent");
        return false;
    }
    return xp_credit_available(&tx->credit) != 0;
}

static CF_COLD bool begin_slow(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    if (xp_shm_credit_refresh(shm, peer, tx)) {
        shm->starved &= ~bit;
        return true;
    }
    if (tx->credit.window != 0) {
        shm->starved |= bit;
        shm->base.counters.no_credit++;
    }
    return false;
}

void *xp_shm_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer;
    struct xp_shm_tx *tx;
    struct xp_shm_slot *slot;

    cf_assert(node < shm->nodes);
    cf_assert(bytes <= XP_BODY_BYTES_MAX);
    peer = &shm->peers[node];
    tx = &peer->tx[lane];
    if (CF_UNLIKELY(xp_credit_available(&tx->credit) == 0) && !begin_slow(shm, peer, tx))
        return NULL;
    slot = tx_slot(tx, tx->credit.sent);
    tx->body_bytes = bytes;
    tx->is_begun = 1;
    return bytes <= XP_SHM_INLINE_BYTES ? slot->inline_body : slot->body;
}

static inline void publish(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx,
                           struct xp_shm_slot *slot, uint16_t type, uint64_t scn, uint64_t block_bit)
{
    cf_assert(tx->is_begun);
    tx->is_begun = 0;
    xp_lane_stamp(&tx->facts, &slot->header, type, tx->body_bytes, scn);
    tx->credit.sent++;
    cf_publish_u64(xp_shm_sequence_of(slot), tx->credit.sent | block_bit); /* partner: observe in lane_take */
    shm->base.counters.sent++;
    shm->base.counters.bytes_sent += tx->body_bytes;
    if (!peer->facts.is_busy)
        shm->unflushed |= UINT64_C(1) << peer->node;
}

void xp_shm_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer = &shm->peers[node];
    struct xp_shm_tx *tx = &peer->tx[lane];

    publish(shm, peer, tx, tx_slot(tx, tx->credit.sent), type, scn, 0);
}

void xp_shm_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                       uint32_t frame)
{
    struct xp_shm *shm = xp_shm_of(xp);
    struct xp_shm_peer *peer = &shm->peers[node];
    struct xp_shm_tx *tx = &peer->tx[lane];
    struct xp_shm_slot *slot = tx_slot(tx, tx->credit.sent);
    uint32_t class_index = xp_space_class_of(&shm->space, frame);

    cf_assert(class_index < CF_BLOCK_SIZES);
    if (tx->body_bytes <= XP_SHM_INLINE_BYTES)
        memcpy(slot->body, slot->inline_body, XP_SHM_INLINE_BYTES); /* the reference takes its place */
    slot->block.frame = frame;
    slot->block.unused = 0;
    slot->block.word = cf_observe_u64(&shm->space.words[frame]) & shm->space.words_stable_mask;
    publish(shm, peer, tx, slot, type, scn, XP_SHM_BLOCK_BIT);
    shm->base.counters.blocks_sent++;
    shm->base.counters.bytes_sent += shm->space.classes[class_index].bytes;
}

void xp_shm_flush(struct xp *xp)
{
    struct xp_shm *shm = xp_shm_of(xp);
    uint64_t peers = shm->unflushed;

    if (CF_LIKELY(peers == 0))
        return;
    shm->unflushed = 0;
    cf_fence_full(); /* partner: the fence of xp_shm_arm */
    xp_shm_rouse(shm, peers, XP_SHM_ASLEEP);
}
