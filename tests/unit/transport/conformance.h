/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_CONFORMANCE_H
#define TESTS_UNIT_TRANSPORT_CONFORMANCE_H

/*
 * What every provider has to do, whatever moves the bytes. A provider's test gives a fixture and runs
 * xp_conformance_run; it adds what only that provider can show.
 */
#include "transport/xp.h"

#define XP_PAIR_NODES_MAX 4u
#define XP_PAIR_FRAMES 16u
#define XP_PAIR_SLOTS 16u

/* Two or more instances in one process, driven in turns by one thread. */
struct xp_pair;
struct xp_fixture {
    const char *address;
    char cluster[24]; /* its name; empty: one that is the same for all */
    /* Called before each round of polls: virtual time and delivery (sim), nothing (shm). Returns the time. */
    uint64_t (*advance)(struct xp_fixture *fixture);
    /* True when each knows how many messages and blocks it may send the others; NULL: it does after a few turns. */
    bool (*is_settled)(const struct xp_pair *pair);
    void *network;
    void *arg;
};

struct xp_side {
    struct xp *xp;
    uint16_t node;
    struct xp_frame_space space;
    uint8_t *memory;
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t events_count;
    /* Seen so far. */
    uint32_t ups, resets, downs, hellos, messages;
    enum cf_rc down_rc;
    enum cf_rc answer; /* to XP_EV_HELLO */
};

struct xp_pair {
    struct xp_fixture *fixture;
    struct xp_side sides[XP_PAIR_NODES_MAX];
    uint32_t count;
};

/* Defaults for an instance of the suite; a test changes what it is about. */
void xp_side_options(const struct xp_fixture *fixture, struct xp_options *options, uint16_t node,
                     uint32_t nodes);
/* Opens, gives it memory with frames of 8 KiB (and one class of 2 KiB), starts. */
void xp_side_open(struct xp_side *side, const struct xp_options *options);
/* Closes an instance that is open; a zeroed side stays as it is. */
void xp_side_close(struct xp_side *side);
/* Frame number to its bytes. */
uint8_t *xp_side_frame(const struct xp_side *side, uint32_t frame);

/* Opens `count` instances that accept each other and waits until all lanes are open. */
void xp_pair_open(struct xp_pair *pair, struct xp_fixture *fixture, uint32_t count);
void xp_pair_close(struct xp_pair *pair);
/* One poll of one side; answers hellos, counts what comes; events stay in side->events. */
void xp_pair_poll(struct xp_pair *pair, uint32_t side);
/* Polls all sides once. */
void xp_pair_turn(struct xp_pair *pair);
/* Turns until what was taken and what was lent is known to all who may send. */
void xp_pair_settle(struct xp_pair *pair);
/* Turns until the condition holds; fails the test when it does not within a bound of time. */
#define xp_pair_until(pair, condition)                             \
    do {                                                           \
        struct xp_wait wait_ = xp_wait_begin();                    \
        while (!(condition)) {                                     \
            xp_pair_turn(pair);                                    \
            xp_wait_check(&wait_, #condition, __FILE__, __LINE__); \
        }                                                          \
    } while (0)

struct xp_wait {
    uint64_t deadline_ns;
};
struct xp_wait xp_wait_begin(void);
void xp_wait_check(const struct xp_wait *wait, const char *what, const char *file, int line);

/* Runs the suite; returns the number of failures, as cmocka_run_group_tests does. */
int xp_conformance_run(struct xp_fixture *fixture);

#endif
