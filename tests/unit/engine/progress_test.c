/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A thread that waits and offers its core to others: what it holds meanwhile, and when it does; what goes to one that
 * drives already. Not here: how long it
 * spins and when it sleeps exactly, which is measured (bench/model.md, "Waiting").
 */
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "cluster_fixture.h"
#include "engine/instance.h"

#define BLOCKS 8u
/* The poller may hold progress at the moment; it does not keep it for so long. */
#define HELD_NS_MAX 2000000000ull
/* A thread that was preempted at the wrong moment has passed the time in which it would have offered its core. */
#define TRIES_MAX 200u
#define WAITS 10u
/*
 * Well within the time that it may pay off to stay awake, 20 times the option, also where others take the core.
 * A turn takes 25 us in a build that checks all.
 */
#define SPIN_TEXT "500us"
#define WAIT_NS 2000000u

struct waiting {
    struct cluster cluster; /* its directory and file; the instance is opened here, with options */
    struct cf_instance *instance;
    struct cf_session *holder, *session;
    struct cf_file *file;
    uint64_t ticket;
};

/* The thread under test, at what instance; how often it offered its core, and how often it kept progress meanwhile. */
static _Thread_local struct {
    struct cf_instance *instance;
    uint32_t offers, kept;
    uint64_t away_ns; /* others have the core for so long */
    bool is_alone;    /* nobody wants the core, whatever else the machine does */
} watched;

/* Taken instead of the C library's, since the object is linked first. */
int sched_yield(void)
{
    uint64_t until_ns;

    if (watched.instance != NULL) {
        watched.offers++;
        until_ns = cf_now_ns() + HELD_NS_MAX;
        while (atomic_load_explicit(&watched.instance->progress, memory_order_relaxed) != 0)
            if (cf_now_ns() > until_ns) {
                watched.kept++;
                break;
            }
        until_ns = cf_now_ns() + watched.away_ns;
        while (cf_now_ns() < until_ns)
            ; /* as it looks from here when somebody else runs */
    }
    return watched.is_alone ? 0 : (int)syscall(SYS_sched_yield);
}

static enum cf_rc before_write(void *context, const struct cf_block_key *key, void *image, uint32_t bytes,
                               uint64_t ticket)
{
    struct waiting *waiting = context;

    (void)image;
    (void)bytes;
    if (key->block >= BLOCKS)
        return CF_OK;
    waiting->ticket = ticket;
    return CF_PENDING;
}

static void waiting_open(struct waiting *waiting, const char *policy)
{
    struct cf_callbacks callbacks = {
        .size = sizeof callbacks, .context = waiting, .before_write = before_write};
    struct cf_file_options file;
    struct cf_options options;
    char path[128];

    memset(waiting, 0, sizeof *waiting);
    cluster_init(&waiting->cluster, 1);
    cluster_file(&waiting->cluster, "data", 7, BLOCKS);
    cf_options_init(&options);
    snprintf(options.transport, sizeof options.transport, "shm:%s", waiting->cluster.directory);
    options.nodes = 1;
    options.cache_bytes = 0;
    options.cache_2k_bytes = 64 * CLUSTER_BLOCK_BYTES;
    options.outstanding = 8;
    options.dirty_age = 3600000000000ull; /* nothing is written but by a flush */
    options.log = 0;
    assert_int_equal(cf_options_set(&options, "waiting", policy, NULL), CF_OK);
    assert_int_equal(cf_options_set(&options, "spin", SPIN_TEXT, NULL), CF_OK);
    assert_int_equal(cf_options_set(&options, "placement", "compact", NULL), CF_OK);
    assert_int_equal(cf_open(&options, &callbacks, &waiting->instance, NULL), CF_OK);
    assert_int_equal(cf_session_open(waiting->instance, &waiting->holder), CF_OK);
    assert_int_equal(cf_session_open(waiting->instance, &waiting->session), CF_OK);
    cf_file_options_init(&file);
    cluster_path(&waiting->cluster, "data", path);
    file.path = path;
    file.file_id = 7;
    assert_int_equal(cf_attach(waiting->session, &file, &waiting->file), CF_OK);
}

static void waiting_close(struct waiting *waiting)
{
    watched.instance = NULL;
    assert_int_equal(cf_session_close(&waiting->session), CF_OK);
    assert_int_equal(cf_session_close(&waiting->holder), CF_OK);
    assert_int_equal(cf_close(&waiting->instance), CF_OK);
    cluster_end(&waiting->cluster);
}

/* Waits in vain for a block that the other session holds in X. */
static void wait_for_block(struct waiting *waiting, uint64_t ns)
{
    struct cf_ref ref;

    assert_int_equal(cf_get(waiting->session, waiting->file, 0, CF_MODE_X, 0, cf_now_ns() + ns, &ref),
                     CF_TIMEOUT);
}

static void watch(struct waiting *waiting)
{
    watched.instance = waiting->instance;
    watched.offers = watched.kept = 0;
}

static void who_offers_its_core_lets_progress_go(void **state)
{
    struct waiting waiting;
    struct cf_ref ref;

    (void)state;
    waiting_open(&waiting, "adaptive");
    assert_int_equal(cf_get(waiting.holder, waiting.file, 0, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    watch(&waiting);
    for (uint32_t i = 0; i < TRIES_MAX && watched.offers == 0; i++)
        wait_for_block(&waiting, 2000000);
    watched.instance = NULL;
    assert_int_not_equal(watched.offers, 0);
    assert_int_equal(watched.kept, 0);
    cf_put(waiting.holder, &ref);
    waiting_close(&waiting);
}

/* Of waits in vain: how often each offered its core, on the average. */
static uint32_t offers_a_wait(struct waiting *waiting, uint64_t away_ns)
{
    watch(waiting);
    watched.away_ns = away_ns;
    watched.is_alone = away_ns == 0;
    for (uint32_t i = 0; i < WAITS; i++)
        wait_for_block(waiting, WAIT_NS);
    watched.instance = NULL;
    watched.away_ns = 0;
    watched.is_alone = false;
    return watched.offers / WAITS;
}

static void who_has_a_core_for_itself_waits_awake_for_longer(void **state)
{
    struct waiting waiting;
    struct cf_ref ref;
    uint32_t offers = 0;

    (void)state;
    if (CF_TSAN) /* an offer takes longer there than one that somebody took */
        skip();
    waiting_open(&waiting, "adaptive");
    assert_int_equal(cf_get(waiting.holder, waiting.file, 0, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    /* 10 us are two offers of 6 us; a wait may begin anew when the poller had progress in between. */
    assert_in_range(offers_a_wait(&waiting, 6000), 0, 4);
    for (uint32_t i = 0; i < TRIES_MAX && offers <= 8; i++)
        offers = offers_a_wait(&waiting, 0);
    assert_true(offers > 8);
    cf_put(waiting.holder, &ref);
    waiting_close(&waiting);
}

/* The write waits for a callback here; the engine makes no difference between that and storage. */
static void who_spins_offers_its_core_while_storage_is_at_work(void **state)
{
    struct waiting waiting;
    struct cf_ref ref;

    (void)state;
    waiting_open(&waiting, "busy");
    assert_int_equal(cf_get(waiting.holder, waiting.file, 0, CF_MODE_X, 0, cluster_deadline(), &ref), CF_OK);
    assert_int_equal(cf_dirty(waiting.holder, &ref, 0), CF_OK);
    watch(&waiting);
    wait_for_block(&waiting, 5000000);
    assert_int_equal(watched.offers, 0); /* nothing is under way: the core is its own */
    cf_put(waiting.holder, &ref);
    for (uint32_t i = 0; i < TRIES_MAX && watched.offers == 0; i++)
        assert_int_equal(cf_flush(waiting.session, waiting.file, cf_now_ns() + 5000000), CF_TIMEOUT);
    watched.instance = NULL;
    assert_int_not_equal(watched.offers, 0);
    assert_int_equal(watched.kept, 0);
    assert_int_equal(cf_callback_done(waiting.instance, waiting.ticket, CF_OK), CF_OK);
    assert_int_equal(cf_flush(waiting.session, waiting.file, cluster_deadline()), CF_OK);
    waiting_close(&waiting);
}

/* Somebody else drives and takes nothing until it is done: all that is asked for is left to it, and comes. */
static void what_is_prefetched_while_another_drives_is_left_to_it(void **state)
{
    struct waiting waiting;
    struct cf_stats before = {.size = sizeof before}, after = {.size = sizeof after};
    uint64_t value = 0;

    (void)state;
    waiting_open(&waiting, "adaptive");
    while (!eng_progress_try(waiting.instance))
        ; /* the poller lets it go */
    assert_int_equal(cf_prefetch(waiting.session, waiting.file, 0, BLOCKS + 1), BLOCKS);
    assert_int_equal(cf_mpsc_count(&waiting.instance->inbox), BLOCKS);
    eng_progress_leave(waiting.instance);
    for (uint64_t block = 0; block < BLOCKS; block++) {
        struct cf_ref ref;

        assert_int_equal(cf_get(waiting.session, waiting.file, block, CF_MODE_S, 0, cluster_deadline(), &ref),
                         CF_OK);
        memcpy(&value, ref.data, sizeof value);
        assert_int_equal(value, 0);
        cf_put(waiting.session, &ref);
    }
    assert_int_equal(cf_stats_read(waiting.instance, &before), CF_OK);
    assert_int_equal(cf_prefetch(waiting.session, waiting.file, 0, BLOCKS), 0); /* all are here */
    assert_int_equal(cf_stats_read(waiting.instance, &after), CF_OK);
    assert_int_equal(after.disk_reads, before.disk_reads);
    waiting_close(&waiting);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_offers_its_core_lets_progress_go),
        cmocka_unit_test(who_has_a_core_for_itself_waits_awake_for_longer),
        cmocka_unit_test(who_spins_offers_its_core_while_storage_is_at_work),
        cmocka_unit_test(what_is_prefetched_while_another_drives_is_left_to_it),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
