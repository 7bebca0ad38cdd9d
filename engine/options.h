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

/* One row for each option, over struct cf_options, in the order of options.def. Any thread. */
const struct cf_option_desc *eng_options_table(size_t *count_out);
/* Bytes of the class (0 = 2 KiB .. 4 = 32 KiB) that the options ask for. */
uint64_t eng_options_cache_bytes(const struct cf_options *options, uint32_t class_index);

#endif
