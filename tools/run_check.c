/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What all hangs on: the instances' caches agree, the file is whole when it is read by itself, and the workload's
 * own sums hold.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "engine/format.h"
#include "tools/latency.h"
#include "tools/run.h"

static void first_damage(void *arg, uint64_t block, enum eng_damage damage, const char *text)
{
    struct run *run = arg;

    if (run->verdict[0] == '\0')
        snprintf(run->verdict, sizeof(run->verdict), "block %" PRIu64 " on storage: %s %s", block,
                 eng_damage_name(damage), text != NULL ? text : "");
}

/* Headers, checksums and versions of every block, by the reader of `cachefusion check`. */
static bool check_file(struct run *run)
{
    struct eng_check_result result = {0};
    struct cf_error error = {0};

    run->verdict[0] = '\0';
    if (eng_format_check(run->data, first_damage, run, &result, &error) != CF_OK) {
        snprintf(run->verdict, sizeof(run->verdict), "%s", error.text);
        return false;
    }
    snprintf(run->file_report, sizeof(run->file_report),
             "%" PRIu64 " blocks, %" PRIu64 " written, %" PRIu64 " damaged, %s, highest version %" PRIu64,
             result.blocks, result.written, result.damaged,
             result.unclean ? "NOT closed cleanly" : "closed cleanly", result.highest_version);
    if (result.damaged > 0)
        return false;
    if (result.unclean)
        snprintf(run->verdict, sizeof(run->verdict),
                 "all instances closed and the file says that one has not");
    else if (result.newer_than_super > 0)
        snprintf(run->verdict, sizeof(run->verdict), "%" PRIu64 " blocks are newer than the file's clock",
                 result.newer_than_super);
    return run->verdict[0] == '\0';
}

static bool sums_equal(const struct wl_sums *a, const struct wl_sums *b)
{
    return a->items == b->items && a->bad == b->bad && memcmp(a->value, b->value, sizeof(a->value)) == 0;
}

/* Every instance saw the same through its cache as the file holds. */
static bool check_caches(struct run *run)
{
    for (uint32_t node = 0; node < run->instances; node++) {
        const struct wl_sums *sums = &run->child[node].sums;

        if (sums->bad > 0)
            snprintf(run->verdict, sizeof(run->verdict), "instance %u sees %" PRIu64 " damaged items: %s",
                     node, sums->bad, sums->first_bad);
        else if (!run->workload->is_foreign && !sums_equal(sums, &run->after))
            snprintf(run->verdict, sizeof(run->verdict),
                     "instance %u saw %" PRIu64 " items with sums %" PRIu64 ", %" PRIu64
                     "; the file has %" PRIu64 ", %" PRIu64 ", %" PRIu64,
                     node, sums->items, sums->value[0], sums->value[1], run->after.items, run->after.value[0],
                     run->after.value[1]);
        else
            continue;
        return false;
    }
    return true;
}

static bool look_after(struct run *run)
{
    struct cf_error error = {0};
    enum cf_rc rc;

    if (run->workload->is_foreign) {
        snprintf(run->file_report, sizeof(run->file_report), "%" PRIu64 " bytes of a foreign file, read only",
                 run->plan.bytes);
        rc = wl_digest(run->data, run->after.digest, &run->plan.bytes);
        if (rc != CF_OK)
            snprintf(run->verdict, sizeof(run->verdict), "%s: %s", run->data, cf_rc_text(rc));
        return rc == CF_OK;
    }
    if (!check_file(run))
        return false;
    rc = datafile_probe(run->data, &run->datafile, &error);
    run->plan.blocks = run->datafile.blocks;
    if (rc == CF_OK)
        rc = wl_plain(&run->plan, run->data, run->datafile.block_bytes, &run->after, run->verdict,
                      sizeof(run->verdict));
    if (rc != CF_OK && run->verdict[0] == '\0')
        snprintf(run->verdict, sizeof(run->verdict), "%s: %s", run->data, cf_rc_text(rc));
    if (rc == CF_OK && run->after.bad > 0)
        snprintf(run->verdict, sizeof(run->verdict), "%" PRIu64 " damaged items in the file: %s",
                 run->after.bad, run->after.first_bad);
    return rc == CF_OK && run->after.bad == 0;
}

void run_check(struct run *run)
{
    struct wl_sums seen[RUN_INSTANCES_MAX];
    uint64_t tally[WL_TALLIES] = {0};
    struct cf_stats stats = {.size = sizeof(stats)};
    struct cf_latency extra = {0};
    struct wl_evidence evidence = {.plan = &run->plan,
                                   .before = &run->before,
                                   .after = &run->after,
                                   .seen = seen,
                                   .tally = tally,
                                   .stats = &stats,
                                   .extra = &extra,
                                   .figures = &run->figures};

    for (uint32_t node = 0; node < run->instances; node++) {
        struct cf_stats worked = report_worked(&run->child[node]);

        stats_add(&stats, &worked);
        latency_add(&extra, &run->child[node].extra);
        seen[node] = run->child[node].sums;
        evidence.ops += run->child[node].ops;
        for (uint32_t i = 0; i < WL_TALLIES; i++)
            tally[i] += run->child[node].tally[i];
    }
    run->verified = look_after(run) && check_caches(run) &&
                    run->workload->judge(&evidence, run->verdict, sizeof(run->verdict));
}
