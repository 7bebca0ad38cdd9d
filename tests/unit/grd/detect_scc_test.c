/* SPDX-License-Identifier: Apache-2.0 */
/* Covers: rows and components of a graph against reachability by brute force. Not here: rounds, victims. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <stdlib.h>

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

/* Members are those on cycles, each once, one component after another. */
static void members_agree(const struct grd_detect_graph *graph, const struct brute *brute)
{
    uint32_t on_cycles = 0;

    for (uint32_t v = 0; v < brute->vertices; v++)
        on_cycles += brute_reaches(brute, v, v);
    assert_int_equal(graph->members_count, on_cycles);
    for (uint32_t i = 0; i < graph->members_count; i++) {
        uint32_t word = graph->members[i], row = word & ~GRD_DETECT_LAST;
        uint32_t vertex = graph->rows[row + 1] & GRD_DETECT_VERTEX;

        assert_true(brute_reaches(brute, vertex, vertex));
        if (i + 1 < graph->members_count) {
            uint32_t next = graph->members[i + 1] & ~GRD_DETECT_LAST;

            assert_int_equal(!(word & GRD_DETECT_LAST), graph->rows[row] == graph->rows[next]);
        } else {
            assert_true(word & GRD_DETECT_LAST);
        }
    }
}

static void components_agree(const struct grd_detect_graph *graph, const struct brute *brute,
                             uint32_t components)
{
    uint32_t state[VERTICES_MAX], row = 0;

    for (uint32_t v = 0; v < brute->vertices; v++, row = grd_detect_graph_next(graph, row)) {
        assert_int_equal(graph->rows[row + 1] & GRD_DETECT_VERTEX, v);
        state[v] = graph->rows[row];
        assert_in_range(state[v], GRD_DETECT_DONE, GRD_DETECT_DONE + components - 1);
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
        components_agree(&graph, &brute, grd_detect_scc_all(&graph));
        members_agree(&graph, &brute);
    }
    free(memory);
}

/* A vertex leaves, and the components of what is left of the members are computed again. */
static void components_of_a_part_are_those_of_brute_force(void **state)
{
    struct grd_detect_graph graph;
    void *memory = graph_open(&graph, VERTICES_MAX, EDGES_MAX);
    struct brute brute;
    struct drawn drawn;
    struct cf_rng rng;

    (void)state;
    cf_rng_seed(&rng, 12);
    for (uint32_t i = 0; i < GRAPHS / 4; i++) {
        uint32_t gone;

        draw(&rng, &drawn);
        build(&graph, &drawn);
        brute_of(&brute, &drawn);
        grd_detect_scc_all(&graph);
        while (graph.members_count > 0) {
            gone = graph.members[cf_rng_below(&rng, graph.members_count)] & ~GRD_DETECT_LAST;
            for (uint32_t m = 0; m < graph.members_count; m++) {
                graph.members[m] &= ~GRD_DETECT_LAST;
                graph.rows[graph.members[m]] = graph.members[m] == gone ? UINT32_MAX : 0;
            }
            brute_remove(&brute, graph.rows[gone + 1] & GRD_DETECT_VERTEX);
            brute_close(&brute);
            grd_detect_scc_part(&graph, 0);
            members_agree(&graph, &brute);
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
        assert_int_equal(graph.members_count, is_ring ? vertices : 0);
    }
    free(memory);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(components_are_those_of_brute_force),
        cmocka_unit_test(components_of_a_part_are_those_of_brute_force),
        cmocka_unit_test(a_long_path_needs_no_call_stack),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
