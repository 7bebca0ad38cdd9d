/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/dpdk/pool.h"

#include <errno.h>
#include <rte_malloc.h>
#include <rte_mbuf.h>
#include <stdio.h>
#include <string.h>

#include "transport/dpdk/device.h"
#include "transport/dpdk/handover.h"

#define OPS_NAME "cf_stack"
#define BUFFERS 1023u
#define BUFFERS_SHARED 8191u
/* Two a frame of every burst that may be queued. */
#define BUFFERS_APART 255u
/* A card keeps them until its ring has gone round. */
#define BUFFERS_APART_CARD 1023u
#define ROOM_APART_BYTES 256u

struct stack {
    uint32_t count;
    void *items[]; /* [mempool's size] */
};

static int stack_alloc(struct rte_mempool *pool)
{
    pool->pool_data = rte_zmalloc("cf_stack", sizeof(struct stack) + pool->size * sizeof(void *), 0);
    return pool->pool_data != NULL ? 0 : -ENOMEM;
}

static void stack_free(struct rte_mempool *pool)
{
    rte_free(pool->pool_data);
}

/* DPDK never gives back more than it got. */
static int stack_push(struct rte_mempool *pool, void *const *items, unsigned count)
{
    struct stack *stack = pool->pool_data;

    memcpy(stack->items + stack->count, items, count * sizeof(*items));
    stack->count += count;
    return 0;
}

static int stack_pop(struct rte_mempool *pool, void **items, unsigned count)
{
    struct stack *stack = pool->pool_data;

    if (stack->count < count)
        return -ENOBUFS;
    for (unsigned i = 0; i < count; i++)
        items[i] = stack->items[--stack->count];
    return 0;
}

static unsigned stack_count(const struct rte_mempool *pool)
{
    return ((const struct stack *)pool->pool_data)->count;
}

bool xp_dpdk_pool_register(void)
{
    static const struct rte_mempool_ops ops = {.name = OPS_NAME,
                                               .alloc = stack_alloc,
                                               .free = stack_free,
                                               .enqueue = stack_push,
                                               .dequeue = stack_pop,
                                               .get_count = stack_count};

    return rte_mempool_register_ops(&ops) >= 0;
}

struct rte_mempool *xp_dpdk_pool_open(enum xp_dpdk_kind kind, uint32_t room_bytes)
{
    uint16_t room = (uint16_t)(RTE_PKTMBUF_HEADROOM + room_bytes);
    struct rte_mempool *pool = NULL;
    char name[RTE_MEMPOOL_NAMESIZE];

    if (kind != XP_DPDK_RING) {
        snprintf(name, sizeof(name), "cf-pool-%x", xp_device_unique());
        return rte_pktmbuf_pool_create_by_ops(name, kind == XP_DPDK_PCI ? XP_DPDK_BUFFERS_CARD : BUFFERS, 0,
                                              0, room, SOCKET_ID_ANY, OPS_NAME);
    }
    snprintf(name, sizeof(name), "cf-ring-%u", room);
    pool = rte_mempool_lookup(name);
    return pool != NULL
               ? pool
               : rte_pktmbuf_pool_create_by_ops(name, BUFFERS_SHARED, 0, 0, room, SOCKET_ID_ANY, "stack");
}

struct rte_mempool *xp_dpdk_pool_open_apart(enum xp_dpdk_kind kind, uint32_t room_bytes)
{
    char name[RTE_MEMPOOL_NAMESIZE];

    snprintf(name, sizeof(name), "cf-apart-%x", xp_device_unique());
    return rte_pktmbuf_pool_create_by_ops(name, kind == XP_DPDK_PCI ? BUFFERS_APART_CARD : BUFFERS_APART, 0,
                                          0, (uint16_t)(RTE_PKTMBUF_HEADROOM + room_bytes + ROOM_APART_BYTES),
                                          SOCKET_ID_ANY, OPS_NAME);
}

void xp_dpdk_frames_free(struct rte_mbuf **frames, uint32_t count)
{
    xp_dpdk_leave_thread(frames, count);
    rte_pktmbuf_free_bulk(frames, count); /* not inline: from here on only DPDK touches them */
}

void xp_dpdk_pool_close(enum xp_dpdk_kind kind, struct rte_mempool *pool)
{
    if (kind != XP_DPDK_RING)
        rte_mempool_free(pool);
}
