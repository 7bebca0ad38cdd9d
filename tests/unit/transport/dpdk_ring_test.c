/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The dpdk provider over net_ring, several instances in one process: the conformance suite, with and without faults. With an
 * address behind the program's name only the suite, over that; with a pattern behind it only tests of such names.
 */
#include <libgen.h>
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
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
#include "transport/module.h"

#define BLOCK_CLASS 2u
#define BLOCK_BYTES 8192u
#define BLOCKS 300u
#define SOURCE XP_PAIR_FRAMES
#define TARGET (XP_PAIR_FRAMES + 5)

static uint64_t real_time(struct xp_fixture *fixture)
{
    (void)fixture;
    return cf_now_ns();
}

/* The module is two directories above tests/unit/transport. */
static bool has_module(void)
{
    char path[1024], directory[1100], why[300];
    ssize_t bytes = readlink("/proc/self/exe", path, sizeof(path) - 1);

    if (bytes <= 0)
        return false;
    path[bytes] = 0;
    snprintf(directory, sizeof(directory), "%s/../../..", dirname(path));
    if (setenv("CACHEFUSION_MODULES", directory, 1) != 0)
        return false;
    if (xp_module_is_present("dpdk", why, sizeof(why)))
        return true;
    print_message("skipped: %s\n", why);
    return false;
}

/* The place of a cluster of rings is the host's: one name a process, that two of this program may run side by side. */
static struct xp_fixture fixture_of(const char *address)
{
    struct xp_fixture fixture = {.address = address, .advance = real_time};

    snprintf(fixture.cluster, sizeof(fixture.cluster), "conformance-%d", (int)getpid());
    return fixture;
}

static int conformance_of(const char *address)
{
    struct xp_fixture fixture = fixture_of(address);

    print_message("over %s\n", address);
    return xp_conformance_run(&fixture);
}

static void addresses_that_cannot_be_are_refused_in_one_line(void **state)
{
    static const struct {
        const char *address, *word;
        enum cf_rc rc;
    } bad[] = {
        {"dpdk:", "address", CF_OPTION},
        {"dpdk:pigeon", "pigeon", CF_OPTION},
        {"dpdk:ring,mtu=576", "mtu", CF_OPTION},
        {"dpdk:ring,mtu=100000", "mtu", CF_OPTION},
        {"dpdk:ring,loss=2", "chance", CF_OPTION},
        {"dpdk:ring,colour=red", "colour", CF_OPTION},
        {"dpdk:af_packet:nosuch0", "no such network interface", CF_NOT_FOUND},
        {"dpdk:0000:FF:1f.%", "0000:ff:1f.0: no such PCI device", CF_NOT_FOUND},
        {"dpdk:0000:ff:1f.7.1", "address", CF_OPTION},
        {"dpdk:memif:/nonexistent/place", "/nonexistent/place", CF_SYSTEM},
    };
    struct xp_fixture fixture = fixture_of("dpdk:ring");

    (void)state;
    for (uint32_t i = 0; i < CF_COUNTOF(bad); i++) {
        struct cf_error error = {.rc = CF_OK};
        struct xp_options options;
        struct xp *xp = NULL;

        xp_side_options(&fixture, &options, 0, 2);
        options.address = bad[i].address;
        assert_int_equal(xp_open(&options, &xp, &error), bad[i].rc);
        assert_non_null(strstr(error.text, bad[i].word));
        assert_null(strchr(error.text, '\n'));
        assert_null(xp);
    }
}

struct program {
    struct sigaction actions[NSIG];
    sigset_t blocked;
    cpu_set_t mine, others;
    pthread_t other;
};

static void program_look(struct program *program)
{
    memset(program->actions, 0, sizeof(program->actions));
    for (int i = 1; i < NSIG; i++)
        (void)sigaction(i, NULL, &program->actions[i]); /* the C library keeps two for itself */
    assert_int_equal(pthread_sigmask(SIG_SETMASK, NULL, &program->blocked), 0);
    assert_int_equal(pthread_getaffinity_np(pthread_self(), sizeof(program->mine), &program->mine), 0);
    assert_int_equal(pthread_getaffinity_np(program->other, sizeof(program->others), &program->others), 0);
}

static void *stand_by(void *arg)
{
    (void)pthread_barrier_wait(arg);
    return NULL;
}

/* The first of all, since DPDK's environment starts once. */
static void a_program_keeps_its_signals_and_the_processors_of_its_threads(void **state)
{
    struct xp_fixture fixture = fixture_of("dpdk:ring");
    struct program before = {0}, after = {0};
    struct cf_error error = {.rc = CF_OK};
    struct xp_options options;
    pthread_barrier_t end;
    cpu_set_t first;
    struct xp *xp;
    int cpu = 0;

    (void)state;
    assert_int_equal(pthread_barrier_init(&end, NULL, 2), 0);
    assert_int_equal(pthread_create(&before.other, NULL, stand_by, &end), 0);
    after.other = before.other;
    assert_int_equal(sched_getaffinity(0, sizeof(first), &first), 0);
    while (!CPU_ISSET(cpu, &first))
        cpu++;
    CPU_ZERO(&first);
    CPU_SET(cpu, &first);
    assert_int_equal(pthread_setaffinity_np(before.other, sizeof(first), &first), 0);
    program_look(&before);
    xp_side_options(&fixture, &options, 0, 2);
    assert_int_equal(xp_open(&options, &xp, &error), CF_OK);
    program_look(&after);
    xp_close(&xp);
    for (int i = 1; i < NSIG; i++) {
        assert_true(before.actions[i].sa_handler == after.actions[i].sa_handler);
        assert_int_equal(before.actions[i].sa_flags, after.actions[i].sa_flags);
        assert_int_equal(sigismember(&before.blocked, i), sigismember(&after.blocked, i));
    }
    assert_true(CPU_EQUAL(&before.mine, &after.mine));
    assert_true(CPU_EQUAL(&first, &after.others));
    assert_true(pthread_barrier_wait(&end) <= 0);
    assert_int_equal(pthread_join(before.other, NULL), 0);
    assert_int_equal(pthread_barrier_destroy(&end), 0);
}

static void a_node_id_is_held_once(void **state)
{
    struct xp_fixture fixture = fixture_of("dpdk:ring");
    struct cf_error error = {.rc = CF_OK};
    struct xp_options options;
    struct xp *first, *second = NULL;

    (void)state;
    xp_side_options(&fixture, &options, 0, 2);
    assert_int_equal(xp_open(&options, &first, &error), CF_OK);
    assert_int_equal(xp_open(&options, &second, &error), CF_NODE_TAKEN);
    assert_non_null(strstr(error.text, "running already"));
    xp_close(&first);
    assert_int_equal(xp_open(&options, &first, &error), CF_OK);
    xp_close(&first);
}

/* Of one round: every message with a block comes once, in order, with its bytes in a lent frame. */
static void expect_block(struct xp_pair *pair, uint32_t side, const struct xp_event *event, uint64_t number)
{
    const uint8_t *bytes = xp_side_frame(&pair->sides[side], event->frame);

    assert_int_equal(event->type, XP_EV_BLOCK);
    assert_int_equal(event->header->sequence, number);
    assert_int_equal(event->bytes, 8);
    assert_memory_equal(event->message, &number, sizeof(number));
    for (uint32_t i = 0; i < BLOCK_BYTES; i++)
        assert_int_equal(bytes[i], (uint8_t)(number * 3 + i));
}

static void blocks_arrive_once_and_in_order_whatever_the_network_does(void **state)
{
    static const char *const addresses[] = {
        "dpdk:ring,loss=0.01,seed=1", "dpdk:ring,loss=0.2,mtu=1500,seed=2",
        "dpdk:ring,twice=0.5,late=0.3,seed=3", "dpdk:ring,damage=0.1,late=0.1,mtu=1500,seed=4",
        "dpdk:ring,loss=0.05,twice=0.05,late=0.05,damage=0.02,seed=5"};

    (void)state;
    for (uint32_t a = 0; a < CF_COUNTOF(addresses); a++) {
        struct xp_fixture fixture = fixture_of(addresses[a]);
        struct xp_wait wait = xp_wait_begin();
        uint64_t sent = 0, got = 0;
        struct xp_pair pair;

        xp_pair_open(&pair, &fixture, 2);
        xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, TARGET);
        while (got < BLOCKS) {
            uint8_t *bytes = xp_side_frame(&pair.sides[0], SOURCE), *body;

            if (sent == got && (body = xp_begin(pair.sides[0].xp, 1, XP_DATA, 8)) != NULL) {
                sent++;
                memcpy(body, &sent, sizeof(sent));
                for (uint32_t i = 0; i < BLOCK_BYTES; i++)
                    bytes[i] = (uint8_t)(sent * 3 + i);
                xp_post_block(pair.sides[0].xp, 1, XP_DATA, 7, sent, SOURCE);
                xp_flush(pair.sides[0].xp);
            }
            xp_pair_turn(&pair);
            for (uint32_t i = 0; i < pair.sides[1].events_count; i++) {
                expect_block(&pair, 1, &pair.sides[1].events[i], ++got);
                xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, pair.sides[1].events[i].frame);
            }
            xp_wait_check(&wait, "all blocks", __FILE__, __LINE__);
        }
        xp_pair_close(&pair);
    }
}

int main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_program_keeps_its_signals_and_the_processors_of_its_threads),
        cmocka_unit_test(addresses_that_cannot_be_are_refused_in_one_line),
        cmocka_unit_test(a_node_id_is_held_once),
        cmocka_unit_test(blocks_arrive_once_and_in_order_whatever_the_network_does),
    };
    int failed;

    if (!has_module())
        return 0;
    if (argc > 2)
        cmocka_set_test_filter(argv[2]);
    if (argc > 1)
        return conformance_of(argv[1]);
    failed = cmocka_run_group_tests(tests, NULL, NULL);
    failed += conformance_of("dpdk:ring");
    failed += conformance_of("dpdk:ring,mtu=1500");
    return failed;
}
