/* SPDX-License-Identifier: Apache-2.0 */
/* Clients of locks: what they ask for by chance, and what they make of the answers. */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "grd/lock_table.h"
#include "tools/sim/cluster.h"

#define LOCK_TYPE 7u

static bool chance(struct sim_locker *locker, uint32_t percent)
{
    return cf_rng_below(&locker->rng, 100) < percent;
}

static void rest(struct sim_locker *locker)
{
    struct sim_cluster *cluster = locker->cluster;

    locker->state = SIM_LOCKER_IDLE;
    locker->wake_ns = cluster->now_ns + 1 + cf_rng_below(&locker->rng, 2 * cluster->plan.think_ns_mean + 1);
}

static bool is_stop(const struct sim_cluster *cluster, enum cf_rc rc)
{
    return cluster->crashed != CF_NODE_NONE && cf_rc_class(rc) == CF_CLASS_PEER;
}

static void held_remove(struct sim_locker *locker, uint32_t at)
{
    locker->held[at] = locker->held[--locker->held_count];
}

/* ---- calling ---- */

static void submit(struct sim_locker *locker, enum cf_op_kind kind, uint32_t flags)
{
    struct sim_cluster *cluster = locker->cluster;
    struct cf_op *op = &locker->op;
    bool may_end = (kind == CF_OP_LOCK || kind == CF_OP_CONVERT) && !cluster->is_calm &&
                   !cluster->plan.is_patient;
    enum cf_rc rc;

    memset(op, 0, sizeof *op);
    memset(&locker->value_out, 0, sizeof locker->value_out);
    op->kind = kind;
    op->flags = flags;
    op->deadline_ns = CF_FOREVER;
    op->user = locker;
    op->lock = &locker->args;
    op->rc = CF_PENDING;
    locker->args.value_out = &locker->value_out;
    locker->args.owner = locker->number + 1u;
    locker->args.cost = locker->number % 3u;
    locker->is_cancelled = locker->is_stored = locker->is_victim = locker->is_alone = locker->was_stuck =
        false;
    locker->wake_ns = SIM_NEVER;
    if (may_end && chance(locker, 10))
        op->deadline_ns = cluster->now_ns + cf_rng_below(&locker->rng, cluster->plan.deadlock_after_ns * 2);
    if (may_end && chance(locker, 5))
        locker->wake_ns = cluster->now_ns + 1 + cf_rng_below(&locker->rng, cluster->plan.deadlock_after_ns);
    locker->state = SIM_LOCKER_WAITS;
    locker->submitted_ns = cluster->now_ns;
    rc = cf_submit(locker->session, op);
    if (rc == CF_OK && op->rc == CF_OK &&
        sim_locker_waits(locker)) /* served at once: the way is open from now on */
        locker->held[locker->at].mode = (uint8_t)locker->held[locker->at].claim.mode;
    if (rc == CF_OK)
        return;
    op->rc = rc;
    locker->is_done = true;
    locker->wake_ns = cluster->now_ns;
}

static void submit_lock(struct sim_locker *locker)
{
    static const uint32_t flags[] = {0, 0, 0, 0, 0, CF_LOCK_TRY, CF_LOCK_TRY | CF_LOCK_NOTIFY, CF_LOCK_HEAD};
    struct sim_cluster *cluster = locker->cluster;
    struct sim_locker_held *held = &locker->held[locker->held_count];
    uint32_t lock = (uint32_t)cf_rng_below(&locker->rng, cluster->plan.locks);

    for (uint32_t h = 0; h < locker->held_count; h++)
        if (locker->held[h].lock == lock) {
            rest(locker);
            return;
        }
    locker->at = locker->held_count++;
    memset(held, 0, sizeof *held);
    held->lock = locker->lock = lock;
    locker->args = (struct cf_lock_args){.lock = cluster->locks->handles[locker->node * SIM_LOCKS_MAX + lock],
                                         .claim = &held->claim,
                                         .mode = (uint32_t)cf_rng_below(&locker->rng, GRD_LOCK_MODES)};
    submit(locker, CF_OP_LOCK, flags[cf_rng_below(&locker->rng, sizeof flags / sizeof *flags)]);
}

/* What is written with a claim in PW or EX: the ghost learns of it before the call, which may let others in. */
static const struct cf_lock_value *write_begin(struct sim_locker *locker, const struct sim_locker_held *held,
                                               uint32_t *flags)
{
    bool is_valid = !chance(locker, 5);

    if (chance(locker, 30) || locker->cluster->crashed != CF_NODE_NONE)
        return NULL;
    sim_lock_value_make(&locker->value, ++locker->cluster->locks->stamp_last);
    sim_lock_written(locker, held->lock, is_valid, locker->cluster->locks->stamp_last);
    *flags |= (is_valid ? 0 : CF_LOCK_INVALIDATE) | (chance(locker, 20) ? CF_LOCK_PUBLISH : 0);
    locker->at_least = locker->cluster->locks->truth[held->lock].version;
    return &locker->value;
}

static void submit_unlock(struct sim_locker *locker, uint32_t at)
{
    struct sim_locker_held *held = &locker->held[at];
    uint32_t flags = 0;

    locker->lock = held->lock;
    locker->args = (struct cf_lock_args){.claim = &held->claim};
    if (held->mode >= CF_LOCK_PW)
        locker->args.value = write_begin(locker, held, &flags);
    held->mode = CF_LOCK_NL;
    locker->at = at;
    submit(locker, CF_OP_UNLOCK, flags);
}

static void submit_convert(struct sim_locker *locker, uint32_t at)
{
    static const uint32_t ups[] = {0, 0, 0, CF_LOCK_FIFO, CF_LOCK_DEMOTE, CF_LOCK_TRY};
    struct sim_locker_held *held = &locker->held[at];
    uint8_t mode = (uint8_t)cf_rng_below(&locker->rng, GRD_LOCK_MODES), before = held->mode;
    uint32_t flags = ups[cf_rng_below(&locker->rng, sizeof ups / sizeof *ups)];

    if (locker->cluster->plan.is_patient)
        flags &= ~(uint32_t)CF_LOCK_DEMOTE;

    locker->lock = held->lock;
    locker->at = at;
    locker->args = (struct cf_lock_args){.claim = &held->claim, .mode = mode};
    if (grd_lock_value_move(before, mode) == GRD_LOCK_WRITE_VALUE)
        locker->args.value = write_begin(locker, held, &flags);
    if (grd_lock_covers(before, mode))
        held->mode = mode;
    else if (flags & CF_LOCK_DEMOTE)
        held->mode = CF_LOCK_NL;
    submit(locker, CF_OP_CONVERT, flags);
}

static void submit_value(struct sim_locker *locker)
{
    struct sim_locks *locks = locker->cluster->locks;
    uint32_t lock = (uint32_t)cf_rng_below(&locker->rng, locker->cluster->plan.locks);
    const struct sim_lock_truth *truth = &locks->truth[lock];

    locker->lock = lock;
    locker->args = (struct cf_lock_args){.lock = locks->handles[locker->node * SIM_LOCKS_MAX + lock]};
    locker->at_least = truth->published > locks->seen[locker->node * SIM_LOCKS_MAX + lock]
                           ? truth->published
                           : locks->seen[locker->node * SIM_LOCKS_MAX + lock];
    if (chance(locker, 50)) {
        submit(locker, CF_OP_VALUE_READ, 0);
        return;
    }
    locker->stamp = ++locks->stamp_last;
    sim_lock_value_make(&locker->value, locker->stamp);
    locker->args.value = &locker->value;
    locker->args.expected = truth->version - (truth->version > 0 && chance(locker, 20));
    submit(locker, CF_OP_VALUE_SWAP, 0);
}

static void begin_call(struct sim_locker *locker)
{
    struct sim_cluster *cluster = locker->cluster;
    uint32_t at = locker->held_count ? (uint32_t)cf_rng_below(&locker->rng, locker->held_count) : 0;

    if (locker->held_count > 0 && (cluster->is_calm || locker->gives_up)) {
        submit_unlock(locker, at);
    } else if (cluster->is_calm || cluster->nodes[locker->node].is_stopped) {
        locker->state = SIM_LOCKER_ENDED;
        locker->wake_ns = SIM_NEVER;
    } else if (locker->held_count > 0 && chance(locker, 30)) {
        submit_unlock(locker, at);
    } else if (locker->held_count > 0 && chance(locker, 35)) {
        submit_convert(locker, at);
    } else if (chance(locker, 20)) {
        submit_value(locker);
    } else if (locker->held_count < SIM_LOCKER_HELD_MAX) {
        submit_lock(locker);
    } else {
        rest(locker);
    }
}

/* ---- completions ---- */

static bool is_expected(const struct sim_locker *locker, enum cf_rc rc)
{
    switch (rc) {
    case CF_CANCELLED:
        return locker->is_cancelled;
    case CF_TIMEOUT:
        return locker->op.deadline_ns <= locker->cluster->now_ns;
    case CF_BUSY:
        return (locker->op.flags & CF_LOCK_TRY) || locker->op.kind == CF_OP_VALUE_SWAP;
    case CF_DEADLOCK:
        return locker->op.kind == CF_OP_LOCK || locker->op.kind == CF_OP_CONVERT;
    case CF_VALUE_CHANGED:
        return locker->op.kind == CF_OP_VALUE_SWAP;
    default:
        return rc == CF_OK || rc == CF_AGAIN || is_stop(locker->cluster, rc);
    }
}

static void on_claim(struct sim_locker *locker, enum cf_rc rc)
{
    struct sim_locker_held *held = &locker->held[locker->at];

    if (rc == CF_OK && held->claim.mode != locker->args.mode)
        sim_cluster_break(locker->cluster, "API lock %u: node %u asked for %s and got %s", held->lock,
                          locker->node, grd_lock_mode_name((uint8_t)locker->args.mode),
                          grd_lock_mode_name((uint8_t)held->claim.mode));
    if (rc != CF_OK && rc != CF_BUSY) {
        locker->cluster->locks->ended_ns = locker->cluster->now_ns;
        sim_lock_ends(locker->cluster);
    }
    locker->gives_up = locker->gives_up || rc == CF_DEADLOCK;
    if (rc != CF_OK && locker->op.kind == CF_OP_LOCK) {
        held_remove(locker, locker->at);
        return;
    }
    sim_lock_granted(locker, held, (uint8_t)held->claim.mode);
    if (rc == CF_OK)
        sim_lock_value_seen(locker, held->lock, held->mode, &locker->value_out);
    if (rc == CF_OK && (locker->op.flags & CF_LOCK_PUBLISH))
        locker->cluster->locks->truth[held->lock].published = locker->at_least;
}

static void on_read(struct sim_locker *locker)
{
    struct sim_locks *locks = locker->cluster->locks;
    uint64_t *seen = &locks->seen[locker->node * SIM_LOCKS_MAX + locker->lock];

    locks->reads++;
    sim_lock_value_seen(locker, locker->lock, CF_LOCK_NL, &locker->value_out);
    if (locker->value_out.version < locker->at_least)
        sim_cluster_break(locker->cluster,
                          "I-12 lock %u: node %u reads version %llu after %llu was published or read",
                          locker->lock, locker->node, (unsigned long long)locker->value_out.version,
                          (unsigned long long)locker->at_least);
    if (locker->value_out.version > *seen)
        *seen = locker->value_out.version;
}

static void on_done(struct sim_locker *locker)
{
    struct sim_cluster *cluster = locker->cluster;
    struct sim_lock_truth *truth = &cluster->locks->truth[locker->lock];
    enum cf_rc rc = locker->op.rc;

    if (cluster->locks->trial && locker->op.kind != CF_OP_VALUE_SWAP &&
        ((rc != CF_OK && !(locker->op.flags & CF_LOCK_TRY)) || locker->held[locker->at].claim.is_demoted))
        sim_lock_trial_give_up();
    sim_cluster_trace(cluster, (uint64_t)locker->node << 48 | (uint64_t)locker->number << 32 | (uint32_t)rc);
    if (!is_expected(locker, rc))
        sim_cluster_break(cluster, "API lock %u: a call (kind %u) of node %u answered %s", locker->lock,
                          locker->op.kind, locker->node, cf_rc_name(rc));
    if (is_stop(cluster, rc)) { /* what it held is gone with its instance, whatever its claims say */
        locker->held_count = 0;
    } else if (locker->op.kind == CF_OP_LOCK || locker->op.kind == CF_OP_CONVERT) {
        on_claim(locker, rc);
    } else if (locker->op.kind == CF_OP_UNLOCK) {
        if (rc == CF_OK && (locker->op.flags & CF_LOCK_PUBLISH) && truth->published < locker->at_least)
            truth->published = locker->at_least;
        held_remove(locker, locker->at);
    } else if (locker->op.kind == CF_OP_VALUE_SWAP) {
        sim_lock_swapped(locker, rc);
    } else if (rc == CF_OK) {
        on_read(locker);
    }
    locker->gives_up = locker->gives_up && locker->held_count > 0;
    rest(locker);
}

/* All that is done is collected before anybody acts on it: a victim is judged by how things stood. */
static void collect(struct sim_locker *locker)
{
    struct cf_op *done[1];

    if (locker->state == SIM_LOCKER_WAITS && !locker->is_done && cf_poll(locker->session, done, 1) == 1) {
        cf_assert(done[0] == &locker->op);
        locker->is_done = true;
    }
    if (locker->is_done &&
        sim_locker_waits(locker)) /* a conversion may have opened the way for the next one here */
        locker->held[locker->at].mode = (uint8_t)locker->held[locker->at].claim.mode;
}

static void wake(struct sim_locker *locker)
{
    if (locker->state == SIM_LOCKER_IDLE) {
        begin_call(locker);
    } else if (locker->state == SIM_LOCKER_WAITS) {
        locker->wake_ns = SIM_NEVER;
        if (locker->cluster->locks->trial)
            return;
        locker->is_cancelled = true;
        (void)cf_cancel(locker->session,
                        &locker->op); /* CF_NOT_FOUND when it was done first: both are fine */
    }
}

bool sim_locks_turn(struct sim_cluster *cluster, uint16_t node)
{
    struct sim_locker *lockers = &cluster->locks->lockers[node * cluster->plan.lockers];
    uint32_t count = cluster->plan.lockers;
    bool acted = false;

    for (uint32_t i = 0; i < count; i++)
        collect(&lockers[i]);
    for (uint32_t i = 0; i < count; i++)
        if (lockers[i].is_done && lockers[i].op.rc == CF_DEADLOCK)
            sim_lock_victim(&lockers[i]);
    for (uint32_t i = 0; i < count; i++) {
        if (lockers[i].is_done) {
            lockers[i].is_done = false;
            on_done(&lockers[i]);
            acted = true;
        }
        if (lockers[i].wake_ns <= cluster->now_ns) {
            wake(&lockers[i]);
            acted = true;
        }
    }
    sim_lock_bound(cluster);
    return acted;
}

uint64_t sim_locks_next_ns(const struct sim_cluster *cluster, uint16_t node)
{
    uint64_t next_ns = SIM_NEVER;

    for (uint32_t i = 0; i < cluster->plan.lockers; i++) {
        const struct sim_locker *locker = &cluster->locks->lockers[node * cluster->plan.lockers + i];

        if (locker->session && locker->wake_ns < next_ns)
            next_ns = locker->wake_ns;
    }
    return next_ns;
}

bool sim_locks_ended(const struct sim_cluster *cluster)
{
    for (uint32_t i = 0; i < sim_lockers_count(cluster); i++) {
        const struct sim_locker *locker = sim_locker_at(cluster, i);

        if (locker->state != SIM_LOCKER_ENDED && !cluster->nodes[locker->node].is_crashed)
            return false;
    }
    return true;
}

/* ---- open and close ---- */

bool sim_locks_open(struct sim_cluster *cluster)
{
    const struct sim_plan *plan = &cluster->plan;
    struct sim_locks *locks = calloc(1, sizeof *locks);

    cluster->locks = locks;
    if (locks == NULL)
        return false;
    locks->handles = calloc((size_t)plan->instances * SIM_LOCKS_MAX, sizeof(struct cf_lock *));
    locks->seen = calloc((size_t)plan->instances * SIM_LOCKS_MAX, sizeof *locks->seen);
    locks->lockers = calloc((size_t)plan->instances * plan->lockers + 1, sizeof *locks->lockers);
    for (uint32_t i = 0; i < SIM_LOCKS_MAX; i++)
        locks->truth[i].is_valid = true;
    return locks->handles && locks->seen && locks->lockers;
}

void sim_locks_close(struct sim_cluster *cluster)
{
    struct sim_locks *locks = cluster->locks;

    if (locks == NULL)
        return;
    free(locks->handles);
    free(locks->seen);
    free(locks->lockers);
    free(locks);
    cluster->locks = NULL;
}

bool sim_locks_open_node(struct sim_cluster *cluster, uint16_t node)
{
    enum cf_rc rc = CF_OK;

    for (uint32_t i = 0; i < cluster->plan.lockers && rc == CF_OK; i++) {
        struct sim_locker *locker = &cluster->locks->lockers[node * cluster->plan.lockers + i];

        locker->cluster = cluster;
        locker->node = node;
        locker->number = (uint16_t)i;
        cf_rng_seed(&locker->rng,
                    cluster->plan.options.seed ^ ((uint64_t)node << 32 | i) ^ UINT64_C(0x10c4e5));
        rest(locker);
        rc = cf_session_open(cluster->nodes[node].instance, &locker->session);
        for (uint32_t l = 0; l < cluster->plan.locks && i == 0 && rc == CF_OK; l++)
            rc = cf_lock_open_ids(locker->session, LOCK_TYPE, l, 0,
                                  &cluster->locks->handles[node * SIM_LOCKS_MAX + l]);
        sim_cluster_due(cluster, node, locker->wake_ns);
    }
    if (rc != CF_OK)
        sim_cluster_break(cluster, "node %u: sessions or handles of locks: %s", node, cf_rc_name(rc));
    return rc == CF_OK;
}
