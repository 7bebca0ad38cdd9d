/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status socket: a control thread tells the state to whoever connects, one text a connection. Commands come to a
 * socket of their own beside it, so that a reader cannot give any.
 *
 * Concurrency: the thread runs from eng_status_start to eng_status_stop; stop_fd is what others write.
 */
#include <errno.h>
#include <poll.h>
#include <stdlib.h>
#include <string.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/thread.h"
#include "engine/directory.h"
#include "engine/instance.h"
#include "engine/status.h"

/* A reader that has not taken the whole text by then gets no more: others wait, and so does the end. */
#define STATUS_SEND_NS 2000000000ull
#define STATUS_BACKLOG_MAX 8
#define CONTROL_SUFFIX ".control"
#define CONTROL_BYTES_MAX 128u
#define CONTROL_ANSWER_BYTES 320u
/* Without a descriptor for who connects, the socket stays readable: it is looked at again so much later. */
#define ACCEPT_RETRY_MS 100

struct status_server {
    struct cf_instance *instance;
    pthread_t thread;
    int listen_fd, control_fd, stop_fd;
    char path[CF_OPTION_STRING_BYTES];
    char control_path[CF_OPTION_STRING_BYTES + sizeof CONTROL_SUFFIX];
};

struct status_reader {
    int fd, stop_fd;
    uint64_t until_ns;
};

static void send_text(void *arg, const char *text, size_t bytes)
{
    const struct status_reader *reader = arg;

    while (bytes > 0) {
        struct pollfd ready[2] = {{reader->fd, POLLOUT, 0}, {reader->stop_fd, POLLIN, 0}};
        uint64_t now = cf_now_ns();
        ssize_t sent;

        if (now >= reader->until_ns ||
            (poll(ready, 2, (int)((reader->until_ns - now) / CF_NS_PER_MS) + 1) < 0 && errno != EINTR) ||
            ready[1].revents)
            return;
        sent = send(reader->fd, text, bytes, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (sent < 0 && errno != EAGAIN && errno != EINTR)
            return;
        if (sent > 0) {
            text += sent;
            bytes -= (size_t)sent;
        }
    }
}

/* Whoever connected, with the time it has; fd -1: nobody did after all, or there is no descriptor. */
static struct status_reader reader_accept(const struct status_server *server, int listen_fd)
{
    struct status_reader reader = {.fd = accept4(listen_fd, NULL, NULL, SOCK_CLOEXEC),
                                   .stop_fd = server->stop_fd,
                                   .until_ns = cf_now_ns() + STATUS_SEND_NS};

    if (reader.fd < 0 && errno != EAGAIN) {
        struct pollfd stop = {server->stop_fd, POLLIN, 0};

        (void)poll(&stop, 1, ACCEPT_RETRY_MS);
    }
    return reader;
}

/* Reads a line of at most CONTROL_BYTES_MAX bytes. False: none came in time, or the end did. */
static bool line_read(const struct status_reader *reader, char line[CONTROL_BYTES_MAX + 1])
{
    size_t bytes = 0;

    while (bytes < CONTROL_BYTES_MAX) {
        struct pollfd ready[2] = {{reader->fd, POLLIN, 0}, {reader->stop_fd, POLLIN, 0}};
        uint64_t now = cf_now_ns();
        char *end;
        ssize_t got;

        if (now >= reader->until_ns ||
            poll(ready, 2, (int)((reader->until_ns - now) / CF_NS_PER_MS) + 1) <= 0 || ready[1].revents)
            return false;
        got = recv(reader->fd, line + bytes, CONTROL_BYTES_MAX - bytes, MSG_DONTWAIT);
        if (got <= 0)
            return false;
        bytes += (size_t)got;
        line[bytes] = '\0';
        end = strchr(line, '\n');
        if (end != NULL) {
            *end = '\0';
            return true;
        }
    }
    return false;
}

/* One command a connection, a line. */
static void control(struct status_server *server)
{
    struct status_reader reader = reader_accept(server, server->control_fd);
    char line[CONTROL_BYTES_MAX + 1], answer[CONTROL_ANSWER_BYTES];

    if (reader.fd < 0)
        return;
    if (line_read(&reader, line)) {
        eng_control_line(server->instance, line, answer, sizeof answer);
        send_text(&reader, answer, strlen(answer));
    }
    close(reader.fd);
}

/* A reader to whom nothing can be told sees the end alone. */
static void tell(struct status_server *server)
{
    static const char no_memory[] = "{\"error\": \"CF_MEMORY: no memory for the status; ask again\"}\n";
    struct status_reader reader = reader_accept(server, server->listen_fd);

    if (reader.fd < 0)
        return;
    if (cf_status_write(server->instance, send_text, &reader) == CF_MEMORY)
        send_text(&reader, no_memory, strlen(no_memory));
    close(reader.fd);
}

static void *server_main(void *arg)
{
    struct status_server *server = arg;

    for (;;) {
        struct pollfd ready[3] = {
            {server->listen_fd, POLLIN, 0}, {server->stop_fd, POLLIN, 0}, {server->control_fd, POLLIN, 0}};

        if (poll(ready, 3, -1) < 0) {
            if (errno != EINTR)
                return NULL;
            continue;
        }
        if (ready[1].revents)
            return NULL;
        if (ready[2].revents & POLLIN)
            control(server);
        if (ready[0].revents & POLLIN)
            tell(server);
    }
}

/* A socket that nobody answers was left by a process that died. What is no socket refuses as well, and is left alone. */
static bool is_stale(const struct sockaddr_un *address)
{
    struct stat status;
    bool stale;
    int fd;

    if (lstat(address->sun_path, &status) != 0 || !S_ISSOCK(status.st_mode))
        return false;
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0)
        return false;
    stale = connect(fd, (const struct sockaddr *)address, sizeof *address) != 0 && errno == ECONNREFUSED;
    close(fd);
    return stale;
}

static int open_listener(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    bool is_bound;
    int fd;

    if (strlen(path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return -1;
    }
    strcpy(address.sun_path, path);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (fd < 0)
        return -1;
    is_bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
    if (!is_bound && errno == EADDRINUSE) {
        if (is_stale(&address) && unlink(path) == 0)
            is_bound = bind(fd, (const struct sockaddr *)&address, sizeof address) == 0;
        else
            errno = EADDRINUSE;
    }
    /* Nobody can connect before it listens, so nobody does before the mode is set. */
    if (!is_bound || chmod(path, 0600) != 0 || listen(fd, STATUS_BACKLOG_MAX) != 0) {
        int system = errno;

        if (is_bound)
            (void)unlink(path);
        close(fd);
        errno = system;
        return -1;
    }
    return fd;
}

static void server_free(struct status_server *server)
{
    if (server->listen_fd >= 0) {
        close(server->listen_fd);
        (void)unlink(server->path);
    }
    if (server->control_fd >= 0) {
        close(server->control_fd);
        (void)unlink(server->control_path);
    }
    if (server->stop_fd >= 0)
        close(server->stop_fd);
    free(server);
}

enum cf_rc eng_status_start(struct cf_instance *instance, struct cf_error *error)
{
    struct status_server *server = calloc(1, sizeof *server);
    int system;

    if (server == NULL) {
        eng_error_set(error, CF_MEMORY, 0, instance->node, "no memory for the status socket");
        return CF_MEMORY;
    }
    server->instance = instance;
    memcpy(server->path, instance->options.status_path, sizeof server->path);
    snprintf(server->control_path, sizeof server->control_path, "%s" CONTROL_SUFFIX, server->path);
    server->listen_fd = open_listener(server->path);
    server->control_fd = server->listen_fd < 0 ? -1 : open_listener(server->control_path);
    server->stop_fd = server->control_fd < 0 ? -1 : eventfd(0, EFD_CLOEXEC);
    if (server->stop_fd < 0) {
        system = errno;
        eng_error_set(error, CF_SYSTEM, system, instance->node, "status_path %.150s: %s", server->path,
                      strerror(system));
        server_free(server);
        return CF_SYSTEM;
    }
    system = cf_thread_start(&server->thread, "cf-status", server_main, server);
    if (system != 0) {
        eng_error_set(error, CF_SYSTEM, system, instance->node, "the status thread could not be started: %s",
                      strerror(system));
        server_free(server);
        return CF_SYSTEM;
    }
    instance->status = server;
    return CF_OK;
}

void eng_status_stop(struct cf_instance *instance)
{
    struct status_server *server = instance->status;

    if (server == NULL)
        return;
    if (eventfd_write(server->stop_fd, 1) != 0)
        cf_unreachable(); /* the first that is written there */
    pthread_join(server->thread, NULL);
    server_free(server);
    instance->status = NULL;
}
