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

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_request_that_waits_for_its_own_release_is_passed_twice_and_not_more),
        cmocka_unit_test(a_writer_waits_until_a_reader_that_lost_its_grant_before_has_begun),
        cmocka_unit_test(who_is_queued_is_told_to_stand_behind_the_writer_that_was_granted),
        cmocka_unit_test(who_waits_for_a_reader_that_lost_its_grant_is_told_in_order),
        cmocka_unit_test(readers_are_served_by_their_own_host_then_by_all_in_turn),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
