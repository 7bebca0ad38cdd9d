/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options from a cluster file and the environment. A file is read twice: first into a scratch copy, so that a mistake in
 * any section refuses the file on every node, then the two sections that count.
 */
#include <ini.h>
#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "engine/options.h"

#define SECTION_BYTES_MAX 64u

struct reading {
    const struct cf_option_desc *rows;
    size_t count;
    struct cf_options scratch;
    char section[SECTION_BYTES_MAX];
    bool is_given[ENG_OPTION_COUNT]; /* in this section */
    bool has_why;
    char why[ENG_OPTIONS_WHY_BYTES];
};

/* "node 3", written so and in no other way: a section that says the same in two ways could be missed. */
static bool section_node(const char *section, uint64_t *node_out)
{
    char again[SECTION_BYTES_MAX];
    size_t prefix = strlen(ENG_OPTIONS_SECTION_NODE);
    uint64_t node;

    if (strncmp(section, ENG_OPTIONS_SECTION_NODE, prefix) != 0 ||
        cf_parse_u64(section + prefix, &node) != 0 || node >= CF_NODES_MAX)
        return false;
    snprintf(again, sizeof again, ENG_OPTIONS_SECTION_NODE "%" PRIu64, node);
    *node_out = node;
    return strcmp(again, section) == 0;
}

CF_PRINTF(2, 3)
static int refuse_line(struct reading *reading, const char *fmt, ...)
{
    va_list args;

    va_start(args, fmt);
    vsnprintf(reading->why, sizeof reading->why, fmt, args);
    va_end(args);
    reading->has_why = true;
    return 0;
}

/* inih goes on after a refused line; the first refusal is the one that is told. */
static int on_line(void *arg, const char *section, const char *name, const char *value)
{
    struct reading *reading = arg;
    char why[ENG_OPTIONS_WHY_BYTES];
    uint64_t node = 0;
    bool is_all = strcmp(section, ENG_OPTIONS_SECTION_ALL) == 0;
    int index;

    if (reading->has_why)
        return 0;
    if (section[0] == '\0')
        return refuse_line(
            reading, "option %s stands before the first section; allowed are [cluster] and [node N]", name);
    if (!is_all && !section_node(section, &node))
        return refuse_line(reading, "unknown section [%s]; allowed are [cluster] and [node 0] to [node %u]",
                           section, CF_NODES_MAX - 1);
    if (strcmp(reading->section, section) != 0) {
        snprintf(reading->section, sizeof reading->section, "%s", section);
        memset(reading->is_given, 0, sizeof reading->is_given);
    }
    if (cf_option_set(reading->rows, reading->count, &reading->scratch, name, value != NULL ? value : "", why,
                      sizeof why) != 0)
        return refuse_line(reading, "%s", why);
    index = cf_option_find(reading->rows, reading->count, name);
    cf_assert(index >= 0);
    /* A line that begins with a space continues the one before in this format: it would be a second value. */
    if (reading->is_given[index])
        return refuse_line(reading, "option %s is given twice in [%s] (or the line begins with a space)",
                           name, section);
    reading->is_given[index] = true;
    if (index == ENG_OPTION_node && (is_all || reading->scratch.node != node))
        return refuse_line(reading, "option node: value '%s' in [%s]; the section's name says it", value,
                           section);
    return 1;
}

static enum cf_rc file_validate(const char *path, struct cf_error *error)
{
    struct reading reading = {.has_why = false};
    int line;

    reading.rows = eng_options_table(&reading.count);
    line = ini_parse(path, on_line, &reading);
    if (line == -1)
        return eng_options_fail(error, CF_NOT_FOUND, "%s: cannot be read", path);
    if (line < 0)
        return eng_options_fail(error, CF_MEMORY, "%s: no memory to read it", path);
    if (line == 0)
        return CF_OK;
    if (reading.has_why)
        return eng_options_fail(error, CF_OPTION, "%s:%d: %s", path, line, reading.why);
    return eng_options_fail(error, CF_OPTION, "%s:%d: neither [section] nor name = value", path, line);
}

/* Reads both sections over *options, which may be left half done on failure. */
static enum cf_rc file_apply(struct cf_options *options, const char *path, uint16_t node,
                             struct cf_error *error)
{
    char why[ENG_OPTIONS_WHY_BYTES], section[SECTION_BYTES_MAX];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);
    enum cf_rc rc = file_validate(path, error);

    if (rc != CF_OK)
        return rc;
    snprintf(section, sizeof section, ENG_OPTIONS_SECTION_NODE "%u", node);
    if (cf_options_ini(rows, count, options, path, ENG_OPTIONS_SECTION_ALL, why, sizeof why) != 0 ||
        cf_options_ini(rows, count, options, path, section, why, sizeof why) != 0)
        return eng_options_fail(error, CF_OPTION, "%s", why);
    return CF_OK;
}

/* `path` NULL: the environment alone. *options is changed only when everything was right. */
enum cf_rc cf_options_load(struct cf_options *options, const char *path, uint16_t node,
                           struct cf_error *error)
{
    char why[ENG_OPTIONS_WHY_BYTES];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);
    struct cf_options loaded;
    enum cf_rc rc = CF_OK;

    if (options == NULL || node >= CF_NODES_MAX)
        return eng_options_fail(error, CF_INVALID,
                                options == NULL ? "options must be given" : "node %u: the highest is %u",
                                node, CF_NODES_MAX - 1);
    loaded = *options;
    loaded.node = node;
    if (path != NULL)
        rc = file_apply(&loaded, path, node, error);
    if (rc != CF_OK)
        return rc;
    if (cf_options_env(rows, count, &loaded, "CF_", why, sizeof why) != 0)
        return eng_options_fail(error, CF_OPTION, "%s", why);
    /* The section of one node with the id of another would be two instances in one. */
    if (loaded.node != node)
        return eng_options_fail(error, CF_OPTION,
                                "environment CF_NODE: value '%" PRIu64
                                "', but the options of node %u are loaded",
                                loaded.node, node);
    *options = loaded;
    return CF_OK;
}
