/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SIM_WIRE_H
#define TRANSPORT_SIM_WIRE_H

/*
 * SIM_LINKS: one instance's end of a reliable link over frames that may be lost (transport/link/link.h).
 *
 *   post --> link --> frame --> heap of the receiver --> its link --> event
 *              ^                                            |
 *              +---- tick: a packet to itself          acknowledged by frames of its own
 */
#include "transport/link/link.h"
#include "transport/sim/net.h"

/* A packet of a link of up to XP_LINK_JUMBO bytes behind an Ethernet front. */
#define SIM_FRAME_BYTES_MAX 16384u

struct sim_wire {
    struct xp_link link;
    void *memory;
    struct sim_wire *next_busy;
    uint64_t tick_ns; /* when the earliest tick under way is due */
    uint32_t session; /* generation of the connection it was opened for */
    uint16_t peer;
    bool is_open;
    bool is_busy; /* it has something to send, or taken messages to give back */
    uint8_t front[XP_ETHER_FRONT_BYTES];
};

bool sim_wire_is_on(const struct sim_net *net);
/* The connection's generation is new: what the link of the old one had under way is lost. */
void sim_wire_open(struct xp_sim *sim, uint16_t peer);
void sim_wire_close(struct xp_sim *sim, uint16_t peer);
void sim_wire_free(struct sim_wire *wire);

void *sim_wire_begin(struct xp_sim *sim, uint16_t peer, enum xp_class lane, uint32_t bytes);
void sim_wire_post(struct xp_sim *sim, uint16_t peer, enum xp_class lane, uint16_t type, uint64_t scn,
                   const struct xp_link_block *block);
/* Sends what waits, of all links. */
void sim_wire_flush(struct xp_sim *sim);

/* What the events of the last poll named is over; then messages that found no room in it. Returns events. */
uint32_t sim_wire_begin_poll(struct xp_sim *sim, struct xp_event *events, uint32_t room);
/* A frame or a tick of the heap. Returns events. */
uint32_t sim_wire_packet(struct xp_sim *sim, const struct sim_packet *packet, struct xp_event *events,
                         uint32_t room);

/* Keep-alive is for finding dead peers, which the simulated network does by itself. */
#define SIM_WIRE_KEEPALIVE_NS (3600 * CF_NS_PER_S)
#define SIM_WIRE_NEVER UINT64_MAX
/* NULL: none was opened yet. */
struct sim_wire *sim_wire_of(struct xp_sim *sim, uint16_t peer);
/* The connection it was opened for is still that of the pair. */
bool sim_wire_is_live(struct xp_sim *sim, const struct sim_wire *wire);
struct xp_ether_end sim_wire_end(uint16_t node);
/* It has something to send, or to give back: sim_wire_flush looks at it. */
void sim_wire_listen(struct xp_sim *sim, struct sim_wire *wire);
/* NULL, or what does not hold of an end that is live. */
const char *sim_wire_end_check(struct xp_sim *sim, const struct sim_wire *wire);

/* NULL, or what does not hold of the link. */
const char *sim_wire_check(struct sim_net *net, uint16_t node, uint16_t peer);

#endif
