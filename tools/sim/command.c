/* SPDX-License-Identifier: Apache-2.0 */
/* cachefusion sim: a simulated cluster by seed, its faults and its checkers on the command line. */
#include <math.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>

#include <cachefusion/types.h>

#include "base/cli.h"
#include "base/clock.h"
#include "grd/lock_mutant.h"
#include "tools/sim/seed.h"
#include "tools/tools.h"
#include "transport/link/mutant.h"

#define NAMES_BYTES 128u

struct arguments {
    uint64_t seed;
    uint64_t seeds;
    uint64_t ops;
    uint32_t instances;
    uint32_t cold;
    uint32_t hot;
    uint32_t own;
    uint64_t residency;
    uint32_t moves;
    double seconds;
    char faults[256];
    char mutant[NAMES_BYTES];
    char network[NAMES_BYTES];
    bool list_mutants;
    bool crash;
    bool quiet;
};

static const struct cf_option_desc table[] = {
    {"seed", "number everything is drawn from", NULL, CF_OPTION_U64, offsetof(struct arguments, seed), "1", 0,
     0, NULL},
    {"seeds", "run this many, from --seed on", NULL, CF_OPTION_U64, offsetof(struct arguments, seeds), "1", 1,
     UINT64_C(1000000000), NULL},
    {"instances", "members of the cluster; 0 draws 2 to 8", NULL, CF_OPTION_U32,
     offsetof(struct arguments, instances), "0", 0, CF_NODES_MAX, NULL},
    {"moves", "microseconds from one bucket that is told to move to the next, on average; 0 draws", NULL,
     CF_OPTION_U32, offsetof(struct arguments, moves), "0", 0, 1000000000, NULL},
    {"cold", "blocks cached for each entry of the directories; 0 draws whether they are short", NULL,
     CF_OPTION_U32, offsetof(struct arguments, cold), "0", 0, 1000, NULL},
    {"hot", "all want a few blocks, so many percent of the calls write, without faults; 101 = the drawn work",
     NULL, CF_OPTION_U32, offsetof(struct arguments, hot), "101", 0, 101, NULL},
    {"own",
     "so many percent of an instance's calls go to its own part of the blocks, without faults; 101 = the "
     "drawn "
     "work",
     NULL, CF_OPTION_U32, offsetof(struct arguments, own), "101", 0, 101, NULL},
    {"residency", "with --hot: the option residency, in nanoseconds", NULL, CF_OPTION_U64,
     offsetof(struct arguments, residency), "0", 0, UINT64_C(1000000000), NULL},
    {"seconds", "virtual time with faults", "s", CF_OPTION_DOUBLE, offsetof(struct arguments, seconds), "0.2",
     0, 86400, NULL},
    {"ops", "end that time after this many calls; 0 = no bound", NULL, CF_OPTION_U64,
     offsetof(struct arguments, ops), "0", 0, 0, NULL},
    {"faults", "all, none, or names separated by commas", NULL, CF_OPTION_STRING,
     offsetof(struct arguments, faults), "all", 0, 256, NULL},
    {"network", "lanes, links (those of dpdk:, over packets that are lost), or drawn", NULL, CF_OPTION_STRING,
     offsetof(struct arguments, network), "drawn", 0, NAMES_BYTES, NULL},
    {"mutant", "plant one protocol mistake (cachefusion-sim only)", NULL, CF_OPTION_STRING,
     offsetof(struct arguments, mutant), "", 0, NAMES_BYTES, NULL},
    {"list-mutants", "print the names of the mistakes", NULL, CF_OPTION_BOOL,
     offsetof(struct arguments, list_mutants), "false", 0, 0, NULL},
    {"crash", "one instance dies; the others must stop", NULL, CF_OPTION_BOOL,
     offsetof(struct arguments, crash), "false", 0, 0, NULL},
    {"quiet", "the result lines alone, unless something breaks", NULL, CF_OPTION_BOOL,
     offsetof(struct arguments, quiet), "false", 0, 0, NULL},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "sim",
    .summary =
        "run a simulated cluster under virtual time, with faults drawn from a seed, and check every step",
    .table = table,
    .table_count = CF_COUNTOF(table),
    .notes = "Faults: loss duplicate reorder delay slow cut flap stall torn disk stale. 'all' switches each "
             "on with\n"
             "probability one half; names switch on exactly those.\n"
             "The last line of a seed is 'sim seed=S instances=N events=E trace=HEX result=ok|FAILED'; the "
             "exit status\n"
             "is 1 when an invariant was broken, and the command that repeats it stands on the line before.",
};

static bool parse_fault(const char *name, size_t name_bytes, uint32_t *bits)
{
    for (uint32_t i = 0; i < SIM_FAULTS; i++) {
        if (strlen(sim_fault_name(i)) == name_bytes && memcmp(sim_fault_name(i), name, name_bytes) == 0) {
            *bits |= 1u << i;
            return true;
        }
    }
    fprintf(stderr, "cachefusion sim: unknown fault '%.*s'; the faults are:", (int)name_bytes, name);
    for (uint32_t i = 0; i < SIM_FAULTS; i++)
        fprintf(stderr, " %s", sim_fault_name(i));
    fprintf(stderr, "\n");
    return false;
}

static bool parse_faults(const char *text, uint32_t *bits_out)
{
    uint32_t bits = 0;

    if (strcmp(text, "all") == 0) {
        *bits_out = SIM_FAULTS_ALL;
        return true;
    }
    while (strcmp(text, "none") != 0 && *text != 0) {
        size_t bytes = strcspn(text, ",");

        if (!parse_fault(text, bytes, &bits))
            return false;
        text += bytes + (text[bytes] == ',');
    }
    *bits_out = bits;
    return true;
}

static bool has_mutant(const char *name)
{
    for (uint32_t i = 1; i < GRD_MUT_COUNT; i++) {
        if (strcmp(grd_mutant_name(i), name) == 0)
            return true;
    }
    for (uint32_t i = 1; i < XP_LINK_MUT_COUNT; i++) {
        if (strncmp(name, SIM_LINK_MUTANT, strlen(SIM_LINK_MUTANT)) == 0 &&
            strcmp(xp_link_mutant_name(i), name + strlen(SIM_LINK_MUTANT)) == 0)
            return true;
    }
    for (uint32_t i = 1; i < GRD_LOCK_MUT_COUNT; i++) {
        if (strncmp(name, SIM_LOCK_MUTANT, strlen(SIM_LOCK_MUTANT)) == 0 &&
            strcmp(grd_lock_mutant_name(i), name + strlen(SIM_LOCK_MUTANT)) == 0)
            return true;
    }
    return false;
}

static bool parse_network(const char *name, enum sim_network *network_out)
{
    static const char *const names[] = {"drawn", "lanes", "links"};

    for (uint32_t i = 0; i < CF_COUNTOF(names); i++) {
        if (strcmp(name, names[i]) == 0) {
            *network_out = (enum sim_network)i;
            return true;
        }
    }
    fprintf(stderr, "cachefusion sim: network is '%s', it is drawn, lanes or links\n", name);
    return false;
}

/* 0 = go on. */
static int check_arguments(const struct arguments *a, struct sim_options *options)
{
    if (a->instances == 1) {
        fprintf(stderr, "cachefusion sim: instances is 1, at least %u are needed (0 draws a number)\n",
                SIM_INSTANCES_MIN);
        return CF_CLI_EXIT_USAGE;
    }
    if (!parse_faults(a->faults, &options->faults) || !parse_network(a->network, &options->network))
        return CF_CLI_EXIT_USAGE;
    if (options->network == SIM_NETWORK_LINKS && a->instances > SIM_LINKS_INSTANCES_MAX) {
        fprintf(stderr, "cachefusion sim: instances is %u, over links at most %u are possible\n",
                a->instances, SIM_LINKS_INSTANCES_MAX);
        return CF_CLI_EXIT_USAGE;
    }
    if (a->mutant[0] == 0)
        return 0;
    if (CF_MUTANTS == 0) {
        fprintf(stderr, "cachefusion sim: this program has no planted mistakes; use cachefusion-sim, which "
                        "is built beside it\n");
        return CF_CLI_EXIT_USAGE;
    }
    if (!has_mutant(a->mutant)) {
        fprintf(stderr, "cachefusion sim: unknown mutant '%s'; --list-mutants names them\n", a->mutant);
        return CF_CLI_EXIT_USAGE;
    }
    options->mutant = a->mutant;
    return 0;
}

static int list_mutants(void)
{
    for (uint32_t i = 1; i < GRD_MUT_COUNT; i++)
        printf("%-24s %s\n", grd_mutant_name(i), grd_mutant_text(i));
    for (uint32_t i = 1; i < XP_LINK_MUT_COUNT; i++)
        printf(SIM_LINK_MUTANT "%-*s %s\n", (int)(24 - strlen(SIM_LINK_MUTANT)), xp_link_mutant_name(i),
               xp_link_mutant_text(i));
    for (uint32_t i = 1; i < GRD_LOCK_MUT_COUNT; i++)
        printf(SIM_LOCK_MUTANT "%-*s %s\n", (int)(24 - strlen(SIM_LOCK_MUTANT)), grd_lock_mutant_name(i),
               grd_lock_mutant_text(i));
    return 0;
}

int tool_sim(int argc, char **argv)
{
    struct arguments a;
    struct sim_options options = {0};
    enum cf_cli_result parsed;
    uint64_t failed = 0;
    int status;

    cf_options_defaults(table, CF_COUNTOF(table), &a);
    parsed = cf_cli_parse(&spec, argc, argv, &a, NULL, NULL);
    if (parsed != CF_CLI_OK)
        return cf_cli_exit(parsed);
    if (a.list_mutants)
        return list_mutants();
    status = check_arguments(&a, &options);
    if (status != 0)
        return status;
    options.instances = a.instances;
    options.cold = a.cold;
    options.hot = a.hot <= 100 ? a.hot + 1 : 0;
    options.own = a.own <= 100 ? a.own + 1 : 0;
    options.residency_ns = a.residency;
    options.moves = a.moves;
    options.run_ns = (uint64_t)llround(a.seconds * (double)CF_NS_PER_S);
    options.ops_max = a.ops;
    options.crash = a.crash;
    options.is_quiet = a.quiet;
    for (uint64_t i = 0; i < a.seeds; i++) {
        options.seed = a.seed + i;
        failed += !sim_seed_run(&options, stdout);
    }
    if (a.seeds > 1)
        printf("%llu seeds, %llu failed\n", (unsigned long long)a.seeds, (unsigned long long)failed);
    return failed == 0 ? 0 : 1;
}
