/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing over a network with faults, by seed: two ends close in either order or at once, packets are lost, and a closer is
 * scheduled out for hundreds of milliseconds now and then. Who has closed while its peer lived has had everything it
 * posted arrive.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "transport/link/linger.h"
#include "transport/link/link.h"

#define SEEDS 400u
#define MS UINT64_C(1000000)
#define STEP_NS UINT64_C(20000)
#define END_NS (60000 * MS)
#define SLOTS 16u

static const struct xp_linger_options by_running_time = {
    .quiet_ns_max = 500 * MS, .whole_ns_max = 10000 * MS, .step_ns_max = 2 * MS};
/* As a clock on the wall counts. */
static const struct xp_linger_options by_all_time = {
    .quiet_ns_max = 500 * MS, .whole_ns_max = 500 * MS, .step_ns_max = UINT64_MAX};

struct end {
    struct xp_link link;
    struct xp_linger linger;
    void *memory;
    uint64_t closes_ns; /* when it begins to close */
    uint64_t runs_ns;   /* scheduled out until then */
    bool is_closing;
    bool is_gone;
};

struct world {
    struct end ends[2];
    struct cf_rng rng;
    uint64_t now_ns;
    double loss;
    double away; /* chance that an end is scheduled out at a step */
    uint64_t ran_out;
    bool is_short; /* an end closed and its peer has not got everything */
};

static uint32_t no_frame(void *arg, uint8_t class_index)
{
    (void)arg, (void)class_index;
    return XP_LINK_FRAME_NONE;
}

static const struct xp_link_frames frames = {.take = no_frame};

static void end_open(struct world *world, uint32_t side)
{
    struct end *end = &world->ends[side];
    struct xp_link_options options = {.lane_slots = SLOTS,
                                      .packet_bytes = 1472,
                                      .node = (uint16_t)side,
                                      .peer = (uint16_t)(1 - side),
                                      .rto_ns_min = MS / 2,
                                      .rto_ns_max = 20 * MS,
                                      .ack_delay_ns = 20000,
                                      .keepalive_ns = 1000 * MS,
                                      .target_ns = 10 * MS,
                                      .window_min = 4 * XP_SWIFT_ONE};

    end->memory = aligned_alloc(CF_CACHE_LINE, xp_link_bytes(SLOTS));
    assert_non_null(end->memory);
    memset(end->memory, 0, xp_link_bytes(SLOTS));
    xp_link_open(&end->link, &options, end->memory, world->now_ns);
    end->closes_ns = world->now_ns + cf_rng_below(&world->rng, 3) * 5 * MS;
}

static bool is_owed(const struct xp_link *link)
{
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (link->tx[lane].messages_acked != link->tx[lane].credit.sent)
            return true;
    return false;
}

static void send_all(struct world *world, uint32_t side)
{
    const uint8_t front[XP_ETHER_FRONT_BYTES] = {0};
    struct end *end = &world->ends[side], *to = &world->ends[1 - side];
    uint8_t frame[2048];
    struct xp_link_sent sent;
    uint32_t bytes;

    xp_link_tick(&end->link, world->now_ns);
    while ((bytes = xp_link_send(&end->link, world->now_ns, front, frame, &sent)) != 0)
        if (!to->is_gone && !cf_rng_chance(&world->rng, world->loss))
            xp_link_receive(&to->link, world->now_ns, frame + XP_ETHER_FRONT_BYTES,
                            bytes - XP_ETHER_FRONT_BYTES, &frames);
}

/* What a program does before it closes: it takes what comes and posts what it has to say last. */
static void work(struct world *world, struct end *end)
{
    struct xp_link_delivery d;

    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        while (xp_link_take(&end->link, (enum xp_class)lane, &d))
            assert_non_null(d.header);
    xp_link_give(&end->link);
    if (world->now_ns < end->closes_ns || end->is_closing)
        return;
    for (uint32_t i = 0; i <= cf_rng_below(&world->rng, 4); i++) {
        assert_non_null(xp_link_begin(&end->link, XP_CONTROL, 8));
        xp_link_post(&end->link, XP_CONTROL, 1, 1, NULL);
    }
    end->is_closing = true;
}

static void leave(struct world *world, uint32_t side)
{
    const struct end *end = &world->ends[side], *other = &world->ends[1 - side];

    for (uint32_t lane = 0; lane < XP_LANES && !other->is_gone; lane++)
        world->is_short |= other->link.rx[lane].complete != end->link.tx[lane].credit.sent;
    world->ends[side].is_gone = true;
}

/* One round of one end. */
static void step(struct world *world, uint32_t side, const struct xp_linger_options *options)
{
    struct end *end = &world->ends[side];
    bool was_closing = end->is_closing;

    if (end->is_gone || world->now_ns < end->runs_ns)
        return;
    work(world, end);
    if (end->is_closing && !was_closing)
        xp_linger_open(&end->linger, options, world->now_ns, end->link.counters.packets_received);
    send_all(world, side);
    /* A peer that has said goodbye owes nothing. */
    if (end->is_closing && (world->ends[1 - side].is_gone || !is_owed(&end->link))) {
        leave(world, side);
    } else if (end->is_closing &&
               !xp_linger_step(&end->linger, world->now_ns, end->link.counters.packets_received)) {
        world->ran_out++;
        leave(world, side);
    }
    if (cf_rng_chance(&world->rng, world->away))
        end->runs_ns = world->now_ns + 50 * MS + cf_rng_below(&world->rng, 850 * MS);
}

/* True: both ends closed, and nothing that was posted is missing at a peer that lived. */
static bool closes_whole(uint64_t seed, const struct xp_linger_options *options)
{
    struct world *world = calloc(1, sizeof(*world));
    bool is_whole;

    assert_non_null(world);
    cf_rng_seed(&world->rng, seed);
    world->now_ns = MS;
    world->loss = 0.1 + cf_rng_unit(&world->rng) * 0.3;
    world->away = cf_rng_chance(&world->rng, 0.5) ? 0.02 : 0.2;
    end_open(world, 0);
    end_open(world, 1);
    while (!(world->ends[0].is_gone && world->ends[1].is_gone) && world->now_ns < END_NS) {
        uint32_t first = (uint32_t)cf_rng_below(&world->rng, 2);

        step(world, first, options);
        step(world, 1 - first, options);
        world->now_ns += STEP_NS;
    }
    assert_true(world->now_ns < END_NS);
    is_whole = !world->is_short;
    free(world->ends[0].memory);
    free(world->ends[1].memory);
    free(world);
    return is_whole;
}

static void who_has_closed_has_had_everything_arrive(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        if (!closes_whole(seed, &by_running_time))
            fail_msg("seed %llu: an end closed before its last messages arrived", (unsigned long long)seed);
}

/* The seeds reach what running time is for. */
static void a_clock_on_the_wall_closes_too_early(void **state)
{
    uint32_t early = 0;

    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        early += !closes_whole(seed, &by_all_time);
    print_message("%u of %u closes lose messages by the wall clock\n", early, SEEDS);
    assert_int_not_equal(early, 0);
}

static void a_peer_that_never_answers_is_waited_for_so_long_and_not_longer(void **state)
{
    struct xp_linger linger;
    uint64_t now_ns = MS, steps = 0;

    (void)state;
    xp_linger_open(&linger, &by_running_time, now_ns, 0);
    do
        now_ns += MS;
    while (xp_linger_step(&linger, now_ns, 0) && ++steps < 100000);
    assert_int_equal(now_ns, 501 * MS);
    xp_linger_open(&linger, &by_running_time, now_ns, 0);
    for (steps = 1; steps < 100000; steps++) /* it answers, and never what is waited for */
        if (!xp_linger_step(&linger, now_ns += MS, steps))
            break;
    assert_int_equal(steps, 10000);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(who_has_closed_has_had_everything_arrive),
        cmocka_unit_test(a_clock_on_the_wall_closes_too_early),
        cmocka_unit_test(a_peer_that_never_answers_is_waited_for_so_long_and_not_longer),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
