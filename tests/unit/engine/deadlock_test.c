/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Deadlocks over two and three instances with threads of their own, in the compact and in the dedicated plan: the right
 * one is ended, and nobody else. Not here: the detector's core (tests/unit/grd/detect_*), the words of its messages
 * (detect_words_test.c), loss and delay (tests/sim).
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/atomic.h"
#include "cluster_fixture.h"

#define NODES 3u
#define OWNERS_MAX 6u
#define AFTER_NS 20000000ull
/* Reports of one round may be made and heard so far apart where threads share cores: what is older than that is older. */
#define LATER_NS 400000000ull
#define DEADLINE_NS 20000000000ull

static const char *const names[] = {"accounts", "branches", "tellers", "history"};
#define LOCKS (sizeof names / sizeof names[0])

struct fixture {
    struct cluster cluster;
    struct cf_lock *lock[NODES][LOCKS];
    bool is_open;
};

/* Somebody with an owner id, a session, and at most one call under way in a thread of its own. */
struct owner {
    struct fixture *f;
    uint32_t node;
    uint64_t id;
    struct cf_session *session;
    struct cf_claim claim[LOCKS];
    pthread_t thread;
    uint32_t wants;
    enum cf_lock_mode mode;
    enum cf_rc rc;
    char text[256];
};

static void open_with(struct fixture *f, bool is_dedicated)
{
    cluster_init(&f->cluster, NODES);
    f->cluster.is_dedicated = is_dedicated;
    f->cluster.is_compact = !is_dedicated;
    f->cluster.deadlock_ns = AFTER_NS;
    cluster_open(&f->cluster);
    for (uint32_t n = 0; n < NODES; n++)
        for (uint32_t l = 0; l < LOCKS; l++)
            assert_int_equal(cf_lock_open(f->cluster.session[n], names[l], strlen(names[l]), &f->lock[n][l]),
                             CF_OK);
}

static int set_up(void **state, bool is_dedicated)
{
    static struct fixture fixture;

    memset(&fixture, 0, sizeof fixture);
    open_with(&fixture, is_dedicated);
    *state = &fixture;
    return 0;
}

static int set_up_compact(void **state)
{
    return set_up(state, false);
}

static int set_up_dedicated(void **state)
{
    return set_up(state, true);
}

static void node_locks_close(struct fixture *f, uint32_t n)
{
    for (uint32_t l = 0; l < LOCKS; l++)
        assert_int_equal(cf_lock_close(f->cluster.session[n], &f->lock[n][l]), CF_OK);
}

static int tear_down(void **state)
{
    struct fixture *f = *state;

    for (uint32_t n = 0; n < NODES; n++)
        if (f->cluster.session[n])
            node_locks_close(f, n);
    cluster_close(&f->cluster);
    cluster_end(&f->cluster);
    return 0;
}

static struct cf_stats stats_of(struct fixture *f, uint32_t n)
{
    struct cf_stats stats = {.size = sizeof stats};

    assert_int_equal(cf_stats_read(f->cluster.instance[n], &stats), CF_OK);
    return stats;
}

static void owner_open(struct owner *owner, struct fixture *f, uint32_t node, uint64_t id, uint32_t cost)
{
    memset(owner, 0, sizeof *owner);
    owner->f = f;
    owner->node = node;
    owner->id = id;
    assert_int_equal(cf_session_open(f->cluster.instance[node], &owner->session), CF_OK);
    assert_int_equal(cf_owner_set(owner->session, id, cost), CF_OK);
}

static void owner_close(struct owner *owner)
{
    for (uint32_t l = 0; l < LOCKS; l++)
        if (owner->claim[l].lock)
            assert_int_equal(cf_lock_unlock(owner->session, &owner->claim[l], 0, NULL), CF_OK);
    assert_int_equal(cf_session_close(&owner->session), CF_OK);
}

static void take(struct owner *owner, uint32_t lock, enum cf_lock_mode mode)
{
    assert_int_equal(cf_lock_request(owner->session, owner->f->lock[owner->node][lock], mode, 0,
                                     cluster_deadline(), &owner->claim[lock]),
                     CF_OK);
}

static void *want_main(void *arg)
{
    struct owner *owner = arg;
    struct cf_claim *claim = &owner->claim[owner->wants];

    if (claim->lock)
        owner->rc = cf_lock_convert(owner->session, claim, owner->mode, 0, NULL, cf_now_ns() + DEADLINE_NS);
    else
        owner->rc = cf_lock_request(owner->session, owner->f->lock[owner->node][owner->wants], owner->mode, 0,
                                    cf_now_ns() + DEADLINE_NS, claim);
    snprintf(owner->text, sizeof owner->text, "%s", cf_session_error(owner->session)->text);
    return NULL;
}

/* Asks for the lock, or for another mode of it; returns when it waits. */
static void want(struct owner *owner, uint32_t lock, enum cf_lock_mode mode)
{
    uint64_t before = stats_of(owner->f, owner->node).lock_waits;

    owner->wants = lock;
    owner->mode = mode;
    assert_int_equal(pthread_create(&owner->thread, NULL, want_main, owner), 0);
    while (stats_of(owner->f, owner->node).lock_waits == before)
        cf_pause();
}

static enum cf_rc get(struct owner *owner)
{
    assert_int_equal(pthread_join(owner->thread, NULL), 0);
    return owner->rc;
}

/* The one who is ended gives up what it holds, as a transaction would: the others go on. */
static void expect_victim(struct owner *victim)
{
    if (get(victim) != CF_DEADLOCK)
        fail_msg("owner %d of node %u: %s: %s", (int)victim->id, victim->node, cf_rc_name(victim->rc),
                 victim->text);
    for (uint32_t l = 0; l < LOCKS; l++)
        if (victim->claim[l].lock)
            assert_int_equal(cf_lock_unlock(victim->session, &victim->claim[l], 0, NULL), CF_OK);
}

static void expect_granted(struct owner *owner)
{
    if (get(owner) != CF_OK)
        fail_msg("owner %d of node %u: %s: %s", (int)owner->id, owner->node, cf_rc_name(owner->rc),
                 owner->text);
}

static void the_cheapest_of_a_cycle_over_two_instances_is_ended(void **state)
{
    struct fixture *f = *state;
    struct owner dear, cheap;
    uint64_t victims = stats_of(f, 0).detect_victims;

    owner_open(&dear, f, 0, 7, 5);
    owner_open(&cheap, f, 1, 9, 1);
    take(&dear, 0, CF_LOCK_EX);
    take(&cheap, 1, CF_LOCK_EX);
    want(&cheap, 0, CF_LOCK_PR); /* it is older, and cheaper */
    want(&dear, 1, CF_LOCK_EX);
    expect_victim(&cheap);
    expect_granted(&dear);
    assert_non_null(strstr(cheap.text, "owner 9 of instance 1 waits for lock 'accounts'"));
    assert_non_null(strstr(cheap.text, "owner 7 of instance 0 waits for lock 'branches' held in EX"));
    owner_close(&dear);
    owner_close(&cheap);
    while (stats_of(f, 0).detect_victims == victims)
        cf_pause();
    assert_int_equal(stats_of(f, 0).detect_victims, victims + 1);
    assert_true(stats_of(f, 0).detect.count > 0);
    assert_true(stats_of(f, 1).lock_deadlocks > 0);
}

static void of_equal_cost_the_youngest_of_three_instances_is_ended(void **state)
{
    struct fixture *f = *state;
    struct owner owner[NODES];

    for (uint32_t n = 0; n < NODES; n++) {
        owner_open(&owner[n], f, n, 40 - n, 3);
        take(&owner[n], n, CF_LOCK_EX);
    }
    want(&owner[2], 0, CF_LOCK_EX);
    want(&owner[0], 1, CF_LOCK_CR);
    for (uint64_t until = cf_now_ns() + LATER_NS; cf_now_ns() < until;)
        cf_pause();
    want(&owner[1], 2, CF_LOCK_PW);
    expect_victim(&owner[1]);
    expect_granted(&owner[0]);
    for (uint32_t l = 0; l < LOCKS; l++)
        if (owner[0].claim[l].lock)
            assert_int_equal(cf_lock_unlock(owner[0].session, &owner[0].claim[l], 0, NULL), CF_OK);
    expect_granted(&owner[2]);
    for (uint32_t n = 0; n < NODES; n++)
        assert_non_null(strstr(owner[1].text, names[n]));
    for (uint32_t n = 0; n < NODES; n++)
        owner_close(&owner[n]);
}

static void a_conversion_is_part_of_a_cycle(void **state)
{
    struct fixture *f = *state;
    struct owner reader, writer;

    owner_open(&reader, f, 1, 1, 9);
    owner_open(&writer, f, 2, 2, 8);
    take(&reader, 0, CF_LOCK_PR);
    take(&writer, 0, CF_LOCK_PR);
    take(&writer, 1, CF_LOCK_EX);
    want(&reader, 1, CF_LOCK_PR);
    want(&writer, 0, CF_LOCK_EX);
    expect_victim(&writer); /* keeps what it had until it gives it up */
    expect_granted(&reader);
    owner_close(&reader);
    owner_close(&writer);
}

static void owners_of_one_instance_are_told_apart(void **state)
{
    struct fixture *f = *state;
    struct owner owner[4];

    for (uint32_t i = 0; i < 4; i++)
        owner_open(&owner[i], f, 1, 100 + i, i == 2 ? 1 : 2);
    take(&owner[0], 0, CF_LOCK_PR);
    take(&owner[1], 0, CF_LOCK_PR);
    take(&owner[2], 1, CF_LOCK_EX);
    take(&owner[3], 2, CF_LOCK_EX);
    want(&owner[3], 0, CF_LOCK_EX); /* behind 0 and 1, on no cycle */
    want(&owner[0], 1, CF_LOCK_EX);
    want(&owner[2], 0, CF_LOCK_EX); /* behind 0: a cycle with 2 */
    expect_victim(&owner[2]);
    expect_granted(&owner[0]);
    for (uint32_t l = 0; l < LOCKS; l++)
        if (owner[0].claim[l].lock)
            assert_int_equal(cf_lock_unlock(owner[0].session, &owner[0].claim[l], 0, NULL), CF_OK);
    assert_int_equal(cf_lock_unlock(owner[1].session, &owner[1].claim[0], 0, NULL), CF_OK);
    expect_granted(&owner[3]);
    for (uint32_t i = 0; i < 4; i++)
        owner_close(&owner[i]);
}

static void two_cycles_at_once_lose_one_each(void **state)
{
    struct fixture *f = *state;
    struct owner owner[4];

    for (uint32_t i = 0; i < 4; i++)
        owner_open(&owner[i], f, i % NODES, 200 + i, 1 + i);
    for (uint32_t i = 0; i < 4; i++)
        take(&owner[i], i, CF_LOCK_EX);
    want(&owner[0], 1, CF_LOCK_PR);
    want(&owner[2], 3, CF_LOCK_PR);
    want(&owner[1], 0, CF_LOCK_PR);
    want(&owner[3], 2, CF_LOCK_PR);
    expect_victim(&owner[0]);
    expect_victim(&owner[2]);
    expect_granted(&owner[1]);
    expect_granted(&owner[3]);
    for (uint32_t i = 0; i < 4; i++)
        owner_close(&owner[i]);
}

struct getter {
    struct owner *owner;
    struct cf_file *file;
    struct cf_ref ref;
    enum cf_mode mode;
    uint64_t block;
    pthread_t thread;
    enum cf_rc rc;
    char text[256];
};

static void *get_main(void *arg)
{
    struct getter *getter = arg;
    struct cf_session *session = getter->owner->session;

    getter->rc = cf_get(session, getter->file, getter->block, getter->mode, 0, cf_now_ns() + DEADLINE_NS,
                        &getter->ref);
    snprintf(getter->text, sizeof getter->text, "%s", cf_session_error(session)->text);
    return NULL;
}

static struct cf_ref pin(struct owner *owner, struct cf_file *file, uint64_t block, enum cf_mode mode)
{
    struct cf_ref ref;

    assert_int_equal(cf_get(owner->session, file, block, mode, 0, cluster_deadline(), &ref), CF_OK);
    return ref;
}

static struct cf_file *attach(struct fixture *f, const char *name, uint32_t file_id)
{
    cluster_file(&f->cluster, name, file_id, 16);
    return cluster_attach(&f->cluster, 1, name, file_id);
}

static void two_blocks_of_an_instance_make_a_cycle(void **state)
{
    struct fixture *f = *state;
    struct cf_file *file = attach(f, "two-blocks", 21);
    struct getter dear = {.file = file, .block = 2, .mode = CF_MODE_S},
                  cheap = {.file = file, .block = 1, .mode = CF_MODE_X};
    struct cf_ref first, second, other;
    struct owner owner[2];

    owner_open(&owner[0], f, 1, 70, 9);
    owner_open(&owner[1], f, 1, 71, 2);
    dear.owner = &owner[0];
    cheap.owner = &owner[1];
    first = pin(&owner[0], file, 1, CF_MODE_S);
    other = pin(&owner[0], file, 3, CF_MODE_S); /* the same once more: a hit */
    cf_put(owner[0].session, &other);
    other = pin(&owner[0], file, 3, CF_MODE_S);
    second = pin(&owner[1], file, 2, CF_MODE_X);
    assert_int_equal(pthread_create(&dear.thread, NULL, get_main, &dear), 0);
    assert_int_equal(pthread_create(&cheap.thread, NULL, get_main, &cheap), 0);
    assert_int_equal(pthread_join(cheap.thread, NULL), 0);
    if (cheap.rc != CF_DEADLOCK)
        fail_msg("%s: %s", cf_rc_name(cheap.rc), cheap.text);
    assert_non_null(strstr(cheap.text, "owner 71 of instance 1 waits for block 1 of file 21"));
    assert_non_null(strstr(cheap.text, "owner 70 of instance 1 waits for block 2 of file 21"));
    cf_put(owner[1].session, &second);
    assert_int_equal(pthread_join(dear.thread, NULL), 0);
    assert_int_equal(dear.rc, CF_OK);
    cf_put(owner[0].session, &dear.ref);
    cf_put(owner[0].session, &first);
    cf_put(owner[0].session, &other);
    owner_close(&owner[0]);
    owner_close(&owner[1]);
    assert_int_equal(cf_detach(f->cluster.session[1], &file), CF_OK);
}

static void a_block_and_a_lock_make_a_cycle(void **state)
{
    struct fixture *f = *state;
    struct cf_file *file = attach(f, "block-and-lock", 22);
    struct getter getter = {.file = file, .block = 5, .mode = CF_MODE_X};
    struct owner owner[2];
    struct cf_ref ref;

    owner_open(&owner[0], f, 1, 80, 1);
    owner_open(&owner[1], f, 1, 81, 7);
    getter.owner = &owner[1];
    ref = pin(&owner[0], file, 5, CF_MODE_S);
    assert_int_equal(cf_upgrade(owner[0].session, &ref, cluster_deadline()), CF_OK);
    take(&owner[1], 0, CF_LOCK_EX);
    assert_int_equal(pthread_create(&getter.thread, NULL, get_main, &getter), 0);
    want(&owner[0], 0, CF_LOCK_PR);
    assert_int_equal(get(&owner[0]), CF_DEADLOCK);
    assert_non_null(strstr(owner[0].text, "owner 80 of instance 1 waits for lock 'accounts'"));
    assert_non_null(strstr(owner[0].text, "owner 81 of instance 1 waits for block 5 of file 22"));
    cf_put(owner[0].session, &ref);
    assert_int_equal(pthread_join(getter.thread, NULL), 0);
    assert_int_equal(getter.rc, CF_OK);
    cf_put(owner[1].session, &getter.ref);
    owner_close(&owner[0]);
    owner_close(&owner[1]);
    assert_int_equal(cf_detach(f->cluster.session[1], &file), CF_OK);
}

static void a_block_of_another_instance_and_a_lock_make_a_cycle(void **state)
{
    struct fixture *f = *state;
    struct cf_file *file = attach(f, "remote-block", 23), *there = NULL;
    struct getter getter = {.block = 5, .mode = CF_MODE_X};
    struct owner owner[2];
    struct cf_ref ref;

    there = cluster_attach(&f->cluster, 2, "remote-block", 23);
    getter.file = there;
    owner_open(&owner[0], f, 1, 90, 9);
    owner_open(&owner[1], f, 2, 91, 3);
    getter.owner = &owner[1];
    ref = pin(&owner[0], file, 5, CF_MODE_S);
    take(&owner[1], 0, CF_LOCK_EX);
    assert_int_equal(pthread_create(&getter.thread, NULL, get_main, &getter), 0);
    want(&owner[0], 0, CF_LOCK_PR);
    assert_int_equal(pthread_join(getter.thread, NULL), 0);
    if (getter.rc != CF_DEADLOCK)
        fail_msg("%s: %s", cf_rc_name(getter.rc), getter.text);
    if (strstr(getter.text, "owner 91 of instance 2 waits for block 5 of file 23") == NULL)
        fail_msg("%s", getter.text);
    assert_non_null(strstr(getter.text, "owner 90 of instance 1 waits for lock 'accounts'"));
    assert_int_equal(cf_lock_unlock(owner[1].session, &owner[1].claim[0], 0, NULL), CF_OK);
    expect_granted(&owner[0]);
    cf_put(owner[0].session, &ref);
    owner_close(&owner[0]);
    owner_close(&owner[1]);
    assert_int_equal(cf_detach(f->cluster.session[1], &file), CF_OK);
    assert_int_equal(cf_detach(f->cluster.session[2], &there), CF_OK);
}

/* Requests that some master has granted and that have not begun, and those that wait for their turn. */
static void masters_have(struct fixture *f, uint64_t granting, uint64_t waiting)
{
    struct cf_stats all;

    do {
        memset(&all, 0, sizeof all);
        for (uint32_t n = 0; n < NODES; n++) {
            struct cf_stats stats = stats_of(f, n);

            all.directory_granting += stats.directory_granting;
            all.directory_waiting += stats.directory_waiting;
        }
    } while (all.directory_granting != granting || all.directory_waiting != waiting);
}

/*
 * Node 1 has the block pinned. Node 2 was granted it and waits for that; node 0 stands behind node 2 in the master's queue,
 * and has the lock that node 1 waits for. Who waits at node 2 costs least, but is on no cycle.
 */
static void a_block_queued_behind_another_instance_and_a_lock_make_a_cycle(void **state)
{
    struct fixture *f = *state;
    struct cf_file *file[NODES];
    struct getter granted = {.block = 6, .mode = CF_MODE_X}, queued = {.block = 6, .mode = CF_MODE_X};
    struct owner owner[NODES];
    struct cf_ref ref;

    cluster_file(&f->cluster, "queued-block", 24, 16);
    for (uint32_t n = 0; n < NODES; n++) {
        file[n] = cluster_attach(&f->cluster, n, "queued-block", 24);
        owner_open(&owner[n], f, n, 100 + n, n == 1 ? 9 : 5 - 2 * n);
    }
    granted.owner = &owner[2];
    granted.file = file[2];
    queued.owner = &owner[0];
    queued.file = file[0];
    ref = pin(&owner[1], file[1], 6, CF_MODE_S);
    take(&owner[0], 1, CF_LOCK_EX);
    assert_int_equal(pthread_create(&granted.thread, NULL, get_main, &granted), 0);
    masters_have(f, 1, 0);
    assert_int_equal(pthread_create(&queued.thread, NULL, get_main, &queued), 0);
    masters_have(f, 1, 1);
    want(&owner[1], 1, CF_LOCK_PR);
    assert_int_equal(pthread_join(queued.thread, NULL), 0);
    if (queued.rc != CF_DEADLOCK)
        fail_msg("%s: %s", cf_rc_name(queued.rc), queued.text);
    assert_non_null(strstr(queued.text, "owner 100 of instance 0 waits for block 6 of file 24"));
    assert_non_null(strstr(queued.text, "owner 101 of instance 1 waits for lock 'branches'"));
    assert_null(strstr(queued.text, "owner 102"));
    assert_int_equal(cf_lock_unlock(owner[0].session, &owner[0].claim[1], 0, NULL), CF_OK);
    expect_granted(&owner[1]);
    cf_put(owner[1].session, &ref);
    assert_int_equal(pthread_join(granted.thread, NULL), 0);
    assert_int_equal(granted.rc, CF_OK);
    cf_put(owner[2].session, &granted.ref);
    for (uint32_t n = 0; n < NODES; n++)
        owner_close(&owner[n]);
    for (uint32_t n = 0; n < NODES; n++)
        assert_int_equal(cf_detach(f->cluster.session[n], &file[n]), CF_OK);
}

static uint64_t told(struct fixture *f)
{
    uint64_t reports = 0;

    for (uint32_t n = 0; n < NODES; n++)
        reports += stats_of(f, n).detect_told;
    return reports;
}

/*
 * Some rounds in turn with confirmed edges, and not one report. What has just begun to wait is told first, and where threads
 * share cores an answer may come late, so that all is told anew.
 */
static void unchanged_waits_are_not_told_again(struct fixture *f)
{
    uint64_t reports, end = cf_now_ns() + 3 * DEADLINE_NS;
    struct cf_stats begin, now;

    do {
        assert_true(cf_now_ns() < end);
        reports = told(f);
        begin = stats_of(f, 0);
        while ((now = stats_of(f, 0)).detect_rounds < begin.detect_rounds + 4)
            cf_pause();
    } while (told(f) != reports || now.detect_anew != begin.detect_anew);
    assert_true(now.detect_edges > 0 && reports >= now.detect_edges);
}

static void a_long_wait_without_a_cycle_goes_on(void **state)
{
    struct fixture *f = *state;
    struct cf_stats before = stats_of(f, 0), now;
    struct owner holder, second, third;

    owner_open(&holder, f, 2, 1, 0);
    owner_open(&second, f, 1, 1, 0); /* the same number, of another instance */
    owner_open(&third, f, 0, 2, 0);
    take(&holder, 0, CF_LOCK_EX);
    take(&second, 1, CF_LOCK_EX);
    want(&second, 0, CF_LOCK_EX);
    want(&third, 1, CF_LOCK_EX);
    while ((now = stats_of(f, 0)).detect_rounds < before.detect_rounds + 6)
        cf_pause();
    assert_true(now.detect_edges > 0);
    unchanged_waits_are_not_told_again(f);
    assert_int_equal(now.detect_victims, before.detect_victims);
    assert_int_equal(now.detect_gone, before.detect_gone);
    owner_close(&holder);
    expect_granted(&second);
    owner_close(&second);
    expect_granted(&third);
    owner_close(&third);
}

static void rounds_end_when_nobody_waits(void **state)
{
    struct fixture *f = *state;
    uint64_t rounds, since = cf_now_ns(), end = since + 30 * DEADLINE_NS;

    /* Ten periods without a round: they come each period as long as somebody waits. */
    for (rounds = stats_of(f, 0).detect_rounds; cf_now_ns() < since + 10 * AFTER_NS;) {
        uint64_t now = stats_of(f, 0).detect_rounds;

        assert_true(cf_now_ns() < end);
        if (now != rounds)
            since = cf_now_ns();
        rounds = now;
    }
    assert_int_equal(stats_of(f, 1).detect_rounds, 0);
}

struct leaver {
    struct cf_instance *instance;
    enum cf_rc rc;
};

static void *leave_main(void *arg)
{
    struct leaver *leaver = arg;

    leaver->rc = cf_close(&leaver->instance);
    return NULL;
}

/* Last: the lowest instance leaves. */
static void the_detector_moves_when_its_instance_leaves(void **state)
{
    struct fixture *f = *state;
    struct leaver leaver = {.instance = f->cluster.instance[0]};
    struct owner owner[2];
    pthread_t thread;

    node_locks_close(f, 0);
    assert_int_equal(cf_session_close(&f->cluster.session[0]), CF_OK);
    f->cluster.instance[0] = NULL;
    owner_open(&owner[0], f, 1, 7, 5);
    owner_open(&owner[1], f, 2, 9, 1);
    take(&owner[0], 0, CF_LOCK_EX);
    take(&owner[1], 1, CF_LOCK_EX);
    want(&owner[1], 0, CF_LOCK_EX);
    assert_int_equal(pthread_create(&thread, NULL, leave_main, &leaver), 0);
    while (stats_of(f, 1).detect_rounds < 3) /* it has begun to look for itself */
        cf_pause();
    want(&owner[0], 1, CF_LOCK_EX);
    expect_victim(&owner[1]);
    expect_granted(&owner[0]);
    owner_close(&owner[0]);
    owner_close(&owner[1]);
    assert_true(stats_of(f, 1).detect_rounds > 3);
    node_locks_close(f, 1);
    node_locks_close(f, 2);
    cluster_close(&f->cluster);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(leaver.rc, CF_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_cheapest_of_a_cycle_over_two_instances_is_ended),
        cmocka_unit_test(of_equal_cost_the_youngest_of_three_instances_is_ended),
        cmocka_unit_test(a_conversion_is_part_of_a_cycle),
        cmocka_unit_test(owners_of_one_instance_are_told_apart),
        cmocka_unit_test(two_cycles_at_once_lose_one_each),
        cmocka_unit_test(two_blocks_of_an_instance_make_a_cycle),
        cmocka_unit_test(a_block_and_a_lock_make_a_cycle),
        cmocka_unit_test(a_block_of_another_instance_and_a_lock_make_a_cycle),
        cmocka_unit_test(a_block_queued_behind_another_instance_and_a_lock_make_a_cycle),
        cmocka_unit_test(a_long_wait_without_a_cycle_goes_on),
        cmocka_unit_test(rounds_end_when_nobody_waits),
        cmocka_unit_test(the_detector_moves_when_its_instance_leaves),
    };
    int failed = cmocka_run_group_tests_name("engine/deadlock compact", tests, set_up_compact, tear_down);

    return cmocka_run_group_tests_name("engine/deadlock dedicated", tests, set_up_dedicated, tear_down) +
           failed;
}
