/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: numbers that end in any order, heard by a master in any order and any number of times (G-15). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "grd/window.h"

static void a_number_is_over_once_it_has_ended(void **state)
{
    struct grd_window window;

    (void)state;
    grd_window_init(&window);
    assert_true(grd_window_is_over(&window, 0));
    assert_false(grd_window_is_over(&window, 1));
    assert_true(grd_window_end(&window, 2));
    assert_true(grd_window_is_over(&window, 2));
    assert_false(grd_window_is_over(&window, 1));
    grd_window_slide(&window);
    assert_int_equal(window.low, 1);
    assert_true(grd_window_end(&window, 1));
    grd_window_slide(&window);
    assert_int_equal(window.low, 3);
    assert_true(grd_window_end(&window, 1));
    assert_false(grd_window_is_over(&window, 3));
}

static void numbers_beyond_the_window_are_nobodys(void **state)
{
    struct grd_window window;

    (void)state;
    grd_window_init(&window);
    assert_true(grd_window_end(&window, GRD_WINDOW));
    assert_false(grd_window_end(&window, GRD_WINDOW + 1));
    assert_false(grd_window_is_over(&window, GRD_WINDOW + 1));
    grd_window_raise(&window, 2);
    assert_true(grd_window_end(&window, GRD_WINDOW + 1));
    grd_window_raise(&window, 100 * GRD_WINDOW);
    assert_true(grd_window_is_over(&window, 100 * GRD_WINDOW - 1));
    assert_false(grd_window_is_over(&window, 100 * GRD_WINDOW));
    assert_false(grd_window_is_over(&window, 101 * GRD_WINDOW - 1));
}

/* An instance and a master; messages are lost, doubled and late. What was not heard is never taken for heard. */
static void the_master_agrees_whatever_the_network_does(void **state)
{
    struct grd_window own, seen;
    uint8_t heard[40000] = {0}, acknowledged[40000] = {0};
    uint64_t next = 1;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 3);
    grd_window_init(&own);
    grd_window_init(&seen);
    while (next < 30000) {
        uint64_t number = own.low + cf_rng_below(&rng, next - own.low + 1);

        if (number == next && next - own.low < GRD_WINDOW) {
            next++;
            continue;
        }
        if (number >= next)
            number = own.low;
        if (cf_rng_below(&rng, 4) == 0 && !acknowledged[number]) { /* a message arrives */
            grd_window_raise(&seen, own.low - cf_rng_below(&rng, own.low < 50 ? 1 : 50));
            assert_int_equal(grd_window_is_over(&seen, number), heard[number]);
            assert_true(grd_window_end(&seen, number));
            heard[number] = 1;
        }
        if (heard[number] && !acknowledged[number] && cf_rng_below(&rng, 2)) {
            acknowledged[number] = 1;
            assert_true(grd_window_end(&own, number));
            grd_window_slide(&own);
        }
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_number_is_over_once_it_has_ended),
        cmocka_unit_test(numbers_beyond_the_window_are_nobodys),
        cmocka_unit_test(the_master_agrees_whatever_the_network_does),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
