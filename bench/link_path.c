/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the reliability machine under dpdk: cost one small message, the Ethernet front and checksums
 * included, without a device? And what does a frame of somebody else cost, which the filter turns away?
 *
 * Two links in one process over memory: ping-pong with messages of 64 bytes; 16 messages one way in a packet, whose
 * receiver answers when it has to; foreign frames to the very port. Prints nanoseconds each, packets and acknowledgements
 * that went alone. For instructions:
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null link_path --once 0 [--batch | --foreign]
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null link_path --once 100000 [--batch | --foreign]
 * and divide the difference of the two totals by 100000.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "transport/link/ether.h"
#include "transport/link/link.h"

#define MESSAGES 2000000ull
#define SLOTS 1024u
#define BODY_BYTES 64u
#define HOP_NS 1000u
#define BATCH 16u

struct end {
    struct xp_link link;
    struct xp_ether_filter filter;
    uint8_t front[XP_ETHER_FRONT_BYTES];
    void *memory;
    uint64_t taken;
};

static uint32_t no_frame(void *arg, uint8_t class_index)
{
    (void)arg;
    (void)class_index;
    return XP_LINK_FRAME_NONE;
}

static const struct xp_link_frames frames = {.take = no_frame};

static void open_end(struct end *end, uint16_t node)
{
    struct xp_ether_end ends[2] = {{.mac = {2, 0, 0, 0, 0, 1}, .ip = 0x0a000001},
                                   {.mac = {2, 0, 0, 0, 0, 2}, .ip = 0x0a000002}};
    struct xp_link_options options = {.lane_slots = SLOTS,
                                      .packet_bytes = 9000,
                                      .tag = 7,
                                      .session = 9,
                                      .node = node,
                                      .peer = (uint16_t)(1 - node),
                                      .rto_ns_min = 100000,
                                      .rto_ns_max = 1000000000,
                                      .ack_delay_ns = 20000,
                                      .keepalive_ns = 100000000,
                                      .target_ns = 100000,
                                      .window_min = 64};

    end->memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(SLOTS));
    if (end->memory == NULL)
        exit(3);
    memset(end->memory, 0, xp_link_bytes(SLOTS));
    xp_link_open(&end->link, &options, end->memory, HOP_NS);
    end->filter = (struct xp_ether_filter){.tag = 7, .ip = ends[node].ip, .node = node};
    xp_ether_front(end->front, &ends[node], &ends[1 - node], XP_ETHER_SOURCE_PORT);
}

static void post_one(struct end *end, uint64_t now_ns)
{
    struct xp_link_slot *slot = xp_link_begin(&end->link, XP_CONTROL, BODY_BYTES);

    cf_assert(slot != NULL);
    memset(slot->body, (int)now_ns, BODY_BYTES);
    xp_link_post(&end->link, XP_CONTROL, 1, now_ns, NULL);
}

static uint32_t send_all(struct end *end, uint64_t now_ns, uint8_t *frame)
{
    struct xp_link_sent sent;

    xp_link_tick(&end->link, now_ns);
    return xp_link_send(&end->link, now_ns, end->front, frame, &sent);
}

static void receive_one(struct end *end, uint64_t now_ns, const uint8_t *frame, uint32_t bytes)
{
    struct xp_link_delivery delivery;
    const uint8_t *packet;
    uint32_t packet_bytes;

    if (xp_ether_open(&end->filter, frame, bytes, &packet, &packet_bytes) != XP_ETHER_OURS)
        exit(3);
    xp_link_receive(&end->link, now_ns, packet, packet_bytes, &frames);
    while (xp_link_take(&end->link, XP_CONTROL, &delivery))
        end->taken++;
    xp_link_give(&end->link);
}

static uint64_t ping_pong(struct end ends[2], uint64_t messages, uint8_t *frame)
{
    uint64_t now_ns = HOP_NS;

    for (uint64_t i = 0; i < messages; i++) {
        uint32_t bytes;

        post_one(&ends[i & 1], now_ns);
        bytes = send_all(&ends[i & 1], now_ns, frame);
        cf_assert(bytes != 0);
        now_ns += HOP_NS;
        receive_one(&ends[1 - (i & 1)], now_ns, frame, bytes);
    }
    return messages;
}

static uint64_t one_way(struct end ends[2], uint64_t messages, uint8_t *frame)
{
    uint64_t now_ns = HOP_NS;

    messages -= messages % BATCH;
    for (uint64_t i = 0; i < messages; i += BATCH) {
        uint32_t bytes;

        for (uint32_t m = 0; m < BATCH; m++)
            post_one(&ends[0], now_ns);
        now_ns += HOP_NS;
        while ((bytes = send_all(&ends[0], now_ns, frame)) != 0)
            receive_one(&ends[1], now_ns, frame, bytes);
        while ((bytes = send_all(&ends[1], now_ns, frame)) != 0)
            receive_one(&ends[0], now_ns, frame, bytes);
    }
    return messages;
}

/* What the filter turns away last: our port and address, another cluster's tag. */
static uint64_t foreign(struct end ends[2], uint64_t count, uint8_t *frame)
{
    const uint8_t *packet;
    uint32_t packet_bytes, bytes;

    post_one(&ends[0], HOP_NS);
    bytes = send_all(&ends[0], HOP_NS, frame);
    frame[XP_ETHER_FRONT_BYTES] ^= 1;
    for (uint64_t i = 0; i < count; i++)
        cf_assert(xp_ether_open(&ends[1].filter, frame, bytes, &packet, &packet_bytes) == XP_ETHER_FOREIGN);
    return count;
}

static void measure(const char *what, uint64_t (*run)(struct end ends[2], uint64_t count, uint8_t *frame),
                    uint64_t count)
{
    static uint8_t frame[16384] CF_ALIGNED(CF_CACHE_LINE);
    static struct end ends[2];
    uint64_t began, took_ns, done;

    open_end(&ends[0], 0);
    open_end(&ends[1], 1);
    began = cf_now_ns();
    done = run(ends, count, frame);
    took_ns = cf_now_ns() - began;
    printf("%-22s %7.1f ns each", what, done != 0 ? (double)took_ns / (double)done : 0);
    if (ends[0].taken + ends[1].taken != 0)
        printf(", %.2f packets a message, %.3f acknowledgements alone",
               (double)(ends[0].link.counters.packets_sent + ends[1].link.counters.packets_sent) /
                   (double)done,
               (double)(ends[0].link.counters.acks_alone + ends[1].link.counters.acks_alone) / (double)done);
    printf("\n");
    cf_assert(run == foreign || ends[0].taken + ends[1].taken == done);
    free(ends[0].memory);
    free(ends[1].memory);
    memset(ends, 0, sizeof(ends));
}

int main(int argc, char **argv)
{
    uint64_t count = argc >= 3 && strcmp(argv[1], "--once") == 0 ? strtoull(argv[2], NULL, 10) : MESSAGES;
    const char *only = argc == 4 ? argv[3] : "";

    if (argc != 4)
        measure("message, ping-pong", ping_pong, count);
    if (strcmp(only, "--batch") == 0 || argc < 3)
        measure("message, 16 a packet", one_way, count);
    if (strcmp(only, "--foreign") == 0 || argc < 3)
        measure("foreign frame", foreign, count);
    return 0;
}
