/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/transport/verbs_shim.h"

#include <errno.h>
#include <stddef.h>

/* The libraries' calls carry no context of ours: the one state of a test program. */
struct verbs_shim verbs_shim = {.call = SHIM_CALLS};
const struct xp_verbs_calls *verbs_shim_base = &xp_verbs_calls_real;

static const int made[] = {
#define X(name, count) [SHIM_##name] = count,
    VERBS_SHIM_CALLS(X)
#undef X
};

const char *verbs_shim_name(enum verbs_shim_call call)
{
    static const char *const names[] = {
#define X(name, count) [SHIM_##name] = #name,
        VERBS_SHIM_CALLS(X)
#undef X
    };

    return names[call];
}

/* True: this call is the one that fails. */
static bool fails(enum verbs_shim_call call)
{
    if (call != verbs_shim.call || ++verbs_shim.seen != verbs_shim.nth)
        return false;
    verbs_shim.has_failed = true;
    errno = EIO;
    return true;
}

static void count(enum verbs_shim_call call, bool is_good)
{
    if (made[call] < 0 || is_good)
        verbs_shim.living += made[call];
}

/* Calls that give a pointer. */
#define POINTER(type, name, parameters, arguments)    \
    static type *name parameters                      \
    {                                                 \
        type *object = NULL;                          \
                                                      \
        if (!fails(SHIM_##name))                      \
            object = verbs_shim_base->name arguments; \
        count(SHIM_##name, object != NULL);           \
        return object;                                \
    }

/* Calls that give 0 or an errno (verbs) or -1 (rdma_cm): one that takes back does it before it fails. */
#define NUMBER(name, parameters, arguments, failure)     \
    static int name parameters                           \
    {                                                    \
        bool is_to_fail = fails(SHIM_##name);            \
        int rc = failure;                                \
                                                         \
        if (!is_to_fail || made[SHIM_##name] < 0)        \
            rc = verbs_shim_base->name arguments;        \
        count(SHIM_##name, !is_to_fail && rc == 0);      \
        return is_to_fail ? (errno = EIO, failure) : rc; \
    }

POINTER(struct ibv_device *, get_device_list, (int *number), (number))
POINTER(struct ibv_context, open_device, (struct ibv_device * device), (device))
NUMBER(close_device, (struct ibv_context * context), (context), EIO)
NUMBER(query_device, (struct ibv_context * context, struct ibv_device_attr *attr), (context, attr), EIO)
NUMBER(query_port, (struct ibv_context * context, uint8_t port, struct ibv_port_attr *attr),
       (context, port, attr), EIO)
NUMBER(query_gid, (struct ibv_context * context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry),
       (context, port, index, entry), EIO)
POINTER(struct ibv_pd, alloc_pd, (struct ibv_context * context), (context))
NUMBER(dealloc_pd, (struct ibv_pd * pd), (pd), EIO)
POINTER(struct ibv_mr, reg_mr, (struct ibv_pd * pd, void *address, size_t bytes, int access),
        (pd, address, bytes, access))
NUMBER(dereg_mr, (struct ibv_mr * mr), (mr), EIO)
POINTER(struct ibv_comp_channel, create_comp_channel, (struct ibv_context * context), (context))
NUMBER(destroy_comp_channel, (struct ibv_comp_channel * channel), (channel), EIO)
POINTER(struct ibv_cq, create_cq,
        (struct ibv_context * context, int entries, struct ibv_comp_channel *channel),
        (context, entries, channel))
NUMBER(destroy_cq, (struct ibv_cq * cq), (cq), EIO)
POINTER(struct ibv_srq, create_srq, (struct ibv_pd * pd, struct ibv_srq_init_attr *attr), (pd, attr))
NUMBER(destroy_srq, (struct ibv_srq * srq), (srq), EIO)
POINTER(struct ibv_qp, create_qp, (struct ibv_pd * pd, struct ibv_qp_init_attr *attr), (pd, attr))
NUMBER(destroy_qp, (struct ibv_qp * qp), (qp), EIO)
NUMBER(modify_qp, (struct ibv_qp * qp, struct ibv_qp_attr *attr, int mask), (qp, attr, mask), EIO)
NUMBER(req_notify_cq, (struct ibv_cq * cq, int solicited_only), (cq, solicited_only), EIO)
POINTER(struct rdma_event_channel, cm_create_channel, (void), ())
NUMBER(cm_create_id, (struct rdma_event_channel * channel, struct rdma_cm_id **id, void *context),
       (channel, id, context), -1)
NUMBER(cm_destroy_id, (struct rdma_cm_id * id), (id), -1)
NUMBER(cm_bind, (struct rdma_cm_id * id, struct sockaddr *address), (id, address), -1)
NUMBER(cm_listen, (struct rdma_cm_id * id, int backlog), (id, backlog), -1)
NUMBER(cm_resolve_addr, (struct rdma_cm_id * id, struct sockaddr *from, struct sockaddr *to, int timeout_ms),
       (id, from, to, timeout_ms), -1)
NUMBER(cm_resolve_route, (struct rdma_cm_id * id, int timeout_ms), (id, timeout_ms), -1)
NUMBER(cm_connect, (struct rdma_cm_id * id, struct rdma_conn_param *param), (id, param), -1)
NUMBER(cm_accept, (struct rdma_cm_id * id, struct rdma_conn_param *param), (id, param), -1)
NUMBER(cm_establish, (struct rdma_cm_id * id), (id), -1)
NUMBER(cm_disconnect, (struct rdma_cm_id * id), (id), -1)
NUMBER(cm_qp_attr, (struct rdma_cm_id * id, struct ibv_qp_attr *attr, int *mask), (id, attr, mask), -1)

static void cm_destroy_channel(struct rdma_event_channel *channel)
{
    verbs_shim.living--;
    verbs_shim_base->cm_destroy_channel(channel);
}

static int cm_get_event(struct rdma_event_channel *channel, struct rdma_cm_event **event)
{
    int rc;

    if (fails(SHIM_cm_get_event))
        return -1;
    rc = verbs_shim_base->cm_get_event(channel, event);
    if (rc == 0 && (*event)->event == RDMA_CM_EVENT_CONNECT_REQUEST)
        verbs_shim.living++; /* an id that is the receiver's to destroy */
    return rc;
}

static int poll_cq(struct ibv_cq *cq, int max, struct ibv_wc *wc)
{
    int got;

    if (fails(SHIM_poll_cq))
        return -1;
    got = verbs_shim_base->poll_cq(cq, max, wc);
    for (int i = 0; i < got && verbs_shim.status != IBV_WC_SUCCESS; i++) {
        bool is_receive = wc[i].wr_id >> 60 == 1; /* transport/verbs/parts.h */

        if (is_receive != verbs_shim.is_receive || wc[i].status != IBV_WC_SUCCESS)
            continue;
        wc[i].status = verbs_shim.status;
        wc[i].opcode = (enum ibv_wc_opcode)0x5a; /* V-2: nobody may look at these */
        wc[i].byte_len = 0x5a5a5a5a;
        verbs_shim.status = IBV_WC_SUCCESS;
        verbs_shim.has_failed = true;
    }
    return got;
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    if (fails(SHIM_post_srq_recv)) {
        *bad = wr;
        return ENOMEM;
    }
    return verbs_shim_base->post_srq_recv(srq, wr, bad);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    if (fails(SHIM_post_send)) {
        *bad = wr;
        return ENOMEM;
    }
    return verbs_shim_base->post_send(qp, wr, bad);
}

static int device_node(const char *device)
{
    return verbs_shim_base->device_node(device);
}

static int own_node(void)
{
    return verbs_shim_base->own_node();
}

static int node_distance(int from, int to)
{
    return verbs_shim_base->node_distance(from, to);
}

static void free_device_list(struct ibv_device **list)
{
    verbs_shim_base->free_device_list(list);
}

static int get_async_event(struct ibv_context *context, struct ibv_async_event *event)
{
    return verbs_shim_base->get_async_event(context, event);
}

static void ack_async_event(struct ibv_async_event *event)
{
    verbs_shim_base->ack_async_event(event);
}

static int get_cq_event(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context)
{
    return verbs_shim_base->get_cq_event(channel, cq, context);
}

static void ack_cq_events(struct ibv_cq *cq, unsigned number)
{
    verbs_shim_base->ack_cq_events(cq, number);
}

static int cm_reject(struct rdma_cm_id *id, const void *data, uint8_t bytes)
{
    return verbs_shim_base->cm_reject(id, data, bytes);
}

static int cm_ack_event(struct rdma_cm_event *event)
{
    return verbs_shim_base->cm_ack_event(event);
}

const struct xp_verbs_calls verbs_shim_calls = {
#define X(name, count) .name = name,
    VERBS_SHIM_CALLS(X)
#undef X
        .device_node = device_node,
    .own_node = own_node,
    .node_distance = node_distance,
    .free_device_list = free_device_list,
    .get_async_event = get_async_event,
    .ack_async_event = ack_async_event,
    .get_cq_event = get_cq_event,
    .ack_cq_events = ack_cq_events,
    .cm_destroy_channel = cm_destroy_channel,
    .cm_reject = cm_reject,
    .cm_ack_event = cm_ack_event};
