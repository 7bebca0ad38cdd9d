/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Reads of storage when as many transfers are under way as it takes: what finds no slot waits, and begins in turn. Not
 * here: what is wrong with what was read (tests/unit/engine/format_test.c), writes (tests/sim/store_sim.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "manual_fixture.h"

#define DEPTH 2u
#define READS 7u

static void expect_done(struct manual *m, struct cf_op *op)
{
    assert_ptr_equal(manual_done(m), op);
    assert_int_equal(op->rc, CF_OK);
    cf_put(m->session, &op->ref);
}

static void reads_that_find_no_slot_wait_and_begin_in_order_as_others_end(void **state)
{
    struct cf_op ops[READS];
    struct manual m;
    uint32_t i;

    (void)state;
    manual_open(&m, DEPTH);
    for (i = 0; i < READS; i++) {
        manual_get(&m, &ops[i], 10 + i, 0);
        assert_int_equal(m.io_count, i < DEPTH ? i + 1 : DEPTH);
    }
    assert_int_equal(m.instance->read_wait_count, READS - DEPTH);
    for (i = 0; i < READS; i++) {
        assert_null(manual_done(&m));
        assert_int_equal(manual_io_block(&m, 0), 10 + i);
        manual_io_end(&m);
        expect_done(&m, &ops[i]);
        assert_int_equal(m.io_count, READS - 1 - i < DEPTH ? READS - 1 - i : DEPTH);
    }
    assert_int_equal(m.instance->read_wait_count, 0);
    assert_int_equal(m.instance->slots_used, 0);
    manual_close(&m);
}

/* More reads than the ring of those that wait has places, a few at a time. */
static void places_of_reads_that_waited_are_used_again(void **state)
{
    struct cf_op ops[DEPTH + 3];
    struct manual m;
    uint32_t rounds, i;

    (void)state;
    manual_open(&m, DEPTH);
    for (rounds = 0; rounds < 10; rounds++) {
        for (i = 0; i < DEPTH + 3; i++)
            manual_get(&m, &ops[i], rounds * (DEPTH + 3) + i, 0);
        for (i = 0; i < DEPTH + 3; i++) {
            assert_int_equal(manual_io_block(&m, 0), rounds * (DEPTH + 3) + i);
            manual_io_end(&m);
            expect_done(&m, &ops[i]);
        }
    }
    assert_int_equal(m.instance->counters.disk_reads, 10 * (DEPTH + 3));
    manual_close(&m);
}

static void a_read_begins_in_the_slot_that_a_write_leaves(void **state)
{
    struct cf_op change, get, flush = {.kind = CF_OP_FLUSH, .deadline_ns = CF_FOREVER};
    struct manual m;

    (void)state;
    manual_open(&m, 1);
    manual_get_init(&m, &change, 3, CF_GET_NEW);
    change.mode = CF_MODE_X;
    assert_int_equal(cf_submit(m.session, &change), CF_OK);
    manual_turns(&m);
    assert_ptr_equal(manual_done(&m), &change);
    assert_int_equal(change.rc, CF_OK);
    assert_int_equal(cf_dirty(m.session, &change.ref, 0), CF_OK);
    cf_put(m.session, &change.ref);
    flush.file = m.file;
    assert_int_equal(cf_submit(m.session, &flush), CF_OK);
    manual_turns(&m);
    assert_int_equal(m.io_count, 1);
    assert_int_equal(m.io[0]->op, ENG_IO_WRITE);
    manual_get(&m, &get, 4, 0);
    assert_int_equal(m.io_count, 1);
    assert_int_equal(m.instance->read_wait_count, 1);
    manual_io_end(&m);
    assert_int_equal(m.io[0]->op, ENG_IO_READ);
    assert_int_equal(manual_io_block(&m, 0), 4);
    manual_io_end(&m);
    expect_done(&m, &get);
    m.now_ns += ENG_FLUSH_TICK_NS;
    manual_turns(&m);
    assert_ptr_equal(manual_done(&m), &flush);
    assert_int_equal(flush.rc, CF_OK);
    manual_close(&m);
}

/* Nobody can want the block of a file that is gone: neither the read under way nor the one that waits has any effect. */
static void reads_of_a_file_that_is_gone_by_then_end_as_stale(void **state)
{
    struct cf_op ops[2], *done[3];
    struct manual m;
    uint32_t i;

    (void)state;
    manual_open(&m, 1);
    for (i = 0; i < 2; i++)
        manual_get(&m, &ops[i], i, 0);
    assert_int_equal(m.instance->read_wait_count, 1);
    eng_file_release(m.instance, m.file);
    manual_io_end(&m);
    assert_int_equal(m.instance->read_wait_count, 0);
    assert_int_equal(m.io_count, 0);
    assert_int_equal(cf_poll(m.session, done, 3), 2);
    for (i = 0; i < 2; i++)
        assert_int_equal(ops[i].rc, CF_STALE);
    assert_int_equal(m.instance->local->blocks_used, 0);
    manual_close(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(reads_that_find_no_slot_wait_and_begin_in_order_as_others_end),
        cmocka_unit_test(places_of_reads_that_waited_are_used_again),
        cmocka_unit_test(a_read_begins_in_the_slot_that_a_write_leaves),
        cmocka_unit_test(reads_of_a_file_that_is_gone_by_then_end_as_stale),
    };

    return cmocka_run_group_tests_name("engine/read", tests, NULL, NULL);
}
