/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how many messages of N bytes, and how many blocks, does a transport carry one way in a second between two
 * processes pinned to two cores?
 *
 * One process sends as fast as credits allow and publishes every 16; the other receives, and answers once at the end. A
 * repetition is a life of both; the figure is the rate between the first message and the answer.
 *
 *   xp_rate [--messages N] [--blocks N] [--address shm:] [--frames N] [--touch]
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"
#include "bench/xp_side.h"

#define FLUSH_EVERY 16u
#define FRAMES_DEFAULT 128u

static const struct subject {
    const char *figure;
    uint32_t body_bytes;
    uint32_t class_index; /* CF_BLOCK_SIZES: no block */
} subjects[] = {
    {"message-rate-8B", 8, CF_BLOCK_SIZES},
    {"message-rate-64B", 64, CF_BLOCK_SIZES},
    {"block-rate-4KiB", 64, 1},
    {"block-rate-8KiB", 64, 2},
    {"block-rate-32KiB", 64, 4},
};

struct settings {
    const char *address;
    uint64_t messages, blocks;
    uint64_t frames;
    bool is_touched;
};

/* Takes what has come; the number of messages. Only the events tell, so the clock need not be right. */
static uint64_t take(struct xp_side *side, const struct subject *subject, uint64_t *now_ns)
{
    struct xp_event events[FLUSH_EVERY];
    uint32_t count = xp_poll(side->xp, *now_ns, events, FLUSH_EVERY);
    uint64_t messages = 0;

    *now_ns += 20;
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].type == XP_EV_DOWN) {
            fprintf(stderr, "xp_rate: the other side is gone\n");
            exit(1);
        }
        if (events[i].type == XP_EV_BLOCK)
            xp_side_lend(side, subject->class_index);
        messages += events[i].type == XP_EV_BLOCK || events[i].type == XP_EV_MESSAGE;
    }
    return messages;
}

static void send_all(struct xp_side *side, const struct subject *subject, uint64_t count)
{
    uint64_t now_ns = cf_now_ns(), sent = 0, answers = 0;

    while (sent < count) {
        uint32_t burst = 0;

        while (burst < FLUSH_EVERY && sent < count &&
               xp_side_send(side, subject->body_bytes, subject->class_index, sent)) {
            burst++;
            sent++;
        }
        xp_flush(side->xp);
        answers += take(side, subject, &now_ns);
    }
    while (answers == 0)
        answers += take(side, subject, &now_ns);
}

static void receive_all(struct xp_side *side, const struct subject *subject, uint64_t count)
{
    uint64_t now_ns = cf_now_ns(), got = 0;

    while (got < count) {
        got += take(side, subject, &now_ns);
        xp_flush(side->xp); /* credits go back */
    }
    while (!xp_side_send(side, 8, CF_BLOCK_SIZES, got))
        (void)take(side, subject, &now_ns);
    xp_flush(side->xp);
}

/* Both processes of one life; 1: it failed. */
static int life(const struct settings *settings, const struct subject *subject, double *rate_out)
{
    uint64_t count = subject->class_index == CF_BLOCK_SIZES ? settings->messages : settings->blocks;
    pid_t other = fork();
    uint16_t me = other == 0 ? 1 : 0;
    struct xp_side side;
    uint64_t began_ns;
    int status = 0;

    if (other < 0) {
        perror("xp_rate: fork");
        return 1;
    }
    bench_pin(me);
    xp_side_open(&side, &(struct xp_side_options){settings->address, me, (uint32_t)settings->frames,
                                                  settings->is_touched});
    if (me == 1) {
        receive_all(&side, subject, count / 10 + 1);
        receive_all(&side, subject, count);
        xp_close(&side.xp);
        _exit(0);
    }
    send_all(&side, subject, count / 10 + 1);
    began_ns = cf_now_ns();
    send_all(&side, subject, count);
    began_ns = cf_now_ns() - began_ns;
    if (waitpid(other, &status, 0) != other || status != 0) {
        fprintf(stderr, "xp_rate: the other side failed\n");
        return 1;
    }
    xp_close(&side.xp);
    *rate_out = (double)count * 1e9 / (double)began_ns;
    return 0;
}

/* What a life leaves (DPDK) ends with it. */
static double measure(const struct settings *settings, const struct subject *subject)
{
    double *rate = mmap(NULL, sizeof *rate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), value;
    int status = 0;
    pid_t pid;

    if (rate == MAP_FAILED)
        exit(1);
    fflush(stdout);
    pid = fork();
    if (pid == 0)
        exit(life(settings, subject, rate));
    if (pid < 0 || waitpid(pid, &status, 0) != pid || status != 0)
        exit(1);
    value = *rate;
    munmap(rate, sizeof *rate);
    if (value == 0)
        exit(0); /* the life has said why it was not run */
    return value;
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"messages", required_argument, NULL, 'm'}, {"blocks", required_argument, NULL, 'b'},
        {"address", required_argument, NULL, 'a'},  {"frames", required_argument, NULL, 'f'},
        {"touch", no_argument, NULL, 't'},          {0}};
    struct settings settings = {
        .address = "shm:", .messages = 1000000, .blocks = 100000, .frames = FRAMES_DEFAULT};
    int name;
    int rc = 0;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'm')
            rc |= cf_parse_u64(optarg, &settings.messages);
        else if (name == 'b')
            rc |= cf_parse_u64(optarg, &settings.blocks);
        else if (name == 'f')
            rc |= cf_parse_u64(optarg, &settings.frames);
        else if (name == 'a')
            settings.address = optarg;
        else if (name == 't')
            settings.is_touched = true;
        else
            return 2;
    }
    if (rc != 0 || settings.messages == 0 || settings.blocks == 0 || settings.frames < 2 ||
        settings.frames > XP_SIDE_FRAMES_MAX || settings.frames % 2 != 0) {
        fprintf(stderr, "xp_rate: --messages and --blocks from 1, --frames even, from 2 to %u\n",
                XP_SIDE_FRAMES_MAX);
        return 2;
    }
    if (!bench_has_two_cpus())
        return 0;
    for (uint32_t i = 0; i < CF_COUNTOF(subjects); i++) {
        double rate = measure(&settings, &subjects[i]);

        bench_figure(subjects[i].figure, rate, "1/s");
        fflush(stdout);
    }
    return 0;
}
