/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The n-th call of each kind fails: opening says what is wrong, or the connection is made again; blocks arrive
 * afterwards, nothing hangs, nothing leaks. Every completion status ends in one reset and goes on.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/clock.h"
#include "tests/unit/transport/verbs_faults.h"
#include "tests/unit/transport/verbs_shim.h"
#include "transport/verbs/verbs.h"

#define BLOCK_CLASS 2u
#define TYPE 9u

static bool has_settled(struct xp *a, struct xp *b, uint16_t node_a, uint16_t node_b)
{
    const struct xp_verbs *sender = xp_verbs_of(a), *receiver = xp_verbs_of(b);
    const struct xp_verbs_peer *to = &sender->peers[node_b], *from = &receiver->peers[node_a];

    if (to->state != XP_VERBS_UP || from->state != XP_VERBS_UP)
        return true;
    for (uint32_t lane = 0; lane < XP_LANES; lane++)
        if (to->tx[lane].credit.sent != to->tx[lane].credit.returned)
            return false;
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++)
        if (to->grants[i].got != from->grants[i].given)
            return false;
    return !receiver->is_granting;
}

bool verbs_is_settled(const struct xp_pair *pair)
{
    for (uint16_t a = 0; a < pair->count; a++)
        for (uint16_t b = 0; b < pair->count; b++)
            if (a != b && pair->sides[a].xp != NULL && pair->sides[b].xp != NULL &&
                !has_settled(pair->sides[a].xp, pair->sides[b].xp, a, b))
                return false;
    return true;
}

/* As xp_side_open, but may fail; false: it did, and said why. */
static bool open_or_say(struct xp_side *side, const struct xp_options *options)
{
    struct cf_error error = {.rc = 0};
    const uint64_t words_bytes = 4096, block_bytes = 4 * CF_BLOCK_BYTES_MIN;
    void *memory = NULL;
    enum cf_rc rc;

    memset(side, 0, sizeof(*side));
    side->node = options->node;
    rc = xp_open(options, &side->xp, &error);
    if (rc == CF_OK)
        rc = xp_memory(side->xp, words_bytes + XP_PAIR_FRAMES * block_bytes, 0, &memory, &error);
    if (rc == CF_OK) {
        side->space = (struct xp_frame_space){.base = memory,
                                              .bytes = words_bytes + XP_PAIR_FRAMES * block_bytes,
                                              .words = memory,
                                              .count = XP_PAIR_FRAMES};
        side->space.classes[BLOCK_CLASS] = (struct xp_frame_class){
            .count = XP_PAIR_FRAMES, .bytes = (uint32_t)block_bytes, .offset = words_bytes};
        rc = xp_start(side->xp, &side->space, &error);
    }
    if (rc == CF_OK)
        return true;
    assert_true(error.text[0] != 0 && error.rc == (int32_t)rc);
    if (side->xp != NULL)
        xp_close(&side->xp);
    return false;
}

static bool pair_open(struct xp_pair *pair, struct xp_fixture *fixture)
{
    memset(pair, 0, sizeof(*pair));
    pair->fixture = fixture;
    pair->count = 2;
    for (uint16_t i = 0; i < 2; i++) {
        struct xp_options options;

        xp_side_options(fixture, &options, i, 2);
        options.peer_timeout_ns = 5 * CF_NS_PER_S;
        if (!open_or_say(&pair->sides[i], &options))
            return false;
    }
    return true;
}

static bool send_block(struct xp_side *side, uint16_t to, uint32_t frame)
{
    void *body;

    if (xp_frame_is_sending(side->xp, frame) || (body = xp_begin(side->xp, to, XP_DATA, 16)) == NULL)
        return false;
    memset(body, 1, 16);
    xp_post_block(side->xp, to, XP_DATA, TYPE, 1, frame);
    xp_flush(side->xp);
    return true;
}

/* Blocks are sent until one has arrived: what a break took is sent again, as the layer above does. */
static void block_until_it_arrives(struct xp_pair *pair)
{
    struct xp_wait wait = xp_wait_begin();
    uint64_t again_ns = 0;

    for (;;) {
        if (cf_now_ns() >= again_ns && send_block(&pair->sides[0], 1, 8))
            again_ns = cf_now_ns() + 20 * CF_NS_PER_MS;
        xp_pair_turn(pair);
        for (uint32_t i = 0; i < pair->sides[1].events_count; i++)
            if (pair->sides[1].events[i].type == XP_EV_BLOCK) {
                xp_frame_post(pair->sides[1].xp, BLOCK_CLASS, pair->sides[1].events[i].frame);
                return;
            }
        xp_wait_check(&wait, "a block", __FILE__, __LINE__);
    }
}

static void use(struct xp_pair *pair)
{
    xp_pair_until(pair, pair->sides[0].ups == 1 && pair->sides[1].ups == 1);
    for (uint32_t i = 0; i < 4; i++)
        xp_frame_post(pair->sides[1].xp, BLOCK_CLASS, i);
    for (uint32_t i = 0; i < 3; i++) {
        block_until_it_arrives(pair);
        if (xp_arm(pair->sides[0].xp)) /* it asks for a notice: one more call that can fail */
            xp_disarm(pair->sides[0].xp);
    }
    assert_int_equal(pair->sides[0].downs + pair->sides[1].downs, 0);
}

void verbs_faults_of_calls(struct xp_fixture *fixture)
{
    enum { NTH_MAX = 3 };
    uint32_t opened = 0, refused = 0;

    fixture->network = (void *)(uintptr_t)&verbs_shim_calls;
    for (uint32_t call = 0; call < SHIM_CALLS; call++)
        for (uint32_t nth = 1; nth <= NTH_MAX; nth++) {
            struct xp_pair pair;
            bool is_open;

            verbs_shim = (struct verbs_shim){.call = (enum verbs_shim_call)call, .nth = nth};
            print_message("%s, time %u\n", verbs_shim_name((enum verbs_shim_call)call), nth);
            is_open = pair_open(&pair, fixture);
            if (is_open)
                use(&pair);
            xp_pair_close(&pair);
            opened += is_open;
            refused += !is_open;
            if (verbs_shim.living != 0)
                fail_msg("call %s, time %u: %d objects are left", verbs_shim_name((enum verbs_shim_call)call),
                         nth, verbs_shim.living);
        }
    print_message("%u times it opened all the same, %u times it said why not\n", opened, refused);
    assert_true(opened > 0 && refused > 0);
}

void verbs_faults_of_completions(struct xp_fixture *fixture)
{
    struct xp_pair pair;
    uint32_t resets = 0;

    fixture->network = (void *)(uintptr_t)&verbs_shim_calls;
    verbs_shim = (struct verbs_shim){.call = SHIM_CALLS};
    assert_true(pair_open(&pair, fixture));
    use(&pair);
    for (int status = IBV_WC_LOC_LEN_ERR; status <= IBV_WC_GENERAL_ERR; status++)
        for (uint32_t is_receive = 0; is_receive < 2; is_receive++) {
            verbs_shim.status = (enum ibv_wc_status)status;
            verbs_shim.is_receive = is_receive != 0;
            verbs_shim.has_failed = false;
            block_until_it_arrives(&pair);
            xp_pair_until(&pair, verbs_shim.has_failed);
            resets++;
            xp_pair_until(&pair, pair.sides[0].resets == resets && pair.sides[1].resets == resets);
            assert_int_equal(pair.sides[0].downs + pair.sides[1].downs, 0);
            block_until_it_arrives(&pair);
        }
    xp_pair_close(&pair);
    assert_int_equal(verbs_shim.living, 0);
}
