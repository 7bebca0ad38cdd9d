/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_LATENCY_H
#define TOOLS_LATENCY_H

/*
 * Latencies of several instances as one. They come as percentiles, so that the sum is a bound and not exact: count
 * adds up, p50 is the mean weighted by count, p99, p999 and max are the worst instance's.
 */
#include <jansson.h>

#include <cachefusion/stats.h>

#include "base/compiler.h"

struct cf_hist;

struct cf_latency latency_of(const struct cf_hist *hist);
void latency_add(struct cf_latency *into, const struct cf_latency *from);
/* "12.3 us"; "-" for an empty one's figures is the caller's to write. Returns buf. */
char *latency_text(uint64_t ns, char *buf, size_t buf_bytes);
/* {count, p50, p99, p999, max}; NULL: no memory. */
json_t *latency_json(const struct cf_latency *latency);
/* Counters of `from` added to `into`, latencies as above; `into->size` must be set. */
void stats_add(struct cf_stats *into, const struct cf_stats *from);
/* Blocks that came from another instance's memory, both ways together. */
struct cf_latency stats_remote(const struct cf_stats *stats);

#endif
