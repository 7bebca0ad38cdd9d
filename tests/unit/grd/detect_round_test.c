/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: what confirms an edge and what does not, bounds of memory, reports that are not well-formed. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/grd/detect_fixture.h"

static struct grd_detect_report wait_for(uint64_t owner, uint64_t holder)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                      .node = 1,
                                      .owner = owner,
                                      .holder = holder,
                                      .wait = 10 + owner,
                                      .grant = 20 + holder};
}

static uint32_t round_of(struct detect_fixture *fixture, const struct grd_detect_report *reports,
                         uint32_t count)
{
    grd_detect_round_begin(fixture->detect);
    grd_detect_round_report(fixture->detect, reports, count);
    return grd_detect_round_end(fixture->detect);
}

static uint32_t victims_of(struct detect_fixture *fixture)
{
    struct grd_detect_victim victim;
    uint32_t count = 0;

    grd_detect_resolve(fixture->detect);
    while (grd_detect_victim_next(fixture->detect, &victim, NULL, 0))
        count++;
    return count;
}

static void one_round_confirms_nothing(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1), wait_for(1, 2)};
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    assert_int_equal(round_of(&fixture, cycle, 3), 0);
    assert_int_equal(victims_of(&fixture), 0);
    assert_int_equal(round_of(&fixture, cycle, 3), 2);
    assert_int_equal(victims_of(&fixture), 1);
    /* Nobody was told: it is found again. */
    assert_int_equal(round_of(&fixture, cycle, 3), 2);
    assert_int_equal(victims_of(&fixture), 1);
    detect_fixture_close(&fixture);
}

static void a_changed_wait_or_grant_is_another_edge(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    round_of(&fixture, cycle, 2);
    cycle[0].wait++;
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    assert_int_equal(victims_of(&fixture), 0);
    cycle[1].grant++;
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    assert_int_equal(victims_of(&fixture), 0);
    cycle[1].holder = 3;
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    cycle[1].holder = 1;
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    cycle[0].node = 2; /* the same numbers elsewhere */
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    detect_fixture_close(&fixture);
}

static void rounds_must_be_neighbours(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    round_of(&fixture, cycle, 2);
    round_of(&fixture, cycle, 1);
    assert_int_equal(round_of(&fixture, cycle, 2), 1);
    assert_int_equal(victims_of(&fixture), 0);
    assert_int_equal(round_of(&fixture, cycle, 2), 2);
    assert_int_equal(victims_of(&fixture), 1);
    detect_fixture_close(&fixture);
}

static void age_and_cost_are_those_of_the_last_round(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    cycle[0].cost = 9;
    cycle[0].age_ns = 1 << 20;
    round_of(&fixture, cycle, 2);
    cycle[0].cost = 1;
    cycle[1].cost = 2;
    cycle[0].age_ns = 1 << 18;
    round_of(&fixture, cycle, 2);
    grd_detect_resolve(fixture.detect);
    assert_true(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
    assert_int_equal(victim.owner, 1);
    assert_int_equal(victim.cost, 1);
    assert_int_equal(victim.age_ns, 1 << 18);
    detect_fixture_close(&fixture);
}

/* An owner with a new wait beside the one on the cycle is told about the one that has been confirmed. */
static void the_wait_named_is_a_confirmed_one(void **state)
{
    struct grd_detect_report reports[] = {wait_for(1, 2), wait_for(2, 1), wait_for(1, 5)};
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    reports[2].wait = 99;
    reports[2].age_ns = 1 << 30;
    reports[1].cost = 1;
    round_of(&fixture, reports, 2);
    for (uint32_t i = 0; i < 2; i++) {
        struct grd_detect_report first = reports[0];

        reports[0] = reports[2]; /* in either order */
        reports[2] = first;
        round_of(&fixture, reports, 3);
        grd_detect_resolve(fixture.detect);
        assert_true(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
        assert_int_equal(victim.wait, 11);
        round_of(&fixture, i == 0 ? &reports[1] : reports, 2);
    }
    detect_fixture_close(&fixture);
}

/* Edges that went make the others move in memory; what an owner waits for is still told right. */
static void the_wait_named_is_right_after_others_have_gone(void **state)
{
    struct grd_detect_report reports[] = {wait_for(7, 8), wait_for(8, 9), wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_victim victim;
    struct grd_detect_step steps[2];
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    round_of(&fixture, reports, 4);
    assert_int_equal(round_of(&fixture, &reports[1], 3), 3);
    grd_detect_resolve(fixture.detect);
    assert_true(grd_detect_victim_next(fixture.detect, &victim, steps, 2));
    assert_int_equal(victim.owner, 1);
    assert_int_equal(victim.wait, 11);
    assert_int_equal(steps[1].wait, 12);
    detect_fixture_close(&fixture);
}

/* So many that their tags in the tables collide: names are compared in full. */
static void edges_that_differ_in_one_number_are_kept_apart(void **state)
{
    enum { EDGES = 200000 };
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 2 * EDGES, EDGES, 0);
    for (uint32_t what = 0; what < 5; what++) {
        grd_detect_clear(fixture.detect);
        for (uint32_t round = 0; round < 2; round++) {
            grd_detect_round_begin(fixture.detect);
            for (uint32_t i = 0; i < EDGES; i++) {
                struct grd_detect_report report = wait_for(1, 2);

                report.wait = what == 0 ? i : 0;
                report.grant = what == 1 || what == 4 ? i : 0;
                report.owner = what == 2 ? i : 1;
                report.key = what == 3 ? i : 0;
                report.kind = what >= 3 ? GRD_DETECT_ASKS : GRD_DETECT_LOCAL;
                grd_detect_round_report(fixture.detect, &report, 1);
            }
            assert_int_equal(grd_detect_round_end(fixture.detect), round * EDGES);
        }
    }
    detect_fixture_close(&fixture);
}

static void clear_forgets_what_was_reported(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    round_of(&fixture, cycle, 2);
    grd_detect_round_begin(fixture.detect);
    grd_detect_round_report(fixture.detect, cycle, 2);
    grd_detect_clear(fixture.detect);
    assert_int_equal(round_of(&fixture, cycle, 2), 0);
    assert_int_equal(victims_of(&fixture), 0);
    assert_int_equal(round_of(&fixture, cycle, 2), 2);
    detect_fixture_close(&fixture);
}

/* The record of every edge through rounds of coming, staying, going, against what a set would say. */
static void random_rounds_agree_with_a_set(void **state)
{
    enum { OWNERS = 12, IDS = 2, NAMES = OWNERS * OWNERS * IDS * IDS, ROUNDS = 3000 };
    static bool before[NAMES], now[NAMES];
    struct detect_fixture fixture;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 31);
    memset(before, 0, sizeof before);
    detect_fixture_open(&fixture, OWNERS, NAMES, 0x77);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double stays = cf_rng_unit(&rng), comes = cf_rng_unit(&rng) * 0.2;
        uint32_t both = 0;

        memset(now, 0, sizeof now);
        grd_detect_round_begin(fixture.detect);
        for (uint32_t i = 0; i < NAMES; i++) {
            uint32_t name = i * 7 % NAMES; /* 7 and 2^6 3^2 have no common factor */
            struct grd_detect_report report = wait_for(name % OWNERS, name / OWNERS % OWNERS);

            if (!cf_rng_chance(&rng, before[name] ? stays : comes))
                continue;
            report.wait = name / OWNERS / OWNERS % IDS;
            report.grant = name / OWNERS / OWNERS / IDS;
            grd_detect_round_report(fixture.detect, &report, 1);
            now[name] = true;
            both += before[name];
        }
        assert_int_equal(grd_detect_round_end(fixture.detect), both);
        memcpy(before, now, sizeof before);
    }
    detect_fixture_close(&fixture);
}

/*
 * The same, where some rounds are told as changes: what is new, and prints of what is gone. Each edge is confirmed as
 * if all had been told.
 */
static void random_changes_agree_with_a_set(void **state)
{
    enum { OWNERS = 12, IDS = 2, NAMES = OWNERS * OWNERS * IDS * IDS, ROUNDS = 3000 };
    static bool before[NAMES], now[NAMES];
    uint64_t told = 0, both_all = 0;
    struct detect_fixture fixture;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 32);
    memset(before, 0, sizeof before);
    detect_fixture_open(&fixture, OWNERS, NAMES, 0x77);
    for (uint32_t round = 0; round < ROUNDS; round++) {
        double stays = cf_rng_unit(&rng), comes = cf_rng_unit(&rng) * 0.2;
        bool is_change = round != 0 && cf_rng_chance(&rng, 0.8);
        uint32_t both = 0;

        if (is_change)
            grd_detect_round_continue(fixture.detect, cf_rng_below(&rng, 100000));
        else
            grd_detect_round_begin(fixture.detect);
        for (uint32_t i = 0; i < NAMES; i++) {
            uint32_t name = i * 7 % NAMES;
            struct grd_detect_report report = wait_for(name % OWNERS, name / OWNERS % OWNERS);
            uint64_t print;

            now[name] = cf_rng_chance(&rng, before[name] ? stays : comes);
            both += before[name] && now[name];
            report.wait = name / OWNERS / OWNERS % IDS;
            report.grant = name / OWNERS / OWNERS / IDS;
            print = grd_detect_print(&report);
            if (is_change && now[name] == before[name])
                continue;
            told++;
            if (now[name])
                grd_detect_round_report(fixture.detect, &report, 1);
            else if (is_change)
                grd_detect_round_gone(fixture.detect, &print, 1);
        }
        assert_int_equal(grd_detect_round_end(fixture.detect), both);
        both_all += both;
        if (cf_rng_chance(&rng, 0.3))
            grd_detect_resolve(fixture.detect); /* the graph lies where the tables are */
        memcpy(before, now, sizeof before);
    }
    assert_true(both_all > told / 4);
    detect_fixture_close(&fixture);
}

/* It waits longer by what has passed, and is still told by the wait that it was noted with. */
static void a_wait_grows_older_in_rounds_that_do_not_tell_of_it(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    cycle[0].age_ns = 10 << 14;
    cycle[1].age_ns = 11 << 14;
    round_of(&fixture, cycle, 2);
    for (uint32_t i = 1; i <= 3; i++) {
        grd_detect_round_continue(fixture.detect, 5 << 14);
        assert_int_equal(grd_detect_round_end(fixture.detect), 2);
        grd_detect_resolve(fixture.detect);
        assert_true(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
        assert_int_equal(victim.owner, 1);
        assert_int_equal(victim.wait, 11);
        assert_int_equal(victim.age_ns, (10 + 5 * i) << 14);
    }
    detect_fixture_close(&fixture);
}

static void gone(struct detect_fixture *fixture, const struct grd_detect_report *report)
{
    uint64_t print = grd_detect_print(report);

    grd_detect_round_gone(fixture->detect, &print, 1);
}

/* Owner 1 waits behind 2 by two waits. The one that was noted ends: nothing is ended until a round told all anew. */
static void an_owner_whose_noted_wait_is_over_is_asked_for_anew(void **state)
{
    struct grd_detect_report reports[] = {wait_for(1, 2), wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    reports[0].age_ns = 9 << 14;
    reports[1].wait = 77;
    reports[2].cost = 1;
    round_of(&fixture, reports, 3);
    grd_detect_round_continue(fixture.detect, 0);
    gone(&fixture, &reports[0]);
    assert_int_equal(grd_detect_round_end(fixture.detect), 2);
    assert_int_equal(grd_detect_resolve(fixture.detect), 0);
    assert_true(grd_detect_is_stale(fixture.detect));
    assert_false(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
    assert_int_equal(round_of(&fixture, &reports[1], 2), 2);
    assert_int_equal(grd_detect_resolve(fixture.detect), 2);
    assert_false(grd_detect_is_stale(fixture.detect));
    assert_true(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
    assert_int_equal(victim.owner, 1);
    assert_int_equal(victim.wait, 77);
    detect_fixture_close(&fixture);
}

/* One of those that a wait stands behind leaves, another one stays: the wait is still known. */
static void a_wait_that_keeps_one_edge_is_still_noted(void **state)
{
    struct grd_detect_report reports[] = {wait_for(1, 3), wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    reports[2].cost = 1;
    round_of(&fixture, reports, 3);
    grd_detect_round_continue(fixture.detect, 0);
    gone(&fixture, &reports[0]);
    assert_int_equal(grd_detect_round_end(fixture.detect), 2);
    assert_int_equal(grd_detect_resolve(fixture.detect), 2);
    assert_true(grd_detect_victim_next(fixture.detect, &victim, NULL, 0));
    assert_int_equal(victim.wait, 11);
    detect_fixture_close(&fixture);
}

/* Prints are the same in every instance and build, and differ where a report differs in what it is known by. */
static void prints_tell_reports_apart(void **state)
{
    struct grd_detect_report report = {.kind = GRD_DETECT_BEHIND,
                                       .side = 1,
                                       .mode = 5,
                                       .node = 3,
                                       .peer = 4,
                                       .key = 5,
                                       .wait = 6,
                                       .grant = 7,
                                       .owner = 8,
                                       .holder = 9},
                             other;
    uint64_t print = grd_detect_print(&report);

    (void)state;
    for (uint32_t what = 0; what < 9; what++) {
        other = report;
        other.kind = what == 0 ? GRD_DETECT_STAKE : other.kind;
        other.side += what == 1;
        other.mode += what == 2;
        other.node += what == 3;
        other.peer += what == 4;
        other.key += what == 5;
        other.wait += what == 6;
        other.grant += what == 7;
        if (what < 8)
            assert_int_not_equal(grd_detect_print(&other), print);
        else
            assert_int_equal(grd_detect_print(&other), print);
        report.age_ns += 1000;
        report.cost++;
    }
    other = wait_for(1, 2);
    print = grd_detect_print(&other);
    assert_int_equal(print, UINT64_C(0x28b8db9fc029d538));
    other.owner = 2;
    assert_int_not_equal(grd_detect_print(&other), print);
    other.owner = 1;
    other.holder = 1;
    assert_int_not_equal(grd_detect_print(&other), print);
}

static void memory_is_at_most_64_bytes_an_edge(void **state)
{
    (void)state;
    for (uint32_t vertices = 1000; vertices <= 1000000; vertices *= 10)
        for (uint32_t edges = 1; edges <= 16; edges++)
            assert_true(grd_detect_bytes(vertices, edges * vertices) <= 64 * (uint64_t)(edges * vertices));
    assert_int_equal(grd_detect_bytes(0, 1), 0);
    assert_int_equal(grd_detect_bytes(1, 0), 0);
    assert_int_equal(grd_detect_bytes(GRD_DETECT_VERTICES_MAX + 1, 1), 0);
    assert_int_equal(grd_detect_bytes(1, GRD_DETECT_EDGES_MAX + 1), 0);
    assert_true(grd_detect_bytes(GRD_DETECT_VERTICES_MAX, GRD_DETECT_EDGES_MAX) > UINT32_MAX);
}

static void memory_that_does_not_fit_is_refused(void **state)
{
    static _Alignas(CF_CACHE_LINE) char memory[1 << 16];
    struct grd_detect_options options = {.vertices_max = 8, .edges_max = 16};
    uint64_t bytes = grd_detect_bytes(8, 16);
    struct grd_detect *detect = NULL;

    (void)state;
    assert_in_range(bytes, 1, sizeof memory - 8);
    assert_int_equal(grd_detect_open(&options, memory, bytes - 1, &detect), CF_MEMORY);
    assert_int_equal(grd_detect_open(&options, memory + 8, bytes, &detect), CF_INVALID);
    options.edges_max = 0;
    assert_int_equal(grd_detect_open(&options, memory, bytes, &detect), CF_INVALID);
    assert_null(detect);
    options.edges_max = 16;
    assert_int_equal(grd_detect_open(&options, memory, bytes, &detect), CF_OK);
    assert_non_null(detect);
}

/* The memory ends where it ends (asan watches); what came first stays. */
static void reports_without_room_are_counted_and_the_first_stay(void **state)
{
    struct grd_detect_report cycle[] = {wait_for(1, 2), wait_for(2, 1)};
    struct grd_detect_counts counts;
    struct detect_fixture fixture;

    (void)state;
    for (uint32_t is_few_edges = 0; is_few_edges < 2; is_few_edges++) {
        detect_fixture_open(&fixture, is_few_edges ? 1000 : 10, is_few_edges ? 10 : 1000, 0);
        for (uint32_t round = 0; round < 2; round++) {
            grd_detect_round_begin(fixture.detect);
            grd_detect_round_report(fixture.detect, cycle, 2);
            for (uint64_t i = 0; i < 100; i++) {
                struct grd_detect_report more = wait_for(100 + 2 * i, 101 + 2 * i);

                grd_detect_round_report(fixture.detect, &more, 1);
            }
            assert_int_equal(grd_detect_round_end(fixture.detect), round * (is_few_edges ? 10 : 2 + 4));
        }
        grd_detect_counts(fixture.detect, &counts);
        assert_int_equal(counts.cut, 2 * (is_few_edges ? 92 : 96));
        assert_int_equal(counts.rounds, 2);
        assert_int_equal(victims_of(&fixture), 1);
        detect_fixture_close(&fixture);
    }
}

static void reports_that_are_not_well_formed_are_counted(void **state)
{
    struct grd_detect_report reports[] = {
        {.kind = GRD_DETECT_KINDS},
        {.kind = 0xff},
        {.kind = GRD_DETECT_BEHIND, .side = GRD_DETECT_ITSELF + 1},
        {.kind = GRD_DETECT_STAKE, .side = GRD_DETECT_ITSELF},
        {.kind = GRD_DETECT_LOCAL, .node = GRD_DETECT_NODES_MAX},
        {.kind = GRD_DETECT_BEHIND, .peer = GRD_DETECT_NODES_MAX},
        {.kind = GRD_DETECT_BEHIND, .mode = GRD_DETECT_MODES},
        {.kind = GRD_DETECT_STAKE, .side = 0xff},
        {.kind = GRD_DETECT_STAKE, .mode = 0xff},
        wait_for(1, 2),
        wait_for(2, 1),
    };
    struct grd_detect_counts counts;
    struct detect_fixture fixture;

    (void)state;
    detect_fixture_open(&fixture, 4, 4, 0);
    assert_int_equal(detect_fixture_confirm(&fixture, reports, CF_COUNTOF(reports)), 2);
    assert_int_equal(victims_of(&fixture), 1);
    grd_detect_counts(fixture.detect, &counts);
    assert_int_equal(counts.refused, 18);
    assert_int_equal(counts.cut, 0);
    detect_fixture_close(&fixture);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_round_confirms_nothing),
        cmocka_unit_test(a_changed_wait_or_grant_is_another_edge),
        cmocka_unit_test(rounds_must_be_neighbours),
        cmocka_unit_test(age_and_cost_are_those_of_the_last_round),
        cmocka_unit_test(the_wait_named_is_a_confirmed_one),
        cmocka_unit_test(the_wait_named_is_right_after_others_have_gone),
        cmocka_unit_test(edges_that_differ_in_one_number_are_kept_apart),
        cmocka_unit_test(clear_forgets_what_was_reported),
        cmocka_unit_test(random_rounds_agree_with_a_set),
        cmocka_unit_test(random_changes_agree_with_a_set),
        cmocka_unit_test(a_wait_grows_older_in_rounds_that_do_not_tell_of_it),
        cmocka_unit_test(an_owner_whose_noted_wait_is_over_is_asked_for_anew),
        cmocka_unit_test(a_wait_that_keeps_one_edge_is_still_noted),
        cmocka_unit_test(prints_tell_reports_apart),
        cmocka_unit_test(memory_is_at_most_64_bytes_an_edge),
        cmocka_unit_test(memory_that_does_not_fit_is_refused),
        cmocka_unit_test(reports_without_room_are_counted_and_the_first_stay),
        cmocka_unit_test(reports_that_are_not_well_formed_are_counted),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
