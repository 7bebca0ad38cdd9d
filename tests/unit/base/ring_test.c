/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: full and empty, wrap, order per producer with real threads, publication of what records point to. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <pthread.h>
#include <sched.h>
#include <stdlib.h>

#include "base/ring.h"

#define SLOTS 8
#define SENT 200000
#define PRODUCERS 3

struct record {
    uint64_t number;
    uint32_t producer;
    uint32_t copy;
    uint64_t *payload;
};

static void holds_one_less_than_its_slots(void **state)
{
    struct record memory[SLOTS];
    struct record record = {0};
    struct cf_spsc ring;

    (void)state;
    cf_spsc_init(&ring, memory, SLOTS, sizeof(struct record));
    assert_false(cf_spsc_pop(&ring, &record));
    for (uint64_t turn = 0; turn < 3 * SLOTS; turn++) {
        for (uint64_t i = 0; i < SLOTS - 1; i++) {
            record.number = turn * 100 + i;
            assert_true(cf_spsc_push(&ring, &record));
        }
        assert_false(cf_spsc_push(&ring, &record));
        assert_int_equal(cf_spsc_count(&ring), SLOTS - 1);
        for (uint64_t i = 0; i < SLOTS - 1; i++) {
            assert_true(cf_spsc_pop(&ring, &record));
            assert_int_equal(record.number, turn * 100 + i);
        }
        assert_false(cf_spsc_pop(&ring, &record));
        /* moves the start, so that the next turn wraps elsewhere */
        assert_true(cf_spsc_push(&ring, &record));
        assert_true(cf_spsc_pop(&ring, &record));
    }
}

static void records_of_odd_size_stay_whole(void **state)
{
    char memory[SLOTS * 13], in[13], out[13];
    struct cf_mpsc ring;

    (void)state;
    cf_mpsc_init(&ring, memory, SLOTS, sizeof(in));
    for (int i = 0; i < 100; i++) {
        for (size_t b = 0; b < sizeof(in); b++)
            in[b] = (char)(i + (int)b);
        assert_true(cf_mpsc_push(&ring, in));
        assert_int_equal(cf_mpsc_count(&ring), 1);
        assert_true(cf_mpsc_pop(&ring, out));
        assert_memory_equal(in, out, sizeof(in));
    }
    assert_false(cf_mpsc_pop(&ring, out));
}

static void mpsc_refuses_when_full(void **state)
{
    uint64_t memory[SLOTS], value = 1;
    struct cf_mpsc ring;

    (void)state;
    cf_mpsc_init(&ring, memory, SLOTS, sizeof(value));
    for (int i = 0; i < SLOTS - 1; i++)
        assert_true(cf_mpsc_push(&ring, &value));
    assert_false(cf_mpsc_push(&ring, &value));
    assert_true(cf_mpsc_pop(&ring, &value));
    assert_true(cf_mpsc_push(&ring, &value));
}

struct producer {
    struct cf_spsc *spsc;
    struct cf_mpsc *mpsc;
    uint64_t *payloads; /* written here, read by the consumer after the pop */
    uint32_t id;
};

static void *produce(void *arg)
{
    struct producer *p = arg;

    for (uint64_t i = 0; i < SENT; i++) {
        struct record record = {
            .number = i, .producer = p->id, .copy = (uint32_t)i, .payload = &p->payloads[i]};
        p->payloads[i] = i * 3;
        while (!(p->spsc != NULL ? cf_spsc_push(p->spsc, &record) : cf_mpsc_push(p->mpsc, &record)))
            sched_yield();
    }
    return NULL;
}

static void check_record(const struct record *record, uint64_t *expected)
{
    assert_true(record->producer < PRODUCERS);
    assert_int_equal(record->number, expected[record->producer]);
    assert_int_equal(record->copy, (uint32_t)record->number);
    assert_int_equal(*record->payload, record->number * 3);
    expected[record->producer]++;
}

static void run_threads(struct cf_spsc *spsc, struct cf_mpsc *mpsc, uint32_t producers)
{
    struct producer p[PRODUCERS];
    pthread_t threads[PRODUCERS];
    uint64_t expected[PRODUCERS] = {0};
    struct record record;

    for (uint32_t i = 0; i < producers; i++) {
        p[i] = (struct producer){
            .spsc = spsc, .mpsc = mpsc, .payloads = calloc(SENT, sizeof(uint64_t)), .id = i};
        assert_non_null(p[i].payloads);
        assert_int_equal(pthread_create(&threads[i], NULL, produce, &p[i]), 0);
    }
    for (uint64_t received = 0; received < (uint64_t)SENT * producers;) {
        if (spsc != NULL ? cf_spsc_pop(spsc, &record) : cf_mpsc_pop(mpsc, &record)) {
            check_record(&record, expected);
            received++;
        } else {
            sched_yield();
        }
    }
    for (uint32_t i = 0; i < producers; i++) {
        assert_int_equal(pthread_join(threads[i], NULL), 0);
        assert_int_equal(expected[i], SENT);
        free(p[i].payloads);
    }
    assert_false(spsc != NULL ? cf_spsc_pop(spsc, &record) : cf_mpsc_pop(mpsc, &record));
}

static void two_threads_keep_order_and_contents(void **state)
{
    struct record memory[SLOTS];
    struct cf_spsc ring;

    (void)state;
    cf_spsc_init(&ring, memory, SLOTS, sizeof(struct record));
    run_threads(&ring, NULL, 1);
}

static void each_of_many_producers_keeps_its_order(void **state)
{
    struct record memory[SLOTS];
    struct cf_mpsc ring;

    (void)state;
    cf_mpsc_init(&ring, memory, SLOTS, sizeof(struct record));
    run_threads(NULL, &ring, PRODUCERS);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(holds_one_less_than_its_slots),
        cmocka_unit_test(records_of_odd_size_stay_whole),
        cmocka_unit_test(mpsc_refuses_when_full),
        cmocka_unit_test(two_threads_keep_order_and_contents),
        cmocka_unit_test(each_of_many_producers_keeps_its_order),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
