/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a shard's store knows of buckets that move (docs/remaster.md): the state of each, who of it is under way, and a
 * walk over its entries. An entry does not say its bucket: it is hashed again where that is asked, off the path of grants.
 */
#include "grd/directory_impl.h"
#include "grd/mutant.h"

static uint32_t bucket_of(const struct grd_directory *d, const struct cf_block_key *key)
{
    return (uint32_t)cf_siphash16(&d->options.hash_key, key) & (d->options.buckets - 1);
}

uint8_t grd_bucket_state(const struct grd_directory *d, uint32_t bucket)
{
    return d->buckets_moved == 0 ? 0 : d->bucket_states[bucket];
}

bool grd_bucket_is_closed(const struct grd_directory *d, const struct cf_block_key *key)
{
    return d->buckets_moved != 0 && (d->bucket_states[bucket_of(d, key)] & GRD_BUCKET_EXPORT) != 0;
}

void grd_bucket_state_set(struct grd_directory *d, uint32_t bucket, uint8_t state)
{
    cf_assert(d->bucket_states != NULL);
    d->buckets_moved += state != 0;
    d->buckets_moved -= d->bucket_states[bucket] != 0;
    d->bucket_states[bucket] = state;
}

/*
 * What nobody holds may be forgotten, but for a bucket whose entries are still coming: the last owner would send its old
 * one again. What somebody holds is remembered by the state: of a bucket that has come, for good; of one that goes, so that
 * its next owner asks everybody.
 */
bool grd_bucket_loses(struct grd_directory *d, const struct grd_entry *entry, bool is_held)
{
    uint32_t bucket;
    uint8_t state;

    if (d->buckets_moved == 0)
        return true;
    bucket = bucket_of(d, &entry->key);
    state = d->bucket_states[bucket];
    if (state == 0)
        return true;
    if ((is_held || (state & GRD_BUCKET_IMPORT)) && !grd_mutant(GRD_MUT_MOVE_FORGETS))
        grd_bucket_state_set(d, bucket, state | GRD_BUCKET_OPEN);
    return false;
}

bool grd_bucket_is_busy(const struct grd_directory *d, uint32_t bucket)
{
    uint32_t i;

    for (i = 0; i < d->pending_pool.fresh; i++)
        if (cf_timer_armed(&d->pendings[i].timer) && bucket_of(d, &d->pendings[i].key) == bucket)
            return true;
    for (i = 0; i < d->rebuild_pool.fresh; i++)
        if (d->rebuilds[i].in_use && bucket_of(d, &d->rebuilds[i].key) == bucket)
            return true;
    return false;
}

uint64_t grd_tenure_last(const struct grd_directory *d)
{
    return d->tenure_last > d->tenure_floor ? d->tenure_last : d->tenure_floor;
}

void grd_tenure_raise(struct grd_directory *d, uint64_t tenure)
{
    if (d->tenure_floor < tenure && !grd_mutant(GRD_MUT_MOVE_NO_FLOOR))
        d->tenure_floor = tenure;
}

struct grd_entry *grd_bucket_next(struct grd_directory *d, uint32_t bucket, uint32_t *cursor,
                                  uint32_t looks_max, bool *more_out)
{
    uint32_t looks;

    for (looks = 0; looks < looks_max && *cursor < d->entries_used; looks++) {
        struct grd_entry *entry = &d->entries[(*cursor)++];

        if (entry->side != SIDE_VACANT && bucket_of(d, &entry->key) == bucket) {
            *more_out = true;
            return entry;
        }
    }
    *more_out = *cursor < d->entries_used;
    return NULL;
}

void grd_entry_drop(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_waiter *waiter;

    grd_entry_wake(d, entry);
    while ((waiter = grd_waiter_first(d, entry)) != NULL)
        grd_waiter_remove(d, entry, waiter);
    grd_side_free(d, entry);
    grd_entry_vacate(d, grd_entry_forget(d, entry));
}
