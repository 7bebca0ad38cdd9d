/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_OPTIONS_H
#define ENGINE_OPTIONS_H

/* The options of an instance as a table of base/option.h: for help, command lines and the start-up dump. */
#include <cachefusion/options.h>

#include "base/option.h"

/*
 * Frames of a class at least. With fewer an instance could wait for itself: each conversation under way takes
 * up to two frames (one to arrive in, one kept for a past or shipped image), and some are being swept.
 */
#define ENG_OPTIONS_FRAMES_SPARE 16u
static inline uint64_t eng_options_frames_min(const struct cf_options *options)
{
    return options->outstanding * 2 + ENG_OPTIONS_FRAMES_SPARE;
}

/* Sections of a cluster file that cf_options_load knows. */
#define ENG_OPTIONS_SECTION_ALL "cluster"
#define ENG_OPTIONS_SECTION_NODE "node "

/* Text that says why something is refused. */
#define ENG_OPTIONS_WHY_BYTES 512u

/* Rows of the table. */
enum eng_option {
#define CF_OPTION_U64(name, unit, dflt, min, max, text) ENG_OPTION_##name,
#define CF_OPTION_STR(name, dflt, text) ENG_OPTION_##name,
#define CF_OPTION_ENUM(name, dflt, choices, text) ENG_OPTION_##name,
#include <cachefusion/options.def>
#undef CF_OPTION_U64
#undef CF_OPTION_STR
#undef CF_OPTION_ENUM
    ENG_OPTION_COUNT
};

/* One row for each option, over struct cf_options, in the order of options.def. Any thread. */
const struct cf_option_desc *eng_options_table(size_t *count_out);
/* Bytes of the class (0 = 2 KiB .. 4 = 32 KiB) that the options ask for. */
uint64_t eng_options_cache_bytes(const struct cf_options *options, uint32_t class_index);
/* The option that says so. */
const char *eng_options_cache_name(uint32_t class_index);
/* Fills *error, which may be NULL, and returns rc. */
enum cf_rc eng_options_fail(struct cf_error *error, enum cf_rc rc, const char *fmt, ...) CF_PRINTF(3, 4);

#endif
