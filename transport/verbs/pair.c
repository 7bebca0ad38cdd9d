/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Queue pairs. rdma_cm connects the first of a connection; the others take its path and the numbers that the peer
 * sends (ACCEPT), so that a connection is one exchange of rdma_cm whatever the number of block sizes.
 */
#include <errno.h>
#include <sodium.h>
#include <string.h>

#include "base/assert.h"
#include "transport/verbs/parts.h"

#define PACKET_NUMBER_MASK 0xffffffu
/* A receiver that is not ready is asked again after this; it never is in normal work (chosen: 0.64 ms). */
#define RNR_TIMER 12
#define RNR_RETRIES 6

/* What devices are asked for inline bytes, largest first: they refuse, they do not round down. */
static const uint32_t inline_bytes[] = {XP_VERBS_MESSAGE_BYTES, 512, 384, 256, 192, 128, 64, 0};

static void number_set(struct xp_verbs *vb, uint32_t number, uint32_t value)
{
    uint32_t at = number * 2654435761u;

    for (uint32_t i = 0; i < vb->numbers_max; i++) {
        uint32_t *cell = &vb->numbers[((at + i) & (vb->numbers_max - 1)) * 2];

        if (cell[1] == 0) {
            cell[0] = number;
            cell[1] = value;
            return;
        }
    }
    cf_unreachable(); /* twice as many cells as there can be pairs */
}

/* All anew: pairs come and go with connections only. */
static void numbers_fill(struct xp_verbs *vb)
{
    memset(vb->numbers, 0, (size_t)vb->numbers_max * 2 * sizeof(vb->numbers[0]));
    for (uint32_t i = 0; i < vb->nodes; i++)
        for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++)
            if (vb->peers[i].pairs[p].qp != NULL)
                number_set(vb, vb->peers[i].pairs[p].qp->qp_num, 1 + (i << 4 | p));
}

struct xp_verbs_peer *xp_verbs_pair_find(struct xp_verbs *vb, uint32_t number, uint32_t *index_out)
{
    uint32_t at = number * 2654435761u;

    for (uint32_t i = 0; i < vb->numbers_max; i++) {
        const uint32_t *cell = &vb->numbers[((at + i) & (vb->numbers_max - 1)) * 2];

        if (cell[1] == 0)
            return NULL;
        if (cell[0] == number) {
            *index_out = (cell[1] - 1) & 15;
            return &vb->peers[(cell[1] - 1) >> 4];
        }
    }
    return NULL;
}

int xp_verbs_pair_make(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];
    struct ibv_qp_init_attr attr;
    int errno_now = 0;

    cf_assert(pair->qp == NULL);
    for (uint32_t i = 0; i < CF_COUNTOF(inline_bytes) && pair->qp == NULL; i++) {
        if (vb->device.inline_bytes != XP_VERBS_NONE && inline_bytes[i] > vb->device.inline_bytes)
            continue;
        attr = (struct ibv_qp_init_attr){.send_cq = vb->device.cq,
                                         .recv_cq = vb->device.cq,
                                         .srq = vb->pools[index].srq,
                                         .qp_type = IBV_QPT_RC};
        attr.cap.max_send_wr = vb->send_slots + XP_VERBS_READS_MAX;
        attr.cap.max_send_sge = 3;
        attr.cap.max_inline_data = index == 0 ? inline_bytes[i] : 0;
        pair->qp = vb->calls->create_qp(vb->device.pd, &attr);
        errno_now = errno;
        if (pair->qp != NULL && index == 0)
            vb->device.inline_bytes = inline_bytes[i];
    }
    if (pair->qp == NULL)
        return errno_now != 0 ? errno_now : ENOMEM;
    pair->posted = pair->completed = pair->signalled = 0;
    pair->chain_count = 0;
    pair->is_raised = false;
    pair->first = randombytes_random() & PACKET_NUMBER_MASK;
    numbers_fill(vb);
    return 0;
}

static int modify(struct xp_verbs *vb, struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask)
{
    int failed = vb->calls->modify_qp(qp, attr, mask);

    return failed < 0 ? errno : failed;
}

/* Peers read frames and change counters over pair 0 only. */
static int access_of(uint32_t index)
{
    return index == 0 ? IBV_ACCESS_REMOTE_READ | IBV_ACCESS_REMOTE_ATOMIC : 0;
}

static uint8_t least(int a, uint32_t b)
{
    return (uint8_t)(a < (int)b ? a : (int)b);
}

static int pair_raise(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index,
                      const struct xp_verbs_wire_pair *theirs)
{
    struct xp_verbs_pair *pair = &peer->pairs[index];
    struct ibv_qp_attr to[3];
    int failed = 0;

    pair->is_raised = true;
    memcpy(to, peer->attr, sizeof(to));
    to[0].qp_access_flags = (unsigned)access_of(index);
    if (theirs != NULL) {
        to[1].dest_qp_num = theirs->number;
        to[1].rq_psn = theirs->first & PACKET_NUMBER_MASK;
        to[2].sq_psn = pair->first;
    }
    to[1].max_dest_rd_atomic = least(vb->device.attr.max_qp_rd_atom, 16);
    to[1].min_rnr_timer = RNR_TIMER;
    to[2].max_rd_atomic = least(vb->device.attr.max_qp_init_rd_atom, 16);
    to[2].timeout = vb->timeout;
    to[2].retry_cnt = vb->retries;
    to[2].rnr_retry = RNR_RETRIES;
    for (uint32_t i = theirs != NULL ? 1 : 0; i < 3 && failed == 0; i++)
        failed = modify(vb, pair->qp, &to[i], peer->attr_mask[i]);
    return failed;
}

static int attr_ask(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    static const enum ibv_qp_state states[3] = {IBV_QPS_INIT, IBV_QPS_RTR, IBV_QPS_RTS};

    for (uint32_t i = 0; i < 3; i++) {
        memset(&peer->attr[i], 0, sizeof(peer->attr[i]));
        peer->attr[i].qp_state = states[i];
        if (vb->calls->cm_qp_attr(peer->id, &peer->attr[i], &peer->attr_mask[i]) != 0)
            return errno;
    }
    return 0;
}

int xp_verbs_pair_connect(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    int failed = attr_ask(vb, peer);

    return failed != 0 ? failed : pair_raise(vb, peer, 0, NULL);
}

static int to_init(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index)
{
    struct ibv_qp_attr attr = peer->attr[0];

    peer->pairs[index].is_raised = true;
    attr.qp_access_flags = (unsigned)access_of(index);
    return modify(vb, peer->pairs[index].qp, &attr, peer->attr_mask[0]);
}

/* Pairs for blocks: for each size both have frames of. */
int xp_verbs_pairs_prepare(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    int failed = 0;

    for (uint32_t i = 0; i < CF_BLOCK_SIZES && failed == 0; i++) {
        if (vb->pools[1 + i].count == 0 || peer->facts.classes[i].count == 0)
            continue;
        failed = xp_verbs_pair_make(vb, peer, 1 + i);
        if (failed == 0)
            failed = to_init(vb, peer, 1 + i);
    }
    return failed;
}

int xp_verbs_pair_join(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index,
                       const struct xp_verbs_wire_pair *theirs)
{
    return pair_raise(vb, peer, index, theirs);
}

/* Its own number is the other end's. */
int xp_verbs_pair_loop(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct ibv_qp_attr *to = peer->attr;
    struct xp_verbs_wire_pair own;
    int failed = xp_verbs_pair_make(vb, peer, 0);

    if (failed != 0)
        return failed;
    memset(peer->attr, 0, sizeof(peer->attr));
    to[0].qp_state = IBV_QPS_INIT;
    to[0].port_num = vb->device.port;
    peer->attr_mask[0] = IBV_QP_STATE | IBV_QP_PKEY_INDEX | IBV_QP_PORT | IBV_QP_ACCESS_FLAGS;
    to[1].qp_state = IBV_QPS_RTR;
    to[1].path_mtu = vb->device.port_attr.active_mtu;
    to[1].ah_attr.port_num = vb->device.port;
    to[1].ah_attr.dlid = vb->device.port_attr.lid;
    if (vb->device.gid_index >= 0) {
        struct ibv_gid_entry entry;

        if (vb->calls->query_gid(vb->device.context, vb->device.port, (uint32_t)vb->device.gid_index,
                                 &entry) != 0)
            return errno;
        to[1].ah_attr.is_global = 1;
        to[1].ah_attr.grh.dgid = entry.gid;
        to[1].ah_attr.grh.sgid_index = (uint8_t)vb->device.gid_index;
        to[1].ah_attr.grh.hop_limit = 1;
    }
    peer->attr_mask[1] = IBV_QP_STATE | IBV_QP_AV | IBV_QP_PATH_MTU | IBV_QP_DEST_QPN | IBV_QP_RQ_PSN |
                         IBV_QP_MAX_DEST_RD_ATOMIC | IBV_QP_MIN_RNR_TIMER;
    to[2].qp_state = IBV_QPS_RTS;
    peer->attr_mask[2] = IBV_QP_STATE | IBV_QP_TIMEOUT | IBV_QP_RETRY_CNT | IBV_QP_RNR_RETRY | IBV_QP_SQ_PSN |
                         IBV_QP_MAX_QP_RD_ATOMIC;
    own = (struct xp_verbs_wire_pair){.number = peer->pairs[0].qp->qp_num, .first = peer->pairs[0].first};
    failed = to_init(vb, peer, 0);
    return failed != 0 ? failed : pair_raise(vb, peer, 0, &own);
}

void xp_verbs_pair_fence(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_RTS, .qp_access_flags = 0};

    if (peer->pairs[0].qp != NULL &&
        modify(vb, peer->pairs[0].qp, &attr, IBV_QP_STATE | IBV_QP_ACCESS_FLAGS) != 0)
        cf_log_warn(vb->log, "transport", "access of node %u ends with its queue pair", peer->node);
}

/* The device gives back all that was posted, with an error. */
void xp_verbs_pairs_stop(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};

    for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++) {
        struct xp_verbs_pair *pair = &peer->pairs[p];

        if (pair->qp == NULL)
            continue;
        if (pair->chain_count != 0) {
            /* Never handed over: nobody gives it back. */
            uint32_t kept = pair->posted - pair->chain_count;

            xp_verbs_unpost(vb, peer, p, kept);
        }
        if (!pair->is_raised)
            continue;
        if (modify(vb, pair->qp, &attr, IBV_QP_STATE) != 0)
            cf_log_warn(vb->log, "transport", "a queue pair to node %u cannot be stopped", peer->node);
        else if (pair->completed != pair->posted)
            xp_verbs_mark_end(vb, peer, p);
    }
    vb->unflushed &= ~xp_verbs_bit(peer);
}

bool xp_verbs_pairs_are_idle(const struct xp_verbs_peer *peer)
{
    for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++)
        if (peer->pairs[p].qp != NULL && peer->pairs[p].completed != peer->pairs[p].posted)
            return false;
    return true;
}

void xp_verbs_pairs_destroy(struct xp_verbs *vb, struct xp_verbs_peer *peer)
{
    for (uint32_t p = 0; p < XP_VERBS_PAIRS; p++) {
        struct xp_verbs_pair *pair = &peer->pairs[p];

        if (pair->qp == NULL)
            continue;
        if (vb->calls->destroy_qp(pair->qp) != 0)
            cf_log_error(vb->log, "transport", "%s keeps a queue pair errno %d", vb->device.name, errno);
        pair->qp = NULL;
        /* What was not given back in time is the device's no more. */
        if (pair->completed != pair->posted)
            xp_verbs_unpost(vb, peer, p, pair->completed);
    }
    peer->life++;
    numbers_fill(vb);
}
