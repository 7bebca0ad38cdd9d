/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIM_LINKS: instances talk through the reliability machine of dpdk: (transport/link), and what the network loses,
 * doubles, reorders, delays and damages are its Ethernet frames. T-1 is then the machine's business. It is checked at
 * every delivery, and so are its own invariants and what both ends of a link together must hold:
 *
 *   sender: acknowledged  <=  receiver: complete  <=  sender: posted       credits returned  <=  messages taken
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "transport/sim/wire.h"

#define RTO_NS_MAX (20 * CF_NS_PER_MS)
#define ACK_DELAY_NS (20 * CF_NS_PER_US)
/* Of the round trip that congestion control aims at, in times of the mean delay of the calm network. */
#define TARGET_DELAYS 8u
#define WINDOW_MIN (XP_SWIFT_ONE / 4)
/* Keep-alive is for finding dead peers, which the simulated network does by itself. */
#define KEEPALIVE_NS (3600 * CF_NS_PER_S)
/* A machine that is late is looked at again after this, so that time goes on. */
#define TICK_NS_MIN CF_NS_PER_US
#define NEVER UINT64_MAX

bool sim_wire_is_on(const struct sim_net *net)
{
    return net->options.order == SIM_LINKS;
}

static struct sim_wire *wire_of(struct xp_sim *sim, uint16_t peer)
{
    return sim_link_of(sim->net, sim->node, peer)->wire;
}

/* The connection it was opened for is still that of the pair. */
static bool is_live(struct xp_sim *sim, const struct sim_wire *wire)
{
    return wire != NULL && wire->is_open &&
           wire->session == sim_link_of(sim->net, sim->node, wire->peer)->generation;
}

static struct xp_ether_end ether_end(uint16_t node)
{
    return (struct xp_ether_end){.mac = {2, 0, 0, 0, (uint8_t)(node >> 8), (uint8_t)node},
                                 .ip = 0x0a000000u + node};
}

void sim_wire_open(struct xp_sim *sim, uint16_t peer)
{
    struct sim_link *link = sim_link_of(sim->net, sim->node, peer);
    struct xp_ether_end own = ether_end(sim->node), other = ether_end(peer);
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
                                      .keepalive_ns = KEEPALIVE_NS,
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
    wire->tick_ns = NEVER;
    wire->is_open = true;
}

void sim_wire_close(struct xp_sim *sim, uint16_t peer)
{
    struct sim_wire *wire = wire_of(sim, peer);
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

/* ---- sending ---- */

static void listen(struct xp_sim *sim, struct sim_wire *wire)
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

    cf_assert(is_live(sim, wire_of(sim, peer)));
    slot = xp_link_begin(&wire_of(sim, peer)->link, lane, bytes);
    if (slot == NULL)
        sim->base.counters.no_credit++;
    return slot != NULL ? slot->body : NULL;
}

void sim_wire_post(struct xp_sim *sim, uint16_t peer, enum xp_class lane, uint16_t type, uint64_t scn,
                   const struct xp_link_block *block)
{
    struct sim_wire *wire = wire_of(sim, peer);

    wire->link.epoch = sim->epoch;
    sim->base.counters.sent++;
    sim->base.counters.bytes_sent += wire->link.tx[lane].body_bytes;
    sim->net->counters.posted++;
    xp_link_post(&wire->link, lane, type, scn, block);
    listen(sim, wire);
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
    if (due_ns >= wire->tick_ns || due_ns == wire->link.sent_ns + KEEPALIVE_NS)
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
        if (!is_live(sim, wire))
            continue;
        wire_send(sim, wire);
        if (owes(&wire->link))
            listen(sim, wire); /* its credit is given back by the next poll */
    }
}

/* ---- receiving ---- */

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
    listen(sim, wire);
    return count;
}

static bool is_between(uint64_t low, uint64_t value, uint64_t high)
{
    return low <= value && value <= high;
}

/* One direction, when both ends are of one connection. */
static const char *direction_check(const struct xp_link *sender, const struct xp_link *receiver)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        const struct xp_link_tx *tx = &sender->tx[i];
        const struct xp_link_rx *rx = &receiver->rx[i];

        if (!is_between(tx->messages_acked, rx->complete, tx->credit.sent))
            return "acknowledged <= complete <= posted";
        if (tx->credit.returned > rx->taker.taken)
            return "T-2 credits returned <= messages taken";
        if (rx->next - tx->una > tx->next - tx->una)
            return "the first missing segment is outstanding";
    }
    return NULL;
}

static const char *wire_check(struct xp_sim *sim, const struct sim_wire *wire)
{
    const struct sim_wire *other = sim_link_of(sim->net, wire->peer, sim->node)->wire;
    const char *why = xp_link_check(&wire->link);

    if (why == NULL && wire->link.is_violated)
        why = "an honest peer is accused";
    if (why != NULL || other == NULL || !other->is_open || other->session != wire->session)
        return why;
    why = direction_check(&wire->link, &other->link);
    return why != NULL ? why : direction_check(&other->link, &wire->link);
}

/* The link that the frame is for; NULL: none, it is dropped. */
static struct sim_wire *frame_open(struct xp_sim *sim, const struct sim_packet *packet,
                                   const uint8_t **bytes_out, uint32_t *bytes_count_out)
{
    struct xp_ether_filter filter = {.tag = sim->tag, .ip = ether_end(sim->node).ip, .node = sim->node};
    struct sim_net *net = sim->net;
    struct sim_wire *wire = wire_of(sim, packet->from);
    struct xp_link_head head;

    if (xp_ether_open(&filter, packet->block, packet->header.bytes, bytes_out, bytes_count_out) !=
        XP_ETHER_OURS)
        return NULL;
    memcpy(&head, *bytes_out, sizeof(head));
    if (!is_live(sim, wire) || head.session != wire->session) {
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
        if (is_live(sim, wire))
            xp_link_give(&wire->link);
    sim->unfinished = NULL;
    return unfinished != NULL && is_live(sim, unfinished) ? messages_take(sim, unfinished, events, room) : 0;
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
        wire = wire_of(sim, packet->from);
        if (is_live(sim, wire) && packet->generation == wire->session) {
            wire->tick_ns = NEVER;
            listen(sim, wire);
        }
        return 0;
    }
    wire = frame_open(sim, packet, &bytes, &bytes_count);
    if (wire == NULL)
        return 0;
    xp_link_receive(&wire->link, sim->net->now_ns, bytes, bytes_count, &frames);
    room = messages_take(sim, wire, events, room);
    why = wire_check(sim, wire);
    if (why != NULL)
        sim_net_break_link(sim->net, why, packet->from, sim->node);
    return room;
}

const char *sim_wire_check(struct sim_net *net, uint16_t node, uint16_t peer)
{
    struct sim_wire *wire = sim_link_of(net, node, peer)->wire;
    struct xp_sim *sim = sim_node_xp(net, node);

    return sim == NULL || !is_live(sim, wire) ? NULL : wire_check(sim, wire);
}
