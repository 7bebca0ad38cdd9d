/* SPDX-License-Identifier: Apache-2.0 */
/* Gets when every record of a block is in use: who may wait for one, and who does not. Not here: queues (queue_test.c). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "manual_fixture.h"

static void a_get_that_may_not_wait_is_busy_where_no_record_is_free(void **state)
{
    struct cf_op op;
    struct manual m;
    uint32_t used;

    (void)state;
    manual_open(&m, 2);
    manual_records_take(&m);
    used = m.instance->local->blocks_used;
    manual_get(&m, &op, 5, CF_GET_TRY);
    assert_ptr_equal(manual_done(&m), &op);
    assert_int_equal(op.rc, CF_BUSY);
    assert_null(m.instance->starved.first);
    assert_int_equal(m.instance->local->blocks_used, used);
    manual_close(&m);
}

static void a_get_that_waits_for_a_record_goes_on_when_one_is_free(void **state)
{
    struct cf_op ops[2];
    struct manual m;
    uint32_t i;

    (void)state;
    manual_open(&m, 2);
    manual_records_take(&m);
    for (i = 0; i < 2; i++) {
        manual_get_init(&m, &ops[i], 5 + i, 0);
        assert_int_equal(cf_submit(m.session, &ops[i]), CF_OK);
    }
    assert_ptr_equal(m.instance->starved.first, &ops[0]);
    assert_ptr_equal(m.instance->starved.last, &ops[1]);
    assert_null(manual_done(&m));
    manual_records_give_back(&m);
    manual_turns(&m);
    assert_null(m.instance->starved.first);
    for (i = 0; i < 2; i++) {
        assert_int_equal(manual_io_block(&m, 0), 5 + i);
        manual_io_end(&m);
        assert_ptr_equal(manual_done(&m), &ops[i]);
        assert_int_equal(ops[i].rc, CF_OK);
        cf_put(m.session, &ops[i].ref);
    }
    manual_close(&m);
}

/* Out of the middle, the front and the end of those who wait. */
static void a_get_that_starves_can_be_cancelled(void **state)
{
    static const uint32_t order[] = {1, 0, 3, 2};
    struct cf_op ops[4];
    struct manual m;
    uint32_t i;

    (void)state;
    manual_open(&m, 2);
    manual_records_take(&m);
    for (i = 0; i < 4; i++) {
        manual_get_init(&m, &ops[i], 5 + i, 0);
        assert_int_equal(cf_submit(m.session, &ops[i]), CF_OK);
    }
    for (i = 0; i < 4; i++) {
        assert_int_equal(cf_cancel(m.session, &ops[order[i]]), CF_OK);
        assert_ptr_equal(manual_done(&m), &ops[order[i]]);
        assert_int_equal(ops[order[i]].rc, CF_CANCELLED);
        if (i == 1)
            assert_ptr_equal(m.instance->starved.first, &ops[2]);
        if (i == 2)
            assert_ptr_equal(m.instance->starved.last, &ops[2]);
    }
    assert_null(m.instance->starved.first);
    assert_null(m.instance->starved.last);
    manual_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_get_that_may_not_wait_is_busy_where_no_record_is_free),
        cmocka_unit_test(a_get_that_waits_for_a_record_goes_on_when_one_is_free),
        cmocka_unit_test(a_get_that_starves_can_be_cancelled),
    };

    return cmocka_run_group_tests_name("engine/op", tests, NULL, NULL);
}
