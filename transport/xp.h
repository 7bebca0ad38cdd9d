/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_XP_H
#define TRANSPORT_XP_H

/*
 * The transport as the layers above see it. A provider is chosen by the text before the colon of an address:
 * shm: (separate processes of one host, or several instances of one process), sim: (deterministic), later
 * verbs: and dpdk:.
 *
 * Lanes. Between two instances there is one lane a class and direction: in order, at most once, credited. A
 * lane belongs to a connection generation; when a connection is rebuilt what was unfinished has an unknown
 * fate, both ends get XP_EV_RESET once and the layer above drives its conversations again.
 *
 * Blocks. xp_post_block sends a message with the bytes of a frame of the sender. The receiver gives free frames
 * to the transport beforehand (xp_frame_post); a block lands in one of them and XP_EV_BLOCK names it: that
 * frame now belongs to the receiver's layer above. No memory of the cache is ever writable by a peer. The
 * sender must keep the frame's bytes unchanged until the layer above knows that they have arrived, or change
 * the stable bits of the frame's word before it changes them: a receiver that copies out of the frame (shm)
 * re-checks the word after the copy and reports XP_EV_TORN instead of a block when it moved.
 *
 * Invariants (transport/README.md): T-1 order and at most once per lane generation; T-2 credits + in flight =
 * window; T-3 nothing of another epoch, incarnation, cluster or generation is delivered; T-4 a frame is lent to
 * the transport from xp_frame_post to its event and touched by nobody else.
 *
 * Threads: every call but xp_wake belongs to the one thread that owns progress at the moment; ownership may
 * pass between threads with release/acquire ordering. No call allocates after xp_start, none waits.
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/status.h>
#include <cachefusion/types.h>

#include "base/alloc.h"
#include "base/compiler.h"
#include "base/hash.h"
#include "base/log.h"
#include "transport/wire.h"

/* Control messages overtake blocks: two lanes a direction. */
enum xp_class { XP_CONTROL = 0, XP_DATA = 1, XP_LANES = 2 };

/* Largest body of a message, block bytes not counted. */
#define XP_BODY_BYTES_MAX 448u
/* Bytes the layer above may pass to every peer in the handshake. */
#define XP_HELLO_BYTES 64u
/* Counters that peers may change by xp_cas and xp_add, where there is XP_CAP_ATOMIC: bytes, 8 a counter, all 0 at first. */
#define XP_COUNTER_BYTES 4096u
/* Events taken by one xp_poll at most. */
#define XP_EVENTS_MAX 64u

enum xp_caps {
    XP_CAP_READ = 1u << 0,   /* xp_read works */
    XP_CAP_ATOMIC = 1u << 1, /* xp_cas and xp_add work */
    XP_CAP_PULL = 1u << 2,   /* the receiver copies blocks out of the sender's frame (XP_EV_TORN can come) */
    XP_CAP_SLEEP = 1u << 3,  /* xp_fd, xp_arm work */
    XP_CAP_PUSH = 1u << 4,   /* the device reads a posted block later: see xp_frame_is_sending */
};

/*
 * Where frames are: an array of words (one 64-bit word a frame, moved by the engine's compare-and-swap) and the
 * frames themselves, in one region, grouped by block size. Memory comes from xp_memory.
 */
struct xp_frame_class {
    uint32_t first; /* number of its first frame */
    uint32_t count;
    uint32_t bytes;  /* 2 KiB to 32 KiB; 0 = no frames of this class */
    uint64_t offset; /* of its first frame in the region */
};
struct xp_frame_space {
    uint8_t *base;
    uint64_t bytes;
    _Atomic uint64_t *words;
    uint64_t
        words_stable_mask; /* bits of a word that do not change while the bytes of the frame are stable */
    uint32_t count;
    struct xp_frame_class classes[CF_BLOCK_SIZES]; /* 2, 4, 8, 16, 32 KiB */
};

struct xp_options {
    const char *address; /* "shm:", "shm:/dir", "sim:" */
    uint16_t node;
    uint32_t incarnation;
    uint32_t nodes;      /* members: 0 .. nodes - 1 */
    const char *cluster; /* name */
    const char *secret;
    uint64_t epoch;
    uint32_t lane_slots; /* window of a lane in messages, a power of two */
    uint64_t peer_timeout_ns;
    bool busy;                     /* this instance never sleeps: peers need not look for a sleeper */
    uint8_t hello[XP_HELLO_BYTES]; /* given to peers, checked by the layer above in XP_EV_HELLO */
    const struct cf_allocator *allocator;
    struct cf_log *log;
    /* Address of each node, [nodes], as long as the instance: verbs: host or host:port; NULL, or NULL for a node: it is
     * on this host. dpdk: IP address. */
    const char *const *peers;
    int numa_node; /* of the thread that polls, verbs: takes a near device; negative: where xp_open is called */
    void *network; /* sim: struct sim_net *; verbs: a test's struct xp_verbs_calls *, else NULL */
};

enum xp_event_type {
    XP_EV_HELLO = 1, /* a peer asks to connect; message = its hello (XP_HELLO_BYTES); answer by xp_accept */
    XP_EV_UP,        /* lanes to the peer are open */
    XP_EV_RESET,     /* the connection was rebuilt under a new generation: drive everything again */
    XP_EV_DOWN,      /* the peer is gone: rc tells why (CF_PEER_LOST = the kernel says its process ended) */
    XP_EV_MESSAGE,   /* header, message, bytes */
    XP_EV_BLOCK,     /* the same, and the block is in `frame` (one that was posted) */
    XP_EV_TORN,      /* the same, but the block could not be copied whole; no frame was used */
    XP_EV_DONE,      /* a one-sided operation ended: token, rc, value (atomics: the old value) */
};

struct xp_event {
    uint8_t type; /* enum xp_event_type */
    uint8_t lane_class;
    uint16_t node;
    uint32_t bytes;                 /* of the body */
    const struct xp_header *header; /* valid until the next xp_poll */
    const void *message;            /* body; valid until the next xp_poll */
    uint32_t frame;
    enum cf_rc rc;
    uint64_t token;
    uint64_t value;
};

/* Why XP_EV messages did not come: counted here, never asserted. */
struct xp_counters {
    uint64_t sent, received, bytes_sent, bytes_received, blocks_sent, blocks_received;
    uint64_t bad_header, bad_length, bad_tag, stale_epoch, stale_incarnation, stale_generation, bad_sequence,
        bad_frame;
    uint64_t torn, no_credit, wakeups_sent, resets, hello_refused;
    /* Blocks that met no lent frame: a ship said again, or one that a slower way has overtaken. Told as torn; nobody's fault. */
    uint64_t unasked;
    /* verbs: sends given up after all retries, receivers found not ready, other failures of the device. */
    uint64_t retries_exceeded, rnr, device_errors;
};

struct xp;

/* Finds the provider and takes what start needs. CF_NOT_FOUND (no such provider), CF_NODE_TAKEN, CF_SYSTEM, CF_OPTION. */
CF_CHECK enum cf_rc xp_open(const struct xp_options *options, struct xp **xp_out, struct cf_error *error);
/* Tells the peers, takes everything back, clears *xp. */
void xp_close(struct xp **xp);

/* Zeroed memory that this provider can share or register; huge pages where there are any. Before xp_start. Lives until xp_close. */
CF_CHECK enum cf_rc xp_memory(struct xp *xp, uint64_t bytes, unsigned alloc_flags, void **memory_out,
                              struct cf_error *error);
/* Publishes the frames and begins to connect to every member. `space` must stay as it is until xp_close. */
CF_CHECK enum cf_rc xp_start(struct xp *xp, const struct xp_frame_space *space, struct cf_error *error);
/* Answers XP_EV_HELLO: rc = CF_OK lets the peer in, anything else is told to it as the reason. */
void xp_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why);
/* Tears the connection to a departed peer down; nothing of it is delivered afterwards. */
void xp_evict(struct xp *xp, uint16_t node);
/* A new view: later messages carry this epoch and only this epoch is delivered. */
void xp_epoch(struct xp *xp, uint64_t epoch);

uint32_t xp_caps(const struct xp *xp);
const struct xp_counters *xp_counters(const struct xp *xp);
/* True while the lanes to the node are open. */
bool xp_is_up(const struct xp *xp, uint16_t node);

/*
 * Sends a message: xp_begin gives room for `bytes` (at most XP_BODY_BYTES_MAX) of body, 8-byte aligned, or NULL
 * when the lane has no credit or is not open; the caller writes the body and must then post it (no other call
 * in between). xp_flush makes everything posted visible and wakes peers that sleep; a post may do so earlier.
 */
CF_HOT void *xp_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
CF_HOT void xp_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
CF_HOT void xp_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                          uint32_t frame);
CF_HOT void xp_flush(struct xp *xp);

/* Lends a free frame (of class `class_index`) for a block to land in. At most options' lane_slots a class are lent. */
CF_HOT void xp_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame);
/*
 * XP_CAP_PUSH: true while the device may still read the bytes of a frame that was posted with a block. The layer
 * above does not free or change such a frame; it becomes false within peer_timeout_ns. Others: always false.
 */
bool xp_frame_is_sending(const struct xp *xp, uint32_t frame);
/* Takes what arrived: fills at most `max` (<= XP_EVENTS_MAX) events. `now_ns` is the caller's clock. */
CF_HOT uint32_t xp_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);

/*
 * Sleeping without losing a wake-up:  xp_arm; look at every other source of work; if there is none, poll(xp_fd);
 * xp_disarm. xp_arm returns false when something has arrived already (then it is not armed).
 */
int xp_fd(const struct xp *xp);
bool xp_arm(struct xp *xp);
void xp_disarm(struct xp *xp);
/* Makes xp_fd readable. Any thread. */
void xp_wake(struct xp *xp);

/*
 * One-sided operations; a completion comes as XP_EV_DONE. CF_UNSUPPORTED, CF_PEER_LOST, CF_RANGE, CF_AGAIN.
 *
 * xp_read copies from a peer's frame space, which is read-only for peers, while its owner may be changing it: the
 * reader proves what it has (architecture.md, section 7). xp_cas and xp_add change a counter, of a peer or of this
 * instance itself; offset counts in its XP_COUNTER_BYTES. A counter is changed by the device only, also by its owner,
 * and never by a processor's store: mixing the two loses updates.
 */
CF_CHECK enum cf_rc xp_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                            uint64_t token);
CF_CHECK enum cf_rc xp_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                           uint64_t token);
CF_CHECK enum cf_rc xp_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token);

/* What the provider runs on, as lines "name value" for an operator (verbs: device, port, MTU, GID, queue depths, errors). */
uint32_t xp_describe(const struct xp *xp, char *text, uint32_t bytes);

#endif
