/* SPDX-License-Identifier: Apache-2.0 */
/*
 * hot: every client counts up counters in a few blocks that all instances want. The counters add up to the
 * increments the clients remember, and in every block to the sum of what each node says it added.
 */
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"

#define HOT_BLOCKS_MAX 8u
/* One operation in so many only looks. */
#define HOT_LOOK_EVERY 8u

enum { HOT_INCREMENTS = 0 };
enum { HOT_TOTAL = 0 };

struct counter {
    uint64_t total;
    uint64_t by_node[]; /* as many as there is room for */
};

static uint64_t hot_blocks(const struct wl_plan *plan)
{
    return plan->blocks - 1 < HOT_BLOCKS_MAX ? plan->blocks - 1 : HOT_BLOCKS_MAX;
}

static uint64_t slots(const struct wl_plan *plan)
{
    return plan->data_bytes / sizeof(uint64_t) - 1;
}

static uint64_t hot_blocks_used(const struct wl_plan *plan)
{
    return 1 + hot_blocks(plan);
}

static void hot_format(const struct wl_plan *plan, uint64_t block, void *data)
{
    (void)plan;
    (void)block;
    ((struct counter *)data)->total = 0;
}

static uint64_t added_up(const struct wl_plan *plan, const struct counter *counter)
{
    uint64_t sum = 0;

    for (uint64_t i = 0; i < slots(plan); i++)
        sum += counter->by_node[i];
    return sum;
}

static void hot_inspect(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    const struct counter *counter = data;

    if (block > hot_blocks(plan))
        return;
    if (added_up(plan, counter) != counter->total)
        wl_bad(sums, "block %llu counts %llu, its nodes %llu", (unsigned long long)block,
               (unsigned long long)counter->total, (unsigned long long)added_up(plan, counter));
    sums->items++;
    sums->value[HOT_TOTAL] += counter->total;
}

static enum cf_rc count_up(struct wl_client *client, uint64_t block)
{
    const struct wl_plan *plan = client->plan;
    struct counter *counter;
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, block, CF_MODE_X, 0, &ref);

    if (rc != CF_OK)
        return rc;
    counter = ref.data;
    counter->total++;
    counter->by_node[(plan->node * plan->threads + client->index) % slots(plan)]++;
    rc = wl_commit(client, &ref);
    client->tally[HOT_INCREMENTS] += rc == CF_OK;
    return rc;
}

static enum cf_rc look(struct wl_client *client, uint64_t block)
{
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, block, CF_MODE_S, 0, &ref);
    bool good;

    if (rc != CF_OK)
        return rc;
    good = added_up(client->plan, ref.data) == ((struct counter *)ref.data)->total;
    cf_put(client->session, &ref);
    return good ? CF_OK
                : wl_fail(client, CF_CORRUPT, "block %llu does not add up", (unsigned long long)block);
}

static enum cf_rc hot_client(struct wl_client *client)
{
    enum cf_rc rc = CF_OK;

    while (rc == CF_OK && !wl_stopped(client)) {
        uint64_t block = 1 + cf_rng_below(&client->rng, hot_blocks(client->plan));
        uint64_t started_ns = cf_now_ns();

        rc = cf_rng_below(&client->rng, HOT_LOOK_EVERY) == 0 ? look(client, block) : count_up(client, block);
        if (rc == CF_OK)
            wl_done(client, started_ns);
    }
    return rc;
}

static bool hot_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    uint64_t counted = evidence->after->value[HOT_TOTAL] - evidence->before->value[HOT_TOTAL];

    if (evidence->tally != NULL && counted != evidence->tally[HOT_INCREMENTS]) {
        snprintf(text, text_bytes, "the counters rose by %llu, the clients counted %llu times",
                 (unsigned long long)counted, (unsigned long long)evidence->tally[HOT_INCREMENTS]);
        return false;
    }
    snprintf(text, text_bytes, "%llu counters rose by %llu, none was lost",
             (unsigned long long)evidence->after->items, (unsigned long long)counted);
    return true;
}

const struct workload workload_hot = {
    .name = "hot",
    .summary = "all instances count up counters in a few blocks",
    .op = "increments and looks",
    .timed = "one increment or look",
    .blocks_min = 2,
    .blocks_default = 64,
    .blocks_used = hot_blocks_used,
    .format = hot_format,
    .inspect = hot_inspect,
    .client = hot_client,
    .judge = hot_judge,
};
