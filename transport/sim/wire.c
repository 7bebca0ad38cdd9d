/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIM_LINKS: instances talk through the reliability machine of dpdk: (transport/link), and what the network loses,
 * doubles, reorders, delays and damages are its Ethernet frames. T-1 is then the machine's business; wire_check.c looks
 * after it.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "transport/sim/wire.h"

#define RTO_NS_MAX (20 * CF_NS_PER_MS)
#define ACK_DELAY_NS (20 * CF_NS_PER_US)
/* Of the round trip that congestion control aims at, in times of the mean delay of the calm network. */
#define TARGET_DELAYS 8u
#define WINDOW_MIN (XP_SWIFT_ONE / 4)

bool sim_wire_is_on(const struct sim_net *net)
{
    return net->options.order == SIM_LINKS;
}

struct sim_wire *sim_wire_of(struct xp_sim *sim, uint16_t peer)
{
    return sim_link_of(sim->net, sim->node, peer)->wire;
}

bool sim_wire_is_live(struct xp_sim *sim, const struct sim_wire *wire)
{
    return wire != NULL && wire->is_open &&
           wire->session == sim_link_of(sim->net, sim->node, wire->peer)->generation;
}

struct xp_ether_end sim_wire_end(uint16_t node)
{
    return (struct xp_ether_end){.mac = {2, 0, 0, 0, (uint8_t)(node >> 8), (uint8_t)node},
                                 .ip = 0x0a000000u + node};
}

void sim_wire_open(struct xp_sim *sim, uint16_t peer)
{
    struct sim_link *link = sim_link_of(sim->net, sim->node, peer);
    struct xp_ether_end own = sim_wire_end(sim->node), other = sim_wire_end(peer);
    const struct xp_sim *there = sim_node_xp(sim->net, peer);
    struct xp_link_options options = {.lane_slots = sim->lane_slots,
                                      .packet_bytes = sim->net->options.packet_bytes,
                                      .tag = sim->tag,
                                      .session = link->generation,
                                      .node = sim->node,
                                      .peer = peer,
                                      .incarnation = sim->incarnation,
                                      .peer_incarnation = there != NULL ? there->incarnation : 0,
                                      .message_tag = sim->tag,
                                      .rto_ns_min = sim->net->options.retransmit_ns,
                                      .rto_ns_max = RTO_NS_MAX,
                                      .ack_delay_ns = ACK_DELAY_NS,
                                      .keepalive_ns = SIM_WIRE_KEEPALIVE_NS,
                                      .target_ns = TARGET_DELAYS * sim->net->target_delay_ns,
                                      .window_min = WINDOW_MIN};
    struct sim_wire *wire = link->wire;

    if (wire == NULL) {
        wire = link->wire = calloc(1, sizeof(*wire));
        cf_assert(wire != NULL);
        wire->memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(sim->lane_slots));
        cf_assert(wire->memory != NULL);
        memset(wire->memory, 0, xp_link_bytes(sim->lane_slots));
        wire->peer = peer;
    }
    sim_wire_close(sim, peer);
    xp_link_open(&wire->link, &options, wire->memory, sim->net->now_ns);
    xp_ether_front(wire->front, &own, &other, XP_ETHER_SOURCE_PORT);
    wire->session = link->generation;
    wire->tick_ns = SIM_WIRE_NEVER;
    wire->is_open = true;
}

void sim_wire_close(struct xp_sim *sim, uint16_t peer)
{
    struct sim_wire *wire = sim_wire_of(sim, peer);
    struct xp_link_frames frames = sim_frames_of(sim);

    if (wire == NULL || !wire->is_open)
        return;
    xp_link_close(&wire->link, &frames);
    wire->is_open = false;
}

void sim_wire_free(struct sim_wire *wire)
{
    if (wire != NULL)
        free(wire->memory);
    free(wire);
}
