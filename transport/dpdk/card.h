/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_CARD_H
#define TRANSPORT_DPDK_CARD_H

/*
 * What only a network card has: it is plugged into this process's DPDK and out of it again, its rings and frames have
 * limits of their own, its link takes seconds to come up. Control side, never on the data path.
 */
#include "transport/dpdk/bus.h"

struct rte_eth_dev_info;

CF_CHECK enum cf_rc xp_card_open(struct xp_dpdk_port *port, const char *name, struct cf_error *error);
/* Refuses packets that the card does not take, and fits the rings to it. */
CF_CHECK enum cf_rc xp_card_limits(const struct xp_dpdk_port *port, const struct rte_eth_dev_info *info,
                                   uint32_t mtu, struct xp_card_rings *rings_out, struct cf_error *error);
/* The last frames go out, then the card is given back: its rings with their packet buffers are gone. */
void xp_card_close(const struct xp_dpdk_bus *bus, struct xp_dpdk_port *port);

#endif
