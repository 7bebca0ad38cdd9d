/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the dpdk provider cost over the device it runs on? Two pinned processes play ping-pong over
 * net_memif, in turns: bare, a loop over rte_eth_rx_burst and rte_eth_tx_burst that touches nothing, and the provider,
 * with its header, checksum, order, acknowledgement and credits. Also a request of 64 bytes answered by a block of 8 KiB,
 * and messages one way as fast as credits allow, beside bare frames one way.
 *
 *   dpdk_lat [--rounds N] [--repeats N] [--json FILE]
 *
 * Time is taken a chunk of rounds at a time and the median chunk is the figure of a repetition, so that a processor that is
 * taken away for milliseconds does not show.
 *
 * The bare reply is 8 KiB that nobody wrote or reads; the provider's is copied out of a frame and into one. The median
 * of the repetitions is reported, and the ratio provider / bare (rates: bare / provider), so below 1 is faster than bare.
 */
#include <getopt.h>
#include <libgen.h>
#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/json.h"
#include "bench/figures.h"
#include "transport/xp.h"

#define REPEATS_MAX 32u
#define WARM_UP 2000u
#define BLOCK_BYTES 8192u
#define FRAMES 64u
#define LENT 32u
#define BARE_BUFFERS 2047u
#define BARE_ROOM 9216u
#define SMALL 64u
#define RATE_WINDOW 32u
#define CHUNKS 1024u

enum what { ROUND_64, ROUND_BLOCK, RATE_64, WHATS };
static const char *const names[] = {"round trip 64 B", "64 B asked, 8 KiB answered", "one way 64 B"};
static const char *const figure_names[] = {"round-trip-64B", "answer-8KiB", "message-64B"};

struct shared {
    _Atomic uint32_t ready;
    _Atomic uint32_t listens;
    _Atomic uint64_t ns; /* of a round trip, or of a message */
};

struct options {
    uint32_t rounds;
    uint32_t repeats;
    const char *json;
    char directory[64];
};

/* Durations of chunks of `each` steps. */
struct chunks {
    uint64_t ns[CHUNKS];
    uint64_t began_ns;
    uint64_t each;
    uint64_t count;
};

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

static void chunks_begin(struct chunks *chunks, uint64_t steps)
{
    *chunks = (struct chunks){.began_ns = cf_now_ns(), .each = steps / CHUNKS};
}

/* `done` steps have been made in all. */
static void chunks_step(struct chunks *chunks, uint64_t done)
{
    uint64_t now;

    if (chunks->count == CHUNKS || done < (chunks->count + 1) * chunks->each)
        return;
    now = cf_now_ns();
    chunks->ns[chunks->count++] = now - chunks->began_ns;
    chunks->began_ns = now;
}

/* Picoseconds a step of the median chunk. */
static uint64_t chunks_median(struct chunks *chunks)
{
    cf_assert(chunks->count != 0);
    qsort(chunks->ns, chunks->count, sizeof(chunks->ns[0]), by_value);
    return chunks->ns[chunks->count / 2] * 1000 / chunks->each;
}

static void pin(int index)
{
    cpu_set_t set;
    long count = sysconf(_SC_NPROCESSORS_ONLN);

    CPU_ZERO(&set);
    CPU_SET((uint32_t)(count > 1 ? index : 0), &set);
    cf_assert(sched_setaffinity(0, sizeof(set), &set) == 0);
}

/* Both sides are connected: from here on it counts. */
static void meet(struct shared *shared)
{
    atomic_fetch_add(&shared->ready, 1);
    while (atomic_load(&shared->ready) < 2)
        cf_pause();
}

/* ------------------------------------------------------------------ bare */

static uint16_t bare_open(const struct options *options, int side, struct shared *shared,
                          struct rte_mempool **pool_out)
{
    char cores[32], args[160];
    const char *const words[] = {"dpdk_lat",     "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                                 "-m",           "128",       "--lcores",    cores,      "--log-level",
                                 "lib.eal:error"};
    char *argv[CF_COUNTOF(words) + 1] = {NULL};
    struct rte_eth_conf conf;
    struct rte_eth_link link = {.link_status = RTE_ETH_LINK_DOWN};
    uint16_t port;

    snprintf(cores, sizeof(cores), "0@%d", sysconf(_SC_NPROCESSORS_ONLN) > 1 ? side : 0);
    char path[96];

    /* Of the repetition before. */
    snprintf(path, sizeof(path), "%s/bare", options->directory);
    if (side == 0)
        unlink(path);
    for (uint32_t i = 0; i < CF_COUNTOF(words); i++)
        argv[i] = (char *)(uintptr_t)words[i];
    cf_assert(rte_eal_init((int)CF_COUNTOF(words), argv) >= 0);
    (void)rte_log_set_level_pattern("*", RTE_LOG_EMERG);
    snprintf(args, sizeof(args), "role=%s,socket=%s/bare,socket-abstract=no,bsize=%u,rsize=8",
             side == 0 ? "server" : "client", options->directory, BARE_ROOM);
    cf_assert(rte_eal_hotplug_add("vdev", "net_memif0", args) == 0);
    cf_assert(rte_eth_dev_get_port_by_name("net_memif0", &port) == 0);
    *pool_out = rte_pktmbuf_pool_create("bare", BARE_BUFFERS, 256, 0, BARE_ROOM + RTE_PKTMBUF_HEADROOM,
                                        SOCKET_ID_ANY);
    cf_assert(*pool_out != NULL);
    memset(&conf, 0, sizeof(conf));
    cf_assert(rte_eth_dev_configure(port, 1, 1, &conf) == 0);
    cf_assert(rte_eth_rx_queue_setup(port, 0, 256, SOCKET_ID_ANY, NULL, *pool_out) == 0);
    cf_assert(rte_eth_tx_queue_setup(port, 0, 256, SOCKET_ID_ANY, NULL) == 0);
    /* A client that calls before its server listens is turned away for good. */
    while (side == 1 && atomic_load(&shared->listens) == 0)
        usleep(1000);
    cf_assert(rte_eth_dev_start(port) == 0);
    if (side == 0)
        atomic_store(&shared->listens, 1);
    while (link.link_status != RTE_ETH_LINK_UP) {
        usleep(1000);
        cf_assert(rte_eth_link_get_nowait(port, &link) == 0);
    }
    return port;
}

static void bare_send(uint16_t port, struct rte_mempool *pool, uint32_t bytes)
{
    struct rte_mbuf *frame = rte_pktmbuf_alloc(pool);

    cf_assert(frame != NULL);
    frame->data_len = (uint16_t)bytes;
    frame->pkt_len = bytes;
    while (rte_eth_tx_burst(port, 0, &frame, 1) == 0)
        cf_pause();
}

static void bare_receive(uint16_t port)
{
    struct rte_mbuf *frames[32];
    uint16_t count;

    while ((count = rte_eth_rx_burst(port, 0, frames, 32)) == 0)
        cf_pause();
    rte_pktmbuf_free_bulk(frames, count);
}

static void bare_rate(uint16_t port, struct rte_mempool *pool, int side, const struct options *options,
                      struct shared *shared)
{
    uint64_t messages = (uint64_t)options->rounds * 20, done = 0;
    struct rte_mbuf *frames[32];
    struct chunks chunks;

    chunks_begin(&chunks, messages);
    while (done < messages) {
        if (side == 1) {
            uint16_t count = rte_eth_rx_burst(port, 0, frames, 32);

            rte_pktmbuf_free_bulk(frames, count);
            done += count;
            chunks_step(&chunks, done);
        } else if (rte_pktmbuf_alloc_bulk(pool, frames, 32) == 0) {
            uint16_t sent;

            for (uint32_t i = 0; i < 32; i++)
                frames[i]->pkt_len = frames[i]->data_len = SMALL;
            sent = rte_eth_tx_burst(port, 0, frames, 32);
            rte_pktmbuf_free_bulk(frames + sent, 32u - sent);
            done += sent;
        }
    }
    if (side == 1)
        atomic_store(&shared->ns, chunks_median(&chunks));
}

static void bare_run(const struct options *options, enum what what, int side, struct shared *shared)
{
    struct rte_mempool *pool;
    uint16_t port = bare_open(options, side, shared, &pool);
    uint32_t reply = what == ROUND_BLOCK ? BLOCK_BYTES : SMALL;
    struct chunks chunks = {.each = 1};

    meet(shared);
    if (what == RATE_64) {
        bare_rate(port, pool, side, options, shared);
    } else {
        for (uint32_t i = 0; i < options->rounds + WARM_UP; i++) {
            if (i == WARM_UP)
                chunks_begin(&chunks, options->rounds);
            if (i > WARM_UP)
                chunks_step(&chunks, i - WARM_UP);
            if (side == 0)
                bare_send(port, pool, SMALL);
            bare_receive(port);
            if (side == 1)
                bare_send(port, pool, reply);
        }
        if (side == 0)
            atomic_store(&shared->ns, chunks_median(&chunks));
    }
    meet(shared + 1); /* memif takes the rings away under a peer that still uses them */
}

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
    const uint64_t words_bytes = 4096, bytes = words_bytes + (uint64_t)FRAMES * BLOCK_BYTES;
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
    side->space.classes[2] = (struct xp_frame_class){
        .first = 0, .count = FRAMES, .bytes = BLOCK_BYTES, .offset = words_bytes};
    cf_assert(xp_start(side->xp, &side->space, &error) == CF_OK);
    for (uint32_t i = 0; i < LENT; i++)
        xp_frame_post(side->xp, 2, LENT + i);
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
            xp_frame_post(side->xp, 2, events[i].frame);
        messages += events[i].type >= XP_EV_MESSAGE;
    }
    side->received += messages;
    return messages;
}

static bool send_one(struct side *side, uint16_t to, bool has_block)
{
    void *body = xp_begin(side->xp, to, has_block ? XP_DATA : XP_CONTROL, SMALL);

    if (body == NULL)
        return false;
    memset(body, 1, SMALL);
    if (has_block)
        xp_post_block(side->xp, to, XP_DATA, 1, 0, side->next_frame++ % LENT);
    else
        xp_post(side->xp, to, XP_CONTROL, 1, 0);
    return true;
}

static void rate(struct side *side, int node, const struct options *options, struct shared *shared)
{
    uint64_t messages = (uint64_t)options->rounds * 20, sent = 0;
    struct chunks chunks;

    chunks_begin(&chunks, messages);
    while (node == 0 ? sent < messages : side->received < messages) {
        (void)turn(side);
        chunks_step(&chunks, side->received);
        for (uint32_t i = 0; node == 0 && i < RATE_WINDOW && sent < messages && send_one(side, 1, false); i++)
            sent++;
        if (node == 0)
            xp_flush(side->xp);
    }
    if (node == 1)
        atomic_store(&shared->ns, chunks_median(&chunks));
}

static void provider_run(const struct options *options, enum what what, int node, struct shared *shared)
{
    uint16_t other = (uint16_t)(1 - node);
    struct chunks chunks = {.each = 1};
    struct side side;

    xp_side_open(&side, options, node);
    while (!xp_is_up(side.xp, other))
        (void)turn(&side);
    (void)turn(&side);
    meet(shared);
    side.received = 0;
    if (what == RATE_64) {
        rate(&side, node, options, shared);
    } else {
        for (uint32_t i = 0; i < options->rounds + WARM_UP; i++) {
            if (i == WARM_UP)
                chunks_begin(&chunks, options->rounds);
            if (i > WARM_UP)
                chunks_step(&chunks, i - WARM_UP);
            if (node == 0)
                cf_assert(send_one(&side, other, false));
            xp_flush(side.xp);
            while (turn(&side) == 0)
                cf_pause();
            if (node == 1)
                cf_assert(send_one(&side, other, what == ROUND_BLOCK));
        }
        xp_flush(side.xp);
        if (node == 0)
            atomic_store(&shared->ns, chunks_median(&chunks));
    }
    if (getenv("DPDK_LAT_DESCRIBE") != NULL) {
        char text[2048];

        (void)xp_describe(side.xp, text, sizeof(text));
        fprintf(stderr, "%s", text);
    }
    xp_close(&side.xp);
}

/* ------------------------------------------------------------------ turns */

typedef void run_fn(const struct options *options, enum what what, int side, struct shared *shared);

/* Two processes; the figure in picoseconds. */
static uint64_t pair_run(const struct options *options, run_fn *fn, enum what what)
{
    struct shared *shared = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    uint64_t ns;
    pid_t pids[2];

    cf_assert(shared != MAP_FAILED);
    for (int side = 0; side < 2; side++) {
        pids[side] = fork();
        cf_assert(pids[side] >= 0);
        if (pids[side] == 0) {
            alarm(60);
            pin(side);
            fn(options, what, side, shared);
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
    ns = atomic_load(&shared->ns);
    munmap(shared, 4096);
    return ns;
}

static double median(uint64_t *values, uint32_t count)
{
    qsort(values, count, sizeof(*values), by_value);
    return (double)values[count / 2] / 1000;
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
    if (options->rounds < CHUNKS || options->repeats == 0 || options->repeats > REPEATS_MAX) {
        fprintf(stderr, "dpdk_lat: at least %u rounds, 1 to %u repeats\n", CHUNKS, REPEATS_MAX);
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

static void write_json(const struct options *options, double figures[WHATS][2])
{
    FILE *file = fopen(options->json, "we");

    if (file == NULL) {
        perror(options->json);
        exit(1);
    }
    fprintf(file, "{");
    for (uint32_t w = 0; w < WHATS; w++)
        fprintf(file, "%s\n  \"%s\": {\"bare_ns\": %.1f, \"provider_ns\": %.1f, \"ratio\": %.3f}",
                w != 0 ? "," : "", names[w], figures[w][0], figures[w][1], figures[w][1] / figures[w][0]);
    fprintf(file, "\n}\n");
    if (fclose(file) != 0)
        exit(1);
}

int main(int argc, char **argv)
{
    struct options options = {.rounds = 100000, .repeats = 5};
    double figures[WHATS][2];
    char figure[64];

    arguments(argc, argv, &options);
    find_module();
    snprintf(options.directory, sizeof(options.directory), "/tmp/dpdk_lat.XXXXXX");
    cf_assert(mkdtemp(options.directory) != NULL);
    printf("%-28s %10s %10s %8s   provider / bare of each repetition\n", "", "bare ns", "provider", "ratio");
    for (uint32_t w = 0; w < WHATS; w++) {
        uint64_t bare[REPEATS_MAX] = {0}, ours[REPEATS_MAX] = {0};

        for (uint32_t r = 0; r < options.repeats; r++) {
            bare[r] = pair_run(&options, bare_run, (enum what)w);
            ours[r] = pair_run(&options, provider_run, (enum what)w);
        }
        printf("%-28s", names[w]);
        char each[REPEATS_MAX * 8] = "";
        for (uint32_t r = 0; r < options.repeats; r++)
            snprintf(each + strlen(each), sizeof(each) - strlen(each), " %.2f",
                     (double)ours[r] / (double)bare[r]);
        figures[w][0] = median(bare, options.repeats);
        figures[w][1] = median(ours, options.repeats);
        printf(" %10.1f %10.1f %8.2f  %s\n", figures[w][0], figures[w][1], figures[w][1] / figures[w][0],
               each);
        snprintf(figure, sizeof figure, "dpdk-%s", figure_names[w]);
        bench_figure(figure, figures[w][1], "ns");
        snprintf(figure, sizeof figure, "bare-%s", figure_names[w]);
        bench_figure(figure, figures[w][0], "ns");
    }
    if (options.json != NULL)
        write_json(&options, figures);
    char path[96];
    snprintf(path, sizeof(path), "%s/bare", options.directory);
    unlink(path);
    (void)rmdir(options.directory);
    return 0;
}
