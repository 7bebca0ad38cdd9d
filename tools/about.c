/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion version` and `cachefusion options`. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include <cachefusion/cachefusion.h>

#include "base/cli.h"
#include "base/units.h"
#include "tools/exits.h"
#include "tools/tools.h"
#include "transport/module.h"

static const struct cf_cli_spec version_spec = {
    .program = "cachefusion",
    .command = "version",
    .summary = "Prints the version of library and interface, and which transports are present.",
    .notes = EXITS_NOTE};

static const struct cf_cli_spec options_spec = {
    .program = "cachefusion",
    .command = "options",
    .summary = "Lists the engine's options: for cluster files, 'run --set name=value', and the environment "
               "as CF_NAME.",
    .notes = "A cluster file has the section [cluster] for all and [node N] for one; the environment comes "
             "over both.\n" EXITS_NOTE,
};

int tool_version(int argc, char **argv)
{
    enum cf_cli_result result = cf_cli_parse(&version_spec, argc, argv, NULL, NULL, NULL);
    char why[400];

    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    printf("cachefusion %s (abi %u)\n", cf_version(), cf_abi_version());
    if (xp_module_is_present("dpdk", why, sizeof(why)))
        printf("transports: shm: verbs: dpdk:\n");
    else
        printf("transports: shm: verbs:    without dpdk: (%s)\n", why);
    return EXIT_OK;
}

static const char *number(uint64_t value, const char *unit, char *buf, size_t buf_bytes)
{
    if (strcmp(unit, "bytes") == 0)
        return cf_format_size(value, buf, buf_bytes);
    if (strcmp(unit, "ns") == 0)
        return cf_format_duration(value, buf, buf_bytes);
    snprintf(buf, buf_bytes, "%" PRIu64, value);
    return buf;
}

static void print_number(const char *name, const char *unit, uint64_t dflt, uint64_t min, uint64_t max,
                         const char *text)
{
    char values[3][32];

    printf("  %-16s %s\n  %-16s   default %s, %s to %s\n", name, text, "",
           number(dflt, unit, values[0], sizeof(values[0])), number(min, unit, values[1], sizeof(values[1])),
           number(max, unit, values[2], sizeof(values[2])));
}

static void print_text(const char *name, const char *dflt, const char *text)
{
    printf("  %-16s %s\n  %-16s   default %s\n", name, text, "", dflt[0] != '\0' ? dflt : "none");
}

/* The default of an enumeration is the place of a word in "a|b|c". */
static void print_choice(const char *name, uint32_t dflt, const char *choices, const char *text)
{
    const char *word = choices;

    for (uint32_t i = 0; i < dflt && strchr(word, '|') != NULL; i++)
        word = strchr(word, '|') + 1;
    printf("  %-16s %s\n  %-16s   default %.*s, one of %s\n", name, text, "", (int)strcspn(word, "|"), word,
           choices);
}

int tool_options(int argc, char **argv)
{
    enum cf_cli_result result = cf_cli_parse(&options_spec, argc, argv, NULL, NULL, NULL);

    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
#define CF_OPTION_U64(name, unit, dflt, min, max, text) print_number(#name, unit, dflt, min, max, text);
#define CF_OPTION_STR(name, dflt, text) print_text(#name, dflt, text);
#define CF_OPTION_ENUM(name, dflt, choices, text) print_choice(#name, dflt, choices, text);
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
    return EXIT_OK;
}
