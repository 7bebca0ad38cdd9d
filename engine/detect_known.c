/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the detector knows from one stream of this instance: a print of each report that was told and not taken back.
 * Entries lie side by side, so that all of them can be looked at in parts; those of one slot are chained.
 */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/instance.h"

#define NONE UINT32_MAX

enum cf_rc eng_known_open(struct eng_known *known, const struct cf_allocator *allocator, uint32_t count_max)
{
    memset(known, 0, sizeof *known);
    known->count_max = count_max;
    for (known->slots_count = 4; known->slots_count < count_max;)
        known->slots_count *= 2;
    known->entry = cf_alloc(allocator, count_max * sizeof *known->entry, CF_CACHE_LINE, 0);
    known->first = cf_alloc(allocator, known->slots_count * sizeof *known->first, CF_CACHE_LINE, 0);
    if (known->entry == NULL || known->first == NULL)
        return CF_MEMORY;
    eng_known_clear(known);
    return CF_OK;
}

void eng_known_close(struct eng_known *known, const struct cf_allocator *allocator)
{
    cf_free(allocator, known->entry, known->count_max * sizeof *known->entry);
    cf_free(allocator, known->first, known->slots_count * sizeof *known->first);
    memset(known, 0, sizeof *known);
}

void eng_known_clear(struct eng_known *known)
{
    known->count = 0;
    known->round = 0;
    memset(known->first, 0xff, known->slots_count * sizeof *known->first);
}

/* Prints are hashes: their low bits will do. */
static uint32_t *slot_of(const struct eng_known *known, uint64_t print)
{
    return &known->first[print & (known->slots_count - 1)];
}

bool eng_known_mark(struct eng_known *known, uint64_t print, uint64_t round)
{
    uint32_t at = *slot_of(known, print);

    while (at != NONE && known->entry[at].print != print)
        at = known->entry[at].next;
    if (at == NONE)
        return false;
    known->entry[at].round = (uint32_t)round;
    return true;
}

void eng_known_add(struct eng_known *known, uint64_t print, uint64_t round)
{
    uint32_t *slot = slot_of(known, print);

    cf_assert(known->count < known->count_max);
    known->entry[known->count] = (struct eng_known_entry){print, *slot, (uint32_t)round};
    *slot = known->count++;
    known->told++;
}

/* The link that leads to an entry. */
static uint32_t *link_to(struct eng_known *known, uint32_t at)
{
    uint32_t *link = slot_of(known, known->entry[at].print);

    while (*link != at) {
        cf_assert(*link != NONE);
        link = &known->entry[*link].next;
    }
    return link;
}

/* The last entry takes its place. */
static void entry_remove(struct eng_known *known, uint32_t at)
{
    uint32_t last = known->count - 1;

    *link_to(known, at) = known->entry[at].next;
    if (at != last) {
        *link_to(known, last) = at;
        known->entry[at] = known->entry[last];
    }
    known->count--;
}

bool eng_known_gone(struct eng_known *known, uint32_t *at, uint32_t looks_max, uint64_t round,
                    uint64_t *print_out)
{
    for (; *at < known->count && looks_max > 0; (*at)++, looks_max--) {
        if (known->entry[*at].round == (uint32_t)round)
            continue;
        *print_out = known->entry[*at].print;
        entry_remove(known, *at);
        return true;
    }
    return false;
}
