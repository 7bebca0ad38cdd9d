/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/move_fixture.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#define QUEUE 8192u

uint64_t moves_now(const struct moves *c)
{
    return c->ahead_ns + c->work_ns;
}

/*
 * A look is a system call. Looked at is whenever a mover takes its turn, which is all that begins or ends a freeze, so that whatever
 * was done in between counts; not at each of the two messages an entry.
 */
static void clock_look(struct moves *c)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    c->work_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

void moves_open(struct moves *c, uint64_t entries)
{
    static const uint16_t members[NODES] = {0, 1, 2};
    struct cf_hash_key key;

    memset(c, 0, sizeof *c);
    assert_true(cf_hash_init());
    grd_map_key("moves", "secret", &key);
    c->queue = calloc(QUEUE, sizeof *c->queue);
    c->actions = calloc(1, sizeof *c->actions);
    clock_look(c);
    assert_non_null(c->queue);
    assert_non_null(c->actions);
    for (uint16_t n = 0; n < NODES; n++) {
        struct node *node = &c->node[n];
        struct grd_move_options move = {.node = n,
                                        .nodes = NODES,
                                        .shards = 1,
                                        .resend_ns = 4000000,
                                        .now_ns = moves_now(c),
                                        .map = &node->map,
                                        .allocator = cf_allocator_default()};
        struct grd_master_options master = {.directory = {.entries = entries,
                                                          .conversations = 256,
                                                          .holders = entries * 2,
                                                          .past_images = 64,
                                                          .nodes = NODES,
                                                          .buckets = BUCKETS,
                                                          .is_movable = true,
                                                          .hash_key = key,
                                                          .allocator = cf_allocator_default()},
                                            .node = n,
                                            .nodes = NODES,
                                            .probe_ns = 8000000,
                                            .now_ns = moves_now(c),
                                            .wheel_tick_ns = 65536};

        assert_int_equal(
            grd_map_open(&key, 1, BUCKETS, 1, members, NODES, cf_allocator_default(), &node->map), CF_OK);
        assert_int_equal(grd_move_open(&move, &node->move), CF_OK);
        assert_int_equal(grd_master_open(&master, &node->master), CF_OK);
    }
}

void moves_close(struct moves *c)
{
    for (uint32_t n = 0; n < NODES; n++) {
        grd_master_close(&c->node[n].master);
        grd_move_close(&c->node[n].move);
        grd_map_close(&c->node[n].map);
    }
    free(c->queue);
    free(c->actions);
}

static void post(struct moves *c, uint16_t from)
{
    for (uint32_t i = 0; i < c->actions->count; i++) {
        struct grd_action *action = &c->actions->item[i];
        struct letter *letter = &c->queue[(c->first + c->count) % QUEUE];

        assert_int_equal(action->type, GRD_ACT_SEND);
        action->msg.from = from;
        if (action->msg.type == GRD_MSG_GRANT)
            c->tenure = action->msg.tenure;
        c->sent++;
        if (c->loses != NULL && c->loses(c, action->to, &action->msg)) {
            c->lost++;
            continue;
        }
        assert_true(c->count < QUEUE);
        letter->to = action->to;
        grd_msg_copy(&letter->msg, &action->msg);
        c->count++;
    }
    c->actions->count = 0;
}

static void to_master(struct moves *c, uint16_t to, const struct grd_msg *msg)
{
    struct node *node = &c->node[to];
    uint64_t hash = grd_map_hash(&node->map, &msg->key);

    if (grd_move_route(node->move, msg, hash, c->actions) == GRD_MOVE_SERVE)
        grd_master_step(node->master, msg, hash, moves_now(c), c->actions);
    post(c, to);
}

void moves_deliver(struct moves *c, uint16_t to, const struct grd_msg *msg)
{
    struct node *node = &c->node[to];
    struct grd_msg held;
    uint32_t bucket;

    switch (msg->type) {
    case GRD_MSG_MOVE_ORDER:
        grd_master_order(node->master, msg, moves_now(c), c->actions);
        break;
    case GRD_MSG_MOVE_ENTRY:
    case GRD_MSG_MOVE_ASK:
    case GRD_MSG_MOVE_GOT:
        grd_master_step(node->master, msg, grd_map_hash(&node->map, &msg->key), moves_now(c), c->actions);
        break;
    case GRD_MSG_REQUEST:
    case GRD_MSG_INSTALLED:
    case GRD_MSG_RELEASE:
        to_master(c, to, msg);
        break;
    case GRD_MSG_GRANT:
    case GRD_MSG_RELEASED:
    case GRD_MSG_FORWARD:
        break; /* the test looks at what the master knows */
    default:
        clock_look(c);
        node->told += grd_move_step(node->move, msg, moves_now(c), c->actions, &bucket);
        while (grd_move_release(node->move, &held)) {
            post(c, to);
            to_master(c, to, &held);
        }
        break;
    }
    post(c, to);
}

void moves_run(struct moves *c)
{
    while (c->count != 0) {
        struct letter letter = c->queue[c->first];

        c->first = (c->first + 1) % QUEUE;
        c->count--;
        moves_deliver(c, letter.to, &letter.msg);
    }
}

static bool is_quiet(const struct moves *c)
{
    for (uint32_t n = 0; n < NODES; n++)
        if (!grd_move_is_quiet(c->node[n].move))
            return false;
    return true;
}

void moves_pass(struct moves *c, uint64_t ns)
{
    c->ahead_ns += ns;
    for (uint16_t n = 0; n < NODES; n++) {
        clock_look(c);
        grd_move_tick(c->node[n].move, moves_now(c), c->actions);
        post(c, n);
        while (grd_master_tick(c->node[n].master, moves_now(c), c->actions))
            post(c, n);
        post(c, n);
    }
    moves_run(c);
}

void moves_settle(struct moves *c)
{
    moves_run(c);
    for (uint32_t rounds = 0; !is_quiet(c); rounds++) {
        assert_true(rounds < 100000);
        moves_pass(c, 100000);
    }
}

struct cf_block_key moves_key(uint64_t block)
{
    return (struct cf_block_key){.file = 1, .generation = 1, .block = block};
}

uint32_t moves_bucket(const struct moves *c, uint64_t block)
{
    struct cf_block_key key = moves_key(block);

    return grd_map_bucket(&c->node[0].map, grd_map_hash(&c->node[0].map, &key));
}

uint16_t moves_owner(const struct moves *c, uint32_t bucket)
{
    return c->node[0].map.owner[bucket];
}

void moves_hold(struct moves *c, uint64_t block, uint16_t from, uint64_t request, bool installs)
{
    uint32_t bucket = moves_bucket(c, block);
    uint16_t to = moves_owner(c, bucket);
    struct grd_msg msg = {.type = GRD_MSG_REQUEST,
                          .from = from,
                          .key = moves_key(block),
                          .request = request,
                          .mode = CF_MODE_S,
                          .place = c->node[0].map.number[bucket]};

    moves_deliver(c, to, &msg);
    if (!installs)
        return;
    msg.type = GRD_MSG_INSTALLED;
    msg.tenure = c->tenure;
    moves_deliver(c, to, &msg);
}

uint16_t moves_next(const struct moves *c, uint32_t bucket)
{
    return (uint16_t)((moves_owner(c, bucket) + 1) % NODES);
}

void moves_begin(struct moves *c, uint32_t bucket, uint16_t to)
{
    uint16_t owner = moves_owner(c, bucket);

    clock_look(c);
    assert_int_equal(grd_move_begin(c->node[owner].move, bucket, to, moves_now(c), c->actions), CF_OK);
    post(c, owner);
}
