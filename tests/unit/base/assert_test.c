/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: what a failure prints and that it aborts, in a child process; nesting of dump contexts. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <signal.h>
#include <stdbool.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"
#include "base/trace.h"

static void dump_word(void *arg, FILE *out)
{
    fprintf(out, "dump %s\n", (const char *)arg);
}

static void dump_that_fails(void *arg, FILE *out)
{
    fprintf(out, "dump fails\n");
    cf_assert(arg != NULL);
}

static void fail_plain(void)
{
    int one = 1;

    cf_assert(one == 1);
    cf_assert(one == 2);
}

static void fail_with_contexts(void)
{
    char outer_word[] = "outer", inner_word[] = "inner", gone_word[] = "gone";
    struct cf_assert_context outer = {.dump = dump_word, .arg = outer_word};
    struct cf_assert_context inner = {.dump = dump_word, .arg = inner_word};
    struct cf_assert_context gone = {.dump = dump_word, .arg = gone_word};
    struct cf_trace_record memory[4];
    struct cf_trace trace;

    cf_trace_init(&trace, memory, 4);
    cf_trace_bind_thread(&trace);
    cf_trace_add(&trace, CF_TRACE_MARK, 0, 4711, 0, 0);
    cf_assert_context_push(&outer);
    cf_assert_context_push(&inner);
    cf_assert_context_push(&gone);
    cf_assert_context_pop(&gone);
    cf_assert_id(outer.arg == NULL, "I-3");
}

static void fail_in_dump(void)
{
    struct cf_assert_context context = {.dump = dump_that_fails, .arg = NULL};

    cf_assert_context_push(&context);
    cf_unreachable();
}

/* Runs the function in a child, returns what it wrote to stderr; it must end by SIGABRT. */
static void run_to_abort(void (*function)(void), char *text, size_t text_bytes)
{
    const struct rlimit no_core = {0, 0};
    size_t used = 0;
    int pipes[2], status;
    pid_t child;

    assert_int_equal(pipe(pipes), 0);
    child = fork();
    assert_true(child >= 0);
    if (child == 0) {
        setrlimit(RLIMIT_CORE, &no_core);
        signal(SIGABRT, SIG_DFL);
        dup2(pipes[1], STDERR_FILENO);
        function();
        _exit(0);
    }
    close(pipes[1]);
    for (ssize_t n = 1; n > 0 && used + 1 < text_bytes; used += (size_t)n) {
        n = read(pipes[0], text + used, text_bytes - 1 - used);
        assert_true(n >= 0);
    }
    text[used] = '\0';
    close(pipes[0]);
    assert_int_equal(waitpid(child, &status, 0), child);
    assert_true(WIFSIGNALED(status));
    assert_int_equal(WTERMSIG(status), SIGABRT);
}

static void failure_prints_place_and_expression(void **state)
{
    char text[4096];

    (void)state;
    run_to_abort(fail_plain, text, sizeof(text));
    assert_non_null(strstr(text, "assert_test.c:"));
    assert_non_null(strstr(text, "assertion failed: one == 2"));
    assert_null(strstr(text, "one == 1"));
}

static void failure_dumps_pushed_contexts_innermost_first_and_the_trace(void **state)
{
    char text[4096];
    const char *inner, *outer;

    (void)state;
    run_to_abort(fail_with_contexts, text, sizeof(text));
    inner = strstr(text, "dump inner");
    outer = strstr(text, "dump outer");
    assert_non_null(inner);
    assert_non_null(outer);
    assert_true(inner < outer);
    assert_null(strstr(text, "dump gone"));
    assert_non_null(strstr(text, "invariant I-3"));
    assert_non_null(strstr(text, "MARK a 0 b 4711"));
}

static void failing_dump_hook_is_not_run_again(void **state)
{
    char text[4096];
    const char *first;

    (void)state;
    run_to_abort(fail_in_dump, text, sizeof(text));
    first = strstr(text, "dump fails");
    assert_non_null(first);
    assert_null(strstr(first + 1, "dump fails"));
    assert_non_null(strstr(text, "arg != NULL"));
}

static void slow_assertions_are_evaluated_in_debug_builds_only(void **state)
{
    bool is_evaluated = false;

    (void)state;
    cf_assert_slow((is_evaluated = true));
#ifdef CF_DEBUG
    assert_true(is_evaluated);
#else
    assert_false(is_evaluated);
#endif
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(failure_prints_place_and_expression),
        cmocka_unit_test(failure_dumps_pushed_contexts_innermost_first_and_the_trace),
        cmocka_unit_test(failing_dump_hook_is_not_run_again),
        cmocka_unit_test(slow_assertions_are_evaluated_in_debug_builds_only),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
