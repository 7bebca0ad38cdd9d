/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One-sided operations: a counter that all change through the device loses nothing, and a reader of a block that is
 * being changed is never fooled, though what it reads is torn again and again.
 */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/atomic.h"
#include "base/clock.h"
#include "base/hash.h"
#include "tests/hw/verbs_fixture.h"

#define BLOCK_BYTES (4u * CF_BLOCK_BYTES_MIN)

/* The end of the operation with this token. */
static struct xp_event await_done(struct xp_pair *pair, uint32_t side, uint64_t token)
{
    struct xp_wait wait = xp_wait_begin();

    for (;;) {
        xp_pair_poll(pair, side);
        for (uint32_t i = 0; i < pair->sides[side].events_count; i++) {
            const struct xp_event *event = &pair->sides[side].events[i];

            if (event->type == XP_EV_DONE && event->token == token) {
                assert_int_equal(event->rc, CF_OK);
                return *event;
            }
        }
        xp_wait_check(&wait, "a completion", __FILE__, __LINE__);
    }
}

static uint64_t add(struct xp_pair *pair, uint32_t side, uint16_t node, uint64_t offset, uint64_t value)
{
    assert_int_equal(xp_add(pair->sides[side].xp, node, offset, value, 7), CF_OK);
    return await_done(pair, side, 7).value;
}

static void a_counter_changed_by_all_through_the_device_loses_nothing(void **state)
{
    enum { OPEN = 8, ROUNDS = 50 };
    struct xp_fixture fixture = verbs_fixture();
    uint64_t done = 0, started = 0, seen_sum = 0;
    struct xp_wait wait;
    struct xp_pair pair;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    if ((xp_caps(pair.sides[0].xp) & XP_CAP_ATOMIC) == 0) {
        xp_pair_close(&pair);
        skip();
    }
    wait = xp_wait_begin();
    /* Node 0 by way of its loopback, node 1 over the wire, many under way at once. */
    while (done < (uint64_t)2 * OPEN * ROUNDS) {
        for (uint32_t s = 0; s < 2; s++) {
            if (started < (uint64_t)2 * OPEN * ROUNDS && started - done < (uint64_t)2 * OPEN) {
                assert_int_equal(xp_add(pair.sides[s].xp, 0, 64, 1, 3), CF_OK);
                started++;
            }
            xp_pair_poll(&pair, s);
            for (uint32_t i = 0; i < pair.sides[s].events_count; i++)
                if (pair.sides[s].events[i].type == XP_EV_DONE) {
                    seen_sum += pair.sides[s].events[i].value;
                    done++;
                }
        }
        xp_wait_check(&wait, "all additions", __FILE__, __LINE__);
    }
    assert_int_equal(add(&pair, 1, 0, 64, 0), done);
    /* Each saw a value of its own: 0, 1, 2 ... */
    assert_int_equal(seen_sum, done * (done - 1) / 2);
    assert_int_equal(add(&pair, 0, 1, 64, 0), 0);

    assert_int_equal(xp_cas(pair.sides[1].xp, 0, 72, 0, 41, 5), CF_OK);
    assert_int_equal(await_done(&pair, 1, 5).value, 0);
    assert_int_equal(xp_cas(pair.sides[0].xp, 0, 72, 40, 42, 5), CF_OK);
    assert_int_equal(await_done(&pair, 0, 5).value, 41);
    assert_int_equal(add(&pair, 1, 0, 72, 0), 41);
    assert_int_equal(xp_add(pair.sides[1].xp, 0, XP_COUNTER_BYTES, 1, 5), CF_RANGE);
    assert_int_equal(xp_add(pair.sides[1].xp, 0, 4, 1, 5), CF_RANGE);
    xp_pair_close(&pair);
}

/* A block that its owner rewrites without end: a change count around the change, and a hash of the bytes in it. */
struct rewriter {
    uint64_t *block; /* [0] hash of the rest */
    _Atomic uint64_t *count;
    _Atomic bool is_over;
};

static uint64_t hash_of(const uint64_t *block)
{
    static const struct cf_hash_key key = {{1, 2, 3}};

    return cf_siphash(&key, block + 1, BLOCK_BYTES - sizeof(*block));
}

static void rewrite(struct rewriter *rewriter, uint64_t number)
{
    uint64_t hash;

    atomic_store_explicit(rewriter->count, 2 * number + 1, memory_order_relaxed);
    cf_fence_before_change();
    for (uint32_t i = 1; i < BLOCK_BYTES / sizeof(uint64_t); i++)
        ((volatile uint64_t *)rewriter->block)[i] = number + i;
    hash = hash_of(rewriter->block);
    ((volatile uint64_t *)rewriter->block)[0] = hash;
    atomic_store_explicit(rewriter->count, 2 * number + 2, memory_order_release);
}

static void *rewriter_main(void *arg)
{
    struct rewriter *rewriter = arg;

    for (uint64_t number = 1; !atomic_load_explicit(&rewriter->is_over, memory_order_relaxed); number++) {
        rewrite(rewriter, number);
        for (uint32_t i = 0; i < number % 2048;
             i++) /* pauses of many lengths, so that some reads are whole */
            cf_pause();
    }
    return NULL;
}

static void the_proof_of_a_read_catches_every_torn_one(void **state)
{
    enum { READS = 400 };
    struct xp_fixture fixture = verbs_fixture();
    uint32_t proven = 0, torn = 0;
    uint64_t before, after, copy[BLOCK_BYTES / sizeof(uint64_t)], frame_offset, count_offset;
    struct rewriter rewriter;
    struct xp_pair pair;
    pthread_t thread;

    (void)state;
    xp_pair_open(&pair, &fixture, 2);
    rewriter.block = (uint64_t *)(void *)xp_side_frame(&pair.sides[0], XP_PAIR_FRAMES + 2);
    rewriter.count = &pair.sides[0].space.words[XP_PAIR_FRAMES + 2];
    atomic_init(&rewriter.is_over, false);
    rewrite(&rewriter, 0);
    frame_offset = (uint64_t)((uint8_t *)rewriter.block - pair.sides[0].space.base);
    count_offset = (uint64_t)((uint8_t *)(uintptr_t)rewriter.count - pair.sides[0].space.base);
    assert_int_equal(pthread_create(&thread, NULL, rewriter_main, &rewriter), 0);
    for (uint32_t i = 0; i < READS; i++) {
        /* Three reads, each begun when the one before has ended (architecture.md, section 7). */
        assert_int_equal(xp_read(pair.sides[1].xp, 0, count_offset, &before, sizeof(before), 1), CF_OK);
        (void)await_done(&pair, 1, 1);
        assert_int_equal(xp_read(pair.sides[1].xp, 0, frame_offset, copy, sizeof(copy), 2), CF_OK);
        (void)await_done(&pair, 1, 2);
        assert_int_equal(xp_read(pair.sides[1].xp, 0, count_offset, &after, sizeof(after), 3), CF_OK);
        (void)await_done(&pair, 1, 3);
        torn += hash_of(copy) != copy[0];
        if (before == after && before % 2 == 0) {
            assert_int_equal(copy[0], hash_of(copy));
            proven++;
        }
    }
    atomic_store_explicit(&rewriter.is_over, true, memory_order_relaxed);
    assert_int_equal(pthread_join(thread, NULL), 0);
    print_message("%u reads: %u torn, %u proven whole, none of those torn\n", READS, torn, proven);
    assert_true(torn > 0);
    assert_int_equal(xp_read(pair.sides[1].xp, 0, frame_offset, copy, sizeof(copy), 4), CF_OK);
    (void)await_done(&pair, 1, 4);
    assert_int_equal(copy[0], hash_of(copy));
    xp_pair_close(&pair);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_counter_changed_by_all_through_the_device_loses_nothing),
        cmocka_unit_test(the_proof_of_a_read_catches_every_torn_one),
    };
    int missing = verbs_device_missing();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
