/* SPDX-License-Identifier: Apache-2.0 */
/* Reports and cycles as words of a message: there and back, and what a peer may not say. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/rng.h"
#include "engine/instance.h"

#define NODES 100u
#define ROUNDS 100000u
#define AGE_STEP 65536u

static struct grd_detect_report random_report(struct cf_rng *rng)
{
    struct grd_detect_report report = {.kind = (uint8_t)cf_rng_below(rng, GRD_DETECT_KINDS), .node = 7};

    report.key = cf_rng_next(rng);
    report.wait = cf_rng_next(rng);
    report.grant = cf_rng_next(rng);
    if (report.kind != GRD_DETECT_BEHIND)
        report.owner = cf_rng_next(rng);
    if (report.kind == GRD_DETECT_LOCAL)
        report.holder = cf_rng_next(rng);
    if (report.kind == GRD_DETECT_LOCAL || report.kind == GRD_DETECT_ASKS) {
        report.cost = (uint32_t)cf_rng_next(rng);
        report.age_ns = cf_rng_below(rng, 1u << 26) * AGE_STEP;
    } else {
        report.side = (uint8_t)cf_rng_below(rng, 2);
        report.mode = (uint8_t)cf_rng_below(rng, GRD_DETECT_MODES);
    }
    if (report.kind == GRD_DETECT_BEHIND) {
        if (cf_rng_chance(rng, 0.3)) {
            report.side = GRD_DETECT_ITSELF;
            report.mode = 0;
        }
        report.node = (uint16_t)cf_rng_below(rng, NODES);
        report.peer = (uint16_t)cf_rng_below(rng, NODES);
    }
    return report;
}

static bool is_equal(const struct grd_detect_report *a, const struct grd_detect_report *b)
{
    return a->kind == b->kind && a->side == b->side && a->mode == b->mode && a->node == b->node &&
           a->peer == b->peer && a->cost == b->cost && a->key == b->key && a->owner == b->owner &&
           a->holder == b->holder && a->wait == b->wait && a->grant == b->grant && a->age_ns == b->age_ns;
}

static void as_many_reports_as_fit_come_back(void **state)
{
    struct grd_detect_report in[GRD_WORDS_MAX], out;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 1);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct grd_words words = {.count = 0};
        uint32_t count = 0, at = 0;

        for (;; count++) {
            uint8_t before = words.count;

            in[count] = random_report(&rng);
            if (eng_detect_pack(&words, &in[count]))
                continue;
            assert_int_equal(words.count, before);
            break;
        }
        assert_true(count >= 2 && count <= 4);
        for (uint32_t n = 0; n < count; n++) {
            assert_true(eng_detect_unpack(&words, &at, 7, NODES, &out));
            assert_true(is_equal(&in[n], &out));
        }
        assert_int_equal(at, words.count);
    }
}

static void a_wait_older_than_can_be_told_is_told_as_the_oldest(void **state)
{
    struct grd_detect_report in = {.kind = GRD_DETECT_ASKS, .age_ns = UINT64_MAX}, out;
    struct grd_words words = {.count = 0};
    uint32_t at = 0;

    (void)state;
    assert_true(eng_detect_pack(&words, &in));
    assert_true(eng_detect_unpack(&words, &at, 0, 1, &out));
    assert_int_equal(out.age_ns, ((UINT64_C(1) << 26) - 1) * AGE_STEP);
}

/* Whatever words come: what is accepted is of the view, and is told again by the same words. */
static void what_is_accepted_has_one_form(void **state)
{
    uint32_t accepted = 0;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 2);
    for (uint32_t i = 0; i < ROUNDS; i++) {
        struct grd_words words = {.count = 0}, again = {.count = 0};
        struct grd_detect_report report = random_report(&rng);
        uint32_t at = 0;

        assert_true(eng_detect_pack(&words, &report));
        if (cf_rng_chance(&rng, 0.3))
            words.count = (uint8_t)cf_rng_below(&rng, GRD_WORDS_MAX) + 1;
        words.word[0] ^= UINT64_C(1) << cf_rng_below(&rng, 64);
        memset(&report, 0, sizeof report);
        if (!eng_detect_unpack(&words, &at, 7, NODES, &report))
            continue;
        accepted++;
        assert_true(at <= words.count && report.node < NODES && report.peer < NODES);
        assert_true(eng_detect_pack(&again, &report));
        assert_int_equal(again.count, at);
        assert_memory_equal(again.word, words.word, at * sizeof again.word[0]);
    }
    assert_true(accepted > ROUNDS / 20);
}

static void a_report_cut_short_is_refused(void **state)
{
    struct grd_detect_report out;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 3);
    for (uint32_t i = 0; i < 1000; i++) {
        struct grd_detect_report in = random_report(&rng);
        struct grd_words words = {.count = 0};

        assert_true(eng_detect_pack(&words, &in));
        for (uint8_t all = words.count; --words.count > 0;) {
            uint32_t at = 0;

            assert_true(words.count < all);
            assert_false(eng_detect_unpack(&words, &at, 7, NODES, &out));
        }
    }
}

static struct eng_detect_cycle random_cycle(struct cf_rng *rng)
{
    struct eng_detect_cycle cycle;

    memset(&cycle, 0, sizeof cycle);
    cycle.steps_count = 1 + (uint32_t)cf_rng_below(rng, ENG_DETECT_STEPS);
    cycle.owners_count = cycle.steps_count + (uint32_t)cf_rng_below(rng, 1000);
    for (uint32_t i = 0; i < cycle.steps_count; i++) {
        cycle.step[i].node = (uint16_t)cf_rng_below(rng, NODES);
        cycle.step[i].mode = (uint8_t)cf_rng_below(rng, 8);
        cycle.step[i].owner = cf_rng_next(rng);
        cycle.step[i].key = cf_rng_next(rng);
    }
    return cycle;
}

static void a_cycle_comes_back_and_wrong_ones_are_refused(void **state)
{
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 4);
    for (uint32_t i = 0; i < 20000; i++) {
        struct eng_detect_cycle in = random_cycle(&rng), out;
        struct grd_words words;

        memset(&out, 0, sizeof out);
        eng_detect_cycle_pack(&words, &in);
        assert_true(eng_detect_cycle_unpack(&words, NODES, &out));
        assert_memory_equal(&in, &out, sizeof out);
        assert_false(eng_detect_cycle_unpack(&words, in.step[in.steps_count - 1].node, &out));
        words.count--;
        assert_false(eng_detect_cycle_unpack(&words, NODES, &out));
        words.count += 2;
        assert_false(eng_detect_cycle_unpack(&words, NODES, &out));
        words.count = (uint8_t)cf_rng_below(&rng, 3);
        assert_false(eng_detect_cycle_unpack(&words, NODES, &out));
        words.count = 3;
        words.word[0] &= ~UINT64_C(0xff);
        assert_false(eng_detect_cycle_unpack(&words, NODES, &out));
        words.word[0] |= ENG_DETECT_STEPS + 1;
        words.count = 3 + 2 * (ENG_DETECT_STEPS + 1);
        assert_false(eng_detect_cycle_unpack(&words, NODES, &out));
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(as_many_reports_as_fit_come_back),
        cmocka_unit_test(a_wait_older_than_can_be_told_is_told_as_the_oldest),
        cmocka_unit_test(what_is_accepted_has_one_form),
        cmocka_unit_test(a_report_cut_short_is_refused),
        cmocka_unit_test(a_cycle_comes_back_and_wrong_ones_are_refused),
    };

    return cmocka_run_group_tests_name("engine/detect_words", tests, NULL, NULL);
}
