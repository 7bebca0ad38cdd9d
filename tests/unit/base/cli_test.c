/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: the forms of an option, flags, positionals, help, and each error with its status. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdbool.h>
#include <string.h>

#include "base/cli.h"

struct settings {
    bool is_fast;
    uint32_t count;
};

static const struct cf_option_desc table[] = {
    {"fast", "go", NULL, CF_OPTION_BOOL, offsetof(struct settings, is_fast), "false", 0, 0, NULL},
    {"block_count", "how many", NULL, CF_OPTION_U32, offsetof(struct settings, count), "1", 1, 10, NULL},
};

static const struct cf_cli_spec spec = {
    .program = "prog",
    .command = "do",
    .summary = "does",
    .positionals = "FILE [FILE]",
    .positionals_min = 1,
    .positionals_max = 2,
    .table = table,
    .table_count = CF_COUNTOF(table),
};

#define PARSE(...) parse((char *[]){(char *)(uintptr_t) "do", __VA_ARGS__, NULL})
#define W(text) ((char *)(uintptr_t)(text))

static struct settings settings;
static const char *words[2];
static uint32_t words_count;

static enum cf_cli_result parse(char **argv)
{
    int argc = 0;

    while (argv[argc] != NULL)
        argc++;
    settings = (struct settings){false, 1};
    words_count = 0;
    return cf_cli_parse(&spec, argc, argv, &settings, words, &words_count);
}

static void values_come_behind_a_blank_or_an_equals_sign(void **state)
{
    (void)state;
    assert_int_equal(PARSE(W("--block-count"), W("3"), W("file")), CF_CLI_OK);
    assert_int_equal(settings.count, 3);
    assert_int_equal(words_count, 1);
    assert_int_equal(PARSE(W("file"), W("--block_count=4")), CF_CLI_OK);
    assert_int_equal(settings.count, 4);
    assert_int_equal(words_count, 1);
    assert_string_equal(words[0], "file");
}

static void flags_take_no_word(void **state)
{
    (void)state;
    assert_int_equal(PARSE(W("--fast"), W("file"), W("other")), CF_CLI_OK);
    assert_true(settings.is_fast);
    assert_int_equal(words_count, 2);
    assert_int_equal(PARSE(W("--fast"), W("--no-fast"), W("file")), CF_CLI_OK);
    assert_false(settings.is_fast);
    assert_int_equal(PARSE(W("--fast=yes"), W("file")), CF_CLI_OK);
    assert_true(settings.is_fast);
}

static void two_dashes_end_the_options(void **state)
{
    (void)state;
    assert_int_equal(PARSE(W("--"), W("--fast"), W("-")), CF_CLI_OK);
    assert_false(settings.is_fast);
    assert_string_equal(words[0], "--fast");
    assert_string_equal(words[1], "-");
}

static void errors_are_errors(void **state)
{
    (void)state;
    assert_int_equal(PARSE(W("--slow"), W("file")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("-x"), W("file")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("file"), W("--block-count")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("--block-count=11"), W("file")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("--fast")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("a"), W("b"), W("c")), CF_CLI_ERROR);
    assert_int_equal(PARSE(W("--no-block-count"), W("file")), CF_CLI_ERROR);
    assert_int_equal(cf_cli_exit(CF_CLI_ERROR), 2);
    assert_int_equal(cf_cli_exit(CF_CLI_HELP), 0);
}

static void help_wins_over_missing_arguments(void **state)
{
    (void)state;
    assert_int_equal(PARSE(W("--help")), CF_CLI_HELP);
}

static int runs;

static int run_do(int argc, char **argv)
{
    runs++;
    if (argc == 2 && strcmp(argv[1], "--help") == 0)
        return 0;
    return argc == 2 && strcmp(argv[0], "do") == 0 && strcmp(argv[1], "x") == 0 ? 5 : 1;
}

static void commands_are_found_by_name(void **state)
{
    static const struct cf_cli_command commands[] = {{"do", "does", run_do}};
    static const struct cf_cli_program program = {"prog", "a program", "1.2", commands, 1};

    (void)state;
    runs = 0;
    assert_int_equal(cf_cli_main(&program, 3, (char *[]){W("prog"), W("do"), W("x"), NULL}), 5);
    assert_int_equal(cf_cli_main(&program, 3, (char *[]){W("prog"), W("help"), W("do"), NULL}), 0);
    assert_int_equal(runs, 2);
    assert_int_equal(cf_cli_main(&program, 2, (char *[]){W("prog"), W("undo"), NULL}), 2);
    assert_int_equal(cf_cli_main(&program, 1, (char *[]){W("prog"), NULL}), 2);
    assert_int_equal(cf_cli_main(&program, 2, (char *[]){W("prog"), W("--help"), NULL}), 0);
    assert_int_equal(cf_cli_main(&program, 2, (char *[]){W("prog"), W("--version"), NULL}), 0);
    assert_int_equal(runs, 2);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_behind_a_blank_or_an_equals_sign),
        cmocka_unit_test(flags_take_no_word),
        cmocka_unit_test(two_dashes_end_the_options),
        cmocka_unit_test(errors_are_errors),
        cmocka_unit_test(help_wins_over_missing_arguments),
        cmocka_unit_test(commands_are_found_by_name),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
