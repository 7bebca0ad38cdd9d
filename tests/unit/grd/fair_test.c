/* SPDX-License-Identifier: Apache-2.0 */
/* Fairness at the master and at the holder: order, the bounds on being passed, the source, the residency. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/alloc.h"
#include "base/hash.h"
#include "directory_fixture.h"
#include "grd/local.h"
#include "grd/master.h"

#define NODES 8u
#define BLOCK 5u

static struct grd_master *master_make(const uint16_t *hosts)
{
    struct grd_master_options options = {.directory = {.allocator = cf_allocator_default(),
                                                       .entries = 64,
                                                       .conversations = 64,
                                                       .holders = 64,
                                                       .past_images = 64,
                                                       .nodes = NODES,
                                                       .buckets = 16},
                                         .nodes = NODES,
                                         .probe_ns = 1000000,
                                         .wheel_tick_ns = 1000,
                                         .hosts = hosts};
    struct grd_master *master;

    assert_int_equal(grd_master_open(&options, &master), CF_OK);
    return master;
}

/* Says it to the master; the actions are those of this message. */
static void say(struct grd_master *master, struct grd_actions *actions, const struct grd_msg *what)
{
    struct grd_msg msg = *what;

    msg.key = directory_key(BLOCK);
    actions->count = 0;
    grd_master_step(master, &msg, directory_hash(BLOCK), 0, actions);
}

static void ask(struct grd_master *master, struct grd_actions *actions, uint16_t from, uint64_t request,
                enum cf_mode mode, uint64_t held, uint8_t flags)
{
    say(master, actions,
        &(struct grd_msg){.type = GRD_MSG_REQUEST,
                          .from = from,
                          .request = request,
                          .mode = (uint8_t)mode,
                          .held = held,
                          .flags = flags});
}

static void installed(struct grd_master *master, struct grd_actions *actions, uint16_t from, uint64_t tenure)
{
    say(master, actions, &(struct grd_msg){.type = GRD_MSG_INSTALLED, .from = from, .tenure = tenure});
}

/* Asks in S and installs; returns the tenure. */
static uint64_t hold(struct grd_master *master, struct grd_actions *actions, uint16_t from, uint64_t request)
{
    uint64_t tenure;

    ask(master, actions, from, request, CF_MODE_S, 0, 0);
    assert_int_equal(actions->count, 1);
    tenure = actions->item[0].msg.tenure;
    installed(master, actions, from, tenure);
    return tenure;
}

static void a_request_that_waits_for_its_own_release_is_passed_twice_and_not_more(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    uint64_t tenure;

    (void)state;
    tenure = hold(master, actions, 1, 1);
    ask(master, actions, 1, 2, CF_MODE_S, 0, 0); /* its release is still under way */
    assert_int_equal(actions->count, 0);
    (void)hold(master, actions, 2, 1);
    (void)hold(master, actions, 3, 1);
    assert_int_equal(GRD_OVERTAKEN_MAX, 2);
    ask(master, actions, 4, 1, CF_MODE_S, 0, 0);
    assert_int_equal(actions->count, 0);
    say(master, actions,
        &(struct grd_msg){.type = GRD_MSG_RELEASE, .from = 1, .tenure = tenure, .number = 1});
    assert_int_equal(actions->count, 3); /* released, then both in their order */
    assert_int_equal(actions->item[1].msg.type, GRD_MSG_FORWARD);
    assert_int_equal(actions->item[1].msg.requester, 1);
    assert_int_equal(actions->item[2].msg.requester, 4);
    grd_master_close(&master);
    free(actions);
}

static void a_writer_waits_until_a_reader_that_lost_its_grant_before_has_begun(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    uint64_t tenure;

    (void)state;
    (void)hold(master, actions, 1, 1);
    ask(master, actions, 2, 1, CF_MODE_S, 0, 0);
    ask(master, actions, 3, 1, CF_MODE_X, 0, 0);
    assert_int_equal(actions->count, 2); /* a first-time reader does not hold it up: source 1, sharer 2 */
    installed(master, actions, 3, actions->item[0].msg.tenure);
    ask(master, actions, 2, 2, CF_MODE_S, 0, GRD_FLAG_REFUSED);
    tenure = actions->item[0].msg.tenure;
    ask(master, actions, 1, 2, CF_MODE_X, 0, 0);
    assert_int_equal(actions->count, 0);
    ask(master, actions, 4, 1, CF_MODE_S, 0, 0);
    assert_int_equal(actions->count, 0); /* nor does anybody pass the writer meanwhile */
    installed(master, actions, 2, tenure);
    assert_true(actions->count >= 2);
    assert_int_equal(actions->item[actions->count - 1].msg.type, GRD_MSG_FORWARD);
    assert_int_equal(actions->item[actions->count - 1].msg.requester, 1);
    assert_int_equal(actions->item[actions->count - 1].msg.mode, CF_MODE_X);
    grd_master_close(&master);
    free(actions);
}

/* All that is told, in parts of two. */
static uint32_t waits_of(struct grd_master *master, uint64_t before_ns, struct grd_detect_report *reports)
{
    uint64_t cursor = 0;
    uint32_t count = 0;

    do {
        count += grd_master_waits(master, before_ns, &cursor, reports + count, 2);
    } while (cursor != 0);
    return count;
}

static void is_behind(const struct grd_detect_report *report, uint16_t node, uint64_t wait, uint16_t peer,
                      uint64_t grant)
{
    assert_int_equal(report->kind, GRD_DETECT_BEHIND);
    assert_int_equal(report->side, GRD_DETECT_ITSELF);
    assert_int_equal(report->node, node);
    assert_int_equal(report->wait, wait);
    assert_int_equal(report->peer, peer);
    assert_int_equal(report->grant, grant);
}

static void who_is_queued_is_told_to_stand_behind_the_writer_that_was_granted(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    struct grd_detect_report reports[8];
    uint64_t tenure;

    (void)state;
    (void)hold(master, actions, 1, 1);
    assert_int_equal(waits_of(master, 0, reports), 0);
    ask(master, actions, 2, 11, CF_MODE_X, 0, 0);
    tenure = actions->item[0].msg.tenure;
    assert_int_equal(waits_of(master, 0, reports), 0); /* it waits for the holder, who tells that */
    for (uint16_t node = 3; node < 7; node++)
        ask(master, actions, node, 20 + node, node & 1 ? CF_MODE_X : CF_MODE_S, 0, 0);
    assert_int_equal(waits_of(master, 0, reports), 4);
    for (uint16_t node = 3; node < 7; node++) {
        is_behind(&reports[node - 3], node, 20 + node, 2, 11);
        assert_int_equal(reports[node - 3].key, reports[0].key);
    }
    installed(master, actions, 2, tenure); /* the next one is granted */
    assert_int_equal(waits_of(master, 0, reports), 3);
    is_behind(&reports[0], 4, 24, 3, 23);
    grd_master_close(&master);
    free(actions);
}

static void who_waits_for_a_reader_that_lost_its_grant_is_told_in_order(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    struct grd_detect_report reports[8];

    (void)state;
    (void)hold(master, actions, 1, 1);
    ask(master, actions, 2, 1, CF_MODE_S, 0, 0);
    ask(master, actions, 3, 1, CF_MODE_X, 0, 0);
    installed(master, actions, 3, actions->item[0].msg.tenure);
    ask(master, actions, 2, 2, CF_MODE_S, 0, GRD_FLAG_REFUSED);
    ask(master, actions, 1, 2, CF_MODE_X, 0, 0);
    ask(master, actions, 4, 5, CF_MODE_S, 0, 0);
    assert_int_equal(waits_of(master, 0, reports), 2);
    is_behind(&reports[0], 1, 2, 2, 2);
    is_behind(&reports[1], 4, 5, 1, 2);
    grd_master_close(&master);
    free(actions);
}

static void readers_are_served_by_their_own_host_then_by_all_in_turn(void **state)
{
    const uint16_t hosts[NODES] = {0, 1, 1, 1, 1, 5, 5, 5};
    struct grd_master *master = master_make(hosts);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    uint32_t asked[NODES] = {0}, round;

    (void)state;
    for (uint16_t node = 1; node <= 5; node++)
        (void)hold(master, actions, node, 1);
    for (round = 0; round < 64; round++) {
        uint16_t requester = round % 2 ? 6 : 7;
        uint64_t tenure;

        ask(master, actions, requester, round + 1, CF_MODE_S, 0, 0);
        assert_int_equal(actions->item[0].to, 5); /* on the same host */
        tenure = actions->item[0].msg.tenure;
        installed(master, actions, requester, tenure);
        say(master, actions,
            &(struct grd_msg){
                .type = GRD_MSG_RELEASE, .from = requester, .tenure = tenure, .number = round / 2 + 1});
    }
    say(master, actions, &(struct grd_msg){.type = GRD_MSG_RELEASE, .from = 5, .tenure = 5, .number = 1});
    for (round = 0; round < 64; round++) {
        uint64_t tenure;

        ask(master, actions, 7, 1000 + round, CF_MODE_S, 0, 0);
        asked[actions->item[0].to]++;
        tenure = actions->item[0].msg.tenure;
        installed(master, actions, 7, tenure);
        say(master, actions,
            &(struct grd_msg){.type = GRD_MSG_RELEASE, .from = 7, .tenure = tenure, .number = 100 + round});
    }
    for (uint16_t node = 1; node <= 4; node++)
        assert_in_range(asked[node], 4, 40);
    grd_master_close(&master);
    free(actions);
}

/* ------------------------------------------------------------------ read-mostly blocks */

#define ROUND_NS 100000u
#define CHANGE_NS 10000u

static void say_at(struct grd_master *master, struct grd_actions *actions, uint64_t now_ns,
                   const struct grd_msg *what)
{
    struct grd_msg msg = *what;

    msg.key = directory_key(BLOCK);
    actions->count = 0;
    grd_master_step(master, &msg, directory_hash(BLOCK), now_ns, actions);
}

static uint32_t ask_at(struct grd_master *master, struct grd_actions *actions, uint64_t now_ns, uint16_t from,
                       uint64_t request, enum cf_mode mode, uint64_t held)
{
    say_at(
        master, actions, now_ns,
        &(struct grd_msg){
            .type = GRD_MSG_REQUEST, .from = from, .request = request, .mode = (uint8_t)mode, .held = held});
    return actions->count;
}

static uint64_t gets_at(struct grd_master *master, struct grd_actions *actions, uint64_t now_ns,
                        uint16_t from, uint64_t request, enum cf_mode mode)
{
    uint64_t tenure;

    assert_in_range(ask_at(master, actions, now_ns, from, request, mode, 0), 1, NODES);
    tenure = actions->item[0].msg.tenure;
    say_at(master, actions, now_ns,
           &(struct grd_msg){.type = GRD_MSG_INSTALLED, .from = from, .tenure = tenure});
    return tenure;
}

/*
 * Rounds of a change by node 1 and reads by all others; `readers` of them, up to node 1 + readers. Answers the time of
 * the last round's first read.
 */
static uint64_t rounds(struct grd_master *master, struct grd_actions *actions, uint32_t count,
                       uint16_t readers)
{
    uint64_t now_ns = ROUND_NS;

    for (uint32_t round = 1; round <= count; round++, now_ns += ROUND_NS) {
        (void)gets_at(master, actions, now_ns, 1, round, CF_MODE_X);
        for (uint16_t reader = 2; reader < 2 + readers; reader++)
            (void)gets_at(master, actions, now_ns + CHANGE_NS, reader, round, CF_MODE_S);
        say_at(master, actions, now_ns + CHANGE_NS, /* node 1 lets go, so that it asks anew */
               &(struct grd_msg){.type = GRD_MSG_RELEASE,
                                 .from = 1,
                                 .tenure = (uint64_t)(round - 1) * (readers + 1) + 1,
                                 .number = round});
    }
    return now_ns - ROUND_NS + CHANGE_NS;
}

static void sharers_of_a_read_mostly_block_keep_it_for_a_while(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    uint64_t read_ns = rounds(master, actions, 20, 3), until_ns = read_ns + CHANGE_NS;

    (void)state;
    assert_int_equal(master->counters.shared, 0); /* writes that come rarely never wait */
    assert_int_equal(ask_at(master, actions, read_ns + 1, 1, 21, CF_MODE_X, 0), 0);
    assert_int_equal(ask_at(master, actions, read_ns + 2, 6, 1, CF_MODE_X, 0), 0);
    assert_int_equal(ask_at(master, actions, read_ns + 3, 7, 1, CF_MODE_S, 0), 1); /* a reader goes first */
    say_at(master, actions, read_ns + 3,
           &(struct grd_msg){.type = GRD_MSG_INSTALLED, .from = 7, .tenure = actions->item[0].msg.tenure});
    assert_int_equal(actions->count, 0);
    assert_int_equal(master->counters.shared, 1);
    assert_in_range(grd_master_next_ns(master), 0, until_ns + GRD_SHARE_TICK_NS);
    actions->count = 0;
    assert_true(grd_master_tick(master, until_ns + GRD_SHARE_TICK_NS, actions));
    assert_int_equal(actions->count, 4); /* the first of the writers: the forward, and three invalidates */
    assert_int_equal(actions->item[0].msg.requester, 1);
    say_at(master, actions, until_ns + GRD_SHARE_TICK_NS,
           &(struct grd_msg){.type = GRD_MSG_INSTALLED, .from = 1, .tenure = actions->item[0].msg.tenure});
    assert_int_equal(actions->count, 2); /* the second follows: the forward, and the first is confirmed */
    grd_master_close(&master);
    free(actions);
}

static void a_block_with_one_reader_is_not_read_mostly(void **state)
{
    struct grd_master *master = master_make(NULL);
    struct grd_actions *actions = calloc(1, sizeof *actions);
    uint64_t read_ns = rounds(master, actions, 40, 1);

    (void)state;
    (void)gets_at(master, actions, read_ns + 1, 3, 1, CF_MODE_S);
    assert_in_range(ask_at(master, actions, read_ns + 2, 4, 1, CF_MODE_X, 0), 1, NODES);
    assert_int_equal(master->counters.shared, 0);
    grd_master_close(&master);
    free(actions);
}

/* ------------------------------------------------------------------ the residency, at the holder */

#define RESIDENCY_NS 20000u
#define RESEND_NS 1000000u
#define WHEEL_TICK_NS 65536u

struct holder_fixture {
    struct grd_map map;
    struct grd_local *local;
    struct grd_block *block;
    struct grd_actions *actions;
};

static void holder_open(struct holder_fixture *f)
{
    static const uint16_t members[] = {1}; /* the master is another instance */
    const struct cf_block_key name = directory_key(BLOCK);
    struct grd_local_options options = {.node = 0,
                                        .frames = 16,
                                        .outstanding = 4,
                                        .demands = 16,
                                        .past_images = 4,
                                        .resend_ns = RESEND_NS,
                                        .residency_ns = RESIDENCY_NS,
                                        .wheel_tick_ns = WHEEL_TICK_NS,
                                        .map = &f->map,
                                        .allocator = cf_allocator_default()};
    struct cf_hash_key key;

    assert_true(cf_hash_init());
    grd_map_key("stay", "s", &key);
    assert_int_equal(grd_map_open(&key, 1, 16, 1, members, 1, cf_allocator_default(), &f->map), CF_OK);
    assert_int_equal(grd_local_open(&options, &f->local), CF_OK);
    f->actions = calloc(1, sizeof *f->actions);
    f->block = grd_local_get(f->local, &name);
}

static void holder_close(struct holder_fixture *f)
{
    grd_local_close(&f->local);
    grd_map_close(&f->map);
    free(f->actions);
}

static void hear(struct holder_fixture *f, const struct grd_msg *what, uint64_t now_ns)
{
    struct grd_msg msg = *what;

    msg.key = f->block->key;
    msg.from = 1;
    f->actions->count = 0;
    grd_local_step(f->local, &msg, GRD_FRAME_NONE, now_ns, f->actions);
}

/* From the wish to the copy: granted from the disk, tenure 7. */
static void holder_gets(struct holder_fixture *f, enum cf_mode mode, uint64_t now_ns)
{
    f->actions->count = 0;
    grd_local_want(f->local, f->block, mode, 0, 3, now_ns, f->actions);
    hear(f,
         &(struct grd_msg){.type = GRD_MSG_GRANT,
                           .request = f->actions->item[0].msg.request,
                           .tenure = 7,
                           .mode = (uint8_t)mode,
                           .how = GRD_HOW_DISK},
         now_ns);
    grd_local_read_done(f->local, f->block, 1, now_ns, f->actions);
    assert_int_equal(f->block->mode, mode);
}

static uint32_t closes_at(struct holder_fixture *f, uint64_t now_ns)
{
    uint32_t closes = 0, i;

    f->actions->count = 0;
    while (grd_local_tick(f->local, now_ns, f->actions))
        ;
    for (i = 0; i < f->actions->count; i++)
        closes += f->actions->item[i].type == GRD_ACT_CLOSE;
    return closes;
}

static const struct grd_msg taken_by_another = {
    .type = GRD_MSG_INVALIDATE, .request = 9, .tenure = 8, .held = 7, .requester = 2};

static void a_copy_stays_for_its_residency_and_goes_right_after(void **state)
{
    struct holder_fixture f;

    (void)state;
    holder_open(&f);
    holder_gets(&f, CF_MODE_S, 1000);
    hear(&f, &taken_by_another, 6000);
    assert_int_equal(f.actions->count, 0);
    assert_in_range(grd_local_next_ns(f.local), 0, 1000 + RESIDENCY_NS + RESIDENCY_NS / 16);
    assert_int_equal(closes_at(&f, 1000 + RESIDENCY_NS - 1), 0);
    assert_int_equal(closes_at(&f, 1000 + RESIDENCY_NS + RESIDENCY_NS / 16), 1);
    assert_int_equal(closes_at(&f, 10 * RESEND_NS), 0); /* once */
    holder_close(&f);
}

/* What is said again for want of an answer has a time of its own. */
static void an_upgrade_does_not_put_the_end_of_the_residency_off(void **state)
{
    struct holder_fixture f;

    (void)state;
    holder_open(&f);
    holder_gets(&f, CF_MODE_S, 1000);
    hear(&f, &taken_by_another, 6000);
    f.actions->count = 0;
    grd_local_want(f.local, f.block, CF_MODE_X, 0, 4, 7000, f.actions);
    assert_int_equal(closes_at(&f, 1000 + RESIDENCY_NS + RESIDENCY_NS / 16), 1);
    holder_close(&f);
}

static void the_residency_does_not_put_off_what_is_said_again(void **state)
{
    struct holder_fixture f;
    uint32_t i, requests = 0;

    (void)state;
    holder_open(&f);
    holder_gets(&f, CF_MODE_S, 1000);
    f.actions->count = 0;
    grd_local_want(f.local, f.block, CF_MODE_X, 0, 4, 7000, f.actions);
    hear(&f, &taken_by_another, 8000);
    assert_int_equal(closes_at(&f, 1000 + RESIDENCY_NS + RESIDENCY_NS / 16), 1);
    (void)closes_at(&f, 7000 + RESEND_NS + WHEEL_TICK_NS);
    for (i = 0; i < f.actions->count; i++)
        requests += f.actions->item[i].type == GRD_ACT_SEND && f.actions->item[i].msg.type == GRD_MSG_REQUEST;
    assert_int_equal(requests, 1);
    holder_close(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_waits_for_its_own_release_is_passed_twice_and_not_more),
        cmocka_unit_test(a_writer_waits_until_a_reader_that_lost_its_grant_before_has_begun),
        cmocka_unit_test(who_is_queued_is_told_to_stand_behind_the_writer_that_was_granted),
        cmocka_unit_test(who_waits_for_a_reader_that_lost_its_grant_is_told_in_order),
        cmocka_unit_test(readers_are_served_by_their_own_host_then_by_all_in_turn),
        cmocka_unit_test(sharers_of_a_read_mostly_block_keep_it_for_a_while),
        cmocka_unit_test(a_block_with_one_reader_is_not_read_mostly),
        cmocka_unit_test(a_copy_stays_for_its_residency_and_goes_right_after),
        cmocka_unit_test(an_upgrade_does_not_put_the_end_of_the_residency_off),
        cmocka_unit_test(the_residency_does_not_put_off_what_is_said_again),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
