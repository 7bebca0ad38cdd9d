/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Victims, one at a time, component after component in the order of their first rows.
 *
 *   rows:  ... alone ... | live ... of the part, of others, alone ...
 *                          ^ cursor: nothing before it is live
 *
 * The component of the first live row is the part that is worked on. Its lowest owners by (cost, age, node, id) are
 * looked at one after the other; a shortest cycle through each is searched breadth first. Found: it is a victim and leaves the
 * part. Not found, which can be only after a victim has left: it lies on no cycle any more, and never will again, since
 * vertices only leave. The components of the part, and of nothing else, are computed anew when a search has found nothing,
 * and when the searches since the last time have cost as much as that did; what is on no cycle then is passed over from
 * there on. So a dense component is not gone through for each of its victims.
 *
 *   stack:  queue of a search ->                                rows of the part |
 *
 * A part of more than half of the vertices has no list: its rows are looked for among all rows, which are not many more.
 */
#include <string.h>

#include "base/assert.h"
#include "grd/detect_impl.h"

#define AHEAD 16u /* rows asked for before they are used */
#define LEFT (GRD_DETECT_DONE | GRD_DETECT_ALONE)

static bool is_below(const struct grd_detect *detect, uint32_t left, uint32_t right)
{
    const struct vertex *a = &detect->vertices[left], *b = &detect->vertices[right];
    uint32_t a_age = grd_detect_age(detect, a), b_age = grd_detect_age(detect, b);
    uint32_t a_node = detect->whats[left] & WHAT_NODE, b_node = detect->whats[right] & WHAT_NODE;

    if (a->of.waits.cost != b->of.waits.cost)
        return a->of.waits.cost < b->of.waits.cost;
    if (a_age != b_age)
        return a_age < b_age;
    return a_node != b_node ? a_node < b_node : a->id < b->id;
}

static bool is_owner(const struct grd_detect *detect, uint32_t vertex)
{
    return grd_detect_kind_of(detect->whats[vertex]) == VERTEX_OWNER;
}

/* Does every owner on a cycle have its oldest wait noted? */
static bool is_noted(const struct grd_detect *detect)
{
    const struct grd_detect_graph *graph = &detect->graph;
    uint32_t vertex = 0;

    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row), vertex++)
        if (grd_detect_is_live(graph->rows[row]) && is_owner(detect, vertex) &&
            !(detect->whats[vertex] & WHAT_WAITS))
            return false;
    return true;
}

uint32_t grd_detect_resolve(struct grd_detect *detect)
{
    cf_assert(!detect->is_round);
    grd_detect_join(detect);
    grd_detect_scc_all(&detect->graph);
    detect->counts.work += detect->graph.work;
    detect->is_stale = detect->is_unnoted && !is_noted(detect);
    detect->is_resolving = true;
    detect->part.is_open = false;
    detect->cursor = detect->is_stale ? detect->graph.words : 0;
    return detect->is_stale ? 0 : detect->graph.cyclic;
}

/* ------------------------------------------------------------------ the part */

/* The rows of the component of `root`, all of which can be reached from it, into the stack from its beginning on. */
static uint32_t closure(struct grd_detect *detect, uint32_t root)
{
    struct grd_detect_graph *graph = &detect->graph;
    uint32_t *rows = graph->rows, *queue = graph->stack, component = rows[root], tail = 0;
    uint64_t work = 0;

    queue[tail++] = root;
    rows[root] = 0;
    for (uint32_t head = 0; head < tail; head++) {
        uint32_t at = queue[head] + 1, word;

        if (head + AHEAD < tail)
            __builtin_prefetch(&rows[queue[head + AHEAD]]);
        do {
            uint32_t target;

            word = rows[at++];
            target = word & GRD_DETECT_TARGET;
            work++;
            if (rows[target] != component)
                continue;
            rows[target] = 0;
            queue[tail++] = target;
        } while (!(word & GRD_DETECT_LAST));
    }
    for (uint32_t i = 0; i < tail; i++)
        rows[queue[i]] = component;
    detect->counts.work += work;
    detect->part.work_max = 2 * work; /* they are listed, and searched */
    return tail;
}

static void part_open(struct grd_detect *detect, uint32_t row)
{
    struct grd_detect_graph *graph = &detect->graph;
    struct part *part = &detect->part;

    part->component = graph->rows[row];
    if (part->component == graph->largest && graph->largest_count > graph->vertices / 2) {
        part->count = graph->largest_count;
        part->work_max = graph->work;
    } else {
        part->count = closure(detect, row);
    }
    part->is_listed = part->count <= graph->vertices / 2;
    if (part->is_listed)
        memcpy(graph->stack + graph->vertices_max - part->count, graph->stack,
               part->count * sizeof(uint32_t));
    part->work = 0;
    part->has_all = false;
    part->batch_count = part->batch_at = 0;
    part->is_open = true;
}

static const uint32_t *part_list(const struct grd_detect *detect)
{
    return detect->graph.stack + detect->graph.vertices_max - detect->part.count;
}

/* Into the batch, which is in order, if it is among the lowest. */
static void batch_add(struct grd_detect *detect, uint32_t row, uint32_t vertex)
{
    struct part *part = &detect->part;
    uint32_t at = part->batch_count;

    if (!is_owner(detect, vertex))
        return;
    if (at == GRD_DETECT_BATCH_MAX) {
        part->has_all = false;
        if (!is_below(detect, vertex, part->batch[--at].vertex))
            return;
    } else {
        part->batch_count++;
    }
    for (; at > 0 && is_below(detect, vertex, part->batch[at - 1].vertex); at--)
        part->batch[at] = part->batch[at - 1];
    part->batch[at].row = row;
    part->batch[at].vertex = vertex;
}

/* The lowest owners of the part. */
static void batch_fill(struct grd_detect *detect)
{
    const struct grd_detect_graph *graph = &detect->graph;
    struct part *part = &detect->part;
    uint32_t vertex = 0;

    part->batch_count = part->batch_at = 0;
    part->has_all = true;
    part->work += part->count;
    if (part->is_listed) {
        const uint32_t *list = part_list(detect);

        for (uint32_t i = 0; i < part->count; i++)
            if (graph->rows[list[i]] == part->component)
                batch_add(detect, list[i], grd_detect_graph_vertex(graph, list[i]));
        return;
    }
    for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row), vertex++)
        if (graph->rows[row] == part->component)
            batch_add(detect, row, vertex);
}

/* The components of what is left of the part. */
static void part_split(struct grd_detect *detect)
{
    struct grd_detect_graph *graph = &detect->graph;

    if (detect->part.is_listed)
        grd_detect_scc_list(graph, part_list(detect), detect->part.count);
    else
        grd_detect_scc_again(graph);
    detect->counts.work += graph->work;
    detect->part.is_open = false;
}

/* What is left of the part has no owner: nobody can be ended there, whatever it is. */
static void part_drop(struct grd_detect *detect)
{
    struct grd_detect_graph *graph = &detect->graph;
    const uint32_t *list = part_list(detect);

    if (detect->part.is_listed) {
        for (uint32_t i = 0; i < detect->part.count; i++)
            if (graph->rows[list[i]] == detect->part.component)
                graph->rows[list[i]] = LEFT;
    } else {
        for (uint32_t row = 0; row < graph->words; row = grd_detect_graph_next(graph, row))
            if (graph->rows[row] == detect->part.component)
                graph->rows[row] = LEFT;
    }
    detect->part.is_open = false;
}

/* The place in the batch of the lowest owner of the part; NONE: no owner is left. */
static uint32_t part_lowest(struct grd_detect *detect)
{
    struct part *part = &detect->part;

    for (;;) {
        for (; part->batch_at < part->batch_count; part->batch_at++)
            if (detect->graph.rows[part->batch[part->batch_at].row] == part->component)
                return part->batch_at;
        if (part->has_all)
            return NONE;
        batch_fill(detect);
    }
}

/* ------------------------------------------------------------------ cycles */

/*
 * Breadth first from `root` back to it, inside the part. The state of who has been visited is 1 + the place in the queue
 * that it was found from. Answers the place of the cycle's last vertex; NONE: there is no cycle. *tail_out rows are in the
 * queue, whose states are to be set back.
 */
static uint32_t cycle_find(struct grd_detect *detect, uint32_t root, uint32_t *tail_out)
{
    struct grd_detect_graph *graph = &detect->graph;
    uint32_t *rows = graph->rows, *queue = graph->stack, head = 0, tail = 0;
    uint32_t component = detect->part.component;
    uint64_t work = 0;
    bool is_found = false;

    queue[tail++] = root;
    rows[root] = 1;
    for (; head < tail && !is_found; head++) {
        uint32_t at = queue[head] + 1, word;

        do {
            uint32_t target;

            word = rows[at++];
            target = word & GRD_DETECT_TARGET;
            work++;
            if (target == root) {
                is_found = true;
                break;
            }
            if (rows[target] == component) {
                rows[target] = head + 1;
                queue[tail++] = target;
            }
        } while (!(word & GRD_DETECT_LAST));
    }
    detect->part.work += work;
    detect->counts.work += work;
    *tail_out = tail;
    return is_found ? head - 1 : NONE;
}

static void states_restore(struct grd_detect *detect, uint32_t tail)
{
    const uint32_t *queue = detect->graph.stack;

    for (uint32_t i = 0; i < tail; i++) {
        if (i + AHEAD < tail)
            __builtin_prefetch(&detect->graph.rows[queue[i + AHEAD]], 1);
        detect->graph.rows[queue[i]] = detect->part.component;
    }
}

static void step_fill(const struct grd_detect *detect, uint32_t row, struct grd_detect_step *step)
{
    uint32_t number = grd_detect_graph_vertex(&detect->graph, row);
    const struct vertex *vertex = &detect->vertices[number];
    uint16_t what = detect->whats[number];

    *step = (struct grd_detect_step){.node = what & WHAT_NODE, .id = vertex->id, .key = vertex->key};
    switch (grd_detect_kind_of(what)) {
    case VERTEX_OWNER:
        step->what = GRD_DETECT_OWNER;
        step->wait = vertex->wait;
        break;
    case VERTEX_ASK:
        step->what = GRD_DETECT_ASK;
        break;
    case VERTEX_STANDS:
        step->what = GRD_DETECT_STANDS;
        step->side = what >> WHAT_SIDE_SHIFT & 1;
        step->mode = (uint8_t)(what >> WHAT_MODE_SHIFT);
        break;
    case VERTEX_GROUP:
        cf_unreachable();
    }
}

/* From the last vertex of the cycle back to the victim. */
static void cycle_tell(const struct grd_detect *detect, uint32_t last, struct grd_detect_victim *victim,
                       struct grd_detect_step *steps, uint32_t steps_max)
{
    const uint32_t *queue = detect->graph.stack, *rows = detect->graph.rows;
    uint32_t length = 1, place = last;

    for (; place != 0; place = rows[queue[place]] - 1)
        length++;
    victim->cycle_length = length;
    victim->steps_count = length < steps_max ? length : steps_max;
    place = last;
    for (uint32_t i = length; i-- > 0; place = rows[queue[place]] - 1)
        if (i < steps_max)
            step_fill(detect, queue[place], &steps[i]);
}

static void victim_fill(struct grd_detect *detect, uint32_t number, struct grd_detect_victim *victim_out)
{
    const struct vertex *vertex = &detect->vertices[number];

    /* Who lies on a cycle waits, and has said so. */
    cf_assert_id(detect->whats[number] & WHAT_WAITS, "I-14");
    *victim_out = (struct grd_detect_victim){.node = detect->whats[number] & WHAT_NODE,
                                             .cost = vertex->of.waits.cost,
                                             .owner = vertex->id,
                                             .key = vertex->key,
                                             .wait = vertex->wait,
                                             .age_ns = grd_detect_age(detect, vertex) * AGE_NS};
    detect->counts.victims++;
}

/* False: the owner at this place of the batch lies on no cycle any more. */
static bool victim_take(struct grd_detect *detect, uint32_t place, struct grd_detect_victim *victim_out,
                        struct grd_detect_step *steps, uint32_t steps_max)
{
    uint32_t row = detect->part.batch[place].row, tail, last = cycle_find(detect, row, &tail);

    if (last != NONE) {
        victim_fill(detect, detect->part.batch[place].vertex, victim_out);
        cycle_tell(detect, last, victim_out, steps, steps_max);
    }
    states_restore(detect, tail);
    detect->graph.rows[row] = LEFT;
    return last != NONE;
}

/* False: nothing is live any more. */
static bool part_next(struct grd_detect *detect)
{
    const struct grd_detect_graph *graph = &detect->graph;

    while (detect->cursor < graph->words && !grd_detect_is_live(graph->rows[detect->cursor]))
        detect->cursor = grd_detect_graph_next(graph, detect->cursor);
    if (detect->cursor >= graph->words)
        return false;
    part_open(detect, detect->cursor);
    return true;
}

bool grd_detect_victim_next(struct grd_detect *detect, struct grd_detect_victim *victim_out,
                            struct grd_detect_step *steps, uint32_t steps_max)
{
    cf_assert(detect->is_resolving);
    while (detect->part.is_open || part_next(detect)) {
        uint32_t place = part_lowest(detect);

        if (place == NONE) {
            part_drop(detect);
            continue;
        }
        if (!victim_take(detect, place, victim_out, steps, steps_max)) {
            part_split(detect);
            continue;
        }
        if (detect->part.work >= detect->part.work_max)
            part_split(detect);
        return true;
    }
    return false;
}
