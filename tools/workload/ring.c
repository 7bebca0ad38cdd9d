/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ring: a token in a block passes from instance to instance. Who has it counts it up and hands it on; every
 * instance sees the counter rise by exactly the number of instances between two of its turns. An instance waits by looking at
 * the block under S: the look itself waits in the protocol while another holds it in X.
 */
#include <sched.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"

#define RINGS_MAX 4u
/* A token that has not come back for so long is lost. */
#define RING_WAIT_NS_MAX UINT64_C(30000000000)

enum { RING_HANDED = 0 };
enum { RING_VALUE = 0, RING_STEPS = 1 };

struct token {
    uint64_t value;     /* hand-overs since the file was made */
    uint64_t holder;    /* node whose turn it is */
    uint64_t handed_ns; /* CLOCK_MONOTONIC of the last hand-over */
    uint64_t check;     /* value ^ holder ^ RING_CHECK */
    uint64_t steps[];   /* by node: hand-overs made by it, as many nodes as there is room for */
};
#define RING_CHECK UINT64_C(0x52494e4752494e47)

static uint64_t rings(const struct wl_plan *plan)
{
    return plan->blocks - 1 < RINGS_MAX ? plan->blocks - 1 : RINGS_MAX;
}

static uint64_t steps_count(const struct wl_plan *plan)
{
    return (plan->data_bytes - sizeof(struct token)) / sizeof(uint64_t);
}

static uint64_t ring_blocks_used(const struct wl_plan *plan)
{
    return 1 + rings(plan);
}

static void ring_format(const struct wl_plan *plan, uint64_t block, void *data)
{
    struct token *token = data;

    token->holder = (block - 1) % plan->nodes;
    token->check = token->value ^ token->holder ^ RING_CHECK;
}

static void ring_inspect(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    const struct token *token = data;
    uint64_t steps = 0;

    if (block > rings(plan))
        return;
    for (uint64_t i = 0; i < steps_count(plan); i++)
        steps += token->steps[i];
    if (token->check != (token->value ^ token->holder ^ RING_CHECK) || steps != token->value)
        wl_bad(sums, "ring %llu: the token says %llu hand-overs, the instances %llu",
               (unsigned long long)(block - 1), (unsigned long long)token->value, (unsigned long long)steps);
    sums->items++;
    sums->value[RING_VALUE] += token->value;
    sums->value[RING_STEPS] += steps;
}

/* What a client remembers of one ring. */
struct turn {
    uint64_t last_value; /* after this instance's last hand-over */
    uint64_t since_ns;
    bool has_last;
};

static enum cf_rc hand_on(struct wl_client *client, uint64_t ring, struct turn *turn, struct cf_ref *ref)
{
    const struct wl_plan *plan = client->plan;
    struct token *token = ref->data;
    uint64_t now_ns = cf_now_ns();
    enum cf_rc rc;

    if (turn->has_last && token->value != turn->last_value + plan->nodes - 1) {
        rc = wl_fail(client, CF_CORRUPT, "ring %llu: handed on at %llu, came back at %llu, expected %llu",
                     (unsigned long long)ring, (unsigned long long)turn->last_value,
                     (unsigned long long)token->value,
                     (unsigned long long)(turn->last_value + plan->nodes - 1));
        cf_put(client->session, ref);
        return rc;
    }
    if (turn->has_last && now_ns >= token->handed_ns)
        cf_hist_add(&client->latency, now_ns - token->handed_ns);
    token->value++;
    token->steps[plan->node]++;
    token->holder = (plan->node + 1) % plan->nodes;
    token->check = token->value ^ token->holder ^ RING_CHECK;
    turn->last_value = token->value;
    turn->since_ns = now_ns;
    turn->has_last = true;
    token->handed_ns = cf_now_ns();
    rc = wl_commit(client, ref);
    if (rc == CF_OK) {
        client->tally[RING_HANDED]++;
        atomic_store_explicit(&client->ops, client->tally[RING_HANDED], memory_order_relaxed);
    }
    return rc;
}

static bool is_mine(const struct wl_plan *plan, const struct token *token)
{
    /* A file that more instances prepared: node 0 takes over from those that are not here. */
    return token->holder == plan->node || (plan->node == 0 && token->holder >= plan->nodes);
}

/* Looks at one ring and, when the token is here, hands it on. *mine_out tells. */
static enum cf_rc visit(struct wl_client *client, uint64_t ring, struct turn *turn, bool *mine_out)
{
    const struct wl_plan *plan = client->plan;
    struct cf_ref ref;
    bool changed;
    enum cf_rc rc = wl_get(client, 1 + ring, CF_MODE_S, 0, &ref);

    *mine_out = false;
    if (rc != CF_OK)
        return rc;
    if (!is_mine(plan, ref.data)) {
        cf_put(client->session, &ref);
        if (cf_now_ns() - turn->since_ns < RING_WAIT_NS_MAX)
            return CF_OK;
        return wl_fail(client, CF_TIMEOUT, "ring %llu: the token has not come back for %llu s",
                       (unsigned long long)ring, (unsigned long long)(RING_WAIT_NS_MAX / CF_NS_PER_S));
    }
    /* Odd rings upgrade, even rings give up S and ask for X, so that both ways are used. */
    if (ring % 2 == 1) {
        rc = wl_upgrade(client, &ref, &changed);
    } else {
        cf_put(client->session, &ref);
        rc = wl_get(client, 1 + ring, CF_MODE_X, 0, &ref);
    }
    if (rc != CF_OK)
        return rc;
    if (!is_mine(plan, ref.data)) {
        cf_put(client->session, &ref);
        return wl_fail(client, CF_CORRUPT, "ring %llu: another instance took the token out of turn",
                       (unsigned long long)ring);
    }
    *mine_out = true;
    return hand_on(client, ring, turn, &ref);
}

static enum cf_rc ring_client(struct wl_client *client)
{
    struct turn turns[RINGS_MAX] = {{0}};
    uint64_t count = rings(client->plan);
    enum cf_rc rc = CF_OK;

    for (uint64_t ring = 0; ring < count; ring++)
        turns[ring].since_ns = cf_now_ns();
    while (rc == CF_OK && !wl_stopped(client)) {
        bool moved = false;

        for (uint64_t ring = client->index; rc == CF_OK && ring < count; ring += client->plan->threads) {
            bool mine;

            rc = visit(client, ring, &turns[ring], &mine);
            moved |= mine;
        }
        if (!moved)
            sched_yield(); /* lets the instance run that has the token */
    }
    return rc;
}

static bool ring_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    const struct wl_sums *after = evidence->after;
    uint64_t handed = after->value[RING_VALUE] - evidence->before->value[RING_VALUE];

    if (evidence->tally != NULL && handed != evidence->tally[RING_HANDED]) {
        snprintf(text, text_bytes, "the tokens count %llu hand-overs, the clients made %llu",
                 (unsigned long long)handed, (unsigned long long)evidence->tally[RING_HANDED]);
        return false;
    }
    snprintf(text, text_bytes,
             "%llu tokens were handed on %llu times, each time to the next instance in order",
             (unsigned long long)after->items, (unsigned long long)handed);
    return true;
}

const struct workload workload_ring = {
    .name = "ring",
    .summary = "a token passes from instance to instance in strict order; times the hand-over",
    .op = "hand-overs",
    .timed = "from one hand-over to the next instance's hold",
    .blocks_min = 2,
    .blocks_default = 64,
    .blocks_used = ring_blocks_used,
    .format = ring_format,
    .inspect = ring_inspect,
    .client = ring_client,
    .judge = ring_judge,
};
