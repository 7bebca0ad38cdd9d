/* SPDX-License-Identifier: Apache-2.0 */
/* The checker of histories and the contents of blocks: they pass what is right and catch what is not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "tools/sim/content.h"
#include "tools/sim/history.h"

#define BYTES 1984u
#define RANDOM_RUNS 200u
#define RANDOM_OPS 300u

static void add(struct sim_history *h, uint64_t value, uint64_t replaced, uint64_t begin_ns, uint64_t end_ns,
                bool is_write)
{
    struct sim_history_op op = {.block = 5,
                                .value = value,
                                .replaced = replaced,
                                .begin_ns = begin_ns,
                                .end_ns = end_ns,
                                .is_write = is_write};

    sim_history_add(h, &op);
}

static void write_op(struct sim_history *h, uint64_t value, uint64_t replaced, uint64_t begin_ns,
                     uint64_t end_ns)
{
    add(h, value, replaced, begin_ns, end_ns, true);
}

static void read_op(struct sim_history *h, uint64_t value, uint64_t begin_ns, uint64_t end_ns)
{
    add(h, value, 0, begin_ns, end_ns, false);
}

static void expect(struct sim_history *h, bool holds, const char *word)
{
    char text[400] = "";

    assert_int_equal(sim_history_check(h, text, sizeof(text)), holds);
    if (!holds)
        assert_non_null(strstr(text, word));
    sim_history_close(&h);
}

static void line_of_writes_and_their_reads_pass(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    read_op(h, 0, 0, 5);
    write_op(h, 11, 0, 10, 20);
    read_op(h, 11, 15, 30);
    read_op(h, 0, 1, 12);
    write_op(h, 12, 11, 25, 40);
    read_op(h, 11, 18, 26);
    read_op(h, 12, 39, 50);
    expect(h, true, "");
}

static void lost_update_is_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 0, 10, 20);
    write_op(h, 12, 0, 30, 40);
    expect(h, false, "both replaced");
}

static void write_over_an_unknown_value_is_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 0, 10, 20);
    write_op(h, 13, 12, 30, 40);
    expect(h, false, "line of writes ends");
}

static void read_of_an_unwritten_value_is_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 0, 10, 20);
    read_op(h, 99, 30, 40);
    expect(h, false, "nobody wrote");
}

static void stale_read_is_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 0, 10, 20);
    read_op(h, 0, 21, 22);
    expect(h, false, "older state");
}

static void read_from_the_future_is_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    read_op(h, 11, 1, 9);
    write_op(h, 11, 0, 10, 20);
    expect(h, false, "older state");
}

static void two_reads_in_the_wrong_order_are_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 0, 10, 100);
    read_op(h, 11, 20, 30);
    read_op(h, 0, 40, 50);
    expect(h, false, "older state");
}

static void writes_against_time_are_caught(void **state)
{
    struct sim_history *h = sim_history_open();

    (void)state;
    write_op(h, 11, 12, 30, 40);
    write_op(h, 12, 0, 50, 60);
    expect(h, false, "older state");
}

static void blocks_do_not_mix(void **state)
{
    struct sim_history *h = sim_history_open();
    struct sim_history_op op = {.block = 6, .value = 0, .begin_ns = 500, .end_ns = 600};

    (void)state;
    write_op(h, 11, 0, 10, 20);
    sim_history_add(h, &op);
    expect(h, true, "");
}

/* A register held by one at a time always passes; one read moved to an old value never does. */
static void random_registers_pass_and_one_stale_read_fails_them(void **state)
{
    (void)state;
    for (uint64_t run = 0; run < RANDOM_RUNS; run++) {
        struct sim_history *good = sim_history_open();
        struct sim_history *bad = sim_history_open();
        struct cf_rng rng;
        uint64_t now_ns = 1, value = 0, before = 0, writes = 0;

        cf_rng_seed(&rng, run);
        for (uint64_t i = 1; i <= RANDOM_OPS; i++) {
            uint64_t begin_ns = now_ns, end_ns = now_ns + 1 + cf_rng_below(&rng, 50);
            bool is_write = cf_rng_below(&rng, 3) == 0;

            add(good, is_write ? i : value, value, begin_ns, end_ns, is_write);
            add(bad, is_write ? i : value, value, begin_ns, end_ns, is_write);
            if (is_write) {
                before = value;
                value = i;
                writes++;
            }
            now_ns = end_ns + 1;
        }
        assert_true(writes > 1);
        read_op(bad, before, now_ns, now_ns + 5);
        expect(good, true, "");
        expect(bad, false, "older state");
    }
}

static void contents_are_read_back(void **state)
{
    uint64_t data[BYTES / 8];
    struct sim_content written = {.block = 3, .counter = 7, .value = 0xabc, .replaced = 0xab, .balance = -12};
    struct sim_content seen;

    (void)state;
    sim_content_write(&written, data, BYTES, false);
    assert_true(sim_content_read(data, BYTES, 3, &seen));
    assert_memory_equal(&written, &seen, sizeof(seen));
    assert_false(sim_content_read(data, BYTES, 4, &seen));
    memset(data, 0, sizeof(data));
    assert_true(sim_content_read(data, BYTES, 4, &seen));
    assert_int_equal(seen.value, 0);
}

static void mixed_versions_do_not_pass(void **state)
{
    uint64_t data[BYTES / 8];
    struct sim_content first = {.block = 3, .counter = 7, .value = 0xabc, .replaced = 0xab};
    struct sim_content second = {.block = 3, .counter = 8, .value = 0xabd, .replaced = 0xabc};
    struct sim_content seen;

    (void)state;
    sim_content_write(&first, data, BYTES, false);
    sim_content_write(&second, data, BYTES, true);
    assert_false(sim_content_read(data, BYTES, 3, &seen));
    for (uint32_t i = 0; i < BYTES / 8; i++) {
        sim_content_write(&first, data, BYTES, false);
        data[i] ^= UINT64_C(1) << (i % 64);
        assert_false(sim_content_read(data, BYTES, 3, &seen));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_of_writes_and_their_reads_pass),
        cmocka_unit_test(lost_update_is_caught),
        cmocka_unit_test(write_over_an_unknown_value_is_caught),
        cmocka_unit_test(read_of_an_unwritten_value_is_caught),
        cmocka_unit_test(stale_read_is_caught),
        cmocka_unit_test(read_from_the_future_is_caught),
        cmocka_unit_test(two_reads_in_the_wrong_order_are_caught),
        cmocka_unit_test(writes_against_time_are_caught),
        cmocka_unit_test(blocks_do_not_mix),
        cmocka_unit_test(random_registers_pass_and_one_stale_read_fails_them),
        cmocka_unit_test(contents_are_read_back),
        cmocka_unit_test(mixed_versions_do_not_pass),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
