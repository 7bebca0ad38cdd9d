/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does it take to fetch 8 KiB that Redis or memcached has in memory, over a unix socket?
 *
 *   peer_socket redis|memcached SOCKET [ROUNDS]
 *
 * One client that polls its socket without pause and asks again when the whole answer is there: the best a client can do
 * that does not ask ahead. The server is another process and waits as it always does.
 */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"

#define BLOCK_BYTES 8192u
#define ROUNDS_DEFAULT 20000u
#define WARM_UP 500u
#define LIMIT_NS (10 * CF_NS_PER_S)

struct words {
    const char *name, *set_head, *stored, *get, *head, *tail;
};
static const struct words servers[] = {
    {"redis", "*3\r\n$3\r\nSET\r\n$1\r\nk\r\n$8192\r\n", "+OK\r\n", "*2\r\n$3\r\nGET\r\n$1\r\nk\r\n",
     "$8192\r\n", "\r\n"},
    {"memcached", "set k 0 0 8192\r\n", "STORED\r\n", "get k\r\n", "VALUE k 0 8192\r\n", "\r\nEND\r\n"},
};

static void stop(const char *what)
{
    fprintf(stderr, "peer_socket: %s\n", what);
    exit(3);
}

static int socket_open(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);

    if (fd < 0 || strlen(path) >= sizeof address.sun_path)
        stop("no socket, or its name is too long");
    memcpy(address.sun_path, path, strlen(path));
    if (connect(fd, (const struct sockaddr *)&address, sizeof address) != 0)
        stop(strerror(errno));
    return fd;
}

static void say(int fd, const char *bytes, size_t count)
{
    while (count > 0) {
        ssize_t sent = send(fd, bytes, count, MSG_NOSIGNAL);

        if (sent < 0 && errno != EINTR)
            stop(strerror(errno));
        if (sent > 0) {
            bytes += sent;
            count -= (size_t)sent;
        }
    }
}

/* Exactly `count` bytes, polling. */
static void hear(int fd, char *bytes, size_t count)
{
    uint64_t until_ns = cf_now_ns() + LIMIT_NS;

    while (count > 0) {
        ssize_t got = recv(fd, bytes, count, MSG_DONTWAIT);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            stop("the server has gone");
        if (got > 0) {
            bytes += got;
            count -= (size_t)got;
        } else if (cf_now_ns() > until_ns) {
            stop("no answer");
        }
    }
}

int main(int argc, char **argv)
{
    const struct words *words = NULL;
    struct cf_hist *hist = malloc(sizeof *hist);
    static char block[BLOCK_BYTES], answer[BLOCK_BYTES + 128];
    uint64_t rounds = ROUNDS_DEFAULT;
    size_t bytes;
    int fd;

    for (size_t i = 0; argc >= 3 && i < CF_COUNTOF(servers); i++)
        if (strcmp(argv[1], servers[i].name) == 0)
            words = &servers[i];
    if (words == NULL || hist == NULL || (argc > 3 && cf_parse_u64(argv[3], &rounds) != 0) || rounds == 0) {
        fprintf(stderr, "usage: peer_socket redis|memcached SOCKET [ROUNDS]\n");
        return 2;
    }
    cf_hist_init(hist);
    bench_pin(0);
    fd = socket_open(argv[2]);
    memset(block, 'b', sizeof block);
    say(fd, words->set_head, strlen(words->set_head));
    say(fd, block, sizeof block);
    say(fd, "\r\n", 2);
    hear(fd, answer, strlen(words->stored));
    if (memcmp(answer, words->stored, strlen(words->stored)) != 0)
        stop("it does not take the block");
    bytes = strlen(words->head) + sizeof block + strlen(words->tail);
    for (uint64_t i = 0; i < rounds + WARM_UP; i++) {
        uint64_t begin_ns = cf_now_ns();

        say(fd, words->get, strlen(words->get));
        hear(fd, answer, bytes);
        if (i >= WARM_UP)
            cf_hist_add(hist, cf_now_ns() - begin_ns);
    }
    if (memcmp(answer, words->head, strlen(words->head)) != 0 ||
        memcmp(answer + strlen(words->head), block, sizeof block) != 0)
        stop("it gives back something else");
    bench_distribution("fetch-8KiB", hist);
    close(fd);
    free(hist);
    return 0;
}
