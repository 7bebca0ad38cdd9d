/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the reliability machine under dpdk: cost one small message, the Ethernet front and checksums
 * included, without a device?
 *
 * Two links in one process play ping-pong with messages of 64 bytes over memory. Prints nanoseconds a message. For
 * instructions:
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null link_path --once 0
 *   valgrind --tool=callgrind --callgrind-out-file=/dev/null link_path --once 100000
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

static uint32_t send_one(struct end *end, uint64_t now_ns, uint8_t *frame)
{
    struct xp_link_slot *slot = xp_link_begin(&end->link, XP_CONTROL, BODY_BYTES);
    bool has_pieces;
    uint32_t bytes;

    cf_assert(slot != NULL);
    memset(slot->body, (int)now_ns, BODY_BYTES);
    slot->header.type = 1;
    xp_link_post(&end->link, XP_CONTROL, NULL);
    xp_link_tick(&end->link, now_ns);
    bytes = xp_link_send(&end->link, now_ns, end->front, frame, &has_pieces);
    cf_assert(bytes != 0);
    return bytes;
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

int main(int argc, char **argv)
{
    uint64_t messages = argc == 3 && strcmp(argv[1], "--once") == 0 ? strtoull(argv[2], NULL, 10) : MESSAGES;
    static uint8_t frame[16384] CF_ALIGNED(CF_CACHE_LINE);
    static struct end ends[2];
    uint64_t now_ns = HOP_NS, began;

    open_end(&ends[0], 0);
    open_end(&ends[1], 1);
    began = cf_now_ns();
    for (uint64_t i = 0; i < messages; i++) {
        uint32_t bytes = send_one(&ends[i & 1], now_ns, frame);

        now_ns += HOP_NS;
        receive_one(&ends[1 - (i & 1)], now_ns, frame, bytes);
    }
    printf("%.1f ns a message\n", messages ? (double)(cf_now_ns() - began) / (double)messages : 0);
    cf_assert(ends[0].taken + ends[1].taken == messages);
    free(ends[0].memory);
    free(ends[1].memory);
    return 0;
}
