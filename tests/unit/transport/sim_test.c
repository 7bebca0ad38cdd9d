/* SPDX-License-Identifier: Apache-2.0 */
/* The simulated network through the provider's calls. Not here: what the block protocol makes of it (tests/sim). */
#include <setjmp.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "transport/sim/sim.h"
#include "transport/xp.h"

#define NODES_MAX 4u
#define FRAMES 8u
#define BLOCK_BYTES 2048u
#define SLOTS 16u
#define MESSAGES 400u

struct end {
    struct xp *xp;
    struct xp_frame_space space;
    uint32_t ups, resets, downs, messages, blocks, torns, disorder;
    uint64_t last_value;
    uint32_t last_frame;
};

struct world {
    struct sim_net *net;
    struct end ends[NODES_MAX];
    uint32_t nodes;
};

static uint64_t body_of(const struct xp_event *event)
{
    uint64_t value;

    memcpy(&value, event->message, sizeof(value));
    return value;
}

static void take(struct end *end, const struct xp_event *event)
{
    switch (event->type) {
    case XP_EV_HELLO:
        xp_accept(end->xp, event->node, CF_OK, NULL);
        break;
    case XP_EV_UP:
        end->ups++;
        break;
    case XP_EV_RESET:
        end->resets++;
        break;
    case XP_EV_DOWN:
        end->downs++;
        break;
    case XP_EV_MESSAGE:
        end->messages++;
        end->disorder += body_of(event) <= end->last_value;
        end->last_value = body_of(event);
        break;
    case XP_EV_BLOCK:
        end->blocks++;
        end->last_frame = event->frame;
        break;
    case XP_EV_TORN:
        end->torns++;
        break;
    default:
        fail_msg("event %u", event->type);
    }
}

static void poll_node(struct world *w, uint16_t node)
{
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t count = xp_poll(w->ends[node].xp, sim_net_now(w->net), events, XP_EVENTS_MAX);

    for (uint32_t i = 0; i < count; i++)
        take(&w->ends[node], &events[i]);
}

static void run(struct world *w)
{
    while (sim_net_next_ns(w->net) != UINT64_MAX) {
        if (sim_net_next_ns(w->net) > sim_net_now(w->net))
            sim_net_advance(w->net, sim_net_next_ns(w->net));
        poll_node(w, sim_net_next_node(w->net));
    }
}

static void world_open(struct world *w, uint32_t nodes, enum sim_order order, enum sim_blocks blocks,
                       const struct sim_net_faults *faults, uint64_t seed)
{
    struct sim_net_options options = {.nodes = nodes,
                                      .seed = seed,
                                      .order = order,
                                      .blocks = blocks,
                                      .delay_floor_ns = 1000,
                                      .bytes_per_us = 1000,
                                      .retransmit_ns = 100000,
                                      .detect_ns = 50000,
                                      .packet_bytes = 1472,
                                      .reorders = true,
                                      .faults = *faults};

    memset(w, 0, sizeof(*w));
    w->nodes = nodes;
    assert_int_equal(sim_net_open(&options, &w->net), CF_OK);
    for (uint16_t n = 0; n < nodes; n++) {
        struct end *end = &w->ends[n];
        void *memory;
        struct xp_options xo = {.address = "sim:",
                                .node = n,
                                .incarnation = 1,
                                .nodes = nodes,
                                .cluster = "c",
                                .secret = "s",
                                .epoch = 1,
                                .lane_slots = SLOTS,
                                .allocator = cf_allocator_default(),
                                .network = w->net};

        assert_int_equal(xp_open(&xo, &end->xp, NULL), CF_OK);
        assert_int_equal(xp_memory(end->xp, FRAMES * (BLOCK_BYTES + 8), 0, &memory, NULL), CF_OK);
        end->space.base = memory;
        end->space.bytes = FRAMES * BLOCK_BYTES;
        end->space.words = (_Atomic uint64_t *)(void *)((uint8_t *)memory + FRAMES * BLOCK_BYTES);
        end->space.words_stable_mask = UINT64_MAX;
        end->space.count = FRAMES;
        end->space.classes[0] = (struct xp_frame_class){.count = FRAMES, .bytes = BLOCK_BYTES};
        assert_int_equal(xp_start(end->xp, &end->space, NULL), CF_OK);
    }
    run(w);
}

static void world_close(struct world *w)
{
    for (uint32_t n = 0; n < w->nodes; n++)
        xp_close(&w->ends[n].xp);
    sim_net_close(&w->net);
}

static bool send_value(struct world *w, uint16_t from, uint16_t to, uint64_t value)
{
    void *body = xp_begin(w->ends[from].xp, to, XP_CONTROL, 8);

    if (body == NULL)
        return false;
    memcpy(body, &value, sizeof(value));
    xp_post(w->ends[from].xp, to, XP_CONTROL, 7, 0);
    xp_flush(w->ends[from].xp);
    return true;
}

static void send_many(struct world *w, uint32_t count)
{
    uint64_t value = 1;

    while (value <= count) {
        if (send_value(w, 0, 1, value))
            value++;
        else
            run(w);
    }
    run(w);
}

static void send_block(struct world *w, uint32_t frame)
{
    assert_non_null(xp_begin(w->ends[0].xp, 1, XP_DATA, 8));
    xp_post_block(w->ends[0].xp, 1, XP_DATA, 9, 0, frame);
    xp_flush(w->ends[0].xp);
}

static const struct sim_net_faults calm = {.delay_mean_ns = 5000};
static const struct sim_net_faults rough = {
    .delay_mean_ns = 20000, .loss_ppm = 200000, .duplicate_ppm = 300000, .late_ns_max = 500000};

static void sound(const struct world *w)
{
    char text[200];

    if (!sim_net_check(w->net, text, sizeof(text)))
        fail_msg("%s", text);
}

static void every_pair_connects(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 4, SIM_ORDERED, SIM_PULL, &calm, 1);
    for (uint16_t a = 0; a < 4; a++) {
        assert_int_equal(w.ends[a].ups, 3);
        for (uint16_t b = 0; b < 4; b++)
            assert_int_equal(xp_is_up(w.ends[a].xp, b), a != b);
    }
    world_close(&w);
}

static void ordered_lanes_deliver_each_once_in_order_under_loss(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PULL, &rough, 2);
    send_many(&w, MESSAGES);
    assert_int_equal(w.ends[1].messages, MESSAGES);
    assert_int_equal(w.ends[1].disorder, 0);
    sound(&w);
    world_close(&w);
}

static void links_deliver_each_once_in_order_over_frames_that_are_lost(void **state)
{
    static const struct sim_net_faults bad = {.delay_mean_ns = 20000,
                                              .loss_ppm = 200000,
                                              .duplicate_ppm = 300000,
                                              .damage_ppm = 50000,
                                              .late_ns_max = 500000};
    const struct sim_net_counters *counters;
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_LINKS, SIM_PULL, &bad, 2);
    send_many(&w, MESSAGES);
    counters = sim_net_counters(w.net);
    assert_int_equal(w.ends[1].messages, MESSAGES);
    assert_int_equal(w.ends[1].disorder, 0);
    assert_true(counters->lost > MESSAGES / 10 && counters->doubled > MESSAGES / 10 && counters->damaged > 5);
    sound(&w);
    world_close(&w);
}

static void raw_lanes_lose_and_double(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_RAW, SIM_PULL, &rough, 3);
    send_many(&w, MESSAGES);
    assert_true(sim_net_counters(w.net)->lost > MESSAGES / 10);
    assert_true(sim_net_counters(w.net)->doubled > MESSAGES / 10);
    assert_int_equal(w.ends[1].messages,
                     MESSAGES - sim_net_counters(w.net)->lost + sim_net_counters(w.net)->doubled);
    sound(&w);
    world_close(&w);
}

static void chaos_reorders_inside_a_lane(void **state)
{
    static const struct sim_net_faults slow = {.delay_mean_ns = 50000};
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_CHAOS, SIM_PULL, &slow, 4);
    send_many(&w, MESSAGES);
    assert_int_equal(w.ends[1].messages, MESSAGES);
    assert_true(w.ends[1].disorder > 0);
    sound(&w);
    world_close(&w);
}

static void full_lane_refuses_and_credit_wakes_the_sender(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PULL, &calm, 5);
    for (uint64_t i = 1; i <= SLOTS; i++)
        assert_true(send_value(&w, 0, 1, i));
    assert_false(send_value(&w, 0, 1, SLOTS + 1));
    sim_net_advance(w.net, sim_net_node_next_ns(w.net, 1));
    poll_node(&w, 1);
    assert_true(sim_net_node_next_ns(w.net, 0) <= sim_net_now(w.net));
    assert_true(send_value(&w, 0, 1, SLOTS + 1));
    run(&w);
    assert_int_equal(w.ends[1].messages, SLOTS + 1);
    sound(&w);
    world_close(&w);
}

static void flap_loses_what_is_under_way_and_resets_both_ends_on(enum sim_order order)
{
    struct world w;

    world_open(&w, 2, order, SIM_PULL, &calm, 6);
    for (uint64_t i = 1; i <= 5; i++)
        assert_true(send_value(&w, 0, 1, i));
    assert_true(sim_net_flap(w.net, 0, 1, 1000));
    assert_false(xp_is_up(w.ends[0].xp, 1));
    assert_false(send_value(&w, 0, 1, 6));
    run(&w);
    assert_int_equal(w.ends[0].resets, 1);
    assert_int_equal(w.ends[1].resets, 1);
    assert_int_equal(w.ends[1].messages, 0);
    send_many(&w, MESSAGES);
    assert_int_equal(w.ends[1].messages, MESSAGES);
    sound(&w);
    world_close(&w);
}

static void flap_loses_what_is_under_way_and_resets_both_ends(void **state)
{
    (void)state;
    flap_loses_what_is_under_way_and_resets_both_ends_on(SIM_ORDERED);
    flap_loses_what_is_under_way_and_resets_both_ends_on(SIM_LINKS);
}

static void pulled_block_lands_in_the_lent_frame_on(enum sim_order order)
{
    struct world w;

    world_open(&w, 2, order, SIM_PULL, &calm, 7);
    memset(w.ends[0].space.base + 3 * BLOCK_BYTES, 0x77, BLOCK_BYTES);
    xp_frame_post(w.ends[1].xp, 0, 5);
    send_block(&w, 3);
    run(&w);
    assert_int_equal(w.ends[1].blocks, 1);
    assert_int_equal(w.ends[1].last_frame, 5);
    assert_memory_equal(w.ends[1].space.base + 5 * BLOCK_BYTES, w.ends[0].space.base + 3 * BLOCK_BYTES,
                        BLOCK_BYTES);
    sound(&w);
    world_close(&w);
}

static void pulled_block_lands_in_the_lent_frame(void **state)
{
    (void)state;
    pulled_block_lands_in_the_lent_frame_on(SIM_ORDERED);
    pulled_block_lands_in_the_lent_frame_on(SIM_LINKS);
}

static void moved_word_tears_a_pulled_block(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PULL, &calm, 8);
    xp_frame_post(w.ends[1].xp, 0, 5);
    send_block(&w, 3);
    atomic_store(&w.ends[0].space.words[3], 99);
    run(&w);
    assert_int_equal(w.ends[1].blocks, 0);
    assert_int_equal(w.ends[1].torns, 1);
    world_close(&w);
}

static void pushed_block_carries_the_bytes_of_the_post(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PUSH, &calm, 9);
    memset(w.ends[0].space.base + 3 * BLOCK_BYTES, 0x11, BLOCK_BYTES);
    xp_frame_post(w.ends[1].xp, 0, 5);
    send_block(&w, 3);
    memset(w.ends[0].space.base + 3 * BLOCK_BYTES, 0x22, BLOCK_BYTES);
    run(&w);
    assert_int_equal(w.ends[1].blocks, 1);
    assert_int_equal(w.ends[1].space.base[5 * BLOCK_BYTES + 100], 0x11);
    world_close(&w);
}

static void written_lent_frame_is_told(void **state)
{
    struct world w;
    char text[200];

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PULL, &calm, 10);
    xp_frame_post(w.ends[1].xp, 0, 5);
    w.ends[1].space.base[5 * BLOCK_BYTES] = 1;
    send_block(&w, 3);
    run(&w);
    assert_false(sim_net_check(w.net, text, sizeof(text)));
    assert_non_null(strstr(text, "T-4"));
    world_close(&w);
}

static void survivors_hear_of_a_crash_once(void **state)
{
    struct world w;

    (void)state;
    world_open(&w, 3, SIM_ORDERED, SIM_PULL, &calm, 11);
    assert_true(send_value(&w, 0, 1, 1));
    sim_net_crash(w.net, 0);
    run(&w);
    assert_int_equal(w.ends[1].downs, 1);
    assert_int_equal(w.ends[2].downs, 1);
    assert_false(xp_is_up(w.ends[1].xp, 0));
    assert_true(xp_is_up(w.ends[1].xp, 2));
    world_close(&w);
}

/* T-3 */
static void other_epoch_is_dropped(void **state)
{
    uint64_t value = 5;
    struct world w;

    (void)state;
    for (uint32_t order = SIM_ORDERED; order <= SIM_CHAOS; order++) {
        world_open(&w, 2, (enum sim_order)order, SIM_PULL, &calm, 12);
        sim_net_inject(w.net, 0, 1, 7, &value, 8, 0, 0);
        run(&w);
        assert_int_equal(w.ends[1].messages, 0);
        assert_int_equal(xp_counters(w.ends[1].xp)->stale_epoch, 1);
        world_close(&w);
    }
}

static void cut_delays_ordered_lanes_and_loses_raw_ones(void **state)
{
    struct world w;

    (void)state;
    for (uint32_t order = SIM_ORDERED; order <= SIM_RAW; order++) {
        uint64_t heal_ns;

        world_open(&w, 2, (enum sim_order)order, SIM_PULL, &calm, 13);
        heal_ns = sim_net_now(w.net) + 5000000;
        sim_net_cut(w.net, 0, 1, heal_ns);
        assert_true(send_value(&w, 0, 1, 1));
        run(&w);
        assert_int_equal(w.ends[1].messages, order == SIM_ORDERED);
        assert_true(sim_net_now(w.net) >= heal_ns);
        world_close(&w);
    }
}

static void stalled_node_is_not_due(void **state)
{
    struct world w;
    uint64_t until_ns;

    (void)state;
    world_open(&w, 2, SIM_ORDERED, SIM_PULL, &calm, 14);
    until_ns = sim_net_now(w.net) + 7000000;
    sim_net_stall(w.net, 1, until_ns);
    assert_true(send_value(&w, 0, 1, 1));
    assert_int_equal(sim_net_next_ns(w.net), until_ns);
    world_close(&w);
}

static uint64_t trace_of(uint64_t seed)
{
    struct world w;
    uint64_t trace;

    world_open(&w, 3, SIM_CHAOS, SIM_PULL, &rough, seed);
    send_many(&w, MESSAGES);
    trace = sim_net_trace(w.net);
    world_close(&w);
    return trace;
}

/* I-27 */
static void same_seed_gives_the_same_trace(void **state)
{
    (void)state;
    assert_int_equal(trace_of(15), trace_of(15));
    assert_int_not_equal(trace_of(15), trace_of(16));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_pair_connects),
        cmocka_unit_test(ordered_lanes_deliver_each_once_in_order_under_loss),
        cmocka_unit_test(links_deliver_each_once_in_order_over_frames_that_are_lost),
        cmocka_unit_test(raw_lanes_lose_and_double),
        cmocka_unit_test(chaos_reorders_inside_a_lane),
        cmocka_unit_test(full_lane_refuses_and_credit_wakes_the_sender),
        cmocka_unit_test(flap_loses_what_is_under_way_and_resets_both_ends),
        cmocka_unit_test(pulled_block_lands_in_the_lent_frame),
        cmocka_unit_test(moved_word_tears_a_pulled_block),
        cmocka_unit_test(pushed_block_carries_the_bytes_of_the_post),
        cmocka_unit_test(written_lent_frame_is_told),
        cmocka_unit_test(survivors_hear_of_a_crash_once),
        cmocka_unit_test(other_epoch_is_dropped),
        cmocka_unit_test(cut_delays_ordered_lanes_and_loses_raw_ones),
        cmocka_unit_test(stalled_node_is_not_due),
        cmocka_unit_test(same_seed_gives_the_same_trace),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
