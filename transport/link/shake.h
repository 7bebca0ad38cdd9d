/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_SHAKE_H
#define TRANSPORT_LINK_SHAKE_H

/*
 * The handshake over a network that loses: both sides say all they know, again and again, until both are up. A message
 * carries the sender's nonce and the peer's nonce as far as known, and is signed over both; it is believed only when
 * it echoes the nonce that the receiver made for this attempt, so a replay of an earlier one is worth nothing.
 *
 *   HELLO   my facts                       ACCEPT  the same, and the layer above has said yes
 *   REFUSE  why not, instead of these      BYE     the session is over; how many messages there were
 *
 * The session of the packets that follow is a keyed hash of both nonces. Key and signature are those of shm: the key
 * is a hash over cluster name and secret, the signature a keyed BLAKE2b; the secret is never sent.
 */
#include "transport/link/wire.h"
#include "transport/shm/hello.h"

#define XP_SHAKE_NONCE_BYTES 32u
#define XP_SHAKE_WHY_BYTES 104u

enum xp_shake_stage { XP_SHAKE_HELLO = 1, XP_SHAKE_ACCEPT, XP_SHAKE_REFUSE, XP_SHAKE_BYE };

struct xp_shake_facts {
    uint16_t node;
    uint16_t nodes;
    uint32_t incarnation;
    uint64_t epoch;
    uint32_t lane_slots;
    uint32_t packet_bytes; /* largest link packet it can send and receive */
    uint32_t classes;      /* bit c: it has frames of that size */
    uint16_t version;
    uint16_t is_busy; /* it never sleeps: nobody has to look whether it does */
    uint8_t hello[XP_HELLO_BYTES];
};

struct xp_shake {
    uint32_t stage;
    int32_t rc;
    uint8_t nonce[XP_SHAKE_NONCE_BYTES]; /* of the sender */
    uint8_t echo[XP_SHAKE_NONCE_BYTES];  /* of the receiver; 0: not known yet */
    uint64_t sent[XP_LANES];             /* BYE: messages of the session */
    struct xp_shake_facts facts;
    char why[XP_SHAKE_WHY_BYTES];
    uint8_t mac[XP_SHM_MAC_BYTES];
};
#define XP_SHAKE_PACKET_BYTES (XP_LINK_HEAD_BYTES + (uint32_t)sizeof(struct xp_shake))
_Static_assert(XP_SHAKE_PACKET_BYTES <= XP_LINK_PACKET_BYTES_MIN,
               "a handshake message fits into every packet");

/* Tag of the cluster's name: what the filter looks at. Clusters of one name and another secret meet and are refused. */
uint32_t xp_shake_tag(const char *cluster);
void xp_shake_sign(struct xp_shake *shake, const uint8_t key[XP_SHM_KEY_BYTES]);
CF_CHECK bool xp_shake_is_signed(const struct xp_shake *shake, const uint8_t key[XP_SHM_KEY_BYTES]);
/* Of the two nonces, the lower node's first. */
uint32_t xp_shake_session(const uint8_t key[XP_SHM_KEY_BYTES], const uint8_t *low_nonce,
                          const uint8_t *high_nonce);
/* Compares a peer's facts with ours; the first thing wrong is named. */
void xp_shake_check(const struct xp_shake_facts *own, const struct xp_shake_facts *peer,
                    uint16_t claimed_node, struct xp_shm_verdict *verdict_out);
/* Puts a message behind a head of its own, checksum included; returns the bytes of the packet. */
uint32_t xp_shake_encode(const struct xp_shake *shake, uint32_t tag, uint16_t to, uint8_t *out);
/* A packet of kind SHAKE whose checksum is right. False: not of the right length, or without end. */
CF_CHECK bool xp_shake_decode(const uint8_t *packet, uint32_t bytes, struct xp_shake *shake_out);

#endif
