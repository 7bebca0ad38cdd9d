/* SPDX-License-Identifier: Apache-2.0 */
/* Waiters, first come first served, and pending grants. Both are few for an entry: searches walk the list. */
#include "grd/directory_impl.h"

struct grd_waiter *grd_waiter_first(struct grd_directory *d, struct grd_entry *entry)
{
    return grd_side_waiter(d, grd_side_of(d, entry));
}

struct grd_waiter *grd_waiter_next(struct grd_directory *d, const struct grd_waiter *waiter)
{
    return waiter->next == GRD_NONE ? NULL : &d->waiters[waiter->next];
}

struct grd_waiter *grd_waiter_of(struct grd_directory *d, struct grd_entry *entry, uint16_t node)
{
    struct grd_waiter *waiter = grd_waiter_first(d, entry);

    while (waiter && waiter->node != node)
        waiter = grd_waiter_next(d, waiter);
    return waiter;
}

struct grd_waiter *grd_waiter_add(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_side *side;
    uint32_t number;

    if (grd_side_of(d, entry) == NULL && !grd_cold_room(d, entry, 1, 0))
        return NULL;
    number = grd_pool_take(&d->waiter_pool);
    if (number == GRD_NONE)
        return NULL;
    side = grd_side_make(d, entry);
    d->waiters[number] = (struct grd_waiter){.next = GRD_NONE};
    if (side->waiter_first == GRD_NONE)
        side->waiter_first = number;
    else
        d->waiters[side->waiter_last].next = number;
    side->waiter_last = number;
    return &d->waiters[number];
}

void grd_waiter_remove(struct grd_directory *d, struct grd_entry *entry, struct grd_waiter *waiter)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = (uint32_t)(waiter - d->waiters), before = GRD_NONE, at;

    cf_assert(side != NULL);
    for (at = side->waiter_first; at != number; at = d->waiters[at].next) {
        cf_assert(at != GRD_NONE);
        before = at;
    }
    if (before == GRD_NONE)
        side->waiter_first = waiter->next;
    else
        d->waiters[before].next = waiter->next;
    if (side->waiter_last == number)
        side->waiter_last = before;
    grd_pool_give(&d->waiter_pool, number);
}

struct grd_entry *grd_waited_next(struct grd_directory *d, uint32_t *cursor, uint32_t looks_max,
                                  bool *more_out)
{
    uint32_t end = d->waiter_pool.used != 0 ? d->side_pool.fresh : 0;

    for (; *cursor < end && looks_max > 0; looks_max--) {
        const struct grd_side *side = &d->sides[(*cursor)++];

        if (side->entry != GRD_NONE && side->waiter_first != GRD_NONE) {
            *more_out = true;
            return &d->entries[side->entry];
        }
    }
    *more_out = *cursor < end;
    return NULL;
}

struct grd_pending *grd_pending_first(struct grd_directory *d, const struct grd_entry *entry)
{
    return grd_side_pending(d, grd_side_of(d, entry));
}

struct grd_pending *grd_pending_next(struct grd_directory *d, const struct grd_pending *pending)
{
    return pending->next == GRD_NONE ? NULL : &d->pendings[pending->next];
}

struct grd_pending *grd_pending_of(struct grd_directory *d, const struct grd_entry *entry, uint16_t node)
{
    return grd_side_pending_of(d, grd_side_of(d, entry), node);
}

struct grd_pending *grd_pending_add(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_side *side = grd_side_of(d, entry);
    bool has_room = side && grd_pool_room(&d->chunk_pool) >= GRANT_CHUNKS_MAX;
    uint32_t number;

    if (!has_room && !grd_side_fits(d, entry))
        return NULL;
    number = grd_pool_take(&d->pending_pool);
    if (number == GRD_NONE)
        return NULL;
    side = grd_side_make(d, entry);
    d->pendings[number] = (struct grd_pending){.next = side->pending_first};
    side->pending_first = number;
    return &d->pendings[number];
}

void grd_pending_remove(struct grd_directory *d, struct grd_entry *entry, struct grd_pending *pending)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = (uint32_t)(pending - d->pendings), *link;

    cf_assert(side != NULL);
    for (link = &side->pending_first; *link != number; link = &d->pendings[*link].next)
        cf_assert(*link != GRD_NONE);
    *link = pending->next;
    grd_pool_give(&d->pending_pool, number);
}
