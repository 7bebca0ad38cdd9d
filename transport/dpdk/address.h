/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_ADDRESS_H
#define TRANSPORT_DPDK_ADDRESS_H

/*
 * What stands behind `dpdk:`, KIND[,NAME=VALUE...]:
 *
 *   ring                instances of one process
 *   memif[:DIR]         processes of one host that meet in DIR
 *   af_packet:IFACE     a network interface that the kernel keeps
 *   0000:3b:00.0        a network card that has been bound to a driver of DPDK
 *
 * A % in IFACE or the card's address stands for the number of the node: all nodes of a cluster file may say the same.
 *
 * Values: mtu (bytes of an IP packet), target (nanoseconds of round trip that congestion control aims at), and those of
 * fault.h, for tests.
 */
#include "transport/dpdk/fault.h"
#include "transport/xp.h"

#define XP_DPDK_NAME_BYTES 108u
#define XP_DPDK_MTU_MAX 9000u

enum xp_dpdk_kind { XP_DPDK_RING = 1, XP_DPDK_MEMIF, XP_DPDK_AF_PACKET, XP_DPDK_PCI };

struct xp_dpdk_address {
    enum xp_dpdk_kind kind;
    char name[XP_DPDK_NAME_BYTES]; /* directory, interface or device */
    uint32_t mtu;
    uint64_t target_ns;
    struct xp_dpdk_faults faults;
};

/* CF_OPTION with one line, or CF_OK. */
CF_CHECK enum cf_rc xp_dpdk_address_parse(const char *rest, uint16_t node,
                                          struct xp_dpdk_address *address_out, struct cf_error *error);
/* True for kinds whose instances are all on this host and meet in a directory. */
static inline bool xp_dpdk_is_local(enum xp_dpdk_kind kind)
{
    return kind == XP_DPDK_RING || kind == XP_DPDK_MEMIF;
}

#endif
