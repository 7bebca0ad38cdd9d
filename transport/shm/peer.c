/* SPDX-License-Identifier: Apache-2.0 */
/* The mapped half of a connection: where the lanes and frames of a peer are, and what its headers must say. */
#include "base/assert.h"
#include "transport/shm/shm.h"

static uint8_t *own_ring(const struct xp_shm *shm, uint32_t peer, uint32_t lane)
{
    return (uint8_t *)shm->control.base + xp_shm_ring_offset(shm->nodes, shm->lane_slots, peer, lane);
}

static struct xp_shm_told *own_told(const struct xp_shm *shm, uint32_t peer)
{
    return (struct xp_shm_told *)((uint8_t *)shm->control.base + xp_shm_told_offset(peer));
}

void xp_shm_peer_rewind(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        struct xp_shm_slot *slots = (struct xp_shm_slot *)own_ring(shm, peer->node, lane);

        for (uint32_t i = 0; i < shm->lane_slots; i++)
            cf_publish_u64((_Atomic uint64_t *)&slots[i].header.sequence, 0);
        cf_publish_u64(&own_told(shm, peer->node)->taken[lane], 0);
    }
}

void xp_shm_peer_epoch(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        peer->tx[lane].facts.epoch = shm->epoch;
        peer->rx[lane].facts.epoch = shm->epoch;
    }
}

static void lanes_open(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    const uint8_t *theirs = peer->control.base;
    const struct xp_shm_told *told = (const struct xp_shm_told *)(theirs + xp_shm_told_offset(shm->node));

    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        struct xp_lane_facts facts = {.lane_class = (uint16_t)lane,
                                      .generation = peer->generation,
                                      .tag = shm->facts.tag,
                                      .epoch = shm->epoch};
        struct xp_shm_tx *tx = &peer->tx[lane];
        struct xp_shm_rx *rx = &peer->rx[lane];

        facts.node = shm->node;
        facts.incarnation = shm->facts.incarnation;
        *tx = (struct xp_shm_tx){.slots = own_ring(shm, peer->node, lane),
                                 .mask = shm->lane_slots - 1,
                                 .told = &told->taken[lane],
                                 .facts = facts};
        xp_credit_open(&tx->credit, shm->lane_slots);
        facts.node = peer->node;
        facts.incarnation = peer->facts.incarnation;
        *rx = (struct xp_shm_rx){.slots = theirs +
                                          xp_shm_ring_offset(shm->nodes, shm->lane_slots, shm->node, lane),
                                 .mask = shm->lane_slots - 1,
                                 .window = shm->lane_slots,
                                 .told = &own_told(shm, peer->node)->taken[lane],
                                 .facts = facts};
        xp_credit_taker_open(&rx->taker, shm->lane_slots);
    }
}

const char *xp_shm_peer_map(struct xp_shm *shm, struct xp_shm_peer *peer, int control_fd, int memory_fd)
{
    const char *why;

    cf_assert(peer->control.base == NULL && peer->memory.base == NULL);
    why = xp_shm_region_attach(&peer->control, control_fd, peer->facts.control_bytes);
    if (why == NULL && peer->facts.frames_bytes != 0) {
        why = xp_shm_region_attach(&peer->memory, memory_fd, peer->facts.frames_bytes);
        memory_fd = -1;
    }
    if (memory_fd >= 0) {
        struct xp_shm_region unused = {.fd = memory_fd};
        xp_shm_region_close(&unused);
    }
    if (why != NULL) {
        xp_shm_region_close(&peer->control);
        return why;
    }
    peer->sleeping = &((const struct xp_shm_front *)peer->control.base)->sleeping;
    peer->sleep_ended = 0;
    if (peer->memory.base != NULL) {
        peer->frames = (const uint8_t *)peer->memory.base + peer->facts.base_offset;
        peer->words = (const _Atomic uint64_t *)((const uint8_t *)peer->memory.base +
                                                 peer->facts.words_offset);
    }
    lanes_open(shm, peer);
    shm->readable |= UINT64_C(1) << peer->node;
    return NULL;
}

void xp_shm_peer_unmap(struct xp_shm *shm, struct xp_shm_peer *peer)
{
    uint64_t bit = UINT64_C(1) << peer->node;

    shm->readable &= ~bit;
    shm->unflushed &= ~bit;
    shm->owing &= ~bit;
    shm->starved &= ~bit;
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        peer->tx[lane] = (struct xp_shm_tx){.slots = NULL};
        peer->rx[lane] = (struct xp_shm_rx){.slots = NULL};
    }
    peer->sleeping = NULL;
    peer->frames = NULL;
    peer->words = NULL;
    xp_shm_region_close(&peer->control);
    xp_shm_region_close(&peer->memory);
}
