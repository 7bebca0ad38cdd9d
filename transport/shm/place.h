/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_PLACE_H
#define TRANSPORT_SHM_PLACE_H

/*
 * Where instances of one host meet: a directory with, per instance, a socket and a lock file. Who holds the lock
 * has the node id; the kernel lets go of it when the process ends, however it ends. Locks belong to the open
 * file, so that several instances of one process exclude each other as well.
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/xp.h"

/* struct sockaddr_un takes no more than this, zero byte included. */
#define XP_SHM_PATH_BYTES 108u

struct xp_shm_place {
    char directory[XP_SHM_PATH_BYTES];
    const char *cluster;
    uint16_t node;
    bool is_default; /* removed when the last instance leaves */
    int lock_fd;
};

/* Makes the directory (mode 0700, ours) and takes the lock. CF_NODE_TAKEN, CF_SYSTEM, CF_OPTION; `why` explains. */
CF_CHECK enum cf_rc xp_shm_place_enter(struct xp_shm_place *place, const char *directory, const char *cluster,
                                       uint16_t node, char *why, size_t why_bytes);
void xp_shm_place_leave(struct xp_shm_place *place);
/* Path of an instance's socket. */
void xp_shm_place_socket(const struct xp_shm_place *place, uint16_t node, char path[XP_SHM_PATH_BYTES]);
/* True while some process holds the lock of that node; asked without taking it. */
bool xp_shm_place_is_held(const struct xp_shm_place *place, uint16_t node);

#endif
