/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DIRECTORY_IMPL_H
#define GRD_DIRECTORY_IMPL_H

/*
 * Private to grd/directory*.c, and to steps of the master that look at one side record again and again: the records, their
 * pools, and what the files give each other.
 */
#include <string.h>

#include "base/assert.h"
#include "base/hash.h"
#include "grd/directory.h"

#define HOLDERS_INLINE 4u
#define SLOT_BYTES 5u
#define CHUNK_PAIRS 6u
#define CURSOR_PAIRS 8u /* a cursor in a chain is (chunk + 1) * CURSOR_PAIRS + next pair */
#define CHUNKS_MAX (UINT32_MAX / CURSOR_PAIRS - 2)

/* A holder's word; pairs of lists have W_USED and the node. */
#define W_USED 0x8000u
#define W_X 0x4000u
#define W_DUTY 0x2000u
#define W_PENDING 0x1000u
#define W_MARK 0x0800u /* in the first inline word: the entry was looked up since the hand passed */
#define W_NODE 0x03ffu
_Static_assert(CF_NODES_MAX - 1 <= W_NODE, "a node fits the word");

/*
 * An inline holder has 24 bits for how far its tenure is behind the entry's. Whoever is SPILL_AGE behind is moved
 * to a chunk, looked for every SPILL_PERIOD tenures: no difference reaches SPILL_AGE + SPILL_PERIOD < 2^24.
 */
#define SPILL_AGE (UINT64_C(1) << 23)
#define SPILL_PERIOD (UINT64_C(1) << 20)

/*
 * Values of grd_entry.side that are no side record; an idle entry has neither holders nor a side record, a vacant one
 * is out of the index.
 */
#define SIDE_IDLE (UINT32_MAX - 1)
#define SIDE_VACANT (UINT32_MAX - 2)
#define ENTRIES_MAX (SIDE_VACANT - 1)

struct grd_chunk {
    uint32_t next;
    uint16_t word[CHUNK_PAIRS];
    uint64_t value[CHUNK_PAIRS];
};
_Static_assert(sizeof(struct grd_chunk) == CF_CACHE_LINE, "a chunk is a line");

/* Chains of chunks of a side record: the two public lists, and the holders that are not inline. */
#define CHAIN_HOLDERS ((uint32_t)GRD_LISTS)
#define CHAINS (GRD_LISTS + 1u)

/*
 * Chunks that one grant can need: a new holder, a holder that grew old, a past image, and the sharers of an X. Those
 * come one by one out of the list of holders (master.c), so that beyond the four inline ones each leaves the room it needs.
 */
#define GRANT_CHUNKS_MAX 8u
/* Chunks of an entry that all instances hold, or have held, at the worst. */
#define WIDEST_CHUNKS(nodes) (3u * (((nodes) + CHUNK_PAIRS - 1) / CHUNK_PAIRS) + GRANT_CHUNKS_MAX)

struct grd_side {
    uint32_t waiter_first, waiter_last, pending_first;
    uint32_t chain[CHAINS]; /* first chunk, or GRD_NONE; all chunks but the first are full */
    uint32_t rebuild;       /* number of the rebuild under way, or GRD_NONE; of a free record: the next one */
    uint32_t entry;         /* whose it is; GRD_NONE: free */
    uint64_t durable;
};

/* Records of one kind: those never taken come last, those given back first. */
struct grd_pool {
    uint8_t *base;    /* [const] */
    uint32_t bytes;   /* [const] of a record */
    uint32_t next_at; /* [const] where a free record keeps the number of the next */
    uint32_t max;     /* [const] */
    uint32_t used;
    uint32_t fresh; /* records from here on were never taken */
    uint32_t free;  /* first record given back, or GRD_NONE */
};

struct grd_directory {
    struct grd_directory_options options; /* [const] */
    uint64_t slots;                       /* [const] of the index */
    uint64_t *index;                      /* 0 = empty, else tag << 32 | entry + 1 */
    uint32_t *tags; /* of each entry, so that a victim can be taken out without its hash */
    struct grd_entry *entries;
    struct grd_side *sides;
    struct grd_chunk *chunks;
    struct grd_waiter *waiters;
    struct grd_pending *pendings;
    struct grd_rebuild *rebuilds;
    struct grd_summary summary;
    struct grd_pool side_pool, chunk_pool, waiter_pool, pending_pool, rebuild_pool;
    uint32_t chunks_used[CHAINS];
    uint32_t entries_used; /* those below are in the index, or vacant */
    uint32_t vacant_first; /* linked through the room of their holders */
    uint32_t vacant_count;
    uint32_t entry_hand, side_hand; /* where the search for a cold entry goes on */
    uint32_t idle_first, idle_last; /* oldest first, linked through the room of their holders */
    uint32_t idle_count;
    uint64_t tenure_floor;  /* highest last_tenure of any evicted entry */
    uint64_t tenure_last;   /* highest tenure given */
    uint8_t *bucket_states; /* [buckets] GRD_BUCKET_*; NULL: not movable */
    uint32_t buckets_moved; /* of these, not 0 */
    struct grd_directory_counters counters;
    uint64_t bytes; /* [const] */
};

/* GRD_NONE: all are taken. */
static inline uint32_t grd_pool_take(struct grd_pool *pool)
{
    uint32_t number = pool->free;

    if (number != GRD_NONE) {
        memcpy(&pool->free, pool->base + (size_t)number * pool->bytes + pool->next_at, sizeof pool->free);
    } else if (pool->fresh < pool->max) {
        number = pool->fresh++;
    } else {
        return GRD_NONE;
    }
    pool->used++;
    return number;
}

static inline void grd_pool_give(struct grd_pool *pool, uint32_t number)
{
    memcpy(pool->base + (size_t)number * pool->bytes + pool->next_at, &pool->free, sizeof pool->free);
    pool->free = number;
    pool->used--;
}

static inline uint32_t grd_pool_room(const struct grd_pool *pool)
{
    return pool->max - pool->used;
}

static inline uint16_t grd_inline_word(const struct grd_entry *entry, uint32_t i)
{
    uint16_t word;

    memcpy(&word, entry->holder + i * SLOT_BYTES, sizeof word);
    return word;
}

static inline bool grd_has_inline(const struct grd_entry *entry)
{
    uint32_t i, all = 0;

    for (i = 0; i < HOLDERS_INLINE; i++)
        all |= grd_inline_word(entry, i);
    return (all & W_USED) != 0;
}

/* The word of the first slot keeps the mark also when no holder is there. */
static inline void grd_inline_word_set(struct grd_entry *entry, uint16_t word)
{
    memcpy(entry->holder, &word, sizeof word);
}

static inline void grd_entry_mark(struct grd_entry *entry)
{
    uint16_t word = grd_inline_word(entry, 0);

    if (!(word & W_MARK)) /* most often it is marked, and the line stays clean */
        grd_inline_word_set(entry, word | W_MARK);
}

static inline bool grd_entry_unmark(struct grd_entry *entry)
{
    uint16_t word = grd_inline_word(entry, 0);

    grd_inline_word_set(entry, (uint16_t)(word & ~W_MARK));
    return (word & W_MARK) != 0;
}

/* What of a keyed hash the index and the summary go by. */
static inline uint32_t grd_entry_tag(const struct grd_directory *directory, uint64_t hash)
{
    return (uint32_t)(cf_mix64(hash, directory->options.seed) >> 32);
}

static inline struct grd_side *grd_side_of(const struct grd_directory *directory,
                                           const struct grd_entry *entry)
{
    return entry->side >= SIDE_VACANT ? NULL : &directory->sides[entry->side];
}

/* What a side record leads to; side may be NULL. */
static inline struct grd_waiter *grd_side_waiter(const struct grd_directory *directory,
                                                 const struct grd_side *side)
{
    return side && side->waiter_first != GRD_NONE ? &directory->waiters[side->waiter_first] : NULL;
}

static inline struct grd_pending *grd_side_pending(const struct grd_directory *directory,
                                                   const struct grd_side *side)
{
    return side && side->pending_first != GRD_NONE ? &directory->pendings[side->pending_first] : NULL;
}

static inline struct grd_pending *grd_side_pending_of(const struct grd_directory *directory,
                                                      const struct grd_side *side, uint16_t node)
{
    struct grd_pending *pending = grd_side_pending(directory, side);

    while (pending && pending->node != node)
        pending = pending->next == GRD_NONE ? NULL : &directory->pendings[pending->next];
    return pending;
}

static inline bool grd_side_lists(const struct grd_side *side, enum grd_list list)
{
    return side && side->chain[list] != GRD_NONE;
}

/* directory_index.c: to the idle list if nothing is kept of the entry; out of it before something is. */
void grd_entry_rest(struct grd_directory *directory, struct grd_entry *entry);
void grd_entry_wake(struct grd_directory *directory, struct grd_entry *entry);
void grd_index_check(const struct grd_directory *directory);

/* Out of the index; the floor is at least its tenures. The number is free to use. */
uint32_t grd_entry_forget(struct grd_directory *directory, struct grd_entry *entry);
void grd_entry_vacate(struct grd_directory *directory, uint32_t number);

/* directory_move.c: an entry goes for want of room. False: the summary need not know it. */
bool grd_bucket_loses(struct grd_directory *directory, const struct grd_entry *entry, bool is_held);
/* directory_cold.c: gives a cold entry back to its holders; its number is out of the index. GRD_NONE: none can go. */
uint32_t grd_cold_entry(struct grd_directory *directory);
/* Makes room in the pools by giving entries back, `keep` excepted. False: what is left is all in use. */
bool grd_cold_room(struct grd_directory *directory, const struct grd_entry *keep, uint32_t sides,
                   uint32_t chunks);
/* Its side record is nothing that a conversation needs. */
static inline bool grd_side_is_quiet(const struct grd_side *side)
{
    return side->waiter_first == GRD_NONE && side->pending_first == GRD_NONE && side->rebuild == GRD_NONE;
}

/* directory_side.c. Taking asserts that there is room: who begins something new has looked (grd_side_fits). */
bool grd_side_fits(struct grd_directory *directory, const struct grd_entry *entry);
void grd_side_free(struct grd_directory *directory, struct grd_entry *entry);
struct grd_side *grd_side_new(struct grd_directory *directory, struct grd_entry *entry);
static inline struct grd_side *grd_side_make(struct grd_directory *directory, struct grd_entry *entry)
{
    struct grd_side *side = grd_side_of(directory, entry);

    return side ? side : grd_side_new(directory, entry);
}

static inline bool grd_side_is_empty(const struct grd_side *side)
{
    for (uint32_t i = 0; i < CHAINS; i++)
        if (side->chain[i] != GRD_NONE)
            return false;
    return grd_side_is_quiet(side);
}
bool grd_chain_find(const struct grd_directory *directory, uint32_t first, uint16_t node,
                    struct grd_chunk **chunk_out, uint32_t *at_out);
void grd_chain_add(struct grd_directory *directory, struct grd_side *side, uint32_t chain, uint16_t word,
                   uint64_t value);
void grd_chain_remove(struct grd_directory *directory, struct grd_side *side, uint32_t chain,
                      struct grd_chunk *chunk, uint32_t at);
bool grd_chain_next(const struct grd_directory *directory, uint32_t first, uint32_t *cursor,
                    uint16_t *word_out, uint64_t *value_out);

#endif
