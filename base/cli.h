/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Command lines over option tables: `program command --name value --name=value --flag words`.
 * `--` ends the options. A bool option is a flag: --name, --no-name or --name=false.
 */
#ifndef CF_BASE_CLI_H
#define CF_BASE_CLI_H

#include <stdint.h>

#include "base/option.h"

#define CF_CLI_EXIT_USAGE 2

struct cf_cli_command {
    const char *name;
    const char *summary;               /* one line */
    int (*run)(int argc, char **argv); /* argv[0] is the command's name; returns the exit status */
};

struct cf_cli_program {
    const char *name;
    const char *summary;
    const char *version; /* may be NULL */
    const struct cf_cli_command *commands;
    size_t commands_count;
};

/* Finds argv[1] among the commands and runs it. Handles help, --help, --version, and unknown names. */
CF_CHECK int cf_cli_main(const struct cf_cli_program *program, int argc, char **argv);

/* What one command takes. */
struct cf_cli_spec {
    const char *program;
    const char *command;
    const char *summary;
    const char *positionals; /* shown in the usage line, "FILE [NODE...]"; NULL: none taken */
    uint32_t positionals_min;
    uint32_t positionals_max;
    const struct cf_option_desc *table;
    size_t table_count;
    const char *notes; /* printed after the options; may be NULL */
};

enum cf_cli_result {
    CF_CLI_OK = 0,
    CF_CLI_HELP, /* help was printed to stdout: return 0 */
    CF_CLI_ERROR /* an error was printed to stderr: return CF_CLI_EXIT_USAGE */
};

/*
 * Sets fields of obj from argv[1..argc). Fields not named keep what they had (see cf_options_defaults).
 * positionals_out has room for spec->positionals_max pointers; it and the count may be NULL when that is 0.
 */
CF_CHECK enum cf_cli_result cf_cli_parse(const struct cf_cli_spec *spec, int argc, char **argv, void *obj,
                                         const char **positionals_out, uint32_t *positionals_count_out);
void cf_cli_help(const struct cf_cli_spec *spec, FILE *out);
/* 0 for help, CF_CLI_EXIT_USAGE for an error. */
int cf_cli_exit(enum cf_cli_result result);

#endif
