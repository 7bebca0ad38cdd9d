/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Where requests are mastered. The last quarter of the time is told by itself, because buckets that move by use have
 * moved by then: it shows where they have come to, and whether they rest there.
 */
#include <inttypes.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/json.h"
#include "tools/run.h"

#define LATE_PART 0.75

struct local {
    double seconds;
    uint64_t requests, local, moved;
    uint64_t hops2, hops3;
};

void run_local_look(struct run *run, struct child *child)
{
    uint64_t now_ns = cf_now_ns();

    if (run->phase != RUN_WORKING || child->late.size != 0 ||
        (double)(now_ns - run->begin_ns) < LATE_PART * run->args->seconds * (double)CF_NS_PER_S)
        return;
    child->late = child->stats;
    child->late_ns = now_ns;
}

/* False: some instance told nothing between three quarters and the end. */
static bool last_quarter(const struct run *run, struct local *local_out)
{
    struct local local = {0};

    for (uint32_t node = 0; node < run->instances; node++) {
        const struct child *child = &run->child[node];
        const struct cf_stats *late = &child->late, *end = &child->end;

        if (late->size == 0 || end->size == 0 || run->end_ns <= child->late_ns)
            return false;
        local.seconds += (double)(run->end_ns - child->late_ns) / (double)CF_NS_PER_S / run->instances;
        local.requests += end->master_requests - late->master_requests;
        local.local += end->master_requests_local - late->master_requests_local;
        local.moved += end->remaster_given - late->remaster_given;
        local.hops2 += end->hops2 - late->hops2;
        local.hops3 += end->hops3 - late->hops3;
    }
    *local_out = local;
    return true;
}

static double percent(uint64_t part, uint64_t of)
{
    return of > 0 ? 100.0 * (double)part / (double)of : 0;
}

void run_local_print(const struct run *run, const struct cf_stats *worked)
{
    struct local late;
    char text[32];
    bool has_late = last_quarter(run, &late);

    if (run->instances < 2)
        return;
    printf("  %-18s %15s  %.1f %% answered by the instance that asks", "requests",
           report_grouped(worked->master_requests, text, sizeof(text)),
           percent(worked->master_requests_local, worked->master_requests));
    if (has_late)
        printf(" (%.1f %% in the last quarter)", percent(late.local, late.requests));
    printf("\n  %-18s %15s", "buckets moved", report_grouped(worked->remaster_given, text, sizeof(text)));
    if (has_late)
        printf("  %s in the last quarter", report_grouped(late.moved, text, sizeof(text)));
    printf("\n");
}

int run_local_json(json_t *object, const struct run *run)
{
    struct local late;
    json_t *child;

    if (!last_quarter(run, &late))
        return 0;
    child = json_object();
    if (child == NULL || cf_json_add_double(child, "seconds", late.seconds) != 0 ||
        cf_json_add_u64(child, "master_requests", late.requests) != 0 ||
        cf_json_add_u64(child, "master_requests_local", late.local) != 0 ||
        cf_json_add_u64(child, "remaster_given", late.moved) != 0 ||
        cf_json_add_u64(child, "hops2", late.hops2) != 0 ||
        cf_json_add_u64(child, "hops3", late.hops3) != 0) {
        json_decref(child);
        return -1;
    }
    return cf_json_add_child(object, "last_quarter", child);
}
