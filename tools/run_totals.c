/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/run_totals.h"

#include "base/clock.h"
#include "tools/latency.h"

/*
 * Gets, hits, hops, ships and who masters of the time in which the clients worked; storage and everything else from
 * open to the last write before the close.
 */
struct cf_stats report_worked(const struct child *child)
{
    struct cf_stats stats = child->stats;
    /* One that died was not there at the end: what it said last. */
    const struct cf_stats *end = child->end.size != 0 ? &child->end : &child->stats;

#define WORKED(name) stats.name = end->name > child->begin.name ? end->name - child->begin.name : 0
    WORKED(gets);
    WORKED(hits);
    WORKED(hops2);
    WORKED(hops3);
    WORKED(upgrades);
    WORKED(blocks_shipped);
    WORKED(invalidated);
    WORKED(messages_sent);
    WORKED(bytes_sent);
    WORKED(locks);
    WORKED(locks_cached);
    WORKED(lock_requests);
    WORKED(master_requests);
    WORKED(master_requests_local);
    WORKED(remaster_given);
#undef WORKED
    return stats;
}

double run_seconds(const struct run *run)
{
    return run->end_ns > run->begin_ns ? (double)(run->end_ns - run->begin_ns) / (double)CF_NS_PER_S : 0;
}

double run_per_second(const struct run *run, uint64_t count)
{
    double seconds = run_seconds(run);

    return seconds > 0 ? (double)count / seconds : 0;
}

double run_hit_ratio(const struct cf_stats *stats)
{
    return stats->gets > 0 ? (double)stats->hits / (double)stats->gets : 0;
}

struct run_totals run_totals_of(const struct run *run)
{
    struct run_totals totals = {.stats.size = sizeof(totals.stats)};

    for (uint32_t node = 0; node < run->instances; node++) {
        struct cf_stats stats = report_worked(&run->child[node]);

        stats_add(&totals.stats, &stats);
        latency_add(&totals.op, &run->child[node].op_latency);
        totals.ops += run->child[node].ops;
    }
    return totals;
}

static uint64_t transfers_of(const struct cf_stats *stats)
{
    return stats->hops2 + stats->hops3 + stats->upgrades;
}

static double jain(double sum, double squares, uint32_t count)
{
    return squares > 0 ? sum * sum / (count * squares) : 1;
}

struct run_sharing run_sharing_of(const struct run *run)
{
    double ops = 0, ops_squares = 0, moved = 0, moved_squares = 0;
    struct run_sharing sharing = {0};

    for (uint32_t node = 0; node < run->instances; node++) {
        struct cf_stats stats = report_worked(&run->child[node]);
        const struct cf_latency *waits[] = {&stats.remote2, &stats.remote3, &stats.upgrade};
        double done = (double)run->child[node].ops, transfers = (double)transfers_of(&stats);

        ops += done;
        ops_squares += done * done;
        moved += transfers;
        moved_squares += transfers * transfers;
        sharing.transfers_count += transfers_of(&stats);
        for (uint32_t i = 0; i < sizeof(waits) / sizeof(waits[0]); i++)
            if (waits[i]->p999 > sharing.waiting_p999_ns)
                sharing.waiting_p999_ns = waits[i]->p999;
    }
    sharing.ops = jain(ops, ops_squares, run->instances);
    sharing.transfers = jain(moved, moved_squares, run->instances);
    return sharing;
}
