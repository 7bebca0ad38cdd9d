/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tarjan's algorithm in the form of Pearce ("A Space-Efficient Algorithm for Finding Strongly Connected
 * Components", 2016): one word a vertex is its number, its low link, and afterwards its component.
 *
 *   stack:  frame frame frame ->          <- waiting waiting
 *           the path from the root        finished vertices whose component has not been finished
 *
 * A vertex is in one of the two at most, so one array serves both. Nearly all the time goes into waiting for
 * memory: a row begins with the state, so the line that tells whether a target is new is also the one with
 * its targets, and the second target is asked for while the first is looked at.
 */
#include "grd/detect_graph.h"

#include <stdbool.h>
#include <string.h>

#include "base/assert.h"

#define NONE UINT32_MAX
#define ROOT (UINT64_C(1) << 63) /* of a frame: nothing so far reaches below the vertex */

struct search {
    uint32_t *rows;
    uint64_t *frames; /* row | next target << 32 | ROOT; next target 0: none is left */
    uint32_t *waiting;
    uint32_t *waiting_end;
    uint32_t number;    /* the next */
    uint32_t component; /* the next, with GRD_DETECT_DONE */
    uint32_t *members;
    uint32_t members_count;
    uint64_t work;
};

static inline void search_open(struct search *search, const struct grd_detect_graph *graph, uint32_t *members)
{
    *search = (struct search){.rows = graph->rows,
                              .frames = graph->stack,
                              .waiting_end = (uint32_t *)(void *)(graph->stack + graph->vertices_max),
                              .number = 1,
                              .component = GRD_DETECT_DONE,
                              .members = members};
    search->waiting = search->waiting_end;
}

/* The component of `row`, whose root it is, is complete: the row and those waiting above it. */
static inline void component_close(struct search *search, uint32_t row, uint32_t low)
{
    uint32_t *rows = search->rows, *waiting = search->waiting, *begin = waiting;
    uint32_t count = search->members_count;
    bool is_cyclic;

    for (; waiting < search->waiting_end && rows[*waiting] >= low; waiting++) {
        rows[*waiting] = search->component;
        search->members[count++] = *waiting;
    }
    is_cyclic = waiting != begin || (rows[row + 1] & GRD_DETECT_SELF) != 0;
    rows[row] = search->component++;
    search->number -= (uint32_t)(waiting - begin) + 1;
    search->waiting = waiting;
    if (is_cyclic) {
        search->members[count++] = row | GRD_DETECT_LAST;
        search->members_count = count;
    }
}

/* The targets of a row just entered, of which the first is looked at next. */
static inline void row_prefetch(const uint32_t *rows, uint32_t row)
{
    uint32_t target = rows[row + GRD_DETECT_HEAD];

    if (!(target & GRD_DETECT_LAST))
        __builtin_prefetch(&rows[rows[row + GRD_DETECT_HEAD + 1] & ~GRD_DETECT_LAST]);
}

/*
 * Looks at the targets of a row from `*next` on, up to the first that has not been visited and has targets
 * itself. Answers it, or NONE; *next is the target behind it, 0 when none is left. Lowers *low to the lowest
 * number met.
 */
static inline uint32_t row_scan(struct search *search, uint32_t *next, uint32_t *low)
{
    uint32_t *const rows = search->rows;
    uint32_t at = *next, lowest = *low, found = NONE, word;

    do {
        uint32_t target, state;

        word = rows[at++];
        target = word & ~GRD_DETECT_LAST;
        state = rows[target];
        if (state == 0) {
            if (!(rows[target + 1] & GRD_DETECT_LEAF)) {
                found = target;
                break;
            }
            rows[target] = search->component++;
            continue;
        }
        lowest = state < lowest ? state : lowest;
    } while (!(word & GRD_DETECT_LAST));
    search->work += at - *next;
    *next = word & GRD_DETECT_LAST ? 0 : at;
    *low = lowest;
    return found;
}

/*
 * Everything that can be reached from a root that has not been visited and has targets. Inlined: see the
 * callers.
 */
static inline __attribute__((always_inline)) void visit(struct search *search, uint32_t root)
{
    uint32_t *const rows = search->rows;
    uint32_t row = root, next = root + GRD_DETECT_HEAD, low = search->number++;
    uint64_t is_root = ROOT, depth = 0, frame;

    rows[row] = low;
    row_prefetch(rows, row);
    for (;;) {
        uint32_t found = NONE, before = low;

        if (next != 0)
            found = row_scan(search, &next, &low);
        is_root = low == before ? is_root : 0;
        if (found != NONE) {
            rows[row] = low;
            search->frames[depth++] = row | (uint64_t)next << 32 | is_root;
            row = found;
            next = row + GRD_DETECT_HEAD;
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
        before = low;
        row = (uint32_t)frame;
        next = (uint32_t)(frame >> 32) & ~GRD_DETECT_LAST;
        is_root = frame & ROOT;
        low = rows[row];
        if (before < low) {
            low = before;
            is_root = 0;
        }
    }
}

/*
 * The search stays a local of these two, so that the compiler keeps it in registers: rows are words like its
 * own.
 */
uint32_t grd_detect_scc_all(struct grd_detect_graph *graph)
{
    struct search search;

    search_open(&search, graph, graph->members);
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row)) {
        if (graph->rows[row] != 0)
            continue;
        if (graph->rows[row + 1] & GRD_DETECT_LEAF)
            graph->rows[row] = search.component++;
        else
            visit(&search, row);
    }
    cf_assert(search.waiting == search.waiting_end && search.number == 1);
    graph->members_count = search.members_count;
    graph->work = search.work;
    return search.component - GRD_DETECT_DONE;
}

void grd_detect_scc_part(struct grd_detect_graph *graph, uint32_t begin)
{
    struct search search;

    /* Components are written elsewhere, roots are still to be read. */
    search_open(&search, graph, graph->spare);
    for (uint32_t i = begin; i < graph->members_count; i++)
        if (graph->rows[graph->members[i]] == 0)
            visit(&search, graph->members[i]);
    cf_assert(search.waiting == search.waiting_end && search.number == 1);
    memcpy(graph->members + begin, graph->spare, search.members_count * sizeof(uint32_t));
    graph->members_count = begin + search.members_count;
    graph->work = search.work;
}
