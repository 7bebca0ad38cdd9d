/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: defaults, every type and its refusals, ini file, environment, print that reads back. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/option.h"

struct settings {
    bool is_verbose;
    uint16_t node;
    uint32_t workers;
    uint64_t seed;
    uint64_t pool_bytes;
    uint64_t poll_ns;
    double loss;
    char path[16];
    uint32_t wait;
};

static const char *const waits[] = {"busy", "adaptive", "sleep", NULL};

static const struct cf_option_desc table[] = {
    {"verbose", "say more", NULL, CF_OPTION_BOOL, offsetof(struct settings, is_verbose), "false", 0, 0, NULL},
    {"node", "own id", NULL, CF_OPTION_U16, offsetof(struct settings, node), "1", 1, 1023, NULL},
    {"workers", "threads", "threads", CF_OPTION_U32, offsetof(struct settings, workers), "2", 1, 64, NULL},
    {"seed", "of the run", NULL, CF_OPTION_U64, offsetof(struct settings, seed), "0", 0, 0, NULL},
    {"pool_size", "frames", "bytes", CF_OPTION_SIZE, offsetof(struct settings, pool_bytes), "64MiB", 1 << 20,
     UINT64_C(1) << 40, NULL},
    {"poll-budget", "spin", NULL, CF_OPTION_DURATION, offsetof(struct settings, poll_ns), "20us", 0,
     1000000000, NULL},
    {"loss", "share", NULL, CF_OPTION_DOUBLE, offsetof(struct settings, loss), "0.25", 0, 1, NULL},
    {"path", "file", NULL, CF_OPTION_STRING, offsetof(struct settings, path), "data", 1,
     sizeof(((struct settings *)0)->path), NULL},
    {"wait", "policy", NULL, CF_OPTION_CHOICE, offsetof(struct settings, wait), "adaptive", 0, 0, waits},
};
#define COUNT CF_COUNTOF(table)

static void defaults_fill_every_field(void **state)
{
    struct settings s;

    (void)state;
    memset(&s, 0xee, sizeof(s));
    cf_options_defaults(table, COUNT, &s);
    assert_false(s.is_verbose);
    assert_int_equal(s.node, 1);
    assert_int_equal(s.workers, 2);
    assert_int_equal(s.seed, 0);
    assert_int_equal(s.pool_bytes, 64 << 20);
    assert_int_equal(s.poll_ns, 20000);
    assert_true(s.loss == 0.25);
    assert_string_equal(s.path, "data");
    assert_int_equal(s.wait, 1);
}

static void refusals_name_option_value_and_range(void **state)
{
    static const struct {
        const char *name, *value, *told[3];
    } cases[] = {
        {"node", "0", {"node", "'0'", "1 to 1023"}},
        {"node", "1024", {"node", "'1024'", "1 to 1023"}},
        {"workers", "many", {"workers", "'many'", "digit"}},
        {"pool_size", "1KiB", {"pool_size", "'1KiB'", "1MiB to 1TiB"}},
        {"poll_budget", "2s", {"poll-budget", "'2s'", "0 to 1s"}},
        {"poll_budget", "20", {"poll-budget", "'20'", "ns us ms s m h"}},
        {"loss", "1.01", {"loss", "'1.01'", "0 to 1"}},
        {"loss", "-0.1", {"loss", "'-0.1'", "0 to 1"}},
        {"path", "", {"path", "''", "1 to 15"}},
        {"path", "1234567890123456", {"path", "16 characters", "1 to 15"}},
        {"wait", "never", {"wait", "'never'", "busy, adaptive, sleep"}},
        {"verbose", "loud", {"verbose", "'loud'", "true"}},
        {"workes", "3", {"workes", "'3'", "nearest is workers"}},
        {"zzzzzzzz", "3", {"unknown option zzzzzzzz", "'3'", ""}},
    };
    struct settings s, before;
    char err[512];

    (void)state;
    memset(&s, 0, sizeof(s));
    cf_options_defaults(table, COUNT, &s);
    before = s;
    for (size_t i = 0; i < CF_COUNTOF(cases); i++) {
        assert_int_equal(cf_option_set(table, COUNT, &s, cases[i].name, cases[i].value, err, sizeof(err)),
                         -1);
        for (int t = 0; t < 3; t++)
            assert_non_null(strstr(err, cases[i].told[t]));
        assert_memory_equal(&s, &before, sizeof(s));
    }
}

static void dashes_and_underscores_are_one_letter(void **state)
{
    (void)state;
    assert_int_equal(cf_option_find(table, COUNT, "pool-size"), 4);
    assert_int_equal(cf_option_find(table, COUNT, "poll_budget"), 5);
    assert_int_equal(cf_option_find(table, COUNT, "pool"), -1);
    assert_int_equal(cf_option_find(table, COUNT, "pool_sizes"), -1);
}

/* A temporary file with the text; the caller unlinks it. */
static void write_file(char *path, size_t path_bytes, const char *text)
{
    const char *folder = getenv("TMPDIR");
    int fd;

    snprintf(path, path_bytes, "%s/cf-option-XXXXXX", folder != NULL ? folder : "/tmp");
    fd = mkstemp(path);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, text, strlen(text)), (ssize_t)strlen(text));
    assert_int_equal(close(fd), 0);
}

static void ini_file_sets_its_section_only(void **state)
{
    char path[256], err[512];
    struct settings s;

    (void)state;
    cf_options_defaults(table, COUNT, &s);
    write_file(path, sizeof(path), "; remark\n[other]\nnode = 9\n[node]\nworkers = 8\npool-size=1GiB\n");
    assert_int_equal(cf_options_ini(table, COUNT, &s, path, "node", err, sizeof(err)), 0);
    assert_int_equal(s.node, 1);
    assert_int_equal(s.workers, 8);
    assert_int_equal(s.pool_bytes, 1 << 30);
    unlink(path);
}

static void ini_errors_name_file_and_line(void **state)
{
    char path[256], err[512];
    struct settings s;

    (void)state;
    cf_options_defaults(table, COUNT, &s);
    write_file(path, sizeof(path), "[node]\nworkers = 4\nworkers = 65\nnode = 7\n");
    assert_int_equal(cf_options_ini(table, COUNT, &s, path, NULL, err, sizeof(err)), -1);
    assert_non_null(strstr(err, ":3: option workers: value '65'"));
    assert_int_equal(s.node, 1);
    unlink(path);
    write_file(path, sizeof(path), "[node]\nworkers\n");
    assert_int_equal(cf_options_ini(table, COUNT, &s, path, NULL, err, sizeof(err)), -1);
    assert_non_null(strstr(err, ":2: neither"));
    unlink(path);
    assert_int_equal(cf_options_ini(table, COUNT, &s, path, NULL, err, sizeof(err)), -1);
    assert_non_null(strstr(err, "cannot be read"));
}

static void environment_is_taken_by_prefix_and_capitals(void **state)
{
    struct settings s;
    char err[512];

    (void)state;
    cf_options_defaults(table, COUNT, &s);
    assert_int_equal(setenv("CFT_POLL_BUDGET", "1ms", 1), 0);
    assert_int_equal(cf_options_env(table, COUNT, &s, "CFT_", err, sizeof(err)), 0);
    assert_int_equal(s.poll_ns, 1000000);
    assert_int_equal(setenv("CFT_NODE", "x", 1), 0);
    assert_int_equal(cf_options_env(table, COUNT, &s, "CFT_", err, sizeof(err)), -1);
    assert_non_null(strstr(err, "CFT_NODE"));
    unsetenv("CFT_NODE");
    unsetenv("CFT_POLL_BUDGET");
}

static void printed_values_read_back(void **state)
{
    struct settings s, back;
    char *text = NULL;
    char path[256], err[512];
    size_t bytes = 0;
    FILE *out;

    (void)state;
    memset(&s, 0, sizeof(s));
    memset(&back, 0, sizeof(back));
    s = (struct settings){true, 1023, 64, UINT64_MAX, 1536 << 10, 1500, 1.0 / 3.0, "a path", 2};
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    cf_options_print(table, COUNT, &s, out);
    assert_int_equal(fclose(out), 0);
    write_file(path, sizeof(path), text);
    assert_int_equal(cf_options_ini(table, COUNT, &back, path, NULL, err, sizeof(err)), 0);
    assert_int_equal(back.is_verbose, s.is_verbose);
    assert_int_equal(back.node, s.node);
    assert_int_equal(back.workers, s.workers);
    assert_true(back.seed == s.seed && back.pool_bytes == s.pool_bytes && back.poll_ns == s.poll_ns);
    assert_true(back.loss == s.loss);
    assert_string_equal(back.path, s.path);
    assert_int_equal(back.wait, s.wait);
    unlink(path);
    free(text);
}

static void help_shows_every_option_with_default_and_range(void **state)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out;

    (void)state;
    out = open_memstream(&text, &bytes);
    assert_non_null(out);
    cf_options_help(table, COUNT, out);
    assert_int_equal(fclose(out), 0);
    assert_non_null(strstr(text, "--pool-size SIZE"));
    assert_non_null(strstr(text, "[64MiB, 1MiB to 1TiB]"));
    assert_non_null(strstr(text, "--wait busy|adaptive|sleep"));
    assert_non_null(strstr(text, "--verbose "));
    free(text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(defaults_fill_every_field),
        cmocka_unit_test(refusals_name_option_value_and_range),
        cmocka_unit_test(dashes_and_underscores_are_one_letter),
        cmocka_unit_test(ini_file_sets_its_section_only),
        cmocka_unit_test(ini_errors_name_file_and_line),
        cmocka_unit_test(environment_is_taken_by_prefix_and_capitals),
        cmocka_unit_test(printed_values_read_back),
        cmocka_unit_test(help_shows_every_option_with_default_and_range),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
