/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/sim/history.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"

/* Bound of one run: 64 bytes each. */
#define OPS_MAX (UINT64_C(1) << 24)

struct entry {
    struct sim_history_op op;
    uint64_t place; /* in the order: twice the number of the write in its line, reads one behind it */
};

struct sim_history {
    struct entry *entries;
    uint64_t count;
    uint64_t room;
};

struct sim_history *sim_history_open(void)
{
    return calloc(1, sizeof(struct sim_history));
}

void sim_history_close(struct sim_history **history)
{
    if (*history == NULL)
        return;
    free((*history)->entries);
    free(*history);
    *history = NULL;
}

void sim_history_add(struct sim_history *history, const struct sim_history_op *op)
{
    if (history->count == OPS_MAX)
        return;
    if (history->count == history->room) {
        history->room = history->room != 0 ? history->room * 2 : 1024;
        history->entries = realloc(history->entries, history->room * sizeof(*history->entries));
        cf_assert(history->entries != NULL);
    }
    history->entries[history->count++] = (struct entry){.op = *op};
}

uint64_t sim_history_count(const struct sim_history *history)
{
    return history->count;
}

static int compare(uint64_t a, uint64_t b)
{
    return a < b ? -1 : a > b;
}

/* By block, writes first, writes by the value they replaced. */
static int by_replaced(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;
    int c = compare(a->op.block, b->op.block);

    if (c == 0)
        c = compare(b->op.is_write, a->op.is_write);
    return c != 0 ? c : compare(a->op.replaced, b->op.replaced);
}

static int by_value(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    return compare(a->op.value, b->op.value);
}

static int by_place(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    return compare(a->place, b->place);
}

static const char *kind(const struct entry *entry)
{
    return entry->op.is_write ? "write" : "read";
}

/* Follows the line from value 0. writes[] is sorted by `replaced`. False: it forks or ends early. */
static bool number_writes(struct entry *writes, uint64_t count, char *text, size_t text_bytes)
{
    uint64_t value = 0;

    for (uint64_t i = 1; i < count; i++) {
        if (writes[i].op.replaced != writes[i - 1].op.replaced)
            continue;
        snprintf(text, text_bytes, "history: block %llu: nodes %u and %u both replaced value %llx",
                 (unsigned long long)writes[i].op.block, writes[i - 1].op.node, writes[i].op.node,
                 (unsigned long long)writes[i].op.replaced);
        return false;
    }
    for (uint64_t place = 1; place <= count; place++) {
        uint64_t low = 0, high = count;

        while (low < high) {
            uint64_t middle = (low + high) / 2;

            if (writes[middle].op.replaced < value)
                low = middle + 1;
            else
                high = middle;
        }
        if (low == count || writes[low].op.replaced != value) {
            snprintf(text, text_bytes,
                     "history: block %llu: the line of writes ends at value %llx, %llu are beside it",
                     (unsigned long long)writes[0].op.block, (unsigned long long)value,
                     (unsigned long long)(count - place + 1));
            return false;
        }
        writes[low].place = place * 2;
        value = writes[low].op.value;
    }
    return true;
}

static bool place_reads(const struct entry *writes, uint64_t writes_count, struct entry *reads,
                        uint64_t reads_count, char *text, size_t text_bytes)
{
    for (uint64_t i = 0; i < reads_count; i++) {
        const struct entry *write;

        if (reads[i].op.value == 0) {
            reads[i].place = 1;
            continue;
        }
        write = bsearch(&reads[i], writes, writes_count, sizeof(*writes), by_value);
        if (write == NULL) {
            snprintf(text, text_bytes, "history: block %llu: node %u read value %llx that nobody wrote",
                     (unsigned long long)reads[i].op.block, reads[i].op.node,
                     (unsigned long long)reads[i].op.value);
            return false;
        }
        reads[i].place = write->place + 1;
    }
    return true;
}

/* In order of places: nothing may have ended before something of an earlier place began. */
static bool agrees_with_time(struct entry *entries, uint64_t count, char *text, size_t text_bytes)
{
    const struct entry *latest = NULL; /* of the earlier places, the one that began last */
    const struct entry *latest_here = NULL;

    qsort(entries, count, sizeof(*entries), by_place);
    for (uint64_t i = 0; i < count; i++) {
        const struct entry *e = &entries[i];

        if (i > 0 && e->place != entries[i - 1].place) {
            if (latest == NULL || latest_here->op.begin_ns > latest->op.begin_ns)
                latest = latest_here;
            latest_here = NULL;
        }
        if (latest_here == NULL || e->op.begin_ns > latest_here->op.begin_ns)
            latest_here = e;
        if (latest != NULL && e->op.end_ns < latest->op.begin_ns) {
            snprintf(text, text_bytes,
                     "history: block %llu: %s of value %llx by node %u ended at %llu ns, but an older state "
                     "(%s of %llx by node %u) began later, at %llu ns",
                     (unsigned long long)e->op.block, kind(e), (unsigned long long)e->op.value, e->op.node,
                     (unsigned long long)e->op.end_ns, kind(latest), (unsigned long long)latest->op.value,
                     latest->op.node, (unsigned long long)latest->op.begin_ns);
            return false;
        }
    }
    return true;
}

static bool check_block(struct entry *entries, uint64_t count, char *text, size_t text_bytes)
{
    uint64_t writes = 0;

    while (writes < count && entries[writes].op.is_write)
        writes++;
    if (!number_writes(entries, writes, text, text_bytes))
        return false;
    qsort(entries, writes, sizeof(*entries), by_value);
    return place_reads(entries, writes, entries + writes, count - writes, text, text_bytes) &&
           agrees_with_time(entries, count, text, text_bytes);
}

bool sim_history_check(struct sim_history *history, char *text, size_t text_bytes)
{
    uint64_t first = 0;

    if (history->count == 0)
        return true;
    qsort(history->entries, history->count, sizeof(*history->entries), by_replaced);
    while (first < history->count) {
        uint64_t end = first;

        while (end < history->count && history->entries[end].op.block == history->entries[first].op.block)
            end++;
        if (!check_block(history->entries + first, end - first, text, text_bytes))
            return false;
        first = end;
    }
    return true;
}
