/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/verbs/calls.h"

#include <fcntl.h>
#include <sched.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

/* Some of the library's names are macros or inline functions, so that their address is not to be had. */
static int query_port(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr)
{
    return ibv_query_port(context, port, attr);
}

static int query_gid(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry)
{
    return ibv_query_gid_ex(context, port, index, entry, 0);
}

static struct ibv_mr *reg_mr(struct ibv_pd *pd, void *address, size_t bytes, int access)
{
    return ibv_reg_mr(pd, address, bytes, access);
}

static struct ibv_cq *create_cq(struct ibv_context *context, int entries, struct ibv_comp_channel *channel)
{
    return ibv_create_cq(context, entries, NULL, channel, 0);
}

static int req_notify_cq(struct ibv_cq *cq, int solicited_only)
{
    return ibv_req_notify_cq(cq, solicited_only);
}

static int poll_cq(struct ibv_cq *cq, int max, struct ibv_wc *wc)
{
    return ibv_poll_cq(cq, max, wc);
}

static int post_srq_recv(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad)
{
    return ibv_post_srq_recv(srq, wr, bad);
}

static int post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad)
{
    return ibv_post_send(qp, wr, bad);
}

static int create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id_out, void *context)
{
    return rdma_create_id(channel, id_out, context, RDMA_PS_TCP);
}

/* The first line of a file of the kernel's; false: there is none. */
static bool line_read(const char *path, char *text, size_t text_bytes)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t length = fd >= 0 ? read(fd, text, text_bytes - 1) : -1;

    if (fd >= 0)
        close(fd);
    text[length > 0 ? length : 0] = 0;
    return length > 0;
}

static int device_node(const char *device)
{
    char path[128], text[16];

    snprintf(path, sizeof(path), "/sys/class/infiniband/%s/device/numa_node", device);
    return line_read(path, text, sizeof(text)) ? atoi(text) : -1;
}

static int own_node(void)
{
    unsigned cpu, node;

    return getcpu(&cpu, &node) == 0 ? (int)node : -1;
}

/* The line of `from` has a distance to each node that is there, in their order; nodes without a gap are the usual. */
static int node_distance(int from, int to)
{
    char path[64], text[1024], *at = text;
    long distance = -1;

    if (from < 0 || to < 0)
        return -1;
    snprintf(path, sizeof(path), "/sys/devices/system/node/node%d/distance", from);
    if (!line_read(path, text, sizeof(text)))
        return -1;
    for (int node = 0; node <= to; node++) {
        char *end;

        distance = strtol(at, &end, 10);
        if (end == at)
            return -1;
        at = end;
    }
    return (int)distance;
}

const struct xp_verbs_calls xp_verbs_calls_real = {.device_node = device_node,
                                                   .own_node = own_node,
                                                   .node_distance = node_distance,
                                                   .get_device_list = ibv_get_device_list,
                                                   .free_device_list = ibv_free_device_list,
                                                   .open_device = ibv_open_device,
                                                   .close_device = ibv_close_device,
                                                   .query_device = ibv_query_device,
                                                   .query_port = query_port,
                                                   .query_gid = query_gid,
                                                   .get_async_event = ibv_get_async_event,
                                                   .ack_async_event = ibv_ack_async_event,
                                                   .alloc_pd = ibv_alloc_pd,
                                                   .dealloc_pd = ibv_dealloc_pd,
                                                   .reg_mr = reg_mr,
                                                   .dereg_mr = ibv_dereg_mr,
                                                   .create_comp_channel = ibv_create_comp_channel,
                                                   .destroy_comp_channel = ibv_destroy_comp_channel,
                                                   .create_cq = create_cq,
                                                   .destroy_cq = ibv_destroy_cq,
                                                   .req_notify_cq = req_notify_cq,
                                                   .get_cq_event = ibv_get_cq_event,
                                                   .ack_cq_events = ibv_ack_cq_events,
                                                   .poll_cq = poll_cq,
                                                   .create_srq = ibv_create_srq,
                                                   .destroy_srq = ibv_destroy_srq,
                                                   .post_srq_recv = post_srq_recv,
                                                   .create_qp = ibv_create_qp,
                                                   .destroy_qp = ibv_destroy_qp,
                                                   .modify_qp = ibv_modify_qp,
                                                   .post_send = post_send,
                                                   .cm_create_channel = rdma_create_event_channel,
                                                   .cm_destroy_channel = rdma_destroy_event_channel,
                                                   .cm_create_id = create_id,
                                                   .cm_destroy_id = rdma_destroy_id,
                                                   .cm_bind = rdma_bind_addr,
                                                   .cm_listen = rdma_listen,
                                                   .cm_resolve_addr = rdma_resolve_addr,
                                                   .cm_resolve_route = rdma_resolve_route,
                                                   .cm_connect = rdma_connect,
                                                   .cm_accept = rdma_accept,
                                                   .cm_reject = rdma_reject,
                                                   .cm_establish = rdma_establish,
                                                   .cm_disconnect = rdma_disconnect,
                                                   .cm_qp_attr = rdma_init_qp_attr,
                                                   .cm_get_event = rdma_get_cm_event,
                                                   .cm_ack_event = rdma_ack_cm_event};
