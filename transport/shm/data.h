/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_DATA_H
#define TRANSPORT_SHM_DATA_H

/* Between the files of the data path: send.c, receive.c, onesided.c. */
#include "transport/shm/shm.h"

static inline _Atomic uint64_t *xp_shm_sequence_of(const struct xp_shm_slot *slot)
{
    return (_Atomic uint64_t *)(uintptr_t)&slot->header.sequence;
}

/* READs that are over become events, as many as there is room for. */
void xp_shm_reads_end(struct xp_shm *shm, struct xp_shm_batch *batch);

#endif
