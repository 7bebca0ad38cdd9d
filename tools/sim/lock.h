/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_LOCK_H
#define TOOLS_SIM_LOCK_H

/*
 * Clients of locks beside those of blocks: they lock, convert, unlock, write, publish, swap and read values, try, cancel
 * and let deadlines pass, over a few locks, so that there are deadlocks. The ghost knows what every one of them holds and
 * what each lock's value is.
 *
 *   IDLE --submit--> WAITS --done--> IDLE ... ENDED: calm, and nothing is held
 */
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/lock.h>

#include "base/rng.h"
#include "engine/engine.h"

#define SIM_LOCKS_MAX 8u
#define SIM_LOCKER_HELD_MAX 2u
#define SIM_LOCK_HISTORY_MAX 8192u
/* A round of the deadlock detector takes no longer when nothing is lost. */
#define SIM_LOCK_ROUND_NS UINT64_C(5000000)
/* Links of dpdk: a lane that is whole again may be silent for so long: a round that lacks an instance proves nothing. */
#define SIM_LOCK_SETTLE_NS UINT64_C(200000000)
/* Victims of a run that are spared in a copy of the cluster. */
#define SIM_LOCK_TRIALS_MAX 24u

struct sim_cluster;

enum sim_locker_state { SIM_LOCKER_IDLE = 0, SIM_LOCKER_WAITS, SIM_LOCKER_ENDED };

struct sim_locker_held {
    struct cf_claim claim;
    uint32_t lock;
    uint8_t mode; /* what nobody else may stand against; NL while it may have been demoted */
};

struct sim_locker {
    struct sim_cluster *cluster;
    struct cf_session *session;
    struct cf_op op;
    struct cf_lock_args args;
    struct cf_lock_value value, value_out;
    struct sim_locker_held held[SIM_LOCKER_HELD_MAX];
    struct cf_rng rng;
    uint64_t wake_ns, submitted_ns;
    uint64_t stamp;    /* of the swap */
    uint64_t at_least; /* version that a read must have */
    uint64_t stuck_ns; /* since when it surely waits for itself; 0 = it does not */
    uint32_t lock;     /* of the call */
    uint32_t at;       /* of held: the one that waits */
    uint16_t node, number;
    uint8_t state; /* enum sim_locker_state */
    uint8_t held_count;
    bool gives_up; /* a victim: unlocks all it has */
    bool is_cancelled;
    bool is_done;
    bool is_victim; /* of the detector */
    bool is_alone;  /* and no other wait had been ended for some rounds */
    bool was_stuck; /* it waited for itself when another wait ended without a grant */
    bool is_stored; /* the swap has been seen to be carried out */
};

/* What a lock's value is. */
struct sim_lock_truth {
    uint64_t version, stamp, published;
    bool is_valid;
    uint64_t history[SIM_LOCK_HISTORY_MAX]; /* stamp of each version; 0 = none */
};

struct sim_locks {
    struct sim_lock_truth truth[SIM_LOCKS_MAX];
    struct cf_lock **handles;   /* [instances][SIM_LOCKS_MAX] */
    uint64_t *seen;             /* [instances][SIM_LOCKS_MAX] newest version that a read has shown there */
    struct sim_locker *lockers; /* [instances][plan.lockers] */
    uint64_t stamp_last;
    uint64_t bound_next_ns;
    uint64_t settled_ns;      /* from here on deadlocks are counted; 0 = not known yet */
    struct sim_locker *trial; /* this process is a copy of the cluster in which this victim is spared */
    uint64_t trial_end_ns;
    uint64_t ended_ns; /* when a wait last ended without a grant, but for those that only try */
    uint64_t grants, values, swaps, reads, deadlocks, stuck_ns_max;
    uint64_t trials, trials_open; /* victims that were spared in a copy; of them, those that proved nothing */
};

/* ---- lock_client.c ---- */
bool sim_locks_open(struct sim_cluster *cluster);
bool sim_locks_open_node(struct sim_cluster *cluster, uint16_t node);
void sim_locks_close(struct sim_cluster *cluster);
/* Collects completions and acts. True: something that the engine should see was done. */
bool sim_locks_turn(struct sim_cluster *cluster, uint16_t node);
uint64_t sim_locks_next_ns(const struct sim_cluster *cluster, uint16_t node);
bool sim_locks_ended(const struct sim_cluster *cluster);

/* ---- lock_ghost.c ---- */
struct sim_locker *sim_locker_at(const struct sim_cluster *cluster, uint32_t number);
uint32_t sim_lockers_count(const struct sim_cluster *cluster);
bool sim_locker_waits(const struct sim_locker *locker);
void sim_lock_value_make(struct cf_lock_value *value, uint64_t stamp);
/* Nothing that concerns messages goes wrong in this run. */
bool sim_lock_is_faultless(const struct sim_cluster *cluster);
/* I-11: nobody holds what does not go together with it. */
void sim_lock_granted(struct sim_locker *locker, struct sim_locker_held *held, uint8_t mode);
/* I-12: what a claim in `mode` shows (NL: what a read shows). */
void sim_lock_value_seen(struct sim_locker *locker, uint32_t lock, uint8_t mode,
                         const struct cf_lock_value *value);
/* A claim in PW or EX stores `value` over what it saw. */
void sim_lock_written(struct sim_locker *locker, uint32_t lock, bool is_valid, uint64_t stamp);
void sim_lock_swapped(struct sim_locker *locker, enum cf_rc rc);
/* I-14: is this wait, which a conversion deadlock or the detector has ended, in a deadlock, or behind one? By order at least. */
void sim_lock_victim(struct sim_locker *locker);
/* A wait ends without a grant: whom it was in a deadlock with may have been told of it already, and not heard it yet. */
void sim_lock_ends(struct sim_cluster *cluster);
/* I-15, I-16: once faults have ceased no deadlock lives longer than the bound. */
void sim_lock_bound(struct sim_cluster *cluster);

/* ---- lock_trial.c ---- */
/* I-14, of a victim of the detector: eng_manual.victim. */
bool sim_lock_trial(void *cluster, const struct cf_op *op);
/* In a copy: has it shown what it is for? Ends the copy then. Called after each event. */
void sim_lock_trial_look(struct sim_cluster *cluster);
/* In a copy: it can prove nothing any more. */
void sim_lock_trial_give_up(void);

#endif
