/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sending half of the data path. A message is written into a registered slot and becomes a work request in the
 * chain of its pair; the chain goes to the device in one call when it is full or at xp_flush. A slot is free again
 * when the device has given its request back, which one request in XP_VERBS_SIGNAL_EVERY asks for, and the last of
 * a chain with blocks.
 */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/space.h"
#include "transport/verbs/parts.h"

#define SLOT_FRAME_NONE XP_VERBS_NONE

static inline struct xp_verbs_message *slot_of(const struct xp_verbs_peer *peer, uint32_t slot)
{
    return (struct xp_verbs_message *)(peer->slots + (uint64_t)slot * XP_VERBS_SLOT_BYTES);
}

static inline void slot_free(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t slot)
{
    uint32_t frame = peer->slot_frames[slot];

    if (frame != SLOT_FRAME_NONE) {
        peer->slot_frames[slot] = SLOT_FRAME_NONE;
        atomic_fetch_sub_explicit(&vb->sending[frame], 1, memory_order_release); /* partner: is_sending */
    }
    peer->free[peer->free_count++] = slot;
}

static inline void position_free(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t slot,
                                 enum cf_rc rc)
{
    if (slot == XP_VERBS_NONE)
        return; /* the mark of xp_verbs_mark_end */
    if (slot & XP_VERBS_READ_BIT)
        xp_verbs_read_ended(vb, slot & ~XP_VERBS_READ_BIT, rc);
    else
        slot_free(vb, peer, slot);
}

void xp_verbs_completed(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index, uint32_t position,
                        enum cf_rc rc)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];

    /* An older position is one that a later completion has covered. */
    while ((int32_t)(position - pair->completed) >= 0 && pair->completed != pair->posted) {
        position_free(vb, peer, pair->slots[pair->completed & (vb->depth - 1)],
                      pair->completed == position ? rc : CF_OK);
        pair->completed++;
    }
}

void xp_verbs_unpost(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index, uint32_t position)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];

    for (uint32_t at = position; at != pair->posted; at++)
        position_free(vb, peer, pair->slots[at & (vb->depth - 1)], CF_PEER_LOST);
    pair->posted = position;
    pair->chain_count = 0;
}

static void pair_flush(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];
    struct ibv_send_wr *bad = NULL, *last = &pair->chain[pair->chain_count - 1];
    uint32_t first = pair->posted - pair->chain_count;
    int failed;

    if (index != 0 && pair->signalled != pair->posted) {
        last->send_flags |= IBV_SEND_SIGNALED;
        pair->signalled = pair->posted;
    }
    for (uint32_t i = 0; i < pair->chain_count; i++)
        pair->chain[i].next = i + 1 < pair->chain_count ? &pair->chain[i + 1] : NULL;
    failed = vb->calls->post_send(pair->qp, pair->chain, &bad);
    pair->chain_count = 0;
    if (CF_UNLIKELY(failed != 0)) {
        uint32_t taken = bad != NULL ? (uint32_t)(bad - pair->chain) : 0;

        xp_verbs_unpost(vb, peer, index, first + taken);
        xp_verbs_lost(vb, peer, "the device refuses a send");
    }
}

void xp_verbs_peer_flush(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    vb->unflushed &= ~xp_verbs_bit(peer);
    for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++)
        if (peer->pairs[p].chain_count != 0)
            pair_flush(vb, peer, p);
}

void xp_verbs_flush(struct xp *xp)
{
    struct xp_verbs *vb = xp_verbs_of(xp);

    for (uint64_t left = vb->unflushed; left != 0; left &= left - 1)
        xp_verbs_peer_flush(vb, &vb->peers[__builtin_ctzll(left)]);
}

struct ibv_send_wr *xp_verbs_chain(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index,
                                   uint32_t slot)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];
    struct ibv_send_wr *wr;
    uint32_t at;

    if (pair->chain_count == XP_VERBS_CHAIN_MAX)
        pair_flush(vb, peer, index);
    at = pair->chain_count++;
    wr = &pair->chain[at];
    pair->slots[pair->posted & (vb->depth - 1)] = slot;
    *wr = (struct ibv_send_wr){.wr_id = xp_verbs_send_id(peer, index, pair->posted),
                               .sg_list = pair->pieces[at],
                               .num_sge = 1,
                               .opcode = IBV_WR_SEND,
                               .send_flags = IBV_SEND_SOLICITED};
    pair->posted++;
    if (pair->posted - pair->signalled >= XP_VERBS_SIGNAL_EVERY) {
        wr->send_flags |= IBV_SEND_SIGNALED;
        pair->signalled = pair->posted;
    }
    vb->unflushed |= xp_verbs_bit(peer);
    return wr;
}

/*
 * Requests that asked for no completion are known to be done when a later one is: this one is the last. A pair in the
 * error state gives it back after all others.
 */
void xp_verbs_mark_end(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index)
{
    struct ibv_send_wr *wr = xp_verbs_chain(vb, peer, index, XP_VERBS_NONE);

    wr->num_sge = 0;
    wr->send_flags = IBV_SEND_SIGNALED;
    peer->pairs[index].signalled = peer->pairs[index].posted;
    pair_flush(vb, peer, index);
}

/* A READ of nothing: the peer's device answers, no receive is used. */
void xp_verbs_probe(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct ibv_send_wr *wr = xp_verbs_chain(vb, peer, 0, XP_VERBS_NONE);

    wr->num_sge = 0;
    wr->opcode = IBV_WR_RDMA_READ;
    wr->send_flags = IBV_SEND_SIGNALED;
    peer->pairs[0].signalled = peer->pairs[0].posted;
    peer->sent_ns = vb->now_ns;
    pair_flush(vb, peer, 0);
}

/* A message without block. */
static struct ibv_send_wr *message_chain(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t slot)
{
    const struct xp_verbs_message *message = slot_of(peer, slot);
    uint32_t bytes = XP_VERBS_HEAD_BYTES + message->header.bytes;
    struct ibv_send_wr *wr = xp_verbs_chain(vb, peer, 0, slot);

    wr->sg_list[0] = (struct ibv_sge){
        .addr = (uint64_t)(uintptr_t)message, .length = bytes, .lkey = vb->slab.mr->lkey};
    if (bytes <= vb->device.inline_bytes)
        wr->send_flags |= IBV_SEND_INLINE;
    peer->sent_ns = vb->now_ns;
    return wr;
}

static void block_chain(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t slot, uint32_t size,
                        uint32_t frame)
{
    const struct xp_verbs_message *message = slot_of(peer, slot);
    const struct xp_frame_class *frames = &vb->space.classes[size];
    struct ibv_send_wr *wr = xp_verbs_chain(vb, peer, 1 + size, slot);
    uint32_t body = message->header.bytes;

    wr->sg_list[0] = (struct ibv_sge){
        .addr = (uint64_t)(uintptr_t)message, .length = XP_VERBS_FIRST_BYTES, .lkey = vb->slab.mr->lkey};
    wr->sg_list[1] = (struct ibv_sge){.addr = (uint64_t)(uintptr_t)(vb->space.base + frames->offset) +
                                              (uint64_t)(frame - frames->first) * frames->bytes,
                                      .length = frames->bytes,
                                      .lkey = vb->memories[vb->frames_memory].mr->lkey};
    wr->num_sge = 2;
    if (body > XP_VERBS_FIRST_BODY_BYTES) {
        wr->sg_list[2] = (struct ibv_sge){.addr = wr->sg_list[0].addr + XP_VERBS_FIRST_BYTES,
                                          .length = body - XP_VERBS_FIRST_BODY_BYTES,
                                          .lkey = vb->slab.mr->lkey};
        wr->num_sge = 3;
    }
    peer->slot_frames[slot] = frame;
    atomic_fetch_add_explicit(&vb->sending[frame], 1,
                              memory_order_relaxed); /* by the owner, before it asks */
    peer->sent_ns = vb->now_ns;
}

static CF_COLD void *begin_refused(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    if (peer->state == XP_VERBS_UP) {
        vb->base.counters.no_credit++;
        vb->starved |= xp_verbs_bit(peer);
    }
    return NULL;
}

void *xp_verbs_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer;
    struct xp_verbs_tx *tx;

    cf_assert(node < vb->nodes);
    cf_assert(bytes <= XP_BODY_BYTES_MAX);
    peer = &vb->peers[node];
    tx = &peer->tx[lane];
    if (CF_UNLIKELY(xp_credit_available(&tx->credit) == 0 || peer->free_count <= XP_VERBS_SLOTS_SPARE))
        return begin_refused(vb, peer);
    tx->slot = peer->free[--peer->free_count];
    tx->body_bytes = bytes;
    return slot_of(peer, tx->slot)->body;
}

/* Header and counts; the slot is no longer begun. */
static struct xp_verbs_message *stamp(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_tx *tx,
                                      uint16_t type, uint64_t scn, uint32_t *slot_out)
{
    struct xp_verbs_message *message;

    cf_assert(tx->slot != XP_VERBS_NONE);
    *slot_out = tx->slot;
    tx->slot = XP_VERBS_NONE;
    message = slot_of(peer, *slot_out);
    xp_lane_stamp(&tx->facts, &message->header, type, tx->body_bytes, scn);
    message->header.sequence = ++tx->credit.sent;
    message->ext.kind = XP_VERBS_LANE;
    message->ext.flags = 0;
    xp_verbs_counts_stamp(peer, &message->ext);
    vb->base.counters.sent++;
    vb->base.counters.bytes_sent += tx->body_bytes;
    return message;
}

void xp_verbs_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer = &vb->peers[node];
    uint32_t slot;

    (void)stamp(vb, peer, &peer->tx[lane], type, scn, &slot);
    (void)message_chain(vb, peer, slot);
}

/* Without a grant the block stays here: the receiver hears of it, and asks again when it has frames to grant. */
void xp_verbs_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                         uint32_t frame)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer = &vb->peers[node];
    uint32_t size = xp_space_class_of(&vb->space, frame), slot;
    struct xp_verbs_message *message;
    struct xp_verbs_grants *grants;

    cf_assert(size < CF_BLOCK_SIZES);
    grants = &peer->grants[size];
    message = stamp(vb, peer, &peer->tx[lane], type, scn, &slot);
    message->ext.flags = (uint8_t)(size << XP_VERBS_SIZE_SHIFT);
    if (peer->pairs[1 + size].qp == NULL || (int32_t)(grants->got - grants->sent - grants->handed) <= 0) {
        message->ext.flags |= XP_VERBS_MISSING;
        vb->missing++;
        (void)message_chain(vb, peer, slot);
        return;
    }
    message->ext.flags |= XP_VERBS_BLOCK;
    grants->sent++;
    block_chain(vb, peer, slot, size, frame);
    vb->base.counters.blocks_sent++;
    vb->base.counters.bytes_sent += vb->space.classes[size].bytes;
}

bool xp_verbs_say(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum xp_verbs_kind kind, const void *body,
                  uint32_t bytes)
{
    struct xp_verbs_message *message;
    struct ibv_send_wr *wr;
    uint32_t slot;

    if (peer->pairs[0].qp == NULL || peer->free_count == 0)
        return false;
    slot = peer->free[--peer->free_count];
    message = slot_of(peer, slot);
    memset(message, 0, XP_VERBS_HEAD_BYTES);
    message->header.version = XP_WIRE_VERSION;
    message->header.node = vb->node;
    message->header.bytes = bytes;
    message->header.incarnation = vb->facts.incarnation;
    message->header.epoch = vb->epoch;
    message->header.tag = vb->facts.tag;
    message->header.generation = peer->generation;
    message->ext.kind = (uint8_t)kind;
    xp_verbs_counts_stamp(peer, &message->ext);
    if (bytes != 0)
        memcpy(message->body, body, bytes);
    wr = message_chain(vb, peer, slot);
    if (kind == XP_VERBS_REFUSE ||
        kind == XP_VERBS_BYE) { /* the end of the connection waits for its last word */
        wr->send_flags |= IBV_SEND_SIGNALED;
        peer->pairs[0].signalled = peer->pairs[0].posted;
    }
    return true;
}

void xp_verbs_refusal(struct xp_verbs_refuse *refuse, enum cf_rc rc, const char *why)
{
    memset(refuse, 0, sizeof(*refuse));
    refuse->magic = XP_VERBS_MAGIC;
    refuse->rc = (int32_t)rc;
    snprintf(refuse->why, sizeof(refuse->why), "%s", why != NULL ? why : "");
}
