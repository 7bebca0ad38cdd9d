/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: accepted forms, every kind of refusal with its reason, round trips. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "base/units.h"

static void sizes_are_read(void **state)
{
    static const struct {
        const char *text;
        uint64_t bytes;
    } cases[] = {
        {"0", 0},
        {"8192", 8192},
        {"8KiB", 8192},
        {"64MiB", UINT64_C(64) << 20},
        {"1 GiB", 1 << 30},
        {"4KB", 4000},
        {"2M", 2 << 20},
        {"16B", 16},
        {"18446744073709551615", UINT64_MAX},
        {"16777215TiB", UINT64_C(16777215) << 40},
    };
    uint64_t bytes;

    (void)state;
    for (size_t i = 0; i < CF_COUNTOF(cases); i++) {
        assert_int_equal(cf_parse_size(cases[i].text, &bytes), 0);
        assert_true(bytes == cases[i].bytes);
    }
}

static void durations_are_read(void **state)
{
    uint64_t ns;

    (void)state;
    assert_int_equal(cf_parse_duration("200us", &ns), 0);
    assert_int_equal(ns, 200000);
    assert_int_equal(cf_parse_duration("5ms", &ns), 0);
    assert_int_equal(ns, 5000000);
    assert_int_equal(cf_parse_duration("10s", &ns), 0);
    assert_true(ns == UINT64_C(10000000000));
    assert_int_equal(cf_parse_duration("0", &ns), 0);
    assert_int_equal(ns, 0);
    assert_int_equal(cf_parse_duration("2h", &ns), 0);
    assert_true(ns == UINT64_C(7200000000000));
}

static void refusals_say_why_and_change_nothing(void **state)
{
    static const struct {
        enum cf_parse_kind kind;
        const char *text;
        const char *reason;
    } cases[] = {
        {CF_PARSE_SIZE, "", "digit"},
        {CF_PARSE_SIZE, "-1", "negative"},
        {CF_PARSE_SIZE, "8XiB", "unknown unit"},
        {CF_PARSE_SIZE, "8KiB ", "unknown unit"},
        {CF_PARSE_SIZE, "1.5MiB", "whole number"},
        {CF_PARSE_SIZE, "16777216TiB", "larger"},
        {CF_PARSE_SIZE, "18446744073709551616", "larger"},
        {CF_PARSE_DURATION, "5", "no unit"},
        {CF_PARSE_DURATION, "5 minutes", "unknown unit"},
        {CF_PARSE_DURATION, "99999999999s", "larger"},
        {CF_PARSE_U64, "12a", "behind"},
        {CF_PARSE_U64, "0x", "hexadecimal"},
        {CF_PARSE_U64, "0x-1", "hexadecimal"},
        {CF_PARSE_U64, "0x10000000000000000", "larger"},
        {CF_PARSE_U64, " 1", "digit"},
        {CF_PARSE_DOUBLE, "", "not a number"},
        {CF_PARSE_DOUBLE, "1.5x", "behind"},
        {CF_PARSE_DOUBLE, "inf", "finite"},
        {CF_PARSE_DOUBLE, "nan", "finite"},
        {CF_PARSE_BOOL, "maybe", "none of"},
        {CF_PARSE_BOOL, "", "none of"},
    };
    char err[256];

    (void)state;
    for (size_t i = 0; i < CF_COUNTOF(cases); i++) {
        uint64_t u = 77;
        double d = 77;
        bool b = true;
        int rc = 0;

        switch (cases[i].kind) {
        case CF_PARSE_SIZE:
            rc = cf_parse_size(cases[i].text, &u);
            break;
        case CF_PARSE_DURATION:
            rc = cf_parse_duration(cases[i].text, &u);
            break;
        case CF_PARSE_U64:
            rc = cf_parse_u64(cases[i].text, &u);
            break;
        case CF_PARSE_DOUBLE:
            rc = cf_parse_double(cases[i].text, &d);
            break;
        case CF_PARSE_BOOL:
            rc = cf_parse_bool(cases[i].text, &b);
            break;
        }
        assert_int_equal(rc, -1);
        assert_true(u == 77 && d == 77 && b);
        cf_parse_error(cases[i].kind, cases[i].text, err, sizeof(err));
        assert_non_null(strstr(err, cases[i].reason));
    }
    cf_parse_error(CF_PARSE_SIZE, "8KiB", err, sizeof(err));
    assert_string_equal(err, "");
}

static void numbers_and_booleans_are_read(void **state)
{
    uint64_t u;
    double d;
    bool b;

    (void)state;
    assert_int_equal(cf_parse_u64("0xFFffFFffFFffFFff", &u), 0);
    assert_true(u == UINT64_MAX);
    assert_int_equal(cf_parse_u64("010", &u), 0);
    assert_int_equal(u, 10);
    assert_int_equal(cf_parse_double("-2.5e3", &d), 0);
    assert_true(d == -2500.0);
    assert_int_equal(cf_parse_bool("Yes", &b), 0);
    assert_true(b);
    assert_int_equal(cf_parse_bool("off", &b), 0);
    assert_false(b);
}

static void what_is_formatted_reads_back(void **state)
{
    struct cf_rng rng;
    char buf[32];

    (void)state;
    assert_string_equal(cf_format_size(64 << 20, buf, sizeof(buf)), "64MiB");
    assert_string_equal(cf_format_size(0, buf, sizeof(buf)), "0");
    assert_string_equal(cf_format_size(1000, buf, sizeof(buf)), "1000");
    assert_string_equal(cf_format_duration(1500, buf, sizeof(buf)), "1500ns");
    assert_string_equal(cf_format_duration(60000000000, buf, sizeof(buf)), "1m");
    cf_rng_seed(&rng, 5);
    for (int i = 0; i < 10000; i++) {
        uint64_t value = (cf_rng_next(&rng) >> cf_rng_below(&rng, 64)) << cf_rng_below(&rng, 40);
        uint64_t back;
        assert_int_equal(cf_parse_size(cf_format_size(value, buf, sizeof(buf)), &back), 0);
        assert_true(back == value);
        assert_int_equal(cf_parse_duration(cf_format_duration(value, buf, sizeof(buf)), &back), 0);
        assert_true(back == value);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(sizes_are_read),
        cmocka_unit_test(durations_are_read),
        cmocka_unit_test(refusals_say_why_and_change_nothing),
        cmocka_unit_test(numbers_and_booleans_are_read),
        cmocka_unit_test(what_is_formatted_reads_back),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
