/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The sim: provider: one instance's end of a simulated network.
 *
 * Invariants (checked here, told by sim_net_check): T-1 order and at most once (SIM_ORDERED), T-2 credits,
 * T-3 epoch and generation, T-4 a lent frame comes back as it was lent. Together I-26.
 */
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "transport/sim/wire.h"

static uint32_t tag_of(const char *cluster, const char *secret)
{
    uint64_t tag = 0;

    for (const char *c = cluster; *c != 0; c++)
        tag = cf_mix64(tag, (uint8_t)*c);
    tag = cf_mix64(tag, 0x100);
    for (const char *c = secret; *c != 0; c++)
        tag = cf_mix64(tag, (uint8_t)*c);
    return (uint32_t)tag;
}

static enum cf_rc sim_open(const struct xp_options *options, const char *rest, struct xp **xp_out,
                           struct cf_error *error)
{
    struct sim_net *net = options->network;
    struct xp_sim *sim;

    (void)rest;
    if (net == NULL || options->nodes != net->options.nodes || net->nodes[options->node].xp != NULL) {
        if (error != NULL) {
            *error = (struct cf_error){.rc = net == NULL ? CF_OPTION : CF_NODE_TAKEN, .node = options->node};
            snprintf(error->text, sizeof(error->text), "%s",
                     net == NULL ? "sim: works inside the simulator only"
                                 : "sim: node id taken or wrong cluster size");
        }
        return net == NULL ? CF_OPTION : CF_NODE_TAKEN;
    }
    sim = calloc(1, sizeof(*sim));
    if (sim == NULL)
        return CF_MEMORY;
    sim->base.ops = &xp_sim_ops;
    if (!sim_wire_is_on(net)) /* dpdk: has neither */
        sim->base.caps = XP_CAP_READ | (net->options.blocks == SIM_PULL ? XP_CAP_PULL : 0u);
    sim->net = net;
    sim->allocator = options->allocator;
    sim->lane_slots = options->lane_slots;
    sim->incarnation = options->incarnation;
    sim->node = options->node;
    sim->epoch = options->epoch;
    sim->tag = tag_of(options->cluster, options->secret);
    memcpy(sim->hello, options->hello, XP_HELLO_BYTES);
    net->nodes[sim->node].xp = sim;
    *xp_out = &sim->base;
    return CF_OK;
}

static void sim_close(struct xp *xp)
{
    struct xp_sim *sim = sim_of(xp);

    sim_net_crash(sim->net, sim->node);
    sim_delivered_give(sim);
    if (sim->begun != NULL)
        sim_packet_give(sim->net, sim->begun);
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        free(sim->lent[i].frames);
    for (uint32_t i = 0; i < sim->memories_count; i++)
        cf_free(sim->allocator, sim->memories[i].memory, sim->memories[i].bytes);
    sim->net->nodes[sim->node].xp = NULL;
    free(sim);
}

static enum cf_rc sim_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                             struct cf_error *error)
{
    struct xp_sim *sim = sim_of(xp);
    void *memory;

    cf_assert(sim->memories_count < SIM_MEMORIES_MAX);
    memory = cf_alloc(sim->allocator, bytes, 4096, alloc_flags | CF_ALLOC_ZERO);
    if (memory == NULL) {
        if (error != NULL)
            *error = (struct cf_error){
                .rc = CF_MEMORY, .node = sim->node, .text = "sim: no memory for frames"};
        return CF_MEMORY;
    }
    sim->memories[sim->memories_count++] = (struct sim_memory){.memory = memory, .bytes = bytes};
    *memory_out = memory;
    return CF_OK;
}

static enum cf_rc sim_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_net *net = sim->net;

    (void)error;
    sim->space = space;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        sim->lent[i].frames = calloc(sim->lane_slots, sizeof(uint32_t));
        if (sim->lent[i].frames == NULL)
            return CF_MEMORY;
    }
    net->nodes[sim->node].is_started = true;
    for (uint32_t n = 0; n < net->options.nodes; n++) {
        const struct xp_sim *peer = sim_node_xp(net, (uint16_t)n);
        uint16_t to = (uint16_t)n;

        if (to == sim->node || peer == NULL || !net->nodes[n].is_started || net->nodes[n].is_gone)
            continue;
        if (peer->tag != sim->tag) {
            sim->base.counters.hello_refused++;
            continue;
        }
        sim_net_tell(net, SIM_HELLO, to, sim->node,
                     net->now_ns + sim_net_delay(net, sim_link_of(net, to, sim->node), XP_HELLO_BYTES),
                     CF_OK);
        sim_net_tell(net, SIM_HELLO, sim->node, to,
                     net->now_ns + sim_net_delay(net, sim_link_of(net, sim->node, to), XP_HELLO_BYTES),
                     CF_OK);
    }
    return CF_OK;
}

static void sim_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_link *link = sim_link_of(sim->net, sim->node, node);

    (void)why;
    if (rc == CF_OK) {
        if (!link->is_accepted) {
            link->is_accepted = true;
            sim_net_connect(sim->net, sim->node, node);
        }
        return;
    }
    sim->base.counters.hello_refused++;
    sim_net_tell(sim->net, SIM_DOWN, sim->node, node,
                 sim->net->now_ns + sim_net_delay(sim->net, link, XP_HELLO_BYTES), rc);
}

static void sim_evict(struct xp *xp, uint16_t node)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_link *link = sim_link_of(sim->net, sim->node, node);

    link->is_open = false;
    link->is_down = true;
    sim_wire_close(sim, node);
}

static void sim_epoch(struct xp *xp, uint64_t epoch)
{
    sim_of(xp)->epoch = epoch;
}

static bool sim_is_up(const struct xp *xp, uint16_t node)
{
    const struct xp_sim *sim = (const struct xp_sim *)xp;

    return node != sim->node && sim_link_of(sim->net, sim->node, node)->is_open;
}

static int sim_fd(const struct xp *xp)
{
    (void)xp;
    return -1;
}

/* The harness sleeps for all: an instance may when nothing has arrived. */
static bool sim_arm(struct xp *xp)
{
    struct xp_sim *sim = sim_of(xp);

    return sim_net_node_next_ns(sim->net, sim->node) > sim->net->now_ns;
}

static void sim_disarm(struct xp *xp)
{
    (void)xp;
}

static void sim_wake(struct xp *xp)
{
    struct xp_sim *sim = sim_of(xp);

    sim->net->nodes[sim->node].is_awake = true;
    sim_net_refresh(sim->net, sim->node);
}

static enum cf_rc sim_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                          uint64_t token)
{
    (void)xp, (void)node, (void)offset, (void)expected, (void)desired, (void)token;
    return CF_UNSUPPORTED;
}

static enum cf_rc sim_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token)
{
    (void)xp, (void)node, (void)offset, (void)value, (void)token;
    return CF_UNSUPPORTED;
}

const struct xp_ops xp_sim_ops = {
    .name = "sim",
    .open = sim_open,
    .close = sim_close,
    .memory = sim_memory,
    .start = sim_start,
    .accept = sim_accept,
    .evict = sim_evict,
    .epoch = sim_epoch,
    .is_up = sim_is_up,
    .begin = sim_begin,
    .post = sim_post,
    .post_block = sim_post_block,
    .flush = sim_flush,
    .frame_post = sim_frame_post,
    .poll = sim_poll,
    .fd = sim_fd,
    .arm = sim_arm,
    .disarm = sim_disarm,
    .wake = sim_wake,
    .read = sim_read,
    .cas = sim_cas,
    .add = sim_add,
};
