/* SPDX-License-Identifier: Apache-2.0 */
/* What an instance says of itself: counters, the JSON text, the status socket, the members' clocks. */
#include <fcntl.h>
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "cluster_fixture.h"
#include "engine/format.h"

#define TEXT_BYTES (1u << 20)

struct text {
    char *bytes;
    size_t length;
};

static void sink(void *arg, const char *bytes, size_t length)
{
    struct text *text = arg;

    assert_true(text->length + length < TEXT_BYTES);
    memcpy(text->bytes + text->length, bytes, length);
    text->length += length;
}

static json_t *status_of(struct cf_instance *instance)
{
    struct text text = {malloc(TEXT_BYTES), 0};
    json_error_t error;
    json_t *root;

    assert_non_null(text.bytes);
    assert_int_equal(cf_status_write(instance, sink, &text), CF_OK);
    root = json_loadb(text.bytes, text.length, 0, &error);
    assert_non_null(root);
    free(text.bytes);
    return root;
}

static json_int_t counter(const json_t *root, const char *name)
{
    const json_t *value = json_object_get(json_object_get(root, "counters"), name);

    assert_true(json_is_integer(value));
    return json_integer_value(value);
}

static void hits_are_the_gets_that_found_the_block_here(void **state)
{
    struct cf_stats a = {.size = sizeof a}, b = {.size = sizeof b};
    struct cf_file *file;
    struct cluster c;
    uint32_t i;

    (void)state;
    cluster_init(&c, 1);
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    file = cluster_attach(&c, 0, "data", 7);
    assert_int_equal(cf_stats_read(c.instance[0], &a), CF_OK);
    assert_int_equal(a.gets, 0); /* the superblock is nobody's get */
    for (i = 0; i < 5000; i++)
        (void)cluster_read(&c, 0, file, i % 10);
    cluster_write(&c, 0, file, 3, 33);
    assert_int_equal(cf_stats_read(c.instance[0], &b), CF_OK);
    assert_int_equal(b.gets, 5001);
    assert_true(b.hits == 4990 ||
                b.hits == 4991); /* each of ten blocks missed once; X after S goes to the directory, or not */
    assert_int_equal(b.disk_reads - a.disk_reads, 10);
    assert_int_equal(b.frames, 64);
    assert_int_equal(b.frames_dirty, 1);
    assert_true(b.frames_free < 64 - 10);
    assert_true(b.hit.count >= 1 && b.hit.count < b.hits / 8); /* one get in so many is timed */
    assert_true(b.hit.p50 <= b.hit.p99 && b.hit.p99 <= b.hit.max);
    assert_int_equal(b.timeouts, 0);
    cluster_close(&c);
    cluster_end(&c);
}

static void statistics_of_an_older_program_are_filled_as_far_as_they_go(void **state)
{
    struct cf_stats stats;
    struct cluster c;

    (void)state;
    cluster_init(&c, 1);
    cluster_open(&c);
    memset(&stats, 0xff, sizeof stats);
    stats.size = offsetof(struct cf_stats, frames);
    assert_int_equal(cf_stats_read(c.instance[0], &stats), CF_OK);
    assert_int_equal(stats.size, offsetof(struct cf_stats, frames));
    assert_int_equal(stats.gets, 0);
    assert_int_equal(stats.frames, UINT64_MAX);
    assert_int_equal(cf_state(c.instance[0], NULL), CF_OK);
    cluster_close(&c);
    cluster_end(&c);
}

struct waiter {
    struct cf_session *session;
    struct cf_file *file;
    enum cf_rc rc;
};

static void *waiter_main(void *arg)
{
    struct waiter *waiter = arg;
    struct cf_ref ref;

    waiter->rc = cf_get(waiter->session, waiter->file, 5, CF_MODE_X, 0, CF_FOREVER, &ref);
    if (waiter->rc == CF_OK)
        cf_put(waiter->session, &ref);
    return NULL;
}

static void the_text_shows_who_waits_for_what(void **state)
{
    static const char *const keys[] = {"node",          "incarnation", "epoch",    "state",  "uptime_ns",
                                       "members",       "counters",    "latency",  "frames", "modes",
                                       "conversations", "waiters",     "placement"};
    struct cf_file *file[2];
    struct waiter waiter;
    uint64_t until;
    struct cluster c;
    pthread_t thread;
    json_t *root, *frames, *first;
    struct cf_ref ref;
    uint32_t i;

    (void)state;
    cluster_init(&c, 2);
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    for (i = 0; i < 2; i++)
        file[i] = cluster_attach(&c, i, "data", 7);
    cluster_write(&c, 1, file[1], 9, 99);
    assert_int_equal(cf_get(c.session[0], file[0], 5, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    waiter = (struct waiter){c.session[1], file[1], CF_INVALID};
    assert_int_equal(pthread_create(&thread, NULL, waiter_main, &waiter), 0);
    until = cluster_deadline();
    for (;;) { /* until the other thread has come so far */
        root = status_of(c.instance[1]);
        if (json_array_size(json_object_get(root, "waiters")) == 1 || cf_now_ns() >= until)
            break;
        json_decref(root);
    }
    for (i = 0; i < sizeof keys / sizeof keys[0]; i++)
        assert_non_null(json_object_get(root, keys[i]));
    assert_int_equal(json_integer_value(json_object_get(root, "node")), 1);
    assert_string_equal(json_string_value(json_object_get(root, "state")), "CF_OK");
    assert_int_equal(json_array_size(json_object_get(root, "members")), 2);
    assert_true(json_is_true(json_object_get(json_array_get(json_object_get(root, "members"), 0), "up")));
    first = json_array_get(json_object_get(root, "waiters"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "file")), 7);
    assert_int_equal(json_integer_value(json_object_get(first, "block")), 5);
    assert_string_equal(json_string_value(json_object_get(first, "mode")), "X");
    first = json_array_get(json_object_get(root, "conversations"), 0);
    assert_int_equal(json_integer_value(json_object_get(first, "block")), 5);
    assert_string_equal(json_string_value(json_object_get(first, "wants")), "X");
    assert_non_null(json_string_value(json_object_get(first, "waits_for")));
    frames = json_object_get(json_object_get(root, "frames"), "2048");
    assert_int_equal(json_integer_value(json_object_get(frames, "total")), 64);
    assert_true(json_integer_value(json_object_get(frames, "dirty")) >= 1);
    assert_true(json_integer_value(json_object_get(json_object_get(root, "modes"), "x")) >= 1);
    assert_int_equal(counter(root, "gets"), 1);
    json_decref(root);
    cf_put(c.session[0], &ref);
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(waiter.rc, CF_OK);
    root = status_of(c.instance[1]);
    assert_int_equal(json_array_size(json_object_get(root, "waiters")), 0);
    assert_int_equal(json_array_size(json_object_get(root, "conversations")), 0);
    json_decref(root);
    cluster_close(&c);
    cluster_end(&c);
}

#define OPS 12u

/* An instance has 8 conversations: the others wait for one, in no block's queue. */
static void those_who_wait_for_a_conversation_are_waiters_too(void **state)
{
    struct cf_session *session[2];
    struct cf_op ops[OPS], *done[OPS];
    struct cf_ref refs[OPS];
    struct cf_file *file[2];
    uint64_t until;
    uint32_t i, count;
    struct cluster c;
    json_t *root;

    (void)state;
    cluster_init(&c, 2);
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    for (i = 0; i < 2; i++) {
        file[i] = cluster_attach(&c, i, "data", 7);
        assert_int_equal(cf_session_open(c.instance[1], &session[i]), CF_OK);
    }
    for (i = 0; i < OPS; i++)
        assert_int_equal(cf_get(c.session[0], file[0], i, CF_MODE_X, 0, cluster_deadline(), &refs[i]), CF_OK);
    memset(ops, 0, sizeof ops);
    for (i = 0; i < OPS; i++) {
        ops[i] = (struct cf_op){
            .kind = CF_OP_GET, .file = file[1], .block = i, .mode = CF_MODE_S, .deadline_ns = CF_FOREVER};
        assert_int_equal(cf_submit(session[i % 2], &ops[i]), CF_OK);
    }
    root = status_of(c.instance[1]);
    assert_int_equal(json_integer_value(json_object_get(root, "conversations_total")), 8);
    assert_int_equal(json_integer_value(json_object_get(root, "waiters_total")), OPS);
    assert_int_equal(json_array_size(json_object_get(root, "waiters")), OPS);
    json_decref(root);
    for (i = 0; i < OPS; i++)
        cf_put(c.session[0], &refs[i]);
    until = cluster_deadline();
    for (i = 0; i < 2; i++) {
        for (count = 0; count < OPS / 2 && cf_now_ns() < until;
             count += cf_wait(session[i], &done[count], OPS / 2 - count, until))
            ;
        assert_int_equal(count, OPS / 2);
        while (count-- > 0) {
            assert_int_equal(done[count]->rc, CF_OK);
            cf_put(session[i], &done[count]->ref);
        }
        assert_int_equal(cf_session_close(&session[i]), CF_OK);
    }
    cluster_close(&c);
    cluster_end(&c);
}

/* ------------------------------------------------------------------ the socket */

static int socket_at(const char *path, bool is_listener)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0), rc;

    assert_true(fd >= 0);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    rc = is_listener ? bind(fd, (struct sockaddr *)&address, sizeof address)
                     : connect(fd, (struct sockaddr *)&address, sizeof address);
    if (rc == 0)
        return fd;
    close(fd);
    return -1;
}

static json_t *ask(const char *path)
{
    char *text = malloc(TEXT_BYTES);
    json_error_t error;
    size_t bytes = 0;
    json_t *root;
    ssize_t got;
    int fd = socket_at(path, false);

    assert_true(fd >= 0);
    assert_non_null(text);
    while ((got = read(fd, text + bytes, TEXT_BYTES - bytes)) > 0)
        bytes += (size_t)got;
    assert_int_equal(got, 0); /* one text a connection, then its end */
    close(fd);
    root = json_loadb(text, bytes, 0, &error);
    free(text);
    assert_non_null(root);
    return root;
}

static void the_socket_answers_each_connection_and_goes_with_the_instance(void **state)
{
    struct stat status;
    struct cluster c;
    char path[128];
    json_t *root;
    uint32_t i;
    int fd;

    (void)state;
    cluster_init(&c, 1);
    cluster_path(&c, "status", path);
    fd = socket_at(path, true);
    assert_true(fd >= 0);
    close(fd); /* what a process that died leaves: a name that nobody answers */
    c.status_path = path;
    cluster_open(&c);
    assert_int_equal(stat(path, &status), 0);
    assert_true(S_ISSOCK(status.st_mode));
    assert_int_equal(status.st_mode & 0777, 0600);
    for (i = 0; i < 3; i++) {
        root = ask(path);
        assert_int_equal(json_integer_value(json_object_get(root, "node")), 0);
        json_decref(root);
    }
    fd = socket_at(path, false); /* a reader that goes at once */
    close(fd);
    json_decref(ask(path));
    cluster_close(&c);
    assert_int_not_equal(stat(path, &status), 0);
    cluster_end(&c);
}

static void a_path_that_is_taken_is_refused_and_left_alone(void **state)
{
    struct stat status;
    struct cluster c, d;
    char path[128], plain[128];
    int fd;

    (void)state;
    cluster_init(&c, 1);
    cluster_init(&d, 1);
    cluster_path(&c, "status", path);
    cluster_path(&c, "plain", plain);
    fd = open(plain, O_WRONLY | O_CREAT, 0644);
    assert_true(fd >= 0);
    assert_int_equal(write(fd, "mine", 4), 4);
    close(fd);
    d.status_path = plain; /* no socket: somebody's file */
    cluster_open_try(&d);
    assert_int_equal(d.opened[0], CF_SYSTEM);
    assert_non_null(strstr(d.error[0].text, plain));
    assert_int_equal(stat(plain, &status), 0);
    assert_true(S_ISREG(status.st_mode));
    assert_int_equal(status.st_size, 4);
    c.status_path = path;
    cluster_open(&c);
    d.status_path = path; /* answered by another instance */
    cluster_open_try(&d);
    assert_int_equal(d.opened[0], CF_SYSTEM);
    json_decref(ask(path));
    cluster_close(&c);
    cluster_end(&c);
    cluster_end(&d);
}

/* ------------------------------------------------------------------ the clock */

static void an_external_snapshot_covers_what_every_member_has_done(void **state)
{
    cf_scn before[3], causal, external;
    struct cf_file *file[3];
    struct cf_ref ref;
    struct cluster c;
    uint32_t i, n;

    (void)state;
    cluster_init(&c, 3);
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    for (n = 0; n < 3; n++)
        file[n] = cluster_attach(&c, n, "data", 7);
    for (n = 0; n < 3; n++) {
        assert_int_equal(cf_get(c.session[n], file[n], n, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
        for (i = 0; i < 1000 * (3 - n); i++)
            assert_int_equal(cf_dirty(c.session[n], &ref, 0), CF_OK);
        before[n] = ref.version;
        cf_put(c.session[n], &ref);
    }
    for (n = 0; n < 3; n++) {
        assert_int_equal(cf_scn_snapshot(c.session[n], CF_SCN_CAUSAL, &causal), CF_OK);
        assert_true(causal >= before[n]);
        assert_int_equal(cf_scn_snapshot(c.session[n], CF_SCN_EXTERNAL, &external), CF_OK);
        assert_true(external >= before[0] && external >= before[1] && external >= before[2]);
    }
    assert_int_equal(cf_scn_snapshot(c.session[0], (enum cf_scn_kind)9, &external), CF_INVALID);
    cluster_close(&c);
    cluster_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(hits_are_the_gets_that_found_the_block_here),
        cmocka_unit_test(statistics_of_an_older_program_are_filled_as_far_as_they_go),
        cmocka_unit_test(the_text_shows_who_waits_for_what),
        cmocka_unit_test(those_who_wait_for_a_conversation_are_waiters_too),
        cmocka_unit_test(the_socket_answers_each_connection_and_goes_with_the_instance),
        cmocka_unit_test(a_path_that_is_taken_is_refused_and_left_alone),
        cmocka_unit_test(an_external_snapshot_covers_what_every_member_has_done),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
