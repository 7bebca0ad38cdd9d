/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-sided READ: the peer takes no part in it, so that it works while the peer is stalled. The bytes are copied in
 * pieces, each at a time of its own and in an order that is drawn, so that a READ of what is being changed is torn as
 * it is over a real device, its tail newer than its head as often as not. Words are copied whole.
 */
#include <stdatomic.h>

#include "base/assert.h"
#include "base/hash.h"
#include "transport/sim/net.h"

/* Pieces of a READ; one if it is shorter than SIM_READ_PIECE_BYTES_MIN each. */
#define SIM_READ_PIECES 8u
#define SIM_READ_PIECE_BYTES_MIN 64u

/* The body of a packet of kind SIM_READ. */
struct sim_read {
    uint8_t *to;
    uint64_t offset;
    uint64_t token;
    uint32_t bytes;
    uint32_t pieces;
    uint32_t done;   /* pieces copied */
    uint32_t first;  /* of the pieces, in the order of copying */
    uint32_t stride; /* odd, to the next one */
    uint32_t unused;
};

static uint64_t start_of(struct sim_net *net, uint16_t from, uint16_t to)
{
    const struct sim_link *there = sim_link_of(net, from, to), *back = sim_link_of(net, to, from);
    uint64_t start_ns = net->now_ns;

    if (start_ns < there->cut_until_ns)
        start_ns = there->cut_until_ns;
    if (start_ns < back->cut_until_ns)
        start_ns = back->cut_until_ns;
    while (sim_net_chance(net, net->options.faults.loss_ppm))
        start_ns += net->options.retransmit_ns;
    return start_ns;
}

enum cf_rc sim_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes, uint64_t token)
{
    struct xp_sim *sim = (struct xp_sim *)xp;
    struct sim_net *net = sim->net;
    const struct sim_link *link = sim_link_of(net, sim->node, node);
    const struct xp_sim *peer = sim_node_xp(net, node);
    struct sim_packet *packet;
    struct sim_read *read;

    if (!link->is_open || peer == NULL || peer->space == NULL)
        return CF_PEER_LOST;
    if (offset > peer->space->bytes || bytes > peer->space->bytes - offset)
        return CF_RANGE;
    packet = sim_packet_take(net, sizeof(*read));
    packet->kind = SIM_READ;
    packet->from = node;
    packet->to = sim->node;
    packet->generation = link->generation;
    packet->header.bytes = sizeof(*read);
    read = (struct sim_read *)(void *)packet->body;
    *read = (struct sim_read){.to = to,
                              .offset = offset,
                              .token = token,
                              .bytes = bytes,
                              .pieces = bytes < SIM_READ_PIECES * SIM_READ_PIECE_BYTES_MIN ? 1
                                                                                           : SIM_READ_PIECES,
                              .first = (uint32_t)cf_rng_below(&net->rng, SIM_READ_PIECES),
                              .stride = (uint32_t)cf_rng_below(&net->rng, SIM_READ_PIECES) | 1};
    sim_net_queue(net, packet, start_of(net, sim->node, node) + sim_net_delay(net, link, bytes));
    return CF_OK;
}

/* 8 bytes at a time where they are aligned: a word of a frame is never seen in half. */
static void copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    uint32_t at = 0;

    if ((((uintptr_t)to | (uintptr_t)from) & 7) == 0)
        for (; at + 8 <= bytes; at += 8)
            *(uint64_t *)(void *)(to + at) = atomic_load_explicit(
                (const _Atomic uint64_t *)(const void *)(from + at), memory_order_relaxed);
    for (; at < bytes; at++)
        to[at] = from[at];
}

static bool is_served(struct sim_net *net, const struct sim_packet *packet)
{
    const struct sim_link *link = sim_link_of(net, packet->to, packet->from);
    const struct xp_sim *peer = sim_node_xp(net, packet->from);

    return link->is_open && link->generation == packet->generation && peer != NULL && peer->space != NULL &&
           !net->nodes[packet->from].is_gone;
}

bool sim_read_step(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *event)
{
    struct sim_read *read = (struct sim_read *)(void *)packet->body;
    struct sim_net *net = sim->net;
    bool is_good = is_served(net, packet);

    if (is_good) {
        uint32_t piece = (read->first + read->done * read->stride) % read->pieces;
        uint32_t piece_bytes = read->bytes / read->pieces, at = piece * piece_bytes;
        uint32_t end = piece + 1 == read->pieces ? read->bytes : at + piece_bytes;

        copy(read->to + at, sim_node_xp(net, packet->from)->space->base + read->offset + at, end - at);
        if (++read->done < read->pieces) {
            sim_net_queue(net, packet,
                          net->now_ns + 1 + cf_rng_below(&net->rng, net->options.delay_floor_ns));
            return false;
        }
    }
    *event = (struct xp_event){
        .type = XP_EV_DONE, .node = packet->from, .rc = is_good ? CF_OK : CF_PEER_LOST, .token = read->token};
    net->trace = cf_mix64(net->trace ^ net->now_ns, read->token << 1 | is_good);
    net->counters.reads++;
    return true;
}
