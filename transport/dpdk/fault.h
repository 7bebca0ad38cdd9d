/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_FAULT_H
#define TRANSPORT_DPDK_FAULT_H

/*
 * Faults for tests, at the place where frames come in: each received frame may be lost, doubled, held back or damaged,
 * from a seed of its own. In an address: loss=, twice=, late=, damage= (chances), seed=.
 */
#include "base/rng.h"

struct rte_mbuf;
struct rte_mempool;

#define XP_DPDK_HELD_MAX 64u

struct xp_dpdk_faults {
    double loss, twice, late, damage;
    uint64_t seed;
};

struct xp_dpdk_fault {
    struct xp_dpdk_faults chances;
    struct cf_rng rng;
    bool is_on;
    uint32_t held_count;
    struct rte_mbuf *held[XP_DPDK_HELD_MAX];
};

void xp_dpdk_fault_open(struct xp_dpdk_fault *fault, const struct xp_dpdk_faults *chances, uint64_t salt);
/* Frees what is held. */
void xp_dpdk_fault_close(struct xp_dpdk_fault *fault);
/* What is left of a burst and of frames held before; at most `max`, in place. */
uint16_t xp_dpdk_fault_apply(struct xp_dpdk_fault *fault, struct rte_mempool *pool, struct rte_mbuf **frames,
                             uint16_t count, uint16_t max);

#endif
