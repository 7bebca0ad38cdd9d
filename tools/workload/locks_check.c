/* SPDX-License-Identifier: Apache-2.0 */
/* Workload locks: what is there before the transactions, and what must hold after them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "tools/workload/locks.h"

#define LOCKS_TYPE 7u /* names of the set: (type, number, 0) */
#define LOCKS_BALANCE 1000

_Static_assert(WL_HOT_LOCKS_MAX <= SHADOW_LOCKS_MAX, "the shadow has room");
enum { SUM, CHANGES, HELD };

static enum cf_rc claim_quietly(struct wl_client *client, uint32_t lock, enum cf_lock_mode mode,
                                struct cf_claim *claim_out)
{
    enum cf_rc rc;

    for (uint32_t tries = 1;; tries++) {
        rc = cf_lock_request(client->session, ((struct locks *)client->plan->own)->lock[lock], mode, 0,
                             cf_now_ns() + WL_TRY_NS, claim_out);
        if (rc == CF_OK || !wl_again(rc, tries))
            return rc == CF_OK ? CF_OK : wl_call_failed(client, rc, "request", "lock", lock);
    }
}

static enum cf_rc fill(struct wl_client *client)
{
    for (uint32_t i = 0; i < client->plan->hot_locks; i++) {
        struct account account = {.lock = i, .balance = LOCKS_BALANCE};
        struct cf_lock_value value;
        struct cf_claim claim;
        enum cf_rc rc = claim_quietly(client, i, CF_LOCK_EX, &claim);

        if (rc != CF_OK)
            return rc;
        locks_account_store(&account, &value);
        rc = cf_lock_unlock(client->session, &claim, 0, &value);
        if (rc != CF_OK)
            return wl_call_failed(client, rc, "unlock", "lock", i);
    }
    return CF_OK;
}

enum cf_rc locks_begin(struct wl_plan *plan, struct wl_client *caretaker)
{
    uint32_t owners = plan->nodes * plan->threads;
    struct locks *locks = calloc(1, sizeof *locks + plan->threads * sizeof locks->view[0]);
    char path[WL_SIDE_BYTES + 16];
    enum cf_rc rc;

    if (locks == NULL)
        return wl_fail(caretaker, CF_MEMORY, "no memory for the locks' handles");
    plan->own = locks;
    snprintf(path, sizeof path, "%s.shadow", plan->side);
    if (!plan->is_spread && (locks->shadow = shadow_open(path)) == NULL)
        return wl_fail(caretaker, CF_SYSTEM, "%s: %m", path);
    for (uint32_t i = 0; locks->shadow && i < plan->threads; i++)
        if ((locks->view[i] = shadow_view_make(owners)) == NULL)
            return wl_fail(caretaker, CF_MEMORY, "no memory for %u owners", owners);
    for (; locks->count < plan->hot_locks; locks->count++) {
        rc = cf_lock_open_ids(caretaker->session, LOCKS_TYPE, locks->count, 0, &locks->lock[locks->count]);
        if (rc != CF_OK)
            return wl_call_failed(caretaker, rc, "open", "lock", locks->count);
    }
    return plan->node == 0 ? fill(caretaker) : CF_OK;
}

enum cf_rc locks_look(struct wl_client *caretaker, struct wl_sums *sums)
{
    struct cf_stats stats = {.size = sizeof stats};
    struct account account;
    struct cf_claim claim;
    enum cf_rc rc;

    for (uint32_t i = 0; i < caretaker->plan->hot_locks; i++) {
        rc = claim_quietly(caretaker, i, CF_LOCK_PR, &claim);
        if (rc != CF_OK)
            return rc;
        rc = locks_account_load(caretaker, i, &claim, &account);
        if (rc == CF_OK)
            rc = cf_lock_unlock(caretaker->session, &claim, 0, NULL);
        if (rc != CF_OK)
            return rc;
        sums->own[SUM] += (uint64_t)account.balance;
        sums->own[CHANGES] += account.changes;
    }
    rc = cf_stats_read(caretaker->instance, &stats);
    sums->own[HELD] = stats.lock_claims;
    return rc;
}

enum cf_rc locks_end(struct wl_plan *plan, struct wl_client *caretaker)
{
    struct locks *locks = plan->own;
    enum cf_rc rc = CF_OK, closed;

    for (uint32_t i = 0; i < locks->count; i++) {
        closed = cf_lock_close(caretaker->session, &locks->lock[i]);
        if (closed != CF_OK && rc == CF_OK)
            rc = wl_call_failed(caretaker, closed, "close", "lock", i);
    }
    for (uint32_t i = 0; i < plan->threads; i++)
        shadow_view_free(locks->view[i]);
    shadow_close(locks->shadow);
    free(locks);
    return rc;
}

/* ------------------------------------------------------------------ the verdict */

static void figures(const struct wl_evidence *evidence)
{
    const uint64_t *tally = evidence->tally;
    uint64_t taken = tally[TAKEN];

    wl_count(evidence, "begun", "begun, again too", tally[BEGUN]);
    wl_count(evidence, "locks_taken", "locks taken", taken);
    wl_count(evidence, "deadlocks", "deadlocks found", evidence->stats->lock_deadlocks);
    wl_count(evidence, "victims", "told of one", tally[TOLD_DEADLOCK]);
    wl_count(evidence, "told_timeout", "told of time-out", tally[TOLD_TIMEOUT]);
    if (!evidence->plan->is_spread) { /* over several hosts there is no page that shows them */
        wl_count(evidence, "phantom", "of none", tally[PHANTOMS]);
        wl_count(evidence, "overlaps", "claims in conflict", tally[OVERLAPS]);
    }
    wl_ratio(evidence, "messages_per_lock", "messages a lock",
             taken ? (double)evidence->stats->messages_sent / (double)taken : 0);
    wl_ms(evidence, "detect_ms", "deadlock to victim", evidence->extra);
}

static bool sums_hold(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    uint64_t money = (uint64_t)evidence->plan->hot_locks * LOCKS_BALANCE;

    for (uint32_t n = 0; n < evidence->plan->nodes; n++) {
        const uint64_t *own = evidence->seen[n].own;

        if (own[SUM] != money)
            snprintf(text, text_bytes, "instance %u sees %lld in all accounts, there were %llu", n,
                     (long long)own[SUM], (unsigned long long)money);
        else if (own[CHANGES] != evidence->tally[WRITES])
            snprintf(text, text_bytes, "instance %u sees %llu changes of values, the clients made %llu", n,
                     (unsigned long long)own[CHANGES], (unsigned long long)evidence->tally[WRITES]);
        else if (own[HELD] != 0)
            snprintf(text, text_bytes, "instance %u still has %llu claims", n, (unsigned long long)own[HELD]);
        else
            continue;
        return false;
    }
    return true;
}

bool locks_judge(const struct wl_evidence *evidence, char *text, size_t text_bytes)
{
    const uint64_t *tally = evidence->tally;
    uint64_t told = tally[TOLD_DEADLOCK] + tally[TOLD_TIMEOUT];

    figures(evidence);
    if (!sums_hold(evidence, text, text_bytes))
        return false;
    if (tally[BEGUN] != evidence->ops + told)
        snprintf(text, text_bytes, "%llu transactions were begun, %llu committed, %llu were told why not",
                 (unsigned long long)tally[BEGUN], (unsigned long long)evidence->ops,
                 (unsigned long long)told);
    else if (evidence->stats->lock_deadlocks != tally[TOLD_DEADLOCK])
        snprintf(text, text_bytes, "the instances ended %llu waits for a deadlock, %llu were told",
                 (unsigned long long)evidence->stats->lock_deadlocks,
                 (unsigned long long)tally[TOLD_DEADLOCK]);
    else if (tally[OVERLAPS] != 0)
        snprintf(text, text_bytes, "%llu claims were granted against others",
                 (unsigned long long)tally[OVERLAPS]);
    else if (tally[PHANTOMS] != 0)
        snprintf(text, text_bytes, "%llu were told of a deadlock that there was not",
                 (unsigned long long)tally[PHANTOMS]);
    else {
        snprintf(text, text_bytes,
                 "%u accounts hold %llu in all, as at the start; %llu changes are all there; %llu committed, "
                 "%llu told of a deadlock, %llu of a time-out; nothing is held",
                 evidence->plan->hot_locks, (unsigned long long)evidence->plan->hot_locks * LOCKS_BALANCE,
                 (unsigned long long)tally[WRITES], (unsigned long long)evidence->ops,
                 (unsigned long long)tally[TOLD_DEADLOCK], (unsigned long long)tally[TOLD_TIMEOUT]);
        return true;
    }
    return false;
}
