/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/transport/link_net.h"

#include <stdatomic.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "transport/link/link.h"

#define PACKETS_MAX 4096u
#define PACKET_BYTES_MAX 16384u
#define FRAMES_MAX 64u
#define BLOCK_CLASS 2u
#define BLOCK_BYTES (CF_BLOCK_BYTES_MIN << BLOCK_CLASS)
/* Virtual time in which everything must have ended once the faults have. */
#define FAULTS_NS UINT64_C(400000000)
#define END_NS UINT64_C(20000000000)
#define EPOCH (UINT64_C(5) << 32)
#define MESSAGE_LOST "a message did not arrive though the faults have ceased"

struct packet {
    uint64_t due_ns;
    uint32_t to;
    uint32_t bytes;
    uint8_t content[PACKET_BYTES_MAX];
};

struct end {
    struct xp_link link;
    void *memory;
    uint8_t *frames;
    bool is_lent[FRAMES_MAX];
    uint32_t free_count;
    uint64_t posted[XP_LANES], got[XP_LANES];
    uint64_t blocks_sent;
    _Atomic uint64_t word; /* moves when a block is torn */
    uint8_t source[BLOCK_BYTES * 2];
};

struct net {
    struct link_net_options options;
    struct link_net_result *result;
    struct cf_rng rng;
    uint64_t now_ns;
    uint64_t dark_until_ns;
    struct end ends[2];
    struct packet *packets;
    uint32_t packets_count;
};

static void fail(struct net *net, const char *why)
{
    if (net->result->why == NULL)
        net->result->why = why;
}

static uint32_t frame_take(void *arg, uint8_t class_index)
{
    struct end *end = arg;

    for (uint32_t i = 0; class_index == BLOCK_CLASS && end->free_count != 0 && i < FRAMES_MAX; i++)
        if (end->is_lent[i]) {
            end->is_lent[i] = false;
            end->free_count--;
            return i;
        }
    return XP_LINK_FRAME_NONE;
}

static uint8_t *frame_bytes(void *arg, uint8_t class_index, uint32_t frame)
{
    (void)class_index;
    return ((struct end *)arg)->frames + (uint64_t)frame * BLOCK_BYTES;
}

static void frame_give(void *arg, uint8_t class_index, uint32_t frame)
{
    struct end *end = arg;

    (void)class_index;
    if (end->is_lent[frame])
        abort();
    end->is_lent[frame] = true;
    end->free_count++;
}

static struct xp_link_frames frames_of(struct end *end)
{
    return (struct xp_link_frames){.take = frame_take, .bytes = frame_bytes, .give = frame_give, .arg = end};
}

/* What message `number` of a lane is: a function of the seed alone, so that both ends know it. */
struct shape {
    uint32_t body_bytes;
    bool has_block;
    bool is_torn;
    uint32_t block_at; /* bytes of the block: source + block_at */
};
static struct shape shape_of(const struct net *net, uint32_t from, uint32_t lane, uint64_t number)
{
    struct cf_rng rng;
    struct shape shape = {0};

    cf_rng_seed(&rng, net->options.seed * 1000003 + (number * 4 + from * 2 + lane));
    shape.body_bytes = (uint32_t)cf_rng_below(&rng, XP_BODY_BYTES_MAX + 1);
    shape.has_block = cf_rng_chance(&rng, lane == XP_DATA ? net->options.blocks : 0);
    shape.is_torn = cf_rng_chance(&rng, 0.05) && net->options.has_tears && shape.has_block;
    shape.block_at = (uint32_t)cf_rng_below(&rng, BLOCK_BYTES);
    return shape;
}

static void post_all(struct net *net, uint32_t from, uint32_t lane)
{
    struct end *end = &net->ends[from];

    while (end->posted[lane] < net->options.messages) {
        struct shape shape = shape_of(net, from, lane, end->posted[lane] + 1);
        struct xp_link_slot *slot = xp_link_begin(&end->link, (enum xp_class)lane, shape.body_bytes);
        struct xp_link_block block = {.bytes = end->source + shape.block_at,
                                      .word = &end->word,
                                      .word_mask = 1,
                                      .word_value = shape.is_torn,
                                      .class_index = BLOCK_CLASS};

        if (slot == NULL)
            return;
        end->posted[lane]++;
        for (uint32_t i = 0; i < shape.body_bytes; i++)
            slot->body[i] = (uint8_t)(end->posted[lane] * 31 + i);
        xp_link_post(&end->link, (enum xp_class)lane, (uint16_t)(1 + end->posted[lane] % 100),
                     end->posted[lane] * 3, shape.has_block ? &block : NULL);
        if (net->options.has_pauses && cf_rng_chance(&net->rng, 0.7))
            return;
    }
}

static void block_check(struct net *net, struct end *to, const struct end *from, const struct shape *shape,
                        const struct xp_link_delivery *d)
{
    if (shape->is_torn && d->frame != XP_LINK_FRAME_NONE) {
        fail(net, "a torn block was delivered");
    } else if (d->frame != XP_LINK_FRAME_NONE) {
        if (memcmp(frame_bytes(to, BLOCK_CLASS, d->frame), from->source + shape->block_at, BLOCK_BYTES) != 0)
            fail(net, "a block has other bytes");
        frame_give(to, BLOCK_CLASS, d->frame);
    } else if (shape->is_torn) {
        net->result->torn++;
    } else {
        net->result->refused++;
        if (!d->is_torn)
            fail(net, "a block is missing and not torn");
        if (net->options.frames > net->options.lane_slots)
            fail(net, "a block was refused though frames are free");
    }
}

static void take_all(struct net *net, uint32_t side, uint32_t lane)
{
    struct end *end = &net->ends[side], *from = &net->ends[1 - side];
    struct xp_link_delivery d;

    while (xp_link_take(&end->link, (enum xp_class)lane, &d)) {
        struct shape shape = shape_of(net, 1 - side, lane, ++end->got[lane]);

        if (end->got[lane] > from->posted[lane])
            fail(net, "T-1: more messages than were posted");
        if (d.header->sequence != end->got[lane])
            fail(net, "T-1: a message out of order or twice");
        if (d.header->scn != end->got[lane] * 3 || d.header->type != 1 + end->got[lane] % 100 ||
            d.header->bytes != shape.body_bytes || d.header->node != 1 - side ||
            d.header->lane_class != lane || d.header->incarnation != 11 - side || d.header->epoch != EPOCH ||
            d.header->generation != 9 || d.header->tag != 77)
            fail(net, "T-1: a message with another header");
        if (d.body_bytes != shape.body_bytes)
            fail(net, "T-1: a message of another length");
        for (uint32_t i = 0; i < d.body_bytes; i++)
            if (d.body[i] != (uint8_t)(end->got[lane] * 31 + i))
                fail(net, "T-1: a message with other bytes");
        if (shape.has_block)
            block_check(net, end, from, &shape, &d);
        if (net->result->why != NULL)
            return;
    }
}

static void network_put(struct net *net, uint32_t to, const uint8_t *bytes, uint32_t count, bool is_clean)
{
    const struct link_net_options *o = &net->options;
    struct packet *packet;

    if (net->packets_count == PACKETS_MAX)
        return;
    if (!is_clean && (cf_rng_chance(&net->rng, o->loss) || net->now_ns < net->dark_until_ns))
        return;
    packet = &net->packets[net->packets_count++];
    packet->to = to;
    packet->bytes = count;
    memcpy(packet->content, bytes, count);
    packet->due_ns = net->now_ns + o->delay_ns;
    if (!o->is_steady)
        packet->due_ns += cf_rng_below(&net->rng, o->delay_ns) - o->delay_ns / 2;
    if (!is_clean && cf_rng_chance(&net->rng, o->late))
        packet->due_ns += cf_rng_below(&net->rng, 20 * o->delay_ns);
    if (!is_clean && cf_rng_chance(&net->rng, o->damage)) {
        packet->content[cf_rng_below(&net->rng, count)] ^= (uint8_t)(1 + cf_rng_below(&net->rng, 255));
        if (cf_rng_chance(&net->rng, 0.3))
            packet->bytes = 1 + (uint32_t)cf_rng_below(&net->rng, count);
    }
}

static void send_all(struct net *net, uint32_t side, bool is_clean)
{
    static _Thread_local uint8_t bytes[PACKET_BYTES_MAX];
    struct end *end = &net->ends[side];
    const uint8_t *packet = bytes + XP_ETHER_FRONT_BYTES;
    uint8_t front[XP_ETHER_FRONT_BYTES] = {0};
    struct xp_link_sent sent;
    uint32_t count;

    while ((count = xp_link_send(&end->link, net->now_ns, front, bytes, &sent)) != 0) {
        if (sent.apart_bytes != 0)
            memcpy(bytes + count, sent.apart, sent.apart_bytes);
        count += sent.apart_bytes - XP_ETHER_FRONT_BYTES;
        net->result->apart += sent.apart_bytes != 0;
        if (count > net->options.packet_bytes)
            fail(net, "a packet is larger than it may be");
        net->result->packets++;
        net->result->alone += packet[offsetof(struct xp_link_head, kind)] == XP_LINK_ONE;
        network_put(net, 1 - side, packet, count, is_clean);
        if (!is_clean && cf_rng_chance(&net->rng, net->options.twice))
            network_put(net, 1 - side, packet, count, is_clean);
    }
}

/* The cheap filter of a provider: length and checksum. */
static bool is_whole(const struct packet *packet)
{
    struct xp_link_head head;

    if (packet->bytes < XP_LINK_HEAD_BYTES)
        return false;
    memcpy(&head, packet->content, sizeof(head));
    return head.bytes == packet->bytes && head.tag == 7 &&
           head.crc == xp_link_crc(packet->content, packet->bytes);
}

static void receive_due(struct net *net)
{
    for (uint32_t i = 0; i < net->packets_count;) {
        struct packet *packet = &net->packets[i];
        struct end *end = &net->ends[packet->to];
        struct xp_link_frames frames = frames_of(end);

        if (packet->due_ns > net->now_ns) {
            i++;
            continue;
        }
        if (is_whole(packet))
            xp_link_receive(&end->link, net->now_ns, packet->content, packet->bytes, &frames);
        else
            net->result->damaged++;
        net->packets[i] = net->packets[--net->packets_count];
    }
}

static void step(struct net *net, bool is_clean)
{
    receive_due(net);
    for (uint32_t side = 0; side < 2 && net->result->why == NULL; side++) {
        struct end *end = &net->ends[side];

        xp_link_tick(&end->link, net->now_ns);
        for (uint32_t lane = 0; lane < XP_LANES; lane++) {
            take_all(net, side, lane);
            post_all(net, side, lane);
        }
        xp_link_give(&end->link);
        send_all(net, side, is_clean);
        if (end->link.is_violated)
            fail(net, "L-2: an honest peer was taken for a liar");
        if (xp_link_check(&end->link) != NULL)
            fail(net, xp_link_check(&end->link));
        if (end->free_count > net->options.frames)
            fail(net, "L-4: more frames than were lent");
    }
}

static uint64_t next_ns(const struct net *net)
{
    uint64_t next = UINT64_MAX;

    for (uint32_t i = 0; i < net->packets_count; i++)
        if (net->packets[i].due_ns < next)
            next = net->packets[i].due_ns;
    for (uint32_t side = 0; side < 2; side++) {
        uint64_t due = xp_link_due_ns(&net->ends[side].link);
        next = due < next ? due : next;
    }
    return next > net->now_ns ? next : net->now_ns + 1000;
}

static bool is_over(const struct net *net)
{
    for (uint32_t side = 0; side < 2; side++)
        for (uint32_t lane = 0; lane < XP_LANES; lane++) {
            const struct xp_credit *credit = &net->ends[side].link.tx[lane].credit;

            if (net->ends[1 - side].got[lane] != net->options.messages || credit->returned != credit->sent)
                return false;
        }
    return true;
}

static void end_open(struct net *net, uint32_t side)
{
    struct end *end = &net->ends[side];
    struct xp_link_options options = {.lane_slots = net->options.lane_slots,
                                      .packet_bytes = net->options.packet_bytes,
                                      .tag = 7,
                                      .session = 9,
                                      .node = (uint16_t)side,
                                      .peer = (uint16_t)(1 - side),
                                      .incarnation = 10 + side,
                                      .peer_incarnation = 11 - side,
                                      .message_tag = 77,
                                      .rto_ns_min = 500000,
                                      .rto_ns_max = 20000000,
                                      .ack_delay_ns = 20000,
                                      .keepalive_ns = 50000000,
                                      .target_ns = 4 * net->options.delay_ns,
                                      .window_min = XP_SWIFT_ONE / 8,
                                      .apart_bytes = net->options.has_apart ? 1000 : 0};

    end->memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(options.lane_slots));
    end->frames = calloc(FRAMES_MAX, BLOCK_BYTES);
    if (end->memory == NULL || end->frames == NULL)
        abort();
    memset(end->memory, 0, xp_link_bytes(options.lane_slots));
    xp_link_open(&end->link, &options, end->memory, net->now_ns);
    end->link.epoch = EPOCH;
    for (uint32_t i = 0; i < net->options.frames; i++)
        end->is_lent[i] = true;
    end->free_count = net->options.frames;
    for (uint32_t i = 0; i < sizeof(end->source); i++)
        end->source[i] = (uint8_t)cf_rng_next(&net->rng);
}

static void end_close(struct net *net, uint32_t side)
{
    struct end *end = &net->ends[side];
    struct xp_link_frames frames = frames_of(end);

    net->result->segments_again += end->link.counters.segments_again;
    net->result->duplicates += end->link.counters.duplicates;
    net->result->reordered += end->link.counters.reordered;
    net->result->timeouts += end->link.counters.timeouts;
    xp_link_close(&end->link, &frames);
    if (net->result->why == NULL && end->free_count != net->options.frames)
        fail(net, "I-28: a frame did not come back");
    free(end->memory);
    free(end->frames);
}

void link_net_run(const struct link_net_options *options, struct link_net_result *result_out)
{
    struct net *net = calloc(1, sizeof(*net));
    bool is_clean = false;

    *result_out = (struct link_net_result){0};
    if (net == NULL)
        abort();
    net->options = *options;
    net->result = result_out;
    net->now_ns = 1000000;
    net->packets = malloc(PACKETS_MAX * sizeof(*net->packets));
    if (net->packets == NULL)
        abort();
    cf_rng_seed(&net->rng, options->seed);
    end_open(net, 0);
    end_open(net, 1);
    while (result_out->why == NULL && !is_over(net)) {
        is_clean = net->now_ns >= FAULTS_NS;
        if (options->has_dark && !is_clean && cf_rng_chance(&net->rng, 0.001))
            net->dark_until_ns = net->now_ns + cf_rng_below(&net->rng, 30000000);
        step(net, is_clean);
        if (net->now_ns >= END_NS)
            fail(net, MESSAGE_LOST);
        net->now_ns = next_ns(net);
    }
    result_out->ended_ns = net->now_ns;
    end_close(net, 0);
    end_close(net, 1);
    free(net->packets);
    free(net);
}

void link_net_options_init(struct link_net_options *options, uint64_t seed)
{
    *options = (struct link_net_options){.seed = seed,
                                         .delay_ns = 10000,
                                         .packet_bytes = 8960,
                                         .lane_slots = 32,
                                         .messages = 500,
                                         .frames = 40,
                                         .blocks = 0.3};
}

void link_net_options_draw(struct link_net_options *options, uint64_t seed)
{
    struct cf_rng rng;

    cf_rng_seed(&rng, seed ^ UINT64_C(0x11e7));
    link_net_options_init(options, seed);
    options->loss = cf_rng_chance(&rng, 0.5) ? cf_rng_unit(&rng) * 0.3 : 0;
    options->twice = cf_rng_chance(&rng, 0.5) ? cf_rng_unit(&rng) * 0.5 : 0;
    options->late = cf_rng_chance(&rng, 0.5) ? cf_rng_unit(&rng) * 0.5 : 0;
    options->damage = cf_rng_chance(&rng, 0.5) ? cf_rng_unit(&rng) * 0.2 : 0;
    options->has_dark = cf_rng_chance(&rng, 0.5);
    options->has_tears = cf_rng_chance(&rng, 0.5);
    options->has_pauses = cf_rng_chance(&rng, 0.5);
    options->has_apart = cf_rng_chance(&rng, 0.5);
    options->delay_ns = UINT64_C(500) << cf_rng_below(&rng, 10);
    options->packet_bytes = cf_rng_chance(&rng, 0.5) ? 1472 : cf_rng_chance(&rng, 0.5) ? 8960 : 640;
    options->lane_slots = 2u << cf_rng_below(&rng, 6);
    options->frames = cf_rng_chance(&rng, 0.5) ? FRAMES_MAX : 1 + (uint32_t)cf_rng_below(&rng, 8);
    options->blocks = cf_rng_unit(&rng);
    if (options->frames <= options->lane_slots && options->frames == FRAMES_MAX)
        options->lane_slots = FRAMES_MAX / 2;
}
