/* SPDX-License-Identifier: Apache-2.0 */
/* Queue pairs of the device in memory: a request is done, and completed on both sides, inside the call that posts it. */
#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/unit/transport/verbs_fake_parts.h"

#define QPS_MAX 64u

static struct fake_qp *qps[QPS_MAX];

struct ibv_qp *verbs_fake_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    struct fake_qp *qp;

    if (attr->cap.max_inline_data > verbs_fake.inline_max ||
        attr->cap.max_send_wr > (uint32_t)verbs_fake.max_qp_wr) {
        errno = EINVAL;
        return NULL;
    }
    qp = verbs_fake_make(sizeof(*qp));
    if (qp == NULL)
        return NULL;
    qp->base = (struct ibv_qp){.context = pd->context,
                               .pd = pd,
                               .send_cq = attr->send_cq,
                               .recv_cq = attr->recv_cq,
                               .srq = attr->srq,
                               .qp_num = verbs_fake_number(),
                               .state = IBV_QPS_RESET};
    qp->inline_max = attr->cap.max_inline_data;
    *verbs_fake_place(qps, QPS_MAX, NULL) = qp;
    return &qp->base;
}

int verbs_fake_destroy_qp(struct ibv_qp *qp)
{
    *verbs_fake_place(qps, QPS_MAX, qp) = NULL;
    verbs_fake_drop(qp);
    return 0;
}

int verbs_fake_modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
{
    struct fake_qp *qp = (struct fake_qp *)base;
    bool is_step = attr->qp_state == IBV_QPS_ERR || attr->qp_state == base->state ||
                   (attr->qp_state == IBV_QPS_INIT && base->state == IBV_QPS_RESET) ||
                   (attr->qp_state == IBV_QPS_RTR && base->state == IBV_QPS_INIT) ||
                   (attr->qp_state == IBV_QPS_RTS && base->state == IBV_QPS_RTR);

    if (verbs_fake.is_lost)
        return EIO;
    if ((mask & IBV_QP_STATE) == 0 || !is_step)
        return EINVAL;
    if (mask & IBV_QP_DEST_QPN)
        qp->far = attr->dest_qp_num;
    if (mask & IBV_QP_ACCESS_FLAGS)
        qp->access = attr->qp_access_flags;
    base->state = attr->qp_state;
    return 0;
}

static struct fake_qp *far_of(const struct fake_qp *qp)
{
    for (uint32_t i = 0; i < QPS_MAX && !verbs_fake.is_cut; i++)
        if (qps[i] != NULL && qps[i]->base.qp_num == qp->far && qps[i]->far == qp->base.qp_num &&
            (qps[i]->base.state == IBV_QPS_RTR || qps[i]->base.state == IBV_QPS_RTS))
            return qps[i];
    return NULL;
}

/* Copies between a list of pieces and a flat buffer of `bytes`; false: a key does not cover, or there is no room. */
static bool pieces_copy(const struct ibv_sge *sge, int sges, uint8_t *flat, uint32_t bytes, bool is_gather,
                        bool is_inline)
{
    for (int i = 0; i < sges && bytes > 0; i++) {
        uint32_t count = sge[i].length < bytes ? sge[i].length : bytes;
        uint8_t *at = is_inline ? (uint8_t *)(uintptr_t)sge[i].addr
                                : verbs_fake_memory(sge[i].lkey, sge[i].addr, sge[i].length,
                                                    is_gather ? 0 : IBV_ACCESS_LOCAL_WRITE);

        if (at == NULL)
            return false;
        memcpy(is_gather ? flat : at, is_gather ? at : flat, count);
        flat += count;
        bytes -= count;
    }
    return bytes == 0;
}

static uint32_t bytes_of(const struct ibv_send_wr *wr)
{
    uint32_t bytes = 0;

    for (int i = 0; i < wr->num_sge; i++)
        bytes += wr->sg_list[i].length;
    return bytes;
}

static enum ibv_wc_status send_do(struct fake_qp *far, const struct ibv_send_wr *wr, uint8_t *flat,
                                  uint32_t bytes)
{
    struct fake_srq *srq = (struct fake_srq *)far->base.srq;
    struct ibv_wc wc = {.opcode = IBV_WC_RECV, .byte_len = bytes, .qp_num = far->base.qp_num};
    struct receive receive;

    if (srq->count == 0 || verbs_fake.is_starved)
        return IBV_WC_RNR_RETRY_EXC_ERR;
    receive = srq->receive[srq->first];
    srq->first = (srq->first + 1) % srq->max;
    srq->count--;
    if (receive.sges > 1 && verbs_fake.swallowed > 0) {
        verbs_fake.swallowed--;
        return IBV_WC_RETRY_EXC_ERR;
    }
    wc.wr_id = receive.id;
    if (!pieces_copy(receive.sge, receive.sges, flat, bytes, false, false))
        wc.status = IBV_WC_LOC_LEN_ERR;
    verbs_fake_complete((struct fake_cq *)far->base.recv_cq, &wc, (wr->send_flags & IBV_SEND_SOLICITED) != 0);
    if (wc.status == IBV_WC_SUCCESS)
        return IBV_WC_SUCCESS;
    far->base.state = IBV_QPS_ERR;
    return IBV_WC_REM_INV_REQ_ERR;
}

static enum ibv_wc_status onesided_do(const struct fake_qp *far, const struct ibv_send_wr *wr, uint32_t bytes)
{
    bool is_read = wr->opcode == IBV_WR_RDMA_READ;
    int access = is_read ? IBV_ACCESS_REMOTE_READ : IBV_ACCESS_REMOTE_ATOMIC;
    uint8_t *from;
    uint64_t word, now;

    if ((far->access & (unsigned)access) == 0)
        return IBV_WC_REM_ACCESS_ERR;
    if (is_read && bytes == 0)
        return IBV_WC_SUCCESS;
    from = is_read ? verbs_fake_memory(wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, bytes, access)
                   : verbs_fake_memory(wr->wr.atomic.rkey, wr->wr.atomic.remote_addr, sizeof(word), access);
    if (from == NULL)
        return IBV_WC_REM_ACCESS_ERR;
    verbs_fake.reads += is_read;
    verbs_fake.atomics += !is_read;
    if (is_read)
        return pieces_copy(wr->sg_list, wr->num_sge, from, bytes, false, false) ? IBV_WC_SUCCESS
                                                                                : IBV_WC_LOC_PROT_ERR;
    memcpy(&word, from, sizeof(word));
    now = word + wr->wr.atomic.compare_add;
    if (wr->opcode == IBV_WR_ATOMIC_CMP_AND_SWP)
        now = word == wr->wr.atomic.compare_add ? wr->wr.atomic.swap : word;
    memcpy(from, &now, sizeof(now));
    return pieces_copy(wr->sg_list, wr->num_sge, (uint8_t *)&word, bytes, false, false) ? IBV_WC_SUCCESS
                                                                                        : IBV_WC_LOC_PROT_ERR;
}

static enum ibv_wc_status request_do(struct fake_qp *qp, const struct ibv_send_wr *wr)
{
    struct fake_qp *far = far_of(qp);
    uint32_t bytes = bytes_of(wr);
    bool is_inline = (wr->send_flags & IBV_SEND_INLINE) != 0;
    enum ibv_wc_status status = verbs_fake.status;
    uint8_t *flat;

    verbs_fake.status = IBV_WC_SUCCESS;
    if (qp->base.state == IBV_QPS_ERR)
        return IBV_WC_WR_FLUSH_ERR;
    if (status != IBV_WC_SUCCESS)
        return status;
    if (far == NULL)
        return IBV_WC_RETRY_EXC_ERR;
    if (wr->opcode != IBV_WR_SEND)
        return onesided_do(far, wr, bytes);
    cf_assert(!is_inline || bytes <= qp->inline_max);
    flat = malloc(bytes + 1);
    cf_assert(flat != NULL);
    status = IBV_WC_LOC_PROT_ERR;
    if (pieces_copy(wr->sg_list, wr->num_sge, flat, bytes, true, is_inline))
        status = send_do(far, wr, flat, bytes);
    free(flat);
    verbs_fake.sends++;
    return status;
}

int verbs_fake_post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    struct fake_qp *qp = (struct fake_qp *)base;

    for (; wr != NULL; wr = wr->next) {
        struct ibv_wc wc = {.wr_id = wr->wr_id, .qp_num = base->qp_num};

        *bad = wr;
        if (verbs_fake.is_lost)
            return EIO;
        if (base->state != IBV_QPS_RTS && base->state != IBV_QPS_ERR)
            return EINVAL;
        if (verbs_fake.refused_sends > 0) {
            verbs_fake.refused_sends--;
            return ENOMEM;
        }
        wc.status = request_do(qp, wr);
        if (wc.status != IBV_WC_SUCCESS)
            base->state = IBV_QPS_ERR;
        if (wc.status != IBV_WC_SUCCESS || (wr->send_flags & IBV_SEND_SIGNALED) != 0)
            verbs_fake_complete((struct fake_cq *)base->send_cq, &wc, false);
    }
    return 0;
}
