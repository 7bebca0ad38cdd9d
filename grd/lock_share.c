/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What becomes of the claims of instances at the master: granted, refused, demanded, told to come down.
 */
#include <string.h>

#include "base/assert.h"
#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"

/* ------------------------------------------------------------------ sending */

void grd_lock_share_send_value(struct grd_msg *msg, const struct grd_lock_value *value)
{
    msg->version = value->version;
    msg->flags = value->is_valid ? 0 : GRD_FLAG_LOST;
    msg->value.count = value->bytes_count;
    memcpy(msg->value.bytes, value->bytes, value->bytes_count);
}

void grd_lock_share_send_grant(struct grd_lock_master *master, const struct grd_lock_share *share,
                               struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, share->node, GRD_MSG_LOCK_GRANT, &share->entry->key);

    msg->request = share->grant_request;
    msg->tenure = share->tenure;
    msg->mode = share->claim.held;
    msg->record = (uint32_t)(share->entry - master->entries);
    grd_lock_share_send_value(msg, &share->entry->value);
}

void grd_lock_share_send_refused(struct grd_lock_master *master, uint16_t to, const struct cf_block_key *key,
                                 uint64_t request, enum grd_lock_answer how, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, to, GRD_MSG_LOCK_REFUSED, key);

    msg->request = request;
    msg->how = (uint8_t)how;
    if (how == GRD_LOCK_SPENT)
        master->counters.bounced++;
    else
        master->counters.refused++;
}

void grd_lock_share_send_demand(struct grd_lock_master *master, const struct grd_lock_share *share,
                                uint8_t mode, uint8_t flags, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, share->node, GRD_MSG_LOCK_DEMAND, &share->entry->key);

    msg->request = flags & GRD_LOCK_DEMOTE ? share->request : share->demand_number;
    msg->tenure = share->tenure;
    msg->mode = mode;
    msg->flags = flags;
    master->counters.demands++;
}

/* ------------------------------------------------------------------ demands */

/* The first that waits for what this claim holds. */
static const struct grd_lock_claim *who_demands(const struct grd_lock_queue *queue,
                                                const struct grd_lock_claim *holder)
{
    const struct grd_lock_claim *claim;

    for (claim = queue->convert_first; claim; claim = claim->queue_next)
        if (claim != holder && !grd_lock_compatible(holder->held, claim->want))
            return claim;
    claim = queue->new_first;
    return claim && claim != holder && !grd_lock_compatible(holder->held, claim->want) ? claim : NULL;
}

/* Demands that nobody stands behind any more are withdrawn; should that be lost, they end by not being repeated. */
void grd_lock_share_send_demands(struct grd_lock_master *master, struct grd_lock_entry *entry, bool again,
                                 struct grd_actions *actions)
{
    const struct grd_lock_claim *who;
    struct grd_lock_claim *claim;

    if (!grd_lock_queue_waits(&entry->queue) && !entry->has_demands)
        return;
    entry->has_demands = grd_lock_queue_waits(&entry->queue);
    for (claim = entry->queue.first; claim; claim = claim->next) {
        struct grd_lock_share *share = grd_lock_share_from(claim);
        uint8_t flags;

        if (share->demote != GRD_LOCK_NL && (again || !share->is_demote_sent)) {
            share->is_demote_sent = true;
            grd_lock_share_send_demand(master, share, share->demote, GRD_LOCK_DEMOTE, actions);
        }
        who = claim->held == GRD_LOCK_NL ? NULL : who_demands(&entry->queue, claim);
        if (who == NULL) {
            if (share->demanded != GRD_LOCK_NL)
                grd_lock_share_send_demand(master, share, GRD_LOCK_NL, 0, actions);
            share->demanded = GRD_LOCK_NL;
            continue;
        }
        flags = who->flags & GRD_LOCK_TRY ? who->flags & (GRD_LOCK_TRY | GRD_LOCK_NOTIFY) : 0;
        if (!again && share->demanded == who->want && share->demanded_flags == flags)
            continue;
        if (share->demanded != who->want || share->demanded_flags != flags)
            share->demand_number = ++master->arrival_last;
        share->demanded = who->want;
        share->demanded_flags = flags;
        grd_lock_share_send_demand(master, share, who->want, flags, actions);
    }
}

/* ------------------------------------------------------------------ ends of waits */

void grd_lock_share_mark(struct grd_lock_master *master, uint16_t node, uint64_t request)
{
    if (master->mark[node] < request && !grd_lock_mutant(GRD_LOCK_MUT_NO_MARK))
        master->mark[node] = request;
}

void grd_lock_share_end(struct grd_lock_master *master, struct grd_lock_share *share)
{
    grd_lock_share_mark(master, share->node, share->request);
    grd_lock_share_drop(master, share);
}

void grd_lock_share_grant(struct grd_lock_master *master, struct grd_lock_share *share, uint8_t mode,
                          struct grd_actions *actions)
{
    master->counters.grants++;
    master->counters.conversions += share->claim.is_known;
    if (share->claim.overtaken > master->counters.overtaken_max)
        master->counters.overtaken_max = share->claim.overtaken;
    grd_lock_queue_grant(&share->entry->queue, &share->claim, mode);
    share->tenure = ++master->tenure_last;
    share->grant_request = share->request;
    share->demanded = GRD_LOCK_NL;
    share->demote = GRD_LOCK_NL;
    share->refusal = GRD_LOCK_DONE;
    grd_lock_share_send_grant(master, share, actions);
}

void grd_lock_share_refuse(struct grd_lock_master *master, struct grd_lock_share *share,
                           enum grd_lock_answer how, struct grd_actions *actions)
{
    grd_lock_share_send_refused(master, share->node, &share->entry->key, share->request, how, actions);
    grd_lock_queue_leave(&share->entry->queue, &share->claim);
    share->refusal = (uint8_t)how;
    share->demote = GRD_LOCK_NL;
    if (!share->claim.is_known)
        grd_lock_share_end(master, share);
}

void grd_lock_share_serve(struct grd_lock_master *master, struct grd_lock_entry *entry,
                          struct grd_actions *actions)
{
    static const struct grd_lock_limit none = {
        .is_known = true, .cap = GRD_LOCK_EX, .ask_cap = GRD_LOCK_EX, .demand = GRD_LOCK_NL};
    struct grd_lock_claim *claim, *lacks;

    while ((claim = grd_lock_queue_next(&entry->queue, &none, &lacks)) != NULL)
        grd_lock_share_grant(master, grd_lock_share_from(claim), claim->want, actions);
}

void grd_lock_share_after(struct grd_lock_master *master, struct grd_lock_entry *entry, uint64_t now_ns,
                          struct grd_actions *actions)
{
    grd_lock_share_serve(master, entry, actions);
    grd_lock_share_send_demands(master, entry, false, actions);
    if (!grd_lock_queue_waits(&entry->queue))
        cf_wheel_disarm(&master->wheel, &entry->timer);
    else if (!cf_timer_armed(&entry->timer))
        cf_wheel_arm(&master->wheel, &entry->timer, now_ns + master->options.demand_ns);
    grd_lock_entry_settle(master, entry);
}

void grd_lock_share_deadlock(struct grd_lock_master *master, struct grd_lock_share *share,
                             struct grd_actions *actions)
{
    struct grd_lock_queue *queue = &share->entry->queue;
    struct grd_lock_claim *other = grd_lock_queue_deadlock(queue, &share->claim, NULL);
    bool all_may = true;

    if (other == NULL)
        return;
    master->counters.deadlocks++;
    if (share->claim.flags & GRD_LOCK_DEMOTE) {
        share->demote = other->want;
        share->is_demote_sent = false;
        master->counters.demoted++;
        return;
    }
    for (; other; other = grd_lock_queue_deadlock(queue, &share->claim, other))
        all_may = all_may && (other->flags & GRD_LOCK_DEMOTE);
    if (!all_may) {
        grd_lock_share_refuse(master, share, GRD_LOCK_DEADLOCK, actions);
        return;
    }
    for (other = grd_lock_queue_deadlock(queue, &share->claim, NULL); other;
         other = grd_lock_queue_deadlock(queue, &share->claim, other)) {
        grd_lock_share_from(other)->demote = share->claim.want;
        grd_lock_share_from(other)->is_demote_sent = false;
        master->counters.demoted++;
    }
}
