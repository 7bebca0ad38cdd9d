/* SPDX-License-Identifier: Apache-2.0 */
/* The sim: provider's data path: messages into packets, packets that are due into events. */
#include <string.h>

#include "base/assert.h"
#include "transport/sim/wire.h"

void sim_delivered_give(struct xp_sim *sim)
{
    while (sim->delivered != NULL) {
        struct sim_packet *packet = sim->delivered;

        sim->delivered = packet->next;
        sim_packet_give(sim->net, packet);
    }
}

void *sim_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_link *link = sim_link_of(sim->net, sim->node, node);

    cf_assert(sim->begun == NULL);
    cf_assert(bytes <= XP_BODY_BYTES_MAX);
    if (!link->is_open)
        return NULL;
    if (sim_wire_is_on(sim->net))
        return sim_wire_begin(sim, node, lane, bytes);
    if (link->lanes[lane].in_flight >= sim->lane_slots) {
        link->is_starved = true;
        sim->base.counters.no_credit++;
        return NULL;
    }
    sim->begun = sim_packet_take(sim->net, bytes);
    sim->begun->from = sim->node;
    sim->begun->to = node;
    sim->begun->lane = (uint8_t)lane;
    sim->begun->header.bytes = bytes;
    return sim->begun->body;
}

/* The body is complete: stamps the header and takes the credit. */
static struct sim_packet *stamp(struct xp_sim *sim, uint16_t node, enum xp_class lane, uint16_t type,
                                uint64_t scn)
{
    struct sim_packet *packet = sim->begun;
    struct sim_link *link = sim_link_of(sim->net, sim->node, node);

    cf_assert(packet != NULL);
    cf_assert(packet->to == node);
    cf_assert(packet->lane == lane);
    sim->begun = NULL;
    packet->generation = link->generation;
    packet->header = (struct xp_header){.version = XP_WIRE_VERSION,
                                        .type = type,
                                        .bytes = packet->header.bytes,
                                        .node = sim->node,
                                        .lane_class = (uint16_t)lane,
                                        .incarnation = sim->incarnation,
                                        .epoch = sim->epoch,
                                        .scn = scn,
                                        .sequence = ++link->lanes[lane].sequence,
                                        .generation = link->generation,
                                        .tag = sim->tag};
    link->lanes[lane].in_flight++;
    sim->base.counters.sent++;
    sim->base.counters.bytes_sent += packet->header.bytes;
    return packet;
}

void sim_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_packet *packet;

    if (sim_wire_is_on(sim->net)) {
        sim_wire_post(sim, node, lane, type, scn, NULL);
        return;
    }
    packet = stamp(sim, node, lane, type, scn);
    packet->kind = SIM_MESSAGE;
    sim_net_send(sim->net, packet);
}

void sim_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                    uint32_t frame)
{
    struct xp_sim *sim = sim_of(xp);
    uint8_t class_index = (uint8_t)sim_frame_class_of(sim->space, frame);
    struct sim_packet *packet;

    sim->base.counters.blocks_sent++;
    if (sim_wire_is_on(sim->net)) {
        struct xp_link_block block = {.bytes = sim_frame_bytes_of(sim->space, frame),
                                      .word = &sim->space->words[frame],
                                      .word_value = sim_frame_word_of(sim->space, frame),
                                      .word_mask = sim->space->words_stable_mask,
                                      .class_index = class_index};

        sim_wire_post(sim, node, lane, type, scn, &block);
        return;
    }
    packet = stamp(sim, node, lane, type, scn);
    packet->kind = SIM_BLOCK;
    packet->frame = frame;
    packet->class_index = class_index;
    packet->block_bytes = sim->space->classes[packet->class_index].bytes;
    packet->word = sim_frame_word_of(sim->space, frame);
    if (sim->net->options.blocks == SIM_PUSH) {
        sim_packet_block_take(sim->net, packet);
        memcpy(packet->block, sim_frame_bytes_of(sim->space, frame), packet->block_bytes);
    }
    sim_net_send(sim->net, packet);
}

void sim_flush(struct xp *xp)
{
    sim_wire_flush(sim_of(xp));
}

void sim_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame)
{
    sim_frame_lend(sim_of(xp), class_index, frame);
}

/* One packet of the heap. Returns the events it makes. */
static uint32_t take(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *events, uint32_t room)
{
    uint32_t count = 0;

    if (packet->kind == SIM_FRAME || packet->kind == SIM_TICK) {
        count = sim_wire_packet(sim, packet, events, room);
        sim_packet_give(sim->net, packet);
    } else if (packet->kind == SIM_READ ? sim_read_step(sim, packet, events)
                                        : sim_deliver(sim, packet, events)) {
        packet->next = sim->delivered;
        sim->delivered = packet;
        count = 1;
    } else if (packet->kind != SIM_READ) {
        sim_packet_give(sim->net, packet);
    }
    return count;
}

uint32_t sim_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max)
{
    struct xp_sim *sim = sim_of(xp);
    struct sim_net *net = sim->net;
    struct sim_node *node = &net->nodes[sim->node];
    uint32_t room = max < XP_EVENTS_MAX ? max : XP_EVENTS_MAX, count;

    (void)now_ns;
    cf_assert(sim->begun == NULL);
    sim_delivered_give(sim);
    count = sim_wire_begin_poll(sim, events, room);
    while (count < room && node->heap.count > 0 && node->heap.due[0].at_ns <= net->now_ns && !node->is_gone)
        count += take(sim, sim_heap_pop(&node->heap).packet, &events[count], room - count);
    sim_wire_flush(sim);
    node->is_awake = sim->unfinished != NULL;
    sim_net_refresh(net, sim->node);
    return count;
}
