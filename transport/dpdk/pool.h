/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_POOL_H
#define TRANSPORT_DPDK_POOL_H

/*
 * Packet buffers of an instance, in a stack, so that the buffer freed last, which is in the processor's cache, is used next; a
 * ring would walk through all of them. All ports of an instance belong to its owner thread, and so does its stack: no
 * lock, no atomics. Only instances that meet in rings share a pool: frames of theirs lie in a ring when their sender
 * closes, so that pool belongs to the process, and its stack is DPDK's, with a lock.
 */
#include "transport/dpdk/address.h"

/* A card keeps its rings full of them in both directions. */
#define XP_DPDK_BUFFERS_CARD 2047u

struct rte_mbuf;
struct rte_mempool;

/* Makes the stack known to DPDK, once a process, after EAL has started. False: DPDK has no place for it. */
CF_CHECK bool xp_dpdk_pool_register(void);
/* Buffers of so many bytes behind the headroom; NULL without memory. */
CF_CHECK struct rte_mempool *xp_dpdk_pool_open(enum xp_dpdk_kind kind, uint32_t room_bytes);
/* By the thread that owns them; the pool may be another thread's too. */
void xp_dpdk_frames_free(struct rte_mbuf **frames, uint32_t count);
/*
 * For frames that end in memory that is not theirs: one buffer for what is before it and one that stands for it. Their
 * room is larger than memif's own buffers, which is how memif tells that a frame in pieces goes into one buffer of its.
 */
struct rte_mempool *xp_dpdk_pool_open_apart(enum xp_dpdk_kind kind, uint32_t room_bytes);
void xp_dpdk_pool_close(enum xp_dpdk_kind kind, struct rte_mempool *pool);

#endif
