/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_STATUS_H
#define ENGINE_STATUS_H

/* Parts of the status that have files of their own. */
#include <jansson.h>
#include <stdint.h>

struct cf_instance;

/* Blocks listed as hot at most. */
#define ENG_STATUS_HOT_MAX 20u

/* status_hot.c: hottest first. Any thread. */
json_t *eng_status_hot(const struct cf_instance *instance, uint64_t now_ns);

#endif
