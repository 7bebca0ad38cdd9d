/* SPDX-License-Identifier: Apache-2.0 */
/*
 * locks: transactions that take 2 to 6 locks of a hot set in any order and mode, so that they run into each other, and
 * move money between accounts that are the values of these locks. One that is told of a deadlock or a time-out gives
 * all back and begins anew.
 *
 * What proves a run: no money is made or lost and no change of a value is missing, every transaction has committed or was
 * told, nothing is held at the end; and, on one host, what the clients wrote down for each other (locks_shadow.h): no two
 * claims ever stood against each other, and nobody was told of a deadlock that there was not.
 */
#include <string.h>

#include "base/clock.h"
#include "base/crc32c.h"
#include "tools/workload/locks.h"
#include "tools/workload/table.h"

#define LOCKS_MOVE_MAX 100u
#define TAKE_MIN 2u
#define TAKE_MAX 6u
#define COST_MAX 4u

struct step {
    uint32_t lock;
    enum cf_lock_mode mode, later; /* taken in the first, converted to the other when all are there */
    struct cf_claim claim;
    struct account account;
    bool is_changed;
};

struct transaction {
    uint32_t count, taken;
    struct step step[TAKE_MAX];
};

static uint32_t owner_of(const struct wl_client *client)
{
    return client->plan->node * client->plan->threads + client->index;
}

static uint32_t checksum(const struct account *account)
{
    struct account copy = *account;

    copy.checksum = 0;
    return cf_crc32c(0, &copy, sizeof copy);
}

void locks_account_store(struct account *account, struct cf_lock_value *value_out)
{
    account->checksum = checksum(account);
    memset(value_out, 0, sizeof *value_out);
    value_out->bytes_count = sizeof *account;
    memcpy(value_out->bytes, account, sizeof *account);
}

enum cf_rc locks_account_load(struct wl_client *client, uint32_t lock, const struct cf_claim *claim,
                              struct account *account_out)
{
    struct cf_lock_value value;
    enum cf_rc rc = cf_lock_value_get(client->session, claim, &value);

    if (rc != CF_OK)
        return wl_call_failed(client, rc, "value", "lock", lock);
    memcpy(account_out, value.bytes, sizeof *account_out);
    if (!value.is_valid || value.bytes_count != sizeof *account_out || account_out->lock != lock ||
        account_out->checksum != checksum(account_out))
        return wl_fail(client, CF_CORRUPT, "the value of lock %u is damaged (version %llu, %u bytes, %s)",
                       lock, (unsigned long long)value.version, value.bytes_count,
                       value.is_valid ? "valid" : "not valid");
    return CF_OK;
}

/* ------------------------------------------------------------------ one transaction */

/* Any modes, mostly EX and PR; some are raised when all locks are there, some lowered. */
static void modes_choose(struct cf_rng *rng, struct step *step)
{
    static const enum cf_lock_mode modes[][2] = {
        {CF_LOCK_EX, CF_LOCK_EX}, {CF_LOCK_EX, CF_LOCK_EX}, {CF_LOCK_EX, CF_LOCK_EX},
        {CF_LOCK_EX, CF_LOCK_EX}, {CF_LOCK_EX, CF_LOCK_PW}, {CF_LOCK_PR, CF_LOCK_PR},
        {CF_LOCK_PR, CF_LOCK_PR}, {CF_LOCK_PR, CF_LOCK_EX}, {CF_LOCK_PW, CF_LOCK_PW},
        {CF_LOCK_CR, CF_LOCK_CR}, {CF_LOCK_CR, CF_LOCK_PR}, {CF_LOCK_CW, CF_LOCK_CW},
        {CF_LOCK_NL, CF_LOCK_PW}};
    uint64_t i = cf_rng_below(rng, sizeof modes / sizeof modes[0]);

    step->mode = modes[i][0];
    step->later = modes[i][1];
}

static void choose(struct wl_client *client, struct transaction *txn)
{
    uint32_t locks = client->plan->hot_locks, set[SHADOW_LOCKS_MAX];
    uint32_t most = locks < TAKE_MAX ? locks : TAKE_MAX;

    memset(txn, 0, sizeof *txn);
    txn->count = TAKE_MIN + (uint32_t)cf_rng_below(&client->rng, most - TAKE_MIN + 1);
    for (uint32_t i = 0; i < locks; i++)
        set[i] = i;
    for (uint32_t i = 0; i < txn->count; i++) {
        uint32_t k = i + (uint32_t)cf_rng_below(&client->rng, locks - i), chosen = set[k];

        set[k] = set[i];
        txn->step[i].lock = chosen;
        modes_choose(&client->rng, &txn->step[i]);
    }
}

static struct locks *locks_of(const struct wl_client *client)
{
    return client->plan->own;
}

static void told_deadlock(struct wl_client *client, uint64_t began_ns)
{
    struct locks *locks = locks_of(client);
    uint64_t formed_ns = began_ns, now_ns = cf_now_ns();

    client->tally[TOLD_DEADLOCK]++;
    if (locks->shadow && !shadow_is_stuck(locks->shadow, owner_of(client), &formed_ns))
        client->tally[PHANTOMS]++;
    cf_hist_add(&client->extra, now_ns > formed_ns ? now_ns - formed_ns : 0);
}

/* What became of a wait for `step` in `mode`. */
static void waited(struct wl_client *client, const struct step *step, enum cf_lock_mode mode, enum cf_rc rc,
                   uint64_t began_ns)
{
    struct shadow *shadow = locks_of(client)->shadow;

    if (rc == CF_OK) {
        client->tally[TAKEN]++;
        if (shadow && !shadow_granted(shadow, owner_of(client), step->lock, mode))
            client->tally[OVERLAPS]++;
        return;
    }
    if (rc == CF_DEADLOCK)
        told_deadlock(client, began_ns);
    client->tally[TOLD_TIMEOUT] += rc == CF_TIMEOUT;
    if (shadow)
        shadow_refused(shadow, owner_of(client));
}

static enum cf_rc take(struct wl_client *client, struct step *step)
{
    struct locks *locks = locks_of(client);
    uint64_t now_ns = cf_now_ns();
    enum cf_rc rc;

    if (locks->shadow)
        shadow_wait(locks->shadow, locks->view[client->index], owner_of(client), step->lock, step->mode,
                    now_ns);
    rc = cf_lock_request(client->session, locks->lock[step->lock], step->mode, 0, now_ns + WL_TRY_NS,
                         &step->claim);
    waited(client, step, step->mode, rc, now_ns);
    return rc;
}

static enum cf_rc convert(struct wl_client *client, struct step *step)
{
    struct locks *locks = locks_of(client);
    struct shadow *shadow = locks->shadow;
    uint64_t now_ns = cf_now_ns();
    enum cf_rc rc;

    if (step->later == step->mode)
        return CF_OK;
    if (step->later < step->mode) { /* down: never waits */
        if (shadow)
            shadow_lower(shadow, owner_of(client), step->lock, step->later);
        return cf_lock_convert(client->session, &step->claim, step->later, 0, NULL, now_ns);
    }
    if (shadow)
        shadow_wait(shadow, locks->view[client->index], owner_of(client), step->lock, step->later, now_ns);
    rc = cf_lock_convert(client->session, &step->claim, step->later, 0, NULL, now_ns + WL_TRY_NS);
    waited(client, step, step->later, rc, now_ns);
    return rc;
}

/* All that is held, the changed values stored. */
static enum cf_rc give_back(struct wl_client *client, struct transaction *txn)
{
    struct shadow *shadow = locks_of(client)->shadow;
    enum cf_rc rc = CF_OK;

    while (txn->taken > 0) {
        struct step *step = &txn->step[--txn->taken];
        struct cf_lock_value value;
        enum cf_rc unlocked;

        if (shadow)
            shadow_lower(shadow, owner_of(client), step->lock, CF_LOCK_NL);
        if (step->is_changed)
            locks_account_store(&step->account, &value);
        unlocked = cf_lock_unlock(client->session, &step->claim, 0, step->is_changed ? &value : NULL);
        rc = rc == CF_OK ? unlocked : rc;
        client->tally[WRITES] += unlocked == CF_OK && step->is_changed;
        step->is_changed = false;
    }
    return rc;
}

/* From each account that may be written to the next one of these. */
static void move(struct wl_client *client, struct transaction *txn)
{
    struct step *from = NULL;

    for (uint32_t i = 0; i < txn->count; i++) {
        struct step *to = &txn->step[i];
        int64_t amount = 1 + (int64_t)cf_rng_below(&client->rng, LOCKS_MOVE_MAX);

        if (to->claim.mode < CF_LOCK_PW)
            continue;
        if (from) {
            from->account.balance -= amount;
            to->account.balance += amount;
            from->account.changes += !from->is_changed;
            to->account.changes++;
            from->is_changed = to->is_changed = true;
        }
        from = to;
    }
}

static bool is_told(enum cf_rc rc)
{
    return rc == CF_DEADLOCK || rc == CF_TIMEOUT;
}

/* Takes and converts; *failed_out is the step that ended it. */
static enum cf_rc take_all(struct wl_client *client, struct transaction *txn, uint32_t *failed_out)
{
    enum cf_rc rc = CF_OK;
    uint32_t i;

    for (i = 0; i < txn->count && rc == CF_OK; i++) {
        rc = take(client, &txn->step[i]);
        txn->taken += rc == CF_OK;
    }
    if (rc == CF_OK)
        for (i = 0; i < txn->count && rc == CF_OK; i++)
            rc = convert(client, &txn->step[i]);
    *failed_out = i - 1;
    return rc;
}

static enum cf_rc attempt(struct wl_client *client, struct transaction *txn)
{
    uint32_t failed;
    enum cf_rc rc = take_all(client, txn, &failed), given;

    if (rc != CF_OK && !is_told(rc))
        (void)wl_call_failed(client, rc, "request or conversion", "lock", txn->step[failed].lock);
    for (uint32_t i = 0; i < txn->count && rc == CF_OK; i++)
        if (txn->step[i].claim.mode >= CF_LOCK_PR)
            rc = locks_account_load(client, txn->step[i].lock, &txn->step[i].claim, &txn->step[i].account);
    if (rc == CF_OK)
        move(client, txn);
    given = give_back(client, txn);
    if ((rc == CF_OK || is_told(rc)) && given != CF_OK)
        rc = wl_call_failed(client, given, "unlock of one of so many locks", "transaction", txn->count);
    return rc;
}

static enum cf_rc locks_client(struct wl_client *client)
{
    uint64_t number = 0, started_ns;
    struct transaction txn;
    enum cf_rc rc = CF_OK;

    while (rc == CF_OK && !wl_stopped(client)) {
        started_ns = cf_now_ns();
        choose(client, &txn);
        do {
            client->tally[BEGUN]++;
            rc = cf_owner_set(client->session, ++number * client->plan->threads + client->index,
                              (uint32_t)cf_rng_below(&client->rng, COST_MAX));
            if (rc == CF_OK)
                rc = attempt(client, &txn);
        } while (is_told(rc) && !wl_stopped(client));
        if (rc == CF_OK)
            wl_done(client, started_ns);
        if (is_told(rc)) /* told, and the run is over */
            rc = CF_OK;
    }
    return rc;
}

const struct workload workload_locks = {
    .name = "locks",
    .summary = "transactions take locks in any order and move money between their values",
    .op = "transactions",
    .timed = "one transaction, with all that it began anew",
    .has_side = true,
    .blocks_min = 2,
    .blocks_default = 16,
    .blocks_used = wl_no_blocks,
    .inspect = wl_inspect_nothing,
    .begin = locks_begin,
    .client = locks_client,
    .look = locks_look,
    .end = locks_end,
    .judge = locks_judge,
};
