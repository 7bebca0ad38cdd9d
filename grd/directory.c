/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store takes, and the arithmetic of its pools. With the bounds of the options
 *
 *   E entries, C conversations, H holders (and as many sharers), P past images
 *
 * no pool can run out:
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
 *   slack     a grant is begun only where GRANT_CHUNKS_MAX are free, or fewer if they do (grd_side_fits), so these must be there above
 *             all others.
 *   sides     an entry has one for overflowing holders, waiters, pending grants or past images, and at most one.
 *
 * A peer that breaks the bounds is made to wait: adding a waiter or a pending grant fails before a pool could.
 */
#include "grd/directory_impl.h"

#define POOL_SPARE 64u /* so that the smallest directories are not all corner cases */

struct sizes {
    uint64_t entries, tags, index, sides, chunks, waiters, pendings, total; /* bytes */
    uint64_t slots, sides_max, chunks_max;
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
    s.chunks_max = over + o->holders / CHUNK_PAIRS + smaller(o->conversations, o->entries) + past +
                   GRANT_CHUNKS_MAX + POOL_SPARE;
    s.sides_max = smaller(over + 2 * o->conversations + past + POOL_SPARE, o->entries);
    s.entries = in_lines(o->entries * sizeof(struct grd_entry));
    s.tags = in_lines(o->entries * sizeof(uint32_t));
    s.index = in_lines(s.slots * sizeof(uint64_t));
    s.sides = in_lines(s.sides_max * sizeof(struct grd_side));
    s.chunks = in_lines(s.chunks_max * sizeof(struct grd_chunk));
    s.waiters = in_lines(o->conversations * sizeof(struct grd_waiter));
    s.pendings = in_lines(o->conversations * sizeof(struct grd_pending));
    s.total = in_lines(sizeof(struct grd_directory)) + s.entries + s.tags + s.index + s.sides + s.chunks +
              s.waiters + s.pendings;
    return s;
}

uint64_t grd_directory_size(const struct grd_directory_options *options)
{
    return sizes_of(options).total;
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
    d->side_pool = pool_of(d->sides, sizeof(struct grd_side), offsetof(struct grd_side, next), s.sides_max);
    d->chunk_pool = pool_of(d->chunks, sizeof(struct grd_chunk), offsetof(struct grd_chunk, next),
                            s.chunks_max);
    d->waiter_pool = pool_of(d->waiters, sizeof(struct grd_waiter), offsetof(struct grd_waiter, next),
                             options->conversations);
    d->pending_pool = pool_of(d->pendings, sizeof(struct grd_pending), offsetof(struct grd_pending, next),
                              options->conversations);
    d->idle_first = d->idle_last = GRD_NONE;
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
    return directory->entries_used;
}

uint64_t grd_directory_evictions(const struct grd_directory *directory)
{
    return directory->evictions;
}

uint64_t grd_directory_bytes(const struct grd_directory *directory)
{
    return directory->bytes;
}
