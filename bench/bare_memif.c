/* SPDX-License-Identifier: Apache-2.0 */
#include "bench/bare_memif.h"

#include <rte_bus_vdev.h>
#include <rte_eal.h>
#include <rte_ethdev.h>
#include <rte_log.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/compiler.h"
#include "bench/chunks.h"
#include "bench/figures.h"

#define BUFFERS 2047u
#define BUFFER_BYTES 9216u
#define BURST 32u
#define FRAMES 32u
#define FRONT_BYTES 42u
#define PORT 53175u
#define SLOTS 256u

struct bare {
    const struct bare_options *options;
    uint16_t port;
    struct rte_mempool *pool;
    uint8_t front[FRONT_BYTES];
    uint8_t *memory; /* FRAMES to send, FRAMES to receive into */
    uint32_t next;
    uint64_t seen; /* of the bytes received, so that they are received */
};

void bare_meet(_Atomic uint32_t *count)
{
    atomic_fetch_add(count, 1);
    while (atomic_load(count) < 2)
        cf_pause();
}

static void eal_start(int side)
{
    char cores[32];
    const char *const words[] = {"bare_memif",   "--no-huge", "--no-shconf", "--no-pci", "--no-telemetry",
                                 "-m",           "128",       "--lcores",    cores,      "--log-level",
                                 "lib.eal:error"};
    char *argv[CF_COUNTOF(words) + 1] = {NULL};

    snprintf(cores, sizeof(cores), "0@%d", sysconf(_SC_NPROCESSORS_ONLN) > 1 ? bench_cpu(side) : 0);
    for (uint32_t i = 0; i < CF_COUNTOF(words); i++)
        argv[i] = (char *)(uintptr_t)words[i];
    cf_assert(rte_eal_init((int)CF_COUNTOF(words), argv) >= 0);
    (void)rte_log_set_level_pattern("*", RTE_LOG_EMERG);
}

static void port_start(struct bare *bare, struct bare_shared *shared)
{
    struct rte_eth_link link = {.link_status = RTE_ETH_LINK_DOWN};
    int side = bare->options->side;

    /* A client that calls before its server listens is turned away for good. */
    while (side == 1 && atomic_load(&shared->listens) == 0)
        usleep(1000);
    cf_assert(rte_eth_dev_start(bare->port) == 0);
    if (side == 0)
        atomic_store(&shared->listens, 1);
    while (link.link_status != RTE_ETH_LINK_UP) {
        usleep(1000);
        cf_assert(rte_eth_link_get_nowait(bare->port, &link) == 0);
    }
}

static void bare_open(struct bare *bare, const struct bare_options *options, struct bare_shared *shared)
{
    char args[160], path[96];
    struct rte_eth_conf conf;

    *bare = (struct bare){.options = options};
    /* Of the repetition before. */
    snprintf(path, sizeof(path), "%s/bare", options->directory);
    if (options->side == 0)
        unlink(path);
    eal_start(options->side);
    snprintf(args, sizeof(args), "role=%s,socket=%s,socket-abstract=no,bsize=%u,rsize=8",
             options->side == 0 ? "server" : "client", path, BUFFER_BYTES);
    cf_assert(rte_eal_hotplug_add("vdev", "net_memif0", args) == 0);
    cf_assert(rte_eth_dev_get_port_by_name("net_memif0", &bare->port) == 0);
    bare->pool = rte_pktmbuf_pool_create("bare", BUFFERS, 256, 0, BUFFER_BYTES + RTE_PKTMBUF_HEADROOM,
                                         SOCKET_ID_ANY);
    bare->memory = calloc(2 * FRAMES, BARE_BLOCK_BYTES);
    cf_assert(bare->pool != NULL && bare->memory != NULL);
    memset(bare->memory, 1, (size_t)2 * FRAMES * BARE_BLOCK_BYTES);
    memset(bare->front, 0xff, 12);
    bare->front[12] = 8;
    bare->front[14] = 0x45;
    bare->front[36] = PORT >> 8;
    bare->front[37] = PORT & 0xff;
    memset(&conf, 0, sizeof(conf));
    cf_assert(rte_eth_dev_configure(bare->port, 1, 1, &conf) == 0);
    cf_assert(rte_eth_rx_queue_setup(bare->port, 0, SLOTS, SOCKET_ID_ANY, NULL, bare->pool) == 0);
    cf_assert(rte_eth_tx_queue_setup(bare->port, 0, SLOTS, SOCKET_ID_ANY, NULL) == 0);
    port_start(bare, shared);
}

static uint8_t *frame_next(struct bare *bare, bool is_received)
{
    uint32_t frame = bare->next++ % FRAMES + (is_received ? FRAMES : 0);

    return bare->memory + (size_t)frame * BARE_BLOCK_BYTES;
}

static void fill(struct bare *bare, struct rte_mbuf *frame, uint32_t payload_bytes)
{
    uint8_t *at = rte_pktmbuf_mtod(frame, uint8_t *);

    frame->data_len = (uint16_t)(payload_bytes + (bare->options->is_touched ? FRONT_BYTES : 0));
    frame->pkt_len = frame->data_len;
    if (!bare->options->is_touched)
        return;
    memcpy(at, bare->front, FRONT_BYTES);
    memset(at + FRONT_BYTES, 1, BARE_SMALL_BYTES);
    if (payload_bytes > BARE_SMALL_BYTES)
        memcpy(at + FRONT_BYTES + BARE_SMALL_BYTES, frame_next(bare, false), BARE_BLOCK_BYTES);
}

static void look(struct bare *bare, struct rte_mbuf *frame)
{
    const uint8_t *at = rte_pktmbuf_mtod(frame, const uint8_t *);
    uint8_t body[BARE_SMALL_BYTES];

    if (!bare->options->is_touched)
        return;
    cf_assert(at[12] == 8 && at[13] == 0 && at[36] == PORT >> 8 && at[37] == (PORT & 0xff));
    memcpy(body, at + FRONT_BYTES, sizeof(body));
    for (uint32_t i = 0; i < sizeof(body); i++)
        bare->seen += body[i];
    if (frame->data_len > FRONT_BYTES + BARE_SMALL_BYTES)
        memcpy(frame_next(bare, true), at + FRONT_BYTES + BARE_SMALL_BYTES, BARE_BLOCK_BYTES);
}

static void send_one(struct bare *bare, uint32_t payload_bytes)
{
    struct rte_mbuf *frame = rte_pktmbuf_alloc(bare->pool);

    cf_assert(frame != NULL);
    fill(bare, frame, payload_bytes);
    while (rte_eth_tx_burst(bare->port, 0, &frame, 1) == 0)
        cf_pause();
}

static uint16_t receive(struct bare *bare)
{
    struct rte_mbuf *frames[BURST];
    uint16_t count = rte_eth_rx_burst(bare->port, 0, frames, BURST);

    for (uint16_t i = 0; i < count; i++)
        look(bare, frames[i]);
    rte_pktmbuf_free_bulk(frames, count);
    return count;
}

static uint16_t send_many(struct bare *bare)
{
    struct rte_mbuf *frames[BURST];
    uint16_t sent;

    if (rte_pktmbuf_alloc_bulk(bare->pool, frames, BURST) != 0)
        return 0;
    for (uint32_t i = 0; i < BURST; i++)
        fill(bare, frames[i], BARE_SMALL_BYTES);
    sent = rte_eth_tx_burst(bare->port, 0, frames, BURST);
    rte_pktmbuf_free_bulk(frames + sent, BURST - sent);
    return sent;
}

static uint64_t rate(struct bare *bare)
{
    uint64_t messages = bare->options->rounds, done = 0;
    struct bench_chunks chunks;

    bench_chunks_begin(&chunks, messages);
    while (done < messages) {
        done += bare->options->side == 1 ? receive(bare) : send_many(bare);
        bench_chunks_step(&chunks, done);
    }
    return bench_chunks_median(&chunks);
}

static uint64_t ping_pong(struct bare *bare)
{
    const struct bare_options *options = bare->options;
    uint32_t answer = BARE_SMALL_BYTES + (options->what == BARE_ROUND_BLOCK ? BARE_BLOCK_BYTES : 0);
    struct bench_chunks chunks;

    for (uint64_t i = 0; i < options->rounds + options->warm_up; i++) {
        if (i == options->warm_up)
            bench_chunks_begin(&chunks, options->rounds);
        if (i > options->warm_up)
            bench_chunks_step(&chunks, i - options->warm_up);
        if (options->side == 0)
            send_one(bare, BARE_SMALL_BYTES);
        while (receive(bare) == 0)
            cf_pause();
        if (options->side == 1)
            send_one(bare, answer);
    }
    return bench_chunks_median(&chunks);
}

void bare_memif_run(const struct bare_options *options, struct bare_shared *shared)
{
    int teller = options->what == BARE_RATE ? 1 : 0;
    struct bare bare;
    uint64_t ps;

    bare_open(&bare, options, shared);
    bare_meet(&shared->met);
    ps = options->what == BARE_RATE ? rate(&bare) : ping_pong(&bare);
    cf_assert(!options->is_touched || options->what == BARE_RATE || bare.seen != 0);
    if (options->side == teller)
        atomic_store(&shared->ps, ps);
    bare_meet(&shared->left); /* memif takes the rings away under a peer that still uses them */
}
