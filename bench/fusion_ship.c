/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does a get of a block take that another instance holds in memory, in two hops over shm?
 *
 * Two processes, an instance each, pinned to two cpus. One holds every block of a file in X, changed; the other gets
 * them one after another in S and is timed. Then the first takes them back, and so on. What is timed is the whole call:
 * lookup, conversation, transfer, wake-up. Run it in turns with xp_lat (scripts/bench-ship) for the ratio that counts.
 */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "base/hist.h"
#include "bench/members.h"
#include "engine/format.h"

struct settings {
    uint64_t blocks;
    uint32_t rounds;
    int cpus[2];
    const char *waiting;
    const char *mode;
    const char *file;
    uint16_t nodes; /* 3: the third is open and does nothing; what it takes of a processor is printed */
    bool json;
};

/* A byte each way: the other side has done its part of the round. */
static void pass(int fd)
{
    if (write(fd, "x", 1) != 1)
        exit(3);
}

static void await(int fd)
{
    char byte;

    if (read(fd, &byte, 1) != 1)
        exit(3);
}

struct side {
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
};

static void side_open(struct side *side, const struct settings *settings, uint16_t node,
                      const char *directory)
{
    struct cf_options options;
    struct cf_file_options file;
    struct cf_error error;
    char text[300];

    cf_options_init(&options);
    snprintf(text, sizeof text, "shm:%s", directory);
    members_check(cf_options_set(&options, "transport", text, &error), "transport", &error);
    options.remaster = 0; /* off: what is measured are two hops, or three */
    options.node = node;
    options.nodes = settings->nodes;
    options.cache_bytes = (settings->blocks + 1024) * 8192;
    options.dirty_age = 3600000000000;
    members_check(cf_options_set(&options, "waiting", settings->waiting, &error), "waiting", &error);
    members_check(cf_options_set(&options, "placement", "compact", &error), "placement", &error);
    members_check(cf_open(&options, NULL, &side->instance, &error), "open", &error);
    members_check(cf_session_open(side->instance, &side->session), "session", NULL);
    cf_file_options_init(&file);
    file.path = settings->file;
    file.file_id = 1;
    members_check(cf_attach(side->session, &file, &side->file), "attach", cf_session_error(side->session));
}

static void side_close(struct side *side)
{
    members_check(cf_session_close(&side->session), "session close", NULL);
    members_check(cf_close(&side->instance), "close", NULL);
}

static void change_all(struct side *side, uint64_t blocks)
{
    struct cf_ref ref;
    uint64_t b;

    for (b = 0; b < blocks; b++) {
        members_check(cf_get(side->session, side->file, b, CF_MODE_X, 0, CF_FOREVER, &ref), "get X",
                      cf_session_error(side->session));
        memset(ref.data, (int)b, 64);
        members_check(cf_dirty(side->session, &ref, 0), "dirty", cf_session_error(side->session));
        cf_put(side->session, &ref);
    }
}

static void holder(const struct settings *settings, const char *directory, int in, int out)
{
    struct side side;
    uint32_t r;

    members_pin(settings->cpus[1]);
    side_open(&side, settings, 1, directory);
    for (r = 0; r < settings->rounds; r++) {
        change_all(&side, settings->blocks);
        pass(out);
        await(in);
    }
    side_close(&side);
}

static double cpu_s(void)
{
    struct rusage usage;

    if (getrusage(RUSAGE_SELF, &usage) != 0)
        exit(3);
    return (double)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) +
           (double)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec) / 1e6;
}

static void idler(const struct settings *settings, const char *directory, int in)
{
    struct side side;
    double open_s, used_s;
    uint64_t began_ns;

    side_open(&side, settings, 2, directory);
    used_s = cpu_s();
    began_ns = cf_now_ns();
    await(in);
    open_s = (double)(cf_now_ns() - began_ns) / CF_NS_PER_S;
    used_s = cpu_s() - used_s;
    fprintf(stderr, "the idle instance: %.2f %% of a processor over %.1f s\n", 100 * used_s / open_s, open_s);
    side_close(&side);
}

static void requester(const struct settings *settings, const char *directory, int in, int out, int to_idler)
{
    struct cf_hist *hist = malloc(sizeof *hist);
    struct cf_stats stats = {.size = sizeof stats};
    struct cf_ref ref;
    struct side side;
    enum cf_mode mode = settings->mode[0] == 'x' ? CF_MODE_X : CF_MODE_S;
    uint64_t b, began, ended;
    uint32_t r;

    cf_hist_init(hist);
    members_pin(settings->cpus[0]);
    side_open(&side, settings, 0, directory);
    for (r = 0; r < settings->rounds; r++) {
        await(in);
        for (b = 0; b < settings->blocks; b++) {
            began = cf_now_ns();
            members_check(cf_get(side.session, side.file, b, mode, 0, CF_FOREVER, &ref), "get",
                          cf_session_error(side.session));
            ended = cf_now_ns();
            cf_put(side.session, &ref);
            if (r > 0) /* the first round warms up */
                cf_hist_add(hist, ended - began);
        }
        pass(out);
    }
    if (to_idler >= 0)
        pass(to_idler);
    members_check(cf_stats_read(side.instance, &stats), "stats", NULL);
    if (getenv("SHIP_STATS"))
        fprintf(stderr,
                "sleeps %" PRIu64 " turns %" PRIu64 " client_turns %" PRIu64 " wakeups sent %" PRIu64
                " resends %" PRIu64 "\n",
                stats.sleeps, stats.turns, stats.client_turns, stats.wakeups_sent, stats.resends);
    printf(settings->json ? "{\"mode\":\"%s\",\"waiting\":\"%s\",\"count\":%" PRIu64 ",\"p50\":%" PRIu64
                            ",\"p99\":%" PRIu64 ",\"p999\":%" PRIu64 ",\"hops2\":%" PRIu64
                            ",\"hops3\":%" PRIu64 "}\n"
                          : "get %s, %s waiting: %" PRIu64 " gets, p50 %" PRIu64 " ns, p99 %" PRIu64
                            " ns, p99.9 %" PRIu64 " ns; %" PRIu64 " in two hops, %" PRIu64 " in three\n",
           settings->mode, settings->waiting, cf_hist_count(hist), cf_hist_percentile(hist, 0.5),
           cf_hist_percentile(hist, 0.99), cf_hist_percentile(hist, 0.999), stats.hops2, stats.hops3);
    fprintf(stderr, "of those in two hops: p50 %" PRIu64 " ns, p99 %" PRIu64 " ns\n", stats.remote2.p50,
            stats.remote2.p99);
    side_close(&side);
    free(hist);
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .blocks = 2000, .rounds = 6, .cpus = {0, 1}, .waiting = "busy", .mode = "s", .nodes = 2};
    char directory[] = "/dev/shm/cf-ship-XXXXXX", file[64];
    struct eng_mkfs mkfs = {.block_bytes = 8192, .file_id = 1};
    int to_holder[2], to_requester[2], to_idler[2], option, status = 1;
    struct cf_error error;
    pid_t child, idle = -1;

    while ((option = getopt(argc, argv, "b:r:w:m:jpi")) != -1) {
        if (option == 'b')
            settings.blocks = strtoull(optarg, NULL, 10);
        else if (option == 'r')
            settings.rounds = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'w')
            settings.waiting = optarg;
        else if (option == 'm')
            settings.mode = optarg;
        else if (option == 'j')
            settings.json = true;
        else if (option == 'i')
            settings.nodes = 3;
        else if (option == 'p')
            settings.cpus[0] = settings.cpus[1] = -1;
        else
            return 2;
    }
    if (mkdtemp(directory) == NULL || pipe(to_holder) != 0 || pipe(to_requester) != 0 || pipe(to_idler) != 0)
        return 3;
    snprintf(file, sizeof file, "%s/data", directory);
    settings.file = file;
    mkfs.path = file;
    mkfs.blocks = settings.blocks;
    members_check(eng_format_make(&mkfs, &error), "making the file", &error);
    child = fork();
    if (child == 0) {
        holder(&settings, directory, to_holder[0], to_requester[1]);
        exit(0);
    }
    if (settings.nodes == 3 && (idle = fork()) == 0) {
        idler(&settings, directory, to_idler[0]);
        exit(0);
    }
    requester(&settings, directory, to_requester[0], to_holder[1], idle < 0 ? -1 : to_idler[1]);
    waitpid(child, &status, 0);
    if (idle >= 0 && status == 0)
        waitpid(idle, &status, 0);
    snprintf(file, sizeof file, "rm -rf '%s'", directory);
    return system(file) != 0 || status != 0;
}
