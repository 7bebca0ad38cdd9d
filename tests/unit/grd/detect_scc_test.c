/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: rows and components of a graph against reachability by brute force. Not here: rounds, victims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "base/rng.h"
#include "grd/detect_graph.h"
#include "tests/unit/grd/detect_fixture.h"

#define GRAPHS 100000u
#define VERTICES_MAX 14u
#define EDGES_MAX 64u

struct drawn {
    uint32_t vertices;
    uint32_t edges;
    uint32_t from[EDGES_MAX];
    uint32_t to[EDGES_MAX];
};

static void *graph_open(struct grd_detect_graph *graph, uint32_t vertices_max, uint32_t targets_max)
{
    void *memory = aligned_alloc(CF_CACHE_LINE, grd_detect_graph_bytes(vertices_max, targets_max));

    assert_non_null(memory);
    grd_detect_graph_open(graph, vertices_max, targets_max, memory);
    return memory;
}

/* All densities; some edges twice, some from a vertex to itself. */
static void draw(struct cf_rng *rng, struct drawn *drawn)
{
    drawn->vertices = 1 + (uint32_t)cf_rng_below(rng, VERTICES_MAX);
    drawn->edges = (uint32_t)cf_rng_below(rng, EDGES_MAX + 1);
    if (cf_rng_chance(rng, 0.7))
        drawn->edges = (uint32_t)cf_rng_below(rng, 2 * drawn->vertices + 1);
    for (uint32_t i = 0; i < drawn->edges; i++) {
        drawn->from[i] = (uint32_t)cf_rng_below(rng, drawn->vertices);
        drawn->to[i] = (uint32_t)cf_rng_below(rng, drawn->vertices);
        if (i > 0 && cf_rng_chance(rng, 0.1)) {
            drawn->from[i] = drawn->from[i - 1];
            drawn->to[i] = drawn->to[i - 1];
        }
    }
}

static void build(struct grd_detect_graph *graph, const struct drawn *drawn)
{
    grd_detect_graph_begin(graph, drawn->vertices);
    for (uint32_t i = 0; i < drawn->edges; i++)
        grd_detect_graph_count(graph, drawn->from[i]);
    grd_detect_graph_place(graph);
    for (uint32_t i = 0; i < drawn->edges; i++)
        grd_detect_graph_put(graph, drawn->from[i], drawn->to[i]);
    grd_detect_graph_seal(graph);
}

static void brute_of(struct brute *brute, const struct drawn *drawn)
{
    brute_clear(brute, drawn->vertices);
    for (uint32_t i = 0; i < drawn->edges; i++)
        brute_edge(brute, drawn->from[i], drawn->to[i]);
    brute_close(brute);
}

/* Who lies on a cycle is live, and those of one component have one number. */
static void live_agree(const struct grd_detect_graph *graph, const struct brute *brute)
{
    uint32_t state[VERTICES_MAX], row = 0, on_cycles = 0;

    for (uint32_t v = 0; v < brute->vertices; v++, row = grd_detect_graph_next(graph, row)) {
        state[v] = graph->rows[row];
        assert_int_equal(grd_detect_graph_vertex(graph, row), v);
        assert_int_equal(grd_detect_is_live(state[v]), brute_reaches(brute, v, v));
        on_cycles += brute_reaches(brute, v, v);
    }
    assert_int_equal(row, graph->words);
    assert_int_equal(graph->cyclic, on_cycles);
    for (uint32_t a = 0; a < brute->vertices; a++)
        for (uint32_t b = 0; b < a; b++)
            if (grd_detect_is_live(state[a]) && grd_detect_is_live(state[b]))
                assert_int_equal(state[a] == state[b],
                                 brute_reaches(brute, a, b) && brute_reaches(brute, b, a));
}

/* Searches leave the targets as they found them. */
static void targets_are(const struct grd_detect_graph *graph, const uint32_t *before)
{
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        for (uint32_t at = row + 1; at < grd_detect_graph_next(graph, row); at++)
            assert_int_equal(graph->rows[at], before[at]);
}

static void components_agree(const struct grd_detect_graph *graph, const struct brute *brute,
                             uint32_t components)
{
    uint32_t state[VERTICES_MAX], row = 0;

    for (uint32_t v = 0; v < brute->vertices; v++, row = grd_detect_graph_next(graph, row)) {
        assert_true(graph->rows[row] & GRD_DETECT_DONE);
        state[v] = graph->rows[row] & GRD_DETECT_COMPONENT;
        assert_in_range(state[v], 0, components - 1);
    }
    assert_int_equal(row, graph->words);
    for (uint32_t a = 0; a < brute->vertices; a++) {
        for (uint32_t b = 0; b < brute->vertices; b++) {
            if (a == b)
                continue;
            assert_int_equal(state[a] == state[b], brute_reaches(brute, a, b) && brute_reaches(brute, b, a));
            if (brute_reaches(brute, a, b))
                assert_true(state[b] <= state[a]);
        }
    }
}

static void components_are_those_of_brute_force(void **state)
{
    uint32_t before[VERTICES_MAX + EDGES_MAX];
    struct grd_detect_graph graph;
    void *memory = graph_open(&graph, VERTICES_MAX, EDGES_MAX);
    struct brute brute;
    struct drawn drawn;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 11);
    for (uint32_t i = 0; i < GRAPHS; i++) {
        draw(&rng, &drawn);
        build(&graph, &drawn);
        brute_of(&brute, &drawn);
        memcpy(before, graph.rows, graph.words * sizeof before[0]);
        components_agree(&graph, &brute, grd_detect_scc_all(&graph));
        live_agree(&graph, &brute);
        targets_are(&graph, before);
        grd_detect_graph_unvisit(&graph);
        components_agree(&graph, &brute, grd_detect_scc_all(&graph));
    }
    free(memory);
}

/* Rows that are live, all or those of one state. */
static uint32_t live_list(const struct grd_detect_graph *graph, uint32_t state, uint32_t *list)
{
    uint32_t count = 0;

    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        if (grd_detect_is_live(graph->rows[row]) && (state == 0 || graph->rows[row] == state))
            list[count++] = row;
    return count;
}

/* Vertices leave one by one, and the components of what is live, or of the one alone that has lost it, are computed again. */
static void components_of_what_is_left_are_those_of_brute_force(void **state)
{
    struct grd_detect_graph graph;
    void *memory = graph_open(&graph, 2 * VERTICES_MAX, EDGES_MAX);
    uint32_t list[VERTICES_MAX], count, live;
    struct brute brute;
    struct drawn drawn;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 12);
    for (uint32_t i = 0; i < GRAPHS / 4; i++) {
        draw(&rng, &drawn);
        build(&graph, &drawn);
        brute_of(&brute, &drawn);
        grd_detect_scc_all(&graph);
        live = graph.cyclic;
        while ((count = live_list(&graph, 0, list)) > 0) {
            uint32_t gone = list[cf_rng_below(&rng, count)], component = graph.rows[gone];

            assert_int_equal(count, live);
            count = live_list(&graph, component, list);
            graph.rows[gone] = GRD_DETECT_DONE | GRD_DETECT_ALONE;
            brute_remove(&brute, grd_detect_graph_vertex(&graph, gone));
            brute_close(&brute);
            if (cf_rng_chance(&rng, 0.5)) {
                if (cf_rng_chance(&rng, 0.2))
                    graph.components = GRD_DETECT_COMPONENT - 1; /* numbers begin anew */
                grd_detect_scc_again(&graph);
                live = graph.cyclic;
            } else {
                grd_detect_scc_list(&graph, list, count);
                live -= count - graph.cyclic;
                graph.cyclic = live;
            }
            live_agree(&graph, &brute);
        }
    }
    free(memory);
}

/* As deep as it gets: a chain, and a ring, of more vertices than any call stack would bear. */
static void a_long_path_needs_no_call_stack(void **state)
{
    const uint32_t vertices = 1000000;
    struct grd_detect_graph graph;
    void *memory = graph_open(&graph, vertices, vertices);

    (void)state;
    for (uint32_t is_ring = 0; is_ring < 2; is_ring++) {
        grd_detect_graph_begin(&graph, vertices);
        for (uint32_t v = 0; v + 1 < vertices + is_ring; v++)
            grd_detect_graph_count(&graph, v);
        grd_detect_graph_place(&graph);
        for (uint32_t v = 0; v + 1 < vertices + is_ring; v++)
            grd_detect_graph_put(&graph, v, (v + 1) % vertices);
        grd_detect_graph_seal(&graph);
        assert_int_equal(grd_detect_scc_all(&graph), is_ring ? 1 : vertices);
        assert_int_equal(graph.cyclic, is_ring ? vertices : 0);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(components_are_those_of_brute_force),
        cmocka_unit_test(components_of_what_is_left_are_those_of_brute_force),
        cmocka_unit_test(a_long_path_needs_no_call_stack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
