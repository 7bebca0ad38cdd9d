/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/fault.h"

#include <rte_mbuf.h>

#include "transport/dpdk/handover.h"
#include "transport/dpdk/pool.h"

/* A frame that is held back comes with one of the next polls. */
#define RELEASE_CHANCE 0.1

void xp_dpdk_fault_open(struct xp_dpdk_fault *fault, const struct xp_dpdk_faults *chances, uint64_t salt)
{
    *fault = (struct xp_dpdk_fault){.chances = *chances};
    fault->is_on = chances->loss > 0 || chances->twice > 0 || chances->late > 0 || chances->damage > 0;
    cf_rng_seed(&fault->rng, chances->seed * 1000003 + salt);
}

void xp_dpdk_fault_close(struct xp_dpdk_fault *fault)
{
    xp_dpdk_frames_free(fault->held, fault->held_count);
    fault->held_count = 0;
}

static void damage(struct xp_dpdk_fault *fault, struct rte_mbuf *frame)
{
    uint8_t *bytes = rte_pktmbuf_mtod(frame, uint8_t *);

    if (frame->data_len == 0)
        return;
    bytes[cf_rng_below(&fault->rng, frame->data_len)] ^= (uint8_t)(1 + cf_rng_below(&fault->rng, 255));
    if (cf_rng_chance(&fault->rng, 0.25))
        frame->pkt_len = frame->data_len = (uint16_t)(1 + cf_rng_below(&fault->rng, frame->data_len));
}

static uint16_t release(struct xp_dpdk_fault *fault, struct rte_mbuf **frames, uint16_t count, uint16_t max)
{
    uint32_t kept = 0;

    for (uint32_t i = 0; i < fault->held_count; i++)
        if (count < max && cf_rng_chance(&fault->rng, RELEASE_CHANCE))
            frames[count++] = fault->held[i];
        else
            fault->held[kept++] = fault->held[i];
    fault->held_count = kept;
    return count;
}

uint16_t xp_dpdk_fault_apply(struct xp_dpdk_fault *fault, struct rte_mempool *pool, struct rte_mbuf **frames,
                             uint16_t count, uint16_t max)
{
    const struct xp_dpdk_faults *c = &fault->chances;
    uint16_t kept = 0;

    for (uint16_t i = 0; i < count; i++) {
        struct rte_mbuf *frame = frames[i];

        if (cf_rng_chance(&fault->rng, c->loss)) {
            xp_dpdk_frames_free(&frame, 1);
            continue;
        }
        if (cf_rng_chance(&fault->rng, c->damage))
            damage(fault, frame);
        if (cf_rng_chance(&fault->rng, c->twice) && fault->held_count < XP_DPDK_HELD_MAX) {
            struct rte_mbuf *copy = rte_pktmbuf_copy(frame, pool, 0, UINT32_MAX);

            if (copy != NULL)
                xp_dpdk_enter_thread(&copy, 1);
            if (copy != NULL)
                fault->held[fault->held_count++] = copy;
        }
        if (cf_rng_chance(&fault->rng, c->late) && fault->held_count < XP_DPDK_HELD_MAX)
            fault->held[fault->held_count++] = frame;
        else
            frames[kept++] = frame;
    }
    return release(fault, frames, kept, max);
}
