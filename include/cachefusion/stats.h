/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CACHEFUSION_STATS_H
#define CACHEFUSION_STATS_H

/* Counters of an instance; the table stats.def makes the struct, the names and the docs page. */
#include <stddef.h>
#include <stdint.h>

#include <cachefusion/export.h>

#ifdef __cplusplus
extern "C" {
#endif

/* A latency distribution, in nanoseconds. */
struct cf_latency {
    uint64_t count, p50, p99, p999, max;
};

struct cf_stats {
    size_t size; /* sizeof(struct cf_stats), set by the caller */
#define CF_STAT(name, text) uint64_t name;
#define CF_LATENCY(name, text) struct cf_latency name;
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
};

#ifdef __cplusplus
}
#endif
#endif
