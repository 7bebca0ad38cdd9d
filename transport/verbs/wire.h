/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_VERBS_WIRE_H
#define TRANSPORT_VERBS_WIRE_H

/*
 * What instances send each other over verbs. A message is the header of transport/wire.h, this provider's
 * extension, and a body; with a block it is cut in three, so that a receive of three pieces scatters it:
 *
 *   without block   header 48 | extension 32 | body                                  one packet at 1 KiB MTU
 *   with block      header 48 | extension 32 | body, 176 bytes of it | block | the rest of the body, if any
 *
 * Two instances meet in this order. OPEN and REPLY travel as private data of rdma_cm, the rest as messages:
 *
 *   OPEN    who I am, a nonce, signed         checked before anything is made for the stranger
 *   REPLY   the same, signed over both nonces
 *   HELLO   my facts, signed over both nonces: geometry, epoch, incarnation, what the layer above says
 *   ACCEPT  after the layer above has said yes: where my frames can be read, my queue pairs for blocks
 *   READY   those queue pairs can receive: lanes are open
 *   REFUSE  why not, instead of any of these; BYE: I close cleanly
 *
 * Counts told to a peer only rise and may wrap, so a later message says all that an earlier one said.
 */
#include "transport/xp.h"

#define XP_VERBS_MAGIC 0x43465642u
#define XP_VERBS_NONCE_BYTES 16u
#define XP_VERBS_OPEN_MAC_BYTES 16u
#define XP_VERBS_KEY_BYTES 32u
#define XP_VERBS_MAC_BYTES 32u
#define XP_VERBS_WHY_BYTES 120u

enum xp_verbs_kind {
    XP_VERBS_LANE = 0, /* of the layer above; all others are the provider's own and have header type 0 */
    XP_VERBS_HELLO,
    XP_VERBS_ACCEPT,
    XP_VERBS_READY,
    XP_VERBS_REFUSE,
    XP_VERBS_BYE,
    XP_VERBS_STATE, /* counts, when no message of a lane goes that way */
    XP_VERBS_ACK    /* a STATE was taken */
};

enum xp_verbs_flags {
    XP_VERBS_BLOCK = 1u << 0,   /* the block is in this message */
    XP_VERBS_MISSING = 1u << 1, /* there was no frame granted for the block: it stayed behind */
};
#define XP_VERBS_SIZE_SHIFT 5u /* flags: above it, the index of the block's size */

struct xp_verbs_ext {
    uint32_t told[XP_LANES]; /* messages of the receiver that the sender has taken */
    uint32_t
        granted[CF_BLOCK_SIZES]; /* blocks the receiver may send, of each size, since the connection began */
    uint8_t kind;
    uint8_t flags;
    uint8_t recall; /* bit a size: give grants back that are not used */
    uint8_t states; /* STATE messages taken */
};
_Static_assert(sizeof(struct xp_verbs_ext) == 32, "wire extension");

#define XP_VERBS_HEAD_BYTES (XP_HEADER_BYTES + (uint32_t)sizeof(struct xp_verbs_ext))
#define XP_VERBS_FIRST_BYTES 256u
#define XP_VERBS_FIRST_BODY_BYTES (XP_VERBS_FIRST_BYTES - XP_VERBS_HEAD_BYTES)

struct xp_verbs_message {
    struct xp_header header;
    struct xp_verbs_ext ext;
    uint8_t body[XP_BODY_BYTES_MAX];
};
#define XP_VERBS_MESSAGE_BYTES ((uint32_t)sizeof(struct xp_verbs_message))
_Static_assert(sizeof(struct xp_verbs_message) == 528, "wire message");
/* A message in memory: whole cache lines. */
#define XP_VERBS_SLOT_BYTES 576u

/* OPEN and REPLY: all that the private data of a connect request holds. */
struct xp_verbs_open {
    uint32_t magic;
    uint16_t version;
    uint16_t node;
    uint16_t target;
    uint16_t unused;
    uint32_t incarnation;
    uint64_t epoch;
    uint8_t nonce[XP_VERBS_NONCE_BYTES];
    uint8_t mac[XP_VERBS_OPEN_MAC_BYTES];
};
_Static_assert(sizeof(struct xp_verbs_open) == 56, "private data of a connect request");

struct xp_verbs_wire_class {
    uint32_t bytes;
    uint32_t count;
};

struct xp_verbs_facts {
    uint16_t node;
    uint16_t nodes;
    uint32_t incarnation;
    uint64_t epoch;
    uint32_t tag;
    uint32_t lane_slots;
    uint32_t generation; /* the last one this side knows of for this pair */
    uint32_t message_bytes;
    struct xp_verbs_wire_class classes[CF_BLOCK_SIZES];
    uint8_t hello[XP_HELLO_BYTES];
};

struct xp_verbs_hello {
    struct xp_verbs_facts facts;
    uint8_t mac[XP_VERBS_MAC_BYTES];
};

struct xp_verbs_wire_pair {
    uint32_t number; /* of the queue pair; 0: none for this size */
    uint32_t first;  /* its first packet sequence number */
};

struct xp_verbs_accept {
    uint64_t frames_address;
    uint64_t frames_bytes;
    uint64_t counters_address;
    uint32_t frames_key;
    uint32_t counters_key;
    struct xp_verbs_wire_pair pairs[CF_BLOCK_SIZES];
};

/* Also the private data of a rejected connection. */
struct xp_verbs_refuse {
    uint32_t magic;
    int32_t rc;
    char why[XP_VERBS_WHY_BYTES];
};

struct xp_verbs_bye {
    uint64_t sent[XP_LANES];
};

struct xp_verbs_state {
    uint32_t returned[CF_BLOCK_SIZES]; /* grants given back since the connection began */
};

_Static_assert(sizeof(struct xp_verbs_hello) <= XP_BODY_BYTES_MAX, "HELLO");
_Static_assert(sizeof(struct xp_verbs_accept) <= XP_BODY_BYTES_MAX, "ACCEPT");

struct xp_verbs_verdict {
    enum cf_rc rc; /* CF_OK: nothing is wrong */
    char why[XP_VERBS_WHY_BYTES];
};

/* hello.c. `challenge`: the nonce that is answered, NULL in an OPEN. */
void xp_verbs_open_sign(struct xp_verbs_open *open, const uint8_t key[XP_VERBS_KEY_BYTES],
                        const uint8_t *challenge);
CF_CHECK bool xp_verbs_open_is_signed(const struct xp_verbs_open *open, const uint8_t key[XP_VERBS_KEY_BYTES],
                                      const uint8_t *challenge);
/* Over the peer's nonce, ours and every byte of the facts. */
void xp_verbs_hello_sign(struct xp_verbs_hello *hello, const uint8_t key[XP_VERBS_KEY_BYTES],
                         const uint8_t *peer_nonce, const uint8_t *own_nonce);
CF_CHECK bool xp_verbs_hello_is_signed(const struct xp_verbs_hello *hello,
                                       const uint8_t key[XP_VERBS_KEY_BYTES], const uint8_t *own_nonce,
                                       const uint8_t *peer_nonce);
/* Compares a peer's facts with ours; the first thing wrong is named. */
void xp_verbs_facts_check(const struct xp_verbs_facts *own, const struct xp_verbs_facts *peer,
                          uint16_t claimed_node, struct xp_verbs_verdict *verdict_out);

#endif
