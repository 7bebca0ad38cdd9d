/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_VERBS_CALLS_H
#define TRANSPORT_VERBS_CALLS_H

/*
 * Every call of libibverbs and librdmacm that the provider makes, as one table: a test puts a table in between
 * that fails the n-th call, or one that needs no device. Names and results are those of the libraries: 0 or a
 * pointer is success, -1 with errno or an errno (ibv_*) is not.
 */
#include <infiniband/verbs.h>
#include <rdma/rdma_cma.h>

struct xp_verbs_calls {
    void *arg; /* of the table, for tests */

    /* NUMA: where a device is, where this thread is, how far apart two nodes are (10 = the same); negative: unknown. */
    int (*device_node)(const char *device);
    int (*own_node)(void);
    int (*node_distance)(int from, int to);

    struct ibv_device **(*get_device_list)(int *count);
    void (*free_device_list)(struct ibv_device **list);
    struct ibv_context *(*open_device)(struct ibv_device *device);
    int (*close_device)(struct ibv_context *context);
    int (*query_device)(struct ibv_context *context, struct ibv_device_attr *attr);
    int (*query_port)(struct ibv_context *context, uint8_t port, struct ibv_port_attr *attr);
    int (*query_gid)(struct ibv_context *context, uint32_t port, uint32_t index, struct ibv_gid_entry *entry);
    int (*get_async_event)(struct ibv_context *context, struct ibv_async_event *event);
    void (*ack_async_event)(struct ibv_async_event *event);

    struct ibv_pd *(*alloc_pd)(struct ibv_context *context);
    int (*dealloc_pd)(struct ibv_pd *pd);
    struct ibv_mr *(*reg_mr)(struct ibv_pd *pd, void *address, size_t bytes, int access);
    int (*dereg_mr)(struct ibv_mr *mr);
    struct ibv_comp_channel *(*create_comp_channel)(struct ibv_context *context);
    int (*destroy_comp_channel)(struct ibv_comp_channel *channel);
    struct ibv_cq *(*create_cq)(struct ibv_context *context, int entries, struct ibv_comp_channel *channel);
    int (*destroy_cq)(struct ibv_cq *cq);
    int (*req_notify_cq)(struct ibv_cq *cq, int solicited_only);
    int (*get_cq_event)(struct ibv_comp_channel *channel, struct ibv_cq **cq, void **context);
    void (*ack_cq_events)(struct ibv_cq *cq, unsigned count);
    int (*poll_cq)(struct ibv_cq *cq, int max, struct ibv_wc *wc);
    struct ibv_srq *(*create_srq)(struct ibv_pd *pd, struct ibv_srq_init_attr *attr);
    int (*destroy_srq)(struct ibv_srq *srq);
    int (*post_srq_recv)(struct ibv_srq *srq, struct ibv_recv_wr *wr, struct ibv_recv_wr **bad);
    struct ibv_qp *(*create_qp)(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
    int (*destroy_qp)(struct ibv_qp *qp);
    int (*modify_qp)(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
    int (*post_send)(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

    struct rdma_event_channel *(*cm_create_channel)(void);
    void (*cm_destroy_channel)(struct rdma_event_channel *channel);
    int (*cm_create_id)(struct rdma_event_channel *channel, struct rdma_cm_id **id_out, void *context);
    int (*cm_destroy_id)(struct rdma_cm_id *id);
    int (*cm_bind)(struct rdma_cm_id *id, struct sockaddr *address);
    int (*cm_listen)(struct rdma_cm_id *id, int backlog);
    int (*cm_resolve_addr)(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to, int timeout_ms);
    int (*cm_resolve_route)(struct rdma_cm_id *id, int timeout_ms);
    int (*cm_connect)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*cm_accept)(struct rdma_cm_id *id, struct rdma_conn_param *param);
    int (*cm_reject)(struct rdma_cm_id *id, const void *data, uint8_t bytes);
    int (*cm_establish)(struct rdma_cm_id *id);
    int (*cm_disconnect)(struct rdma_cm_id *id);
    int (*cm_qp_attr)(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
    int (*cm_get_event)(struct rdma_event_channel *channel, struct rdma_cm_event **event);
    int (*cm_ack_event)(struct rdma_cm_event *event);
};

/* The libraries themselves. */
extern const struct xp_verbs_calls xp_verbs_calls_real;

#endif
