/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tarjan's algorithm in the form of Pearce ("A Space-Efficient Algorithm for Finding Strongly Connected
 * Components", 2016): one word a vertex is its number, its low link, and afterwards its component.
 *
 *   stack:  frame frame frame ->          <- waiting waiting
 *           the path from the root        finished vertices whose component has not been finished
 *
 * A vertex is in one of the two at most, so one array serves both, and of the path the way back lies in the rows: the
 * target by which it goes on holds the row it came from until it comes back, so that a frame is one word.
 *
 * Nearly all the time goes into waiting for memory: a row begins with the state, so the line that tells whether a
 * target is new is also the one with its targets, and the second target is asked for while the first is looked at.
 */
#include "grd/detect_graph.h"

#include <stdbool.h>

#include "base/assert.h"

#define NONE UINT32_MAX
#define ROOT (1u << 31) /* of a frame: nothing so far reaches below the vertex */
#define FLAGS (GRD_DETECT_LAST | GRD_DETECT_SELF)
#define AHEAD 16u /* of a list: rows asked for before they are used */

struct search {
    uint32_t *rows;
    uint32_t *frames; /* place behind the target that the path goes on by | ROOT */
    uint32_t *waiting;
    uint32_t *waiting_end;
    uint32_t number;    /* the next */
    uint32_t component; /* the next, with GRD_DETECT_DONE */
    uint32_t cyclic;
    uint32_t largest, largest_count;
    uint64_t work;
};

static inline void search_open(struct search *search, const struct grd_detect_graph *graph,
                               uint32_t stack_words)
{
    *search = (struct search){.rows = graph->rows,
                              .frames = graph->stack,
                              .waiting_end = graph->stack + stack_words,
                              .number = 1,
                              .component = GRD_DETECT_DONE + graph->components};
    search->waiting = search->waiting_end;
}

static inline void search_close(const struct search *search, struct grd_detect_graph *graph)
{
    cf_assert(search->waiting == search->waiting_end && search->number == 1);
    graph->components = search->component - GRD_DETECT_DONE;
    graph->cyclic = search->cyclic;
    graph->largest = search->largest;
    graph->largest_count = search->largest_count;
    graph->work = search->work;
}

/* The component of `row`, whose root it is, is complete: the row and those waiting above it. */
static inline void component_close(struct search *search, uint32_t row, uint32_t low)
{
    uint32_t *rows = search->rows, *waiting = search->waiting, *begin = waiting, count;

    for (; waiting < search->waiting_end && rows[*waiting] >= low; waiting++)
        rows[*waiting] = search->component;
    count = (uint32_t)(waiting - begin) + 1;
    if (waiting != begin || (rows[row + 1] & GRD_DETECT_SELF)) {
        rows[row] = search->component;
        search->cyclic += count;
        if (count > search->largest_count) {
            search->largest = search->component;
            search->largest_count = count;
        }
    } else {
        rows[row] = search->component | GRD_DETECT_ALONE;
    }
    search->component++;
    search->number -= count;
    search->waiting = waiting;
}

/* The targets of a row just entered, of which the first is looked at next. */
static inline void row_prefetch(const uint32_t *rows, uint32_t row)
{
    if (!(rows[row + 1] & GRD_DETECT_LAST))
        __builtin_prefetch(&rows[rows[row + 2] & GRD_DETECT_TARGET]);
}

/*
 * Looks at the targets of a row from *at on, up to the first that has not been visited. Answers it, or NONE when the row
 * has ended; *at is the place behind the last one looked at. Lowers *low to the lowest number met.
 */
static inline uint32_t row_scan(struct search *search, uint32_t *at, uint32_t *low)
{
    uint32_t *const rows = search->rows;
    uint32_t place = *at, lowest = *low, found = NONE, word;

    do {
        uint32_t target, state;

        word = rows[place++];
        target = word & GRD_DETECT_TARGET;
        state = rows[target];
        if (state == 0) {
            found = target;
            break;
        }
        lowest = state < lowest ? state : lowest;
    } while (!(word & GRD_DETECT_LAST));
    search->work += place - *at;
    *at = place;
    *low = lowest;
    return found;
}

/* Everything that can be reached from a root that has not been visited. Inlined: see the callers. */
static inline __attribute__((always_inline)) void visit(struct search *search, uint32_t root)
{
    uint32_t *const rows = search->rows;
    uint32_t row = root, at = root + 1, low = search->number++, is_root = ROOT, depth = 0;
    bool is_ended = false;

    rows[row] = low;
    row_prefetch(rows, row);
    for (;;) {
        uint32_t found = NONE, before = low, slot, frame;

        if (!is_ended)
            found = row_scan(search, &at, &low);
        is_root = low == before ? is_root : 0;
        if (found != NONE) {
            rows[row] = low;
            search->frames[depth++] = at | is_root;
            rows[at - 1] = row | (rows[at - 1] & FLAGS);
            row = found;
            at = row + 1;
            is_ended = false;
            is_root = ROOT;
            rows[row] = low = search->number++;
            row_prefetch(rows, row);
            continue;
        }
        if (is_root) {
            component_close(search, row, low);
            low = GRD_DETECT_DONE;
        } else {
            rows[row] = low;
            *--search->waiting = row;
        }
        if (depth == 0)
            return;
        frame = search->frames[--depth];
        at = frame & ~ROOT;
        is_root = frame & ROOT;
        slot = rows[at - 1];
        rows[at - 1] = row | (slot & FLAGS);
        row = slot & GRD_DETECT_TARGET;
        is_ended = (slot & GRD_DETECT_LAST) != 0;
        before = low;
        low = rows[row];
        if (before < low) {
            low = before;
            is_root = 0;
        }
    }
}

/*
 * The search stays a local of these three, so that the compiler keeps it in registers: rows are words like its
 * own.
 */
uint32_t grd_detect_scc_all(struct grd_detect_graph *graph)
{
    struct search search;

    search_open(&search, graph, graph->vertices_max);
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        if (graph->rows[row] == 0)
            visit(&search, row);
    search_close(&search, graph);
    return graph->components;
}

/* Numbers tell those apart that were found by one search: they may begin anew. */
static void components_room(struct grd_detect_graph *graph, uint32_t vertices)
{
    if (graph->components > GRD_DETECT_COMPONENT - vertices)
        graph->components = 0;
}

void grd_detect_scc_again(struct grd_detect_graph *graph)
{
    struct search search;

    components_room(graph, graph->vertices);
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        if (grd_detect_is_live(graph->rows[row]))
            graph->rows[row] = 0;
    search_open(&search, graph, graph->vertices_max);
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
        if (graph->rows[row] == 0)
            visit(&search, row);
    search_close(&search, graph);
}

void grd_detect_scc_list(struct grd_detect_graph *graph, const uint32_t *list, uint32_t count)
{
    struct search search;

    components_room(graph, count);
    for (uint32_t i = 0; i < count; i++) {
        if (i + AHEAD < count)
            __builtin_prefetch(&graph->rows[list[i + AHEAD]], 1);
        if (grd_detect_is_live(graph->rows[list[i]]))
            graph->rows[list[i]] = 0;
    }
    search_open(&search, graph, count);
    for (uint32_t i = 0; i < count; i++)
        if (graph->rows[list[i]] == 0)
            visit(&search, list[i]);
    search_close(&search, graph);
}
