/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/link/shake.h"

#include <inttypes.h>
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/crc32c.h"

uint32_t xp_shake_tag(const char *cluster)
{
    return cf_crc32c(XP_LINK_VERSION, cluster, strlen(cluster));
}

static void mac_of(const struct xp_shake *shake, const uint8_t *key, uint8_t mac[XP_SHM_MAC_BYTES])
{
    crypto_generichash(mac, XP_SHM_MAC_BYTES, (const uint8_t *)shake, offsetof(struct xp_shake, mac), key,
                       XP_SHM_KEY_BYTES);
}

void xp_shake_sign(struct xp_shake *shake, const uint8_t key[XP_SHM_KEY_BYTES])
{
    mac_of(shake, key, shake->mac);
}

bool xp_shake_is_signed(const struct xp_shake *shake, const uint8_t key[XP_SHM_KEY_BYTES])
{
    uint8_t mac[XP_SHM_MAC_BYTES];

    mac_of(shake, key, mac);
    return sodium_memcmp(mac, shake->mac, sizeof(mac)) == 0;
}

uint32_t xp_shake_session(const uint8_t key[XP_SHM_KEY_BYTES], const uint8_t *low_nonce,
                          const uint8_t *high_nonce)
{
    uint8_t nonces[2 * XP_SHAKE_NONCE_BYTES], hash[16];
    uint32_t session;

    memcpy(nonces, low_nonce, XP_SHAKE_NONCE_BYTES);
    memcpy(nonces + XP_SHAKE_NONCE_BYTES, high_nonce, XP_SHAKE_NONCE_BYTES);
    crypto_generichash(hash, sizeof(hash), nonces, sizeof(nonces), key, XP_SHM_KEY_BYTES);
    memcpy(&session, hash, sizeof(session));
    return session != 0 ? session : 1;
}

void xp_shake_check(const struct xp_shake_facts *own, const struct xp_shake_facts *peer,
                    uint16_t claimed_node, struct xp_shm_verdict *verdict_out)
{
    struct xp_shm_verdict *v = verdict_out;

    v->rc = CF_OK;
    v->why[0] = 0;
    if (peer->version != own->version) {
        v->rc = CF_VERSION;
        snprintf(v->why, sizeof(v->why), "wire version %u here, %u there", own->version, peer->version);
    } else if (peer->node == own->node || peer->node != claimed_node) {
        v->rc = CF_NODE_TAKEN;
        snprintf(v->why, sizeof(v->why), "node id %u is used twice", peer->node);
    } else if (peer->nodes != own->nodes) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "the number of members differs: %u and %u", peer->nodes, own->nodes);
    } else if (peer->lane_slots != own->lane_slots) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "lane geometry differs: lane_slots %u and %u", peer->lane_slots,
                 own->lane_slots);
    } else if (peer->packet_bytes < XP_LINK_PACKET_BYTES_MIN || peer->packet_bytes > UINT16_MAX) {
        v->rc = CF_OPTION;
        snprintf(v->why, sizeof(v->why), "packets of %u bytes", peer->packet_bytes);
    } else if (peer->epoch != own->epoch) {
        v->rc = CF_STALE;
        snprintf(v->why, sizeof(v->why), "the epoch differs: %" PRIu64 " and %" PRIu64, peer->epoch,
                 own->epoch);
    }
}

uint32_t xp_shake_encode(const struct xp_shake *shake, uint32_t tag, uint16_t to, uint8_t *out)
{
    struct xp_link_head head = {.tag = tag,
                                .bytes = (uint16_t)XP_SHAKE_PACKET_BYTES,
                                .version = XP_LINK_VERSION,
                                .kind = XP_LINK_SHAKE,
                                .from = shake->facts.node,
                                .to = to,
                                .held = XP_LINK_HELD_NONE};

    memcpy(out, &head, sizeof(head));
    memcpy(out + XP_LINK_HEAD_BYTES, shake, sizeof(*shake));
    head.crc = xp_link_crc(out, XP_SHAKE_PACKET_BYTES);
    memcpy(out, &head, sizeof(head));
    return XP_SHAKE_PACKET_BYTES;
}

bool xp_shake_decode(const uint8_t *packet, uint32_t bytes, struct xp_shake *shake_out)
{
    if (bytes != XP_SHAKE_PACKET_BYTES)
        return false;
    memcpy(shake_out, packet + XP_LINK_HEAD_BYTES, sizeof(*shake_out));
    if (shake_out->stage < XP_SHAKE_HELLO || shake_out->stage > XP_SHAKE_BYE ||
        (shake_out->stage == XP_SHAKE_REFUSE && shake_out->rc >= 0))
        return false;
    shake_out->why[XP_SHAKE_WHY_BYTES - 1] = 0;
    return true;
}
