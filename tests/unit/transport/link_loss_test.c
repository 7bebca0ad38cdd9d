/* SPDX-License-Identifier: Apache-2.0 */
/*
 * I-26 over a network with faults: every seed draws its faults, and whatever they are, each message arrives once, in
 * order and whole, and everything has ended once they cease. FULL=1 runs more seeds.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "tests/unit/transport/link_net.h"

#define SEEDS 120u
#define SEEDS_FULL 3000u

static void expect_sound(const struct link_net_options *options, struct link_net_result *result)
{
    link_net_run(options, result);
    if (result->why != NULL)
        fail_msg("seed %llu: %s", (unsigned long long)options->seed, result->why);
}

static void every_message_arrives_once_and_in_order_whatever_the_seed(void **state)
{
    const char *full = getenv("FULL");
    uint32_t seeds = full != NULL && full[0] == '1' ? SEEDS_FULL : SEEDS;
    struct link_net_result sum = {0};

    (void)state;
    for (uint64_t seed = 1; seed <= seeds; seed++) {
        struct link_net_options options;
        struct link_net_result result;

        link_net_options_draw(&options, seed);
        expect_sound(&options, &result);
        sum.segments_again += result.segments_again;
        sum.duplicates += result.duplicates;
        sum.alone += result.alone;
        sum.apart += result.apart;
        sum.reordered += result.reordered;
        sum.timeouts += result.timeouts;
        sum.damaged += result.damaged;
        sum.torn += result.torn;
        sum.refused += result.refused;
    }
    /* The seeds have reached what they are for. */
    assert_true(sum.segments_again > 0 && sum.duplicates > 0 && sum.reordered > 0);
    assert_true(sum.alone > 10 * seeds && sum.apart > 10 * seeds);
    assert_true(sum.timeouts > 0 && sum.damaged > 0 && sum.torn > 0 && sum.refused > 0);
}

static void the_same_seed_gives_the_same_run(void **state)
{
    struct link_net_options options;
    struct link_net_result first, second;

    (void)state;
    link_net_options_draw(&options, 5);
    expect_sound(&options, &first);
    expect_sound(&options, &second);
    assert_memory_equal(&first, &second, sizeof(first));
}

static void without_faults_nothing_is_sent_twice(void **state)
{
    struct link_net_options options;
    struct link_net_result result;

    (void)state;
    for (uint64_t seed = 1; seed <= 10; seed++) {
        link_net_options_init(&options, seed);
        options.is_steady = true;
        expect_sound(&options, &result);
        assert_int_equal(result.timeouts, 0);
        assert_int_equal(result.refused, 0);
        assert_int_equal(result.segments_again, 0);
    }
}

/* Loss of a fifth costs time, not more: with 30 % of all packets lost it still ends within the time of faults. */
static void loss_slows_down_and_does_not_stop(void **state)
{
    static const double losses[] = {0, 0.001, 0.01, 0.05, 0.2, 0.3};
    struct link_net_result result;

    (void)state;
    for (uint32_t i = 0; i < CF_COUNTOF(losses); i++) {
        struct link_net_options options;

        link_net_options_init(&options, 77);
        options.loss = losses[i];
        options.messages = 2000;
        expect_sound(&options, &result);
        print_message(
            "loss %5.1f %%: %6.1f MB/s of blocks and messages, %llu segments again, %llu time-outs\n",
            losses[i] * 100,
            2.0 * options.messages * (options.blocks * 8192 + 2 * 270) * 1e3 / (double)result.ended_ns,
            (unsigned long long)result.segments_again, (unsigned long long)result.timeouts);
        assert_true(result.ended_ns < UINT64_C(3000000000));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_message_arrives_once_and_in_order_whatever_the_seed),
        cmocka_unit_test(the_same_seed_gives_the_same_run),
        cmocka_unit_test(without_faults_nothing_is_sent_twice),
        cmocka_unit_test(loss_slows_down_and_does_not_stop),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
