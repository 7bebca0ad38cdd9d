/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_HELLO_H
#define TRANSPORT_SHM_HELLO_H

/*
 * What two instances say over their socket before lanes open. Both sides say the same, in this order:
 *
 *   OPEN    who I am, a nonce                     checked: version, node id
 *   HELLO   my facts, signed over both nonces     checked: key of the cluster, geometry, epoch, incarnation
 *   ACCEPT  my memory (file descriptors)          after the layer above has said yes
 *   REFUSE  why not, instead of any of these      BYE: I close cleanly      WAKE: look into your rings
 *
 * The key is a hash over cluster name and secret, the signature a keyed BLAKE2b: the secret is never sent. Memory
 * is given only to a peer that has proved that it knows the key.
 */
#include "transport/xp.h"

#define XP_SHM_MAGIC 0x43465348u
#define XP_SHM_NONCE_BYTES 32u
#define XP_SHM_KEY_BYTES 32u
#define XP_SHM_MAC_BYTES 32u
#define XP_SHM_WHY_BYTES 120u
#define XP_SHM_WIRE_BYTES_MAX 512u

enum xp_shm_kind { XP_SHM_OPEN = 1, XP_SHM_HELLO, XP_SHM_ACCEPT, XP_SHM_REFUSE, XP_SHM_BYE, XP_SHM_WAKE };

struct xp_shm_wire_head {
    uint32_t magic;
    uint16_t version;
    uint16_t kind;
};

struct xp_shm_wire_open {
    struct xp_shm_wire_head head;
    uint16_t node;
    uint16_t target;
    uint32_t unused;
    uint8_t nonce[XP_SHM_NONCE_BYTES];
};

struct xp_shm_wire_class {
    uint32_t first;
    uint32_t count;
    uint32_t bytes;
    uint32_t unused;
    uint64_t offset;
};

struct xp_shm_facts {
    uint16_t node;
    uint16_t nodes;
    uint32_t incarnation;
    uint64_t epoch;
    uint32_t tag;
    uint32_t lane_slots;
    uint32_t slot_bytes;
    uint32_t generation; /* the last one this side knows of for this pair */
    uint64_t control_bytes;
    uint64_t frames_bytes; /* of the frame region, 0 = none */
    uint64_t base_offset;  /* of the frame space in the region; class offsets count from there */
    uint64_t words_offset;
    uint64_t words_stable_mask;
    uint32_t frame_count;
    uint32_t is_busy;
    struct xp_shm_wire_class classes[CF_BLOCK_SIZES];
    uint8_t hello[XP_HELLO_BYTES];
};

struct xp_shm_wire_hello {
    struct xp_shm_wire_head head;
    struct xp_shm_facts facts;
    uint8_t mac[XP_SHM_MAC_BYTES];
};

/* ACCEPT, REFUSE, BYE, WAKE. */
struct xp_shm_wire_short {
    struct xp_shm_wire_head head;
    int32_t rc;
    uint32_t unused;
    char why[XP_SHM_WHY_BYTES];
};

union xp_shm_wire {
    struct xp_shm_wire_head head;
    struct xp_shm_wire_open open;
    struct xp_shm_wire_hello hello;
    struct xp_shm_wire_short brief;
    uint8_t bytes[XP_SHM_WIRE_BYTES_MAX];
};
_Static_assert(sizeof(union xp_shm_wire) == XP_SHM_WIRE_BYTES_MAX, "handshake message");

struct xp_shm_verdict {
    enum cf_rc rc; /* CF_OK: nothing is wrong */
    char why[XP_SHM_WHY_BYTES];
};

/* Key of the cluster and the tag every message header carries. */
void xp_shm_key_derive(const char *cluster, const char *secret, uint8_t key[XP_SHM_KEY_BYTES],
                       uint32_t *tag_out);
/* Signs the facts for a peer: over its nonce, ours and every byte of the facts. */
void xp_shm_hello_sign(struct xp_shm_wire_hello *hello, const uint8_t key[XP_SHM_KEY_BYTES],
                       const uint8_t peer_nonce[XP_SHM_NONCE_BYTES],
                       const uint8_t own_nonce[XP_SHM_NONCE_BYTES]);
CF_CHECK bool xp_shm_hello_is_signed(const struct xp_shm_wire_hello *hello,
                                     const uint8_t key[XP_SHM_KEY_BYTES],
                                     const uint8_t own_nonce[XP_SHM_NONCE_BYTES],
                                     const uint8_t peer_nonce[XP_SHM_NONCE_BYTES]);
/* Compares a peer's facts with ours; the first thing wrong is named. */
void xp_shm_facts_check(const struct xp_shm_facts *own, const struct xp_shm_facts *peer,
                        uint16_t claimed_node, struct xp_shm_verdict *verdict_out);

#endif
