/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: what does the deadlock detector cost an edge, from 10^3 to 10^6 waiters, beside Boost Graph's
 * strong_components on the same graph in the same run?
 *
 *   chain      waiters in chains of 100
 *   random     each waits for two others, drawn at random
 *   cycle      one cycle of all
 *   cycles     cycles of four
 *   bipartite  groups of 32, in which each of one half waits for each of the other and back
 *
 * Numbers of waiters are shuffled, edges come waiter by waiter. Components: ours and Boost's in turns, each
 * with the states of the last time cleared inside the clock, medians of CPU time. Then the whole detector:
 * taking a round of reports in which nothing has changed, rows and components (resolve), victims: all, or as
 * many as --victims says.
 *
 *   detector [--json FILE] [--shape NAME] [--waiters N] [--repeats N] [--victims N] [--huge] [--once]
 *
 * --once: components of ours once and no more, to count instructions (bench/model.md has the command).
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/alloc.h"
#include "base/assert.h"
#include "base/json.h"
#include "base/rng.h"
#include "base/units.h"
#include "bench/facts.h"
#include "bench/peers/boost_scc.h"
#include "grd/detect.h"
#include "grd/detect_graph.h"

#define REPEATS_MAX 64u
#define CHAIN 100u
#define GROUP 32u
#define BATCH 256u
#define STEPS 32u

struct pairs {
    uint32_t vertices;
    uint32_t edges;
    uint32_t *from;
    uint32_t *to;
    uint32_t *shuffled;
    struct cf_rng rng;
};

struct settings {
    const char *json_path;
    const char *shape;
    uint64_t waiters;
    uint64_t repeats;
    uint64_t victims;
    unsigned alloc_flags;
    bool is_once;
};

struct figures {
    double ours_ns, boost_ns, ratio; /* of components, an edge */
    double round_ms, resolve_ms, victims_ms, bytes_an_edge;
    uint32_t components, victims;
    bool has_more_victims;
};

/*
 * --- graphs ----------------------------------------------------------------------------------------------
 */

static void edge(struct pairs *pairs, uint32_t from, uint32_t to)
{
    pairs->from[pairs->edges] = pairs->shuffled[from];
    pairs->to[pairs->edges++] = pairs->shuffled[to];
}

static void chain(struct pairs *pairs, uint32_t v)
{
    if (v % CHAIN != CHAIN - 1 && v + 1 < pairs->vertices)
        edge(pairs, v, v + 1);
}

static void two_at_random(struct pairs *pairs, uint32_t v)
{
    for (uint32_t i = 0; i < 2; i++)
        edge(pairs, v, (uint32_t)cf_rng_below(&pairs->rng, pairs->vertices));
}

static void one_cycle(struct pairs *pairs, uint32_t v)
{
    edge(pairs, v, v + 1 < pairs->vertices ? v + 1 : 0);
}

static void small_cycle(struct pairs *pairs, uint32_t v)
{
    edge(pairs, v, v / 4 * 4 + (v + 1) % 4);
}

static void bipartite(struct pairs *pairs, uint32_t v)
{
    uint32_t half = v / (GROUP / 2), other = (half ^ 1) * (GROUP / 2);

    for (uint32_t i = 0; i < GROUP / 2; i++)
        edge(pairs, v, other + i);
}

static const struct shape {
    const char *name;
    void (*edges_of)(struct pairs *pairs, uint32_t v);
    uint32_t edges_a_waiter;
    uint32_t group; /* waiters are a multiple of it */
} shapes[] = {
    {"chain", chain, 1, 1},
    {"random", two_at_random, 2, 1},
    {"cycle", one_cycle, 1, 1},
    {"cycles", small_cycle, 1, 4},
    {"bipartite", bipartite, GROUP / 2, GROUP},
};

static void *take(uint64_t bytes, unsigned flags)
{
    void *memory = cf_alloc(cf_allocator_default(), bytes, CF_CACHE_LINE, flags);

    if (memory == NULL) {
        fprintf(stderr, "detector: no memory\n");
        exit(1);
    }
    return memory;
}

static void give(void *memory, uint64_t bytes)
{
    cf_free(cf_allocator_default(), memory, bytes);
}

static int by_from(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return (x > y) - (x < y);
}

/* Waiter by waiter, as instances report them. */
static void pairs_sort(struct pairs *pairs)
{
    uint64_t bytes = pairs->edges * sizeof(uint64_t), *words = take(bytes, 0);

    for (uint32_t i = 0; i < pairs->edges; i++)
        words[i] = (uint64_t)pairs->from[i] << 32 | pairs->to[i];
    qsort(words, pairs->edges, sizeof words[0], by_from);
    for (uint32_t i = 0; i < pairs->edges; i++) {
        pairs->from[i] = (uint32_t)(words[i] >> 32);
        pairs->to[i] = (uint32_t)words[i];
    }
    give(words, bytes);
}

static void pairs_open(struct pairs *pairs, const struct shape *shape, uint32_t waiters)
{
    uint32_t vertices = (waiters + shape->group - 1) / shape->group * shape->group;

    *pairs = (struct pairs){.vertices = vertices};
    pairs->from = take((uint64_t)vertices * shape->edges_a_waiter * sizeof(uint32_t), 0);
    pairs->to = take((uint64_t)vertices * shape->edges_a_waiter * sizeof(uint32_t), 0);
    pairs->shuffled = take(vertices * sizeof(uint32_t), 0);
    cf_rng_seed(&pairs->rng, vertices);
    for (uint32_t v = 0; v < vertices; v++) {
        uint32_t other = (uint32_t)cf_rng_below(&pairs->rng, v + 1);

        pairs->shuffled[v] = pairs->shuffled[other];
        pairs->shuffled[other] = v;
    }
    for (uint32_t v = 0; v < vertices; v++)
        shape->edges_of(pairs, v);
    pairs_sort(pairs);
}

static void pairs_close(struct pairs *pairs, const struct shape *shape)
{
    give(pairs->from, (uint64_t)pairs->vertices * shape->edges_a_waiter * sizeof(uint32_t));
    give(pairs->to, (uint64_t)pairs->vertices * shape->edges_a_waiter * sizeof(uint32_t));
    give(pairs->shuffled, pairs->vertices * sizeof(uint32_t));
}

/*
 * --- components, beside Boost's --------------------------------------------------------------------------
 */

/* Of this thread: what runs beside it on the machine costs cache, but not its share of the core. */
static uint64_t cpu_ns(void)
{
    struct timespec now;
    int rc = clock_gettime(CLOCK_THREAD_CPUTIME_ID, &now);

    cf_assert(rc == 0);
    return (uint64_t)now.tv_sec * UINT64_C(1000000000) + (uint64_t)now.tv_nsec;
}

static double median(double *values, uint32_t count)
{
    for (uint32_t i = 1; i < count; i++) {
        double value = values[i];
        uint32_t at = i;

        for (; at > 0 && values[at - 1] > value; at--)
            values[at] = values[at - 1];
        values[at] = value;
    }
    return values[count / 2];
}

static void graph_build(struct grd_detect_graph *graph, const struct pairs *pairs)
{
    grd_detect_graph_begin(graph, pairs->vertices);
    for (uint32_t i = 0; i < pairs->edges; i++)
        grd_detect_graph_count(graph, pairs->from[i]);
    grd_detect_graph_place(graph);
    for (uint32_t i = 0; i < pairs->edges; i++)
        grd_detect_graph_put(graph, pairs->from[i], pairs->to[i]);
    grd_detect_graph_seal(graph);
}

static uint32_t components_run(struct grd_detect_graph *graph)
{
    grd_detect_graph_unvisit(graph);
    return grd_detect_scc_all(graph);
}

/* Small graphs are gone through several times, so that the clock does not matter. */
static uint32_t times_of(const struct pairs *pairs)
{
    return pairs->edges >= 100000 ? 1 : 100000 / pairs->edges + 1;
}

static void components_measure(const struct settings *settings, const struct pairs *pairs,
                               struct figures *figures)
{
    uint64_t bytes = grd_detect_graph_bytes(pairs->vertices, pairs->edges);
    double ours[REPEATS_MAX], boost[REPEATS_MAX], ratio[REPEATS_MAX];
    void *memory = take(bytes, settings->alloc_flags);
    struct boost_scc *peer = NULL;
    struct grd_detect_graph graph;
    uint32_t times = settings->is_once ? 1 : times_of(pairs), repeats = (uint32_t)settings->repeats;
    uint32_t boost_components = 0;

    grd_detect_graph_open(&graph, pairs->vertices, pairs->edges, memory);
    graph_build(&graph, pairs);
    figures->components = grd_detect_scc_all(&graph);
    if (!settings->is_once && boost_scc_is_built())
        peer = boost_scc_open(pairs->vertices, pairs->edges, pairs->from, pairs->to);
    for (uint32_t i = 0; i < repeats && !settings->is_once; i++) {
        uint64_t start_ns = cpu_ns();

        for (uint32_t t = 0; t < times; t++)
            components_run(&graph);
        ours[i] = (double)(cpu_ns() - start_ns) / times / pairs->edges;
        if (peer == NULL)
            continue;
        start_ns = cpu_ns();
        for (uint32_t t = 0; t < times; t++)
            boost_components = boost_scc_run(peer);
        boost[i] = (double)(cpu_ns() - start_ns) / times / pairs->edges;
        ratio[i] = ours[i] / boost[i];
        cf_assert(boost_components == figures->components);
    }
    if (!settings->is_once)
        figures->ours_ns = median(ours, repeats);
    if (peer != NULL) {
        figures->boost_ns = median(boost, repeats);
        figures->ratio = median(ratio, repeats);
        boost_scc_close(&peer);
    }
    give(memory, bytes);
}

/*
 * --- the whole detector ----------------------------------------------------------------------------------
 */

static void round_run(struct grd_detect *detect, const struct pairs *pairs)
{
    struct grd_detect_report reports[BATCH];

    grd_detect_round_begin(detect);
    for (uint32_t at = 0; at < pairs->edges; at += BATCH) {
        uint32_t count = pairs->edges - at < BATCH ? pairs->edges - at : BATCH;

        for (uint32_t i = 0; i < count; i++) {
            uint64_t from = pairs->from[at + i], to = pairs->to[at + i];

            reports[i] = (struct grd_detect_report){.kind = GRD_DETECT_LOCAL,
                                                    .cost = 1,
                                                    .key = from,
                                                    .owner = from,
                                                    .holder = to,
                                                    .wait = from,
                                                    .grant = to,
                                                    .age_ns = from << 14};
        }
        grd_detect_round_report(detect, reports, count);
    }
    grd_detect_round_end(detect);
}

static void victims_run(struct grd_detect *detect, uint64_t victims_max, struct figures *figures)
{
    struct grd_detect_step steps[STEPS];
    struct grd_detect_victim victim;

    figures->victims = 0;
    figures->has_more_victims = true;
    while (figures->victims < victims_max) {
        if (!grd_detect_victim_next(detect, &victim, steps, STEPS)) {
            figures->has_more_victims = false;
            return;
        }
        figures->victims++;
    }
}

static void detector_measure(const struct settings *settings, const struct pairs *pairs,
                             struct figures *figures)
{
    struct grd_detect_options options = {
        .vertices_max = pairs->vertices, .edges_max = pairs->edges, .seed = 0x51};
    uint64_t bytes = grd_detect_bytes(pairs->vertices, pairs->edges);
    double round[REPEATS_MAX], resolve[REPEATS_MAX], victims[REPEATS_MAX];
    void *memory = take(bytes, settings->alloc_flags);
    uint32_t repeats = settings->repeats < 5 ? (uint32_t)settings->repeats : 5;
    struct grd_detect *detect;
    enum cf_rc rc = grd_detect_open(&options, memory, bytes, &detect);

    cf_assert(rc == CF_OK);
    figures->bytes_an_edge = (double)bytes / pairs->edges;
    round_run(detect, pairs);
    for (uint32_t i = 0; i < repeats; i++) {
        uint64_t start_ns = cpu_ns(), end_ns;

        round_run(detect, pairs);
        end_ns = cpu_ns();
        round[i] = (double)(end_ns - start_ns) / 1e6;
        start_ns = end_ns;
        grd_detect_resolve(detect);
        end_ns = cpu_ns();
        resolve[i] = (double)(end_ns - start_ns) / 1e6;
        start_ns = end_ns;
        victims_run(detect, settings->victims, figures);
        victims[i] = (double)(cpu_ns() - start_ns) / 1e6;
    }
    figures->round_ms = median(round, repeats);
    figures->resolve_ms = median(resolve, repeats);
    figures->victims_ms = median(victims, repeats);
    give(memory, bytes);
}

/*
 * --- what is told ----------------------------------------------------------------------------------------
 */

static void print(const struct shape *shape, const struct pairs *pairs, const struct figures *f)
{
    printf("%-9s %8u waiters %8u edges  components %6.1f ns an edge", shape->name, pairs->vertices,
           pairs->edges, f->ours_ns);
    if (f->boost_ns > 0)
        printf(", boost %6.1f, ratio %.2f", f->boost_ns, f->ratio);
    printf("  | round %8.2f ms  resolve %8.2f ms  %u%s victims %9.2f ms  %.1f bytes an edge\n", f->round_ms,
           f->resolve_ms, f->victims, f->has_more_victims ? "+" : "", f->victims_ms, f->bytes_an_edge);
    printf("figure an-edge-%s-%u %.6g ns\nfigure round-%s-%u %.6g ms\n", shape->name, pairs->vertices,
           f->ours_ns, shape->name, pairs->vertices, f->round_ms);
    fflush(stdout);
}

static json_t *figures_json(const struct settings *settings, const struct shape *shape,
                            const struct pairs *pairs, const struct figures *f)
{
    json_t *object = json_object();
    int rc = cf_json_add_str(object, "shape", shape->name);

    rc |= cf_json_add_u64(object, "waiters", pairs->vertices);
    rc |= cf_json_add_u64(object, "edges", pairs->edges);
    rc |= cf_json_add_u64(object, "repeats", settings->repeats);
    rc |= cf_json_add_u64(object, "components", f->components);
    rc |= cf_json_add_double(object, "components_ns_an_edge", f->ours_ns);
    if (f->boost_ns > 0) {
        rc |= cf_json_add_double(object, "boost_ns_an_edge", f->boost_ns);
        rc |= cf_json_add_double(object, "ratio_to_boost", f->ratio);
    }
    rc |= cf_json_add_double(object, "round_ms", f->round_ms);
    rc |= cf_json_add_double(object, "resolve_ms", f->resolve_ms);
    rc |= cf_json_add_double(object, "victims_ms", f->victims_ms);
    rc |= cf_json_add_u64(object, "victims", f->victims);
    rc |= cf_json_add_bool(object, "has_more_victims", f->has_more_victims);
    rc |= cf_json_add_double(object, "bytes_an_edge", f->bytes_an_edge);
    cf_assert(rc == 0);
    return object;
}

static void measure(const struct settings *settings, const struct shape *shape, uint32_t waiters,
                    json_t *results)
{
    struct figures figures = {.ours_ns = 0};
    struct pairs pairs;

    pairs_open(&pairs, shape, waiters);
    components_measure(settings, &pairs, &figures);
    if (settings->is_once) {
        printf("%s: %u waiters, %u edges, %u components\n", shape->name, pairs.vertices, pairs.edges,
               figures.components);
    } else {
        int rc;

        detector_measure(settings, &pairs, &figures);
        print(shape, &pairs, &figures);
        rc = json_array_append_new(results, figures_json(settings, shape, &pairs, &figures));
        cf_assert(rc == 0);
    }
    pairs_close(&pairs, shape);
}

static void settings_parse(struct settings *settings, int argc, char **argv)
{
    static const struct option names[] = {
        {"json", required_argument, NULL, 'j'},    {"shape", required_argument, NULL, 's'},
        {"waiters", required_argument, NULL, 'w'}, {"repeats", required_argument, NULL, 'r'},
        {"victims", required_argument, NULL, 'v'}, {"huge", no_argument, NULL, 'u'},
        {"once", no_argument, NULL, 'o'},          {NULL, 0, NULL, 0}};
    bool is_good = true;
    int name;

    *settings = (struct settings){.repeats = 9, .victims = 20};
    while (is_good && (name = getopt_long(argc, argv, "", names, NULL)) != -1) {
        if (name == 'j')
            settings->json_path = optarg;
        else if (name == 's')
            settings->shape = optarg;
        else if (name == 'w')
            is_good = cf_parse_u64(optarg, &settings->waiters) == 0;
        else if (name == 'r')
            is_good = cf_parse_u64(optarg, &settings->repeats) == 0;
        else if (name == 'v')
            is_good = cf_parse_u64(optarg, &settings->victims) == 0;
        else if (name == 'u')
            settings->alloc_flags = CF_ALLOC_HUGE;
        else if (name == 'o')
            settings->is_once = true;
        else
            is_good = false;
    }
    if (!is_good || optind != argc || settings->waiters > 10000000 || settings->repeats == 0 ||
        settings->repeats > REPEATS_MAX) {
        fprintf(stderr,
                "usage: detector [--json FILE] [--shape NAME] [--waiters N, at most 10000000]\n"
                "                [--repeats N, at most %u] [--victims N] [--huge] [--once]\n",
                REPEATS_MAX);
        exit(2);
    }
}

static void fact_add(void *arg, const char *name, const char *value)
{
    int rc = cf_json_add_str(arg, name, value);

    cf_assert(rc == 0);
    printf("# %s: %s\n", name, value);
}

int main(int argc, char **argv)
{
    static const uint32_t sizes[] = {1000, 10000, 100000, 1000000};
    json_t *root = json_object(), *facts = json_object(), *results = json_array();
    struct settings settings;
    int rc;

    settings_parse(&settings, argc, argv);
    bench_facts(fact_add, facts);
    for (uint32_t s = 0; s < CF_COUNTOF(shapes); s++) {
        if (settings.shape != NULL && strcmp(settings.shape, shapes[s].name) != 0)
            continue;
        if (settings.waiters != 0)
            measure(&settings, &shapes[s], (uint32_t)settings.waiters, results);
        for (uint32_t n = 0; n < CF_COUNTOF(sizes) && settings.waiters == 0; n++)
            measure(&settings, &shapes[s], sizes[n], results);
    }
    rc = cf_json_add_str(root, "bench", "detector");
    rc |= cf_json_add_child(root, "facts", facts);
    rc |= cf_json_add_child(root, "results", results);
    if (rc != 0 || (settings.json_path != NULL && cf_json_write_file(root, settings.json_path) != 0)) {
        fprintf(stderr, "detector: cannot write %s\n", settings.json_path);
        return 1;
    }
    json_decref(root);
    return 0;
}
