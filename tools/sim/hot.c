/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/hot.h"

#include <string.h>

#include "base/clock.h"
#include "tools/sim/plan.h"

void sim_hot_plan(struct sim_plan *plan)
{
    memset(plan->works, 0, sizeof(plan->works));
    memset(plan->faults, 0, sizeof(plan->faults));
    plan->works[SIM_WORK_READ] = plan->works[SIM_WORK_WRITE] = true;
    plan->clients = 2;
    plan->outstanding = 8;
    plan->blocks = plan->blocks_born = SIM_HOT_BLOCKS;
    plan->frames = 64;
    plan->past_images = 8;
    plan->shards = 1;
    plan->directory_entries = 0;
    plan->lane_slots = 256;
    plan->speculative_read = false;
    plan->resend_ns = 4 * CF_NS_PER_MS;
    plan->residency_ns = plan->options.residency_ns;
    plan->dirty_age_ns = CF_NS_PER_S;
    plan->think_ns_mean = 2 * CF_NS_PER_US;
    plan->disk_ns_mean = 20 * CF_NS_PER_US;
    plan->turn_ns = 200;
    plan->net.order = SIM_ORDERED;
    plan->net.blocks = SIM_PUSH;
    plan->net.delay_floor_ns = 2 * CF_NS_PER_US;
    plan->net.bytes_per_us = 10000;
    plan->net.faults = (struct sim_net_faults){.delay_mean_ns = 0};
}

static double a_second(uint64_t count, uint64_t ns)
{
    return ns > 0 ? (double)count * (double)CF_NS_PER_S / (double)ns : 0;
}

void sim_hot_print(const struct sim_hot *hot, uint32_t instances, uint64_t transfers, FILE *out)
{
    double sum = 0, squares = 0;
    uint64_t gets = 0;

    for (uint32_t n = 0; n < instances; n++) {
        gets += hot->gets[n];
        sum += (double)hot->gets[n];
        squares += (double)hot->gets[n] * (double)hot->gets[n];
    }
    fprintf(out,
            "hot: %u instances: %.0f gets a second, %.0f transfers a second, fairness (Jain) %.4f, %llu "
            "waited: p50 "
            "%.1f us, p99 %.1f us, p99.9 %.1f us\n",
            instances, a_second(gets, hot->work_ns), a_second(transfers, hot->work_ns),
            squares > 0 ? sum * sum / (instances * squares) : 1,
            (unsigned long long)cf_hist_count(&hot->waits),
            (double)cf_hist_percentile(&hot->waits, 0.5) / CF_NS_PER_US,
            (double)cf_hist_percentile(&hot->waits, 0.99) / CF_NS_PER_US,
            (double)cf_hist_percentile(&hot->waits, 0.999) / CF_NS_PER_US);
}
