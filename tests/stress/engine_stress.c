/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Three instances in one process over shm:, two client threads each, few blocks and few frames: counters in blocks are
 * raised under X, by upgrade and in mini-transactions; readers see them only rise. At the end the sum of the blocks is
 * the sum of what the threads did. Covers the threads of the engine (clients, pollers, storage) under the sanitizers.
 * Not here: faults and orders of messages (tests/sim).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "engine/format.h"

#define INSTANCES 3u
#define THREADS 2u
#define BLOCKS 48u
#if CF_TSAN
#define OPS 400u
#else
#define OPS 4000u
#endif

#if CF_TSAN
CF_API const char *__tsan_default_suppressions(void);
/* hwloc asks libudev, which keeps its hash seed in a global that several threads may set to the same end. */
const char *__tsan_default_suppressions(void)
{
    return "race:getrandom\nrace:libudev.so\n";
}
#endif

struct shared {
    char directory[64], file[96];
    const char *waiting;
    pthread_barrier_t barrier;
    _Atomic uint64_t added;
    _Atomic uint32_t failures;
};

struct member {
    struct shared *shared;
    uint16_t node;
    struct cf_instance *instance;
    struct cf_file *file;
};

struct client {
    struct member *member;
    uint32_t number;
};

static void fail(struct shared *shared, const char *what, enum cf_rc rc, const struct cf_error *error)
{
    fprintf(stderr, "%s: %s %s\n", what, cf_rc_name(rc), error ? error->text : "");
    atomic_fetch_add(&shared->failures, 1);
}

static uint64_t deadline(void)
{
    return cf_now_ns() + 60 * CF_NS_PER_S;
}

static bool add_one(struct cf_session *session, struct cf_ref *ref, uint64_t *added)
{
    uint64_t value;

    memcpy(&value, ref->data, sizeof value);
    value++;
    memcpy(ref->data, &value, sizeof value);
    if (cf_dirty(session, ref, 0) != CF_OK)
        return false;
    ++*added;
    return true;
}

static enum cf_rc do_write(struct cf_session *session, struct cf_file *file, uint64_t block, uint64_t *added)
{
    struct cf_ref ref;
    enum cf_rc rc = cf_get(session, file, block, CF_MODE_X, 0, deadline(), &ref);

    if (rc == CF_OK) {
        (void)add_one(session, &ref, added);
        cf_put(session, &ref);
    }
    return rc;
}

static enum cf_rc do_upgrade(struct cf_session *session, struct cf_file *file, uint64_t block,
                             uint64_t *added)
{
    struct cf_ref ref;
    enum cf_rc rc = cf_get(session, file, block, CF_MODE_S, 0, deadline(), &ref);

    if (rc != CF_OK)
        return rc;
    rc = cf_upgrade(session, &ref, deadline());
    if (rc == CF_OK) {
        (void)add_one(session, &ref, added);
        cf_put(session, &ref);
    }
    return rc == CF_UPGRADE_LOST ? CF_OK : rc;
}

static enum cf_rc do_group(struct cf_session *session, struct cf_file *file, uint64_t block, uint64_t *added)
{
    uint64_t blocks[2] = {(block + 1) % BLOCKS, block}, value;
    struct cf_ref refs[2];
    struct cf_mtr mtr;
    enum cf_rc rc = cf_get_many(session, file, blocks, 2, CF_MODE_X, deadline(), refs);
    int i;

    if (rc != CF_OK)
        return rc;
    rc = cf_mtr_begin(session, &mtr);
    for (i = 0; i < 2; i++) {
        memcpy(&value, refs[i].data, sizeof value);
        value++;
        memcpy(refs[i].data, &value, sizeof value);
        if (cf_mtr_add(&mtr, &refs[i]) < 0)
            return CF_INVALID;
    }
    rc = cf_mtr_commit(&mtr, 0, NULL);
    *added += 2;
    return rc;
}

static enum cf_rc do_read(struct cf_session *session, struct cf_file *file, uint64_t block, uint64_t *seen,
                          struct shared *shared)
{
    struct cf_ref ref;
    enum cf_rc rc = cf_get(session, file, block, CF_MODE_S, 0, deadline(), &ref);
    uint64_t value;

    if (rc != CF_OK)
        return rc;
    memcpy(&value, ref.data, sizeof value);
    if (value < seen[block])
        fail(shared, "a reader saw a counter fall", CF_CORRUPT, NULL);
    seen[block] = value;
    cf_put(session, &ref);
    return CF_OK;
}

static void *client_main(void *arg)
{
    struct client *client = arg;
    struct member *member = client->member;
    struct shared *shared = member->shared;
    uint64_t seen[BLOCKS] = {0}, added = 0;
    struct cf_session *session;
    struct cf_rng rng;
    enum cf_rc rc = cf_session_open(member->instance, &session);
    uint32_t i;

    if (rc != CF_OK) {
        fail(shared, "session", rc, NULL);
        return NULL;
    }
    cf_rng_seed(&rng, member->node * 100u + client->number);
    for (i = 0; i < OPS && atomic_load(&shared->failures) == 0; i++) {
        uint64_t block = cf_rng_below(&rng, cf_rng_chance(&rng, 0.5) ? 4 : BLOCKS);

        switch (cf_rng_below(&rng, 4)) {
        case 0:
            rc = do_write(session, member->file, block, &added);
            break;
        case 1:
            rc = do_upgrade(session, member->file, block, &added);
            break;
        case 2:
            rc = do_group(session, member->file, block, &added);
            break;
        default:
            rc = do_read(session, member->file, block, seen, shared);
            break;
        }
        if (rc != CF_OK)
            fail(shared, "op", rc, cf_session_error(session));
    }
    atomic_fetch_add(&shared->added, added);
    rc = cf_session_close(&session);
    if (rc != CF_OK)
        fail(shared, "session close", rc, NULL);
    return NULL;
}

static bool member_open(struct member *member)
{
    struct shared *shared = member->shared;
    struct cf_file_options file;
    struct cf_session *session;
    struct cf_options options;
    struct cf_error error = {0};
    char text[128];
    enum cf_rc rc;

    cf_options_init(&options);
    snprintf(text, sizeof text, "shm:%s", shared->directory);
    rc = cf_options_set(&options, "transport", text, &error);
    if (rc == CF_OK)
        rc = cf_options_set(&options, "waiting", shared->waiting, &error);
    options.node = member->node;
    options.nodes = INSTANCES;
    options.outstanding = 4;
    options.cache_2k_bytes = 24 * 2048;
    options.cache_bytes = 0;
    options.dirty_age = 20000000;
    if (rc == CF_OK)
        rc = cf_open(&options, NULL, &member->instance, &error);
    if (rc == CF_OK)
        rc = cf_session_open(member->instance, &session);
    if (rc != CF_OK) {
        fail(shared, "open", rc, &error);
        return false;
    }
    cf_file_options_init(&file);
    file.path = shared->file;
    file.file_id = 9;
    rc = cf_attach(session, &file, &member->file);
    if (rc != CF_OK)
        fail(shared, "attach", rc, cf_session_error(session));
    (void)cf_session_close(&session);
    return rc == CF_OK;
}

static uint64_t sum_of(struct member *member)
{
    struct cf_session *session;
    struct cf_ref ref;
    uint64_t sum = 0, block, value;

    if (cf_session_open(member->instance, &session) != CF_OK)
        return UINT64_MAX;
    for (block = 0; block < BLOCKS; block++) {
        if (cf_get(session, member->file, block, CF_MODE_S, 0, deadline(), &ref) != CF_OK)
            return UINT64_MAX;
        memcpy(&value, ref.data, sizeof value);
        sum += value;
        cf_put(session, &ref);
    }
    (void)cf_session_close(&session);
    return sum;
}

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct shared *shared = member->shared;
    struct client clients[THREADS];
    pthread_t threads[THREADS];
    uint32_t i, started = 0;
    uint64_t sum;
    enum cf_rc rc;

    if (member_open(member))
        for (i = 0; i < THREADS; i++) {
            clients[i] = (struct client){member, i};
            if (pthread_create(&threads[i], NULL, client_main, &clients[i]) == 0)
                started++;
        }
    for (i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_wait(&shared->barrier);
    if (member->file && atomic_load(&shared->failures) == 0) {
        sum = sum_of(member);
        if (sum != atomic_load(&shared->added)) {
            fprintf(stderr, "node %u: the blocks hold %llu, %llu were added\n", member->node,
                    (unsigned long long)sum, (unsigned long long)atomic_load(&shared->added));
            atomic_fetch_add(&shared->failures, 1);
        }
    }
    pthread_barrier_wait(&shared->barrier);
    rc = cf_close(&member->instance);
    if (rc != CF_OK)
        fail(shared, "close", rc, NULL);
    return NULL;
}

static bool run(const char *waiting)
{
    struct shared shared = {.directory = "/dev/shm/cf-stress-XXXXXX", .waiting = waiting};
    struct eng_mkfs mkfs = {.path = shared.file, .blocks = BLOCKS, .block_bytes = 2048, .file_id = 9};
    struct eng_check_result result;
    struct member members[INSTANCES] = {0};
    pthread_t threads[INSTANCES];
    struct cf_error error = {0};
    char command[96];
    uint32_t i;

    if (mkdtemp(shared.directory) == NULL)
        return false;
    snprintf(shared.file, sizeof shared.file, "%s/data", shared.directory);
    if (eng_format_make(&mkfs, &error) != CF_OK) {
        fprintf(stderr, "mkfs: %s\n", error.text);
        return false;
    }
    pthread_barrier_init(&shared.barrier, NULL, INSTANCES);
    for (i = 0; i < INSTANCES; i++) {
        members[i].shared = &shared;
        members[i].node = (uint16_t)i;
        if (pthread_create(&threads[i], NULL, member_main, &members[i]) != 0)
            return false;
    }
    for (i = 0; i < INSTANCES; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&shared.barrier);
    if (eng_format_check(shared.file, NULL, NULL, &result, &error) != CF_OK || result.damaged ||
        result.unclean)
        fail(&shared, "the file beside the caches is not as it should be", CF_CORRUPT, &error);
    snprintf(command, sizeof command, "rm -rf '%s'", shared.directory);
    if (system(command) != 0)
        atomic_fetch_add(&shared.failures, 1);
    printf("%s waiting: %llu added\n", waiting, (unsigned long long)atomic_load(&shared.added));
    return atomic_load(&shared.failures) == 0;
}

int main(void)
{
    return run("adaptive") && run("sleep") ? 0 : 1;
}
