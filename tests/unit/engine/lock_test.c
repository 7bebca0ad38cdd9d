/* SPDX-License-Identifier: Apache-2.0 */
/* Locks by the public calls, over two and three instances with threads of their own. */
#include <pthread.h>
#include <setjmp.h>
#include <stdatomic.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"

#define NODES 3u
#define SOON_NS 20000000ull

struct fixture {
    struct cluster cluster;
    struct cf_lock *lock[NODES];
};

static int set_up_as(void **state, bool is_dedicated)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof fixture);
    cluster_init(&fixture.cluster, NODES);
    fixture.cluster.is_dedicated = is_dedicated;
    cluster_open(&fixture.cluster);
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(cf_lock_open(fixture.cluster.session[n], "accounts", 8, &fixture.lock[n]), CF_OK);
    *state = &fixture;
    return 0;
}

static int set_up(void **state)
{
    return set_up_as(state, false);
}

static int set_up_dedicated(void **state)
{
    return set_up_as(state, true);
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

static struct cf_claim take(struct fixture *f, uint32_t n, enum cf_lock_mode mode)
{
    struct cf_claim claim = {0};
    enum cf_rc rc = cf_lock_request(f->cluster.session[n], f->lock[n], mode, 0, cluster_deadline(), &claim);

    if (rc != CF_OK)
        fail_msg("node %u: %s", n, cf_rc_name(rc));
    assert_int_equal(claim.mode, mode);
    return claim;
}

static enum cf_rc try(struct fixture *f, uint32_t n, enum cf_lock_mode mode, struct cf_claim *claim)
{
    return cf_lock_request(f->cluster.session[n], f->lock[n], mode, CF_LOCK_TRY, cluster_deadline(), claim);
}

static void give(struct fixture *f, uint32_t n, struct cf_claim *claim)
{
    assert_int_equal(cf_lock_unlock(f->cluster.session[n], claim, 0, NULL), CF_OK);
    assert_null(claim->lock);
}

static struct cf_stats stats_of(struct fixture *f, uint32_t n)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(f->cluster.instance[n], &stats), CF_OK);
    return stats;
}

static void what_excludes_excludes_on_all_instances(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, CF_LOCK_EX), other = {0}, third = {0};

    assert_int_equal(try(f, 1, CF_LOCK_PR, &other), CF_BUSY);
    assert_int_equal(try(f, 2, CF_LOCK_CR, &third), CF_BUSY);
    assert_int_equal(try(f, 0, CF_LOCK_CR, &third), CF_BUSY); /* another owner of the same instance */
    give(f, 0, &held);
    assert_int_equal(try(f, 1, CF_LOCK_PR, &other), CF_OK);
    assert_int_equal(try(f, 2, CF_LOCK_PR, &third), CF_OK);
    assert_int_equal(try(f, 0, CF_LOCK_EX, &held), CF_BUSY);
    give(f, 1, &other);
    give(f, 2, &third);
}

static void a_lock_that_one_instance_uses_costs_no_message(void **state)
{
    struct fixture *f = *state;
    struct cf_claim claim;
    struct cf_stats before, after;

    claim = take(f, 1, CF_LOCK_EX);
    give(f, 1, &claim);
    before = stats_of(f, 1);
    for (int i = 0; i < 1000; i++) {
        claim = take(f, 1, i & 1 ? CF_LOCK_EX : CF_LOCK_PR);
        give(f, 1, &claim);
    }
    after = stats_of(f, 1);
    assert_int_equal(after.locks - before.locks, 1000);
    assert_int_equal(after.locks_cached - before.locks_cached, 1000);
    assert_int_equal(after.lock_requests, before.lock_requests);
}

/*
 * In the compact plan: a demand for the lock would wait for the poller to get a processor. A look is left out while
 * somebody else has progress, also when that one has no processor, so how many come in so many calls is up to the
 * scheduler: calls go on until there were enough, or the deadline.
 */
static void who_uses_a_cached_lock_looks_after_the_network(void **state)
{
    struct fixture *f = *state;
    struct cf_claim claim;
    struct cf_stats before = stats_of(f, 1);
    uint64_t deadline_ns = cluster_deadline();

    do {
        for (int i = 0; i < 100000; i++) {
            claim = take(f, 1, CF_LOCK_EX);
            give(f, 1, &claim);
        }
    } while (!f->cluster.is_dedicated && stats_of(f, 1).client_turns <= before.client_turns + 10 &&
             cf_now_ns() < deadline_ns);
    if (f->cluster.is_dedicated)
        assert_int_equal(stats_of(f, 1).client_turns, before.client_turns);
    else
        assert_true(stats_of(f, 1).client_turns > before.client_turns + 10);
}

static void a_value_moves_with_the_lock(void **state)
{
    struct fixture *f = *state;
    struct cf_lock_value value = {.bytes_count = 64}, seen;

    for (uint32_t round = 1; round <= 30; round++) {
        uint32_t n = round % NODES;
        struct cf_claim claim = take(f, n, CF_LOCK_EX);

        assert_int_equal(cf_lock_value_get(f->cluster.session[n], &claim, &seen), CF_OK);
        assert_true(seen.is_valid);
        if (round > 1) {
            assert_int_equal(seen.bytes_count, 64);
            assert_int_equal(seen.bytes[63], round - 1);
        }
        memset(value.bytes, (int)round, sizeof value.bytes);
        assert_int_equal(cf_lock_unlock(f->cluster.session[n], &claim, 0, &value), CF_OK);
    }
}

static void a_published_value_is_read_without_a_claim_everywhere(void **state)
{
    struct fixture *f = *state;
    struct cf_lock_value value = {.bytes_count = 3, .bytes = "abc"}, seen;
    struct cf_claim claim = take(f, 2, CF_LOCK_PW);
    uint64_t one_sided = 0;

    assert_int_equal(cf_lock_unlock(f->cluster.session[2], &claim, CF_LOCK_PUBLISH, &value), CF_OK);
    for (uint32_t n = 0; n < NODES; n++) {
        memset(&seen, 0, sizeof seen);
        assert_int_equal(cf_lock_value_read(f->cluster.session[n], f->lock[n], cluster_deadline(), &seen),
                         CF_OK);
        assert_int_equal(seen.bytes_count, 3);
        assert_memory_equal(seen.bytes, "abc", 3);
        assert_true(seen.version > 0);
    }
    for (uint32_t n = 0; n < NODES; n++) { /* by now each knows where the record is */
        struct cf_stats before = stats_of(f, n), after;

        assert_int_equal(cf_lock_value_read(f->cluster.session[n], f->lock[n], cluster_deadline(), &seen),
                         CF_OK);
        assert_memory_equal(seen.bytes, "abc", 3);
        after = stats_of(f, n);
        assert_int_equal(after.lock_reads, before.lock_reads); /* no message */
        one_sided += after.lock_reads_one_sided - before.lock_reads_one_sided;
    }
    assert_int_equal(one_sided, NODES - 1); /* the master looks at its own */
}

static void a_swap_needs_the_version_it_expects(void **state)
{
    struct fixture *f = *state;
    struct cf_lock_value value = {.bytes_count = 1}, seen = {0}, now;
    uint64_t stale;

    assert_int_equal(cf_lock_value_read(f->cluster.session[0], f->lock[0], cluster_deadline(), &seen), CF_OK);
    for (uint32_t round = 0; round < 20; round++) {
        uint32_t n = round % NODES;

        value.bytes[0] = (uint8_t)round;
        stale = seen.version;
        assert_int_equal(cf_lock_value_swap(f->cluster.session[n], f->lock[n], seen.version, &value,
                                            cluster_deadline(), &now),
                         CF_OK);
        assert_true(now.version > seen.version);
        assert_int_equal(now.bytes[0], round);
        seen = now;
        assert_int_equal(
            cf_lock_value_swap(f->cluster.session[n], f->lock[n], stale, &value, cluster_deadline(), &now),
            CF_VALUE_CHANGED);
        assert_int_equal(now.version, seen.version);
    }
}

static void a_wait_ends_at_its_deadline_and_the_next_is_served(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, CF_LOCK_EX), other = {0};

    assert_int_equal(
        cf_lock_request(f->cluster.session[1], f->lock[1], CF_LOCK_EX, 0, cf_now_ns() + SOON_NS, &other),
        CF_TIMEOUT);
    assert_null(other.lock);
    give(f, 0, &held);
    other = take(f, 1, CF_LOCK_EX);
    assert_int_equal(cf_lock_convert(f->cluster.session[1], &other, CF_LOCK_CR, 0, NULL, 0), CF_OK);
    assert_int_equal(other.mode, CF_LOCK_CR);
    held = take(f, 0, CF_LOCK_PW);
    assert_int_equal(
        cf_lock_convert(f->cluster.session[1], &other, CF_LOCK_PR, 0, NULL, cf_now_ns() + SOON_NS),
        CF_TIMEOUT);
    assert_int_equal(other.mode, CF_LOCK_CR);
    give(f, 0, &held);
    assert_int_equal(cf_lock_convert(f->cluster.session[1], &other, CF_LOCK_PR, 0, NULL, cluster_deadline()),
                     CF_OK);
    give(f, 1, &other);
}

static void an_op_completes_when_the_holder_lets_go_or_it_is_cancelled(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, CF_LOCK_EX), claims[2] = {{0}};
    struct cf_lock_args args[2] = {{.lock = f->lock[1], .claim = &claims[0], .mode = CF_LOCK_EX, .owner = 7},
                                   {.lock = f->lock[1], .claim = &claims[1], .mode = CF_LOCK_EX, .owner = 8}};
    struct cf_op ops[2] = {{.kind = CF_OP_LOCK, .deadline_ns = CF_FOREVER, .lock = &args[0]},
                           {.kind = CF_OP_LOCK, .deadline_ns = CF_FOREVER, .lock = &args[1]}},
                 *done[2];

    assert_int_equal(cf_submit(f->cluster.session[1], &ops[0]), CF_OK);
    assert_int_equal(cf_submit(f->cluster.session[1], &ops[1]), CF_OK);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 2, cf_now_ns() + SOON_NS), 0);
    assert_true(cf_lock_is_wanted(f->cluster.session[0], &held));
    assert_int_equal(cf_cancel(f->cluster.session[1], &ops[0]), CF_OK);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 2, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &ops[0]);
    assert_int_equal(ops[0].rc, CF_CANCELLED);
    give(f, 0, &held);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 2, cluster_deadline()), 1);
    assert_ptr_equal(done[0], &ops[1]);
    assert_int_equal(ops[1].rc, CF_OK);
    assert_int_equal(claims[1].mode, CF_LOCK_EX);
    give(f, 1, &claims[1]);
}

static void each_wrong_call_has_its_status_and_changes_nothing(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[0];
    struct cf_lock_value value = {.bytes_count = 1};
    struct cf_claim claim = {0}, twice;
    struct cf_lock *other = NULL;
    char name[65] = {1};

    assert_int_equal(cf_lock_open(session, name, 0, &other), CF_NAME_LONG);
    assert_int_equal(cf_lock_open(session, name, 65, &other), CF_NAME_LONG);
    assert_null(other);
    assert_int_equal(cf_lock_request(session, f->lock[0], (enum cf_lock_mode)6, 0, CF_FOREVER, &claim),
                     CF_LOCK_MODE);
    assert_int_equal(cf_lock_request(session, f->lock[0], CF_LOCK_PR, 0x80, CF_FOREVER, &claim),
                     CF_LOCK_MODE);
    assert_int_equal(cf_lock_request(session, f->lock[0], CF_LOCK_PR, 0x100, CF_FOREVER, &claim),
                     CF_LOCK_MODE);
    assert_int_equal(cf_lock_request(session, NULL, CF_LOCK_PR, 0, CF_FOREVER, &claim), CF_INVALID);
    assert_int_equal(cf_lock_convert(session, &claim, CF_LOCK_PR, 0, NULL, CF_FOREVER), CF_NOT_HELD);
    assert_int_equal(cf_lock_unlock(session, &claim, 0, NULL), CF_NOT_HELD);
    claim = take(f, 0, CF_LOCK_PR);
    assert_int_equal(cf_lock_close(session, &f->lock[0]), CF_BUSY);
    assert_int_equal(cf_lock_unlock(session, &claim, 0, &value), CF_VALUE_MODE);
    assert_int_equal(cf_lock_unlock(session, &claim, CF_LOCK_TRY, NULL), CF_LOCK_MODE);
    assert_int_equal(cf_lock_convert(session, &claim, (enum cf_lock_mode)9, 0, NULL, CF_FOREVER),
                     CF_LOCK_MODE);
    assert_int_equal(cf_lock_convert(session, &claim, CF_LOCK_EX, 0, NULL, cluster_deadline()), CF_OK);
    value.bytes_count = 65;
    assert_int_equal(cf_lock_unlock(session, &claim, 0, &value), CF_VALUE_MODE);
    twice = claim;
    give(f, 0, &claim);
    assert_int_equal(cf_lock_unlock(session, &twice, 0, NULL), CF_NOT_HELD);
    assert_int_equal(cf_owner_set(session, UINT64_MAX, 0), CF_INVALID);
}

static void assert_error(struct fixture *f, uint32_t n, const char *text)
{
    assert_string_equal(cf_session_error(f->cluster.session[n])->text, text);
}

/* Instance 0 holds no more than its owners ask for from now on. */
static void come_down(struct fixture *f)
{
    struct cf_claim claim = take(f, 1, CF_LOCK_EX);

    give(f, 1, &claim);
}

static void an_error_names_the_lock_what_was_asked_and_what_is_held(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[0];
    struct cf_claim held, other = {0}, ids = {0};
    struct cf_lock_value value = {.bytes_count = 1};
    struct cf_lock *lock = NULL;

    come_down(f);
    held = take(f, 0, CF_LOCK_PR);
    assert_int_equal(try(f, 0, CF_LOCK_EX, &other), CF_BUSY);
    assert_error(f, 0,
                 "lock 'accounts' asked in EX; here PR is held, by owners PR: somebody else holds it and the "
                 "call was told not to wait");
    other = take(f, 1, CF_LOCK_PR);
    assert_int_equal(cf_lock_convert(session, &held, CF_LOCK_EX, 0, NULL, cf_now_ns() + SOON_NS), CF_TIMEOUT);
    assert_error(f, 0,
                 "lock 'accounts' asked in EX by a claim in PR; here PR is held, by owners PR: the deadline "
                 "passed");
    assert_int_equal(cf_lock_convert(session, &held, (enum cf_lock_mode)9, 0, NULL, CF_FOREVER),
                     CF_LOCK_MODE);
    assert_error(
        f, 0,
        "lock 'accounts' asked in mode 9 by a claim in PR; here PR is held, by owners PR: there is no "
        "such lock mode, or a flag that does not go with the call");
    assert_int_equal(cf_lock_unlock(session, &held, 0, &value), CF_VALUE_MODE);
    assert_error(f, 0,
                 "lock 'accounts', unlock of a claim in PR; here PR is held, by owners PR: a lock value is "
                 "written without PW or EX, or has more than 64 bytes");
    assert_int_equal(cf_lock_value_swap(session, f->lock[0], 5, &value, cluster_deadline(), NULL), CF_BUSY);
    assert_error(f, 0,
                 "lock 'accounts', swap of the value of version 5; here PR is held, by owners PR: somebody "
                 "else holds it and the call was told not to wait");
    give(f, 0, &held);
    give(f, 1, &other);
    assert_int_equal(cf_lock_open_ids(session, 7, 1, 2, &lock), CF_OK);
    assert_int_equal(cf_lock_request(session, lock, CF_LOCK_EX, 0x80, CF_FOREVER, &ids), CF_LOCK_MODE);
    assert_error(
        f, 0,
        "lock (7, 1, 2) asked in EX; here NL is held, by owners NL: there is no such lock mode, or a "
        "flag that does not go with the call");
    assert_int_equal(cf_lock_close(session, &lock), CF_OK);
}

/* Two conversions that keep one another out: told at once, without a cycle from the detector. */
static void a_conversion_deadlock_names_its_lock_and_modes(void **state)
{
    struct fixture *f = *state;
    struct cf_claim claims[2];
    struct cf_lock_args args = {.claim = &claims[0], .mode = CF_LOCK_EX, .owner = 7};
    struct cf_op op = {.kind = CF_OP_CONVERT, .deadline_ns = CF_FOREVER, .lock = &args}, *done[1];

    come_down(f);
    claims[0] = take(f, 0, CF_LOCK_PR);
    claims[1] = take(f, 0, CF_LOCK_PR);
    assert_int_equal(cf_submit(f->cluster.session[0], &op), CF_OK);
    assert_int_equal(
        cf_lock_convert(f->cluster.session[0], &claims[1], CF_LOCK_PW, 0, NULL, cluster_deadline()),
        CF_DEADLOCK);
    assert_error(f, 0,
                 "lock 'accounts' asked in PW by a claim in PR; here PR is held, by owners PR: the wait was "
                 "part of a deadlock and was chosen to end");
    give(f, 0, &claims[1]);
    assert_int_equal(cf_wait(f->cluster.session[0], done, 1, cluster_deadline()), 1);
    assert_int_equal(op.rc, CF_OK);
    give(f, 0, &claims[0]);
}

/* Two owners of one instance convert CW to PR: one gives CW up on its way, and is told although it need not wait. */
static void a_conversion_that_gave_its_mode_up_says_so(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[0];
    struct cf_claim claims[2], third;
    struct cf_lock_args args = {.claim = &claims[0], .mode = CF_LOCK_PR, .owner = 7};
    struct cf_op op = {.kind = CF_OP_CONVERT, .deadline_ns = CF_FOREVER, .lock = &args}, *done[1];

    claims[0] = take(f, 0, CF_LOCK_CW);
    claims[1] = take(f, 0, CF_LOCK_CW);
    assert_int_equal(cf_submit(session, &op), CF_OK);
    assert_int_equal(
        cf_lock_convert(session, &claims[1], CF_LOCK_PR, CF_LOCK_DEMOTE, NULL, cluster_deadline()), CF_OK);
    assert_int_equal(claims[1].mode, CF_LOCK_PR);
    assert_int_equal(claims[1].is_demoted, 1);
    assert_int_equal(cf_wait(session, done, 1, cluster_deadline()), 1);
    assert_int_equal(op.rc, CF_OK);
    assert_int_equal(claims[0].is_demoted, 0);
    assert_int_equal(cf_lock_convert(session, &claims[1], CF_LOCK_CR, 0, NULL, 0), CF_OK);
    assert_int_equal(claims[1].is_demoted, 0);
    /* With TRY it comes back without its mode, where that had to be given up and somebody else was before it. */
    third = take(f, 0, CF_LOCK_CR);
    args.mode = CF_LOCK_EX;
    assert_int_equal(cf_submit(session, &op), CF_OK);
    assert_int_equal(cf_lock_convert(session, &claims[1], CF_LOCK_EX, CF_LOCK_TRY | CF_LOCK_DEMOTE, NULL,
                                     cluster_deadline()),
                     CF_BUSY);
    assert_int_equal(claims[1].mode, CF_LOCK_NL);
    assert_int_equal(claims[1].is_demoted, 1);
    give(f, 0, &third);
    assert_int_equal(cf_wait(session, done, 1, cluster_deadline()), 1);
    assert_int_equal(op.rc, CF_OK);
    give(f, 0, &claims[0]);
    give(f, 0, &claims[1]);
}

/* Of instance 1, which holds nothing, one owner waits for EX: another one has NL all the same. */
static void nl_is_granted_whoever_waits(void **state)
{
    struct fixture *f = *state;
    struct cf_claim held = take(f, 0, CF_LOCK_EX), waits = {0}, null;
    struct cf_lock_args args = {.lock = f->lock[1], .claim = &waits, .mode = CF_LOCK_EX, .owner = 7};
    struct cf_op op = {.kind = CF_OP_LOCK, .deadline_ns = CF_FOREVER, .lock = &args}, *done[1];

    assert_int_equal(cf_submit(f->cluster.session[1], &op), CF_OK);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 1, cf_now_ns() + SOON_NS), 0);
    null = take(f, 1, CF_LOCK_NL);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 1, cf_now_ns() + SOON_NS), 0);
    give(f, 0, &held);
    assert_int_equal(cf_wait(f->cluster.session[1], done, 1, cluster_deadline()), 1);
    assert_int_equal(op.rc, CF_OK);
    give(f, 1, &waits);
    give(f, 1, &null);
}

static void a_closed_handle_is_refused_by_each_call(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[1];
    struct cf_lock_value value = {.bytes_count = 1}, seen;
    struct cf_lock *lock = NULL, *closed;
    struct cf_claim claim = {0};

    assert_int_equal(cf_lock_open(session, "short-lived", 11, &lock), CF_OK);
    closed = lock;
    assert_int_equal(cf_lock_request(session, lock, CF_LOCK_EX, 0, cluster_deadline(), &claim), CF_OK);
    assert_int_equal(cf_lock_unlock(session, &claim, CF_LOCK_PUBLISH, &value), CF_OK);
    assert_int_equal(cf_lock_close(session, &lock), CF_OK);
    assert_int_equal(cf_lock_request(session, closed, CF_LOCK_CR, 0, cluster_deadline(), &claim), CF_INVALID);
    assert_int_equal(cf_lock_value_read(session, closed, cluster_deadline(), &seen), CF_INVALID);
    assert_int_equal(cf_lock_value_swap(session, closed, 1, &value, cluster_deadline(), &seen), CF_INVALID);
    lock = closed;
    assert_int_equal(cf_lock_close(session, &lock), CF_INVALID);
}

struct adder {
    struct fixture *f;
    uint32_t node;
    _Atomic uint64_t *sum; /* instances share memory under several addresses: a race checker sees no order */
    enum cf_rc rc;
};

/* The lock is all that keeps these sums right. */
static void *add_main(void *arg)
{
    struct adder *adder = arg;
    struct cf_session *session = NULL;
    struct cf_claim claim;

    adder->rc = cf_session_open(adder->f->cluster.instance[adder->node], &session);
    for (int i = 0; i < 300 && adder->rc == CF_OK; i++) {
        adder->rc = cf_lock_request(session, adder->f->lock[adder->node], CF_LOCK_EX, 0,
                                    cf_now_ns() + 20000000000ull, &claim);
        if (adder->rc != CF_OK)
            break;
        atomic_store_explicit(adder->sum, atomic_load_explicit(adder->sum, memory_order_relaxed) + 1,
                              memory_order_relaxed);
        adder->rc = cf_lock_unlock(session, &claim, 0, NULL);
    }
    if (session)
        (void)cf_session_close(&session);
    return NULL;
}

static void threads_of_all_instances_take_turns(void **state)
{
    struct fixture *f = *state;
    struct adder adders[NODES * 2];
    pthread_t threads[NODES * 2];
    _Atomic uint64_t sum = 0;

    for (uint32_t i = 0; i < NODES * 2; i++) {
        adders[i] = (struct adder){f, i % NODES, &sum, CF_OK};
        assert_int_equal(pthread_create(&threads[i], NULL, add_main, &adders[i]), 0);
    }
    for (uint32_t i = 0; i < NODES * 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(adders[i].rc, CF_OK);
    }
    assert_int_equal(sum, NODES * 2 * 300);
}

struct reader {
    struct fixture *f;
    uint32_t node;
    _Atomic uint32_t *is_over;
    uint64_t reads;
    enum cf_rc rc;
    bool is_torn, is_older;
};

static void *read_main(void *arg)
{
    struct reader *reader = arg;
    struct cf_session *session = NULL;
    struct cf_lock_value seen;
    uint64_t last = 0;

    reader->rc = cf_session_open(reader->f->cluster.instance[reader->node], &session);
    while (reader->rc == CF_OK && !atomic_load_explicit(reader->is_over, memory_order_relaxed)) {
        reader->rc = cf_lock_value_read(session, reader->f->lock[reader->node], cf_now_ns() + 20000000000ull,
                                        &seen);
        for (uint32_t i = 1; i < seen.bytes_count; i++)
            reader->is_torn |= seen.bytes[i] != seen.bytes[0];
        reader->is_older |= seen.version < last;
        last = seen.version;
        reader->reads++;
    }
    if (session)
        (void)cf_session_close(&session);
    return NULL;
}

static void a_value_that_is_being_changed_is_read_whole_and_never_older(void **state)
{
    struct fixture *f = *state;
    struct cf_lock_value value = {.bytes_count = 64};
    _Atomic uint32_t is_over = 0;
    struct reader readers[NODES];
    pthread_t threads[NODES];

    for (uint32_t n = 0; n < NODES; n++) {
        readers[n] = (struct reader){.f = f, .node = n, .is_over = &is_over};
        assert_int_equal(pthread_create(&threads[n], NULL, read_main, &readers[n]), 0);
    }
    for (uint32_t round = 0; round < 400; round++) {
        struct cf_claim claim = take(f, round / 50 % NODES, CF_LOCK_PW);

        memset(value.bytes, (int)(round & 0xff), sizeof value.bytes);
        assert_int_equal(
            cf_lock_unlock(f->cluster.session[round / 50 % NODES], &claim, CF_LOCK_PUBLISH, &value), CF_OK);
    }
    atomic_store_explicit(&is_over, 1, memory_order_relaxed);
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(pthread_join(threads[n], NULL), 0);
        assert_int_equal(readers[n].rc, CF_OK);
        assert_false(readers[n].is_torn);
        assert_false(readers[n].is_older);
        assert_true(readers[n].reads > 0);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_excludes_excludes_on_all_instances),
        cmocka_unit_test(a_lock_that_one_instance_uses_costs_no_message),
        cmocka_unit_test(who_uses_a_cached_lock_looks_after_the_network),
        cmocka_unit_test(a_value_moves_with_the_lock),
        cmocka_unit_test(a_published_value_is_read_without_a_claim_everywhere),
        cmocka_unit_test(a_swap_needs_the_version_it_expects),
        cmocka_unit_test(a_wait_ends_at_its_deadline_and_the_next_is_served),
        cmocka_unit_test(an_op_completes_when_the_holder_lets_go_or_it_is_cancelled),
        cmocka_unit_test(each_wrong_call_has_its_status_and_changes_nothing),
        cmocka_unit_test(an_error_names_the_lock_what_was_asked_and_what_is_held),
        cmocka_unit_test(a_conversion_deadlock_names_its_lock_and_modes),
        cmocka_unit_test(a_conversion_that_gave_its_mode_up_says_so),
        cmocka_unit_test(nl_is_granted_whoever_waits),
        cmocka_unit_test(a_closed_handle_is_refused_by_each_call),
        cmocka_unit_test(threads_of_all_instances_take_turns),
        cmocka_unit_test(a_value_that_is_being_changed_is_read_whole_and_never_older),
    };

    return cmocka_run_group_tests_name("engine/lock, compact", tests, set_up, tear_down) +
           cmocka_run_group_tests_name("engine/lock, dedicated", tests, set_up_dedicated, tear_down);
}
