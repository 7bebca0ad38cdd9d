/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_CARD_H
#define TRANSPORT_DPDK_CARD_H

/*
 * What only a network card has: it is plugged into this process's DPDK and out of it again, its rings and frames have
 * limits of their own, its link takes seconds to come up. Control side, never on the data path.
 */
#include "transport/dpdk/bus.h"

#define XP_CARD_PAGE_BYTES (UINT64_C(2) << 20)

struct rte_eth_dev_info;

CF_CHECK enum cf_rc xp_card_open(struct xp_dpdk_port *port, const char *name, struct cf_error *error);
/* Refuses packets that the card does not take, and fits the rings to it. */
CF_CHECK enum cf_rc xp_card_limits(const struct xp_dpdk_port *port, const struct rte_eth_dev_info *info,
                                   uint32_t mtu, struct xp_card_rings *rings_out, struct cf_error *error);
/*
 * Lets the card read this memory where it is, until it is closed: an IOMMU in front of it (vfio) can be told so, and translates.
 * False: it cannot, and must be given copies. Memory of 2 MiB and more is mapped in pages of that size and has to be aligned so.
 */
CF_CHECK bool xp_card_lend(const struct xp_dpdk_port *port, const struct xp_dpdk_memory *memory);
void xp_card_unlend(const struct xp_dpdk_port *port, const struct xp_dpdk_memory *memory);
/* What may be lent is rounded up to whole pages. */
static inline uint64_t xp_card_lent_bytes(uint64_t bytes)
{
    uint64_t page = bytes < XP_CARD_PAGE_BYTES ? 4096 : XP_CARD_PAGE_BYTES;

    return (bytes + page - 1) / page * page;
}

/* The last frames go out, then the card is given back: its rings with their packet buffers are gone. */
void xp_card_close(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port);

#endif
