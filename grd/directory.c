/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store takes, and the arithmetic of its pools. With the bounds of the options
 *
 *   E entries, C conversations, H holders (and as many sharers), P past images
 *
 * no pool can run out and no entry is ever given back:
 *
 *   holders   an entry needs chunks from its fifth holder on: n > 4 holders take (n - 4) / 6 of them, rounded up,
 *             which is at most n / 5 (equal at five). All entries: H / 5. A hole in the inline slots is filled from
 *             the chunks, so that n counts what is there and not what was.
 *   old       a holder 2^23 tenures behind is in a chunk though a slot is free. One of them costs 2^23 grants of
 *             its block while it stays: H / 64 are set aside.
 *   sharers   a list exists while an X grant is pending: min(C, E) lists, each rounded up by less than a chunk,
 *             H / 6 for their members.
 *   past      an image a list is the worst partition: P, and C for those that a pending grant makes known before
 *             the older image of that instance is forgotten; P / 6 + lists where entries are fewer.
 *   slack     a grant is begun only where GRANT_CHUNKS_MAX are free (grd_side_fits), so these must be there above all others.
 *   sides     an entry has one for overflowing holders, waiters, pending grants or past images, and at most one.
 *
 * A peer that breaks the bounds is made to wait: adding a waiter or a pending grant fails before a pool could.
 *
 * Where the budget is smaller (grd_directory_fit), pools are what is left after the part that conversations need at
 * once: each of C waiters, C pending grants and C rebuilds can pin an entry with its side record. The rest goes to the summary
 * (SUMMARY_SHARE), to side records and chunks (POOLS_SHARE), and to entries.
 */
#include "grd/directory_impl.h"

#define ENTRIES_SPARE 8u
#define POOL_SPARE 64u /* so that the smallest directories are not all corner cases */
/* Of what a budget leaves: one part in so many. A summary for all holders takes two bytes of 30 in 32, 87 % full. */
#define SUMMARY_SHARE 4u
#define POOLS_SHARE 8u
#define SUMMARY_LINE_KEYS 26u
/* Entries with all instances as holders that conversations can pin and the others still go on. */
#define WIDEST_MIN 2u

struct sizes {
    uint64_t entries, tags, index, sides, chunks, waiters, pendings, rebuilds, summary, states,
        total; /* bytes */
    uint64_t slots, sides_max, chunks_max, lines;
};

static uint64_t smaller(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

static uint64_t in_lines(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
}

static struct sizes sizes_of(const struct grd_directory_options *o)
{
    uint64_t over = o->holders / 5 + o->holders / 64;
    uint64_t past = smaller(o->past_images + o->conversations,
                            (o->past_images + o->conversations) / CHUNK_PAIRS + o->entries);
    struct sizes s;

    /* Seven tenths full: a probe for what is there looks at 2.2 slots on average, for what is not at 6.1. */
    s.slots = o->entries + o->entries * 3 / 7 + 2;
    s.chunks_max = o->chunks ? o->chunks
                             : over + o->holders / CHUNK_PAIRS + smaller(o->conversations, o->entries) +
                                   past + GRANT_CHUNKS_MAX + POOL_SPARE;
    s.sides_max = o->sides ? o->sides : over + 3 * o->conversations + past + POOL_SPARE;
    s.sides_max = smaller(s.sides_max, o->entries);
    s.lines = o->summary_lines ? o->summary_lines : o->entries / 256 + 1;
    s.entries = in_lines(o->entries * sizeof(struct grd_entry));
    s.tags = in_lines(o->entries * sizeof(uint32_t));
    s.index = in_lines(s.slots * sizeof(uint64_t));
    s.sides = in_lines(s.sides_max * sizeof(struct grd_side));
    s.chunks = in_lines(s.chunks_max * sizeof(struct grd_chunk));
    s.waiters = in_lines(o->conversations * sizeof(struct grd_waiter));
    s.pendings = in_lines(o->conversations * sizeof(struct grd_pending));
    s.rebuilds = in_lines(o->conversations * sizeof(struct grd_rebuild));
    s.summary = s.lines * GRD_SUMMARY_LINE_BYTES;
    s.states = o->is_movable ? in_lines(o->buckets) : 0;
    s.total = in_lines(sizeof(struct grd_directory)) + s.entries + s.tags + s.index + s.sides + s.chunks +
              s.waiters + s.pendings + s.rebuilds + s.states + s.summary;
    return s;
}

uint64_t grd_directory_size(const struct grd_directory_options *options)
{
    return sizes_of(options).total;
}

/* What conversations need at once, and nothing more. */
static struct grd_directory_options least_of(const struct grd_directory_options *need)
{
    uint32_t nodes = need->nodes ? need->nodes : CF_NODES_MAX;
    struct grd_directory_options least = *need;

    least.entries = 3 * need->conversations + ENTRIES_SPARE;
    least.sides = least.entries;
    least.chunks = need->conversations + WIDEST_MIN * WIDEST_CHUNKS(nodes) + POOL_SPARE;
    least.summary_lines = least.entries / SUMMARY_LINE_KEYS + 1;
    return least;
}

enum cf_rc grd_directory_fit(const struct grd_directory_options *need, uint64_t bytes,
                             struct grd_directory_options *fit_out, uint64_t *bytes_min_out)
{
    struct grd_directory_options fit = least_of(need);
    uint64_t least = grd_directory_size(&fit), left, lines;
    const uint64_t entry_bytes = sizeof(struct grd_entry) + sizeof(uint32_t) +
                                 (sizeof(uint64_t) * 10 + 6) / 7;

    *bytes_min_out = least;
    if (bytes >= grd_directory_size(need)) {
        *fit_out = *need;
        return CF_OK;
    }
    if (bytes < least)
        return CF_BUDGET;
    left = bytes - least;
    lines = smaller(left / SUMMARY_SHARE / GRD_SUMMARY_LINE_BYTES, need->holders / SUMMARY_LINE_KEYS + 1);
    fit.summary_lines += lines;
    left -= lines * GRD_SUMMARY_LINE_BYTES;
    fit.sides += left / POOLS_SHARE / 2 / sizeof(struct grd_side);
    fit.chunks += left / POOLS_SHARE / 2 / sizeof(struct grd_chunk);
    left -= left / POOLS_SHARE;
    fit.entries += left / entry_bytes;
    while (grd_directory_size(&fit) > bytes) /* what rounding to lines has added */
        fit.entries--;
    *fit_out = fit;
    return CF_OK;
}

static uint8_t *cut(uint8_t **at, uint64_t bytes)
{
    uint8_t *here = *at;

    *at += bytes;
    return here;
}

static struct grd_pool pool_of(void *base, size_t bytes, size_t next_at, uint64_t max)
{
    return (struct grd_pool){.base = base,
                             .bytes = (uint32_t)bytes,
                             .next_at = (uint32_t)next_at,
                             .max = (uint32_t)max,
                             .free = GRD_NONE};
}

enum cf_rc grd_directory_open(const struct grd_directory_options *options,
                              struct grd_directory **directory_out)
{
    struct sizes s = sizes_of(options);
    struct grd_directory *d;
    uint8_t *at;

    cf_assert(options->entries > 0 && options->entries <= ENTRIES_MAX);
    cf_assert(s.slots <= UINT32_MAX);
    cf_assert(s.chunks_max <= CHUNKS_MAX);
    cf_assert(options->conversations <= ENTRIES_MAX);
    cf_assert(s.sides_max <= ENTRIES_MAX);
    at = cf_alloc(options->allocator, s.total, CF_CACHE_LINE, CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    if (at == NULL)
        return CF_MEMORY;
    d = (struct grd_directory *)(void *)cut(&at, in_lines(sizeof *d));
    d->options = *options;
    d->bytes = s.total;
    d->slots = s.slots;
    d->index = (uint64_t *)(void *)cut(&at, s.index);
    d->tags = (uint32_t *)(void *)cut(&at, s.tags);
    d->entries = (struct grd_entry *)(void *)cut(&at, s.entries);
    d->sides = (struct grd_side *)(void *)cut(&at, s.sides);
    d->chunks = (struct grd_chunk *)(void *)cut(&at, s.chunks);
    d->waiters = (struct grd_waiter *)(void *)cut(&at, s.waiters);
    d->pendings = (struct grd_pending *)(void *)cut(&at, s.pendings);
    d->rebuilds = (struct grd_rebuild *)(void *)cut(&at, s.rebuilds);
    if (s.states != 0)
        d->bucket_states = cut(&at, s.states);
    grd_summary_init(&d->summary, at, s.lines, options->seed);
    d->side_pool = pool_of(d->sides, sizeof(struct grd_side), offsetof(struct grd_side, rebuild),
                           s.sides_max);
    d->chunk_pool = pool_of(d->chunks, sizeof(struct grd_chunk), offsetof(struct grd_chunk, next),
                            s.chunks_max);
    d->waiter_pool = pool_of(d->waiters, sizeof(struct grd_waiter), offsetof(struct grd_waiter, next),
                             options->conversations);
    d->pending_pool = pool_of(d->pendings, sizeof(struct grd_pending), offsetof(struct grd_pending, next),
                              options->conversations);
    d->rebuild_pool = pool_of(d->rebuilds, sizeof(struct grd_rebuild), 0, options->conversations);
    d->idle_first = d->idle_last = d->vacant_first = GRD_NONE;
    *directory_out = d;
    return CF_OK;
}

void grd_directory_close(struct grd_directory **directory)
{
    struct grd_directory *d = *directory;
    const struct cf_allocator *allocator;

    if (d == NULL)
        return;
    allocator = d->options.allocator;
    cf_free(allocator, d, d->bytes);
    *directory = NULL;
}

uint64_t grd_directory_entries(const struct grd_directory *directory)
{
    return directory->entries_used - directory->vacant_count;
}

const struct grd_directory_counters *grd_directory_counters(const struct grd_directory *directory)
{
    return &directory->counters;
}

struct grd_directory_use grd_directory_use(const struct grd_directory *d)
{
    return (struct grd_directory_use){.waiters = d->waiter_pool.used,
                                      .pendings = d->pending_pool.used,
                                      .rebuilds = d->rebuild_pool.used,
                                      .sides = d->side_pool.used,
                                      .chunks = d->chunk_pool.used};
}

const struct grd_summary *grd_directory_summary(const struct grd_directory *directory)
{
    return &directory->summary;
}

uint64_t grd_directory_bytes(const struct grd_directory *directory)
{
    return directory->bytes;
}
