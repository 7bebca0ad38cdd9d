/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/latency.h"

#include <stdio.h>

#include "base/hist.h"
#include "base/json.h"

struct cf_latency latency_of(const struct cf_hist *hist)
{
    return (struct cf_latency){.count = cf_hist_count(hist),
                               .p50 = cf_hist_percentile(hist, 0.5),
                               .p99 = cf_hist_percentile(hist, 0.99),
                               .p999 = cf_hist_percentile(hist, 0.999),
                               .max = cf_hist_max(hist)};
}

static uint64_t larger(uint64_t a, uint64_t b)
{
    return a > b ? a : b;
}

void latency_add(struct cf_latency *into, const struct cf_latency *from)
{
    uint64_t count = into->count + from->count;

    if (from->count == 0)
        return;
    into->p50 =
        (uint64_t)(((double)into->p50 * (double)into->count + (double)from->p50 * (double)from->count) /
                   (double)count);
    into->count = count;
    into->p99 = larger(into->p99, from->p99);
    into->p999 = larger(into->p999, from->p999);
    into->max = larger(into->max, from->max);
}

char *latency_text(uint64_t ns, char *buf, size_t buf_bytes)
{
    static const char *const units[] = {"ns", "us", "ms", "s"};
    double value = (double)ns;
    uint32_t unit = 0;

    while (value >= 1000 && unit < 3) {
        value /= 1000;
        unit++;
    }
    snprintf(buf, buf_bytes, unit == 0 || value >= 100 ? "%.0f %s" : "%.1f %s", value, units[unit]);
    return buf;
}

json_t *latency_json(const struct cf_latency *latency)
{
    json_t *object = json_object();

    if (object == NULL || cf_json_add_u64(object, "count", latency->count) != 0 ||
        cf_json_add_u64(object, "p50", latency->p50) != 0 ||
        cf_json_add_u64(object, "p99", latency->p99) != 0 ||
        cf_json_add_u64(object, "p999", latency->p999) != 0 ||
        cf_json_add_u64(object, "max", latency->max) != 0) {
        json_decref(object);
        return NULL;
    }
    return object;
}

void stats_add(struct cf_stats *into, const struct cf_stats *from)
{
#define CF_STAT(name, text) into->name += from->name;
#define CF_LATENCY(name, text) latency_add(&into->name, &from->name);
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
}

struct cf_latency stats_remote(const struct cf_stats *stats)
{
    struct cf_latency remote = stats->remote2;

    latency_add(&remote, &stats->remote3);
    return remote;
}
