/* SPDX-License-Identifier: Apache-2.0 */
#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "transport/verbs/wire.h"

/* A REPLY repeats nothing that an OPEN could be taken for: the challenge is hashed in, and its length. */
static void open_mac(const struct xp_verbs_open *open, const uint8_t *key, const uint8_t *challenge,
                     uint8_t mac[XP_VERBS_OPEN_MAC_BYTES])
{
    uint8_t challenge_bytes = challenge != NULL ? XP_VERBS_NONCE_BYTES : 0;
    crypto_generichash_state state;

    crypto_generichash_init(&state, key, XP_VERBS_KEY_BYTES, XP_VERBS_OPEN_MAC_BYTES);
    crypto_generichash_update(&state, &challenge_bytes, sizeof(challenge_bytes));
    if (challenge != NULL)
        crypto_generichash_update(&state, challenge, XP_VERBS_NONCE_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)open, offsetof(struct xp_verbs_open, mac));
    crypto_generichash_final(&state, mac, XP_VERBS_OPEN_MAC_BYTES);
    sodium_memzero(&state, sizeof(state));
}

void xp_verbs_open_sign(struct xp_verbs_open *open, const uint8_t key[XP_VERBS_KEY_BYTES],
                        const uint8_t *challenge)
{
    open_mac(open, key, challenge, open->mac);
}

bool xp_verbs_open_is_signed(const struct xp_verbs_open *open, const uint8_t key[XP_VERBS_KEY_BYTES],
                             const uint8_t *challenge)
{
    uint8_t mac[XP_VERBS_OPEN_MAC_BYTES];

    open_mac(open, key, challenge, mac);
    return sodium_memcmp(mac, open->mac, sizeof(mac)) == 0;
}

static void facts_mac(const struct xp_verbs_facts *facts, const uint8_t *key, const uint8_t *verifier_nonce,
                      const uint8_t *signer_nonce, uint8_t mac[XP_VERBS_MAC_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, key, XP_VERBS_KEY_BYTES, XP_VERBS_MAC_BYTES);
    crypto_generichash_update(&state, verifier_nonce, XP_VERBS_NONCE_BYTES);
    crypto_generichash_update(&state, signer_nonce, XP_VERBS_NONCE_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)facts, sizeof(*facts));
    crypto_generichash_final(&state, mac, XP_VERBS_MAC_BYTES);
    sodium_memzero(&state, sizeof(state));
}

void xp_verbs_hello_sign(struct xp_verbs_hello *hello, const uint8_t key[XP_VERBS_KEY_BYTES],
                         const uint8_t *peer_nonce, const uint8_t *own_nonce)
{
    facts_mac(&hello->facts, key, peer_nonce, own_nonce, hello->mac);
}

bool xp_verbs_hello_is_signed(const struct xp_verbs_hello *hello, const uint8_t key[XP_VERBS_KEY_BYTES],
                              const uint8_t *own_nonce, const uint8_t *peer_nonce)
{
    uint8_t mac[XP_VERBS_MAC_BYTES];

    facts_mac(&hello->facts, key, own_nonce, peer_nonce, mac);
    return sodium_memcmp(mac, hello->mac, sizeof(mac)) == 0;
}

/* Sizes of which a side has frames, as bits. */
static uint32_t sizes_of(const struct xp_verbs_facts *facts)
{
    uint32_t bits = 0;

    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (facts->classes[i].count != 0)
            bits |= facts->classes[i].bytes;
    return bits;
}

static bool sizes_are_sound(const struct xp_verbs_facts *facts)
{
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (facts->classes[i].count != 0 && facts->classes[i].bytes != CF_BLOCK_BYTES_MIN << i)
            return false;
    return true;
}

void xp_verbs_facts_check(const struct xp_verbs_facts *own, const struct xp_verbs_facts *peer,
                          uint16_t claimed_node, struct xp_verbs_verdict *verdict_out)
{
    struct xp_verbs_verdict *v = verdict_out;
    uint32_t own_sizes = sizes_of(own), peer_sizes = sizes_of(peer);

    v->rc = CF_OK;
    v->why[0] = 0;
    if (peer->node == own->node || peer->node != claimed_node) {
        v->rc = CF_NODE_TAKEN;
        snprintf(v->why, sizeof(v->why), "node id %u is used twice", peer->node);
    } else if (peer->tag != own->tag) {
        v->rc = CF_CLUSTER;
        snprintf(v->why, sizeof(v->why), "cluster name or secret differ");
    } else if (peer->nodes != own->nodes) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "the number of members differs: %u and %u", peer->nodes, own->nodes);
    } else if (peer->lane_slots != own->lane_slots || peer->message_bytes != own->message_bytes) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "lane geometry differs: lane_slots %u and %u", peer->lane_slots,
                 own->lane_slots);
    } else if (peer->epoch != own->epoch) {
        v->rc = CF_STALE;
        snprintf(v->why, sizeof(v->why), "the epoch differs: %" PRIu64 " and %" PRIu64, peer->epoch,
                 own->epoch);
    } else if (!sizes_are_sound(peer) || (own_sizes != 0 && peer_sizes != 0 && own_sizes != peer_sizes)) {
        /* The bits of a set of sizes are the sizes: their sum tells both sides apart. */
        v->rc = CF_BLOCK_SIZE;
        snprintf(v->why, sizeof(v->why),
                 "block sizes differ (sum of sizes %u and %u): give both the same caches", peer_sizes,
                 own_sizes);
    }
}
