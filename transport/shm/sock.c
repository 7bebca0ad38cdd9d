/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/shm/sock.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "transport/shm/place.h"

#define BACKLOG 64
/* Connections of strangers thrown away in one call. */
#define STRANGERS_MAX 16

static int new_socket(const char *path, struct sockaddr_un *address)
{
    size_t bytes = strlen(path) + 1;

    cf_assert(bytes <= sizeof(address->sun_path));
    memset(address, 0, sizeof(*address));
    address->sun_family = AF_UNIX;
    memcpy(address->sun_path, path, bytes);
    return socket(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
}

static bool is_same_user(int fd)
{
    struct ucred who;
    socklen_t bytes = sizeof(who);

    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &who, &bytes) != 0)
        return false;
    return who.uid == geteuid() || who.uid == 0;
}

int xp_shm_sock_listen(const char *path)
{
    struct sockaddr_un address;
    int fd = new_socket(path, &address);

    if (fd < 0)
        return -1;
    if (bind(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && listen(fd, BACKLOG) == 0)
        return fd;
    int saved = errno;
    close(fd);
    errno = saved;
    return -1;
}

int xp_shm_sock_connect(const char *path)
{
    struct sockaddr_un address;
    int fd = new_socket(path, &address);

    if (fd < 0)
        return -1;
    if (connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0 && is_same_user(fd))
        return fd;
    close(fd);
    return -1;
}

int xp_shm_sock_accept(int listen_fd)
{
    for (int i = 0; i < STRANGERS_MAX; i++) {
        int fd = accept4(listen_fd, NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

        if (fd < 0 || is_same_user(fd))
            return fd;
        close(fd);
    }
    return -1;
}

bool xp_shm_sock_watch(int epoll_fd, int fd, uint64_t watch)
{
    struct epoll_event event = {.events = EPOLLIN | EPOLLRDHUP, .data.u64 = watch};

    return epoll_ctl(epoll_fd, EPOLL_CTL_ADD, fd, &event) == 0;
}

void xp_shm_sock_unwatch(int epoll_fd, int fd)
{
    int rc = epoll_ctl(epoll_fd, EPOLL_CTL_DEL, fd, NULL);

    cf_assert(rc == 0);
}

bool xp_shm_sock_send(int fd, const void *message, size_t bytes, const int *fds, uint32_t fds_count)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * XP_SHM_FDS_MAX)];
    } control;
    struct iovec part = {.iov_base = (void *)(uintptr_t)message, .iov_len = bytes};
    struct msghdr header = {.msg_iov = &part, .msg_iovlen = 1};

    cf_assert(fds_count <= XP_SHM_FDS_MAX);
    if (fds_count != 0) {
        struct cmsghdr *first;

        memset(&control, 0, sizeof(control));
        header.msg_control = control.bytes;
        header.msg_controllen = CMSG_SPACE(sizeof(int) * fds_count);
        first = CMSG_FIRSTHDR(&header);
        first->cmsg_level = SOL_SOCKET;
        first->cmsg_type = SCM_RIGHTS;
        first->cmsg_len = CMSG_LEN(sizeof(int) * fds_count);
        memcpy(CMSG_DATA(first), fds, sizeof(int) * fds_count);
    }
    return sendmsg(fd, &header, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)bytes;
}

void xp_shm_sock_brief(int fd, enum xp_shm_kind kind, enum cf_rc rc, const char *why)
{
    struct xp_shm_wire_short brief = {.head = {XP_SHM_MAGIC, XP_WIRE_VERSION, (uint16_t)kind}, .rc = rc};

    snprintf(brief.why, sizeof(brief.why), "%s", why);
    (void)send(fd, &brief, sizeof(brief), MSG_DONTWAIT | MSG_NOSIGNAL);
}

static void fds_take(struct msghdr *header, struct xp_shm_sock_fds *fds_out)
{
    for (struct cmsghdr *c = CMSG_FIRSTHDR(header); c != NULL; c = CMSG_NXTHDR(header, c)) {
        size_t count;

        if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
            continue;
        count = (c->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (size_t i = 0; i < count && fds_out->count < XP_SHM_FDS_MAX; i++)
            memcpy(&fds_out->fds[fds_out->count++], CMSG_DATA(c) + i * sizeof(int), sizeof(int));
    }
}

int xp_shm_sock_receive(int fd, union xp_shm_wire *wire_out, struct xp_shm_sock_fds *fds_out)
{
    union {
        struct cmsghdr align;
        char bytes[CMSG_SPACE(sizeof(int) * XP_SHM_FDS_MAX)];
    } control;
    struct iovec part = {.iov_base = wire_out, .iov_len = sizeof(*wire_out)};
    struct msghdr header = {.msg_iov = &part,
                            .msg_iovlen = 1,
                            .msg_control = control.bytes,
                            .msg_controllen = sizeof(control.bytes)};
    ssize_t got;

    memset(wire_out, 0, sizeof(*wire_out));
    fds_out->count = 0;
    got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    /* Told once when the other end left with messages unread; what it said before that is still there. */
    if (got < 0 && errno == ECONNRESET)
        got = recvmsg(fd, &header, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    if (got > 0) {
        fds_take(&header, fds_out);
        return (int)got;
    }
    if (got < 0 && (errno == EAGAIN || errno == EINTR))
        return XP_SHM_SOCK_EMPTY;
    return XP_SHM_SOCK_LOST;
}

void xp_shm_sock_fds_close(struct xp_shm_sock_fds *fds)
{
    for (uint32_t i = 0; i < fds->count; i++)
        close(fds->fds[i]);
    fds->count = 0;
}
