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
/* New object: count, min, mean, p50, p90, p99, p999, max in nanoseconds. NULL: no memory. */
json_t *cf_json_hist(const struct cf_hist *hist);
/*
 * Writes to path.tmp.PID, syncs, renames: a reader sees the old file or the whole new one. 0, or -1 with errno.
 */
CF_CHECK int cf_json_write_file(const json_t *value, const char *path);

#endif
