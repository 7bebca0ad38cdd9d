/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The contract of xp.h as tests: T-1 order and at most once, T-2 credits, T-3 nothing foreign or stale, T-4 frames,
 * connection events and refusals. Not here: threads, sleeping, processes that die (the provider's own tests).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "tests/unit/transport/conformance.h"

#define TYPE 7u
#define BLOCK_CLASS 2u
#define BLOCK_BYTES 8192u

static struct xp_fixture *fixture_of(void **state)
{
    return *state;
}

static bool send_number(struct xp_side *side, uint16_t to, enum xp_class lane, uint32_t bytes,
                        uint64_t number)
{
    uint8_t *body = xp_begin(side->xp, to, lane, bytes);

    if (body == NULL)
        return false;
    assert_int_equal((uintptr_t)body % 8, 0);
    for (uint32_t i = 0; i < bytes; i++)
        body[i] = (uint8_t)(number + i);
    xp_post(side->xp, to, lane, (uint16_t)(TYPE + lane), number);
    return true;
}

static void expect_number(const struct xp_event *event, uint16_t from, uint32_t bytes, uint64_t number)
{
    const uint8_t *body = event->message;

    assert_int_equal(event->type, XP_EV_MESSAGE);
    assert_int_equal(event->node, from);
    assert_int_equal(event->bytes, bytes);
    assert_int_equal(event->header->scn, number);
    assert_int_equal(event->header->type, TYPE + event->lane_class);
    assert_int_equal(event->header->node, from);
    assert_int_equal(event->header->sequence, number);
    for (uint32_t i = 0; i < bytes; i++)
        assert_int_equal(body[i], (uint8_t)(number + i));
}

/* Sizes that meet every edge of a slot: none, inline, one line, the largest. */
static uint32_t size_of(uint64_t number)
{
    static const uint32_t sizes[] = {0, 8, 16, 17, 24, 64, 65, 128, 200, 447, XP_BODY_BYTES_MAX};

    return sizes[number % CF_COUNTOF(sizes)];
}

static void messages_arrive_once_and_in_order(void **state)
{
    enum { MESSAGES = 2000 };
    uint64_t sent[XP_PAIR_NODES_MAX][XP_LANES] = {{0}}, got[XP_PAIR_NODES_MAX][XP_LANES] = {{0}};
    struct xp_pair pair;
    struct xp_wait wait = xp_wait_begin();
    uint64_t left = 2 * XP_LANES * MESSAGES;

    xp_pair_open(&pair, fixture_of(state), 2);
    while (left > 0) {
        for (uint16_t s = 0; s < 2; s++) {
            struct xp_side *side = &pair.sides[s];

            for (uint32_t lane = 0; lane < XP_LANES; lane++)
                while (sent[s][lane] < MESSAGES &&
                       send_number(side, 1 - s, lane, size_of(sent[s][lane] + 1), sent[s][lane] + 1))
                    sent[s][lane]++;
            xp_flush(side->xp);
            xp_pair_poll(&pair, s);
            for (uint32_t i = 0; i < side->events_count; i++) {
                const struct xp_event *event = &side->events[i];
                uint64_t number = ++got[s][event->lane_class];

                expect_number(event, 1 - s, size_of(number), number);
                left--;
            }
        }
        xp_wait_check(&wait, "all messages", __FILE__, __LINE__);
    }
    xp_pair_turn(&pair);
    assert_int_equal(pair.sides[0].events_count + pair.sides[1].events_count, 0);
    assert_int_equal(xp_counters(pair.sides[0].xp)->received, XP_LANES * MESSAGES);
    assert_int_equal(xp_counters(pair.sides[1].xp)->sent, XP_LANES * MESSAGES);
    xp_pair_close(&pair);
}

static void a_lane_has_a_window_of_credits_and_they_return(void **state)
{
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    for (uint32_t lap = 0; lap < 5; lap++) {
        uint64_t refused = xp_counters(pair.sides[0].xp)->no_credit;

        pair.sides[1].messages = 0;
        for (uint32_t i = 0; i < XP_PAIR_SLOTS; i++)
            assert_true(send_number(&pair.sides[0], 1, XP_DATA, 64, lap * XP_PAIR_SLOTS + i + 1));
        assert_false(send_number(&pair.sides[0], 1, XP_DATA, 64, 0));
        assert_true(xp_counters(pair.sides[0].xp)->no_credit > refused);
        xp_flush(pair.sides[0].xp);
        xp_pair_until(&pair, pair.sides[1].messages == XP_PAIR_SLOTS);
        xp_pair_settle(&pair); /* the receiver tells what it took when it finds nothing more */
    }
    /* The other lane never lacked any. */
    assert_true(send_number(&pair.sides[0], 1, XP_CONTROL, 8, 1));
    xp_pair_close(&pair);
}

static void fill(uint8_t *bytes, uint8_t with)
{
    for (uint32_t i = 0; i < BLOCK_BYTES; i++)
        bytes[i] = (uint8_t)(with + i * 7);
}

static bool is_filled(const uint8_t *bytes, uint8_t with)
{
    for (uint32_t i = 0; i < BLOCK_BYTES; i++)
        if (bytes[i] != (uint8_t)(with + i * 7))
            return false;
    return true;
}

static void send_block(struct xp_side *side, uint16_t to, uint32_t body_bytes, uint32_t frame)
{
    uint8_t *body = xp_begin(side->xp, to, XP_DATA, body_bytes);

    assert_non_null(body);
    memset(body, 0x5a, body_bytes);
    xp_post_block(side->xp, to, XP_DATA, TYPE, 5, frame);
    xp_flush(side->xp);
}

/* Turns until one event of a message has come to the side; a sender may have to be driven for it too. */
static const struct xp_event *next_event(struct xp_pair *pair, uint32_t side)
{
    struct xp_wait wait = xp_wait_begin();

    do {
        for (uint32_t i = 0; i < pair->count; i++)
            if (i != side && pair->sides[i].xp != NULL)
                xp_pair_poll(pair, i);
        xp_pair_poll(pair, side);
        xp_wait_check(&wait, "an event", __FILE__, __LINE__);
    } while (pair->sides[side].events_count == 0);
    assert_int_equal(pair->sides[side].events_count, 1);
    return &pair->sides[side].events[0];
}

static void a_block_lands_in_a_frame_that_was_lent(void **state)
{
    static const uint32_t bodies[] = {0, 16, 64, XP_BODY_BYTES_MAX};
    const uint32_t source = XP_PAIR_FRAMES + 1, target = XP_PAIR_FRAMES + 9;
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    for (uint32_t i = 0; i < CF_COUNTOF(bodies); i++) {
        const struct xp_event *event;

        fill(xp_side_frame(&pair.sides[0], source), (uint8_t)i);
        fill(xp_side_frame(&pair.sides[1], target), 0x77);
        xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, target);
        xp_pair_settle(&pair);
        send_block(&pair.sides[0], 1, bodies[i], source);
        event = next_event(&pair, 1);
        assert_int_equal(event->type, XP_EV_BLOCK);
        assert_int_equal(event->frame, target);
        assert_int_equal(event->bytes, bodies[i]);
        for (uint32_t b = 0; b < bodies[i]; b++)
            assert_int_equal(((const uint8_t *)event->message)[b], 0x5a);
        assert_true(is_filled(xp_side_frame(&pair.sides[1], target), (uint8_t)i));
    }
    assert_int_equal(xp_counters(pair.sides[1].xp)->blocks_received, CF_COUNTOF(bodies));
    xp_pair_close(&pair);
}

static void every_lent_frame_is_used_once(void **state)
{
    bool used[2 * XP_PAIR_FRAMES] = {false};
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    for (uint32_t i = 0; i < 8; i++)
        xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, XP_PAIR_FRAMES + i);
    xp_pair_settle(&pair);
    for (uint32_t i = 0; i < 8; i++) {
        const struct xp_event *event;

        send_block(&pair.sides[0], 1, 8, XP_PAIR_FRAMES + i);
        event = next_event(&pair, 1);
        assert_int_equal(event->type, XP_EV_BLOCK);
        assert_in_range(event->frame, XP_PAIR_FRAMES, XP_PAIR_FRAMES + 7);
        assert_false(used[event->frame]);
        used[event->frame] = true;
    }
    /* None is left: a block nobody asked for uses no frame, and the message still comes. */
    send_block(&pair.sides[0], 1, 8, XP_PAIR_FRAMES);
    assert_int_equal(next_event(&pair, 1)->type, XP_EV_TORN);
    assert_int_equal(xp_counters(pair.sides[1].xp)->bad_frame, 0); /* it is no fault of the sender */
    xp_pair_close(&pair);
}

static void a_block_whose_word_moved_is_torn_and_keeps_no_frame(void **state)
{
    const uint32_t source = XP_PAIR_FRAMES + 2, target = XP_PAIR_FRAMES + 3;
    const struct xp_event *event;
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    if ((xp_caps(pair.sides[0].xp) & XP_CAP_PULL) == 0) {
        xp_pair_close(&pair);
        skip();
    }
    xp_frame_post(pair.sides[1].xp, BLOCK_CLASS, target);
    send_block(&pair.sides[0], 1, 24, source);
    cf_publish_u64(&pair.sides[0].space.words[source], UINT64_C(1) << 40); /* a stable bit */
    event = next_event(&pair, 1);
    assert_int_equal(event->type, XP_EV_TORN);
    assert_int_equal(event->bytes, 24);
    assert_int_equal(xp_counters(pair.sides[1].xp)->torn, 1);

    /* Bits outside the mask may move (pins, references), and the frame is still there to be used. */
    send_block(&pair.sides[0], 1, 24, source);
    cf_publish_u64(&pair.sides[0].space.words[source], (UINT64_C(1) << 40) | 0xff);
    event = next_event(&pair, 1);
    assert_int_equal(event->type, XP_EV_BLOCK);
    assert_int_equal(event->frame, target);
    xp_pair_close(&pair);
}

/* Opens two sides of which the second is changed by the test; no waiting. */
static void open_changed(struct xp_pair *pair, struct xp_fixture *fixture,
                         void (*change)(struct xp_options *options))
{
    memset(pair, 0, sizeof(*pair));
    pair->fixture = fixture;
    pair->count = 2;
    for (uint16_t i = 0; i < 2; i++) {
        struct xp_options options;

        xp_side_options(fixture, &options, i, 2);
        if (i == 1)
            change(&options);
        xp_side_open(&pair->sides[i], &options);
    }
}

static void expect_refused(struct xp_pair *pair, enum cf_rc rc)
{
    xp_pair_until(pair, pair->sides[0].downs == 1 && pair->sides[1].downs == 1);
    for (uint32_t i = 0; i < 2; i++) {
        assert_int_equal(pair->sides[i].down_rc, rc);
        assert_int_equal(pair->sides[i].ups, 0);
        assert_false(xp_is_up(pair->sides[i].xp, (uint16_t)(1 - i)));
        assert_null(xp_begin(pair->sides[i].xp, (uint16_t)(1 - i), XP_CONTROL, 8));
    }
    xp_pair_close(pair);
}

static void change_secret(struct xp_options *options)
{
    options->secret = "another secret";
}

static void change_epoch(struct xp_options *options)
{
    options->epoch = 2;
}

static void change_slots(struct xp_options *options)
{
    options->lane_slots = 2 * XP_PAIR_SLOTS;
}

static void an_instance_with_another_secret_is_refused(void **state)
{
    struct xp_pair pair;

    open_changed(&pair, fixture_of(state), change_secret);
    expect_refused(&pair, CF_CLUSTER);
}

static void an_instance_of_another_epoch_is_refused_and_counted(void **state)
{
    struct xp_pair pair;

    open_changed(&pair, fixture_of(state), change_epoch);
    xp_pair_until(&pair, pair.sides[0].downs == 1 && pair.sides[1].downs == 1);
    assert_true(xp_counters(pair.sides[0].xp)->stale_epoch + xp_counters(pair.sides[1].xp)->stale_epoch >= 1);
    expect_refused(&pair, CF_STALE);
}

static void an_instance_that_caught_up_with_the_epoch_is_let_in(void **state)
{
    struct xp_pair pair;

    open_changed(&pair, fixture_of(state), change_epoch);
    xp_pair_until(&pair, pair.sides[0].downs == 1 && pair.sides[1].downs == 1);
    xp_epoch(pair.sides[0].xp, 2);
    xp_pair_until(&pair, pair.sides[0].ups == 1 && pair.sides[1].ups == 1);
    xp_pair_close(&pair);
}

static void an_instance_with_other_lane_geometry_is_refused(void **state)
{
    struct xp_pair pair;

    open_changed(&pair, fixture_of(state), change_slots);
    expect_refused(&pair, CF_OPTION);
}

static void change_nothing(struct xp_options *options)
{
    (void)options;
}

static void the_layer_above_can_refuse_and_the_peer_learns_why(void **state)
{
    struct xp_pair pair;

    open_changed(&pair, fixture_of(state), change_nothing);
    pair.sides[0].answer = CF_BLOCK_SIZE;
    xp_pair_until(&pair, pair.sides[1].downs == 1);
    assert_int_equal(pair.sides[1].down_rc, CF_BLOCK_SIZE);
    assert_int_equal(pair.sides[0].ups + pair.sides[1].ups, 0);
    assert_int_equal(pair.sides[0].hellos, 1);
    xp_pair_close(&pair);
}

static void messages_of_another_epoch_are_dropped_and_counted(void **state)
{
    const struct xp_event *event;
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    assert_true(send_number(&pair.sides[0], 1, XP_CONTROL, 8, 1));
    xp_flush(pair.sides[0].xp);
    xp_epoch(pair.sides[1].xp, 2);
    xp_pair_until(&pair, xp_counters(pair.sides[1].xp)->stale_epoch == 1);
    assert_int_equal(pair.sides[1].messages, 0);

    xp_epoch(pair.sides[0].xp, 2);
    assert_true(send_number(&pair.sides[0], 1, XP_CONTROL, 8, 2));
    xp_flush(pair.sides[0].xp);
    event = next_event(&pair, 1);
    expect_number(event, 0, 8, 2);
    assert_int_equal(event->header->epoch, 2);
    xp_pair_close(&pair);
}

static void a_peer_that_closes_is_reported_after_its_last_message(void **state)
{
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    for (uint64_t i = 1; i <= 5; i++)
        assert_true(send_number(&pair.sides[0], 1, XP_DATA, 8, i));
    xp_flush(pair.sides[0].xp);
    xp_side_close(&pair.sides[0]);
    xp_pair_until(&pair, pair.sides[1].downs == 1);
    assert_int_equal(pair.sides[1].messages, 5);
    assert_int_equal(pair.sides[1].down_rc, CF_CLOSING);
    assert_false(xp_is_up(pair.sides[1].xp, 0));
    assert_null(xp_begin(pair.sides[1].xp, 0, XP_DATA, 8));
    xp_pair_close(&pair);
}

static void nothing_of_an_evicted_peer_is_delivered(void **state)
{
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 3);
    assert_true(send_number(&pair.sides[0], 1, XP_DATA, 8, 1));
    xp_flush(pair.sides[0].xp);
    xp_evict(pair.sides[1].xp, 0);
    assert_false(xp_is_up(pair.sides[1].xp, 0));
    assert_null(xp_begin(pair.sides[1].xp, 0, XP_DATA, 8));
    /* The third instance goes on; by the time its message is through, the first one's would have been. */
    assert_true(send_number(&pair.sides[2], 1, XP_DATA, 8, 1));
    xp_flush(pair.sides[2].xp);
    xp_pair_until(&pair, pair.sides[1].messages == 1 && pair.sides[0].downs >= 1);
    assert_int_equal(pair.sides[1].downs, 0);
    assert_int_equal(pair.sides[1].messages, 1);
    xp_pair_close(&pair);
}

static void a_read_copies_from_the_peers_frames(void **state)
{
    const uint32_t frame = XP_PAIR_FRAMES + 4;
    uint8_t bytes[BLOCK_BYTES];
    const struct xp_event *event;
    struct xp_pair pair;
    uint64_t offset;

    xp_pair_open(&pair, fixture_of(state), 2);
    if ((xp_caps(pair.sides[1].xp) & XP_CAP_READ) == 0) {
        assert_int_equal(xp_read(pair.sides[1].xp, 0, 0, bytes, 8, 1), CF_UNSUPPORTED);
        xp_pair_close(&pair);
        skip();
    }
    fill(xp_side_frame(&pair.sides[0], frame), 0x31);
    offset = (uint64_t)(xp_side_frame(&pair.sides[0], frame) - pair.sides[0].space.base);
    assert_int_equal(xp_read(pair.sides[1].xp, 0, offset, bytes, sizeof(bytes), 0x1234), CF_OK);
    event = next_event(&pair, 1);
    assert_int_equal(event->type, XP_EV_DONE);
    assert_int_equal(event->token, 0x1234);
    assert_int_equal(event->rc, CF_OK);
    assert_true(is_filled(bytes, 0x31));
    assert_int_equal(xp_read(pair.sides[1].xp, 0, pair.sides[0].space.bytes, bytes, 1, 1), CF_RANGE);
    assert_int_equal(xp_read(pair.sides[1].xp, 0, UINT64_MAX, bytes, 2, 1), CF_RANGE);
    xp_pair_close(&pair);
}

static void atomics_are_offered_or_refused_by_name(void **state)
{
    struct xp_pair pair;

    xp_pair_open(&pair, fixture_of(state), 2);
    if ((xp_caps(pair.sides[0].xp) & XP_CAP_ATOMIC) == 0) {
        assert_int_equal(xp_cas(pair.sides[0].xp, 1, 0, 0, 1, 1), CF_UNSUPPORTED);
        assert_int_equal(xp_add(pair.sides[0].xp, 1, 0, 1, 1), CF_UNSUPPORTED);
    } else {
        assert_int_equal(xp_add(pair.sides[0].xp, 1, 0, 1, 1), CF_OK);
        assert_int_equal(next_event(&pair, 0)->type, XP_EV_DONE);
    }
    xp_pair_close(&pair);
}

static void options_out_of_range_are_refused(void **state)
{
    struct xp_fixture *fixture = fixture_of(state);
    struct cf_error error = {.rc = 0};
    struct xp_options options;
    struct xp *xp = NULL;

    xp_side_options(fixture, &options, 0, 2);
    options.lane_slots = 24;
    assert_int_equal(xp_open(&options, &xp, &error), CF_OPTION);
    assert_non_null(strstr(error.text, "lane_slots"));
    xp_side_options(fixture, &options, 2, 2);
    assert_int_equal(xp_open(&options, &xp, &error), CF_OPTION);
    xp_side_options(fixture, &options, 0, 2);
    options.address = "carrier-pigeon:";
    assert_int_equal(xp_open(&options, &xp, &error), CF_NOT_FOUND);
    assert_non_null(strstr(error.text, "carrier-pigeon"));
    assert_null(xp);
}

int xp_conformance_run(struct xp_fixture *fixture)
{
#define FACT(name)                       \
    {                                    \
#name, name, NULL, NULL, fixture \
    }
    const struct CMUnitTest tests[] = {
        FACT(messages_arrive_once_and_in_order),
        FACT(a_lane_has_a_window_of_credits_and_they_return),
        FACT(a_block_lands_in_a_frame_that_was_lent),
        FACT(every_lent_frame_is_used_once),
        FACT(a_block_whose_word_moved_is_torn_and_keeps_no_frame),
        FACT(an_instance_with_another_secret_is_refused),
        FACT(an_instance_of_another_epoch_is_refused_and_counted),
        FACT(an_instance_that_caught_up_with_the_epoch_is_let_in),
        FACT(an_instance_with_other_lane_geometry_is_refused),
        FACT(the_layer_above_can_refuse_and_the_peer_learns_why),
        FACT(messages_of_another_epoch_are_dropped_and_counted),
        FACT(a_peer_that_closes_is_reported_after_its_last_message),
        FACT(nothing_of_an_evicted_peer_is_delivered),
        FACT(a_read_copies_from_the_peers_frames),
        FACT(atomics_are_offered_or_refused_by_name),
        FACT(options_out_of_range_are_refused),
    };
#undef FACT

    return cmocka_run_group_tests_name("conformance", tests, NULL, NULL);
}
