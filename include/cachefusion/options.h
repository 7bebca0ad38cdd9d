/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_OPTIONS_H
#define CACHEFUSION_OPTIONS_H

/*
 * Options of an instance. One table, options.def, makes the struct, the parser, the help and the docs page.
 * Order of precedence: default < cluster file < environment CF_<NAME> < cf_options_set().
 */
#include <stddef.h>
#include <stdint.h>

#include <cachefusion/export.h>
#include <cachefusion/status.h>
#include <cachefusion/types.h>

#ifdef __cplusplus
extern "C" {
#endif

#define CF_OPTION_STRING_BYTES 256u

struct cf_options {
    size_t size; /* sizeof(struct cf_options), set by cf_options_init */
#define CF_OPTION_U64(name, unit, dflt, min, max, text) uint64_t name;
#define CF_OPTION_STR(name, dflt, text) char name[CF_OPTION_STRING_BYTES];
#define CF_OPTION_ENUM(name, dflt, choices, text) uint32_t name;
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
};

/* Fills in every default and the size. */
CF_API void cf_options_init(struct cf_options *options);
/* Sets one option from text ("cache_bytes", "64MiB"). CF_OPTION: *error names the option, the value and the range. */
CF_API enum cf_rc cf_options_set(struct cf_options *options, const char *name, const char *value,
                                 struct cf_error *error);
/*
 * Reads a cluster file: section [cluster] for everybody, then [node N] for node `node`. The environment comes
 * after it. CF_NOT_FOUND, CF_OPTION.
 */
CF_API enum cf_rc cf_options_load(struct cf_options *options, const char *path, uint16_t node,
                                  struct cf_error *error);
/* Checks the options against each other, as cf_open does. */
CF_API enum cf_rc cf_options_check(const struct cf_options *options, struct cf_error *error);

#ifdef __cplusplus
}
#endif
#endif
