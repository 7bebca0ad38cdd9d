/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_CLUSTER_H
#define TOOLS_SIM_CLUSTER_H

/*
 * A whole cluster in one thread under virtual time: instances, network, storage, clients, faults, checkers.
 *
 *   next time = min(network, storage, engine timers, clients, next fault)  -->  turns of the instance concerned
 *   --> checkers look at its views --> its clients collect completions and act --> next time
 *
 * Owner: one thread. Two runs of one plan are the same, event by event (I-27).
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/rng.h"
#include "engine/engine.h"
#include "tools/sim/check.h"
#include "tools/sim/history.h"
#include "tools/sim/hot.h"
#include "tools/sim/own.h"
#include "tools/sim/journal.h"
#include "tools/sim/lock.h"
#include "tools/sim/plan.h"
#include "tools/sim/store.h"
#include "transport/sim/sim.h"
#include "transport/sim/tree.h"

/* Blocks of one mini-transaction at most. */
#define SIM_GROUP_MAX 3u
#define SIM_NEVER UINT64_MAX

enum sim_client_state {
    SIM_CLIENT_IDLE = 0, /* acts at wake_ns */
    SIM_CLIENT_WAITS,    /* an op is under way; cancels it at wake_ns */
    SIM_CLIENT_HOLDS,    /* holds blocks until wake_ns */
    SIM_CLIENT_CHANGES,  /* has written one half, writes the other at wake_ns */
    SIM_CLIENT_ENDED
};

/* What one call of a client is about. */
enum sim_intent {
    SIM_INTENT_READ = 0,
    SIM_INTENT_LOOK,
    SIM_INTENT_WRITE,
    SIM_INTENT_UPGRADE,
    SIM_INTENT_GROUP,
    SIM_INTENT_FLUSH,
    SIM_INTENT_SNAPSHOT
};

struct sim_hold {
    struct cf_ref ref;
    struct sim_content seen;
    uint64_t begin_ns;
};

struct sim_client {
    struct sim_cluster *cluster;
    struct cf_session *session;
    struct cf_op op;
    struct sim_hold holds[SIM_GROUP_MAX];
    struct cf_rng rng;
    uint64_t targets[SIM_GROUP_MAX]; /* blocks of this call, rising */
    uint64_t wake_ns;
    uint64_t submitted_ns;
    uint64_t counter_before; /* of the newest version of the block when the snapshot was asked for */
    uint64_t ops;            /* submitted; names values */
    uint64_t ended_after_stop;
    uint16_t node;
    uint16_t number;
    uint8_t state;  /* enum sim_client_state */
    uint8_t intent; /* enum sim_intent */
    uint8_t targets_count;
    uint8_t holds_count;
    bool is_new; /* GET_NEW under way, or to be repeated until it is done */
    bool is_cancelled;
    bool is_refused; /* cf_submit itself said no */
    bool is_served;  /* cf_submit itself has served it */
    CF_ALIGNED(8) uint8_t snapshot[SIM_BLOCK_BYTES];
};

struct sim_node_state {
    struct cf_instance *instance;
    struct cf_file *file;
    struct sim_client *clients;
    uint64_t due_ns; /* a client has acted */
    uint64_t waiting_since_ns;
    bool is_crashed;
    bool is_stopped; /* it has learned that a peer is lost */
};

struct sim_counts {
    uint64_t turns, ops, gets, upgrades, groups, flushes, lost_upgrades, timeouts, cancelled, busy, again,
        stopped, checked_reads, snapshots, moves;
};

struct sim_cluster {
    struct sim_plan plan;
    struct sim_net *net;
    struct sim_disk *disk;
    struct sim_check *check;
    struct sim_history *history;
    struct sim_journal *journal;
    struct sim_node_state *nodes;
    struct sim_locks *locks;
    struct sim_tree tree;
    struct cf_rng rng; /* of faults and of choices that are no client's */
    struct cf_rng move_rng;
    struct sim_counts counts;
    struct sim_hot hot;
    struct sim_own own;
    uint64_t now_ns;
    uint64_t trace;
    uint64_t episode_next_ns;
    uint64_t move_next_ns;
    uint64_t *born;                 /* [blocks] 0 = not yet, 1 = being made, 2 = usable */
    uint16_t crashed;               /* CF_NODE_NONE = nobody */
    struct cf_instance **instances; /* [instances], NULL = gone */
    uint64_t sample_next_ns;        /* SIM_NEVER = directories are looked at after every turn */
    bool is_open;                   /* all members are connected */
    bool is_calm;                   /* no faults, clients begin nothing new */
    bool is_broken;
    char broken[400];
};

struct sim_result {
    bool ok;
    uint64_t events;
    uint64_t trace;
    struct sim_counts counts;
    struct sim_hot hot;
    struct sim_own own;
    uint64_t history_count;
    uint64_t checks;
    uint64_t virtual_ns;
    uint64_t lock_grants, lock_values, lock_swaps, lock_reads, lock_deadlocks, lock_stuck_ns_max, lock_trials,
        lock_trials_open;
    struct sim_net_counters net;
    struct cf_stats stats; /* summed over the instances that lived */
};

/* Runs one plan from open to close; prints to `out` what broke, if something did. */
void sim_cluster_run(const struct sim_plan *plan, FILE *out, struct sim_result *result_out);

/* phases.c: what a run consists of, one after the other; false = broken. */
bool sim_phase_open(struct sim_cluster *cluster);
bool sim_phase_work(struct sim_cluster *cluster);
bool sim_phase_calm(struct sim_cluster *cluster);
bool sim_phase_audit(struct sim_cluster *cluster);
bool sim_phase_crash(struct sim_cluster *cluster);

/* cluster.c: runs events until the time has come or `until` says so; false = broken. */
bool sim_cluster_until(struct sim_cluster *cluster, uint64_t end_ns,
                       bool (*until)(struct sim_cluster *cluster));
CF_PRINTF(2, 3) void sim_cluster_break(struct sim_cluster *cluster, const char *format, ...);
void sim_cluster_trace(struct sim_cluster *cluster, uint64_t word);
void sim_cluster_due(struct sim_cluster *cluster, uint16_t node, uint64_t at_ns);

/* episode.c */
void sim_episode(struct sim_cluster *cluster);
void sim_episodes_end(struct sim_cluster *cluster);

/* Tells the owner of a bucket to give it away. */
void sim_move(struct sim_cluster *cluster);

/* client.c */
void sim_client_open(struct sim_cluster *cluster, struct sim_client *client, uint16_t node, uint16_t number);
/* Collects completions and acts. True: it did something that the engine should see. */
bool sim_client_turn(struct sim_client *client);
uint64_t sim_client_next_ns(const struct sim_client *client);
/* Submits one get in S, or a flush: what the audit does. */
void sim_client_order(struct sim_client *client, enum sim_intent intent, uint64_t block);

#endif
