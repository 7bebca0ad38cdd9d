/* SPDX-License-Identifier: Apache-2.0 */
/*
 * scan: every client reads a whole foreign file of any length through the caches: first from a place of its own on,
 * so that instances find blocks in each other's memory, then in order for the SHA-256 that must
 * equal the plain file's. Then from other places, until the time is over.
 */
#include <sodium.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"

#define SCAN_PREFETCH_BLOCKS 32u

enum { SCAN_BLOCKS = 0, SCAN_PASSES = 1 };

static uint64_t blocks(const struct wl_plan *plan)
{
    return (plan->bytes + plan->data_bytes - 1) / plan->data_bytes;
}

static uint64_t scan_blocks_used(const struct wl_plan *plan)
{
    return blocks(plan);
}

static void scan_format(const struct wl_plan *plan, uint64_t block, void *data)
{
    (void)plan;
    (void)block;
    (void)data; /* a foreign file is never formatted */
}

static void scan_inspect(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    (void)plan;
    (void)block;
    (void)data;
    sums->items++;
}

static uint32_t bytes_in(const struct wl_plan *plan, uint64_t block)
{
    uint64_t left = plan->bytes - block * plan->data_bytes;

    return left < plan->data_bytes ? (uint32_t)left : plan->data_bytes;
}

/* One pass from `first` around to it; `state` (may be NULL) takes the bytes as they come. */
static enum cf_rc pass(struct wl_client *client, uint64_t first, bool to_the_end,
                       crypto_hash_sha256_state *state)
{
    const struct wl_plan *plan = client->plan;
    uint64_t count = blocks(plan);
    struct cf_ref ref;
    enum cf_rc rc;

    for (uint64_t i = 0; i < count && (to_the_end || !wl_stopped(client)); i++) {
        uint64_t block = (first + i) % count;
        uint64_t started_ns = cf_now_ns();

        if (i % SCAN_PREFETCH_BLOCKS == 0)
            cf_prefetch(
                client->session, client->file, block,
                (uint32_t)(count - block < SCAN_PREFETCH_BLOCKS ? count - block : SCAN_PREFETCH_BLOCKS));
        rc = wl_get(client, block, CF_MODE_S, 0, &ref);
        if (rc != CF_OK)
            return rc;
        if (state != NULL)
            crypto_hash_sha256_update(state, ref.data, bytes_in(plan, block));
        cf_put(client->session, &ref);
        client->tally[SCAN_BLOCKS]++;
        wl_done(client, started_ns);
    }
    client->tally[SCAN_PASSES]++;
    return CF_OK;
}

static enum cf_rc scan_client(struct wl_client *client)
{
    const struct wl_plan *plan = client->plan;
    uint64_t count = blocks(plan), clients = (uint64_t)plan->nodes * plan->threads;
    uint64_t own = count * ((uint64_t)plan->node * plan->threads + client->index) / clients;
    crypto_hash_sha256_state state;
    enum cf_rc rc;

    crypto_hash_sha256_init(&state);
    rc = pass(client, own, false, NULL);
    if (rc == CF_OK)
        rc = pass(client, 0, true, &state);
    crypto_hash_sha256_final(&state, client->digest);
    while (rc == CF_OK && !wl_stopped(client) && count > 0)
        rc = pass(client, cf_rng_below(&client->rng, count), false, NULL);
    return rc;
}

static bool scan_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    char plain[2 * WL_DIGEST_BYTES + 1], seen[2 * WL_DIGEST_BYTES + 1];

    wl_digest_text(evidence->after->digest, plain);
    if (memcmp(evidence->before->digest, evidence->after->digest, WL_DIGEST_BYTES) != 0) {
        snprintf(text, text_bytes, "the file was changed by somebody during the run");
        return false;
    }
    for (uint32_t node = 0; node < evidence->plan->nodes; node++) {
        wl_digest_text(evidence->seen[node].digest, seen);
        if (strcmp(plain, seen) != 0) {
            snprintf(text, text_bytes, "instance %u read SHA-256 %s, the file's is %s", node, seen, plain);
            return false;
        }
    }
    snprintf(text, text_bytes, "SHA-256 %s read by all instances, equal to the plain file's", plain);
    return true;
}

const struct workload workload_scan = {
    .name = "scan",
    .summary = "all instances read one foreign file through each other's caches; their SHA-256 must equal "
               "the file's",
    .op = "blocks read",
    .timed = "one block",
    .is_foreign = true,
    .blocks_used = scan_blocks_used,
    .format = scan_format,
    .inspect = scan_inspect,
    .client = scan_client,
    .judge = scan_judge,
};
