/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/shm/hello.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "transport/shm/layout.h"

void xp_shm_key_derive(const char *cluster, const char *secret, uint8_t key[XP_SHM_KEY_BYTES],
                       uint32_t *tag_out)
{
    static const char label[] = "tag";
    crypto_generichash_state state;
    uint8_t short_hash[16];

    /* The zero byte between the two keeps "ab" + "c" and "a" + "bc" apart. */
    crypto_generichash_init(&state, NULL, 0, XP_SHM_KEY_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)cluster, strlen(cluster) + 1);
    crypto_generichash_update(&state, (const uint8_t *)secret, strlen(secret));
    crypto_generichash_final(&state, key, XP_SHM_KEY_BYTES);
    crypto_generichash(short_hash, sizeof(short_hash), (const uint8_t *)label, sizeof(label), key,
                       XP_SHM_KEY_BYTES);
    memcpy(tag_out, short_hash, sizeof(*tag_out));
    sodium_memzero(&state, sizeof(state));
}

static void sign(const struct xp_shm_facts *facts, const uint8_t *key, const uint8_t *verifier_nonce,
                 const uint8_t *signer_nonce, uint8_t mac[XP_SHM_MAC_BYTES])
{
    crypto_generichash_state state;

    crypto_generichash_init(&state, key, XP_SHM_KEY_BYTES, XP_SHM_MAC_BYTES);
    crypto_generichash_update(&state, verifier_nonce, XP_SHM_NONCE_BYTES);
    crypto_generichash_update(&state, signer_nonce, XP_SHM_NONCE_BYTES);
    crypto_generichash_update(&state, (const uint8_t *)facts, sizeof(*facts));
    crypto_generichash_final(&state, mac, XP_SHM_MAC_BYTES);
    sodium_memzero(&state, sizeof(state));
}

void xp_shm_hello_sign(struct xp_shm_wire_hello *hello, const uint8_t key[XP_SHM_KEY_BYTES],
                       const uint8_t peer_nonce[XP_SHM_NONCE_BYTES],
                       const uint8_t own_nonce[XP_SHM_NONCE_BYTES])
{
    sign(&hello->facts, key, peer_nonce, own_nonce, hello->mac);
}

bool xp_shm_hello_is_signed(const struct xp_shm_wire_hello *hello, const uint8_t key[XP_SHM_KEY_BYTES],
                            const uint8_t own_nonce[XP_SHM_NONCE_BYTES],
                            const uint8_t peer_nonce[XP_SHM_NONCE_BYTES])
{
    uint8_t mac[XP_SHM_MAC_BYTES];

    sign(&hello->facts, key, own_nonce, peer_nonce, mac);
    return sodium_memcmp(mac, hello->mac, sizeof(mac)) == 0;
}

static bool is_inside(uint64_t offset, uint64_t bytes, uint64_t whole)
{
    return offset <= whole && bytes <= whole - offset;
}

/* NULL, or what is wrong with the frames a peer offers. All later accesses to them rest on this. */
static const char *frames_check(const struct xp_shm_facts *own, const struct xp_shm_facts *peer)
{
    if (peer->frames_bytes == 0)
        return peer->frame_count == 0 ? NULL : "frames without memory";
    if (peer->words_offset % sizeof(uint64_t) != 0 ||
        !is_inside(peer->words_offset, (uint64_t)peer->frame_count * sizeof(uint64_t), peer->frames_bytes))
        return "frame words outside its memory";
    if (peer->base_offset > peer->frames_bytes)
        return "frames outside its memory";
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        const struct xp_shm_wire_class *frames = &peer->classes[i];

        if (frames->bytes == 0 || frames->count == 0)
            continue;
        if (frames->bytes != CF_BLOCK_BYTES_MIN << i)
            return "a frame class of another block size";
        if (own->classes[i].bytes != 0 && own->classes[i].bytes != frames->bytes)
            return "a frame class of another block size";
        if (frames->first > peer->frame_count || frames->count > peer->frame_count - frames->first)
            return "frame numbers beyond its frames";
        if (!is_inside(frames->offset, (uint64_t)frames->count * frames->bytes,
                       peer->frames_bytes - peer->base_offset))
            return "frames outside its memory";
    }
    return NULL;
}

void xp_shm_facts_check(const struct xp_shm_facts *own, const struct xp_shm_facts *peer,
                        uint16_t claimed_node, struct xp_shm_verdict *verdict_out)
{
    struct xp_shm_verdict *v = verdict_out;
    const char *frames_why;

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
    } else if (peer->lane_slots != own->lane_slots || peer->slot_bytes != own->slot_bytes ||
               peer->control_bytes != own->control_bytes) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "lane geometry differs: lane_slots %u and %u", peer->lane_slots,
                 own->lane_slots);
    } else if (peer->epoch != own->epoch) {
        v->rc = CF_STALE;
        snprintf(v->why, sizeof(v->why), "the epoch differs: %" PRIu64 " and %" PRIu64, peer->epoch,
                 own->epoch);
    } else if ((frames_why = frames_check(own, peer)) != NULL) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "frame geometry: %s", frames_why);
    }
}
