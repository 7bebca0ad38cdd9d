/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the network hands to an instance, packet by packet, and what is checked on the way (I-26): order and at
 * most once in SIM_ORDERED (T-1), credits (T-2), generation and epoch (T-3), lent frames (T-4).
 */
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "transport/sim/net.h"

uint32_t sim_frame_class_of(const struct xp_frame_space *space, uint32_t frame)
{
    uint32_t i = 0;

    while (i < CF_BLOCK_SIZES && frame - space->classes[i].first >= space->classes[i].count)
        i++;
    cf_assert(i < CF_BLOCK_SIZES);
    return i;
}

uint8_t *sim_frame_bytes_of(const struct xp_frame_space *space, uint32_t frame)
{
    const struct xp_frame_class *c = &space->classes[sim_frame_class_of(space, frame)];

    return space->base + c->offset + (uint64_t)(frame - c->first) * c->bytes;
}

uint64_t sim_frame_word_of(const struct xp_frame_space *space, uint32_t frame)
{
    return atomic_load_explicit(&space->words[frame], memory_order_relaxed) & space->words_stable_mask;
}

static bool is_poison(const uint8_t *bytes)
{
    for (uint32_t i = 0; i < SIM_POISON_BYTES; i++) {
        if (bytes[i] != SIM_POISON)
            return false;
    }
    return true;
}

/* The oldest lent frame takes the block. Answers the event it makes. */
static uint8_t land(struct xp_sim *sim, struct sim_packet *packet, uint32_t *frame_out)
{
    const struct xp_sim *sender = sim_node_xp(sim->net, packet->from);
    struct sim_lent *lent = &sim->lent[packet->class_index];
    const uint8_t *source = packet->block;
    uint8_t *target;

    if (packet->block == NULL) {
        if (sender == NULL || sim->net->nodes[packet->from].is_gone ||
            sim_frame_word_of(sender->space, packet->frame) != packet->word ||
            sim_net_chance(sim->net, sim->net->options.faults.torn_ppm))
            return XP_EV_TORN;
        source = sim_frame_bytes_of(sender->space, packet->frame);
    }
    if (lent->count == 0) {
        sim->net->counters.no_frame++;
        return XP_EV_TORN;
    }
    *frame_out = lent->frames[0];
    lent->count--;
    memmove(&lent->frames[0], &lent->frames[1], lent->count * sizeof(lent->frames[0]));
    target = sim_frame_bytes_of(sim->space, *frame_out);
    if (!is_poison(target) || !is_poison(target + packet->block_bytes - SIM_POISON_BYTES))
        sim_net_break(sim->net, "T-4 a lent frame was written", packet);
    memcpy(target, source, packet->block_bytes);
    return XP_EV_BLOCK;
}

static void observe(struct sim_net *net, const struct sim_packet *packet, enum sim_fate fate)
{
    struct sim_seen seen = {.now_ns = net->now_ns,
                            .from = packet->from,
                            .to = packet->to,
                            .fate = fate,
                            .is_double = packet->is_double,
                            .is_block = packet->kind == SIM_BLOCK,
                            .header = &packet->header,
                            .body = packet->body};

    if (net->observe != NULL)
        net->observe(net->observe_arg, &seen);
}

static void trace(struct sim_net *net, const struct sim_packet *packet, uint8_t type, const uint8_t *block)
{
    const uint8_t *body = (const uint8_t *)packet->body;
    uint64_t hash = cf_mix64(net->trace, net->now_ns);
    uint64_t word = 0;

    hash = cf_mix64(hash, (uint64_t)packet->from << 48 | (uint64_t)packet->to << 32 |
                              packet->header.type << 8 | type);
    hash = cf_mix64(hash, packet->header.scn);
    for (uint32_t at = 0; at < packet->header.bytes; at += 8) {
        uint32_t left = packet->header.bytes - at;

        word = 0;
        memcpy(&word, body + at, left < 8 ? left : 8);
        hash = cf_mix64(hash, word);
    }
    for (uint32_t at = 0; block != NULL && at < packet->block_bytes; at += packet->block_bytes / 32) {
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
        *event = (struct xp_event){.type = XP_EV_DOWN, .node = packet->from, .rc = packet->rc};
        trace(sim->net, packet, event->type, NULL);
        return true;
    case SIM_READ:
        cf_unreachable(); /* sim_read_step */
    }
    return false;
}
