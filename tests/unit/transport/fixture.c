/* SPDX-License-Identifier: Apache-2.0 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/conformance.h"

/* A loaded machine of two cores schedules a process out for tens of milliseconds; this is far beyond. A guest may need more. */
#define WAIT_S 20
#define WAIT_VARIABLE "CF_TEST_WAIT_S"

#define SMALL_CLASS 0u /* 2 KiB */
#define BLOCK_CLASS 2u /* 8 KiB */

static uint64_t wait_s(void)
{
    const char *text = getenv(WAIT_VARIABLE);

    return text != NULL ? strtoull(text, NULL, 10) : WAIT_S;
}

struct xp_wait xp_wait_begin(void)
{
    return (struct xp_wait){.deadline_ns = cf_now_ns() + wait_s() * CF_NS_PER_S};
}

void xp_wait_check(const struct xp_wait *wait, const char *what, const char *file, int line)
{
    if (cf_now_ns() < wait->deadline_ns)
        return;
    print_error("waited %llu s for: %s\n", (unsigned long long)wait_s(), what);
    _fail(file, line);
}

void xp_side_options(const struct xp_fixture *fixture, struct xp_options *options, uint16_t node,
                     uint32_t nodes)
{
    *options = (struct xp_options){.address = fixture->address,
                                   .node = node,
                                   .incarnation = 1,
                                   .nodes = nodes,
                                   .cluster = fixture->cluster[0] != 0 ? fixture->cluster : "conformance",
                                   .secret = "not a secret",
                                   .epoch = 1,
                                   .lane_slots = XP_PAIR_SLOTS,
                                   .peer_timeout_ns = CF_NS_PER_S,
                                   .network = fixture->network};
    options->hello[0] = (uint8_t)(0xa0 + node);
}

void xp_side_open(struct xp_side *side, const struct xp_options *options)
{
    const uint64_t words_bytes = 4096;
    const uint64_t frames_bytes = XP_PAIR_FRAMES * (uint64_t)(CF_BLOCK_BYTES_MIN + 4 * CF_BLOCK_BYTES_MIN);
    struct cf_error error = {.rc = 0};
    void *memory;

    memset(side, 0, sizeof(*side));
    side->node = options->node;
    assert_int_equal(xp_open(options, &side->xp, &error), CF_OK);
    assert_int_equal(xp_memory(side->xp, words_bytes + frames_bytes, 0, &memory, &error), CF_OK);
    side->memory = memory;
    side->space.base = side->memory;
    side->space.bytes = words_bytes + frames_bytes;
    side->space.words = (_Atomic uint64_t *)memory;
    side->space.words_stable_mask = UINT64_C(0xffffffff00000000);
    side->space.count = 2 * XP_PAIR_FRAMES;
    side->space.classes[SMALL_CLASS] = (struct xp_frame_class){
        .first = 0, .count = XP_PAIR_FRAMES, .bytes = CF_BLOCK_BYTES_MIN, .offset = words_bytes};
    side->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
        .first = XP_PAIR_FRAMES,
        .count = XP_PAIR_FRAMES,
        .bytes = 4 * CF_BLOCK_BYTES_MIN,
        .offset = words_bytes + XP_PAIR_FRAMES * (uint64_t)CF_BLOCK_BYTES_MIN};
    assert_int_equal(xp_start(side->xp, &side->space, &error), CF_OK);
}

void xp_side_close(struct xp_side *side)
{
    if (side->xp != NULL)
        xp_close(&side->xp);
    assert_null(side->xp);
}

uint8_t *xp_side_frame(const struct xp_side *side, uint32_t frame)
{
    const struct xp_frame_class *frames =
        &side->space.classes[frame < side->space.classes[BLOCK_CLASS].first ? SMALL_CLASS : BLOCK_CLASS];

    return side->space.base + frames->offset + (uint64_t)(frame - frames->first) * frames->bytes;
}

void xp_pair_poll(struct xp_pair *pair, uint32_t index)
{
    struct xp_side *side = &pair->sides[index];
    uint64_t now_ns = pair->fixture->advance(pair->fixture);

    side->events_count = xp_poll(side->xp, now_ns, side->events, XP_EVENTS_MAX);
    for (uint32_t i = 0; i < side->events_count; i++) {
        const struct xp_event *event = &side->events[i];

        switch ((enum xp_event_type)event->type) {
        case XP_EV_HELLO:
            side->hellos++;
            assert_int_equal(event->bytes, XP_HELLO_BYTES);
            assert_int_equal(((const uint8_t *)event->message)[0], 0xa0 + event->node);
            xp_accept(side->xp, event->node, side->answer, "the layer above says so");
            break;
        case XP_EV_UP:
            side->ups++;
            break;
        case XP_EV_RESET:
            side->resets++;
            break;
        case XP_EV_DOWN:
            side->downs++;
            side->down_rc = event->rc;
            break;
        case XP_EV_MESSAGE:
        case XP_EV_BLOCK:
        case XP_EV_TORN:
        case XP_EV_DONE:
            side->messages++;
            break;
        }
    }
}

void xp_pair_turn(struct xp_pair *pair)
{
    for (uint32_t i = 0; i < pair->count; i++)
        if (pair->sides[i].xp != NULL)
            xp_pair_poll(pair, i);
}

void xp_pair_settle(struct xp_pair *pair)
{
    for (uint32_t i = 0; i < 4; i++)
        xp_pair_turn(pair);
    if (pair->fixture->is_settled != NULL)
        xp_pair_until(pair, pair->fixture->is_settled(pair));
}

static bool all_up(const struct xp_pair *pair)
{
    for (uint32_t i = 0; i < pair->count; i++)
        if (pair->sides[i].ups != pair->count - 1)
            return false;
    return true;
}

void xp_pair_open(struct xp_pair *pair, struct xp_fixture *fixture, uint32_t count)
{
    memset(pair, 0, sizeof(*pair));
    pair->fixture = fixture;
    pair->count = count;
    for (uint32_t i = 0; i < count; i++) {
        struct xp_options options;

        xp_side_options(fixture, &options, (uint16_t)i, count);
        xp_side_open(&pair->sides[i], &options);
    }
    xp_pair_until(pair, all_up(pair));
}

void xp_pair_close(struct xp_pair *pair)
{
    for (uint32_t i = 0; i < pair->count; i++)
        xp_side_close(&pair->sides[i]);
}
