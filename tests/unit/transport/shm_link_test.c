/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only shm can show: node ids taken twice, broken sockets, processes that die, sleeping and waking, memory that
 * is not sealed. Not here: peers that write garbage (shm_hostile_test.c).
 */
#include <fcntl.h>
#include <poll.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/conformance.h"
#include "transport/shm/shm.h"

#define POLL_MS 10000

static char address[64];

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

static struct xp_fixture fixture = {.address = address, .advance = real_time};

static bool send_one(struct xp_side *side, uint16_t to, uint64_t number)
{
    uint64_t *body = xp_begin(side->xp, to, XP_CONTROL, 8);

    if (body == NULL)
        return false;
    *body = number;
    xp_post(side->xp, to, XP_CONTROL, 1, number);
    xp_flush(side->xp);
    return true;
}

static void a_node_id_runs_once(void **state)
{
    struct xp_options options;
    struct cf_error error = {.rc = 0};
    struct xp_side first, again;
    struct xp *second = NULL;

    (void)state;
    xp_side_options(&fixture, &options, 0, 2);
    xp_side_open(&first, &options);
    assert_int_equal(xp_open(&options, &second, &error), CF_NODE_TAKEN);
    assert_non_null(strstr(error.text, "node 0"));
    assert_null(second);
    xp_side_close(&first);
    xp_side_open(&again, &options);
    xp_side_close(&again);
}

static void the_socket_of_a_dead_process_is_replaced(void **state)
{
    struct xp_options options;
    struct xp_side side;
    int status = 0;
    pid_t pid = fork();

    (void)state;
    xp_side_options(&fixture, &options, 0, 2);
    if (pid == 0) {
        struct cf_error error;
        struct xp *xp = NULL;

        if (xp_open(&options, &xp, &error) == CF_OK && xp_start(xp, NULL, &error) == CF_OK)
            raise(SIGKILL);
        _exit(1);
    }
    assert_true(pid > 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    xp_side_open(&side, &options);
    xp_side_close(&side);
}

static void a_broken_socket_resets_both_ends_under_a_new_generation(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    for (uint32_t round = 1; round <= 3; round++) {
        uint32_t generation;

        pair.sides[1].messages = 0;
        assert_true(send_one(&pair.sides[0], 1, round));
        xp_pair_until(&pair, pair.sides[1].messages == 1);
        generation = pair.sides[1].events[0].header->generation;
        assert_int_equal(generation, round);
        xp_shm_break(pair.sides[round & 1].xp, (uint16_t)(~round & 1));
        xp_pair_until(&pair, pair.sides[0].resets == round && pair.sides[1].resets == round);
    }
    assert_int_equal(pair.sides[0].downs + pair.sides[1].downs, 0);
    assert_int_equal(pair.sides[0].hellos + pair.sides[1].hellos, 2);
    xp_pair_close(&pair);
}

/* Runs node 1 in a process of its own: sends `count` messages when it is up, then dies or goes on. */
static pid_t child_start(uint32_t incarnation, uint64_t count, bool dies)
{
    pid_t pid = fork();
    uint64_t sent = 0, deadline_ns = cf_now_ns() + 30 * CF_NS_PER_S;
    struct cf_error error;
    struct xp_options options;
    struct xp *xp = NULL;

    if (pid != 0)
        return pid;
    xp_side_options(&fixture, &options, 1, 2);
    options.incarnation = incarnation;
    if (xp_open(&options, &xp, &error) != CF_OK || xp_start(xp, NULL, &error) != CF_OK)
        _exit(1);
    while (cf_now_ns() < deadline_ns) {
        struct xp_event events[4];
        uint32_t got = xp_poll(xp, cf_now_ns(), events, 4);

        for (uint32_t i = 0; i < got; i++)
            if (events[i].type == XP_EV_HELLO)
                xp_accept(xp, events[i].node, CF_OK, NULL);
        while (xp_is_up(xp, 0) && sent < count && xp_begin(xp, 0, XP_CONTROL, 8) != NULL)
            xp_post(xp, 0, XP_CONTROL, 1, ++sent);
        if (dies && sent == count)
            raise(SIGKILL);
    }
    _exit(2);
}

static void open_alone(struct xp_pair *pair, uint16_t node)
{
    struct xp_options options;

    memset(pair, 0, sizeof(*pair));
    pair->fixture = &fixture;
    pair->count = 1;
    xp_side_options(&fixture, &options, node, 2);
    xp_side_open(&pair->sides[0], &options);
}

static void a_killed_peer_is_reported_after_all_it_has_published(void **state)
{
    enum { MESSAGES = 11 };
    pid_t pid = child_start(1, MESSAGES, true);
    struct xp_pair pair;
    int status = 0;

    (void)state;
    assert_true(pid > 0);
    open_alone(&pair, 0);
    xp_pair_until(&pair, pair.sides[0].downs == 1);
    assert_int_equal(pair.sides[0].down_rc, CF_PEER_LOST);
    assert_int_equal(pair.sides[0].messages, MESSAGES);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status));
    xp_pair_close(&pair);
}

static void a_life_that_is_over_does_not_come_back_but_a_higher_one_does(void **state)
{
    struct xp_pair pair;
    int status = 0;
    pid_t pid;

    (void)state;
    open_alone(&pair, 0);
    pid = child_start(5, 1, false);
    assert_true(pid > 0);
    xp_pair_until(&pair, pair.sides[0].messages == 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    xp_pair_until(&pair, pair.sides[0].downs == 1);

    pid = child_start(5, 1, false);
    assert_true(pid > 0);
    xp_pair_until(&pair, xp_counters(pair.sides[0].xp)->stale_incarnation > 0);
    assert_int_equal(pair.sides[0].ups, 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);

    pid = child_start(6, 1, false);
    assert_true(pid > 0);
    xp_pair_until(&pair, pair.sides[0].messages == 2);
    assert_int_equal(pair.sides[0].ups, 2);
    assert_int_equal(pair.sides[0].downs, 1);
    assert_int_equal(kill(pid, SIGKILL), 0);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    xp_pair_close(&pair);
}

/* Nothing is left to do on any side: the next xp_arm succeeds. */
static void settle(struct xp_pair *pair, uint32_t side)
{
    struct xp_wait wait = xp_wait_begin();

    while (!xp_arm(pair->sides[side].xp)) {
        xp_pair_turn(pair);
        xp_wait_check(&wait, "quiet", __FILE__, __LINE__);
    }
}

static int readable(const struct xp_side *side, int timeout_ms)
{
    struct pollfd one = {.fd = xp_fd(side->xp), .events = POLLIN};

    return poll(&one, 1, timeout_ms);
}

static void a_message_ends_a_sleep_once(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    for (uint32_t round = 1; round <= 3; round++) {
        pair.sides[1].messages = 0;
        settle(&pair, 1);
        assert_int_equal(readable(&pair.sides[1], 0), 0);
        for (uint64_t i = 1; i <= 3; i++)
            assert_true(send_one(&pair.sides[0], 1, i));
        assert_int_equal(xp_counters(pair.sides[0].xp)->wakeups_sent, round);
        assert_int_equal(readable(&pair.sides[1], POLL_MS), 1);
        xp_disarm(pair.sides[1].xp);
        xp_pair_until(&pair, pair.sides[1].messages == 3);
    }
    /* Awake: nothing to send but the message. */
    assert_true(send_one(&pair.sides[0], 1, 9));
    assert_int_equal(xp_counters(pair.sides[0].xp)->wakeups_sent, 3);
    assert_false(xp_arm(pair.sides[1].xp));
    xp_pair_close(&pair);
}

static void credits_that_return_end_the_sleep_of_who_lacked_them(void **state)
{
    struct xp_pair pair;
    uint64_t sent = 0;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    while (send_one(&pair.sides[0], 1, sent + 1))
        sent++;
    assert_int_equal(sent, XP_PAIR_SLOTS);
    while (!xp_arm(pair.sides[0].xp))
        xp_pair_poll(&pair, 0);
    assert_int_equal(readable(&pair.sides[0], 0), 0);
    for (uint32_t i = 0; i < 8; i++)
        xp_pair_poll(&pair, 1);
    assert_int_equal(readable(&pair.sides[0], POLL_MS), 1);
    xp_disarm(pair.sides[0].xp);
    assert_true(send_one(&pair.sides[0], 1, 1));
    xp_pair_close(&pair);
}

static void wake_from_outside_ends_a_sleep(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    settle(&pair, 0);
    xp_wake(pair.sides[0].xp);
    assert_int_equal(readable(&pair.sides[0], POLL_MS), 1);
    xp_disarm(pair.sides[0].xp);
    xp_pair_turn(&pair);
    settle(&pair, 0);
    assert_int_equal(readable(&pair.sides[0], 0), 0);
    xp_pair_close(&pair);
}

static void no_peer_waits_longer_than_one_round(void **state)
{
    struct xp_event events[4];
    struct xp_pair pair;
    bool seen = false;

    (void)state;
    xp_pair_open(&pair, &fixture, 3);
    for (uint64_t i = 1; i <= XP_PAIR_SLOTS; i++)
        assert_true(send_one(&pair.sides[1], 0, i));
    assert_true(send_one(&pair.sides[2], 0, 1));
    for (uint32_t poll_count = 0; poll_count < 3; poll_count++) {
        uint32_t got = xp_poll(pair.sides[0].xp, cf_now_ns(), events, 4);

        for (uint32_t i = 0; i < got; i++)
            seen |= events[i].node == 2;
    }
    assert_true(seen);
    xp_pair_close(&pair);
}

static void memory_that_is_not_sealed_or_too_small_is_refused(void **state)
{
    struct xp_shm_region region;
    int errno_now = 0;
    int fd = memfd_create("plain", MFD_CLOEXEC | MFD_ALLOW_SEALING);

    (void)state;
    assert_true(fd >= 0);
    assert_int_equal(ftruncate(fd, 8192), 0);
    assert_non_null(xp_shm_region_attach(&region, fd, 8192));
    assert_int_equal(region.fd, -1);

    assert_int_equal(xp_shm_region_create(&region, "sealed", 8192, false, &errno_now), CF_OK);
    assert_true(ftruncate(region.fd, 4096) != 0);
    assert_true(mmap(NULL, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, region.fd, 0) == MAP_FAILED);
    assert_true(fallocate(region.fd, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, 0, 4096) != 0);
    fd = dup(region.fd);
    xp_shm_region_close(&region);
    assert_non_null(xp_shm_region_attach(&region, dup(fd), 8193));
    assert_null(xp_shm_region_attach(&region, fd, 8192));
    xp_shm_region_close(&region);
}

static void frames_outside_shared_memory_are_refused(void **state)
{
    static uint8_t elsewhere[4096];
    struct xp_frame_space space = {.base = elsewhere, .bytes = sizeof(elsewhere), .count = 1};
    struct xp_options options;
    struct cf_error error;
    struct xp *xp = NULL;

    (void)state;
    xp_side_options(&fixture, &options, 0, 2);
    assert_int_equal(xp_open(&options, &xp, &error), CF_OK);
    assert_int_equal(xp_start(xp, &space, &error), CF_INVALID);
    xp_close(&xp);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_node_id_runs_once),
        cmocka_unit_test(the_socket_of_a_dead_process_is_replaced),
        cmocka_unit_test(a_broken_socket_resets_both_ends_under_a_new_generation),
        cmocka_unit_test(a_killed_peer_is_reported_after_all_it_has_published),
        cmocka_unit_test(a_life_that_is_over_does_not_come_back_but_a_higher_one_does),
        cmocka_unit_test(a_message_ends_a_sleep_once),
        cmocka_unit_test(credits_that_return_end_the_sleep_of_who_lacked_them),
        cmocka_unit_test(wake_from_outside_ends_a_sleep),
        cmocka_unit_test(no_peer_waits_longer_than_one_round),
        cmocka_unit_test(memory_that_is_not_sealed_or_too_small_is_refused),
        cmocka_unit_test(frames_outside_shared_memory_are_refused),
    };
    char directory[] = "/dev/shm/xp-link-test-XXXXXX", path[96];
    int failed;

    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    snprintf(address, sizeof(address), "shm:%s", directory);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    /* What killed children leave behind. */
    snprintf(path, sizeof(path), "%s/conformance-1.sock", directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/conformance-1.lock", directory);
    unlink(path);
    if (rmdir(directory) != 0) {
        perror("an instance left something behind");
        failed++;
    }
    return failed;
}
