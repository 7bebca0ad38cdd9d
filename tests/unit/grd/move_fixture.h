/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_MOVE_FIXTURE_H
#define TESTS_MOVE_FIXTURE_H

/*
 * Three instances in one thread whose buckets move: movers and masters, messages passed by hand, the clock that of the thread's
 * work.
 */
#include <stdbool.h>
#include <stdint.h>

#include "grd/master.h"
#include "grd/move.h"

#define NODES 3u
#define BUCKETS 16u

struct letter {
    uint16_t to;
    struct grd_msg msg;
};

struct node {
    struct grd_map map;
    struct grd_move *move;
    struct grd_master *master;
    uint32_t told; /* times another owner was heard of */
};

struct moves {
    struct node node[NODES];
    struct letter *queue; /* [QUEUE] */
    uint32_t first, count;
    uint64_t ahead_ns; /* of the clock, so that timers come */
    uint64_t work_ns;  /* of the thread, when last looked at */
    struct grd_actions *actions;
    bool (*loses)(struct moves *c, uint16_t to, const struct grd_msg *msg);
    uint32_t sent, lost;
    uint64_t tenure; /* last granted */
};

void moves_open(struct moves *c, uint64_t entries);
void moves_close(struct moves *c);
uint64_t moves_now(const struct moves *c);
void moves_deliver(struct moves *c, uint16_t to, const struct grd_msg *msg);
/* All that is under way is delivered, and what comes of it. */
void moves_run(struct moves *c);
/* Time passes, and what is due is done. */
void moves_pass(struct moves *c, uint64_t ns);
/* Until nothing of a move is left; timers come when nothing else does. */
void moves_settle(struct moves *c);

struct cf_block_key moves_key(uint64_t block);
uint32_t moves_bucket(const struct moves *c, uint64_t block);
/* Of a bucket: the owner as instance 0 knows it, and the one after. */
uint16_t moves_owner(const struct moves *c, uint32_t bucket);
uint16_t moves_next(const struct moves *c, uint32_t bucket);
/* Node `from` gets the block in S from the disk, and installs it if `installs`. */
void moves_hold(struct moves *c, uint64_t block, uint16_t from, uint64_t request, bool installs);
void moves_begin(struct moves *c, uint32_t bucket, uint16_t to);

#endif
