/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does it take to fetch a block of 8 KiB in two hops over verbs, a small request one way and a block
 * back, and how many blocks a second come when 32 requests are under way? Two processes, pinned, poll without pause.
 * scripts/bench-rdma sets the figures beside ib_send_lat and ib_send_bw in the same run.
 *
 *   verbs_fetch [--address verbs:] [--rounds N] [--depth N]    prints: p50_us P blocks_a_s B megabytes_a_s M
 */
#include <getopt.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/clock.h"
#include "bench/figures.h"
#include "transport/xp.h"

#define BLOCK_CLASS 2u
#define BLOCK_BYTES (4u * CF_BLOCK_BYTES_MIN)
#define FRAMES 256u
#define LENT 64u
#define REQUEST_BYTES 64u
#define TYPE 3u
#define ROUNDS_MAX 100000u
#define WARM_UP 50u
#define LIMIT_NS (120 * CF_NS_PER_S)

struct settings {
    const char *address;
    uint32_t rounds;
    uint32_t depth;
};

struct side {
    struct xp *xp;
    struct xp_frame_space space;
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t next_frame; /* the server's next to be sent */
    bool is_up;
    bool is_over;
};

static void stop(const char *what)
{
    fprintf(stderr, "verbs_fetch: %s\n", what);
    exit(3);
}

/* Where all benchmarks are run in turn, one that has nothing to run on is no failure. */
static void leave_without_device(const struct settings *settings)
{
    struct xp_options options = {.address = settings->address,
                                 .nodes = 2,
                                 .cluster = "verbs-fetch",
                                 .secret = "a benchmark on one host",
                                 .lane_slots = 2};
    struct cf_error error = {.rc = 0};
    struct xp *xp = NULL;

    if (xp_open(&options, &xp, &error) == CF_NOT_FOUND) {
        printf("not run: %s\n", error.text);
        exit(0);
    }
    xp_close(&xp);
}

static void side_open(struct side *side, const struct settings *settings, uint16_t node)
{
    struct xp_options options = {.address = settings->address,
                                 .node = node,
                                 .incarnation = 1,
                                 .nodes = 2,
                                 .cluster = "verbs-fetch",
                                 .secret = "a benchmark on one host",
                                 .epoch = 1,
                                 .lane_slots = 256,
                                 .peer_timeout_ns = 5 * CF_NS_PER_S,
                                 .busy = true};
    uint64_t words_bytes = 4096;
    struct cf_error error = {.rc = 0};
    cpu_set_t cpus;
    void *memory;

    CPU_ZERO(&cpus);
    CPU_SET(node, &cpus);
    (void)sched_setaffinity(0, sizeof(cpus), &cpus); /* one processor only: both share it */
    memset(side, 0, sizeof(*side));
    if (xp_open(&options, &side->xp, &error) != CF_OK ||
        xp_memory(side->xp, words_bytes + FRAMES * (uint64_t)BLOCK_BYTES, CF_ALLOC_HUGE, &memory, &error) !=
            CF_OK)
        stop(error.text);
    side->space = (struct xp_frame_space){.base = memory,
                                          .bytes = words_bytes + FRAMES * (uint64_t)BLOCK_BYTES,
                                          .words = memory,
                                          .count = FRAMES};
    side->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
        .count = FRAMES, .bytes = BLOCK_BYTES, .offset = words_bytes};
    if (xp_start(side->xp, &side->space, &error) != CF_OK)
        stop(error.text);
    for (uint32_t i = 0; i < LENT; i++)
        xp_frame_post(side->xp, BLOCK_CLASS, i);
}

static bool request(struct side *side, uint64_t number)
{
    uint8_t *body = xp_begin(side->xp, 0, XP_CONTROL, REQUEST_BYTES);

    if (body == NULL)
        return false;
    memset(body, 0, REQUEST_BYTES);
    xp_post(side->xp, 0, XP_CONTROL, TYPE, number);
    return true;
}

static void reply(struct side *side, uint64_t number)
{
    uint32_t frame = LENT + side->next_frame++ % (FRAMES - LENT);
    uint8_t *body = xp_begin(side->xp, 1, XP_DATA, REQUEST_BYTES);

    if (body == NULL)
        stop("a reply finds no credit"); /* the requests under way are far fewer */
    memset(body, 0, REQUEST_BYTES);
    xp_post_block(side->xp, 1, XP_DATA, TYPE, number, frame);
}

/* Polls; the number of blocks that came. The server answers. */
static uint32_t turn(struct side *side, bool is_server)
{
    uint32_t count = xp_poll(side->xp, cf_now_ns(), side->events, XP_EVENTS_MAX), blocks = 0;

    for (uint32_t i = 0; i < count; i++) {
        const struct xp_event *event = &side->events[i];

        if (event->type == XP_EV_HELLO)
            xp_accept(side->xp, event->node, CF_OK, "");
        else if (event->type == XP_EV_UP)
            side->is_up = true;
        else if (event->type == XP_EV_DOWN)
            side->is_over = true;
        else if (event->type == XP_EV_MESSAGE && is_server)
            reply(side, event->header->scn);
        else if (event->type == XP_EV_TORN && !request(side, event->header->scn))
            stop("a request finds no credit");
        else if (event->type == XP_EV_BLOCK) {
            xp_frame_post(side->xp, BLOCK_CLASS, event->frame);
            blocks++;
        }
    }
    xp_flush(side->xp);
    return blocks;
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static double p50_us(struct side *side, uint32_t rounds)
{
    static uint64_t took_ns[ROUNDS_MAX];

    for (uint32_t i = 0; i < WARM_UP + rounds; i++) {
        uint64_t began_ns = cf_now_ns();

        if (!request(side, i + 1))
            stop("a request finds no credit");
        xp_flush(side->xp);
        while (turn(side, false) == 0)
            if (side->is_over || cf_now_ns() - began_ns > LIMIT_NS)
                stop("no answer");
        if (i >= WARM_UP)
            took_ns[i - WARM_UP] = cf_now_ns() - began_ns;
    }
    qsort(took_ns, rounds, sizeof(took_ns[0]), by_value);
    return (double)took_ns[rounds / 2] / 1000.0;
}

static double blocks_a_second(struct side *side, uint32_t rounds, uint32_t depth)
{
    uint64_t began_ns = cf_now_ns();
    uint32_t asked = 0, came = 0;

    while (came < rounds) {
        while (asked < rounds && asked - came < depth && request(side, asked + 1))
            asked++;
        xp_flush(side->xp);
        came += turn(side, false);
        if (side->is_over || cf_now_ns() - began_ns > LIMIT_NS)
            stop("no answer");
    }
    return (double)rounds * 1e9 / (double)(cf_now_ns() - began_ns);
}

static void serve(const struct settings *settings)
{
    struct side side;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    side_open(&side, settings, 0);
    while (!side.is_over)
        (void)turn(&side, true);
    xp_close(&side.xp);
    exit(0);
}

int main(int argc, char **argv)
{
    static const struct option options[] = {{"address", required_argument, NULL, 'a'},
                                            {"rounds", required_argument, NULL, 'r'},
                                            {"depth", required_argument, NULL, 'd'},
                                            {0}};
    struct settings settings = {.address = "verbs:", .rounds = 2000, .depth = 32};
    struct side side;
    double p50, rate;
    pid_t server;
    int option;

    while ((option = getopt_long(argc, argv, "", options, NULL)) != -1) {
        if (option == 'a')
            settings.address = optarg;
        else if (option == 'r')
            settings.rounds = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'd')
            settings.depth = (uint32_t)strtoul(optarg, NULL, 10);
        else
            return 2;
    }
    if (settings.rounds == 0 || settings.rounds > ROUNDS_MAX || settings.depth == 0 ||
        settings.depth > LENT) {
        fprintf(stderr, "verbs_fetch: --rounds from 1 to %u, --depth from 1 to %u\n", ROUNDS_MAX, LENT);
        return 2;
    }
    leave_without_device(&settings);
    server = fork();
    if (server == 0)
        serve(&settings);
    side_open(&side, &settings, 1);
    while (!side.is_up)
        (void)turn(&side, false);
    p50 = p50_us(&side, settings.rounds);
    rate = blocks_a_second(&side, settings.rounds, settings.depth);
    printf("p50_us %.1f blocks_a_s %.0f megabytes_a_s %.2f\n", p50, rate, rate * BLOCK_BYTES / 1e6);
    bench_figure("fetch-8KiB", p50 * 1000, "ns");
    bench_figure("stream-8KiB", rate, "block/s");
    xp_close(&side.xp);
    return waitpid(server, NULL, 0) == server ? 0 : 3;
}
