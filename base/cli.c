/* SPDX-License-Identifier: Apache-2.0 */
#include "base/cli.h"

#include <stdbool.h>
#include <string.h>

#define CLI_TEXT_BYTES_MAX 1024
#define CLI_NAME_BYTES_MAX 64

static void program_help(const struct cf_cli_program *program, FILE *out)
{
    fprintf(out, "usage: %s COMMAND [ARGUMENTS]\n%s\n\ncommands:\n", program->name, program->summary);
    for (size_t i = 0; i < program->commands_count; i++)
        fprintf(out, "  %-12s  %s\n", program->commands[i].name, program->commands[i].summary);
    fprintf(out, "\n'%s COMMAND --help' shows the arguments of a command.\n", program->name);
}

static const struct cf_cli_command *find_command(const struct cf_cli_program *program, const char *name)
{
    for (size_t i = 0; i < program->commands_count; i++)
        if (strcmp(program->commands[i].name, name) == 0)
            return &program->commands[i];
    return NULL;
}

static bool is_help(const char *word)
{
    return strcmp(word, "--help") == 0 || strcmp(word, "-h") == 0;
}

static int unknown_command(const struct cf_cli_program *program, const char *name)
{
    fprintf(stderr, "%s: unknown command '%s'; '%s --help' lists them\n", program->name, name, program->name);
    return CF_CLI_EXIT_USAGE;
}

int cf_cli_main(const struct cf_cli_program *program, int argc, char **argv)
{
    const struct cf_cli_command *command;
    char help_word[] = "--help";

    if (argc < 2) {
        program_help(program, stderr);
        return CF_CLI_EXIT_USAGE;
    }
    if (is_help(argv[1]) || (strcmp(argv[1], "help") == 0 && argc < 3)) {
        program_help(program, stdout);
        return 0;
    }
    if (program->version != NULL && strcmp(argv[1], "--version") == 0) {
        printf("%s %s\n", program->name, program->version);
        return 0;
    }
    if (strcmp(argv[1], "help") == 0) {
        char *help_argv[] = {argv[2], help_word, NULL};
        command = find_command(program, argv[2]);
        return command != NULL ? command->run(2, help_argv) : unknown_command(program, argv[2]);
    }
    command = find_command(program, argv[1]);
    return command != NULL ? command->run(argc - 1, argv + 1) : unknown_command(program, argv[1]);
}

void cf_cli_help(const struct cf_cli_spec *spec, FILE *out)
{
    fprintf(out, "usage: %s %s%s%s%s\n", spec->program, spec->command,
            spec->table_count > 0 ? " [OPTIONS]" : "", spec->positionals != NULL ? " " : "",
            spec->positionals != NULL ? spec->positionals : "");
    fprintf(out, "%s\n", spec->summary);
    if (spec->table_count > 0) {
        fprintf(out, "\noptions:\n");
        cf_options_help(spec->table, spec->table_count, out);
    }
    if (spec->notes != NULL)
        fprintf(out, "\n%s\n", spec->notes);
}

int cf_cli_exit(enum cf_cli_result result)
{
    return result == CF_CLI_ERROR ? CF_CLI_EXIT_USAGE : 0;
}

static enum cf_cli_result complain(const struct cf_cli_spec *spec, const char *text, const char *about)
{
    fprintf(stderr, "%s %s: %s%s; '%s %s --help' lists the options\n", spec->program, spec->command, text,
            about, spec->program, spec->command);
    return CF_CLI_ERROR;
}

static bool is_flag(const struct cf_cli_spec *spec, const char *name)
{
    int index = cf_option_find(spec->table, spec->table_count, name);

    return index >= 0 && spec->table[index].type == CF_OPTION_BOOL;
}

/*
 * One option word with the word behind it (or NULL). *took_next_out tells whether that one was the value.
 */
static enum cf_cli_result parse_option(const struct cf_cli_spec *spec, const char *word, const char *next,
                                       void *obj, bool *took_next_out)
{
    char name[CLI_NAME_BYTES_MAX], err[CLI_TEXT_BYTES_MAX];
    const char *equals = strchr(word, '=');
    size_t length = equals != NULL ? (size_t)(equals - word) : strlen(word);
    const char *value;
    const char *key = name;

    *took_next_out = false;
    if (length >= sizeof(name))
        return complain(spec, "unknown option --", word);
    memcpy(name, word, length);
    name[length] = '\0';
    if (equals != NULL) {
        value = equals + 1;
    } else if (is_flag(spec, name)) {
        value = "true";
    } else if (strncmp(name, "no-", 3) == 0 && is_flag(spec, name + 3)) {
        key = name + 3;
        value = "false";
    } else if (cf_option_find(spec->table, spec->table_count, name) < 0) {
        value = ""; /* cf_option_set refuses the name */
    } else if (next == NULL) {
        return complain(spec, "no value behind --", name);
    } else {
        value = next;
        *took_next_out = true;
    }
    if (cf_option_set(spec->table, spec->table_count, obj, key, value, err, sizeof(err)) != 0)
        return complain(spec, err, "");
    return CF_CLI_OK;
}

static enum cf_cli_result check_positionals(const struct cf_cli_spec *spec, uint32_t count, const char *extra)
{
    if (extra != NULL)
        return complain(spec, "unexpected argument ", extra);
    if (count < spec->positionals_min)
        return complain(spec, "missing argument: ", spec->positionals != NULL ? spec->positionals : "");
    return CF_CLI_OK;
}

enum cf_cli_result cf_cli_parse(const struct cf_cli_spec *spec, int argc, char **argv, void *obj,
                                const char **positionals_out, uint32_t *positionals_count_out)
{
    uint32_t positionals_count = 0;
    bool options_ended = false;
    const char *extra = NULL;

    for (int i = 1; i < argc; i++) {
        bool took_next;
        enum cf_cli_result result;

        if (!options_ended && strcmp(argv[i], "--") == 0) {
            options_ended = true;
        } else if (!options_ended && is_help(argv[i])) {
            cf_cli_help(spec, stdout);
            return CF_CLI_HELP;
        } else if (!options_ended && strncmp(argv[i], "--", 2) == 0) {
            result = parse_option(spec, argv[i] + 2, i + 1 < argc ? argv[i + 1] : NULL, obj, &took_next);
            if (result != CF_CLI_OK)
                return result;
            i += took_next;
        } else if (!options_ended && argv[i][0] == '-' && argv[i][1] != '\0') {
            return complain(spec, "unknown option ", argv[i]);
        } else if (positionals_count < spec->positionals_max) {
            positionals_out[positionals_count++] = argv[i];
        } else if (extra == NULL) {
            extra = argv[i];
        }
    }
    if (positionals_count_out != NULL)
        *positionals_count_out = positionals_count;
    return check_positionals(spec, positionals_count, extra);
}
