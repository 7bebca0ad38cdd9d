/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving entries back. When nobody's entry is idle, one goes that has holders and nothing under way: they know what
 * they hold, and the summary remembers that somebody does. No message is sent and nobody's copy is touched.
 *
 *   which   a hand goes round the entries; one that was looked up since it last passed loses its mark and stays,
 *           CHANCES times a call. Where a pool is short instead of entries, the hand goes round the side records.
 *   bound   pinned entries, with waiters, pending grants or a rebuild, are at most as many as these, so among one more there is
 *           one that can go: the budget has it (grd_directory_fit).
 */
#include "grd/directory_impl.h"
#include "grd/mutant.h"

#define CHANCES 8u
#define ROOM_TRIES_MAX 64u

static bool can_go(const struct grd_directory *d, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(d, entry);

    return entry->side != SIDE_IDLE && entry->side != SIDE_VACANT &&
           (side == NULL || grd_side_is_quiet(side));
}

/* One holder and nothing else is named by its class; whatever is more asks everybody. */
static uint8_t code_of(struct grd_directory *d, const struct grd_entry *entry)
{
    struct grd_holder holder = {0};
    uint32_t cursor = 0, count = 0;

    while (count < 2 && grd_holder_next(d, entry, &cursor, &holder)) {
        cf_assert_id(!holder.is_pending, "G-14");
        count++;
    }
    if (count == 0)
        return GRD_SUMMARY_FREE;
    if (grd_list_count(d, entry, GRD_LIST_PAST) != 0) {
        d->counters.given_past++;
        return GRD_SUMMARY_PAST;
    }
    if (count > 1) {
        d->counters.given_many++;
        return GRD_SUMMARY_MANY;
    }
    d->counters.given_one++;
    return grd_summary_class(holder.node);
}

/*
 * Without a holder only past images can be left, and those are needed no more: nobody has the write duty, so all is
 * durable. Their holders hear it when they ask.
 */
static uint32_t give_back(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t number = (uint32_t)(entry - d->entries);
    uint8_t code = code_of(d, entry);

    if (grd_mutant(GRD_MUT_COLD_NO_FLOOR))
        entry->last_tenure = 0;

    if (code != GRD_SUMMARY_FREE && grd_bucket_loses(d, entry, true))
        grd_summary_add(&d->summary, d->tags[number], code);
    else if (code == GRD_SUMMARY_FREE)
        d->counters.forgotten++;
    if (code == GRD_SUMMARY_FREE)
        (void)grd_bucket_loses(d, entry, false);
    grd_side_free(d, entry);
    return grd_entry_forget(d, entry);
}

uint32_t grd_cold_entry(struct grd_directory *d)
{
    uint32_t looked, chances = 0;

    for (looked = 0; looked < d->entries_used + CHANCES; looked++) {
        struct grd_entry *entry = &d->entries[d->entry_hand];

        d->entry_hand = d->entry_hand + 1 < d->entries_used ? d->entry_hand + 1 : 0;
        if (!can_go(d, entry))
            continue;
        if (grd_entry_unmark(entry) && chances++ < CHANCES)
            continue;
        return give_back(d, entry);
    }
    return GRD_NONE;
}

/* The same round the side records. */
static bool side_back(struct grd_directory *d, const struct grd_entry *keep)
{
    uint32_t looked, chances = 0;

    for (looked = 0; looked < d->side_pool.fresh + CHANCES; looked++) {
        const struct grd_side *side = &d->sides[d->side_hand];
        struct grd_entry *entry;

        d->side_hand = d->side_hand + 1 < d->side_pool.fresh ? d->side_hand + 1 : 0;
        if (side->entry == GRD_NONE)
            continue;
        entry = &d->entries[side->entry];
        if (entry == keep || !grd_side_is_quiet(side) || (grd_entry_unmark(entry) && chances++ < CHANCES))
            continue;
        d->counters.given_for_room++;
        grd_entry_vacate(d, give_back(d, entry));
        return true;
    }
    return false;
}

bool grd_cold_room(struct grd_directory *d, const struct grd_entry *keep, uint32_t sides, uint32_t chunks)
{
    uint32_t tries;

    for (tries = 0; tries < ROOM_TRIES_MAX; tries++) {
        if (grd_pool_room(&d->side_pool) >= sides && grd_pool_room(&d->chunk_pool) >= chunks)
            return true;
        if (!side_back(d, keep))
            return false;
    }
    return false;
}

struct grd_hint grd_entry_hint(const struct grd_directory *d, uint64_t hash)
{
    return grd_summary_look(&d->summary, grd_entry_tag(d, hash));
}

struct grd_rebuild *grd_rebuild_of(struct grd_directory *d, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(d, entry);

    return side && side->rebuild != GRD_NONE ? &d->rebuilds[side->rebuild] : NULL;
}

bool grd_rebuild_has_room(const struct grd_directory *d, bool is_request)
{
    return grd_pool_room(&d->rebuild_pool) > (is_request ? 0 : d->rebuild_pool.max / 2);
}

struct grd_rebuild *grd_rebuild_begin(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_rebuild *rebuild;
    bool has_room = grd_cold_room(d, entry, 1, 0);
    uint32_t number = grd_pool_take(&d->rebuild_pool);

    cf_assert_id(has_room, "G-12");
    cf_assert_id(number != GRD_NONE, "G-12");
    grd_side_make(d, entry)->rebuild = number;
    rebuild = &d->rebuilds[number];
    memset(rebuild, 0, sizeof *rebuild);
    rebuild->key = entry->key;
    rebuild->in_use = true;
    return rebuild;
}

void grd_rebuild_end(struct grd_directory *d, struct grd_entry *entry, uint64_t hash)
{
    struct grd_side *side = grd_side_of(d, entry);
    const struct grd_rebuild *rebuild = &d->rebuilds[side->rebuild];
    uint32_t tag = grd_entry_tag(d, hash);
    uint8_t code = rebuild->found_count > 1 ? GRD_SUMMARY_MANY : grd_summary_class(rebuild->found);

    d->counters.wrong_positives += rebuild->found_count == 0 && !rebuild->is_unlisted;
    if (!rebuild->is_unlisted && (rebuild->found_count != 0 || grd_mutant(GRD_MUT_COLD_FORGET)))
        d->counters.not_there += !grd_summary_remove(&d->summary, tag, code);
    if (grd_mutant(GRD_MUT_COLD_TWICE))
        (void)grd_summary_remove(&d->summary, tag, code);
    d->rebuilds[side->rebuild].in_use = false;
    grd_pool_give(&d->rebuild_pool, side->rebuild);
    side->rebuild = GRD_NONE;
}
