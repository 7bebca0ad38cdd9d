/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_XP_OPS_H
#define TRANSPORT_XP_OPS_H

/* What a provider implements; xp.c dispatches. Contracts are those of xp.h. Private to transport/. */
#include "transport/xp.h"

/* Windows of a lane in messages; xp_open refuses others. */
#define XP_LANE_SLOTS_MIN 2u
#define XP_LANE_SLOTS_MAX 4096u

struct xp_ops {
    const char *name; /* text before the colon */
    enum cf_rc (*open)(const struct xp_options *options, const char *rest, struct xp **xp_out,
                       struct cf_error *error);
    void (*close)(struct xp *xp);
    enum cf_rc (*memory)(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                         struct cf_error *error);
    enum cf_rc (*start)(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error);
    void (*accept)(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why);
    void (*evict)(struct xp *xp, uint16_t node);
    void (*epoch)(struct xp *xp, uint64_t epoch);
    bool (*is_up)(const struct xp *xp, uint16_t node);
    void *(*begin)(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
    void (*post)(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
    void (*post_block)(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                       uint32_t frame);
    void (*flush)(struct xp *xp);
    void (*frame_post)(struct xp *xp, uint32_t class_index, uint32_t frame);
    uint32_t (*poll)(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);
    int (*fd)(const struct xp *xp);
    bool (*arm)(struct xp *xp);
    void (*disarm)(struct xp *xp);
    void (*wake)(struct xp *xp);
    enum cf_rc (*read)(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                       uint64_t token);
    enum cf_rc (*cas)(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                      uint64_t token);
    enum cf_rc (*add)(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token);
    bool (*is_sending)(const struct xp *xp, uint32_t frame);               /* NULL: never */
    uint32_t (*describe)(const struct xp *xp, char *text, uint32_t bytes); /* NULL: nothing to say */
};

/* Every provider's object begins with this. */
struct xp {
    const struct xp_ops *ops;
    uint32_t caps;
    struct xp_counters counters;
};

extern const struct xp_ops xp_shm_ops;
extern const struct xp_ops xp_sim_ops;
extern const struct xp_ops xp_verbs_ops;
extern const struct xp_ops xp_dpdk_ops;

#endif
