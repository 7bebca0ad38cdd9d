/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what do lost frames cost two instances over DPDK, and what does theory allow?
 *
 *   loss_curve [--loss P] [--ms N]      frames lost each way, 0 to 0.5; milliseconds of each of the four measurements
 *
 * One that asks: a message of 64 bytes, answered by one, one at a time; nothing else is under way, so what is lost is found by
 * the timer alone. Theory is arithmetic of the timer (RFC 6298, doubling): a message that is lost k times in a row, with
 * probability p^k (1 - p), waits R + 2 R + ... 2^(k-1) R, no step longer than the cap. A round has two messages:
 *
 *   rounds/s = 1 / (T0 + 2 sum over k of p^k min(2^(k-1) R, cap))          T0: a round without loss, in the same run
 *
 * A stream: blocks of 8 KiB one way, a frame each, as fast as the windows allow. What arrives out of order is kept, so no
 * frame has to go twice that has arrived: selective repeat (S. Lin, D. Costello, M. Miller, "Automatic-Repeat-Request
 * Error-Control Schemes", IEEE Communications Magazine 22(12), 1984), whose bound is r0 (1 - p), r0: the rate without
 * loss. A sender that takes each loss for congestion carries C / sqrt(p) frames a round trip at most, C = sqrt(3/2)
 * (M. Mathis et al., "The Macroscopic Behavior of the TCP Congestion Avoidance Algorithm", CCR 27(3), 1997), ours 4 at least on
 * software devices: in round trips of microseconds more than r0, so it is the first bound that is told.
 */
#include <getopt.h>
#include <math.h>
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

/* As transport/dpdk/life.c has them. */
#define TIMER_NS 500e3
#define TIMER_CAP_NS 20e6
#define TERMS 30u
#define BODY_BYTES 64u
#define BLOCK_CLASS 2u
#define FRAMES 128u
#define BURST 16u
#define LOSS_MAX 0.5
#define LIMIT_S 120u
/* The number in the body of the last message. */
#define LAST UINT64_MAX

struct settings {
    double loss;
    uint64_t ms;
};

struct flow {
    struct xp_side side;
    uint64_t now_ns;
    uint64_t messages;
    bool is_over;
};

/* The clock is part of the transport's work here: timers hang on it. */
static void take(struct flow *flow)
{
    struct xp_event events[BURST];
    uint32_t count;

    flow->now_ns = cf_now_ns();
    count = xp_poll(flow->side.xp, flow->now_ns, events, BURST);
    for (uint32_t i = 0; i < count; i++) {
        if (events[i].type == XP_EV_DOWN)
            flow->is_over = true;
        if (events[i].type != XP_EV_BLOCK && events[i].type != XP_EV_MESSAGE)
            continue;
        flow->messages++;
        if (events[i].type == XP_EV_BLOCK)
            xp_side_lend(&flow->side, BLOCK_CLASS);
        else if (*(const uint64_t *)events[i].message == LAST)
            flow->is_over = true;
    }
}

static void say(struct flow *flow, uint64_t number)
{
    while (!flow->is_over && !xp_side_send(&flow->side, BODY_BYTES, CF_BLOCK_SIZES, number))
        take(flow);
    xp_flush(flow->side.xp);
}

/* Rounds a second. */
static double ask(struct flow *flow, uint64_t ms)
{
    uint64_t began_ns = cf_now_ns(), rounds = 0;

    while (flow->now_ns < began_ns + ms * CF_NS_PER_MS && !flow->is_over) {
        uint64_t seen = flow->messages;

        say(flow, rounds++);
        while (flow->messages == seen && !flow->is_over)
            take(flow);
    }
    return (double)rounds * 1e9 / (double)(flow->now_ns - began_ns);
}

/* Blocks a second: what is on its way when time is over is a window, not more. */
static double stream(struct flow *flow, uint64_t ms)
{
    uint64_t began_ns = cf_now_ns(), blocks = 0;

    while (flow->now_ns < began_ns + ms * CF_NS_PER_MS && !flow->is_over) {
        for (uint32_t i = 0; i < BURST && xp_side_send(&flow->side, BODY_BYTES, BLOCK_CLASS, blocks); i++)
            blocks++;
        xp_flush(flow->side.xp);
        take(flow);
    }
    return (double)blocks * 1e9 / (double)(flow->now_ns - began_ns);
}

static void answer(struct flow *flow, bool is_stream)
{
    while (!flow->is_over) {
        uint64_t seen = flow->messages;

        take(flow);
        if (flow->messages != seen && !is_stream && !flow->is_over)
            say(flow, seen);
    }
}

static void side_run(uint16_t node, double loss, bool is_stream, uint64_t ms, double *rate_out)
{
    char address[64];
    struct flow flow = {.messages = 0};

    (void)alarm(LIMIT_S);
    bench_pin(node);
    snprintf(address, sizeof address, "dpdk:memif,loss=%g,seed=5", loss);
    xp_side_open(&flow.side, &(struct xp_side_options){address, node, FRAMES, false});
    if (node == 1) {
        answer(&flow, is_stream);
    } else {
        *rate_out = is_stream ? stream(&flow, ms) : ask(&flow, ms);
        say(&flow, LAST);
    }
    xp_close(&flow.side.xp);
}

/* 0: it was not run, and has been said why. */
static double measure(double loss, bool is_stream, uint64_t ms)
{
    double *rate = mmap(NULL, sizeof *rate, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0), value;
    pid_t pids[2];
    bool has_failed = false;

    if (rate == MAP_FAILED)
        exit(1);
    fflush(stdout);
    for (uint16_t node = 0; node < 2; node++) {
        pids[node] = fork();
        if (pids[node] == 0) {
            side_run(node, loss, is_stream, ms, rate);
            exit(0);
        }
        has_failed |= pids[node] < 0;
    }
    for (uint16_t node = 0; node < 2; node++) {
        int status = 0;

        has_failed |= waitpid(pids[node], &status, 0) != pids[node] || status != 0;
    }
    if (has_failed) {
        fprintf(stderr, "loss_curve: a side failed\n");
        exit(1);
    }
    value = *rate;
    munmap(rate, sizeof *rate);
    return value;
}

static double ask_theory(double rate, double loss)
{
    double wait_ns = 0, share = 1, timer_ns = TIMER_NS;

    for (uint32_t k = 0; k < TERMS; k++) {
        share *= loss;
        wait_ns += share * timer_ns;
        timer_ns = fmin(2 * timer_ns, TIMER_CAP_NS);
    }
    return 1e9 / (1e9 / rate + 2 * wait_ns);
}

static double stream_theory(double rate, double loss)
{
    return rate * (1 - loss);
}

static bool parse(struct settings *settings, int argc, char **argv)
{
    static const struct option names[] = {
        {"loss", required_argument, NULL, 'l'}, {"ms", required_argument, NULL, 'm'}, {0}};
    char *end;
    int name;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'l')
            settings->loss = strtod(optarg, &end);
        else if (name != 'm' || cf_parse_u64(optarg, &settings->ms) != 0)
            return false;
    }
    return settings->loss >= 0 && settings->loss <= LOSS_MAX && settings->ms >= 10 && settings->ms <= 10000;
}

int main(int argc, char **argv)
{
    struct settings settings = {.loss = 0.01, .ms = 1000};
    double ask_rate, stream_rate;

    if (!parse(&settings, argc, argv)) {
        fprintf(stderr, "loss_curve: --loss is 0 to %g, --ms 10 to 10000\n", LOSS_MAX);
        return 2;
    }
    if (!bench_has_two_cpus())
        return 0;
    ask_rate = measure(0, false, settings.ms);
    if (ask_rate == 0)
        return 0;
    stream_rate = measure(0, true, settings.ms);
    bench_figure("loss-ask", settings.loss > 0 ? measure(settings.loss, false, settings.ms) : ask_rate,
                 "1/s");
    bench_figure("loss-ask-theory", ask_theory(ask_rate, settings.loss), "1/s");
    bench_figure("loss-stream", settings.loss > 0 ? measure(settings.loss, true, settings.ms) : stream_rate,
                 "1/s");
    bench_figure("loss-stream-theory", stream_theory(stream_rate, settings.loss), "1/s");
    return 0;
}
