/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The public options over the table of base/option.h. A cluster file is read twice: first into a scratch
 * copy, so that a mistake in any section refuses the file on every node, then the two sections that count.
 */
#include "engine/options.h"

#include <ini.h>
#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/units.h"
#include "engine/format.h"
#include "engine/frame.h"
#include "engine/metrics.h"
#include "engine/peers.h"

#define CHOICES_MAX 4u
#define CHOICE_BYTES_MAX 64u
#define WHY_BYTES_MAX 512u
#define SECTION_BYTES_MAX 64u

/* The unit of options.def decides how a number is written; its length tells the units apart at compile. */
#define TYPE_OF_UNIT(unit)                                \
    (sizeof(unit) == sizeof("bytes") ? CF_OPTION_SIZE     \
     : sizeof(unit) == sizeof("ns")  ? CF_OPTION_DURATION \
                                     : CF_OPTION_U64)
#define DEFAULT_OF_UNIT(unit, dflt) (sizeof(unit) == sizeof("ns") ? #dflt "ns" : #dflt)
#define STRING_MAX CF_OPTION_STRING_BYTES

enum option_index {
#define CF_OPTION_U64(name, unit, dflt, min, max, text) INDEX_##name,
#define CF_OPTION_STR(name, dflt, text) INDEX_##name,
#define CF_OPTION_ENUM(name, dflt, choices, text) INDEX_##name,
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
    OPTION_COUNT
};

/* [const] once table_build has run. Choices come as one text; here they are cut into words. */
static struct {
    pthread_once_t once;
    struct cf_option_desc row[OPTION_COUNT];
    const char *choices[OPTION_COUNT][CHOICES_MAX + 1];
    char words[OPTION_COUNT][CHOICE_BYTES_MAX];
} table = {
    .once = PTHREAD_ONCE_INIT,
    .row =
        {
#define CF_OPTION_U64(name, unit, dflt, min, max, text)                                                     \
    {#name, text, NULL, TYPE_OF_UNIT(unit), offsetof(struct cf_options, name), DEFAULT_OF_UNIT(unit, dflt), \
     min,   max,  NULL},
#define CF_OPTION_STR(name, dflt, text) \
    {#name, text, NULL, CF_OPTION_STRING, offsetof(struct cf_options, name), dflt, 0, STRING_MAX, NULL},
#define CF_OPTION_ENUM(name, dflt, choices, text) \
    {#name, text, choices, CF_OPTION_CHOICE, offsetof(struct cf_options, name), NULL, dflt, 0, NULL},
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
        },
};

/* A row of choices comes with "a|b|c" in unit and the default's index in min; it leaves with the words. */
static void choices_cut(size_t index)
{
    struct cf_option_desc *row = &table.row[index];
    char *rest = table.words[index];
    uint32_t count = 0;

    cf_assert(strlen(row->unit) < CHOICE_BYTES_MAX);
    memcpy(rest, row->unit, strlen(row->unit) + 1);
    for (char *word = strsep(&rest, "|"); word != NULL; word = strsep(&rest, "|")) {
        cf_assert(count < CHOICES_MAX);
        table.choices[index][count++] = word;
    }
    cf_assert(row->min < count);
    row->dflt = table.choices[index][row->min];
    row->choices = table.choices[index];
    row->unit = NULL;
    row->min = 0;
}

/* 67108864 is read better as 64MiB. */
static void default_shorten(size_t index)
{
    struct cf_option_desc *row = &table.row[index];
    uint64_t value = 0;
    bool is_size = row->type == CF_OPTION_SIZE;
    int rc = is_size ? cf_parse_size(row->dflt, &value) : cf_parse_duration(row->dflt, &value);

    cf_assert(rc == 0);
    row->dflt = is_size ? cf_format_size(value, table.words[index], CHOICE_BYTES_MAX)
                        : cf_format_duration(value, table.words[index], CHOICE_BYTES_MAX);
}

static void table_build(void)
{
    for (size_t i = 0; i < OPTION_COUNT; i++) {
        if (table.row[i].type == CF_OPTION_CHOICE)
            choices_cut(i);
        else if (table.row[i].type == CF_OPTION_SIZE || table.row[i].type == CF_OPTION_DURATION)
            default_shorten(i);
    }
}

const struct cf_option_desc *eng_options_table(size_t *count_out)
{
    int rc = pthread_once(&table.once, table_build);

    cf_assert(rc == 0);
    *count_out = OPTION_COUNT;
    return table.row;
}

CF_PRINTF(3, 4)
static enum cf_rc fail(struct cf_error *error, enum cf_rc rc, const char *fmt, ...)
{
    va_list args;

    if (error == NULL)
        return rc;
    memset(error, 0, sizeof *error);
    error->rc = rc;
    error->node = CF_NODE_NONE;
    va_start(args, fmt);
    vsnprintf(error->text, sizeof error->text, fmt, args);
    va_end(args);
    return rc;
}

void cf_options_init(struct cf_options *options)
{
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);

    memset(options, 0, sizeof *options);
    options->size = sizeof *options;
    cf_options_defaults(rows, count, options);
}

enum cf_rc cf_options_set(struct cf_options *options, const char *name, const char *value,
                          struct cf_error *error)
{
    char why[WHY_BYTES_MAX];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);

    if (options == NULL || name == NULL || value == NULL)
        return fail(error, CF_INVALID, "options, name and value must be given");
    if (cf_option_set(rows, count, options, name, value, why, sizeof why) != 0)
        return fail(error, CF_OPTION, "%s", why);
    return CF_OK;
}

/* ---- cluster file */

struct reading {
    const struct cf_option_desc *rows;
    size_t count;
    struct cf_options scratch;
    char section[SECTION_BYTES_MAX];
    bool is_given[OPTION_COUNT]; /* in this section */
    bool has_why;
    char why[WHY_BYTES_MAX];
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
    char why[WHY_BYTES_MAX];
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
    if (index == INDEX_node && (is_all || reading->scratch.node != node))
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
        return fail(error, CF_NOT_FOUND, "%s: cannot be read", path);
    if (line < 0)
        return fail(error, CF_MEMORY, "%s: no memory to read it", path);
    if (line == 0)
        return CF_OK;
    if (reading.has_why)
        return fail(error, CF_OPTION, "%s:%d: %s", path, line, reading.why);
    return fail(error, CF_OPTION, "%s:%d: neither [section] nor name = value", path, line);
}

/* Reads both sections over *options, which may be left half done on failure. */
static enum cf_rc file_apply(struct cf_options *options, const char *path, uint16_t node,
                             struct cf_error *error)
{
    char why[WHY_BYTES_MAX], section[SECTION_BYTES_MAX];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);
    enum cf_rc rc = file_validate(path, error);

    if (rc != CF_OK)
        return rc;
    snprintf(section, sizeof section, ENG_OPTIONS_SECTION_NODE "%u", node);
    if (cf_options_ini(rows, count, options, path, ENG_OPTIONS_SECTION_ALL, why, sizeof why) != 0 ||
        cf_options_ini(rows, count, options, path, section, why, sizeof why) != 0)
        return fail(error, CF_OPTION, "%s", why);
    return CF_OK;
}

/* `path` NULL: the environment alone. *options is changed only when everything was right. */
enum cf_rc cf_options_load(struct cf_options *options, const char *path, uint16_t node,
                           struct cf_error *error)
{
    char why[WHY_BYTES_MAX];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);
    struct cf_options loaded;
    enum cf_rc rc = CF_OK;

    if (options == NULL || node >= CF_NODES_MAX)
        return fail(error, CF_INVALID,
                    options == NULL ? "options must be given" : "node %u: the highest is %u", node,
                    CF_NODES_MAX - 1);
    loaded = *options;
    loaded.node = node;
    if (path != NULL)
        rc = file_apply(&loaded, path, node, error);
    if (rc != CF_OK)
        return rc;
    if (cf_options_env(rows, count, &loaded, "CF_", why, sizeof why) != 0)
        return fail(error, CF_OPTION, "%s", why);
    /* The section of one node with the id of another would be two instances in one. */
    if (loaded.node != node)
        return fail(error, CF_OPTION,
                    "environment CF_NODE: value '%" PRIu64 "', but the options of node %u are loaded",
                    loaded.node, node);
    *options = loaded;
    return CF_OK;
}

/* ---- options against each other */

uint64_t eng_options_cache_bytes(const struct cf_options *options, uint32_t class_index)
{
    const uint64_t bytes[CF_BLOCK_SIZES] = {options->cache_2k_bytes, options->cache_4k_bytes,
                                            options->cache_bytes, options->cache_16k_bytes,
                                            options->cache_32k_bytes};

    cf_assert(class_index < CF_BLOCK_SIZES);
    return bytes[class_index];
}

/* A struct may have been filled in by hand: every value is looked at as if it had come as text. */
static enum cf_rc check_ranges(const struct cf_options *options, struct cf_error *error)
{
    char value[WHY_BYTES_MAX], why[WHY_BYTES_MAX];
    struct cf_options scratch;
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);

    for (size_t i = 0; i < count; i++) {
        const char *field = (const char *)options + rows[i].offset;

        if (rows[i].type == CF_OPTION_STRING && memchr(field, 0, STRING_MAX) == NULL)
            return fail(error, CF_OPTION, "option %s: the text has no end within %u bytes", rows[i].name,
                        STRING_MAX);
        if (rows[i].type == CF_OPTION_CHOICE) {
            uint32_t chosen = *(const uint32_t *)(const void *)field, choices = 0;

            while (rows[i].choices[choices] != NULL)
                choices++;
            if (chosen >= choices)
                return fail(error, CF_OPTION, "option %s: value %u; allowed is 0 to %u", rows[i].name, chosen,
                            choices - 1);
        }
        cf_option_format(&rows[i], options, value, sizeof value);
        if (cf_option_set(rows, count, &scratch, rows[i].name, value, why, sizeof why) != 0)
            return fail(error, CF_OPTION, "%s", why);
    }
    return CF_OK;
}

static bool is_power_of_two(uint64_t value)
{
    return value != 0 && (value & (value - 1)) == 0;
}

static enum cf_rc check_frames(const struct cf_options *options, struct cf_error *error)
{
    static const char *const names[CF_BLOCK_SIZES] = {"cache_2k_bytes", "cache_4k_bytes", "cache_bytes",
                                                      "cache_16k_bytes", "cache_32k_bytes"};
    uint64_t frames_min = eng_options_frames_min(options), frames = 0;
    char given[32], need[32];

    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        uint64_t block_bytes = (uint64_t)CF_BLOCK_BYTES_MIN << i, bytes = eng_options_cache_bytes(options, i);

        frames += bytes / block_bytes;
        if (bytes != 0 && bytes / block_bytes < frames_min)
            return fail(error, CF_OPTION,
                        "option %s: value '%s'; outstanding %" PRIu64 " needs 2 * outstanding + %u = %" PRIu64
                        " frames, at least %s (or 0: no such blocks)",
                        names[i], cf_format_size(bytes, given, sizeof given), options->outstanding,
                        ENG_OPTIONS_FRAMES_SPARE, frames_min,
                        cf_format_size(frames_min * block_bytes, need, sizeof need));
    }
    if (frames == 0)
        return fail(error, CF_OPTION, "option cache_bytes: value '0'; at least one block size needs frames");
    if (frames > ENG_FRAMES_MAX)
        return fail(error, CF_OPTION, "option cache_bytes: %" PRIu64 " frames in all; allowed is up to %u",
                    frames, ENG_FRAMES_MAX);
    if (options->past_images > frames)
        return fail(error, CF_OPTION, "option past_images: value '%" PRIu64 "'; there are %" PRIu64 " frames",
                    options->past_images, frames);
    return CF_OK;
}

/* On one host the kernel vouches for the peers; beyond it only the secret does. */
#define SECRET_BYTES_MIN 16u
static bool is_one_host(const char *transport)
{
    return strncmp(transport, "shm:", 4) == 0 || strncmp(transport, "sim:", 4) == 0;
}

static enum cf_rc check_texts(const struct cf_options *options, struct cf_error *error)
{
    size_t cluster_max = sizeof((struct eng_super *)0)->cluster - 1;
    struct eng_metrics_address metrics;

    if (options->cluster[0] == '\0' || strlen(options->cluster) > cluster_max)
        return fail(error, CF_OPTION, "option cluster: %zu characters; allowed is 1 to %zu",
                    strlen(options->cluster), cluster_max);
    if (options->transport[0] == ':' || strchr(options->transport, ':') == NULL)
        return fail(error, CF_OPTION,
                    "option transport: value '%.100s'; it begins with a provider and a colon, as shm:",
                    options->transport);
    if (!is_one_host(options->transport) && strlen(options->secret) < SECRET_BYTES_MIN)
        return fail(error, CF_OPTION,
                    "option secret: %zu characters; transport %.100s leaves the host and needs at least %u",
                    strlen(options->secret), options->transport, SECRET_BYTES_MIN);
    if (eng_peers_check(options, error) != CF_OK)
        return CF_OPTION;
    if (options->metrics[0] != '\0' && !eng_metrics_parse(options->metrics, &metrics))
        return fail(error, CF_OPTION,
                    "option metrics: value '%.100s'; it is a numeric address and a port from 0 to 65535, as "
                    "127.0.0.1:9300 or [::1]:9300 (0: a free one)",
                    options->metrics);
    return CF_OK;
}

enum cf_rc cf_options_check(const struct cf_options *options, struct cf_error *error)
{
    enum cf_rc rc;

    if (options == NULL || options->size != sizeof *options)
        return fail(error, CF_INVALID, "options must be prepared by cf_options_init of this version");
    rc = check_ranges(options, error);
    if (rc != CF_OK)
        return rc;
    if (options->node >= options->nodes)
        return fail(error, CF_OPTION,
                    "option node: value '%" PRIu64 "'; nodes %" PRIu64 " allows 0 to %" PRIu64, options->node,
                    options->nodes, options->nodes - 1);
    if (!is_power_of_two(options->buckets))
        return fail(error, CF_OPTION, "option buckets: value '%" PRIu64 "' is not a power of two",
                    options->buckets);
    if (!is_power_of_two(options->lane_slots))
        return fail(error, CF_OPTION, "option lane_slots: value '%" PRIu64 "' is not a power of two",
                    options->lane_slots);
    rc = check_texts(options, error);
    return rc != CF_OK ? rc : check_frames(options, error);
}
