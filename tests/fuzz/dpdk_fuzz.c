/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The receive path of the dpdk provider: frames from the wire through the filter to the link, and handshake messages.
 * Whatever comes, the link keeps its invariants, messages come in order, frames are taken and given back, and nothing
 * outside of the buffers is touched (sanitizers).
 *
 * Input: frames, each behind u16 length (top bit: lengths and checksums are made right before the frame is received).
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "tests/fuzz/fuzz.h"
#include "transport/link/ether.h"
#include "transport/link/link.h"
#include "transport/link/shake.h"

const char fuzz_name[] = "dpdk";
const uint32_t fuzz_runs = 6000;

#define SLOTS 8u
#define FRAME_COUNT 4u
#define PACKET_BYTES 1472u
#define RIGHT 0x8000u
#define TAG 0x7a67u
#define SESSION 99u

struct world {
    struct xp_link link;
    uint8_t *memory;
    uint8_t *frames; /* one allocation of the exact size */
    bool is_lent[FRAME_COUNT];
    uint64_t got[XP_LANES];
};

static uint32_t take(void *arg, uint8_t class_index)
{
    struct world *world = arg;

    fuzz_check(class_index < CF_BLOCK_SIZES);
    for (uint32_t i = 0; i < FRAME_COUNT; i++)
        if (world->is_lent[i]) {
            world->is_lent[i] = false;
            return i;
        }
    return XP_LINK_FRAME_NONE;
}

static uint8_t *bytes_of(void *arg, uint8_t class_index, uint32_t frame)
{
    fuzz_check(class_index < CF_BLOCK_SIZES && frame < FRAME_COUNT);
    return ((struct world *)arg)->frames + (uint64_t)frame * CF_BLOCK_BYTES_MAX;
}

static void give(void *arg, uint8_t class_index, uint32_t frame)
{
    struct world *world = arg;

    (void)class_index;
    fuzz_check(frame < FRAME_COUNT && !world->is_lent[frame]);
    world->is_lent[frame] = true;
}

static void link_begin(struct xp_link *link, uint8_t *memory, uint16_t node)
{
    struct xp_link_options options = {.lane_slots = SLOTS,
                                      .packet_bytes = PACKET_BYTES,
                                      .tag = TAG,
                                      .session = SESSION,
                                      .node = node,
                                      .peer = (uint16_t)(1 - node),
                                      .rto_ns_min = 500000,
                                      .rto_ns_max = 20000000,
                                      .ack_delay_ns = 20000,
                                      .keepalive_ns = 50000000,
                                      .target_ns = 100000,
                                      .window_min = XP_SWIFT_ONE};

    xp_link_open(link, &options, memory, 1000000);
}

static void make_right(uint8_t *frame, uint32_t bytes)
{
    struct xp_link_head head;
    uint32_t packet_bytes = bytes - XP_ETHER_FRONT_BYTES;

    if (bytes < XP_ETHER_FRONT_BYTES + XP_LINK_HEAD_BYTES)
        return;
    memcpy(&head, frame + XP_ETHER_FRONT_BYTES, sizeof(head));
    head.bytes = (uint16_t)packet_bytes;
    head.tag = TAG;
    head.version = XP_LINK_VERSION;
    head.from = 0;
    head.to = 1;
    memcpy(frame + XP_ETHER_FRONT_BYTES, &head, sizeof(head));
    head.crc = xp_link_crc(frame + XP_ETHER_FRONT_BYTES, packet_bytes);
    memcpy(frame + XP_ETHER_FRONT_BYTES, &head, sizeof(head));
    xp_ether_finish(frame, packet_bytes);
}

static void receive(struct world *world, uint64_t now_ns, uint8_t *frame, uint32_t bytes,
                    const struct xp_link_frames *frames)
{
    const struct xp_ether_filter filter = {.tag = TAG, .ip = 2, .node = 1};
    const struct xp_ether_end own = {.ip = 2};
    const uint8_t *packet;
    uint32_t packet_bytes;
    struct xp_shake shake;

    switch (xp_ether_open(&filter, frame, bytes, &packet, &packet_bytes)) {
    case XP_ETHER_OURS:
        fuzz_check(packet >= frame && packet + packet_bytes <= frame + bytes);
        if (packet[offsetof(struct xp_link_head, kind)] != XP_LINK_SHAKE)
            xp_link_receive(&world->link, now_ns, packet, packet_bytes, frames);
        else if (xp_shake_decode(packet, packet_bytes, &shake))
            fuzz_check(memchr(shake.why, 0, sizeof(shake.why)) != NULL);
        break;
    case XP_ETHER_ARP:
        (void)!xp_ether_arp_answer(frame, bytes, &own);
        break;
    case XP_ETHER_FOREIGN:
    case XP_ETHER_MALFORMED:
    case XP_ETHER_DAMAGED:
        break;
    }
}

static void deliver(struct world *world)
{
    struct xp_link_delivery d;

    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        while (xp_link_take(&world->link, (enum xp_class)lane, &d)) {
            fuzz_check(++world->got[lane] == world->link.rx[lane].delivered);
            fuzz_check(d.body_bytes <= XP_BODY_BYTES_MAX);
            if (d.frame != XP_LINK_FRAME_NONE)
                give(world, d.class_index, d.frame);
        }
    xp_link_give(&world->link);
}

int LLVMFuzzerTestOneInput(const uint8_t *input, size_t bytes)
{
    struct world world = {.memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(SLOTS)),
                          .frames = malloc(FRAME_COUNT * CF_BLOCK_BYTES_MAX)};
    struct xp_link_frames frames = {.take = take, .bytes = bytes_of, .give = give, .arg = &world};
    uint64_t now_ns = 1000000;
    struct xp_link_packet packet;
    size_t at = 0;

    fuzz_check(world.memory != NULL && world.frames != NULL);
    memset(world.memory, 0, xp_link_bytes(SLOTS));
    link_begin(&world.link, world.memory, 1);
    memset(world.is_lent, 1, sizeof(world.is_lent));
    while (bytes - at > 2) {
        uint32_t word = (uint32_t)input[at] | (uint32_t)input[at + 1] << 8, count = word & ~RIGHT;
        uint8_t *frame;

        at += 2;
        count = count < bytes - at ? count : (uint32_t)(bytes - at);
        frame = malloc(count + 1); /* exact, so that a sanitizer sees a byte too far */
        fuzz_check(frame != NULL);
        memcpy(frame, input + at, count);
        if ((word & RIGHT) != 0)
            make_right(frame, count);
        receive(&world, now_ns += 7000, frame, count, &frames);
        free(frame);
        at += count;
        fuzz_check(xp_link_check(&world.link) == NULL);
        deliver(&world);
        xp_link_tick(&world.link, now_ns);
        if (xp_link_build(&world.link, now_ns, &packet))
            fuzz_check(packet.bytes <= PACKET_BYTES);
        fuzz_check(xp_link_check(&world.link) == NULL);
    }
    xp_link_close(&world.link, &frames);
    for (uint32_t i = 0; i < FRAME_COUNT; i++)
        fuzz_check(world.is_lent[i]);
    free(world.memory);
    free(world.frames);
    return 0;
}

/* What the link has to send, behind `at`; returns where the next frame goes. */
static size_t frames_put(struct cf_rng *rng, struct xp_link *link, const uint8_t *front, uint8_t *input,
                         size_t at)
{
    struct xp_link_sent sent;
    uint32_t bytes;

    while (at + 2 + XP_ETHER_FRONT_BYTES + PACKET_BYTES <= FUZZ_BYTES_MAX) {
        bytes = xp_link_send(link, 1000000, front, input + at + 2, &sent);
        if (bytes == 0)
            break;
        input[at] = (uint8_t)bytes;
        input[at + 1] = (uint8_t)((bytes >> 8) | (cf_rng_chance(rng, 0.8) ? RIGHT >> 8 : 0));
        at += 2 + bytes;
    }
    return at;
}

/* What an honest sender says: messages of several sizes, some with blocks of 2 KiB. */
size_t fuzz_make(struct cf_rng *rng, uint8_t *input)
{
    static uint8_t block_bytes[CF_BLOCK_BYTES_MIN];
    const struct xp_ether_end from = {.ip = 1}, to = {.ip = 2};
    struct xp_link_block block = {.bytes = block_bytes, .class_index = 0};
    uint8_t *memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(SLOTS));
    uint8_t front[XP_ETHER_FRONT_BYTES];
    struct xp_link link;
    size_t at = 0;

    fuzz_check(memory != NULL);
    xp_ether_front(front, &from, &to, XP_ETHER_SOURCE_PORT);
    memset(memory, 0, xp_link_bytes(SLOTS));
    link_begin(&link, memory, 0);
    for (uint32_t i = 0; i < 6; i++) {
        enum xp_class lane = cf_rng_chance(rng, 0.5) ? XP_DATA : XP_CONTROL;
        uint32_t bytes = (uint32_t)cf_rng_below(rng, 100);
        struct xp_link_slot *slot = xp_link_begin(&link, lane, bytes);

        if (slot == NULL)
            continue;
        memset(slot->body, (int)i, bytes);
        xp_link_post(&link, lane, (uint16_t)(1 + i), i,
                     lane == XP_DATA && cf_rng_chance(rng, 0.3) ? &block : NULL);
        if (i == 5 || cf_rng_chance(rng, 0.5)) /* one alone, or several in a packet */
            at = frames_put(rng, &link, front, input, at);
    }
    free(memory);
    return at;
}
