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
#include <glob.h>
#include <inttypes.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

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
    if (run->phase == RUN_STOPPING || (run->phase == RUN_WORKING && phase == RUN_FAILING))
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
    char late[256] = "";
    size_t length = 0;

    for (uint32_t node = 0; node < run->instances && length + 64 < sizeof(late); node++)
        if (!run->child[node].exited)
            length += (size_t)snprintf(late + length, sizeof(late) - length, " %u%s%.40s", node,
                                       run->hosts_count > 0 ? " on " : "",
                                       run->hosts_count > 0 ? run->host[node] : "");
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

    printf("%s: %u instances over %s%s%s, data file %s%s\n", run->workload->name, run->instances,
           run->args->transport, run->hosts_count > 0 ? " on " : "", run->args->hosts, run->data,
           run->made_data ? " (new)" : "");
    for (uint32_t node = 0; run->args->status && node < run->instances; node++)
        printf("  cachefusion status --socket %s\n",
               rundir_file(&run->dir, "node%u.status", node, path, sizeof(path)));
    fflush(stdout);
}

/* What the instances wrote to their logs, when something went wrong. */
static void print_logs(const struct run *run)
{
    char path[RUN_PATH_BYTES], line[256];

    for (uint32_t node = 0; node < run->instances; node++) {
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
    /* What is said to an instance that has gone fails by word. */
    if (signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return false;
    if (sigprocmask(SIG_BLOCK, &mask, NULL) != 0)
        return false;
    run->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return run->signal_fd >= 0;
}

/* Files of the workload beside a data file on several hosts; others are in the private directory. */
static void side_remove(const struct run *run)
{
    char pattern[WL_SIDE_BYTES + 2];
    glob_t found;

    if (!run->plan.is_spread || run->plan.side[0] == '\0')
        return;
    snprintf(pattern, sizeof(pattern), "%s.*", run->plan.side);
    if (glob(pattern, GLOB_NOSORT, NULL, &found) != 0)
        return;
    for (size_t i = 0; i < found.gl_pathc; i++)
        if (unlink(found.gl_pathv[i]) != 0)
            fprintf(stderr, "cachefusion run: %s: %s\n", found.gl_pathv[i], strerror(errno));
    globfree(&found);
}

static void clean_up(struct run *run, int status)
{
    for (uint32_t node = 0; node < run->instances; node++)
        ctl_close(&run->child[node].link);
    if (run->signal_fd >= 0)
        close(run->signal_fd);
    side_remove(run);
    if (run->dir.path[0] != '\0' && (run->args->keep || (run->args->data[0] == '\0' && run->made_data &&
                                                         (run->failed || status == EXIT_CHECK))))
        printf("  kept: %s\n", run->dir.path);
    else
        rundir_remove(&run->dir);
}

static int run_all(struct run *run)
{
    int status;

    run->workload = workload_find(run->args->workload);
    if (run->workload == NULL) {
        fprintf(
            stderr,
            "cachefusion run: --workload %s: there are bank, ring, ycsb-a to ycsb-f, affinity, hot, scan, "
            "locks and sequence\n",
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

    result = run_args_parse(&args, argc, argv);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    run = calloc(1, sizeof(*run));
    if (run == NULL) {
        fprintf(stderr, "cachefusion run: no memory\n");
        return EXIT_TROUBLE;
    }
    run->args = &args;
    run->instances = args.instances;
    run->signal_fd = -1;
    for (uint32_t node = 0; node < RUN_INSTANCES_MAX; node++)
        ctl_open(&run->child[node].link, -1, -1);
    status = run_all(run);
    clean_up(run, status);
    free(run);
    return status;
}
