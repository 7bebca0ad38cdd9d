/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_SHM_H
#define TRANSPORT_SHM_SHM_H

/*
 * The shm provider from inside. An instance is one struct xp_shm with one owner thread at a time; only the
 * eventfd of xp_wake is touched by others. What processes share is in layout.h, and each writes its own only.
 *
 * A connection, seen from one side; the higher node id connects, the lower listens (conn.c, guest.c, shake.c,
 * life.c):
 *
 *   ABSENT --begin--> OPENING --open--> PROVING --on_hello--> ASKED --accept--> GRANTED
 *     ^                                                                            |
 *     |<----- REFUSED (asked again slowly) <----- refuse, refused (any of these)   on_accept
 *     |                                                                            v
 *     |<----- bury <----- DRAINING <----- on BYE; process dead <----- BROKEN <--lost-- UP
 *                                                                       |
 *                                              process alive: OPENING again, then XP_EV_RESET
 */
#include "base/atomic.h"
#include "transport/credit.h"
#include "transport/lane.h"
#include "transport/lent.h"
#include "transport/shm/hello.h"
#include "transport/shm/layout.h"
#include "transport/shm/place.h"
#include "transport/shm/region.h"
#include "transport/xp_ops.h"

/* Regions from xp_memory; connections whose other end has not said yet who it is; one-sided reads not yet told. */
#define XP_SHM_MEMORIES_MAX 8u
#define XP_SHM_GUESTS_MAX 16u
#define XP_SHM_READS_MAX 256u

enum xp_shm_state {
    XP_SHM_ABSENT = 0,
    XP_SHM_OPENING,
    XP_SHM_PROVING,
    XP_SHM_ASKED,
    XP_SHM_GRANTED,
    XP_SHM_UP,
    XP_SHM_BROKEN,
    XP_SHM_DRAINING,
    XP_SHM_REFUSED,
    XP_SHM_SELF /* this instance itself, or a node that was evicted for good */
};

/* Outgoing half of a lane: slots in our own region. */
struct xp_shm_tx {
    uint8_t *slots;
    uint64_t mask;
    struct xp_credit credit;
    const _Atomic uint64_t *told; /* in the peer's region: what it has taken */
    uint32_t body_bytes;          /* of the message begun */
    uint32_t is_begun;
    struct xp_lane_facts facts;
};

/* Incoming half: slots in the peer's region. */
struct xp_shm_rx {
    const uint8_t *slots;
    uint64_t mask;
    uint64_t window;
    struct xp_credit_taker taker;
    _Atomic uint64_t *told; /* in our region */
    struct xp_lane_facts facts;
};

struct xp_shm_peer {
    struct xp_shm_rx rx[XP_LANES];
    struct xp_shm_tx tx[XP_LANES];
    const _Atomic uint64_t *sleeping; /* in the peer's region */
    uint64_t sleep_ended;             /* value of that word for which a wake-up has been sent */
    const uint8_t *frames;            /* the peer's, read-only */
    const _Atomic uint64_t *words;

    enum xp_shm_state state;
    int fd; /* socket, -1: none */
    uint16_t node;
    bool was_up;        /* this life of the peer had open lanes before: the next opening is a RESET */
    bool is_known;      /* facts hold */
    bool is_mute;       /* the last message of the handshake could not be sent */
    bool is_refused;    /* by the layer above: the life refused_incarnation is not asked about again */
    enum cf_rc down_rc; /* DRAINING: why */
    enum cf_rc told_rc; /* refusal already reported by XP_EV_DOWN */
    uint32_t generation;
    uint32_t incarnation_min; /* lives below this one are over (T-3) */
    uint32_t refused_incarnation;
    uint64_t retry_ns;
    uint64_t deadline_ns;
    uint8_t own_nonce[XP_SHM_NONCE_BYTES];
    uint8_t peer_nonce[XP_SHM_NONCE_BYTES];
    struct xp_shm_facts facts;
    struct xp_shm_region control;
    struct xp_shm_region memory;
};

struct xp_shm_guest {
    int fd; /* -1: free */
    uint64_t deadline_ns;
    bool has_open; /* it said who it is but the old connection of that node is not over yet */
    struct xp_shm_wire_open open;
};

struct xp_shm_read {
    uint64_t token;
    uint16_t node;
};

/* Events of one xp_poll, and where its messages are copied to. */
struct xp_shm_batch {
    struct xp_event *events;
    uint32_t count;
    uint32_t max;
};

struct xp_shm {
    struct xp base;
    struct xp_shm_peer *peers; /* [nodes] */
    uint32_t nodes;
    uint16_t node;
    bool is_busy;
    bool is_armed;
    bool is_control_due; /* the next poll runs a turn of connections, whatever the clock says */
    uint32_t turn;       /* where the next poll begins */
    uint64_t readable;   /* bit a peer: UP or DRAINING */
    uint64_t unflushed;  /* bit a peer: posted to since the last flush, and it may sleep */
    uint64_t owing;      /* bit a peer: messages taken that it has not been told of */
    uint64_t starved;    /* bit a peer: xp_begin found no credit */
    uint64_t sleep_count;
    struct xp_shm_front *front;
    struct xp_shm_slot *inbox; /* [XP_EVENTS_MAX] private copies of messages */
    struct xp_lent lent;
    struct xp_shm_read reads[XP_SHM_READS_MAX];
    uint32_t reads_count;

    uint64_t epoch;
    uint64_t now_ns;
    uint64_t control_next_ns;
    uint64_t peer_timeout_ns;
    uint32_t lane_slots;
    struct xp_frame_space space;
    struct xp_shm_facts facts; /* ours, but for the generation, which differs by peer */
    uint8_t key[XP_SHM_KEY_BYTES];
    struct xp_shm_place place;
    struct xp_shm_region control;
    struct xp_shm_region memories[XP_SHM_MEMORIES_MAX];
    uint32_t memories_count;
    uint32_t frames_memory; /* index of the region the frames are in; XP_SHM_MEMORIES_MAX: none */
    int listen_fd;
    int epoll_fd;
    int event_fd;
    int timer_fd;
    struct xp_shm_guest guests[XP_SHM_GUESTS_MAX];
    const struct cf_allocator *allocator;
    struct cf_log *log;
    void *block; /* one allocation: peers, posted frames, inbox */
    uint64_t block_bytes;
    char cluster[XP_SHM_PATH_BYTES];
};

static inline struct xp_shm *xp_shm_of(struct xp *xp)
{
    return (struct xp_shm *)xp;
}

/* NULL when there is no room; the caller asked before. */
static inline struct xp_event *xp_shm_emit(struct xp_shm_batch *batch, uint8_t type, uint16_t node,
                                           enum cf_rc rc)
{
    struct xp_event *event = &batch->events[batch->count++];

    *event = (struct xp_event){.type = type, .node = node, .rc = rc};
    return event;
}

/* conn.c, shake.c, life.c: connections. */
CF_CHECK enum cf_rc xp_shm_conn_listen(struct xp_shm *shm, int *errno_out);
/* One turn over sockets and timers; emits at most the events there is room for. */
void xp_shm_conn_turn(struct xp_shm *shm, uint64_t now_ns, struct xp_shm_batch *batch);
void xp_shm_shake_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why);
void xp_shm_conn_evict(struct xp *xp, uint16_t node);
void xp_shm_conn_epoch(struct xp *xp, uint64_t epoch);
/* A peer broke the rules of its rings: counted by the caller, named here, the connection is dropped. */
CF_COLD void xp_shm_life_violate(struct xp_shm *shm, struct xp_shm_peer *peer, const char *what);
/* The last message of a departed peer has been taken: XP_EV_DOWN. */
void xp_shm_life_drained(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_batch *batch);
void xp_shm_conn_wake(struct xp_shm *shm, struct xp_shm_peer *peer);
void xp_shm_conn_close(struct xp_shm *shm);
/* Nanoseconds until the next turn has work by the clock; 0: none has. */
uint64_t xp_shm_conn_due_ns(const struct xp_shm *shm);

/* peer.c: the mapped half of a connection. */
CF_CHECK const char *xp_shm_peer_map(struct xp_shm *shm, struct xp_shm_peer *peer, int control_fd,
                                     int memory_fd);
void xp_shm_peer_unmap(struct xp_shm *shm, struct xp_shm_peer *peer);
/* Empties what we write for the peer: before it is told that it may read. */
void xp_shm_peer_rewind(struct xp_shm *shm, struct xp_shm_peer *peer);
void xp_shm_peer_epoch(struct xp_shm *shm, struct xp_shm_peer *peer);

/* send.c, receive.c, onesided.c: the data path. */
void *xp_shm_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
void xp_shm_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
void xp_shm_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                       uint32_t frame);
void xp_shm_flush(struct xp *xp);
uint32_t xp_shm_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);
enum cf_rc xp_shm_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                       uint64_t token);
/* Tells every peer what was taken of it. */
void xp_shm_tell_all(struct xp_shm *shm);
/* Looks for credit that has come back on a lane that had none. */
CF_CHECK bool xp_shm_credit_refresh(struct xp_shm *shm, struct xp_shm_peer *peer, struct xp_shm_tx *tx);

/* copy.c: a block's bytes, aligned to lines at both ends; bytes: of a class of frames. */
CF_HOT void xp_shm_copy(uint8_t *to, const uint8_t *from, uint32_t bytes);

/* wait.c: sleeping. */
int xp_shm_fd(const struct xp *xp);
bool xp_shm_arm(struct xp *xp);
void xp_shm_disarm(struct xp *xp);
void xp_shm_wake(struct xp *xp);
/* After a fence: ends the sleep of the peers whose bit is set, of all sleepers or of the starved ones only. */
void xp_shm_rouse(struct xp_shm *shm, uint64_t peers, uint64_t why);

/* Test hook: the socket to a peer breaks while both sides live. */
void xp_shm_break(struct xp *xp, uint16_t node);

#endif
