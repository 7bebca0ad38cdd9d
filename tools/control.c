/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/control.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <unistd.h>

int ctl_pair(int fds_out[2])
{
    return socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds_out);
}

void ctl_open(struct ctl_link *link, int in, int out)
{
    link->in = in;
    link->out = out;
    link->is_foreign = false;
    link->arrived = 0;
}

void ctl_close(struct ctl_link *link)
{
    if (link->in >= 0)
        close(link->in);
    if (link->out >= 0 && link->out != link->in)
        close(link->out);
    link->in = link->out = -1;
}

static bool write_all(int fd, const void *bytes, size_t count)
{
    const char *at = bytes;

    while (count > 0) {
        ssize_t written = write(fd, at, count);

        if (written < 0 && errno == EINTR)
            continue;
        if (written <= 0)
            return false;
        at += written;
        count -= (size_t)written;
    }
    return true;
}

bool ctl_send(struct ctl_link *link, const struct ctl_record *record)
{
    return link->out >= 0 && write_all(link->out, record, sizeof(*record));
}

/* The first words tell a record from the greeting of a shell, or a record of another version. */
static bool is_ours(const struct ctl_link *link)
{
    const struct ctl_record *record = &link->record;
    size_t head_bytes = offsetof(struct ctl_record, kind);

    return link->arrived < head_bytes || (record->magic == CTL_MAGIC && record->bytes == sizeof(*record));
}

/* Takes what is there of the rest; a stream has no O_NONBLOCK of ours, it may be shared. */
static enum ctl_result take(struct ctl_link *link)
{
    struct pollfd ready = {.fd = link->in, .events = POLLIN};
    ssize_t got;

    if (poll(&ready, 1, 0) <= 0)
        return CTL_EMPTY;
    got = read(link->in, (char *)&link->record + link->arrived, sizeof(link->record) - link->arrived);
    if (got < 0 && (errno == EINTR || errno == EAGAIN || errno == EWOULDBLOCK))
        return CTL_EMPTY;
    if (got <= 0)
        return CTL_END;
    link->arrived += (uint32_t)got;
    return CTL_GOT;
}

enum ctl_result ctl_receive(struct ctl_link *link, struct ctl_record *record_out)
{
    while (link->in >= 0 && !link->is_foreign && link->arrived < sizeof(link->record)) {
        enum ctl_result result = take(link);

        link->is_foreign = !is_ours(link) || (result == CTL_END && link->arrived > 0);
        if (result != CTL_GOT)
            return result;
    }
    if (link->in < 0 || link->is_foreign)
        return CTL_END;
    link->arrived = 0;
    *record_out = link->record;
    record_out->text[CTL_TEXT_BYTES - 1] = '\0';
    record_out->sums.first_bad[WL_TEXT_BYTES - 1] = '\0';
    return CTL_GOT;
}

bool ctl_file_send(struct ctl_link *link, const char *path)
{
    char text[4096];
    uint32_t head[2] = {CTL_MAGIC, 0};
    FILE *file = fopen(path, "re");
    size_t got;
    bool is_good = file != NULL && fseek(file, 0, SEEK_END) == 0 && ftell(file) >= 0 &&
                   ftell(file) <= (long)CTL_FILE_BYTES_MAX;

    if (is_good) {
        head[1] = (uint32_t)ftell(file);
        rewind(file);
        is_good = write_all(link->out, head, sizeof(head));
        while (is_good && (got = fread(text, 1, sizeof(text), file)) > 0)
            is_good = write_all(link->out, text, got);
    }
    if (file != NULL)
        fclose(file);
    return is_good;
}

static bool read_all(int fd, void *bytes, size_t count)
{
    char *at = bytes;

    while (count > 0) {
        ssize_t got = read(fd, at, count);

        if (got < 0 && errno == EINTR)
            continue;
        if (got == 0)
            errno = ECONNRESET;
        if (got <= 0)
            return false;
        at += got;
        count -= (size_t)got;
    }
    return true;
}

int ctl_file_receive(struct ctl_link *link)
{
    char text[4096];
    uint32_t head[2];
    int fd;

    if (!read_all(link->in, head, sizeof(head)))
        return -1;
    if (head[0] != CTL_MAGIC || head[1] > CTL_FILE_BYTES_MAX) {
        errno = EPROTO;
        return -1;
    }
    fd = memfd_create("cluster", MFD_CLOEXEC);
    while (fd >= 0 && head[1] > 0) {
        uint32_t count = head[1] < sizeof(text) ? head[1] : (uint32_t)sizeof(text);

        if (!read_all(link->in, text, count) || !write_all(fd, text, count)) {
            int errno_now = errno;

            close(fd);
            errno = errno_now;
            return -1;
        }
        head[1] -= count;
    }
    return fd;
}

const char *ctl_kind_name(enum ctl_kind kind)
{
    static const char *const names[] = {"nothing", "prepared", "progress", "stopped", "verified", "detached",
                                        "closed",  "failed",   "start",    "stop",    "verify",   "close"};

    return (size_t)kind < sizeof(names) / sizeof(names[0]) ? names[kind] : "unknown";
}
