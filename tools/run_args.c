/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of `cachefusion run`. */
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include "tools/exits.h"
#include "tools/run.h"

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
    {.name = "hosts",
     .text = "an instance on each of these hosts, by commas, in the place of --instances; needs --data",
     .type = CF_OPTION_STRING,
     .offset = FIELD(hosts),
     .dflt = "",
     .max = RUN_HOSTS_BYTES},
    {.name = "launcher",
     .text = "runs a command line on a host: gets the host and the line as two words",
     .type = CF_OPTION_STRING,
     .offset = FIELD(launcher),
     .dflt = "ssh -o BatchMode=yes",
     .max = RUN_PATH_BYTES},
    {.name = "program",
     .text = "cachefusion on those hosts; empty: the path it has here",
     .type = CF_OPTION_STRING,
     .offset = FIELD(program),
     .dflt = "",
     .max = RUN_PATH_BYTES},
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
    {.name = "hot-locks",
     .text = "workload locks: size of the set that all take from",
     .type = CF_OPTION_U32,
     .offset = FIELD(hot_locks),
     .dflt = WL_HOT_LOCKS,
     .min = WL_HOT_LOCKS_MIN,
     .max = WL_HOT_LOCKS_MAX},
    {.name = "numbers",
     .text = "workload sequence: numbers that an instance takes at once",
     .type = CF_OPTION_U32,
     .offset = FIELD(numbers),
     .dflt = WL_NUMBERS,
     .min = 1,
     .max = WL_NUMBERS_MAX},
    {.name = "ordered",
     .text = "workload sequence: each number above all that were handed out before",
     .type = CF_OPTION_BOOL,
     .offset = FIELD(ordered),
     .dflt = "false"},
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
        "  affinity       uniform records, 98 % of an instance's calls in its own part: see option remaster\n"
        "  scan           all read a foreign file (--data) through each other's caches; SHA-256 must be "
        "equal\n"
        "  locks          transactions take 2 to 6 of --hot-locks locks in any order and mode: deadlocks are "
        "found "
        "and told\n"
        "  sequence       numbers of one sequence (--numbers at once, --ordered); none twice, none lost but "
        "in "
        "caches\n\n"
        "In the report, gets, hits, hops and ships are of the time the clients worked, storage and latencies "
        "from open to close.\n"
        "Several hosts: --data is on storage that all of them and this one have at the same path, and the "
        "transport is "
        "one that\nleaves the host. The hosts' names without 'user@' are the addresses of the instances, "
        "--set "
        "peers=A,B names others.\n"
        "Ctrl-C ends a run early and checks it like any other; a second one kills the "
        "instances.\n" EXITS_NOTE,
};

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

enum cf_cli_result run_args_parse(struct run_args *args, int argc, char **argv)
{
    memset(args, 0, sizeof(*args));
    cf_options_defaults(table, spec.table_count, args);
    if (!take_sets(args, &argc, argv))
        return CF_CLI_ERROR;
    return cf_cli_parse(&spec, argc, argv, args, NULL, NULL);
}
