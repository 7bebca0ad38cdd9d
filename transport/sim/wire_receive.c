/* SPDX-License-Identifier: Apache-2.0 */
/* SIM_LINKS, receiving: frames go to their link, messages that are whole become events. T-1 is checked at each. */
#include <string.h>

#include "transport/sim/wire.h"

/* False: not delivered. */
static bool message_take(struct xp_sim *sim, struct sim_wire *wire, uint32_t lane,
                         const struct xp_link_delivery *d, struct xp_event *event)
{
    struct sim_net *net = sim->net;
    struct sim_seen seen = {.now_ns = net->now_ns,
                            .from = wire->peer,
                            .to = sim->node,
                            .fate = SIM_DELIVERED,
                            .is_block = d->class_index != XP_LINK_NO_BLOCK,
                            .header = d->header,
                            .body = d->body};

    if (d->header->sequence != wire->link.rx[lane].delivered || d->header->bytes != d->body_bytes ||
        d->header->generation != wire->session)
        sim_net_break_link(net, "T-1 order", wire->peer, sim->node);
    if (d->header->epoch != sim->epoch && !net->options.serves_stale) {
        sim->base.counters.stale_epoch++;
        if (d->frame != XP_LINK_FRAME_NONE)
            sim_frame_lend(sim, d->class_index, d->frame);
        seen.fate = SIM_DROPPED;
        sim_observe(net, &seen);
        return false;
    }
    *event = (struct xp_event){.type = XP_EV_MESSAGE,
                               .lane_class = (uint8_t)lane,
                               .node = wire->peer,
                               .bytes = d->body_bytes,
                               .header = d->header,
                               .message = d->body,
                               .frame = d->frame};
    if (d->frame != XP_LINK_FRAME_NONE) {
        event->type = XP_EV_BLOCK;
        net->counters.blocks++;
        sim->base.counters.blocks_received++;
    } else if (seen.is_block) {
        event->type = XP_EV_TORN;
        seen.fate = SIM_TORN;
        net->counters.torn++;
        sim->base.counters.torn++;
    }
    sim_trace(net, &seen, event->type,
              event->type == XP_EV_BLOCK ? sim_frame_bytes_of(sim->space, d->frame) : NULL,
              CF_BLOCK_BYTES_MIN << (d->class_index & 7));
    sim_observe(net, &seen);
    net->counters.delivered++;
    sim->base.counters.received++;
    sim->base.counters.bytes_received += d->body_bytes;
    return true;
}

/* Messages that are whole become events while there is room for them; what is left is kept for the next poll. */
static uint32_t messages_take(struct xp_sim *sim, struct sim_wire *wire, struct xp_event *events,
                              uint32_t room)
{
    struct xp_link_delivery d;
    uint32_t count = 0;

    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        while (count < room && xp_link_take(&wire->link, (enum xp_class)lane, &d))
            count += message_take(sim, wire, lane, &d, &events[count]);
        if (wire->link.rx[lane].delivered != wire->link.rx[lane].complete)
            sim->unfinished = wire;
    }
    sim_wire_listen(sim, wire);
    return count;
}

/* The link that the frame is for; NULL: none, it is dropped. */
static struct sim_wire *frame_open(struct xp_sim *sim, const struct sim_packet *packet,
                                   const uint8_t **bytes_out, uint32_t *bytes_count_out)
{
    struct xp_ether_filter filter = {.tag = sim->tag, .ip = sim_wire_end(sim->node).ip, .node = sim->node};
    struct sim_net *net = sim->net;
    struct sim_wire *wire = sim_wire_of(sim, packet->from);
    struct xp_link_head head;

    if (xp_ether_open(&filter, packet->block, packet->header.bytes, bytes_out, bytes_count_out) !=
        XP_ETHER_OURS)
        return NULL;
    memcpy(&head, *bytes_out, sizeof(head));
    if (!sim_wire_is_live(sim, wire) || head.session != wire->session) {
        net->counters.dropped_generation++;
        return NULL;
    }
    if (net->nodes[packet->from].is_gone && (cf_rng_next(&net->rng) & 1) != 0) {
        net->counters.dropped_gone++;
        return NULL;
    }
    return wire;
}

uint32_t sim_wire_begin_poll(struct xp_sim *sim, struct xp_event *events, uint32_t room)
{
    struct sim_wire *unfinished = sim->unfinished;

    for (struct sim_wire *wire = sim->busy; wire != NULL; wire = wire->next_busy)
        if (sim_wire_is_live(sim, wire))
            xp_link_give(&wire->link);
    sim->unfinished = NULL;
    return unfinished != NULL && sim_wire_is_live(sim, unfinished)
               ? messages_take(sim, unfinished, events, room)
               : 0;
}

uint32_t sim_wire_packet(struct xp_sim *sim, const struct sim_packet *packet, struct xp_event *events,
                         uint32_t room)
{
    struct xp_link_frames frames = sim_frames_of(sim);
    const uint8_t *bytes = NULL;
    uint32_t bytes_count = 0;
    struct sim_wire *wire;
    const char *why;

    if (packet->kind == SIM_TICK) {
        wire = sim_wire_of(sim, packet->from);
        if (sim_wire_is_live(sim, wire) && packet->generation == wire->session) {
            wire->tick_ns = SIM_WIRE_NEVER;
            sim_wire_listen(sim, wire);
        }
        return 0;
    }
    wire = frame_open(sim, packet, &bytes, &bytes_count);
    if (wire == NULL)
        return 0;
    xp_link_receive(&wire->link, sim->net->now_ns, bytes, bytes_count, &frames);
    room = messages_take(sim, wire, events, room);
    why = sim_wire_end_check(sim, wire);
    if (why != NULL)
        sim_net_break_link(sim->net, why, packet->from, sim->node);
    return room;
}
