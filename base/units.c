/* SPDX-License-Identifier: Apache-2.0 */
#include "base/units.h"

#include <errno.h>
#include <inttypes.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

struct unit {
    const char *name;
    uint64_t factor;
};

/* Largest binary unit first: the formatter takes the first that divides. */
static const struct unit size_units[] = {
    {"TiB", UINT64_C(1) << 40},
    {"GiB", UINT64_C(1) << 30},
    {"MiB", UINT64_C(1) << 20},
    {"KiB", UINT64_C(1) << 10},
    {"B", 1},
    {"TB", 1000000000000},
    {"GB", 1000000000},
    {"MB", 1000000},
    {"KB", 1000},
    {"kB", 1000},
    {"T", UINT64_C(1) << 40},
    {"G", UINT64_C(1) << 30},
    {"M", UINT64_C(1) << 20},
    {"K", UINT64_C(1) << 10},
    {"k", UINT64_C(1) << 10},
};
#define SIZE_UNITS_BINARY 4

static const struct unit duration_units[] = {
    {"h", UINT64_C(3600000000000)},
    {"m", UINT64_C(60000000000)},
    {"s", 1000000000},
    {"ms", 1000000},
    {"us", 1000},
    {"ns", 1},
};

static const char *const size_unit_names = "B KiB MiB GiB TiB KB MB GB TB";
static const char *const duration_unit_names = "ns us ms s m h";

/* Digits at the start of text; end_out points behind them. The reason why not is returned, or NULL. */
static const char *read_digits(const char *text, uint64_t *value_out, const char **end_out)
{
    uint64_t value = 0;

    if (*text < '0' || *text > '9')
        return *text == '-' ? "must not be negative" : "does not begin with a digit";
    for (; *text >= '0' && *text <= '9'; text++) {
        uint64_t digit = (uint64_t)(*text - '0');
        if (value > (UINT64_MAX - digit) / 10)
            return "is larger than 64 bits hold";
        value = value * 10 + digit;
    }
    *value_out = value;
    *end_out = text;
    return NULL;
}

static const struct unit *find_unit(const struct unit *units, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(units[i].name, name) == 0)
            return &units[i];
    return NULL;
}

/* Whole number and unit. A bare number is in units of one where bare_allowed, else only 0 may be bare. */
static const char *read_quantity(const char *text, const struct unit *units, size_t count, bool bare_allowed,
                                 uint64_t *out)
{
    const struct unit *unit;
    const char *rest;
    uint64_t value;
    const char *reason = read_digits(text, &value, &rest);

    if (reason != NULL)
        return reason;
    if (*rest == '\0' && (bare_allowed || value == 0)) {
        *out = value;
        return NULL;
    }
    if (*rest == '\0')
        return "has no unit";
    if (*rest == '.')
        return "is not a whole number (use a smaller unit)";
    if (*rest == ' ')
        rest++;
    unit = find_unit(units, count, rest);
    if (unit == NULL)
        return "has an unknown unit";
    if (value > UINT64_MAX / unit->factor)
        return "is larger than 64 bits hold";
    *out = value * unit->factor;
    return NULL;
}

static const char *read_size(const char *text, uint64_t *out)
{
    return read_quantity(text, size_units, CF_COUNTOF(size_units), true, out);
}

static const char *read_duration(const char *text, uint64_t *out)
{
    return read_quantity(text, duration_units, CF_COUNTOF(duration_units), false, out);
}

static const char *read_u64(const char *text, uint64_t *out)
{
    const char *rest;
    const char *reason;
    uint64_t value;

    if (text[0] == '0' && (text[1] == 'x' || text[1] == 'X')) {
        char *end;
        if (strspn(text + 2, "0123456789abcdefABCDEF") != strlen(text + 2) || text[2] == '\0')
            return "is not a hexadecimal number";
        errno = 0;
        value = strtoull(text + 2, &end, 16);
        if (errno == ERANGE)
            return "is larger than 64 bits hold";
        *out = value;
        return NULL;
    }
    reason = read_digits(text, &value, &rest);
    if (reason != NULL)
        return reason;
    if (*rest != '\0')
        return "has characters behind the number";
    *out = value;
    return NULL;
}

static const char *read_double(const char *text, double *out)
{
    char *end;
    double value;

    if (*text == '\0' || strchr(" \t\n", *text) != NULL)
        return "is not a number";
    value = strtod(text, &end);
    if (end == text)
        return "is not a number";
    if (*end != '\0')
        return "has characters behind the number";
    if (!isfinite(value))
        return "is not a finite number";
    *out = value;
    return NULL;
}

static const char *read_bool(const char *text, bool *out)
{
    static const char *const yes[] = {"true", "yes", "on", "1"};
    static const char *const no[] = {"false", "no", "off", "0"};

    for (size_t i = 0; i < CF_COUNTOF(yes); i++) {
        if (strcasecmp(text, yes[i]) == 0 || strcasecmp(text, no[i]) == 0) {
            *out = strcasecmp(text, yes[i]) == 0;
            return NULL;
        }
    }
    return "is none of true, false, yes, no, on, off, 1, 0";
}

int cf_parse_size(const char *text, uint64_t *bytes_out)
{
    return read_size(text, bytes_out) == NULL ? 0 : -1;
}

int cf_parse_duration(const char *text, uint64_t *ns_out)
{
    return read_duration(text, ns_out) == NULL ? 0 : -1;
}

int cf_parse_u64(const char *text, uint64_t *value_out)
{
    return read_u64(text, value_out) == NULL ? 0 : -1;
}

int cf_parse_double(const char *text, double *value_out)
{
    return read_double(text, value_out) == NULL ? 0 : -1;
}

int cf_parse_bool(const char *text, bool *value_out)
{
    return read_bool(text, value_out) == NULL ? 0 : -1;
}

void cf_parse_error(enum cf_parse_kind kind, const char *text, char *err, size_t err_bytes)
{
    const char *reason = NULL, *units = NULL;
    uint64_t u;
    double d;
    bool b;

    switch (kind) {
    case CF_PARSE_SIZE:
        reason = read_size(text, &u);
        units = size_unit_names;
        break;
    case CF_PARSE_DURATION:
        reason = read_duration(text, &u);
        units = duration_unit_names;
        break;
    case CF_PARSE_U64:
        reason = read_u64(text, &u);
        break;
    case CF_PARSE_DOUBLE:
        reason = read_double(text, &d);
        break;
    case CF_PARSE_BOOL:
        reason = read_bool(text, &b);
        break;
    }
    if (reason == NULL)
        snprintf(err, err_bytes, "%s", "");
    else if (units != NULL && strstr(reason, "unit") != NULL)
        snprintf(err, err_bytes, "'%s' %s; units are %s", text, reason, units);
    else
        snprintf(err, err_bytes, "'%s' %s", text, reason);
}

static char *format_quantity(uint64_t value, const struct unit *units, size_t count, char *buf,
                             size_t buf_bytes)
{
    for (size_t i = 0; i < count; i++) {
        if (value != 0 && value % units[i].factor == 0) {
            snprintf(buf, buf_bytes, "%" PRIu64 "%s", value / units[i].factor, units[i].name);
            return buf;
        }
    }
    snprintf(buf, buf_bytes, "%" PRIu64, value);
    return buf;
}

char *cf_format_size(uint64_t bytes, char *buf, size_t buf_bytes)
{
    return format_quantity(bytes, size_units, SIZE_UNITS_BINARY, buf, buf_bytes);
}

char *cf_format_duration(uint64_t ns, char *buf, size_t buf_bytes)
{
    return format_quantity(ns, duration_units, CF_COUNTOF(duration_units), buf, buf_bytes);
}
