/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a run consists of:
 *
 *   open --> work (faults) --> calm (no faults, nothing new; all must end: I-16) --> audit (every block read once
 *   more, everything flushed, nothing left over: I-3 equal, I-28, bank sum, history)
 *
 *   open --> work --> crash (one instance dies; the others must stop as they promise)
 */
#include <stdlib.h>

#include "base/assert.h"
#include "base/clock.h"
#include "tools/sim/cluster.h"

/* Virtual time within which all members connect; everything ends once faults have ceased; survivors have stopped. */
#define OPEN_S_MAX 60u
#define CALM_S_MAX 20u
#define STOP_S_MAX 5u
/* Large clusters are looked at after this long instead of at every event. */
#define SETTLE_S 2u
/* Small, since every transfer of an instance has a buffer of the largest block size. */
#define IO_DEPTH 8u
/* The fewest that options allow; edges of all locks of the cluster. */
#define CLAIMS_MIN 16u
#define DEADLOCK_EDGES 4096u
/* How long survivors are watched after the last of them has stopped. */
#define WATCH_NS (5 * CF_NS_PER_MS)

static void fill_options(const struct sim_plan *plan, uint16_t node, struct cf_options *options)
{
    struct cf_error error = {0};

    cf_options_init(options);
    cf_assert(cf_options_set(options, "cluster", "simulated", &error) == CF_OK);
    cf_assert(cf_options_set(options, "secret", "of the simulation", &error) == CF_OK);
    cf_assert(cf_options_set(options, "transport", "sim:", &error) == CF_OK);
    options->node = node;
    options->nodes = plan->instances;
    options->incarnation = 1;
    options->cache_bytes = 0;
    options->cache_2k_bytes = (uint64_t)plan->frames * SIM_BLOCK_BYTES;
    options->buckets = plan->buckets;
    options->shards = plan->shards;
    options->sessions = plan->clients + plan->lockers + 1;
    options->files = 2;
    options->locks = plan->lockers != 0 ? SIM_LOCKS_MAX : 0;
    options->claims = CLAIMS_MIN + plan->lockers * SIM_LOCKER_HELD_MAX;
    options->deadlock_edges = DEADLOCK_EDGES;
    options->deadlock_after = plan->deadlock_after_ns;
    options->deadlock_period = plan->deadlock_period_ns;
    options->outstanding = plan->outstanding;
    options->io_depth = IO_DEPTH;
    options->past_images = plan->past_images;
    options->lane_slots = plan->lane_slots;
    options->ship_checksum = plan->ship_checksum;
    options->speculative_read = plan->speculative_read;
    options->resend = plan->resend_ns;
    options->remaster = plan->moves_by_use ? 1 : 2;
    options->remaster_period = plan->options.own != 0 ? SIM_OWN_PERIOD_NS : CF_NS_PER_MS;
    options->remaster_rest = 10 * CF_NS_PER_MS;
    options->remaster_gap = 0;
    options->residency = plan->residency_ns;
    options->dirty_age = plan->dirty_age_ns;
    options->peer_timeout = 600 * CF_NS_PER_S;
    options->hugepages = 1; /* off */
    options->trace = 0;
}

static bool open_node(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    struct eng_manual manual = {.network = cluster->net,
                                .store = sim_disk_store(cluster->disk, node),
                                .directory_entries = cluster->plan.directory_entries,
                                .export_window = cluster->plan.export_window,
                                .victim = sim_lock_trial,
                                .victim_context = cluster};
    struct cf_options options;
    struct cf_error error = {0};
    enum cf_rc rc;

    fill_options(&cluster->plan, node, &options);
    rc = eng_open_manual(&options, NULL, &manual, &state->instance, &error);
    if (rc != CF_OK) {
        sim_cluster_break(cluster, "node %u did not open: %s: %s", node, cf_rc_name(rc), error.text);
        return false;
    }
    cluster->instances[node] = state->instance;
    state->due_ns = SIM_NEVER;
    sim_cluster_due(cluster, node, 0);
    return true;
}

static bool all_open(struct sim_cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (!eng_is_open(cluster->nodes[n].instance))
            return false;
    }
    return true;
}

static bool open_clients(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    enum cf_rc rc = eng_attach_manual(state->instance, SIM_FILE_ID, SIM_BLOCK_BYTES, cluster->plan.blocks,
                                      sim_disk_file(cluster->disk, node), &state->file);

    state->clients = calloc(cluster->plan.clients, sizeof(*state->clients));
    cf_assert(state->clients != NULL);
    for (uint32_t i = 0; i < cluster->plan.clients && rc == CF_OK; i++) {
        sim_client_open(cluster, &state->clients[i], node, (uint16_t)i);
        rc = cf_session_open(state->instance, &state->clients[i].session);
        sim_cluster_due(cluster, node, sim_client_next_ns(&state->clients[i]));
    }
    if (rc != CF_OK)
        sim_cluster_break(cluster, "node %u: attach or session: %s", node, cf_rc_name(rc));
    return rc == CF_OK && sim_locks_open_node(cluster, node);
}

bool sim_phase_open(struct sim_cluster *cluster)
{
    struct sim_net_faults calm = {.delay_mean_ns = CF_NS_PER_US};

    sim_net_faults_set(cluster->net, &calm);
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (!open_node(cluster, (uint16_t)n))
            return false;
    }
    if (!sim_cluster_until(cluster, OPEN_S_MAX * CF_NS_PER_S, all_open))
        return false;
    if (!all_open(cluster)) {
        sim_cluster_break(cluster, "I-16 the members have not connected within %u s", OPEN_S_MAX);
        return false;
    }
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (!open_clients(cluster, (uint16_t)n))
            return false;
    }
    cluster->is_open = true;
    if (sim_plan_is_sampled(&cluster->plan))
        cluster->sample_next_ns = cluster->now_ns;
    return sim_check_masters(cluster->check, cluster->instances);
}

static bool ops_done(struct sim_cluster *cluster)
{
    return cluster->plan.options.ops_max != 0 && cluster->counts.ops >= cluster->plan.options.ops_max;
}

static bool work_own(struct sim_cluster *cluster)
{
    struct sim_own *own = &cluster->own;
    uint64_t begin_ns = cluster->now_ns, run_ns = cluster->plan.options.run_ns;

    if (!sim_cluster_until(cluster, begin_ns + run_ns / 10, NULL))
        return false;
    sim_own_count(cluster, &own->first);
    if (!sim_cluster_until(cluster, begin_ns + run_ns / 2, NULL))
        return false;
    sim_own_count(cluster, &own->half);
    if (!sim_cluster_until(cluster, begin_ns + run_ns, NULL))
        return false;
    sim_own_count(cluster, &own->end);
    return true;
}

bool sim_phase_work(struct sim_cluster *cluster)
{
    uint64_t begin_ns = cluster->now_ns;
    bool good;

    sim_net_faults_set(cluster->net, &cluster->plan.net.faults);
    cluster->episode_next_ns = cluster->now_ns;
    if (cluster->plan.move_ns_mean != 0)
        cluster->move_next_ns = cluster->now_ns + 1;
    good = cluster->plan.options.own != 0
               ? work_own(cluster)
               : sim_cluster_until(cluster, begin_ns + cluster->plan.options.run_ns, ops_done);
    cluster->hot.work_ns = cluster->now_ns - begin_ns;
    return good;
}

/* ---- calm ---- */

static bool clients_ended(struct sim_cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        for (uint32_t i = 0; i < cluster->plan.clients && !cluster->nodes[n].is_crashed; i++) {
            if (cluster->nodes[n].clients[i].state != SIM_CLIENT_ENDED)
                return false;
        }
    }
    return sim_locks_ended(cluster);
}

static bool is_quiet(struct sim_cluster *cluster)
{
    char text[200];

    for (uint32_t n = 0; n < cluster->plan.instances; n++)
        if (cluster->instances[n] != NULL && !eng_moves_are_quiet(cluster->instances[n]))
            return false;
    return sim_net_next_ns(cluster->net) == SIM_NEVER &&
           sim_check_is_quiet(cluster->check, text, sizeof(text));
}

static bool end_clients(struct sim_cluster *cluster)
{
    uint64_t end_ns = cluster->now_ns + CALM_S_MAX * CF_NS_PER_S;

    for (uint32_t n = 0; n < cluster->plan.instances; n++)
        sim_cluster_due(cluster, (uint16_t)n, cluster->now_ns);
    if (!sim_cluster_until(cluster, end_ns, clients_ended))
        return false;
    for (uint32_t n = 0; n < cluster->plan.instances && !clients_ended(cluster); n++) {
        for (uint32_t i = 0; i < cluster->plan.clients; i++) {
            const struct sim_client *client = &cluster->nodes[n].clients[i];

            if (client->state == SIM_CLIENT_ENDED || cluster->nodes[n].is_crashed)
                continue;
            sim_check_break(cluster->check, client->op.block,
                            "I-16 block %llu: a call (kind %u, mode %u) of node %u from %llu ns has not "
                            "ended %u s after the faults",
                            (unsigned long long)client->op.block, client->op.kind, client->op.mode, n,
                            (unsigned long long)client->submitted_ns, CALM_S_MAX);
            return false;
        }
    }
    if (!sim_locks_ended(cluster)) {
        sim_cluster_break(cluster, "I-16 a call of a lock has not ended %u s after the faults", CALM_S_MAX);
        return false;
    }
    return true;
}

/* Members say nothing that another member must refuse; a peer that was refused would be cut off or ignored. */
static bool nothing_is_refused(struct sim_cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        struct cf_stats stats = {.size = sizeof stats};

        if (cluster->instances[n] == NULL)
            continue;
        if (cf_stats_read(cluster->instances[n], &stats) != CF_OK || stats.bad_messages != 0) {
            sim_cluster_break(cluster, "node %u refused %llu messages of members", n,
                              (unsigned long long)stats.bad_messages);
            return false;
        }
    }
    return true;
}

static bool wait_quiet(struct sim_cluster *cluster)
{
    bool is_sampled = cluster->sample_next_ns != SIM_NEVER;
    char text[200] = "";

    if (!sim_cluster_until(cluster, cluster->now_ns + (is_sampled ? SETTLE_S : CALM_S_MAX) * CF_NS_PER_S,
                           is_sampled ? NULL : is_quiet))
        return false;
    if (is_sampled && !sim_check_sample(cluster->check, cluster->instances))
        return false;
    if (!sim_check_is_quiet(cluster->check, text, sizeof(text))) {
        sim_cluster_break(cluster, "I-16 not quiet %u s after the faults: %s", CALM_S_MAX, text);
        return false;
    }
    return sim_check_equal(cluster->check) && sim_check_cold(cluster->check) && nothing_is_refused(cluster);
}

bool sim_phase_calm(struct sim_cluster *cluster)
{
    cluster->is_calm = true;
    sim_episodes_end(cluster);
    return end_clients(cluster) && wait_quiet(cluster);
}

/* ---- audit ---- */

static bool run_order(struct sim_cluster *cluster, uint16_t node, enum sim_intent intent, uint64_t block)
{
    struct sim_client *client = &cluster->nodes[node].clients[0];

    sim_client_order(client, intent, block);
    sim_cluster_due(cluster, node, cluster->now_ns);
    if (!sim_cluster_until(cluster, cluster->now_ns + CALM_S_MAX * CF_NS_PER_S, clients_ended))
        return false;
    if (!clients_ended(cluster)) {
        sim_check_break(cluster->check, block, "I-16 block %llu: the audit's call at node %u does not end",
                        (unsigned long long)block, node);
        return false;
    }
    return true;
}

static bool read_all(struct sim_cluster *cluster)
{
    int64_t sum = 0;

    for (uint64_t b = 0; b < cluster->plan.blocks; b++) {
        if (!run_order(cluster, (uint16_t)(b % cluster->plan.instances), SIM_INTENT_READ, b))
            return false;
        sum += sim_check_newest(cluster->check, b)->balance;
    }
    if (sum != 0)
        sim_cluster_break(cluster, "bank: the balances of all blocks add up to %lld, not 0", (long long)sum);
    return sum == 0;
}

static bool is_durable(struct sim_cluster *cluster)
{
    char text[200];

    return sim_check_is_durable(cluster->check, text, sizeof(text));
}

static bool flush_all(struct sim_cluster *cluster)
{
    char text[200] = "";

    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (!run_order(cluster, (uint16_t)n, SIM_INTENT_FLUSH, UINT64_MAX))
            return false;
    }
    if (!sim_cluster_until(cluster, cluster->now_ns + CALM_S_MAX * CF_NS_PER_S, is_durable))
        return false;
    if (!sim_check_is_durable(cluster->check, text, sizeof(text))) {
        sim_cluster_break(cluster, "I-16 not durable %u s after every instance has flushed: %s", CALM_S_MAX,
                          text);
        return false;
    }
    return true;
}

static bool check_pools(struct sim_cluster *cluster)
{
    char text[200] = "";

    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        uint64_t twice = eng_refused_twice(cluster->nodes[n].instance);

        if (twice != 0) {
            sim_cluster_break(cluster, "G-17 node %u: %llu readers lost their grant to a writer again", n,
                              (unsigned long long)twice);
            return false;
        }
        if (eng_leaks(cluster->nodes[n].instance, text, sizeof(text)) != 0) {
            sim_cluster_break(cluster, "I-28 node %u: %s", n, text);
            return false;
        }
    }
    if (!sim_net_check(cluster->net, text, sizeof(text))) {
        sim_cluster_break(cluster, "%s", text);
        return false;
    }
    return true;
}

static bool check_history(struct sim_cluster *cluster)
{
    char text[400] = "";

    if (sim_history_check(cluster->history, text, sizeof(text)))
        return true;
    sim_cluster_break(cluster, "%s", text);
    return false;
}

bool sim_phase_audit(struct sim_cluster *cluster)
{
    return read_all(cluster) && flush_all(cluster) && wait_quiet(cluster) && check_pools(cluster) &&
           check_history(cluster);
}

/* ---- crash ---- */

static bool all_stopped(struct sim_cluster *cluster)
{
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        if (!cluster->nodes[n].is_crashed && !cluster->nodes[n].is_stopped)
            return false;
    }
    return true;
}

/* The stop rule: until recovery exists the others serve and write nothing from the moment they know. */
bool sim_phase_crash(struct sim_cluster *cluster)
{
    uint16_t gone = (uint16_t)cf_rng_below(&cluster->rng, cluster->plan.instances);
    struct sim_node_state *state = &cluster->nodes[gone];

    sim_episodes_end(cluster);
    cluster->crashed = gone;
    sim_net_crash(cluster->net, gone);
    sim_disk_crash(cluster->disk, gone);
    sim_check_gone(cluster->check, gone);
    state->is_crashed = true;
    eng_close_manual(&state->instance);
    cluster->instances[gone] = NULL;
    if (!sim_cluster_until(cluster, cluster->now_ns + STOP_S_MAX * CF_NS_PER_S, all_stopped))
        return false;
    if (!all_stopped(cluster)) {
        sim_cluster_break(cluster, "stop rule: not all survivors have learned of the loss within %u s",
                          STOP_S_MAX);
        return false;
    }
    if (!sim_cluster_until(cluster, cluster->now_ns + WATCH_NS, NULL))
        return false;
    cluster->is_calm = true;
    return end_clients(cluster) && check_history(cluster);
}
