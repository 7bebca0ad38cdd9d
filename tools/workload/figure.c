/* SPDX-License-Identifier: Apache-2.0 */
/* What workloads of no blocks have in common, and figures for the report. */
#include "tools/workload/workload.h"

void wl_inspect_nothing(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    (void)plan;
    (void)block;
    (void)data;
    (void)sums;
}

uint64_t wl_no_blocks(const struct wl_plan *plan)
{
    (void)plan;
    return 1;
}

static void add(const struct wl_evidence *evidence, struct wl_figure figure)
{
    struct wl_figures *figures = evidence->figures;

    if (figures && figures->count < WL_FIGURES_MAX)
        figures->figure[figures->count++] = figure;
}

void wl_count(const struct wl_evidence *evidence, const char *key, const char *text, uint64_t count)
{
    add(evidence, (struct wl_figure){.key = key, .text = text, .kind = WL_COUNT, .count = count});
}

void wl_ratio(const struct wl_evidence *evidence, const char *key, const char *text, double ratio)
{
    add(evidence, (struct wl_figure){.key = key, .text = text, .kind = WL_RATIO, .ratio = ratio});
}

void wl_ms(const struct wl_evidence *evidence, const char *key, const char *text,
           const struct cf_latency *latency)
{
    add(evidence, (struct wl_figure){.key = key, .text = text, .kind = WL_MS, .latency = *latency});
}
