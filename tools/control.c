/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/control.h"

#include <errno.h>
#include <string.h>
#include <sys/socket.h>

int ctl_pair(int fds_out[2])
{
    return socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds_out);
}

bool ctl_send(int fd, const struct ctl_record *record)
{
    ssize_t sent;

    do
        sent = send(fd, record, sizeof(*record), MSG_NOSIGNAL);
    while (sent < 0 && errno == EINTR);
    return sent == (ssize_t)sizeof(*record);
}

enum ctl_result ctl_receive(int fd, struct ctl_record *record_out)
{
    ssize_t got;

    do
        got = recv(fd, record_out, sizeof(*record_out), MSG_DONTWAIT);
    while (got < 0 && errno == EINTR);
    if (got < 0 && (errno == EAGAIN || errno == EWOULDBLOCK))
        return CTL_EMPTY;
    if (got != (ssize_t)sizeof(*record_out) || record_out->magic != CTL_MAGIC)
        return CTL_END;
    record_out->text[CTL_TEXT_BYTES - 1] = '\0';
    record_out->sums.first_bad[WL_TEXT_BYTES - 1] = '\0';
    return CTL_GOT;
}

const char *ctl_kind_name(enum ctl_kind kind)
{
    static const char *const names[] = {"nothing", "prepared", "progress", "stopped", "verified", "detached",
                                        "closed",  "failed",   "start",    "stop",    "verify",   "close"};

    return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
