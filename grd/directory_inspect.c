/* SPDX-License-Identifier: Apache-2.0 */
/* Looking at the store from outside: walks, leaks, the consistency check, dumps. Nothing here changes it. */
#include <inttypes.h>

#include "grd/directory_impl.h"

void grd_directory_each(struct grd_directory *d, void (*each)(void *arg, struct grd_entry *entry), void *arg)
{
    uint32_t i;

    for (i = 0; i < d->entries_used; i++)
        if (d->entries[i].side != SIDE_VACANT)
            each(arg, &d->entries[i]);
}

/*
 * What a quiet cluster has no explanation for: conversations, sharers of a grant that is not pending, side records
 * that were not settled. Holders and past images explain theirs.
 */
uint64_t grd_directory_leaks(const struct grd_directory *d, char *text, size_t text_bytes)
{
    uint64_t sides = 0, leaks;
    uint32_t i;

    for (i = 0; d->side_pool.used > 0 && i < d->entries_used; i++) {
        const struct grd_side *side = grd_side_of(d, &d->entries[i]);

        sides += side && grd_side_is_empty(side);
    }
    leaks = (uint64_t)d->waiter_pool.used + d->pending_pool.used + d->rebuild_pool.used +
            d->chunks_used[GRD_LIST_SHARERS] + sides;
    if (leaks && text_bytes)
        snprintf(text, text_bytes,
                 "directory: %" PRIu32 " waiters, %" PRIu32 " pending grants, %" PRIu32 " rebuilds, %" PRIu32
                 " chunks of sharers, %" PRIu64 " empty side records",
                 d->waiter_pool.used, d->pending_pool.used, d->rebuild_pool.used,
                 d->chunks_used[GRD_LIST_SHARERS], sides);
    return leaks;
}

static uint32_t chain_check(const struct grd_directory *d, uint32_t first)
{
    uint32_t chunks = 0, number, at, pairs;

    for (number = first; number != GRD_NONE; number = d->chunks[number].next, chunks++) {
        cf_assert(chunks < d->chunk_pool.max);
        for (pairs = 0; pairs < CHUNK_PAIRS && (d->chunks[number].word[pairs] & W_USED); pairs++)
            continue;
        for (at = pairs; at < CHUNK_PAIRS; at++)
            cf_assert(d->chunks[number].word[at] == 0);
        cf_assert(pairs > 0);
        cf_assert(pairs == CHUNK_PAIRS || number == first);
    }
    return chunks;
}

static void holders_check(const struct grd_directory *d, const struct grd_entry *entry)
{
    uint64_t seen[CF_NODES_MAX / 64] = {0};
    struct grd_holder holder;
    uint32_t cursor = 0;

    while (grd_holder_next(d, entry, &cursor, &holder)) {
        cf_assert(!(seen[holder.node / 64] >> (holder.node % 64) & 1));
        cf_assert_id(holder.tenure <= entry->last_tenure, "G-5");
        seen[holder.node / 64] |= UINT64_C(1) << (holder.node % 64);
    }
}

void grd_directory_check(const struct grd_directory *d)
{
    uint32_t chunks[CHAINS] = {0}, waiters = 0, pendings = 0, rebuilds = 0, sides = 0, i, c, number, last;

    grd_index_check(d);
    for (i = 0; i < d->entries_used; i++) {
        const struct grd_entry *entry = &d->entries[i];
        const struct grd_side *side = grd_side_of(d, entry);

        if (entry->side == SIDE_VACANT)
            continue;
        holders_check(d, entry);
        if (side == NULL)
            continue;
        sides++;
        cf_assert(side->entry == i);
        rebuilds += side->rebuild != GRD_NONE;
        for (c = 0; c < CHAINS; c++)
            chunks[c] += chain_check(d, side->chain[c]);
        last = GRD_NONE;
        for (number = side->waiter_first; number != GRD_NONE; number = d->waiters[number].next) {
            cf_assert(++waiters <= d->waiter_pool.used);
            last = number;
        }
        cf_assert(side->waiter_last == last);
        for (number = side->pending_first; number != GRD_NONE; number = d->pendings[number].next)
            cf_assert(++pendings <= d->pending_pool.used);
    }
    cf_assert(sides == d->side_pool.used);
    cf_assert(rebuilds == d->rebuild_pool.used);
    grd_summary_check(&d->summary);
    cf_assert(waiters == d->waiter_pool.used);
    cf_assert(pendings == d->pending_pool.used);
    for (c = 0; c < CHAINS; c++)
        cf_assert(chunks[c] == d->chunks_used[c]);
    cf_assert(chunks[GRD_LIST_SHARERS] + chunks[GRD_LIST_PAST] + chunks[CHAIN_HOLDERS] == d->chunk_pool.used);
}

static void dump_list(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list,
                      const char *name, const char *value, FILE *out)
{
    struct grd_pair pair;
    uint32_t cursor = 0;

    while (grd_list_next(d, entry, list, &cursor, &pair))
        fprintf(out, "  %s node %u %s %" PRIu64 "\n", name, pair.node, value, pair.value);
}

void grd_entry_dump(const struct grd_directory *d, const struct grd_entry *entry, FILE *out)
{
    const struct grd_side *side = grd_side_of(d, entry);
    struct grd_holder holder;
    uint32_t cursor = 0, number;

    fprintf(out,
            "entry file %" PRIu32 " generation %" PRIu32 " block %" PRIu64 " last tenure %" PRIu64
            " version %" PRIu64 " durable %" PRIu64 "%s\n",
            entry->key.file, entry->key.generation, entry->key.block, entry->last_tenure, entry->version,
            grd_entry_durable(d, entry), entry->side == SIDE_IDLE ? " idle" : "");
    if (side && side->rebuild != GRD_NONE)
        fprintf(out, "  in rebuild, %u to answer\n", d->rebuilds[side->rebuild].awaited_count);
    while (grd_holder_next(d, entry, &cursor, &holder))
        fprintf(out, "  node %u %s tenure %" PRIu64 "%s%s\n", holder.node, holder.is_x ? "X" : "S",
                holder.tenure, holder.is_pending ? " pending" : "", holder.has_duty ? " duty" : "");
    for (number = side ? side->waiter_first : GRD_NONE; number != GRD_NONE; number = d->waiters[number].next)
        fprintf(out, "  waits node %u request %" PRIu64 " mode %u held %" PRIu64 "\n",
                d->waiters[number].node, d->waiters[number].request, d->waiters[number].mode,
                d->waiters[number].held);
    for (number = side ? side->pending_first : GRD_NONE; number != GRD_NONE;
         number = d->pendings[number].next)
        fprintf(out, "  granted node %u request %" PRIu64 " mode %u tenure %" PRIu64 " source %u\n",
                d->pendings[number].node, d->pendings[number].request, d->pendings[number].mode,
                d->pendings[number].tenure, d->pendings[number].source);
    dump_list(d, entry, GRD_LIST_SHARERS, "sharer", "tenure", out);
    dump_list(d, entry, GRD_LIST_PAST, "past image", "version", out);
}
