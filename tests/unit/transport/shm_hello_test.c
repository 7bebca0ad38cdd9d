/* SPDX-License-Identifier: Apache-2.0 */
/* What the handshake refuses: signatures, versions, facts and frame geometry that do not hold. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/conformance.h"
#include "transport/shm/sock.h"

static struct xp_shm_facts facts_of(uint16_t node)
{
    struct xp_shm_facts facts = {.node = node,
                                 .nodes = 2,
                                 .incarnation = 1,
                                 .epoch = 1,
                                 .tag = 5,
                                 .lane_slots = 16,
                                 .slot_bytes = 512,
                                 .frames_bytes = 4096 + 4 * 8192,
                                 .frame_count = 4};

    facts.classes[2] = (struct xp_shm_wire_class){.first = 0, .count = 4, .bytes = 8192, .offset = 4096};
    return facts;
}

static enum cf_rc verdict_of(const struct xp_shm_facts *peer)
{
    struct xp_shm_facts own = facts_of(0);
    struct xp_shm_verdict verdict;

    xp_shm_facts_check(&own, peer, 1, &verdict);
    assert_int_equal(verdict.rc == CF_OK, verdict.why[0] == 0);
    return verdict.rc;
}

static void facts_that_differ_are_named(void **state)
{
    struct xp_shm_facts peer = facts_of(1);

    (void)state;
    assert_int_equal(verdict_of(&peer), CF_OK);
    peer.node = 0;
    assert_int_equal(verdict_of(&peer), CF_NODE_TAKEN);
    peer = facts_of(1);
    peer.tag++;
    assert_int_equal(verdict_of(&peer), CF_CLUSTER);
    peer = facts_of(1);
    peer.nodes = 3;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.epoch = 2;
    assert_int_equal(verdict_of(&peer), CF_STALE);
}

static void frames_outside_the_memory_offered_are_refused(void **state)
{
    struct xp_shm_facts peer = facts_of(1);

    (void)state;
    peer.classes[2].count = 5;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.classes[2].offset += 1;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.classes[2].offset = UINT64_MAX - 8192;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.classes[2].bytes = 16384;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.words_offset = peer.frames_bytes - 8;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.words_offset = 4;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
    peer = facts_of(1);
    peer.frames_bytes = 0;
    assert_int_equal(verdict_of(&peer), CF_OPTION);
}

static void a_signature_holds_for_one_key_one_exchange_and_all_facts(void **state)
{
    struct xp_shm_wire_hello hello = {.facts = facts_of(1)};
    uint8_t key[XP_SHM_KEY_BYTES], other_key[XP_SHM_KEY_BYTES], nonce_a[32] = {1}, nonce_b[32] = {2};
    uint32_t tag, other_tag;

    (void)state;
    xp_shm_key_derive("ab", "c", key, &tag);
    xp_shm_key_derive("a", "bc", other_key, &other_tag);
    assert_true(tag != other_tag);
    xp_shm_hello_sign(&hello, key, nonce_a, nonce_b);
    assert_true(xp_shm_hello_is_signed(&hello, key, nonce_a, nonce_b));
    assert_false(xp_shm_hello_is_signed(&hello, other_key, nonce_a, nonce_b));
    assert_false(xp_shm_hello_is_signed(&hello, key, nonce_b, nonce_a));
    hello.facts.hello[63] ^= 1;
    assert_false(xp_shm_hello_is_signed(&hello, key, nonce_a, nonce_b));
}

static void another_wire_version_is_refused_by_name(void **state)
{
    char directory[] = "/dev/shm/xp-hello-test-XXXXXX", address[64], path[108];
    struct xp_fixture fixture = {.address = address};
    struct xp_shm_wire_open open = {
        .head = {XP_SHM_MAGIC, XP_WIRE_VERSION + 1, XP_SHM_OPEN}, .node = 1, .target = 0};
    struct xp_wait wait = xp_wait_begin();
    struct xp_options options;
    struct xp_shm_sock_fds fds;
    union xp_shm_wire wire;
    struct xp_side side;
    int fd, got;

    (void)state;
    assert_non_null(mkdtemp(directory));
    snprintf(address, sizeof(address), "shm:%s", directory);
    xp_side_options(&fixture, &options, 0, 2);
    xp_side_open(&side, &options);
    snprintf(path, sizeof(path), "%s/conformance-0.sock", directory);
    fd = xp_shm_sock_connect(path);
    assert_true(fd >= 0);
    assert_true(xp_shm_sock_send(fd, &open, sizeof(open), NULL, 0));
    do {
        (void)xp_poll(side.xp, cf_now_ns(), side.events, XP_EVENTS_MAX);
        got = xp_shm_sock_receive(fd, &wire, &fds);
        xp_wait_check(&wait, "a refusal", __FILE__, __LINE__);
    } while (got == XP_SHM_SOCK_EMPTY);
    assert_int_equal(got, sizeof(wire.brief));
    assert_int_equal(wire.head.kind, XP_SHM_REFUSE);
    assert_int_equal(wire.brief.rc, CF_VERSION);
    assert_int_equal(xp_counters(side.xp)->hello_refused, 1);
    close(fd);
    xp_side_close(&side);
    assert_int_equal(rmdir(directory), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(facts_that_differ_are_named),
        cmocka_unit_test(frames_outside_the_memory_offered_are_refused),
        cmocka_unit_test(a_signature_holds_for_one_key_one_exchange_and_all_facts),
        cmocka_unit_test(another_wire_version_is_refused_by_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
