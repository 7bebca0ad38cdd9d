/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how many blocks a second does a scan take over that another instance holds in memory, with prefetch and
 * without?
 *
 *   prefetch_stream [--blocks B] [--rounds R] [--window W] [--waiting adaptive] [--transport shm:]
 *
 * Instance 1 holds all blocks in X, changed; instance 0 gets them in order in S and asks, W at a time, for those to come.
 * W = 0: it asks for none. Then they are taken back, and so on.
 */
#include <getopt.h>
#include <stdio.h>

#include "base/clock.h"
#include "base/units.h"
#include "bench/figures.h"
#include "bench/members.h"

struct load {
    uint64_t blocks, rounds, window;
};

static void change_all(struct member *member, uint64_t blocks)
{
    struct cf_ref ref;

    for (uint64_t b = 0; b < blocks; b++) {
        member_get(member, b, CF_MODE_X, &ref);
        cf_put(member->session, &ref);
    }
}

/* Asked for in halves of the window, so that half of it is under way when the next half is asked for. */
static void scan(struct member *member, const struct load *load)
{
    uint64_t asked = 0;
    struct cf_ref ref;

    for (uint64_t b = 0; b < load->blocks; b++) {
        if (load->window > 0 && asked < load->blocks && asked <= b + load->window / 2) {
            uint64_t end = b + load->window < load->blocks ? b + load->window : load->blocks;

            if (end > asked)
                (void)cf_prefetch(member->session, member->file, asked, (uint32_t)(end - asked));
            asked = end;
        }
        member_get(member, b, CF_MODE_S, &ref);
        cf_put(member->session, &ref);
    }
}

static void work(struct member *member, void *arg)
{
    const struct load *load = arg;
    uint64_t sum_ns = 0;

    for (uint64_t round = 0; round <= load->rounds; round++) {
        uint64_t begin_ns;

        if (member->index == 1)
            change_all(member, load->blocks);
        members_meet(member);
        begin_ns = cf_now_ns();
        if (member->index == 0)
            scan(member, load);
        if (round > 0) /* the first one warms up */
            sum_ns += cf_now_ns() - begin_ns;
        members_meet(member);
    }
    if (member->index == 0)
        bench_figure("scan", (double)(load->blocks * load->rounds) * 1e9 / (double)sum_ns, "block/s");
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
    if (rc != 0 || load.blocks == 0 || load.rounds == 0 || load.window > load.blocks) {
        fprintf(stderr, "prefetch_stream: blocks and rounds from 1, a window of at most all blocks\n");
        return 2;
    }
    options.blocks = load.blocks;
    members_run(&options, work, &load);
    return 0;
}
