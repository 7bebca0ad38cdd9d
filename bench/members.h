/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_MEMBERS_H
#define BENCH_MEMBERS_H

/*
 * Instances as processes over one data file, for a benchmark of blocks. The calling process is member 0. Trouble is told
 * and ends the process with status 3, its children with it.
 */
#include <pthread.h>
#include <stdbool.h>
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#define MEMBERS_MAX 16u
#define MEMBERS_NUMBERS_MAX 8u

struct members_options {
    const char *transport; /* "shm:": in the private folder */
    const char *waiting;   /* busy, adaptive, sleep */
    uint32_t count;
    uint64_t blocks;
    uint64_t past_images; /* bound of each; 0: as many as there are frames, so that nothing is written */
    bool is_cold;         /* the cache holds a quarter of the file only */
    uint64_t
        directory_bytes; /* of each; 0: enough for every block. Else few conversations, that it can be short */
};

/* Shared by all. */
struct members_board {
    pthread_barrier_t meeting;
    uint64_t number[MEMBERS_MAX][MEMBERS_NUMBERS_MAX]; /* a member writes its own row, before a meeting */
};

struct member {
    uint32_t index;
    const struct members_options *options;
    struct members_board *board;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
};

/* Runs `work` in each member between open and close. Member 0 comes back when all others have ended. */
void members_run(const struct members_options *options, void (*work)(struct member *member, void *arg),
                 void *arg);
/* Returns when all members have come. One that waits sleeps: its processor is for the thread that serves the others. */
void members_meet(struct member *member);
/* Gets a block and, in X, changes it. */
void member_get(struct member *member, uint64_t block, enum cf_mode mode, struct cf_ref *ref_out);
/* The calling thread runs on this processor alone; below 0: wherever it may. */
void members_pin(int cpu);
void members_check(enum cf_rc rc, const char *what, const struct cf_error *error);

#endif
