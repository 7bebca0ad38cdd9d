/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_GRD_LOCK_SIM_IMPL_H
#define TESTS_UNIT_GRD_LOCK_SIM_IMPL_H

/*
 * Shared by the files of the simulated cluster: run (lock_sim.c), network and steps (lock_sim_net.c), clients
 * (lock_sim_client.c), checker (lock_sim_check.c), detector (lock_sim_detect.c).
 */
#include "base/rng.h"
#include "grd/detect.h"
#include "tests/unit/grd/lock_sim.h"

#define LSIM_NODES_MAX 8u
#define LSIM_LOCKS_MAX 20u
#define LSIM_CLIENTS_MAX 6u
#define LSIM_HELD_MAX 3u
#define LSIM_HISTORY_MAX 4096u
#define LSIM_FLIGHT_MAX 16384u
#define LSIM_TURN_NS UINT64_C(100000)
#define LSIM_QUIET_TURNS_MAX 60000u
#define LSIM_DETECT_TURNS 40u
#define LSIM_REPORTS_MAX 4096u
#define LSIM_PHANTOM_TURNS 3000u
/*
 * How long a deadlock may live without faults: what was lost before is said again within the longest repetition
 * (4 ms doubled four times), then the round under way and two more, of 4 ms each.
 */
#define LSIM_STUCK_NS_MAX (UINT64_C(64000000) + 3 * UINT64_C(4000000))

struct lsim_flight {
    uint64_t due_ns, number;
    uint16_t from, to, type;
    uint32_t bytes;
    uint8_t body[GRD_MSG_BYTES_MAX];
};

struct lsim_held {
    grd_lock_id lock;
    uint32_t name;
    uint8_t mode; /* what nobody else may stand against; NL while it may have been demoted */
};

enum lsim_state { LSIM_IDLE, LSIM_WAITING, LSIM_CONVERTING, LSIM_PUBLISHING, LSIM_SWAPPING, LSIM_READING };

struct lsim_client {
    uint16_t node;
    uint32_t number;
    enum lsim_state state;
    struct lsim_held held[LSIM_HELD_MAX];
    uint32_t held_count;
    uint32_t at; /* the one that waits, converts, publishes */
    uint32_t name;
    uint8_t before, want; /* modes of the conversion or request */
    uint8_t flags;
    uint64_t stamp, expected; /* of the swap */
    bool gives_up;            /* a victim: unlocks all it has */
    uint64_t stuck_ns;        /* since when it surely waits for itself; 0 = it does not */
};

/* What a lock's value is, as the one who sees everything knows it. */
struct lsim_truth {
    uint64_t version;
    bool is_valid;
    bool is_present; /* its master has a record of it; else what it was has been forgotten */
    uint64_t stamp;
    uint64_t history[LSIM_HISTORY_MAX]; /* stamp of each version; 0 = none */
};

struct lsim_node {
    struct grd_lock_local *local;
    struct grd_lock_master *master;
    struct grd_lock_resource *handle[LSIM_LOCKS_MAX];
    struct lsim_client clients[LSIM_CLIENTS_MAX];
    bool is_alive;
};

struct lsim {
    struct lock_sim_options o;
    struct lock_sim_result result;
    struct cf_rng rng;
    struct grd_map map;
    struct lsim_node nodes[LSIM_NODES_MAX];
    struct grd_lock_name names[LSIM_LOCKS_MAX];
    struct cf_block_key keys[LSIM_LOCKS_MAX];
    struct lsim_truth truth[LSIM_LOCKS_MAX];
    struct lsim_flight flights[LSIM_FLIGHT_MAX];
    uint32_t flights_count;
    uint64_t flight_number, now_ns, stamp_last, lane_ns[LSIM_NODES_MAX][LSIM_NODES_MAX];
    bool is_faulty, is_ending;
    struct grd_detect *detect;
    void *arena;
    uint32_t rounds;
    struct grd_actions actions;
};
static inline struct lsim_client *lsim_client_at(struct lsim *s, uint32_t number)
{
    return &s->nodes[number / s->o.clients].clients[number % s->o.clients];
}
static inline bool lsim_client_waits(const struct lsim_client *client)
{
    return client->state == LSIM_WAITING || client->state == LSIM_CONVERTING;
}

/* lock_sim.c */
void lsim_turn(struct lsim *s);

/* lock_sim_check.c */
void lsim_fail(struct lsim *s, const char *format, ...);
void lsim_value_make(struct grd_lock_value *value, uint64_t stamp);
uint64_t lsim_value_stamp(struct lsim *s, const struct grd_lock_value *value);
void lsim_truth_set(struct lsim *s, uint32_t name, uint64_t version, bool is_valid, uint64_t stamp);
/* The master of these locks has done something: records may have come and gone. */
void lsim_truth_note(struct lsim *s, uint16_t master);
bool lsim_truth_has(const struct lsim_truth *truth, uint64_t stamp);
void lsim_value_check(struct lsim *s, uint32_t name, uint8_t mode, const struct grd_lock_value *value);
void lsim_granted(struct lsim *s, struct lsim_client *client, struct lsim_held *held, uint8_t mode);

/* lock_sim_net.c */
void lsim_act(struct lsim *s, uint16_t node);
/* Delivers what is due. */
void lsim_deliver_due(struct lsim *s);
void lsim_timers(struct lsim *s, uint16_t n);
void lsim_crash(struct lsim *s);

/* lock_sim_client.c */
/* The client whose swap this is has not been told its end yet; NULL: there is none. */
const struct lsim_client *lsim_client_swapping(const struct lsim *s, uint16_t node, uint32_t name,
                                               uint64_t stamp);
void lsim_handles_turn(struct lsim *s, uint16_t n);
void lsim_drain(struct lsim *s, uint16_t node);
void lsim_client_turn(struct lsim *s, struct lsim_client *client);

/* lock_sim_detect.c */
void lsim_detect_open(struct lsim *s);
void lsim_detect_round(struct lsim *s);
void lsim_detect_bound(struct lsim *s);

#endif
