/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_DPDK_DATA_H
#define TRANSPORT_DPDK_DATA_H

/* Between the files of the data path: send.c, receive.c, frames.c. */
#include "base/assert.h"
#include "transport/dpdk/dpdk.h"

static inline uint8_t *xp_dpdk_frame_bytes(const struct xp_dpdk *dpdk, uint8_t class_index, uint32_t frame)
{
    const struct xp_frame_class *frames = &dpdk->space.classes[class_index];

    cf_assert(frame - frames->first < frames->count);
    return dpdk->space.base + frames->offset + (uint64_t)(frame - frames->first) * frames->bytes;
}

/* The frame waits for another block. */
void xp_dpdk_frame_give(struct xp_dpdk *dpdk, uint8_t class_index, uint32_t frame);

#endif
