/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the network hands to an instance, packet by packet, and what is checked on the way (I-26): order and at
 * most once in SIM_ORDERED (T-1), credits (T-2), generation and epoch (T-3), lent frames (T-4).
 */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "transport/sim/wire.h"

/* The oldest lent frame takes the block. Answers the event it makes. */
static uint8_t land(struct xp_sim *sim, struct sim_packet *packet, uint32_t *frame_out)
{
    const struct xp_sim *sender = sim_node_xp(sim->net, packet->from);
    const uint8_t *source = packet->block;

    if (packet->block == NULL) {
        if (sender == NULL || sim->net->nodes[packet->from].is_gone ||
            sim_frame_word_of(sender->space, packet->frame) != packet->word ||
            sim_net_chance(sim->net, sim->net->options.faults.torn_ppm))
            return XP_EV_TORN;
        source = sim_frame_bytes_of(sender->space, packet->frame);
    }
    *frame_out = sim_frame_take(sim, packet->class_index);
    if (*frame_out == XP_LINK_FRAME_NONE)
        return XP_EV_TORN;
    memcpy(sim_frame_bytes_of(sim->space, *frame_out), source, packet->block_bytes);
    return XP_EV_BLOCK;
}

void sim_observe(struct sim_net *net, const struct sim_seen *seen)
{
    if (net->observe != NULL)
        net->observe(net->observe_arg, seen);
}

static struct sim_seen seen_of(const struct sim_net *net, const struct sim_packet *packet, enum sim_fate fate)
{
    return (struct sim_seen){.now_ns = net->now_ns,
                             .from = packet->from,
                             .to = packet->to,
                             .fate = fate,
                             .is_double = packet->is_double,
                             .is_block = packet->kind == SIM_BLOCK,
                             .header = &packet->header,
                             .body = packet->body};
}

static void observe(struct sim_net *net, const struct sim_packet *packet, enum sim_fate fate)
{
    struct sim_seen seen = seen_of(net, packet, fate);

    sim_observe(net, &seen);
}

static void trace(struct sim_net *net, const struct sim_packet *packet, uint8_t type, const uint8_t *block)
{
    struct sim_seen seen = seen_of(net, packet, SIM_DELIVERED);

    sim_trace(net, &seen, type, block, packet->block_bytes);
}

void sim_trace(struct sim_net *net, const struct sim_seen *seen, uint8_t type, const uint8_t *block,
               uint32_t block_bytes)
{
    const uint8_t *body = seen->body;
    uint64_t hash = cf_mix64(net->trace, net->now_ns);
    uint64_t word = 0;

    hash = cf_mix64(hash,
                    (uint64_t)seen->from << 48 | (uint64_t)seen->to << 32 | seen->header->type << 8 | type);
    hash = cf_mix64(hash, seen->header->scn);
    for (uint32_t at = 0; at < seen->header->bytes; at += 8) {
        uint32_t left = seen->header->bytes - at;

        word = 0;
        memcpy(&word, body + at, left < 8 ? left : 8);
        hash = cf_mix64(hash, word);
    }
    for (uint32_t at = 0; block != NULL && at < block_bytes; at += block_bytes / 32) {
        memcpy(&word, block + at, 8);
        hash = cf_mix64(hash, word);
    }
    net->trace = hash;
}

/* An original takes its place in the lane and gives its credit back. False: it is dropped. */
static bool take_place(struct xp_sim *sim, struct sim_link *link, const struct sim_packet *packet)
{
    struct sim_net *net = sim->net;
    struct sim_lane *lane = &link->lanes[packet->lane];

    cf_assert(lane->in_flight > 0);
    lane->in_flight--;
    lane->expected++;
    if (net->options.order == SIM_ORDERED && packet->header.sequence != lane->expected)
        sim_net_break(net, "T-1 order", packet);
    if (link->is_starved && sim_node_xp(net, packet->from) != NULL) {
        link->is_starved = false;
        net->nodes[packet->from].is_awake = true;
        sim_net_refresh(net, packet->from);
    }
    return !packet->is_lost;
}

static bool is_admitted(struct xp_sim *sim, struct sim_packet *packet)
{
    struct sim_net *net = sim->net;
    struct sim_link *link = sim_link_of(net, packet->from, packet->to);
    const struct sim_link *back = sim_link_of(net, packet->to, packet->from);

    if (packet->generation != link->generation) {
        net->counters.dropped_generation++;
        observe(net, packet, SIM_DROPPED);
        return false;
    }
    if (!packet->is_double && !packet->is_injected && !take_place(sim, link, packet)) {
        net->counters.lost++;
        observe(net, packet, SIM_LOST);
        return false;
    }
    if (back->is_down || (net->nodes[packet->from].is_gone && (cf_rng_next(&net->rng) & 1) != 0)) {
        net->counters.dropped_gone++;
        observe(net, packet, SIM_DROPPED);
        return false;
    }
    if (packet->header.epoch != sim->epoch && !net->options.serves_stale) {
        sim->base.counters.stale_epoch++;
        observe(net, packet, SIM_DROPPED);
        return false;
    }
    return true;
}

static bool deliver_message(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *event)
{
    struct sim_net *net = sim->net;

    if (!is_admitted(sim, packet))
        return false;
    *event = (struct xp_event){.type = XP_EV_MESSAGE,
                               .lane_class = packet->lane,
                               .node = packet->from,
                               .bytes = packet->header.bytes,
                               .header = &packet->header,
                               .message = packet->body,
                               .rc = CF_OK};
    if (packet->kind == SIM_BLOCK) {
        event->type = land(sim, packet, &event->frame);
        if (event->type == XP_EV_TORN) {
            net->counters.torn++;
            sim->base.counters.torn++;
        } else {
            net->counters.blocks++;
            sim->base.counters.blocks_received++;
        }
    }
    trace(net, packet, event->type,
          event->type == XP_EV_BLOCK ? sim_frame_bytes_of(sim->space, event->frame) : NULL);
    observe(net, packet, event->type == XP_EV_TORN ? SIM_TORN : SIM_DELIVERED);
    net->counters.delivered++;
    sim->base.counters.received++;
    sim->base.counters.bytes_received += packet->header.bytes;
    return true;
}

bool sim_deliver(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *event)
{
    struct sim_link *back = sim_link_of(sim->net, sim->node, packet->from);
    const struct xp_sim *peer = sim_node_xp(sim->net, packet->from);

    switch ((enum sim_kind)packet->kind) {
    case SIM_MESSAGE:
    case SIM_BLOCK:
        return deliver_message(sim, packet, event);
    case SIM_HELLO:
        if (peer == NULL)
            return false;
        *event = (struct xp_event){
            .type = XP_EV_HELLO, .node = packet->from, .bytes = XP_HELLO_BYTES, .message = peer->hello};
        return true;
    case SIM_UP:
    case SIM_RESET:
        if (back->is_down || packet->generation != back->generation)
            return false;
        back->is_open = true;
        if (sim_wire_is_on(sim->net))
            sim_wire_open(sim, packet->from);
        if (packet->kind == SIM_RESET)
            sim->base.counters.resets++;
        *event = (struct xp_event){.type = packet->kind == SIM_UP ? XP_EV_UP : XP_EV_RESET,
                                   .node = packet->from};
        trace(sim->net, packet, event->type, NULL);
        return true;
    case SIM_DOWN:
        if (back->is_down)
            return false;
        back->is_open = false;
        back->is_down = packet->rc == CF_PEER_LOST;
        sim_wire_close(sim, packet->from);
        *event = (struct xp_event){.type = XP_EV_DOWN, .node = packet->from, .rc = packet->rc};
        trace(sim->net, packet, event->type, NULL);
        return true;
    case SIM_READ: /* sim_read_step */
    case SIM_FRAME:
    case SIM_TICK: /* sim_wire_packet */
        cf_unreachable();
    }
    return false;
}
