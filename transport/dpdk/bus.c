/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/bus.h"

#include <rte_errno.h>
#include <rte_ethdev.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "transport/dpdk/card.h"
#include "transport/dpdk/device.h"
#include "transport/dpdk/handover.h"
#include "transport/dpdk/pool.h"

/* Chosen: below it a copy costs no more than the second packet buffer. */
#define APART_BYTES 4096u

static CF_COLD enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *what, const char *remedy)
{
    if (error != NULL) {
        *error = (struct cf_error){.rc = rc, .system = rte_errno, .node = CF_NODE_NONE};
        snprintf(error->text, sizeof(error->text), "dpdk: %s; %s", what, remedy);
    }
    return rc;
}

enum cf_rc xp_dpdk_bus_open(struct xp_dpdk_bus *bus, const struct xp_dpdk_bus_options *options,
                            struct cf_error *error)
{
    enum cf_rc rc = CF_OK;

    memset(bus, 0, sizeof(*bus));
    bus->address = *options->address;
    bus->node = options->node;
    bus->frame_bytes = bus->address.mtu + XP_ETHER_BYTES;
    bus->ports_count = xp_dpdk_is_local(bus->address.kind) ? options->nodes - 1 : 1;
    if (bus->ports_count > XP_DPDK_PORTS_MAX)
        return fail(error, CF_OPTION, "one port a peer, and DPDK has 32 ports a process",
                    "at most 32 instances over ring and memif");
    xp_dpdk_fault_open(&bus->fault, &bus->address.faults, options->node);
    bus->pool = xp_dpdk_pool_open(bus->address.kind, xp_dpdk_bus_room(bus));
    if (bus->pool == NULL)
        return fail(error, CF_MEMORY, "no memory for a pool of packets",
                    "fewer instances in one process, or a smaller mtu");
    if (xp_device_fetches(bus->address.kind))
        bus->apart_pool = xp_dpdk_pool_open_apart(bus->address.kind,
                                                  xp_dpdk_bus_room(bus)); /* without it all is copied */
    bus->apart_bytes = bus->apart_pool != NULL ? APART_BYTES : 0;
    if (bus->address.kind == XP_DPDK_PCI && (bus->joint = rte_pktmbuf_alloc(bus->pool)) == NULL)
        rc = fail(error, CF_MEMORY, "no packet buffer", "more hugepages");
    for (uint32_t i = 0; rc == CF_OK && i < bus->ports_count; i++) {
        struct xp_dpdk_port *port = &bus->ports[i];

        port->node = bus->ports_count == 1 && !xp_dpdk_is_local(bus->address.kind) ? bus->node
                     : i < bus->node                                               ? (uint16_t)i
                                                                                   : (uint16_t)(i + 1);
        rc = xp_device_open(bus, port, options, error);
    }
    if (rc != CF_OK)
        xp_dpdk_bus_close(bus);
    return rc;
}

void xp_dpdk_bus_close(struct xp_dpdk_bus *bus)
{
    for (uint32_t i = 0; i < bus->ports_count && i < XP_DPDK_PORTS_MAX; i++) {
        struct xp_dpdk_port *port = &bus->ports[i];

        xp_dpdk_frames_free(port->queue, port->queued);
        if (port->spare != NULL)
            xp_dpdk_frames_free(&port->spare, 1);
        port->queued = 0;
        port->spare = NULL;
        if (port->is_there)
            xp_device_close(bus, port);
    }
    if (bus->joint != NULL)
        xp_dpdk_frames_free(&bus->joint, 1);
    bus->joint = NULL;
    xp_dpdk_frames_free(bus->seen, bus->seen_count);
    bus->seen_count = 0;
    xp_dpdk_fault_close(&bus->fault);
    xp_dpdk_pool_close(bus->address.kind, bus->pool);
    bus->pool = NULL;
    if (bus->apart_pool != NULL)
        xp_dpdk_pool_close(bus->address.kind, bus->apart_pool);
    bus->apart_pool = NULL;
}

/* A card whose buffers are smaller than ours gives a large frame in pieces; elsewhere one in pieces is larger than any of ours. */
static CF_COLD void join(struct xp_dpdk_bus *bus, const struct rte_mbuf *frame, uint32_t port,
                         xp_dpdk_frame_fn fn, void *arg)
{
    uint8_t *whole;

    if (bus->joint == NULL || frame->pkt_len > bus->frame_bytes) {
        bus->frames_cut++;
        return;
    }
    bus->frames_joined++;
    whole = rte_pktmbuf_mtod(bus->joint, uint8_t *);
    (void)rte_pktmbuf_read(frame, 0, frame->pkt_len, whole);
    fn(arg, port, whole, frame->pkt_len);
}

static void seen_free(struct xp_dpdk_bus *bus)
{
    if (bus->seen_count != 0)
        xp_dpdk_frames_free(bus->seen, bus->seen_count);
    bus->seen_count = 0;
}

/* A burst of one port lies in bus->seen. */
static void burst_give(struct xp_dpdk_bus *bus, uint32_t port, uint16_t count, xp_dpdk_frame_fn fn, void *arg)
{
    struct rte_mbuf **frames = bus->seen;

    bus->frames_received += count;
    for (uint16_t i = 0; i < count; i++) {
        if (i + 1 < count)
            rte_prefetch0(rte_pktmbuf_mtod(frames[i + 1], void *));
        if (CF_LIKELY(frames[i]->nb_segs == 1))
            fn(arg, port, rte_pktmbuf_mtod(frames[i], uint8_t *), frames[i]->data_len);
        else
            join(bus, frames[i], port, fn, arg);
    }
}

bool xp_dpdk_bus_receive(struct xp_dpdk_bus *bus, xp_dpdk_frame_fn fn, void *arg)
{
    bool has_any = false;

    for (uint32_t p = 0; p < bus->ports_count; p++) {
        uint16_t count;

        if (CF_UNLIKELY(!bus->ports[p].is_started))
            continue;
        seen_free(bus);
        count = rte_eth_rx_burst(bus->ports[p].id, 0, bus->seen, XP_DPDK_BURST);
        xp_dpdk_enter_thread(bus->seen, count);
        if (CF_UNLIKELY(bus->fault.is_on))
            count = xp_dpdk_fault_apply(&bus->fault, bus->pool, bus->seen, count, 2 * XP_DPDK_BURST);
        if (count == 0)
            continue;
        has_any = true;
        bus->seen_count = count;
        burst_give(bus, p, count, fn, arg);
    }
    return has_any;
}

/* False without memory. */
static bool spare_take(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port)
{
    if (rte_mempool_generic_get(bus->pool, (void **)&port->spare, 1, NULL) != 0) {
        port->spare = NULL;
        return false;
    }
    xp_dpdk_enter_thread(&port->spare, 1);
    rte_pktmbuf_reset(port->spare);
    return true;
}

static void port_flush(struct xp_dpdk_bus *bus, struct xp_dpdk_port *port)
{
    uint16_t sent = 0;

    xp_dpdk_leave_thread(port->queue, port->queued);
    if (port->is_started)
        sent = rte_eth_tx_burst(port->id, 0, port->queue, port->queued);
    bus->frames_sent += sent;
    if (CF_UNLIKELY(sent < port->queued)) {
        bus->frames_refused += port->queued - sent;
        xp_dpdk_frames_free(port->queue + sent, port->queued - sent);
    }
    port->queued = 0;
    /* While the frames are under way is the time for it. */
    if (port->spare == NULL)
        (void)spare_take(bus, port);
}

uint8_t *xp_dpdk_bus_begin(struct xp_dpdk_bus *bus, uint32_t port)
{
    struct xp_dpdk_port *p = &bus->ports[port];

    if (p->queued == XP_DPDK_BURST)
        port_flush(bus, p);
    if (CF_UNLIKELY(p->spare == NULL) && !spare_take(bus, p)) {
        bus->no_memory++;
        return NULL;
    }
    return rte_pktmbuf_mtod(p->spare, uint8_t *);
}

void xp_dpdk_bus_end(struct xp_dpdk_bus *bus, uint32_t port, uint32_t bytes)
{
    struct xp_dpdk_port *p = &bus->ports[port];
    struct rte_mbuf *frame = p->spare;

    cf_assert(bytes <= bus->frame_bytes);
    frame->pkt_len = bytes;
    frame->data_len = (uint16_t)bytes;
    p->spare = NULL;
    p->queue[p->queued++] = frame;
}

void xp_dpdk_bus_lend(struct xp_dpdk_bus *bus, const struct xp_dpdk_memory *memory)
{
    if (bus->address.kind != XP_DPDK_PCI || bus->apart_bytes == 0)
        return;
    cf_assert(bus->mapped_count < XP_DPDK_MEMORIES_MAX);
    if (xp_card_lend(&bus->ports[0], memory))
        bus->mapped[bus->mapped_count++] = *memory;
}

/* By which address the device knows it; false: it cannot read it. */
static bool apart_address(const struct xp_dpdk_bus *bus, const uint8_t *apart, uint32_t bytes,
                          rte_iova_t *out)
{
    *out = RTE_BAD_IOVA; /* software goes by the pointer */
    if (CF_LIKELY(bus->address.kind != XP_DPDK_PCI))
        return true;
    *out = (uintptr_t)apart;
    for (uint32_t i = 0; i < bus->mapped_count; i++)
        if (xp_dpdk_memory_has(&bus->mapped[i], apart, bytes))
            return true;
    return false;
}

/* Called when DPDK has done with memory that was not its own: the owner keeps it anyway. */
static void apart_done(void *memory, void *arg)
{
    (void)memory, (void)arg;
}

void xp_dpdk_bus_end_apart(struct xp_dpdk_bus *bus, uint32_t port, uint32_t bytes, const uint8_t *apart,
                           uint32_t apart_bytes)
{
    struct xp_dpdk_port *p = &bus->ports[port];
    uint8_t *frame = rte_pktmbuf_mtod(p->spare, uint8_t *);
    struct rte_mbuf *pair[2];
    struct rte_mbuf_ext_shared_info *shared;
    rte_iova_t address;

    cf_assert(bytes + apart_bytes <= bus->frame_bytes);
    if (bus->apart_pool == NULL || !apart_address(bus, apart, apart_bytes, &address) ||
        rte_mempool_generic_get(bus->apart_pool, (void **)pair, 2, NULL) != 0) {
        memcpy(frame + bytes, apart, apart_bytes);
        xp_dpdk_bus_end(bus, port, bytes + apart_bytes);
        return;
    }
    rte_pktmbuf_reset(pair[0]);
    rte_pktmbuf_reset(pair[1]);
    memcpy(rte_pktmbuf_mtod(pair[0], uint8_t *), frame, bytes);
    pair[0]->pkt_len = pair[0]->data_len = (uint16_t)bytes;
    shared = pair[1]->buf_addr; /* its own buffer is not used for anything else */
    shared->free_cb = apart_done;
    shared->fcb_opaque = NULL;
    rte_mbuf_ext_refcnt_set(shared, 1);
    rte_pktmbuf_attach_extbuf(pair[1], (void *)(uintptr_t)apart, address, (uint16_t)apart_bytes, shared);
    pair[1]->pkt_len = pair[1]->data_len = (uint16_t)apart_bytes;
    cf_assert(rte_pktmbuf_chain(pair[0], pair[1]) == 0);
    bus->frames_apart++;
    p->queue[p->queued++] = pair[0];
}

void xp_dpdk_bus_flush(struct xp_dpdk_bus *bus)
{
    for (uint32_t i = 0; i < bus->ports_count; i++)
        if (bus->ports[i].queued != 0)
            port_flush(bus, &bus->ports[i]);
}

bool xp_dpdk_bus_turn(struct xp_dpdk_bus *bus, const struct xp_shm_place *place)
{
    bool is_missing = false;

    for (uint32_t i = 0; i < bus->ports_count; i++)
        is_missing |= !xp_device_connect(bus, &bus->ports[i], place);
    return is_missing;
}
