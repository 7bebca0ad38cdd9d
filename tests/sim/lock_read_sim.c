/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A value of a lock that is being READ from its master's memory while its reader's instance does something else: the
 * handle is closed and its record taken by another lock; the instance stops and the caller goes home.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "engine/engine.h"
#include "tools/sim/store.h"
#include "transport/sim/sim.h"

#define BLOCK_BYTES 2048u
#define STEP_NS (20 * CF_NS_PER_US)
#define OPEN_NS CF_NS_PER_S
#define CALL_NS (50 * CF_NS_PER_MS)
#define CUT_NS (20 * CF_NS_PER_MS)
#define DETECT_NS CF_NS_PER_MS
#define LOCKS_MAX 64u
#define POISON 0x5a

/* Instance 1 reads what instance 0 is the master of. */
struct pair {
    struct sim_net *net;
    struct sim_disk *disk;
    struct cf_instance *instance[2];
    struct cf_session *session[2];
    bool is_gone; /* instance 0 */
    uint64_t now_ns;
};

static void instance_open(struct pair *pair, uint16_t node)
{
    struct eng_manual manual = {.network = pair->net, .store = sim_disk_store(pair->disk, node)};
    struct cf_options options;
    struct cf_error error = {0};

    cf_options_init(&options);
    assert_int_equal(cf_options_set(&options, "transport", "sim:", &error), CF_OK);
    options.node = node;
    options.nodes = 2;
    options.incarnation = 1;
    options.cache_bytes = 0;
    options.cache_2k_bytes = 64 * BLOCK_BYTES;
    options.buckets = 64;
    options.shards = 1;
    options.sessions = 2;
    options.outstanding = 8;
    options.locks = LOCKS_MAX;
    options.claims = 16;
    options.peer_timeout = 600 * CF_NS_PER_S;
    options.hugepages = 1; /* off */
    options.trace = 0;
    if (eng_open_manual(&options, NULL, &manual, &pair->instance[node], &error) != CF_OK)
        fail_msg("%s", error.text);
}

static void run(struct pair *pair, uint64_t for_ns)
{
    for (uint64_t end_ns = pair->now_ns + for_ns; pair->now_ns < end_ns; pair->now_ns += STEP_NS) {
        sim_net_advance(pair->net, pair->now_ns);
        sim_disk_advance(pair->disk, pair->now_ns);
        for (uint32_t n = pair->is_gone; n < 2; n++)
            while (eng_turn(pair->instance[n], pair->now_ns))
                ;
    }
}

static int set_up(void **state)
{
    static struct pair pair;
    struct sim_net_options net = {.nodes = 2,
                                  .seed = 1,
                                  .delay_floor_ns = CF_NS_PER_US,
                                  .retransmit_ns = 100 * CF_NS_PER_US,
                                  .detect_ns = DETECT_NS};
    struct sim_disk_options disk = {
        .nodes = 2, .file_id = 1, .block_bytes = BLOCK_BYTES, .blocks = 8, .seed = 1, .delay_floor_ns = 1000};

    memset(&pair, 0, sizeof pair);
    assert_int_equal(sim_net_open(&net, &pair.net), CF_OK);
    assert_int_equal(sim_disk_open(&disk, &pair.disk), CF_OK);
    for (uint16_t n = 0; n < 2; n++)
        instance_open(&pair, n);
    run(&pair, OPEN_NS);
    for (uint32_t n = 0; n < 2; n++) {
        assert_true(eng_is_open(pair.instance[n]));
        assert_int_equal(cf_session_open(pair.instance[n], &pair.session[n]), CF_OK);
    }
    *state = &pair;
    return 0;
}

static int tear_down(void **state)
{
    struct pair *pair = *state;

    for (uint16_t n = 0; n < 2; n++) {
        sim_disk_crash(pair->disk, n);
        eng_close_manual(&pair->instance[n]);
    }
    sim_disk_close(&pair->disk);
    sim_net_close(&pair->net);
    return 0;
}

/* Ends within CALL_NS. */
static enum cf_rc call(struct pair *pair, uint32_t node, enum cf_op_kind kind, uint32_t flags,
                       struct cf_lock_args *args)
{
    struct cf_op op = {.kind = kind, .flags = flags, .deadline_ns = CF_FOREVER, .lock = args}, *done[1];

    assert_int_equal(cf_submit(pair->session[node], &op), CF_OK);
    run(pair, CALL_NS);
    assert_int_equal(cf_poll(pair->session[node], done, 1), 1);
    return op.rc;
}

static struct cf_lock *lock_open(struct pair *pair, uint32_t node, uint64_t id)
{
    struct cf_lock *lock = NULL;

    assert_int_equal(cf_lock_open_ids(pair->session[node], 1, id, 0, &lock), CF_OK);
    return lock;
}

static uint64_t reads_by_message(struct pair *pair)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(pair->instance[1], &stats), CF_OK);
    return stats.lock_reads;
}

/*
 * From *id on, the first lock whose value, written at instance 0, instance 1 reads by READ: instance 0 is its master. The
 * handle is instance 1's, which holds nothing of the lock.
 */
static struct cf_lock *lock_of_other(struct pair *pair, uint64_t *id, uint8_t byte)
{
    struct cf_lock_value value = {.bytes_count = 1, .bytes = {byte}}, seen;

    for (; *id < LOCKS_MAX; ++*id) {
        struct cf_lock *there = lock_open(pair, 0, *id), *here = lock_open(pair, 1, *id);
        struct cf_claim claim = {0};
        struct cf_lock_args args = {.lock = there, .claim = &claim, .mode = CF_LOCK_EX};
        uint64_t before;

        assert_int_equal(call(pair, 0, CF_OP_LOCK, 0, &args), CF_OK);
        args = (struct cf_lock_args){.claim = &claim, .value = &value};
        assert_int_equal(call(pair, 0, CF_OP_UNLOCK, CF_LOCK_PUBLISH, &args), CF_OK);
        args = (struct cf_lock_args){.lock = here, .value_out = &seen};
        assert_int_equal(call(pair, 1, CF_OP_VALUE_READ, 0, &args), CF_OK); /* tells where the record is */
        assert_int_equal(seen.bytes[0], byte);
        before = reads_by_message(pair);
        assert_int_equal(call(pair, 1, CF_OP_VALUE_READ, 0, &args), CF_OK);
        ++*id;
        if (reads_by_message(pair) == before)
            return here;
        --*id;
    }
    fail_msg("no lock is mastered by instance 0");
    return NULL;
}

/* A READ of the lock's value that does not end before CUT_NS. */
static void read_begin(struct pair *pair, struct cf_op *op, struct cf_lock_args *args)
{
    uint64_t before = reads_by_message(pair);
    struct cf_op *done[1];

    sim_net_cut(pair->net, 0, 1, pair->now_ns + CUT_NS);
    *op = (struct cf_op){.kind = CF_OP_VALUE_READ, .deadline_ns = CF_FOREVER, .lock = args};
    assert_int_equal(cf_submit(pair->session[1], op), CF_OK);
    run(pair, STEP_NS);
    assert_int_equal(cf_poll(pair->session[1], done, 1), 0);
    assert_int_equal(reads_by_message(pair), before);
}

static void a_handle_closed_meanwhile_does_not_give_another_locks_value(void **state)
{
    struct pair *pair = *state;
    uint64_t id = 0, other_id;
    struct cf_lock *other, *lock = lock_of_other(pair, &id, 'a');
    struct cf_lock_value seen = {0};
    struct cf_lock_args args = {.lock = lock, .value_out = &seen};
    struct cf_op op, *done[1];

    other = lock_of_other(pair, &id, 'b');
    other_id = id - 1;
    assert_int_equal(cf_lock_close(pair->session[1], &other), CF_OK);
    read_begin(pair, &op, &args);
    assert_int_equal(cf_lock_close(pair->session[1], &lock), CF_OK);
    other = lock_open(pair, 1, other_id);
    run(pair, 2 * CUT_NS);
    assert_int_equal(cf_poll(pair->session[1], done, 1), 1);
    assert_int_equal(op.rc, CF_OK);
    assert_int_equal(seen.bytes[0], 'a');
    args = (struct cf_lock_args){.lock = other, .value_out = &seen};
    assert_int_equal(call(pair, 1, CF_OP_VALUE_READ, 0, &args), CF_OK);
    assert_int_equal(seen.bytes[0], 'b');
    assert_int_equal(cf_lock_close(pair->session[1], &other), CF_OK);
}

/* What was submitted before a close comes before it, although nobody has looked at it yet. */
static void a_handle_that_a_call_was_submitted_for_is_not_closed(void **state)
{
    struct pair *pair = *state;
    struct cf_lock *lock = lock_open(pair, 1, 0), *other;
    struct cf_claim claim = {0};
    struct cf_lock_args args = {.lock = lock, .claim = &claim, .mode = CF_LOCK_EX};
    struct cf_op op = {.kind = CF_OP_LOCK, .deadline_ns = CF_FOREVER, .lock = &args}, *done[1];

    assert_int_equal(cf_submit(pair->session[1], &op), CF_OK);
    assert_int_equal(cf_lock_close(pair->session[1], &lock), CF_BUSY);
    assert_non_null(lock);
    other = lock_open(pair, 1, 1);
    run(pair, CALL_NS);
    assert_int_equal(cf_poll(pair->session[1], done, 1), 1);
    assert_int_equal(op.rc, CF_OK);
    assert_ptr_equal(claim.lock, lock);
    assert_int_equal(cf_lock_unlock(pair->session[1], &claim, 0, NULL), CF_OK);
    assert_int_equal(cf_lock_close(pair->session[1], &lock), CF_OK);
    assert_int_equal(cf_lock_close(pair->session[1], &other), CF_OK);
}

static void a_deadline_meanwhile_leaves_nothing_behind(void **state)
{
    struct pair *pair = *state;
    uint64_t id = 0;
    struct cf_lock *lock = lock_of_other(pair, &id, 'a');
    struct cf_lock_value seen = {0};
    struct cf_lock_args args = {.lock = lock, .value_out = &seen};
    struct cf_op op, *done[1];
    char text[160];

    read_begin(pair, &op, &args);
    assert_int_equal(cf_cancel(pair->session[1], &op), CF_OK);
    assert_int_equal(cf_poll(pair->session[1], done, 1), 1);
    assert_int_equal(op.rc, CF_CANCELLED);
    assert_int_equal(cf_lock_close(pair->session[1], &lock), CF_OK);
    memset(&op, POISON, sizeof op);
    run(pair, 2 * CUT_NS);
    for (size_t i = 0; i < sizeof op; i++)
        assert_int_equal(((uint8_t *)&op)[i], POISON);
    assert_int_equal(eng_leaks(pair->instance[1], text, sizeof text), 0);
}

static void a_stop_meanwhile_tells_the_caller_once(void **state)
{
    struct pair *pair = *state;
    uint64_t id = 0;
    struct cf_lock *lock = lock_of_other(pair, &id, 'a');
    struct cf_lock_value seen = {0};
    struct cf_lock_args args = {.lock = lock, .value_out = &seen};
    struct cf_op op, *done[1];

    read_begin(pair, &op, &args);
    sim_net_crash(pair->net, 0);
    pair->is_gone = true;
    run(pair, 4 * DETECT_NS);
    assert_int_equal(cf_state(pair->instance[1], NULL), CF_PEER_LOST);
    assert_int_equal(cf_poll(pair->session[1], done, 1), 1);
    assert_int_equal(op.rc, CF_PEER_LOST);
    memset(&op, POISON, sizeof op);
    run(pair, 2 * CUT_NS); /* the READ ends, and concerns nobody any more */
    for (size_t i = 0; i < sizeof op; i++)
        assert_int_equal(((uint8_t *)&op)[i], POISON);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(a_handle_closed_meanwhile_does_not_give_another_locks_value, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_handle_that_a_call_was_submitted_for_is_not_closed, set_up,
                                        tear_down),
        cmocka_unit_test_setup_teardown(a_deadline_meanwhile_leaves_nothing_behind, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_stop_meanwhile_tells_the_caller_once, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("sim/lock_read", tests, NULL, NULL);
}
