/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_ENGINE_MANUAL_FIXTURE_H
#define TESTS_UNIT_ENGINE_MANUAL_FIXTURE_H

/*
 * One instance that runs in turns of the test's, with a file on storage that ends a transfer when the test says so. The
 * calls of this file fail the test that makes them.
 */
#include <stdint.h>

#include <cachefusion/cachefusion.h>

#include "engine/instance.h"
#include "engine/store.h"

#define MANUAL_BLOCK_BYTES 2048u
#define MANUAL_BLOCKS 64u
#define MANUAL_IO_MAX 16u

struct sim_net;

struct manual {
    struct eng_store store;
    struct eng_io *io[MANUAL_IO_MAX]; /* under way, oldest first */
    uint32_t io_count;
    uint32_t io_ended; /* of these: ended, to be polled in the next turn */
    struct sim_net *net;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    uint64_t now_ns;
    uint32_t records_taken;
};

/* `io_depth`: transfers under way at most. */
void manual_open(struct manual *m, uint32_t io_depth);
void manual_close(struct manual *m);
/* Turns until one has nothing to do. */
void manual_turns(struct manual *m);
/* The oldest transfer under way ends well (a read: with zeroes), and what follows from it happens. */
void manual_io_end(struct manual *m);
/* The block of transfer number i of those under way. */
uint64_t manual_io_block(const struct manual *m, uint32_t i);

void manual_get_init(const struct manual *m, struct cf_op *op, uint64_t block, uint32_t flags);
/* A get in S of a block, submitted and served as far as it goes. */
void manual_get(struct manual *m, struct cf_op *op, uint64_t block, uint32_t flags);
/* As from a second thread while the first has progress: the op stays in the inbox until somebody takes it. */
void manual_submit_aside(struct manual *m, struct cf_op *op);
/* The one op that is done by now; NULL: none is. */
struct cf_op *manual_done(struct manual *m);

/* Records of blocks: all that are free, so that calls find none; and these again. */
void manual_records_take(struct manual *m);
void manual_records_give_back(struct manual *m);

#endif
