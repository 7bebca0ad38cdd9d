/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/plan.h"

#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/rng.h"
#include "tools/sim/hot.h"
#include "tools/sim/own.h"
#include "transport/link/wire.h"

#define US CF_NS_PER_US
#define MS CF_NS_PER_MS
/* From this size on sizes an instance are small, so that the whole stays affordable. */
#define BIG_INSTANCES 33u

static const struct {
    const char *name;
    const char *text;
} faults[SIM_FAULTS] = {
#define SIM_FAULT(upper, name, text) {#name, text},
#include "tools/sim/fault.def"
#undef SIM_FAULT
};

const char *sim_fault_name(uint32_t fault)
{
    return fault < SIM_FAULTS ? faults[fault].name : NULL;
}

const char *sim_fault_text(uint32_t fault)
{
    return fault < SIM_FAULTS ? faults[fault].text : NULL;
}

static uint64_t pick(struct cf_rng *rng, const uint64_t *values, uint32_t count)
{
    return values[cf_rng_below(rng, count)];
}
#define PICK(rng, ...) \
    pick(rng, (const uint64_t[]){__VA_ARGS__}, sizeof((uint64_t[]){__VA_ARGS__}) / sizeof(uint64_t))

/* One draw a class whatever the options say, so that turning a class off leaves the others as they were. */
static void draw_switches(struct cf_rng *rng, struct sim_plan *plan)
{
    for (uint32_t i = 0; i < SIM_FAULTS; i++) {
        bool coin = (cf_rng_next(rng) >> 63) != 0;

        plan->faults[i] = plan->options.faults == SIM_FAULTS_ALL ? coin
                                                                 : (plan->options.faults >> i & 1) != 0;
    }
    for (uint32_t i = 0; i < SIM_WORKS; i++)
        plan->works[i] = (cf_rng_next(rng) >> 63) != 0;
    if (!plan->works[SIM_WORK_WRITE] && !plan->works[SIM_WORK_UPGRADE] && !plan->works[SIM_WORK_GROUP])
        plan->works[SIM_WORK_WRITE] = true;
}

static void draw_sizes(struct cf_rng *rng, struct sim_plan *plan)
{
    uint32_t drawn = (uint32_t)(SIM_INSTANCES_MIN + cf_rng_below(rng, 7));
    bool is_big;

    plan->instances = plan->options.instances != 0 ? plan->options.instances : drawn;
    is_big = plan->instances >= BIG_INSTANCES;
    plan->clients = (uint32_t)PICK(rng, 1, 2, 3, 5);
    plan->outstanding = (uint32_t)PICK(rng, 4, 8, 16);
    plan->blocks = (uint32_t)PICK(rng, 1, 2, 4, 8, 16, 28, 28, 40, 64);
    plan->frames = plan->outstanding * 2 + 16 + (uint32_t)PICK(rng, 0, 4, 16);
    plan->past_images = (uint32_t)PICK(rng, 2, 4, 8);
    plan->buckets = (uint32_t)PICK(rng, 16, 64, 256);
    plan->shards = (uint32_t)PICK(rng, 1, 1, 2);
    plan->lane_slots = (uint32_t)PICK(rng, 64, 256);
    plan->ship_checksum = (uint32_t)PICK(rng, 0, 1, 2);
    plan->speculative_read = PICK(rng, 0, 1, 1, 1) != 0;
    if (is_big) {
        plan->clients = 1;
        plan->outstanding = 4;
        plan->frames = 24;
        plan->lane_slots = 64;
        plan->blocks = plan->blocks < 16 ? 16 : plan->blocks;
    }
    plan->blocks_born = plan->works[SIM_WORK_NEW] ? plan->blocks - plan->blocks / 2 : plan->blocks;
}

static void draw_times(struct cf_rng *rng, struct sim_plan *plan)
{
    plan->resend_ns = PICK(rng, 500 * US, 1 * MS, 4 * MS);
    plan->residency_ns = PICK(rng, 0, 0, 20 * US, 200 * US);
    plan->dirty_age_ns = PICK(rng, 1 * MS, 5 * MS, 50 * MS, 1000 * MS);
    plan->think_ns_mean = PICK(rng, 5 * US, 50 * US, 500 * US);
    plan->hold_ns_mean = PICK(rng, 2 * US, 20 * US, 300 * US);
    plan->disk_ns_mean = plan->faults[SIM_FAULT_DISK] ? PICK(rng, 500 * US, 5 * MS)
                                                      : PICK(rng, 20 * US, 100 * US);
    plan->turn_ns = PICK(rng, 100, 1000, 5000);
    plan->episode_ns_mean = PICK(rng, 2 * MS, 10 * MS, 40 * MS);
}

static void draw_net(struct cf_rng *rng, struct sim_plan *plan)
{
    bool reaches_above = plan->faults[SIM_FAULT_LOSS] || plan->faults[SIM_FAULT_DUPLICATE] ||
                         plan->faults[SIM_FAULT_STALE];
    bool raw = (cf_rng_next(rng) >> 63) != 0 && reaches_above;
    uint32_t loss = (uint32_t)PICK(rng, 1000, 10000, 50000, 100000, 300000);
    uint32_t duplicate = (uint32_t)PICK(rng, 1000, 20000, 100000, 500000);

    plan->net = (struct sim_net_options){
        .nodes = plan->instances,
        .seed = cf_rng_next(rng),
        .order = plan->faults[SIM_FAULT_REORDER] ? SIM_CHAOS
                 : raw                           ? SIM_RAW
                                                 : SIM_ORDERED,
        .blocks = (enum sim_blocks)(cf_rng_next(rng) >> 63),
        .delay_floor_ns = PICK(rng, 500, 2000, 10000),
        .bytes_per_us = PICK(rng, 0, 1000, 10000),
        .retransmit_ns = PICK(rng, 100 * US, 1 * MS),
        .detect_ns = PICK(rng, 100 * US, 2 * MS),
        .faults = {.loss_ppm = plan->faults[SIM_FAULT_LOSS] ? loss : 0,
                   .duplicate_ppm = plan->faults[SIM_FAULT_DUPLICATE] ? duplicate : 0,
                   .torn_ppm = plan->faults[SIM_FAULT_TORN] ? 50000 : 0,
                   .late_ns_max = PICK(rng, 10 * US, 1 * MS, 20 * MS),
                   .delay_mean_ns = plan->faults[SIM_FAULT_DELAY] ? PICK(rng, 50 * US, 500 * US)
                                                                  : PICK(rng, 0, 2 * US)}};
}

/*
 * One cluster of four talks over links, drawn apart, so that the others are what they are without. A damaged packet is
 * a lost one to the link: the two go together.
 */
static void draw_links(struct sim_plan *plan)
{
    struct cf_rng rng;
    uint64_t drawn;

    cf_rng_seed(&rng, plan->options.seed ^ 0x11145);
    drawn = cf_rng_below(&rng, 4);
    if (plan->options.network == SIM_NETWORK_LANES || plan->instances > SIM_LINKS_INSTANCES_MAX ||
        (plan->options.network == SIM_NETWORK_DRAWN && drawn != 0))
        return;
    plan->net.order = SIM_LINKS;
    plan->net.reorders = plan->faults[SIM_FAULT_REORDER];
    plan->net.packet_bytes = (uint32_t)PICK(&rng, XP_LINK_PACKET_BYTES_MIN, 1472, 8972);
    plan->net.faults.damage_ppm = plan->net.faults.loss_ppm / 4;
}

/* Above this many members groups of blocks are left out where directories are short. */
#define SHORT_GROUPS_MAX 4u

/* Those who have a bucket. */
static uint32_t masters_of(const struct sim_plan *plan)
{
    return plan->instances < plan->buckets ? plan->instances : plan->buckets;
}

/* Of a large cluster, what each instance caches where directories are short: its checkers look at all of it, often. */
#define BIG_CACHED_MAX 48u

/*
 * Directories that must give entries back. Half of the small clusters; with --cold every cluster, whose instances can
 * then cache all blocks, some only together. They are shorter than any that cf_open lets through. That is a delay as long as nobody who waits
 * for an entry holds a block that others wait for; with groups there is an entry for every conversation, as in earnest.
 */
static void draw_directory(struct cf_rng *rng, struct sim_plan *plan)
{
    uint32_t drawn = (uint32_t)PICK(rng, 0, 0, 0, 2, 4, 8), entries = (uint32_t)PICK(rng, 4, 8);
    uint32_t share = (uint32_t)PICK(rng, 1, 1, 3, 8); /* of the blocks that fit one cache: the others evict */
    uint32_t cached;

    plan->directory_entries = plan->options.cold ? entries : drawn;
    if (plan->directory_entries == 0)
        return;
    if (plan->instances > SHORT_GROUPS_MAX) {
        plan->works[SIM_WORK_GROUP] = false;
        plan->works[SIM_WORK_WRITE] = true;
    }
    if (plan->works[SIM_WORK_GROUP]) {
        plan->outstanding = 4;
        if (plan->directory_entries < plan->outstanding * plan->instances)
            plan->directory_entries = plan->outstanding * plan->instances;
    }
    if (plan->options.cold == 0)
        return;
    plan->shards = 1;
    plan->blocks = plan->options.cold * plan->directory_entries * masters_of(plan);
    plan->blocks_born = plan->blocks;
    cached = plan->blocks / share;
    if (plan->instances >= BIG_INSTANCES && cached > BIG_CACHED_MAX)
        cached = BIG_CACHED_MAX;
    plan->frames = plan->outstanding * 2 + 16 + cached;
}

/* Buckets that move: told to, or by themselves. Drawn apart, so that all else of a seed is as without. */
static void draw_moves(struct sim_plan *plan)
{
    struct cf_rng rng;

    cf_rng_seed(&rng, plan->options.seed ^ UINT64_C(0x6d6f766573));
    plan->move_ns_mean = PICK(&rng, 0, 0, 100 * US, 1 * MS, 10 * MS);
    plan->moves_by_use = PICK(&rng, 0, 0, 1) != 0;
    plan->export_window = (uint32_t)PICK(&rng, 0, 1, 2, 3);
    if (plan->options.moves != 0 || plan->options.hot != 0) { /* what hot blocks cost is told without */
        plan->move_ns_mean = plan->options.moves * US;
        plan->moves_by_use = false;
    }
}

/* Half of the runs have clients of locks. Drawn apart, so that a seed's blocks do what they did without them. */
static void draw_locks(struct sim_plan *plan)
{
    struct cf_rng own, *rng = &own;

    cf_rng_seed(rng, plan->options.seed ^ UINT64_C(0x10c5));
    plan->lockers = (uint32_t)PICK(rng, 0, 0, 0, 1, 2, 4);
    plan->locks = (uint32_t)PICK(rng, 1, 2, 3, 8);
    plan->deadlock_after_ns = PICK(rng, 1 * MS, 5 * MS);
    plan->deadlock_period_ns = PICK(rng, 1 * MS, 3 * MS);
    plan->is_patient = PICK(rng, 0, 1) != 0;
    if (plan->lockers * plan->instances > SIM_LOCKERS_MAX || plan->options.cold)
        plan->lockers = 0;
}

void sim_plan_draw(const struct sim_options *options, struct sim_plan *plan)
{
    struct cf_rng rng;

    cf_rng_seed(&rng, options->seed);
    memset(plan, 0, sizeof(*plan));
    plan->options = *options;
    draw_switches(&rng, plan);
    draw_sizes(&rng, plan);
    draw_times(&rng, plan);
    draw_net(&rng, plan);
    draw_links(plan);
    draw_directory(&rng, plan);
    if (options->hot != 0)
        sim_hot_plan(plan);
    draw_moves(plan);
    draw_locks(plan);
    if (options->own != 0)
        sim_own_plan(plan);
}

bool sim_plan_is_sampled(const struct sim_plan *plan)
{
    return plan->instances >= SIM_SAMPLED_INSTANCES || plan->options.own != 0;
}

void sim_plan_print(const struct sim_plan *plan, char *text, size_t text_bytes)
{
    static const char *const orders[] = {"ordered", "raw", "chaos", "of links"};
    int used = snprintf(text, text_bytes,
                        "%u instances, %u clients each, %u more of %u locks, %u blocks, %u frames each, %u "
                        "entries a shard, lanes "
                        "%s, blocks %s, faults:",
                        plan->instances, plan->clients, plan->lockers, plan->locks, plan->blocks,
                        plan->frames, plan->directory_entries, orders[plan->net.order],
                        plan->net.blocks == SIM_PULL ? "pulled" : "pushed");

    for (uint32_t i = 0; i < SIM_FAULTS && used > 0 && (size_t)used < text_bytes; i++) {
        if (plan->faults[i])
            used += snprintf(text + used, text_bytes - (size_t)used, " %s", faults[i].name);
    }
}
