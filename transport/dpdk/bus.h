/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_BUS_H
#define TRANSPORT_DPDK_BUS_H

/*
 * The ports of an instance. Software devices of one host (ring, memif) join two instances, so there is one port a peer;
 * an interface or a card is one port for all. Frames come and go in bursts; the caller sees bytes, not mbufs.
 *
 * All calls but open and close belong to the thread that owns progress, inside the gate (eal.h).
 */
#include "transport/dpdk/address.h"
#include "transport/dpdk/eal.h"
#include "transport/link/ether.h"
#include "transport/shm/place.h"

#define XP_DPDK_PORTS_MAX 31u
#define XP_DPDK_BURST 32u
/* Of af_packet's ring. */
#define XP_DPDK_SLOT_BYTES 2048u
#define XP_DPDK_CARD_TAIL_BYTES 12u
#define XP_DPDK_MEMORIES_MAX 8u

struct xp_dpdk_bus_options {
    const struct xp_dpdk_address *address;
    const char *directory; /* memif: where its sockets are */
    const char *cluster;
    uint16_t node;
    uint32_t nodes;
};

struct xp_card_rings {
    uint16_t rx, tx;
};

/* A region that holds frames. */
struct xp_dpdk_memory {
    void *base;
    uint64_t bytes;
};

/* Any bytes at any place: a block's may end where another region begins. */
static inline bool xp_dpdk_memory_has(const struct xp_dpdk_memory *memory, const uint8_t *at, uint32_t bytes)
{
    uint64_t offset = (uintptr_t)at - (uintptr_t)memory->base;

    return offset < memory->bytes && bytes <= memory->bytes - offset;
}

struct xp_dpdk_port {
    uint16_t id;
    uint16_t node; /* the peer behind it; of a shared port: ours */
    bool is_there;
    bool is_started;
    bool is_linked; /* memif: now; a card: since it was started */
    bool was_gone;  /* memif: the process at the other end, since the port was started */
    uint16_t queued;
    struct rte_mbuf *spare; /* for the next frame; it may be begun and not ended */
    struct rte_mbuf *queue[XP_DPDK_BURST];
    char name[48];
};

struct xp_dpdk_bus {
    struct xp_dpdk_address address;
    struct xp_dpdk_port ports[XP_DPDK_PORTS_MAX];
    uint32_t ports_count;
    uint16_t node;
    uint32_t frame_bytes;
    struct rte_mempool *pool;
    struct rte_mempool *apart_pool; /* NULL: the device cannot fetch from memory that is not DPDK's */
    uint32_t apart_bytes;           /* the least that may end a frame from where it is; 0: nothing */
    struct xp_dpdk_memory mapped[XP_DPDK_MEMORIES_MAX]; /* cards: what they may read */
    uint32_t mapped_count;
    struct rte_mbuf *joint; /* cards: where the pieces of a frame are put together */
    /* Frames that were looked at, of one burst: they go back when the next one comes, not while a message waits. */
    struct rte_mbuf *seen[2 * XP_DPDK_BURST];
    uint32_t seen_count;
    struct xp_dpdk_fault fault;
    struct xp_ether_end end;
    uint64_t frames_received, frames_sent, frames_refused, frames_joined, frames_cut, frames_apart, no_memory;
};

/* What a received frame is given to. It may change the frame, and return it by xp_dpdk_bus_answer. */
typedef void (*xp_dpdk_frame_fn)(void *arg, uint32_t port, uint8_t *frame, uint32_t bytes);

CF_CHECK enum cf_rc xp_dpdk_bus_open(struct xp_dpdk_bus *bus, const struct xp_dpdk_bus_options *options,
                                     struct cf_error *error);
void xp_dpdk_bus_close(struct xp_dpdk_bus *bus);
/* Takes one burst of each port; true when any frame came. */
CF_HOT bool xp_dpdk_bus_receive(struct xp_dpdk_bus *bus, xp_dpdk_frame_fn fn, void *arg);
/* Room for a frame of bus->frame_bytes at most, NULL without memory; then its real length puts it into the queue. */
CF_HOT uint8_t *xp_dpdk_bus_begin(struct xp_dpdk_bus *bus, uint32_t port);
CF_HOT void xp_dpdk_bus_end(struct xp_dpdk_bus *bus, uint32_t port, uint32_t bytes);
/* Memory of frames, before the first is sent from there. A card that cannot read it gets copies. */
void xp_dpdk_bus_lend(struct xp_dpdk_bus *bus, const struct xp_dpdk_memory *memory);
/*
 * As xp_dpdk_bus_end for a frame that ends in memory that is not its own. A software device copies it at the next flush, a
 * card reads it some time after: what changes there meanwhile makes a damaged frame, which the receiver drops.
 */
CF_HOT void xp_dpdk_bus_end_apart(struct xp_dpdk_bus *bus, uint32_t port, uint32_t bytes,
                                  const uint8_t *apart, uint32_t apart_bytes);
/* Gives what is queued to the devices; what they do not take is lost. */
CF_HOT void xp_dpdk_bus_flush(struct xp_dpdk_bus *bus);
/* Makes and repairs connections of ports. True while one is missing: to be called again soon. */
CF_CHECK bool xp_dpdk_bus_turn(struct xp_dpdk_bus *bus, const struct xp_shm_place *place);
/*
 * Bytes of a packet buffer. memif is told of buffers a little larger: it then takes packet buffers one by one as frames
 * come, where it would else take a whole burst of them for every poll that finds one frame, and give the rest back.
 */
static inline uint32_t xp_dpdk_bus_room(const struct xp_dpdk_bus *bus)
{
    uint32_t bytes = (bus->frame_bytes + 63) & ~63u;

    /*
     * Many cards count a buffer in KiB, rounded down, and reckon with two VLAN tags and a checksum; where a frame does not
     * fit they cut it in pieces.
     */
    if (bus->address.kind == XP_DPDK_PCI)
        return (bus->frame_bytes + XP_DPDK_CARD_TAIL_BYTES + 1023) & ~1023u;

    /* af_packet wants room for a whole slot of its ring. */
    return bus->address.kind == XP_DPDK_AF_PACKET && bytes < XP_DPDK_SLOT_BYTES ? XP_DPDK_SLOT_BYTES : bytes;
}

/* The port that leads to a node. */
static inline uint32_t xp_dpdk_bus_port_of(const struct xp_dpdk_bus *bus, uint16_t node)
{
    if (!xp_dpdk_is_local(bus->address.kind))
        return 0;
    return node < bus->node ? node : node - 1u;
}

#endif
