/* SPDX-License-Identifier: Apache-2.0 */
/*
 * `cachefusion instance`: one member under a workload. `run` starts N of these; by hand, one a terminal with the
 * same cluster file, they do the same without a launcher: node 0 fills the file, each ends after --seconds or
 * Ctrl-C, the last to close lets all go, and node 0 looks at the file.
 */
#include "tools/instance.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <pthread.h>
#include <signal.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include "base/cli.h"
#include "base/clock.h"
#include "base/hash.h"
#include "tools/exits.h"
#include "tools/tools.h"

#define ALONE_S_MAX 10 /* seconds an instance has for a clean end once its launcher is gone */

#define ARG(field, type_, dflt_, min_, max_, unit_, text_)                                       \
    {                                                                                            \
        .name = #field, .text = text_, .unit = unit_, .type = type_,                             \
        .offset = offsetof(struct instance_args, field), .dflt = dflt_, .min = min_, .max = max_ \
    }

static const struct cf_option_desc table[] = {
    ARG(config, CF_OPTION_STRING, "", 0, sizeof(((struct instance_args *)0)->config), NULL,
        "cluster file, the same for all"),
    ARG(node, CF_OPTION_U16, "0", 0, CF_NODES_MAX - 1, NULL, "node id of this instance"),
    ARG(workload, CF_OPTION_STRING, "bank", 0, sizeof(((struct instance_args *)0)->workload), NULL,
        "what the clients do: bank, ring, ycsb-a to ycsb-f, hot, scan, locks, sequence"),
    ARG(data, CF_OPTION_STRING, "", 0, sizeof(((struct instance_args *)0)->data), NULL,
        "data file, the same for all"),
    ARG(seconds, CF_OPTION_DOUBLE, "10", 0, 86400, "s", "how long, without a launcher"),
    ARG(seed, CF_OPTION_U64, "1", 0, 0, NULL, "of what the clients choose"),
    ARG(threads, CF_OPTION_U32, "1", 1, CLIENTS_MAX, NULL, "clients of this instance"),
    {.name = "block-size",
     .text = "of a foreign file (scan)",
     .type = CF_OPTION_SIZE,
     .offset = offsetof(struct instance_args, block_bytes),
     .dflt = "8KiB",
     .min = CF_BLOCK_BYTES_MIN,
     .max = CF_BLOCK_BYTES_MAX},
    {.name = "accept-loss",
     .text = "open a file that was not closed cleanly",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct instance_args, accept_loss),
     .dflt = "false"},
    {.name = "hot-locks",
     .text = "locks: size of the set",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct instance_args, hot_locks),
     .dflt = WL_HOT_LOCKS,
     .min = WL_HOT_LOCKS_MIN,
     .max = WL_HOT_LOCKS_MAX},
    ARG(numbers, CF_OPTION_U32, WL_NUMBERS, 1, WL_NUMBERS_MAX, NULL,
        "sequence: numbers that an instance takes at once"),
    ARG(ordered, CF_OPTION_BOOL, "false", 0, 0, NULL, "sequence: each number above all before it"),
    ARG(side, CF_OPTION_STRING, "", 0, sizeof(((struct instance_args *)0)->side), NULL,
        "locks, sequence: their files for the launcher begin with this path"),
    ARG(control, CF_OPTION_U32, "0", 0, 1 << 20, NULL,
        "descriptor of the launcher's connection; 0 = by hand"),
    ARG(led, CF_OPTION_BOOL, "false", 0, 0, NULL,
        "a launcher on another host speaks over standard input and output; it sends the cluster file"),
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "instance",
    .summary = "Runs one instance under a workload. `cachefusion run` starts these; by hand, one a terminal.",
    .table = table,
    .table_count = sizeof(table) / sizeof(table[0]),
    .notes = "The cluster file has a section [cluster] with engine options ('cachefusion options' lists "
             "them; nodes and transport\n"
             "at least) and may have [node N]. All members must run for any to start, and all close "
             "together.\n" EXITS_NOTE,
};

static int usage(const char *text)
{
    fprintf(stderr, "cachefusion instance: %s; 'cachefusion instance --help' lists the options\n", text);
    return EXIT_USAGE;
}

/* Takes the launcher's connection; what else is printed goes to where errors go. */
static bool link_take(struct member *member)
{
    int out;

    member->is_led = member->args->control != 0 || member->args->led;
    ctl_open(&member->link, -1, -1);
    if (!member->is_led)
        return true;
    if (!member->args->led) {
        ctl_open(&member->link, (int)member->args->control, (int)member->args->control);
        return true;
    }
    out = fcntl(STDOUT_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1);
    if (out < 0 || dup2(STDERR_FILENO, STDOUT_FILENO) < 0)
        return false;
    ctl_open(&member->link, STDIN_FILENO, out);
    return true;
}

/* Where the cluster file is to be read; *fd_out is to be closed after that. False: errno. */
static bool config_find(struct member *member, char *path, size_t path_bytes, int *fd_out)
{
    *fd_out = -1;
    snprintf(path, path_bytes, "%s", member->args->config);
    if (!member->args->led)
        return true;
    *fd_out = ctl_file_receive(&member->link);
    snprintf(path, path_bytes, "/proc/self/fd/%d", *fd_out);
    return *fd_out >= 0;
}

static int plan_make(struct member *member)
{
    const struct instance_args *args = member->args;
    struct cf_error error = {0};
    char path[sizeof(args->config)];
    enum cf_rc rc;
    int fd = -1;

    member->plan.workload = workload_find(args->workload);
    if (member->plan.workload == NULL)
        return usage(
            "unknown workload; there are bank, ring, ycsb-a to ycsb-f, hot, scan, locks and sequence");
    if ((args->config[0] == '\0' && !args->led) || args->data[0] == '\0')
        return usage("--config and --data are needed");
    if (member->plan.workload->has_side && args->side[0] == '\0')
        return usage("this workload is checked by its launcher: start it with 'cachefusion run'");
    if (!config_find(member, path, sizeof(path), &fd)) {
        fprintf(stderr, "cachefusion instance: no cluster file from the launcher: %s\n", strerror(errno));
        return EXIT_TROUBLE;
    }
    cf_options_init(&member->options);
    rc = cf_options_load(&member->options, path, args->node, &error);
    if (fd >= 0)
        close(fd);
    if (rc != CF_OK) {
        fprintf(stderr, "cachefusion instance: %s\n", error.text);
        return EXIT_USAGE;
    }
    member->plan.nodes = (uint32_t)member->options.nodes;
    member->plan.node = (uint32_t)member->options.node;
    member->plan.threads = args->threads;
    member->plan.seed = args->seed;
    member->plan.hot_locks = args->hot_locks;
    member->plan.numbers = args->numbers;
    member->plan.is_ordered = args->ordered;
    member->plan.is_spread = args->led;
    snprintf(member->plan.side, sizeof(member->plan.side), "%s", args->side);
    return EXIT_OK;
}

/* Before any thread starts, so that all threads inherit the mask. */
static bool signals_take(struct member *member)
{
    sigset_t mask;

    /* A launcher that is gone is seen by what it does not take. */
    if (member->is_led && signal(SIGPIPE, SIG_IGN) == SIG_ERR)
        return false;
    if (member->is_led)
        return signal(SIGINT, SIG_IGN) != SIG_ERR; /* Ctrl-C reaches the whole group; the launcher decides */
    sigemptyset(&mask);
    sigaddset(&mask, SIGINT);
    sigaddset(&mask, SIGTERM);
    if (sigprocmask(SIG_BLOCK, &mask, NULL) != 0)
        return false;
    member->signal_fd = signalfd(-1, &mask, SFD_CLOEXEC | SFD_NONBLOCK);
    return member->signal_fd >= 0;
}

/* Ends the process when the launcher is gone and the clean end that this begins takes longer than it may. */
static void *launcher_watch(void *context)
{
    const struct member *member = context;
    struct pollfd gone = {.fd = member->link.in, .events = POLLRDHUP};

    while (poll(&gone, 1, -1) < 0 && errno == EINTR)
        ;
    alarm(ALONE_S_MAX);
    return NULL;
}

static bool launcher_watched(struct member *member)
{
    pthread_t thread;

    if (!member->is_led)
        return true;
    errno = pthread_create(&thread, NULL, launcher_watch, member);
    if (errno == 0)
        errno = pthread_detach(thread);
    return errno == 0;
}

static void live(struct member *member)
{
    struct ctl_record record = {0};

    if (!member_open(member) || !member_prepare(member))
        return;
    member_say(member, CTL_PREPARED, &record);
    if (!member_await(member, CTL_START) || !member_run(member) || !member_await(member, CTL_VERIFY))
        return;
    memset(&record, 0, sizeof(record));
    /* By hand others may still be at work: what is seen now proves nothing. */
    if (!member->is_led && !member->plan.workload->is_foreign)
        return;
    if (!member_verify(member, &record.sums))
        return;
    memcpy(member->digest, record.sums.digest, WL_DIGEST_BYTES);
    member_say(member, CTL_VERIFIED, &record);
    (void)member_await(member, CTL_CLOSE);
}

/* By hand, all have closed: what the file itself says. */
static int look_at_file(struct member *member)
{
    struct wl_plan plan = member->plan;
    struct wl_sums before = {0}, after, seen = {0}; /* all that has ever happened to the file */
    struct wl_evidence evidence = {.plan = &plan, .before = &before, .after = &after, .seen = &seen};
    char text[CTL_TEXT_BYTES] = "";
    enum cf_rc rc;
    bool good;

    memset(&after, 0, sizeof(after));
    if (plan.workload->is_foreign) {
        rc = wl_digest(member->args->data, after.digest, &plan.bytes);
        memcpy(seen.digest, member->digest, WL_DIGEST_BYTES);
        plan.nodes = 1;
    } else {
        struct cf_error error = {0};

        rc = datafile_probe(member->args->data, &member->datafile, &error);
        plan.blocks = member->datafile.blocks;
        if (rc == CF_OK)
            rc = wl_plain(&plan, member->args->data, member->datafile.block_bytes, &after, text,
                          sizeof(text));
    }
    if (rc != CF_OK) {
        fprintf(stderr, "cachefusion instance: the file cannot be looked at: %s %s\n", cf_rc_text(rc), text);
        return EXIT_TROUBLE;
    }
    if (plan.workload->is_foreign)
        before = after;
    good = after.bad == 0 && plan.workload->judge(&evidence, text, sizeof(text));
    printf("node %u: %s: %s\n", plan.node, good ? "right" : "WRONG", after.bad > 0 ? after.first_bad : text);
    return good ? EXIT_OK : EXIT_CHECK;
}

int tool_instance(int argc, char **argv)
{
    struct instance_args args;
    struct member member = {.args = &args, .signal_fd = -1, .clients.ended_fd = -1};
    enum cf_cli_result result;
    int status;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    if (!link_take(&member)) {
        fprintf(stderr, "cachefusion instance: standard output: %s\n", strerror(errno));
        return EXIT_TROUBLE;
    }
    status = plan_make(&member);
    if (status != EXIT_OK)
        return status;
    if (!cf_hash_init() || !signals_take(&member) || !launcher_watched(&member)) {
        fprintf(stderr, "cachefusion instance: start: %s\n", strerror(errno));
        return EXIT_TROUBLE;
    }
    live(&member);
    member_close(&member);
    if (member.signal_fd >= 0)
        close(member.signal_fd);
    if (member.rc != CF_OK) {
        if (!member.is_led)
            fprintf(stderr, "cachefusion instance: node %u: %s\n", member.plan.node, member.text);
        return member.rc == CF_CORRUPT ? EXIT_CHECK : EXIT_TROUBLE;
    }
    if (member.is_led)
        return EXIT_OK;
    printf("node %u: closed after %llu %s\n", member.plan.node, (unsigned long long)member.ops,
           member.plan.workload->op);
    return member.plan.node == 0 || member.plan.workload->is_foreign ? look_at_file(&member) : EXIT_OK;
}
