/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/transport/verbs_fake_parts.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include "base/assert.h"

#define CQS_MAX 8u
#define MRS_MAX 64u
#define CONTEXTS_MAX 8u
#define EVENTS_MAX 8u

struct fake_context {
    struct ibv_context base;
    enum ibv_event_type event[EVENTS_MAX];
    uint32_t events;
};

/* The calls carry no context of ours: the one device of a test program. */
struct verbs_fake verbs_fake;
static struct ibv_device device = {.name = "fake0"};
static struct ibv_device *devices[2];
static struct fake_context *contexts[CONTEXTS_MAX];
static struct fake_cq *cqs[CQS_MAX];
static struct ibv_mr *mrs[MRS_MAX];
static uint32_t numbers; /* of queue pairs and keys: never used twice */

void **verbs_fake_place(void *table, uint32_t max, const void *object)
{
    void **at = table;

    for (uint32_t i = 0; i < max; i++)
        if (at[i] == object)
            return &at[i];
    cf_unreachable();
}

void *verbs_fake_make(size_t bytes)
{
    void *object = verbs_fake.is_lost ? NULL : calloc(1, bytes);

    verbs_fake.living += object != NULL;
    if (object == NULL)
        errno = verbs_fake.is_lost ? EIO : ENOMEM;
    return object;
}

void verbs_fake_drop(void *object)
{
    verbs_fake.living--;
    free(object);
}

uint32_t verbs_fake_number(void)
{
    return ++numbers;
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
    struct fake_context *context = verbs_fake_make(sizeof(*context));

    if (context == NULL)
        return NULL;
    context->base.device = which;
    context->base.async_fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE);
    *verbs_fake_place(contexts, CONTEXTS_MAX, NULL) = context;
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
    *verbs_fake_place(contexts, CONTEXTS_MAX, context) = NULL;
    verbs_fake_drop(context);
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
    struct ibv_pd *pd = verbs_fake_make(sizeof(*pd));

    if (pd != NULL)
        pd->context = context;
    return pd;
}

static int dealloc_pd(struct ibv_pd *pd)
{
    verbs_fake_drop(pd);
    return 0;
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *address, size_t bytes, int access)
{
    struct ibv_mr *mr;

    if (verbs_fake.locked_max != 0 && verbs_fake.locked + bytes > verbs_fake.locked_max) {
        errno = ENOMEM;
        return NULL;
    }
    mr = verbs_fake_make(sizeof(*mr));
    if (mr == NULL)
        return NULL;
    verbs_fake.locked += bytes;
    *mr = (struct ibv_mr){.context = pd->context, .pd = pd, .addr = address, .length = bytes};
    mr->lkey = mr->rkey = verbs_fake_number();
    mr->handle = (uint32_t)access;
    *verbs_fake_place(mrs, MRS_MAX, NULL) = mr;
    return mr;
}

static int dereg_mr(struct ibv_mr *mr)
{
    verbs_fake.locked -= mr->length;
    *verbs_fake_place(mrs, MRS_MAX, mr) = NULL;
    verbs_fake_drop(mr);
    return 0;
}

uint8_t *verbs_fake_memory(uint32_t key, uint64_t address, uint64_t bytes, int access)
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
    struct ibv_comp_channel *channel = verbs_fake_make(sizeof(*channel));

    if (channel != NULL)
        *channel = (struct ibv_comp_channel){.context = context,
                                             .fd = eventfd(0, EFD_CLOEXEC | EFD_SEMAPHORE)};
    return channel;
}

static int destroy_comp_channel(struct ibv_comp_channel *channel)
{
    close(channel->fd);
    verbs_fake_drop(channel);
    return 0;
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, struct ibv_comp_channel *channel)
{
    struct fake_cq *cq;

    if (entries > verbs_fake.max_cqe) {
        errno = EINVAL;
        return NULL;
    }
    cq = verbs_fake_make(sizeof(*cq) + (size_t)entries * sizeof(cq->wc[0]));
    if (cq == NULL)
        return NULL;
    cq->base.context = context;
    cq->base.channel = channel;
    cq->max = (uint32_t)entries;
    *verbs_fake_place(cqs, CQS_MAX, NULL) = cq;
    return &cq->base;
}

static int destroy_cq(struct ibv_cq *cq)
{
    *verbs_fake_place(cqs, CQS_MAX, cq) = NULL;
    verbs_fake_drop(cq);
    return 0;
}

static int req_notify_cq(struct ibv_cq *base, int solicited_only)
{
    struct fake_cq *cq = (struct fake_cq *)base;

    cq->armed = solicited_only ? 1 : 2;
    return verbs_fake.is_lost ? EIO : 0;
}

void verbs_fake_complete(struct fake_cq *cq, const struct ibv_wc *wc, bool is_solicited)
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
    srq = verbs_fake_make(sizeof(*srq) + attr->attr.max_wr * sizeof(srq->receive[0]));
    if (srq == NULL)
        return NULL;
    srq->base.pd = pd;
    srq->max = attr->attr.max_wr;
    return &srq->base;
}

static int destroy_srq(struct ibv_srq *srq)
{
    verbs_fake_drop(srq);
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
                                                .create_qp = verbs_fake_create_qp,
                                                .destroy_qp = verbs_fake_destroy_qp,
                                                .modify_qp = verbs_fake_modify_qp,
                                                .post_send = verbs_fake_post_send,
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
