/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/own.h"

#include "base/clock.h"
#include "tools/sim/cluster.h"
#include "tools/sim/hot.h"

/* Far more than a cache has frames, so that masters are asked all the time; few share a bucket. */
#define PART_BLOCKS 64u
#define BUCKETS 65536u

void sim_own_plan(struct sim_plan *plan)
{
    sim_hot_plan(plan);
    plan->outstanding = 4;
    plan->frames = 24;
    plan->blocks = plan->blocks_born = PART_BLOCKS * plan->instances;
    plan->buckets = BUCKETS;
    plan->dirty_age_ns = CF_NS_PER_MS;
    plan->moves_by_use = plan->options.moves == 0;
    plan->move_ns_mean = plan->options.moves * CF_NS_PER_US;
    plan->export_window = 0;
    plan->lockers = 0;
}

uint64_t sim_own_block(const struct sim_plan *plan, uint16_t node, uint64_t drawn)
{
    return drawn % PART_BLOCKS + (uint64_t)node * PART_BLOCKS % plan->blocks;
}

void sim_own_count(struct sim_cluster *cluster, struct sim_own_sums *sums)
{
    *sums = (struct sim_own_sums){0};
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        struct cf_stats stats = {.size = sizeof(stats)};

        if (cluster->instances[n] == NULL || cf_stats_read(cluster->instances[n], &stats) != CF_OK)
            continue;
        sums->gets += stats.gets;
        sums->messages += stats.messages_sent;
        sums->requests += stats.master_requests;
        sums->requests_local += stats.master_requests_local;
        sums->hops2 += stats.hops2;
        sums->hops3 += stats.hops3;
        sums->moved += stats.remaster_taken;
    }
}

static double share(uint64_t part, uint64_t all)
{
    return all > 0 ? 100.0 * (double)part / (double)all : 0;
}

double sim_own_local(const struct sim_own_sums *from, const struct sim_own_sums *to)
{
    return share(to->requests_local - from->requests_local, to->requests - from->requests);
}

static void print(const char *when, const struct sim_own_sums *from, const struct sim_own_sums *to, FILE *out)
{
    uint64_t hops2 = to->hops2 - from->hops2, hops3 = to->hops3 - from->hops3;

    fprintf(out,
            "own: %s: %.1f %% of %llu requests local, %.1f %% of %llu transfers in two hops, %.2f messages a "
            "get, %llu buckets moved\n",
            when, sim_own_local(from, to), (unsigned long long)(to->requests - from->requests),
            share(hops2, hops2 + hops3), (unsigned long long)(hops2 + hops3),
            to->gets > from->gets ? (double)(to->messages - from->messages) / (double)(to->gets - from->gets)
                                  : 0,
            (unsigned long long)(to->moved - from->moved));
}

void sim_own_print(const struct sim_own *own, uint32_t instances, FILE *out)
{
    static const struct sim_own_sums none;

    fprintf(out, "own: %u instances\n", instances);
    print("first tenth", &none, &own->first, out);
    print("last half  ", &own->half, &own->end, out);
}
