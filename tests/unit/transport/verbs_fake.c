/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/transport/verbs_fake.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

#define SGES_MAX 3u
#define QPS_MAX 64u
#define CQS_MAX 8u
#define MRS_MAX 64u
#define CONTEXTS_MAX 8u
#define EVENTS_MAX 8u

struct receive {
    uint64_t id;
    struct ibv_sge sge[SGES_MAX];
    int sges;
};

struct fake_context {
    struct ibv_context base;
    enum ibv_event_type event[EVENTS_MAX];
    uint32_t events;
};

struct fake_cq {
    struct ibv_cq base;
    uint32_t first, count, max;
    uint32_t notices;
    int armed; /* 0: not, 1: for solicited ones, 2: for any */
    bool is_over;
    struct ibv_wc wc[];
};

struct fake_srq {
    struct ibv_srq base;
    uint32_t first, count, max;
    struct receive receive[];
};

struct fake_qp {
    struct ibv_qp base;
    uint32_t far; /* number of the other end */
    uint32_t inline_max;
    unsigned access;
};

/* The calls carry no context of ours: the one device of a test program. */
struct verbs_fake verbs_fake;
static struct ibv_device device = {.name = "fake0"};
static struct ibv_device *devices[2];
static struct fake_context *contexts[CONTEXTS_MAX];
static struct fake_cq *cqs[CQS_MAX];
static struct fake_qp *qps[QPS_MAX];
static struct ibv_mr *mrs[MRS_MAX];
static uint32_t numbers; /* of queue pairs and keys: never used twice */

/* The place of an object in a table; of NULL: a free one. */
static void **place(void *table, uint32_t max, const void *object)
{
    void **at = table;

    for (uint32_t i = 0; i < max; i++)
        if (at[i] == object)
            return &at[i];
    cf_unreachable();
}

static void *make(size_t bytes)
{
    void *object = verbs_fake.is_lost ? NULL : calloc(1, bytes);

    verbs_fake.living += object != NULL;
    if (object == NULL)
        errno = verbs_fake.is_lost ? EIO : ENOMEM;
    return object;
}

static void drop(void *object)
{
    verbs_fake.living--;
    free(object);
}

void verbs_fake_reset(void)
{
    cf_assert(verbs_fake.living == 0 && verbs_fake.locked == 0);
    verbs_fake = (struct verbs_fake){
        .max_qp_wr = 4096, .max_srq_wr = 4096, .max_cqe = 65536, .inline_max = 256, .has_atomics = true};
}

/* ------------------------------------------------------------------ device */

static int device_node(const char *name)
{
    (void)name;
    return 0;
}

static int own_node(void)
{
    return 0;
}

static int node_distance(int from, int to)
{
    return from == to ? 10 : 20;
}

static struct ibv_device **get_device_list(int *count)
{
    *count = 1;
    devices[0] = &device;
    return devices;
}

static void free_device_list(struct ibv_device **list)
{
    cf_assert(list == devices);
}

static struct ibv_context *open_device(struct ibv_device *which)
{
    struct fake_context *context = make(sizeof(*context));

    if (context == NULL)
        return NULL;
    context->base.device = which;
    context->base.async_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    *place(contexts, CONTEXTS_MAX, NULL) = context;
    return &context->base;
}

struct ibv_context *verbs_fake_context(void)
{
    for (uint32_t i = 0; i < CONTEXTS_MAX; i++)
        if (contexts[i] != NULL)
            return &contexts[i]->base;
    return NULL;
}

static int close_device(struct ibv_context *context)
{
    close(context->async_fd);
    *place(contexts, CONTEXTS_MAX, context) = NULL;
    drop(context);
    return 0;
}

static int query_device(struct ibv_context *context, struct ibv_device_attr *attr)
{
    (void)context;
    *attr = (struct ibv_device_attr){.phys_port_cnt = 1,
                                     .max_qp_wr = verbs_fake.max_qp_wr,
                                     .max_srq_wr = verbs_fake.max_srq_wr,
                                     .max_cqe = verbs_fake.max_cqe,
                                     .max_qp_rd_atom = 16,
                                     .max_qp_init_rd_atom = 16,
                                     .atomic_cap = verbs_fake.has_atomics ? IBV_ATOMIC_HCA : IBV_ATOMIC_NONE};
    return 0;
}

static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    (void)context;
    cf_assert(port == 1);
    *attr = (struct ibv_port_attr){.state = IBV_PORT_ACTIVE,
                                   .active_mtu = IBV_MTU_4096,
                                   .gid_tbl_len = 1,
                                   .link_layer = IBV_LINK_LAYER_ETHERNET};
    return 0;
}

static int query_gid(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry)
{
    static const uint8_t gid[16] = {[10] = 0xff, [11] = 0xff, [12] = 192, [14] = 2, [15] = 7};

    (void)context;
    (void)port;
    *entry = (struct ibv_gid_entry){.gid_index = index, .gid_type = IBV_GID_TYPE_ROCE_V2};
    memcpy(entry->gid.raw, gid, sizeof(gid));
    return 0;
}

void verbs_fake_event(enum ibv_event_type type)
{
    uint64_t one = 1;

    verbs_fake.is_lost = verbs_fake.is_lost || type == IBV_EVENT_DEVICE_FATAL;
    for (uint32_t i = 0; i < CQS_MAX; i++)
        if (cqs[i] != NULL && type == IBV_EVENT_CQ_ERR)
            cqs[i]->is_over = true;
    for (uint32_t i = 0; i < CONTEXTS_MAX; i++)
        if (contexts[i] != NULL && contexts[i]->events < EVENTS_MAX) {
            contexts[i]->event[contexts[i]->events++] = type;
            cf_assert(write(contexts[i]->base.async_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
        }
}

static int get_async_event(struct ibv_context *base, struct ibv_async_event *event)
{
    struct fake_context *context = (struct fake_context *)base;
    uint64_t one;

    if (context->events == 0) {
        errno = EAGAIN;
        return -1;
    }
    cf_assert(read(base->async_fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    *event = (struct ibv_async_event){.event_type = context->event[--context->events]};
    return 0;
}

static void ack_async_event(struct ibv_async_event *event)
{
    (void)event;
}

static struct ibv_pd *alloc_pd(struct ibv_context *context)
{
    struct ibv_pd *pd = make(sizeof(*pd));

    if (pd != NULL)
        pd->context = context;
    return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    drop(pd);
    return 0;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *address, size_t bytes, int access)
{
    struct ibv_mr *mr;

    if (verbs_fake.locked_max != 0 && verbs_fake.locked + bytes > verbs_fake.locked_max) {
        errno = ENOMEM;
        return NULL;
    }
    mr = make(sizeof(*mr));
    if (mr == NULL)
        return NULL;
    verbs_fake.locked += bytes;
    *mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = address, .length = bytes};
    mr->lkey = mr->rkey = ++numbers;
    mr->handle = (uint32_t)access;
    *place(mrs, MRS_MAX, NULL) = mr;
    return mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
    verbs_fake.locked -= mr->length;
    *place(mrs, MRS_MAX, mr) = NULL;
    drop(mr);
    return 0;
}

/* The bytes that a key and an address name; NULL: it does not cover them, or not for this. */
static uint8_t *memory_of(uint32_t key, uint64_t address, uint64_t bytes, int access)
{
    for (uint32_t i = 0; i < MRS_MAX; i++) {
        const struct ibv_mr *mr = mrs[i];
        uint64_t begin = mr != NULL ? (uint64_t)(uintptr_t)mr->addr : 0;

        if (mr == NULL || mr->lkey != key)
            continue;
        if (address < begin || address - begin > mr->length || bytes > mr->length - (address - begin) ||
            ((int)mr->handle & access) != access)
            return NULL;
        return (uint8_t *)mr->addr + (address - begin);
    }
    return NULL;
}

/* ------------------------------------------------------------------ queues */

static struct ibv_comp_channel *create_comp_channel(struct ibv_context *context)
{
    struct ibv_comp_channel *channel = make(sizeof(*channel));

    if (channel != NULL)
        *channel = (struct ibv_comp_channel){.context = context,
                                             .fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)};
    return channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    drop(channel);
    return 0;
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, struct ibv_comp_channel *channel)
{
    struct fake_cq *cq;

    if (entries > verbs_fake.max_cqe) {
        errno = EINVAL;
        return NULL;
    }
    cq = make(sizeof(*cq) + (size_t)entries * sizeof(cq->wc[0]));
    if (cq == NULL)
        return NULL;
    cq->base.context = context;
    cq->base.channel = channel;
    cq->max = (uint32_t)entries;
    *place(cqs, CQS_MAX, NULL) = cq;
    return &cq->base;
}

static int destroy_cq(struct ibv_cq *cq)
{
    *place(cqs, CQS_MAX, cq) = NULL;
    drop(cq);
    return 0;
}

static int req_notify_cq(struct ibv_cq *base, int solicited_only)
{
    struct fake_cq *cq = (struct fake_cq *)base;

    cq->armed = solicited_only ? 1 : 2;
    return verbs_fake.is_lost ? EIO : 0;
}

static void complete(struct fake_cq *cq, const struct ibv_wc *wc, bool is_solicited)
{
    uint64_t one = 1;

    if (cq->count == cq->max) { /* V-4: an instance has a place for each */
        verbs_fake_event(IBV_EVENT_CQ_ERR);
        return;
    }
    cq->wc[(cq->first + cq->count++) % cq->max] = *wc;
    if (cq->armed == 2 || (cq->armed == 1 && (is_solicited || wc->status != IBV_WC_SUCCESS))) {
        cq->armed = 0;
        cq->notices++;
        cf_assert(write(cq->base.channel->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
    }
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq_out, void **context)
{
    uint64_t one;

    for (uint32_t i = 0; i < CQS_MAX; i++)
        if (cqs[i] != NULL && cqs[i]->base.channel == channel && cqs[i]->notices > 0) {
            cqs[i]->notices--;
            cf_assert(read(channel->fd, &one, sizeof(one)) == (ssize_t)sizeof(one));
            *cq_out = &cqs[i]->base;
            *context = NULL;
            return 0;
        }
    errno = EAGAIN;
    return -1;
}

static void ack_cq_events(struct ibv_cq *cq, unsigned count)
{
    (void)cq;
    (void)count;
}

static int poll_cq(struct ibv_cq *base, int max, struct ibv_wc *wc)
{
    struct fake_cq *cq = (struct fake_cq *)base;
    int count = 0;

    if (cq->is_over || verbs_fake.is_lost)
        return -1;
    for (; count < max && cq->count > 0; cq->count--, cq->first = (cq->first + 1) % cq->max)
        wc[count++] = cq->wc[cq->first];
    return count;
}

static struct ibv_srq *create_srq(struct ibv_pd *pd, struct ibv_srq_init_attr *attr)
{
    struct fake_srq *srq;

    cf_assert(attr->attr.max_wr <= (uint32_t)verbs_fake.max_srq_wr && attr->attr.max_sge <= SGES_MAX);
    srq = make(sizeof(*srq) + attr->attr.max_wr * sizeof(srq->receive[0]));
    if (srq == NULL)
        return NULL;
    srq->base.pd = pd;
    srq->max = attr->attr.max_wr;
    return &srq->base;
}

static int destroy_srq(struct ibv_srq *srq)
{
    drop(srq);
    return 0;
}

static int post_srq_recv(struct ibv_srq *base, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    struct fake_srq *srq = (struct fake_srq *)base;

    for (; wr != NULL; wr = wr->next) {
        struct receive *receive = &srq->receive[(srq->first + srq->count) % srq->max];

        *bad = wr;
        if (verbs_fake.is_lost)
            return EIO;
        if (verbs_fake.refused_receives > 0 || srq->count == srq->max) {
            verbs_fake.refused_receives -= verbs_fake.refused_receives > 0;
            return ENOMEM;
        }
        *receive = (struct receive){.id = wr->wr_id, .sges = wr->num_sge};
        memcpy(receive->sge, wr->sg_list, (size_t)wr->num_sge * sizeof(receive->sge[0]));
        srq->count++;
    }
    return 0;
}

/* ------------------------------------------------------------------ queue pairs */

static struct ibv_qp *create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr)
{
    struct fake_qp *qp;

    if (attr->cap.max_inline_data > verbs_fake.inline_max ||
        attr->cap.max_send_wr > (uint32_t)verbs_fake.max_qp_wr) {
        errno = EINVAL;
        return NULL;
    }
    qp = make(sizeof(*qp));
    if (qp == NULL)
        return NULL;
    qp->base = (struct ibv_qp){.context = pd->context,
                               .pd = pd,
                               .send_cq = attr->send_cq,
                               .recv_cq = attr->recv_cq,
                               .srq = attr->srq,
                               .qp_num = ++numbers,
                               .state = IBV_QPS_RESET};
    qp->inline_max = attr->cap.max_inline_data;
    *place(qps, QPS_MAX, NULL) = qp;
    return &qp->base;
}

static int destroy_qp(struct ibv_qp *qp)
{
    *place(qps, QPS_MAX, qp) = NULL;
    drop(qp);
    return 0;
}

static int modify_qp(struct ibv_qp *base, struct ibv_qp_attr *attr, int mask)
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
                                : memory_of(sge[i].lkey, sge[i].addr, sge[i].length,
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
    wc.wr_id = receive.id;
    if (!pieces_copy(receive.sge, receive.sges, flat, bytes, false, false))
        wc.status = IBV_WC_LOC_LEN_ERR;
    complete((struct fake_cq *)far->base.recv_cq, &wc, (wr->send_flags & IBV_SEND_SOLICITED) != 0);
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
    from = is_read ? memory_of(wr->wr.rdma.rkey, wr->wr.rdma.remote_addr, bytes, access)
                   : memory_of(wr->wr.atomic.rkey, wr->wr.atomic.remote_addr, sizeof(word), access);
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

static int post_send(struct ibv_qp *base, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
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
            complete((struct fake_cq *)base->send_cq, &wc, false);
    }
    return 0;
}

const struct xp_verbs_calls verbs_fake_calls = {.device_node = device_node,
                                                .own_node = own_node,
                                                .node_distance = node_distance,
                                                .get_device_list = get_device_list,
                                                .free_device_list = free_device_list,
                                                .open_device = open_device,
                                                .close_device = close_device,
                                                .query_device = query_device,
                                                .query_port = query_port,
                                                .query_gid = query_gid,
                                                .get_async_event = get_async_event,
                                                .ack_async_event = ack_async_event,
                                                .alloc_pd = alloc_pd,
                                                .dealloc_pd = dealloc_pd,
                                                .reg_mr = reg_mr,
                                                .dereg_mr = dereg_mr,
                                                .create_comp_channel = create_comp_channel,
                                                .destroy_comp_channel = destroy_comp_channel,
                                                .create_cq = create_cq,
                                                .destroy_cq = destroy_cq,
                                                .req_notify_cq = req_notify_cq,
                                                .get_cq_event = get_cq_event,
                                                .ack_cq_events = ack_cq_events,
                                                .poll_cq = poll_cq,
                                                .create_srq = create_srq,
                                                .destroy_srq = destroy_srq,
                                                .post_srq_recv = post_srq_recv,
                                                .create_qp = create_qp,
                                                .destroy_qp = destroy_qp,
                                                .modify_qp = modify_qp,
                                                .post_send = post_send,
                                                .cm_create_channel = verbs_fake_cm_create_channel,
                                                .cm_destroy_channel = verbs_fake_cm_destroy_channel,
                                                .cm_create_id = verbs_fake_cm_create_id,
                                                .cm_destroy_id = verbs_fake_cm_destroy_id,
                                                .cm_bind = verbs_fake_cm_bind,
                                                .cm_listen = verbs_fake_cm_listen,
                                                .cm_resolve_addr = verbs_fake_cm_resolve_addr,
                                                .cm_resolve_route = verbs_fake_cm_resolve_route,
                                                .cm_connect = verbs_fake_cm_connect,
                                                .cm_accept = verbs_fake_cm_accept,
                                                .cm_reject = verbs_fake_cm_reject,
                                                .cm_establish = verbs_fake_cm_establish,
                                                .cm_disconnect = verbs_fake_cm_disconnect,
                                                .cm_qp_attr = verbs_fake_cm_qp_attr,
                                                .cm_get_event = verbs_fake_cm_get_event,
                                                .cm_ack_event = verbs_fake_cm_ack_event};
