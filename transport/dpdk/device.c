/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/device.h"

#include <errno.h>
#include <rte_bus_vdev.h>
#include <rte_dev.h>
#include <rte_eal.h>
#include <rte_errno.h>
#include <rte_eth_ring.h>
#include <rte_ethdev.h>
#include <rte_ring.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <time.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/hash.h"
#include "transport/dpdk/card.h"
#include "transport/link/link.h"

#define RING_SLOTS 512u
#define SLOTS 512u
/*
 * memif: descriptors by their logarithm. Both lanes' windows fit; more would only spread the packets over more memory, out
 * of the near caches.
 */
#define MEMIF_SLOTS_LOG2 7u
_Static_assert(XP_LANES *XP_LINK_SEGMENTS <= 1u << MEMIF_SLOTS_LOG2, "segments that are in flight at once");

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *device, const char *what,
                               const char *remedy)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .system = rte_errno, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %.100s: %s; %s", device, what, remedy);
    }
    return rc;
}

uint32_t xp_device_unique(void)
{
    static _Atomic uint32_t last;

    return atomic_fetch_add_explicit(&last, 1, memory_order_relaxed) + 1;
}

bool xp_device_fetches(enum xp_dpdk_kind kind)
{
    return kind == XP_DPDK_MEMIF || (kind == XP_DPDK_PCI && rte_eal_iova_mode() == RTE_IOVA_VA);
}

/*
 * memif writes to its sockets without MSG_NOSIGNAL. A SIGPIPE of ours is blocked while it does, and taken back when it
 * came; one that was pending before stays.
 */
static void quietly(void (*fn)(struct xp_dpdk_port *port), struct xp_dpdk_port *port)
{
    static const struct timespec at_once = {0};
    sigset_t pipe_set, before, pending;
    bool was_pending;

    sigemptyset(&pipe_set);
    sigaddset(&pipe_set, SIGPIPE);
    sigpending(&pending);
    was_pending = sigismember(&pending, SIGPIPE) == 1;
    pthread_sigmask(SIG_BLOCK, &pipe_set, &before);
    fn(port);
    if (!was_pending)
        (void)sigtimedwait(&pipe_set, NULL, &at_once);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
}

static enum cf_rc vdev_add(struct xp_dpdk_port *port, const char *args, const char *device,
                           struct cf_error *error)
{
    if (rte_eal_hotplug_add("vdev", port->name, args) != 0 ||
        rte_eth_dev_get_port_by_name(port->name, &port->id) != 0)
        return fail(error, CF_SYSTEM, device, "the device cannot be made",
                    "docs/dpdk.md lists what each kind needs");
    port->is_there = true;
    return CF_OK;
}

static enum cf_rc memif_open(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port,
                             const struct xp_dpdk_bus_options *options, struct cf_error *error)
{
    bool is_server = bus->node < port->node;
    uint16_t low = is_server ? bus->node : port->node, high = is_server ? port->node : bus->node;
    char path[XP_DPDK_NAME_BYTES], args[XP_DPDK_NAME_BYTES + 160];

    if (snprintf(path, sizeof(path), "%s/%s-%u-%u.memif", options->directory, options->cluster, low, high) >=
        (int)sizeof(path))
        return fail(error, CF_OPTION, options->directory, "the path of the socket is too long",
                    "a shorter directory, or a shorter cluster name");
    /* The node id is locked: a socket of this name belongs to a process that has ended. */
    if (is_server)
        unlink(path);
    snprintf(port->name, sizeof(port->name), "net_memif%u", xp_device_unique());
    snprintf(args, sizeof(args), "role=%s,socket=%s,socket-abstract=no,bsize=%u,rsize=%u",
             is_server ? "server" : "client", path, xp_dpdk_bus_room(bus) + 64, MEMIF_SLOTS_LOG2);
    return vdev_add(port, args, "memif", error);
}

static struct rte_ring *ring_of(const struct xp_dpdk_bus_options *options, uint16_t from, uint16_t to)
{
    uint64_t hash = 0;
    char name[RTE_RING_NAMESIZE];
    struct rte_ring *ring;

    for (const char *c = options->cluster; *c != 0; c++)
        hash = cf_mix64(hash, (uint8_t)*c);
    snprintf(name, sizeof(name), "cf%08x-%u-%u", (uint32_t)hash, from, to);
    ring = rte_ring_lookup(name);
    return ring != NULL ? ring : rte_ring_create(name, RING_SLOTS, SOCKET_ID_ANY, 0);
}

static enum cf_rc ring_open(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port,
                            const struct xp_dpdk_bus_options *options, struct cf_error *error)
{
    struct rte_ring *in = ring_of(options, port->node, bus->node),
                    *out = ring_of(options, bus->node, port->node);
    struct rte_mbuf *old;
    int id;

    if (in == NULL || out == NULL)
        return fail(error, CF_MEMORY, "ring", "no memory for a ring", "fewer instances in one process");
    /* Of an earlier life of this node. */
    while (rte_ring_dequeue(in, (void **)&old) == 0)
        rte_pktmbuf_free(old);
    snprintf(port->name, sizeof(port->name), "cf%u", xp_device_unique());
    id = rte_eth_from_rings(port->name, &in, 1, &out, 1, 0);
    if (id < 0)
        return fail(error, CF_SYSTEM, "ring", rte_strerror(rte_errno), "fewer instances in one process");
    port->id = (uint16_t)id;
    /* The driver puts its own prefix in front. */
    (void)rte_eth_dev_get_name_by_port(port->id, port->name);
    port->is_there = true;
    return CF_OK;
}

static enum cf_rc af_packet_open(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port, struct cf_error *error)
{
    const char *interface = bus->address.name;
    char args[XP_DPDK_NAME_BYTES + 96];

    snprintf(port->name, sizeof(port->name), "net_af_packet%u", xp_device_unique());
    snprintf(args, sizeof(args), "iface=%s,qpairs=1,blocksz=4096,framesz=%u,framecnt=512", interface,
             XP_DPDK_SLOT_BYTES);
    return vdev_add(port, args, interface, error);
}

/* One queue each way. */
static enum cf_rc configure(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port, struct cf_error *error)
{
    bool is_card = bus->address.kind == XP_DPDK_PCI;
    struct rte_eth_conf conf;
    struct rte_eth_dev_info info;
    struct rte_ether_addr mac;
    struct xp_card_rings rings = {.rx = SLOTS, .tx = SLOTS};
    enum cf_rc limits = CF_OK;
    int rc;

    memset(&conf, 0, sizeof(conf));
    if (rte_eth_dev_info_get(port->id, &info) != 0)
        return fail(error, CF_SYSTEM, port->name, "the device does not answer", "docs/dpdk.md");
    if (is_card)
        limits = xp_card_limits(port, &info, bus->address.mtu, &rings, error);
    if (limits != CF_OK)
        return limits;
    if (is_card)
        conf.rxmode.mtu = bus->address.mtu;
    if ((info.tx_offload_capa & RTE_ETH_TX_OFFLOAD_MULTI_SEGS) == 0)
        bus->apart_bytes = 0;
    else if (bus->apart_bytes != 0)
        conf.txmode.offloads = RTE_ETH_TX_OFFLOAD_MULTI_SEGS;
    rc = rte_eth_dev_configure(port->id, 1, 1, &conf);
    if (rc == 0)
        rc = rte_eth_rx_queue_setup(port->id, 0, rings.rx, SOCKET_ID_ANY, NULL, bus->pool);
    if (rc == 0)
        rc = rte_eth_tx_queue_setup(port->id, 0, rings.tx, SOCKET_ID_ANY, NULL);
    if (rc != 0)
        return fail(error, CF_SYSTEM, port->name, rte_strerror(-rc), "the device refuses one queue each way");
    /* Drivers that share the card with the kernel (mlx5) are told here, others were by the configuration. */
    rc = is_card ? rte_eth_dev_set_mtu(port->id, (uint16_t)bus->address.mtu) : 0;
    if (rc != 0 && rc != -ENOTSUP)
        return fail(error, CF_SYSTEM, port->name, rte_strerror(-rc),
                    "the card refuses the mtu: a smaller mtu=");
    if (rte_eth_macaddr_get(port->id, &mac) == 0)
        memcpy(bus->end.mac, mac.addr_bytes, XP_ETHER_MAC_BYTES);
    return CF_OK;
}

enum cf_rc xp_device_open(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port,
                          const struct xp_dpdk_bus_options *options, struct cf_error *error)
{
    enum cf_rc rc = CF_SYSTEM;

    switch (bus->address.kind) {
    case XP_DPDK_RING:
        rc = ring_open(bus, port, options, error);
        break;
    case XP_DPDK_MEMIF:
        rc = memif_open(bus, port, options, error);
        break;
    case XP_DPDK_AF_PACKET:
        rc = af_packet_open(bus, port, error);
        break;
    case XP_DPDK_PCI:
        rc = xp_card_open(port, bus->address.name, error);
        break;
    }
    if (rc == CF_OK)
        rc = configure(bus, port, error);
    /* A client of memif starts when its server is there; a server now, before EAL's thread can take a call for it. */
    if (rc == CF_OK && (bus->address.kind != XP_DPDK_MEMIF || bus->node < port->node)) {
        if (rte_eth_dev_start(port->id) != 0)
            return fail(error, CF_SYSTEM, port->name, "the device does not start", "docs/dpdk.md");
        port->is_started = true;
    }
    return rc;
}

static void port_start(struct xp_dpdk_port *port)
{
    port->is_started = rte_eth_dev_start(port->id) == 0;
}

static void port_end(struct xp_dpdk_port *port)
{
    if (port->is_started)
        (void)rte_eth_dev_stop(port->id);
    port->is_started = false;
    (void)rte_eth_dev_close(port->id);
}

static void port_restart(struct xp_dpdk_port *port)
{
    (void)rte_eth_dev_stop(port->id);
    port_start(port);
}

void xp_device_close(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port)
{
    struct rte_eth_dev_info info;

    port->is_there = false;
    if (bus->address.kind == XP_DPDK_PCI) {
        xp_card_close(bus, port);
        return;
    }
    if (rte_eth_dev_info_get(port->id, &info) != 0)
        return;
    if (bus->address.kind == XP_DPDK_RING) {
        /* The rings stay; the driver's removal would free what it was given. */
        if (port->is_started)
            (void)rte_eth_dev_stop(port->id);
        (void)rte_eal_hotplug_remove("vdev", port->name);
        return;
    }
    quietly(port_end, port);
    (void)rte_eal_hotplug_remove("vdev", port->name);
}

/* A card is asked until its link has come up once, which takes seconds; afterwards silence tells. */
static bool has_link(struct xp_dpdk_port *port)
{
    struct rte_eth_link link;

    if (!port->is_linked && rte_eth_link_get_nowait(port->id, &link) == 0)
        port->is_linked = link.link_status == RTE_ETH_LINK_UP;
    return port->is_linked;
}

/*
 * A client has to be started to look for its server, and again when that server is gone and another is there; a server
 * listens all the time. A client that hung up before the server has taken its call would end the server's process
 * (memif of DPDK 22.11 forgets a closed descriptor in EAL's list), so none hangs up while the process at the other end
 * lives.
 */
bool xp_device_connect(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port, const struct xp_shm_place *place)
{
    struct rte_eth_link link;

    if (bus->address.kind == XP_DPDK_PCI)
        return has_link(port);
    if (bus->address.kind != XP_DPDK_MEMIF)
        return true;
    if (!port->is_started) {
        quietly(port_start, port);
        return false;
    }
    if (rte_eth_link_get_nowait(port->id, &link) != 0)
        return false;
    if (link.link_status == RTE_ETH_LINK_UP) {
        port->is_linked = true;
        port->was_gone = false;
        return true;
    }
    port->was_gone |= port->is_linked;
    port->is_linked = false;
    if (bus->node < port->node)
        return false;
    if (!xp_shm_place_is_held(place, port->node)) {
        port->was_gone = true;
    } else if (port->was_gone) {
        quietly(port_restart, port);
        port->was_gone = !port->is_started;
    }
    return false;
}
