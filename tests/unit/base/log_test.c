/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: the line's form, levels, the bound on a call site and its count, whole lines from threads. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/log.h"

#define THREADS 3
#define LINES 500

struct sink {
    char *text;
    size_t bytes;
    struct cf_log log;
    uint64_t now_ns;
};

static uint64_t fixed_time(void *arg)
{
    return ((struct sink *)arg)->now_ns;
}

static void open_sink(struct sink *sink)
{
    FILE *out = open_memstream(&sink->text, &sink->bytes);

    assert_non_null(out);
    cf_log_init(&sink->log, CF_LOG_INFO, out, 3);
    sink->now_ns = UINT64_C(1772366400123456789); /* 2026-03-01 12:00:00 */
    sink->log.wall_ns = fixed_time;
    sink->log.wall_arg = sink;
}

static void close_sink(struct sink *sink)
{
    cf_log_close(&sink->log);
    assert_int_equal(fclose(sink->log.out), 0);
}

static int count_of(const char *text, const char *word)
{
    int count = 0;

    for (const char *at = strstr(text, word); at != NULL; at = strstr(at + 1, word))
        count++;
    return count;
}

static void line_has_time_node_component_and_text(void **state)
{
    struct sink sink;

    (void)state;
    open_sink(&sink);
    cf_log_info(&sink.log, "engine", "view installed epoch %d", 17);
    close_sink(&sink);
    assert_string_equal(sink.text, "2026-03-01T12:00:00.123456Z 3 engine: view installed epoch 17\n");
    free(sink.text);
}

static void lines_above_the_level_are_dropped(void **state)
{
    struct sink sink;

    (void)state;
    open_sink(&sink);
    cf_log_debug(&sink.log, "engine", "detail");
    cf_log_error(&sink.log, "engine", "trouble");
    cf_log_info(NULL, "engine", "nowhere");
    close_sink(&sink);
    assert_null(strstr(sink.text, "detail"));
    assert_non_null(strstr(sink.text, "trouble"));
    free(sink.text);
}

static void repeated_lines_are_counted_and_the_count_is_told(void **state)
{
    struct sink sink;

    (void)state;
    open_sink(&sink);
    for (int i = 0; i < 100; i++)
        cf_log_warn(&sink.log, "lane", "refused %d", i);
    cf_log_warn(&sink.log, "lane", "another site");
    fflush(sink.log.out);
    assert_int_equal(count_of(sink.text, "lane: refused"), CF_LOG_BURST_DEFAULT);
    assert_int_equal(count_of(sink.text, "another site"), 1);
    close_sink(&sink);
    assert_int_equal(count_of(sink.text, "suppressed 80 lines like: refused %d"), 1);
    free(sink.text);
}

static void next_window_lets_lines_through_again(void **state)
{
    struct sink sink;

    (void)state;
    open_sink(&sink);
    for (int i = 0; i < 60; i++) {
        cf_log_warn(&sink.log, "lane", "refused");
        if (i == 29)
            sink.now_ns += CF_LOG_WINDOW_NS;
    }
    close_sink(&sink);
    assert_int_equal(count_of(sink.text, "lane: refused"), 2 * CF_LOG_BURST_DEFAULT);
    assert_int_equal(count_of(sink.text, "suppressed 10 lines"), 2);
    free(sink.text);
}

static void *write_lines(void *arg)
{
    for (int i = 0; i < LINES; i++)
        cf_log_info(arg, "thread", "a line of some length that must stay whole %d", i);
    return NULL;
}

static void lines_of_threads_stay_whole(void **state)
{
    pthread_t threads[THREADS];
    struct sink sink;

    (void)state;
    open_sink(&sink);
    sink.log.burst_max = 0;
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, write_lines, &sink.log), 0);
    for (int i = 0; i < THREADS; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    close_sink(&sink);
    assert_int_equal(count_of(sink.text, "\n2026-03-01T12:00:00.123456Z 3 thread: a line"),
                     THREADS * LINES - 1);
    assert_int_equal(count_of(sink.text, "\n"), THREADS * LINES);
    free(sink.text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(line_has_time_node_component_and_text),
        cmocka_unit_test(lines_above_the_level_are_dropped),
        cmocka_unit_test(repeated_lines_are_counted_and_the_count_is_told),
        cmocka_unit_test(next_window_lets_lines_through_again),
        cmocka_unit_test(lines_of_threads_stay_whole),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
