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
#include "tools/sim/client_impl.h"

void sim_client_rest(struct sim_client *client, uint64_t mean_ns)
{
    client->state = SIM_CLIENT_IDLE;
    client->wake_ns = client->cluster->now_ns + 1 + sim_client_spread(client, mean_ns);
}

void sim_client_open(struct sim_cluster *cluster, struct sim_client *client, uint16_t node, uint16_t number)
{
    memset(client, 0, sizeof(*client));
    client->cluster = cluster;
    client->node = node;
    client->number = number;
    cf_rng_seed(&client->rng,
                cluster->plan.options.seed ^ ((uint64_t)node << 32 | number) ^ UINT64_C(0xc11e47));
    sim_client_rest(client, cluster->plan.think_ns_mean);
}

uint64_t sim_client_next_ns(const struct sim_client *client)
{
    return client->wake_ns;
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
    sim_client_give_up(client);
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
        sim_client_on_got(client);
        return;
    case CF_OP_UPGRADE:
        sim_client_on_upgraded(client);
        return;
    case CF_OP_SNAPSHOT:
        sim_client_on_snapshot(client);
        return;
    case CF_OP_FLUSH:
        cluster->counts.flushes++;
        sim_client_rest(client, cluster->plan.think_ns_mean);
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
        sim_client_begin(client);
        break;
    case SIM_CLIENT_WAITS:
        client->wake_ns = SIM_NEVER;
        client->is_cancelled = true;
        (void)cf_cancel(client->session,
                        &client->op); /* CF_NOT_FOUND when it was done first: both are fine */
        break;
    case SIM_CLIENT_HOLDS:
        sim_client_end_hold(client);
        break;
    case SIM_CLIENT_CHANGES:
        sim_client_finish_write(client);
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
