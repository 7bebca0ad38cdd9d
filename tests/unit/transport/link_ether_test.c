/* SPDX-License-Identifier: Apache-2.0 */
/* What a frame of a link looks like on the wire, what the filter lets through, and the words of the handshake. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "transport/link/ether.h"
#include "transport/link/shake.h"

#define TAG 77u

static const struct xp_ether_filter filter = {.tag = TAG, .ip = 0x0a000002, .node = 2};

/* A frame with an empty packet from node 1 to node 2; returns its bytes. */
static uint32_t frame_make(uint8_t *frame)
{
    const struct xp_ether_end from = {.mac = {2, 0, 0, 0, 0, 1}, .ip = 0x0a000001};
    const struct xp_ether_end to = {.mac = {2, 0, 0, 0, 0, 2}, .ip = 0x0a000002};
    struct xp_link_head head = {.tag = TAG,
                                .bytes = XP_LINK_HEAD_BYTES,
                                .version = XP_LINK_VERSION,
                                .kind = XP_LINK_DATA,
                                .from = 1,
                                .to = 2};

    xp_ether_front(frame, &from, &to, XP_ETHER_SOURCE_PORT);
    memcpy(frame + XP_ETHER_FRONT_BYTES, &head, sizeof(head));
    head.crc = xp_link_crc(frame + XP_ETHER_FRONT_BYTES, sizeof(head));
    memcpy(frame + XP_ETHER_FRONT_BYTES, &head, sizeof(head));
    xp_ether_finish(frame, sizeof(head));
    return XP_ETHER_FRONT_BYTES + sizeof(head);
}

static enum xp_ether_verdict verdict_of(const uint8_t *frame, uint32_t bytes)
{
    const uint8_t *packet;
    uint32_t packet_bytes;

    return xp_ether_open(&filter, frame, bytes, &packet, &packet_bytes);
}

static void a_frame_is_ethernet_ipv4_udp(void **state)
{
    uint8_t frame[128];
    uint32_t bytes = frame_make(frame), sum = 0;
    struct xp_ether_end from;

    (void)state;
    assert_int_equal(bytes, 106);
    assert_int_equal(frame[12] << 8 | frame[13], 0x0800);
    assert_int_equal(frame[14], 0x45);
    assert_int_equal(frame[16] << 8 | frame[17], 92); /* 20 + 8 + 64 */
    assert_int_equal(frame[23], 17);
    assert_int_equal(frame[36] << 8 | frame[37], XP_ETHER_PORT);
    assert_int_equal(frame[38] << 8 | frame[39], 72);
    for (uint32_t i = 14; i < 34; i += 2)
        sum += (uint32_t)frame[i] << 8 | frame[i + 1];
    assert_int_equal((sum & 0xffff) + (sum >> 16), 0xffff); /* RFC 1071 */
    xp_ether_sender(frame, &from);
    assert_int_equal(from.ip, 0x0a000001);
    assert_int_equal(from.mac[5], 1);
    assert_int_equal(verdict_of(frame, bytes), XP_ETHER_OURS);
    /* Ethernet pads short frames. */
    assert_int_equal(verdict_of(frame, sizeof(frame)), XP_ETHER_OURS);
}

static void what_is_not_ours_is_told_apart(void **state)
{
    static const struct {
        uint32_t at;
        uint8_t flip;
        enum xp_ether_verdict verdict;
    } cases[] = {
        {12, 0x80, XP_ETHER_FOREIGN},   /* EtherType */
        {14, 0x01, XP_ETHER_FOREIGN},   /* IP options */
        {20, 0x20, XP_ETHER_FOREIGN},   /* a fragment */
        {23, 0x01, XP_ETHER_FOREIGN},   /* protocol */
        {33, 0x04, XP_ETHER_FOREIGN},   /* destination */
        {37, 0x01, XP_ETHER_FOREIGN},   /* port */
        {42, 0x01, XP_ETHER_FOREIGN},   /* cluster */
        {17, 0x01, XP_ETHER_MALFORMED}, /* IP length */
        {39, 0x01, XP_ETHER_MALFORMED}, /* UDP length */
        {50, 0x01, XP_ETHER_MALFORMED}, /* packet length */
        {52, 0x01, XP_ETHER_MALFORMED}, /* version */
        {53, 0x08, XP_ETHER_MALFORMED}, /* kind */
        {56, 0x01, XP_ETHER_MALFORMED}, /* to another node */
        {46, 0x01, XP_ETHER_DAMAGED},   /* the checksum itself */
        {58, 0x01, XP_ETHER_DAMAGED},   /* session */
        {105, 0x80, XP_ETHER_DAMAGED},  /* the last byte */
    };
    uint8_t frame[128];
    uint32_t bytes = frame_make(frame);

    (void)state;
    for (uint32_t i = 0; i < CF_COUNTOF(cases); i++) {
        frame[cases[i].at] ^= cases[i].flip;
        assert_int_equal(verdict_of(frame, bytes), cases[i].verdict);
        frame[cases[i].at] ^= cases[i].flip;
    }
    for (uint32_t cut = 0; cut < bytes; cut++)
        assert_int_not_equal(verdict_of(frame, cut), XP_ETHER_OURS);
}

/* The link's checksum begins behind the addresses; where the handshake learns them, a changed one is not believed. */
static void a_word_of_the_handshake_with_another_sender_is_damaged(void **state)
{
    const struct xp_ether_end from = {.mac = {2, 0, 0, 0, 0, 1}, .ip = 0x0a000001};
    const struct xp_ether_end to = {.mac = {2, 0, 0, 0, 0, 2}, .ip = 0x0a000002};
    struct xp_shake shake = {.stage = XP_SHAKE_HELLO, .facts = {.node = 1}};
    uint8_t frame[XP_ETHER_FRONT_BYTES + XP_SHAKE_PACKET_BYTES];
    uint32_t bytes;

    (void)state;
    xp_ether_front(frame, &from, &to, XP_ETHER_SOURCE_PORT);
    bytes = xp_shake_encode(&shake, TAG, 2, frame + XP_ETHER_FRONT_BYTES);
    xp_ether_finish(frame, bytes);
    assert_int_equal(verdict_of(frame, sizeof(frame)), XP_ETHER_OURS);
    for (uint32_t at = 26; at < 30; at++) {
        frame[at] ^= 4;
        assert_int_equal(verdict_of(frame, sizeof(frame)), XP_ETHER_DAMAGED);
        frame[at] ^= 4;
    }
}

static void a_front_is_placed_as_it_is_finished(void **state)
{
    const struct xp_ether_end from = {.mac = {2, 0, 0, 0, 0, 1}, .ip = 0x0a000001};
    const struct xp_ether_end to = {.mac = {2, 0, 0, 0, 0, 2}, .ip = 0xfffe0002};
    uint8_t front[XP_ETHER_FRONT_BYTES], finished[XP_ETHER_FRONT_BYTES], placed[XP_ETHER_FRONT_BYTES];

    (void)state;
    xp_ether_front(front, &from, &to, XP_ETHER_SOURCE_PORT + 9);
    for (uint32_t bytes = XP_LINK_HEAD_BYTES; bytes < 65000; bytes += 7) {
        memcpy(finished, front, sizeof(front));
        xp_ether_finish(finished, bytes);
        xp_ether_place(placed, front, bytes);
        assert_memory_equal(placed, finished, sizeof(placed));
    }
}

static void a_question_for_our_address_is_answered(void **state)
{
    uint8_t frame[64] = {0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 2, 0, 0, 0, 0,  1, 0x08, 0x06,
                         0,    1,    0x08, 0,    6,    4,    0, 1, 2, 0, 0,  0, 0,    1,
                         10,   0,    0,    1,    0,    0,    0, 0, 0, 0, 10, 0, 0,    2};
    const struct xp_ether_end own = {.mac = {2, 0, 0, 0, 0, 2}, .ip = 0x0a000002}, other = {.ip = 0x0a000003};

    (void)state;
    assert_int_equal(verdict_of(frame, 60), XP_ETHER_ARP);
    assert_false(xp_ether_arp_answer(frame, 60, &other));
    assert_false(xp_ether_arp_answer(frame, 41, &own));
    assert_true(xp_ether_arp_answer(frame, 60, &own));
    assert_int_equal(frame[5], 1);  /* back to who asked */
    assert_int_equal(frame[11], 2); /* from us */
    assert_int_equal(frame[21], 2); /* a reply */
    assert_memory_equal(frame + 22, own.mac, 6);
    assert_int_equal(frame[31], 2);
    assert_int_equal(frame[41], 1);
    assert_false(xp_ether_arp_answer(frame, 60, &own)); /* a reply is no question */
}

static void a_word_is_believed_with_the_key_and_whole(void **state)
{
    struct xp_shake shake = {.stage = XP_SHAKE_HELLO, .facts = {.node = 1}}, got;
    uint8_t key[XP_SHM_KEY_BYTES], other[XP_SHM_KEY_BYTES], packet[XP_SHAKE_PACKET_BYTES];
    uint32_t tag, bytes;

    (void)state;
    xp_shm_key_derive("cluster", "secret", key, &tag);
    xp_shm_key_derive("cluster", "another", other, &tag);
    xp_shake_sign(&shake, key);
    bytes = xp_shake_encode(&shake, TAG, 2, packet);
    assert_true(xp_shake_decode(packet, bytes, &got));
    assert_memory_equal(&got, &shake, sizeof(got));
    assert_true(xp_shake_is_signed(&got, key));
    assert_false(xp_shake_is_signed(&got, other));
    got.echo[0] ^= 1;
    assert_false(xp_shake_is_signed(&got, key));
    got.echo[0] ^= 1;
    got.facts.incarnation++;
    assert_false(xp_shake_is_signed(&got, key));
    assert_false(xp_shake_decode(packet, bytes - 1, &got));
    packet[XP_LINK_HEAD_BYTES] = 9; /* no such stage */
    assert_false(xp_shake_decode(packet, bytes, &got));
}

static void both_sides_make_the_same_session(void **state)
{
    uint8_t key[XP_SHM_KEY_BYTES] = {1}, low[XP_SHAKE_NONCE_BYTES] = {2}, high[XP_SHAKE_NONCE_BYTES] = {3};
    uint32_t session = xp_shake_session(key, low, high);

    (void)state;
    assert_int_equal(session, xp_shake_session(key, low, high));
    assert_int_not_equal(session, xp_shake_session(key, high, low));
    low[0]++;
    assert_int_not_equal(session, xp_shake_session(key, low, high));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_frame_is_ethernet_ipv4_udp),
        cmocka_unit_test(what_is_not_ours_is_told_apart),
        cmocka_unit_test(a_word_of_the_handshake_with_another_sender_is_damaged),
        cmocka_unit_test(a_front_is_placed_as_it_is_finished),
        cmocka_unit_test(a_question_for_our_address_is_answered),
        cmocka_unit_test(a_word_is_believed_with_the_key_and_whole),
        cmocka_unit_test(both_sides_make_the_same_session),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
