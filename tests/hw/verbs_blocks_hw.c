/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Blocks in quantity: every frame has one owner at a time (T-4), every block is whole and is the one that was sent,
 * and no receiver is ever found not ready, with three instances that send to each other as fast as grants allow.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/hw/verbs_fixture.h"

#define BLOCK_CLASS 2u
#define BLOCK_WORDS (4 * CF_BLOCK_BYTES_MIN / 8)
#define LENT 8u
#define TYPE 9u

struct body {
    uint64_t stamp;
    uint32_t bytes, unused;
};

/* Frames below LENT of the class are for arriving blocks, the others are sent from. */
struct owner {
    bool is_lent[XP_PAIR_FRAMES];
    uint32_t next_source;
    uint64_t blocks, torn, messages;
};

static void lend(struct xp_side *side, struct owner *owner, uint32_t i)
{
    assert_false(owner->is_lent[i]);
    owner->is_lent[i] = true;
    memset(xp_side_frame(side, XP_PAIR_FRAMES + i), 0xee, 4 * CF_BLOCK_BYTES_MIN);
    xp_frame_post(side->xp, BLOCK_CLASS, XP_PAIR_FRAMES + i);
}

static bool send_one(struct xp_side *side, struct owner *owner, uint16_t to, uint64_t stamp, bool has_block)
{
    uint32_t source = XP_PAIR_FRAMES + LENT + owner->next_source, bytes = 16 + (uint32_t)(stamp % 400);
    uint64_t *words = (uint64_t *)(void *)xp_side_frame(side, source);
    struct body *body;

    if (has_block && xp_frame_is_sending(side->xp, source))
        return false;
    body = xp_begin(side->xp, to, XP_DATA, bytes);
    if (body == NULL)
        return false;
    memset(body, (int)(stamp & 0xff), bytes);
    body->stamp = stamp;
    body->bytes = bytes;
    if (!has_block) {
        xp_post(side->xp, to, XP_DATA, TYPE, stamp);
        return true;
    }
    for (uint32_t i = 0; i < BLOCK_WORDS; i++)
        words[i] = stamp + i;
    xp_post_block(side->xp, to, XP_DATA, TYPE, stamp, source);
    owner->next_source = (owner->next_source + 1) % (XP_PAIR_FRAMES - LENT);
    return true;
}

static void check_body(const struct xp_event *event)
{
    const struct body *body = event->message;

    assert_int_equal(body->stamp, event->header->scn);
    assert_int_equal(body->bytes, event->bytes);
    for (uint32_t i = sizeof(*body); i < event->bytes; i++)
        assert_int_equal(((const uint8_t *)event->message)[i], body->stamp & 0xff);
}

static void take(struct xp_side *side, struct owner *owner)
{
    for (uint32_t e = 0; e < side->events_count; e++) {
        const struct xp_event *event = &side->events[e];
        const uint64_t *words;
        uint32_t frame;

        if (event->type != XP_EV_MESSAGE && event->type != XP_EV_BLOCK && event->type != XP_EV_TORN)
            continue;
        check_body(event);
        owner->messages += event->type == XP_EV_MESSAGE;
        owner->torn += event->type == XP_EV_TORN;
        if (event->type != XP_EV_BLOCK)
            continue;
        frame = event->frame - XP_PAIR_FRAMES;
        assert_in_range(frame, 0, LENT - 1);
        assert_true(owner->is_lent[frame]);
        owner->is_lent[frame] = false;
        words = (const uint64_t *)(const void *)xp_side_frame(side, event->frame);
        for (uint32_t i = 0; i < BLOCK_WORDS; i++)
            assert_int_equal(words[i], event->header->scn + i);
        owner->blocks++;
        lend(side, owner, frame);
    }
}

static void blocks_come_whole_each_in_a_frame_of_its_own(void **state)
{
    enum { NODES = 3, BLOCKS = 1500 };
    struct xp_fixture fixture = verbs_fixture();
    struct owner owners[NODES];
    struct xp_wait wait;
    struct xp_pair pair;
    uint64_t stamp = 1, blocks = 0;

    (void)state;
    memset(owners, 0, sizeof(owners));
    xp_pair_open(&pair, &fixture, NODES);
    for (uint32_t s = 0; s < NODES; s++)
        for (uint32_t i = 0; i < LENT; i++)
            lend(&pair.sides[s], &owners[s], i);
    wait = xp_wait_begin();
    while (blocks < BLOCKS) {
        for (uint16_t s = 0; s < NODES; s++) {
            for (uint16_t to = 0; to < NODES; to++)
                if (to != s && send_one(&pair.sides[s], &owners[s], to, stamp, stamp % 5 != 0))
                    stamp++;
            xp_flush(pair.sides[s].xp);
            xp_pair_poll(&pair, s);
            take(&pair.sides[s], &owners[s]);
        }
        blocks = owners[0].blocks + owners[1].blocks + owners[2].blocks;
        xp_wait_check(&wait, "blocks", __FILE__, __LINE__);
    }
    for (uint32_t s = 0; s < NODES; s++) {
        const struct xp_counters *counters = xp_counters(pair.sides[s].xp);

        assert_int_equal(counters->rnr + counters->retries_exceeded + counters->device_errors, 0);
        assert_int_equal(counters->resets + counters->bad_header + counters->bad_sequence, 0);
        assert_true(owners[s].blocks > 0 && owners[s].messages > 0);
        print_message("node %u: blocks %llu, without grant %llu, messages %llu\n", s,
                      (unsigned long long)owners[s].blocks, (unsigned long long)owners[s].torn,
                      (unsigned long long)owners[s].messages);
    }
    xp_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(blocks_come_whole_each_in_a_frame_of_its_own),
    };
    int missing = verbs_device_missing();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
