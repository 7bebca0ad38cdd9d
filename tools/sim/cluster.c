/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/cluster.h"

#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"
#include "grd/mutant.h"

/* Turns of an instance in a row at one moment: more is work that never ends (I-16). */
#define TURNS_MAX 10000u
/* What eng_next_ns may ask for at once is given after this long, so that time goes on. */
#define TICK_NS 1000u
/* Between two looks at the directories of a large cluster. */
#define SAMPLE_NS (50 * CF_NS_PER_MS)
/* Of a failing block, and of all blocks. */
#define JOURNAL_BLOCK_MAX 80u
#define JOURNAL_ANY_MAX 40u
#define NODES_SHOWN_MAX 16u

#define ULL(x) ((unsigned long long)(x))

void sim_cluster_break(struct sim_cluster *cluster, const char *format, ...)
{
    va_list arguments;

    if (cluster->is_broken)
        return;
    if (cluster->locks && cluster->locks->trial) /* the run itself will meet it, if it is one */
        sim_lock_trial_give_up();
    cluster->is_broken = true;
    va_start(arguments, format);
    vsnprintf(cluster->broken, sizeof(cluster->broken), format, arguments);
    va_end(arguments);
}

void sim_cluster_trace(struct sim_cluster *cluster, uint64_t word)
{
    cluster->trace = cf_mix64(cluster->trace ^ cluster->now_ns, word);
}

void sim_cluster_due(struct sim_cluster *cluster, uint16_t node, uint64_t at_ns)
{
    struct sim_node_state *state = &cluster->nodes[node];

    if (at_ns < state->due_ns)
        state->due_ns = at_ns;
    if (at_ns < cluster->tree.times[node])
        sim_tree_set(&cluster->tree, node, at_ns);
}

static bool is_sound(struct sim_cluster *cluster)
{
    uint64_t block;
    const char *disk = sim_disk_broken(cluster->disk);
    const char *net = sim_net_broken(cluster->net);

    if (disk != NULL)
        sim_cluster_break(cluster, "%s", disk);
    if (net != NULL)
        sim_cluster_break(cluster, "%s", net);
    return !cluster->is_broken && sim_check_broken(cluster->check, &block) == NULL;
}

static void note_stop(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    enum cf_rc rc;

    if (state->is_stopped)
        return;
    rc = cf_state(state->instance, NULL);
    if (rc == CF_OK)
        return;
    if (cluster->crashed == CF_NODE_NONE || rc != CF_PEER_LOST)
        sim_cluster_break(cluster, "node %u has stopped with %s", node, cf_rc_name(rc));
    state->is_stopped = true;
    sim_disk_stop(cluster->disk, node);
    sim_journal_note(cluster->journal, cluster->now_ns, UINT64_MAX, node, "has stopped", 0);
}

static void run_engine(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    uint32_t turns = 0;
    bool worked = true;

    while (worked && turns++ < TURNS_MAX) {
        worked = eng_turn(state->instance, cluster->now_ns);
        cluster->counts.turns++;
        if (cluster->is_open && !sim_check_turn(cluster->check, state->instance, node))
            return;
        if (!is_sound(cluster))
            return;
    }
    if (worked)
        sim_cluster_break(cluster, "I-16 node %u works on and on at one moment", node);
}

static void run_clients(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    bool acted = false;

    for (uint32_t i = 0; state->clients != NULL && i < cluster->plan.clients && is_sound(cluster); i++) {
        if (!sim_client_turn(&state->clients[i]))
            continue;
        acted = true; /* a call may take steps of the protocol at once */
        if (!sim_check_turn(cluster->check, state->instance, node))
            return;
    }
    if (cluster->is_open && cluster->plan.lockers != 0 && is_sound(cluster) &&
        sim_locks_turn(cluster, node)) {
        acted = true;
        if (!sim_check_turn(cluster->check, state->instance, node))
            return;
    }
    if (acted)
        state->due_ns = cluster->now_ns + 1 + cf_rng_below(&cluster->rng, cluster->plan.turn_ns);
}

static uint64_t next_of(struct sim_cluster *cluster, uint16_t node)
{
    const struct sim_node_state *state = &cluster->nodes[node];
    uint64_t next_ns = eng_next_ns(state->instance);
    uint64_t disk_ns = sim_disk_next_ns(cluster->disk, node);

    if (next_ns <= cluster->now_ns)
        next_ns = cluster->now_ns + TICK_NS;
    if (disk_ns < next_ns)
        next_ns = disk_ns;
    if (state->due_ns < next_ns)
        next_ns = state->due_ns;
    for (uint32_t i = 0; state->clients != NULL && i < cluster->plan.clients; i++) {
        if (sim_client_next_ns(&state->clients[i]) < next_ns)
            next_ns = sim_client_next_ns(&state->clients[i]);
    }
    if (cluster->plan.lockers != 0 && sim_locks_next_ns(cluster, node) < next_ns)
        next_ns = sim_locks_next_ns(cluster, node);
    return next_ns;
}

static void run_node(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_node_state *state = &cluster->nodes[node];
    uint64_t stalled_ns = sim_net_stalled_until(cluster->net, node);

    if (state->is_crashed || state->instance == NULL) {
        sim_tree_set(&cluster->tree, node, SIM_NEVER);
        return;
    }
    if (stalled_ns > cluster->now_ns) {
        sim_tree_set(&cluster->tree, node, stalled_ns);
        return;
    }
    state->due_ns = SIM_NEVER;
    run_engine(cluster, node);
    if (!is_sound(cluster))
        return;
    note_stop(cluster, node);
    run_clients(cluster, node);
    note_stop(cluster, node);
    sim_tree_set(&cluster->tree, node, next_of(cluster, node));
}

bool sim_cluster_until(struct sim_cluster *cluster, uint64_t end_ns,
                       bool (*until)(struct sim_cluster *cluster))
{
    while (is_sound(cluster)) {
        uint64_t net_ns = sim_net_next_ns(cluster->net);
        uint64_t tree_ns = sim_tree_first_time(&cluster->tree);
        uint64_t next_ns = net_ns < tree_ns ? net_ns : tree_ns;
        uint16_t node = net_ns < tree_ns ? sim_net_next_node(cluster->net)
                                         : (uint16_t)sim_tree_first(&cluster->tree);
        bool is_episode = cluster->episode_next_ns < next_ns;
        bool is_move;

        if (is_episode)
            next_ns = cluster->episode_next_ns;
        is_move = cluster->move_next_ns < next_ns;
        if (is_move)
            next_ns = cluster->move_next_ns;
        if (cluster->locks->trial) { /* in a copy time goes on whatever the phase, and ends here */
            end_ns = cluster->locks->trial_end_ns;
            if (next_ns > end_ns)
                cluster->now_ns = end_ns;
            sim_lock_trial_look(cluster);
        }
        if (next_ns > end_ns)
            return true;
        if (next_ns > cluster->now_ns)
            cluster->now_ns = next_ns;
        sim_net_advance(cluster->net, cluster->now_ns);
        sim_disk_advance(cluster->disk, cluster->now_ns);
        if (is_move)
            sim_move(cluster);
        else if (is_episode)
            sim_episode(cluster);
        else
            run_node(cluster, node);
        if (cluster->now_ns >= cluster->sample_next_ns) {
            cluster->sample_next_ns = cluster->now_ns + SAMPLE_NS;
            if (!sim_check_sample(cluster->check, cluster->instances))
                return false;
        }
        if (cluster->locks->trial)
            sim_lock_trial_look(cluster);
        else if (until != NULL && until(cluster))
            return is_sound(cluster);
    }
    if (cluster->locks->trial)
        sim_lock_trial_give_up();
    return false;
}

/* ---- one run ---- */

static void observe(void *arg, const struct sim_seen *seen)
{
    struct sim_cluster *cluster = arg;

    sim_journal_observe(cluster->journal, seen);
    if (cluster->check != NULL)
        sim_check_message(cluster->check, seen);
}

static bool open_parts(struct sim_cluster *cluster)
{
    const struct sim_plan *plan = &cluster->plan;
    struct sim_disk_options disk = {.nodes = plan->instances,
                                    .file_id = SIM_FILE_ID,
                                    .block_bytes = SIM_BLOCK_BYTES,
                                    .blocks = plan->blocks,
                                    .seed = plan->options.seed ^ 0xd15c,
                                    .delay_floor_ns = 10 * CF_NS_PER_US,
                                    .delay_mean_ns = plan->disk_ns_mean};
    struct sim_check_options check = {.nodes = plan->instances,
                                      .file_id = SIM_FILE_ID,
                                      .generation = 1,
                                      .block_bytes = SIM_BLOCK_BYTES,
                                      .blocks = plan->blocks,
                                      .is_sampled = sim_plan_is_sampled(plan)};

    cluster->plan.net.serves_stale = grd_mutant(GRD_MUT_STALE_EPOCH);
    cluster->crashed = CF_NODE_NONE;
    cluster->episode_next_ns = cluster->move_next_ns = SIM_NEVER;
    cf_rng_seed(&cluster->move_rng, plan->options.seed ^ 0x6d6f7665);
    cf_rng_seed(&cluster->rng, plan->options.seed ^ 0xc1057e5);
    cluster->nodes = calloc(plan->instances, sizeof(*cluster->nodes));
    cluster->instances = calloc(plan->instances, sizeof(struct cf_instance *));
    cluster->sample_next_ns = SIM_NEVER;
    cluster->born = calloc(plan->blocks, sizeof(*cluster->born));
    cluster->history = sim_history_open();
    cluster->journal = sim_journal_open(plan->instances);
    if (cluster->nodes == NULL || cluster->instances == NULL || cluster->born == NULL ||
        cluster->history == NULL || cluster->journal == NULL ||
        !sim_tree_open(&cluster->tree, plan->instances) || !sim_locks_open(cluster) ||
        sim_net_open(&plan->net, &cluster->net) != CF_OK || sim_disk_open(&disk, &cluster->disk) != CF_OK)
        return false;
    check.has_moves = plan->move_ns_mean != 0 || plan->moves_by_use;
    check.disk = cluster->disk;
    check.instances = cluster->instances;
    cluster->check = sim_check_open(&check);
    sim_net_observe(cluster->net, observe, cluster);
    for (uint32_t b = 0; b < plan->blocks_born; b++)
        cluster->born[b] = 2;
    return cluster->check != NULL;
}

static void close_parts(struct sim_cluster *cluster)
{
    for (uint32_t n = 0; cluster->nodes != NULL && n < cluster->plan.instances; n++) {
        struct sim_node_state *state = &cluster->nodes[n];

        if (cluster->disk != NULL)
            sim_disk_crash(cluster->disk, (uint16_t)n);
        if (state->instance != NULL)
            eng_close_manual(&state->instance);
        free(state->clients);
    }
    sim_net_close(&cluster->net);
    sim_disk_close(&cluster->disk);
    sim_check_close(&cluster->check);
    sim_history_close(&cluster->history);
    sim_journal_close(&cluster->journal);
    sim_locks_close(cluster);
    if (cluster->tree.times != NULL)
        sim_tree_close(&cluster->tree);
    free(cluster->nodes);
    free(cluster->instances);
    free(cluster->born);
}

/* What each instance would do next, and what its clients are at. */
static void explain_nodes(struct sim_cluster *cluster, FILE *out)
{
    static const char *const states[] = {"rests", "waits", "holds", "changes", "ended"};

    for (uint32_t n = 0; n < cluster->plan.instances && n < NODES_SHOWN_MAX; n++) {
        struct sim_node_state *state = &cluster->nodes[n];

        if (state->instance == NULL)
            continue;
        fprintf(out,
                "  node %u: next turn %llu, its own next %llu, network %llu, storage %llu, stalled until "
                "%llu; clients:",
                n, ULL(cluster->tree.times[n]), ULL(eng_next_ns(state->instance)),
                ULL(sim_net_node_next_ns(cluster->net, (uint16_t)n)),
                ULL(sim_disk_next_ns(cluster->disk, (uint16_t)n)),
                ULL(sim_net_stalled_until(cluster->net, (uint16_t)n)));
        for (uint32_t i = 0; state->clients != NULL && i < cluster->plan.clients; i++) {
            const struct sim_client *c = &state->clients[i];

            fprintf(out, " %s", states[c->state]);
            if (c->state == SIM_CLIENT_WAITS)
                fprintf(out, " (block %llu mode %u, holds %u)", ULL(c->op.block), (unsigned)c->op.mode,
                        c->holds_count);
            else if (c->state != SIM_CLIENT_ENDED)
                fprintf(out, " (block %llu, until %llu)", ULL(c->op.block), ULL(c->wake_ns));
        }
        fprintf(out, "\n");
    }
}

static void explain(struct sim_cluster *cluster, FILE *out)
{
    uint64_t block = UINT64_MAX;
    const char *text = sim_check_broken(cluster->check, &block);

    fprintf(out, "broken at %llu ns: %s\n", (unsigned long long)cluster->now_ns,
            text != NULL ? text : cluster->broken);
    if (block < cluster->plan.blocks)
        sim_check_dump(cluster->check, block, out);
    explain_nodes(cluster, out);
    sim_journal_dump(cluster->journal, block, block == UINT64_MAX ? JOURNAL_ANY_MAX : JOURNAL_BLOCK_MAX, out);
}

/* The assertion of an engine has failed: what was under way, before the process ends. */
static void dump_on_assert(void *arg, FILE *out)
{
    struct sim_cluster *cluster = arg;

    fprintf(out, "at %llu ns of the simulation\n", (unsigned long long)cluster->now_ns);
    sim_journal_dump(cluster->journal, UINT64_MAX, JOURNAL_ANY_MAX, out);
}

static void collect(struct sim_cluster *cluster, struct sim_result *result)
{
    struct sim_net_counters net = *sim_net_counters(cluster->net);

    result->events = cluster->counts.turns + net.delivered;
    result->trace = cf_mix64(sim_net_trace(cluster->net), cluster->trace);
    result->counts = cluster->counts;
    result->hot = cluster->hot;
    result->own = cluster->own;
    result->history_count = sim_history_count(cluster->history);
    result->checks = sim_check_count(cluster->check);
    result->virtual_ns = cluster->now_ns;
    result->lock_grants = cluster->locks->grants;
    result->lock_values = cluster->locks->values;
    result->lock_swaps = cluster->locks->swaps;
    result->lock_reads = cluster->locks->reads;
    result->lock_deadlocks = cluster->locks->deadlocks;
    result->lock_stuck_ns_max = cluster->locks->stuck_ns_max;
    result->lock_trials = cluster->locks->trials;
    result->lock_trials_open = cluster->locks->trials_open;
    result->net = net;
    result->stats.size = sizeof(result->stats);
    for (uint32_t n = 0; n < cluster->plan.instances; n++) {
        struct cf_stats stats = {.size = sizeof(stats)};

        if (cluster->nodes[n].instance == NULL || cf_stats_read(cluster->nodes[n].instance, &stats) != CF_OK)
            continue;
#define CF_STAT(name, text) result->stats.name += stats.name;
#define CF_LATENCY(name, text)
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
    }
}

void sim_cluster_run(const struct sim_plan *plan, FILE *out, struct sim_result *result)
{
    struct sim_cluster *cluster = calloc(1, sizeof(*cluster));
    struct cf_assert_context context = {.dump = dump_on_assert, .arg = cluster};

    cf_assert(cluster != NULL);
    memset(result, 0, sizeof(*result));
    cluster->plan = *plan;
    cf_hist_init(&cluster->hot.waits);
    if (!open_parts(cluster)) {
        fprintf(out, "no memory for the simulation\n");
        close_parts(cluster);
        free(cluster);
        return;
    }
    cf_assert_context_push(&context);
    result->ok = sim_phase_open(cluster) && sim_phase_work(cluster) &&
                 (plan->options.crash ? sim_phase_crash(cluster)
                                      : sim_phase_calm(cluster) && sim_phase_audit(cluster));
    result->ok = result->ok && is_sound(cluster);
    collect(cluster, result);
    if (!result->ok)
        explain(cluster, out);
    cf_assert_context_pop(&context);
    close_parts(cluster);
    free(cluster);
}
