/* SPDX-License-Identifier: Apache-2.0 */
/* Repeated steps over jansson. Use jansson itself for the rest. */
#ifndef CF_BASE_JSON_H
#define CF_BASE_JSON_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

struct cf_hist;

/* Members of an object; 0, or -1: no memory, or a value JSON cannot carry (u64 over INT64_MAX, not finite). */
CF_CHECK int cf_json_add_u64(json_t *object, const char *key, uint64_t value);
CF_CHECK int cf_json_add_double(json_t *object, const char *key, double value);
CF_CHECK int cf_json_add_str(json_t *object, const char *key, const char *value);
CF_CHECK int cf_json_add_bool(json_t *object, const char *key, bool value);
/* The child is taken over in every case. */
CF_CHECK int cf_json_add_child(json_t *object, const char *key, json_t *child);

/*
 * A text in the making, every member of which has to be there: what cannot be put in is remembered, and its maker looks
 * once, at the end. Values are taken over in every case; NULL is one that could not be made.
 */
struct cf_json_build {
    bool is_short;
};
void cf_json_put(struct cf_json_build *build, json_t *object, const char *key, json_t *value);
void cf_json_append(struct cf_json_build *build, json_t *list, json_t *value);
/* NULL: no memory. Of a text that is not UTF-8, every byte that is not ASCII comes as '?'. */
json_t *cf_json_text(const char *text);
/*
 * The text of the whole, for free(), with a 0 behind its bytes. NULL: something could not be put in, or there is no
 * memory. Not json_dumps, which leaves a key out when its buffer cannot grow.
 */
char *cf_json_dump(const struct cf_json_build *build, const json_t *root, size_t *bytes_out);

/* New object: count, min, mean, p50, p90, p99, p999, max in nanoseconds. NULL: no memory. */
json_t *cf_json_hist(const struct cf_hist *hist);
/*
 * Writes to path.tmp.PID, syncs, renames: a reader sees the old file or the whole new one. 0, or -1 with errno.
 */
CF_CHECK int cf_json_write_file(const json_t *value, const char *path);

#endif
