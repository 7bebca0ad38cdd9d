/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_VERBS_PARTS_H
#define TRANSPORT_VERBS_PARTS_H

/* What the files of the provider call of each other. */
#include "base/clock.h"
#include "transport/verbs/verbs.h"

/* fail.c: one line with cause and remedy. */
CF_COLD CF_PRINTF(4, 5) enum cf_rc
    xp_verbs_fail(struct cf_error *error, enum cf_rc rc, int errno_now, const char *fmt, ...);

/* device.c: `rest` is what follows "verbs:" in the address. */
struct xp_verbs_address {
    char device[XP_VERBS_NAME_BYTES]; /* empty: the nearest that is usable */
    uint32_t port;                    /* 0: the first that is active */
    int numa_node;                    /* of the thread that will poll; negative: where xp_open is called */
    int gid_index;                    /* -1: the first RoCE v2 one with an IPv4 address */
    uint8_t retries;                  /* of a packet that is not acknowledged */
    uint32_t port_base;               /* of rdma_cm, 0: from the name of the cluster */
};
CF_CHECK enum cf_rc xp_verbs_address_parse(const char *rest, struct xp_verbs_address *address,
                                           struct cf_error *error);
CF_CHECK enum cf_rc xp_verbs_device_open(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                                         const struct xp_verbs_address *address, struct cf_error *error);
/* Completion queue with its channel. */
CF_CHECK enum cf_rc xp_verbs_device_queue(struct xp_verbs_device *device, const struct xp_verbs_calls *calls,
                                          uint32_t entries, struct cf_error *error);
void xp_verbs_device_close(struct xp_verbs_device *device, const struct xp_verbs_calls *calls);

/*
 * Work requests are told apart by their id alone: the other fields of a completion with an error mean nothing.
 *   receive  1 << 60 | pool << 32 | slot            send  2 << 60 | life << 52 | node << 40 | pair << 32 | position
 */
static inline uint64_t xp_verbs_receive_id(uint32_t pool, uint32_t slot)
{
    return UINT64_C(1) << 60 | (uint64_t)pool << 32 | slot;
}
static inline uint64_t xp_verbs_send_id(const struct xp_verbs_peer *peer, uint32_t index, uint32_t position)
{
    return UINT64_C(2) << 60 | (uint64_t)(peer->life & 0xff) << 52 | (uint64_t)peer->node << 40 |
           (uint64_t)index << 32 | position;
}

/* memory.c */
CF_CHECK enum cf_rc xp_verbs_memory_make(struct xp_verbs *vb, struct xp_verbs_memory *memory, uint64_t bytes,
                                         unsigned alloc_flags, int access, struct cf_error *error);
void xp_verbs_memory_free(struct xp_verbs *vb, struct xp_verbs_memory *memory);
/* Receive slots, send slots and bounce buffers for the frames of `space`. */
CF_CHECK enum cf_rc xp_verbs_pools_open(struct xp_verbs *vb, struct cf_error *error);
void xp_verbs_pools_close(struct xp_verbs *vb);
static inline struct xp_verbs_message *xp_verbs_pool_slot(const struct xp_verbs_pool *pool, uint32_t slot)
{
    return (struct xp_verbs_message *)(pool->slots + (uint64_t)slot * XP_VERBS_SLOT_BYTES);
}
/* The slot is to be posted again, with its frame. */
void xp_verbs_pool_again(struct xp_verbs_pool *pool, uint32_t slot);
/* Posts what waits. */
void xp_verbs_pools_post(struct xp_verbs *vb);
/* Takes frames back that a failed queue pair has swallowed. */
void xp_verbs_pools_recount(struct xp_verbs *vb);

/* pair.c: queue pairs. */
CF_CHECK int xp_verbs_pair_make(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index);
/* Pair 0, by what rdma_cm says. */
CF_CHECK int xp_verbs_pair_connect(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Makes the pairs for blocks, ready to be joined. */
CF_CHECK int xp_verbs_pairs_prepare(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* A pair for blocks, by what the peer says. */
CF_CHECK int xp_verbs_pair_join(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index,
                                const struct xp_verbs_wire_pair *theirs);
/* The pair to ourselves, over which our own counters are changed. */
CF_CHECK int xp_verbs_pair_loop(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* The peer can neither read frames nor change counters from now on. */
void xp_verbs_pair_fence(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_pairs_stop(struct xp_verbs *vb, struct xp_verbs_peer *peer);
bool xp_verbs_pairs_are_idle(const struct xp_verbs_peer *peer);
void xp_verbs_pairs_destroy(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Peer and pair of a queue pair number; NULL: none of ours. */
struct xp_verbs_peer *xp_verbs_pair_find(struct xp_verbs *vb, uint32_t number, uint32_t *index_out);

/* send.c */
void *xp_verbs_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes);
void xp_verbs_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn);
void xp_verbs_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                         uint32_t frame);
void xp_verbs_flush(struct xp *xp);
/* A message of the provider's own; false: no slot or the pair is gone. */
bool xp_verbs_say(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum xp_verbs_kind kind, const void *body,
                  uint32_t bytes);
void xp_verbs_refusal(struct xp_verbs_refuse *refuse, enum cf_rc rc, const char *why);
/* All requests up to the position are the device's no more; `rc` is the end of the last of them. */
void xp_verbs_completed(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index, uint32_t position,
                        enum cf_rc rc);
/* A request that comes back when all before it have; of a pair that is in the error state. */
void xp_verbs_mark_end(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index);
/* Is the peer's device still there? The completion says so. */
void xp_verbs_probe(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Requests from the position on were never handed over: their slots are free again. */
void xp_verbs_unpost(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index, uint32_t position);
void xp_verbs_peer_flush(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Puts a request into the chain of a pair; its pieces and opcode are the caller's. */
struct ibv_send_wr *xp_verbs_chain(struct xp_verbs *vb, struct xp_verbs_peer *peer, uint32_t index,
                                   uint32_t slot);

/* onesided.c */
enum cf_rc xp_verbs_read(struct xp *xp, uint16_t node, uint64_t offset, void *to, uint32_t bytes,
                         uint64_t token);
enum cf_rc xp_verbs_cas(struct xp *xp, uint16_t node, uint64_t offset, uint64_t expected, uint64_t desired,
                        uint64_t token);
enum cf_rc xp_verbs_add(struct xp *xp, uint16_t node, uint64_t offset, uint64_t value, uint64_t token);
void xp_verbs_read_ended(struct xp_verbs *vb, uint32_t index, enum cf_rc rc);
void xp_verbs_reads_tell(struct xp_verbs *vb, struct xp_verbs_batch *batch);

/* A receive slot and its pool in one word. */
#define XP_VERBS_SLOT_MASK 0xffffffu
static inline uint32_t xp_verbs_ref(uint32_t pool, uint32_t slot)
{
    return pool << 24 | slot;
}

/* receive.c */
uint32_t xp_verbs_poll(struct xp *xp, uint64_t now_ns, struct xp_event *events, uint32_t max);
/* Takes completions until there are none; rings and connections are moved on. */
void xp_verbs_drain(struct xp_verbs *vb);
/* Messages that have arrived and were not delivered are dropped; their slots go back. */
void xp_verbs_rings_drop(struct xp_verbs *vb, struct xp_verbs_peer *peer);
bool xp_verbs_rings_are_empty(const struct xp_verbs *vb, const struct xp_verbs_peer *peer);
/* A receive that leads to nothing; a block in it costs its sender the grant, which is free again. */
void xp_verbs_slot_drop(struct xp_verbs *vb, uint32_t ref);

/* deliver.c */
void xp_verbs_held_release(struct xp_verbs *vb);
void xp_verbs_news_tell(struct xp_verbs *vb, struct xp_verbs_batch *batch);
void xp_verbs_deliver(struct xp_verbs *vb, struct xp_verbs_batch *batch);
void xp_verbs_news(struct xp_verbs *vb, uint8_t type, uint16_t node, enum cf_rc rc);

/* grant.c: who may send blocks, and the counts peers are told. */
void xp_verbs_frame_post(struct xp *xp, uint32_t class_index, uint32_t frame);
void xp_verbs_grants_open(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_grants_close(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* What a peer's message says besides; false: it breaks the rules. */
CF_CHECK bool xp_verbs_counts_take(struct xp_verbs *vb, struct xp_verbs_peer *peer,
                                   const struct xp_verbs_ext *ext);
CF_CHECK bool xp_verbs_state_take(struct xp_verbs *vb, struct xp_verbs_peer *peer,
                                  const struct xp_verbs_state *state);
void xp_verbs_counts_stamp(struct xp_verbs_peer *peer, struct xp_verbs_ext *ext);
/* Gives frames to peers and tells what is due; `is_turn`: also what only idle peers need. */
void xp_verbs_attend(struct xp_verbs *vb, bool is_turn);

/* cm.c: rdma_cm. */
CF_CHECK enum cf_rc xp_verbs_cm_open(struct xp_verbs *vb, struct cf_error *error);
void xp_verbs_cm_close(struct xp_verbs *vb);
/* The port of node 0 when none is given: from the name of the cluster. */
uint16_t xp_verbs_cm_port(const char *cluster);
void xp_verbs_cm_take(struct xp_verbs *vb);
void xp_verbs_cm_connect(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_cm_hang_up(struct xp_verbs *vb, struct xp_verbs_peer *peer);

/* guest.c */
struct rdma_conn_param xp_verbs_conn_param(const struct xp_verbs *vb, const struct xp_verbs_peer *peer,
                                           const struct xp_verbs_open *open);
/* OPEN, or with a challenge REPLY, under a new nonce of ours. */
void xp_verbs_open_fill(struct xp_verbs *vb, struct xp_verbs_peer *peer, struct xp_verbs_open *open,
                        const uint8_t *challenge);
void xp_verbs_guest_arrives(struct xp_verbs *vb, struct rdma_cm_id *id, const void *data, uint32_t bytes);
void xp_verbs_guest_forget(struct xp_verbs *vb, const struct rdma_cm_id *id);
void xp_verbs_guests_turn(struct xp_verbs *vb);

/* shake.c */
void xp_verbs_shake_begin(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Says HELLO, once a connection. */
void xp_verbs_shake_hello(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_shake_take(struct xp_verbs *vb, struct xp_verbs_peer *peer,
                         const struct xp_verbs_message *message);
void xp_verbs_shake_accept(struct xp *xp, uint16_t node, enum cf_rc rc, const char *why);

/* life.c. The connection is torn down by the next turn: nothing that holds pointers into it is surprised. */
void xp_verbs_lost(struct xp_verbs *vb, struct xp_verbs_peer *peer, const char *why);
void xp_verbs_violate(struct xp_verbs *vb, struct xp_verbs_peer *peer, const char *why);
/* An attempt to connect came to nothing: tried again later. */
void xp_verbs_attempt_failed(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* Its host says that the process has ended. */
void xp_verbs_ended(struct xp_verbs *vb, struct xp_verbs_peer *peer);
/* It says goodbye, or is refused while lanes are open: what it sent before is delivered, then `rc` is told. */
void xp_verbs_drain_out(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc);
void xp_verbs_refuse(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why);
void xp_verbs_refused(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why);
/* The layer above refused: the peer is told, nobody else. */
void xp_verbs_turned_away(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why);
/* A request to connect under this name was refused unseen. */
void xp_verbs_stranger(struct xp_verbs *vb, struct xp_verbs_peer *peer, enum cf_rc rc, const char *why);
/* Steps of the turn. */
void xp_verbs_failed(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_tearing(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_draining(struct xp_verbs *vb, struct xp_verbs_peer *peer);
void xp_verbs_evict(struct xp *xp, uint16_t node);
void xp_verbs_set_epoch(struct xp *xp, uint64_t epoch);
void xp_verbs_lanes_epoch(struct xp_verbs *vb, struct xp_verbs_peer *peer);

/* turn.c: what the clock decides; the end of an instance. */
void xp_verbs_turn(struct xp_verbs *vb);
uint64_t xp_verbs_due_ns(const struct xp_verbs *vb);
void xp_verbs_leave(struct xp_verbs *vb);
static inline bool xp_verbs_is_connected(const struct xp_verbs_peer *peer)
{
    return peer->state >= XP_VERBS_PROVING && peer->state <= XP_VERBS_DRAINING;
}

/* wait.c */
CF_CHECK bool xp_verbs_watches_open(struct xp_verbs *vb);
void xp_verbs_watches_close(struct xp_verbs *vb);
/* Reads what made the descriptor readable. */
void xp_verbs_watches_take(struct xp_verbs *vb);
int xp_verbs_fd(const struct xp *xp);
bool xp_verbs_arm(struct xp *xp);
void xp_verbs_disarm(struct xp *xp);
void xp_verbs_wake(struct xp *xp);

/* describe.c */
uint32_t xp_verbs_describe(const struct xp *xp, char *text, uint32_t bytes);

#endif
