/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_DEVICE_H
#define TRANSPORT_DPDK_DEVICE_H

/* One port: how it is made of an address, connected and taken down. Control side, never on the data path. */
#include "transport/dpdk/bus.h"

CF_CHECK enum cf_rc xp_device_open(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port,
                                   const struct xp_dpdk_bus_options *options, struct cf_error *error);
void xp_device_close(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port);
/* Starts a port that could not start, looks whether the other end is there. True when it is. */
CF_CHECK bool xp_device_connect(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port,
                                const struct xp_shm_place *place);
/* Does it take the end of a frame from where it is? Software does, a card where its addresses are translated. */
CF_CHECK bool xp_device_fetches(enum xp_dpdk_kind kind);
/* A number that no two devices of this process have. */
uint32_t xp_device_unique(void);

#endif
