/* SPDX-License-Identifier: Apache-2.0 */
/* Truncate and drop, for all instances at once, and what callers meet meanwhile. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"
#include "engine/format.h"
#include "engine/instance.h"

struct shared_file {
    struct cluster c;
    struct cf_file *file[CLUSTER_NODES_MAX];
};

static void shared_open(struct shared_file *s, uint32_t nodes, uint64_t blocks)
{
    uint32_t n;

    cluster_file(&s->c, "data", 7, blocks);
    cluster_open(&s->c);
    for (n = 0; n < nodes; n++)
        s->file[n] = cluster_attach(&s->c, n, "data", 7);
}

static uint64_t bytes_of(const struct cluster *c, const char *name)
{
    struct stat status;
    char path[128];

    cluster_path(c, name, path);
    assert_int_equal(stat(path, &status), 0);
    return (uint64_t)status.st_size;
}

/* The peers hear of the end of a change a moment after the call has returned: CF_STALE until then. */
static enum cf_rc read_soon(struct cluster *c, uint32_t node, struct cf_file *file, uint64_t block,
                            uint64_t *value_out)
{
    uint64_t until = cluster_deadline();
    enum cf_rc rc;

    do
        rc = cluster_read_try(c, node, file, block, value_out);
    while (rc == CF_STALE && cf_now_ns() < until);
    return rc;
}

static void a_truncate_is_seen_by_all_and_keeps_what_is_before_the_cut(void **state)
{
    struct shared_file s;
    uint64_t value;
    uint32_t n, b;

    (void)state;
    cluster_init(&s.c, 3);
    shared_open(&s, 3, 20);
    for (b = 0; b < 20; b++) /* dirty everywhere, and copied everywhere */
        cluster_write(&s.c, b % 3, s.file[b % 3], b, 1000 + b);
    for (n = 0; n < 3; n++)
        for (b = 0; b < 20; b += 2)
            assert_int_equal(cluster_read(&s.c, n, s.file[n], b), 1000 + b);
    assert_int_equal(cf_truncate(s.c.session[1], s.file[1], 8), CF_OK);
    assert_int_equal(bytes_of(&s.c, "data"), 9 * CLUSTER_BLOCK_BYTES);
    assert_int_equal(cluster_super(&s.c, "data").generation, 2);
    assert_int_equal(cluster_super(&s.c, "data").blocks, 8);
    assert_int_equal(cluster_super(&s.c, "data").damaged, 0);
    for (n = 0; n < 3; n++) {
        for (b = 0; b < 8; b++) {
            assert_int_equal(read_soon(&s.c, n, s.file[n], b, &value), CF_OK);
            assert_int_equal(value, 1000 + b);
        }
        assert_int_equal(read_soon(&s.c, n, s.file[n], 8, &value), CF_RANGE);
    }
    assert_int_equal(cf_truncate(s.c.session[2], s.file[2], 9), CF_RANGE);
    assert_int_equal(cf_extend(s.c.session[2], s.file[2], 20), CF_OK);
    for (n = 0; n < 3; n++) /* nothing of the old contents comes back */
        assert_int_equal(cluster_read(&s.c, n, s.file[n], 12), 0);
    cluster_write(&s.c, 0, s.file[0], 3, 77);
    assert_int_equal(cluster_read(&s.c, 2, s.file[2], 3), 77);
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    assert_int_equal(cluster_super(&s.c, "data").damaged, 0);
    cluster_end(&s.c);
}

static void a_dropped_file_is_stale_for_all(void **state)
{
    struct cf_file *again;
    struct shared_file s;
    uint64_t value;

    (void)state;
    cluster_init(&s.c, 2);
    shared_open(&s, 2, 20);
    cluster_write(&s.c, 0, s.file[0], 3, 33);
    assert_int_equal(cluster_read(&s.c, 1, s.file[1], 3), 33);
    assert_int_equal(cf_drop(s.c.session[0], &s.file[0]), CF_OK);
    assert_null(s.file[0]);
    assert_int_equal(bytes_of(&s.c, "data"), CLUSTER_BLOCK_BYTES);
    assert_int_equal(cluster_super(&s.c, "data").dropped, 1);
    assert_int_equal(cluster_read_try(&s.c, 1, s.file[1], 3, &value), CF_STALE);
    assert_int_equal(cf_extend(s.c.session[1], s.file[1], 30), CF_STALE);
    assert_int_equal(cf_truncate(s.c.session[1], s.file[1], 0), CF_STALE);
    assert_int_equal(cf_drop(s.c.session[1], &s.file[1]), CF_STALE);
    assert_non_null(s.file[1]);
    assert_int_equal(bytes_of(&s.c, "data"), CLUSTER_BLOCK_BYTES);
    assert_int_equal(cf_detach(s.c.session[1], &s.file[1]), CF_OK);
    assert_int_equal(cluster_attach_try(&s.c, 1, "data", 7, &again), CF_STALE);
    cluster_close(&s.c);
    cluster_end(&s.c);
}

static void a_truncate_that_a_reference_stands_in_the_way_of_is_undone(void **state)
{
    struct shared_file s;
    struct cf_ref ref;
    uint64_t value;

    (void)state;
    cluster_init(&s.c, 2);
    s.c.call_timeout_ns = CF_NS_PER_S;
    shared_open(&s, 2, 20);
    cluster_write(&s.c, 0, s.file[0], 3, 33);
    assert_int_equal(cf_get(s.c.session[1], s.file[1], 5, CF_MODE_S, 0, cluster_deadline(), &ref), CF_OK);
    assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 2), CF_TIMEOUT);
    assert_int_equal(cluster_super(&s.c, "data").generation, 1);
    cf_put(s.c.session[1], &ref);
    assert_int_equal(read_soon(&s.c, 1, s.file[1], 3, &value), CF_OK);
    assert_int_equal(value, 33);
    assert_int_equal(read_soon(&s.c, 0, s.file[0], 19, &value), CF_OK);
    assert_int_equal(cf_get(s.c.session[0], s.file[0], 5, CF_MODE_S, 0, cluster_deadline(), &ref), CF_OK);
    assert_int_not_equal(cf_truncate(s.c.session[0], s.file[0], 2), CF_OK); /* one of its own */
    cf_put(s.c.session[0], &ref);
    assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 2), CF_OK);
    assert_int_equal(read_soon(&s.c, 1, s.file[1], 3, &value), CF_RANGE);
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

/* ------------------------------------------------------------------ callers that come meanwhile */

struct caller {
    struct shared_file *s;
    struct cf_session *session;
    uint32_t node, number;
    _Atomic bool stop;
    uint64_t calls;
    enum cf_rc unexpected;
};

/* Asks for what lies beyond the end: each call looks at the superblock, which the changer holds. */
static void *beyond_main(void *arg)
{
    struct caller *caller = arg;
    struct cf_ref ref;

    while ((!atomic_load(&caller->stop) || caller->calls == 0) && caller->unexpected == CF_OK) {
        enum cf_rc rc = cf_get(caller->session, caller->s->file[caller->node], 1000, CF_MODE_S, 0, CF_FOREVER,
                               &ref);

        caller->calls++;
        if (rc != CF_RANGE && rc != CF_STALE)
            caller->unexpected = rc == CF_OK ? CF_INVALID : rc;
    }
    return NULL;
}

/* Changes blocks that stay, and gets some that go. */
static void *writer_main(void *arg)
{
    struct caller *caller = arg;
    uint64_t block = 0;
    struct cf_ref ref;

    while ((!atomic_load(&caller->stop) || caller->calls == 0) && caller->unexpected == CF_OK) {
        enum cf_rc rc = cf_get(caller->session, caller->s->file[caller->node], block++ % 30, CF_MODE_X, 0,
                               cluster_deadline(), &ref);

        caller->calls++;
        if (rc == CF_OK) {
            ((uint64_t *)ref.data)[1 + caller->number]++;
            rc = cf_dirty(caller->session, &ref, 0);
            cf_put(caller->session, &ref);
        }
        if (rc != CF_OK && rc != CF_RANGE && rc != CF_STALE)
            caller->unexpected = rc;
    }
    return NULL;
}

static void callers_start(struct shared_file *s, struct caller *callers, pthread_t *threads, uint32_t count,
                          void *(*run)(void *))
{
    uint32_t i;

    for (i = 0; i < count; i++) {
        memset(&callers[i], 0, sizeof callers[i]);
        callers[i].s = s;
        callers[i].number = i;
        callers[i].node = i % s->c.nodes;
        assert_int_equal(cf_session_open(s->c.instance[callers[i].node], &callers[i].session), CF_OK);
        assert_int_equal(pthread_create(&threads[i], NULL, run, &callers[i]), 0);
    }
}

static void callers_stop(struct caller *callers, pthread_t *threads, uint32_t count)
{
    uint32_t i;

    for (i = 0; i < count; i++)
        atomic_store(&callers[i].stop, true);
    for (i = 0; i < count; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(callers[i].unexpected, CF_OK);
        assert_true(callers[i].calls > 0);
        assert_int_equal(cf_session_close(&callers[i].session), CF_OK);
    }
}

static void callers_that_wait_for_the_superblock_do_not_stop_a_truncate(void **state)
{
    struct caller callers[2];
    pthread_t threads[2];
    struct shared_file s;
    uint32_t i;

    (void)state;
    cluster_init(&s.c, 2);
    shared_open(&s, 2, 40);
    callers_start(&s, callers, threads, 2, beyond_main);
    for (i = 0; i < 10; i++)
        assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 39 - i), CF_OK);
    callers_stop(callers, threads, 2);
    cluster_close(&s.c);
    assert_int_equal(cluster_super(&s.c, "data").generation, 11);
    cluster_end(&s.c);
}

static void truncate_and_extend_go_on_under_writers(void **state)
{
    struct caller callers[6];
    pthread_t threads[6];
    struct shared_file s;
    uint32_t i;

    (void)state;
    cluster_init(&s.c, 3);
    shared_open(&s, 3, 30);
    callers_start(&s, callers, threads, 6, writer_main);
    for (i = 0; i < 12; i++) {
        uint32_t node = i % 3;

        assert_int_equal(cf_truncate(s.c.session[node], s.file[node], 20), CF_OK);
        assert_int_equal(cf_extend(s.c.session[(node + 1) % 3], s.file[(node + 1) % 3], 30), CF_OK);
    }
    callers_stop(callers, threads, 6);
    cluster_close(&s.c);
    assert_int_equal(cluster_super(&s.c, "data").generation, 13);
    assert_int_equal(cluster_super(&s.c, "data").blocks, 30);
    assert_int_equal(cluster_super(&s.c, "data").damaged, 0);
    assert_int_equal(bytes_of(&s.c, "data"), 31 * CLUSTER_BLOCK_BYTES);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

struct cutter {
    struct shared_file *s;
    struct cf_session *session;
    struct cf_file *file;
    uint64_t blocks;
    enum cf_rc rc;
};

static void *cutter_main(void *arg)
{
    struct cutter *cutter = arg;

    for (; cutter->blocks > 0 && cutter->rc == CF_OK; cutter->blocks--)
        cutter->rc = cf_truncate(cutter->session, cutter->file, cutter->blocks - 1);
    return NULL;
}

/* Two files at once from one instance, and one of them from another instance too. */
static void changes_of_several_callers_do_not_take_each_others_answers(void **state)
{
    struct cf_file *other[2];
    struct cutter cutters[2];
    struct shared_file s;
    pthread_t threads[2];
    uint32_t i;

    (void)state;
    cluster_init(&s.c, 2);
    cluster_file(&s.c, "other", 8, 20);
    shared_open(&s, 2, 20);
    for (i = 0; i < 2; i++)
        other[i] = cluster_attach(&s.c, i, "other", 8);
    for (i = 0; i < 20; i++) {
        cluster_write(&s.c, 1, s.file[1], i, i);
        cluster_write(&s.c, 1, other[1], i, i);
    }
    for (i = 0; i < 2; i++) {
        cutters[i] = (struct cutter){&s, NULL, i ? other[0] : s.file[0], 20, CF_OK};
        assert_int_equal(cf_session_open(s.c.instance[0], &cutters[i].session), CF_OK);
        assert_int_equal(pthread_create(&threads[i], NULL, cutter_main, &cutters[i]), 0);
    }
    for (i = 0; i < 2; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(cutters[i].rc, CF_OK);
        assert_int_equal(cf_session_close(&cutters[i].session), CF_OK);
    }
    cluster_close(&s.c);
    assert_int_equal(cluster_super(&s.c, "data").generation, 21);
    assert_int_equal(cluster_super(&s.c, "other").generation, 21);
    cluster_end(&s.c);
}

static void two_instances_that_change_one_file_take_turns(void **state)
{
    struct cutter cutters[2];
    struct shared_file s;
    pthread_t threads[2];
    uint32_t i;

    (void)state;
    cluster_init(&s.c, 3);
    shared_open(&s, 3, 20);
    for (i = 0; i < 2; i++) {
        cutters[i] = (struct cutter){&s, s.c.session[i], s.file[i], 1, CF_OK};
        cutters[i].blocks = 12;
    }
    assert_int_equal(cf_extend(s.c.session[2], s.file[2], 40), CF_OK);
    for (i = 0; i < 2; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, cutter_main, &cutters[i]), 0);
    for (i = 0; i < 2; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    for (i = 0; i < 2; i++) /* the other one may have cut deeper already */
        assert_true(cutters[i].rc == CF_OK || cutters[i].rc == CF_RANGE);
    assert_int_equal(cluster_super(&s.c, "data").blocks, 0);
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

static void *detach_main(void *arg)
{
    struct cutter *cutter = arg;

    cutter->rc = cf_detach(cutter->session, &cutter->file);
    return NULL;
}

/* Whatever of the two comes first, nobody stays entered. */
static void a_detach_during_a_truncate_leaves_a_clean_file(void **state)
{
    struct cutter leaver;
    struct shared_file s;
    pthread_t thread;
    uint32_t i;

    (void)state;
    cluster_init(&s.c, 2);
    shared_open(&s, 2, 40);
    for (i = 0; i < 15; i++) {
        leaver = (struct cutter){&s, s.c.session[1], s.file[1], 0, CF_OK};
        assert_int_equal(pthread_create(&thread, NULL, detach_main, &leaver), 0);
        assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 39 - i), CF_OK);
        assert_int_equal(pthread_join(thread, NULL), 0);
        assert_int_equal(leaver.rc, CF_OK);
        assert_int_equal(cluster_super(&s.c, "data").attached, 1);
        s.file[1] = cluster_attach(&s.c, 1, "data", 7);
    }
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

static void deliver(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    eng_file_stop_message(instance, arg, now_ns);
}

/* A STOP that comes once more after the end stops the file again; the one who said it knows how it ended. */
static void a_stop_that_comes_late_is_ended_by_who_said_it_even_if_it_has_detached(void **state)
{
    struct grd_msg stop = {.type = GRD_MSG_FILE_STOP, .key = {7, 1, 0}, .request = 1, .from = 0};
    struct shared_file s;
    struct cf_ref ref;
    uint64_t value;

    (void)state;
    cluster_init(&s.c, 2);
    s.c.call_timeout_ns = CF_NS_PER_S;
    shared_open(&s, 2, 20);
    cluster_write(&s.c, 1, s.file[1], 3, 33);
    assert_int_equal(cf_get(s.c.session[1], s.file[1], 5, CF_MODE_S, 0, cluster_deadline(), &ref), CF_OK);
    assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 2), CF_TIMEOUT); /* the first change, undone */
    cf_put(s.c.session[1], &ref);
    assert_int_equal(read_soon(&s.c, 1, s.file[1], 3, &value), CF_OK);
    assert_int_equal(cf_detach(s.c.session[0], &s.file[0]), CF_OK);
    assert_int_equal(eng_call_run(s.c.instance[1], deliver, &stop), CF_OK);
    assert_int_equal(read_soon(&s.c, 1, s.file[1], 3, &value), CF_OK);
    assert_int_equal(value, 33);
    assert_int_equal(cluster_read(&s.c, 1, s.file[1], 19), 0); /* the length is the one before */
    assert_int_equal(cf_truncate(s.c.session[1], s.file[1], 2), CF_OK);
    assert_int_equal(eng_call_run(s.c.instance[1], deliver, &stop),
                     CF_OK); /* of a generation that is gone: no effect */
    assert_int_equal(cluster_read_try(&s.c, 1, s.file[1], 1, &value), CF_OK);
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

static void count_stopping(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)now_ns;
    *(uint32_t *)arg = instance->files_stopping;
}

/* Files that the progress loop looks after every half millisecond. */
static uint32_t stopping_of(struct cf_instance *instance)
{
    uint32_t count = UINT32_MAX;

    assert_int_equal(eng_call_run(instance, count_stopping, &count), CF_OK);
    return count;
}

/* Node 0 has no part in these: their numbers are beyond those of its changes, and no GO comes for them. */
static void stop_as_if_by_node_0(struct shared_file *s, uint64_t request)
{
    struct grd_msg stop = {.type = GRD_MSG_FILE_STOP, .key = {7, 1, 0}, .request = request, .from = 0};

    assert_int_equal(eng_call_run(s->c.instance[1], deliver, &stop), CF_OK);
}

static void a_stopped_instance_changes_nothing_before_it_hears_go(void **state)
{
    struct shared_file s;
    uint64_t value;

    (void)state;
    cluster_init(&s.c, 2);
    s.c.call_timeout_ns = CF_NS_PER_S;
    shared_open(&s, 2, 20);
    stop_as_if_by_node_0(&s, 900);
    assert_int_equal(stopping_of(s.c.instance[1]), 1);
    assert_int_equal(cluster_read_try(&s.c, 1, s.file[1], 3, &value), CF_STALE);
    assert_int_equal(cf_truncate(s.c.session[1], s.file[1], 5), CF_TIMEOUT);
    assert_int_equal(cluster_super(&s.c, "data").generation, 1);
    stop_as_if_by_node_0(&s, 901); /* a newer one takes its place */
    assert_int_equal(stopping_of(s.c.instance[1]), 1);
    assert_int_equal(cf_truncate(s.c.session[0], s.file[0], 10),
                     CF_OK); /* and so does one that goes on to its end */
    assert_int_equal(read_soon(&s.c, 1, s.file[1], 3, &value), CF_OK);
    assert_int_equal(stopping_of(s.c.instance[1]), 0);
    assert_int_equal(cf_truncate(s.c.session[1], s.file[1], 5), CF_OK);
    assert_int_equal(read_soon(&s.c, 0, s.file[0], 3, &value), CF_OK);
    assert_int_equal(stopping_of(s.c.instance[0]), 0);
    cluster_close(&s.c);
    assert_false(cluster_super(&s.c, "data").unclean);
    cluster_end(&s.c);
}

static void a_file_that_is_detached_while_it_is_stopped_is_forgotten(void **state)
{
    struct shared_file s;

    (void)state;
    cluster_init(&s.c, 2);
    shared_open(&s, 2, 20);
    stop_as_if_by_node_0(&s, 900);
    assert_int_equal(stopping_of(s.c.instance[1]), 1);
    assert_int_equal(cf_detach(s.c.session[1], &s.file[1]), CF_OK);
    assert_int_equal(stopping_of(s.c.instance[1]), 0);
    assert_int_equal(cluster_super(&s.c, "data").attached, 1);
    s.file[1] = cluster_attach(&s.c, 1, "data", 7);
    assert_int_equal(cluster_read(&s.c, 1, s.file[1], 3), 0);
    cluster_close(&s.c);
    cluster_end(&s.c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_truncate_is_seen_by_all_and_keeps_what_is_before_the_cut),
        cmocka_unit_test(a_dropped_file_is_stale_for_all),
        cmocka_unit_test(a_truncate_that_a_reference_stands_in_the_way_of_is_undone),
        cmocka_unit_test(callers_that_wait_for_the_superblock_do_not_stop_a_truncate),
        cmocka_unit_test(truncate_and_extend_go_on_under_writers),
        cmocka_unit_test(changes_of_several_callers_do_not_take_each_others_answers),
        cmocka_unit_test(two_instances_that_change_one_file_take_turns),
        cmocka_unit_test(a_detach_during_a_truncate_leaves_a_clean_file),
        cmocka_unit_test(a_stopped_instance_changes_nothing_before_it_hears_go),
        cmocka_unit_test(a_file_that_is_detached_while_it_is_stopped_is_forgotten),
        cmocka_unit_test(a_stop_that_comes_late_is_ended_by_who_said_it_even_if_it_has_detached),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
