/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/card.h"

#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_ethdev.h>
#include <rte_memory.h>
#include <stdio.h>
#include <time.h>

#include "base/clock.h"
#include "transport/dpdk/pool.h"

#define SLOTS 512u
/* What a full ring of large frames takes at 10 Gb/s is half of it. */
#define LEAVE_NS (10 * CF_NS_PER_MS)
#define HANDED_OVER_NS (2 * CF_NS_PER_MS)

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *card, const char *what,
                               const char *remedy)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .system = rte_errno, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %.100s: %s; %s", card, what, remedy);
    }
    return rc;
}

/* EAL finds the first card of a process when it starts; one that comes later, or again, is plugged in. */
enum cf_rc xp_card_open(struct xp_dpdk_port *port, const char *name, struct cf_error *error)
{
    snprintf(port->name, sizeof(port->name), "%.47s", name);
    if (rte_eth_dev_get_port_by_name(name, &port->id) != 0 &&
        (rte_eal_hotplug_add("pci", name, "") != 0 || rte_eth_dev_get_port_by_name(name, &port->id) != 0))
        return fail(error, CF_NOT_FOUND, name, "DPDK has no driver for this card, or it is in use",
                    "dpdk-testpmd -a ADDRESS says more");
    port->is_there = true;
    return CF_OK;
}

/* Drivers tell a largest packet, a largest frame or both; ethdev takes for overhead what is between them. */
static uint32_t mtu_max(const struct rte_eth_dev_info *info)
{
    uint32_t overhead = RTE_ETHER_HDR_LEN + RTE_ETHER_CRC_LEN, by_frame;

    if (info->max_mtu != UINT16_MAX && info->max_rx_pktlen > info->max_mtu)
        overhead = info->max_rx_pktlen - info->max_mtu;
    by_frame = info->max_rx_pktlen > overhead ? info->max_rx_pktlen - overhead : 0;
    return by_frame < info->max_mtu ? by_frame : info->max_mtu;
}

enum cf_rc xp_card_limits(const struct xp_dpdk_port *port, const struct rte_eth_dev_info *info, uint32_t mtu,
                          struct xp_card_rings *rings_out, struct cf_error *error)
{
    char what[80], remedy[40];
    int rc;

    if (mtu > mtu_max(info)) {
        snprintf(what, sizeof(what), "the card takes packets of %u bytes, the address says %u", mtu_max(info),
                 mtu);
        snprintf(remedy, sizeof(remedy), "mtu=%u", mtu_max(info));
        return fail(error, CF_OPTION, port->name, what, remedy);
    }
    *rings_out = (struct xp_card_rings){.rx = SLOTS, .tx = SLOTS};
    rc = rte_eth_dev_adjust_nb_rx_tx_desc(port->id, &rings_out->rx, &rings_out->tx);
    /* Both rings full must leave buffers to send and to receive with; some drivers fill two rings to receive. */
    if (rc != 0 || 2u * rings_out->rx + rings_out->tx + 8 * XP_DPDK_BURST > XP_DPDK_BUFFERS_CARD)
        return fail(error, CF_UNSUPPORTED, port->name, "the card does not take rings of 512 frames",
                    "another card, or af_packet on it");
    return CF_OK;
}

static struct rte_device *device_of(const struct xp_dpdk_port *port)
{
    struct rte_eth_dev_info info;

    return rte_eth_dev_info_get(port->id, &info) == 0 ? info.device : NULL;
}

/* Addresses of this process are those the card uses, or nothing is mapped. */
bool xp_card_lend(const struct xp_dpdk_port *port, const struct xp_dpdk_memory *memory)
{
    uint64_t page = memory->bytes < XP_CARD_PAGE_BYTES ? 4096 : XP_CARD_PAGE_BYTES;
    struct rte_device *device = device_of(port);

    if (rte_eal_iova_mode() != RTE_IOVA_VA || device == NULL ||
        rte_extmem_register(memory->base, memory->bytes, NULL, 0, page) != 0)
        return false;
    if (rte_dev_dma_map(device, memory->base, (uintptr_t)memory->base, memory->bytes) == 0)
        return true;
    (void)rte_extmem_unregister(memory->base, memory->bytes);
    return false;
}

void xp_card_unlend(const struct xp_dpdk_port *port, const struct xp_dpdk_memory *memory)
{
    struct rte_device *device = device_of(port);

    if (device != NULL)
        (void)rte_dev_dma_unmap(device, memory->base, (uintptr_t)memory->base, memory->bytes);
    (void)rte_extmem_unregister(memory->base, memory->bytes);
}

/*
 * What is still in the ring of a card that stops is lost. Cards count what has left; drivers of a virtual machine's count what
 * they handed over, and nothing tells when the host has taken it.
 */
static void leave(const struct xp_dpdk_bus *bus, const struct xp_dpdk_port *port)
{
    uint64_t until_ns = cf_now_ns() + LEAVE_NS;
    struct rte_eth_stats stats;

    while (rte_eth_stats_get(port->id, &stats) == 0 && stats.opackets < bus->frames_sent &&
           cf_now_ns() < until_ns)
        continue;
    (void)nanosleep(&(struct timespec){.tv_nsec = HANDED_OVER_NS}, NULL);
}

void xp_card_close(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port)
{
    if (port->is_started) {
        leave(bus, port);
        (void)rte_eth_dev_stop(port->id);
    }
    port->is_started = false;
    for (uint32_t i = 0; i < bus->mapped_count; i++)
        xp_card_unlend(port, &bus->mapped[i]);
    bus->mapped_count = 0;
    (void)rte_eth_dev_close(port->id);
    (void)rte_eal_hotplug_remove("pci", port->name);
}
