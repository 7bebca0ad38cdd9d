/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the protocol of blocks cost by itself, without threads, transport, bytes and clock: a block that
 * changes hands in two hops and in three, one that is shared and taken back from its sharers? Every message is encoded
 * and decoded, and that each case takes as many as docs/protocol.md says is asserted.
 */
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "bench/harness.h"
#include "grd/local.h"
#include "grd/master.h"

#define INSTANCES 4u
#define MASTER 0u
#define FRAMES 64u
#define DUE_MAX 64u
/* On the wire. Of the master's turns and of the other's: */
#define TWO_HOPS_MESSAGES 3u   /* FORWARD, SHIP, CONFIRMED; REQUEST, SHIP, INSTALLED */
#define THREE_HOPS_MESSAGES 5u /* REQUEST, FORWARD, SHIP, INSTALLED, CONFIRMED */
/* REQUEST, GRANT, two INVALIDATE, two INVALIDATED, INSTALLED; of each reader REQUEST, FORWARD, SHIP, INSTALLED. */
#define SHARED_MESSAGES 15u

/* What is to be done, and by whom; in the order in which steps asked for it. */
struct due {
    uint16_t node;
    struct grd_action action;
};

struct path {
    struct cf_hash_key secret;
    struct grd_map map;
    struct grd_master *master;
    struct grd_local *local[INSTANCES];
    struct cf_block_key key;
    uint32_t free[INSTANCES][FRAMES];
    uint32_t free_count[INSTANCES];
    uint64_t version;
    uint64_t messages;
    struct grd_actions made; /* by the step that runs */
    uint32_t first, count;
    struct due due[DUE_MAX];
};

static void *path_open(uint64_t arg, uint32_t threads)
{
    static const uint16_t members[] = {MASTER};
    struct path *path = calloc(1, sizeof *path);
    struct grd_master_options master = {.directory = {.allocator = cf_allocator_default(),
                                                      .entries = 64,
                                                      .conversations = 64,
                                                      .holders = 64,
                                                      .past_images = 64,
                                                      .nodes = INSTANCES,
                                                      .buckets = 64},
                                        .node = MASTER,
                                        .nodes = INSTANCES,
                                        .probe_ns = 1000000,
                                        .wheel_tick_ns = 1000};
    enum cf_rc rc;

    (void)arg;
    (void)threads;
    cf_assert(path != NULL);
    rc = grd_map_open(&path->secret, 1, 64, 1, members, 1, cf_allocator_default(), &path->map);
    cf_assert(rc == CF_OK);
    rc = grd_master_open(&master, &path->master);
    cf_assert(rc == CF_OK);
    for (uint16_t n = 0; n < INSTANCES; n++) {
        struct grd_local_options local = {.node = n,
                                          .frames = FRAMES,
                                          .outstanding = 8,
                                          .demands = 16,
                                          .past_images = 16,
                                          .resend_ns = 1000000,
                                          .wheel_tick_ns = 1000,
                                          .map = &path->map,
                                          .allocator = cf_allocator_default()};

        rc = grd_local_open(&local, &path->local[n]);
        cf_assert(rc == CF_OK);
        while (path->free_count[n] < FRAMES) {
            path->free[n][path->free_count[n]] = path->free_count[n];
            path->free_count[n]++;
        }
    }
    path->key = (struct cf_block_key){.file = 1, .block = 7};
    return path;
}

static void path_close(void *state)
{
    struct path *path = state;

    for (uint16_t n = 0; n < INSTANCES; n++)
        grd_local_close(&path->local[n]);
    grd_master_close(&path->master);
    grd_map_close(&path->map);
    free(path);
}

static uint32_t frame_take(struct path *path, uint16_t node)
{
    cf_assert(path->free_count[node] > 0);
    return path->free[node][--path->free_count[node]];
}

static bool is_for_master(uint16_t type)
{
    return type == GRD_MSG_REQUEST || type == GRD_MSG_INSTALLED || type == GRD_MSG_RELEASE ||
           type == GRD_MSG_NOT_HELD || type == GRD_MSG_WRITTEN || type == GRD_MSG_KEPT ||
           type == GRD_MSG_PAST || type == GRD_MSG_WRITE_ASK || type == GRD_MSG_HELD;
}

static void made_queue(struct path *path, uint16_t node)
{
    for (uint32_t i = 0; i < path->made.count; i++) {
        const struct grd_action *action = &path->made.item[i];
        struct due *due = &path->due[(path->first + path->count++) % DUE_MAX];

        cf_assert(path->count <= DUE_MAX);
        due->node = node;
        due->action.type = action->type;
        due->action.mode = action->mode;
        due->action.to = action->to;
        due->action.frame = action->frame;
        due->action.block = action->block;
        if (action->type == GRD_ACT_SEND || action->type == GRD_ACT_SHIP)
            grd_msg_copy(&due->action.msg, &action->msg);
    }
    path->made.count = 0;
}

/* As on a wire; a message to oneself is not encoded. */
static void arrive(struct path *path, uint16_t from, const struct grd_action *action)
{
    uint32_t frame = action->type == GRD_ACT_SHIP ? frame_take(path, action->to) : GRD_FRAME_NONE;
    uint8_t wire[GRD_MSG_BYTES_MAX];
    struct grd_msg heard;

    if (action->to == from) {
        grd_msg_copy(&heard, &action->msg);
    } else {
        uint32_t bytes = grd_msg_encode(&action->msg, wire);
        bool is_sound = grd_msg_decode(action->msg.type, wire, bytes, INSTANCES, &heard);

        cf_assert(is_sound);
        path->messages++;
    }
    heard.type = action->msg.type;
    heard.from = from;
    if (is_for_master(heard.type))
        grd_master_step(path->master, &heard, grd_map_hash(&path->map, &heard.key), 0, &path->made);
    else
        grd_local_step(path->local[action->to], &heard, frame, 0, &path->made);
    made_queue(path, action->to);
}

static void carry_out(struct path *path, uint16_t node, const struct grd_action *action)
{
    struct grd_local *local = path->local[node];

    switch (action->type) {
    case GRD_ACT_SEND:
    case GRD_ACT_SHIP:
        arrive(path, node, action);
        return;
    case GRD_ACT_READ:
    case GRD_ACT_FORMAT:
        grd_local_read_done(local, action->block, path->version, 0, &path->made);
        break;
    case GRD_ACT_CLOSE:
        if (action->block->mode == CF_MODE_X)
            grd_local_changed(action->block, ++path->version);
        grd_local_closed(local, action->block, 0, &path->made);
        break;
    case GRD_ACT_FREE:
        path->free[node][path->free_count[node]++] = action->frame;
        break;
    case GRD_ACT_WRITE:
        if (grd_local_can_write(action->block)) {
            grd_local_write_begin(action->block, action->block->version);
            grd_local_write_done(local, action->block, 0, &path->made);
        }
        break;
    default:
        cf_assert(action->type == GRD_ACT_BEGIN);
        break;
    }
    made_queue(path, node);
}

static void settle(struct path *path)
{
    while (path->count > 0) {
        const struct due *due = &path->due[path->first];

        /* What it makes goes behind it, never into its place before it is done: the ring is not full. */
        carry_out(path, due->node, &due->action);
        path->first = (path->first + 1) % DUE_MAX;
        path->count--;
    }
}

static void get(struct path *path, uint16_t node, enum cf_mode mode)
{
    struct grd_local *local = path->local[node];
    struct grd_block *block = grd_local_get(local, &path->key);

    cf_assert(block != NULL);
    block->users++;
    if (block->mode < mode) {
        grd_local_want(local, block, mode, 0, frame_take(path, node), 0, &path->made);
        made_queue(path, node);
        settle(path);
    }
    cf_assert(block->mode >= mode);
    block->users--;
}

static void in_turns(struct path *path, uint16_t a, uint16_t b, uint64_t messages, uint64_t iterations)
{
    get(path, a, CF_MODE_X);
    get(path, b, CF_MODE_X);
    path->messages = 0;
    for (uint64_t i = 0; i < iterations; i++)
        get(path, i % 2 == 0 ? a : b, CF_MODE_X);
    cf_assert(path->messages == iterations * messages);
}

/* The master holds it every other time: half of the turns are the other instance's, in two hops; half are its own. */
static void two_hops(void *state, uint32_t thread, uint64_t iterations)
{
    (void)thread;
    in_turns(state, MASTER, 1, TWO_HOPS_MESSAGES, iterations);
}

static void three_hops(void *state, uint32_t thread, uint64_t iterations)
{
    (void)thread;
    in_turns(state, 1, 2, THREE_HOPS_MESSAGES, iterations);
}

/* One changes it, two others look at it. */
static void share(struct path *path)
{
    get(path, 1, CF_MODE_X);
    get(path, 2, CF_MODE_S);
    get(path, 3, CF_MODE_S);
}

static void shared(void *state, uint32_t thread, uint64_t iterations)
{
    struct path *path = state;

    (void)thread;
    share(path);
    path->messages = 0;
    for (uint64_t i = 0; i < iterations; i++)
        share(path);
    cf_assert(path->messages == iterations * SHARED_MESSAGES);
}

static const struct bench_case cases[] = {
    {.name = "block-path/two-hops", .open = path_open, .run = two_hops, .close = path_close},
    {.name = "block-path/three-hops", .open = path_open, .run = three_hops, .close = path_close},
    {.name = "block-path/shared", .open = path_open, .run = shared, .close = path_close},
};

int main(int argc, char **argv)
{
    return bench_main(argc, argv, cases, sizeof cases / sizeof cases[0]);
}
