/* SPDX-License-Identifier: Apache-2.0 */
/* The public options over the table of base/option.h. */
#include "engine/options.h"

#include <inttypes.h>
#include <pthread.h>
#include <stdarg.h>
#include <string.h>

#include "base/assert.h"
#include "base/units.h"

#define CHOICES_MAX 4u
#define CHOICE_BYTES_MAX 64u
#define STRING_MAX CF_OPTION_STRING_BYTES

/* The unit of options.def decides how a number is written; its length tells the units apart at compile. */
#define TYPE_OF_UNIT(unit)                                \
    (sizeof(unit) == sizeof("bytes") ? CF_OPTION_SIZE     \
     : sizeof(unit) == sizeof("ns")  ? CF_OPTION_DURATION \
                                     : CF_OPTION_U64)
#define DEFAULT_OF_UNIT(unit, dflt) (sizeof(unit) == sizeof("ns") ? #dflt "ns" : #dflt)

/* [const] once table_build has run. Choices come as one text; here they are cut into words. */
static struct {
    pthread_once_t once;
    struct cf_option_desc row[ENG_OPTION_COUNT];
    const char *choices[ENG_OPTION_COUNT][CHOICES_MAX + 1];
    char words[ENG_OPTION_COUNT][CHOICE_BYTES_MAX];
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
    for (size_t i = 0; i < ENG_OPTION_COUNT; i++) {
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
    *count_out = ENG_OPTION_COUNT;
    return table.row;
}

enum cf_rc eng_options_fail(struct cf_error *error, enum cf_rc rc, const char *fmt, ...)
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
    char why[ENG_OPTIONS_WHY_BYTES];
    size_t count;
    const struct cf_option_desc *rows = eng_options_table(&count);

    if (options == NULL || name == NULL || value == NULL)
        return eng_options_fail(error, CF_INVALID, "options, name and value must be given");
    if (cf_option_set(rows, count, options, name, value, why, sizeof why) != 0)
        return eng_options_fail(error, CF_OPTION, "%s", why);
    return CF_OK;
}

uint64_t eng_options_cache_bytes(const struct cf_options *options, uint32_t class_index)
{
    const uint64_t bytes[CF_BLOCK_SIZES] = {options->cache_2k_bytes, options->cache_4k_bytes,
                                            options->cache_bytes, options->cache_16k_bytes,
                                            options->cache_32k_bytes};

    cf_assert(class_index < CF_BLOCK_SIZES);
    return bytes[class_index];
}

const char *eng_options_cache_name(uint32_t class_index)
{
    static const char *const names[CF_BLOCK_SIZES] = {"cache_2k_bytes", "cache_4k_bytes", "cache_bytes",
                                                      "cache_16k_bytes", "cache_32k_bytes"};

    cf_assert(class_index < CF_BLOCK_SIZES);
    return names[class_index];
}
