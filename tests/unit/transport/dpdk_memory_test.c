/* SPDX-License-Identifier: Apache-2.0 */
/* Which bytes lie in memory that a card may read. What does not is copied: the card's read of it would fail. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "transport/dpdk/bus.h"

#define REGION_BYTES 4096u
#define BLOCK_BYTES 1024u

static uint8_t bytes[3 * REGION_BYTES];
static const struct xp_dpdk_memory region = {.base = bytes + REGION_BYTES, .bytes = REGION_BYTES};

static bool has(uint32_t at, uint32_t count)
{
    return xp_dpdk_memory_has(&region, bytes + at, count);
}

static void a_region_has_what_lies_in_it_to_its_last_byte(void **state)
{
    (void)state;
    assert_true(has(REGION_BYTES, BLOCK_BYTES));
    assert_true(has(REGION_BYTES, REGION_BYTES));
    assert_true(has(2 * REGION_BYTES - BLOCK_BYTES, BLOCK_BYTES));
    assert_false(has(REGION_BYTES, REGION_BYTES + 1));
    assert_false(has(2 * REGION_BYTES - BLOCK_BYTES + 1, BLOCK_BYTES));
    assert_false(has(2 * REGION_BYTES, BLOCK_BYTES));
}

static void a_block_that_ends_where_a_region_begins_is_not_in_it(void **state)
{
    (void)state;
    assert_false(has(REGION_BYTES - BLOCK_BYTES, BLOCK_BYTES));
    assert_false(has(REGION_BYTES - 1, BLOCK_BYTES));
    assert_false(has(0, BLOCK_BYTES));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_region_has_what_lies_in_it_to_its_last_byte),
        cmocka_unit_test(a_block_that_ends_where_a_region_begins_is_not_in_it)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
