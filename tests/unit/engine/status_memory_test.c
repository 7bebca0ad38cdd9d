/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The status while memory fails: whichever allocation of the text it is, who asks is told the whole state or that there is
 * no memory, never a part. What the text says is status_test.c's.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/clock.h"
#include "cluster_fixture.h"

#define TEXT_BYTES (1u << 20)
/* A status of a few lists is made with some thousand. */
#define ALLOCATIONS_MAX 100000u
#define AFTER_NS 20000000ull
#define DEADLINE_NS 20000000000ull

/* How many allocations of jansson's go well yet, then one fails; negative: none does any more. */
static _Atomic int64_t good_left = -1;
static _Atomic bool has_failed;

static void *allocate(size_t bytes)
{
    if (atomic_load(&good_left) >= 0 && atomic_fetch_sub(&good_left, 1) == 0) {
        atomic_store(&has_failed, true);
        return NULL;
    }
    return malloc(bytes);
}

static void fail_after(int64_t good)
{
    atomic_store(&has_failed, false);
    atomic_store(&good_left, good);
}

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

/* NULL: CF_MEMORY, and not a byte. */
static json_t *status_of(struct cf_instance *instance, int64_t good)
{
    struct text text = {malloc(TEXT_BYTES), 0};
    json_t *root = NULL;
    enum cf_rc rc;

    assert_non_null(text.bytes);
    fail_after(good);
    rc = cf_status_write(instance, sink, &text);
    atomic_store(&good_left, -1);
    if (rc == CF_OK) {
        root = json_loadb(text.bytes, text.length, 0, NULL);
        assert_non_null(root);
    } else {
        assert_int_equal(rc, CF_MEMORY);
        assert_int_equal(text.length, 0);
    }
    free(text.bytes);
    return root;
}

/* Two owners in a deadlock: the cheaper is ended and keeps what it has, so the other goes on waiting. */
struct owner {
    struct cf_session *session;
    struct cf_lock *lock[2];
    struct cf_claim has, wants;
    uint32_t wanted;
    enum cf_rc rc;
    pthread_t thread;
};

static void owner_open(struct owner *owner, struct cf_instance *instance, uint32_t holds, uint32_t cost)
{
    static const char *const names[] = {"accounts", "branches"};

    memset(owner, 0, sizeof *owner);
    owner->wanted = 1 - holds;
    assert_int_equal(cf_session_open(instance, &owner->session), CF_OK);
    assert_int_equal(cf_owner_set(owner->session, 1 + holds, cost), CF_OK);
    for (uint32_t l = 0; l < 2; l++)
        assert_int_equal(cf_lock_open(owner->session, names[l], strlen(names[l]), &owner->lock[l]), CF_OK);
    assert_int_equal(
        cf_lock_request(owner->session, owner->lock[holds], CF_LOCK_EX, 0, cluster_deadline(), &owner->has),
        CF_OK);
}

static void *want(void *arg)
{
    struct owner *owner = arg;

    owner->rc = cf_lock_request(owner->session, owner->lock[owner->wanted], CF_LOCK_EX, 0,
                                cf_now_ns() + DEADLINE_NS, &owner->wants);
    return NULL;
}

static void owner_close(struct owner *owner)
{
    assert_int_equal(cf_lock_unlock(owner->session, &owner->has, 0, NULL), CF_OK);
    if (owner->wants.lock)
        assert_int_equal(cf_lock_unlock(owner->session, &owner->wants, 0, NULL), CF_OK);
    for (uint32_t l = 0; l < 2; l++)
        assert_int_equal(cf_lock_close(owner->session, &owner->lock[l]), CF_OK);
    assert_int_equal(cf_session_close(&owner->session), CF_OK);
}

static size_t listed(const json_t *root, const char *name)
{
    return json_array_size(json_object_get(root, name));
}

static void until_it_lists(struct cf_instance *instance, const char *name, const char *of)
{
    uint64_t until = cf_now_ns() + DEADLINE_NS;
    size_t count;

    do {
        json_t *root = status_of(instance, -1);

        assert_non_null(root);
        count = listed(of ? json_object_get(root, of) : root, name);
        json_decref(root);
    } while (count == 0 && cf_now_ns() < until);
    assert_int_not_equal(count, 0);
}

/* Returns the status that no failure met, once every allocation before has failed once. */
static json_t *walk(struct cf_instance *instance)
{
    for (uint32_t n = 0; n < ALLOCATIONS_MAX; n++) {
        json_t *root = status_of(instance, n);

        if ((root == NULL) != atomic_load(&has_failed))
            fail_msg("allocation %u failed, and a part was told", n);
        if (root != NULL) {
            assert_true(n > 100);
            return root;
        }
    }
    fail_msg("more than %u allocations", ALLOCATIONS_MAX);
    return NULL;
}

static void a_status_is_whole_or_not_told(void **state)
{
    struct owner dear, cheap;
    struct cf_file *file[2];
    struct cluster c;
    struct cf_ref ref;
    struct cf_op op = {0}, *done;
    json_t *root;

    (void)state;
    cluster_init(&c, 2);
    c.deadlock_ns = AFTER_NS;
    c.call_timeout_ns = DEADLINE_NS;
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    for (uint32_t n = 0; n < 2; n++)
        file[n] = cluster_attach(&c, n, "data", 7);
    for (uint32_t i = 0; i < 200; i++)
        cluster_write(&c, i % 2, file[i % 2], 9, i);
    assert_int_equal(cf_get(c.session[1], file[1], 5, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    op = (struct cf_op){
        .kind = CF_OP_GET, .file = file[0], .block = 5, .mode = CF_MODE_X, .deadline_ns = CF_FOREVER};
    assert_int_equal(cf_submit(c.session[0], &op), CF_OK);
    owner_open(&dear, c.instance[0], 0, 5);
    owner_open(&cheap, c.instance[1], 1, 1);
    assert_int_equal(pthread_create(&dear.thread, NULL, want, &dear), 0);
    assert_int_equal(pthread_create(&cheap.thread, NULL, want, &cheap), 0);
    assert_int_equal(pthread_join(cheap.thread, NULL), 0);
    assert_int_equal(cheap.rc, CF_DEADLOCK);
    until_it_lists(c.instance[0], "waiters", NULL);
    until_it_lists(c.instance[0], "cycles", "waits");
    until_it_lists(c.instance[0], "edges", "waits");

    root = walk(c.instance[0]);
    assert_int_equal(listed(root, "waiters"), 1);
    assert_int_equal(listed(root, "conversations"), 1);
    assert_int_equal(listed(root, "members"), 2);
    assert_int_not_equal(listed(json_object_get(root, "waits"), "cycles"), 0);
    assert_int_not_equal(listed(json_object_get(root, "waits"), "edges"), 0);
    json_decref(root);
    json_decref(walk(c.instance[1])); /* where the blocks that go to and fro are mastered, or the other one */

    cf_put(c.session[1], &ref);
    assert_int_equal(cf_wait(c.session[0], &done, 1, cluster_deadline()), 1);
    assert_int_equal(done->rc, CF_OK);
    cf_put(c.session[0], &done->ref);
    owner_close(&cheap);
    assert_int_equal(pthread_join(dear.thread, NULL), 0);
    assert_int_equal(dear.rc, CF_OK);
    owner_close(&dear);
    cluster_close(&c);
    cluster_end(&c);
}

/* What the socket answers, to its end. */
static json_t *ask(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    char *text = malloc(TEXT_BYTES);
    size_t bytes = 0;
    json_t *root;
    ssize_t got;

    assert_true(fd >= 0);
    assert_non_null(text);
    snprintf(address.sun_path, sizeof address.sun_path, "%s", path);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    while ((got = read(fd, text + bytes, TEXT_BYTES - bytes)) > 0)
        bytes += (size_t)got;
    assert_int_equal(got, 0);
    close(fd);
    atomic_store(&good_left, -1);
    root = json_loadb(text, bytes, 0, NULL);
    free(text);
    assert_non_null(root);
    return root;
}

static void the_socket_says_so_in_one_line(void **state)
{
    struct cluster c;
    char path[128];
    json_t *root;

    (void)state;
    cluster_init(&c, 1);
    cluster_path(&c, "status", path);
    c.status_path = path;
    cluster_open(&c);
    fail_after(50);
    root = ask(path);
    assert_true(atomic_load(&has_failed));
    assert_int_equal(json_object_size(root), 1);
    assert_non_null(strstr(json_string_value(json_object_get(root, "error")), "CF_MEMORY"));
    json_decref(root);
    root = ask(path);
    assert_int_equal(json_integer_value(json_object_get(root, "node")), 0);
    assert_null(json_object_get(root, "error"));
    json_decref(root);
    cluster_close(&c);
    cluster_end(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_status_is_whole_or_not_told),
        cmocka_unit_test(the_socket_says_so_in_one_line),
    };

    json_set_alloc_funcs(allocate, free);
    return cmocka_run_group_tests(tests, NULL, NULL);
}
