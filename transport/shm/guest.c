/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections of which nobody knows yet whose they are: the listener takes them, their first message names the
 * peer, and they wait while an older connection of that peer is not over.
 */
#include <unistd.h>

#include "transport/shm/conn.h"
#include "transport/shm/sock.h"

/* Gives a connection whose OPEN has been read to the peer it names; false: the old one is not over yet. */
static bool guest_seat(struct xp_shm *shm, struct xp_shm_guest *guest, struct xp_shm_batch *batch)
{
    const struct xp_shm_wire_open *open = &guest->open;
    struct xp_shm_peer *peer = open->node < shm->nodes ? &shm->peers[open->node] : NULL;
    int fd = guest->fd;

    if (open->head.version != XP_WIRE_VERSION || peer == NULL || open->node <= shm->node ||
        open->target != shm->node) {
        bool is_version = open->head.version != XP_WIRE_VERSION;
        shm->base.counters.hello_refused++;
        xp_shm_sock_brief(fd, XP_SHM_REFUSE, is_version ? CF_VERSION : CF_NODE_TAKEN,
                          is_version ? "the wire version differs"
                                     : "the node id is not one that connects here");
        close(fd);
        guest->fd = -1;
        return true;
    }
    if (peer->fd >= 0 || peer->state == XP_SHM_DRAINING)
        return false;
    guest->fd = -1;
    xp_shm_shake_begin(shm, peer, fd);
    if (peer->state == XP_SHM_OPENING)
        xp_shm_shake_open(shm, peer, open, batch);
    return true;
}

void xp_shm_guest_turn(struct xp_shm *shm, struct xp_shm_guest *guest, struct xp_shm_batch *batch)
{
    union xp_shm_wire wire;
    struct xp_shm_sock_fds fds;
    int got;

    if (!guest->has_open) {
        got = xp_shm_sock_receive(guest->fd, &wire, &fds);
        if (got == XP_SHM_SOCK_EMPTY && shm->now_ns < guest->deadline_ns)
            return;
        if (got >= 0)
            xp_shm_sock_fds_close(&fds);
        if (got != (int)sizeof(wire.open) || wire.head.magic != XP_SHM_MAGIC ||
            wire.head.kind != XP_SHM_OPEN) {
            close(guest->fd);
            guest->fd = -1;
            return;
        }
        guest->open = wire.open;
        guest->has_open = true;
        /* Until it has a peer nothing more is read of it. */
        xp_shm_sock_unwatch(shm->epoll_fd, guest->fd);
    }
    if (!guest_seat(shm, guest, batch) && shm->now_ns >= guest->deadline_ns) {
        shm->base.counters.hello_refused++;
        xp_shm_sock_brief(guest->fd, XP_SHM_REFUSE, CF_NODE_TAKEN, "this node id is connected already");
        close(guest->fd);
        guest->fd = -1;
    }
}

void xp_shm_guest_listen(struct xp_shm *shm)
{
    for (uint32_t i = 0; i < XP_SHM_GUESTS_MAX; i++) {
        struct xp_shm_guest *guest = &shm->guests[i];
        int fd;

        if (guest->fd >= 0)
            continue;
        fd = xp_shm_sock_accept(shm->listen_fd);
        if (fd < 0)
            return;
        *guest = (struct xp_shm_guest){.fd = fd, .deadline_ns = shm->now_ns + HANDSHAKE_NS};
        if (!xp_shm_sock_watch(shm->epoll_fd, fd, XP_SHM_WATCH_GUEST)) {
            close(fd);
            guest->fd = -1;
        }
    }
}
