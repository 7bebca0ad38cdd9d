/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A master of 1,024 instances with the least budget there is: every instance holds every block, which takes ten times
 * the chunks of its pool. Entries are given back for the sake of the pool, no copy is, and no holder is ever missed.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "directory_fixture.h"
#include "grd/master.h"

#define NODES CF_NODES_MAX
#define BLOCKS 96u
/* Answers that one step can bring about, and those to them. */
#define QUEUE_MAX 8192u

struct world {
    struct grd_master *master;
    struct grd_actions actions;
    struct grd_msg queue[QUEUE_MAX]; /* what the instances answer */
    uint32_t queue_first, queue_count;
    uint64_t tenure[BLOCKS][NODES]; /* of the copy; 0 = none */
    uint64_t request[NODES];
    uint64_t invalidated; /* copies */
    uint64_t recalled;
};

static struct grd_msg *answer(struct world *w, uint16_t type, uint16_t from, const struct grd_msg *to)
{
    struct grd_msg *msg;

    assert_true(w->queue_count < QUEUE_MAX);
    msg = &w->queue[(w->queue_first + w->queue_count++) % QUEUE_MAX];
    memset(msg, 0, offsetof(struct grd_msg, set));
    grd_set_clear(&msg->set);
    msg->type = type;
    msg->from = from;
    msg->key = to->key;
    return msg;
}

static void hold(struct world *w, uint16_t node, const struct grd_msg *grant)
{
    struct grd_msg *msg = answer(w, GRD_MSG_INSTALLED, node, grant);

    msg->tenure = grant->tenure;
    msg->version = 1;
    w->tenure[grant->key.block][node] = grant->tenure;
}

/* An instance: it holds what it is granted, gives up what it is told to, and says what it holds when it is asked. */
static void instance_step(struct world *w, const struct grd_action *action)
{
    const struct grd_msg *msg = &action->msg;
    uint64_t *tenure = &w->tenure[msg->key.block][action->to];

    switch (msg->type) {
    case GRD_MSG_GRANT:
        hold(w, action->to, msg);
        break;
    case GRD_MSG_FORWARD:
        assert_true(*tenure != 0 && *tenure == msg->held);
        if (msg->mode == CF_MODE_X)
            *tenure = 0;
        hold(w, msg->requester, msg);
        break;
    case GRD_MSG_INVALIDATE:
        assert_true(*tenure != 0 && *tenure == msg->held);
        *tenure = 0;
        w->invalidated++;
        break;
    case GRD_MSG_RECALL: {
        struct grd_msg *held = answer(w, GRD_MSG_HELD, action->to, msg);

        w->recalled++;
        held->request = msg->request;
        held->mode = *tenure ? CF_MODE_S : CF_MODE_N;
        held->tenure = *tenure;
        held->version = *tenure ? 1 : 0;
        break;
    }
    default:
        break;
    }
}

static void master_say(struct world *w, const struct grd_msg *msg)
{
    uint32_t i;

    w->actions.count = 0;
    grd_master_step(w->master, msg, directory_hash(msg->key.block), 0, &w->actions);
    for (i = 0; i < w->actions.count; i++)
        instance_step(w, &w->actions.item[i]);
}

/* Asks, and lets everybody answer until all is quiet: nothing else is under way, so it is granted now. */
static void ask(struct world *w, uint16_t node, uint64_t block, enum cf_mode mode)
{
    struct grd_msg msg;

    memset(&msg, 0, offsetof(struct grd_msg, set));
    grd_set_clear(&msg.set);
    msg.type = GRD_MSG_REQUEST;
    msg.from = node;
    msg.key = directory_key(block);
    msg.mode = (uint8_t)mode;
    msg.request = ++w->request[node];
    msg.held = w->tenure[block][node];
    master_say(w, &msg);
    while (w->queue_count != 0) {
        msg = w->queue[w->queue_first];
        w->queue_first = (w->queue_first + 1) % QUEUE_MAX;
        w->queue_count--;
        master_say(w, &msg);
    }
    assert_true(w->tenure[block][node] > msg.held);
}

static struct world *world_open(uint64_t *bytes_out)
{
    struct grd_master_options options = {.directory = {.allocator = cf_allocator_default(),
                                                       .entries = NODES * 64,
                                                       .conversations = NODES,
                                                       .holders = NODES * 64,
                                                       .past_images = NODES * 8,
                                                       .nodes = NODES,
                                                       .seed = 0x51,
                                                       .buckets = 16},
                                         .nodes = NODES,
                                         .probe_ns = 1000000,
                                         .wheel_tick_ns = 1000};
    struct world *w = calloc(1, sizeof *w);

    assert_non_null(w);
    assert_int_equal(grd_master_fit(&options, 0, &options.directory, bytes_out), CF_BUDGET);
    assert_int_equal(grd_master_fit(&options, *bytes_out, &options.directory, bytes_out), CF_OK);
    assert_int_equal(grd_master_open(&options, &w->master), CF_OK);
    assert_true(grd_master_bytes(w->master) <= *bytes_out);
    return w;
}

static void world_close(struct world *w)
{
    grd_directory_check(w->master->directory);
    grd_master_close(&w->master);
    free(w);
}

static void all_hold_every_block(struct world *w)
{
    for (uint32_t b = 0; b < BLOCKS; b++)
        for (uint32_t n = 0; n < NODES; n++)
            ask(w, (uint16_t)n, b, CF_MODE_S);
}

static void a_pool_that_is_exhausted_gives_entries_back_and_no_copy(void **state)
{
    uint64_t bytes = 0;
    struct world *w = world_open(&bytes);
    const struct grd_directory_counters *counters = grd_directory_counters(w->master->directory);

    (void)state;
    all_hold_every_block(w);
    assert_true(counters->given_for_room >= BLOCKS / 2);
    assert_int_equal(w->invalidated, 0);
    assert_int_equal(w->master->counters.refused_bounds, 0);
    assert_true(grd_master_bytes(w->master) <= bytes);
    printf("%u blocks of %u holders in %llu bytes: %llu entries given back for room\n", BLOCKS, NODES,
           (unsigned long long)bytes, (unsigned long long)counters->given_for_room);
    world_close(w);
}

static void a_writer_finds_every_one_of_them(void **state)
{
    uint64_t bytes = 0;
    struct world *w = world_open(&bytes);
    uint64_t before;

    (void)state;
    all_hold_every_block(w);
    for (uint32_t b = 0; b < BLOCKS; b++) {
        uint16_t writer = (uint16_t)(b * 7 % NODES);

        before = w->invalidated;
        ask(w, writer, b, CF_MODE_X);
        assert_int_equal(w->invalidated - before, NODES - 1);
    }
    assert_true(w->recalled >= (uint64_t)NODES * BLOCKS / 2); /* most of them had been given back */
    assert_int_equal(grd_directory_counters(w->master->directory)->not_there, 0);
    assert_int_equal(w->master->counters.refused_bounds, 0);
    world_close(w);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_pool_that_is_exhausted_gives_entries_back_and_no_copy),
        cmocka_unit_test(a_writer_finds_every_one_of_them),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
