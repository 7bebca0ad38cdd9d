/* SPDX-License-Identifier: Apache-2.0 */
/*
 * bank: accounts in blocks, transfers between two random accounts under X, both blocks in one mini-transaction.
 * Money is neither made nor lost: the sum of all balances never changes, and the counts of transfers on the
 * accounts add up to twice the transfers the clients remember.
 */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "tools/workload/table.h"
#include "tools/workload/workload.h"

#define BANK_BALANCE 1000
#define BANK_TRANSFER_MAX 100u
/* One operation in so many is a look at an account under S. */
#define BANK_LOOK_EVERY 4u

enum { BANK_TRANSFERS = 0, BANK_LOOKS = 1 };
enum { BANK_SUM = 0, BANK_COUNT = 1 };

struct account {
    uint64_t id;
    int64_t balance;
    uint64_t transfers;
    uint32_t last_node;
    uint32_t checksum; /* CRC32C of the fields before it */
};

static uint32_t account_checksum(const struct account *account)
{
    return cf_crc32c(0, account, offsetof(struct account, checksum));
}

static uint64_t accounts_a_block(const struct wl_plan *plan)
{
    return plan->data_bytes / sizeof(struct account);
}

static uint64_t bank_blocks_used(const struct wl_plan *plan)
{
    return plan->blocks;
}

static void bank_format(const struct wl_plan *plan, uint64_t block, void *data)
{
    struct account *accounts = data;

    for (uint64_t i = 0; i < accounts_a_block(plan); i++) {
        accounts[i] = (struct account){.id = (block - 1) * accounts_a_block(plan) + i,
                                       .balance = BANK_BALANCE};
        accounts[i].checksum = account_checksum(&accounts[i]);
    }
}

static bool account_is_good(const struct account *account, uint64_t id)
{
    return account->id == id && account->checksum == account_checksum(account);
}

static void bank_inspect(const struct wl_plan *plan, uint64_t block, const void *data, struct wl_sums *sums)
{
    const struct account *accounts = data;

    if (block >= plan->blocks)
        return;
    for (uint64_t i = 0; i < accounts_a_block(plan); i++) {
        uint64_t id = (block - 1) * accounts_a_block(plan) + i;

        if (!account_is_good(&accounts[i], id))
            wl_bad(sums, "account %llu in block %llu: id %llu, checksum %08x, expected %08x",
                   (unsigned long long)id, (unsigned long long)block, (unsigned long long)accounts[i].id,
                   accounts[i].checksum, account_checksum(&accounts[i]));
        sums->items++;
        sums->value[BANK_SUM] += (uint64_t)accounts[i].balance;
        sums->value[BANK_COUNT] += accounts[i].transfers;
    }
}

static struct account *account_in(const struct wl_plan *plan, struct cf_ref *ref, uint64_t id)
{
    return (struct account *)ref->data + id % accounts_a_block(plan);
}

static void account_change(const struct wl_plan *plan, struct account *account, int64_t amount)
{
    account->balance += amount;
    account->transfers++;
    account->last_node = plan->node;
    account->checksum = account_checksum(account);
}

static enum cf_rc look(struct wl_client *client, uint64_t id)
{
    const struct wl_plan *plan = client->plan;
    struct cf_ref ref;
    enum cf_rc rc = wl_get(client, 1 + id / accounts_a_block(plan), CF_MODE_S, 0, &ref);
    bool good;

    if (rc != CF_OK)
        return rc;
    good = account_is_good(account_in(plan, &ref, id), id);
    cf_put(client->session, &ref);
    client->tally[BANK_LOOKS]++;
    return good ? CF_OK
                : wl_fail(client, CF_CORRUPT, "account %llu has a wrong checksum", (unsigned long long)id);
}

static enum cf_rc commit(struct wl_client *client, struct cf_ref *refs, uint32_t count)
{
    struct cf_mtr mtr;
    cf_scn version;
    enum cf_rc rc = cf_mtr_begin(client->session, &mtr);

    for (uint32_t i = 0; i < count; i++)
        if (rc != CF_OK)
            cf_put(client->session, &refs[i]);
        else if (cf_mtr_add(&mtr, &refs[i]) < 0)
            return wl_fail(client, CF_INVALID, "the mini-transaction refused a block held in X");
    if (rc == CF_OK)
        rc = cf_mtr_commit(&mtr, 0, &version);
    return rc == CF_OK ? CF_OK : wl_fail(client, rc, "commit: %s", cf_rc_text(rc));
}

static enum cf_rc transfer(struct wl_client *client, uint64_t from, uint64_t to)
{
    const struct wl_plan *plan = client->plan;
    uint64_t from_block = 1 + from / accounts_a_block(plan), to_block = 1 + to / accounts_a_block(plan);
    int64_t amount = 1 + (int64_t)cf_rng_below(&client->rng, BANK_TRANSFER_MAX);
    uint32_t count = from_block == to_block ? 1 : 2;
    struct cf_ref refs[2];
    enum cf_rc rc;

    if (count == 1)
        rc = wl_get(client, from_block, CF_MODE_X, 0, &refs[0]);
    else
        rc = wl_get_pair(client, from_block, to_block, cf_rng_chance(&client->rng, 0.5), refs);
    if (rc != CF_OK)
        return rc;
    if (!account_is_good(account_in(plan, &refs[0], from), from) ||
        !account_is_good(account_in(plan, &refs[count - 1], to), to)) {
        for (uint32_t i = 0; i < count; i++)
            cf_put(client->session, &refs[i]);
        return wl_fail(client, CF_CORRUPT, "account %llu or %llu has a wrong checksum",
                       (unsigned long long)from, (unsigned long long)to);
    }
    account_change(plan, account_in(plan, &refs[0], from), -amount);
    account_change(plan, account_in(plan, &refs[count - 1], to), amount);
    rc = commit(client, refs, count);
    client->tally[BANK_TRANSFERS] += rc == CF_OK;
    return rc;
}

static enum cf_rc bank_client(struct wl_client *client)
{
    uint64_t accounts = (client->plan->blocks - 1) * accounts_a_block(client->plan);
    enum cf_rc rc = CF_OK;

    while (rc == CF_OK && !wl_stopped(client)) {
        uint64_t from = cf_rng_below(&client->rng, accounts);
        uint64_t to = (from + 1 + cf_rng_below(&client->rng, accounts - 1)) % accounts;
        uint64_t started_ns = cf_now_ns();

        if (cf_rng_below(&client->rng, BANK_LOOK_EVERY) == 0)
            rc = look(client, from);
        else
            rc = transfer(client, from, to);
        if (rc == CF_OK)
            wl_done(client, started_ns);
    }
    return rc;
}

static bool bank_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    const struct wl_sums *after = evidence->after;
    uint64_t expected = after->items * BANK_BALANCE;
    uint64_t counted = after->value[BANK_COUNT] - evidence->before->value[BANK_COUNT];

    if (after->value[BANK_SUM] != expected) {
        snprintf(text, text_bytes, "the balances add up to %lld, expected %lld: money was made or lost",
                 (long long)after->value[BANK_SUM], (long long)expected);
        return false;
    }
    if (evidence->tally != NULL && counted != 2 * evidence->tally[BANK_TRANSFERS]) {
        snprintf(text, text_bytes, "the accounts count %llu changes, the clients made %llu transfers",
                 (unsigned long long)counted, (unsigned long long)evidence->tally[BANK_TRANSFERS]);
        return false;
    }
    snprintf(
        text, text_bytes, "%llu accounts hold %llu in all, as at the start; %llu transfers are all there",
        (unsigned long long)after->items, (unsigned long long)expected, (unsigned long long)(counted / 2));
    return true;
}

const struct workload workload_bank = {
    .name = "bank",
    .summary = "transfers between random accounts; money is neither made nor lost",
    .op = "transfers and looks",
    .timed = "one transfer or look",
    .blocks_min = 2,
    .blocks_default = 1024,
    .blocks_used = bank_blocks_used,
    .format = bank_format,
    .inspect = bank_inspect,
    .client = bank_client,
    .judge = bank_judge,
};
