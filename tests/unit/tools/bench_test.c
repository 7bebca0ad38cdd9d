/* SPDX-License-Identifier: Apache-2.0 */
/* tools/bench without programs: commands, samples by class, ratios. Runs and catalogues: tests/shell/bench.sh. */
#include <math.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <string.h>

#include <cmocka.h>

#include "tools/bench/bench.h"

static const struct bench_settings settings = {
    .transport = "shm:/x", .work = "/tmp/w", .scale = 0.5, .cpus = {2, 5}, .repeats = 4};
static const struct bench_entry entry = {.name = "e", .contenders_count = 2};

static void braces_become_what_they_stand_for(void **state)
{
    char text[128];

    (void)state;
    assert_true(bench_command_expand(&settings, "a --x {transport} {work}/b {cpus} {cpu1} {1000} {1}", text,
                                     sizeof text));
    assert_string_equal(text, "a --x shm:/x /tmp/w/b 2,5 5 500 1"); /* a number never becomes 0 */
    assert_true(bench_command_expand(&settings, "a{", text, sizeof text));
    assert_string_equal(text, "a{");
}

static void a_command_with_an_unknown_word_or_no_room_is_refused(void **state)
{
    char text[8];

    (void)state;
    assert_false(bench_command_expand(&settings, "a {b}", text, sizeof text));
    assert_false(bench_command_expand(&settings, "12345678", text, sizeof text));
    assert_true(bench_command_expand(&settings, "1234567", text, sizeof text));
    assert_false(bench_command_expand(&settings, "", text, sizeof text));
}

static void classes_are_told_by_the_round_trip_of_a_line(void **state)
{
    (void)state;
    assert_int_equal(bench_class_of(0), BENCH_CLASS_ONE_CPU);
    assert_int_equal(bench_class_of(33), BENCH_CLASS_SIBLINGS);
    assert_int_equal(bench_class_of(75), BENCH_CLASS_SHARED_L3);
    assert_int_equal(bench_class_of(235), BENCH_CLASS_SHARED_L3);
    assert_int_equal(bench_class_of(440), BENCH_CLASS_OTHER_L3);
    assert_int_equal(bench_class_of(1100), BENCH_CLASS_OTHER_SOCKET);
}

static void a_core_is_shared_where_a_look_takes_longer_than_the_fastest_one(void **state)
{
    double looks[] = {2.5, 2.4, 4.1, 2.45}, later[] = {2.0, 2.39, 2.41, 4.0}, many[64], least = 0;

    (void)state;
    assert_true(fabs(bench_core_judge(&least, looks, 4) - 0.25) < 1e-9);
    assert_true(fabs(least - 2.4) < 1e-9);
    assert_true(fabs(bench_core_judge(&least, later, 4) - 0.5) < 1e-9); /* 2.0 shows that 2.41 was shared */
    assert_true(fabs(bench_core_judge(&least, later, 0) - 1) < 1e-9);   /* none was left alone */
    assert_true(fabs(least - 2.0) < 1e-9);
    for (uint32_t i = 0; i < 64; i++)
        many[i] = i < 4 ? 0.5 : 2.1;
    assert_true(fabs(bench_core_judge(&least, many, 64)) <
                1e-9); /* four of 64 were wrong, and move nothing */
    assert_true(fabs(least - 2.0) < 1e-9);
}

static void a_look_at_a_processor_tells_a_share_and_leaves_the_thread_where_it_was(void **state)
{
    cpu_set_t before, behind;
    double least = 0, share;
    int cpu = 0;

    (void)state;
    assert_int_equal(sched_getaffinity(0, sizeof before, &before), 0);
    while (!CPU_ISSET(cpu, &before))
        cpu++;
    share = bench_core_shared(&least, cpu);
    assert_true(share >= 0 && share <= 1);
    assert_int_equal(sched_getaffinity(0, sizeof behind, &behind), 0);
    assert_true(CPU_EQUAL(&before, &behind));
    assert_true(bench_core_shared(&least, CPU_SETSIZE - 1) >= 0);
}

static void add(struct bench_result *result, uint32_t contender, uint32_t round, enum bench_class class,
                double value, const char *unit)
{
    static struct bench_run run;
    struct bench_line line = {{1, 0}, {1, 0}, class};

    memset(&run, 0, sizeof run);
    run.said_count = 1;
    run.said[0].share = -1;
    run.said[0].value = value;
    snprintf(run.said[0].name, sizeof run.said[0].name, "f");
    snprintf(run.said[0].unit, sizeof run.said[0].unit, "%s", unit);
    assert_true(bench_result_add(result, contender, round, &line, &run));
}

static void spread_is_of_one_class_only(void **state)
{
    static struct bench_result result;
    struct bench_spread spread;

    (void)state;
    assert_true(bench_result_open(&result, &entry, 4));
    add(&result, 0, 0, BENCH_CLASS_SHARED_L3, 10, "ns");
    add(&result, 0, 1, BENCH_CLASS_MOVED, 999, "ns");
    add(&result, 0, 2, BENCH_CLASS_SHARED_L3, 30, "ns");
    add(&result, 0, 3, BENCH_CLASS_SHARED_L3, 20, "ns");
    bench_result_end(&result);
    assert_int_equal(result.class, BENCH_CLASS_SHARED_L3);
    spread = bench_series_spread(&result.series[0], BENCH_CLASS_SHARED_L3);
    assert_int_equal(spread.count, 3);
    assert_true(spread.median == 20 && spread.low == 15 && spread.high == 25);
    assert_true(spread.least == 10 && spread.most == 30);
    assert_int_equal(bench_series_spread(&result.series[0], BENCH_CLASS_OTHER_L3).count, 0);
    bench_result_close(&result);
}

static void ratio_takes_turns_in_which_both_were_in_the_class(void **state)
{
    static struct bench_result result;
    struct bench_spread ratio;

    (void)state;
    assert_true(bench_result_open(&result, &entry, 4));
    for (uint32_t round = 0; round < 4; round++) {
        add(&result, 0, round, round == 1 ? BENCH_CLASS_OTHER_L3 : BENCH_CLASS_SHARED_L3, 10, "ns");
        if (round != 2) /* a turn in which the other one said nothing */
            add(&result, 1, round, BENCH_CLASS_SHARED_L3, round == 0 ? 20 : 40, "ns");
    }
    assert_ptr_equal(bench_result_other(&result, &result.series[1], 0), &result.series[0]);
    assert_null(bench_result_other(&result, &result.series[1], 2));
    ratio = bench_ratio_spread(&result.series[0], &result.series[1], BENCH_CLASS_SHARED_L3);
    assert_int_equal(ratio.count, 2);
    assert_true(ratio.least == 0.25 && ratio.most == 0.5);
    bench_result_close(&result);
}

static void ratio_of_rates_is_below_one_when_the_first_carries_more(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_true(bench_unit_is_rate("op/s") && bench_unit_is_rate("1/s"));
    assert_false(bench_unit_is_rate("ns"));
    assert_false(bench_unit_is_rate("/s"));
    assert_true(bench_result_open(&result, &entry, 1));
    add(&result, 0, 0, BENCH_CLASS_SIBLINGS, 400, "op/s");
    add(&result, 1, 0, BENCH_CLASS_SIBLINGS, 100, "op/s");
    assert_true(bench_ratio_spread(&result.series[0], &result.series[1], BENCH_CLASS_SIBLINGS).median ==
                0.25);
    bench_result_close(&result);
}

static void a_result_in_which_all_moved_has_no_class_to_compare_in(void **state)
{
    static struct bench_result result;

    (void)state;
    assert_true(bench_result_open(&result, &entry, 1));
    add(&result, 0, 0, BENCH_CLASS_MOVED, 1, "ns");
    bench_result_end(&result);
    assert_int_equal(result.class, BENCH_CLASS_MOVED);
    bench_result_close(&result);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(braces_become_what_they_stand_for),
        cmocka_unit_test(a_command_with_an_unknown_word_or_no_room_is_refused),
        cmocka_unit_test(classes_are_told_by_the_round_trip_of_a_line),
        cmocka_unit_test(a_core_is_shared_where_a_look_takes_longer_than_the_fastest_one),
        cmocka_unit_test(a_look_at_a_processor_tells_a_share_and_leaves_the_thread_where_it_was),
        cmocka_unit_test(spread_is_of_one_class_only),
        cmocka_unit_test(ratio_takes_turns_in_which_both_were_in_the_class),
        cmocka_unit_test(ratio_of_rates_is_below_one_when_the_first_carries_more),
        cmocka_unit_test(a_result_in_which_all_moved_has_no_class_to_compare_in),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
