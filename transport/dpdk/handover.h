/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_HANDOVER_H
#define TRANSPORT_DPDK_HANDOVER_H

/*
 * Frames of a ring, and the buffers of its pool, go from one thread to another through barriers of DPDK's, which
 * ThreadSanitizer does not see. It is told, buffer by buffer, where one leaves this thread and where one comes in.
 */
#include <stdint.h>

#include "base/compiler.h"

struct rte_mbuf;

#if CF_TSAN
void __tsan_acquire(void *address);
void __tsan_release(void *address);
#endif

static inline void xp_dpdk_leave_thread(struct rte_mbuf **frames, uint32_t count)
{
#if CF_TSAN
    for (uint32_t i = 0; i < count; i++)
        __tsan_release(frames[i]);
#else
    (void)frames, (void)count;
#endif
}

static inline void xp_dpdk_enter_thread(struct rte_mbuf **frames, uint32_t count)
{
#if CF_TSAN
    for (uint32_t i = 0; i < count; i++)
        __tsan_acquire(frames[i]);
#else
    (void)frames, (void)count;
#endif
}

#endif
