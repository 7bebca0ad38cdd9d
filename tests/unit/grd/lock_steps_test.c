/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: single conversations with the master of locks, message by message, where a late copy or a full store
 * would do harm; an instance whose caller no longer waits for a value to be published. Not here: random histories (lock_sim_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "grd/lock_cached.h"
#include "grd/lock_master.h"

#define INSTANCES 4u

struct desk {
    struct grd_lock_master *master;
    struct grd_actions actions;
    uint64_t now_ns;
};

static int desk_open(void **state)
{
    static struct desk desk;
    struct grd_lock_master_options options = {.node = 0,
                                              .nodes = INSTANCES,
                                              .resources = 2,
                                              .claims = 4,
                                              .demand_ns = 8000000,
                                              .epoch = 1,
                                              .wheel_tick_ns = 100000,
                                              .allocator = cf_allocator_default()};

    memset(&desk, 0, sizeof desk);
    *state = &desk;
    return grd_lock_master_open(&options, &desk.master) == CF_OK ? 0 : -1;
}

static int desk_close(void **state)
{
    struct desk *desk = *state;

    grd_lock_master_check(desk->master);
    grd_lock_master_close(&desk->master);
    return 0;
}

static struct grd_msg message(uint16_t type, uint16_t from, uint32_t lock, uint64_t request)
{
    static const struct cf_hash_key cluster = {{1, 2, 3}};
    struct grd_msg msg;

    memset(&msg, 0, sizeof msg);
    msg.type = type;
    msg.from = from;
    msg.request = request;
    grd_lock_name_ids(1, lock, 0, &msg.name);
    grd_lock_key(&cluster, &msg.name, &msg.key);
    return msg;
}

/* The first answer of this type to `to`; NULL: there is none. Answers of the step before are gone. */
static const struct grd_msg *says(struct desk *desk, const struct grd_msg *msg, uint16_t type)
{
    desk->actions.count = 0;
    grd_lock_master_step(desk->master, msg, msg->key.block, desk->now_ns, &desk->actions);
    for (uint32_t i = 0; i < desk->actions.count; i++)
        if (desk->actions.item[i].msg.type == type && desk->actions.item[i].to == msg->from)
            return &desk->actions.item[i].msg;
    return NULL;
}

static uint64_t take(struct desk *desk, uint16_t from, uint32_t lock, uint64_t request, uint8_t mode)
{
    struct grd_msg msg = message(GRD_MSG_LOCK_REQUEST, from, lock, request);
    const struct grd_msg *grant;

    msg.mode = mode;
    grant = says(desk, &msg, GRD_MSG_LOCK_GRANT);
    assert_non_null(grant);
    return grant->tenure;
}

static void release(struct desk *desk, uint16_t from, uint32_t lock, uint64_t tenure)
{
    struct grd_msg msg = message(GRD_MSG_LOCK_DOWN, from, lock, 0);

    msg.tenure = tenure;
    msg.flags = GRD_FLAG_RELEASE;
    assert_non_null(says(desk, &msg, GRD_MSG_LOCK_LOWERED));
}

static struct grd_msg swap_of(uint16_t from, uint32_t lock, uint64_t request, uint64_t expected)
{
    struct grd_msg msg = message(GRD_MSG_LOCK_SWAP, from, lock, request);

    msg.held = expected;
    msg.value.count = 8;
    return msg;
}

static void a_swap_answered_busy_is_not_carried_out_by_a_late_copy(void **state)
{
    struct desk *desk = *state;
    uint64_t tenure = take(desk, 1, 0, 1, GRD_LOCK_PW);
    struct grd_msg swap = swap_of(2, 0, 1, 0);
    const struct grd_msg *answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);

    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_BUSY);
    release(desk, 1, 0, tenure);
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_BUSY);
    swap.request = 2;
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_DONE);
    assert_int_equal(answer->version, 1);
}

static void a_swap_answered_full_is_not_carried_out_by_a_late_copy(void **state)
{
    struct desk *desk = *state;
    uint64_t tenure = take(desk, 1, 0, 1, GRD_LOCK_PW);
    struct grd_msg swap = swap_of(2, 2, 1, 0);
    const struct grd_msg *answer;

    take(desk, 1, 1, 2, GRD_LOCK_PW);
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_FULL);
    release(desk, 1, 0, tenure);
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_FULL);
}

static void a_swap_carried_out_is_said_to_be_so_when_its_lock_is_forgotten(void **state)
{
    struct desk *desk = *state;
    struct grd_msg swap = swap_of(2, 0, 1, 0);
    const struct grd_msg *answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);

    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_DONE);
    take(desk, 1, 1, 1, GRD_LOCK_PW);
    take(desk, 1, 2, 2, GRD_LOCK_PW);
    assert_null(grd_lock_master_value(desk->master, &swap.key, swap.key.block));
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_DONE);
    assert_int_equal(answer->version, 1);
}

static void a_request_refused_for_want_of_room_is_not_granted_by_a_late_copy(void **state)
{
    struct desk *desk = *state;
    uint64_t tenure = take(desk, 1, 0, 1, GRD_LOCK_PW);
    struct grd_msg late = message(GRD_MSG_LOCK_REQUEST, 2, 2, 1);
    const struct grd_msg *answer;

    take(desk, 1, 1, 2, GRD_LOCK_PW);
    late.mode = GRD_LOCK_CR;
    answer = says(desk, &late, GRD_MSG_LOCK_REFUSED);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_FULL);
    release(desk, 1, 0, tenure);
    answer = says(desk, &late, GRD_MSG_LOCK_REFUSED);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_SPENT);
}

static void a_forgotten_version_is_not_met_again(void **state)
{
    struct desk *desk = *state;
    struct grd_msg swap = swap_of(2, 0, 1, 0);
    const struct grd_msg *answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    uint64_t tenure;

    assert_int_equal(answer->version, 1);
    tenure = take(desk, 1, 1, 1, GRD_LOCK_PW);
    take(desk, 1, 2, 2, GRD_LOCK_PW);
    release(desk, 1, 1, tenure);
    swap = swap_of(3, 0, 1, 1);
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_CHANGED);
    assert_true(answer->version > 1);
}

/* The hash of another name in use is the same: the name that came second is refused, also for a swap. */
static void a_name_whose_hash_is_taken_is_refused(void **state)
{
    struct desk *desk = *state;
    struct grd_msg other = message(GRD_MSG_LOCK_REQUEST, 2, 0, 1), swap = swap_of(3, 0, 1, 0);
    const struct grd_msg *answer;

    take(desk, 1, 0, 1, GRD_LOCK_CR);
    grd_lock_name_ids(1, 99, 0, &other.name); /* the key stays */
    other.mode = GRD_LOCK_CR;
    answer = says(desk, &other, GRD_MSG_LOCK_REFUSED);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_TAKEN);
    swap.name = other.name;
    answer = says(desk, &swap, GRD_MSG_LOCK_VALUE);
    assert_non_null(answer);
    assert_int_equal(answer->how, GRD_LOCK_TAKEN);
    grd_lock_name_ids(1, 0, 0, &other.name);
    other.request = 2;
    assert_non_null(says(desk, &other, GRD_MSG_LOCK_GRANT));
}

/* A holds EX, uses PR: it stands against a swap, and not against B, who tries PR. */
static void who_tries_less_than_what_is_kept_out_is_not_refused(void **state)
{
    struct desk *desk = *state;
    uint64_t tenure = take(desk, 1, 0, 1, GRD_LOCK_EX);
    struct grd_msg tries = message(GRD_MSG_LOCK_REQUEST, 2, 0, 1);
    struct grd_msg in_use = message(GRD_MSG_LOCK_IN_USE, 1, 0, 0);
    struct grd_msg down = message(GRD_MSG_LOCK_DOWN, 1, 0, 0);

    tries.mode = GRD_LOCK_PR;
    tries.flags = GRD_LOCK_TRY;
    assert_null(says(desk, &tries, GRD_MSG_LOCK_REFUSED));
    in_use.tenure = tenure;
    in_use.mode = GRD_LOCK_PW; /* what somebody's swap had demanded */
    says(desk, &in_use, GRD_MSG_LOCK_REFUSED);
    down.tenure = tenure;
    down.mode = GRD_LOCK_PR;
    says(desk, &down, GRD_MSG_LOCK_LOWERED);
    assert_int_equal(desk->actions.count, 2);
    assert_int_equal(desk->actions.item[1].msg.type, GRD_MSG_LOCK_GRANT);
    assert_int_equal(desk->actions.item[1].to, 2);
}

/* An instance with handles of lock 0, whose master, instance 0, is the test. */
static struct grd_lock_local *lone_open(struct grd_map *map, struct grd_lock_resource **handle_out)
{
    static const uint16_t members[] = {0};
    static const struct cf_hash_key cluster = {{1, 2, 3}};
    struct grd_lock_local_options options = {.node = 1,
                                             .resources = 2,
                                             .claims = 2,
                                             .calls = 1,
                                             .resend_ns = 4000000,
                                             .wheel_tick_ns = 100000,
                                             .epoch = 1,
                                             .map = map,
                                             .allocator = cf_allocator_default()};
    struct grd_lock_local *local;
    struct grd_lock_name name;

    assert_int_equal(grd_map_open(&cluster, 1, 64, 1, members, 1, cf_allocator_default(), map), CF_OK);
    assert_int_equal(grd_lock_local_open(&options, &local), CF_OK);
    grd_lock_name_ids(1, 0, 0, &name);
    assert_int_equal(grd_lock_local_attach(local, &name, handle_out), CF_OK);
    return local;
}

static void lone_close(struct grd_lock_local **local, struct grd_map *map)
{
    grd_lock_local_check(*local);
    grd_lock_local_close(local);
    grd_map_close(map);
}

static void answer_grant(struct grd_lock_local *local, uint64_t request, uint8_t mode, uint64_t tenure,
                         struct grd_actions *actions)
{
    struct grd_msg grant = message(GRD_MSG_LOCK_GRANT, 0, 0, request);

    grant.mode = mode;
    grant.tenure = tenure;
    actions->count = 0;
    grd_lock_local_step(local, &grant, 0, actions);
}

/* An instance that holds the lock in PW, and whose master answers nothing more. */
static struct grd_lock_local *lone_writer(struct grd_map *map, struct grd_actions *actions,
                                          struct grd_lock_resource **handle_out, grd_lock_id *lock_out)
{
    struct grd_lock_want want = {.owner = 1, .mode = GRD_LOCK_PW};
    struct grd_lock_local *local = lone_open(map, handle_out);
    struct grd_lock_done done;

    actions->count = 0;
    assert_int_equal(grd_lock_local_want(local, *handle_out, &want, 0, actions, lock_out), CF_PENDING);
    answer_grant(local, actions->item[0].msg.request, GRD_LOCK_PW, 1, actions);
    assert_true(grd_lock_local_next_done(local, &done));
    assert_int_equal(done.rc, CF_OK);
    return local;
}

static void a_claim_is_usable_when_its_publish_is_given_up(void **state)
{
    struct desk *desk = *state;
    struct grd_lock_value value = {.bytes_count = 8};
    struct grd_lock_resource *handle;
    struct grd_lock_local *local;
    struct grd_map map;
    grd_lock_id lock;

    local = lone_writer(&map, &desk->actions, &handle, &lock);
    assert_int_equal(
        grd_lock_local_convert(local, lock, GRD_LOCK_PW, GRD_LOCK_PUBLISH, &value, 0, &desk->actions),
        CF_PENDING);
    assert_int_equal(grd_lock_local_unlock(local, lock, 0, NULL, 0, &desk->actions), CF_NOT_HELD);
    assert_true(grd_lock_local_unpublish(local, lock, 0, &desk->actions));
    assert_false(grd_lock_local_unpublish(local, lock, 0, &desk->actions));
    assert_int_equal(grd_lock_local_unlock(local, lock, GRD_LOCK_PUBLISH, &value, 0, &desk->actions),
                     CF_PENDING);
    assert_true(grd_lock_local_unpublish(local, lock, 0, &desk->actions));
    assert_int_equal(grd_lock_local_used(local).claims, 0);
    lone_close(&local, &map);
}

/*
 * The instance holds nothing yet and waits for EX. NL is not made to wait with it: the master is asked for it before, and
 * then for EX again.
 */
static void nl_does_not_wait_for_what_was_asked_before(void **state)
{
    struct desk *desk = *state;
    struct grd_lock_want want = {.owner = 1, .mode = GRD_LOCK_EX};
    struct grd_actions *actions = &desk->actions;
    struct grd_lock_resource *handle;
    struct grd_lock_local *local;
    struct grd_lock_done done;
    struct grd_msg refused;
    struct grd_map map;
    grd_lock_id ex, nl;
    uint64_t asked;

    local = lone_open(&map, &handle);
    assert_int_equal(grd_lock_local_want(local, handle, &want, 0, actions, &ex), CF_PENDING);
    asked = actions->item[0].msg.request;
    actions->count = 0;
    want = (struct grd_lock_want){.owner = 2, .mode = GRD_LOCK_NL, .flags = GRD_LOCK_TRY};
    assert_int_equal(grd_lock_local_want(local, handle, &want, 0, actions, &nl), CF_PENDING);
    assert_int_equal(actions->count, 1);
    assert_int_equal(actions->item[0].msg.type, GRD_MSG_LOCK_CANCEL);
    refused = message(GRD_MSG_LOCK_REFUSED, 0, 0, asked);
    refused.how = GRD_LOCK_CANCELLED;
    actions->count = 0;
    grd_lock_local_step(local, &refused, 0, actions);
    assert_false(grd_lock_local_next_done(local, &done));
    assert_int_equal(actions->count, 1);
    assert_int_equal(actions->item[0].msg.type, GRD_MSG_LOCK_REQUEST);
    assert_int_equal(actions->item[0].msg.mode, GRD_LOCK_NL);
    answer_grant(local, actions->item[0].msg.request, GRD_LOCK_NL, 1, actions);
    assert_true(grd_lock_local_next_done(local, &done));
    assert_true(done.lock == nl && done.rc == CF_OK);
    assert_int_equal(actions->count, 1); /* and goes on with EX */
    assert_int_equal(actions->item[0].msg.mode, GRD_LOCK_EX);
    answer_grant(local, actions->item[0].msg.request, GRD_LOCK_EX, 2, actions);
    assert_true(grd_lock_local_next_done(local, &done));
    assert_true(done.lock == ex && done.rc == CF_OK);
    lone_close(&local, &map);
}

/* A publish under way keeps the record of a lock whose last handle was closed; nothing is granted through it. */
static void a_closed_handle_grants_nothing_while_its_lock_lingers(void **state)
{
    struct desk *desk = *state;
    struct grd_lock_value value = {.bytes_count = 8};
    struct grd_lock_resource *handle;
    struct grd_lock_local *local;
    struct grd_map map;
    grd_lock_id lock;

    local = lone_writer(&map, &desk->actions, &handle, &lock);
    assert_int_equal(grd_lock_local_unlock(local, lock, GRD_LOCK_PUBLISH, &value, 0, &desk->actions),
                     CF_PENDING);
    grd_lock_local_detach(local, handle, 0, &desk->actions);
    assert_false(grd_lock_resource_is_open(local, handle));
    assert_false(grd_lock_local_take(local, handle, GRD_LOCK_CR, 1, 0, &lock));
    lone_close(&local, &map);
}

/* Whoever holds a record may look at it later: it is not given to another lock, although its handle is closed. */
static void a_held_record_stays_its_locks(void **state)
{
    struct desk *desk = *state;
    struct grd_lock_resource *handle, *other;
    struct grd_lock_name name;
    struct grd_lock_local *local;
    struct grd_map map;

    local = lone_open(&map, &handle);
    grd_lock_local_hold(handle);
    grd_lock_local_detach(local, handle, 0, &desk->actions);
    assert_false(grd_lock_resource_is_open(local, handle));
    grd_lock_name_ids(1, 1, 0, &name);
    assert_int_equal(grd_lock_local_attach(local, &name, &other), CF_OK);
    assert_ptr_not_equal(other, handle);
    grd_lock_local_unhold(local, handle, 0, &desk->actions);
    assert_int_equal(grd_lock_local_used(local).resources, 1);
    grd_lock_local_detach(local, other, 0, &desk->actions);
    lone_close(&local, &map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_swap_answered_busy_is_not_carried_out_by_a_late_copy, desk_open,
                                        desk_close),
        cmocka_unit_test_setup_teardown(a_swap_answered_full_is_not_carried_out_by_a_late_copy, desk_open,
                                        desk_close),
        cmocka_unit_test_setup_teardown(a_swap_carried_out_is_said_to_be_so_when_its_lock_is_forgotten,
                                        desk_open, desk_close),
        cmocka_unit_test_setup_teardown(a_request_refused_for_want_of_room_is_not_granted_by_a_late_copy,
                                        desk_open, desk_close),
        cmocka_unit_test_setup_teardown(a_forgotten_version_is_not_met_again, desk_open, desk_close),
        cmocka_unit_test_setup_teardown(a_claim_is_usable_when_its_publish_is_given_up, desk_open,
                                        desk_close),
        cmocka_unit_test_setup_teardown(who_tries_less_than_what_is_kept_out_is_not_refused, desk_open,
                                        desk_close),
        cmocka_unit_test_setup_teardown(a_name_whose_hash_is_taken_is_refused, desk_open, desk_close),
        cmocka_unit_test_setup_teardown(nl_does_not_wait_for_what_was_asked_before, desk_open, desk_close),
        cmocka_unit_test_setup_teardown(a_closed_handle_grants_nothing_while_its_lock_lingers, desk_open,
                                        desk_close),
        cmocka_unit_test_setup_teardown(a_held_record_stays_its_locks, desk_open, desk_close),
    };

    return cmocka_run_group_tests_name("grd/lock_steps", tests, NULL, NULL);
}
