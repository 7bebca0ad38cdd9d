/* SPDX-License-Identifier: Apache-2.0 */
/* Sequences over three instances with threads of their own. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"

#define NODES 3u
#define THREADS 2u /* of an instance */
#define NUMBERS 6000u
#define CACHE 64u
#define SOON_NS 30000000ull
#define LATE_NS 20000000000ull

struct fixture {
    struct cluster cluster;
    struct cf_sequence *sequence[NODES];
};

static int set_up(void **state)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof fixture);
    cluster_init(&fixture.cluster, NODES);
    cluster_open(&fixture.cluster);
    *state = &fixture;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    cluster_close(&f->cluster);
    cluster_end(&f->cluster);
    return 0;
}

static struct cf_sequence_options options(uint64_t first, uint32_t cache, bool is_ordered)
{
    struct cf_sequence_options o;

    cf_sequence_options_init(&o);
    o.first = first;
    o.cache = cache;
    o.is_ordered = is_ordered;
    return o;
}

static void open_one(struct fixture *f, uint32_t node, const char *name, struct cf_sequence_options o)
{
    assert_int_equal(cf_sequence_open(f->cluster.session[node], name, strlen(name), &o, &f->sequence[node]),
                     CF_OK);
}

static void open_all(struct fixture *f, const char *name, struct cf_sequence_options o)
{
    for (uint32_t n = 0; n < NODES; n++)
        open_one(f, n, name, o);
}

static void close_all(struct fixture *f)
{
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(cf_sequence_close(f->cluster.session[n], &f->sequence[n]), CF_OK);
        assert_null(f->sequence[n]);
    }
}

static enum cf_rc next(struct fixture *f, uint32_t node, uint64_t *number_out)
{
    return cf_sequence_next(f->cluster.session[node], f->sequence[node], cluster_deadline(), number_out);
}

static uint64_t number(struct fixture *f, uint32_t node)
{
    uint64_t got = 0;

    assert_int_equal(next(f, node, &got), CF_OK);
    return got;
}

/* A thread with a session of its own that takes numbers. */
struct taker {
    struct cf_instance *instance;
    struct cf_sequence *sequence;
    uint32_t count;
    uint64_t deadline_ns;
    _Atomic uint64_t *highest; /* of all that have been handed out */
    uint64_t *numbers;
    uint32_t taken, not_above;
    enum cf_rc rc;
};

static void *take_main(void *arg)
{
    struct taker *taker = arg;
    struct cf_session *session = NULL;
    uint64_t before, got = 0;

    taker->rc = cf_session_open(taker->instance, &session);
    while (taker->rc == CF_OK && taker->taken < taker->count) {
        before = atomic_load(taker->highest);
        taker->rc = cf_sequence_next(session, taker->sequence, taker->deadline_ns, &got);
        if (taker->rc != CF_OK)
            break;
        taker->numbers[taker->taken++] = got;
        taker->not_above += got <= before;
        while (before < got && !atomic_compare_exchange_weak(taker->highest, &before, got))
            ;
    }
    if (session)
        (void)cf_session_close(&session);
    return NULL;
}

static int compare(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* Two threads of each instance take numbers from `first` on. Answers how many below the highest nobody got. */
static uint64_t all_take(struct fixture *f, uint64_t first, uint32_t count, uint32_t *not_above_out)
{
    enum { TAKERS = NODES * THREADS };
    struct taker takers[TAKERS];
    pthread_t threads[TAKERS];
    _Atomic uint64_t highest = 0;
    uint64_t *numbers = calloc(TAKERS * (size_t)count, sizeof *numbers), missing;
    size_t all = TAKERS * (size_t)count;

    assert_non_null(numbers);
    *not_above_out = 0;
    for (uint32_t i = 0; i < TAKERS; i++) {
        takers[i] = (struct taker){.instance = f->cluster.instance[i % NODES],
                                   .sequence = f->sequence[i % NODES],
                                   .count = count,
                                   .deadline_ns = cf_now_ns() + LATE_NS,
                                   .highest = &highest,
                                   .numbers = numbers + i * (size_t)count};
        assert_int_equal(pthread_create(&threads[i], NULL, take_main, &takers[i]), 0);
    }
    for (uint32_t i = 0; i < TAKERS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(takers[i].rc, CF_OK);
        *not_above_out += takers[i].not_above;
    }
    qsort(numbers, all, sizeof *numbers, compare);
    for (size_t i = 1; i < all; i++)
        if (numbers[i] == numbers[i - 1])
            fail_msg("%llu was handed out twice", (unsigned long long)numbers[i]);
    assert_true(numbers[0] >= first);
    assert_int_equal(numbers[all - 1], highest);
    missing = numbers[all - 1] - first + 1 - all;
    free(numbers);
    return missing;
}

static void no_number_comes_twice_and_gaps_are_what_caches_hold(void **state)
{
    struct fixture *f = *state;
    uint32_t not_above;
    uint64_t missing;

    open_all(f, "orders", options(1000, CACHE, false));
    missing = all_take(f, 1000, NUMBERS, &not_above);
    if (missing > NODES * CACHE)
        fail_msg("%llu numbers are missing, %u caches of %u", (unsigned long long)missing, NODES, CACHE);
    close_all(f);
}

static void a_cache_of_one_serves_several_sessions(void **state)
{
    struct fixture *f = *state;
    uint32_t not_above;

    open_all(f, "by one", options(1, 1, false));
    assert_int_equal(all_take(f, 1, 300, &not_above), 0);
    close_all(f);
}

static void ordered_numbers_are_above_all_handed_out_before(void **state)
{
    struct fixture *f = *state;
    uint32_t not_above;

    open_all(f, "in order", options(7, CACHE, true));
    assert_int_equal(all_take(f, 7, 500, &not_above), 0);
    assert_int_equal(not_above, 0);
    for (uint32_t i = 0; i < 30; i++)
        assert_int_equal(number(f, i % NODES), 7 + NODES * THREADS * 500 + i);
    close_all(f);
}

static void an_instance_alone_sends_nothing(void **state)
{
    struct fixture *f = *state;
    struct cf_stats before = {.size = sizeof before}, after = {.size = sizeof after};

    for (int is_ordered = 0; is_ordered < 2; is_ordered++) {
        open_one(f, 0, is_ordered ? "alone, ordered" : "alone", options(1, 8, is_ordered));
        assert_int_equal(number(f, 0), 1);
        assert_int_equal(cf_stats_read(f->cluster.instance[0], &before), CF_OK);
        for (uint64_t i = 2; i < 200; i++)
            assert_int_equal(number(f, 0), i);
        assert_int_equal(cf_stats_read(f->cluster.instance[0], &after), CF_OK);
        assert_int_equal(after.lock_requests, before.lock_requests);
        assert_int_equal(after.locks - before.locks, is_ordered ? 198 : 24);
        assert_int_equal(cf_sequence_close(f->cluster.session[0], &f->sequence[0]), CF_OK);
    }
}

static void all_that_wait_for_numbers_are_told_at_their_deadline(void **state)
{
    struct fixture *f = *state;
    uint64_t numbers[THREADS], began = cf_now_ns();
    _Atomic uint64_t highest = 0;
    struct taker takers[THREADS];
    pthread_t threads[THREADS];
    struct cf_claim claim = {0};
    struct cf_lock *lock = NULL;

    open_all(f, "held", options(1, CACHE, false));
    assert_int_equal(cf_lock_open(f->cluster.session[1], "held", 4, &lock), CF_OK);
    assert_int_equal(cf_lock_request(f->cluster.session[1], lock, CF_LOCK_EX, 0, cluster_deadline(), &claim),
                     CF_OK);
    for (uint32_t i = 0; i < THREADS; i++) {
        takers[i] = (struct taker){.instance = f->cluster.instance[0],
                                   .sequence = f->sequence[0],
                                   .count = 1,
                                   .deadline_ns = began + SOON_NS,
                                   .highest = &highest,
                                   .numbers = &numbers[i]};
        assert_int_equal(pthread_create(&threads[i], NULL, take_main, &takers[i]), 0);
    }
    for (uint32_t i = 0; i < THREADS; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(takers[i].rc, CF_TIMEOUT);
    }
    assert_true(cf_now_ns() >= began + SOON_NS);
    assert_int_equal(cf_lock_unlock(f->cluster.session[1], &claim, 0, NULL), CF_OK);
    assert_int_equal(number(f, 0), 1); /* a time-out costs no number */
    assert_int_equal(cf_sequence_next(f->cluster.session[0], f->sequence[0], 0, &numbers[0]), CF_OK);
    assert_int_equal(numbers[0], 2); /* one that is there needs no time */
    assert_int_equal(cf_lock_close(f->cluster.session[1], &lock), CF_OK);
    close_all(f);
}

static void a_sequence_ends_below_the_last_number(void **state)
{
    struct fixture *f = *state;
    uint64_t got = 0, sum = 0;

    open_all(f, "short", options(UINT64_MAX - 5, 4, false));
    for (uint32_t i = 0; i < 4; i++)
        sum += UINT64_MAX - number(f, 0);
    sum += UINT64_MAX - number(f, 1);
    assert_int_equal(sum, 5 + 4 + 3 + 2 + 1); /* 2^64 - 2 was the last one */
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(next(f, n, &got), CF_RANGE);
    close_all(f);
    open_all(f, "short and ordered", options(UINT64_MAX - 2, 4, true));
    assert_int_equal(number(f, 0), UINT64_MAX - 2);
    assert_int_equal(number(f, 2), UINT64_MAX - 1);
    assert_int_equal(next(f, 1, &got), CF_RANGE);
    close_all(f);
}

static void wrong_options_are_refused(void **state)
{
    struct fixture *f = *state;
    struct cf_session *session = f->cluster.session[0];
    struct cf_sequence_options none = options(1, 0, false), many = options(1, (1u << 20) + 1, false),
                               last = options(UINT64_MAX, 1, false), good = options(1, 1u << 20, false);
    struct cf_sequence *sequence = NULL;
    char name[65] = "x";

    assert_int_equal(cf_sequence_open(session, "x", 1, &none, &sequence), CF_INVALID);
    assert_non_null(strstr(cf_session_error(session)->text, "cache"));
    assert_int_equal(cf_sequence_open(session, "x", 1, &many, &sequence), CF_INVALID);
    assert_int_equal(cf_sequence_open(session, "x", 1, &last, &sequence), CF_INVALID);
    assert_non_null(strstr(cf_session_error(session)->text, "first"));
    assert_int_equal(cf_sequence_open(session, name, 65, &good, &sequence), CF_NAME_LONG);
    assert_int_equal(cf_sequence_open(session, name, 0, &good, &sequence), CF_NAME_LONG);
    assert_null(sequence);
    assert_int_equal(cf_sequence_close(session, &sequence), CF_OK);
    assert_int_equal(cf_sequence_open(session, name, 1, NULL, &sequence), CF_OK);
    assert_int_equal(cf_sequence_close(session, &sequence), CF_OK);
}

static void options_that_differ_between_instances_are_told(void **state)
{
    struct fixture *f = *state;
    uint64_t got;

    open_one(f, 0, "differs", options(1, 2, false));
    open_one(f, 1, "differs", options(2, 2, false));
    open_one(f, 2, "differs", options(1, 2, true));
    assert_int_equal(number(f, 0), 1);
    assert_int_equal(next(f, 1, &got), CF_INVALID);
    assert_int_equal(next(f, 2, &got), CF_INVALID);
    assert_int_equal(number(f, 0), 2);
    assert_int_equal(number(f, 0), 3);
    close_all(f);
}

/* Gives the lock's value to the caller of an unlock in EX. */
static void spoil(struct fixture *f, const char *name, uint32_t flags, const struct cf_lock_value *value)
{
    struct cf_session *session = f->cluster.session[2];
    struct cf_claim claim = {0};
    struct cf_lock *lock = NULL;

    assert_int_equal(cf_lock_open(session, name, strlen(name), &lock), CF_OK);
    assert_int_equal(cf_lock_request(session, lock, CF_LOCK_EX, 0, cluster_deadline(), &claim), CF_OK);
    assert_int_equal(cf_lock_unlock(session, &claim, flags, value), CF_OK);
    assert_int_equal(cf_lock_close(session, &lock), CF_OK);
}

static void a_lost_value_is_told_and_never_guessed(void **state)
{
    struct fixture *f = *state;
    uint64_t got;

    open_all(f, "lost", options(1, 2, false));
    assert_int_equal(number(f, 0), 1);
    spoil(f, "lost", CF_LOCK_INVALIDATE, NULL);
    assert_int_equal(number(f, 0), 2); /* was this instance's already */
    for (uint32_t n = 0; n < NODES; n++) {
        assert_int_equal(next(f, n, &got), CF_CORRUPT);
        assert_int_equal(next(f, n, &got), CF_CORRUPT);
    }
    close_all(f);
}

static void a_value_of_something_else_is_left_alone(void **state)
{
    struct fixture *f = *state;
    struct cf_lock_value value = {.bytes_count = 24, .bytes = "a dictionary's version"}, seen;
    struct cf_session *session = f->cluster.session[0];
    struct cf_claim claim = {0};
    struct cf_lock *lock = NULL;
    uint64_t got;

    assert_int_equal(cf_lock_open(session, "used", 4, &lock), CF_OK);
    spoil(f, "used", 0, &value);
    open_all(f, "used", options(1, 2, false));
    assert_int_equal(next(f, 1, &got), CF_INVALID);
    assert_int_equal(cf_lock_request(session, lock, CF_LOCK_PR, 0, cluster_deadline(), &claim), CF_OK);
    assert_int_equal(cf_lock_value_get(session, &claim, &seen), CF_OK);
    assert_memory_equal(seen.bytes, value.bytes, 24);
    assert_int_equal(cf_lock_unlock(session, &claim, 0, NULL), CF_OK);
    assert_int_equal(cf_lock_close(session, &lock), CF_OK);
    close_all(f);
}

static void an_instance_that_comes_back_goes_on_behind_the_others(void **state)
{
    struct fixture *f = *state;

    open_all(f, "goes on", options(1, 10, false));
    assert_int_equal(number(f, 0), 1);
    assert_int_equal(number(f, 1), 11);
    assert_int_equal(cf_sequence_close(f->cluster.session[0], &f->sequence[0]), CF_OK);
    open_one(f, 0, "goes on", options(1, 10, false));
    assert_int_equal(number(f, 0), 21); /* 2 to 10 are lost */
    assert_int_equal(number(f, 1), 12);
    close_all(f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_number_comes_twice_and_gaps_are_what_caches_hold),
        cmocka_unit_test(a_cache_of_one_serves_several_sessions),
        cmocka_unit_test(ordered_numbers_are_above_all_handed_out_before),
        cmocka_unit_test(an_instance_alone_sends_nothing),
        cmocka_unit_test(all_that_wait_for_numbers_are_told_at_their_deadline),
        cmocka_unit_test(a_sequence_ends_below_the_last_number),
        cmocka_unit_test(wrong_options_are_refused),
        cmocka_unit_test(options_that_differ_between_instances_are_told),
        cmocka_unit_test(a_lost_value_is_told_and_never_guessed),
        cmocka_unit_test(a_value_of_something_else_is_left_alone),
        cmocka_unit_test(an_instance_that_comes_back_goes_on_behind_the_others),
    };

    return cmocka_run_group_tests_name("engine/sequence", tests, set_up, tear_down);
}
