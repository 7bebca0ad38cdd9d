/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_SHM_SOCK_H
#define TRANSPORT_SHM_SOCK_H

/*
 * Unix sockets of type SOCK_SEQPACKET: whole messages, file descriptors, and the kernel's word on who is at the
 * other end. Every call is non-blocking whatever the other end does to the socket's flags.
 */
#include "transport/shm/hello.h"

#define XP_SHM_FDS_MAX 4u

#define XP_SHM_SOCK_EMPTY (-1)
#define XP_SHM_SOCK_LOST (-2)

/* What epoll tells: a peer's number, or one of these. */
#define XP_SHM_WATCH_LISTENER 0x10000u
#define XP_SHM_WATCH_GUEST 0x10001u
#define XP_SHM_WATCH_EVENT 0x10002u
#define XP_SHM_WATCH_TIMER 0x10003u

struct xp_shm_sock_fds {
    int fds[XP_SHM_FDS_MAX];
    uint32_t count;
};

/* -1 with errno. */
CF_CHECK int xp_shm_sock_listen(const char *path);
/* -1: nobody is there, or somebody of another user (closed). */
CF_CHECK int xp_shm_sock_connect(const char *path);
/* -1: nobody waits. Connections of other users are closed and skipped. */
CF_CHECK int xp_shm_sock_accept(int listen_fd);
CF_CHECK bool xp_shm_sock_watch(int epoll_fd, int fd, uint64_t watch);
void xp_shm_sock_unwatch(int epoll_fd, int fd);
/* False: the connection is of no use any more. */
CF_CHECK bool xp_shm_sock_send(int fd, const void *message, size_t bytes, const int *fds, uint32_t fds_count);
/* A short message, best effort: it is followed by the end of the connection or is a hint. */
void xp_shm_sock_brief(int fd, enum xp_shm_kind kind, enum cf_rc rc, const char *why);
/* Bytes of the message (0 and up), XP_SHM_SOCK_EMPTY, XP_SHM_SOCK_LOST. fds_out is always set. */
CF_CHECK int xp_shm_sock_receive(int fd, union xp_shm_wire *wire_out, struct xp_shm_sock_fds *fds_out);
/* Closes those nobody has taken (count is then 0). */
void xp_shm_sock_fds_close(struct xp_shm_sock_fds *fds);

#endif
