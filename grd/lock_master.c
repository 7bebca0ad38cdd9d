/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The master's steps. The flow of one request:
 *
 *   on_request -> queue -> share_serve -> share_grant
 *                   |  still waiting: share_deadlock, share_send_demands -> on_down -> share_serve
 *                   +  on_cancel, on_in_use -> share_refuse
 */
#include "grd/lock_master.h"

#include <string.h>

#include "base/assert.h"
#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"

/* ------------------------------------------------------------------ requests */

static void on_repeated(struct grd_lock_master *master, const struct grd_lock_share *share,
                        const struct grd_msg *msg, struct grd_actions *actions)
{
    master->counters.repeated++;
    if (msg->request < share->request || grd_lock_is_waiting(&share->claim))
        return;
    if (share->grant_request == msg->request)
        grd_lock_share_send_grant(master, share, actions);
    else
        grd_lock_share_send_refused(master, msg->from, &msg->key, msg->request,
                                    (enum grd_lock_answer)share->refusal, actions);
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
            grd_lock_share_refuse(master, grd_lock_share_from(claim), GRD_LOCK_BUSY, actions);
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
    grd_lock_share_serve(master, share->entry, actions);
    if (!grd_lock_is_waiting(&share->claim))
        return;
    if ((msg->flags & GRD_LOCK_TRY) && others_wait) {
        grd_lock_share_refuse(master, share, GRD_LOCK_BUSY, actions);
        return;
    }
    if (share->claim.state == GRD_LOCK_CONVERTING || (msg->flags & GRD_LOCK_HEAD))
        refuse_tries(master, share, actions);
    if (share->claim.stake != GRD_LOCK_NL)
        grd_lock_share_deadlock(master, share, actions);
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
        grd_lock_share_send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_SPENT, actions);
        return;
    }
    if (entry && msg->name.kind != GRD_LOCK_NAME_NONE && !grd_lock_name_equal(&entry->name, &msg->name)) {
        master->counters.taken_names++;
        grd_lock_share_mark(master, msg->from, msg->request);
        grd_lock_share_send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_TAKEN, actions);
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
            if (!grd_lock_mutant(GRD_LOCK_MUT_FULL_AGAIN))
                grd_lock_share_mark(master, msg->from,
                                    msg->request); /* a copy that comes late must not be granted */
            grd_lock_share_send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_FULL, actions);
            if (entry)
                grd_lock_entry_settle(master, entry);
            return;
        }
    }
    share->request = msg->request;
    if (grd_lock_covers(share->claim.held, msg->mode)) /* NL is covered by what is new: it waits for nobody */
        grd_lock_share_grant(master, share, msg->mode, actions);
    else
        do_wait(master, share, msg, now_ns, actions);
    grd_lock_share_after(master, entry, now_ns, actions);
}

/* A cancel may overtake its request: the number is spent either way. */
static void on_cancel(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                      uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_lock_share *share = entry ? grd_lock_share_of(entry, msg->from) : NULL;

    if (share && msg->request == share->request && grd_lock_is_waiting(&share->claim)) {
        grd_lock_share_refuse(master, share, GRD_LOCK_CANCELLED, actions);
        grd_lock_share_after(master, entry, now_ns, actions);
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
            grd_lock_share_mark(master, msg->from, msg->request);
        }
    }
    grd_lock_share_send_refused(master, msg->from, &msg->key, msg->request, GRD_LOCK_CANCELLED, actions);
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
        grd_lock_share_end(master, share);
    } else if (grd_lock_covers(share->claim.held, msg->mode)) {
        grd_lock_queue_lower(&entry->queue, &share->claim, msg->mode);
        share->demanded = GRD_LOCK_NL;
        if (share->claim.stake == GRD_LOCK_NL)
            share->demote = GRD_LOCK_NL;
    }
    grd_lock_share_after(master, entry, now_ns, actions);
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
            grd_lock_share_refuse(master, grd_lock_share_from(claim), GRD_LOCK_BUSY, actions);
    }
    grd_lock_share_after(master, entry, now_ns, actions);
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
        grd_lock_swap_on_swap(master, msg, hash, actions);
        break;
    case GRD_MSG_LOCK_READ:
        grd_lock_swap_on_read(master, msg, hash, actions);
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
        grd_lock_share_send_demands(master, cf_container_of(timer, struct grd_lock_entry, timer), true,
                                    actions);
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
        grd_lock_share_after(master, entry, now_ns, actions);
        return true;
    }
    return false;
}
