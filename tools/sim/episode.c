/* SPDX-License-Identifier: Apache-2.0 */
/* Faults that come and go: cuts, flaps, stalls, a slow link, messages of a past epoch. */
#include "base/clock.h"
#include "grd/msg.h"
#include "tools/sim/cluster.h"

#define STALL_NS_MAX (20 * CF_NS_PER_MS)
#define CUT_NS_MAX (20 * CF_NS_PER_MS)
#define SLOW_FACTOR_MAX 50u
#define PAST_EPOCH 0u

static uint16_t any_node(struct sim_cluster *cluster)
{
    return (uint16_t)cf_rng_below(&cluster->rng, cluster->plan.instances);
}

static void do_cut(struct sim_cluster *cluster, uint16_t a, uint16_t b)
{
    uint64_t until_ns = cluster->now_ns + cf_rng_below(&cluster->rng, CUT_NS_MAX);

    sim_net_cut(cluster->net, a, b, until_ns);
    if ((cf_rng_next(&cluster->rng) & 1) != 0)
        sim_net_cut(cluster->net, b, a, until_ns);
}

/*
 * A release or an acknowledgement that would have been true in an earlier life of the cluster: it names a tenure
 * that somebody holds now. Served, it makes the directory forget a holder (I-3), or X begin beside S (I-1).
 */
static void do_stale(struct sim_cluster *cluster, uint16_t a, uint16_t b)
{
    uint64_t block = cf_rng_below(&cluster->rng, cluster->plan.blocks);
    struct cf_block_key key = {.file = SIM_FILE_ID, .generation = 1, .block = block};
    uint64_t tenure = sim_check_tenure(cluster->check, a, block);
    struct grd_msg msg = {.type = GRD_MSG_RELEASE, .key = key, .tenure = tenure, .requester = a};
    uint64_t body[GRD_MSG_BYTES_MAX / 8];

    if (cluster->nodes[a].instance == NULL)
        return;
    b = eng_master_of(cluster->nodes[a].instance, &key);
    if (tenure == 0 || a == b)
        return;
    sim_net_inject(cluster->net, a, b, GRD_MSG_RELEASE, body, grd_msg_encode(&msg, body), PAST_EPOCH, 0);
}

void sim_episode(struct sim_cluster *cluster)
{
    const bool *faults = cluster->plan.faults;
    uint16_t a = any_node(cluster);
    uint16_t b = any_node(cluster);
    uint64_t kind = cf_rng_below(&cluster->rng, 5);

    cluster->episode_next_ns = cluster->now_ns + 1 +
                               cf_rng_below(&cluster->rng, 2 * cluster->plan.episode_ns_mean);
    if (faults[SIM_FAULT_STALE])
        do_stale(cluster, b, a);
    if (a == b)
        b = (uint16_t)((b + 1) % cluster->plan.instances);
    if (kind == 0 && faults[SIM_FAULT_CUT])
        do_cut(cluster, a, b);
    if (kind == 1 && faults[SIM_FAULT_FLAP])
        (void)sim_net_flap(cluster->net, a, b, cf_rng_below(&cluster->rng, CF_NS_PER_MS));
    if (kind == 2 && faults[SIM_FAULT_STALL])
        sim_net_stall(cluster->net, a, cluster->now_ns + cf_rng_below(&cluster->rng, STALL_NS_MAX));
    if (kind == 3 && faults[SIM_FAULT_SLOW])
        sim_net_slow(cluster->net, a, b, 2 + (uint32_t)cf_rng_below(&cluster->rng, SLOW_FACTOR_MAX));
    if (kind == 4 && faults[SIM_FAULT_SLOW])
        sim_net_slow(cluster->net, a, b, 1);
}

/* At most one instance serves a bucket. */
static void check_owners(struct sim_cluster *cluster, uint64_t block, uint32_t bucket)
{
    uint16_t first = CF_NODE_NONE;

    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (cluster->instances[n] == NULL || !eng_serves(cluster->instances[n], bucket))
            continue;
        if (first != CF_NODE_NONE)
            sim_check_break(cluster->check, block, "I-10 bucket %u: nodes %u and %u serve it", bucket, first,
                            n);
        first = (uint16_t)n;
    }
}

void sim_move(struct sim_cluster *cluster)
{
    struct cf_block_key key = {.file = SIM_FILE_ID,
                               .generation = 1,
                               .block = cf_rng_below(&cluster->move_rng, cluster->plan.blocks)};
    uint32_t bucket = eng_bucket_of(cluster->instances[0], &key);
    uint16_t to = (uint16_t)cf_rng_below(&cluster->move_rng, cluster->plan.instances);

    cluster->move_next_ns = cluster->now_ns + 1 +
                            cf_rng_below(&cluster->move_rng, 2 * cluster->plan.move_ns_mean);
    check_owners(cluster, key.block, bucket);
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        struct cf_instance *instance = cluster->instances[n];

        if (instance == NULL || !eng_serves(instance, bucket))
            continue;
        if (eng_remaster(instance, bucket, to, cluster->now_ns) == CF_OK) {
            cluster->counts.moves++;
            sim_cluster_due(cluster, (uint16_t)n, cluster->now_ns);
        }
        return;
    }
}

void sim_episodes_end(struct sim_cluster *cluster)
{
    static const struct sim_net_faults calm = {.delay_mean_ns = CF_NS_PER_US};

    sim_net_faults_set(cluster->net, &calm);
    sim_net_heal(cluster->net);
    for (uint32_t a = 0; a < cluster->plan.instances; a++) {
        for (uint32_t b = 0; b < cluster->plan.instances && cluster->plan.faults[SIM_FAULT_SLOW]; b++) {
            if (a != b)
                sim_net_slow(cluster->net, (uint16_t)a, (uint16_t)b, 1);
        }
        sim_net_stall(cluster->net, (uint16_t)a, 0);
    }
    sim_disk_delay_set(cluster->disk, 50 * CF_NS_PER_US);
    cluster->episode_next_ns = cluster->move_next_ns = SIM_NEVER;
}
