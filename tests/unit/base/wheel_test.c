/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: order and lateness against a list kept sorted, all levels, re-arm and disarm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

#include "base/rng.h"
#include "base/wheel.h"

#define TIMERS 200
#define ROUNDS 30000
#define TICK_NS 1000

/* The model: what the wheel promises, by looking at every timer. */
struct model {
    uint64_t due_tick[TIMERS];
    uint64_t armed_at[TIMERS];
    bool is_armed[TIMERS];
    uint64_t tick;
    uint64_t arm_count;
};

static void model_arm(struct model *m, uint32_t i, uint64_t due_ns)
{
    uint64_t due_tick = (due_ns + TICK_NS - 1) / TICK_NS;

    m->due_tick[i] = due_tick > m->tick ? due_tick : m->tick;
    m->armed_at[i] = m->arm_count++;
    m->is_armed[i] = true;
}

static int model_first(const struct model *m)
{
    int first = -1;

    for (int i = 0; i < TIMERS; i++)
        if (m->is_armed[i] && (first < 0 || m->due_tick[i] < m->due_tick[first] ||
                               (m->due_tick[i] == m->due_tick[first] && m->armed_at[i] < m->armed_at[first])))
            first = i;
    return first;
}

static void expire_and_compare(struct cf_wheel *wheel, struct model *m, uint64_t now_ns)
{
    for (;;) {
        struct cf_timer *timer = cf_wheel_expire(wheel, now_ns);
        int first = model_first(m);

        if (first < 0 || m->due_tick[first] > now_ns / TICK_NS) {
            assert_null(timer);
            break;
        }
        assert_non_null(timer);
        assert_int_equal(timer->kind, first);
        assert_false(cf_timer_armed(timer));
        assert_true(timer->due_ns <= now_ns);
        m->is_armed[first] = false;
        m->tick = m->due_tick[first];
    }
    m->tick = now_ns / TICK_NS;
}

static void random_run(uint64_t seed, uint64_t span_ns)
{
    static struct cf_wheel wheel;
    static struct cf_timer timers[TIMERS];
    struct model m = {0};
    struct cf_rng rng;
    uint64_t now_ns;

    cf_rng_seed(&rng, seed);
    now_ns = cf_rng_below(&rng, UINT64_C(1) << 50);
    m.tick = now_ns / TICK_NS;
    cf_wheel_init(&wheel, now_ns, TICK_NS);
    for (uint32_t i = 0; i < TIMERS; i++)
        cf_timer_init(&timers[i], i);
    for (int round = 0; round < ROUNDS; round++) {
        uint32_t i = (uint32_t)cf_rng_below(&rng, TIMERS);
        uint64_t choice = cf_rng_below(&rng, 10);
        int first;

        if (choice < 6) {
            uint64_t due_ns = now_ns + (cf_rng_below(&rng, span_ns) >> cf_rng_below(&rng, 30));
            due_ns -= cf_rng_chance(&rng, 0.1) ? 5 * TICK_NS : 0;
            cf_wheel_arm(&wheel, &timers[i], due_ns);
            model_arm(&m, i, due_ns);
        } else if (choice < 8) {
            cf_wheel_disarm(&wheel, &timers[i]);
            m.is_armed[i] = false;
        } else {
            now_ns += cf_rng_below(&rng, span_ns) >> cf_rng_below(&rng, 30);
            expire_and_compare(&wheel, &m, now_ns);
        }
        assert_int_equal(cf_timer_armed(&timers[i]), m.is_armed[i]);
        first = model_first(&m);
        if (first < 0)
            assert_true(cf_wheel_next_ns(&wheel) == UINT64_MAX);
        else
            assert_true(cf_wheel_next_ns(&wheel) <= m.due_tick[first] * TICK_NS);
    }
}

static void agrees_with_a_sorted_list(void **state)
{
    (void)state;
    random_run(1, 100 * TICK_NS);
    random_run(2, 10000 * TICK_NS);
    random_run(3, UINT64_C(1) << 40);
    random_run(4, UINT64_C(1) << 55);
}

static void same_tick_fires_in_order_of_arming(void **state)
{
    static struct cf_wheel wheel;
    struct cf_timer early, late;

    (void)state;
    cf_wheel_init(&wheel, 0, 1);
    cf_timer_init(&early, 1);
    cf_timer_init(&late, 2);
    cf_wheel_arm(&wheel, &early, 5000); /* sits two levels up */
    assert_null(cf_wheel_expire(&wheel, 4999));
    cf_wheel_arm(&wheel, &late, 5000); /* goes to level 0 */
    assert_ptr_equal(cf_wheel_expire(&wheel, 5000), &early);
    assert_ptr_equal(cf_wheel_expire(&wheel, 5000), &late);
    assert_null(cf_wheel_expire(&wheel, 5000));
}

static void rearming_moves_and_disarming_removes(void **state)
{
    static struct cf_wheel wheel;
    struct cf_timer timer;

    (void)state;
    cf_wheel_init(&wheel, 1000000, 1000);
    cf_timer_init(&timer, 7);
    cf_wheel_disarm(&wheel, &timer);
    cf_wheel_arm(&wheel, &timer, 1500000);
    cf_wheel_arm(&wheel, &timer, 9000000);
    assert_int_equal(wheel.armed_count, 1);
    assert_null(cf_wheel_expire(&wheel, 8999999));
    assert_ptr_equal(cf_wheel_expire(&wheel, 9000000), &timer);
    cf_wheel_arm(&wheel, &timer, 10000000);
    cf_wheel_disarm(&wheel, &timer);
    assert_int_equal(wheel.armed_count, 0);
    assert_true(cf_wheel_next_ns(&wheel) == UINT64_MAX);
    assert_null(cf_wheel_expire(&wheel, UINT64_MAX));
}

static void never_early_by_a_part_of_a_tick(void **state)
{
    static struct cf_wheel wheel;
    struct cf_timer timer;

    (void)state;
    cf_wheel_init(&wheel, 0, 1000);
    cf_timer_init(&timer, 0);
    cf_wheel_arm(&wheel, &timer, 1001);
    assert_null(cf_wheel_expire(&wheel, 1999));
    assert_ptr_equal(cf_wheel_expire(&wheel, 2000), &timer);
}

static void the_end_of_time_is_a_time(void **state)
{
    static struct cf_wheel wheel;
    struct cf_timer timer;

    (void)state;
    cf_wheel_init(&wheel, 5, 1);
    cf_timer_init(&timer, 0);
    cf_wheel_arm(&wheel, &timer, UINT64_MAX);
    assert_null(cf_wheel_expire(&wheel, UINT64_MAX - 1));
    assert_ptr_equal(cf_wheel_expire(&wheel, UINT64_MAX), &timer);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(agrees_with_a_sorted_list),
        cmocka_unit_test(same_tick_fires_in_order_of_arming),
        cmocka_unit_test(rearming_moves_and_disarming_removes),
        cmocka_unit_test(never_early_by_a_part_of_a_tick),
        cmocka_unit_test(the_end_of_time_is_a_time),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
