/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_VERBS_FAKE_PARTS_H
#define TESTS_UNIT_TRANSPORT_VERBS_FAKE_PARTS_H

/* What the files of the device in memory know of each other. */
#include "tests/unit/transport/verbs_fake.h"

#define SGES_MAX 3u

struct receive {
    uint64_t id;
    struct ibv_sge sge[SGES_MAX];
    int sges;
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

/* An object that is counted as living; NULL with errno when the device is lost. */
void *verbs_fake_make(size_t bytes);
void verbs_fake_drop(void *object);
/* The place of an object in a table; of NULL: a free one. */
void **verbs_fake_place(void *table, uint32_t max, const void *object);
/* Of queue pairs and keys: never used twice. */
uint32_t verbs_fake_number(void);
/* The bytes that a key and an address name; NULL: it does not cover them, or not for this. */
uint8_t *verbs_fake_memory(uint32_t key, uint64_t address, uint64_t bytes, int access);
void verbs_fake_complete(struct fake_cq *cq, const struct ibv_wc *wc, bool is_solicited);
struct ibv_context *verbs_fake_context(void);

/* verbs_fake_qp.c */
struct ibv_qp *verbs_fake_create_qp(struct ibv_pd *pd, struct ibv_qp_init_attr *attr);
int verbs_fake_destroy_qp(struct ibv_qp *qp);
int verbs_fake_modify_qp(struct ibv_qp *qp, struct ibv_qp_attr *attr, int mask);
int verbs_fake_post_send(struct ibv_qp *qp, struct ibv_send_wr *wr, struct ibv_send_wr **bad);

/* verbs_fake_cm.c */
struct rdma_event_channel *verbs_fake_cm_create_channel(void);
void verbs_fake_cm_destroy_channel(struct rdma_event_channel *channel);
int verbs_fake_cm_create_id(struct rdma_event_channel *channel, struct rdma_cm_id **id_out, void *context);
int verbs_fake_cm_destroy_id(struct rdma_cm_id *id);
int verbs_fake_cm_bind(struct rdma_cm_id *id, struct sockaddr *address);
int verbs_fake_cm_listen(struct rdma_cm_id *id, int backlog);
int verbs_fake_cm_resolve_addr(struct rdma_cm_id *id, struct sockaddr *from, struct sockaddr *to,
                               int timeout_ms);
int verbs_fake_cm_resolve_route(struct rdma_cm_id *id, int timeout_ms);
int verbs_fake_cm_connect(struct rdma_cm_id *id, struct rdma_conn_param *param);
int verbs_fake_cm_accept(struct rdma_cm_id *id, struct rdma_conn_param *param);
int verbs_fake_cm_reject(struct rdma_cm_id *id, const void *data, uint8_t bytes);
int verbs_fake_cm_establish(struct rdma_cm_id *id);
int verbs_fake_cm_disconnect(struct rdma_cm_id *id);
int verbs_fake_cm_qp_attr(struct rdma_cm_id *id, struct ibv_qp_attr *attr, int *mask);
int verbs_fake_cm_get_event(struct rdma_event_channel *channel, struct rdma_cm_event **event);
int verbs_fake_cm_ack_event(struct rdma_cm_event *event);

#endif
