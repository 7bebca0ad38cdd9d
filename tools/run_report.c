/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a run, for people. */
#include <inttypes.h>
#include <stdio.h>

#include "tools/latency.h"
#include "tools/run_totals.h"

char *report_grouped(uint64_t value, char *buf, size_t buf_bytes)
{
    char digits[24];
    int count = snprintf(digits, sizeof(digits), "%" PRIu64, value);
    size_t out = 0;

    for (int i = 0; i < count && out + 2 < buf_bytes; i++) {
        if (i > 0 && (count - i) % 3 == 0)
            buf[out++] = ',';
        buf[out++] = digits[i];
    }
    buf[out] = '\0';
    return buf;
}

static void print_count(const struct run *run, const char *name, uint64_t count)
{
    char total[32], rate[32];

    printf("  %-18s %15s  %13s a second\n", name, report_grouped(count, total, sizeof(total)),
           report_grouped((uint64_t)run_per_second(run, count), rate, sizeof(rate)));
}

static void print_latency(const char *name, const struct cf_latency *latency)
{
    char count[32], text[4][16];

    if (latency->count == 0)
        return;
    printf("  %-18s %15s  %9s %9s %9s %9s\n", name, report_grouped(latency->count, count, sizeof(count)),
           latency_text(latency->p50, text[0], sizeof(text[0])),
           latency_text(latency->p99, text[1], sizeof(text[1])),
           latency_text(latency->p999, text[2], sizeof(text[2])),
           latency_text(latency->max, text[3], sizeof(text[3])));
}

/* What the workload counts itself. */
static void print_own(const struct wl_figures *figures)
{
    char text[32], more[3][16];

    for (uint32_t i = 0; i < figures->count; i++) {
        const struct wl_figure *figure = &figures->figure[i];

        if (figure->kind == WL_COUNT)
            printf("  %-18s %15s\n", figure->text, report_grouped(figure->count, text, sizeof(text)));
        else if (figure->kind == WL_RATIO)
            printf("  %-18s %15.4f\n", figure->text, figure->ratio);
        else if (figure->latency.count > 0)
            printf("  %-18s %15s  p50 %s, p99 %s, max %s\n", figure->text,
                   report_grouped(figure->latency.count, text, sizeof(text)),
                   latency_text(figure->latency.p50, more[0], sizeof(more[0])),
                   latency_text(figure->latency.p99, more[1], sizeof(more[1])),
                   latency_text(figure->latency.max, more[2], sizeof(more[2])));
    }
}

static void print_sharing(const struct run *run)
{
    struct run_sharing sharing = run_sharing_of(run);
    char text[16];

    if (run->instances < 2)
        return;
    print_count(run, "transfers", sharing.transfers_count);
    printf("  %-18s %15.4f of operations, %.4f of transfers (Jain)\n", "fairness", sharing.ops,
           sharing.transfers);
    printf("  %-18s %15s  p99.9 of the worst instance\n", "waiting for others",
           latency_text(sharing.waiting_p999_ns, text, sizeof(text)));
}

static void print_figures(const struct run *run)
{
    struct run_totals totals = run_totals_of(run);
    const struct cf_stats *stats = &totals.stats;
    char a[32], b[32];

    print_count(run, run->workload->op, totals.ops);
    print_own(&run->figures);
    print_count(run, "blocks shipped", stats->blocks_shipped);
    printf("  %-18s %15s in two hops, %s in three\n", "blocks received",
           report_grouped(stats->hops2, a, sizeof(a)), report_grouped(stats->hops3, b, sizeof(b)));
    print_sharing(run);
    run_local_print(run, stats);
    printf("  %-18s %13.1f %%\n", "hit ratio", 100 * run_hit_ratio(stats));
    printf("  %-18s %15s blocks read, %s written\n", "storage",
           report_grouped(stats->disk_reads, a, sizeof(a)), report_grouped(stats->disk_writes, b, sizeof(b)));
    if (stats->resends + stats->timeouts > 0)
        printf("  %-18s %15s messages said again, %s calls timed out\n", "repairs",
               report_grouped(stats->resends, a, sizeof(a)), report_grouped(stats->timeouts, b, sizeof(b)));
    printf("\n  %-18s %15s  %9s %9s %9s %9s\n", "latency of", "count", "p50", "p99", "p99.9", "max");
    print_latency("hit (sampled)", &stats->hit);
    print_latency("remote, two hops", &stats->remote2);
    print_latency("remote, three hops", &stats->remote3);
    print_latency("upgrade", &stats->upgrade);
    print_latency("storage", &stats->disk);
    print_latency("operation", &totals.op);
    printf("  (operation: %s; the p99 and above are the worst instance's)\n\n", run->workload->timed);
}

void report_print(const struct run *run)
{
    char signal_text[64] = "";

    if (run->interrupted != 0)
        snprintf(signal_text, sizeof(signal_text), ", ended by SIG%s", sigabbrev_np(run->interrupted));
    printf("\n%s: %u instances over %s, %u client%s each, %.1f s%s\n", run->workload->name, run->instances,
           run->args->transport, run->args->threads, run->args->threads == 1 ? "" : "s", run_seconds(run),
           signal_text);
    if (run->end_ns > 0)
        print_figures(run);
    if (run->failed) {
        printf("  FAILED: %s\n", run->failure);
        return;
    }
    if (run->file_report[0] != '\0')
        printf("  the file, read beside the caches: %s\n", run->file_report);
    printf("  %s: %s\n", run->verified ? "verified" : "NOT VERIFIED", run->verdict);
}
