/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: alignment, zeroing, size limits, hugepage requests with and without reserved pages, the guard. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "tests/unit/base/statm.h"

static void memory_is_aligned_zero_and_writable(void **state)
{
    static const size_t sizes[] = {1,
                                   64,
                                   4096,
                                   4097,
                                   100000,
                                   CF_HUGE_PAGE_BYTES - 1,
                                   CF_HUGE_PAGE_BYTES,
                                   CF_HUGE_PAGE_BYTES + 1,
                                   3 * CF_HUGE_PAGE_BYTES + 12345};
    static const size_t aligns[] = {1, 64, 4096, 65536, CF_HUGE_PAGE_BYTES};
    static const unsigned flags[] = {0, CF_ALLOC_ZERO, CF_ALLOC_HUGE, CF_ALLOC_HUGE | CF_ALLOC_ZERO};
    const struct cf_allocator *allocator = cf_allocator_default();

    (void)state;
    assert_int_equal(allocator->size, sizeof(*allocator));
    for (size_t s = 0; s < CF_COUNTOF(sizes); s++) {
        for (size_t a = 0; a < CF_COUNTOF(aligns); a++) {
            for (size_t f = 0; f < CF_COUNTOF(flags); f++) {
                unsigned char *p = cf_alloc(allocator, sizes[s], aligns[a], flags[f]);
                assert_non_null(p);
                assert_int_equal((uintptr_t)p % aligns[a], 0);
                if (sizes[s] >= CF_HUGE_PAGE_BYTES)
                    assert_int_equal((uintptr_t)p % CF_HUGE_PAGE_BYTES, 0);
                for (size_t i = 0; i < sizes[s]; i += 997)
                    assert_int_equal(p[i], 0);
                memset(p, 0xab, sizes[s]);
                cf_free(allocator, p, sizes[s]);
            }
        }
    }
}

static void impossible_sizes_give_null(void **state)
{
    const struct cf_allocator *allocator = cf_allocator_default();

    (void)state;
    assert_null(cf_alloc(allocator, 0, 64, 0));
    assert_null(cf_alloc(allocator, SIZE_MAX, 64, 0));
    assert_null(cf_alloc(allocator, SIZE_MAX / 2, 64, CF_ALLOC_HUGE));
    cf_free(allocator, NULL, 64);
}

static void lazy_memory_is_there_when_it_is_used(void **state)
{
    const struct cf_allocator *allocator = cf_allocator_lazy();
    const uint64_t bytes = UINT64_C(64) << 20;
    uint64_t before = statm_read().resident_bytes;
    unsigned char *p = cf_alloc(allocator, bytes, CF_CACHE_LINE, CF_ALLOC_HUGE | CF_ALLOC_ZERO);

    (void)state;
    assert_non_null(p);
    assert_true(statm_read().resident_bytes < before + bytes / 8);
    p[bytes / 2] = 1;
    assert_true(statm_read().resident_bytes < before + bytes / 8);
    cf_free(allocator, p, bytes);
}

static void aligned_memory_leaves_nothing_behind(void **state)
{
    const struct cf_allocator *allocator = cf_allocator_default();
    const uint64_t bytes = UINT64_C(1) << 30; /* never touched */
    uint64_t before = statm_read().mapped_bytes;

    (void)state;
    for (int i = 0; i < 1000; i++) {
        char *p = cf_alloc(allocator, bytes, 8 * CF_HUGE_PAGE_BYTES, 0);
        assert_non_null(p);
        assert_int_equal((uintptr_t)p % (8 * CF_HUGE_PAGE_BYTES), 0);
        cf_free(allocator, p, bytes);
    }
    assert_true(statm_read().mapped_bytes < before + (UINT64_C(64) << 20));
}

static void guard_nests(void **state)
{
    (void)state;
    assert_false(cf_alloc_is_forbidden());
    cf_alloc_forbid_enter();
    cf_alloc_forbid_enter();
    cf_alloc_forbid_leave();
    assert_true(cf_alloc_is_forbidden());
    cf_alloc_forbid_leave();
    assert_false(cf_alloc_is_forbidden());
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_is_aligned_zero_and_writable),
        cmocka_unit_test(impossible_sizes_give_null),
        cmocka_unit_test(lazy_memory_is_there_when_it_is_used),
        cmocka_unit_test(aligned_memory_leaves_nothing_behind),
        cmocka_unit_test(guard_nests),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
