/* SPDX-License-Identifier: Apache-2.0 */
/* What the judges of workloads locks and sequence take, and what they do not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "tools/workload/locks.h"
#include "tools/workload/table.h"

#define NODES 2u
#define WORDS 4u

struct fixture {
    char directory[64];
    struct wl_plan plan;
    struct wl_sums before, after, seen[NODES];
    uint64_t tally[WL_TALLIES];
    struct cf_stats stats;
    struct cf_latency extra;
    struct wl_figures figures;
    struct wl_evidence evidence;
    uint64_t map[NODES][WORDS]; /* sequence: bit i is number 1 + i */
};

static int set_up(void **state)
{
    struct fixture *f = calloc(1, sizeof *f);

    snprintf(f->directory, sizeof f->directory, "/tmp/cf-judge-XXXXXX");
    if (mkdtemp(f->directory) == NULL)
        return -1;
    f->plan = (struct wl_plan){.nodes = NODES, .hot_locks = 4, .numbers = 10};
    snprintf(f->plan.side, sizeof f->plan.side, "%s/side", f->directory);
    f->evidence = (struct wl_evidence){.plan = &f->plan,
                                       .before = &f->before,
                                       .after = &f->after,
                                       .seen = f->seen,
                                       .tally = f->tally,
                                       .stats = &f->stats,
                                       .extra = &f->extra,
                                       .figures = &f->figures};
    *state = f;
    return 0;
}

static int tear_down(void **state)
{
    struct fixture *f = *state;
    char path[320];

    for (uint32_t n = 0; n < NODES; n++) {
        snprintf(path, sizeof path, "%s.numbers%u", f->plan.side, n);
        unlink(path);
    }
    rmdir(f->directory);
    free(f);
    return 0;
}

/* NULL: taken for right; else what is said to be wrong. */
static const char *judged(struct fixture *f, const struct workload *workload)
{
    static char text[WL_TEXT_BYTES];

    return workload->judge(&f->evidence, text, sizeof text) ? NULL : text;
}

static void assert_says(const char *said, const char *words)
{
    if (said == NULL || strstr(said, words) == NULL)
        fail_msg("said '%s', not '%s'", said ? said : "right", words);
}

/* Numbers `from` to `to` went to an instance. */
static void got(struct fixture *f, uint32_t node, uint64_t from, uint64_t to)
{
    for (uint64_t number = from; number <= to; number++, f->tally[0]++)
        f->map[node][(number - 1) / 64] |= UINT64_C(1) << ((number - 1) % 64);
    f->evidence.ops = f->tally[0];
}

static const char *sequence_judged(struct fixture *f)
{
    char path[320];
    FILE *file;

    for (uint32_t n = 0; n < NODES; n++) {
        snprintf(path, sizeof path, "%s.numbers%u", f->plan.side, n);
        file = fopen(path, "we");
        assert_non_null(file);
        assert_int_equal(fwrite(f->map[n], sizeof f->map[n][0], WORDS - n, file), WORDS - n);
        assert_int_equal(fclose(file), 0);
    }
    f->figures.count = 0;
    return judged(f, &workload_sequence);
}

static uint64_t figure(const struct fixture *f, const char *key)
{
    for (uint32_t i = 0; i < f->figures.count; i++)
        if (strcmp(f->figures.figure[i].key, key) == 0)
            return f->figures.figure[i].count;
    fail_msg("no figure %s", key);
    return 0;
}

static void numbers_that_are_missing_must_be_in_caches(void **state)
{
    struct fixture *f = *state;

    got(f, 0, 1, 90);
    got(f, 1, 101, 140);
    got(f, 0, 151, 200);
    assert_null(sequence_judged(f));
    assert_int_equal(figure(f, "missing"), 20);
    assert_int_equal(figure(f, "longest_gap"), 10);
    assert_int_equal(figure(f, "highest"), 200);
    got(f, 0, 202, 202);
    assert_says(sequence_judged(f), "21 numbers are missing");
    f->plan.numbers = 11;
    assert_null(sequence_judged(f));
    f->plan.is_ordered = true;
    assert_says(sequence_judged(f), "missing");
}

static void a_number_that_came_twice_is_seen(void **state)
{
    struct fixture *f = *state;

    got(f, 0, 1, 64);
    got(f, 1, 65, 128);
    assert_null(sequence_judged(f));
    got(f, 1, 64, 64);
    assert_says(sequence_judged(f), "1 numbers were handed out twice");
    f->map[1][0] = 0;
    f->tally[0]--;
    f->tally[1] = 1; /* inside one instance */
    assert_says(sequence_judged(f), "twice");
    f->tally[1] = 0;
    assert_null(sequence_judged(f));
    f->tally[0]++;
    assert_says(sequence_judged(f), "the maps have 128");
    f->tally[0]--;
    f->tally[2] = 1;
    assert_says(sequence_judged(f), "not above");
}

static void an_instance_without_a_map_is_named(void **state)
{
    struct fixture *f = *state;

    assert_says(judged(f, &workload_sequence), "instance 0");
}

static void each_broken_promise_of_locks_is_named(void **state)
{
    struct fixture *f = *state;

    f->tally[BEGUN] = 12;
    f->tally[TOLD_DEADLOCK] = f->stats.lock_deadlocks = 2;
    f->tally[TOLD_TIMEOUT] = 3;
    f->tally[WRITES] = 9;
    f->evidence.ops = 7;
    for (uint32_t n = 0; n < NODES; n++) {
        f->seen[n].own[0] = 4000;
        f->seen[n].own[1] = 9;
    }
    assert_null(judged(f, &workload_locks));
    f->seen[1].own[0]--;
    assert_says(judged(f, &workload_locks), "instance 1 sees 3999");
    f->seen[1].own[0]++;
    f->seen[0].own[1]--;
    assert_says(judged(f, &workload_locks), "instance 0 sees 8 changes");
    f->seen[0].own[1]++;
    f->seen[1].own[2] = 1;
    assert_says(judged(f, &workload_locks), "still has 1 claims");
    f->seen[1].own[2] = 0;
    f->tally[BEGUN]++;
    assert_says(judged(f, &workload_locks), "13 transactions were begun");
    f->tally[BEGUN]--;
    f->stats.lock_deadlocks++;
    assert_says(judged(f, &workload_locks), "ended 3 waits");
    f->stats.lock_deadlocks--;
    f->tally[OVERLAPS] = 1;
    assert_says(judged(f, &workload_locks), "granted against others");
    f->tally[OVERLAPS] = 0;
    f->tally[PHANTOMS] = 1;
    assert_says(judged(f, &workload_locks), "that there was not");
    f->tally[PHANTOMS] = 0;
    assert_null(judged(f, &workload_locks));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(numbers_that_are_missing_must_be_in_caches, set_up, tear_down),
        cmocka_unit_test_setup_teardown(a_number_that_came_twice_is_seen, set_up, tear_down),
        cmocka_unit_test_setup_teardown(an_instance_without_a_map_is_named, set_up, tear_down),
        cmocka_unit_test_setup_teardown(each_broken_promise_of_locks_is_named, set_up, tear_down),
    };

    return cmocka_run_group_tests_name("tools/lock_workloads", tests, NULL, NULL);
}
