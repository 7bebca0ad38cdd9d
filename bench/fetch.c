/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how long does a get of a block take that another instance holds in memory, changed: in two hops (its holder or
 * the requester is the master), and in three (a third instance is)?
 *
 *   fetch [--blocks B] [--rounds R] [--hops 2|3] [--mode s|x] [--waiting busy] [--transport shm:] [--name NAME]
 *
 * Instance 1 holds all blocks in X, changed; instance 0 gets them one after another and times each call. Then they are
 * taken back, and so on. With --hops 3 there is a third instance that only answers as master; blocks are told apart by the
 * counters of the round before, in which nothing is timed, and only those that took three hops count. It shares a
 * processor with the requester, where there are only two.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"
#include "bench/members.h"

struct load {
    uint64_t blocks, rounds, hops;
    enum cf_mode mode;
    const char *name;
};

static void change_all(struct member *member, uint64_t blocks)
{
    struct cf_ref ref;

    for (uint64_t b = 0; b < blocks; b++) {
        member_get(member, b, CF_MODE_X, &ref);
        cf_put(member->session, &ref);
    }
}

static uint64_t hops3(struct member *member)
{
    struct cf_stats stats = {.size = sizeof stats};

    members_check(cf_stats_read(member->instance, &stats), "stats", NULL);
    return stats.hops3;
}

/* One that is not timed: which blocks come in how many hops. */
static void learn(struct member *member, const struct load *load, bool *is_counted)
{
    struct cf_ref ref;

    for (uint64_t b = 0; b < load->blocks; b++) {
        uint64_t before = hops3(member);

        member_get(member, b, load->mode, &ref);
        cf_put(member->session, &ref);
        is_counted[b] = (hops3(member) != before) == (load->hops == 3);
    }
}

static void time_all(struct member *member, const struct load *load, const bool *is_counted,
                     struct cf_hist *hist)
{
    struct cf_ref ref;

    for (uint64_t b = 0; b < load->blocks; b++) {
        uint64_t begin_ns = cf_now_ns();

        member_get(member, b, load->mode, &ref);
        begin_ns = cf_now_ns() - begin_ns;
        cf_put(member->session, &ref);
        if (is_counted[b])
            cf_hist_add(hist, begin_ns);
    }
}

static void fetch_all(struct member *member, const struct load *load)
{
    struct cf_hist *hist = malloc(sizeof *hist);
    bool *is_counted = calloc(load->blocks, sizeof *is_counted);

    if (hist == NULL || is_counted == NULL)
        members_check(CF_MEMORY, "results", NULL);
    cf_hist_init(hist);
    for (uint64_t round = 0; round <= load->rounds; round++) {
        members_meet(member);
        if (round == 0)
            learn(member, load, is_counted);
        else
            time_all(member, load, is_counted, hist);
        members_meet(member);
    }
    if (cf_hist_count(hist) == 0)
        printf("not run: no block came in %u hops\n", (unsigned)load->hops);
    else
        bench_distribution(load->name, hist);
    free(is_counted);
    free(hist);
}

static void work(struct member *member, void *arg)
{
    const struct load *load = arg;

    if (member->index == 0) {
        fetch_all(member, load);
        return;
    }
    for (uint64_t round = 0; round <= load->rounds; round++) {
        if (member->index == 1)
            change_all(member, load->blocks);
        members_meet(member);
        members_meet(member);
    }
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"blocks", required_argument, NULL, 'b'},  {"rounds", required_argument, NULL, 'r'},
        {"hops", required_argument, NULL, 'h'},    {"mode", required_argument, NULL, 'm'},
        {"waiting", required_argument, NULL, 'w'}, {"transport", required_argument, NULL, 't'},
        {"name", required_argument, NULL, 'n'},    {0}};
    struct load load = {.blocks = 2000, .rounds = 5, .hops = 2, .mode = CF_MODE_S, .name = "fetch"};
    struct members_options options = {.transport = "shm:", .waiting = "busy"};
    int name, rc = 0;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'b')
            rc |= cf_parse_u64(optarg, &load.blocks);
        else if (name == 'r')
            rc |= cf_parse_u64(optarg, &load.rounds);
        else if (name == 'h')
            rc |= cf_parse_u64(optarg, &load.hops);
        else if (name == 'm')
            load.mode = strcmp(optarg, "x") == 0 ? CF_MODE_X : CF_MODE_S;
        else if (name == 'w')
            options.waiting = optarg;
        else if (name == 't')
            options.transport = optarg;
        else if (name == 'n')
            load.name = optarg;
        else
            return 2;
    }
    if (rc != 0 || load.blocks == 0 || load.rounds == 0 || load.hops < 2 || load.hops > 3) {
        fprintf(stderr, "fetch: blocks and rounds from 1, 2 or 3 hops\n");
        return 2;
    }
    options.count = (uint32_t)load.hops;
    options.blocks = load.blocks;
    members_run(&options, work, &load);
    return 0;
}
