/* SPDX-License-Identifier: Apache-2.0 */
/* The checks of the workloads see what they are there to see: over blocks in memory, without instances. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "tools/workload/workload.h"
#include "tools/workload/zipf.h"

#define BLOCKS 12u
#define DATA_BYTES 8128u

struct bench {
    struct wl_plan plan;
    uint8_t *block[BLOCKS];
};

static void bench_make(struct bench *bench, const char *name)
{
    uint64_t used;

    memset(bench, 0, sizeof(*bench));
    bench->plan = (struct wl_plan){.workload = workload_find(name),
                                   .nodes = 3,
                                   .threads = 1,
                                   .seed = 1,
                                   .data_bytes = DATA_BYTES,
                                   .blocks = BLOCKS};
    assert_non_null(bench->plan.workload);
    used = bench->plan.workload->blocks_used(&bench->plan);
    for (uint64_t block = 1; block < BLOCKS; block++) {
        bench->block[block] = calloc(1, DATA_BYTES);
        assert_non_null(bench->block[block]);
        if (block < used)
            bench->plan.workload->format(&bench->plan, block, bench->block[block]);
    }
}

static void bench_free(struct bench *bench)
{
    for (uint64_t block = 1; block < BLOCKS; block++)
        free(bench->block[block]);
}

static struct wl_sums bench_sums(const struct bench *bench)
{
    struct wl_sums sums = {0};

    for (uint64_t block = 1; block < BLOCKS; block++)
        bench->plan.workload->inspect(&bench->plan, block, bench->block[block], &sums);
    return sums;
}

static bool judged(const struct bench *bench, const struct wl_sums *before, const struct wl_sums *after,
                   uint64_t tally0)
{
    uint64_t tally[WL_TALLIES] = {tally0};
    struct wl_sums seen[3] = {*after, *after, *after};
    struct wl_evidence evidence = {
        .plan = &bench->plan, .before = before, .after = after, .seen = seen, .tally = tally};
    char text[256] = "";
    bool good = bench->plan.workload->judge(&evidence, text, sizeof(text));

    assert_true(strlen(text) > 0);
    return good;
}

static const char *const native[] = {"bank", "ring", "hot", "ycsb-a", "ycsb-d", "ycsb-e"};

static void a_fresh_file_is_whole_and_judged_right(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++) {
        struct wl_sums nothing = {0}, sums;
        struct bench bench;

        bench_make(&bench, native[i]);
        sums = bench_sums(&bench);
        assert_int_equal(sums.bad, 0);
        assert_true(sums.items > 0);
        assert_true(judged(&bench, &nothing, &sums, 0));
        bench_free(&bench);
    }
}

static void a_changed_byte_is_seen(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++) {
        struct wl_sums sums;
        struct bench bench;

        bench_make(&bench, native[i]);
        bench.block[1][8] ^= 1;
        sums = bench_sums(&bench);
        assert_int_equal(sums.bad, 1);
        assert_true(strlen(sums.first_bad) > 0);
        bench_free(&bench);
    }
}

static void a_change_that_no_client_made_is_judged_wrong(void **state)
{
    (void)state;
    for (size_t i = 0; i < sizeof(native) / sizeof(native[0]); i++) {
        struct wl_sums nothing = {0}, sums;
        struct bench bench;

        bench_make(&bench, native[i]);
        sums = bench_sums(&bench);
        assert_false(judged(&bench, &nothing, &sums, 1));
        bench_free(&bench);
    }
}

static void money_out_of_nothing_is_judged_wrong(void **state)
{
    struct wl_sums nothing = {0}, sums;
    struct bench bench;

    (void)state;
    bench_make(&bench, "bank");
    sums = bench_sums(&bench);
    sums.value[0] += 1;
    assert_false(judged(&bench, &nothing, &sums, 0));
    bench_free(&bench);
}

static void a_scan_that_differs_on_one_instance_is_judged_wrong(void **state)
{
    struct wl_plan plan = {.workload = workload_find("scan"), .nodes = 3, .data_bytes = 8192, .bytes = 10000};
    struct wl_sums file = {.digest = {1, 2, 3}}, seen[3] = {file, file, file};
    struct wl_evidence evidence = {.plan = &plan, .before = &file, .after = &file, .seen = seen};
    char text[256];

    (void)state;
    assert_true(plan.workload->judge(&evidence, text, sizeof(text)));
    seen[2].digest[31] ^= 1;
    assert_false(plan.workload->judge(&evidence, text, sizeof(text)));
    assert_non_null(strstr(text, "instance 2"));
}

static void a_head_of_another_workload_is_refused(void **state)
{
    struct wl_plan plan = {.workload = workload_find("bank"), .blocks = 100};
    struct wl_head head = {0};
    char text[256] = "";

    (void)state;
    assert_int_equal(wl_head_adopt(&plan, &head, text, sizeof(text)), CF_NOT_FOUND);
    head = (struct wl_head){.magic = WL_HEAD_MAGIC, .workload = "hot", .blocks = 50};
    assert_int_equal(wl_head_adopt(&plan, &head, text, sizeof(text)), CF_FORMAT);
    assert_non_null(strstr(text, "hot"));
    strcpy(head.workload, "bank");
    assert_int_equal(wl_head_adopt(&plan, &head, text, sizeof(text)), CF_OK);
    assert_int_equal(plan.blocks, 50);
    head.blocks = 101; /* more than the file has: it was cut */
    assert_int_equal(wl_head_adopt(&plan, &head, text, sizeof(text)), CF_FORMAT);
}

static void zipfian_ranks_lean_to_the_first_and_stay_inside(void **state)
{
    uint64_t drawn[1000] = {0}, first_ten = 0;
    struct zipf zipf;
    struct cf_rng rng;

    (void)state;
    zipf_init(&zipf, 1000);
    cf_rng_seed(&rng, 7);
    for (uint32_t i = 0; i < 100000; i++) {
        uint64_t rank = zipf_rank(&zipf, &rng);

        assert_true(rank < 1000);
        assert_true(zipf_key(&zipf, &rng) < 1000);
        drawn[rank]++;
    }
    for (uint32_t i = 0; i < 10; i++)
        first_ten += drawn[i];
    /* With theta 0.99 and 1000 ranks rank 0 has 13 % of the draws and the first ten 38 %. */
    assert_in_range(drawn[0], 11000, 15000);
    assert_in_range(first_ten, 35000, 43000);
    assert_true(drawn[0] > drawn[10] && drawn[10] > drawn[500]);
}

static void every_workload_is_found_by_its_name(void **state)
{
    uint32_t count = 0;

    (void)state;
    for (; workload_at(count) != NULL; count++)
        assert_ptr_equal(workload_find(workload_at(count)->name), workload_at(count));
    assert_int_equal(count, 13);
    assert_null(workload_find("ycsb"));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_fresh_file_is_whole_and_judged_right),
        cmocka_unit_test(a_changed_byte_is_seen),
        cmocka_unit_test(a_change_that_no_client_made_is_judged_wrong),
        cmocka_unit_test(money_out_of_nothing_is_judged_wrong),
        cmocka_unit_test(a_scan_that_differs_on_one_instance_is_judged_wrong),
        cmocka_unit_test(a_head_of_another_workload_is_refused),
        cmocka_unit_test(zipfian_ranks_lean_to_the_first_and_stay_inside),
        cmocka_unit_test(every_workload_is_found_by_its_name),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
