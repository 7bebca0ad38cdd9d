/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The verbs provider on a device in memory: what every provider has to do, and what a device can do to it, without RDMA
 * hardware and under the sanitizers. The same on a kernel's verbs stack: tests/hw.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/verbs_fake.h"
#include "tests/unit/transport/verbs_faults.h"
#include "tests/unit/transport/verbs_shim.h"
#include "transport/verbs/verbs.h"

#define BLOCK_CLASS 2u
#define TYPE 9u

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

static struct xp_fixture fake_fixture(void)
{
    verbs_fake_reset();
    return (struct xp_fixture){.address = "verbs:",
                               .advance = real_time,
                               .is_settled = verbs_is_settled,
                               .network = (void *)(uintptr_t)&verbs_fake_calls};
}

static bool say(struct xp_side *side, uint16_t to, uint32_t frame)
{
    uint8_t *body = xp_begin(side->xp, to, XP_CONTROL, 16);

    if (body == NULL)
        return false;
    memset(body, 1, 16);
    if (frame != 0)
        xp_post_block(side->xp, to, XP_CONTROL, TYPE, 1, frame);
    else
        xp_post(side->xp, to, XP_CONTROL, TYPE, 1);
    xp_flush(side->xp);
    return true;
}

static void say_block(struct xp_pair *pair)
{
    xp_pair_settle(pair);
    xp_pair_until(pair, !xp_frame_is_sending(pair->sides[0].xp, XP_PAIR_FRAMES + 1) &&
                            say(&pair->sides[0], 1, XP_PAIR_FRAMES + 1));
}

/* A block gets through; returns the frame that it is in. */
static uint32_t expect_block(struct xp_pair *pair)
{
    struct xp_wait wait;

    say_block(pair);
    wait = xp_wait_begin();
    for (;;) {
        xp_wait_check(&wait, "a block", __FILE__, __LINE__);
        xp_pair_turn(pair);
        for (uint32_t i = 0; i < pair->sides[1].events_count; i++)
            if (pair->sides[1].events[i].type == XP_EV_BLOCK)
                return pair->sides[1].events[i].frame;
    }
}

/* A message gets through, and a block. */
static uint32_t expect_traffic(struct xp_pair *pair)
{
    uint32_t messages = pair->sides[1].messages;

    xp_pair_until(pair, say(&pair->sides[0], 1, 0));
    xp_pair_until(pair, pair->sides[1].messages > messages);
    xp_frame_post(pair->sides[1].xp, BLOCK_CLASS, XP_PAIR_FRAMES + 3);
    return expect_block(pair);
}

static void close_clean(struct xp_pair *pair)
{
    xp_pair_close(pair);
    assert_int_equal(verbs_fake.living, 0);
    assert_int_equal(verbs_fake.locked, 0);
}

/* The connection breaks once and is made again. */
static void expect_one_reset(struct xp_pair *pair)
{
    xp_pair_until(pair, pair->sides[0].resets == 1 && pair->sides[1].resets == 1);
    assert_int_equal(pair->sides[0].downs + pair->sides[1].downs, 0);
    expect_traffic(pair);
    assert_int_equal(pair->sides[0].resets + pair->sides[1].resets, 2);
}

static void a_receiver_that_is_not_ready_costs_one_reset(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    expect_traffic(&pair);
    assert_int_equal(xp_counters(pair.sides[0].xp)->rnr, 0);
    verbs_fake.is_starved = true;
    assert_true(say(&pair.sides[0], 1, 0));
    verbs_fake.is_starved = false;
    expect_one_reset(&pair);
    assert_int_equal(xp_counters(pair.sides[0].xp)->rnr, 1);
    close_clean(&pair);
}

static void a_send_that_is_refused_costs_one_reset(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    verbs_fake.refused_sends = 1;
    assert_true(say(&pair.sides[0], 1, 0));
    expect_one_reset(&pair);
    close_clean(&pair);
}

static void receives_that_are_refused_are_posted_again(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    verbs_fake.refused_receives = 5;
    xp_pair_open(&pair, &fixture, 2);
    for (uint32_t i = 0; i < 100; i++) {
        verbs_fake.refused_receives = i % 3;
        expect_traffic(&pair);
    }
    assert_int_equal(pair.sides[0].resets + pair.sides[1].resets, 0);
    assert_true(xp_counters(pair.sides[1].xp)->device_errors > 0);
    close_clean(&pair);
}

/* A millisecond a turn. */
static uint64_t turn_time(struct xp_fixture *fixture)
{
    uint64_t *now_ns = fixture->arg;

    *now_ns += CF_NS_PER_MS;
    return *now_ns;
}

static void the_frame_of_a_block_that_broke_off_is_found_again(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    uint32_t lost = XP_PAIR_FRAMES + 5, frame = 0;
    uint64_t now_ns = CF_NS_PER_S;
    const struct xp_verbs *vb;
    struct xp_pair pair;

    (void)state;
    fixture.advance = turn_time;
    fixture.arg = &now_ns;
    xp_pair_open(&pair, &fixture, 2);
    vb = (const struct xp_verbs *)pair.sides[1].xp;
    xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, lost);
    verbs_fake.swallowed = 1;
    say_block(&pair);
    expect_one_reset(&pair);
    for (uint32_t i = 0; i < 5000 && vb->lost_frames == 0; i++)
        frame = expect_traffic(&pair);
    assert_int_equal(vb->lost_frames, 1);
    assert_int_equal(frame == lost ? lost : expect_block(&pair), lost);
    assert_int_equal(pair.sides[0].resets + pair.sides[1].resets, 2);
    close_clean(&pair);
}

static void a_request_that_is_rejected_is_made_again(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    verbs_fake.rejected = 6;
    xp_pair_open(&pair, &fixture, 2);
    assert_int_equal(verbs_fake.rejected, 0);
    expect_traffic(&pair);
    close_clean(&pair);
}

static void a_cable_that_is_mended_in_time_costs_one_reset(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;
    uint64_t mend_ns;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    verbs_fake.is_cut = true;
    mend_ns = cf_now_ns() + CF_NS_PER_S / 5;
    assert_true(say(&pair.sides[0], 1, 0));
    xp_pair_until(&pair, cf_now_ns() >= mend_ns);
    verbs_fake.is_cut = false;
    expect_one_reset(&pair);
    assert_true(xp_counters(pair.sides[0].xp)->retries_exceeded > 0);
    close_clean(&pair);
}

/* Both are told that the other is lost, within the time that a peer may be silent and a margin. */
static void expect_downs(struct xp_pair *pair)
{
    uint64_t begin_ns = cf_now_ns();

    xp_pair_until(pair, pair->sides[0].downs == 1 && pair->sides[1].downs == 1);
    assert_int_equal(pair->sides[0].down_rc, CF_PEER_LOST);
    assert_int_equal(pair->sides[1].down_rc, CF_PEER_LOST);
    assert_true(cf_now_ns() - begin_ns < 4 * CF_NS_PER_S);
}

static void a_cable_that_stays_out_loses_the_peer(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    verbs_fake.is_cut = true;
    expect_downs(&pair); /* an idle instance notices too */
    close_clean(&pair);
}

static void a_device_that_is_lost_loses_the_peers(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    expect_traffic(&pair);
    verbs_fake_event(IBV_EVENT_DEVICE_FATAL);
    expect_downs(&pair);
    assert_true(xp_counters(pair.sides[0].xp)->device_errors > 0);
    close_clean(&pair);
}

static void a_completion_queue_that_overflows_loses_the_peers(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    expect_traffic(&pair);
    verbs_fake_event(IBV_EVENT_CQ_ERR);
    expect_downs(&pair);
    assert_true(xp_counters(pair.sides[0].xp)->device_errors > 0);
    close_clean(&pair);
}

static void a_device_without_inline_and_with_short_queues_serves(void **state)
{
    struct xp_fixture fixture = fake_fixture();
    struct xp_pair pair;

    (void)state;
    verbs_fake.inline_max = 0;
    verbs_fake.has_atomics = false;
    verbs_fake.max_qp_wr = XP_VERBS_SLOTS_MIN + XP_VERBS_READS_MAX; /* less than the instances would like */
    xp_pair_open(&pair, &fixture, 2);
    assert_int_equal(xp_caps(pair.sides[0].xp) & XP_CAP_ATOMIC, 0);
    for (uint32_t i = 0; i < 200; i++)
        expect_traffic(&pair);
    assert_int_equal(pair.sides[0].resets, 0);
    close_clean(&pair);
}

/* Opens one instance; the place where it fails names cause and remedy. */
static void expect_refused(enum cf_rc wanted, const char *cause, const char *remedy)
{
    struct xp_fixture fixture = {.address = "verbs:", .network = (void *)(uintptr_t)&verbs_fake_calls};
    struct cf_error error = {.rc = CF_OK};
    struct xp_frame_space space = {.count = 0};
    struct xp_options options;
    struct xp *xp = NULL;
    void *memory = NULL;
    enum cf_rc rc;

    xp_side_options(&fixture, &options, 0, 2);
    rc = xp_open(&options, &xp, &error);
    if (rc == CF_OK)
        rc = xp_memory(xp, 1 << 20, 0, &memory, &error);
    if (rc == CF_OK)
        rc = xp_start(xp, &space, &error);
    xp_close(&xp);
    assert_int_equal(rc, wanted);
    if (strstr(error.text, cause) == NULL || strstr(error.text, remedy) == NULL)
        fail_msg("'%s' lacks '%s' or '%s'", error.text, cause, remedy);
    assert_int_equal(verbs_fake.living, 0);
    assert_int_equal(verbs_fake.locked, 0);
}

static void what_a_device_does_not_offer_is_named(void **state)
{
    (void)state;
    verbs_fake_reset();
    verbs_fake.max_srq_wr = 20;
    expect_refused(CF_OPTION, "fake0 offers 20", "lower lane_slots");
    verbs_fake_reset();
    verbs_fake.max_cqe = 30;
    expect_refused(CF_OPTION, "fake0 offers 30", "lower lane_slots");
    verbs_fake_reset();
    verbs_fake.max_qp_wr = 40;
    expect_refused(CF_SYSTEM, "fake0 offers 40", "another device");
    verbs_fake_reset();
    verbs_fake.locked_max = 4096;
    expect_refused(CF_MEMORY, "fake0 does not register 1048576 bytes", "fewer frames");
    verbs_fake.locked_max = (1 << 20) + 4096; /* enough for the frames, not for the messages */
    expect_refused(CF_MEMORY, "fake0 does not register", "fewer frames");
}

static void the_nth_call_of_each_kind_may_fail(void **state)
{
    struct xp_fixture fixture = fake_fixture();

    (void)state;
    verbs_shim_base = &verbs_fake_calls;
    verbs_faults_of_calls(&fixture);
    assert_int_equal(verbs_fake.living, 0);
}

static void every_status_of_a_completion_ends_in_one_reset(void **state)
{
    struct xp_fixture fixture = fake_fixture();

    (void)state;
    verbs_shim_base = &verbs_fake_calls;
    verbs_faults_of_completions(&fixture);
    assert_int_equal(verbs_fake.living, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_receiver_that_is_not_ready_costs_one_reset),
        cmocka_unit_test(a_send_that_is_refused_costs_one_reset),
        cmocka_unit_test(receives_that_are_refused_are_posted_again),
        cmocka_unit_test(the_frame_of_a_block_that_broke_off_is_found_again),
        cmocka_unit_test(a_request_that_is_rejected_is_made_again),
        cmocka_unit_test(a_cable_that_is_mended_in_time_costs_one_reset),
        cmocka_unit_test(a_cable_that_stays_out_loses_the_peer),
        cmocka_unit_test(a_device_that_is_lost_loses_the_peers),
        cmocka_unit_test(a_completion_queue_that_overflows_loses_the_peers),
        cmocka_unit_test(a_device_without_inline_and_with_short_queues_serves),
        cmocka_unit_test(what_a_device_does_not_offer_is_named),
        cmocka_unit_test(the_nth_call_of_each_kind_may_fail),
        cmocka_unit_test(every_status_of_a_completion_ends_in_one_reset),
    };
    struct xp_fixture fixture = fake_fixture();
    int failed = xp_conformance_run(&fixture);

    return failed + cmocka_run_group_tests(tests, NULL, NULL);
}
