/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how many operations a second do N instances make on a hot set of B blocks of which W in a hundred are
 * changed, and how long does each take? B = 1 and W = 100 is the hot block.
 *
 *   hot_set [--instances N] [--blocks B] [--writes W] [--ms M] [--waiting adaptive] [--transport shm:] [--past P]
 *           [--name NAME] [--directory BYTES]
 *
 * Each instance has one client; it draws a block and gets it in X with the given chance, else in S. Figures: NAME-rate, of
 * all instances together; NAME, an operation of instance 0; NAME-ships, blocks that changed hands a second. Nothing is
 * written to storage meanwhile. With P, the bound of past images of each instance, blocks are written where there are
 * more, and NAME-writes tells how many a second. With BYTES, the budget of each instance's directory, NAME-entries tells how
 * many entries all of them had in the end, and NAME-rebuilds how many a second had been given back and were asked for.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/clock.h"
#include "base/rng.h"
#include "base/units.h"
#include "bench/figures.h"
#include "bench/members.h"

#define LOOK_EVERY 16u /* operations between two looks at the clock's end */

struct load {
    uint64_t blocks, writes_percent, ms;
    const char *name;
};

enum { OPERATIONS, SHIPS, WRITES, REBUILDS, ENTRIES };

static uint64_t operate(struct member *member, const struct load *load, uint64_t until_ns,
                        struct cf_hist *hist)
{
    uint64_t count = 0;
    struct cf_rng rng;
    struct cf_ref ref;

    cf_rng_seed(&rng, member->index + 1);
    for (uint64_t now_ns = cf_now_ns(); now_ns < until_ns;)
        for (uint32_t i = 0; i < LOOK_EVERY; i++, count++) {
            uint64_t block = cf_rng_below(&rng, load->blocks);
            enum cf_mode mode = cf_rng_below(&rng, 100) < load->writes_percent ? CF_MODE_X : CF_MODE_S;
            uint64_t begin_ns = cf_now_ns();

            member_get(member, block, mode, &ref);
            cf_put(member->session, &ref);
            now_ns = cf_now_ns();
            cf_hist_add(hist, now_ns - begin_ns);
        }
    return count;
}

static struct cf_stats stats_of(struct member *member)
{
    struct cf_stats stats = {.size = sizeof stats};

    members_check(cf_stats_read(member->instance, &stats), "stats", NULL);
    return stats;
}

static void tell_sum(const struct member *member, const struct load *load, const char *what, uint32_t number,
                     double seconds, const char *unit)
{
    uint64_t sum = 0;
    char name[64];

    for (uint32_t i = 0; i < member->options->count; i++)
        sum += member->board->number[i][number];
    snprintf(name, sizeof name, "%.50s-%s", load->name, what);
    bench_figure(name, (double)sum / seconds, unit);
}

static void tell(const struct member *member, const struct load *load, double seconds,
                 const struct cf_hist *hist)
{
    tell_sum(member, load, "rate", OPERATIONS, seconds, "op/s");
    tell_sum(member, load, "ships", SHIPS, seconds, "1/s");
    if (member->options->past_images != 0)
        tell_sum(member, load, "writes", WRITES, seconds, "1/s");
    if (member->options->directory_bytes != 0) {
        tell_sum(member, load, "entries", ENTRIES, 1, "1");
        tell_sum(member, load, "rebuilds", REBUILDS, seconds, "1/s");
    }
    bench_distribution(load->name, hist);
}

static void work(struct member *member, void *arg)
{
    const struct load *load = arg;
    struct cf_hist *hist = malloc(sizeof *hist);
    uint64_t *mine = member->board->number[member->index], begin_ns;
    struct cf_stats before, after;

    if (hist == NULL)
        members_check(CF_MEMORY, "histogram", NULL);
    cf_hist_init(hist);
    for (uint64_t block = member->index; block < load->blocks; block += member->options->count) {
        struct cf_ref ref; /* none is read from storage while it is measured */

        member_get(member, block, CF_MODE_S, &ref);
        cf_put(member->session, &ref);
    }
    members_meet(member);
    (void)operate(member, load, cf_now_ns() + load->ms * 100000, hist); /* a tenth to warm up */
    cf_hist_init(hist);
    members_meet(member);
    before = stats_of(member);
    begin_ns = cf_now_ns();
    mine[OPERATIONS] = operate(member, load, begin_ns + load->ms * 1000000, hist);
    after = stats_of(member);
    mine[SHIPS] = after.blocks_shipped - before.blocks_shipped;
    mine[WRITES] = after.disk_writes - before.disk_writes;
    mine[REBUILDS] = after.directory_rebuilds - before.directory_rebuilds;
    mine[ENTRIES] = after.directory_entries;
    members_meet(member);
    if (member->index == 0)
        tell(member, load, (double)load->ms / 1e3, hist);
    free(hist);
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"instances", required_argument, NULL, 'i'}, {"blocks", required_argument, NULL, 'b'},
        {"writes", required_argument, NULL, 'w'},    {"ms", required_argument, NULL, 'm'},
        {"waiting", required_argument, NULL, 'a'},   {"transport", required_argument, NULL, 't'},
        {"name", required_argument, NULL, 'n'},      {"past", required_argument, NULL, 'p'},
        {"directory", required_argument, NULL, 'd'}, {0}};
    struct load load = {.blocks = 1, .writes_percent = 100, .ms = 1000, .name = "hot-set"};
    struct members_options options = {.transport = "shm:", .waiting = "adaptive"};
    uint64_t instances = 2;
    int name, rc = 0;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'i')
            rc |= cf_parse_u64(optarg, &instances);
        else if (name == 'b')
            rc |= cf_parse_u64(optarg, &load.blocks);
        else if (name == 'w')
            rc |= cf_parse_u64(optarg, &load.writes_percent);
        else if (name == 'm')
            rc |= cf_parse_u64(optarg, &load.ms);
        else if (name == 'a')
            options.waiting = optarg;
        else if (name == 't')
            options.transport = optarg;
        else if (name == 'p')
            rc |= cf_parse_u64(optarg, &options.past_images);
        else if (name == 'd')
            rc |= cf_parse_u64(optarg, &options.directory_bytes);
        else if (name == 'n')
            load.name = optarg;
        else
            return 2;
    }
    if (rc != 0 || instances == 0 || instances > MEMBERS_MAX || load.blocks == 0 ||
        load.writes_percent > 100 || load.ms == 0) {
        fprintf(stderr, "hot_set: 1 to %u instances, blocks and ms from 1, writes 0 to 100\n", MEMBERS_MAX);
        return 2;
    }
    options.count = (uint32_t)instances;
    options.blocks = load.blocks + 1;
    members_run(&options, work, &load);
    return 0;
}
