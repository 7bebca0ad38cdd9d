/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Instances whose directories have given nearly every entry back: memory stays what it was, no copy goes for the
 * directory's sake, and a block that is given up costs so many questions and messages. Numbers, not times: what was said again
 * because the machine was slow is taken off.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "engine/instance.h"
#include "tests/unit/base/statm.h"

#include "cluster_fixture.h"

#define NODES 3u
#define BLOCKS 600u
/* Every block twice: its copy, and a past image. */
#define CACHE_BLOCKS (2 * BLOCKS + 64)
#define FILE_ID 7u
/* Superblock, and blocks of which a release was under way on both sides at once. */
#define FEW 16u

struct setting {
    struct cluster c;
    struct cf_file *file[NODES];
};

/* The least budget is named by the error. */
static uint64_t least_directory(void)
{
    static struct cluster c;
    const char *at;

    memset(&c, 0, sizeof c);
    cluster_init(&c, NODES);
    c.cache_blocks = CACHE_BLOCKS;
    c.directory_bytes = 1;
    cluster_open_try(&c);
    assert_int_equal(c.opened[0], CF_BUDGET);
    at = strstr(c.error[0].text, "need ");
    assert_non_null(at);
    cluster_end(&c);
    return strtoull(at + 5, NULL, 10);
}

/* Every instance has read every block, and no directory has entries for one in ten of its part. */
static void setting_open(struct setting *s)
{
    uint32_t n;
    uint64_t b;

    memset(s, 0, sizeof *s);
    cluster_init(&s->c, NODES);
    s->c.cache_blocks = CACHE_BLOCKS;
    s->c.directory_bytes = least_directory();
    s->c.call_timeout_ns = 20000000000ull;
    cluster_open(&s->c);
    cluster_file(&s->c, "data.cf", FILE_ID, BLOCKS);
    for (n = 0; n < NODES; n++)
        s->file[n] = cluster_attach(&s->c, n, "data.cf", FILE_ID);
    for (n = 0; n < NODES; n++)
        for (b = 0; b < BLOCKS; b++)
            (void)cluster_read(&s->c, n, s->file[n], b);
}

static void setting_close(struct setting *s)
{
    cluster_close(&s->c);
    assert_int_equal(cluster_super(&s->c, "data.cf").attached, 0);
    cluster_end(&s->c);
}

struct sums {
    uint64_t rebuilds, recalls, sent, evicted, given_back;
};

static void add_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct sums *sums = arg;
    uint32_t s;

    (void)now_ns;
    for (s = 0; s < instance->shards; s++) {
        const struct grd_master *master = instance->masters[s];
        const struct grd_directory_counters *counters = grd_directory_counters(master->directory);

        sums->rebuilds += master->counters.rebuilds;
        sums->recalls += master->counters.recalls;
        sums->given_back += counters->given_one + counters->given_many + counters->given_past;
    }
    sums->evicted += instance->local->counters.evicted;
    /* A message said again is answered again. */
    sums->sent += instance->counters.messages_sent - 2 * instance->local->counters.resends;
}

static struct sums sums_of(const struct setting *s)
{
    struct sums sums = {0};
    uint32_t n;

    for (n = 0; n < NODES; n++)
        assert_int_equal(eng_call_run(s->c.instance[n], add_run, &sums), CF_OK);
    return sums;
}

static void detach(struct setting *s, uint32_t node)
{
    assert_int_equal(cf_detach(s->c.session[node], &s->file[node]), CF_OK);
    assert_null(s->file[node]);
}

static void one_that_detaches_costs_one_question_a_block(void **state)
{
    struct setting s;
    struct sums before, after;

    (void)state;
    setting_open(&s);
    before = sums_of(&s);
    assert_true(before.given_back >= BLOCKS);
    detach(&s, 1);
    after = sums_of(&s);
    assert_true(after.evicted - before.evicted >= BLOCKS);
    assert_true(after.rebuilds - before.rebuilds <= BLOCKS + FEW);
    /* RELEASE, RECALL to the others, HELD of the others, RELEASED */
    assert_true(after.sent - before.sent <= (2 + 2 * (NODES - 1)) * BLOCKS + 4 * FEW);
    cluster_write(&s.c, 0, s.file[0], 5, 55); /* the others go on */
    assert_int_equal(cluster_read(&s.c, 2, s.file[2], 5), 55);
    detach(&s, 0);
    detach(&s, 2);
    setting_close(&s);
}

static uint64_t directory_bytes(const struct setting *s)
{
    struct cf_stats stats = {.size = sizeof stats};
    uint64_t sum = 0;
    uint32_t n;

    for (n = 0; n < NODES; n++) {
        assert_int_equal(cf_stats_read(s->c.instance[n], &stats), CF_OK);
        assert_true(stats.directory_bytes <= s->c.directory_bytes);
        sum += stats.directory_bytes;
    }
    return sum;
}

/* Each block is changed by one and read by the others. */
static void churn(struct setting *s, uint32_t round)
{
    uint64_t b;
    uint32_t n;

    for (b = 0; b < BLOCKS; b++) {
        cluster_write(&s->c, (uint32_t)(b + round) % NODES, s->file[(b + round) % NODES], b, b + round);
        for (n = 0; n < NODES; n++)
            assert_int_equal(cluster_read(&s->c, n, s->file[n], b), b + round);
    }
}

/* A figure of the whole process: the test's own heap and stacks are in it. */
#define RESIDENT_SLACK_BYTES (1024u * 1024u)

static void memory_stays_what_it_was_and_no_copy_goes(void **state)
{
    struct setting s;
    struct sums before, after;
    uint64_t resident, bytes;
    uint32_t round;

    (void)state;
    setting_open(&s);
    for (round = 0; round < NODES; round++) /* each has by then copied out of every frame of the others */
        churn(&s, round);
    before = sums_of(&s);
    resident = statm_read().resident_bytes;
    bytes = directory_bytes(&s);
    churn(&s, round);
    after = sums_of(&s);
    assert_true(after.given_back - before.given_back >= BLOCKS / 2);
    assert_int_equal(directory_bytes(&s), bytes);
    assert_in_range(statm_read().resident_bytes, 0, resident + RESIDENT_SLACK_BYTES);
    assert_int_equal(after.evicted, 0);
    setting_close(&s);
}

static void begin_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)instance;
    (void)now_ns;
    ((struct cf_file *)arg)->is_given_up = true;
}

static void one_question_serves_all_who_detach(void **state)
{
    struct setting s;
    struct sums before, middle, after;
    uint32_t n;

    (void)state;
    setting_open(&s);
    for (n = 0; n < NODES; n++) /* all have begun, and the first is quicker than the others */
        assert_int_equal(eng_call_run(s.c.instance[n], begin_run, s.file[n]), CF_OK);
    before = sums_of(&s);
    detach(&s, 0);
    middle = sums_of(&s);
    assert_true(middle.rebuilds - before.rebuilds <= BLOCKS + FEW);
    detach(&s, 1);
    detach(&s, 2);
    after = sums_of(&s);
    assert_true(after.evicted - before.evicted >= NODES * BLOCKS);
    assert_true(after.rebuilds - middle.rebuilds <= FEW);
    setting_close(&s);
}

static void a_close_asks_nothing_and_releases_nothing(void **state)
{
    struct setting s;
    struct sums before, after;
    uint32_t n;

    (void)state;
    setting_open(&s);
    for (n = 0; n < NODES; n++)
        cluster_write(&s.c, n, s.file[n], n, 100 + n);
    before = sums_of(&s);
    for (n = 0; n < NODES; n++)
        assert_int_equal(eng_files_close_all(s.c.session[n]), CF_OK);
    after = sums_of(&s);
    assert_true(after.evicted == before.evicted);
    assert_true(after.rebuilds - before.rebuilds <= FEW);
    assert_true(after.sent - before.sent <= 8 * FEW);
    /* Until the others have left, what is here serves them. */
    assert_int_equal(cluster_read(&s.c, 2, s.file[2], 0), 100);
    setting_close(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(memory_stays_what_it_was_and_no_copy_goes),
        cmocka_unit_test(one_that_detaches_costs_one_question_a_block),
        cmocka_unit_test(one_question_serves_all_who_detach),
        cmocka_unit_test(a_close_asks_nothing_and_releases_nothing),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
