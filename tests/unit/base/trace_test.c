/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: overwriting of old records, order of the dump, names of all events, tracing turned off. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/trace.h"

#define RECORDS 8

static char *dump(const struct cf_trace *trace, uint32_t last_n)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);

    assert_non_null(out);
    cf_trace_dump(trace, out, last_n);
    assert_int_equal(fclose(out), 0);
    return text;
}

static int lines_of(const char *text)
{
    int lines = 0;

    for (; *text != '\0'; text++)
        lines += *text == '\n';
    return lines;
}

static void newest_records_are_kept_and_printed_oldest_first(void **state)
{
    struct cf_trace_record memory[RECORDS];
    struct cf_trace trace;
    char *text;

    (void)state;
    cf_trace_init(&trace, memory, RECORDS);
    for (uint32_t i = 0; i < 20; i++) {
        trace.now_ns = 1000 + i;
        cf_trace_add(&trace, CF_TRACE_MARK, 7, i, i * 2, i * 3);
    }
    text = dump(&trace, 100);
    assert_int_equal(lines_of(text), RECORDS);
    assert_ptr_equal(strstr(text, "trace 1012 ns MARK a 7 b 12 c 0x18 d 0x24"), text);
    assert_non_null(strstr(text, "b 19 "));
    assert_null(strstr(text, "b 11 "));
    free(text);
    text = dump(&trace, 2);
    assert_int_equal(lines_of(text), 2);
    assert_ptr_equal(strstr(text, "trace 1018 ns"), text);
    free(text);
}

static void fewer_records_than_asked_for_are_all(void **state)
{
    struct cf_trace_record memory[RECORDS];
    struct cf_trace trace;
    char *text;

    (void)state;
    cf_trace_init(&trace, memory, RECORDS);
    text = dump(&trace, 5);
    assert_string_equal(text, "");
    free(text);
    cf_trace_add(&trace, CF_TRACE_MARK, 0, 0, 0, 0);
    text = dump(&trace, 5);
    assert_int_equal(lines_of(text), 1);
    free(text);
}

static void without_memory_nothing_is_kept(void **state)
{
    struct cf_trace trace;
    char *text;

    (void)state;
    cf_trace_init(&trace, NULL, 0);
    cf_trace_add(&trace, CF_TRACE_MARK, 0, 0, 0, 0);
    text = dump(&trace, 5);
    assert_string_equal(text, "");
    free(text);
}

static void every_event_has_a_name(void **state)
{
    (void)state;
    for (uint16_t event = 0; event < CF_TRACE_EVENT_COUNT; event++)
        assert_true(strlen(cf_trace_event_name(event)) > 0);
    assert_string_equal(cf_trace_event_name(CF_TRACE_MARK), "MARK");
    assert_string_equal(cf_trace_event_name(UINT16_MAX), "UNKNOWN");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(newest_records_are_kept_and_printed_oldest_first),
        cmocka_unit_test(fewer_records_than_asked_for_are_all),
        cmocka_unit_test(without_memory_nothing_is_kept),
        cmocka_unit_test(every_event_has_a_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
