/* SPDX-License-Identifier: Apache-2.0 */
/* Options as text: values, the lines of a file, the help. */
#include <float.h>
#include <inttypes.h>
#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/option_impl.h"
#include "base/units.h"

uint64_t cf_option_integer_max(const struct cf_option_desc *option)
{
    if (option->max != 0)
        return option->max;
    if (option->type == CF_OPTION_U16)
        return UINT16_MAX;
    return option->type == CF_OPTION_U32 ? UINT32_MAX : UINT64_MAX;
}

char *cf_option_integer_format(enum cf_option_type type, uint64_t value, char *buf, size_t buf_bytes)
{
    if (type == CF_OPTION_SIZE)
        return cf_format_size(value, buf, buf_bytes);
    if (type == CF_OPTION_DURATION)
        return cf_format_duration(value, buf, buf_bytes);
    snprintf(buf, buf_bytes, "%" PRIu64, value);
    return buf;
}

void cf_option_choices_join(const struct cf_option_desc *option, const char *between, char *buf,
                            size_t buf_bytes)
{
    size_t used = 0;

    buf[0] = '\0';
    for (size_t i = 0; option->choices[i] != NULL && used < buf_bytes; i++)
        used += (size_t)snprintf(buf + used, buf_bytes - used, "%s%s", i == 0 ? "" : between,
                                 option->choices[i]);
}

static const void *const_field_of(const struct cf_option_desc *option, const void *obj)
{
    return (const char *)obj + option->offset;
}

/* The fewest digits that read back to the same value. */
static char *format_double(double value, char *buf, size_t buf_bytes)
{
    for (int digits = 1; digits <= DBL_DECIMAL_DIG; digits++) {
        snprintf(buf, buf_bytes, "%.*g", digits, value);
        if (strtod(buf, NULL) == value)
            break;
    }
    return buf;
}

char *cf_option_format(const struct cf_option_desc *option, const void *obj, char *buf, size_t buf_bytes)
{
    const void *field = const_field_of(option, obj);

    switch (option->type) {
    case CF_OPTION_BOOL:
        snprintf(buf, buf_bytes, "%s", *(const bool *)field ? "true" : "false");
        return buf;
    case CF_OPTION_U16:
        return cf_option_integer_format(option->type, *(const uint16_t *)field, buf, buf_bytes);
    case CF_OPTION_U32:
        return cf_option_integer_format(option->type, *(const uint32_t *)field, buf, buf_bytes);
    case CF_OPTION_U64:
    case CF_OPTION_SIZE:
    case CF_OPTION_DURATION:
        return cf_option_integer_format(option->type, *(const uint64_t *)field, buf, buf_bytes);
    case CF_OPTION_DOUBLE:
        return format_double(*(const double *)field, buf, buf_bytes);
    case CF_OPTION_STRING:
        snprintf(buf, buf_bytes, "%s", (const char *)field);
        return buf;
    case CF_OPTION_CHOICE:
        snprintf(buf, buf_bytes, "%s", option->choices[*(const uint32_t *)field]);
        return buf;
    }
    cf_unreachable();
}

void cf_options_print(const struct cf_option_desc *table, size_t count, const void *obj, FILE *out)
{
    char value[CF_OPTION_TEXT_BYTES];

    for (size_t i = 0; i < count; i++)
        fprintf(out, "%s = %s\n", table[i].name, cf_option_format(&table[i], obj, value, sizeof(value)));
}

/* What may be given for the option, as one word. */
static const char *placeholder(const struct cf_option_desc *option, char *buf, size_t buf_bytes)
{
    switch (option->type) {
    case CF_OPTION_BOOL:
        return "";
    case CF_OPTION_U16:
    case CF_OPTION_U32:
    case CF_OPTION_U64:
    case CF_OPTION_DOUBLE:
        return " NUMBER";
    case CF_OPTION_SIZE:
        return " SIZE";
    case CF_OPTION_DURATION:
        return " TIME";
    case CF_OPTION_STRING:
        return " TEXT";
    case CF_OPTION_CHOICE:
        buf[0] = ' ';
        cf_option_choices_join(option, "|", buf + 1, buf_bytes - 1);
        return buf;
    }
    cf_unreachable();
}

static void help_range(const struct cf_option_desc *option, FILE *out)
{
    char low[32], high[32];
    bool is_integer = option->type == CF_OPTION_U16 || option->type == CF_OPTION_U32 ||
                      option->type == CF_OPTION_U64 || option->type == CF_OPTION_SIZE ||
                      option->type == CF_OPTION_DURATION;

    if (is_integer && (option->min != 0 || option->max != 0))
        fprintf(out, ", %s to %s", cf_option_integer_format(option->type, option->min, low, sizeof(low)),
                cf_option_integer_format(option->type, cf_option_integer_max(option), high, sizeof(high)));
    else if (option->type == CF_OPTION_DOUBLE && option->max != 0)
        fprintf(out, ", %" PRIu64 " to %" PRIu64, option->min, option->max);
}

void cf_options_help(const struct cf_option_desc *table, size_t count, FILE *out)
{
    for (size_t i = 0; i < count; i++) {
        const struct cf_option_desc *option = &table[i];
        char words[CF_OPTION_TEXT_BYTES], left[CF_OPTION_TEXT_BYTES], name[CF_OPTION_NAME_BYTES];

        snprintf(name, sizeof(name), "%s", option->name);
        for (char *c = name; *c != '\0'; c++)
            *c = *c == '_' ? '-' : *c;
        snprintf(left, sizeof(left), "--%s%.440s", name, placeholder(option, words, sizeof(words)));
        fprintf(out, strlen(left) <= 28 ? "  %-28s  %s" : "  %s\n                                %s", left,
                option->text);
        if (option->unit != NULL)
            fprintf(out, " (%s)", option->unit);
        fprintf(out, " [%s",
                option->dflt == NULL      ? "no default"
                : option->dflt[0] == '\0' ? "empty"
                                          : option->dflt);
        help_range(option, out);
        fprintf(out, "]\n");
    }
}
