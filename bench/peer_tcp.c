/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does what a transport does take over plain TCP of the loopback: a message of 64 bytes, or one with a
 * block of 8 KiB, one way between two processes?
 *
 *   peer_tcp [ROUNDS]
 *
 * Two pinned processes write so many bytes and read as many, in turns, without Nagle's delay; half a round trip is one
 * way. Each has memory of its own for what comes; nothing is checked, and nothing is cached.
 */
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"

#define ROUNDS_DEFAULT 20000u
#define WARM_UP 1000u
#define BODY_BYTES 64u
#define BLOCK_BYTES 8192u
#define LIMIT_S 60u

static const struct subject {
    const char *figure;
    uint32_t bytes;
} subjects[] = {{"message-64B", BODY_BYTES}, {"block-8KiB", BODY_BYTES + BLOCK_BYTES}};

static void fail(const char *what)
{
    perror(what);
    exit(3);
}

static void send_all(int fd, const uint8_t *bytes, uint32_t count)
{
    for (uint32_t at = 0; at < count;) {
        ssize_t done = write(fd, bytes + at, count - at);

        if (done <= 0)
            fail("peer_tcp: write");
        at += (uint32_t)done;
    }
}

/* False: the other side has ended. */
static bool receive_all(int fd, uint8_t *bytes, uint32_t count)
{
    for (uint32_t at = 0; at < count;) {
        ssize_t done = read(fd, bytes + at, count - at);

        if (done == 0)
            return false;
        if (done < 0)
            fail("peer_tcp: read");
        at += (uint32_t)done;
    }
    return true;
}

static void no_delay(int fd)
{
    int on = 1;

    if (setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on) != 0)
        fail("peer_tcp: TCP_NODELAY");
}

static void answer(const struct sockaddr_in *address, uint32_t bytes)
{
    static uint8_t buffer[BODY_BYTES + BLOCK_BYTES];
    int fd = socket(AF_INET, SOCK_STREAM, 0);

    bench_pin(1);
    if (fd < 0 || connect(fd, (const struct sockaddr *)address, sizeof *address) != 0)
        fail("peer_tcp: connect");
    no_delay(fd);
    while (receive_all(fd, buffer, bytes))
        send_all(fd, buffer, bytes);
    close(fd);
}

static void ask(int fd, const struct subject *subject, uint64_t rounds)
{
    static uint8_t buffer[BODY_BYTES + BLOCK_BYTES];
    struct cf_hist hist;

    cf_hist_init(&hist);
    for (uint64_t i = 0; i < WARM_UP + rounds; i++) {
        uint64_t began_ns = cf_now_ns();

        send_all(fd, buffer, subject->bytes);
        if (!receive_all(fd, buffer, subject->bytes))
            exit(3);
        if (i >= WARM_UP)
            cf_hist_add(&hist, (cf_now_ns() - began_ns) / 2);
    }
    bench_distribution(subject->figure, &hist);
}

static void measure(const struct subject *subject, uint64_t rounds)
{
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t address_bytes = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), fd, status = 0;
    pid_t pid;

    if (listener < 0 || bind(listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(listener, 1) != 0 || getsockname(listener, (struct sockaddr *)&address, &address_bytes) != 0)
        fail("peer_tcp: listen");
    fflush(stdout);
    pid = fork();
    if (pid < 0)
        fail("peer_tcp: fork");
    if (pid == 0) {
        close(listener);
        answer(&address, subject->bytes);
        _exit(0);
    }
    bench_pin(0);
    fd = accept(listener, NULL, NULL);
    if (fd < 0)
        fail("peer_tcp: accept");
    no_delay(fd);
    ask(fd, subject, rounds);
    close(fd);
    close(listener);
    if (waitpid(pid, &status, 0) != pid || status != 0)
        exit(3);
}

int main(int argc, char **argv)
{
    uint64_t rounds = argc == 2 ? strtoull(argv[1], NULL, 10) : ROUNDS_DEFAULT;

    if (argc > 2 || rounds == 0) {
        fprintf(stderr, "usage: peer_tcp [ROUNDS]\n");
        return 2;
    }
    alarm(LIMIT_S);
    for (size_t i = 0; i < CF_COUNTOF(subjects); i++)
        measure(&subjects[i], rounds);
    return 0;
}
