/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master's steps. The flow of one request:
 *
 *   on_request -> queue -> do_serve -> do_grant -> send_grant
 *                   |  still waiting: do_try, do_deadlock, send_demands -> on_down -> do_serve
 *                   +  on_cancel, on_in_use -> do_refuse
 */
#include "grd/lock_master.h"

#include <string.h>

#include "base/assert.h"
#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"

/* ------------------------------------------------------------------ sending */

static void send_value(struct grd_msg *msg, const struct grd_lock_value *value)
{
    msg->version = value->version;
    msg->flags = value->is_valid ? 0 : GRD_FLAG_LOST;
    msg->value.count = value->bytes_count;
    memcpy(msg->value.bytes, value->bytes, value->bytes_count);
}

static void send_grant(struct grd_lock_master *master, const struct grd_lock_share *share,
                       struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, share->node, GRD_MSG_LOCK_GRANT, &share->entry->key);

    msg->request = share->grant_request;
    msg->tenure = share->tenure;
    msg->mode = share->claim.held;
    msg->record = (uint32_t)(share->entry - master->entries);
    send_value(msg, &share->entry->value);
}

static void send_refused(struct grd_lock_master *master, uint16_t to, const struct cf_block_key *key,
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

static void send_demand(struct grd_lock_master *master, const struct grd_lock_share *share, uint8_t mode,
                        uint8_t flags, struct grd_actions *actions)
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
static void send_demands(struct grd_lock_master *master, struct grd_lock_entry *entry, bool again,
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
            send_demand(master, share, share->demote, GRD_LOCK_DEMOTE, actions);
        }
        who = claim->held == GRD_LOCK_NL ? NULL : who_demands(&entry->queue, claim);
        if (who == NULL) {
            if (share->demanded != GRD_LOCK_NL)
                send_demand(master, share, GRD_LOCK_NL, 0, actions);
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
        send_demand(master, share, who->want, flags, actions);
    }
}

/* ------------------------------------------------------------------ ends of waits */

static void mark_raise(struct grd_lock_master *master, uint16_t node, uint64_t request)
{
    if (master->mark[node] < request && !grd_lock_mutant(GRD_LOCK_MUT_NO_MARK))
        master->mark[node] = request;
}

static void share_end(struct grd_lock_master *master, struct grd_lock_share *share)
{
    mark_raise(master, share->node, share->request);
    grd_lock_share_drop(master, share);
}

static void do_grant(struct grd_lock_master *master, struct grd_lock_share *share, uint8_t mode,
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
    send_grant(master, share, actions);
}

static void do_refuse(struct grd_lock_master *master, struct grd_lock_share *share, enum grd_lock_answer how,
                      struct grd_actions *actions)
{
    send_refused(master, share->node, &share->entry->key, share->request, how, actions);
    grd_lock_queue_leave(&share->entry->queue, &share->claim);
    share->refusal = (uint8_t)how;
    share->demote = GRD_LOCK_NL;
    if (!share->claim.is_known)
        share_end(master, share);
}

/* Everything that can be granted, in order. */
static void do_serve(struct grd_lock_master *master, struct grd_lock_entry *entry,
                     struct grd_actions *actions)
{
    static const struct grd_lock_limit none = {
        .is_known = true, .cap = GRD_LOCK_EX, .ask_cap = GRD_LOCK_EX, .demand = GRD_LOCK_NL};
    struct grd_lock_claim *claim, *lacks;

    while ((claim = grd_lock_queue_next(&entry->queue, &none, &lacks)) != NULL)
        do_grant(master, grd_lock_share_from(claim), claim->want, actions);
}

/* After every change of an entry: who can be served, who must be told, is there still a reason to look again? */
static void do_after(struct grd_lock_master *master, struct grd_lock_entry *entry, uint64_t now_ns,
                     struct grd_actions *actions)
{
    do_serve(master, entry, actions);
    send_demands(master, entry, false, actions);
    if (!grd_lock_queue_waits(&entry->queue))
        cf_wheel_disarm(&master->wheel, &entry->timer);
    else if (!cf_timer_armed(&entry->timer))
        cf_wheel_arm(&master->wheel, &entry->timer, now_ns + master->options.demand_ns);
    grd_lock_entry_settle(master, entry);
}

/*
 * Two conversions keep one another out: neither will ever be granted. One comes down if it said it would; otherwise
 * the one that came later ends. True: `share` ended.
 */
static bool do_deadlock(struct grd_lock_master *master, struct grd_lock_share *share,
                        struct grd_actions *actions)
{
    struct grd_lock_queue *queue = &share->entry->queue;
    struct grd_lock_claim *other = grd_lock_queue_deadlock(queue, &share->claim, NULL);
    bool all_may = true;

    if (other == NULL)
        return false;
    master->counters.deadlocks++;
    if (share->claim.flags & GRD_LOCK_DEMOTE) {
        share->demote = other->want;
        share->is_demote_sent = false;
        master->counters.demoted++;
        return false;
    }
    for (; other; other = grd_lock_queue_deadlock(queue, &share->claim, other))
        all_may = all_may && (other->flags & GRD_LOCK_DEMOTE);
    if (!all_may) {
        do_refuse(master, share, GRD_LOCK_DEADLOCK, actions);
        return true;
    }
    for (other = grd_lock_queue_deadlock(queue, &share->claim, NULL); other;
         other = grd_lock_queue_deadlock(queue, &share->claim, other)) {
        grd_lock_share_from(other)->demote = share->claim.want;
        grd_lock_share_from(other)->is_demote_sent = false;
        master->counters.demoted++;
    }
    return false;
}

/* ------------------------------------------------------------------ requests */

static void on_repeated(struct grd_lock_master *master, const struct grd_lock_share *share,
                        const struct grd_msg *msg, struct grd_actions *actions)
{
    master->counters.repeated++;
    if (msg->request < share->request || grd_lock_is_waiting(&share->claim))
        return;
    if (share->grant_request == msg->request)
        send_grant(master, share, actions);
    else
        send_refused(master, msg->from, &msg->key, msg->request, (enum grd_lock_answer)share->refusal,
                     actions);
}

/*
 * A conversion names the tenure it converts and the mode held when it was sent. A mode below the one known here: it
 * overtook its own down, whose value is not here yet. It is dropped and comes again.
 */
static bool is_ready(const struct grd_lock_share *share, const struct grd_msg *msg)
{
    return share && share->tenure == msg->held && !grd_lock_is_waiting(&share->claim) &&
           (grd_lock_covers(msg->now, share->claim.held) || grd_lock_mutant(GRD_LOCK_MUT_NOW_IGNORED));
}

/* Somebody came before those who only try: they would wait for their turn, which is not what they asked for. */
static void refuse_tries(struct grd_lock_master *master, const struct grd_lock_share *share,
                         struct grd_actions *actions)
{
    struct grd_lock_claim *claim, *next;

    for (claim = share->entry->queue.first; claim; claim = next) {
        next = claim->next;
        if (claim != &share->claim && grd_lock_is_waiting(claim) && (claim->flags & GRD_LOCK_TRY))
            do_refuse(master, grd_lock_share_from(claim), GRD_LOCK_BUSY, actions);
    }
}

static void do_wait(struct grd_lock_master *master, struct grd_lock_share *share, const struct grd_msg *msg,
                    uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_queue *queue = &share->entry->queue;
    bool others_wait = grd_lock_queue_waits(queue);

    share->claim.flags = msg->flags;
    share->since_ns = now_ns;
    grd_lock_queue_add(queue, &share->claim, msg->mode, ++master->arrival_last);
    share->claim.stake = grd_lock_covers(share->claim.held, msg->stake) ? msg->stake : GRD_LOCK_NL;
    do_serve(master, share->entry, actions);
    if (!grd_lock_is_waiting(&share->claim))
        return;
    if ((msg->flags & GRD_LOCK_TRY) && others_wait) {
        do_refuse(master, share, GRD_LOCK_BUSY, actions);
        return;
    }
    if (share->claim.state == GRD_LOCK_CONVERTING || (msg->flags & GRD_LOCK_HEAD))
        refuse_tries(master, share, actions);
    if (share->claim.stake != GRD_LOCK_NL)
        do_deadlock(master, share, actions);
}

static void on_request(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_lock_share *share = entry ? grd_lock_share_of(entry, msg->from) : NULL;

    master->counters.requests++;
    if (share && msg->request <= share->request) {
        on_repeated(master, share, msg, actions);
        return;
    }
    if (share == NULL && msg->request <= master->mark[msg->from]) {
        send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_SPENT, actions);
        return;
    }
    if (entry && msg->name.kind != GRD_LOCK_NAME_NONE && !grd_lock_name_equal(&entry->name, &msg->name)) {
        master->counters.taken_names++;
        mark_raise(master, msg->from, msg->request);
        send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_TAKEN, actions);
        return;
    }
    if (msg->held != 0 ? !is_ready(share, msg) : share != NULL) {
        master->counters.stale++;
        return;
    }
    if (share == NULL) {
        entry = grd_lock_entry_get(master, &msg->key, hash, &msg->name);
        share = entry ? grd_lock_share_take(master, entry, msg->from) : NULL;
        if (share == NULL) {
            master->counters.refused_bounds++;
            mark_raise(master, msg->from, msg->request); /* a copy that comes late must not be granted */
            send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_FULL, actions);
            if (entry)
                grd_lock_entry_settle(master, entry);
            return;
        }
    }
    share->request = msg->request;
    if (grd_lock_covers(share->claim.held, msg->mode)) /* NL is covered by what is new: it waits for nobody */
        do_grant(master, share, msg->mode, actions);
    else
        do_wait(master, share, msg, now_ns, actions);
    do_after(master, entry, now_ns, actions);
}

/* A cancel may overtake its request: the number is spent either way. */
static void on_cancel(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                      uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_lock_share *share = entry ? grd_lock_share_of(entry, msg->from) : NULL;

    if (share && msg->request == share->request && grd_lock_is_waiting(&share->claim)) {
        do_refuse(master, share, GRD_LOCK_CANCELLED, actions);
        do_after(master, entry, now_ns, actions);
        return;
    }
    if (share && msg->request <= share->request) {
        on_repeated(master, share, msg, actions);
        return;
    }
    if (!grd_lock_mutant(GRD_LOCK_MUT_CANCEL_FORGOTTEN)) {
        if (share) {
            share->request = msg->request;
            share->refusal = GRD_LOCK_CANCELLED;
        } else {
            mark_raise(master, msg->from, msg->request);
        }
    }
    send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_CANCELLED, actions);
}

/* ------------------------------------------------------------------ coming down */

static void value_learn(struct grd_lock_master *master, struct grd_lock_entry *entry,
                        const struct grd_msg *msg)
{
    if (msg->version <= entry->value.version && !grd_lock_mutant(GRD_LOCK_MUT_VALUE_OLD))
        return;
    entry->value.version = msg->version;
    entry->value.is_valid = !(msg->flags & GRD_FLAG_LOST);
    entry->value.bytes_count = msg->value.count;
    memcpy(entry->value.bytes, msg->value.bytes, msg->value.count);
    grd_lock_entry_publish(master, entry);
}

/*
 * A value is taken from who holds its tenure, or writes under a newer one (its conversion from PW to EX was granted
 * while the down was under way). Versions only rise, so that what comes late changes nothing.
 */
static void on_down(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                    struct grd_actions *actions)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_lock_share *share = entry ? grd_lock_share_of(entry, msg->from) : NULL;
    bool is_current = share && share->tenure != 0 &&
                      (share->tenure == msg->tenure || grd_lock_mutant(GRD_LOCK_MUT_DOWN_ANY_TENURE));
    struct grd_msg *answer;

    master->counters.downs++;
    if ((msg->flags & GRD_FLAG_VALUE) && share && grd_lock_covers(share->claim.held, GRD_LOCK_PW))
        value_learn(master, entry, msg);
    answer = grd_action_send(actions, msg->from, GRD_MSG_LOCK_LOWERED, &msg->key);
    answer->tenure = msg->tenure;
    answer->mode = msg->mode;
    answer->flags = msg->flags & GRD_FLAG_RELEASE;
    answer->version = entry ? entry->value.version : msg->version;
    if (!is_current) {
        master->counters.stale++;
        return;
    }
    if (msg->flags & GRD_FLAG_RELEASE) {
        share_end(master, share);
    } else if (grd_lock_covers(share->claim.held, msg->mode)) {
        grd_lock_queue_lower(&entry->queue, &share->claim, msg->mode);
        share->demanded = GRD_LOCK_NL;
        if (share->claim.stake == GRD_LOCK_NL)
            share->demote = GRD_LOCK_NL;
    }
    do_after(master, entry, now_ns, actions);
}

/* Owners there stand against whoever only tries that mode, or more. */
static void on_in_use(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                      uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_lock_share *share = entry ? grd_lock_share_of(entry, msg->from) : NULL;
    struct grd_lock_claim *claim, *next;

    if (share == NULL || share->tenure != msg->tenure) {
        master->counters.stale++;
        return;
    }
    for (claim = entry->queue.first; claim; claim = next) {
        next = claim->next;
        if (grd_lock_is_waiting(claim) && (claim->flags & GRD_LOCK_TRY) && claim != &share->claim &&
            grd_lock_covers(claim->want, msg->mode) && !grd_lock_compatible(share->claim.held, claim->want))
            do_refuse(master, grd_lock_share_from(claim), GRD_LOCK_BUSY, actions);
    }
    do_after(master, entry, now_ns, actions);
}

/* ------------------------------------------------------------------ values without a lock */

static struct grd_msg *send_answer(struct grd_lock_master *master, const struct grd_msg *msg,
                                   const struct grd_lock_entry *entry, enum grd_lock_answer how,
                                   struct grd_actions *actions)
{
    struct grd_msg *answer = grd_action_send(actions, msg->from, GRD_MSG_LOCK_VALUE, &msg->key);
    struct grd_lock_value none = {.version = master->version_floor, .is_valid = true};

    answer->request = msg->request;
    answer->how = (uint8_t)how;
    answer->record = entry ? (uint32_t)(entry - master->entries) : GRD_LOCK_NONE;
    send_value(answer, entry ? &entry->value : &none);
    return answer;
}

/*
 * Who stands against PW but for the asker's own CW or PR, whose copy of the value the answer renews. All are asked
 * to come down if they do not use it.
 */
static bool swap_is_kept_out(struct grd_lock_master *master, struct grd_lock_entry *entry, uint16_t from,
                             struct grd_actions *actions)
{
    struct grd_lock_claim *claim;
    bool is_kept_out = false;

    for (claim = entry->queue.first; claim; claim = claim->next) {
        struct grd_lock_share *share = grd_lock_share_from(claim);

        if (grd_lock_compatible(claim->held, GRD_LOCK_PW) ||
            (share->node == from && !grd_lock_covers(claim->held, GRD_LOCK_PW)))
            continue;
        is_kept_out = true;
        if (share->node != from)
            send_demand(master, share, GRD_LOCK_PW, GRD_LOCK_TRY, actions);
    }
    return is_kept_out;
}

static enum grd_lock_answer swap_try(struct grd_lock_master *master, struct grd_lock_entry *entry,
                                     const struct grd_msg *msg, struct grd_actions *actions)
{
    if (entry == NULL)
        return GRD_LOCK_FULL;
    if (!grd_lock_name_equal(&entry->name, &msg->name))
        return GRD_LOCK_TAKEN;
    if (swap_is_kept_out(master, entry, msg->from, actions)) {
        master->counters.swaps_busy++;
        return GRD_LOCK_BUSY;
    }
    if (entry->value.version != msg->held)
        return GRD_LOCK_CHANGED;
    entry->value.version++;
    entry->value.is_valid = true;
    entry->value.bytes_count = msg->value.count;
    memcpy(entry->value.bytes, msg->value.bytes, msg->value.count);
    grd_lock_entry_publish(master, entry);
    return GRD_LOCK_DONE;
}

/* Each number is answered once and for all, or a copy that comes late would store what its sender was told it did not. */
static void on_swap(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                    struct grd_actions *actions)
{
    struct grd_lock_swap *last = &master->swaps[msg->from * GRD_LOCK_SWAP_SLOTS + msg->slot];
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_msg *answer;

    master->counters.swaps++;
    if (msg->request < last->request) {
        master->counters.stale++;
        return;
    }
    if (msg->request != last->request || grd_lock_mutant(GRD_LOCK_MUT_SWAP_TWICE)) {
        entry = grd_lock_entry_get(master, &msg->key, hash, &msg->name);
        last->request = msg->request;
        last->how = swap_try(master, entry, msg, actions);
        last->version = entry ? entry->value.version : 0;
    }
    answer = send_answer(master, msg, entry, (enum grd_lock_answer)last->how, actions);
    if (last->how == GRD_LOCK_DONE)
        answer->version = last->version;
    if (entry)
        grd_lock_entry_settle(master, entry);
}

/* ------------------------------------------------------------------ steps */

void grd_lock_master_step(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                          uint64_t now_ns, struct grd_actions *actions)
{
    if (msg->from >= master->options.nodes) {
        master->counters.stale++;
        return;
    }
    switch (msg->type) {
    case GRD_MSG_LOCK_REQUEST:
        on_request(master, msg, hash, now_ns, actions);
        break;
    case GRD_MSG_LOCK_CANCEL:
        on_cancel(master, msg, hash, now_ns, actions);
        break;
    case GRD_MSG_LOCK_DOWN:
        on_down(master, msg, hash, now_ns, actions);
        break;
    case GRD_MSG_LOCK_IN_USE:
        on_in_use(master, msg, hash, now_ns, actions);
        break;
    case GRD_MSG_LOCK_SWAP:
        on_swap(master, msg, hash, actions);
        break;
    case GRD_MSG_LOCK_READ:
        master->counters.reads++;
        send_answer(master, msg, grd_lock_entry_find(master, &msg->key, hash), GRD_LOCK_DONE, actions);
        break;
    default:
        master->counters.stale++;
        break;
    }
}

bool grd_lock_master_tick(struct grd_lock_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&master->wheel, now_ns);

    if (timer == NULL)
        return false;
    if (!grd_lock_mutant(GRD_LOCK_MUT_NO_DEMAND_AGAIN))
        send_demands(master, cf_container_of(timer, struct grd_lock_entry, timer), true, actions);
    cf_wheel_arm(&master->wheel, timer, now_ns + master->options.demand_ns);
    return true;
}

uint64_t grd_lock_master_next_ns(const struct grd_lock_master *master)
{
    return cf_wheel_next_ns(&master->wheel);
}

bool grd_lock_master_remove_instance(struct grd_lock_master *master, uint16_t node, uint32_t *cursor,
                                     uint64_t now_ns, struct grd_actions *actions)
{
    if (*cursor == 0) { /* its next life counts from one again */
        master->mark[node] = 0;
        memset(&master->swaps[node * GRD_LOCK_SWAP_SLOTS], 0, GRD_LOCK_SWAP_SLOTS * sizeof *master->swaps);
    }
    while (*cursor < master->options.resources) {
        struct grd_lock_entry *entry = &master->entries[(*cursor)++];
        struct grd_lock_share *share = entry->in_use ? grd_lock_share_of(entry, node) : NULL;

        if (share == NULL)
            continue;
        if (share->claim.is_known && grd_lock_covers(share->claim.held, GRD_LOCK_PW) &&
            !grd_lock_mutant(GRD_LOCK_MUT_VALID_AFTER_DEATH)) { /* I-12 */
            entry->value.version++;
            entry->value.is_valid = false;
            master->counters.invalidated++;
            grd_lock_entry_publish(master, entry);
        }
        grd_lock_share_drop(master, share);
        do_after(master, entry, now_ns, actions);
        return true;
    }
    return false;
}
