/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion bench`. */
#include <errno.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/json.h"
#include "tools/bench/bench.h"
#include "tools/exits.h"
#include "tools/tools.h"

#define SCALE_QUICK 0.02
#define FOLDERS_OPEN_MAX 16

struct bench_args {
    char transport[64];
    char json[BENCH_PATH_BYTES];
    char catalogue[BENCH_PATH_BYTES];
    char cpus[32];
    uint32_t repeats;
    uint32_t warm_ups;
    bool list;
    bool quick;
    bool verbose;
};

#define FIELD(member) offsetof(struct bench_args, member)
static const struct cf_option_desc table[] = {
    {.name = "transport",
     .text = "provider and address that the benchmarks of transports and blocks use",
     .type = CF_OPTION_STRING,
     .offset = FIELD(transport),
     .dflt = "shm:",
     .max = sizeof(((struct bench_args *)0)->transport)},
    {.name = "json",
     .text = "write facts, samples, medians and ratios to this file",
     .type = CF_OPTION_STRING,
     .offset = FIELD(json),
     .dflt = "",
     .max = BENCH_PATH_BYTES},
    {.name = "list",
     .text = "the names and their questions",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(list),
     .dflt = "false"},
    {.name = "repeats",
     .text = "runs of each program that count, in turns with what it is compared with",
     .type = CF_OPTION_U32,
     .offset = FIELD(repeats),
     .dflt = "9",
     .min = 1,
     .max = BENCH_REPEATS_MAX},
    {.name = "warm-ups",
     .text = "runs before that do not count",
     .type = CF_OPTION_U32,
     .offset = FIELD(warm_ups),
     .dflt = "1",
     .max = BENCH_REPEATS_MAX},
    {.name = "quick",
     .text = "a fiftieth of the work of each run: to see that it works, not to measure",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(quick),
     .dflt = "false"},
    {.name = "cpus",
     .text = "the two processors that are used, as 0,1; empty = the first two this process may use",
     .type = CF_OPTION_STRING,
     .offset = FIELD(cpus),
     .dflt = "",
     .max = sizeof(((struct bench_args *)0)->cpus)},
    {.name = "catalogue",
     .text = "another list of benchmarks; its programs come from the folder of the installed ones or the "
             "search path",
     .type = CF_OPTION_STRING,
     .offset = FIELD(catalogue),
     .dflt = "",
     .max = BENCH_PATH_BYTES},
    {.name = "verbose",
     .text = "show what the programs say",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(verbose),
     .dflt = "false"},
};
#undef FIELD

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "bench",
    .summary = "Measures: each benchmark answers one question, with the median and quartiles of its runs and "
               "the facts of "
               "the machine.",
    .positionals = "[NAME...]",
    .positionals_max = BENCH_ENTRIES_MAX,
    .table = table,
    .table_count = sizeof table / sizeof table[0],
    .notes = "A NAME is one of --list or the beginning of some; without a name all are run.\n"
             "The round trip of a cache line is probed before and behind each run: it tells how the two "
             "processors are placed on\n"
             "real ones. Only runs of one class of placement are compared, and the class is said, and how "
             "much of their cores\n"
             "others had.\n" EXITS_NOTE,
};

struct session {
    struct bench_args args;
    struct bench_settings settings;
    struct bench_catalogue catalogue;
    struct bench_result result;
    struct bench_run run;
    const char *names[BENCH_ENTRIES_MAX];
    uint32_t names_count;
    char work[64];
    json_t *root;
    double core_least; /* cores.c */
    bool is_interrupted;
    uint32_t failed_count;
};

static int complain(const char *what, const char *why)
{
    fprintf(stderr, "cachefusion bench: %s: %s\n", what, why);
    return EXIT_TROUBLE;
}

/* ------------------------------------------------------------------ what to run */

static bool is_named(const struct session *session, const struct bench_entry *entry)
{
    for (uint32_t i = 0; i < session->names_count; i++)
        if (strncmp(entry->name, session->names[i], strlen(session->names[i])) == 0)
            return true;
    return session->names_count == 0;
}

/* A name that nothing begins with is a mistake. */
static bool names_are_known(const struct session *session)
{
    for (uint32_t i = 0; i < session->names_count; i++) {
        bool is_known = false;

        for (uint32_t e = 0; e < session->catalogue.count; e++)
            is_known |= strncmp(session->catalogue.entries[e].name, session->names[i],
                                strlen(session->names[i])) == 0;
        if (!is_known) {
            fprintf(stderr, "cachefusion bench: no benchmark is named %s; --list shows the names\n",
                    session->names[i]);
            return false;
        }
    }
    return true;
}

static bool cpus_choose(const char *text, int cpus[2])
{
    cpu_set_t set;
    char rest;
    int found = 0;

    if (text[0] != '\0')
        return sscanf(text, "%d,%d%c", &cpus[0], &cpus[1], &rest) == 2 && cpus[0] >= 0 && cpus[1] >= 0 &&
               cpus[0] < CPU_SETSIZE && cpus[1] < CPU_SETSIZE;
    if (sched_getaffinity(0, sizeof set, &set) != 0)
        return false;
    for (int cpu = 0; cpu < CPU_SETSIZE && found < 2; cpu++)
        if (CPU_ISSET(cpu, &set))
            cpus[found++] = cpu;
    if (found == 1)
        cpus[1] = cpus[0];
    return found > 0;
}

/* ------------------------------------------------------------------ running */

static struct bench_place look(struct session *session)
{
    const int *cpus = session->settings.cpus;
    struct bench_place place = {.line_ns = bench_probe(cpus[0], cpus[1])};

    for (uint32_t i = 0; i < CF_COUNTOF(session->settings.cpus); i++)
        place.shared += bench_core_shared(&session->core_least, cpus[i]) / CF_COUNTOF(session->settings.cpus);
    return place;
}

/* A run between two looks; the one behind is the one before the next run. */
static void run_once(struct session *session, const struct bench_entry *entry, uint32_t contender,
                     struct bench_place *place, struct bench_line *line)
{
    line->before = *place;
    bench_child_run(&session->settings, session->catalogue.folder, entry->contenders[contender].command,
                    entry->limit_s, &session->run);
    line->behind = *place = look(session);
    line->class = bench_class_of(line->before.line_ns);
    if (line->class != bench_class_of(line->behind.line_ns))
        line->class = BENCH_CLASS_MOVED;
}

/* False: it failed, and there is no use in going on with it. */
static bool take(struct session *session, uint32_t contender, uint32_t round, const struct bench_line *line)
{
    struct bench_result *result = &session->result;
    const struct bench_run *run = &session->run;

    session->is_interrupted |= run->is_interrupted;
    if (run->failure[0] != '\0') {
        snprintf(result->failure, sizeof result->failure, "%.60s: %.180s",
                 result->entry->contenders[contender].name, run->failure);
        return false;
    }
    if (run->skipped[0] != '\0') {
        snprintf(result->skipped[contender], sizeof result->skipped[contender], "%s", run->skipped);
        return true;
    }
    if (round >= session->settings.warm_ups &&
        !bench_result_add(result, contender, round - session->settings.warm_ups, line, run)) {
        snprintf(result->failure, sizeof result->failure, "more figures than there is room for");
        return false;
    }
    return true;
}

/* A B A B: what drifts, drifts under all of them. */
static void run_entry(struct session *session, const struct bench_entry *entry)
{
    const struct bench_settings *settings = &session->settings;
    struct bench_place place = look(session);
    bool goes_on = true;

    for (uint32_t round = 0; round < settings->warm_ups + settings->repeats && goes_on; round++)
        for (uint32_t c = 0; c < entry->contenders_count && goes_on; c++) {
            struct bench_line line;

            if (session->result.skipped[c][0] != '\0')
                continue;
            run_once(session, entry, c, &place, &line);
            goes_on = take(session, c, round, &line);
        }
    bench_result_end(&session->result);
}

static int run_all(struct session *session)
{
    int status = EXIT_OK;

    for (uint32_t e = 0; e < session->catalogue.count && !session->is_interrupted; e++) {
        const struct bench_entry *entry = &session->catalogue.entries[e];

        if (!is_named(session, entry))
            continue;
        if (!bench_result_open(&session->result, entry, session->settings.repeats))
            return complain(entry->name, "no memory");
        run_entry(session, entry);
        bench_print_result(stdout, &session->result);
        fflush(stdout);
        session->failed_count += session->result.failure[0] != '\0';
        if (!bench_json_add(session->root, &session->settings, &session->result))
            status = complain("JSON", "no memory, or a figure that is no number");
        bench_result_close(&session->result);
    }
    if (session->failed_count > 0)
        status = EXIT_TROUBLE;
    return status;
}

/* ------------------------------------------------------------------ around it */

static int remove_one(const char *path, const struct stat *stat, int type, struct FTW *walk)
{
    (void)stat;
    (void)type;
    (void)walk;
    return remove(path);
}

static int open_session(struct session *session)
{
    struct bench_settings *settings = &session->settings;
    sigset_t signals;

    *settings = (struct bench_settings){.transport = session->args.transport,
                                        .work = session->work,
                                        .scale = session->args.quick ? SCALE_QUICK : 1,
                                        .repeats = session->args.repeats,
                                        .warm_ups = session->args.warm_ups,
                                        .is_verbose = session->args.verbose};
    if (!cpus_choose(session->args.cpus, settings->cpus)) {
        complain("--cpus", "two processors that exist, as 0,1");
        return EXIT_USAGE;
    }
    snprintf(session->work, sizeof session->work, "/dev/shm/cf-bench-XXXXXX");
    if (mkdtemp(session->work) == NULL)
        return complain(session->work, strerror(errno));
    sigemptyset(&signals);
    sigaddset(&signals, SIGINT);
    sigaddset(&signals, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &signals, NULL) != 0 ||
        (settings->signal_fd = signalfd(-1, &signals, SFD_CLOEXEC)) < 0)
        return complain("signals", strerror(errno));
    session->root = bench_json_root(settings);
    return session->root != NULL ? EXIT_OK : complain("JSON", "no memory");
}

static int close_session(struct session *session, int status)
{
    if (session->root != NULL && session->args.json[0] != '\0' &&
        cf_json_write_file(session->root, session->args.json) != 0)
        status = complain(session->args.json, strerror(errno));
    json_decref(session->root);
    if (session->work[0] != '\0' &&
        nftw(session->work, remove_one, FOLDERS_OPEN_MAX, FTW_DEPTH | FTW_PHYS) != 0 && errno != ENOENT)
        status = complain(session->work, strerror(errno));
    return status;
}

static int measure(struct session *session)
{
    int status = open_session(session);

    if (status == EXIT_OK) {
        bench_print_facts(stdout, &session->settings);
        status = run_all(session);
    }
    if (session->is_interrupted)
        status = complain("interrupted", "the rest was not measured");
    return close_session(session, status);
}

static void list(const struct bench_catalogue *catalogue)
{
    for (uint32_t i = 0; i < catalogue->count; i++)
        printf("%-18s %s\n", catalogue->entries[i].name, catalogue->entries[i].question);
}

int tool_bench(int argc, char **argv)
{
    struct session *session = calloc(1, sizeof *session);
    enum cf_cli_result result;
    int status = EXIT_OK;

    if (session == NULL)
        return complain("start", "no memory");
    cf_options_defaults(table, spec.table_count, &session->args);
    result = cf_cli_parse(&spec, argc, argv, &session->args, session->names, &session->names_count);
    if (result != CF_CLI_OK)
        status = cf_cli_exit(result);
    else if (!bench_catalogue_read(&session->catalogue, session->args.catalogue))
        status = complain("catalogue", session->catalogue.error);
    else if (!names_are_known(session))
        status = EXIT_USAGE;
    else if (session->args.list)
        list(&session->catalogue);
    else
        status = measure(session);
    free(session);
    return status;
}
