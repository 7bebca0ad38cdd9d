/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SIM_NET_H
#define TRANSPORT_SIM_NET_H

/*
 * The simulated network from inside.
 *
 *   post --> packet --> heap of the receiver --> xp_poll of the receiver --> event
 *                          |
 *                          +--> tree: earliest time by node, which the harness follows
 *
 * A directed pair of nodes is a link, made when first used. A connection is two links with one generation.
 */
#include "base/rng.h"
#include "transport/link/link.h"
#include "transport/sim/sim.h"
#include "transport/sim/tree.h"
#include "transport/xp_ops.h"

/* Body sizes of packets: 64, 128, 256, XP_BODY_BYTES_MAX. */
#define SIM_PACKET_SIZES 4u
/* Bytes at each end of a lent frame that must come back unchanged (T-4). */
#define SIM_POISON_BYTES 16u
#define SIM_POISON 0x5au
#define SIM_MEMORIES_MAX 8u

enum sim_kind {
    SIM_MESSAGE = 0,
    SIM_BLOCK,
    SIM_HELLO,
    SIM_UP,
    SIM_RESET,
    SIM_DOWN,
    SIM_READ,
    SIM_FRAME,
    SIM_TICK
};

struct sim_packet {
    struct sim_packet *next; /* free list, or delivered and not yet given back */
    uint8_t kind;            /* enum sim_kind */
    uint8_t lane;
    uint8_t size_index;
    uint8_t class_index; /* SIM_BLOCK */
    bool is_lost;
    bool is_double;
    bool is_injected;
    uint16_t from;
    uint16_t to;
    uint32_t generation;
    uint32_t frame; /* SIM_BLOCK, PULL */
    uint32_t block_bytes;
    enum cf_rc rc;
    uint64_t word;  /* of the frame at the post */
    uint8_t *block; /* SIM_BLOCK, PUSH; SIM_FRAME: header.bytes of it */
    struct xp_header header;
    uint64_t body[];
};

struct sim_due {
    uint64_t at_ns;
    uint64_t order; /* of the post: ties keep their order */
    struct sim_packet *packet;
};

struct sim_heap {
    struct sim_due *due;
    uint32_t count;
    uint32_t room;
};

struct sim_lane {
    uint64_t last_ns;   /* delivery time of the last original */
    uint64_t sequence;  /* sent */
    uint64_t expected;  /* delivered */
    uint32_t in_flight; /* credits used */
};

struct sim_link {
    struct sim_lane lanes[XP_LANES];
    struct sim_wire *wire; /* SIM_LINKS: the sender's end; NULL: never opened */
    uint64_t frame_ns;     /* SIM_LINKS: delivery time of the last frame */
    uint64_t cut_until_ns;
    uint64_t floor_ns; /* the receiver's end opens then: nothing arrives before */
    uint32_t generation;
    uint32_t slow;    /* factor */
    bool is_accepted; /* the sender's end lets the receiver in */
    bool is_open;     /* the sender may post */
    bool is_starved;  /* the sender found no credit */
    bool is_down;     /* the sender has been told that the receiver is gone, or evicted it */
};

struct sim_lent {
    uint32_t *frames; /* [lane_slots] */
    uint32_t count;
};

struct sim_memory {
    void *memory;
    uint64_t bytes;
};

/* One instance's end. */
struct xp_sim {
    struct xp base;
    struct sim_net *net;
    struct sim_packet *begun;
    struct sim_packet *delivered; /* named by events of the last poll */
    struct sim_wire *busy;        /* SIM_LINKS: links to be looked at by the next flush or poll */
    struct sim_wire *unfinished;  /* SIM_LINKS: it has messages for which the last poll had no room */
    const struct xp_frame_space *space;
    const struct cf_allocator *allocator;
    struct sim_lent lent[CF_BLOCK_SIZES];
    struct sim_memory memories[SIM_MEMORIES_MAX];
    uint32_t memories_count;
    uint32_t lane_slots;
    uint32_t incarnation;
    uint32_t tag;
    uint16_t node;
    uint64_t epoch;
    uint8_t hello[XP_HELLO_BYTES];
};

struct sim_node {
    struct xp_sim *xp;       /* NULL: not opened, or closed */
    struct sim_link **links; /* [nodes], by receiver */
    struct sim_heap heap;
    uint64_t stall_until_ns;
    bool is_started;
    bool is_gone;
    bool is_awake; /* xp_wake, or credit has come back */
};

struct sim_net {
    struct sim_net_options options;
    uint64_t now_ns;
    uint64_t order;
    uint64_t trace;
    uint64_t target_delay_ns; /* SIM_LINKS: mean delay at the start */
    struct cf_rng rng;
    struct sim_node *nodes;
    struct sim_tree tree;
    struct sim_net_counters counters;
    struct sim_packet *free_packets[SIM_PACKET_SIZES];
    void *free_blocks[CF_BLOCK_SIZES];
    sim_observe_fn observe;
    void *observe_arg;
    char broken[160]; /* first violation of I-26, empty = none */
};

/* packet.c: memory of packets, heaps. Out of memory ends the program: the simulator is a test. */
struct sim_packet *sim_packet_take(struct sim_net *net, uint32_t bytes);
void sim_packet_give(struct sim_net *net, struct sim_packet *packet);
void sim_packet_block_take(struct sim_net *net, struct sim_packet *packet);
void sim_heap_push(struct sim_heap *heap, struct sim_due due);
struct sim_due sim_heap_pop(struct sim_heap *heap);
void sim_packet_pools_close(struct sim_net *net);

/* net.c */
struct sim_link *sim_link_of(struct sim_net *net, uint16_t from, uint16_t to);
/* Draws the fate of a message whose packet is complete, and queues it. */
void sim_net_send(struct sim_net *net, struct sim_packet *packet);
/* Queues an event of the connection itself: never lost. */
void sim_net_tell(struct sim_net *net, enum sim_kind kind, uint16_t from, uint16_t to, uint64_t at_ns,
                  enum cf_rc rc);
/* Hands the packet to its receiver at that time. */
void sim_net_queue(struct sim_net *net, struct sim_packet *packet, uint64_t at_ns);
void sim_net_refresh(struct sim_net *net, uint16_t node);
void sim_net_connect(struct sim_net *net, uint16_t a, uint16_t b);
uint64_t sim_net_delay(struct sim_net *net, const struct sim_link *link, uint64_t bytes);
bool sim_net_chance(struct sim_net *net, uint32_t ppm);
CF_COLD void sim_net_break(struct sim_net *net, const char *what, const struct sim_packet *packet);
CF_COLD void sim_net_break_link(struct sim_net *net, const char *what, uint16_t from, uint16_t to);

/* deliver.c: true: *event is made of the packet, which the event names until the next poll. */
bool sim_deliver(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *event);
void sim_observe(struct sim_net *net, const struct sim_seen *seen);
/* Into the hash over all deliveries; block: NULL, or its bytes. */
void sim_trace(struct sim_net *net, const struct sim_seen *seen, uint8_t type, const uint8_t *block,
               uint32_t block_bytes);

/* frame.c: frames of an instance, and those of them that are lent (T-4). */
void sim_frame_lend(struct xp_sim *sim, uint32_t class_index, uint32_t frame);
/* The oldest lent frame of the class; XP_LINK_FRAME_NONE: none is lent. */
uint32_t sim_frame_take(struct xp_sim *sim, uint32_t class_index);
/* The same for a link. */
struct xp_link_frames sim_frames_of(struct xp_sim *sim);
uint32_t sim_frame_class_of(const struct xp_frame_space *space, uint32_t frame);
uint8_t *sim_frame_bytes_of(const struct xp_frame_space *space, uint32_t frame);
/* The stable part of the frame's word. */
uint64_t sim_frame_word_of(const struct xp_frame_space *space, uint32_t frame);

/* read.c: one-sided READ, told by XP_EV_DONE. */
CF_CHECK enum cf_rc sim_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                             uint64_t token);
/* Copies the next piece. False: there are more, the packet waits for its next time; true: *event says how it ended. */
bool sim_read_step(struct xp_sim *sim, struct sim_packet *packet, struct xp_event *event);

/* data.c: of xp_sim_ops. */
void *sim_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
void sim_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
void sim_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                    uint32_t frame);
void sim_flush(struct xp *xp);
void sim_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame);
uint32_t sim_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);
/* The packets that events of the last poll name go back. */
void sim_delivered_give(struct xp_sim *sim);

static inline struct xp_sim *sim_of(struct xp *xp)
{
    return (struct xp_sim *)xp;
}

static inline struct xp_sim *sim_node_xp(struct sim_net *net, uint16_t node)
{
    return net->nodes[node].xp;
}

#endif
