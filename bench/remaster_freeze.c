/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long is a bucket not served when it goes to another instance, with 10^5 entries in it?
 *
 * Two processes, an instance each, pinned to two cpus. Both hold most blocks of one bucket in S, so that the bucket has an
 * entry for each; the bucket is then told to go from one to the other and back. Measured are
 *   freeze  at the instance that gives: the bucket is not served
 *   follow  from then on until the last entry has come
 *   ask     X of a block whose entry is one of the last to come, by the instance that takes, as soon as it owns the bucket
 *   rest    the same of a block whose entry has come
 *
 * -l: both change some of its blocks all the time, so that it has to be caught at rest; -t US: with a pause after each change.
 * -r: the pollers in class SCHED_FIFO, before all that computes on their cores. Without it and without pauses the client of
 * each instance has its core for itself as long as it hits, and what is measured is when the kernel takes it away.
 */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdatomic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "base/hist.h"
#include "bench/figures.h"
#include "bench/members.h"
#include "engine/format.h"
#include "engine/instance.h"

#define BUCKETS 16u
#define BLOCK_BYTES 2048u
#define FILE_ID 1u
#define LOADED 64u /* blocks that are changed all the time */
#define AHEAD 32u  /* blocks that are fetched while both fill their caches */
#define SETTLE_NS (20ull * CF_NS_PER_S)
#define LONG_NS CF_NS_PER_MS

struct settings {
    uint64_t entries;
    uint32_t moves; /* there and back are two */
    int cpus[2];
    const char *waiting;
    const char *file;
    bool has_load, is_first; /* pollers run before everybody else */
    uint32_t think_us;       /* pause after a call of the load */
};

/* What the two processes say to each other. Written by the one whose turn it is. */
struct shared {
    _Atomic uint32_t at;    /* steps that are over */
    _Atomic uint32_t over;  /* instances that have counted */
    _Atomic uint64_t calls; /* of the load */
    struct times {
        struct cf_hist freeze, follow, ask, rest;
    } times[2];
};

struct side {
    const struct settings *settings;
    struct shared *shared;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    uint64_t *blocks; /* those of the bucket */
    uint32_t bucket;
    uint16_t node;
};

/* The other side's step is awaited without leaving the processor to anybody for long. */
static void await(struct shared *shared, uint32_t step)
{
    while (atomic_load(&shared->at) < step)
        usleep(200);
}

static const struct sched_param first = {.sched_priority = 1}, as_others = {.sched_priority = 0};

/* Has this process the right to what -r asks for? */
static bool may_be_first(void)
{
    return pthread_setschedparam(pthread_self(), SCHED_FIFO, &first) == 0 &&
           pthread_setschedparam(pthread_self(), SCHED_OTHER, &as_others) == 0;
}

static void side_open(struct side *side, const char *directory)
{
    const struct settings *settings = side->settings;
    struct cf_options options;
    struct cf_file_options file;
    struct cf_error error;
    char text[300];

    cf_options_init(&options);
    snprintf(text, sizeof text, "shm:%s", directory);
    members_check(cf_options_set(&options, "transport", text, &error), "transport", &error);
    members_check(cf_options_set(&options, "remaster", "manual", &error), "remaster", &error);
    members_check(cf_options_set(&options, "waiting", settings->waiting, &error), "waiting", &error);
    members_check(cf_options_set(&options, "placement", "compact", &error), "placement", &error);
    options.node = side->node;
    options.nodes = 2;
    options.buckets = BUCKETS;
    options.cache_bytes = 0;
    options.cache_2k_bytes = (settings->entries + 4096) * BLOCK_BYTES;
    options.dirty_age = options.call_timeout = 3600000000000;
    members_check(cf_open(&options, NULL, &side->instance, &error), "open", &error);
    if (settings->is_first && pthread_setschedparam(side->instance->poller, SCHED_FIFO, &first) != 0)
        exit(3);
    members_check(cf_session_open(side->instance, &side->session), "session", NULL);
    cf_file_options_init(&file);
    file.path = settings->file;
    file.file_id = FILE_ID;
    members_check(cf_attach(side->session, &file, &side->file), "attach", cf_session_error(side->session));
}

/* The first blocks of the file that belong to the bucket. */
static void find_blocks(struct side *side)
{
    struct cf_block_key key = {.file = FILE_ID, .generation = side->file->generation};
    uint64_t found;

    side->blocks = calloc(side->settings->entries, sizeof *side->blocks);
    if (side->blocks == NULL)
        exit(3);
    key.block = 0;
    side->bucket = eng_bucket_of(side->instance, &key);
    for (found = 0; found < side->settings->entries; key.block++)
        if (eng_bucket_of(side->instance, &key) == side->bucket)
            side->blocks[found++] = key.block;
}

static void touch(struct side *side, uint64_t block, enum cf_mode mode)
{
    struct cf_ref ref;

    members_check(cf_get(side->session, side->file, block, mode, 0, CF_FOREVER, &ref), "get",
                  cf_session_error(side->session));
    if (mode == CF_MODE_X) {
        memset(ref.data, (int)block, 64);
        members_check(cf_dirty(side->session, &ref, 0), "dirty", cf_session_error(side->session));
    }
    cf_put(side->session, &ref);
}

/* X of a block that both hold in S; each is used once. */
static void touch_timed(struct side *side, uint64_t number, struct cf_hist *hist)
{
    uint64_t began;

    if (number >= side->settings->entries - LOADED)
        return;
    began = cf_now_ns();
    touch(side, side->blocks[side->settings->entries - 1 - number], CF_MODE_X);
    cf_hist_add(hist, cf_now_ns() - began);
}

static bool is_owner(const struct side *side)
{
    const struct cf_block_key key = {
        .file = FILE_ID, .generation = side->file->generation, .block = side->blocks[0]};

    return eng_master_of(side->instance, &key) == side->node;
}

/* Calls made. */
static uint32_t idle(struct side *side, uint64_t calls)
{
    if (!side->settings->has_load) {
        usleep(100);
        return 0;
    }
    touch(side, side->blocks[calls % LOADED], CF_MODE_X);
    if (side->settings->think_us != 0)
        usleep(side->settings->think_us);
    return 1;
}

/* The bucket goes to the other instance, with all its entries; the last of them come after the switch. */
static void give(struct side *side)
{
    uint64_t until_ns = cf_now_ns() + SETTLE_NS, calls = 0, began_ns;
    enum cf_rc rc;
    struct cf_error error;
    struct cf_stats before = {.size = sizeof before}, now = {.size = sizeof now};

    members_check(cf_stats_read(side->instance, &before), "stats", NULL);
    while ((rc = cf_remaster(side->instance, side->bucket, (uint16_t)(1 - side->node), &error)) == CF_BUSY &&
           cf_now_ns() < until_ns)
        calls += idle(side, calls);
    members_check(rc, "remaster", &error);
    do {
        calls += idle(side, calls);
        members_check(cf_stats_read(side->instance, &now), "stats", NULL);
    } while (now.remaster_given == before.remaster_given &&
             now.remaster_given_up == before.remaster_given_up &&
             now.remaster_refused == before.remaster_refused && cf_now_ns() < until_ns);
    began_ns = cf_now_ns();
    while (!eng_moves_are_quiet(side->instance))
        calls += idle(side, calls);
    if (now.remaster_given != before.remaster_given)
        cf_hist_add(&side->shared->times[side->node].follow, cf_now_ns() - began_ns);
    atomic_fetch_add(&side->shared->calls, calls);
}

/*
 * One process. Step s of the moves is that of instance s % 2, which gives the bucket if it has it; it is load, or waits, while
 * the other's step lasts.
 */
static void side_run(struct side *side, const char *directory)
{
    struct shared *shared = side->shared;
    struct times *times = &shared->times[side->node];
    uint64_t i, calls = 0;
    uint32_t step;
    bool was_owner;

    members_pin(side->settings->cpus[side->node]);
    side_open(side, directory);
    find_blocks(side);
    await(shared, side->node);
    for (i = 0; i < side->settings->entries; i++) {
        if (i + AHEAD < side->settings->entries)
            (void)cf_prefetch(side->session, side->file, side->blocks[i + AHEAD], 1);
        touch(side, side->blocks[i], CF_MODE_S);
    }
    atomic_fetch_add(&shared->at, 1);
    await(shared, 2);
    for (step = 2; step < side->settings->moves + 3; step++) {
        was_owner = is_owner(side);
        while (atomic_load(&shared->at) < step) {
            if (!was_owner && is_owner(side)) {
                touch_timed(side, 2 * step, &times->ask);
                was_owner = true;
            }
            calls += idle(side, calls);
        }
        if (step % 2 != side->node)
            continue;
        if (is_owner(side)) {
            touch_timed(side, 2 * step + 1, &times->rest);
            give(side);
        }
        atomic_fetch_add(&shared->at, 1);
    }
    atomic_fetch_add(&shared->calls, calls);
    times->freeze = *side->instance->move->freeze_hist;
    atomic_fetch_add(&shared->over, 1);
    while (atomic_load(&shared->over) < 2 || !eng_moves_are_quiet(side->instance)) /* the last entries come */
        usleep(200);
    members_check(cf_session_close(&side->session), "session close", NULL);
    members_check(cf_close(&side->instance), "close", NULL);
    free(side->blocks);
}

static uint64_t longer_than(const struct cf_hist *hist, uint64_t ns)
{
    uint64_t count = 0;

    for (uint32_t i = cf_hist_bucket(ns) + 1; i < CF_HIST_BUCKETS; i++)
        count += hist->buckets[i];
    return count;
}

static void print(const struct settings *settings, struct shared *shared)
{
    struct times *times = shared->times;

    cf_hist_merge(&times[0].freeze, &times[1].freeze);
    cf_hist_merge(&times[0].follow, &times[1].follow);
    cf_hist_merge(&times[0].ask, &times[1].ask);
    cf_hist_merge(&times[0].rest, &times[1].rest);
    printf("%" PRIu64 " entries, load %d: %" PRIu64 " freezes, %" PRIu64 " moves, %" PRIu64 " calls beside\n",
           settings->entries, settings->has_load, cf_hist_count(&times[0].freeze),
           cf_hist_count(&times[0].follow), atomic_load(&shared->calls));
    bench_distribution("freeze", &times[0].freeze);
    bench_figure("freezes_over_1ms", (double)longer_than(&times[0].freeze, LONG_NS), "freezes");
    bench_distribution("follow", &times[0].follow);
    bench_distribution("ask", &times[0].ask);
    bench_distribution("rest", &times[0].rest);
}

static void hists_init(struct times *times)
{
    cf_hist_init(&times->freeze);
    cf_hist_init(&times->follow);
    cf_hist_init(&times->ask);
    cf_hist_init(&times->rest);
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .entries = 100000, .moves = 400, .cpus = {bench_cpu(0), bench_cpu(1)}, .waiting = "adaptive"};
    char directory[] = "/dev/shm/cf-freeze-XXXXXX", file[64];
    struct eng_mkfs mkfs = {.block_bytes = BLOCK_BYTES, .file_id = FILE_ID};
    struct shared *shared = mmap(NULL, sizeof *shared, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1,
                                 0);
    int option, status = 1;
    struct cf_error error;
    pid_t child;

    while ((option = getopt(argc, argv, "e:m:w:t:lpr")) != -1) {
        if (option == 'e')
            settings.entries = strtoull(optarg, NULL, 10);
        else if (option == 'm')
            settings.moves = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'w')
            settings.waiting = optarg;
        else if (option == 't')
            settings.think_us = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'r')
            settings.is_first = true;
        else if (option == 'l')
            settings.has_load = true;
        else if (option == 'p')
            settings.cpus[0] = settings.cpus[1] = -1;
        else
            return 2;
    }
    if (settings.is_first && !may_be_first()) {
        printf("not run: no right to the class SCHED_FIFO\n");
        return 0;
    }
    if (settings.cpus[0] >= 0 && !bench_has_two_cpus())
        return 0;
    if (shared == MAP_FAILED || settings.entries < LOADED || mkdtemp(directory) == NULL)
        return 3;
    hists_init(&shared->times[0]);
    hists_init(&shared->times[1]);
    snprintf(file, sizeof file, "%s/data", directory);
    settings.file = mkfs.path = file;
    mkfs.blocks = settings.entries * BUCKETS + settings.entries * 2;
    members_check(eng_format_make(&mkfs, &error), "making the file", &error);
    child = fork();
    side_run(&(struct side){.settings = &settings, .shared = shared, .node = child == 0}, directory);
    if (child == 0)
        exit(0);
    waitpid(child, &status, 0);
    if (status == 0)
        print(&settings, shared);
    snprintf(file, sizeof file, "rm -rf '%s'", directory);
    return system(file) != 0 || status != 0;
}
