/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Victims, one at a time.
 *
 *   members:  component component ... component
 *                                     ^ part_begin: this one is being worked on
 *
 * Of the part's owners the lowest by (cost, age, node, id) is looked at; a shortest cycle through it is
 * searched breadth first. Found: it is a victim and leaves the part. Not found, which can be only after a
 * victim has left: it lies on no cycle any more, and never will again, since vertices only leave. The
 * components of the part are computed anew when the searches since the last time have cost as much as that
 * did, and when a search has found nothing: small cycles are cheap to search, so a dense component is not
 * gone through for each of its victims.
 *
 * States in the part: below GRD_DETECT_DONE, the number of the last search that came by. All others: from it
 * on.
 */
#include "base/assert.h"
#include "grd/detect_impl.h"

#define AHEAD 16u       /* members whose row, then vertex, is asked for before it is used */
#define GONE UINT32_MAX /* state of a vertex that has left; no component has this number */

static struct vertex *vertex_of(const struct grd_detect *detect, uint32_t row)
{
    return &detect->vertices[detect->graph.rows[row + 1] & GRD_DETECT_VERTEX];
}

static bool is_below(const struct vertex *a, const struct vertex *b)
{
    if (a->cost != b->cost)
        return a->cost < b->cost;
    if (a->age != b->age)
        return a->age < b->age;
    if (a->node != b->node)
        return a->node < b->node;
    return a->id < b->id;
}

uint32_t grd_detect_resolve(struct grd_detect *detect)
{
    cf_assert(!detect->is_round);
    grd_detect_join(detect);
    grd_detect_scc_all(&detect->graph);
    detect->is_resolving = true;
    detect->is_part = false;
    detect->part_work = 0;
    detect->counts.work += detect->graph.work;
    return detect->graph.members_count;
}

static void prefetch_row(const struct grd_detect_graph *graph, uint32_t member)
{
    if (member < graph->members_count)
        __builtin_prefetch(&graph->rows[graph->members[member] & ~GRD_DETECT_LAST], 1);
}

/* The last component of members becomes the part. */
static void part_open(struct grd_detect *detect)
{
    struct grd_detect_graph *graph = &detect->graph;
    uint32_t begin = graph->members_count - 1;

    cf_assert(graph->members[begin] & GRD_DETECT_LAST);
    graph->members[begin] &= ~GRD_DETECT_LAST;
    while (begin > 0 && !(graph->members[begin - 1] & GRD_DETECT_LAST))
        begin--;
    for (uint32_t i = begin; i < graph->members_count; i++) {
        prefetch_row(graph, i + AHEAD);
        graph->rows[graph->members[i]] = 1;
    }
    detect->part_begin = begin;
    detect->stamp = 1;
    detect->is_part = true;
}

/* The components of what is left of the part, in its place. */
static void part_split(struct grd_detect *detect)
{
    struct grd_detect_graph *graph = &detect->graph;

    for (uint32_t i = detect->part_begin; i < graph->members_count; i++) {
        prefetch_row(graph, i + AHEAD);
        if (graph->rows[graph->members[i]] < GRD_DETECT_DONE)
            graph->rows[graph->members[i]] = 0;
    }
    grd_detect_scc_part(graph, detect->part_begin);
    detect->counts.work += graph->work;
    detect->part_work = 0;
    detect->is_part = false;
}

/* The row of the lowest owner of the part; NONE: no owner is left. Those that have left go. */
static uint32_t part_lowest(struct grd_detect *detect)
{
    struct grd_detect_graph *graph = &detect->graph;
    uint32_t lowest = NONE, kept = detect->part_begin;

    for (uint32_t i = detect->part_begin; i < graph->members_count; i++) {
        uint32_t row = graph->members[i];
        const struct vertex *vertex;

        prefetch_row(graph, i + 2 * AHEAD);
        if (i + AHEAD < graph->members_count)
            __builtin_prefetch(vertex_of(detect, graph->members[i + AHEAD]));
        if (graph->rows[row] >= GRD_DETECT_DONE)
            continue;
        graph->members[kept++] = row;
        vertex = vertex_of(detect, row);
        if (vertex->kind == VERTEX_OWNER && (lowest == NONE || is_below(vertex, vertex_of(detect, lowest))))
            lowest = row;
    }
    detect->part_work += graph->members_count - detect->part_begin;
    graph->members_count = kept;
    return lowest;
}

/*
 * Breadth first from `root` back to it. The stack is the queue: a row, and the place in the queue it was
 * found from. Answers that place of the cycle's last vertex; NONE: there is no cycle.
 */
static uint32_t cycle_find(struct grd_detect *detect, uint32_t root)
{
    struct grd_detect_graph *graph = &detect->graph;
    uint32_t *rows = graph->rows, head = 0, tail = 0, stamp = ++detect->stamp;
    uint64_t *queue = graph->stack, work = 0;
    bool is_found = false;

    cf_assert(stamp < GRD_DETECT_DONE);
    queue[tail++] = root;
    rows[root] = stamp;
    for (; head < tail && !is_found; head++) {
        uint32_t at = (uint32_t)queue[head] + GRD_DETECT_HEAD, word;

        do {
            uint32_t target;

            word = rows[at++];
            target = word & ~GRD_DETECT_LAST;
            work++;
            if (target == root) {
                is_found = true;
                break;
            }
            if (rows[target] < stamp) {
                rows[target] = stamp;
                queue[tail++] = target | (uint64_t)head << 32;
            }
        } while (!(word & GRD_DETECT_LAST));
    }
    detect->part_work += work;
    detect->counts.work += work;
    return is_found ? head - 1 : NONE;
}

static void step_fill(const struct grd_detect *detect, uint32_t row, struct grd_detect_step *step)
{
    const struct vertex *vertex = vertex_of(detect, row);

    *step = (struct grd_detect_step){.node = vertex->node, .id = vertex->id, .key = vertex->key};
    switch ((enum vertex_kind)vertex->kind) {
    case VERTEX_OWNER:
        step->what = GRD_DETECT_OWNER;
        step->wait = detect->edges[vertex->edge].wait;
        break;
    case VERTEX_ASK:
        step->what = GRD_DETECT_ASK;
        break;
    case VERTEX_STANDS:
        step->what = GRD_DETECT_STANDS;
        step->side = vertex->side;
        step->mode = vertex->mode;
        break;
    case VERTEX_GROUP:
        cf_unreachable();
    }
}

/* The queue leads from the last vertex of the cycle back to the victim. */
static void cycle_tell(const struct grd_detect *detect, uint32_t last, struct grd_detect_victim *victim,
                       struct grd_detect_step *steps, uint32_t steps_max)
{
    const uint64_t *queue = detect->graph.stack;
    uint32_t length = 1, place = last;

    for (; place != 0; place = (uint32_t)(queue[place] >> 32))
        length++;
    victim->cycle_length = length;
    victim->steps_count = length < steps_max ? length : steps_max;
    place = last;
    for (uint32_t i = length; i-- > 0; place = (uint32_t)(queue[place] >> 32))
        if (i < steps_max)
            step_fill(detect, (uint32_t)queue[place], &steps[i]);
}

static void victim_take(struct grd_detect *detect, uint32_t row, uint32_t last,
                        struct grd_detect_victim *victim_out, struct grd_detect_step *steps,
                        uint32_t steps_max)
{
    const struct vertex *vertex = vertex_of(detect, row);

    cf_assert_id(vertex->edge != NONE, "I-14"); /* who lies on a cycle waits, and has said so in this round */
    *victim_out = (struct grd_detect_victim){.node = vertex->node,
                                             .cost = vertex->cost,
                                             .owner = vertex->id,
                                             .key = vertex->key,
                                             .wait = detect->edges[vertex->edge].wait,
                                             .age_ns = vertex->age * AGE_NS};
    cycle_tell(detect, last, victim_out, steps, steps_max);
    detect->graph.rows[row] = GONE;
    detect->counts.victims++;
}

bool grd_detect_victim_next(struct grd_detect *detect, struct grd_detect_victim *victim_out,
                            struct grd_detect_step *steps, uint32_t steps_max)
{
    struct grd_detect_graph *graph = &detect->graph;

    cf_assert(detect->is_resolving);
    while (detect->is_part || graph->members_count > 0) {
        uint32_t row, last;

        if (!detect->is_part)
            part_open(detect);
        row = part_lowest(detect);
        last = row == NONE ? NONE : cycle_find(detect, row);
        if (last == NONE) {
            part_split(detect); /* leaves out an owner that lies on no cycle, and all others that do not */
            continue;
        }
        victim_take(detect, row, last, victim_out, steps, steps_max);
        if (detect->part_work >= graph->work)
            part_split(detect);
        return true;
    }
    return false;
}
