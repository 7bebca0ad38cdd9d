/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_DATA_H
#define TRANSPORT_SHM_DATA_H

/* Between the files of the data path: send.c, receive.c, frames.c, onesided.c. */
#include "transport/shm/shm.h"

static inline _Atomic uint64_t *xp_shm_sequence_of(const struct xp_shm_slot *slot)
{
    return (_Atomic uint64_t *)(uintptr_t)&slot->header.sequence;
}

/* The number of its class; CF_BLOCK_SIZES: no frame of the space. */
static inline uint32_t xp_shm_class_of(const struct xp_frame_space *space, uint32_t frame)
{
    uint32_t i = 0;

    while (i < CF_BLOCK_SIZES && frame - space->classes[i].first >= space->classes[i].count)
        i++;
    return i;
}

/* Fetches the next lines of the frames that blocks will land in. */
void xp_shm_frames_warm(struct xp_shm *shm);
/* READs that are over become events, as many as there is room for. */
void xp_shm_reads_end(struct xp_shm *shm, struct xp_shm_batch *batch);

#endif
