/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A peer that has been let in and then writes anything it likes into its own region and its socket. The victim
 * counts it, drops the connection, reports XP_EV_DOWN(CF_INVALID), and lives.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tests/unit/transport/conformance.h"
#include "transport/shm/shm.h"

static char address[64];

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

static struct xp_fixture fixture = {.address = address, .advance = real_time};

/* The slot of the attacker (node 1) that the victim (node 0) reads next. */
static struct xp_shm_slot *next_slot(struct xp_pair *pair)
{
    struct xp_shm_tx *tx = &xp_shm_of(pair->sides[1].xp)->peers[0].tx[XP_DATA];

    return (struct xp_shm_slot *)(tx->slots + (tx->credit.sent & tx->mask) * XP_SHM_SLOT_BYTES);
}

/* A message as an honest peer would write it, not yet published. */
static struct xp_shm_slot *good_slot(struct xp_pair *pair)
{
    struct xp_shm_tx *tx = &xp_shm_of(pair->sides[1].xp)->peers[0].tx[XP_DATA];
    struct xp_shm_slot *slot = next_slot(pair);

    xp_lane_stamp(&tx->facts, &slot->header, 1, 8, 1);
    return slot;
}

static void publish(struct xp_shm_slot *slot, uint64_t word)
{
    cf_publish_u64((_Atomic uint64_t *)&slot->header.sequence, word);
}

static void expect_dropped(struct xp_pair *pair, const uint64_t *counter)
{
    xp_pair_until(pair, pair->sides[0].downs == 1);
    assert_int_equal(pair->sides[0].down_rc, CF_INVALID);
    assert_int_equal(pair->sides[0].messages, 0);
    assert_int_equal(*counter, 1);
    assert_false(xp_is_up(pair->sides[0].xp, 1));
    xp_pair_until(pair, pair->sides[1].downs >= 1);
    xp_pair_close(pair);
}

#define COUNTER(pair, name) (&xp_counters((pair).sides[0].xp)->name)

static void a_wrong_version_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.version = 99;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, bad_header));
}

static void another_senders_name_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.node = 0;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, bad_header));
}

static void a_length_beyond_the_slot_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.bytes = XP_BODY_BYTES_MAX + 1;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, bad_length));
}

static void a_wrong_tag_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.tag ^= 1;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, bad_tag));
}

static void another_incarnation_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.incarnation++;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, stale_incarnation));
}

static void another_generation_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair)->header.generation--;
    publish(next_slot(&pair), 1);
    expect_dropped(&pair, COUNTER(pair, stale_generation));
}

static void a_sequence_that_jumps_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    good_slot(&pair);
    publish(next_slot(&pair), 2);
    expect_dropped(&pair, COUNTER(pair, bad_sequence));
}

static void a_frame_it_does_not_have_is_dropped(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    xp_frame_post(pair.sides[0].xp, 2, XP_PAIR_FRAMES);
    good_slot(&pair)->block = (struct xp_shm_block_ref){.frame = 2 * XP_PAIR_FRAMES};
    publish(next_slot(&pair), 1 | XP_SHM_BLOCK_BIT);
    expect_dropped(&pair, COUNTER(pair, bad_frame));
}

static void credit_that_was_never_spent_is_refused(void **state)
{
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    cf_publish_u64(xp_shm_of(pair.sides[1].xp)->peers[0].rx[XP_DATA].told, 1000);
    for (uint32_t i = 0; i < XP_PAIR_SLOTS; i++) {
        assert_non_null(xp_begin(pair.sides[0].xp, 1, XP_DATA, 8));
        xp_post(pair.sides[0].xp, 1, XP_DATA, 1, 1);
    }
    assert_null(xp_begin(pair.sides[0].xp, 1, XP_DATA, 8));
    expect_dropped(&pair, COUNTER(pair, bad_sequence));
}

static void garbage_on_the_socket_is_dropped(void **state)
{
    struct xp_pair pair;
    uint8_t garbage[300];

    (void)state;
    memset(garbage, 0xcc, sizeof(garbage));
    xp_pair_open(&pair, &fixture, 2);
    assert_int_equal(send(xp_shm_of(pair.sides[1].xp)->peers[0].fd, garbage, sizeof(garbage), 0),
                     sizeof(garbage));
    expect_dropped(&pair, COUNTER(pair, bad_header));
}

/* A process that writes noise over its whole region for as long as it is heard; node 1 of 2. */
static pid_t noise_start(uint64_t seed)
{
    pid_t pid = fork();
    uint64_t deadline_ns = cf_now_ns() + 30 * CF_NS_PER_S, written = 0;
    struct cf_error error;
    struct xp_options options;
    struct xp *xp = NULL;
    struct cf_rng rng;

    if (pid != 0)
        return pid;
    cf_rng_seed(&rng, seed);
    xp_side_options(&fixture, &options, 1, 2);
    options.incarnation = (uint32_t)seed;
    if (xp_open(&options, &xp, &error) != CF_OK || xp_start(xp, NULL, &error) != CF_OK)
        _exit(1);
    while (cf_now_ns() < deadline_ns) {
        struct xp_shm *shm = xp_shm_of(xp);
        struct xp_shm_slot *slots = (struct xp_shm_slot *)shm->peers[0].tx[XP_DATA].slots;

        if (!xp_is_up(xp, 0)) {
            struct xp_event event;
            if (xp_poll(xp, cf_now_ns(), &event, 1) == 1 && event.type == XP_EV_HELLO)
                xp_accept(xp, 0, CF_OK, NULL);
            if (written > 0)
                _exit(0);
            continue;
        }
        for (uint32_t i = 0; i < 64; i++) {
            /* Headers that pass at first, then change under the reader: the copy is what counts. */
            struct xp_shm_slot *slot = &slots[written % XP_PAIR_SLOTS];
            xp_lane_stamp(&shm->peers[0].tx[XP_DATA].facts, &slot->header, 1,
                          (uint32_t)cf_rng_below(&rng, 449), 1);
            publish(slot, ++written);
            slot->header.bytes = (uint32_t)cf_rng_next(&rng);
            memset(slot->body, (int)written, 64);
        }
        if (cf_rng_below(&rng, 100) == 0)
            for (uint64_t at = 0; at + 8 <= shm->control.bytes; at += 8)
                *(volatile uint64_t *)((uint8_t *)shm->control.base + at) = cf_rng_next(&rng);
        struct xp_event events[8];
        (void)xp_poll(xp, cf_now_ns(), events, 8);
    }
    _exit(2);
}

static void noise_ends_the_connection_and_not_the_victim(void **state)
{
    struct xp_pair pair;

    (void)state;
    memset(&pair, 0, sizeof(pair));
    pair.fixture = &fixture;
    pair.count = 1;
    {
        struct xp_options options;
        xp_side_options(&fixture, &options, 0, 2);
        xp_side_open(&pair.sides[0], &options);
    }
    for (uint32_t seed = 1; seed <= 5; seed++) {
        int status = 0;
        pid_t pid = noise_start(seed);

        assert_true(pid > 0);
        xp_pair_until(&pair, pair.sides[0].downs == seed);
        assert_true(pair.sides[0].down_rc == CF_INVALID || pair.sides[0].down_rc == CF_PEER_LOST);
        assert_int_equal(kill(pid, SIGKILL), 0);
        assert_int_equal(waitpid(pid, &status, 0), pid);
    }
    xp_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_wrong_version_is_dropped),
        cmocka_unit_test(another_senders_name_is_dropped),
        cmocka_unit_test(a_length_beyond_the_slot_is_dropped),
        cmocka_unit_test(a_wrong_tag_is_dropped),
        cmocka_unit_test(another_incarnation_is_dropped),
        cmocka_unit_test(another_generation_is_dropped),
        cmocka_unit_test(a_sequence_that_jumps_is_dropped),
        cmocka_unit_test(a_frame_it_does_not_have_is_dropped),
        cmocka_unit_test(credit_that_was_never_spent_is_refused),
        cmocka_unit_test(garbage_on_the_socket_is_dropped),
        cmocka_unit_test(noise_ends_the_connection_and_not_the_victim),
    };
    char directory[] = "/dev/shm/xp-hostile-test-XXXXXX", path[96];
    int failed;

    if (mkdtemp(directory) == NULL) {
        perror("mkdtemp");
        return 1;
    }
    snprintf(address, sizeof(address), "shm:%s", directory);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    snprintf(path, sizeof(path), "%s/conformance-1.sock", directory);
    unlink(path);
    snprintf(path, sizeof(path), "%s/conformance-1.lock", directory);
    unlink(path);
    return failed + (rmdir(directory) != 0);
}
