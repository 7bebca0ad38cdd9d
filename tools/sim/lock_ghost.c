/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Checks of locks against what only the simulator knows. What waits is judged by what callers have been told: a claim
 * counts as held from the completion of its request to the submission of its unlock.
 */
#include <string.h>

#include "base/clock.h"
#include "grd/lock_table.h"
#include "tools/sim/cluster.h"

#define ULL(x) ((unsigned long long)(x))
#define VALUE_BYTES_MIN 8u
/* Between two looks at who is stuck. */
#define BOUND_LOOK_NS (500 * CF_NS_PER_US)
/* A repetition is doubled so often at most (grd/lock_local.c). */
#define RESEND_DOUBLED 4u
/* So long a round waits for answers, and a victim for its acknowledgement, that were lost (engine/detect_impl.h). */
#define DETECT_PERIODS 8u

struct sim_locker *sim_locker_at(const struct sim_cluster *cluster, uint32_t number)
{
    return &cluster->locks->lockers[number];
}

uint32_t sim_lockers_count(const struct sim_cluster *cluster)
{
    return cluster->plan.instances * cluster->plan.lockers;
}

bool sim_locker_waits(const struct sim_locker *locker)
{
    return locker->state == SIM_LOCKER_WAITS &&
           (locker->op.kind == CF_OP_LOCK || locker->op.kind == CF_OP_CONVERT) &&
           locker->at < locker->held_count;
}

static bool is_gone(const struct sim_locker *locker)
{
    return locker->cluster->nodes[locker->node].is_crashed;
}

/* ---- values ---- */

void sim_lock_value_make(struct cf_lock_value *value, uint64_t stamp)
{
    memset(value, 0, sizeof *value);
    value->bytes_count = (uint8_t)(VALUE_BYTES_MIN + stamp % (CF_LOCK_VALUE_BYTES - VALUE_BYTES_MIN + 1));
    memset(value->bytes, (int)(stamp & 0xff), value->bytes_count);
    memcpy(value->bytes, &stamp, sizeof stamp);
}

static uint64_t stamp_of(struct sim_locker *locker, uint32_t lock, const struct cf_lock_value *value)
{
    struct cf_lock_value again;
    uint64_t stamp = 0;

    if (value->bytes_count == 0)
        return 0;
    if (value->bytes_count >= sizeof stamp)
        memcpy(&stamp, value->bytes, sizeof stamp);
    sim_lock_value_make(&again, stamp);
    if (again.bytes_count != value->bytes_count || memcmp(again.bytes, value->bytes, again.bytes_count) != 0)
        sim_cluster_break(locker->cluster, "I-12 lock %u: node %u got a torn value", lock, locker->node);
    return stamp;
}

static void truth_set(struct sim_cluster *cluster, uint32_t lock, bool is_valid, uint64_t stamp)
{
    struct sim_lock_truth *truth = &cluster->locks->truth[lock];

    truth->version++;
    truth->is_valid = is_valid;
    truth->stamp = stamp;
    if (truth->version < SIM_LOCK_HISTORY_MAX)
        truth->history[truth->version] = stamp;
}

/* A swap is known to be carried out when its value is first seen, or when its caller is told. */
static void swap_adopt(struct sim_cluster *cluster, uint32_t lock, uint64_t version, uint64_t stamp)
{
    struct sim_lock_truth *truth = &cluster->locks->truth[lock];

    for (uint32_t i = 0; version == truth->version + 1 && i < sim_lockers_count(cluster); i++) {
        struct sim_locker *locker = sim_locker_at(cluster, i);

        if (locker->state != SIM_LOCKER_WAITS || locker->op.kind != CF_OP_VALUE_SWAP ||
            locker->lock != lock || locker->stamp != stamp || locker->args.expected != truth->version ||
            locker->is_stored)
            continue;
        locker->is_stored = true;
        truth_set(cluster, lock, true, stamp);
        return;
    }
}

void sim_lock_value_seen(struct sim_locker *locker, uint32_t lock, uint8_t mode,
                         const struct cf_lock_value *value)
{
    struct sim_cluster *cluster = locker->cluster;
    const struct sim_lock_truth *truth = &cluster->locks->truth[lock];
    uint64_t stamp = stamp_of(locker, lock, value);

    if (cluster->crashed != CF_NODE_NONE)
        return;
    cluster->locks->values++;
    swap_adopt(cluster, lock, value->version, stamp);
    if (value->version > truth->version)
        sim_cluster_break(
            cluster, "I-12 lock %u: node %u got version %llu, which was never stored: %llu is the newest",
            lock, locker->node, ULL(value->version), ULL(truth->version));
    else if (value->version < SIM_LOCK_HISTORY_MAX && truth->history[value->version] != stamp)
        sim_cluster_break(cluster, "I-12 lock %u: node %u got version %llu with other bytes", lock,
                          locker->node, ULL(value->version));
    else if (mode >= CF_LOCK_CW && (value->version != truth->version || value->is_valid != truth->is_valid))
        sim_cluster_break(cluster, "I-12 lock %u: node %u reads version %llu in %s, the newest is %llu", lock,
                          locker->node, ULL(value->version), grd_lock_mode_name(mode), ULL(truth->version));
}

void sim_lock_written(struct sim_locker *locker, uint32_t lock, bool is_valid, uint64_t stamp)
{
    truth_set(locker->cluster, lock, is_valid, stamp);
}

void sim_lock_swapped(struct sim_locker *locker, enum cf_rc rc)
{
    struct sim_cluster *cluster = locker->cluster;

    if (rc == CF_OK)
        swap_adopt(cluster, locker->lock, locker->value_out.version, locker->stamp);
    if ((rc == CF_OK) != locker->is_stored && cluster->crashed == CF_NODE_NONE)
        sim_cluster_break(cluster, "I-12 lock %u: a swap of node %u from version %llu answered %s and was %s",
                          locker->lock, locker->node, ULL(locker->args.expected), cf_rc_name(rc),
                          locker->is_stored ? "stored" : "not stored");
    cluster->locks->swaps += rc == CF_OK;
}

/* ---- grants ---- */

/* A conversion that is through counts from its grant on, also before its owner has looked. */
static uint8_t mode_of(const struct sim_locker *locker, uint32_t h)
{
    const struct sim_locker_held *held = &locker->held[h];
    bool is_converted = sim_locker_waits(locker) && h == locker->at && locker->op.kind == CF_OP_CONVERT &&
                        (uint32_t)held->claim.mode == (uint32_t)locker->args.mode;

    return is_converted ? (uint8_t)held->claim.mode : held->mode;
}

void sim_lock_granted(struct sim_locker *locker, struct sim_locker_held *held, uint8_t mode)
{
    struct sim_cluster *cluster = locker->cluster;

    cluster->locks->grants++;
    for (uint32_t i = 0; i < sim_lockers_count(cluster); i++) {
        const struct sim_locker *other = sim_locker_at(cluster, i);

        for (uint32_t h = 0; h < other->held_count && !is_gone(other); h++)
            if (&other->held[h] != held && other->held[h].lock == held->lock &&
                !grd_lock_compatible(mode_of(other, h), mode))
                sim_cluster_break(cluster,
                                  "I-11 lock %u: node %u client %u got %s while node %u client %u holds %s",
                                  held->lock, locker->node, locker->number, grd_lock_mode_name(mode),
                                  other->node, other->number, grd_lock_mode_name(mode_of(other, h)));
    }
    held->mode = mode;
}

/* ---- deadlocks ---- */

/* Does `other` stand before `locker`? `by_order`: also if it only waits for the same lock. */
static bool stands_before(const struct sim_locker *locker, const struct sim_locker *other, bool by_order)
{
    bool waits = sim_locker_waits(other);

    for (uint32_t h = 0; h < other->held_count; h++)
        if (other->held[h].lock == locker->held[locker->at].lock &&
            ((by_order && waits && h == other->at) ||
             !grd_lock_compatible(mode_of(other, h), (uint8_t)locker->args.mode)))
            return true;
    return false;
}

/*
 * Who goes on if everybody who does not wait unlocks, and so on. Who waited in an instance that crashed waits: its conversion
 * stands at the master, and nobody has heard yet that it is nobody's.
 */
static void goes_find(const struct sim_cluster *cluster, bool by_order, bool *goes)
{
    uint32_t count = sim_lockers_count(cluster);
    bool moved = true;

    while (moved) {
        moved = false;
        for (uint32_t a = 0; a < count; a++) {
            const struct sim_locker *locker = sim_locker_at(cluster, a);
            bool can = true;

            if (goes[a])
                continue;
            for (uint32_t b = 0; can && sim_locker_waits(locker) && b < count; b++)
                can = b == a || goes[b] || !stands_before(locker, sim_locker_at(cluster, b), by_order);
            goes[a] = can;
            moved = moved || can;
        }
    }
}

void sim_lock_ends(struct sim_cluster *cluster)
{
    bool goes[SIM_LOCKERS_MAX] = {false};

    goes_find(cluster, true, goes);
    for (uint32_t i = 0; i < sim_lockers_count(cluster); i++)
        sim_locker_at(cluster, i)->was_stuck |= !goes[i];
}

void sim_lock_victim(struct sim_locker *locker)
{
    struct sim_cluster *cluster = locker->cluster;
    bool goes[SIM_LOCKERS_MAX] = {false};

    cluster->locks->deadlocks++;
    if (locker->is_victim && !locker->is_alone)
        return;
    goes_find(cluster, true, goes);
    if (goes[locker - cluster->locks->lockers] && !locker->was_stuck)
        sim_cluster_break(cluster, "I-14 lock %u: node %u client %u was told of a deadlock and was in none",
                          locker->lock, locker->node, locker->number);
}

/* Do both wait, or one hold and the other wait, for one lock in one instance? Then who is first there is not known here. */
static bool shares_queue(const struct sim_locker *locker, const struct sim_locker *other)
{
    uint32_t lock = locker->held[locker->at].lock;

    return other != locker && other->node == locker->node && sim_locker_waits(other) &&
           other->held[other->at].lock == lock;
}

/*
 * Who waits at home, for an owner that will go on or behind another one that waits there and will be served, has not asked the
 * master: what stands in its way elsewhere is told when it has (docs/locks-detector.md).
 */
static bool is_latent(const struct sim_cluster *cluster, const struct sim_locker *locker, const bool *goes)
{
    for (uint32_t b = 0; b < sim_lockers_count(cluster); b++) {
        const struct sim_locker *other = sim_locker_at(cluster, b);

        if (other != locker && other->node == locker->node && goes[b] && stands_before(locker, other, false))
            return true;
        if (goes[b] && shares_queue(locker, other))
            return true;
    }
    return false;
}

/* Who goes on, and who cannot be known to be stuck because of them. */
static void stuck_find(const struct sim_cluster *cluster, bool *goes)
{
    uint32_t count = sim_lockers_count(cluster);
    bool moved = true;

    while (moved) {
        moved = false;
        goes_find(cluster, false, goes);
        for (uint32_t a = 0; a < count; a++) {
            if (goes[a] || !is_latent(cluster, sim_locker_at(cluster, a), goes))
                continue;
            goes[a] = moved = true;
        }
    }
}

bool sim_lock_is_faultless(const struct sim_cluster *cluster)
{
    const bool *faults = cluster->plan.faults;

    return !(faults[SIM_FAULT_LOSS] || faults[SIM_FAULT_DUPLICATE] || faults[SIM_FAULT_REORDER] ||
             faults[SIM_FAULT_DELAY] || faults[SIM_FAULT_SLOW] || faults[SIM_FAULT_CUT] ||
             faults[SIM_FAULT_FLAP] || faults[SIM_FAULT_STALL]);
}

/* From here on a deadlock is seen at once: nothing is lost, and every instance hears every other one. */
static bool is_settled(struct sim_cluster *cluster)
{
    struct sim_locks *locks = cluster->locks;
    bool is_faultless = sim_lock_is_faultless(cluster);

    if (locks->settled_ns == 0 && (is_faultless || cluster->is_calm) && sim_net_is_whole(cluster->net)) {
        uint64_t calm_ns = is_faultless ? 0 : sim_net_calm_ns(cluster->net);

        locks->settled_ns = (calm_ns > cluster->now_ns ? calm_ns : cluster->now_ns) +
                            (cluster->plan.net.order == SIM_LINKS && !is_faultless ? SIM_LOCK_SETTLE_NS : 0);
    }
    return locks->settled_ns != 0 && cluster->now_ns >= locks->settled_ns;
}

void sim_lock_bound(struct sim_cluster *cluster)
{
    const struct sim_plan *plan = &cluster->plan;
    uint64_t bound_ns = plan->deadlock_after_ns + (2 * DETECT_PERIODS + 4) * plan->deadlock_period_ns +
                        (plan->resend_ns << (RESEND_DOUBLED + 1)) + SIM_LOCK_ROUND_NS;
    bool goes[SIM_LOCKERS_MAX] = {false};

    /* In a copy nobody ends deadlocks. */
    if (cluster->now_ns < cluster->locks->bound_next_ns || cluster->crashed != CF_NODE_NONE ||
        cluster->locks->trial || !is_settled(cluster))
        return;
    cluster->locks->bound_next_ns = cluster->now_ns + BOUND_LOOK_NS;
    stuck_find(cluster, goes);
    for (uint32_t i = 0; i < sim_lockers_count(cluster); i++) {
        struct sim_locker *locker = sim_locker_at(cluster, i);

        if (goes[i])
            locker->stuck_ns = 0;
        else if (locker->stuck_ns == 0)
            locker->stuck_ns = cluster->now_ns;
        if (locker->stuck_ns == 0)
            continue;
        if (cluster->now_ns - locker->stuck_ns > cluster->locks->stuck_ns_max)
            cluster->locks->stuck_ns_max = cluster->now_ns - locker->stuck_ns;
        if (cluster->now_ns - locker->stuck_ns > bound_ns)
            sim_cluster_break(cluster, "I-15 lock %u: node %u client %u has been in a deadlock for %llu us",
                              locker->lock, locker->node, locker->number,
                              ULL((cluster->now_ns - locker->stuck_ns) / 1000));
    }
}
