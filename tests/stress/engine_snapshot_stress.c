/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Real threads over shm:, where a READ is a copy of memory that another thread is changing: two instances change blocks
 * and make room for others all the time, a third takes private snapshots. Each word of a block says which block and
 * which change: a snapshot must be one change of its block, and never older than one its session saw before, nor than
 * what was finished before the call. Not here: loss and orders of messages (tests/sim).
 */
#include <pthread.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/compiler.h"
#include "base/rng.h"
#include "engine/format.h"

#define INSTANCES 3u
#define READERS 2u
#define BLOCKS 40u
#define BLOCK_BYTES 2048u
#define WORDS_MAX (BLOCK_BYTES / 8)
#if CF_TSAN
#define READS 800u
#else
#define READS 10000u
#endif
/* A writer rests after each change, so that most snapshots find a block at rest; 0 = never. */
#define REST_NS_MAX 20000u

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
    pthread_barrier_t barrier;
    _Atomic uint64_t finished[BLOCKS]; /* number of the last change of each block that is over */
    _Atomic uint32_t readers_left;
    _Atomic uint32_t failures;
    struct cf_stats stats;
};

struct member {
    struct shared *shared;
    uint16_t node;
    struct cf_instance *instance;
    struct cf_file *file;
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

static uint64_t word_of(uint64_t block, uint64_t change)
{
    return (block + 1) << 48 | change;
}

static void rest(struct cf_rng *rng)
{
    uint64_t until_ns = cf_now_ns() + cf_rng_below(rng, REST_NS_MAX);

    while (cf_now_ns() < until_ns)
        cf_pause();
}

static void *writer_main(void *arg)
{
    struct member *member = arg;
    struct shared *shared = member->shared;
    struct cf_session *session;
    struct cf_rng rng;
    enum cf_rc rc = cf_session_open(member->instance, &session);

    cf_rng_seed(&rng, member->node + 1u);
    while (rc == CF_OK && atomic_load(&shared->readers_left) != 0 && atomic_load(&shared->failures) == 0) {
        uint64_t block = cf_rng_below(&rng, BLOCKS), change, *words;
        struct cf_ref ref;

        rc = cf_get(session, member->file, block, CF_MODE_X, 0, deadline(), &ref);
        if (rc != CF_OK)
            break;
        words = ref.data;
        change = (words[0] & 0xffffffffffff) + 1;
        for (uint32_t i = 0; i < ref.bytes / 8; i++)
            words[i] = word_of(block, change);
        rc = cf_dirty(session, &ref, 0);
        cf_put(session, &ref);
        for (uint64_t last = atomic_load(&shared->finished[block]);
             last < change && !atomic_compare_exchange_weak(&shared->finished[block], &last, change);)
            ;
        rest(&rng);
    }
    if (rc != CF_OK)
        fail(shared, "writer", rc, cf_session_error(session));
    rc = cf_session_close(&session);
    if (rc != CF_OK)
        fail(shared, "session close", rc, NULL);
    return NULL;
}

/* What is wrong with it, or NULL. */
static const char *judge(const uint64_t *words, uint32_t count, uint64_t block, uint64_t before)
{
    for (uint32_t i = 1; i < count; i++)
        if (words[i] != words[0])
            return "a snapshot mixes two changes";
    if (words[0] != 0 && words[0] >> 48 != block + 1)
        return "a snapshot is of another block";
    return (words[0] & 0xffffffffffff) < before ? "a snapshot is older than what was finished before" : NULL;
}

static void *reader_main(void *arg)
{
    struct member *member = arg;
    struct shared *shared = member->shared;
    uint64_t words[WORDS_MAX], seen[BLOCKS] = {0}, versions[BLOCKS] = {0};
    uint32_t count = (BLOCK_BYTES - ENG_BLOCK_HEADER_BYTES) / 8;
    struct cf_session *session;
    struct cf_rng rng;
    enum cf_rc rc = cf_session_open(member->instance, &session);

    cf_rng_seed(&rng, (uint64_t)(uintptr_t)session);
    for (uint32_t i = 0; rc == CF_OK && i < READS && atomic_load(&shared->failures) == 0; i++) {
        uint64_t block = cf_rng_below(&rng, BLOCKS), before = atomic_load(&shared->finished[block]);
        const char *wrong;
        cf_scn version;

        rc = cf_read_snapshot(session, member->file, block, words, sizeof words, deadline(), &version);
        if (rc != CF_OK)
            break;
        wrong = judge(words, count, block, before > seen[block] ? before : seen[block]);
        if (wrong == NULL && (version < versions[block] ||
                              (version == versions[block]) != ((words[0] & 0xffffffffffff) == seen[block])))
            wrong = "versions and changes do not go together";
        if (wrong != NULL)
            fail(shared, wrong, CF_CORRUPT, NULL);
        seen[block] = words[0] & 0xffffffffffff;
        versions[block] = version;
    }
    if (rc != CF_OK)
        fail(shared, "snapshot", rc, cf_session_error(session));
    atomic_fetch_sub(&shared->readers_left, 1);
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
    enum cf_rc rc;

    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", shared->directory);
    options.node = member->node;
    options.nodes = INSTANCES;
    options.outstanding = 4;
    options.cache_2k_bytes = 28 * BLOCK_BYTES; /* fewer than there are blocks: frames change hands */
    options.cache_bytes = 0;
    options.dirty_age = 2000000;
    options.speculative_read = 1;
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

static void *member_main(void *arg)
{
    struct member *member = arg;
    struct shared *shared = member->shared;
    uint32_t started = 0, wanted = member->node == 0 ? READERS : 1;
    pthread_t threads[READERS];
    enum cf_rc rc;

    if (member_open(member))
        for (; started < wanted; started++)
            if (pthread_create(&threads[started], NULL, member->node == 0 ? reader_main : writer_main,
                               member) != 0)
                break;
    if (started < wanted)
        atomic_fetch_add(&shared->failures, 1);
    for (uint32_t i = 0; i < started; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_wait(&shared->barrier);
    if (member->node == 0 && member->instance != NULL) {
        shared->stats.size = sizeof shared->stats;
        (void)cf_stats_read(member->instance, &shared->stats);
    }
    rc = member->instance != NULL ? cf_close(&member->instance) : CF_OK;
    if (rc != CF_OK)
        fail(shared, "close", rc, NULL);
    return NULL;
}

int main(void)
{
    struct shared shared = {.directory = "/dev/shm/cf-stress-XXXXXX", .readers_left = READERS};
    struct eng_mkfs mkfs = {.path = shared.file, .blocks = BLOCKS, .block_bytes = BLOCK_BYTES, .file_id = 9};
    struct member members[INSTANCES] = {{0}};
    pthread_t threads[INSTANCES];
    struct cf_error error = {0};
    const struct cf_stats *stats = &shared.stats;
    char command[96];

    if (mkdtemp(shared.directory) == NULL)
        return 1;
    snprintf(shared.file, sizeof shared.file, "%s/data", shared.directory);
    if (eng_format_make(&mkfs, &error) != CF_OK) {
        fprintf(stderr, "mkfs: %s\n", error.text);
        return 1;
    }
    pthread_barrier_init(&shared.barrier, NULL, INSTANCES);
    for (uint32_t i = 0; i < INSTANCES; i++) {
        members[i].shared = &shared;
        members[i].node = (uint16_t)i;
        if (pthread_create(&threads[i], NULL, member_main, &members[i]) != 0)
            return 1;
    }
    for (uint32_t i = 0; i < INSTANCES; i++)
        pthread_join(threads[i], NULL);
    pthread_barrier_destroy(&shared.barrier);
    snprintf(command, sizeof command, "rm -rf '%s'", shared.directory);
    if (system(command) != 0)
        atomic_fetch_add(&shared.failures, 1);
    printf("%llu snapshots, %llu by READs, %llu asked, %llu refused, %llu torn, %llu given up\n",
           (unsigned long long)stats->snapshots, (unsigned long long)stats->snapshots_read,
           (unsigned long long)stats->snapshots_asked, (unsigned long long)stats->snapshots_refused,
           (unsigned long long)stats->snapshots_torn, (unsigned long long)stats->snapshots_given_up);
    if (stats->snapshots_read == 0)
        fail(&shared, "no snapshot came by READs", CF_UNSUPPORTED, NULL);
    return atomic_load(&shared.failures) == 0 ? 0 : 1;
}
