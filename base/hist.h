/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Latency histogram: 64 buckets for each power of two, so a reported value is within 1/64 (1.6 %) of the
 * true one; values under 64 are exact. Covers all 64 bits in 30 KiB. One writer; merge to combine.
 */
#ifndef CF_BASE_HIST_H
#define CF_BASE_HIST_H

#include <stdint.h>
#include <string.h>

#include "base/compiler.h"

#define CF_HIST_SUB_BITS 6
#define CF_HIST_SUB (1u << CF_HIST_SUB_BITS)
#define CF_HIST_BUCKETS (CF_HIST_SUB * (64 - CF_HIST_SUB_BITS + 1))

struct cf_hist {
    uint64_t count;
    uint64_t min;
    uint64_t max;
    double sum;
    uint64_t buckets[CF_HIST_BUCKETS];
};

static inline uint32_t cf_hist_bucket(uint64_t value)
{
    uint32_t exponent;

    if (value < CF_HIST_SUB)
        return (uint32_t)value;
    exponent = 63 - (uint32_t)__builtin_clzll(value); /* >= CF_HIST_SUB_BITS */
    return (exponent - CF_HIST_SUB_BITS + 1) * CF_HIST_SUB +
           (uint32_t)((value >> (exponent - CF_HIST_SUB_BITS)) & (CF_HIST_SUB - 1));
}

void cf_hist_init(struct cf_hist *hist);

static inline CF_HOT void cf_hist_add(struct cf_hist *hist, uint64_t ns)
{
    hist->buckets[cf_hist_bucket(ns)]++;
    hist->count++;
    hist->sum += (double)ns;
    if (ns < hist->min)
        hist->min = ns;
    if (ns > hist->max)
        hist->max = ns;
}

void cf_hist_merge(struct cf_hist *into, const struct cf_hist *from);
/* The value at or under which a share `quantile` (0..1) of all values lies; 0 when empty. */
uint64_t cf_hist_percentile(const struct cf_hist *hist, double quantile);
uint64_t cf_hist_count(const struct cf_hist *hist);
uint64_t cf_hist_min(const struct cf_hist *hist); /* 0 when empty */
uint64_t cf_hist_max(const struct cf_hist *hist); /* 0 when empty */
double cf_hist_mean(const struct cf_hist *hist);  /* 0 when empty */

#endif
