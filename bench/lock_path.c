/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the protocol of locks cost by itself, without threads, transport and clock: a lock an instance
 * caches, one that nobody holds, one that two instances take in turns? That each takes as many messages as docs/locks.md
 * says is asserted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "bench/harness.h"
#include "grd/lock_cached.h"
#include "grd/lock_local.h"
#include "grd/lock_master.h"

#define INSTANCES 3u
#define MASTER 0u
#define FIRST_MESSAGES 4u /* REQUEST, GRANT, DOWN, LOWERED */
#define TURN_MESSAGES 5u  /* REQUEST, DEMAND, DOWN, LOWERED, GRANT */

struct path {
    struct cf_hash_key secret;
    struct grd_map map;
    struct grd_lock_master *master;
    struct grd_lock_local *local[INSTANCES];
    struct grd_lock_resource *lock[INSTANCES];
    struct grd_lock_name name;
    struct grd_actions actions[2];
    uint32_t filling; /* which of them steps add to */
    uint64_t messages;
};

static void *path_open(uint64_t arg, uint32_t threads)
{
    static const uint16_t members[] = {MASTER};
    struct path *path = calloc(1, sizeof *path);
    struct grd_lock_master_options master = {.nodes = INSTANCES,
                                             .resources = 64,
                                             .claims = 64 * INSTANCES,
                                             .demand_ns = 1000000,
                                             .epoch = 1,
                                             .wheel_tick_ns = 1000,
                                             .allocator = cf_allocator_default()};
    enum cf_rc rc;

    (void)arg;
    (void)threads;
    cf_assert(path != NULL);
    rc = grd_map_open(&path->secret, 1, 64, 1, members, 1, cf_allocator_default(), &path->map);
    cf_assert(rc == CF_OK);
    rc = grd_lock_master_open(&master, &path->master);
    cf_assert(rc == CF_OK);
    grd_lock_name_ids(1, 2, 3, &path->name);
    for (uint16_t n = 0; n < INSTANCES; n++) {
        struct grd_lock_local_options local = {.node = n,
                                               .resources = 64,
                                               .claims = 64,
                                               .calls = 4,
                                               .resend_ns = 1000000,
                                               .wheel_tick_ns = 1000,
                                               .epoch = 1,
                                               .map = &path->map,
                                               .allocator = cf_allocator_default()};

        rc = grd_lock_local_open(&local, &path->local[n]);
        cf_assert(rc == CF_OK);
        rc = grd_lock_local_attach(path->local[n], &path->name, &path->lock[n]);
        cf_assert(rc == CF_OK);
    }
    return path;
}

static void path_close(void *state)
{
    struct path *path = state;

    for (uint16_t n = 0; n < INSTANCES; n++)
        grd_lock_local_close(&path->local[n]);
    grd_lock_master_close(&path->master);
    grd_map_close(&path->map);
    free(path);
}

static struct grd_actions *actions_of(struct path *path)
{
    return &path->actions[path->filling];
}

/* Messages arrive at once, until there are none. */
static void deliver(struct path *path, uint16_t from)
{
    while (actions_of(path)->count > 0) {
        uint16_t next_from = from;

        struct grd_actions *arriving = actions_of(path);

        path->filling ^= 1;
        for (uint32_t i = 0; i < arriving->count; i++) {
            struct grd_action *action = &arriving->item[i];
            bool is_answer = from == MASTER && action->msg.type != GRD_MSG_LOCK_REQUEST &&
                             action->msg.type != GRD_MSG_LOCK_DOWN;

            path->messages++;
            action->msg.from = from;
            if (is_answer)
                grd_lock_local_step(path->local[action->to], &action->msg, 0, actions_of(path));
            else
                grd_lock_master_step(path->master, &action->msg, grd_map_hash(&path->map, &action->msg.key),
                                     0, actions_of(path));
            next_from = is_answer ? action->to : MASTER;
        }
        arriving->count = 0;
        from = next_from;
    }
}

static grd_lock_id take(struct path *path, uint16_t node)
{
    struct grd_lock_want want = {.owner = 1, .mode = GRD_LOCK_EX};
    struct grd_lock_done done;
    grd_lock_id lock = 0;
    enum cf_rc rc = grd_lock_local_want(path->local[node], path->lock[node], &want, 0, actions_of(path),
                                        &lock);

    deliver(path, node);
    if (rc == CF_PENDING) {
        bool is_done = grd_lock_local_next_done(path->local[node], &done);

        cf_assert(is_done);
        cf_assert(done.rc == CF_OK);
    }
    return lock;
}

static void leave(struct path *path, uint16_t node, grd_lock_id lock)
{
    enum cf_rc rc = grd_lock_local_unlock(path->local[node], lock, 0, NULL, 0, actions_of(path));

    cf_assert(rc == CF_OK);
    deliver(path, node);
}

static void wanted_clear(struct path *path, uint16_t node)
{
    struct grd_lock_resource *resource;
    uint8_t mode;

    while (grd_lock_local_next_wanted(path->local[node], &resource, &mode))
        bench_use(mode);
}

/* By the calls that know all cases. */
static void cached(void *state, uint32_t thread, uint64_t iterations)
{
    struct path *path = state;

    (void)thread;
    leave(path, 1, take(path, 1));
    path->messages = 0;
    for (uint64_t i = 0; i < iterations; i++)
        leave(path, 1, take(path, 1));
    cf_assert(path->messages == 0);
}

/* By those that the engine tries first. */
static void cached_inline(void *state, uint32_t thread, uint64_t iterations)
{
    struct path *path = state;
    grd_lock_id lock = 0;

    (void)thread;
    leave(path, 1, take(path, 1));
    for (uint64_t i = 0; i < iterations; i++) {
        bool is_taken = grd_lock_local_take(path->local[1], path->lock[1], GRD_LOCK_EX, 1, 0, &lock);
        bool is_left = is_taken && grd_lock_local_leave(path->local[1], lock);

        cf_assert(is_left);
    }
}

/* Handle, request, unlock, end of the handle: nobody holds it before and after. */
static void first(void *state, uint32_t thread, uint64_t iterations)
{
    struct path *path = state;

    (void)thread;
    grd_lock_local_detach(path->local[1], path->lock[1], 0, actions_of(path));
    deliver(path, 1);
    path->messages = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        enum cf_rc rc = grd_lock_local_attach(path->local[1], &path->name, &path->lock[1]);

        cf_assert(rc == CF_OK);
        leave(path, 1, take(path, 1));
        grd_lock_local_detach(path->local[1], path->lock[1], 0, actions_of(path));
        deliver(path, 1);
    }
    cf_assert(path->messages == iterations * FIRST_MESSAGES);
    cf_assert(grd_lock_local_attach(path->local[1], &path->name, &path->lock[1]) == CF_OK);
}

static void in_turns(void *state, uint32_t thread, uint64_t iterations)
{
    struct path *path = state;

    (void)thread;
    leave(path, 1, take(path, 1));
    leave(path, 2, take(path, 2));
    path->messages = 0;
    for (uint64_t i = 0; i < iterations; i++) {
        uint16_t node = (uint16_t)(1 + i % 2);

        leave(path, node, take(path, node));
        wanted_clear(path, (uint16_t)(3 - node));
    }
    cf_assert(path->messages == iterations * TURN_MESSAGES);
}

static const struct bench_case cases[] = {
    {.name = "lock-path/cached", .open = path_open, .run = cached, .close = path_close},
    {.name = "lock-path/cached-inline", .open = path_open, .run = cached_inline, .close = path_close},
    {.name = "lock-path/first", .open = path_open, .run = first, .close = path_close},
    {.name = "lock-path/in-turns", .open = path_open, .run = in_turns, .close = path_close},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
