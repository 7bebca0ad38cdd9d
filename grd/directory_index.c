/* SPDX-License-Identifier: Apache-2.0 */
/*
 * From a key to its entry, and which entry makes room for a new one.
 *
 * Index: slots of eight bytes, { tag, entry }, eight to a cache line; linear probing from tag * slots / 2^32. The
 * tag is made of the caller's keyed hash, which peers cannot steer, and says where a slot belongs: deletion shifts
 * the followers back and looks at nothing but slots, so that no tombstones are left and a directory that has
 * evicted for a year probes as one just filled. A lookup costs one line of the index, at times its neighbour,
 * and the entry. Cuckoo hashing would bound a lookup by two lines and miss both for what is not there; an index by
 * lines with short tags saves three bytes an entry and needs counters of what was displaced.
 *
 * Eviction: an entry that nobody holds and nothing is remembered of is idle, and only idle ones are in a list, linked
 * through the 20 bytes of the holders they do not have. Lookups mark an idle entry; the oldest one goes, but a
 * marked one loses its mark and goes to the end instead: CHANCES times a call, no more, so that an eviction
 * looks at CHANCES + 1 entries at most, however many are held. When none is idle, directory_cold.c gives one back.
 *
 * An evicted entry's last tenure raises the shard's floor, where new entries start: no tenure of a block is ever
 * given twice though its entry is forgotten [G-5].
 */
#include "grd/directory_impl.h"

#define CHANCES 8u
/* Room of an idle entry: links of 32 bits in the tenures of slots 0 and 1, 2 and 3; the mark in the last byte. */
#define LINK_BEFORE 0u
#define LINK_AFTER 2u
#define MARK_AT (sizeof((struct grd_entry *)0)->holder - 1)

static uint64_t home_of(const struct grd_directory *d, uint32_t tag)
{
    return tag * d->slots >> 32;
}

static uint64_t slot_after(const struct grd_directory *d, uint64_t slot)
{
    return slot + 1 == d->slots ? 0 : slot + 1;
}

static uint64_t distance(const struct grd_directory *d, uint64_t from, uint64_t to)
{
    return to >= from ? to - from : to + d->slots - from;
}

static uint32_t number_of(const struct grd_directory *d, const struct grd_entry *entry)
{
    return (uint32_t)(entry - d->entries);
}

static inline struct grd_entry *probe(const struct grd_directory *d, const struct cf_block_key *key,
                                      uint32_t tag)
{
    uint64_t slot = home_of(d, tag), word;

    while ((word = d->index[slot]) != 0) {
        struct grd_entry *entry = &d->entries[(uint32_t)word - 1u];

        if (word >> 32 == tag && grd_key_equal(&entry->key, key))
            return entry;
        slot = slot_after(d, slot);
    }
    return NULL;
}

static void index_add(struct grd_directory *d, uint32_t number, uint32_t tag)
{
    uint64_t slot = home_of(d, tag);

    while (d->index[slot] != 0)
        slot = slot_after(d, slot);
    d->index[slot] = (uint64_t)tag << 32 | (number + 1u);
    d->tags[number] = tag;
}

static void index_remove(struct grd_directory *d, uint32_t number)
{
    uint32_t tag = d->tags[number];
    uint64_t want = (uint64_t)tag << 32 | (number + 1u);
    uint64_t slot = home_of(d, tag), hole;

    while (d->index[slot] != want) {
        cf_assert(d->index[slot] != 0);
        slot = slot_after(d, slot);
    }
    hole = slot;
    while (d->index[slot = slot_after(d, slot)] != 0) {
        uint64_t home = home_of(d, (uint32_t)(d->index[slot] >> 32));

        if (distance(d, home, slot) >= distance(d, hole, slot)) { /* the hole lies on its way from home */
            d->index[hole] = d->index[slot];
            hole = slot;
        }
    }
    d->index[hole] = 0;
}

static uint32_t link_get(const struct grd_entry *entry, uint32_t link)
{
    const uint8_t *at = entry->holder + link * SLOT_BYTES + 2;

    return at[0] | (uint32_t)at[1] << 8 | (uint32_t)at[2] << 16 | (uint32_t)at[SLOT_BYTES] << 24;
}

static void link_set(struct grd_entry *entry, uint32_t link, uint32_t number)
{
    uint8_t *at = entry->holder + link * SLOT_BYTES + 2;

    at[0] = (uint8_t)number;
    at[1] = (uint8_t)(number >> 8);
    at[2] = (uint8_t)(number >> 16);
    at[SLOT_BYTES] = (uint8_t)(number >> 24);
}

static void idle_add(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t number = number_of(d, entry);

    entry->side = SIDE_IDLE;
    entry->holder[MARK_AT] = 0;
    link_set(entry, LINK_BEFORE, d->idle_last);
    link_set(entry, LINK_AFTER, GRD_NONE);
    if (d->idle_last == GRD_NONE)
        d->idle_first = number;
    else
        link_set(&d->entries[d->idle_last], LINK_AFTER, number);
    d->idle_last = number;
    d->idle_count++;
}

static void idle_remove(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t before = link_get(entry, LINK_BEFORE), after = link_get(entry, LINK_AFTER);

    if (before == GRD_NONE)
        d->idle_first = after;
    else
        link_set(&d->entries[before], LINK_AFTER, after);
    if (after == GRD_NONE)
        d->idle_last = before;
    else
        link_set(&d->entries[after], LINK_BEFORE, before);
    memset(entry->holder, 0, sizeof entry->holder);
    entry->side = GRD_NONE;
    d->idle_count--;
}

void grd_entry_rest(struct grd_directory *d, struct grd_entry *entry)
{
    if (entry->side == GRD_NONE && !grd_has_inline(entry))
        idle_add(d, entry);
}

void grd_entry_wake(struct grd_directory *d, struct grd_entry *entry)
{
    if (entry->side == SIDE_IDLE)
        idle_remove(d, entry);
}

uint32_t grd_entry_forget(struct grd_directory *d, struct grd_entry *entry)
{
    index_remove(d, number_of(d, entry));
    if (entry->last_tenure > d->tenure_floor)
        d->tenure_floor = entry->last_tenure;
    return number_of(d, entry);
}

void grd_entry_vacate(struct grd_directory *d, uint32_t number)
{
    struct grd_entry *entry = &d->entries[number];

    entry->side = SIDE_VACANT;
    link_set(entry, LINK_AFTER, d->vacant_first);
    d->vacant_first = number;
    d->vacant_count++;
}

static uint32_t vacant_take(struct grd_directory *d)
{
    uint32_t number = d->vacant_first;

    d->vacant_first = link_get(&d->entries[number], LINK_AFTER);
    d->vacant_count--;
    return number;
}

/* The number of an entry that was idle and is out of the index and of the list. */
static uint32_t evict(struct grd_directory *d)
{
    struct grd_entry *entry = NULL;
    uint32_t looked;

    for (looked = 0; looked <= CHANCES; looked++) {
        entry = &d->entries[d->idle_first];
        if (looked == CHANCES || !entry->holder[MARK_AT])
            break;
        idle_remove(d, entry);
        idle_add(d, entry);
    }
    idle_remove(d, entry);
    (void)grd_bucket_loses(d, entry, false);
    d->counters.forgotten++;
    if (d->idle_first != GRD_NONE) { /* the next one's lines, long before they are needed */
        __builtin_prefetch(&d->entries[d->idle_first], 1);
        __builtin_prefetch(&d->tags[d->idle_first]);
    }
    return grd_entry_forget(d, entry);
}

struct grd_entry *grd_entry_find(struct grd_directory *d, const struct cf_block_key *key, uint64_t hash)
{
    struct grd_entry *entry = probe(d, key, grd_entry_tag(d, hash));

    if (entry && entry->side == SIDE_IDLE)
        entry->holder[MARK_AT] = 1;
    else if (entry)
        grd_entry_mark(entry);
    return entry;
}

/* A number that is out of the index. */
static uint32_t number_take(struct grd_directory *d)
{
    if (d->vacant_first != GRD_NONE)
        return vacant_take(d);
    if (d->entries_used < d->options.entries)
        return d->entries_used++;
    if (d->idle_first != GRD_NONE)
        return evict(d);
    return grd_cold_entry(d);
}

struct grd_entry *grd_entry_get(struct grd_directory *d, const struct cf_block_key *key, uint64_t hash,
                                uint32_t bucket)
{
    struct grd_entry *entry = grd_entry_find(d, key, hash);
    uint32_t number;

    (void)bucket; /* the floor is the shard's: docs/decisions/0009 */
    if (entry)
        return entry;
    number = number_take(d);
    if (number == GRD_NONE)
        return NULL;
    entry = &d->entries[number];
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    entry->last_tenure = d->tenure_floor;
    index_add(d, number, grd_entry_tag(d, hash));
    idle_add(d, entry);
    return entry;
}

void grd_entry_prefetch(const struct grd_directory *d, uint64_t hash)
{
    uint64_t home = home_of(d, grd_entry_tag(d, hash));

    __builtin_prefetch(&d->index[home]);
}

void grd_entry_prefetch_record(const struct grd_directory *d, uint64_t hash)
{
    uint32_t tag = grd_entry_tag(d, hash);
    uint64_t slot = home_of(d, tag), word;

    while ((word = d->index[slot]) != 0) {
        if (word >> 32 == tag) {
            const struct grd_entry *entry = &d->entries[(uint32_t)word - 1u];

            __builtin_prefetch(entry, 1);
            __builtin_prefetch((const char *)(entry + 1) - 1, 1); /* most of them lie in two lines */
            return;
        }
        slot = slot_after(d, slot);
    }
}

void grd_index_check(const struct grd_directory *d)
{
    uint32_t i, number, before = GRD_NONE, idle = 0, vacant = 0;
    uint64_t slot, slots = 0;

    for (i = 0; i < d->entries_used; i++) {
        const struct grd_entry *entry = &d->entries[i];

        vacant += entry->side == SIDE_VACANT;
        if (entry->side == SIDE_VACANT)
            continue;
        cf_assert(probe(d, &entry->key, d->tags[i]) == entry);
        cf_assert((entry->side == SIDE_IDLE) == (entry->side >= SIDE_IDLE && !grd_has_inline(entry)));
        idle += entry->side == SIDE_IDLE;
    }
    for (slot = 0; slot < d->slots; slot++)
        slots += d->index[slot] != 0;
    cf_assert(vacant == d->vacant_count);
    cf_assert(slots == d->entries_used - vacant);
    cf_assert(idle == d->idle_count);
    for (number = d->idle_first; number != GRD_NONE; number = link_get(&d->entries[number], LINK_AFTER)) {
        cf_assert(idle-- > 0);
        cf_assert(d->entries[number].side == SIDE_IDLE);
        cf_assert(link_get(&d->entries[number], LINK_BEFORE) == before);
        before = number;
    }
    cf_assert(idle == 0);
    cf_assert(before == d->idle_last);
}
