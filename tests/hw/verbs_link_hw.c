/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Connections that break and peers that die: one XP_EV_RESET a break, frames that are lent stay lent, a killed
 * process is noticed in under a second, a sleeper wakes.
 */
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/hw/verbs_fixture.h"

#define BLOCK_CLASS 2u
#define TYPE 9u

/* The device puts a queue pair into the error state by itself when something fails; here a call does. */
static void break_pair(struct xp_side *side, uint16_t peer, uint32_t index)
{
    struct ibv_qp_attr attr = {.qp_state = IBV_QPS_ERR};
    struct xp_verbs *vb = xp_verbs_of(side->xp);

    assert_int_equal(ibv_modify_qp(vb->peers[peer].pairs[index].qp, &attr, IBV_QP_STATE), 0);
}

static bool say(struct xp_side *side, uint16_t to, enum xp_class lane, uint32_t frame)
{
    uint8_t *body = xp_begin(side->xp, to, lane, 16);

    if (body == NULL)
        return false;
    memset(body, 1, 16);
    if (frame != 0)
        xp_post_block(side->xp, to, lane, TYPE, 1, frame);
    else
        xp_post(side->xp, to, lane, TYPE, 1);
    xp_flush(side->xp);
    return true;
}

static uint32_t take_blocks(struct xp_pair *pair, uint32_t side)
{
    uint32_t blocks = 0;

    xp_pair_turn(pair);
    for (uint32_t i = 0; i < pair->sides[side].events_count; i++)
        blocks += pair->sides[side].events[i].type == XP_EV_BLOCK;
    return blocks;
}

static void a_broken_connection_is_reset_once_and_goes_on(void **state)
{
    struct xp_fixture fixture = verbs_fixture();
    struct xp_pair pair;
    uint32_t messages;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    for (uint32_t i = 0; i < 8; i++)
        xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, XP_PAIR_FRAMES + 2 + i);
    for (uint32_t i = 1; i <= 3; i++) {
        xp_pair_settle(&pair);
        (void)say(&pair.sides[1], 0, XP_CONTROL, 0);
        break_pair(&pair.sides[0], 1, i == 2 ? 1 + BLOCK_CLASS : 0);
        (void)say(&pair.sides[0], 1, XP_DATA, XP_PAIR_FRAMES + 1);
        (void)say(&pair.sides[0], 1, XP_CONTROL, 0);
        xp_pair_until(&pair, pair.sides[0].downs + pair.sides[1].downs != 0 ||
                                 (pair.sides[0].resets == i && pair.sides[1].resets == i));
        assert_int_equal(pair.sides[0].downs + pair.sides[1].downs, 0);
        messages = pair.sides[1].messages;
        assert_true(say(&pair.sides[0], 1, XP_CONTROL, 0));
        xp_pair_until(&pair, pair.sides[1].messages == messages + 1);
        print_message("break %u is mended\n", i);
    }
    assert_int_equal(pair.sides[0].downs + pair.sides[1].downs, 0);
    assert_int_equal(pair.sides[0].ups, 1);
    assert_int_equal(pair.sides[0].hellos, 1);
    xp_pair_close(&pair);
}

/* One has said yes, the other's layer above takes its time, and the connection breaks unheard in between. */
static void a_handshake_whose_pair_breaks_begins_again(void **state)
{
    struct xp_fixture fixture = verbs_fixture();
    struct xp_pair pair = {.fixture = &fixture, .count = 2};
    struct xp_wait wait = xp_wait_begin();
    struct xp_options options;

    (void)state;
    for (uint16_t i = 0; i < 2; i++) {
        xp_side_options(&fixture, &options, i, 2);
        xp_side_open(&pair.sides[i], &options);
    }
    while (xp_verbs_of(pair.sides[0].xp)->peers[1].state != XP_VERBS_GRANTED ||
           xp_verbs_of(pair.sides[1].xp)->peers[0].state != XP_VERBS_ASKED) {
        xp_pair_poll(&pair, 0);
        (void)xp_poll(pair.sides[1].xp, cf_now_ns(), pair.sides[1].events, XP_EVENTS_MAX); /* no answer */
        xp_wait_check(&wait, "a hello", __FILE__, __LINE__);
    }
    break_pair(&pair.sides[1], 0, 0);
    xp_pair_until(&pair, pair.sides[0].ups == 1 && pair.sides[1].ups == 1);
    assert_int_equal(pair.sides[0].downs + pair.sides[1].downs, 0);
    xp_pair_close(&pair);
}

static void frames_lent_outlive_the_connection(void **state)
{
    enum { LENT = 8 };
    struct xp_fixture fixture = verbs_fixture();
    struct xp_pair pair;
    uint32_t blocks = 0;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    for (uint32_t i = 0; i < LENT; i++)
        xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, XP_PAIR_FRAMES + i);
    xp_pair_settle(&pair);
    for (uint32_t i = 1; i <= 4; i++) {
        break_pair(&pair.sides[i % 2], (uint16_t)((i + 1) % 2), 0);
        xp_pair_until(&pair, pair.sides[0].resets == i && pair.sides[1].resets == i);
    }
    xp_pair_settle(&pair);
    for (uint32_t i = 0; i < LENT; i++)
        assert_true(say(&pair.sides[0], 1, XP_DATA, XP_PAIR_FRAMES + LENT + i));
    xp_pair_until(&pair, (blocks += take_blocks(&pair, 1)) == LENT);
    assert_int_equal(xp_counters(pair.sides[1].xp)->unasked, 0);
    xp_pair_close(&pair);
}

static void a_sleeper_is_woken_by_a_message(void **state)
{
    struct xp_fixture fixture = verbs_fixture();
    struct pollfd wait;
    struct xp_pair pair;
    bool is_armed = false;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    wait = (struct pollfd){.fd = xp_fd(pair.sides[1].xp), .events = POLLIN};
    for (uint32_t i = 0; i < 20; i++) {
        uint32_t messages = pair.sides[1].messages;

        xp_pair_until(&pair, (is_armed = xp_arm(pair.sides[1].xp)));
        assert_true(is_armed);
        assert_true(say(&pair.sides[0], 1, XP_CONTROL, 0));
        /* Other things may wake it first, a timer for instance: it goes to sleep again. */
        while (pair.sides[1].messages == messages) {
            assert_int_equal(poll(&wait, 1, 5000), 1);
            xp_disarm(pair.sides[1].xp);
            xp_pair_poll(&pair, 1);
            if (pair.sides[1].messages == messages)
                (void)xp_arm(pair.sides[1].xp); /* false: something has come, the next round takes it */
        }
        xp_disarm(pair.sides[1].xp);
    }
    xp_pair_close(&pair);
}

/* The other process: node 1, until it is killed. */
static void live(struct xp_fixture *fixture)
{
    struct xp_pair pair = {.fixture = fixture, .count = 2};
    struct xp_options options;

    xp_side_options(fixture, &options, 1, 2);
    xp_side_open(&pair.sides[1], &options);
    for (;;)
        xp_pair_poll(&pair, 1);
}

static void a_killed_peer_is_noticed_in_under_a_second(void **state)
{
    struct xp_fixture fixture = verbs_fixture();
    struct xp_pair pair = {.fixture = &fixture, .count = 2};
    struct xp_options options;
    uint64_t killed_ns;
    pid_t child;
    int status;

    (void)state;
    for (uint16_t round = 0; round < 3; round++) {
        child = fork();
        assert_true(child >= 0);
        if (child == 0)
            live(&fixture);
        memset(&pair.sides[0], 0, sizeof(pair.sides[0]));
        xp_side_options(&fixture, &options, 0, 2);
        options.peer_timeout_ns = 5 * CF_NS_PER_S; /* so long a cable may be out: a death is not waited for */
        xp_side_open(&pair.sides[0], &options);
        xp_pair_until(&pair, pair.sides[0].ups == 1);
        killed_ns = cf_now_ns();
        assert_int_equal(kill(child, SIGKILL), 0);
        xp_pair_until(&pair, pair.sides[0].downs == 1);
        print_message("noticed after %llu ms\n",
                      (unsigned long long)((cf_now_ns() - killed_ns) / CF_NS_PER_MS));
        assert_int_equal(pair.sides[0].down_rc, CF_PEER_LOST);
        assert_true(cf_now_ns() - killed_ns < CF_NS_PER_S);
        assert_int_equal(waitpid(child, &status, 0), child);
        xp_side_close(&pair.sides[0]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_broken_connection_is_reset_once_and_goes_on),
        cmocka_unit_test(a_handshake_whose_pair_breaks_begins_again),
        cmocka_unit_test(frames_lent_outlive_the_connection),
        cmocka_unit_test(a_sleeper_is_woken_by_a_message),
        cmocka_unit_test(a_killed_peer_is_noticed_in_under_a_second),
    };
    int missing = verbs_device_missing();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
