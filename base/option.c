/* SPDX-License-Identifier: Apache-2.0 */
#include "base/option.h"

#include <ctype.h>
#include <float.h>
#include <ini.h>
#include <inttypes.h>
#include <limits.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/option_impl.h"
#include "base/units.h"

#define NEAREST_EDITS_MAX 3

static void *field_of(const struct cf_option_desc *option, void *obj)
{
    return (char *)obj + option->offset;
}

static char name_letter(char c)
{
    return c == '-' ? '_' : c;
}

static bool names_equal(const char *a, const char *b)
{
    while (*a != '\0' && name_letter(*a) == name_letter(*b)) {
        a++;
        b++;
    }
    return *a == '\0' && *b == '\0';
}

int cf_option_find(const struct cf_option_desc *table, size_t count, const char *name)
{
    cf_assert(count <= INT_MAX);
    for (size_t i = 0; i < count; i++)
        if (names_equal(table[i].name, name))
            return (int)i;
    return -1;
}

/* Levenshtein distance of two names shorter than CF_OPTION_NAME_BYTES, one row at a time. */
static unsigned edits_between(const char *a, const char *b)
{
    unsigned row[CF_OPTION_NAME_BYTES];
    size_t b_length = strlen(b);

    for (size_t j = 0; j <= b_length; j++)
        row[j] = (unsigned)j;
    for (size_t i = 0; a[i] != '\0'; i++) {
        unsigned diagonal = row[0];
        row[0] = (unsigned)i + 1;
        for (size_t j = 0; j < b_length; j++) {
            unsigned edits = diagonal + (name_letter(a[i]) != name_letter(b[j]));
            diagonal = row[j + 1];
            if (row[j] + 1 < edits)
                edits = row[j] + 1;
            if (diagonal + 1 < edits)
                edits = diagonal + 1;
            row[j + 1] = edits;
        }
    }
    return row[b_length];
}

const char *cf_option_nearest(const struct cf_option_desc *table, size_t count, const char *name)
{
    const char *nearest = NULL;
    unsigned nearest_edits = NEAREST_EDITS_MAX + 1;

    if (strlen(name) >= CF_OPTION_NAME_BYTES)
        return NULL;
    for (size_t i = 0; i < count; i++) {
        unsigned edits;

        cf_assert(strlen(table[i].name) < CF_OPTION_NAME_BYTES);
        edits = edits_between(name, table[i].name);
        if (edits < nearest_edits && edits < strlen(name)) {
            nearest = table[i].name;
            nearest_edits = edits;
        }
    }
    return nearest;
}

CF_PRINTF(5, 6)
static int refuse(const struct cf_option_desc *option, const char *value, char *err, size_t err_bytes,
                  const char *fmt, ...)
{
    char why[CF_OPTION_TEXT_BYTES];
    va_list args;

    va_start(args, fmt);
    vsnprintf(why, sizeof(why), fmt, args);
    va_end(args);
    snprintf(err, err_bytes, "option %s: value '%s' %s", option->name, value, why);
    return -1;
}

static int refuse_text(const struct cf_option_desc *option, enum cf_parse_kind kind, const char *value,
                       char *err, size_t err_bytes)
{
    char why[CF_OPTION_TEXT_BYTES];

    cf_parse_error(kind, value, why, sizeof(why));
    snprintf(err, err_bytes, "option %s: value %s", option->name, why);
    return -1;
}

static int set_integer(const struct cf_option_desc *option, void *obj, const char *value, char *err,
                       size_t err_bytes)
{
    char low[32], high[32];
    uint64_t number = 0;
    enum cf_parse_kind kind = CF_PARSE_U64;
    int rc;

    if (option->type == CF_OPTION_SIZE) {
        kind = CF_PARSE_SIZE;
        rc = cf_parse_size(value, &number);
    } else if (option->type == CF_OPTION_DURATION) {
        kind = CF_PARSE_DURATION;
        rc = cf_parse_duration(value, &number);
    } else {
        rc = cf_parse_u64(value, &number);
    }
    if (rc != 0)
        return refuse_text(option, kind, value, err, err_bytes);
    if (number < option->min || number > cf_option_integer_max(option))
        return refuse(
            option, value, err, err_bytes, "is out of range; allowed is %s to %s",
            cf_option_integer_format(option->type, option->min, low, sizeof(low)),
            cf_option_integer_format(option->type, cf_option_integer_max(option), high, sizeof(high)));
    if (option->type == CF_OPTION_U16)
        *(uint16_t *)field_of(option, obj) = (uint16_t)number;
    else if (option->type == CF_OPTION_U32)
        *(uint32_t *)field_of(option, obj) = (uint32_t)number;
    else
        *(uint64_t *)field_of(option, obj) = number;
    return 0;
}

static int set_double(const struct cf_option_desc *option, void *obj, const char *value, char *err,
                      size_t err_bytes)
{
    double number;

    if (cf_parse_double(value, &number) != 0)
        return refuse_text(option, CF_PARSE_DOUBLE, value, err, err_bytes);
    if (number < (double)option->min || (option->max != 0 && number > (double)option->max))
        return refuse(option, value, err, err_bytes, "is out of range; allowed is %" PRIu64 " to %g",
                      option->min, option->max != 0 ? (double)option->max : DBL_MAX);
    *(double *)field_of(option, obj) = number;
    return 0;
}

static int set_choice(const struct cf_option_desc *option, void *obj, const char *value, char *err,
                      size_t err_bytes)
{
    char allowed[CF_OPTION_TEXT_BYTES / 2];

    for (uint32_t i = 0; option->choices[i] != NULL; i++) {
        if (strcmp(option->choices[i], value) == 0) {
            *(uint32_t *)field_of(option, obj) = i;
            return 0;
        }
    }
    cf_option_choices_join(option, ", ", allowed, sizeof(allowed));
    return refuse(option, value, err, err_bytes, "is not a choice; allowed is one of %s", allowed);
}

static int set_string(const struct cf_option_desc *option, void *obj, const char *value, char *err,
                      size_t err_bytes)
{
    size_t length = strlen(value);

    cf_assert(option->max > 0);
    if (length >= option->max || length < option->min)
        return refuse(option, value, err, err_bytes, "has %zu characters; allowed is %" PRIu64 " to %" PRIu64,
                      length, option->min, option->max - 1);
    memcpy(field_of(option, obj), value, length + 1);
    return 0;
}

static int set_value(const struct cf_option_desc *option, void *obj, const char *value, char *err,
                     size_t err_bytes)
{
    bool flag;

    switch (option->type) {
    case CF_OPTION_BOOL:
        if (cf_parse_bool(value, &flag) != 0)
            return refuse_text(option, CF_PARSE_BOOL, value, err, err_bytes);
        *(bool *)field_of(option, obj) = flag;
        return 0;
    case CF_OPTION_U16:
    case CF_OPTION_U32:
    case CF_OPTION_U64:
    case CF_OPTION_SIZE:
    case CF_OPTION_DURATION:
        return set_integer(option, obj, value, err, err_bytes);
    case CF_OPTION_DOUBLE:
        return set_double(option, obj, value, err, err_bytes);
    case CF_OPTION_STRING:
        return set_string(option, obj, value, err, err_bytes);
    case CF_OPTION_CHOICE:
        return set_choice(option, obj, value, err, err_bytes);
    }
    cf_unreachable();
}

int cf_option_set(const struct cf_option_desc *table, size_t count, void *obj, const char *name,
                  const char *value, char *err, size_t err_bytes)
{
    int index = cf_option_find(table, count, name);
    const char *nearest;

    if (index >= 0)
        return set_value(&table[index], obj, value, err, err_bytes);
    nearest = cf_option_nearest(table, count, name);
    if (nearest != NULL)
        snprintf(err, err_bytes, "unknown option %s (value '%s'); the nearest is %s", name, value, nearest);
    else
        snprintf(err, err_bytes, "unknown option %s (value '%s')", name, value);
    return -1;
}

void cf_options_defaults(const struct cf_option_desc *table, size_t count, void *obj)
{
    char err[CF_OPTION_TEXT_BYTES];

    for (size_t i = 0; i < count; i++) {
        if (table[i].dflt != NULL) {
            int rc = set_value(&table[i], obj, table[i].dflt, err, sizeof(err));
            if (rc != 0)
                fprintf(stderr, "default refused: %s\n", err);
            cf_assert(rc == 0);
        }
    }
}

struct ini_reading {
    const struct cf_option_desc *table;
    size_t count;
    void *obj;
    const char *section;
    char *err;
    size_t err_bytes;
    bool has_error;
};

/* inih goes on after a refused line; the first error is the one that is told. */
static int on_ini_line(void *arg, const char *section, const char *name, const char *value)
{
    struct ini_reading *reading = arg;

    if (reading->has_error)
        return 0;
    if (reading->section != NULL && strcmp(reading->section, section) != 0)
        return 1;
    if (cf_option_set(reading->table, reading->count, reading->obj, name, value != NULL ? value : "",
                      reading->err, reading->err_bytes) == 0)
        return 1;
    reading->has_error = true;
    return 0;
}

int cf_options_ini(const struct cf_option_desc *table, size_t count, void *obj, const char *path,
                   const char *section, char *err, size_t err_bytes)
{
    char why[CF_OPTION_TEXT_BYTES] = "";
    struct ini_reading reading = {table, count, obj, section, why, sizeof(why), false};
    int rc = ini_parse(path, on_ini_line, &reading);

    if (rc == 0)
        return 0;
    if (rc == -1)
        snprintf(err, err_bytes, "%s: cannot be read", path);
    else if (rc < 0)
        snprintf(err, err_bytes, "%s: no memory to read it", path);
    else if (reading.has_error)
        snprintf(err, err_bytes, "%s:%d: %s", path, rc, why);
    else
        snprintf(err, err_bytes, "%s:%d: neither [section] nor name = value", path, rc);
    return -1;
}

int cf_options_env(const struct cf_option_desc *table, size_t count, void *obj, const char *prefix, char *err,
                   size_t err_bytes)
{
    for (size_t i = 0; i < count; i++) {
        char why[CF_OPTION_TEXT_BYTES], name[2 * CF_OPTION_NAME_BYTES];
        size_t prefix_length = strlen(prefix);
        const char *value;
        int length = snprintf(name, sizeof(name), "%s%s", prefix, table[i].name);

        cf_assert(length > 0 && (size_t)length < sizeof(name));
        for (char *c = name + prefix_length; *c != '\0'; c++)
            *c = (char)toupper((unsigned char)name_letter(*c));
        value = getenv(name);
        if (value != NULL && set_value(&table[i], obj, value, why, sizeof(why)) != 0) {
            snprintf(err, err_bytes, "environment %s: %s", name, why);
            return -1;
        }
    }
    return 0;
}
