/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: never a false negative whatever is put in and taken out, in summaries with room and without (G-14), hints that
 * name at least those who held a key, exact counts, the rate of wrong positives and the load that docs/directory.md
 * gives. Not here: who is entitled to take a key out (sim/cold, sim/mutants).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "base/rng.h"
#include "grd/summary.h"

#define KEYS 4096u

struct world {
    struct grd_summary summary;
    void *memory;
    struct cf_rng rng;
    uint8_t code[KEYS]; /* under which the key was put in, 0 = it is not */
    uint32_t tag[KEYS];
};

static void world_open(struct world *w, uint64_t lines, uint64_t seed)
{
    memset(w, 0, sizeof *w);
    w->memory = calloc(lines, GRD_SUMMARY_LINE_BYTES);
    assert_non_null(w->memory);
    grd_summary_init(&w->summary, w->memory, lines, seed);
    cf_rng_seed(&w->rng, seed);
    for (uint32_t k = 0; k < KEYS; k++)
        w->tag[k] = (uint32_t)cf_rng_next(&w->rng);
}

static void assert_covers(const struct grd_hint *hint, uint8_t code)
{
    assert_true(hint->is_any);
    if (code == GRD_SUMMARY_PAST)
        assert_true(hint->has_past);
    if (code >= GRD_SUMMARY_MANY)
        assert_true(hint->ask_all);
    else
        assert_true(hint->ask_all || (hint->classes >> (code - 1) & 1));
}

static void assert_all_are_covered(const struct world *w)
{
    uint64_t keys = 0;

    for (uint32_t k = 0; k < KEYS; k++) {
        struct grd_hint hint;

        if (w->code[k] == 0)
            continue;
        hint = grd_summary_look(&w->summary, w->tag[k]);
        assert_covers(&hint, w->code[k]);
        keys++;
    }
    assert_int_equal(w->summary.keys, keys);
    grd_summary_check(&w->summary);
}

static uint8_t code_draw(struct world *w)
{
    uint64_t kind = cf_rng_below(&w->rng, 8);

    return kind == 0   ? GRD_SUMMARY_MANY
           : kind == 1 ? GRD_SUMMARY_PAST
                       : grd_summary_class((uint16_t)cf_rng_below(&w->rng, 40));
}

/* Whoever takes a key out knows its holders, not whether past images had been listed. */
static uint8_t code_known(struct world *w, uint8_t code)
{
    if (code != GRD_SUMMARY_PAST)
        return code;
    return cf_rng_below(&w->rng, 2) ? GRD_SUMMARY_MANY
                                    : grd_summary_class((uint16_t)cf_rng_below(&w->rng, 40));
}

static void churn(uint64_t lines, uint32_t keys, uint64_t seed)
{
    struct world *w = malloc(sizeof *w);

    assert_non_null(w);
    world_open(w, lines, seed);
    for (uint32_t i = 0; i < 40000; i++) {
        uint32_t k = (uint32_t)cf_rng_below(&w->rng, keys);

        if (w->code[k] == 0) {
            w->code[k] = code_draw(w);
            grd_summary_add(&w->summary, w->tag[k], w->code[k]);
        } else {
            assert_true(grd_summary_remove(&w->summary, w->tag[k], code_known(w, w->code[k])));
            w->code[k] = 0;
        }
        if (i % 500 == 0)
            assert_all_are_covered(w);
    }
    assert_all_are_covered(w);
    for (uint32_t k = 0; k < keys; k++)
        if (w->code[k] != 0) {
            assert_true(grd_summary_remove(&w->summary, w->tag[k], code_known(w, w->code[k])));
            w->code[k] = 0;
            assert_true(k % 64 != 0 || w->summary.keys == 0 ||
                        (assert_all_are_covered(w), true)); /* also while it empties */
        }
    assert_int_equal(w->summary.keys, 0);
    assert_int_equal(w->summary.over, 0);
    for (uint32_t k = 0; k < keys; k++)
        assert_false(grd_summary_look(&w->summary, w->tag[k]).is_any);
    free(w->memory);
    free(w);
}

static void no_key_is_missed_where_there_is_room(void **state)
{
    (void)state;
    churn(200, KEYS, 1);
}

/* Ten and a hundred times what there are slots for: most are only counted. */
static void no_key_is_missed_where_there_is_none(void **state)
{
    (void)state;
    churn(14, KEYS, 2);
    churn(3, KEYS, 3);
    churn(1, KEYS, 4);
}

/* Fingerprints that are all the same: keys of one pair of lines are told apart by nothing. */
static void keys_of_one_fingerprint_do_not_uncover_each_other(void **state)
{
    struct world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    world_open(w, 2, 5);
    for (uint32_t k = 1; k < KEYS; k++)
        w->tag[k] = w->tag[k / 100 * 100]; /* a hundred keys of each tag */
    for (uint32_t i = 0; i < 20000; i++) {
        uint32_t k = (uint32_t)cf_rng_below(&w->rng, 400);

        if (w->code[k] == 0) {
            w->code[k] = code_draw(w);
            grd_summary_add(&w->summary, w->tag[k], w->code[k]);
        } else {
            assert_true(grd_summary_remove(&w->summary, w->tag[k], code_known(w, w->code[k])));
            w->code[k] = 0;
        }
        if (i % 50 == 0)
            assert_all_are_covered(w);
    }
    free(w->memory);
    free(w);
}

static void what_is_not_there_cannot_be_taken_out(void **state)
{
    struct world *w = malloc(sizeof *w);

    (void)state;
    assert_non_null(w);
    world_open(w, 4, 6);
    assert_false(grd_summary_remove(&w->summary, w->tag[0], GRD_SUMMARY_MANY));
    grd_summary_add(&w->summary, w->tag[1], GRD_SUMMARY_MANY);
    assert_false(grd_summary_remove(&w->summary, w->tag[0], GRD_SUMMARY_MANY));
    assert_true(grd_summary_look(&w->summary, w->tag[1]).is_any);
    free(w->memory);
    free(w);
}

/* A count at its end cannot go down any more: what it stands for is not known. */
static void a_count_at_its_end_stays(void **state)
{
    struct world *w = malloc(sizeof *w);
    uint32_t i;

    (void)state;
    assert_non_null(w);
    world_open(w, 1, 7);
    for (i = 0; i < 70000; i++)
        grd_summary_add(&w->summary, i * 2654435761u, 1);
    for (i = 0; i < 69999; i++)
        assert_true(grd_summary_remove(&w->summary, i * 2654435761u, 1));
    assert_true(grd_summary_look(&w->summary, i * 2654435761u).ask_all);
    assert_true(grd_summary_remove(&w->summary, i * 2654435761u, 1));
    assert_false(grd_summary_look(&w->summary, i * 2654435761u).is_any);
    free(w->memory);
    free(w);
}

static void the_rate_of_wrong_positives_is_as_documented(void **state)
{
    const uint64_t lines = 4096, keys = lines * 26;
    struct grd_summary summary;
    uint16_t *memory = calloc(lines, GRD_SUMMARY_LINE_BYTES);
    uint64_t wrong = 0, i;
    struct cf_rng rng;

    (void)state;
    assert_non_null(memory);
    grd_summary_init(&summary, memory, lines, 8);
    cf_rng_seed(&rng, 8);
    for (i = 0; i < keys; i++)
        grd_summary_add(&summary, (uint32_t)cf_rng_next(&rng), 1);
    printf("%.3f %% of keys are over at 26 of 30\n", 100.0 * (double)summary.over / (double)keys);
    assert_true(summary.over * 200 < keys);
    for (i = 0; i < 200000; i++) {
        struct grd_hint hint = grd_summary_look(&summary, (uint32_t)cf_rng_next(&rng));

        wrong += hint.is_any && !hint.ask_all;
    }
    printf("%.2f %% wrong positives\n", (double)wrong / 2000.0);
    assert_in_range(wrong, 3000, 6500);
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(no_key_is_missed_where_there_is_room),
        cmocka_unit_test(no_key_is_missed_where_there_is_none),
        cmocka_unit_test(keys_of_one_fingerprint_do_not_uncover_each_other),
        cmocka_unit_test(what_is_not_there_cannot_be_taken_out),
        cmocka_unit_test(a_count_at_its_end_stays),
        cmocka_unit_test(the_rate_of_wrong_positives_is_as_documented),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
