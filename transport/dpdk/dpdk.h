/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_DPDK_H
#define TRANSPORT_DPDK_DPDK_H

/*
 * The dpdk provider from inside: links (transport/link) over ports (bus.h). An instance is one struct xp_dpdk with one
 * owner thread at a time; only the eventfd of xp_wake is touched by others.
 *
 * A connection, seen from one side; both sides do the same (conn.c, shake.c, life.c):
 *
 *              HELLO that echoes our nonce           accept           its ACCEPT, or a packet of the session
 *   ABSENT ------------------------------> ASKED ----------> GRANTED -------------------------------------> UP
 *     ^  \________ same life as before: no question __________^                                              |
 *     |                                                                                                      |
 *     |<----- REFUSED (asked again slowly) <---- refuse, REFUSE (any of these)                               |
 *     |<----- bury <---- DRAINING <---- BYE; silent and its process is gone; broke the rules <---------------+
 *
 * Another HELLO while UP is answered with a fresh nonce; when it comes back signed, the peer has begun anew: the same
 * life gets a new session and XP_EV_RESET, a new life ends the old one.
 */
#include "transport/dpdk/bus.h"
#include "transport/dpdk/nap.h"
#include "transport/lane.h"
#include "transport/lent.h"
#include "transport/link/link.h"
#include "transport/link/shake.h"
#include "transport/xp_ops.h"

enum xp_dpdk_state {
    XP_DPDK_ABSENT = 0,
    XP_DPDK_ASKED,
    XP_DPDK_GRANTED,
    XP_DPDK_UP,
    XP_DPDK_DRAINING,
    XP_DPDK_REFUSED,
    XP_DPDK_SELF
};

struct xp_dpdk_nonces {
    uint8_t own[XP_SHAKE_NONCE_BYTES];
    uint8_t peer[XP_SHAKE_NONCE_BYTES];
};

struct xp_dpdk_peer {
    struct xp_link link;
    struct xp_lane_facts in[XP_LANES];
    uint8_t front[XP_ETHER_FRONT_BYTES];
    enum xp_dpdk_state state;
    uint16_t node;
    uint32_t port;
    uint32_t session;
    bool is_open;        /* the link holds a session */
    bool has_posted;     /* since the last flush */
    bool was_up;         /* this life had open lanes before: the next opening is a RESET */
    bool is_known;       /* facts hold */
    bool has_granted;    /* the peer's ACCEPT of this attempt has come */
    bool is_refused;     /* by the layer above: the life refused_incarnation is not asked about again */
    bool must_say_hello; /* events that wait for room */
    bool must_say_up;
    bool must_say_down;
    bool is_starved; /* xp_begin found no credit */
    enum cf_rc down_rc;
    enum cf_rc told_rc;
    uint32_t incarnation_min;
    uint32_t refused_incarnation;
    uint64_t retry_ns;    /* next word of the handshake, or end of REFUSED */
    uint64_t deadline_ns; /* DRAINING: what is missing does not come any more */
    uint64_t looked_ns;   /* when its process was looked for last */
    uint64_t final[XP_LANES];
    struct xp_dpdk_nonces attempt, lived; /* of the handshake under way, of the session */
    struct xp_shake_facts facts;
    struct xp_ether_end end;
    struct xp_dpdk_bed bed;
    void *memory; /* of the link */
};

struct xp_dpdk_batch {
    struct xp_event *events;
    uint32_t count;
    uint32_t max;
};

struct xp_dpdk {
    struct xp base;
    struct xp_dpdk_peer *peers; /* [nodes] */
    uint32_t nodes;
    uint16_t node;
    bool is_local;
    bool is_armed;
    bool is_started;
    bool is_control_due;
    uint32_t turn;
    uint64_t epoch;
    uint64_t now_ns;
    uint64_t control_next_ns;
    uint64_t quiet_until_ns; /* receive.c */
    uint64_t ports_next_ns;
    uint64_t nap_ns;
    uint64_t peer_timeout_ns;
    uint32_t lane_slots;
    uint32_t tag; /* of every message header */
    struct xp_dpdk_address address;
    struct xp_dpdk_bus bus;
    struct xp_dpdk_gate *gate;
    struct xp_dpdk_nap nap;
    int claim_fd; /* check.h */
    struct xp_shm_place place;
    struct xp_ether_filter filter;
    struct xp_frame_space space;
    struct xp_shake_facts facts;
    uint8_t key[XP_SHM_KEY_BYTES];
    struct xp_link_frames frames;
    struct xp_lent lent;
    struct xp_dpdk_memory memories[XP_DPDK_MEMORIES_MAX];
    uint32_t memories_count;
    uint64_t foreign, malformed, damaged, arps, unknown_session;
    const char *const *addresses; /* of the nodes, or NULL */
    const struct cf_allocator *allocator;
    struct cf_log *log;
    void *block;
    uint64_t block_bytes;
    char cluster[XP_SHM_PATH_BYTES];
};

static inline struct xp_dpdk *xp_dpdk_of(struct xp *xp)
{
    return (struct xp_dpdk *)xp;
}

/* dpdk.c: what a module exports. */
extern const struct xp_ops xp_dpdk_module_ops;

/* send.c, receive.c, frames.c: the data path. */
void *xp_dpdk_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
void xp_dpdk_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
void xp_dpdk_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                        uint32_t frame);
void xp_dpdk_flush(struct xp *xp);
void xp_dpdk_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame);
uint32_t xp_dpdk_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);
bool xp_dpdk_arm(struct xp *xp);
void xp_dpdk_disarm(struct xp *xp);
/* Takes what the ports have; true when anything came. Inside the gate. */
bool xp_dpdk_receive(struct xp_dpdk *dpdk);
/* Sends what the peer's link has to send. Inside the gate. */
void xp_dpdk_send(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer);
void xp_dpdk_frames_init(struct xp_dpdk *dpdk);

/* conn.c: connections; conn.h has the rest. */
void xp_dpdk_conn_evict(struct xp *xp, uint16_t node);
void xp_dpdk_conn_epoch(struct xp *xp, uint64_t epoch);
uint64_t xp_dpdk_conn_due_ns(const struct xp_dpdk *dpdk);

/* describe.c */
uint32_t xp_dpdk_describe(const struct xp *xp, char *text, uint32_t bytes);

/* shake.c: the words of the handshake. */
void xp_dpdk_on_shake(struct xp_dpdk *dpdk, uint32_t port, const uint8_t *frame, const uint8_t *packet,
                      uint32_t bytes);
void xp_dpdk_say(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, const struct xp_dpdk_nonces *nonces,
                 enum xp_shake_stage stage, enum cf_rc rc, const char *why);
void xp_dpdk_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why);

#endif
