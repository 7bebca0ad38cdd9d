/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buckets that move between three instances in one thread: movers and masters, messages passed by hand, the clock that of the
 * thread's work. That no schedule of faults breaks it is the simulator's business (tests/sim, --moves).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include <cmocka.h>

#include "base/hist.h"
#include "grd/master.h"
#include "grd/move.h"

#define NODES 3u
#define BUCKETS 16u
#define QUEUE 8192u
#define MANY 100000u
#define MOVES 60u
#define FREEZE_NS_MAX 1000000u

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

struct cluster {
    struct node node[NODES];
    struct letter *queue; /* [QUEUE] */
    uint32_t first, count;
    uint64_t ahead_ns; /* of the clock, so that timers come */
    uint64_t work_ns;  /* of the thread, when last looked at */
    struct grd_actions *actions;
    bool (*loses)(struct cluster *cluster, const struct grd_msg *msg);
    uint32_t lost;
    uint64_t tenure; /* last granted */
};

static uint64_t now_of(const struct cluster *c)
{
    return c->ahead_ns + c->work_ns;
}

/*
 * A look is a system call. Looked at is whenever a mover takes its turn, which is all that begins or ends a freeze, so that whatever
 * was done in between counts; not at each of the two messages an entry.
 */
static void clock_look(struct cluster *c)
{
    struct timespec t;

    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    c->work_ns = (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static void open_cluster(struct cluster *c, uint64_t entries)
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
                                        .now_ns = now_of(c),
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
                                            .now_ns = now_of(c),
                                            .wheel_tick_ns = 65536};

        assert_int_equal(
            grd_map_open(&key, 1, BUCKETS, 1, members, NODES, cf_allocator_default(), &node->map), CF_OK);
        assert_int_equal(grd_move_open(&move, &node->move), CF_OK);
        assert_int_equal(grd_master_open(&master, &node->master), CF_OK);
    }
}

static void close_cluster(struct cluster *c)
{
    for (uint32_t n = 0; n < NODES; n++) {
        grd_master_close(&c->node[n].master);
        grd_move_close(&c->node[n].move);
        grd_map_close(&c->node[n].map);
    }
    free(c->queue);
    free(c->actions);
}

static void post(struct cluster *c, uint16_t from)
{
    for (uint32_t i = 0; i < c->actions->count; i++) {
        struct grd_action *action = &c->actions->item[i];
        struct letter *letter = &c->queue[(c->first + c->count) % QUEUE];

        assert_int_equal(action->type, GRD_ACT_SEND);
        action->msg.from = from;
        if (action->msg.type == GRD_MSG_GRANT)
            c->tenure = action->msg.tenure;
        if (c->loses != NULL && c->loses(c, &action->msg)) {
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

static void to_master(struct cluster *c, uint16_t to, const struct grd_msg *msg)
{
    struct node *node = &c->node[to];
    uint64_t hash = grd_map_hash(&node->map, &msg->key);

    if (grd_move_route(node->move, msg, hash, c->actions) == GRD_MOVE_SERVE)
        grd_master_step(node->master, msg, hash, now_of(c), c->actions);
    post(c, to);
}

static void deliver(struct cluster *c, uint16_t to, const struct grd_msg *msg)
{
    struct node *node = &c->node[to];
    struct grd_msg held;
    uint32_t bucket;

    switch (msg->type) {
    case GRD_MSG_MOVE_ORDER:
        grd_master_order(node->master, msg, now_of(c), c->actions);
        break;
    case GRD_MSG_MOVE_ENTRY:
    case GRD_MSG_MOVE_ASK:
    case GRD_MSG_MOVE_GOT:
        grd_master_step(node->master, msg, grd_map_hash(&node->map, &msg->key), now_of(c), c->actions);
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
        node->told += grd_move_step(node->move, msg, now_of(c), c->actions, &bucket);
        while (grd_move_release(node->move, &held)) {
            post(c, to);
            to_master(c, to, &held);
        }
        break;
    }
    post(c, to);
}

static void run(struct cluster *c)
{
    while (c->count != 0) {
        struct letter letter = c->queue[c->first];

        c->first = (c->first + 1) % QUEUE;
        c->count--;
        deliver(c, letter.to, &letter.msg);
    }
}

static bool is_quiet(const struct cluster *c)
{
    for (uint32_t n = 0; n < NODES; n++)
        if (!grd_move_is_quiet(c->node[n].move))
            return false;
    return true;
}

/* Until nothing of a move is left; timers come when nothing else does. */
static void settle(struct cluster *c)
{
    run(c);
    for (uint32_t rounds = 0; !is_quiet(c); rounds++) {
        assert_true(rounds < 100000);
        c->ahead_ns += 100000;
        for (uint16_t n = 0; n < NODES; n++) {
            clock_look(c);
            grd_move_tick(c->node[n].move, now_of(c), c->actions);
            post(c, n);
            while (grd_master_tick(c->node[n].master, now_of(c), c->actions))
                post(c, n);
            post(c, n);
        }
        run(c);
    }
}

static struct cf_block_key key_of(uint64_t block)
{
    return (struct cf_block_key){.file = 1, .generation = 1, .block = block};
}

static uint32_t bucket_of(const struct cluster *c, uint64_t block)
{
    struct cf_block_key key = key_of(block);

    return grd_map_bucket(&c->node[0].map, grd_map_hash(&c->node[0].map, &key));
}

static uint16_t owner_of(const struct cluster *c, uint32_t bucket)
{
    return c->node[0].map.owner[bucket];
}

/* Node `from` gets the block in S from the disk, and installs it if `installs`. */
static void hold(struct cluster *c, uint64_t block, uint16_t from, uint64_t request, bool installs)
{
    uint32_t bucket = bucket_of(c, block);
    uint16_t to = owner_of(c, bucket);
    struct grd_msg msg = {.type = GRD_MSG_REQUEST,
                          .from = from,
                          .key = key_of(block),
                          .request = request,
                          .mode = CF_MODE_S,
                          .place = c->node[0].map.number[bucket]};

    deliver(c, to, &msg);
    if (!installs)
        return;
    msg.type = GRD_MSG_INSTALLED;
    msg.tenure = c->tenure;
    deliver(c, to, &msg);
}

static uint16_t next_of(const struct cluster *c, uint32_t bucket)
{
    return (uint16_t)((owner_of(c, bucket) + 1) % NODES);
}

static void begin(struct cluster *c, uint32_t bucket, uint16_t to)
{
    uint16_t owner = owner_of(c, bucket);

    clock_look(c);
    assert_int_equal(grd_move_begin(c->node[owner].move, bucket, to, now_of(c), c->actions), CF_OK);
    post(c, owner);
}

static void a_bucket_of_many_entries_is_frozen_for_less_than_a_millisecond(void **state)
{
    struct cluster c;
    uint64_t block = 0, request = 1;

    (void)state;
    open_cluster(&c, MANY + 1024);
    for (uint32_t held = 0; held < MANY; block++) {
        if (bucket_of(&c, block) != 5)
            continue;
        hold(&c, block, (uint16_t)(held % NODES), request++, true);
        c.count = 0;
        held++;
    }
    for (uint32_t i = 0; i < MOVES; i++) {
        uint16_t from = owner_of(&c, 5), to = next_of(&c, 5);

        assert_int_equal(grd_directory_entries(c.node[from].master->directory), MANY);
        begin(&c, 5, to);
        settle(&c);
        assert_int_equal(owner_of(&c, 5), to);
        assert_int_equal(grd_directory_entries(c.node[from].master->directory), 0);
        assert_int_equal(grd_directory_entries(c.node[to].master->directory), MANY);
        assert_int_equal(c.node[from].move->freeze_hist->count, i / NODES + 1);
        assert_true(c.node[from].move->freeze_hist->max < FREEZE_NS_MAX);
        grd_directory_check(c.node[to].master->directory);
    }
    for (uint32_t n = 1; n < NODES; n++)
        cf_hist_merge(c.node[0].move->freeze_hist, c.node[n].move->freeze_hist);
    printf("%u moves of a bucket of %u entries: frozen for %llu ns (p50), %llu ns (p99) of both sides' work, "
           "%llu at most\n",
           MOVES, MANY, (unsigned long long)cf_hist_percentile(c.node[0].move->freeze_hist, 0.5),
           (unsigned long long)cf_hist_percentile(c.node[0].move->freeze_hist, 0.99),
           (unsigned long long)cf_hist_max(c.node[0].move->freeze_hist));
    close_cluster(&c);
}

static void holders_and_tenures_come_along(void **state)
{
    struct cluster c;
    struct grd_holder holder;
    struct cf_block_key key = key_of(7);
    uint64_t hash, tenure;
    uint32_t bucket;
    struct grd_entry *entry;

    (void)state;
    open_cluster(&c, 4096);
    bucket = bucket_of(&c, 7);
    hash = grd_map_hash(&c.node[0].map, &key);
    hold(&c, 7, 1, 10, true);
    tenure = c.tenure;
    begin(&c, bucket, next_of(&c, bucket));
    settle(&c);
    entry = grd_entry_find(c.node[owner_of(&c, bucket)].master->directory, &key, hash);
    assert_non_null(entry);
    assert_true(grd_holder_find(c.node[owner_of(&c, bucket)].master->directory, entry, 1, &holder));
    assert_int_equal(holder.tenure, tenure);
    assert_int_equal(entry->last_tenure, tenure);
    close_cluster(&c);
}

static void a_bucket_at_work_is_served_on_and_moves_later(void **state)
{
    struct cluster c;
    struct grd_msg msg = {.type = GRD_MSG_INSTALLED, .from = 1, .key = key_of(7)};
    uint32_t bucket;
    uint16_t first;

    (void)state;
    open_cluster(&c, 4096);
    bucket = bucket_of(&c, 7);
    first = owner_of(&c, bucket);
    hold(&c, 7, 1, 10, false);
    begin(&c, bucket, next_of(&c, bucket));
    run(&c);
    assert_int_equal(owner_of(&c, bucket), first);
    assert_true(grd_move_serves(c.node[first].move, bucket));
    assert_int_equal(c.node[first].move->counters.retried, 1);
    msg.request = 10;
    msg.tenure = c.tenure;
    deliver(&c, first, &msg);
    settle(&c);
    assert_int_not_equal(owner_of(&c, bucket), first);
    close_cluster(&c);
}

static void a_bucket_that_is_never_at_rest_stays(void **state)
{
    struct cluster c;
    uint32_t bucket;
    uint16_t first;

    (void)state;
    open_cluster(&c, 4096);
    bucket = bucket_of(&c, 7);
    first = owner_of(&c, bucket);
    hold(&c, 7, 1, 10, false);
    begin(&c, bucket, next_of(&c, bucket));
    settle(&c);
    assert_int_equal(owner_of(&c, bucket), first);
    assert_int_equal(c.node[first].move->counters.given_up, 1);
    close_cluster(&c);
}

static void requests_of_another_time_of_the_owner_are_told(void **state)
{
    struct cluster c;
    uint32_t bucket;
    uint16_t first;
    struct grd_msg msg = {
        .type = GRD_MSG_REQUEST, .from = 1, .key = key_of(7), .request = 10, .mode = CF_MODE_S, .place = 0};

    (void)state;
    open_cluster(&c, 4096);
    bucket = bucket_of(&c, 7);
    first = owner_of(&c, bucket);
    for (uint32_t i = 0; i < NODES; i++) { /* once round */
        begin(&c, bucket, next_of(&c, bucket));
        settle(&c);
    }
    assert_int_equal(owner_of(&c, bucket), first);
    assert_int_equal(c.node[0].map.number[bucket], NODES);
    deliver(&c, first, &msg);
    assert_int_equal(c.node[first].master->counters.requests, 0);
    msg.place = NODES;
    deliver(&c, first, &msg);
    assert_int_equal(c.node[first].master->counters.requests, 1);
    close_cluster(&c);
}

static bool loses_each_kind_once(struct cluster *c, const struct grd_msg *msg)
{
    static uint64_t seen;
    uint64_t bit = UINT64_C(1) << msg->type;

    if (c->lost == 0 && c->count == 0 && msg->type == GRD_MSG_MOVE_OFFER)
        seen = 0;
    if (msg->type == GRD_MSG_MOVE_WHERE || (seen & bit) != 0)
        return false;
    seen |= bit;
    return true;
}

static void each_message_may_be_lost(void **state)
{
    struct cluster c;
    uint32_t bucket;
    uint16_t to;

    (void)state;
    open_cluster(&c, 4096);
    bucket = bucket_of(&c, 7);
    hold(&c, 7, 1, 10, true);
    run(&c);
    to = next_of(&c, bucket);
    c.loses = loses_each_kind_once;
    begin(&c, bucket, to);
    settle(&c);
    assert_true(c.lost >= 8);
    assert_true(grd_move_serves(c.node[to].move, bucket));
    assert_int_equal(grd_directory_entries(c.node[to].master->directory), 1);
    close_cluster(&c);
}

static void what_cannot_be_is_refused(void **state)
{
    struct cluster c;
    uint16_t owner;

    (void)state;
    open_cluster(&c, 4096);
    owner = owner_of(&c, 0);
    assert_int_equal(grd_move_begin(c.node[owner].move, BUCKETS, 0, 0, c.actions), CF_OPTION);
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, NODES, 0, c.actions), CF_OPTION);
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, owner, 0, c.actions), CF_OPTION);
    assert_int_equal(
        grd_move_begin(c.node[(owner + 1) % NODES].move, 0, (uint16_t)((owner + 2) % NODES), 0, c.actions),
        CF_INVALID);
    begin(&c, 0, next_of(&c, 0));
    assert_int_equal(grd_move_begin(c.node[owner].move, 0, next_of(&c, 0), 0, c.actions), CF_BUSY);
    close_cluster(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_bucket_of_many_entries_is_frozen_for_less_than_a_millisecond),
        cmocka_unit_test(holders_and_tenures_come_along),
        cmocka_unit_test(a_bucket_at_work_is_served_on_and_moves_later),
        cmocka_unit_test(a_bucket_that_is_never_at_rest_stays),
        cmocka_unit_test(requests_of_another_time_of_the_owner_are_told),
        cmocka_unit_test(each_message_may_be_lost),
        cmocka_unit_test(what_cannot_be_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
