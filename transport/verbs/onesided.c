/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-sided operations on pair 0: READ of a peer's frames, compare-and-swap and add on its counters. A counter is
 * changed by the device only, also by its owner, who uses a pair to itself: a processor's atomic and a device's
 * atomic on one word lose updates.
 */
#include <string.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

static uint8_t *bounce_of(const struct xp_verbs *vb, uint32_t index)
{
    return vb->bounce + (uint64_t)index * CF_BLOCK_BYTES_MAX;
}

/* Where the device may write to: memory of xp_memory itself, anything else by way of a buffer. */
static uint32_t key_of(const struct xp_verbs *vb, const void *to, uint32_t bytes)
{
    uintptr_t at = (uintptr_t)to;

    for (uint32_t i = 0; i < vb->memories_count; i++) {
        uintptr_t begin = (uintptr_t)vb->memories[i].base, end = begin + vb->memories[i].bytes;

        if (at >= begin && at <= end && bytes <= end - at)
            return vb->memories[i].mr->lkey;
    }
    return 0;
}

static struct xp_verbs_read *read_take(struct xp_verbs *vb, uint32_t *index_out)
{
    for (uint32_t i = 0; i < XP_VERBS_READS_MAX; i++)
        if (vb->reads[i].state == XP_VERBS_READ_FREE) {
            *index_out = i;
            return &vb->reads[i];
        }
    return NULL;
}

static enum cf_rc peer_check(struct xp_verbs *vb, uint16_t node, struct xp_verbs_peer **peer_out)
{
    cf_assert(node < vb->nodes);
    *peer_out = &vb->peers[node];
    if ((*peer_out)->pairs[0].qp == NULL ||
        ((*peer_out)->state != XP_VERBS_UP && (*peer_out)->state != XP_VERBS_SELF))
        return CF_PEER_LOST;
    return CF_OK;
}

/* The request is in the chain; it always asks for its completion. */
static struct ibv_send_wr *start(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_read *read,
                                 uint32_t index, uint64_t token)
{
    struct ibv_send_wr *wr = xp_verbs_chain(vb, peer, 0, XP_VERBS_READ_BIT | index);

    read->state = XP_VERBS_READ_OPEN;
    read->token = token;
    read->node = peer->node;
    vb->reads_open++;
    wr->send_flags = IBV_SEND_SIGNALED;
    peer->pairs[0].signalled = peer->pairs[0].posted;
    return wr;
}

enum cf_rc xp_verbs_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                         uint64_t token)
{
    struct xp_verbs *vb = xp_verbs_of(xp);
    struct xp_verbs_peer *peer;
    struct xp_verbs_read *read;
    struct ibv_send_wr *wr;
    uint32_t index, key = key_of(vb, to, bytes);
    enum cf_rc rc = peer_check(vb, node, &peer);

    if (rc != CF_OK)
        return rc;
    if (offset > peer->accept.frames_bytes || bytes > peer->accept.frames_bytes - offset ||
        (key == 0 && bytes > CF_BLOCK_BYTES_MAX))
        return CF_RANGE;
    read = read_take(vb, &index);
    if (read == NULL)
        return CF_AGAIN;
    wr = start(vb, peer, read, index, token);
    read->to = to;
    read->bytes = bytes;
    read->is_bounced = key == 0;
    wr->opcode = IBV_WR_RDMA_READ;
    wr->sg_list[0] = (struct ibv_sge){
        .addr = (uint64_t)(uintptr_t)(read->is_bounced ? bounce_of(vb, index) : to),
        .length = bytes,
        .lkey = read->is_bounced ? vb->slab.mr->lkey : key};
    wr->wr.rdma.remote_addr = peer->accept.frames_address + offset;
    wr->wr.rdma.rkey = peer->accept.frames_key;
    xp_verbs_peer_flush(vb, peer);
    return CF_OK;
}

static enum cf_rc atomic_start(struct xp_verbs *vb, uint16_t node, uint64_t offset, uint64_t token,
                               enum ibv_wr_opcode opcode, uint64_t first, uint64_t second)
{
    struct xp_verbs_peer *peer;
    struct xp_verbs_read *read;
    struct ibv_send_wr *wr;
    uint32_t index;
    enum cf_rc rc = peer_check(vb, node, &peer);

    if (rc != CF_OK)
        return rc;
    if (offset > XP_COUNTER_BYTES - sizeof(uint64_t) || offset % sizeof(uint64_t) != 0)
        return CF_RANGE;
    read = read_take(vb, &index);
    if (read == NULL)
        return CF_AGAIN;
    wr = start(vb, peer, read, index, token);
    read->to = NULL;
    wr->opcode = opcode;
    wr->sg_list[0] = (struct ibv_sge){.addr = (uint64_t)(uintptr_t)bounce_of(vb, index),
                                      .length = sizeof(uint64_t),
                                      .lkey = vb->slab.mr->lkey};
    wr->wr.atomic.remote_addr = peer->accept.counters_address + offset;
    wr->wr.atomic.rkey = peer->accept.counters_key;
    wr->wr.atomic.compare_add = first;
    wr->wr.atomic.swap = second;
    xp_verbs_peer_flush(vb, peer);
    return CF_OK;
}

enum cf_rc xp_verbs_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                        uint64_t token)
{
    return atomic_start(xp_verbs_of(xp), node, offset, token, IBV_WR_ATOMIC_CMP_AND_SWP, expected, desired);
}

enum cf_rc xp_verbs_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token)
{
    return atomic_start(xp_verbs_of(xp), node, offset, token, IBV_WR_ATOMIC_FETCH_AND_ADD, value, 0);
}

void xp_verbs_read_ended(struct xp_verbs *vb, uint32_t index, enum cf_rc rc)
{
    struct xp_verbs_read *read = &vb->reads[index];

    cf_assert(read->state == XP_VERBS_READ_OPEN);
    read->state = XP_VERBS_READ_ENDED;
    read->rc = rc;
    vb->reads_open--;
    vb->reads_ended++;
    if (rc != CF_OK)
        return;
    if (read->to == NULL)
        memcpy(&read->value, bounce_of(vb, index), sizeof(read->value));
    else if (read->is_bounced)
        memcpy(read->to, bounce_of(vb, index), read->bytes);
}

void xp_verbs_reads_tell(struct xp_verbs *vb, struct xp_verbs_batch *batch)
{
    for (uint32_t i = 0; i < XP_VERBS_READS_MAX && vb->reads_ended != 0 && batch->count < batch->max; i++) {
        struct xp_verbs_read *read = &vb->reads[i];

        if (read->state != XP_VERBS_READ_ENDED)
            continue;
        batch->events[batch->count++] = (struct xp_event){.type = XP_EV_DONE,
                                                          .node = read->node,
                                                          .rc = read->rc,
                                                          .token = read->token,
                                                          .value = read->to == NULL ? read->value : 0};
        read->state = XP_VERBS_READ_FREE;
        vb->reads_ended--;
    }
}
