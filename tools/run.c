/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cachefusion run`: the phases of a run, each with a bound.
 *
 *   OPENING -> WORKING -> STOPPING -> VERIFYING -> CLOSING -> DONE
 *      |          | --seconds, Ctrl-C                           ^
 *      +----------+------ a failure, a death, a bound --> FAILING
 */
#include "tools/run.h"

#include <errno.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/clock.h"
#include "tools/exits.h"
#include "tools/tools.h"

/* Over what the engine's own bounds allow. */
#define RUN_MARGIN_NS (5 * CF_NS_PER_S)
/* Looking at the whole file through the cache. */
#define RUN_VERIFY_NS (120 * CF_NS_PER_S)
/* scan goes on until the file has been read once: a slow disk's rate. */
#define RUN_SCAN_BYTES_A_S 20000000.0
#define RUN_STEP_MS 100u

#define FIELD(member) offsetof(struct run_args, member)
static const struct cf_option_desc table[] = {
    {.name = "instances",
     .text = "processes, each with a cache of its own",
     .type = CF_OPTION_U32,
     .offset = FIELD(instances),
     .dflt = "3",
     .min = 1,
     .max = RUN_INSTANCES_MAX},
    {.name = "transport",
     .text = "provider between them",
     .type = CF_OPTION_STRING,
     .offset = FIELD(transport),
     .dflt = "shm:",
     .max = sizeof(((struct run_args *)0)->transport)},
    {.name = "workload",
     .text = "what the clients do; listed below",
     .type = CF_OPTION_STRING,
     .offset = FIELD(workload),
     .dflt = "bank",
     .max = sizeof(((struct run_args *)0)->workload)},
    {.name = "seconds",
     .text = "how long",
     .unit = "s",
     .type = CF_OPTION_DOUBLE,
     .offset = FIELD(seconds),
     .dflt = "10",
     .max = 86400},
    {.name = "threads",
     .text = "clients of each instance",
     .type = CF_OPTION_U32,
     .offset = FIELD(threads),
     .dflt = "1",
     .min = 1,
     .max = 64},
    {.name = "seed",
     .text = "of what the clients choose",
     .type = CF_OPTION_U64,
     .offset = FIELD(seed),
     .dflt = "1",
     .max = INT64_MAX},
    {.name = "data",
     .text = "data file; made when missing, a private one when not named",
     .type = CF_OPTION_STRING,
     .offset = FIELD(data),
     .dflt = "",
     .max = RUN_PATH_BYTES},
    {.name = "block-size",
     .text = "of a data file that is made, or a foreign one (scan)",
     .type = CF_OPTION_SIZE,
     .offset = FIELD(block_bytes),
     .dflt = "8KiB",
     .min = CF_BLOCK_BYTES_MIN,
     .max = CF_BLOCK_BYTES_MAX},
    {.name = "blocks",
     .text = "of a data file that is made; 0 = the workload's choice",
     .type = CF_OPTION_U64,
     .offset = FIELD(blocks),
     .dflt = "0",
     .max = UINT64_C(1) << 40},
    {.name = "cache",
     .text = "frames of each instance",
     .type = CF_OPTION_SIZE,
     .offset = FIELD(cache_bytes),
     .dflt = "64MiB",
     .min = 65536,
     .max = UINT64_C(1) << 44},
    {.name = "set",
     .text = "name=value: an engine option for all instances, as often as wanted",
     .type = CF_OPTION_STRING,
     .offset = FIELD(set),
     .dflt = "",
     .max = RUN_PATH_BYTES},
    {.name = "json",
     .text = "write the report to this file",
     .type = CF_OPTION_STRING,
     .offset = FIELD(json),
     .dflt = "",
     .max = RUN_PATH_BYTES},
    {.name = "status",
     .text = "print the sockets for 'cachefusion status' and 'top'",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(status),
     .dflt = "false"},
    {.name = "accept-loss",
     .text = "take a data file that was not closed cleanly",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(accept_loss),
     .dflt = "false"},
    {.name = "keep",
     .text = "keep the private directory",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(keep),
     .dflt = "false"},
};
#undef FIELD

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "run",
    .summary =
        "Runs instances as processes over one data file, shows progress, and checks the file at the end.",
    .table = table,
    .table_count = sizeof(table) / sizeof(table[0]),
    .notes =
        "workloads:\n"
        "  bank           transfers between random accounts; money is neither made nor lost\n"
        "  ring           a token passes from instance to instance in strict order; times the hand-over\n"
        "  ycsb-a ycsb-f  zipfian records: half reads; half updates (a), or read-modify-writes (f)\n"
        "  ycsb-b ycsb-c  zipfian records: 95 % or all reads\n"
        "  ycsb-d ycsb-e  latest records, or short scans; 5 % inserts that extend the file\n"
        "  hot            all instances count up counters in a few blocks\n"
        "  scan           all read a foreign file (--data) through each other's caches; SHA-256 must be "
        "equal\n\n"
        "In the report, gets, hits, hops and ships are of the time the clients worked, storage and latencies "
        "from open to close.\n"
        "Ctrl-C ends a run early and checks it like any other; a second one kills the "
        "instances.\n" EXITS_NOTE,
};

void run_failure(struct run *run, const char *format, ...)
{
    va_list arguments;
    char text[CTL_TEXT_BYTES];

    va_start(arguments, format);
    vsnprintf(text, sizeof(text), format, arguments);
    va_end(arguments);
    fprintf(stderr, "cachefusion run: %s\n", text);
    if (!run->failed)
        snprintf(run->failure, sizeof(run->failure), "%s", text);
    run->failed = true;
}

/* Takes "--set X" and "--set=X" out of argv: the option may come many times. */
static bool take_sets(struct run_args *args, int *argc, char **argv)
{
    int kept = 1;

    for (int i = 1; i < *argc; i++) {
        const char *value = NULL;

        if (strncmp(argv[i], "--set=", 6) == 0)
            value = argv[i] + 6;
        else if (strcmp(argv[i], "--set") == 0 && i + 1 < *argc)
            value = argv[++i];
        if (value == NULL) {
            argv[kept++] = argv[i];
        } else if (args->sets_count == RUN_SETS_MAX) {
            fprintf(stderr,
                    "cachefusion run: more than %u --set; put them into a cluster file and use 'instance'\n",
                    RUN_SETS_MAX);
            return false;
        } else {
            args->sets[args->sets_count++] = value;
        }
    }
    *argc = kept;
    argv[kept] = NULL;
    return true;
}

static uint64_t phase_bound_ns(const struct run *run, enum run_phase phase)
{
    switch (phase) {
    case RUN_OPENING:
        return run->options.open_timeout + WL_PREPARE_NS_MAX + RUN_MARGIN_NS;
    case RUN_WORKING:
        return (uint64_t)(run->args->seconds * (double)CF_NS_PER_S);
    case RUN_STOPPING:
        return WL_TRIES_MAX * WL_TRY_NS + RUN_MARGIN_NS +
               (uint64_t)((double)run->plan.bytes / RUN_SCAN_BYTES_A_S * (double)CF_NS_PER_S);
    case RUN_VERIFYING:
        return RUN_VERIFY_NS;
    case RUN_CLOSING:
        return run->options.call_timeout + run->options.close_timeout + RUN_MARGIN_NS;
    case RUN_FAILING:
        return run->options.peer_timeout + RUN_MARGIN_NS;
    case RUN_DONE:
        break;
    }
    return 0;
}

static void enter(struct run *run, enum run_phase phase)
{
    static const enum ctl_kind words[] = {
        [RUN_WORKING] = CTL_START, [RUN_STOPPING] = CTL_STOP, [RUN_VERIFYING] = CTL_VERIFY,
        [RUN_CLOSING] = CTL_CLOSE, [RUN_FAILING] = CTL_CLOSE, [RUN_DONE] = CTL_NONE};
    uint64_t now_ns = cf_now_ns();

    if (phase == RUN_WORKING)
        run->begin_ns = now_ns;
    if (run->phase == RUN_STOPPING)
        run->end_ns = now_ns;
    run->phase = phase;
    run->phase_end_ns = now_ns + phase_bound_ns(run, phase);
    if (words[phase] != CTL_NONE)
        run_children_say(run, words[phase]);
}

static const char *late_text(enum run_phase phase)
{
    static const char *const texts[] = {[RUN_OPENING] = "opened",
                                        [RUN_WORKING] = "worked",
                                        [RUN_STOPPING] = "stopped",
                                        [RUN_VERIFYING] = "verified",
                                        [RUN_CLOSING] = "closed",
                                        [RUN_FAILING] = "ended",
                                        [RUN_DONE] = ""};

    return texts[phase];
}

/* A phase took longer than its bound: says who is late. */
static void on_late(struct run *run)
{
    char late[128] = "";
    size_t length = 0;

    for (uint32_t node = 0; node < run->args->instances && length + 8 < sizeof(late); node++)
        if (!run->child[node].exited)
            length += (size_t)snprintf(late + length, sizeof(late) - length, " %u", node);
    run_failure(run, "not all have %s within %" PRIu64 " s; still there: node%s", late_text(run->phase),
                phase_bound_ns(run, run->phase) / CF_NS_PER_S, late);
    if (run->phase == RUN_FAILING) {
        run_children_kill(run, SIGKILL); /* they have had their time to say why they stopped */
        run->phase_end_ns = cf_now_ns() + RUN_MARGIN_NS;
        return;
    }
    enter(run, RUN_FAILING);
}

static void advance(struct run *run, bool reached)
{
    bool is_over = cf_now_ns() >= run->phase_end_ns;

    if (run->interrupts > 1)
        run_children_kill(run, SIGKILL);
    if (run->failed && run->phase < RUN_FAILING)
        enter(run, RUN_FAILING);
    else if (run->phase == RUN_WORKING && (is_over || run->interrupted != 0))
        enter(run, RUN_STOPPING);
    else if (reached && run->phase == RUN_OPENING)
        enter(run, RUN_WORKING);
    else if (reached && run->phase == RUN_FAILING)
        enter(run, RUN_DONE);
    else if (reached)
        enter(run, run->phase == RUN_CLOSING ? RUN_DONE : run->phase + 1);
    else if (is_over)
        on_late(run);
}

static void print_start(const struct run *run)
{
    char path[RUN_PATH_BYTES];

    printf("%s: %u instances over %s, data file %s%s\n", run->workload->name, run->args->instances,
           run->args->transport, run->data, run->made_data ? " (new)" : "");
    for (uint32_t node = 0; run->args->status && node < run->args->instances; node++)
        printf("  cachefusion status --socket %s\n",
               rundir_file(&run->dir, "node%u.status", node, path, sizeof(path)));
    fflush(stdout);
}

/* What the instances wrote to their logs, when something went wrong. */
static void print_logs(const struct run *run)
{
    char path[RUN_PATH_BYTES], line[256];

    for (uint32_t node = 0; node < run->args->instances; node++) {
        FILE *log = fopen(rundir_file(&run->dir, "node%u.log", node, path, sizeof(path)), "re");

        for (uint32_t i = 0; log != NULL && i < 20 && fgets(line, sizeof(line), log) != NULL; i++)
            fprintf(stderr, "  node %u: %s%s", node, line, strchr(line, '\n') != NULL ? "" : "\n");
        if (log != NULL)
            fclose(log);
    }
}

static int work(struct run *run)
{
    struct show show;
    bool wrote_json;

    print_start(run);
    enter(run, RUN_OPENING);
    if (!run_children_start(run))
        enter(run, RUN_FAILING);
    while (run->phase != RUN_DONE) {
        enum run_phase phase = run->phase;

        advance(run, run_children_step(run, RUN_STEP_MS));
        if (phase != RUN_WORKING && run->phase == RUN_WORKING)
            show_begin(&show, run);
        show_step(&show, run);
    }
    if (!run->failed)
        run_check(run);
    report_print(run);
    if (run->failed)
        print_logs(run);
    wrote_json = report_json(run);
    if (run->failed)
        return run->damaged ? EXIT_CHECK : EXIT_TROUBLE;
    if (!run->verified)
        return EXIT_CHECK;
    return wrote_json ? EXIT_OK : EXIT_TROUBLE;
}

/* SIGINT, SIGTERM and SIGCHLD come through a descriptor; instances get the mask back before exec. */
static bool signals_take(struct run *run)
{
    sigset_t mask;

    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    sigaddset(&mask, SIGHUP);
    sigaddset(&mask, SIGCHLD);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) != 0)
        return false;
    run->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return run->signal_fd >= 0;
}

static void clean_up(struct run *run, int status)
{
    for (uint32_t node = 0; node < run->args->instances; node++)
        if (run->child[node].fd > 0)
            close(run->child[node].fd);
    if (run->signal_fd >= 0)
        close(run->signal_fd);
    if (run->dir.path[0] != '\0' &&
        (run->args->keep || (run->made_data && (run->failed || status == EXIT_CHECK))))
        printf("  kept: %s\n", run->dir.path);
    else
        rundir_remove(&run->dir);
}

static int run_all(struct run *run)
{
    int status;

    run->workload = workload_find(run->args->workload);
    if (run->workload == NULL) {
        fprintf(stderr,
                "cachefusion run: --workload %s: there are bank, ring, ycsb-a to ycsb-f, hot and scan\n",
                run->args->workload);
        return EXIT_USAGE;
    }
    status = run_prepare(run);
    if (status != EXIT_OK)
        return status;
    if (!signals_take(run)) {
        fprintf(stderr, "cachefusion run: signals: %s\n", strerror(errno));
        return EXIT_TROUBLE;
    }
    return work(run);
}

int tool_run(int argc, char **argv)
{
    struct run_args args = {0};
    struct run *run;
    enum cf_cli_result result;
    int status;

    cf_options_defaults(table, spec.table_count, &args);
    if (!take_sets(&args, &argc, argv))
        return EXIT_USAGE;
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    run = calloc(1, sizeof(*run));
    if (run == NULL) {
        fprintf(stderr, "cachefusion run: no memory\n");
        return EXIT_TROUBLE;
    }
    run->args = &args;
    run->signal_fd = -1;
    status = run_all(run);
    clean_up(run, status);
    free(run);
    return status;
}
