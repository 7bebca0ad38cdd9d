/* SPDX-License-Identifier: Apache-2.0 */
/* Progress while it runs: a table that stays in place on a terminal, a line a second elsewhere. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/latency.h"
#include "tools/run.h"

#define SHOW_TERMINAL_NS (CTL_PROGRESS_MS * CF_NS_PER_MS)
#define SHOW_LINES_NS CF_NS_PER_S

void show_begin(struct show *show, const struct run *run)
{
    memset(show, 0, sizeof(*show));
    show->is_terminal = isatty(STDOUT_FILENO) == 1;
    show->last_ns = cf_now_ns();
    for (uint32_t node = 0; node < run->instances; node++)
        show->last[node] = run->child[node].stats;
}

/* What happened between two looks, as rates. */
struct rates {
    double ops, shipped, disk, hit_percent;
    struct cf_latency remote;
};

static double rate(uint64_t now, uint64_t before, double seconds)
{
    return now > before ? (double)(now - before) / seconds : 0;
}

static struct rates rates_between(const struct cf_stats *now, const struct cf_stats *before, uint64_t ops,
                                  uint64_t ops_before, double seconds)
{
    struct rates rates = {
        .ops = rate(ops, ops_before, seconds),
        .shipped = rate(now->blocks_shipped, before->blocks_shipped, seconds),
        .disk = rate(now->disk_reads + now->disk_writes, before->disk_reads + before->disk_writes, seconds),
        .remote = stats_remote(now)};

    if (now->gets > before->gets)
        rates.hit_percent = 100.0 * (double)(now->hits - before->hits) / (double)(now->gets - before->gets);
    return rates;
}

static void print_row(const char *who, const char *pid, const struct rates *rates)
{
    char p50[16] = "-", p99[16] = "-";

    if (rates->remote.count > 0) {
        latency_text(rates->remote.p50, p50, sizeof(p50));
        latency_text(rates->remote.p99, p99, sizeof(p99));
    }
    printf("  %-4s %8s %10.0f %10.0f %8.1f %% %9s %9s %9.0f\033[K\n", who, pid, rates->ops, rates->shipped,
           rates->hit_percent, p50, p99, rates->disk);
}

static void print_table(struct show *show, const struct run *run, const struct rates *each,
                        const struct rates *all, double seconds)
{
    if (show->lines > 0)
        printf("\033[%uA", show->lines);
    printf("  %s: %.1f of %.1f s, %u instances\033[K\n", run->workload->name, seconds, run->args->seconds,
           run->instances);
    printf("  %-4s %8s %10s %10s %10s %9s %9s %9s\033[K\n", "node", "pid", "ops/s", "shipped/s", "hits",
           "remote50", "remote99", "disk/s");
    for (uint32_t node = 0; node < run->instances; node++) {
        char who[16], pid[16];

        snprintf(who, sizeof(who), "%u", node);
        snprintf(pid, sizeof(pid), "%d", (int)run->child[node].pid);
        print_row(who, pid, &each[node]);
    }
    print_row("all", "", all);
    show->lines = run->instances + 3;
}

static void print_line(const struct run *run, const struct rates *all, double seconds)
{
    char p50[16] = "-", p99[16] = "-";

    if (all->remote.count > 0) {
        latency_text(all->remote.p50, p50, sizeof(p50));
        latency_text(all->remote.p99, p99, sizeof(p99));
    }
    printf(
        "  %5.1f s  %-6s %9.0f ops/s  %8.0f blocks shipped/s  hits %5.1f %%  remote block p50 %s, p99 %s\n",
        seconds, run->workload->name, all->ops, all->shipped, all->hit_percent, p50, p99);
}

void show_step(struct show *show, const struct run *run)
{
    uint64_t now_ns = cf_now_ns();
    struct cf_stats sum = {0}, sum_before = {0};
    struct rates each[RUN_INSTANCES_MAX], all;
    uint64_t ops = 0, ops_before = 0;
    double seconds = (double)(now_ns - show->last_ns) / (double)CF_NS_PER_S;
    double since = (double)(now_ns - run->begin_ns) / (double)CF_NS_PER_S;

    if (run->phase != RUN_WORKING ||
        now_ns - show->last_ns < (show->is_terminal ? SHOW_TERMINAL_NS : SHOW_LINES_NS))
        return;
    for (uint32_t node = 0; node < run->instances; node++) {
        const struct child *child = &run->child[node];

        each[node] = rates_between(&child->stats, &show->last[node], child->ops, show->last_ops[node],
                                   seconds);
        stats_add(&sum, &child->stats);
        stats_add(&sum_before, &show->last[node]);
        ops += child->ops;
        ops_before += show->last_ops[node];
        show->last[node] = child->stats;
        show->last_ops[node] = child->ops;
    }
    all = rates_between(&sum, &sum_before, ops, ops_before, seconds);
    if (show->is_terminal)
        print_table(show, run, each, &all, since);
    else
        print_line(run, &all, since);
    fflush(stdout);
    show->last_ns = now_ns;
}

void show_end(struct show *show)
{
    show->lines = 0;
}
