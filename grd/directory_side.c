/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Side records, their chains of chunks, and what of them is public: lists and the durable version.
 *
 *   chain --> [ 1..6 pairs ] --> [ 6 pairs ] --> [ 6 pairs ]      pairs come and go at the first chunk; a hole
 *                                                                further back is filled with the first's last pair
 *
 * so n pairs take n / 6 chunks, rounded up, whatever was removed before, and the first free pair of a chunk is its end.
 */
#include "grd/directory_impl.h"

/* Is there room for one more grant of the entry, whatever that grant entails? */
bool grd_side_fits(struct grd_directory *d, const struct grd_entry *entry)
{
    return grd_cold_room(d, entry, grd_side_of(d, entry) == NULL, GRANT_CHUNKS_MAX);
}

bool grd_holder_fits(struct grd_directory *d, const struct grd_entry *entry)
{
    return grd_cold_room(d, entry, grd_side_of(d, entry) == NULL, 2);
}

struct grd_side *grd_side_new(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t number = grd_pool_take(&d->side_pool);
    struct grd_side *side;

    cf_assert_id(number != GRD_NONE, "G-12");
    grd_entry_wake(d, entry);
    side = &d->sides[number];
    *side = (struct grd_side){.waiter_first = GRD_NONE,
                              .waiter_last = GRD_NONE,
                              .pending_first = GRD_NONE,
                              .chain = {GRD_NONE, GRD_NONE, GRD_NONE},
                              .rebuild = GRD_NONE,
                              .entry = (uint32_t)(entry - d->entries)};
    _Static_assert(CHAINS == 3, "each chain begins empty");
    entry->side = number;
    return side;
}

void grd_entry_settle(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_side *side = grd_side_of(d, entry);

    if (side) {
        if (!grd_side_is_empty(side))
            return;
        grd_side_free(d, entry);
    }
    grd_entry_rest(d, entry);
}

bool grd_chain_find(const struct grd_directory *d, uint32_t first, uint16_t node,
                    struct grd_chunk **chunk_out, uint32_t *at_out)
{
    uint32_t i;

    for (; first != GRD_NONE; first = d->chunks[first].next) {
        struct grd_chunk *chunk = &d->chunks[first];

        for (i = 0; i < CHUNK_PAIRS && (chunk->word[i] & W_USED); i++)
            if ((chunk->word[i] & W_NODE) == node) {
                *chunk_out = chunk;
                *at_out = i;
                return true;
            }
    }
    return false;
}

void grd_chain_add(struct grd_directory *d, struct grd_side *side, uint32_t chain, uint16_t word,
                   uint64_t value)
{
    uint32_t number = side->chain[chain], at = 0;

    while (number != GRD_NONE && at < CHUNK_PAIRS && (d->chunks[number].word[at] & W_USED))
        at++;
    if (number == GRD_NONE || at == CHUNK_PAIRS) {
        number = grd_pool_take(&d->chunk_pool);
        cf_assert_id(number != GRD_NONE, "G-12");
        d->chunks_used[chain]++;
        memset(&d->chunks[number], 0, sizeof d->chunks[number]);
        d->chunks[number].next = side->chain[chain];
        side->chain[chain] = number;
        at = 0;
    }
    d->chunks[number].word[at] = word | W_USED;
    d->chunks[number].value[at] = value;
}

static void first_give(struct grd_directory *d, struct grd_side *side, uint32_t chain)
{
    uint32_t number = side->chain[chain];

    side->chain[chain] = d->chunks[number].next;
    grd_pool_give(&d->chunk_pool, number);
    d->chunks_used[chain]--;
}

void grd_chain_remove(struct grd_directory *d, struct grd_side *side, uint32_t chain, struct grd_chunk *chunk,
                      uint32_t at)
{
    struct grd_chunk *first = &d->chunks[side->chain[chain]];
    uint32_t last = CHUNK_PAIRS - 1;

    while (!(first->word[last] & W_USED))
        last--;
    chunk->word[at] = first->word[last];
    chunk->value[at] = first->value[last];
    first->word[last] = 0;
    if (last == 0)
        first_give(d, side, chain);
}

bool grd_chain_next(const struct grd_directory *d, uint32_t first, uint32_t *cursor, uint16_t *word_out,
                    uint64_t *value_out)
{
    uint32_t number = *cursor ? *cursor / CURSOR_PAIRS - 1 : first, at = *cursor % CURSOR_PAIRS;

    for (; number != GRD_NONE; number = d->chunks[number].next, at = 0) {
        const struct grd_chunk *chunk = &d->chunks[number];

        if (at == CHUNK_PAIRS || !(chunk->word[at] & W_USED))
            continue;
        *word_out = chunk->word[at];
        *value_out = chunk->value[at];
        *cursor = (number + 1) * CURSOR_PAIRS + at + 1;
        return true;
    }
    return false;
}

/* With all that is in it. */
void grd_side_free(struct grd_directory *d, struct grd_entry *entry)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t chain;

    if (side == NULL)
        return;
    for (chain = 0; chain < CHAINS; chain++)
        while (side->chain[chain] != GRD_NONE)
            first_give(d, side, chain);
    side->entry = GRD_NONE;
    grd_pool_give(&d->side_pool, entry->side);
    entry->side = GRD_NONE;
}

bool grd_list_find(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list,
                   uint16_t node, uint64_t *value_out)
{
    const struct grd_side *side = grd_side_of(d, entry);
    struct grd_chunk *chunk;
    uint32_t at;

    if (side == NULL || !grd_chain_find(d, side->chain[list], node, &chunk, &at))
        return false;
    *value_out = chunk->value[at];
    return true;
}

void grd_list_set(struct grd_directory *d, struct grd_entry *entry, enum grd_list list, uint16_t node,
                  uint64_t value)
{
    struct grd_side *side = grd_side_make(d, entry);
    struct grd_chunk *chunk;
    uint32_t at;

    cf_assert(node < CF_NODES_MAX);
    if (grd_chain_find(d, side->chain[list], node, &chunk, &at))
        chunk->value[at] = value;
    else
        grd_chain_add(d, side, list, node, value);
}

void grd_list_add(struct grd_directory *d, struct grd_entry *entry, enum grd_list list, uint16_t node,
                  uint64_t value)
{
    cf_assert(node < CF_NODES_MAX);
    grd_chain_add(d, grd_side_make(d, entry), list, node, value);
}

bool grd_list_remove(struct grd_directory *d, struct grd_entry *entry, enum grd_list list, uint16_t node)
{
    struct grd_side *side = grd_side_of(d, entry);
    struct grd_chunk *chunk;
    uint32_t at;

    if (side == NULL || !grd_chain_find(d, side->chain[list], node, &chunk, &at))
        return false;
    grd_chain_remove(d, side, list, chunk, at);
    return true;
}

void grd_list_clear(struct grd_directory *d, struct grd_entry *entry, enum grd_list list)
{
    struct grd_side *side = grd_side_of(d, entry);

    while (side && side->chain[list] != GRD_NONE)
        first_give(d, side, list);
}

bool grd_list_next(const struct grd_directory *d, const struct grd_entry *entry, enum grd_list list,
                   uint32_t *cursor, struct grd_pair *pair_out)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint16_t word;

    if (side == NULL || !grd_chain_next(d, side->chain[list], cursor, &word, &pair_out->value))
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

uint64_t grd_past_oldest(const struct grd_directory *d, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = side ? side->chain[GRD_LIST_PAST] : GRD_NONE, i;
    uint64_t oldest = UINT64_MAX;

    for (; number != GRD_NONE; number = d->chunks[number].next) {
        const struct grd_chunk *chunk = &d->chunks[number];

        for (i = 0; i < CHUNK_PAIRS && (chunk->word[i] & W_USED); i++)
            if (chunk->value[i] - 1 < oldest - 1) /* 0 is the highest so */
                oldest = chunk->value[i];
    }
    return oldest;
}

void grd_past_learn(struct grd_directory *d, struct grd_entry *entry, uint64_t version)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = side ? side->chain[GRD_LIST_PAST] : GRD_NONE, after, i;

    for (; number != GRD_NONE; number = after) {
        struct grd_chunk *chunk = &d->chunks[number];

        after = chunk->next;
        for (i = 0; i < CHUNK_PAIRS && (chunk->word[i] & W_USED); i++) {
            if (chunk->value[i] != 0)
                continue;
            if (version != 0) {
                chunk->value[i] = version;
                continue;
            }
            grd_chain_remove(d, side, GRD_LIST_PAST, chunk, i);
            after = side->chain[GRD_LIST_PAST]; /* another pair is there now, or the chunk has gone */
            break;
        }
    }
}

uint64_t grd_entry_durable(const struct grd_directory *d, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(d, entry);

    return side ? side->durable : 0;
}

void grd_entry_durable_raise(struct grd_directory *d, struct grd_entry *entry, uint64_t durable)
{
    struct grd_side *side = grd_side_of(d, entry);

    if (side && side->durable < durable)
        side->durable = durable;
}
