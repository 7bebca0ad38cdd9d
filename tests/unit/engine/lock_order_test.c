/* SPDX-License-Identifier: Apache-2.0 */
/* Who is next, who is told, and what it costs, by the public calls: names, flags, local queues, messages. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"

#define NODES 3u
#define SOON_NS 20000000ull
#define NAMES 24u
#define ATTEMPTS 50u

struct fixture {
    struct cluster cluster;
    struct cf_lock *lock[NODES];
    struct cf_callbacks callbacks;
    _Atomic uint32_t wanted[CF_LOCK_EX + 1]; /* how often somebody was told, by the mode that was wanted */
};

static void lock_wanted(void *context, struct cf_lock *lock, uint32_t mode)
{
    struct fixture *f = context;

    (void)lock;
    atomic_fetch_add(&f->wanted[mode], 1);
}

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof fixture);
    fixture.callbacks = (struct cf_callbacks){
        .size = sizeof fixture.callbacks, .context = &fixture, .lock_wanted = lock_wanted};
    cluster_init(&fixture.cluster, NODES);
    fixture.cluster.callbacks = &fixture.callbacks;
    cluster_open(&fixture.cluster);
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(cf_lock_open(fixture.cluster.session[n], "order", 5, &fixture.lock[n]), CF_OK);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(cf_lock_close(f->cluster.session[n], &f->lock[n]), CF_OK);
    cluster_close(&f->cluster);
    cluster_end(&f->cluster);
    return 0;
}

static struct cf_claim take(struct fixture *f, uint32_t n, struct cf_lock *lock, enum cf_lock_mode mode)
{
    struct cf_claim claim = {0};

    assert_int_equal(cf_lock_request(f->cluster.session[n], lock, mode, 0, cluster_deadline(), &claim),
                     CF_OK);
    return claim;
}

/* For an owner of its own: one that waits for itself would be in a deadlock. */
static struct cf_claim take_as(struct fixture *f, uint32_t n, uint64_t owner, enum cf_lock_mode mode)
{
    struct cf_claim claim;

    assert_int_equal(cf_owner_set(f->cluster.session[n], owner, 0), CF_OK);
    claim = take(f, n, f->lock[n], mode);
    assert_int_equal(cf_owner_set(f->cluster.session[n], 0, 0), CF_OK);
    return claim;
}

static void give(struct fixture *f, uint32_t n, struct cf_claim *claim)
{
    assert_int_equal(cf_lock_unlock(f->cluster.session[n], claim, 0, NULL), CF_OK);
}

static struct cf_stats stats_of(struct fixture *f, uint32_t n)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(f->cluster.instance[n], &stats), CF_OK);
    return stats;
}

/* A call under way, of an owner of its own. */
struct waiter {
    struct cf_lock_args args;
    struct cf_claim claim;
    struct cf_op op;
};

static void submit(struct fixture *f, uint32_t n, struct waiter *waiter, enum cf_op_kind kind,
                   enum cf_lock_mode mode, uint32_t flags, uint64_t owner)
{
    waiter->args = (struct cf_lock_args){
        .lock = f->lock[n], .claim = &waiter->claim, .mode = mode, .owner = owner};
    waiter->op = (struct cf_op){
        .kind = kind, .flags = flags, .deadline_ns = CF_FOREVER, .lock = &waiter->args};
    assert_int_equal(cf_submit(f->cluster.session[n], &waiter->op), CF_OK);
}

/* The call that ends next is this one, and well. */
static void next_is(struct fixture *f, uint32_t n, struct waiter *waiter)
{
    struct cf_op *done[1];

    assert_int_equal(cf_wait(f->cluster.session[n], done, 1, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &waiter->op);
    assert_int_equal(waiter->op.rc, CF_OK);
}

static void none_ends(struct fixture *f, uint32_t n)
{
    struct cf_op *done[1];

    assert_int_equal(cf_wait(f->cluster.session[n], done, 1, cf_now_ns() + SOON_NS), 0);
}

static void names_of_bytes_and_of_numbers_never_meet(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[0];
    /* 1, 2 and 3 as 4, 8 and 8 bytes, lowest first: what the numbers are hashed as */
    const char numbers[20] = {1, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, 3};
    char longest[64];
    struct cf_lock *locks[5] = {NULL};
    struct cf_claim claims[5];

    memset(longest, 'x', sizeof longest);
    assert_int_equal(cf_lock_open(session, numbers, sizeof numbers, &locks[0]), CF_OK);
    assert_int_equal(cf_lock_open_ids(session, 1, 2, 3, &locks[1]), CF_OK);
    assert_int_equal(cf_lock_open_ids(session, 1, 3, 2, &locks[2]), CF_OK);
    assert_int_equal(cf_lock_open(session, longest, 64, &locks[3]), CF_OK);
    assert_int_equal(cf_lock_open(session, longest, 63, &locks[4]), CF_OK);
    for (uint32_t i = 0; i < 5; i++)
        claims[i] = take(f, 0, locks[i], CF_LOCK_EX);
    for (uint32_t i = 0; i < 5; i++) {
        give(f, 0, &claims[i]);
        assert_int_equal(cf_lock_close(session, &locks[i]), CF_OK);
    }
}

static void wait_for(_Atomic uint32_t *count, uint32_t least)
{
    uint64_t end_ns = cf_now_ns() + CLUSTER_CALL_TIMEOUT_NS;

    while (atomic_load(count) < least && cf_now_ns() < end_ns)
        ;
    assert_true(atomic_load(count) >= least);
}

static void who_holds_it_is_told_when_it_is_wanted(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, f->lock[0], CF_LOCK_PR), claim = {0};
    struct waiter waiter = {.claim = {0}};
    uint32_t before = atomic_load(&f->wanted[CF_LOCK_EX]);

    assert_int_equal(
        cf_lock_request(f->cluster.session[1], f->lock[1], CF_LOCK_EX, CF_LOCK_TRY, CF_FOREVER, &claim),
        CF_BUSY);
    assert_int_equal(atomic_load(&f->wanted[CF_LOCK_EX]), before);
    assert_int_equal(cf_lock_request(f->cluster.session[1], f->lock[1], CF_LOCK_EX,
                                     CF_LOCK_TRY | CF_LOCK_NOTIFY, CF_FOREVER, &claim),
                     CF_BUSY);
    wait_for(&f->wanted[CF_LOCK_EX], before + 1);
    assert_false(cf_lock_is_wanted(f->cluster.session[0], &held)); /* nobody waits for it */
    submit(f, 1, &waiter, CF_OP_LOCK, CF_LOCK_PW, 0, 7);
    wait_for(&f->wanted[CF_LOCK_PW], 1);
    assert_true(cf_lock_is_wanted(f->cluster.session[0], &held));
    give(f, 0, &held);
    next_is(f, 1, &waiter);
    give(f, 1, &waiter.claim);
}

static void new_requests_come_in_order_but_for_the_head(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 1, f->lock[1], CF_LOCK_EX);
    struct waiter waiters[3];

    memset(waiters, 0, sizeof waiters);
    submit(f, 1, &waiters[0], CF_OP_LOCK, CF_LOCK_EX, 0, 7);
    submit(f, 1, &waiters[1], CF_OP_LOCK, CF_LOCK_EX, 0, 8);
    submit(f, 1, &waiters[2], CF_OP_LOCK, CF_LOCK_EX, CF_LOCK_HEAD, 9);
    none_ends(f, 1);
    give(f, 1, &held);
    next_is(f, 1, &waiters[2]);
    give(f, 1, &waiters[2].claim);
    next_is(f, 1, &waiters[0]);
    give(f, 1, &waiters[0].claim);
    next_is(f, 1, &waiters[1]);
    give(f, 1, &waiters[1].claim);
}

/* One waits to convert CR to PR, which CW keeps out. CR to CW could be had at once, but not behind it. */
static void a_conversion_in_order_waits_behind_those_before_it(void **state)
{
    struct fixture *f = *state;
    struct cf_claim keeps = take_as(f, 0, 6, CF_LOCK_CW), passes = take_as(f, 0, 9, CF_LOCK_CR);
    struct waiter first = {.claim = take_as(f, 0, 7, CF_LOCK_CR)};
    struct waiter second = {.claim = take_as(f, 0, 8, CF_LOCK_CR)};

    submit(f, 0, &first, CF_OP_CONVERT, CF_LOCK_PR, 0, 7);
    submit(f, 0, &second, CF_OP_CONVERT, CF_LOCK_CW, CF_LOCK_FIFO, 8);
    none_ends(f, 0);
    assert_int_equal(cf_lock_convert(f->cluster.session[0], &passes, CF_LOCK_CW, 0, NULL, cluster_deadline()),
                     CF_OK);
    give(f, 0, &passes);
    give(f, 0, &keeps);
    next_is(f, 0, &first);
    none_ends(f, 0);
    give(f, 0, &first.claim);
    next_is(f, 0, &second);
    give(f, 0, &second.claim);
}

static void waiters_of_an_instance_stand_behind_one_request(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, f->lock[0], CF_LOCK_EX);
    struct waiter waiters[4];
    struct cf_stats before = stats_of(f, 1);

    memset(waiters, 0, sizeof waiters);
    for (uint32_t i = 0; i < 4; i++)
        submit(f, 1, &waiters[i], CF_OP_LOCK, CF_LOCK_EX, 0, 7 + i);
    none_ends(f, 1);
    assert_int_equal(stats_of(f, 1).lock_requests, before.lock_requests + 1);
    give(f, 0, &held);
    for (uint32_t i = 0; i < 4; i++) {
        next_is(f, 1, &waiters[i]);
        give(f, 1, &waiters[i].claim);
    }
    assert_int_equal(stats_of(f, 1).lock_requests, before.lock_requests + 1);
}

static uint64_t sent_by_others(struct fixture *f)
{
    return stats_of(f, 1).messages_sent + stats_of(f, 2).messages_sent;
}

/* What the others have sent beyond `before`, when it is as much as instance 0 has beyond `before_own`, or after a while. */
static uint64_t answers(struct fixture *f, uint64_t before_own, uint64_t before)
{
    uint64_t end_ns = cf_now_ns() + SOON_NS, answered;

    do /* an answer is counted after it has been sent */
        answered = sent_by_others(f) - before;
    while (answered < stats_of(f, 0).messages_sent - before_own && cf_now_ns() < end_ns);
    return answered;
}

/* Takes and gives locks that nobody holds. Messages of instance 0, and of the others. */
static void take_free_ones(struct fixture *f, uint32_t attempt, uint64_t *asked_out, uint64_t *answered_out)
{
    uint64_t before_own = stats_of(f, 0).messages_sent, before = sent_by_others(f);
    struct cf_lock *locks[NAMES] = {NULL};
    struct cf_claim claim;
    char name[32];

    for (uint32_t i = 0; i < NAMES; i++) {
        snprintf(name, sizeof name, "free %u %u", attempt, i);
        assert_int_equal(cf_lock_open(f->cluster.session[0], name, strlen(name), &locks[i]), CF_OK);
        claim = take(f, 0, locks[i], CF_LOCK_EX);
        give(f, 0, &claim);
    }
    *asked_out = stats_of(f, 0).messages_sent - before_own;
    *answered_out = answers(f, before_own, before);
    for (uint32_t i = 0; i < NAMES; i++)
        assert_int_equal(cf_lock_close(f->cluster.session[0], &locks[i]), CF_OK);
    (void)answers(f, before_own, before); /* the next attempt begins when these have been given back */
}

/*
 * Nothing is sent where the master is this instance, which it is for some; else one message there and one back. On a loaded
 * machine a timer may say something again, and what handles leave behind is said late: then it is tried again.
 */
static void a_free_lock_costs_a_round_trip_or_nothing(void **state)
{
    struct fixture *f = *state;
    uint64_t asked = 0, answered = 0;

    for (uint32_t attempt = 0; attempt < ATTEMPTS; attempt++) {
        take_free_ones(f, attempt, &asked, &answered);
        if (asked == answered && asked > 0 && asked < NAMES)
            return;
    }
    fail_msg("%llu messages for %u locks, and %llu back", (unsigned long long)asked, NAMES,
             (unsigned long long)answered);
}

/* One instance with this many locks and this budget. */
static enum cf_rc open_alone(uint64_t locks, uint64_t directory_bytes)
{
    struct cluster cluster;
    struct cf_options options;
    struct cf_instance *instance = NULL;
    enum cf_rc rc;

    cluster_init(&cluster, 1);
    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", cluster.directory);
    options.nodes = 1;
    options.cache_bytes = 0;
    options.cache_2k_bytes = 64 * CLUSTER_BLOCK_BYTES;
    options.outstanding = 8;
    options.sessions = 4;
    options.log = 0;
    options.locks = locks;
    options.directory_bytes = directory_bytes;
    rc = cf_open(&options, NULL, &instance, NULL);
    if (rc == CF_OK)
        assert_int_equal(cf_close(&instance), CF_OK);
    cluster_end(&cluster);
    return rc;
}

static void locks_and_blocks_share_one_budget(void **state)
{
    (void)state;
    assert_int_equal(open_alone(0, 4 << 20), CF_OK);
    assert_int_equal(open_alone(1000, 4 << 20), CF_OK);
    assert_int_equal(open_alone(100000, 4 << 20), CF_BUDGET);
    assert_int_equal(open_alone(100000, 256 << 20), CF_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(
            a_free_lock_costs_a_round_trip_or_nothing), /* first: nobody has waited yet, no detector speaks */
        cmocka_unit_test(names_of_bytes_and_of_numbers_never_meet),
        cmocka_unit_test(who_holds_it_is_told_when_it_is_wanted),
        cmocka_unit_test(new_requests_come_in_order_but_for_the_head),
        cmocka_unit_test(a_conversion_in_order_waits_behind_those_before_it),
        cmocka_unit_test(locks_and_blocks_share_one_budget),
        cmocka_unit_test(waiters_of_an_instance_stand_behind_one_request),
    };

    return cmocka_run_group_tests_name("engine/lock_order", tests, set_up, tear_down);
}
