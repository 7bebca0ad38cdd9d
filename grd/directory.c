/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store of a shard.
 *
 *   index  64-bit slots { tag, entry }, linear probing from tag * slots / 2^32, deletion by shifting back: a lookup
 *          touches one line of the index and one of the entry. The tag is a mix of the key with the directory's own
 *          seed, so that a slot knows its home and a victim can be taken out without the caller's hash.
 *   entry  56 bytes. An inline holder is five bytes: node and flags, and the low 24 bits of its tenure, which is
 *          read relative to last_tenure; holders that would fall behind by 2^24 tenures move to a chunk in time.
 *   side   what only busy entries have.
 *   chunk  64 bytes: six (node, 64-bit value) pairs and a link. Overflowing holders, sharers, past images.
 *
 * Tenures. An evicted entry's last tenure raises the shard's floor, from which new entries start: no tenure of a
 * resource is ever given twice, though its entry is forgotten.
 */
#include "grd/directory.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"

#define INLINE_HOLDERS 4u
#define SLOT_BYTES 5u
#define W_USED 0x8000u
#define W_X 0x4000u
#define W_DUTY 0x2000u
#define W_PENDING 0x1000u
#define W_NODE 0x03ffu
#define LOW_TENURE 0xffffffull
/* Holders this far behind leave their inline slot; checked every SPILL_PERIOD tenures. */
#define SPILL_AGE (1ull << 23)
#define SPILL_PERIOD (1ull << 20)
#define CHUNK_PAIRS 6u
#define GRD_FREE (UINT32_MAX - 1) /* side of an entry that is in the free list */

struct chunk {
    uint32_t next;
    uint16_t word[CHUNK_PAIRS]; /* W_USED, flags, node */
    uint64_t value[CHUNK_PAIRS];
};
_Static_assert(sizeof(struct chunk) == CF_CACHE_LINE, "a chunk is a line");

enum { LIST_HOLDERS = GRD_LISTS, LISTS_ALL };

struct side {
    uint32_t waiter_first, waiter_last, pending_first, next;
    uint32_t chunks[LISTS_ALL]; /* sharers, past images, holders beyond four */
    uint32_t spare;
    uint64_t durable;
};

struct grd_directory {
    struct grd_directory_options options;
    uint64_t entries_max, slots, chunks_max, sides_max;
    struct grd_entry *entries;
    uint64_t *index; /* 0 = empty, else tag << 32 | entry + 1 */
    uint64_t *ref;   /* a bit an entry: used since the hand passed */
    struct side *sides;
    struct chunk *chunks;
    struct grd_waiter *waiters;
    struct grd_pending *pendings;
    uint32_t entry_free, side_free, chunk_free, waiter_free, pending_free;
    uint64_t entries_used, sides_used, chunks_used, waiters_used, pendings_used;
    uint64_t hand, evictions, tenure_floor, bytes;
    uint8_t *memory;
};

/* ------------------------------------------------------------------ sizes */

struct sizes {
    uint64_t entries, index, ref, sides, chunks, waiters, pendings, total;
    uint64_t slots, sides_max, chunks_max;
};

static uint64_t lines(uint64_t bytes)
{
    return (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE;
}

/*
 * Chunks in the worst case. Overflowing holders: an entry needs a chunk from its fifth holder on, so five holders
 * buy one chunk and every six more another. Sharers exist only for a pending X: each was a holder, one list a
 * conversation. Past images: one list an entry that has any. A partly filled chunk a list is the rounding.
 */
static struct sizes sizes_of(const struct grd_directory_options *o)
{
    struct sizes s;
    uint64_t sharer_lists = o->conversations < o->entries ? o->conversations : o->entries;

    s.slots = o->entries + o->entries / 3 + 16;
    s.chunks_max = o->holders / 5 + o->holders / CHUNK_PAIRS + sharer_lists + o->past_images + 64;
    s.sides_max = o->holders / 5 + 2 * o->conversations + o->past_images + 64;
    if (s.sides_max > o->entries)
        s.sides_max = o->entries;
    s.entries = lines(o->entries * sizeof(struct grd_entry));
    s.index = lines(s.slots * sizeof(uint64_t));
    s.ref = lines((o->entries + 63) / 64 * sizeof(uint64_t));
    s.sides = lines(s.sides_max * sizeof(struct side));
    s.chunks = lines(s.chunks_max * sizeof(struct chunk));
    s.waiters = lines(o->conversations * sizeof(struct grd_waiter));
    s.pendings = lines(o->conversations * sizeof(struct grd_pending));
    s.total = lines(sizeof(struct grd_directory)) + s.entries + s.index + s.ref + s.sides + s.chunks + s.waiters + s.pendings;
    return s;
}

uint64_t grd_directory_size(const struct grd_directory_options *options)
{
    return sizes_of(options).total;
}

enum cf_rc grd_directory_open(const struct grd_directory_options *options, struct grd_directory **directory_out)
{
    struct sizes s = sizes_of(options);
    uint8_t *at = cf_alloc(options->allocator, s.total, CF_CACHE_LINE, CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    struct grd_directory *d = (struct grd_directory *)(void *)at;
    uint64_t i;

    if (at == NULL)
        return CF_MEMORY;
    cf_assert(options->entries < GRD_FREE && s.chunks_max < GRD_FREE && options->conversations < GRD_FREE);
    d->memory = at;
    d->bytes = s.total;
    d->options = *options;
    d->entries_max = options->entries;
    d->slots = s.slots;
    d->chunks_max = s.chunks_max;
    d->sides_max = s.sides_max;
    at += lines(sizeof *d);
    d->entries = (struct grd_entry *)(void *)at;
    at += s.entries;
    d->index = (uint64_t *)(void *)at;
    at += s.index;
    d->ref = (uint64_t *)(void *)at;
    at += s.ref;
    d->sides = (struct side *)(void *)at;
    at += s.sides;
    d->chunks = (struct chunk *)(void *)at;
    at += s.chunks;
    d->waiters = (struct grd_waiter *)(void *)at;
    at += s.waiters;
    d->pendings = (struct grd_pending *)(void *)at;
    for (i = 0; i < d->entries_max; i++) {
        d->entries[i].side = GRD_FREE;
        d->entries[i].last_tenure = i + 1 < d->entries_max ? i + 1 : GRD_NONE;
    }
    for (i = 0; i < d->sides_max; i++)
        d->sides[i].next = i + 1 < d->sides_max ? (uint32_t)i + 1 : GRD_NONE;
    for (i = 0; i < d->chunks_max; i++)
        d->chunks[i].next = i + 1 < d->chunks_max ? (uint32_t)i + 1 : GRD_NONE;
    for (i = 0; i < options->conversations; i++) {
        d->waiters[i].next = i + 1 < options->conversations ? (uint32_t)i + 1 : GRD_NONE;
        d->pendings[i].next = i + 1 < options->conversations ? (uint32_t)i + 1 : GRD_NONE;
    }
    if (options->conversations == 0)
        d->waiter_free = d->pending_free = GRD_NONE;
    *directory_out = d;
    return CF_OK;
}

void grd_directory_close(struct grd_directory **directory)
{
    struct grd_directory *d = *directory;

    if (d == NULL)
        return;
    cf_free(d->options.allocator, d->memory, d->bytes);
    *directory = NULL;
}

uint64_t grd_directory_entries(const struct grd_directory *d)
{
    return d->entries_used;
}

uint64_t grd_directory_evictions(const struct grd_directory *d)
{
    return d->evictions;
}

uint64_t grd_directory_bytes(const struct grd_directory *d)
{
    return d->bytes;
}

/* ------------------------------------------------------------------ index */

static uint32_t tag_of(const struct grd_directory *d, const struct cf_block_key *key)
{
    uint64_t name = cf_mix64(key->block, d->options.seed);

    return (uint32_t)(cf_mix64(name ^ ((uint64_t)key->generation << 32 | key->file), d->options.seed) >> 32);
}

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

static void index_remove(struct grd_directory *d, const struct grd_entry *entry)
{
    uint32_t tag = tag_of(d, &entry->key);
    uint64_t want = (uint64_t)tag << 32 | (uint64_t)(entry - d->entries + 1);
    uint64_t slot = home_of(d, tag), hole;

    while (d->index[slot] != want)
        slot = slot_after(d, slot);
    for (hole = slot;;) {
        uint64_t home;

        slot = slot_after(d, slot);
        if (d->index[slot] == 0)
            break;
        home = home_of(d, (uint32_t)(d->index[slot] >> 32));
        if (distance(d, home, slot) >= distance(d, hole, slot)) { /* the hole lies on its way from home */
            d->index[hole] = d->index[slot];
            hole = slot;
        }
    }
    d->index[hole] = 0;
}

struct grd_entry *grd_entry_find(struct grd_directory *d, const struct cf_block_key *key, uint64_t hash)
{
    uint32_t tag = tag_of(d, key);
    uint64_t slot = home_of(d, tag), word;

    (void)hash;
    while ((word = d->index[slot]) != 0) {
        if ((uint32_t)(word >> 32) == tag) {
            uint64_t number = (uint32_t)word - 1u;

            if (grd_key_equal(&d->entries[number].key, key)) {
                d->ref[number / 64] |= 1ull << (number % 64);
                return &d->entries[number];
            }
        }
        slot = slot_after(d, slot);
    }
    return NULL;
}

static uint16_t inline_word(const struct grd_entry *entry, uint32_t i)
{
    uint16_t word;

    memcpy(&word, entry->holder + i * SLOT_BYTES, sizeof word);
    return word;
}

static bool is_idle(const struct grd_entry *entry)
{
    uint32_t i;

    if (entry->side != GRD_NONE)
        return false;
    for (i = 0; i < INLINE_HOLDERS; i++)
        if (inline_word(entry, i) & W_USED)
            return false;
    return true;
}

/* Second chance. The budget covers every entry that can be in use, so that there is always one that is not. */
static void evict(struct grd_directory *d)
{
    uint64_t looked;

    for (looked = 0; looked < 2 * d->entries_max + 1; looked++) {
        uint64_t number = d->hand++ % d->entries_max;
        struct grd_entry *entry = &d->entries[number];

        if (entry->side == GRD_FREE || !is_idle(entry))
            continue;
        if (d->ref[number / 64] >> (number % 64) & 1) {
            d->ref[number / 64] &= ~(1ull << (number % 64));
            continue;
        }
        index_remove(d, entry);
        if (entry->last_tenure > d->tenure_floor)
            d->tenure_floor = entry->last_tenure;
        entry->side = GRD_FREE;
        entry->last_tenure = d->entry_free;
        d->entry_free = (uint32_t)number;
        d->entries_used--;
        d->evictions++;
        return;
    }
    cf_unreachable();
}

struct grd_entry *grd_entry_get(struct grd_directory *d, const struct cf_block_key *key, uint64_t hash, uint32_t bucket)
{
    struct grd_entry *entry = grd_entry_find(d, key, hash);
    uint32_t tag, number;
    uint64_t slot;

    (void)bucket;
    if (entry)
        return entry;
    if (d->entry_free == GRD_NONE)
        evict(d);
    number = d->entry_free;
    entry = &d->entries[number];
    d->entry_free = (uint32_t)entry->last_tenure;
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    entry->side = GRD_NONE;
    entry->last_tenure = d->tenure_floor;
    tag = tag_of(d, key);
    slot = home_of(d, tag);
    while (d->index[slot] != 0)
        slot = slot_after(d, slot);
    d->index[slot] = (uint64_t)tag << 32 | (number + 1u);
    d->ref[number / 64] |= 1ull << (number % 64);
    d->entries_used++;
    return entry;
}

/* ------------------------------------------------------------------ side records and chunks */

static struct side *side_of(const struct grd_directory *d, const struct grd_entry *entry)
{
    return entry->side == GRD_NONE ? NULL : &d->sides[entry->side];
}

static struct side *side_make(struct grd_directory *d, struct grd_entry *entry)
{
    struct side *side = side_of(d, entry);
    uint32_t i, number = d->side_free;

    if (side)
        return side;
    cf_assert(number != GRD_NONE);
    side = &d->sides[number];
    d->side_free = side->next;
    d->sides_used++;
    side->waiter_first = side->waiter_last = side->pending_first = GRD_NONE;
    for (i = 0; i < LISTS_ALL; i++)
        side->chunks[i] = GRD_NONE;
    side->durable = 0;
    entry->side = number;
    return side;
}

void grd_entry_settle(struct grd_directory *d, struct grd_entry *entry)
{
    struct side *side = side_of(d, entry);
    uint32_t i;

    if (side == NULL || side->waiter_first != GRD_NONE || side->pending_first != GRD_NONE)
        return;
    for (i = 0; i < LISTS_ALL; i++)
        if (side->chunks[i] != GRD_NONE)
            return;
    side->next = d->side_free;
    d->side_free = entry->side;
    d->sides_used--;
    entry->side = GRD_NONE;
}

static bool pair_at(const struct grd_directory *d, uint32_t head, uint16_t node, struct chunk **chunk_out, uint32_t *at_out)
{
    uint32_t i;

    for (; head != GRD_NONE; head = d->chunks[head].next)
        for (i = 0; i < CHUNK_PAIRS; i++)
            if ((d->chunks[head].word[i] & (W_USED | W_NODE)) == (W_USED | node)) {
                *chunk_out = &d->chunks[head];
                *at_out = i;
                return true;
            }
    return false;
}

static void pair_add(struct grd_directory *d, uint32_t *head, uint16_t word, uint64_t value)
{
    uint32_t number = *head, i;
    struct chunk *chunk;

    if (number != GRD_NONE) /* pairs are kept dense: only the first chunk may have room */
        for (i = 0; i < CHUNK_PAIRS; i++)
            if (!(d->chunks[number].word[i] & W_USED)) {
                d->chunks[number].word[i] = word | W_USED;
                d->chunks[number].value[i] = value;
                return;
            }
    number = d->chunk_free;
    cf_assert(number != GRD_NONE);
    chunk = &d->chunks[number];
    d->chunk_free = chunk->next;
    d->chunks_used++;
    memset(chunk, 0, sizeof *chunk);
    chunk->next = *head;
    chunk->word[0] = word | W_USED;
    chunk->value[0] = value;
    *head = number;
}

/* The last pair of the first chunk fills the hole, so that all chunks but the first stay full. */
static void pair_remove(struct grd_directory *d, uint32_t *head, struct chunk *chunk, uint32_t at)
{
    struct chunk *first = &d->chunks[*head];
    uint32_t last = CHUNK_PAIRS - 1, number = *head;

    while (!(first->word[last] & W_USED))
        last--;
    chunk->word[at] = first->word[last];
    chunk->value[at] = first->value[last];
    first->word[last] = 0;
    if (last == 0) {
        *head = first->next;
        first->next = d->chunk_free;
        d->chunk_free = number;
        d->chunks_used--;
    }
}

/* cursor = chunk's place in the chain * CHUNK_PAIRS + pair, plus one. */
static bool pair_next(const struct grd_directory *d, uint32_t head, uint32_t *cursor, uint16_t *word_out, uint64_t *value_out)
{
    uint32_t chunk = *cursor / CHUNK_PAIRS, at = *cursor % CHUNK_PAIRS;

    while (chunk-- > 0 && head != GRD_NONE)
        head = d->chunks[head].next;
    for (; head != GRD_NONE; head = d->chunks[head].next, at = 0)
        for (; at < CHUNK_PAIRS; at++) {
            ++*cursor;
            if (d->chunks[head].word[at] & W_USED) {
                *word_out = d->chunks[head].word[at];
                *value_out = d->chunks[head].value[at];
                return true;
            }
        }
    return false;
}

/* ------------------------------------------------------------------ holders */

static uint64_t inline_tenure(const struct grd_entry *entry, uint32_t i)
{
    const uint8_t *low = entry->holder + i * SLOT_BYTES + 2;
    uint64_t tenure = low[0] | (uint64_t)low[1] << 8 | (uint64_t)low[2] << 16;

    return entry->last_tenure - ((entry->last_tenure - tenure) & LOW_TENURE);
}

static void inline_set(struct grd_entry *entry, uint32_t i, uint16_t word, uint64_t tenure)
{
    uint8_t *slot = entry->holder + i * SLOT_BYTES;

    memcpy(slot, &word, sizeof word);
    slot[2] = (uint8_t)tenure;
    slot[3] = (uint8_t)(tenure >> 8);
    slot[4] = (uint8_t)(tenure >> 16);
}

static uint16_t holder_word(const struct grd_holder *holder)
{
    return (uint16_t)(W_USED | holder->node | (holder->is_x ? W_X : 0u) | (holder->has_duty ? W_DUTY : 0u) |
                      (holder->is_pending ? W_PENDING : 0u));
}

static void holder_read(uint16_t word, uint64_t tenure, struct grd_holder *holder_out)
{
    holder_out->node = word & W_NODE;
    holder_out->is_x = (word & W_X) != 0;
    holder_out->has_duty = (word & W_DUTY) != 0;
    holder_out->is_pending = (word & W_PENDING) != 0;
    holder_out->tenure = tenure;
}

uint64_t grd_entry_tenure(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t i;

    if (entry->last_tenure % SPILL_PERIOD == SPILL_PERIOD - 1)
        for (i = 0; i < INLINE_HOLDERS; i++) {
            uint16_t word = inline_word(entry, i);
            uint64_t tenure = inline_tenure(entry, i);

            if ((word & W_USED) && entry->last_tenure - tenure >= SPILL_AGE) {
                pair_add(d, &side_make(d, entry)->chunks[LIST_HOLDERS], word, tenure);
                inline_set(entry, i, 0, 0);
            }
        }
    return ++entry->last_tenure;
}

static int inline_find(const struct grd_entry *entry, uint16_t node)
{
    uint32_t i;

    for (i = 0; i < INLINE_HOLDERS; i++)
        if ((inline_word(entry, i) & (W_USED | W_NODE)) == (W_USED | node))
            return (int)i;
    return -1;
}

uint32_t grd_holders_count(const struct grd_directory *d, const struct grd_entry *entry)
{
    struct grd_holder holder;
    uint32_t cursor = 0, count = 0;

    while (grd_holder_next(d, entry, &cursor, &holder))
        count++;
    return count;
}

bool grd_holder_find(const struct grd_directory *d, const struct grd_entry *entry, uint16_t node, struct grd_holder *holder_out)
{
    const struct side *side = side_of(d, entry);
    int i = inline_find(entry, node);
    struct chunk *chunk;
    uint32_t at;

    if (i >= 0) {
        holder_read(inline_word(entry, (uint32_t)i), inline_tenure(entry, (uint32_t)i), holder_out);
        return true;
    }
    if (side == NULL || !pair_at(d, side->chunks[LIST_HOLDERS], node, &chunk, &at))
        return false;
    holder_read(chunk->word[at], chunk->value[at], holder_out);
    return true;
}

void grd_holder_set(struct grd_directory *d, struct grd_entry *entry, const struct grd_holder *holder)
{
    struct side *side = side_of(d, entry);
    int i = inline_find(entry, holder->node);
    struct chunk *chunk;
    uint32_t at;

    cf_assert(holder->node < CF_NODES_MAX && holder->tenure <= entry->last_tenure);
    if (i < 0 && side && pair_at(d, side->chunks[LIST_HOLDERS], holder->node, &chunk, &at)) {
        chunk->word[at] = holder_word(holder);
        chunk->value[at] = holder->tenure;
        return;
    }
    for (at = 0; i < 0 && at < INLINE_HOLDERS; at++)
        if (!(inline_word(entry, at) & W_USED))
            i = (int)at;
    if (i >= 0 && entry->last_tenure - holder->tenure < SPILL_AGE)
        inline_set(entry, (uint32_t)i, holder_word(holder), holder->tenure);
    else
        pair_add(d, &side_make(d, entry)->chunks[LIST_HOLDERS], holder_word(holder), holder->tenure);
}

bool grd_holder_remove(struct grd_directory *d, struct grd_entry *entry, uint16_t node)
{
    struct side *side = side_of(d, entry);
    int i = inline_find(entry, node);
    struct chunk *chunk;
    uint32_t at;

    if (i >= 0) {
        inline_set(entry, (uint32_t)i, 0, 0);
        return true;
    }
    if (side == NULL || !pair_at(d, side->chunks[LIST_HOLDERS], node, &chunk, &at))
        return false;
    pair_remove(d, &side->chunks[LIST_HOLDERS], chunk, at);
    return true;
}

bool grd_holder_next(const struct grd_directory *d, const struct grd_entry *entry, uint32_t *cursor, struct grd_holder *holder_out)
{
    const struct side *side = side_of(d, entry);
    uint32_t at;
    uint16_t word;
    uint64_t tenure;

    while (*cursor < INLINE_HOLDERS) {
        uint32_t i = (*cursor)++;

        if (inline_word(entry, i) & W_USED) {
            holder_read(inline_word(entry, i), inline_tenure(entry, i), holder_out);
            return true;
        }
    }
    if (side == NULL)
        return false;
    at = *cursor - INLINE_HOLDERS;
    if (!pair_next(d, side->chunks[LIST_HOLDERS], &at, &word, &tenure))
        return false;
    *cursor = at + INLINE_HOLDERS;
    holder_read(word, tenure, holder_out);
    return true;
}

/* ------------------------------------------------------------------ waiters and pending grants */

struct grd_waiter *grd_waiter_first(struct grd_directory *d, struct grd_entry *entry)
{
    const struct side *side = side_of(d, entry);

    return side && side->waiter_first != GRD_NONE ? &d->waiters[side->waiter_first] : NULL;
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
    uint32_t number = d->waiter_free;
    struct side *side;

    if (number == GRD_NONE)
        return NULL;
    side = side_make(d, entry);
    d->waiter_free = d->waiters[number].next;
    d->waiters_used++;
    d->waiters[number].next = GRD_NONE;
    if (side->waiter_first == GRD_NONE)
        side->waiter_first = number;
    else
        d->waiters[side->waiter_last].next = number;
    side->waiter_last = number;
    return &d->waiters[number];
}

void grd_waiter_remove(struct grd_directory *d, struct grd_entry *entry, struct grd_waiter *waiter)
{
    struct side *side = side_of(d, entry);
    uint32_t number = (uint32_t)(waiter - d->waiters), at = side->waiter_first, before = GRD_NONE;

    while (at != number) {
        before = at;
        at = d->waiters[at].next;
    }
    if (before == GRD_NONE)
        side->waiter_first = waiter->next;
    else
        d->waiters[before].next = waiter->next;
    if (side->waiter_last == number)
        side->waiter_last = before;
    waiter->next = d->waiter_free;
    d->waiter_free = number;
    d->waiters_used--;
}

struct grd_pending *grd_pending_first(struct grd_directory *d, const struct grd_entry *entry)
{
    const struct side *side = side_of(d, entry);

    return side && side->pending_first != GRD_NONE ? &d->pendings[side->pending_first] : NULL;
}

struct grd_pending *grd_pending_next(struct grd_directory *d, const struct grd_pending *pending)
{
    return pending->next == GRD_NONE ? NULL : &d->pendings[pending->next];
}

struct grd_pending *grd_pending_of(struct grd_directory *d, const struct grd_entry *entry, uint16_t node)
{
    struct grd_pending *pending = grd_pending_first(d, entry);

    while (pending && pending->node != node)
        pending = grd_pending_next(d, pending);
    return pending;
}

struct grd_pending *grd_pending_add(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t number = d->pending_free;
    struct side *side;

    if (number == GRD_NONE)
        return NULL;
    side = side_make(d, entry);
    d->pending_free = d->pendings[number].next;
    d->pendings_used++;
    d->pendings[number].next = side->pending_first;
    side->pending_first = number;
    return &d->pendings[number];
}

void grd_pending_remove(struct grd_directory *d, struct grd_entry *entry, struct grd_pending *pending)
{
    struct side *side = side_of(d, entry);
    uint32_t number = (uint32_t)(pending - d->pendings), *link = &side->pending_first;

    while (*link != number)
        link = &d->pendings[*link].next;
    *link = pending->next;
    pending->next = d->pending_free;
    d->pending_free = number;
    d->pendings_used--;
}

/* ------------------------------------------------------------------ lists, durable version */

bool grd_list_find(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list, uint16_t node, uint64_t *value_out)
{
    const struct side *side = side_of(d, entry);
    struct chunk *chunk;
    uint32_t at;

    if (side == NULL || !pair_at(d, side->chunks[list], node, &chunk, &at))
        return false;
    *value_out = chunk->value[at];
    return true;
}

void grd_list_set(struct grd_directory *d, struct grd_entry *entry, enum grd_list list, uint16_t node, uint64_t value)
{
    struct side *side = side_make(d, entry);
    struct chunk *chunk;
    uint32_t at;

    if (pair_at(d, side->chunks[list], node, &chunk, &at))
        chunk->value[at] = value;
    else
        pair_add(d, &side->chunks[list], node, value);
}

bool grd_list_remove(struct grd_directory *d, struct grd_entry *entry, enum grd_list list, uint16_t node)
{
    struct side *side = side_of(d, entry);
    struct chunk *chunk;
    uint32_t at;

    if (side == NULL || !pair_at(d, side->chunks[list], node, &chunk, &at))
        return false;
    pair_remove(d, &side->chunks[list], chunk, at);
    return true;
}

void grd_list_clear(struct grd_directory *d, struct grd_entry *entry, enum grd_list list)
{
    struct side *side = side_of(d, entry);
    uint32_t number;

    if (side == NULL)
        return;
    while ((number = side->chunks[list]) != GRD_NONE) {
        side->chunks[list] = d->chunks[number].next;
        d->chunks[number].next = d->chunk_free;
        d->chunk_free = number;
        d->chunks_used--;
    }
}

bool grd_list_next(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list, uint32_t *cursor, struct grd_pair *pair_out)
{
    const struct side *side = side_of(d, entry);
    uint16_t word;

    if (side == NULL || !pair_next(d, side->chunks[list], cursor, &word, &pair_out->value))
        return false;
    pair_out->node = word & W_NODE;
    return true;
}

uint32_t grd_list_count(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list)
{
    struct grd_pair pair;
    uint32_t cursor = 0, count = 0;

    while (grd_list_next(d, entry, list, &cursor, &pair))
        count++;
    return count;
}

uint64_t grd_entry_durable(const struct grd_directory *d, const struct grd_entry *entry)
{
    const struct side *side = side_of(d, entry);

    return side ? side->durable : 0;
}

void grd_entry_durable_raise(struct grd_directory *d, struct grd_entry *entry, uint64_t durable)
{
    struct side *side = side_of(d, entry);

    if (side && side->durable < durable)
        side->durable = durable;
}

/* ------------------------------------------------------------------ inspection */

void grd_directory_each(struct grd_directory *d, void (*each)(void *arg, struct grd_entry *entry), void *arg)
{
    uint64_t i;

    for (i = 0; i < d->entries_max; i++)
        if (d->entries[i].side != GRD_FREE)
            each(arg, &d->entries[i]);
}

uint64_t grd_directory_leaks(const struct grd_directory *d, char *text, size_t text_bytes)
{
    uint64_t leaks = d->waiters_used + d->pendings_used;

    if (leaks)
        snprintf(text, text_bytes, "directory: %" PRIu64 " waiters, %" PRIu64 " pending grants", d->waiters_used, d->pendings_used);
    return leaks;
}

void grd_directory_check(const struct grd_directory *d)
{
    uint64_t i, live = 0, slots = 0, sides = 0;

    for (i = 0; i < d->entries_max; i++) {
        const struct grd_entry *entry = &d->entries[i];

        if (entry->side == GRD_FREE)
            continue;
        live++;
        sides += entry->side != GRD_NONE;
        cf_assert(grd_entry_find((struct grd_directory *)(uintptr_t)d, &entry->key, 0) == entry);
    }
    for (i = 0; i < d->slots; i++)
        slots += d->index[i] != 0;
    cf_assert(live == d->entries_used);
    cf_assert(slots == live);
    cf_assert(sides == d->sides_used);
}

void grd_entry_dump(const struct grd_directory *d, const struct grd_entry *entry, FILE *out)
{
    struct grd_holder holder;
    uint32_t cursor = 0;

    fprintf(out, "entry file %" PRIu32 " block %" PRIu64 " last tenure %" PRIu64 " version %" PRIu64 "\n", entry->key.file,
            entry->key.block, entry->last_tenure, entry->version);
    while (grd_holder_next(d, entry, &cursor, &holder))
        fprintf(out, "  node %u %s tenure %" PRIu64 "%s%s\n", holder.node, holder.is_x ? "X" : "S", holder.tenure,
                holder.is_pending ? " pending" : "", holder.has_duty ? " duty" : "");
}
