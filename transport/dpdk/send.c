/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The data path, outgoing: no system call but what a driver makes, no allocation. What the links have to send goes out in
 * bursts.
 */
#include "base/assert.h"
#include "base/atomic.h"
#include "transport/dpdk/dpdk.h"

/* Packets sent to one peer in one go. */
#define SEND_BUDGET 64u

void *xp_dpdk_begin(struct xp *xp, uint16_t node, enum xp_class lane, uint32_t bytes)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    struct xp_dpdk_peer *peer;
    struct xp_link_slot *slot;

    cf_assert(node < dpdk->nodes);
    cf_assert(bytes <= XP_BODY_BYTES_MAX);
    peer = &dpdk->peers[node];
    if (CF_UNLIKELY(peer->state != XP_DPDK_UP))
        return NULL;
    slot = xp_link_begin(&peer->link, lane, bytes);
    if (CF_UNLIKELY(slot == NULL)) {
        peer->is_starved = true;
        dpdk->base.counters.no_credit++;
        return NULL;
    }
    return slot->body;
}

static void post(struct xp_dpdk *dpdk, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                 const struct xp_link_block *block)
{
    struct xp_dpdk_peer *peer = &dpdk->peers[node];

    xp_link_post(&peer->link, lane, type, scn, block);
    peer->has_posted = true;
    dpdk->quiet_until_ns = 0;
    dpdk->base.counters.sent++;
    dpdk->base.counters.bytes_sent += peer->link.tx[lane].body_bytes;
}

void xp_dpdk_post(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn)
{
    post(xp_dpdk_of(xp), node, lane, type, scn, NULL);
}

void xp_dpdk_post_block(struct xp *xp, uint16_t node, enum xp_class lane, uint16_t type, uint64_t scn,
                        uint32_t frame)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);
    uint32_t i = xp_space_class_of(&dpdk->space, frame);

    cf_assert(i < CF_BLOCK_SIZES);
    struct xp_link_block block = {.bytes = xp_space_bytes(&dpdk->space, i, frame),
                                  .word = &dpdk->space.words[frame],
                                  .word_mask = dpdk->space.words_stable_mask,
                                  .class_index = (uint8_t)i};

    block.word_value = cf_peek_u64(block.word) & block.word_mask;
    dpdk->base.counters.blocks_sent++;
    dpdk->base.counters.bytes_sent += dpdk->space.classes[i].bytes;
    post(dpdk, node, lane, type, scn, &block);
}

/* False: nothing goes any more. */
static bool send_one(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer, uint64_t *kinds)
{
    struct xp_link_sent sent;
    uint32_t bytes;
    uint8_t *frame;

    /* The room first: a packet that is built counts as sent. Without a packet it stays for the next one. */
    frame = xp_dpdk_bus_begin(&dpdk->bus, peer->port);
    bytes = frame ? xp_link_send(&peer->link, dpdk->now_ns, peer->front, frame, &sent) : 0;
    if (bytes == 0)
        return false;
    if (sent.apart_bytes != 0)
        xp_dpdk_bus_end_apart(&dpdk->bus, peer->port, bytes, sent.apart, sent.apart_bytes);
    else
        xp_dpdk_bus_end(&dpdk->bus, peer->port, bytes);
    /* A sleeper is woken for messages; for an acknowledgement only one that waits for credit. */
    *kinds |= sent.has_pieces ? XP_DPDK_ASLEEP : XP_DPDK_STARVED;
    return sent.has_more;
}

void xp_dpdk_send(struct xp_dpdk *dpdk, struct xp_dpdk_peer *peer)
{
    uint64_t kinds = 0;

    for (uint32_t i = 0; i < SEND_BUDGET; i++)
        if (!send_one(dpdk, peer, &kinds))
            break;
    if (kinds == 0)
        return;
    xp_dpdk_bus_flush(&dpdk->bus);
    if (peer->bed.word == NULL)
        return;
    cf_fence_full(); /* partner: the fence of xp_dpdk_arm */
    if (xp_dpdk_bed_rouse(&peer->bed, &dpdk->nap, peer->node, kinds))
        dpdk->base.counters.wakeups_sent++;
}

/* Sends what was posted; true when a window kept some of it back. */
static bool posted_send(struct xp_dpdk *dpdk)
{
    bool is_blocked = false;

    for (uint32_t i = 0; i < dpdk->nodes; i++) {
        struct xp_dpdk_peer *peer = &dpdk->peers[i];

        if (!peer->has_posted)
            continue;
        peer->has_posted = false;
        if (!peer->is_open)
            continue;
        xp_dpdk_send(dpdk, peer);
        peer->has_posted = xp_link_has_unsent(&peer->link.tx[0]) || xp_link_has_unsent(&peer->link.tx[1]);
        is_blocked |= peer->has_posted;
    }
    return is_blocked;
}

/* A flush that a window stops looks for acknowledgements: its caller may not poll before it has posted a whole lane. */
void xp_dpdk_flush(struct xp *xp)
{
    struct xp_dpdk *dpdk = xp_dpdk_of(xp);

    if (!dpdk->is_started || !xp_dpdk_gate_enter(dpdk->gate))
        return; /* the next poll sends it */
    if (CF_UNLIKELY(posted_send(dpdk)) && xp_dpdk_receive(dpdk))
        (void)posted_send(dpdk);
    xp_dpdk_gate_leave(dpdk->gate);
}
