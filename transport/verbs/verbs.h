/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_VERBS_VERBS_H
#define TRANSPORT_VERBS_VERBS_H

/*
 * The verbs provider from inside. An instance is one struct xp_verbs with one owner thread at a time; only the
 * eventfd of xp_wake is touched by others.
 *
 * Two instances share one reliable connection for messages (pair 0) and one for each block size both have frames of.
 * All receive from shared receive queues: one of message slots, one a block size, where each receive names a slot and
 * a lent frame. A lane may use several of them, so its sequence numbers put it in order (rx.ring).
 *
 * Nothing is sent that has no receive waiting for it: messages are bounded by lane credits, blocks by grants (grant.c),
 * the provider's own messages by counts of their own (RESERVE below).
 *
 * A connection, seen from one side; the higher node id connects, the lower listens (cm.c, shake.c, life.c):
 *
 *   ABSENT --connect--> RESOLVING --> CONNECTING --REPLY--> PROVING --on_hello--> ASKED --accept--> GRANTED
 *     ^  `---------- on OPEN (the lower) ------------------> PROVING                                   |
 *     |<----- REFUSED (asked again slowly) <----- refuse, refused (any of these)         on_ready      v
 *     |<----- TEARING <----- DRAINING <----- on BYE; process dead <----- BROKEN <-- TEARING <--lost-- UP
 *                                                                          |
 *                                              process alive: connects again, then XP_EV_RESET
 *
 * TEARING: the queue pairs are in the error state and give back what was posted to them.
 */
#include "base/atomic.h"
#include "base/log.h"
#include "transport/credit.h"
#include "transport/lane.h"
#include "transport/verbs/calls.h"
#include "transport/verbs/wire.h"
#include "transport/xp_ops.h"

/* A bit a peer in a 64-bit word. */
#define XP_VERBS_NODES_MAX 64u
#define XP_VERBS_MEMORIES_MAX 8u
#define XP_VERBS_GUESTS_MAX 16u
/* One-sided operations under way. */
#define XP_VERBS_READS_MAX 64u
/* Work requests handed to the device in one call. */
#define XP_VERBS_CHAIN_MAX 16u
/* One work request in so many asks for a completion (chosen: the queue is at least four times as long). */
#define XP_VERBS_SIGNAL_EVERY 16u
/* Completions taken in one call. */
#define XP_VERBS_COMPLETIONS_MAX 16u
/* STATE messages a peer has not yet said that it took. */
#define XP_VERBS_STATES_MAX 2u
/* Message slots a peer beyond its lanes: HELLO, ACCEPT, READY, REFUSE, BYE, STATE and ACK, and as much again for the
 * rest of a connection that has broken. */
#define XP_VERBS_RESERVE 24u
/* Send slots that lanes leave to the provider's own messages. */
#define XP_VERBS_SLOTS_SPARE 16u
/* Send slots a peer at most, whatever the window. */
#define XP_VERBS_SLOTS_MAX 1024u
/* And at least: beyond the spare ones, enough that some come back while others are under way. */
#define XP_VERBS_SLOTS_MIN (XP_VERBS_SLOTS_SPARE + 4u * XP_VERBS_SIGNAL_EVERY)
#define XP_VERBS_PAIRS (1u + CF_BLOCK_SIZES)
#define XP_VERBS_POOLS XP_VERBS_PAIRS
#define XP_VERBS_NONE UINT32_MAX
/* In the ring of positions: the rest is the index of a one-sided operation, not a slot. */
#define XP_VERBS_READ_BIT 0x80000000u
#define XP_VERBS_NAME_BYTES 64u
/* Devices of a host that are looked at. */
#define XP_VERBS_DEVICES_MAX 64u
#define XP_VERBS_MTU_MIN 1024u
/* Private data of an event of rdma_cm at most. */
#define XP_VERBS_PRIVATE_BYTES 256u

enum xp_verbs_peer_state {
    XP_VERBS_ABSENT = 0,
    XP_VERBS_RESOLVING,
    XP_VERBS_CONNECTING,
    XP_VERBS_PROVING,
    XP_VERBS_ASKED,
    XP_VERBS_GRANTED,
    XP_VERBS_UP,
    XP_VERBS_DRAINING,
    XP_VERBS_TEARING,
    XP_VERBS_BROKEN,
    XP_VERBS_REFUSED,
    XP_VERBS_SELF
};

/* Receive slots of one shared receive queue. Pool 0: messages; 1 + i: blocks of size i. */
struct xp_verbs_pool {
    struct ibv_srq *srq;
    uint8_t *slots; /* XP_VERBS_SLOT_BYTES each */
    uint32_t count;
    uint32_t key;     /* of the memory the slots are in */
    uint32_t *frames; /* [count] the frame that goes with a slot; NULL in pool 0 */
    uint64_t *posted; /* [count] number of the receive; 0: it is not posted. NULL in pool 0 */
    uint32_t *free;   /* slots with no frame */
    uint32_t free_count;
    uint32_t *wait; /* slots to be posted */
    uint32_t wait_count;
    uint64_t posts;       /* receives posted ever */
    uint64_t seen;        /* highest number of a receive that completed */
    uint64_t seen_before; /* the same at the last recount */
    uint32_t lent;        /* frames with the device or about to be */
    uint32_t ungranted;   /* of these, not granted to a peer */
};

/* One reliable connection. Positions count work requests and may wrap. */
struct xp_verbs_pair {
    struct ibv_qp *qp;
    uint32_t first;     /* packet sequence number we begin with */
    uint32_t posted;    /* work requests handed over or in the chain */
    uint32_t completed; /* of these, given back */
    uint32_t signalled; /* position behind the last that asked for a completion */
    uint32_t *slots;    /* [depth] slot of the request at a position; XP_VERBS_NONE: a one-sided operation */
    bool is_raised;     /* out of the state it was made in: it can be stopped, and has to be */
    uint32_t chain_count;
    struct ibv_send_wr chain[XP_VERBS_CHAIN_MAX];
    struct ibv_sge pieces[XP_VERBS_CHAIN_MAX][3];
};

struct xp_verbs_tx {
    struct xp_credit credit;
    uint32_t slot; /* begun; XP_VERBS_NONE: none */
    uint32_t body_bytes;
    struct xp_lane_facts facts;
};

struct xp_verbs_rx {
    uint64_t delivered;           /* sequence of the last message given to the layer above, or dropped */
    struct xp_credit_taker taker; /* taken: delivered and its slot is posted again */
    uint32_t *ring;               /* [lane_slots] 1 + pool << 24 | slot of what arrived, 0: nothing */
    struct xp_lane_facts facts;
};

/* Blocks of one size between us and a peer. */
struct xp_verbs_grants {
    uint32_t given, used, returned; /* frames of ours that the peer may use, has used, gave back */
    uint32_t told;                  /* of given: what it has been told */
    uint32_t got, sent, handed;     /* frames of the peer's that we may use, have used, gave back */
    bool is_needy;                  /* it had a block and no grant */
    bool is_recalled;               /* it is asked to give back what it does not use */
};

struct xp_verbs_peer {
    struct xp_verbs_tx tx[XP_LANES];
    struct xp_verbs_rx rx[XP_LANES];
    struct xp_verbs_grants grants[CF_BLOCK_SIZES];
    struct xp_verbs_pair pairs[XP_VERBS_PAIRS];
    uint8_t *slots; /* send slots, XP_VERBS_SLOT_BYTES each */
    uint32_t *free; /* send slots that are free */
    uint32_t free_count;
    uint32_t *slot_frames; /* the frame sent from a slot, XP_VERBS_NONE: none */
    uint8_t states_sent, states_acked, states_taken, states_told;
    uint8_t recall; /* bit a size: the peer wants grants back */
    bool is_returning;
    bool is_state_due;

    enum xp_verbs_peer_state state;
    enum xp_verbs_peer_state after; /* TEARING: what comes next */
    uint16_t node;
    bool was_up;
    bool is_known;
    bool is_refused;
    bool has_accept; /* the peer's ACCEPT came before our layer above said yes */
    bool has_hello_sent;
    bool has_ready_sent;
    bool is_stopped; /* TEARING: the queue pairs are in the error state */
    bool has_bye;
    bool is_failed; /* the next turn tears the connection down, */
    bool is_guilty; /* for the peer broke the rules */
    const char *failed_why;
    enum cf_rc down_rc; /* TEARING, DRAINING: why; CF_OK: nothing is told */
    enum cf_rc told_rc;
    uint32_t generation;
    uint32_t incarnation_min;
    uint32_t refused_incarnation;
    uint32_t life; /* counts connections; completions of an older one are told apart */
    uint32_t tries;
    uint64_t retry_ns;
    uint64_t deadline_ns; /* of the handshake, of TEARING; */
    uint64_t broken_ns;   /* BROKEN: it is lost when it is not back by then */
    uint64_t sent_ns, told_ns;
    uint8_t own_nonce[XP_VERBS_NONCE_BYTES];
    uint8_t peer_nonce[XP_VERBS_NONCE_BYTES];
    struct rdma_cm_id *id;
    struct xp_verbs_facts facts;
    struct xp_verbs_accept accept;
    struct xp_verbs_bye bye;
    struct sockaddr_storage address;
    struct ibv_qp_attr attr[3]; /* to INIT, RTR and RTS, as rdma_cm says for pair 0 */
    int attr_mask[3];
};

/* A connect request that has to wait for the end of the connection before it. */
struct xp_verbs_guest {
    struct rdma_cm_id *id; /* NULL: free */
    struct xp_verbs_open open;
    uint64_t deadline_ns;
};

enum xp_verbs_read_state { XP_VERBS_READ_FREE = 0, XP_VERBS_READ_OPEN, XP_VERBS_READ_ENDED };

struct xp_verbs_read {
    void *to; /* NULL: an atomic operation */
    uint64_t token, value;
    uint32_t bytes;
    uint16_t node;
    uint8_t state; /* enum xp_verbs_read_state */
    bool is_bounced;
    enum cf_rc rc;
};

struct xp_verbs_memory {
    void *base;
    uint64_t bytes;
    struct ibv_mr *mr;
};

/* What an event of the last poll points to. */
struct xp_verbs_held {
    uint32_t ref; /* pool << 24 | slot */
    uint32_t life;
    uint16_t node;
    uint8_t lane;
    bool is_frame_gone; /* the frame belongs to the layer above now */
};

struct xp_verbs_batch {
    struct xp_event *events;
    uint32_t count;
    uint32_t max;
};

/* A device as an instance uses it. */
struct xp_verbs_device {
    struct ibv_context *context;
    struct ibv_pd *pd;
    struct ibv_comp_channel *channel;
    struct ibv_cq *cq;
    struct ibv_device_attr attr;
    struct ibv_port_attr port_attr;
    uint8_t port;
    int node, node_here, distance; /* NUMA: of the device, of who polls it, between them; negative: unknown */
    int gid_index;                 /* -1: InfiniBand, where rdma_cm finds it */
    uint32_t mtu_bytes;
    uint32_t inline_bytes;
    char name[XP_VERBS_NAME_BYTES];
    char gid[48];
    struct sockaddr_storage address; /* of the port */
};

struct xp_verbs {
    struct xp base;
    const struct xp_verbs_calls *calls;
    struct xp_verbs_device device;
    struct xp_verbs_peer *peers; /* [nodes] */
    uint32_t nodes;
    uint16_t node;
    bool is_armed;
    bool is_control_due;
    bool is_started;
    uint64_t ready;     /* bit a peer: a message may be deliverable */
    uint64_t unflushed; /* bit a peer: a chain is not empty */
    uint64_t attentive; /* bit a peer: counts to be looked at before the poll ends */
    uint64_t starved;   /* bit a peer: xp_begin found no send slot or no credit */
    uint32_t turn;
    struct xp_verbs_pool pools[XP_VERBS_POOLS];
    struct xp_verbs_held held[XP_EVENTS_MAX];
    uint32_t held_count;
    struct ibv_wc staged[XP_VERBS_COMPLETIONS_MAX]; /* taken by xp_arm */
    uint32_t staged_count;
    struct xp_event *news; /* [news_max] events of connections that wait for room */
    uint32_t news_first, news_count, news_max;
    struct xp_verbs_read reads[XP_VERBS_READS_MAX];
    uint32_t reads_open, reads_ended;
    uint32_t
        *numbers; /* [numbers_max] open addressing: queue pair number -> peer << 4 | pair, by two words */
    uint32_t numbers_max;
    _Atomic uint16_t *sending; /* [frames] sends of a frame that the device has not given back */

    uint64_t epoch;
    uint64_t now_ns;
    uint64_t control_next_ns;
    uint64_t recount_ns;
    uint64_t peer_timeout_ns;
    uint32_t lane_slots;
    uint32_t send_slots;      /* of a peer */
    uint32_t completions_max; /* entries of the completion queue */
    uint32_t depth;           /* of a pair's ring of positions, a power of two */
    uint8_t retries;          /* of a queue pair, and */
    uint8_t timeout;          /* of a queue pair: 4.096 us x 2^timeout */
    uint64_t seed;            /* of back-off */
    struct xp_frame_space space;
    struct xp_verbs_facts facts;
    uint8_t key[XP_VERBS_KEY_BYTES];
    struct xp_verbs_memory memories[XP_VERBS_MEMORIES_MAX];
    uint32_t memories_count;
    struct xp_verbs_memory slab;     /* slots, bounce buffers of reads */
    struct xp_verbs_memory counters; /* the words of xp_cas and xp_add */
    uint8_t *bounce;
    uint32_t frames_memory;
    struct rdma_event_channel *cm;
    struct rdma_cm_id *listener;
    uint16_t port_base;
    int epoll_fd, event_fd, timer_fd;
    struct xp_verbs_guest guests[XP_VERBS_GUESTS_MAX];
    bool is_granting;                      /* frames are there to be granted */
    uint64_t states, missing, lost_frames; /* see xp_verbs_describe */
    const struct cf_allocator *allocator;
    struct cf_log *log;
    uint64_t block_bytes; /* of the allocation this struct and its peers lie in */
    void *tables;         /* all arrays: one allocation, made by xp_start */
    uint64_t tables_bytes;
};

static inline struct xp_verbs *xp_verbs_of(struct xp *xp)
{
    return (struct xp_verbs *)xp;
}

static inline uint64_t xp_verbs_bit(const struct xp_verbs_peer *peer)
{
    return UINT64_C(1) << peer->node;
}

/* Wakes the machinery of connections in the next poll. */
static inline void xp_verbs_hurry(struct xp_verbs *vb)
{
    vb->is_control_due = true;
}

#endif
