/* SPDX-License-Identifier: Apache-2.0 */
/* The second opinion on locks sees what it is there to see. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/workload/locks_shadow.h"

#define OWNERS 5u

struct fixture {
    char path[64];
    struct shadow *shadow;
    struct shadow_view *view;
    uint64_t now_ns, since_ns;
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);
    int fd;

    snprintf(f->path, sizeof f->path, "/tmp/cf-shadow-XXXXXX");
    fd = mkstemp(f->path);
    if (fd < 0)
        return -1;
    close(fd);
    f->shadow = shadow_open(f->path);
    f->view = shadow_view_make(OWNERS);
    *state = f;
    return f->shadow && f->view ? 0 : -1;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    shadow_view_free(f->view);
    shadow_close(f->shadow);
    unlink(f->path);
    free(f);
    return 0;
}

static void waits(struct fixture *f, uint32_t owner, uint32_t lock, enum cf_lock_mode mode)
{
    f->now_ns += 10;
    shadow_wait(f->shadow, f->view, owner, lock, mode, f->now_ns);
}

static bool holds(struct fixture *f, uint32_t owner, uint32_t lock, enum cf_lock_mode mode)
{
    waits(f, owner, lock, mode);
    return shadow_granted(f->shadow, owner, lock, mode);
}

static bool is_stuck(struct fixture *f, uint32_t owner)
{
    return shadow_is_stuck(f->shadow, owner, &f->since_ns);
}

static void claims_that_stand_against_each_other_are_seen(void **state)
{
    struct fixture *f = *state;
    /* What the table of the VMS lock manager lets stand beside each other. */
    static const char *const table[] = {"111111", "111110", "111000", "110100", "110000", "100000"};

    for (enum cf_lock_mode a = CF_LOCK_NL; a <= CF_LOCK_EX; a++)
        for (enum cf_lock_mode b = CF_LOCK_NL; b <= CF_LOCK_EX; b++) {
            assert_true(holds(f, 0, 3, a));
            assert_int_equal(holds(f, 1, 3, b), table[a][b] == '1');
            assert_true(holds(f, 1, 4, CF_LOCK_EX)); /* another lock */
            shadow_lower(f->shadow, 0, 3, CF_LOCK_NL);
            shadow_lower(f->shadow, 1, 3, CF_LOCK_NL);
            shadow_lower(f->shadow, 1, 4, CF_LOCK_NL);
        }
    assert_true(holds(f, 0, 3, CF_LOCK_PR));
    assert_true(holds(f, 0, 3, CF_LOCK_EX)); /* an owner's own claim does not stand against its conversion */
    shadow_lower(f->shadow, 0, 3, CF_LOCK_CR);
    assert_true(holds(f, 1, 3, CF_LOCK_PW));
}

static void a_cycle_is_a_deadlock_from_its_last_wait_on(void **state)
{
    struct fixture *f = *state;

    for (uint32_t i = 0; i < 3; i++)
        assert_true(holds(f, i, i, CF_LOCK_EX));
    waits(f, 0, 1, CF_LOCK_PR);
    waits(f, 1, 2, CF_LOCK_EX);
    assert_false(is_stuck(f, 1)); /* owner 2 goes on */
    waits(f, 2, 0, CF_LOCK_CR);
    waits(f, 3, 2, CF_LOCK_EX); /* behind the cycle, later */
    for (uint32_t i = 0; i < 3; i++) {
        assert_true(is_stuck(f, i));
        assert_int_equal(f->since_ns, f->now_ns - 10);
    }
    assert_true(is_stuck(f, 3));
}

static void a_chain_that_ends_is_none(void **state)
{
    struct fixture *f = *state;

    assert_true(holds(f, 0, 0, CF_LOCK_EX));
    assert_true(holds(f, 1, 1, CF_LOCK_PR));
    waits(f, 1, 0, CF_LOCK_EX);
    waits(f, 2, 1, CF_LOCK_EX);
    waits(f, 3, 1, CF_LOCK_PR);
    for (uint32_t i = 1; i < 4; i++)
        assert_false(is_stuck(f, i));
}

static void conversions_of_one_lock_against_each_other_are_a_deadlock(void **state)
{
    struct fixture *f = *state;

    assert_true(holds(f, 0, 7, CF_LOCK_PR));
    assert_true(holds(f, 1, 7, CF_LOCK_PR));
    waits(f, 0, 7, CF_LOCK_EX);
    assert_false(is_stuck(f, 0));
    waits(f, 1, 7, CF_LOCK_EX);
    assert_true(is_stuck(f, 0));
    assert_true(is_stuck(f, 1));
}

/* 2 could share with the holder but stands behind 1, who cannot; the holder waits for 2. */
static void a_cycle_through_the_order_of_a_queue_is_a_deadlock(void **state)
{
    struct fixture *f = *state;

    assert_true(holds(f, 0, 0, CF_LOCK_PR));
    assert_true(holds(f, 2, 1, CF_LOCK_EX));
    waits(f, 1, 0, CF_LOCK_EX);
    waits(f, 2, 0, CF_LOCK_PR);
    assert_false(is_stuck(f, 2));
    waits(f, 0, 1, CF_LOCK_PR);
    assert_true(is_stuck(f, 2));
    assert_int_equal(f->since_ns, f->now_ns);
    waits(f, 3, 0, CF_LOCK_NL); /* goes with everything, but comes last */
    assert_true(is_stuck(f, 3));
}

static void a_mark_outlives_the_cycle_and_not_the_wait(void **state)
{
    struct fixture *f = *state;

    assert_true(holds(f, 0, 0, CF_LOCK_EX));
    assert_true(holds(f, 1, 1, CF_LOCK_EX));
    waits(f, 0, 1, CF_LOCK_EX);
    waits(f, 1, 0, CF_LOCK_EX);
    shadow_refused(f->shadow, 1); /* ended for the deadlock, as 0 is in the same moment */
    shadow_lower(f->shadow, 1, 1, CF_LOCK_NL);
    assert_true(is_stuck(f, 0));
    shadow_refused(f->shadow, 0);
    assert_false(is_stuck(f, 0));
    waits(f, 0, 1, CF_LOCK_EX);
    assert_false(is_stuck(f, 0));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(claims_that_stand_against_each_other_are_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_cycle_is_a_deadlock_from_its_last_wait_on, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_chain_that_ends_is_none, set_up, tear_down),
        cmocka_unit_test_setup_teardown(conversions_of_one_lock_against_each_other_are_a_deadlock, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_cycle_through_the_order_of_a_queue_is_a_deadlock, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_mark_outlives_the_cycle_and_not_the_wait, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("tools/locks_shadow", tests, NULL, NULL);
}
