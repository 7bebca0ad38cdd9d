/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how many blocks a second does a scan take over that another instance holds in memory, with prefetch and
 * without?
 *
 *   prefetch_stream [--blocks B] [--rounds R] [--window W] [--waiting adaptive] [--transport shm:]
 *
 * Instance 1 holds all blocks in X, changed; instance 0 gets them in order in S and asks, W at a time, for those to come.
 * W = 0: it asks for none. Then they are taken back, and so on. The first LEAD blocks of a scan are not counted: the
 * holder's client has just gone to sleep then, and its poller has to notice. Turns a block tell who waits for whom: 16
 * blocks arrive in a turn, so that at 0.06 the scan waits for nothing, and each turn more has found nothing.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"
#include "bench/members.h"

#define LEAD 256u

struct load {
    uint64_t blocks, rounds, window;
    uint64_t counted, sum_ns, turns; /* of instance 0 */
};

static void change_all(struct member *member, uint64_t blocks)
{
    struct cf_ref ref;

    for (uint64_t b = 0; b < blocks; b++) {
        member_get(member, b, CF_MODE_X, &ref);
        cf_put(member->session, &ref);
    }
}

static void take(struct member *member, uint64_t block)
{
    struct cf_ref ref;

    member_get(member, block, CF_MODE_S, &ref);
    cf_put(member->session, &ref);
}

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t turns_of(struct member *member)
{
    struct cf_stats stats = {.size = sizeof stats};

    members_check(cf_stats_read(member->instance, &stats), "stats", NULL);
    return stats.turns;
}

/* Asked for in halves of the window, so that half of it is under way when the next half is asked for. */
static void scan(struct member *member, struct load *load)
{
    uint64_t asked = 0, begin_ns = 0, turns = 0;

    for (uint64_t b = 0; b < load->blocks; b++) {
        if (b == LEAD) {
            turns = turns_of(member);
            begin_ns = cf_now_ns();
        }
        if (load->window > 0 && asked < load->blocks && asked <= b + load->window / 2) {
            uint64_t end = smaller(b + load->window, load->blocks);

            if (end > asked)
                (void)cf_prefetch(member->session, member->file, asked, (uint32_t)(end - asked));
            asked = end;
        }
        take(member, b);
    }
    load->sum_ns += cf_now_ns() - begin_ns;
    load->turns += turns_of(member) - turns;
    load->counted += load->blocks - LEAD;
}

static void work(struct member *member, void *arg)
{
    struct load *load = arg; /* each process has its own */

    for (uint64_t round = 0; round <= load->rounds; round++) {
        if (member->index == 1)
            change_all(member, load->blocks);
        members_meet(member);
        if (round == 1) /* the one before has warmed up */
            load->counted = load->sum_ns = load->turns = 0;
        if (member->index == 0)
            scan(member, load);
        members_meet(member);
    }
    if (member->index != 0)
        return;
    bench_figure("scan", (double)load->counted * 1e9 / (double)load->sum_ns, "block/s");
    bench_figure("turns-a-block", (double)load->turns / (double)load->counted, "turns");
}

int main(int argc, char **argv)
{
    static const struct option names[] = {
        {"blocks", required_argument, NULL, 'b'},    {"rounds", required_argument, NULL, 'r'},
        {"window", required_argument, NULL, 'w'},    {"waiting", required_argument, NULL, 'a'},
        {"transport", required_argument, NULL, 't'}, {0}};
    struct load load = {.blocks = 4000, .rounds = 3, .window = 32};
    struct members_options options = {.transport = "shm:", .waiting = "adaptive", .count = 2};
    int name, rc = 0;

    while ((name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'b')
            rc |= cf_parse_u64(optarg, &load.blocks);
        else if (name == 'r')
            rc |= cf_parse_u64(optarg, &load.rounds);
        else if (name == 'w')
            rc |= cf_parse_u64(optarg, &load.window);
        else if (name == 'a')
            options.waiting = optarg;
        else if (name == 't')
            options.transport = optarg;
        else
            return 2;
    }
    if (rc != 0 || load.blocks < 2 * LEAD || load.rounds == 0 || load.window > LEAD) {
        fprintf(stderr, "prefetch_stream: blocks from %u, rounds from 1, a window of at most %u\n", 2 * LEAD,
                LEAD);
        return 2;
    }
    options.blocks = load.blocks;
    members_run(&options, work, &load);
    return 0;
}
