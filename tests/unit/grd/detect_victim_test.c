/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Covers: victims of random graphs of owners against brute force (I-14, I-15), their order, their cycles. Not
 * here: how reports of several instances meet (detect_join_test.c), rounds (detect_round_test.c).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <string.h>

#include "base/rng.h"
#include "tests/unit/grd/detect_fixture.h"

#define GRAPHS 100000u
#define VERTICES_MAX 14u
#define EDGES_MAX 64u
#define AGE_STEP_NS UINT64_C(16384)

struct owner {
    uint32_t cost;
    uint64_t age_ns;
    uint64_t wait;
};

struct graph {
    struct owner owners[VERTICES_MAX];
    uint32_t edges;
    struct grd_detect_report reports[EDGES_MAX];
    struct brute brute;
};

/* Few costs and ages, so that ties are common. Vertex v is owner 100 + v. */
static void draw(struct cf_rng *rng, struct graph *graph)
{
    uint32_t vertices = 1 + (uint32_t)cf_rng_below(rng, VERTICES_MAX);

    brute_clear(&graph->brute, vertices);
    for (uint32_t v = 0; v < vertices; v++)
        graph->owners[v] = (struct owner){.cost = (uint32_t)cf_rng_below(rng, 3),
                                          .age_ns = AGE_STEP_NS * cf_rng_below(rng, 3),
                                          .wait = 1000 + v};
    graph->edges = (uint32_t)cf_rng_below(rng, EDGES_MAX + 1);
    if (cf_rng_chance(rng, 0.7))
        graph->edges = (uint32_t)cf_rng_below(rng, 2 * vertices + 1);
    for (uint32_t i = 0; i < graph->edges; i++) {
        uint32_t from = (uint32_t)cf_rng_below(rng, vertices), to = (uint32_t)cf_rng_below(rng, vertices);
        const struct owner *owner = &graph->owners[from];

        graph->reports[i] = (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                                       .node = 3,
                                                       .cost = owner->cost,
                                                       .key = from + 7,
                                                       .owner = 100 + from,
                                                       .holder = 100 + to,
                                                       .wait = owner->wait,
                                                       .grant = cf_rng_below(rng, 2),
                                                       .age_ns = owner->age_ns};
        brute_edge(&graph->brute, from, to);
    }
    brute_close(&graph->brute);
}

static bool is_below(const struct graph *graph, uint32_t a, uint32_t b)
{
    const struct owner *x = &graph->owners[a], *y = &graph->owners[b];

    if (x->cost != y->cost)
        return x->cost < y->cost;
    return x->age_ns != y->age_ns ? x->age_ns < y->age_ns : a < b;
}

/* On a cycle at this moment, and the lowest of all it shares a component with. */
static void victim_is_right(const struct graph *graph, uint32_t victim)
{
    const struct brute *brute = &graph->brute;

    assert_true(brute_reaches(brute, victim, victim)); /* I-14 */
    for (uint32_t v = 0; v < brute->vertices; v++)
        if (v != victim && brute_reaches(brute, victim, v) && brute_reaches(brute, v, victim))
            assert_true(is_below(graph, victim, v));
}

/* Bit of each owner that is the lowest of some cycle. */
static uint32_t lowest_of_cycles(const struct graph *graph)
{
    uint32_t lowest = 0;

    for (uint32_t v = 0; v < graph->brute.vertices; v++) {
        struct brute higher = graph->brute;

        for (uint32_t other = 0; other < higher.vertices; other++)
            if (other != v && is_below(graph, other, v))
                brute_remove(&higher, other);
        lowest |= (uint32_t)(brute_cycle_length(&higher, v) > 0) << v;
    }
    return lowest;
}

static void cycle_is_right(const struct graph *graph, const struct grd_detect_victim *victim,
                           const struct grd_detect_step *steps)
{
    uint32_t count = victim->steps_count, seen = 0;

    assert_int_equal(victim->cycle_length, brute_cycle_length(&graph->brute, (uint32_t)victim->owner - 100));
    assert_int_equal(count, victim->cycle_length);
    assert_int_equal(steps[0].id, victim->owner);
    for (uint32_t i = 0; i < count; i++) {
        uint32_t from = (uint32_t)steps[i].id - 100, to = (uint32_t)steps[(i + 1) % count].id - 100;

        assert_int_equal(steps[i].what, GRD_DETECT_OWNER);
        assert_int_equal(steps[i].wait, graph->owners[from].wait);
        assert_int_equal(steps[i].key, from + 7);
        assert_true(brute_has_edge(&graph->brute, from, to));
        assert_false(seen >> from & 1);
        seen |= 1u << from;
    }
}

static void victims_are_needed_and_enough(void **state)
{
    struct detect_fixture fixture;
    uint64_t victims = 0;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 21);
    detect_fixture_open(&fixture, VERTICES_MAX, EDGES_MAX, 0xa5);
    for (uint32_t i = 0; i < GRAPHS; i++) {
        struct grd_detect_step steps[VERTICES_MAX];
        struct grd_detect_victim victim;
        struct graph graph;
        uint32_t expected, taken = 0;

        draw(&rng, &graph);
        expected = lowest_of_cycles(&graph);
        grd_detect_clear(fixture.detect);
        detect_fixture_confirm(&fixture, graph.reports, graph.edges);
        grd_detect_resolve(fixture.detect);
        while (grd_detect_victim_next(fixture.detect, &victim, steps, VERTICES_MAX)) {
            uint32_t v = (uint32_t)victim.owner - 100;

            assert_in_range(v, 0, graph.brute.vertices - 1);
            assert_int_equal(victim.node, 3);
            assert_int_equal(victim.cost, graph.owners[v].cost);
            assert_int_equal(victim.age_ns, graph.owners[v].age_ns);
            assert_int_equal(victim.wait, graph.owners[v].wait);
            victim_is_right(&graph, v);
            cycle_is_right(&graph, &victim, steps);
            brute_remove(&graph.brute, v);
            brute_close(&graph.brute);
            taken |= 1u << v;
            victims++;
        }
        assert_int_equal(taken, expected);
        for (uint32_t v = 0; v < graph.brute.vertices; v++)
            assert_false(brute_reaches(&graph.brute, v, v)); /* I-15 */
    }
    assert_true(victims > GRAPHS); /* the graphs were worth it */
    detect_fixture_close(&fixture);
}

static struct grd_detect_report wait_for(uint64_t owner, uint64_t holder, uint32_t cost, uint64_t age_ns)
{
    return (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                      .owner = owner,
                                      .holder = holder,
                                      .wait = owner,
                                      .grant = holder,
                                      .cost = cost,
                                      .age_ns = age_ns};
}

static uint64_t only_victim(struct detect_fixture *fixture, const struct grd_detect_report *reports,
                            uint32_t count)
{
    struct grd_detect_victim victim, other;

    grd_detect_clear(fixture->detect);
    detect_fixture_confirm(fixture, reports, count);
    grd_detect_resolve(fixture->detect);
    assert_true(grd_detect_victim_next(fixture->detect, &victim, NULL, 0));
    assert_int_equal(victim.steps_count, 0);
    assert_false(grd_detect_victim_next(fixture->detect, &other, NULL, 0));
    return victim.owner;
}

static void the_cheapest_then_youngest_then_lowest_id_is_the_victim(void **state)
{
    struct detect_fixture fixture;
    const uint64_t s = AGE_STEP_NS;

    (void)state;
    detect_fixture_open(&fixture, 8, 8, 0);
    struct grd_detect_report by_cost[] = {wait_for(1, 2, 5, s), wait_for(2, 3, 4, 9 * s),
                                          wait_for(3, 1, 5, s)};
    struct grd_detect_report by_age[] = {wait_for(1, 2, 5, 7 * s), wait_for(2, 3, 5, 9 * s),
                                         wait_for(3, 1, 5, 3 * s)};
    struct grd_detect_report by_id[] = {wait_for(3, 2, 5, s), wait_for(2, 1, 5, s), wait_for(1, 3, 5, s)};
    struct grd_detect_report beside[] = {wait_for(1, 2, 5, s), wait_for(2, 1, 6, s), wait_for(3, 1, 0, 0)};

    assert_int_equal(only_victim(&fixture, by_cost, 3), 2);
    assert_int_equal(only_victim(&fixture, by_age, 3), 3);
    assert_int_equal(only_victim(&fixture, by_id, 3), 1);
    /* The cheapest of all waits for a cycle, but lies on none. */
    assert_int_equal(only_victim(&fixture, beside, 3), 1);
    detect_fixture_close(&fixture);
}

static void an_owner_that_waits_for_itself_is_a_victim(void **state)
{
    struct detect_fixture fixture;
    struct grd_detect_report self = wait_for(1, 1, 0, 0);

    (void)state;
    detect_fixture_open(&fixture, 2, 2, 0);
    assert_int_equal(only_victim(&fixture, &self, 1), 1);
    detect_fixture_close(&fixture);
}

static void a_long_cycle_is_told_from_the_victim_on(void **state)
{
    enum { LENGTH = 1000, STEPS = 5 };
    static struct grd_detect_report reports[LENGTH];
    struct grd_detect_step steps[STEPS];
    struct grd_detect_victim victim;
    struct detect_fixture fixture;

    (void)state;
    for (uint32_t i = 0; i < LENGTH; i++)
        reports[i] = wait_for(i, (i + 1) % LENGTH, i == 700 ? 0 : 1, 0);
    detect_fixture_open(&fixture, LENGTH, LENGTH, 0);
    detect_fixture_confirm(&fixture, reports, LENGTH);
    assert_int_equal(grd_detect_resolve(fixture.detect), LENGTH);
    assert_true(grd_detect_victim_next(fixture.detect, &victim, steps, STEPS));
    assert_int_equal(victim.owner, 700);
    assert_int_equal(victim.cycle_length, LENGTH);
    assert_int_equal(victim.steps_count, STEPS);
    for (uint32_t i = 0; i < STEPS; i++)
        assert_int_equal(steps[i].id, 700 + i);
    assert_false(grd_detect_victim_next(fixture.detect, &victim, steps, STEPS));
    detect_fixture_close(&fixture);
}

/*
 * Everyone waits for everyone: all but one are victims. Work is far below a search of the whole for each of
 * them.
 */
static void a_dense_component_is_not_gone_through_for_each_victim(void **state)
{
    enum { OWNERS = 300 };
    static struct grd_detect_report reports[OWNERS * (OWNERS - 1)];
    struct grd_detect_counts counts;
    struct grd_detect_victim victim;
    struct detect_fixture fixture;
    uint32_t count = 0, victims = 0;

    (void)state;
    for (uint32_t a = 0; a < OWNERS; a++)
        for (uint32_t b = 0; b < OWNERS; b++)
            if (a != b)
                reports[count++] = wait_for(a, b, OWNERS - a, 0);
    detect_fixture_open(&fixture, OWNERS, count, 0);
    detect_fixture_confirm(&fixture, reports, count);
    grd_detect_resolve(fixture.detect);
    for (; grd_detect_victim_next(fixture.detect, &victim, NULL, 0); victims++)
        assert_int_equal(victim.owner, OWNERS - 1 - victims);
    assert_int_equal(victims, OWNERS - 1);
    grd_detect_counts(fixture.detect, &counts);
    assert_int_equal(counts.victims, victims);
    assert_true(counts.work < 6 * (uint64_t)count);
    detect_fixture_close(&fixture);
}

static void the_same_reports_give_the_same_victims_wherever_the_memory_is(void **state)
{
    struct detect_fixture fixtures[2];
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 22);
    for (uint32_t i = 0; i < 2000; i++) {
        struct grd_detect_step steps[2][VERTICES_MAX];
        struct grd_detect_victim victims[2];
        bool has[2] = {true, true};
        struct graph graph;

        draw(&rng, &graph);
        for (uint32_t f = 0; f < 2; f++) {
            detect_fixture_open(&fixtures[f], VERTICES_MAX + 50 * f, EDGES_MAX, (uint8_t)(0xff * f));
            detect_fixture_confirm(&fixtures[f], graph.reports, graph.edges);
            grd_detect_resolve(fixtures[f].detect);
        }
        while (has[0]) {
            memset(victims, 0, sizeof victims);
            memset(steps, 0, sizeof steps);
            for (uint32_t f = 0; f < 2; f++)
                has[f] = grd_detect_victim_next(fixtures[f].detect, &victims[f], steps[f], VERTICES_MAX);
            assert_int_equal(has[0], has[1]);
            assert_memory_equal(&victims[0], &victims[1], sizeof victims[0]);
            assert_memory_equal(steps[0], steps[1], sizeof steps[0]);
        }
        detect_fixture_close(&fixtures[0]);
        detect_fixture_close(&fixtures[1]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(victims_are_needed_and_enough),
        cmocka_unit_test(the_cheapest_then_youngest_then_lowest_id_is_the_victim),
        cmocka_unit_test(an_owner_that_waits_for_itself_is_a_victim),
        cmocka_unit_test(a_long_cycle_is_told_from_the_victim_on),
        cmocka_unit_test(a_dense_component_is_not_gone_through_for_each_victim),
        cmocka_unit_test(the_same_reports_give_the_same_victims_wherever_the_memory_is),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
