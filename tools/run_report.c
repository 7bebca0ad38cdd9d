/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a run, for people and as JSON. */
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "tools/latency.h"
#include "tools/run.h"

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

static double seconds_of(const struct run *run)
{
    return run->end_ns > run->begin_ns ? (double)(run->end_ns - run->begin_ns) / (double)CF_NS_PER_S : 0;
}

static double per_second(const struct run *run, uint64_t count)
{
    double seconds = seconds_of(run);

    return seconds > 0 ? (double)count / seconds : 0;
}

static double hit_ratio(const struct cf_stats *stats)
{
    return stats->gets > 0 ? (double)stats->hits / (double)stats->gets : 0;
}

struct totals {
    struct cf_stats stats;
    struct cf_latency op;
    uint64_t ops;
};

static struct totals totals_of(const struct run *run)
{
    struct totals totals = {.stats.size = sizeof(totals.stats)};

    for (uint32_t node = 0; node < run->instances; node++) {
        struct cf_stats stats = report_worked(&run->child[node]);

        stats_add(&totals.stats, &stats);
        latency_add(&totals.op, &run->child[node].op_latency);
        totals.ops += run->child[node].ops;
    }
    return totals;
}

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
           report_grouped((uint64_t)per_second(run, count), rate, sizeof(rate)));
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

/* How the instances share: 1 = alike, 1 / instances = one has all. */
struct sharing {
    double ops, transfers; /* Jain's index */
    uint64_t transfers_count;
    uint64_t waiting_p999_ns; /* of those who waited for another instance; the worst instance's */
};

static uint64_t transfers_of(const struct cf_stats *stats)
{
    return stats->hops2 + stats->hops3 + stats->upgrades;
}

static double jain(double sum, double squares, uint32_t count)
{
    return squares > 0 ? sum * sum / (count * squares) : 1;
}

static struct sharing sharing_of(const struct run *run)
{
    double ops = 0, ops_squares = 0, moved = 0, moved_squares = 0;
    struct sharing sharing = {0};

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

static void print_sharing(const struct run *run)
{
    struct sharing sharing = sharing_of(run);
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
    struct totals totals = totals_of(run);
    const struct cf_stats *stats = &totals.stats;
    char a[32], b[32];

    print_count(run, run->workload->op, totals.ops);
    print_own(&run->figures);
    print_count(run, "blocks shipped", stats->blocks_shipped);
    printf("  %-18s %15s in two hops, %s in three\n", "blocks received",
           report_grouped(stats->hops2, a, sizeof(a)), report_grouped(stats->hops3, b, sizeof(b)));
    print_sharing(run);
    run_local_print(run, stats);
    printf("  %-18s %13.1f %%\n", "hit ratio", 100 * hit_ratio(stats));
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
           run->args->transport, run->args->threads, run->args->threads == 1 ? "" : "s", seconds_of(run),
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

static json_t *latencies_json(const struct cf_stats *stats)
{
    json_t *object = json_object();

    if (object == NULL)
        return NULL;
#define CF_STAT(name, text)
#define CF_LATENCY(name, text)                                             \
    if (cf_json_add_child(object, #name, latency_json(&stats->name)) != 0) \
        goto failed;
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    return object;
failed:
    json_decref(object);
    return NULL;
}

/* The keys that the whole run and each instance have. */
static int add_figures(json_t *object, const struct run *run, const struct cf_stats *stats, uint64_t ops,
                       const struct cf_latency *op)
{
    int bad = 0;

    bad |= cf_json_add_u64(object, "ops", ops);
    bad |= cf_json_add_double(object, "ops_per_s", per_second(run, ops));
#define CF_STAT(name, text) bad |= cf_json_add_u64(object, #name, stats->name);
#define CF_LATENCY(name, text)
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    bad |= cf_json_add_double(object, "hit_ratio", hit_ratio(stats));
    bad |= cf_json_add_child(object, "latency_ns", latencies_json(stats));
    bad |= cf_json_add_child(object, "operation_ns", latency_json(op));
    return bad;
}

static json_t *ms_json(const struct cf_latency *latency)
{
    json_t *object = json_object();

    if (object != NULL && cf_json_add_u64(object, "count", latency->count) == 0 &&
        cf_json_add_double(object, "p50", (double)latency->p50 / CF_NS_PER_MS) == 0 &&
        cf_json_add_double(object, "p99", (double)latency->p99 / CF_NS_PER_MS) == 0 &&
        cf_json_add_double(object, "max", (double)latency->max / CF_NS_PER_MS) == 0)
        return object;
    json_decref(object);
    return NULL;
}

static int add_own(json_t *object, const struct wl_figures *figures)
{
    int bad = 0;

    for (uint32_t i = 0; i < figures->count; i++) {
        const struct wl_figure *figure = &figures->figure[i];

        if (figure->kind == WL_COUNT)
            bad |= cf_json_add_u64(object, figure->key, figure->count);
        else if (figure->kind == WL_RATIO)
            bad |= cf_json_add_double(object, figure->key, figure->ratio);
        else
            bad |= cf_json_add_child(object, figure->key, ms_json(&figure->latency));
    }
    return bad;
}

static json_t *instances_json(const struct run *run)
{
    json_t *array = json_array();

    for (uint32_t node = 0; array != NULL && node < run->instances; node++) {
        struct cf_stats stats = report_worked(&run->child[node]);
        json_t *object = json_object();
        char digest[2 * WL_DIGEST_BYTES + 1];

        wl_digest_text(run->child[node].sums.digest, digest);
        if (object == NULL || cf_json_add_u64(object, "node", node) != 0 ||
            (run->hosts_count > 0 && cf_json_add_str(object, "host", run->host[node]) != 0) ||
            cf_json_add_u64(object, "pid", (uint64_t)run->child[node].pid) != 0 ||
            (run->workload->is_foreign && cf_json_add_str(object, "seen_sha256", digest) != 0) ||
            add_figures(object, run, &stats, run->child[node].ops, &run->child[node].op_latency) != 0 ||
            json_array_append(array, object) != 0) {
            json_decref(object);
            json_decref(array);
            return NULL;
        }
        json_decref(object);
    }
    return array;
}

static int add_sharing(json_t *object, const struct run *run)
{
    struct sharing sharing = sharing_of(run);

    return cf_json_add_u64(object, "transfers", sharing.transfers_count) |
           cf_json_add_double(object, "transfers_per_s", per_second(run, sharing.transfers_count)) |
           cf_json_add_double(object, "fairness_ops", sharing.ops) |
           cf_json_add_double(object, "fairness_transfers", sharing.transfers) |
           cf_json_add_u64(object, "waiting_p999_ns", sharing.waiting_p999_ns);
}

static json_t *run_json(const struct run *run)
{
    struct totals totals = totals_of(run);
    json_t *object = json_object();
    char digest[2 * WL_DIGEST_BYTES + 1];
    int bad = 0;

    if (object == NULL)
        return NULL;
    bad |= cf_json_add_str(object, "workload", run->workload->name);
    bad |= cf_json_add_u64(object, "instances", run->instances);
    bad |= cf_json_add_u64(object, "threads", run->args->threads);
    bad |= cf_json_add_str(object, "transport", run->args->transport);
    bad |= cf_json_add_double(object, "seconds", seconds_of(run));
    bad |= cf_json_add_u64(object, "seed", run->args->seed);
    bad |= cf_json_add_bool(object, "verified", run->verified);
    bad |= cf_json_add_str(object, "verdict", run->failed ? run->failure : run->verdict);
    bad |= cf_json_add_str(object, "data", run->data);
    if (run->workload->is_foreign) {
        wl_digest_text(run->after.digest, digest);
        bad |= cf_json_add_str(object, "sha256", digest);
    }
    bad |= add_sharing(object, run);
    bad |= run_local_json(object, run);
    bad |= add_own(object, &run->figures);
    bad |= add_figures(object, run, &totals.stats, totals.ops, &totals.op);
    bad |= cf_json_add_child(object, "per_instance", instances_json(run));
    if (bad == 0)
        return object;
    json_decref(object);
    return NULL;
}

bool report_json(const struct run *run)
{
    json_t *object;
    bool good;

    if (run->args->json[0] == '\0')
        return true;
    object = run_json(run);
    if (object == NULL)
        fprintf(stderr, "cachefusion run: no memory for the JSON report\n");
    good = object != NULL && cf_json_write_file(object, run->args->json) == 0;
    if (object != NULL && !good)
        fprintf(stderr, "cachefusion run: --json %s: %s\n", run->args->json, strerror(errno));
    json_decref(object);
    return good;
}
