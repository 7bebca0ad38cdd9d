/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Simulated callers of the public, asynchronous API.
 *
 *   IDLE --submit--> WAITS --done--> HOLDS --(upgrade: WAITS again)--> [CHANGES] --put--> IDLE
 *
 * The interval in which a client says it held a block goes to the history; what it saw and wrote to the ghosts.
 */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "tools/sim/cluster.h"

#define BORN_NOT 0u
/* Who holds blocks does not wait for ever: all conversations may be taken by who waits for these (docs/limits.md). */
#define HOLDING_NS_MAX UINT64_C(1000000000)
#define BORN_MAKING 1u
#define BORN_YES 2u
/* Calls a client still makes after its instance has stopped, to see that they are refused. */
#define CALLS_AFTER_STOP 3u
#define HOT_BLOCKS 2u

static bool chance(struct sim_client *client, uint32_t percent)
{
    return cf_rng_below(&client->rng, 100) < percent;
}

/* Uniform around the mean: enough spread, no tail that would stretch a run. */
static uint64_t spread(struct sim_client *client, uint64_t mean_ns)
{
    return cf_rng_below(&client->rng, 2 * mean_ns + 1);
}

static void rest(struct sim_client *client, uint64_t mean_ns)
{
    client->state = SIM_CLIENT_IDLE;
    client->wake_ns = client->cluster->now_ns + 1 + spread(client, mean_ns);
}

void sim_client_open(struct sim_cluster *cluster, struct sim_client *client, uint16_t node, uint16_t number)
{
    memset(client, 0, sizeof(*client));
    client->cluster = cluster;
    client->node = node;
    client->number = number;
    cf_rng_seed(&client->rng,
                cluster->plan.options.seed ^ ((uint64_t)node << 32 | number) ^ UINT64_C(0xc11e47));
    rest(client, cluster->plan.think_ns_mean);
}

uint64_t sim_client_next_ns(const struct sim_client *client)
{
    return client->wake_ns;
}

/* ---- choosing ---- */

static uint64_t choose_block(struct sim_client *client)
{
    const struct sim_cluster *cluster = client->cluster;
    uint64_t count = cluster->plan.blocks;
    uint64_t block;

    if (cluster->plan.works[SIM_WORK_HOT] && count > HOT_BLOCKS && chance(client, 80))
        count = HOT_BLOCKS;
    if (cluster->plan.options.own != 0 && chance(client, cluster->plan.options.own - 1))
        return sim_own_block(&cluster->plan, client->node, cf_rng_next(&client->rng));
    block = cf_rng_below(&client->rng, count);
    return cluster->born[block] == BORN_YES ? block : cf_rng_below(&client->rng, cluster->plan.blocks_born);
}

static enum sim_intent choose_intent(struct sim_client *client)
{
    const bool *works = client->cluster->plan.works;
    uint32_t hot = client->cluster->plan.options.hot;

    if (client->cluster->plan.options.own != 0)
        return chance(client, 50) ? SIM_INTENT_WRITE : SIM_INTENT_READ;
    if (hot != 0)
        return chance(client, hot - 1) ? SIM_INTENT_WRITE : SIM_INTENT_READ;
    for (;;) {
        switch (cf_rng_below(&client->rng, 16)) {
        case 0:
            if (works[SIM_WORK_LOOK])
                return SIM_INTENT_LOOK;
            break;
        case 1:
            if (works[SIM_WORK_FLUSH] && chance(client, 10))
                return SIM_INTENT_FLUSH;
            break;
        case 2:
        case 3:
            if (works[SIM_WORK_GROUP])
                return SIM_INTENT_GROUP;
            break;
        case 4:
        case 5:
        case 6:
            if (works[SIM_WORK_UPGRADE])
                return SIM_INTENT_UPGRADE;
            break;
        case 7:
        case 8:
        case 9:
        case 10:
            if (works[SIM_WORK_WRITE])
                return SIM_INTENT_WRITE;
            break;
        case 11:
        case 12:
        case 13:
            if (works[SIM_WORK_SNAPSHOT])
                return SIM_INTENT_SNAPSHOT;
            break;
        default:
            if (works[SIM_WORK_READ])
                return SIM_INTENT_READ;
            if (works[SIM_WORK_WRITE])
                return SIM_INTENT_WRITE;
            break;
        }
    }
}

static void choose_targets(struct sim_client *client)
{
    uint32_t wanted = 1;

    if (client->intent == SIM_INTENT_GROUP)
        wanted = 2 + (uint32_t)cf_rng_below(&client->rng, SIM_GROUP_MAX - 1);
    client->targets_count = 0;
    for (uint32_t tries = 0; tries < 8 && client->targets_count < wanted; tries++) {
        uint64_t block = choose_block(client);
        uint32_t at = 0;

        while (at < client->targets_count && client->targets[at] < block)
            at++;
        if (at < client->targets_count && client->targets[at] == block)
            continue;
        memmove(&client->targets[at + 1], &client->targets[at],
                (client->targets_count - at) * sizeof(uint64_t));
        client->targets[at] = block;
        client->targets_count++;
    }
}

/* A block that nobody has made yet, if this client is to make one now. */
static bool choose_new(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;

    if (!cluster->plan.works[SIM_WORK_NEW] || !chance(client, 5))
        return false;
    for (uint64_t b = cluster->plan.blocks_born; b < cluster->plan.blocks; b++) {
        if (cluster->born[b] != BORN_NOT)
            continue;
        cluster->born[b] = BORN_MAKING;
        client->is_new = true;
        client->intent = SIM_INTENT_WRITE;
        client->targets[0] = b;
        client->targets_count = 1;
        return true;
    }
    return false;
}

/* ---- calling ---- */

/* The end of a call that was refused or lost: everything held is put, the client tries something else. */
static void give_up(struct sim_client *client)
{
    for (uint32_t i = 0; i < client->holds_count; i++) {
        if (client->holds[i].ref.data != NULL)
            cf_put(client->session, &client->holds[i].ref);
    }
    client->holds_count = 0;
    rest(client, client->cluster->plan.think_ns_mean);
}

static void submit(struct sim_client *client, enum cf_op_kind kind, enum cf_mode mode)
{
    struct sim_cluster *cluster = client->cluster;
    const struct sim_plan *plan = &cluster->plan;
    struct cf_op *op = &client->op;
    struct cf_ref ref = kind == CF_OP_UPGRADE ? client->holds[0].ref : (struct cf_ref){0};
    enum cf_rc rc;

    memset(op, 0, sizeof(*op));
    op->kind = kind;
    op->file = cluster->nodes[client->node].file;
    op->block = client->holds_count < client->targets_count ? client->targets[client->holds_count] : 0;
    op->mode = mode;
    op->deadline_ns = CF_FOREVER;
    op->user = client;
    op->ref = ref;
    if (kind == CF_OP_SNAPSHOT) {
        op->ref = (struct cf_ref){.data = client->snapshot, .bytes = sizeof(client->snapshot)};
        client->counter_before = sim_check_newest(cluster->check, op->block)->counter;
    }
    op->flags = client->is_new ? CF_GET_NEW : 0;
    client->wake_ns = SIM_NEVER;
    client->is_cancelled = false;
    if (!client->is_new && !cluster->is_calm && kind != CF_OP_FLUSH) {
        if (plan->works[SIM_WORK_DEADLINE] && chance(client, 20))
            op->deadline_ns = cluster->now_ns + spread(client, plan->resend_ns);
        if (plan->works[SIM_WORK_CANCEL] && chance(client, 10))
            client->wake_ns = cluster->now_ns + 1 + spread(client, plan->resend_ns / 2);
        if (plan->works[SIM_WORK_TRY] && kind == CF_OP_GET && chance(client, 10))
            op->flags |= CF_GET_TRY;
    }
    if (kind == CF_OP_GET && client->holds_count > 0 && op->deadline_ns == CF_FOREVER)
        op->deadline_ns = cluster->now_ns + HOLDING_NS_MAX;
    client->ops++;
    cluster->counts.ops++;
    client->state = SIM_CLIENT_WAITS;
    client->submitted_ns = cluster->now_ns;
    op->rc = CF_PENDING;
    rc = cf_submit(client->session, op);
    client->is_served = op->rc != CF_PENDING; /* at once: an instance that stops later has served it before */
    if (rc == CF_OK)
        return;
    op->rc = rc;
    client->is_refused = true;
    client->wake_ns = cluster->now_ns;
}

static void submit_get(struct sim_client *client)
{
    bool in_s = client->intent == SIM_INTENT_READ || client->intent == SIM_INTENT_UPGRADE;

    if (client->intent == SIM_INTENT_SNAPSHOT)
        submit(client, CF_OP_SNAPSHOT, CF_MODE_S);
    else
        submit(client, CF_OP_GET, in_s ? CF_MODE_S : CF_MODE_X);
}

void sim_client_order(struct sim_client *client, enum sim_intent intent, uint64_t block)
{
    client->intent = (uint8_t)intent;
    client->targets[0] = block;
    client->targets_count = intent == SIM_INTENT_FLUSH ? 0 : 1;
    client->holds_count = 0;
    if (intent == SIM_INTENT_FLUSH)
        submit(client, CF_OP_FLUSH, CF_MODE_N);
    else
        submit_get(client);
}

static void begin_call(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;

    if (cluster->is_calm ||
        (cluster->nodes[client->node].is_stopped && client->ended_after_stop >= CALLS_AFTER_STOP)) {
        client->state = SIM_CLIENT_ENDED;
        client->wake_ns = SIM_NEVER;
        return;
    }
    client->holds_count = 0;
    if (!client->is_new && !choose_new(client)) {
        client->intent = (uint8_t)choose_intent(client);
        client->targets_count = 0;
        if (client->intent != SIM_INTENT_FLUSH)
            choose_targets(client);
    }
    if (client->intent == SIM_INTENT_FLUSH)
        submit(client, CF_OP_FLUSH, CF_MODE_N);
    else
        submit_get(client);
}

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

    return plan->works[SIM_WORK_HOLD] && chance(client, 50) ? spread(client, plan->hold_ns_mean) : 0;
}

/* A get has answered CF_OK. */
static void on_got(struct sim_client *client)
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
        submit_get(client);
        return;
    }
    client->state = SIM_CLIENT_HOLDS;
    client->wake_ns = cluster->now_ns + hold_time(client);
}

/* Whole, and the newest at a moment between call and return; the history sees that too. */
static void on_snapshot(struct sim_client *client)
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
    rest(client, cluster->plan.think_ns_mean);
}

static void on_upgraded(struct sim_client *client)
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
    give_up(client);
}

static void finish_write(struct sim_client *client)
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
    rest(client, cluster->plan.think_ns_mean);
}

static void begin_write(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    struct sim_hold *hold = &client->holds[0];
    struct sim_content content = next_content(client, hold, 0);

    if (!cluster->plan.works[SIM_WORK_HALVES] || !chance(client, 40)) {
        finish_write(client);
        return;
    }
    sim_check_changing(cluster->check, hold->ref.block, true);
    sim_content_write(&content, hold->ref.data, hold->ref.bytes, true);
    client->state = SIM_CLIENT_CHANGES;
    client->wake_ns = cluster->now_ns + 1 + spread(client, cluster->plan.hold_ns_mean);
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
    rest(client, cluster->plan.think_ns_mean);
}

/* The hold ends: what was read must still stand there. */
static void end_hold(struct sim_client *client)
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
        submit(client, CF_OP_UPGRADE, CF_MODE_X);
        return;
    }
    give_up(client);
}

/* ---- completions ---- */

static void on_refused(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;
    enum cf_rc rc = client->op.rc;
    enum cf_rc_class class = cf_rc_class(rc);

    cluster->counts.lost_upgrades += rc == CF_UPGRADE_LOST;
    cluster->counts.timeouts += rc == CF_TIMEOUT;
    cluster->counts.cancelled += rc == CF_CANCELLED;
    cluster->counts.busy += rc == CF_BUSY;
    cluster->counts.again += rc == CF_AGAIN;
    if (client->op.kind == CF_OP_UPGRADE)
        client->holds[0].ref = client->op.ref; /* empty when the engine has put it */
    if (class == CF_CLASS_PEER && cluster->crashed != CF_NODE_NONE) {
        cluster->counts.stopped++;
        client->ended_after_stop++;
    } else if (class != CF_CLASS_RETRY) {
        sim_cluster_break(cluster, "API: a call of node %u on block %llu answered %s", client->node,
                          (unsigned long long)client->op.block, cf_rc_name(rc));
    } else if (rc == CF_CANCELLED && !client->is_cancelled) {
        sim_cluster_break(cluster, "API: a call of node %u answered CF_CANCELLED and nobody cancelled it",
                          client->node);
    } else if (rc == CF_TIMEOUT && (client->op.deadline_ns > cluster->now_ns)) {
        sim_cluster_break(cluster, "API: a call of node %u answered CF_TIMEOUT before its deadline",
                          client->node);
    }
    give_up(client);
}

static void on_done(struct sim_client *client)
{
    struct sim_cluster *cluster = client->cluster;

    sim_cluster_trace(cluster, (uint64_t)client->node << 48 | (uint64_t)client->number << 32 |
                                   (uint32_t)client->op.rc);
    client->wake_ns = SIM_NEVER;
    if (client->op.rc != CF_OK) {
        on_refused(client);
        return;
    }
    if (cluster->nodes[client->node].is_stopped && !client->is_served)
        sim_check_break(
            cluster->check, client->op.block,
            "stop rule: a call on block %llu at node %u was served after it had learned of the loss",
            (unsigned long long)client->op.block, client->node);
    switch ((enum cf_op_kind)client->op.kind) {
    case CF_OP_GET:
        on_got(client);
        return;
    case CF_OP_UPGRADE:
        on_upgraded(client);
        return;
    case CF_OP_SNAPSHOT:
        on_snapshot(client);
        return;
    case CF_OP_FLUSH:
        cluster->counts.flushes++;
        rest(client, cluster->plan.think_ns_mean);
        return;
    case CF_OP_LOCK:
    case CF_OP_CONVERT:
    case CF_OP_UNLOCK:
    case CF_OP_VALUE_SWAP:
    case CF_OP_VALUE_READ:
        cf_unreachable(); /* a client of blocks */
    }
}

static void on_wake(struct sim_client *client)
{
    switch ((enum sim_client_state)client->state) {
    case SIM_CLIENT_IDLE:
        begin_call(client);
        break;
    case SIM_CLIENT_WAITS:
        client->wake_ns = SIM_NEVER;
        client->is_cancelled = true;
        (void)cf_cancel(client->session,
                        &client->op); /* CF_NOT_FOUND when it was done first: both are fine */
        break;
    case SIM_CLIENT_HOLDS:
        end_hold(client);
        break;
    case SIM_CLIENT_CHANGES:
        finish_write(client);
        break;
    case SIM_CLIENT_ENDED:
        client->wake_ns = SIM_NEVER;
        break;
    }
}

bool sim_client_turn(struct sim_client *client)
{
    struct cf_op *done[1];
    bool acted = false;

    if (client->is_refused) {
        client->is_refused = false;
        on_done(client);
        return true;
    }
    if (client->state == SIM_CLIENT_WAITS && cf_poll(client->session, done, 1) == 1) {
        cf_assert(done[0] == &client->op);
        on_done(client);
        acted = true;
    }
    if (client->wake_ns <= client->cluster->now_ns) {
        on_wake(client);
        acted = true;
    }
    return acted;
}
