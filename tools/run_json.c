/* SPDX-License-Identifier: Apache-2.0 */
/* The report of a run as JSON. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/json.h"
#include "tools/latency.h"
#include "tools/run_totals.h"

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
    bad |= cf_json_add_double(object, "ops_per_s", run_per_second(run, ops));
#define CF_STAT(name, text) bad |= cf_json_add_u64(object, #name, stats->name);
#define CF_LATENCY(name, text)
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    bad |= cf_json_add_double(object, "hit_ratio", run_hit_ratio(stats));
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
    struct run_sharing sharing = run_sharing_of(run);

    return cf_json_add_u64(object, "transfers", sharing.transfers_count) |
           cf_json_add_double(object, "transfers_per_s", run_per_second(run, sharing.transfers_count)) |
           cf_json_add_double(object, "fairness_ops", sharing.ops) |
           cf_json_add_double(object, "fairness_transfers", sharing.transfers) |
           cf_json_add_u64(object, "waiting_p999_ns", sharing.waiting_p999_ns);
}

static json_t *run_json(const struct run *run)
{
    struct run_totals totals = run_totals_of(run);
    json_t *object = json_object();
    char digest[2 * WL_DIGEST_BYTES + 1];
    int bad = 0;

    if (object == NULL)
        return NULL;
    bad |= cf_json_add_str(object, "workload", run->workload->name);
    bad |= cf_json_add_u64(object, "instances", run->instances);
    bad |= cf_json_add_u64(object, "threads", run->args->threads);
    bad |= cf_json_add_str(object, "transport", run->args->transport);
    bad |= cf_json_add_double(object, "seconds", run_seconds(run));
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
