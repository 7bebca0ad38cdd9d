/* SPDX-License-Identifier: Apache-2.0 */
/* Finds the provider of an address and dispatches. What a call promises stands in xp.h. */
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/xp_ops.h"

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *what, const char *value)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "%s '%s'", what, value);
    }
    return rc;
}

static enum cf_rc options_check(const struct xp_options *options, struct cf_error *error)
{
    char number[32];
    uint32_t slots = options->lane_slots;

    if (options->nodes == 0 || options->nodes > CF_NODES_MAX || options->node >= options->nodes) {
        snprintf(number, sizeof(number), "%u of %u", options->node, options->nodes);
        return fail(error, CF_OPTION, "node is not one of the members:", number);
    }
    if (slots < XP_LANE_SLOTS_MIN || slots > XP_LANE_SLOTS_MAX || (slots & (slots - 1)) != 0) {
        snprintf(number, sizeof(number), "%u", slots);
        return fail(error, CF_OPTION, "lane_slots is not a power of two from 2 to 4096:", number);
    }
    if (options->cluster == NULL || options->cluster[0] == 0 || options->secret == NULL)
        return fail(error, CF_OPTION,
                    "cluster and secret are needed:", options->cluster ? options->cluster : "");
    return CF_OK;
}

enum cf_rc xp_open(const struct xp_options *options, struct xp **xp_out, struct cf_error *error)
{
    const struct xp_ops *const providers[] = {&xp_shm_ops, &xp_sim_ops, &xp_verbs_ops, &xp_dpdk_ops};
    const char *address = options->address != NULL ? options->address : "";
    const char *colon = strchr(address, ':');
    enum cf_rc rc = options_check(options, error);

    if (rc != CF_OK)
        return rc;
    for (uint32_t i = 0; colon != NULL && i < CF_COUNTOF(providers); i++) {
        const struct xp_ops *ops = providers[i];
        size_t name_bytes = (size_t)(colon - address);

        if (strlen(ops->name) != name_bytes || memcmp(ops->name, address, name_bytes) != 0)
            continue;
        rc = ops->open(options, colon + 1, xp_out, error);
        /* A module has a table of its own. */
        cf_assert(rc != CF_OK || (*xp_out)->ops == ops || ops == &xp_dpdk_ops);
        return rc;
    }
    return fail(error, CF_NOT_FOUND, "no transport provider for address", address);
}

void xp_close(struct xp **xp)
{
    if (*xp == NULL)
        return;
    (*xp)->ops->close(*xp);
    *xp = NULL;
}

enum cf_rc xp_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                     struct cf_error *error)
{
    return xp->ops->memory(xp, bytes, alloc_flags, memory_out, error);
}

enum cf_rc xp_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error)
{
    return xp->ops->start(xp, space, error);
}

void xp_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
{
    xp->ops->accept(xp, node, rc, why);
}

void xp_evict(struct xp *xp, uint16_t node)
{
    xp->ops->evict(xp, node);
}

void xp_epoch(struct xp *xp, uint64_t epoch)
{
    xp->ops->epoch(xp, epoch);
}

uint32_t xp_caps(const struct xp *xp)
{
    return xp->caps;
}

const struct xp_counters *xp_counters(const struct xp *xp)
{
    return &xp->counters;
}

bool xp_is_up(const struct xp *xp, uint16_t node)
{
    return xp->ops->is_up(xp, node);
}

void *xp_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    return xp->ops->begin(xp, node, lane, bytes);
}

void xp_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    xp->ops->post(xp, node, lane, type, scn);
}

void xp_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                   uint32_t frame)
{
    xp->ops->post_block(xp, node, lane, type, scn, frame);
}

void xp_flush(struct xp *xp)
{
    xp->ops->flush(xp);
}

void xp_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    xp->ops->frame_post(xp, class_index, frame);
}

uint32_t xp_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    return xp->ops->poll(xp, now_ns, events, max);
}

int xp_fd(const struct xp *xp)
{
    return xp->ops->fd(xp);
}

bool xp_arm(struct xp *xp)
{
    return xp->ops->arm(xp);
}

void xp_disarm(struct xp *xp)
{
    xp->ops->disarm(xp);
}

void xp_wake(struct xp *xp)
{
    xp->ops->wake(xp);
}

enum cf_rc xp_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes, uint64_t token)
{
    return (xp->caps & XP_CAP_READ) != 0 ? xp->ops->read(xp, node, offset, to, bytes, token) : CF_UNSUPPORTED;
}

enum cf_rc xp_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                  uint64_t token)
{
    return (xp->caps & XP_CAP_ATOMIC) != 0 ? xp->ops->cas(xp, node, offset, expected, desired, token)
                                           : CF_UNSUPPORTED;
}

enum cf_rc xp_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token)
{
    return (xp->caps & XP_CAP_ATOMIC) != 0 ? xp->ops->add(xp, node, offset, value, token) : CF_UNSUPPORTED;
}

bool xp_frame_is_sending(const struct xp *xp, uint32_t frame)
{
    return xp->ops->is_sending != NULL && xp->ops->is_sending(xp, frame);
}

uint32_t xp_describe(const struct xp *xp, char *text, uint32_t bytes)
{
    if (bytes != 0)
        text[0] = 0;
    return xp->ops->describe != NULL ? xp->ops->describe(xp, text, bytes) : 0;
}
