/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does a look at a block in another instance's cache cost as a private snapshot, by three READs, beside a
 * get in S, by messages?
 *
 * Two processes, an instance each, pinned to two cpus. In each round one changes every block. Then the other, in turns
 * block by block, takes a snapshot of one (its place has changed: a refused look, a question, three READs) and gets
 * another in S (two hops); and in the end goes over the blocks of the snapshots again (three READs). What is timed is
 * the whole call.
 *
 *   fusion_snapshot [-t shm:|verbs:] [-b blocks] [-r rounds] [-w busy|adaptive|sleep] [-p] [-j]
 */
#include <getopt.h>
#include <inttypes.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cachefusion/cachefusion.h>

#include "base/clock.h"
#include "base/hist.h"
#include "bench/members.h"
#include "engine/format.h"

#define BLOCK_BYTES 8192u
#define RESEND_NS 200000000u /* nothing is lost, and an emulated device may be slow */
#define AGAIN 4u             /* walks over the blocks whose places are known */

struct settings {
    const char *transport;
    const char *waiting;
    const char *file;
    uint64_t blocks;
    uint32_t rounds;
    int cpus[2];
    bool json;
};

struct side {
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
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

static void side_open(struct side *side, const struct settings *settings, uint16_t node)
{
    struct cf_options options;
    struct cf_file_options file;
    struct cf_error error;

    cf_options_init(&options);
    members_check(cf_options_set(&options, "transport", settings->transport, &error), "transport", &error);
    members_check(cf_options_set(&options, "cluster", "fusion-snapshot", &error), "cluster", &error);
    members_check(cf_options_set(&options, "secret", "a benchmark on one host", &error), "secret", &error);
    members_check(cf_options_set(&options, "waiting", settings->waiting, &error), "waiting", &error);
    members_check(cf_options_set(&options, "placement", "compact", &error), "placement", &error);
    members_check(cf_options_set(&options, "speculative_read", "on", &error), "speculative_read", &error);
    options.remaster = 0; /* off: what is measured are two hops, or three */
    options.node = node;
    options.nodes = 2;
    options.cache_bytes = (settings->blocks + 1024) * BLOCK_BYTES;
    options.dirty_age = 3600000000000;
    options.lane_slots = 256;
    options.resend = RESEND_NS;
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

static void holder(const struct settings *settings, int in, int out)
{
    struct cf_ref ref;
    struct side side;
    cf_scn scn;

    members_pin(settings->cpus[1]);
    side_open(&side, settings, 1);
    for (uint32_t r = 0; r < settings->rounds; r++) {
        for (uint64_t b = 0; b < settings->blocks; b++) {
            members_check(cf_get(side.session, side.file, b, CF_MODE_X, 0, CF_FOREVER, &ref), "get X",
                          cf_session_error(side.session));
            memset(ref.data, (int)(b + r), 64);
            members_check(cf_dirty(side.session, &ref, 0), "dirty", cf_session_error(side.session));
            cf_put(side.session, &ref);
        }
        /* Every master knows by now that the grants have begun. */
        members_check(cf_scn_snapshot(side.session, CF_SCN_EXTERNAL, &scn), "scn",
                      cf_session_error(side.session));
        pass(out);
        await(in);
    }
    side_close(&side);
}

enum way { WAY_FIRST = 0, WAY_AGAIN, WAY_GET, WAYS };

static void look(struct side *side, enum way way, uint64_t block, struct cf_hist *hist)
{
    static const char *const names[WAYS] = {"snapshot", "snapshot again", "get S"};
    uint8_t image[BLOCK_BYTES];
    uint64_t began_ns = cf_now_ns();
    struct cf_ref ref;
    enum cf_rc rc;

    rc = way == WAY_GET
             ? cf_get(side->session, side->file, block, CF_MODE_S, 0, CF_FOREVER, &ref)
             : cf_read_snapshot(side->session, side->file, block, image, sizeof image, CF_FOREVER, NULL);
    if (hist != NULL)
        cf_hist_add(hist, cf_now_ns() - began_ns);
    members_check(rc, names[way], cf_session_error(side->session));
    if (way == WAY_GET)
        cf_put(side->session, &ref);
}

static void report(const struct settings *settings, struct cf_hist *const hists[WAYS],
                   const struct cf_stats *stats)
{
    static const char *const names[2][WAYS] = {
        {"snapshot, place to be asked for", "snapshot, place known", "get in S"}, {"first", "again", "get"}};

    for (uint32_t w = 0; w < WAYS; w++)
        printf(settings->json ? "{\"way\":\"%s\",\"count\":%" PRIu64 ",\"p50\":%" PRIu64 ",\"p99\":%" PRIu64
                                ",\"p999\":%" PRIu64 "}\n"
                              : "%-32s %8" PRIu64 " times, p50 %7" PRIu64 " ns, p99 %7" PRIu64
                                " ns, p99.9 %7" PRIu64 " ns\n",
               names[settings->json][w], cf_hist_count(hists[w]), cf_hist_percentile(hists[w], 0.5),
               cf_hist_percentile(hists[w], 0.99), cf_hist_percentile(hists[w], 0.999));
    fprintf(stderr,
            "snapshots %" PRIu64 ", by READs %" PRIu64 ", asked %" PRIu64 ", refused %" PRIu64
            ", torn %" PRIu64 ", given up %" PRIu64 "; gets in two hops %" PRIu64 "\n",
            stats->snapshots, stats->snapshots_read, stats->snapshots_asked, stats->snapshots_refused,
            stats->snapshots_torn, stats->snapshots_given_up, stats->hops2);
}

static void reader(const struct settings *settings, int in, int out)
{
    struct cf_stats stats = {.size = sizeof stats};
    struct cf_hist *hists[WAYS];
    struct side side;

    for (uint32_t w = 0; w < WAYS; w++) {
        hists[w] = malloc(sizeof *hists[w]);
        if (hists[w] == NULL)
            exit(3);
        cf_hist_init(hists[w]);
    }
    members_pin(settings->cpus[0]);
    side_open(&side, settings, 0);
    for (uint32_t r = 0; r < settings->rounds; r++) {
        await(in);
        for (uint64_t b = 0; b + 1 < settings->blocks; b += 2) {
            look(&side, WAY_FIRST, b, r > 0 ? hists[WAY_FIRST] : NULL); /* the first round warms up */
            look(&side, WAY_GET, b + 1, r > 0 ? hists[WAY_GET] : NULL);
        }
        for (uint32_t i = 0; i < AGAIN; i++)
            for (uint64_t b = 0; b + 1 < settings->blocks; b += 2)
                look(&side, WAY_AGAIN, b, r > 0 ? hists[WAY_AGAIN] : NULL);
        pass(out);
    }
    members_check(cf_stats_read(side.instance, &stats), "stats", NULL);
    report(settings, hists, &stats);
    side_close(&side);
    for (uint32_t w = 0; w < WAYS; w++)
        free(hists[w]);
}

static int run(struct settings *settings)
{
    struct eng_mkfs mkfs = {
        .block_bytes = BLOCK_BYTES, .file_id = 1, .path = settings->file, .blocks = settings->blocks};
    int to_holder[2], to_reader[2], status = 1;
    struct cf_error error;
    pid_t child;

    if (pipe(to_holder) != 0 || pipe(to_reader) != 0)
        return 3;
    members_check(eng_format_make(&mkfs, &error), "making the file", &error);
    child = fork();
    if (child == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        holder(settings, to_holder[0], to_reader[1]);
        exit(0);
    }
    reader(settings, to_reader[0], to_holder[1]);
    waitpid(child, &status, 0);
    return status != 0;
}

int main(int argc, char **argv)
{
    struct settings settings = {
        .transport = "shm:", .blocks = 2000, .rounds = 6, .cpus = {0, 1}, .waiting = "busy"};
    char directory[] = "/dev/shm/cf-snapshot-XXXXXX", file[64], transport[96];
    int option, failed;

    while ((option = getopt(argc, argv, "t:b:r:w:jp")) != -1) {
        if (option == 't')
            settings.transport = optarg;
        else if (option == 'b')
            settings.blocks = strtoull(optarg, NULL, 10);
        else if (option == 'r')
            settings.rounds = (uint32_t)strtoul(optarg, NULL, 10);
        else if (option == 'w')
            settings.waiting = optarg;
        else if (option == 'j')
            settings.json = true;
        else if (option == 'p')
            settings.cpus[0] = settings.cpus[1] = -1;
        else
            return 2;
    }
    if (mkdtemp(directory) == NULL)
        return 3;
    if (strcmp(settings.transport, "shm:") == 0) {
        snprintf(transport, sizeof transport, "shm:%s", directory);
        settings.transport = transport;
    }
    snprintf(file, sizeof file, "%s/data", directory);
    settings.file = file;
    failed = run(&settings);
    snprintf(file, sizeof file, "rm -rf '%s'", directory);
    return system(file) != 0 || failed;
}
