/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the dpdk provider cost over the device it runs on? Two pinned processes play ping-pong over
 * net_memif, in turns: bare, a loop over rte_eth_rx_burst and rte_eth_tx_burst that carries the same payload in frames of
 * UDP; the same loop over frames that nobody writes or reads; and the provider, with its header, checksum, order,
 * acknowledgement and credits. Also a request of 64 bytes answered by a block of 8 KiB, and messages of 64 bytes one way
 * as fast as credits allow, beside bare frames one way.
 *
 *   dpdk_lat [--rounds N] [--repeats N] [--json FILE]
 *
 * The median of the repetitions is reported, and the ratio provider / bare of each turn, so below 1 is faster than bare.
 */
#include <getopt.h>
#include <libgen.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "bench/bare_memif.h"
#include "bench/chunks.h"
#include "bench/figures.h"
#include "transport/xp.h"

#define REPEATS_MAX 32u
#define WARM_UP 2000u
#define FRAMES 64u
#define LENT 32u
#define BLOCK_CLASS 2u
#define RATE_WINDOW 32u
#define RATE_FACTOR 20u
#define LIMIT_S 60u

static const struct subject {
    const char *text, *figure;
} subjects[] = {[BARE_ROUND] = {"round trip 64 B", "round-trip-64B"},
                [BARE_ROUND_BLOCK] = {"64 B asked, 8 KiB answered", "answer-8KiB"},
                [BARE_RATE] = {"one way 64 B", "message-64B"}};

enum runner { BARE, UNTOUCHED, PROVIDER, RUNNERS };

struct options {
    uint32_t rounds;
    uint32_t repeats;
    const char *json;
    char directory[64];
};

/* ------------------------------------------------------------------ the provider */

struct side {
    struct xp *xp;
    struct xp_frame_space space;
    uint32_t next_frame;
    uint64_t received;
    uint64_t now_ns;
    uint32_t turns;
};

static void xp_side_open(struct side *side, const struct options *options, int node)
{
    const uint64_t words_bytes = 4096, bytes = words_bytes + (uint64_t)FRAMES * BARE_BLOCK_BYTES;
    char address[80];
    struct xp_options xp = {.address = address,
                            .node = (uint16_t)node,
                            .incarnation = 1,
                            .nodes = 2,
                            .cluster = "bench",
                            .secret = "secret",
                            .epoch = 1,
                            .lane_slots = 256,
                            .peer_timeout_ns = CF_NS_PER_S,
                            .busy = true};
    struct cf_error error = {.rc = CF_OK};
    void *memory;

    memset(side, 0, sizeof(*side));
    snprintf(address, sizeof(address), "dpdk:memif:%s", options->directory);
    if (xp_open(&xp, &side->xp, &error) != CF_OK || xp_memory(side->xp, bytes, 0, &memory, &error) != CF_OK) {
        fprintf(stderr, "dpdk_lat: %s\n", error.text);
        exit(1);
    }
    side->space = (struct xp_frame_space){
        .base = memory, .bytes = bytes, .words = memory, .words_stable_mask = UINT64_MAX, .count = FRAMES};
    side->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
        .first = 0, .count = FRAMES, .bytes = BARE_BLOCK_BYTES, .offset = words_bytes};
    cf_assert(xp_start(side->xp, &side->space, &error) == CF_OK);
    for (uint32_t i = 0; i < LENT; i++)
        xp_frame_post(side->xp, BLOCK_CLASS, LENT + i);
}

/* Polls once; counts messages, gives frames back. */
static uint32_t turn(struct side *side)
{
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t count, messages = 0;

    /* As the engine does: the clock is read once in so many turns. */
    if (side->turns++ % 8 == 0)
        side->now_ns = cf_now_ns();
    count = xp_poll(side->xp, side->now_ns, events, XP_EVENTS_MAX);

    for (uint32_t i = 0; i < count; i++) {
        if (events[i].type == XP_EV_HELLO)
            xp_accept(side->xp, events[i].node, CF_OK, "");
        if (events[i].type == XP_EV_BLOCK)
            xp_frame_post(side->xp, BLOCK_CLASS, events[i].frame);
        messages += events[i].type >= XP_EV_MESSAGE;
    }
    side->received += messages;
    return messages;
}

static bool send_one(struct side *side, uint16_t to, bool has_block)
{
    void *body = xp_begin(side->xp, to, has_block ? XP_DATA : XP_CONTROL, BARE_SMALL_BYTES);

    if (body == NULL)
        return false;
    memset(body, 1, BARE_SMALL_BYTES);
    if (has_block)
        xp_post_block(side->xp, to, XP_DATA, 1, 0, side->next_frame++ % LENT);
    else
        xp_post(side->xp, to, XP_CONTROL, 1, 0);
    return true;
}

static uint64_t rate(struct side *side, int node, const struct options *options)
{
    uint64_t messages = (uint64_t)options->rounds * RATE_FACTOR, sent = 0;
    struct bench_chunks chunks;

    bench_chunks_begin(&chunks, messages);
    while (node == 0 ? sent < messages : side->received < messages) {
        (void)turn(side);
        for (uint32_t i = 0; node == 0 && i < RATE_WINDOW && sent < messages && send_one(side, 1, false); i++)
            sent++;
        if (node == 0)
            xp_flush(side->xp);
        bench_chunks_step(&chunks, node == 0 ? sent : side->received);
    }
    return bench_chunks_median(&chunks);
}

static uint64_t ping_pong(struct side *side, int node, const struct options *options, bool has_block)
{
    uint16_t other = (uint16_t)(1 - node);
    struct bench_chunks chunks;

    for (uint32_t i = 0; i < options->rounds + WARM_UP; i++) {
        if (i == WARM_UP)
            bench_chunks_begin(&chunks, options->rounds);
        if (i > WARM_UP)
            bench_chunks_step(&chunks, i - WARM_UP);
        if (node == 0)
            cf_assert(send_one(side, other, false));
        xp_flush(side->xp);
        while (turn(side) == 0)
            cf_pause();
        if (node == 1)
            cf_assert(send_one(side, other, has_block));
    }
    xp_flush(side->xp);
    return bench_chunks_median(&chunks);
}

static void provider_run(const struct options *options, enum bare_what what, int node,
                         struct bare_shared *shared)
{
    int teller = what == BARE_RATE ? 1 : 0;
    struct side side;
    uint64_t ps;

    xp_side_open(&side, options, node);
    while (!xp_is_up(side.xp, (uint16_t)(1 - node)))
        (void)turn(&side);
    (void)turn(&side);
    bare_meet(&shared->met);
    side.received = 0;
    ps = what == BARE_RATE ? rate(&side, node, options)
                           : ping_pong(&side, node, options, what == BARE_ROUND_BLOCK);
    if (node == teller)
        atomic_store(&shared->ps, ps);
    if (getenv("DPDK_LAT_DESCRIBE") != NULL) {
        char text[2048];

        (void)xp_describe(side.xp, text, sizeof(text));
        fprintf(stderr, "%s", text);
    }
    xp_close(&side.xp);
}

/* ------------------------------------------------------------------ turns */

static void side_run(const struct options *options, enum runner runner, enum bare_what what, int side,
                     struct bare_shared *shared)
{
    struct bare_options bare = {.directory = options->directory,
                                .what = what,
                                .is_touched = runner == BARE,
                                .side = side,
                                .warm_up = WARM_UP,
                                .rounds = what == BARE_RATE ? (uint64_t)options->rounds * RATE_FACTOR
                                                            : options->rounds};

    (void)alarm(LIMIT_S);
    bench_pin(side);
    if (runner == PROVIDER)
        provider_run(options, what, side, shared);
    else
        bare_memif_run(&bare, shared);
}

/* Two processes; the figure in nanoseconds. */
static double pair_run(const struct options *options, enum runner runner, enum bare_what what)
{
    struct bare_shared *shared = mmap(NULL, sizeof(*shared), PROT_READ | PROT_WRITE,
                                      MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    double ns;
    pid_t pids[2];

    cf_assert(shared != MAP_FAILED);
    fflush(stdout);
    for (int side = 0; side < 2; side++) {
        pids[side] = fork();
        cf_assert(pids[side] >= 0);
        if (pids[side] == 0) {
            side_run(options, runner, what, side, shared);
            _exit(0);
        }
    }
    for (int side = 0; side < 2; side++) {
        int status;

        cf_assert(waitpid(pids[side], &status, 0) == pids[side]);
        if (status != 0) {
            fprintf(stderr, "dpdk_lat: a process ended with status %d\n", status);
            exit(1);
        }
    }
    ns = (double)atomic_load(&shared->ps) / 1000;
    munmap(shared, sizeof(*shared));
    return ns;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

static double median(const double *values, uint32_t count)
{
    double sorted[REPEATS_MAX];

    memcpy(sorted, values, count * sizeof(*values));
    qsort(sorted, count, sizeof(*sorted), by_size);
    return sorted[count / 2];
}

struct figures {
    double ns[RUNNERS];
    double ratio; /* median of turns */
};

static void measure(const struct options *options, enum bare_what what, struct figures *figures_out)
{
    static const char *const prefixes[RUNNERS] = {"bare", "untouched", "dpdk"};
    double ns[RUNNERS][REPEATS_MAX], ratios[REPEATS_MAX];
    char name[64];

    for (uint32_t r = 0; r < options->repeats; r++) {
        for (uint32_t i = 0; i < RUNNERS; i++)
            ns[i][r] = pair_run(options, (enum runner)i, what);
        ratios[r] = ns[PROVIDER][r] / ns[BARE][r];
    }
    for (uint32_t i = 0; i < RUNNERS; i++)
        figures_out->ns[i] = median(ns[i], options->repeats);
    figures_out->ratio = median(ratios, options->repeats);
    printf("%-28s %10.1f %10.1f %10.1f %8.2f  ", subjects[what].text, figures_out->ns[UNTOUCHED],
           figures_out->ns[BARE], figures_out->ns[PROVIDER], figures_out->ratio);
    for (uint32_t r = 0; r < options->repeats; r++)
        printf(" %.2f", ratios[r]);
    printf("\n");
    for (uint32_t i = 0; i < RUNNERS; i++) {
        snprintf(name, sizeof name, "%s-%s", prefixes[i], subjects[what].figure);
        bench_figure(name, figures_out->ns[i], "ns");
    }
    snprintf(name, sizeof name, "ratio-%s", subjects[what].figure);
    bench_figure(name, figures_out->ratio, "x");
}

static void arguments(int argc, char **argv, struct options *options)
{
    static const struct option longs[] = {{"rounds", required_argument, NULL, 'r'},
                                          {"repeats", required_argument, NULL, 'n'},
                                          {"json", required_argument, NULL, 'j'},
                                          {NULL, 0, NULL, 0}};
    int c;

    while ((c = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (c == 'r')
            options->rounds = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'n')
            options->repeats = (uint32_t)strtoul(optarg, NULL, 10);
        else if (c == 'j')
            options->json = optarg;
        else
            exit(2);
    }
    if (options->rounds < BENCH_CHUNKS || options->repeats == 0 || options->repeats > REPEATS_MAX) {
        fprintf(stderr, "dpdk_lat: at least %u rounds, 1 to %u repeats\n", BENCH_CHUNKS, REPEATS_MAX);
        exit(2);
    }
}

/* In a build the module lies one directory above the benchmarks; installed ones are told by `cachefusion bench`. */
static void find_module(void)
{
    char path[1024], directory[1040], module[1100];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);

    cf_assert(bytes > 0);
    path[bytes] = 0;
    snprintf(directory, sizeof(directory), "%s/..", dirname(path));
    snprintf(module, sizeof(module), "%s/libcachefusion-dpdk.so", directory);
    if (access(module, R_OK) == 0)
        cf_assert(setenv("CACHEFUSION_MODULES", directory, 0) == 0);
}

static void write_json(const struct options *options, const struct figures *figures)
{
    FILE *file = fopen(options->json, "we");

    if (file == NULL) {
        perror(options->json);
        exit(1);
    }
    fprintf(file, "{");
    for (uint32_t w = 0; w < CF_COUNTOF(subjects); w++)
        fprintf(file,
                "%s\n  \"%s\": {\"untouched_ns\": %.1f, \"bare_ns\": %.1f, \"provider_ns\": %.1f, \"ratio\": "
                "%.3f}",
                w != 0 ? "," : "", subjects[w].text, figures[w].ns[UNTOUCHED], figures[w].ns[BARE],
                figures[w].ns[PROVIDER], figures[w].ratio);
    fprintf(file, "\n}\n");
    if (fclose(file) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    struct options options = {.rounds = 100000, .repeats = 5};
    struct figures figures[CF_COUNTOF(subjects)];
    char path[96];

    arguments(argc, argv, &options);
    if (!bench_has_two_cpus())
        return 0;
    find_module();
    snprintf(options.directory, sizeof(options.directory), "/tmp/dpdk_lat.XXXXXX");
    cf_assert(mkdtemp(options.directory) != NULL);
    printf("%-28s %10s %10s %10s %8s   provider / bare of each repetition\n", "", "untouched", "bare ns",
           "provider", "ratio");
    for (uint32_t w = 0; w < CF_COUNTOF(subjects); w++)
        measure(&options, (enum bare_what)w, &figures[w]);
    if (options.json != NULL)
        write_json(&options, figures);
    snprintf(path, sizeof(path), "%s/bare", options.directory);
    unlink(path);
    (void)rmdir(options.directory);
    return 0;
}
