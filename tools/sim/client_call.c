/* SPDX-License-Identifier: Apache-2.0 */
/* What a simulated caller asks for, and the call. */
#include <string.h>

#include "tools/sim/client_impl.h"

/* Calls a client still makes after its instance has stopped, to see that they are refused. */
#define CALLS_AFTER_STOP 3u
#define HOT_BLOCKS 2u
/* Who holds blocks does not wait for ever: all conversations may be taken by who waits for these (docs/limits.md). */
#define HOLDING_NS_MAX UINT64_C(1000000000)

/* ---- choosing ---- */

static uint64_t choose_block(struct sim_client *client)
{
    const struct sim_cluster *cluster = client->cluster;
    uint64_t count = cluster->plan.blocks;
    uint64_t block;

    if (cluster->plan.works[SIM_WORK_HOT] && count > HOT_BLOCKS && sim_client_chance(client, 80))
        count = HOT_BLOCKS;
    if (cluster->plan.options.own != 0 && sim_client_chance(client, cluster->plan.options.own - 1))
        return sim_own_block(&cluster->plan, client->node, cf_rng_next(&client->rng));
    block = cf_rng_below(&client->rng, count);
    return cluster->born[block] == BORN_YES ? block : cf_rng_below(&client->rng, cluster->plan.blocks_born);
}

static enum sim_intent choose_intent(struct sim_client *client)
{
    const bool *works = client->cluster->plan.works;
    uint32_t hot = client->cluster->plan.options.hot;

    if (client->cluster->plan.options.own != 0)
        return sim_client_chance(client, 50) ? SIM_INTENT_WRITE : SIM_INTENT_READ;
    if (hot != 0)
        return sim_client_chance(client, hot - 1) ? SIM_INTENT_WRITE : SIM_INTENT_READ;
    for (;;) {
        switch (cf_rng_below(&client->rng, 16)) {
        case 0:
            if (works[SIM_WORK_LOOK])
                return SIM_INTENT_LOOK;
            break;
        case 1:
            if (works[SIM_WORK_FLUSH] && sim_client_chance(client, 10))
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

    if (!cluster->plan.works[SIM_WORK_NEW] || !sim_client_chance(client, 5))
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
void sim_client_give_up(struct sim_client *client)
{
    for (uint32_t i = 0; i < client->holds_count; i++) {
        if (client->holds[i].ref.data != NULL)
            cf_put(client->session, &client->holds[i].ref);
    }
    client->holds_count = 0;
    sim_client_rest(client, client->cluster->plan.think_ns_mean);
}

void sim_client_submit(struct sim_client *client, enum cf_op_kind kind, enum cf_mode mode)
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
        if (plan->works[SIM_WORK_DEADLINE] && sim_client_chance(client, 20))
            op->deadline_ns = cluster->now_ns + sim_client_spread(client, plan->resend_ns);
        if (plan->works[SIM_WORK_CANCEL] && sim_client_chance(client, 10))
            client->wake_ns = cluster->now_ns + 1 + sim_client_spread(client, plan->resend_ns / 2);
        if (plan->works[SIM_WORK_TRY] && kind == CF_OP_GET && sim_client_chance(client, 10))
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

void sim_client_submit_get(struct sim_client *client)
{
    bool in_s = client->intent == SIM_INTENT_READ || client->intent == SIM_INTENT_UPGRADE;

    if (client->intent == SIM_INTENT_SNAPSHOT)
        sim_client_submit(client, CF_OP_SNAPSHOT, CF_MODE_S);
    else
        sim_client_submit(client, CF_OP_GET, in_s ? CF_MODE_S : CF_MODE_X);
}

void sim_client_order(struct sim_client *client, enum sim_intent intent, uint64_t block)
{
    client->intent = (uint8_t)intent;
    client->targets[0] = block;
    client->targets_count = intent == SIM_INTENT_FLUSH ? 0 : 1;
    client->holds_count = 0;
    if (intent == SIM_INTENT_FLUSH)
        sim_client_submit(client, CF_OP_FLUSH, CF_MODE_N);
    else
        sim_client_submit_get(client);
}

void sim_client_begin(struct sim_client *client)
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
        sim_client_submit(client, CF_OP_FLUSH, CF_MODE_N);
    else
        sim_client_submit_get(client);
}
