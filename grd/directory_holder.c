/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Holders: four inline, the others in the side record's chunks.
 *
 *   inline slot   node and flags: 16 bits   low 24 bits of the tenure
 *
 * The rest of an inline tenure comes from the entry's last one, of which it is less than 2^24 behind. So a new
 * tenure touches no slot; only every SPILL_PERIOD tenures those SPILL_AGE behind go to a chunk, with all 64 bits.
 *
 * Order of iteration: the slots, then the chunks. It depends on the calls made and nothing else.
 */
#include "grd/directory_impl.h"

#define LOW_TENURE 0xffffffull
_Static_assert(SPILL_AGE + SPILL_PERIOD <= LOW_TENURE, "an inline tenure can be told from the low bits");

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

/* The node's slot; HOLDERS_INLINE: none. An idle entry's room is not of holders. */
static uint32_t inline_of(const struct grd_entry *entry, uint16_t node)
{
    uint32_t i = 0;

    if (entry->side == SIDE_IDLE)
        return HOLDERS_INLINE;
    while (i < HOLDERS_INLINE && (grd_inline_word(entry, i) & (W_USED | W_NODE)) != (W_USED | node))
        i++;
    return i;
}

static uint16_t word_of(const struct grd_holder *holder)
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

/* Old holders leave their slots before the difference wraps. */
static CF_COLD void spill(struct grd_directory *d, struct grd_entry *entry)
{
    uint32_t i;

    for (i = 0; i < HOLDERS_INLINE && entry->side != SIDE_IDLE; i++) {
        uint16_t word = grd_inline_word(entry, i);
        uint64_t tenure = inline_tenure(entry, i);

        if ((word & W_USED) && entry->last_tenure - tenure >= SPILL_AGE) {
            grd_chain_add(d, grd_side_make(d, entry), CHAIN_HOLDERS, word, tenure);
            inline_set(entry, i, 0, 0);
        }
    }
}

uint64_t grd_entry_tenure(struct grd_directory *d, struct grd_entry *entry)
{
    if (CF_UNLIKELY(entry->last_tenure % SPILL_PERIOD == SPILL_PERIOD - 1))
        spill(d, entry);
    entry->last_tenure++;
    if (entry->last_tenure > d->tenure_last)
        d->tenure_last = entry->last_tenure;
    return entry->last_tenure;
}

/* A slot is free: a holder of the first chunk takes it, so that chunks are not kept for few. */
static void refill(struct grd_directory *d, struct grd_entry *entry, struct grd_side *side, uint32_t slot)
{
    struct grd_chunk *chunk;
    uint32_t at;

    if (side->chain[CHAIN_HOLDERS] == GRD_NONE)
        return;
    chunk = &d->chunks[side->chain[CHAIN_HOLDERS]];
    for (at = CHUNK_PAIRS; at-- > 0;)
        if ((chunk->word[at] & W_USED) && entry->last_tenure - chunk->value[at] < SPILL_AGE) {
            inline_set(entry, slot, chunk->word[at], chunk->value[at]);
            grd_chain_remove(d, side, CHAIN_HOLDERS, chunk, at);
            return;
        }
}

uint32_t grd_holders_count(const struct grd_directory *d, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = side ? side->chain[CHAIN_HOLDERS] : GRD_NONE, count = 0, i;

    for (i = 0; i < HOLDERS_INLINE && entry->side != SIDE_IDLE; i++)
        count += (grd_inline_word(entry, i) & W_USED) != 0;
    for (; number != GRD_NONE; number = d->chunks[number].next)
        for (i = 0; i < CHUNK_PAIRS; i++)
            count += (d->chunks[number].word[i] & W_USED) != 0;
    return count;
}

/* Slot i < HOLDERS_INLINE, or a pair of a chunk, into what is seen. */
static CF_INLINE void look_add(struct grd_holders *look, uint16_t node, uint16_t word, uint64_t tenure)
{
    if ((word & W_NODE) == node) {
        look->has_own = true;
        holder_read(word, tenure, &look->own);
        return;
    }
    if (look->others++ == 0)
        holder_read(word, tenure, &look->other);
}

void grd_holders_look(const struct grd_directory *d, const struct grd_entry *entry, uint16_t node,
                      struct grd_holders *look)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t i, cursor = 0;
    uint64_t tenure;
    uint16_t word;

    look->others = 0;
    look->room = 0;
    look->has_own = false;
    if (entry->side == SIDE_IDLE)
        return;
    look->room = HOLDERS_INLINE;
    for (i = HOLDERS_INLINE; i-- > 0;) {
        word = grd_inline_word(entry, i);
        if (word & W_USED)
            look_add(look, node, word, inline_tenure(entry, i));
        else
            look->room = i;
    }
    if (side && side->chain[CHAIN_HOLDERS] != GRD_NONE)
        while (grd_chain_next(d, side->chain[CHAIN_HOLDERS], &cursor, &word, &tenure))
            look_add(look, node, word, tenure);
}

bool grd_holder_find(const struct grd_directory *d, const struct grd_entry *entry, uint16_t node,
                     struct grd_holder *holder_out)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t i = inline_of(entry, node), at;
    struct grd_chunk *chunk;

    if (i < HOLDERS_INLINE) {
        holder_read(grd_inline_word(entry, i), inline_tenure(entry, i), holder_out);
        return true;
    }
    if (side == NULL || !grd_chain_find(d, side->chain[CHAIN_HOLDERS], node, &chunk, &at))
        return false;
    holder_read(chunk->word[at], chunk->value[at], holder_out);
    return true;
}

void grd_holder_set(struct grd_directory *d, struct grd_entry *entry, const struct grd_holder *holder)
{
    uint32_t own = HOLDERS_INLINE, room = HOLDERS_INLINE, i, at;
    struct grd_side *side;
    struct grd_chunk *chunk;
    bool is_young;

    cf_assert(holder->node < CF_NODES_MAX);
    cf_assert_id(holder->tenure <= entry->last_tenure, "G-5");
    is_young = entry->last_tenure - holder->tenure < SPILL_AGE;
    grd_entry_wake(d, entry);
    side = grd_side_of(d, entry);
    for (i = HOLDERS_INLINE; i-- > 0;) {
        uint16_t word = grd_inline_word(entry, i);

        if (!(word & W_USED))
            room = i;
        else if ((word & W_NODE) == holder->node)
            own = i;
    }
    if (own == HOLDERS_INLINE && side &&
        grd_chain_find(d, side->chain[CHAIN_HOLDERS], holder->node, &chunk, &at)) {
        if (!is_young || room == HOLDERS_INLINE) {
            chunk->word[at] = word_of(holder);
            chunk->value[at] = holder->tenure;
            return;
        }
        grd_chain_remove(d, side, CHAIN_HOLDERS, chunk, at);
    }
    i = own < HOLDERS_INLINE ? own : room;
    if (i < HOLDERS_INLINE && is_young) {
        inline_set(entry, i, word_of(holder), holder->tenure);
        return;
    }
    if (own < HOLDERS_INLINE)
        inline_set(entry, own, 0, 0);
    grd_chain_add(d, grd_side_make(d, entry), CHAIN_HOLDERS, word_of(holder), holder->tenure);
}

void grd_holder_add(struct grd_directory *d, struct grd_entry *entry, const struct grd_holders *seen,
                    const struct grd_holder *holder)
{
    if (seen->has_own || seen->room == HOLDERS_INLINE) {
        grd_holder_set(d, entry, holder);
        return;
    }
    cf_assert(holder->node < CF_NODES_MAX);
    cf_assert_id(holder->tenure == entry->last_tenure, "G-5");
    grd_entry_wake(d, entry);
    cf_assert(!(grd_inline_word(entry, seen->room) & W_USED));
    inline_set(entry, seen->room, word_of(holder), holder->tenure);
}

void grd_holder_begun(struct grd_directory *d, struct grd_entry *entry, uint16_t node)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t i = inline_of(entry, node), at;
    struct grd_chunk *chunk;

    if (i < HOLDERS_INLINE) {
        uint16_t word = (uint16_t)(grd_inline_word(entry, i) & ~W_PENDING);

        memcpy(entry->holder + i * SLOT_BYTES, &word, sizeof word);
    } else if (side && grd_chain_find(d, side->chain[CHAIN_HOLDERS], node, &chunk, &at)) {
        chunk->word[at] &= (uint16_t)~W_PENDING;
    }
}

bool grd_holder_remove(struct grd_directory *d, struct grd_entry *entry, uint16_t node)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t i = inline_of(entry, node), at;
    struct grd_chunk *chunk;

    if (i < HOLDERS_INLINE) {
        inline_set(entry, i, 0, 0);
        if (side)
            refill(d, entry, side, i);
        return true;
    }
    if (side == NULL || !grd_chain_find(d, side->chain[CHAIN_HOLDERS], node, &chunk, &at))
        return false;
    grd_chain_remove(d, side, CHAIN_HOLDERS, chunk, at);
    return true;
}

bool grd_holder_take(struct grd_directory *d, struct grd_entry *entry, uint16_t but, uint16_t and_but,
                     struct grd_holder *holder_out)
{
    struct grd_side *side = grd_side_of(d, entry);
    uint32_t number = side ? side->chain[CHAIN_HOLDERS] : GRD_NONE, i;

    for (i = 0; i < HOLDERS_INLINE && entry->side != SIDE_IDLE; i++) {
        uint16_t word = grd_inline_word(entry, i);

        if (!(word & W_USED) || (word & W_NODE) == but || (word & W_NODE) == and_but)
            continue;
        holder_read(word, inline_tenure(entry, i), holder_out);
        inline_set(entry, i, 0, 0);
        if (side)
            refill(d, entry, side, i);
        return true;
    }
    for (; number != GRD_NONE; number = d->chunks[number].next) {
        struct grd_chunk *chunk = &d->chunks[number];

        for (i = 0; i < CHUNK_PAIRS && (chunk->word[i] & W_USED); i++) {
            uint16_t word = chunk->word[i];

            if ((word & W_NODE) == but || (word & W_NODE) == and_but)
                continue;
            holder_read(word, chunk->value[i], holder_out);
            grd_chain_remove(d, side, CHAIN_HOLDERS, chunk, i);
            return true;
        }
    }
    return false;
}

bool grd_holder_next(const struct grd_directory *d, const struct grd_entry *entry, uint32_t *cursor,
                     struct grd_holder *holder_out)
{
    const struct grd_side *side = grd_side_of(d, entry);
    uint32_t in_chain;
    uint16_t word;
    uint64_t tenure;

    if (entry->side == SIDE_IDLE)
        return false;
    while (*cursor < HOLDERS_INLINE) {
        uint32_t i = (*cursor)++;

        if (grd_inline_word(entry, i) & W_USED) {
            holder_read(grd_inline_word(entry, i), inline_tenure(entry, i), holder_out);
            return true;
        }
    }
    in_chain = *cursor == HOLDERS_INLINE ? 0 : *cursor; /* cursors in chunks are at least CURSOR_PAIRS */
    if (side == NULL || !grd_chain_next(d, side->chain[CHAIN_HOLDERS], &in_chain, &word, &tenure))
        return false;
    *cursor = in_chain;
    holder_read(word, tenure, holder_out);
    return true;
}
