/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options as a table over a caller's struct: the table gives parser, range check, help text and the print
 * of effective values. Order of sources, each over the one before: default, file, environment, argument.
 *
 * A value that is refused changes nothing and the error names option, value and what is allowed. In
 * names '-' and '_' are the same letter.
 */
#ifndef CF_BASE_OPTION_H
#define CF_BASE_OPTION_H

#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum cf_option_type {
    CF_OPTION_BOOL,     /* bool */
    CF_OPTION_U16,      /* uint16_t */
    CF_OPTION_U32,      /* uint32_t */
    CF_OPTION_U64,      /* uint64_t */
    CF_OPTION_DOUBLE,   /* double; min and max are whole numbers */
    CF_OPTION_SIZE,     /* uint64_t, bytes */
    CF_OPTION_DURATION, /* uint64_t, nanoseconds */
    CF_OPTION_STRING,   /* char[max], always terminated */
    CF_OPTION_CHOICE    /* uint32_t (or an enum of its size), index into choices */
};

struct cf_option_desc {
    const char *name;
    const char *text;
    const char *unit; /* for the reader, may be NULL */
    enum cf_option_type type;
    size_t offset;    /* in the caller's struct */
    const char *dflt; /* as a user would write it; NULL leaves the field alone */
    uint64_t min;
    uint64_t max;               /* 0: what the type can hold; strings: capacity of the array */
    const char *const *choices; /* ends with NULL */
};

/* Sets every field to its default; a default its own table refuses is a broken table and asserted. */
void cf_options_defaults(const struct cf_option_desc *table, size_t count, void *obj);
/* 0, or -1 with err filled. */
CF_CHECK int cf_option_set(const struct cf_option_desc *table, size_t count, void *obj, const char *name,
                           const char *value, char *err, size_t err_bytes);
/* Reads [section] of an ini file; other sections are left alone. section NULL: every line of the file. */
CF_CHECK int cf_options_ini(const struct cf_option_desc *table, size_t count, void *obj, const char *path,
                            const char *section, char *err, size_t err_bytes);
/* Takes PREFIX + NAME in capitals from the environment for each option of the table. */
CF_CHECK int cf_options_env(const struct cf_option_desc *table, size_t count, void *obj, const char *prefix,
                            char *err, size_t err_bytes);

/* Index of the option, or -1. */
int cf_option_find(const struct cf_option_desc *table, size_t count, const char *name);
/* The name of the table most like `name`, or NULL when none is close. */
const char *cf_option_nearest(const struct cf_option_desc *table, size_t count, const char *name);
/* The field's value as a user would write it. Returns buf. */
char *cf_option_format(const struct cf_option_desc *option, const void *obj, char *buf, size_t buf_bytes);

/* "name = value" lines that cf_options_ini reads back to the same values. */
void cf_options_print(const struct cf_option_desc *table, size_t count, const void *obj, FILE *out);
/* Two columns for --help: name and type, text with default and range. */
void cf_options_help(const struct cf_option_desc *table, size_t count, FILE *out);

#endif
