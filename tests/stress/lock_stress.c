/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Threads of two instances at a few locks, with whatever may race: deadlines and cancels against grants, completions of
 * asynchronous calls, unlocks of one claim by two threads at once, handles that others close and open, reads of values
 * whose handle goes. Each grant is checked against what all others hold at that moment; in the end nothing is left.
 *
 *   users     request, convert, unlock, submit and cancel; they write down what they hold
 *   pairs     two threads unlock copies of one claim at the same moment: one of them is told CF_OK
 *   openers   open handles of the same locks, use them and close them, and use what they have closed
 */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/assert.h"
#include "base/atomic.h"
#include "base/clock.h"
#include "base/rng.h"
#include "tests/unit/engine/cluster_fixture.h"

#define NODES 2u
#define LOCKS 2u
#define USERS 2u /* of an instance */
#define SECONDS (CF_TSAN ? 6u : 3u)
#define SECONDS_FULL 30u
#define DEADLINE_NS_MAX 200000u
#define LATE_NS 20000000000ull
/* What the owner of a lock writes down: EX, or so many that hold PR. */
#define EX_MARK (1u << 16)

struct scene {
    struct cluster cluster;
    _Atomic uint32_t held[LOCKS];
    _Atomic bool is_over;
    /* of the pair of each instance */
    struct cf_claim shared[NODES];
    _Atomic uint32_t met[NODES], unlocked[NODES];
};

struct user {
    struct scene *scene;
    struct cf_session *session;
    struct cf_lock *lock[LOCKS];
    struct cf_rng rng;
    uint32_t node;
    uint64_t granted, timed_out, cancelled, converted, deadlocks, refused;
};

/* Threads cannot fail a test. */
static void die(const char *what, uint32_t lock)
{
    fprintf(stderr, "lock %u: %s\n", lock, what);
    abort();
}

static void name_of(uint32_t lock, char name[8])
{
    snprintf(name, 8, "lock %u", lock);
}

static void user_begin(struct user *user)
{
    char name[8];

    cf_assert(cf_session_open(user->scene->cluster.instance[user->node], &user->session) == CF_OK);
    for (uint32_t l = 0; l < LOCKS; l++) {
        name_of(l, name);
        cf_assert(cf_lock_open(user->session, name, strlen(name), &user->lock[l]) == CF_OK);
    }
}

static void user_end(struct user *user)
{
    for (uint32_t l = 0; l < LOCKS; l++)
        cf_assert(cf_lock_close(user->session, &user->lock[l]) == CF_OK);
    cf_assert(cf_session_close(&user->session) == CF_OK);
}

static bool is_over(const struct scene *scene)
{
    return atomic_load_explicit(&scene->is_over, memory_order_relaxed);
}

/* Granted in this mode: nobody may hold what does not go together with it. */
static void write_down(struct scene *scene, uint32_t lock, uint32_t mode)
{
    uint32_t mark = mode == CF_LOCK_EX ? EX_MARK : 1, before;

    if (mode != CF_LOCK_EX && mode != CF_LOCK_PR)
        return;
    before = atomic_fetch_add(&scene->held[lock], mark);
    if (mode == CF_LOCK_EX ? before != 0 : before >= EX_MARK)
        die("granted while others hold what does not go together with it", lock);
}

static void strike_out(struct scene *scene, uint32_t lock, uint32_t mode)
{
    if (mode == CF_LOCK_EX || mode == CF_LOCK_PR)
        atomic_fetch_sub(&scene->held[lock], mode == CF_LOCK_EX ? EX_MARK : 1);
}

static uint64_t deadline_soon(struct user *user)
{
    return cf_now_ns() + cf_rng_below(&user->rng, DEADLINE_NS_MAX);
}

static void tally(struct user *user, enum cf_rc rc)
{
    switch (rc) {
    case CF_OK:
        user->granted++;
        return;
    case CF_TIMEOUT:
        user->timed_out++;
        return;
    case CF_CANCELLED:
        user->cancelled++;
        return;
    case CF_DEADLOCK:
        user->deadlocks++;
        return;
    case CF_BUSY:
    case CF_AGAIN:
        user->refused++;
        return;
    default:
        die(cf_rc_name(rc), 0);
    }
}

static enum cf_rc ask_at_once(struct user *user, uint32_t lock, enum cf_lock_mode mode,
                              struct cf_claim *claim)
{
    uint32_t flags = cf_rng_below(&user->rng, 8) == 0 ? CF_LOCK_TRY : 0;

    return cf_lock_request(user->session, user->lock[lock], mode, flags, deadline_soon(user), claim);
}

/* Submits, and cancels somewhere around the moment of the grant. */
static enum cf_rc ask_and_cancel(struct user *user, uint32_t lock, enum cf_lock_mode mode,
                                 struct cf_claim *claim)
{
    struct cf_lock_args args = {.lock = user->lock[lock], .claim = claim, .mode = mode};
    struct cf_op op = {.kind = CF_OP_LOCK, .deadline_ns = deadline_soon(user), .lock = &args}, *done[1];
    uint64_t pauses = cf_rng_below(&user->rng, 2000);

    cf_assert(cf_submit(user->session, &op) == CF_OK);
    for (uint64_t i = 0; i < pauses; i++)
        cf_pause();
    (void)cf_cancel(user->session, &op); /* CF_NOT_FOUND: it was done before */
    while (cf_wait(user->session, done, 1, cf_now_ns() + LATE_NS) == 0)
        ;
    cf_assert(done[0] == &op);
    return op.rc;
}

static void convert(struct user *user, uint32_t lock, struct cf_claim *claim)
{
    static const enum cf_lock_mode modes[] = {CF_LOCK_NL, CF_LOCK_PR, CF_LOCK_EX};
    enum cf_lock_mode mode = modes[cf_rng_below(&user->rng, 3)];
    uint32_t before = claim->mode;
    bool is_up = mode > before;
    enum cf_rc rc;

    if (!is_up) /* others may be let in before the call comes back */
        strike_out(user->scene, lock, before);
    rc = cf_lock_convert(user->session, claim, mode, 0, NULL, deadline_soon(user));
    if (rc == CF_OK) {
        user->converted++;
        if (is_up)
            strike_out(user->scene, lock, before);
        write_down(user->scene, lock, mode);
        cf_assert(claim->mode == mode);
        return;
    }
    tally(user, rc);
    cf_assert(is_up); /* down never waits */
    cf_assert(claim->mode == before);
}

static void *use(void *arg)
{
    struct user *user = arg;
    struct cf_claim claim, copy;
    enum cf_rc rc;

    user_begin(user);
    while (!is_over(user->scene)) {
        uint32_t lock = (uint32_t)cf_rng_below(&user->rng, LOCKS);
        enum cf_lock_mode mode = cf_rng_below(&user->rng, 2) ? CF_LOCK_EX : CF_LOCK_PR;

        memset(&claim, 0, sizeof claim);
        rc = cf_rng_below(&user->rng, 3) ? ask_at_once(user, lock, mode, &claim)
                                         : ask_and_cancel(user, lock, mode, &claim);
        tally(user, rc);
        if (rc != CF_OK) {
            cf_assert(claim.lock == NULL);
            continue;
        }
        write_down(user->scene, lock, mode);
        if (cf_rng_below(&user->rng, 3) == 0)
            convert(user, lock, &claim);
        strike_out(user->scene, lock, claim.mode);
        copy = claim;
        cf_assert(cf_lock_unlock(user->session, &claim, 0, NULL) == CF_OK);
        cf_assert(cf_lock_unlock(user->session, &copy, 0, NULL) == CF_NOT_HELD);
    }
    user_end(user);
    return NULL;
}

/* Waits until the other one of the pair has come as far. */
static void meet(struct scene *scene, uint32_t node, uint32_t *meetings)
{
    atomic_fetch_add(&scene->met[node], 1);
    ++*meetings;
    while (atomic_load(&scene->met[node]) < 2 * *meetings)
        sched_yield();
}

struct half {
    struct user user;
    uint32_t number; /* 0: makes the request */
    uint64_t rounds;
};

static void *unlock_twice(void *arg)
{
    struct half *half = arg;
    struct user *user = &half->user;
    struct scene *scene = user->scene;
    struct cf_claim copy;
    uint32_t meetings = 0;
    bool goes_on = true;
    enum cf_rc rc;

    user_begin(user);
    for (uint32_t round = 1; goes_on; round++) {
        if (half->number == 0) {
            scene->shared[user->node] = (struct cf_claim){.lock = NULL};
            atomic_store(&scene->unlocked[user->node], 0);
            if (!is_over(scene)) {
                cf_assert(cf_lock_request(user->session, user->lock[round % LOCKS], CF_LOCK_CR, 0,
                                          cf_now_ns() + LATE_NS, &scene->shared[user->node]) == CF_OK);
                half->rounds++;
            }
        }
        meet(scene, user->node, &meetings);
        copy = scene->shared[user->node];
        goes_on = copy.lock != NULL;
        if (goes_on) {
            rc = cf_lock_unlock(user->session, &copy, 0, NULL);
            cf_assert(rc == CF_OK || rc == CF_NOT_HELD);
            atomic_fetch_add(&scene->unlocked[user->node], rc == CF_OK);
        }
        meet(scene, user->node, &meetings);
        cf_assert(atomic_load(&scene->unlocked[user->node]) == goes_on);
        meet(scene, user->node, &meetings);
    }
    user_end(user);
    return NULL;
}

/* A handle of its own of a lock that all use: what it has closed is refused, or is another one's by now. */
static void *open_and_close(void *arg)
{
    struct user *user = arg;
    struct cf_lock_value value;
    struct cf_claim claim;
    char name[8];

    user_begin(user);
    while (!is_over(user->scene)) {
        struct cf_lock *lock = NULL, *closed;
        enum cf_rc rc;

        snprintf(name, sizeof name, "own %u", (unsigned)cf_rng_below(&user->rng, 2));
        rc = cf_lock_open(user->session, name, strlen(name), &lock);
        if (rc == CF_AGAIN)
            continue;
        cf_assert(rc == CF_OK);
        closed = lock;
        memset(&claim, 0, sizeof claim);
        tally(user, cf_lock_request(user->session, lock, CF_LOCK_CR, 0, cf_now_ns() + LATE_NS, &claim));
        cf_assert(cf_lock_unlock(user->session, &claim, 0, NULL) == CF_OK);
        cf_assert(cf_lock_value_read(user->session, lock, cf_now_ns() + LATE_NS, &value) == CF_OK);
        cf_assert(cf_lock_close(user->session, &lock) == CF_OK);
        rc = cf_lock_value_read(user->session, closed, cf_now_ns() + LATE_NS, &value);
        cf_assert(rc == CF_INVALID || rc == CF_OK);
    }
    user_end(user);
    return NULL;
}

static void whatever_races_each_grant_is_right_and_nothing_is_left(void **state)
{
    static struct scene scene;
    struct user users[NODES * USERS], openers[NODES], sum = {0};
    struct half halves[NODES * 2];
    pthread_t threads[NODES * (USERS + 3)];
    uint32_t count = 0;
    uint64_t rounds = 0;
    const char *full = getenv("FULL");
    uint32_t seconds = full && strcmp(full, "1") == 0 ? SECONDS_FULL : SECONDS;
    struct timespec length = {.tv_sec = seconds};

    (void)state;
    memset(&scene, 0, sizeof scene);
    cluster_init(&scene.cluster, NODES);
    cluster_open(&scene.cluster);
    for (uint32_t n = 0; n < NODES; n++) {
        for (uint32_t u = 0; u < USERS; u++) {
            struct user *user = &users[n * USERS + u];

            *user = (struct user){.scene = &scene, .node = n};
            cf_rng_seed(&user->rng, n * USERS + u);
            assert_int_equal(pthread_create(&threads[count++], NULL, use, user), 0);
        }
        for (uint32_t h = 0; h < 2; h++) {
            halves[n * 2 + h] = (struct half){.user = {.scene = &scene, .node = n}, .number = h};
            assert_int_equal(pthread_create(&threads[count++], NULL, unlock_twice, &halves[n * 2 + h]), 0);
        }
        openers[n] = (struct user){.scene = &scene, .node = n};
        cf_rng_seed(&openers[n].rng, n + 77);
        assert_int_equal(pthread_create(&threads[count++], NULL, open_and_close, &openers[n]), 0);
    }
    nanosleep(&length, NULL); /* how long it is tried, not what anybody waits for */
    atomic_store(&scene.is_over, true);
    for (uint32_t i = 0; i < count; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (uint32_t u = 0; u < NODES * USERS; u++) {
        sum.granted += users[u].granted;
        sum.timed_out += users[u].timed_out;
        sum.cancelled += users[u].cancelled;
        sum.converted += users[u].converted;
        sum.deadlocks += users[u].deadlocks;
    }
    for (uint32_t h = 0; h < NODES * 2; h++)
        rounds += halves[h].rounds;
    for (uint32_t l = 0; l < LOCKS; l++)
        assert_int_equal(atomic_load(&scene.held[l]), 0);
    print_message("%llu granted, %llu out of time, %llu cancelled, %llu converted, %llu deadlocks; %llu "
                  "claims unlocked by two\n",
                  (unsigned long long)sum.granted, (unsigned long long)sum.timed_out,
                  (unsigned long long)sum.cancelled, (unsigned long long)sum.converted,
                  (unsigned long long)sum.deadlocks, (unsigned long long)rounds);
    assert_true(sum.granted > 100 && sum.timed_out > 10 && sum.cancelled > 10 && sum.converted > 10 &&
                rounds > 10);
    cluster_close(&scene.cluster);
    cluster_end(&scene.cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(whatever_races_each_grant_is_right_and_nothing_is_left),
    };

    return cmocka_run_group_tests_name("stress/lock", tests, NULL, NULL);
}
