/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: monotony, agreement of the tick clock with the system's clock, the fallback. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>

#include "base/clock.h"

#define READS 100000
#define APART_PPM_MAX 2000

static void monotonic_clock_does_not_step_back(void **state)
{
    uint64_t before = cf_now_ns();

    (void)state;
    for (int i = 0; i < READS; i++) {
        uint64_t now = cf_now_ns();
        assert_true(now >= before);
        before = now;
    }
}

static void wall_clock_is_of_this_century(void **state)
{
    (void)state;
    assert_true(cf_wall_ns() > UINT64_C(1600000000) * CF_NS_PER_S);
}

/* Not earlier than one reading of the clock before it, not later than one behind it, but for the error. */
static void tick_clock_stays_between_readings_of_the_system_clock(void **state)
{
    struct cf_tick_clock clock;
    uint64_t begin;

    (void)state;
    cf_tick_clock_init(&clock, 10 * CF_NS_PER_MS);
    begin = cf_now_ns();
    for (int i = 0; i < READS; i++) {
        uint64_t early = cf_now_ns();
        uint64_t tick = cf_tick_now_ns(&clock);
        uint64_t late = cf_now_ns();
        uint64_t slack = (late - begin) * APART_PPM_MAX / 1000000 + 20 * CF_NS_PER_US;
        assert_true(tick + slack >= early);
        assert_true(tick <= late + slack);
    }
}

static void without_a_counter_the_system_clock_is_read(void **state)
{
    struct cf_tick_clock clock = {.has_counter = false};
    uint64_t before = cf_now_ns();
    uint64_t now = cf_tick_now_ns(&clock);

    (void)state;
    assert_true(now >= before);
    assert_true(now <= cf_now_ns());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(monotonic_clock_does_not_step_back),
        cmocka_unit_test(wall_clock_is_of_this_century),
        cmocka_unit_test(tick_clock_stays_between_readings_of_the_system_clock),
        cmocka_unit_test(without_a_counter_the_system_clock_is_read),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
