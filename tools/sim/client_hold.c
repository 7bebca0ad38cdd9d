/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated caller does with the blocks it holds, and what it checks of them. */
#include "tools/sim/client_impl.h"

/* ---- holding ---- */

static bool look(struct sim_client *client, struct sim_hold *hold, struct sim_content *content_out)
{
    struct sim_cluster *cluster = client->cluster;

    if (sim_content_read(hold->ref.data, hold->ref.bytes, hold->ref.block, content_out))
        return sim_check_seen(cluster->check, client->node, (enum cf_mode)hold->ref.mode, content_out);
    sim_check_break(cluster->check, hold->ref.block,
                    "I-2 block %llu: a client of node %u saw bytes that are not of one version",
                    (unsigned long long)hold->ref.block, client->node);
    return false;
}

static void record(struct sim_client *client, const struct sim_hold *hold, const struct sim_content *written)
{
    struct sim_history_op op = {.block = hold->ref.block,
                                .value = written != NULL ? written->value : hold->seen.value,
                                .replaced = hold->seen.value,
                                .begin_ns = hold->begin_ns,
                                .end_ns = client->cluster->now_ns,
                                .node = client->node,
                                .is_write = written != NULL};

    sim_history_add(client->cluster->history, &op);
    sim_cluster_trace(client->cluster, op.value);
}

static uint64_t hold_time(struct sim_client *client)
{
    const struct sim_plan *plan = &client->cluster->plan;

    return plan->works[SIM_WORK_HOLD] && sim_client_chance(client, 50)
               ? sim_client_spread(client, plan->hold_ns_mean)
               : 0;
}

/* A get has answered CF_OK. */
void sim_client_on_got(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_hold *hold = &client->holds[client->holds_count++];

    *hold = (struct sim_hold){.ref = client->op.ref, .begin_ns = cluster->now_ns};
    cluster->counts.gets++;
    if (!cluster->is_calm) {
        cluster->hot.gets[client->node]++;
        if (cluster->now_ns - client->submitted_ns > cluster->plan.turn_ns)
            cf_hist_add(&cluster->hot.waits, cluster->now_ns - client->submitted_ns);
    }
    if (hold->ref.data == NULL || hold->ref.mode < client->op.mode || hold->ref.block != client->op.block)
        sim_check_break(cluster->check, client->op.block, "API block %llu: node %u got mode %u of block %llu",
                        (unsigned long long)client->op.block, client->node, hold->ref.mode,
                        (unsigned long long)hold->ref.block);
    else if (client->is_new)
        hold->seen = *sim_check_newest(cluster->check, hold->ref.block);
    else
        (void)look(client, hold, &hold->seen);
    if (client->holds_count < client->targets_count) {
        sim_client_submit_get(client);
        return;
    }
    client->state = SIM_CLIENT_HOLDS;
    client->wake_ns = cluster->now_ns + hold_time(client);
}

/* Whole, and the newest at a moment between call and return; the history sees that too. */
void sim_client_on_snapshot(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_content content;
    struct sim_history_op op = {.block = client->op.block,
                                .begin_ns = client->submitted_ns,
                                .end_ns = cluster->now_ns,
                                .node = client->node};

    cluster->counts.snapshots++;
    if (!sim_content_read(client->snapshot, client->op.ref.bytes, op.block, &content)) {
        sim_check_break(cluster->check, op.block,
                        "snapshot of block %llu: node %u got bytes that are not of one version of it",
                        (unsigned long long)op.block, client->node);
    } else if (sim_check_snapshot(cluster->check, client->node, client->counter_before,
                                  client->op.ref.version, &content)) {
        op.value = content.value;
        sim_history_add(cluster->history, &op);
        sim_cluster_trace(cluster, op.value);
    }
    sim_client_rest(client, cluster->plan.think_ns_mean);
}

void sim_client_on_upgraded(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_hold *hold = &client->holds[0];
    struct sim_content now;

    cluster->counts.upgrades++;
    hold->ref = client->op.ref;
    if (look(client, hold, &now) && now.value != hold->seen.value)
        sim_check_break(cluster->check, hold->ref.block,
                        "API block %llu: node %u upgraded, but the block has changed since",
                        (unsigned long long)hold->ref.block, client->node);
    client->intent = SIM_INTENT_WRITE;
    client->state = SIM_CLIENT_HOLDS;
    client->wake_ns = cluster->now_ns + hold_time(client);
}

/* The content that this client's write makes of what it saw. */
static struct sim_content next_content(const struct sim_client *client, const struct sim_hold *hold,
                                       int64_t change)
{
    return (struct sim_content){.block = hold->ref.block,
                                .counter = hold->seen.counter + 1,
                                .value = (uint64_t)(client->node + 1) << 48 | (uint64_t)client->number << 40 |
                                         (client->ops * SIM_GROUP_MAX + (uint64_t)(hold - client->holds) + 1),
                                .replaced = hold->seen.value,
                                .balance = hold->seen.balance + change};
}

static void make_born(struct sim_client *client)
{
    if (client->is_new)
        client->cluster->born[client->targets[0]] = BORN_YES;
    client->is_new = false;
}

/* The instance has stopped because of the crash: what was being changed is served to nobody any more. */
static bool is_stop(const struct sim_cluster *cluster, enum cf_rc rc)
{
    return cluster->crashed != CF_NODE_NONE && cf_rc_class(rc) == CF_CLASS_PEER;
}

static void leave_changed(struct sim_client *client)
{
    for (uint32_t i = 0; i < client->holds_count; i++)
        sim_check_changing(client->cluster->check, client->targets[i], true);
    client->cluster->counts.stopped++;
    client->ended_after_stop++;
    sim_client_give_up(client);
}

void sim_client_finish_write(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_hold *hold = &client->holds[0];
    struct sim_content content = next_content(client, hold, 0);
    enum cf_rc rc;

    sim_content_write(&content, hold->ref.data, hold->ref.bytes, false);
    sim_check_changing(cluster->check, content.block, false);
    rc = cf_dirty(client->session, &hold->ref, 0);
    if (is_stop(cluster, rc)) {
        leave_changed(client);
        return;
    }
    if (rc != CF_OK)
        sim_check_break(cluster->check, content.block, "API block %llu: cf_dirty at node %u answered %s",
                        (unsigned long long)content.block, client->node, cf_rc_name(rc));
    sim_check_written(cluster->check, client->node, hold->ref.version, &content);
    sim_journal_note(cluster->journal, cluster->now_ns, content.block, client->node, "wrote value",
                     content.value);
    record(client, hold, &content);
    cf_put(client->session, &hold->ref);
    make_born(client);
    client->holds_count = 0;
    sim_client_rest(client, cluster->plan.think_ns_mean);
}

static void begin_write(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_hold *hold = &client->holds[0];
    struct sim_content content = next_content(client, hold, 0);

    if (!cluster->plan.works[SIM_WORK_HALVES] || !sim_client_chance(client, 40)) {
        sim_client_finish_write(client);
        return;
    }
    sim_check_changing(cluster->check, hold->ref.block, true);
    sim_content_write(&content, hold->ref.data, hold->ref.bytes, true);
    client->state = SIM_CLIENT_CHANGES;
    client->wake_ns = cluster->now_ns + 1 + sim_client_spread(client, cluster->plan.hold_ns_mean);
}

/* Moves an amount from the first block to the others; the sum over all blocks stays 0. */
static void finish_group(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    int64_t amount = (int64_t)cf_rng_below(&client->rng, 100);
    struct sim_content contents[SIM_GROUP_MAX];
    struct cf_mtr mtr;
    cf_scn version = 0;
    enum cf_rc rc = cf_mtr_begin(client->session, &mtr);

    for (uint32_t i = 0; i < client->holds_count && rc == CF_OK; i++) {
        struct sim_hold *hold = &client->holds[i];
        int64_t change = i == 0 ? -amount * (int64_t)(client->holds_count - 1) : amount;
        struct cf_ref ref = hold->ref;

        contents[i] = next_content(client, hold, change);
        sim_content_write(&contents[i], hold->ref.data, hold->ref.bytes, false);
        if (cf_mtr_add(&mtr, &ref) < 0)
            rc = CF_INVALID;
    }
    if (rc == CF_OK)
        rc = cf_mtr_commit(&mtr, 0, &version);
    if (is_stop(cluster, rc)) {
        for (uint32_t i = 0; i < client->holds_count; i++)
            client->holds[i].ref.data = NULL; /* the commit has put them */
        leave_changed(client);
        return;
    }
    if (rc != CF_OK)
        sim_check_break(cluster->check, client->targets[0], "API: a mini-transaction at node %u answered %s",
                        client->node, cf_rc_name(rc));
    for (uint32_t i = 0; i < client->holds_count && rc == CF_OK; i++) {
        sim_check_written(cluster->check, client->node, version, &contents[i]);
        sim_journal_note(cluster->journal, cluster->now_ns, contents[i].block, client->node,
                         "wrote value (group)", contents[i].value);
        record(client, &client->holds[i], &contents[i]);
    }
    cluster->counts.groups++;
    client->holds_count = 0;
    sim_client_rest(client, cluster->plan.think_ns_mean);
}

/* The hold ends: what was read must still stand there. */
void sim_client_end_hold(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    bool is_stopped = cluster->nodes[client->node].is_stopped;
    struct sim_content now;

    if (client->intent == SIM_INTENT_GROUP && !is_stopped) {
        finish_group(client);
        return;
    }
    if (client->intent == SIM_INTENT_WRITE && !is_stopped) {
        begin_write(client);
        return;
    }
    if (client->holds_count == 1 && !client->is_new && look(client, &client->holds[0], &now)) {
        record(client, &client->holds[0], NULL);
        cluster->counts.checked_reads++;
    }
    if (client->intent == SIM_INTENT_UPGRADE && !is_stopped) {
        sim_client_submit(client, CF_OP_UPGRADE, CF_MODE_X);
        return;
    }
    sim_client_give_up(client);
}
