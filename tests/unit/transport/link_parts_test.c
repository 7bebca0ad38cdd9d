/* SPDX-License-Identifier: Apache-2.0 */
/* The parts of a link alone: round trip, window, and what a receiver does with packets no honest peer sends. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport/link/link.h"

#define US UINT64_C(1000)

struct pair {
    struct xp_link one, two;
    void *one_memory, *two_memory;
    struct xp_link_frames frames;
    uint8_t frame[CF_BLOCK_BYTES_MAX];
    uint32_t taken, given;
};

static uint32_t take(void *arg, uint8_t class_index)
{
    struct pair *pair = arg;

    (void)class_index;
    return pair->taken++ == 0 ? 5 : XP_LINK_FRAME_NONE;
}

static uint8_t *bytes_of(void *arg, uint8_t class_index, uint32_t frame)
{
    (void)class_index;
    assert_int_equal(frame, 5);
    return ((struct pair *)arg)->frame;
}

static void give(void *arg, uint8_t class_index, uint32_t frame)
{
    (void)class_index;
    assert_int_equal(frame, 5);
    ((struct pair *)arg)->given++;
}

static void *side_open(struct xp_link *link, uint16_t node, uint32_t packet_bytes)
{
    struct xp_link_options options = {.lane_slots = 16,
                                      .packet_bytes = packet_bytes,
                                      .node = node,
                                      .peer = (uint16_t)(1 - node),
                                      .rto_ns_min = 500 * US,
                                      .rto_ns_max = 20000 * US,
                                      .ack_delay_ns = 20 * US,
                                      .keepalive_ns = 50000 * US,
                                      .target_ns = 100 * US,
                                      .window_min = XP_SWIFT_ONE / 8};
    void *memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(options.lane_slots));

    assert_non_null(memory);
    memset(memory, 0, xp_link_bytes(options.lane_slots));
    xp_link_open(link, &options, memory, 1000 * US);
    return memory;
}

static void pair_open(struct pair *pair, uint32_t packet_bytes)
{
    memset(pair, 0, sizeof(*pair));
    pair->one_memory = side_open(&pair->one, 0, packet_bytes);
    pair->two_memory = side_open(&pair->two, 1, packet_bytes);
    pair->frames = (struct xp_link_frames){.take = take, .bytes = bytes_of, .give = give, .arg = pair};
}

static void pair_close(struct pair *pair)
{
    assert_null(xp_link_check(&pair->one));
    assert_null(xp_link_check(&pair->two));
    xp_link_close(&pair->one, &pair->frames);
    xp_link_close(&pair->two, &pair->frames);
    free(pair->one_memory);
    free(pair->two_memory);
}

static void post(struct xp_link *link, uint32_t body_bytes, const struct xp_link_block *block)
{
    struct xp_link_slot *slot = xp_link_begin(link, XP_DATA, body_bytes);

    assert_non_null(slot);
    memset(slot->body, 0x5a, body_bytes);
    xp_link_post(link, XP_DATA, 1, 2, block);
}

static void the_time_out_follows_rfc_6298_between_its_bounds(void **state)
{
    struct xp_link_rtt rtt;

    (void)state;
    xp_link_rtt_open(&rtt, 200 * US, 10000 * US);
    xp_link_rtt_sample(&rtt, 1000 * US);
    assert_in_range(rtt.srtt_ns, 1000 * US, 1000 * US + 1);
    assert_in_range(rtt.rto_ns, 3000 * US, 3000 * US + 4); /* srtt + 4 * (r / 2) */
    for (uint32_t i = 0; i < 100; i++)
        xp_link_rtt_sample(&rtt, 10 * US);
    assert_int_equal(rtt.rto_ns, 200 * US);
    assert_int_equal(xp_link_rtt_wait_ns(&rtt, 3), 1600 * US);
    assert_int_equal(xp_link_rtt_wait_ns(&rtt, 40), 10000 * US);
    xp_link_rtt_sample(&rtt, 3000000 * US); /* a peer that was stopped for seconds */
    assert_int_equal(rtt.rto_ns, 10000 * US);
    assert_true(rtt.srtt_ns < 2000 * US);
}

static void the_window_grows_below_the_target_and_falls_above_it(void **state)
{
    struct xp_swift swift;
    uint32_t before;

    (void)state;
    xp_swift_open(&swift, 100 * US, 32, 64 * XP_SWIFT_ONE);
    before = swift.window;
    xp_swift_on_ack(&swift, 1000 * US, 50 * US, 50 * US, 16);
    assert_int_equal(swift.window, before + XP_SWIFT_ONE); /* one segment a round trip */
    xp_swift_on_ack(&swift, 2000 * US, 200 * US, 50 * US, 1);
    assert_in_range(swift.window, before * 6 / 10, before * 7 / 10); /* 1 - 0.8 * half */
    before = swift.window;
    xp_swift_on_ack(&swift, 2010 * US, 200 * US, 50 * US, 1);
    assert_int_equal(swift.window, before); /* once a round trip */
    xp_swift_on_loss(&swift, 3000 * US, 50 * US);
    assert_int_equal(swift.window, before / 2);
    for (uint32_t i = 0; i < XP_SWIFT_TIMEOUTS_MAX; i++)
        xp_swift_on_timeout(&swift, 3000 * US, 50 * US);
    assert_int_equal(swift.window, 32);
    assert_int_equal(xp_swift_segments(&swift), 1);
    assert_int_equal(xp_swift_gap_ns(&swift, 50 * US), 400 * US);
}

static void small_messages_share_a_packet(void **state)
{
    static uint8_t bytes[16384];
    struct xp_link_packet packet;
    struct xp_link_delivery d;
    struct pair pair;
    uint32_t count;

    (void)state;
    pair_open(&pair, 1472);
    for (uint32_t i = 0; i < 8; i++)
        post(&pair.one, 64, NULL);
    assert_true(xp_link_build(&pair.one, 1000 * US, &packet));
    assert_int_equal(packet.pieces_count, 8);
    count = xp_link_encode(&packet, bytes);
    assert_false(xp_link_build(&pair.one, 1000 * US, &packet));
    xp_link_receive(&pair.two, 1001 * US, bytes, count, &pair.frames);
    for (uint32_t i = 0; i < 8; i++)
        assert_true(xp_link_take(&pair.two, XP_DATA, &d));
    assert_false(xp_link_take(&pair.two, XP_DATA, &d));
    pair_close(&pair);
}

static void a_window_of_messages_is_all_there_is(void **state)
{
    struct pair pair;

    (void)state;
    pair_open(&pair, 1472);
    for (uint32_t i = 0; i < 16; i++)
        post(&pair.one, 8, NULL);
    assert_null(xp_link_begin(&pair.one, XP_DATA, 8));
    assert_non_null(xp_link_begin(&pair.one, XP_CONTROL, 8));
    pair_close(&pair);
}

static void a_block_that_is_not_whole_gives_its_frame_back(void **state)
{
    static uint8_t bytes[16384], block_bytes[8192];
    struct xp_link_block block = {.bytes = block_bytes, .class_index = 2};
    struct xp_link_packet packet;
    struct pair pair;
    uint32_t count;

    (void)state;
    pair_open(&pair, 1472);
    post(&pair.one, 8, &block);
    assert_true(xp_link_build(&pair.one, 1000 * US, &packet));
    count = xp_link_encode(&packet, bytes);
    xp_link_receive(&pair.two, 1001 * US, bytes, count, &pair.frames);
    assert_int_equal(pair.taken, 1);
    assert_int_equal(pair.given, 0);
    pair_close(&pair);
    assert_int_equal(pair.given, 1);
}

/* Encodes one message of 64 bytes, changes the packet, and gives it to the other side. */
static void receive_changed(struct pair *pair,
                            void (*change)(struct xp_link_head *, struct xp_link_segment *))
{
    static uint8_t bytes[16384];
    struct xp_link_packet packet;
    struct xp_link_segment segment;
    struct xp_link_head head;
    uint32_t count;

    pair_open(pair, 1472);
    post(&pair->one, 64, NULL);
    assert_true(xp_link_build(&pair->one, 1000 * US, &packet));
    count = xp_link_encode(&packet, bytes);
    memcpy(&head, bytes, sizeof(head));
    memcpy(&segment, bytes + sizeof(head), sizeof(segment));
    change(&head, &segment);
    memcpy(bytes, &head, sizeof(head));
    memcpy(bytes + sizeof(head), &segment, sizeof(segment));
    xp_link_receive(&pair->two, 1001 * US, bytes, count, &pair->frames);
}

static void body_too_long(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->body = XP_BODY_BYTES_MAX + 1;
}

static void no_such_class(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->class_index = CF_BLOCK_SIZES;
}

static void chunk_beyond(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->index = 1;
}

static void more_than_there_is(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->bytes = 60000;
}

static void beyond_credit(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->message = 17;
}

static void message_zero(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->message = 0;
}

static void malformed_segments_are_dropped_and_counted(void **state)
{
    static void (*const changes[])(struct xp_link_head *, struct xp_link_segment *) = {
        body_too_long, no_such_class, chunk_beyond, more_than_there_is, beyond_credit, message_zero};
    struct xp_link_delivery d;
    struct pair pair;

    (void)state;
    for (uint32_t i = 0; i < sizeof(changes) / sizeof(changes[0]); i++) {
        receive_changed(&pair, changes[i]);
        assert_int_equal(pair.two.counters.malformed, 1);
        assert_false(xp_link_take(&pair.two, XP_DATA, &d));
        assert_false(pair.two.is_violated);
        pair_close(&pair);
    }
}

static void far_ahead(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)head;
    segment->sequence += XP_LINK_SEGMENTS;
}

static void a_segment_beyond_the_window_is_dropped(void **state)
{
    struct pair pair;

    (void)state;
    receive_changed(&pair, far_ahead);
    assert_int_equal(pair.two.counters.beyond_window, 1);
    pair_close(&pair);
}

static void acknowledges_too_much(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)segment;
    head->lanes[0].next++;
}

static void took_too_much(struct xp_link_head *head, struct xp_link_segment *segment)
{
    (void)segment;
    head->lanes[1].taken++;
}

static void a_peer_that_acknowledges_what_was_never_sent_is_a_liar(void **state)
{
    struct pair pair;

    (void)state;
    receive_changed(&pair, acknowledges_too_much);
    assert_true(pair.two.is_violated);
    pair_close(&pair);
    receive_changed(&pair, took_too_much);
    assert_true(pair.two.is_violated);
    pair_close(&pair);
}

/* The next frame of the first side; the packet in it goes to `packet_out`. Returns the bytes of the frame. */
static uint32_t send_frame(struct pair *pair, uint8_t frame[16384], uint8_t **packet_out)
{
    const uint8_t front[XP_ETHER_FRONT_BYTES] = {0};
    struct xp_link_sent sent;

    *packet_out = frame + XP_ETHER_FRONT_BYTES;
    return xp_link_send(&pair->one, 1000 * US, front, frame, &sent);
}

static void a_small_message_alone_is_three_lines(void **state)
{
    static uint8_t frame[16384];
    struct xp_link_delivery d;
    struct pair pair;
    uint8_t *packet;
    uint32_t bytes;

    (void)state;
    pair_open(&pair, 1472);
    pair.one.epoch = UINT64_C(7) << 40;
    post(&pair.one, 64, NULL);
    bytes = send_frame(&pair, frame, &packet);
    assert_int_equal(packet[offsetof(struct xp_link_head, kind)], XP_LINK_ONE);
    assert_true(bytes <= 192);
    xp_link_receive(&pair.two, 1001 * US, packet, bytes - XP_ETHER_FRONT_BYTES, &pair.frames);
    assert_true(xp_link_take(&pair.two, XP_DATA, &d));
    assert_memory_equal(d.header, &pair.one.tx[XP_DATA].slots[1].header, sizeof(*d.header));
    assert_true(d.header->epoch == UINT64_C(7) << 40 && d.header->sequence == 1 && d.header->scn == 2);
    assert_int_equal(d.body_bytes, 64);
    assert_int_equal(d.body[63], 0x5a);
    post(&pair.one, 64, NULL);
    post(&pair.one, 64, NULL); /* two share a packet, with heads of their own */
    (void)send_frame(&pair, frame, &packet);
    assert_int_equal(packet[offsetof(struct xp_link_head, kind)], XP_LINK_DATA);
    pair_close(&pair);
}

/* One that comes before its turn waits as a segment does, and one that comes again is told apart. */
static void a_small_message_alone_keeps_its_order(void **state)
{
    static uint8_t frames[3][16384];
    struct xp_link_delivery d;
    struct pair pair;
    uint8_t *packets[3];
    uint32_t bytes[3];

    (void)state;
    pair_open(&pair, 1472);
    for (uint32_t i = 0; i < 3; i++) {
        post(&pair.one, 8 + i, NULL);
        bytes[i] = send_frame(&pair, frames[i], &packets[i]) - XP_ETHER_FRONT_BYTES;
    }
    xp_link_receive(&pair.two, 1001 * US, packets[2], bytes[2], &pair.frames);
    xp_link_receive(&pair.two, 1001 * US, packets[1], bytes[1], &pair.frames);
    assert_false(xp_link_take(&pair.two, XP_DATA, &d));
    xp_link_receive(&pair.two, 1001 * US, packets[0], bytes[0], &pair.frames);
    xp_link_receive(&pair.two, 1001 * US, packets[0], bytes[0], &pair.frames);
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(xp_link_take(&pair.two, XP_DATA, &d));
        assert_int_equal(d.header->sequence, i + 1);
        assert_int_equal(d.header->bytes, 8 + i);
        assert_int_equal(d.body_bytes, 8 + i);
    }
    assert_int_equal(pair.two.counters.reordered, 2);
    assert_int_equal(pair.two.counters.duplicates, 1);
    assert_false(xp_link_take(&pair.two, XP_DATA, &d));
    pair_close(&pair);
}

/*
 * A block that stays where it is may move between the checksum and the device: the receiver sees that the packet is
 * damaged, and what is sent again is torn.
 */
static void a_block_apart_that_moves_on_its_way_is_damaged_and_then_torn(void **state)
{
    static uint8_t frame[16384], block_bytes[8192];
    _Atomic uint64_t word = 4;
    struct xp_link_block block = {
        .bytes = block_bytes, .word = &word, .word_mask = UINT64_MAX, .word_value = 4, .class_index = 2};
    const uint8_t front[XP_ETHER_FRONT_BYTES] = {0};
    struct xp_link_delivery d;
    struct xp_link_sent sent;
    struct xp_link_head head;
    struct pair pair;
    uint8_t *packet;
    uint32_t bytes;

    (void)state;
    pair_open(&pair, 8960);
    pair.one.options.apart_bytes = 1000;
    post(&pair.one, 8, &block);
    bytes = xp_link_send(&pair.one, 1000 * US, front, frame, &sent);
    assert_ptr_equal(sent.apart, block_bytes);
    assert_int_equal(sent.apart_bytes, sizeof(block_bytes));
    packet = frame + XP_ETHER_FRONT_BYTES;
    memcpy(&head, packet, sizeof(head));
    assert_int_equal(head.bytes, bytes - XP_ETHER_FRONT_BYTES + sizeof(block_bytes));
    memcpy(frame + bytes, block_bytes, sizeof(block_bytes));
    assert_int_equal(head.crc, xp_link_crc(packet, head.bytes));
    word = 6;
    block_bytes[5000] = 1;
    memcpy(frame + bytes, block_bytes, sizeof(block_bytes));
    assert_int_not_equal(head.crc, xp_link_crc(packet, head.bytes));

    xp_link_tick(&pair.one, 100000 * US);
    bytes = send_frame(&pair, frame, &packet) - XP_ETHER_FRONT_BYTES;
    assert_true(bytes != 0 && bytes < 1000);
    xp_link_receive(&pair.two, 100001 * US, packet, bytes, &pair.frames);
    assert_true(xp_link_take(&pair.two, XP_DATA, &d));
    assert_true(d.is_torn);
    assert_int_equal(d.frame, XP_LINK_FRAME_NONE);
    assert_int_equal(pair.given, 1);
    pair_close(&pair);
}

static void a_malformed_message_alone_is_dropped_and_counted(void **state)
{
    static uint8_t frame[16384];
    struct xp_link_delivery d;
    struct pair pair;

    (void)state;
    for (uint32_t i = 0; i < 5; i++) {
        struct xp_link_one one;
        uint8_t *packet;
        uint32_t bytes;

        pair_open(&pair, 1472);
        post(&pair.one, 64, NULL);
        bytes = send_frame(&pair, frame, &packet) - XP_ETHER_FRONT_BYTES;
        memcpy(&one, packet, sizeof(one));
        one.body = i == 0 ? XP_BODY_BYTES_MAX + 1 : i == 1 ? 72 : one.body;
        one.lane = i == 2 ? XP_LANES : one.lane;
        one.message = i == 3 ? 17 : one.message; /* beyond credit */
        memcpy(packet, &one, sizeof(one));
        bytes = i == 4 ? XP_LINK_HEAD_BYTES : bytes; /* cut within its head */
        xp_link_receive(&pair.two, 1001 * US, packet, bytes, &pair.frames);
        assert_int_equal(pair.two.counters.malformed, 1);
        assert_false(xp_link_take(&pair.two, XP_DATA, &d));
        assert_false(pair.two.is_violated);
        pair_close(&pair);
    }
}

static void a_quiet_link_asks_for_a_word(void **state)
{
    struct xp_link_packet packet;
    struct pair pair;

    (void)state;
    pair_open(&pair, 1472);
    xp_link_tick(&pair.one, 2000 * US);
    assert_false(xp_link_build(&pair.one, 2000 * US, &packet));
    assert_int_equal(xp_link_due_ns(&pair.one), 51000 * US);
    xp_link_tick(&pair.one, 51000 * US);
    assert_true(xp_link_build(&pair.one, 51000 * US, &packet));
    assert_int_equal(packet.head.kind, XP_LINK_PROBE);
    assert_int_equal(packet.pieces_count, 0);
    pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_time_out_follows_rfc_6298_between_its_bounds),
        cmocka_unit_test(the_window_grows_below_the_target_and_falls_above_it),
        cmocka_unit_test(small_messages_share_a_packet),
        cmocka_unit_test(a_small_message_alone_is_three_lines),
        cmocka_unit_test(a_small_message_alone_keeps_its_order),
        cmocka_unit_test(a_malformed_message_alone_is_dropped_and_counted),
        cmocka_unit_test(a_block_apart_that_moves_on_its_way_is_damaged_and_then_torn),
        cmocka_unit_test(a_window_of_messages_is_all_there_is),
        cmocka_unit_test(a_block_that_is_not_whole_gives_its_frame_back),
        cmocka_unit_test(malformed_segments_are_dropped_and_counted),
        cmocka_unit_test(a_segment_beyond_the_window_is_dropped),
        cmocka_unit_test(a_peer_that_acknowledges_what_was_never_sent_is_a_liar),
        cmocka_unit_test(a_quiet_link_asks_for_a_word),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
