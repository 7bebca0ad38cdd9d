/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SPACE_H
#define TRANSPORT_SPACE_H

/* Frames by number: their class and their bytes. */
#include "base/assert.h"
#include "transport/xp.h"

/* The number of its class; CF_BLOCK_SIZES: no frame of the space. */
static inline uint32_t xp_space_class_of(const struct xp_frame_space *space, uint32_t frame)
{
    uint32_t i = 0;

    while (i < CF_BLOCK_SIZES && frame - space->classes[i].first >= space->classes[i].count)
        i++;
    return i;
}

static inline uint8_t *xp_space_bytes(const struct xp_frame_space *space, uint32_t class_index,
                                      uint32_t frame)
{
    const struct xp_frame_class *class_ = &space->classes[class_index];

    cf_assert(frame - class_->first < class_->count);
    return space->base + class_->offset + (uint64_t)(frame - class_->first) * class_->bytes;
}

#endif
