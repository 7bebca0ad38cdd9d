/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_DIRECTORY_IMPL_H
#define GRD_DIRECTORY_IMPL_H

/* Private to grd/directory*.c: the records, their pools, and what the files give each other. */
#include <string.h>

#include "base/assert.h"
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
#define W_NODE 0x03ffu
_Static_assert(CF_NODES_MAX - 1 <= W_NODE, "a node fits the word");

/*
 * An inline holder has 24 bits for how far its tenure is behind the entry's. Whoever is SPILL_AGE behind is moved
 * to a chunk, looked for every SPILL_PERIOD tenures: no difference reaches SPILL_AGE + SPILL_PERIOD < 2^24.
 */
#define SPILL_AGE (UINT64_C(1) << 23)
#define SPILL_PERIOD (UINT64_C(1) << 20)

/* Values of grd_entry.side that are no side record; an idle entry has neither holders nor a side record. */
#define SIDE_IDLE (UINT32_MAX - 1)
#define ENTRIES_MAX (SIDE_IDLE - 1)

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
 * Chunks that one grant can need: a new holder, a holder that grew old, a past image, another one to round up, and
 * the sharers of an entry with all nodes.
 */
#define GRANT_CHUNKS_MIN 4u
#define GRANT_CHUNKS_MAX (GRANT_CHUNKS_MIN + (CF_NODES_MAX + CHUNK_PAIRS - 1) / CHUNK_PAIRS)

struct grd_side {
    uint32_t waiter_first, waiter_last, pending_first;
    uint32_t chain[CHAINS]; /* first chunk, or GRD_NONE; all chunks but the first are full */
    uint32_t next;          /* in the pool's free list */
    uint32_t spare;
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
    struct grd_pool side_pool, chunk_pool, waiter_pool, pending_pool;
    uint32_t chunks_used[CHAINS];
    uint32_t entries_used;          /* entries are reused, never given back: those below are in the index */
    uint32_t idle_first, idle_last; /* oldest first, linked through the room of their holders */
    uint32_t idle_count;
    uint64_t tenure_floor; /* highest last_tenure of any evicted entry */
    uint64_t evictions;
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

static inline struct grd_side *grd_side_of(const struct grd_directory *directory,
                                           const struct grd_entry *entry)
{
    return entry->side >= SIDE_IDLE ? NULL : &directory->sides[entry->side];
}

/* directory_index.c: to the idle list if nothing is kept of the entry; out of it before something is. */
void grd_entry_rest(struct grd_directory *directory, struct grd_entry *entry);
void grd_entry_wake(struct grd_directory *directory, struct grd_entry *entry);
void grd_index_check(const struct grd_directory *directory);

/* directory_side.c. Taking asserts that there is room: who begins something new has looked (grd_side_fits). */
bool grd_side_fits(const struct grd_directory *directory, const struct grd_entry *entry);
struct grd_side *grd_side_make(struct grd_directory *directory, struct grd_entry *entry);
bool grd_side_is_empty(const struct grd_side *side);
bool grd_chain_find(const struct grd_directory *directory, uint32_t first, uint16_t node,
                    struct grd_chunk **chunk_out, uint32_t *at_out);
void grd_chain_add(struct grd_directory *directory, struct grd_side *side, uint32_t chain, uint16_t word,
                   uint64_t value);
void grd_chain_remove(struct grd_directory *directory, struct grd_side *side, uint32_t chain,
                      struct grd_chunk *chunk, uint32_t at);
bool grd_chain_next(const struct grd_directory *directory, uint32_t first, uint32_t *cursor,
                    uint16_t *word_out, uint64_t *value_out);

#endif
