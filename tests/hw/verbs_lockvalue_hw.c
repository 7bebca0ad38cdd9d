/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The record of a lock's value, read by a peer while its owner rewrites it without end: the owner is a process, the
 * reader another. A copy by the device may be torn anywhere; none that is is taken for a value, and versions never fall.
 * LOCK_VALUE_READS=<number> makes as many READs, in at most LOCK_VALUE_SECONDS; else the test ends when it has seen enough.
 */
#include <inttypes.h>
#include <pthread.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/hash.h"
#include "grd/lock_value.h"
#include "tests/hw/verbs_fixture.h"

#define EPOCH 7u
#define TAKEN_MIN 1000u
#define TORN_MIN 5u
#define READS_MAX 200000u
#define READ_S 15u
/* The owner rests between two writes as often as not, so that some copies are whole (chosen). */
#define REST_MAX 32u

static const struct cf_block_key key = {.file = 11, .generation = 22, .block = 33};

/* The value of a version: every byte of it tells which. */
static void value_make(uint64_t version, struct grd_lock_value *value)
{
    value->version = version;
    value->is_valid = true;
    value->bytes_count = GRD_LOCK_VALUE_BYTES;
    for (uint32_t i = 0; i < GRD_LOCK_VALUE_BYTES / sizeof(uint64_t); i++) {
        uint64_t word = cf_mix64(version, i);

        memcpy(value->bytes + i * sizeof(word), &word, sizeof(word));
    }
}

static struct grd_lock_record *record_of(const struct xp_side *side)
{
    return (struct grd_lock_record *)(void *)xp_side_frame(side, XP_PAIR_FRAMES + 2);
}

static void *owner_main(void *arg)
{
    struct grd_lock_record *record = arg;
    struct grd_lock_value value;

    for (uint64_t version = 1;; version++) {
        value_make(version, &value);
        grd_lock_record_write(record, &key, EPOCH, &value);
        for (uint64_t i = cf_mix64(version, 5) % REST_MAX; version % 2 == 0 && i > 0; i--)
            cf_pause();
    }
    return NULL;
}

/* The process of the owner, node 0, until it is killed: one thread writes, one keeps the connection. */
static void own(struct xp_fixture *fixture)
{
    struct xp_pair pair = {.fixture = fixture, .count = 2};
    struct xp_options options;
    pthread_t thread;

    xp_side_options(fixture, &options, 0, 2);
    xp_side_open(&pair.sides[0], &options);
    if (pthread_create(&thread, NULL, owner_main, record_of(&pair.sides[0])) != 0)
        _exit(1);
    for (;;)
        xp_pair_poll(&pair, 0);
}

struct tally {
    uint64_t reads, taken, under_way, torn;
    uint64_t version;
};

static void read_once(struct xp_pair *pair, uint64_t offset, void *copy)
{
    struct xp_wait wait = xp_wait_begin();

    assert_int_equal(xp_read(pair->sides[1].xp, 0, offset, copy, GRD_LOCK_RECORD_BYTES, 1), CF_OK);
    for (;;) {
        xp_pair_poll(pair, 1);
        for (uint32_t i = 0; i < pair->sides[1].events_count; i++)
            if (pair->sides[1].events[i].type == XP_EV_DONE) {
                assert_int_equal(pair->sides[1].events[i].rc, CF_OK);
                return;
            }
        xp_wait_check(&wait, "a READ", __FILE__, __LINE__);
    }
}

static void judge(struct tally *tally, const uint64_t *copy)
{
    enum { WORD_VERSION = 3 }; /* grd/lock_value.h: after key and epoch */
    struct grd_lock_value value, wanted;

    tally->reads++;
    if (grd_lock_record_check(copy, &key, EPOCH, &value)) {
        value_make(value.version, &wanted);
        assert_int_equal(value.bytes_count, GRD_LOCK_VALUE_BYTES);
        assert_memory_equal(value.bytes, wanted.bytes, GRD_LOCK_VALUE_BYTES);
        assert_true(value.is_valid && value.version >= tally->version);
        tally->version = value.version;
        tally->taken++;
    } else if ((copy[WORD_VERSION] & 1) != 0) {
        tally->under_way++;
    } else if (copy[WORD_VERSION] != 0) {
        tally->torn++; /* the version alone would have let it pass */
    }
}

static uint64_t number_of(const char *name, uint64_t otherwise)
{
    const char *text = getenv(name);

    return text && *text ? strtoull(text, NULL, 10) : otherwise;
}

static void a_torn_copy_of_a_lock_value_is_never_taken(void **state)
{
    struct xp_fixture fixture = verbs_fixture();
    struct xp_pair pair = {.fixture = &fixture, .count = 2};
    uint64_t copy[GRD_LOCK_RECORD_BYTES / sizeof(uint64_t)], offset, begin_ns, end_ns;
    uint64_t wanted = number_of("LOCK_VALUE_READS", 0), most = wanted ? wanted : READS_MAX;
    struct tally tally = {.reads = 0};
    struct xp_options options;
    struct xp_wait wait;
    pid_t owner = fork();
    int status;

    (void)state;
    assert_true(owner >= 0);
    if (owner == 0)
        own(&fixture);
    xp_side_options(&fixture, &options, 1, 2);
    xp_side_open(&pair.sides[1], &options);
    wait = xp_wait_begin();
    while (pair.sides[1].ups == 0) {
        xp_pair_poll(&pair, 1);
        xp_wait_check(&wait, "the owner", __FILE__, __LINE__);
    }
    /* Both sides have laid out their memory alike. */
    offset = (uint64_t)((uint8_t *)record_of(&pair.sides[1]) - pair.sides[1].space.base);
    begin_ns = cf_now_ns();
    end_ns = begin_ns + number_of("LOCK_VALUE_SECONDS", READ_S) * CF_NS_PER_S;
    while (tally.reads < most && cf_now_ns() < end_ns &&
           (wanted || tally.torn < TORN_MIN || tally.taken < TAKEN_MIN)) {
        read_once(&pair, offset, copy);
        judge(&tally, copy);
    }
    print_message("%" PRIu64 " reads in %.1f s: %" PRIu64 " taken, %" PRIu64
                  " met a write under way, %" PRIu64
                  " torn with an even version and refused; version %" PRIu64 "\n",
                  tally.reads, (double)(cf_now_ns() - begin_ns) / (double)CF_NS_PER_S, tally.taken,
                  tally.under_way, tally.torn, tally.version);
    assert_int_equal(kill(owner, SIGKILL), 0);
    assert_int_equal(waitpid(owner, &status, 0), owner);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL); /* it had not ended by itself */
    xp_side_close(&pair.sides[1]);
    assert_true(tally.taken >= TAKEN_MIN);
    assert_true(tally.torn >= TORN_MIN);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_torn_copy_of_a_lock_value_is_never_taken)};
    int missing = verbs_device_missing();

    return missing != 0 ? missing : cmocka_run_group_tests(tests, NULL, NULL);
}
