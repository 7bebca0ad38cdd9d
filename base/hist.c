/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hist.h"

void cf_hist_init(struct cf_hist *hist)
{
    memset(hist, 0, sizeof(*hist));
    hist->min = UINT64_MAX;
}

void cf_hist_merge(struct cf_hist *into, const struct cf_hist *from)
{
    for (uint32_t b = 0; b < CF_HIST_BUCKETS; b++)
        into->buckets[b] += from->buckets[b];
    into->count += from->count;
    into->sum += from->sum;
    if (from->min < into->min)
        into->min = from->min;
    if (from->max > into->max)
        into->max = from->max;
}

/* The middle of a bucket, at most half its width from every value in it. */
static uint64_t bucket_middle(uint32_t bucket)
{
    uint32_t row = bucket / CF_HIST_SUB;
    uint64_t low, width;

    if (row == 0)
        return bucket;
    low = (uint64_t)(CF_HIST_SUB + bucket % CF_HIST_SUB) << (row - 1);
    width = UINT64_C(1) << (row - 1);
    return low + (width - 1) / 2;
}

uint64_t cf_hist_percentile(const struct cf_hist *hist, double quantile)
{
    uint64_t rank, seen = 0;
    uint64_t value = hist->max;

    if (hist->count == 0)
        return 0;
    if (quantile >= 1.0)
        return hist->max;
    /* Nearest rank: the smallest value with at least quantile * count values at or under it. */
    rank = quantile <= 0.0 ? 1 : (uint64_t)(quantile * (double)hist->count);
    if (quantile > 0.0 && (double)rank < quantile * (double)hist->count)
        rank++;
    if (rank == 0)
        rank = 1;
    for (uint32_t b = 0; b < CF_HIST_BUCKETS; b++) {
        seen += hist->buckets[b];
        if (seen >= rank) {
            value = bucket_middle(b);
            break;
        }
    }
    if (value < hist->min)
        return hist->min;
    return value > hist->max ? hist->max : value;
}

uint64_t cf_hist_count(const struct cf_hist *hist)
{
    return hist->count;
}

uint64_t cf_hist_min(const struct cf_hist *hist)
{
    return hist->count == 0 ? 0 : hist->min;
}

uint64_t cf_hist_max(const struct cf_hist *hist)
{
    return hist->max;
}

double cf_hist_mean(const struct cf_hist *hist)
{
    return hist->count == 0 ? 0.0 : hist->sum / (double)hist->count;
}
