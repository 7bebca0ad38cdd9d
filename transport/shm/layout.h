/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_LAYOUT_H
#define TRANSPORT_SHM_LAYOUT_H

/*
 * The control region of an instance: written by it alone, mapped read-only by its peers.
 *
 *   0            page    struct xp_shm_front: the word that says whether it sleeps
 *   +4096        line[n] struct xp_shm_told: per peer, how many messages of that peer it has taken
 *   +...         rings   [peer][lane] of lane_slots slots: what it sends to that peer
 *
 * A slot holds one message, so that no body can ever lie where a sequence word is looked for. The sequence
 * word of the header publishes the slot: its top bit says that a block belongs to the message.
 *
 *   byte 0 header (48) | 48 block reference, or a body of up to 16 bytes | 64 body (448)
 *
 * A small message is one cache line; a block's reference is in the line that announces it.
 */
#include <stdint.h>

#include "base/compiler.h"
#include "transport/xp.h"

#define XP_SHM_NODES_MAX 64u
#define XP_SHM_PAGE_BYTES 4096u
#define XP_SHM_SLOT_BYTES 512u
#define XP_SHM_INLINE_BYTES 16u
#define XP_SHM_BLOCK_BIT (UINT64_C(1) << 63)

struct xp_shm_block_ref {
    uint32_t frame;
    uint32_t unused;
    uint64_t word; /* of the frame when it was posted, stable bits only */
};

struct xp_shm_slot {
    struct xp_header header;
    union {
        struct xp_shm_block_ref block;
        uint8_t inline_body[XP_SHM_INLINE_BYTES];
    };
    uint8_t body[XP_BODY_BYTES_MAX];
};
_Static_assert(sizeof(struct xp_shm_slot) == XP_SHM_SLOT_BYTES, "slot");
_Static_assert(offsetof(struct xp_shm_slot, body) == CF_CACHE_LINE, "body begins a line");

/*
 * sleeping: [atomic] written by its instance, read by peers. Bits: 0 asleep, 1 also wants to be woken when credits
 * return, the rest number the sleep so that one sleep is ended by one wake-up.
 */
#define XP_SHM_ASLEEP 1u
#define XP_SHM_STARVED 2u
#define XP_SHM_SLEEP_SHIFT 2

struct xp_shm_front {
    _Atomic uint64_t sleeping CF_ALIGNED(128);
};

/* Two lines, so that the adjacent-line prefetcher does not couple two peers. */
struct xp_shm_told {
    _Atomic uint64_t taken[XP_LANES] CF_ALIGNED(128);
};
_Static_assert(sizeof(struct xp_shm_told) == 128, "told");

static inline uint64_t xp_shm_page_up(uint64_t bytes)
{
    return (bytes + XP_SHM_PAGE_BYTES - 1) & ~(uint64_t)(XP_SHM_PAGE_BYTES - 1);
}

static inline uint64_t xp_shm_told_offset(uint32_t peer)
{
    return XP_SHM_PAGE_BYTES + (uint64_t)peer * sizeof(struct xp_shm_told);
}

static inline uint64_t xp_shm_ring_bytes(uint32_t lane_slots)
{
    return (uint64_t)lane_slots * XP_SHM_SLOT_BYTES;
}

static inline uint64_t xp_shm_ring_offset(uint32_t nodes, uint32_t lane_slots, uint32_t peer, uint32_t lane)
{
    uint64_t rings = xp_shm_page_up(xp_shm_told_offset(nodes));

    return rings + ((uint64_t)peer * XP_LANES + lane) * xp_shm_ring_bytes(lane_slots);
}

static inline uint64_t xp_shm_control_bytes(uint32_t nodes, uint32_t lane_slots)
{
    return xp_shm_page_up(xp_shm_ring_offset(nodes, lane_slots, nodes, 0));
}

#endif
