/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: results of each operation, publication between threads, the store-fence-load pattern. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <stdbool.h>

#include "base/atomic.h"
#include "base/dma.h"

#define TURNS 100000

static void operations_return_what_they_say(void **state)
{
    _Atomic uint64_t word = 5;
    uint64_t expected = 4;

    (void)state;
    assert_false(cf_cas_u64(&word, &expected, 9));
    assert_int_equal(expected, 5);
    assert_true(cf_cas_u64(&word, &expected, 9));
    assert_int_equal(cf_peek_u64(&word), 9);
    assert_int_equal(cf_add_u64(&word, 3), 9);
    assert_int_equal(cf_swap_u64(&word, 1), 12);
    cf_publish_u64(&word, 77);
    assert_int_equal(cf_observe_u64(&word), 77);
    cf_dma_publish_to_nic();
    cf_dma_flush_writes();
    cf_dma_observe_from_nic();
    assert_int_equal(cf_observe_u64(&word), 77);
}

struct shared {
    uint64_t plain;
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t turn; /* even: writer's, odd: reader's */
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint64_t sum;
    CF_ALIGNED(CF_CACHE_LINE) _Atomic uint32_t flag[2];
    _Atomic uint64_t round;
    uint32_t seen[2];
};

static void *writer(void *arg)
{
    struct shared *s = arg;

    for (uint64_t i = 0; i < 2 * TURNS; i += 2) {
        while (cf_observe_u64(&s->turn) != i)
            cf_pause();
        s->plain = i;
        cf_publish_u64(&s->turn, i + 1);
    }
    return NULL;
}

static void published_writes_are_seen(void **state)
{
    static struct shared s;
    pthread_t thread;
    uint64_t wrong = 0;

    (void)state;
    assert_int_equal(pthread_create(&thread, NULL, writer, &s), 0);
    for (uint64_t i = 0; i < 2 * TURNS; i += 2) {
        while (cf_observe_u64(&s.turn) != i + 1)
            cf_pause();
        wrong += s.plain != i;
        cf_publish_u64(&s.turn, i + 2);
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(wrong, 0);
}

static void *adder(void *arg)
{
    struct shared *s = arg;

    for (int i = 0; i < TURNS; i++)
        cf_add_u64(&s->sum, 2);
    return NULL;
}

static void additions_are_not_lost(void **state)
{
    static struct shared s;
    pthread_t threads[3];

    (void)state;
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, adder, &s), 0);
    for (int i = 0; i < 3; i++)
        assert_int_equal(pthread_join(threads[i], NULL), 0);
    assert_int_equal(cf_peek_u64(&s.sum), 3 * 2 * TURNS);
}

/* One side of "announce, fence, look": raises its flag, then looks at the other's. */
static void announce_and_look(struct shared *s, int self)
{
    cf_poke_u32(&s->flag[self], 1);
    cf_fence_full();
    s->seen[self] = cf_peek_u32(&s->flag[1 - self]);
}

static void *looker(void *arg)
{
    struct shared *s = arg;

    for (uint64_t i = 0; i < 2 * TURNS; i += 2) {
        while (cf_observe_u64(&s->turn) != i)
            cf_pause();
        announce_and_look(s, 1);
        cf_publish_u64(&s->round, i + 2);
    }
    return NULL;
}

static void two_who_announce_and_look_do_not_both_miss(void **state)
{
    static struct shared s;
    pthread_t thread;
    uint64_t both_missed = 0;

    (void)state;
    cf_publish_u64(&s.turn, 1);
    assert_int_equal(pthread_create(&thread, NULL, looker, &s), 0);
    for (uint64_t i = 0; i < 2 * TURNS; i += 2) {
        cf_poke_u32(&s.flag[0], 0);
        cf_poke_u32(&s.flag[1], 0);
        cf_publish_u64(&s.turn, i);
        announce_and_look(&s, 0);
        while (cf_observe_u64(&s.round) != i + 2)
            cf_pause();
        both_missed += s.seen[0] == 0 && s.seen[1] == 0;
    }
    assert_int_equal(pthread_join(thread, NULL), 0);
    assert_int_equal(both_missed, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(operations_return_what_they_say),
        cmocka_unit_test(published_writes_are_seen),
        cmocka_unit_test(additions_are_not_lost),
        cmocka_unit_test(two_who_announce_and_look_do_not_both_miss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
