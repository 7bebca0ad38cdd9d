/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_REGION_H
#define TRANSPORT_SHM_REGION_H

/*
 * Shared memory with one writer. A region is a memfd: its creator maps it for writing and then seals it, so
 * that nobody can resize it (a reader would die of SIGBUS), map it for writing or punch holes into it.
 */
#include "transport/xp.h"

struct xp_shm_region {
    int fd; /* -1: none */
    void *base;
    uint64_t bytes;     /* as asked for */
    uint64_t map_bytes; /* as mapped: whole pages, or whole huge pages */
    bool is_huge;
};

void xp_shm_region_clear(struct xp_shm_region *region);
/* Creates, maps, touches every page, seals. errno on failure: CF_MEMORY or CF_SYSTEM. */
CF_CHECK enum cf_rc xp_shm_region_create(struct xp_shm_region *region, const char *name, uint64_t bytes,
                                         bool huge, int *errno_out);
/* Maps a peer's region for reading, after its seals and its size have been checked; takes the fd over. NULL, or why not. */
CF_CHECK const char *xp_shm_region_attach(struct xp_shm_region *region, int fd, uint64_t bytes);
/* Unmaps and closes; nothing to do for a cleared region. */
void xp_shm_region_close(struct xp_shm_region *region);

#endif
