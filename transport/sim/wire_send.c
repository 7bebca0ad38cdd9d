/* SPDX-License-Identifier: Apache-2.0 */
/* SIM_LINKS, sending: the links' packets become frames, whose fate is drawn here, and ticks of the machine. */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "transport/sim/wire.h"

/* A machine that is late is looked at again after this, so that time goes on. */
#define TICK_NS_MIN CF_NS_PER_US

void sim_wire_listen(struct xp_sim *sim, struct sim_wire *wire)
{
    if (wire->is_busy)
        return;
    wire->is_busy = true;
    wire->next_busy = sim->busy;
    sim->busy = wire;
}

void *sim_wire_begin(struct xp_sim *sim, uint16_t peer, enum xp_class lane, uint32_t bytes)
{
    struct xp_link_slot *slot;

    cf_assert(sim_wire_is_live(sim, sim_wire_of(sim, peer)));
    slot = xp_link_begin(&sim_wire_of(sim, peer)->link, lane, bytes);
    if (slot == NULL)
        sim->base.counters.no_credit++;
    return slot != NULL ? slot->body : NULL;
}

void sim_wire_post(struct xp_sim *sim, uint16_t peer, enum xp_class lane, uint16_t type, uint64_t scn,
                   const struct xp_link_block *block)
{
    struct sim_wire *wire = sim_wire_of(sim, peer);

    wire->link.epoch = sim->epoch;
    sim->base.counters.sent++;
    sim->base.counters.bytes_sent += wire->link.tx[lane].body_bytes;
    sim->net->counters.posted++;
    xp_link_post(&wire->link, lane, type, scn, block);
    sim_wire_listen(sim, wire);
}

static void frame_queue(struct sim_net *net, uint16_t from, uint16_t to, const uint8_t *frame, uint32_t bytes,
                        uint64_t at_ns)
{
    struct sim_packet *packet = sim_packet_take(net, 0);

    packet->kind = SIM_FRAME;
    packet->from = from;
    packet->to = to;
    packet->header.bytes = bytes;
    while (CF_BLOCK_BYTES_MIN << packet->class_index < bytes)
        packet->class_index++;
    packet->block_bytes = CF_BLOCK_BYTES_MIN << packet->class_index;
    sim_packet_block_take(net, packet);
    memcpy(packet->block, frame, bytes);
    sim_net_queue(net, packet, at_ns);
}

/* One byte changes, or the end is cut off. Returns the bytes left. */
static uint32_t damage(struct sim_net *net, uint8_t *frame, uint32_t bytes)
{
    net->counters.damaged++;
    frame[cf_rng_below(&net->rng, bytes)] ^= (uint8_t)(1 + cf_rng_below(&net->rng, UINT8_MAX));
    return cf_rng_below(&net->rng, 4) != 0 ? bytes : 1 + (uint32_t)cf_rng_below(&net->rng, bytes);
}

/* The fate of one frame is drawn here. */
static void frame_send(struct xp_sim *sim, uint16_t to, uint8_t *frame, uint32_t bytes)
{
    struct sim_net *net = sim->net;
    struct sim_link *link = sim_link_of(net, sim->node, to);
    const struct sim_net_faults *faults = &net->options.faults;
    uint64_t at_ns = net->now_ns + sim_net_delay(net, link, bytes);

    net->counters.frames++;
    if (net->nodes[to].is_gone || net->now_ns < link->cut_until_ns || sim_net_chance(net, faults->loss_ppm)) {
        net->counters.lost++;
        return;
    }
    if (sim_net_chance(net, faults->damage_ppm))
        bytes = damage(net, frame, bytes);
    if (!net->options.reorders && at_ns <= link->frame_ns)
        at_ns = link->frame_ns + 1;
    link->frame_ns = at_ns > link->frame_ns ? at_ns : link->frame_ns;
    frame_queue(net, sim->node, to, frame, bytes, at_ns);
    if (!sim_net_chance(net, faults->duplicate_ppm))
        return;
    net->counters.doubled++;
    frame_queue(net, sim->node, to, frame, bytes,
                net->now_ns + 1 + cf_rng_below(&net->rng, faults->late_ns_max + 1));
}

/* The machine is run when its clock says so: a packet that the node sends itself. */
static void tick_plan(struct xp_sim *sim, struct sim_wire *wire)
{
    struct sim_net *net = sim->net;
    uint64_t due_ns = xp_link_due_ns(&wire->link);
    struct sim_packet *packet;

    if (due_ns < net->now_ns + TICK_NS_MIN)
        due_ns = net->now_ns + TICK_NS_MIN;
    if (due_ns >= wire->tick_ns || due_ns == wire->link.sent_ns + SIM_WIRE_KEEPALIVE_NS)
        return;
    packet = sim_packet_take(net, 0);
    packet->kind = SIM_TICK;
    packet->from = wire->peer;
    packet->to = sim->node;
    packet->generation = wire->session;
    wire->tick_ns = due_ns;
    sim_net_queue(net, packet, due_ns);
}

static void wire_send(struct xp_sim *sim, struct sim_wire *wire)
{
    uint64_t now_ns = sim->net->now_ns;
    uint8_t frame[SIM_FRAME_BYTES_MAX];
    struct xp_link_sent sent;
    uint32_t bytes;

    xp_link_tick(&wire->link, now_ns);
    while ((bytes = xp_link_send(&wire->link, now_ns, wire->front, frame, &sent)) != 0)
        frame_send(sim, wire->peer, frame, bytes);
    if (xp_link_has_work(&wire->link, now_ns))
        sim_net_break_link(sim->net, "what may go is not sent", sim->node, wire->peer);
    tick_plan(sim, wire);
}

static bool owes(const struct xp_link *link)
{
    return link->rx[XP_CONTROL].delivered != link->rx[XP_CONTROL].taker.taken ||
           link->rx[XP_DATA].delivered != link->rx[XP_DATA].taker.taken;
}

void sim_wire_flush(struct xp_sim *sim)
{
    struct sim_wire *wire = sim->busy, *next;

    sim->busy = NULL;
    for (; wire != NULL; wire = next) {
        next = wire->next_busy;
        wire->is_busy = false;
        if (!sim_wire_is_live(sim, wire))
            continue;
        wire_send(sim, wire);
        if (owes(&wire->link))
            sim_wire_listen(sim, wire); /* its credit is given back by the next poll */
    }
}
