/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_VERBS_SHIM_H
#define TESTS_UNIT_TRANSPORT_VERBS_SHIM_H

/*
 * A table of calls in front of another, the libraries' own or that of a device in memory: it fails the n-th call of one kind, once, turns one completion into
 * an error, and counts what is made and not taken back.
 */
#include "transport/verbs/calls.h"

#include <stdbool.h>
#include <stdint.h>

/* Calls that can fail: name, whether it makes (+1) or takes back (-1) an object, or neither. */
#define VERBS_SHIM_CALLS(X)     \
    X(get_device_list, 0)       \
    X(open_device, 1)           \
    X(close_device, -1)         \
    X(query_device, 0)          \
    X(query_port, 0)            \
    X(query_gid, 0)             \
    X(alloc_pd, 1)              \
    X(dealloc_pd, -1)           \
    X(reg_mr, 1)                \
    X(dereg_mr, -1)             \
    X(create_comp_channel, 1)   \
    X(destroy_comp_channel, -1) \
    X(create_cq, 1)             \
    X(destroy_cq, -1)           \
    X(poll_cq, 0)               \
    X(create_srq, 1)            \
    X(destroy_srq, -1)          \
    X(post_srq_recv, 0)         \
    X(create_qp, 1)             \
    X(destroy_qp, -1)           \
    X(modify_qp, 0)             \
    X(post_send, 0)             \
    X(req_notify_cq, 0)         \
    X(cm_create_channel, 1)     \
    X(cm_create_id, 1)          \
    X(cm_destroy_id, -1)        \
    X(cm_bind, 0)               \
    X(cm_listen, 0)             \
    X(cm_resolve_addr, 0)       \
    X(cm_resolve_route, 0)      \
    X(cm_connect, 0)            \
    X(cm_accept, 0)             \
    X(cm_establish, 0)          \
    X(cm_disconnect, 0)         \
    X(cm_qp_attr, 0)            \
    X(cm_get_event, 0)

enum verbs_shim_call {
#define X(name, made) SHIM_##name,
    VERBS_SHIM_CALLS(X)
#undef X
        SHIM_CALLS
};

struct verbs_shim {
    enum verbs_shim_call call; /* SHIM_CALLS: none fails */
    uint32_t nth;              /* from 1 */
    uint32_t seen;
    bool has_failed;
    enum ibv_wc_status status; /* IBV_WC_SUCCESS: no completion is changed */
    bool is_receive;           /* the next completion of this kind is */
    int32_t living;            /* objects made and not taken back */
};

extern struct verbs_shim verbs_shim;
/* What is behind: the libraries, unless a test says otherwise. */
extern const struct xp_verbs_calls *verbs_shim_base;
extern const struct xp_verbs_calls verbs_shim_calls;
const char *verbs_shim_name(enum verbs_shim_call call);

#endif
