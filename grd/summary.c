/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Which slot goes when a key is taken out. The caller knows who held it, not whether past images had been listed, and
 * not whether the key had a slot or was counted over. Each step leaves whatever other key it may have touched covered,
 * and by a code that asks at least as many:
 *
 *   slot with the code            another key with it falls to "over", which can only be when over > 0
 *   else slot with PAST           the same; if plain keys are over, one of them becomes past: the key whose
 *                                 slot this was may be the one that is left among them
 *   else over plain, else past    no slot of this fingerprint can have been the key's
 */
#include "grd/summary.h"

#include <string.h>

#include "base/assert.h"
#include "base/compiler.h"
#include "base/hash.h"

#define LINE_WORDS (GRD_SUMMARY_LINE_BYTES / sizeof(uint16_t))
#define OVER_PLAIN 0u
#define OVER_PAST 1u
#define SLOT_FIRST 2u
#define CODE_BITS 5u
#define CODE_MASK ((1u << CODE_BITS) - 1)
#define OVER_MAX UINT16_MAX /* a count that has reached it stays: its line asks everybody for ever */
_Static_assert(SLOT_FIRST + GRD_SUMMARY_SLOTS == LINE_WORDS, "a line is two counts and its slots");

struct place {
    uint16_t *line[2];
    uint16_t print; /* fingerprint, in place */
};

/*
 * The second line mirrors the first about a point of the fingerprint: keys of one fingerprint have both lines in common
 * or none. Without that a slot of the one could be taken out while the other is counted where the first does not look.
 */
static struct place place_of(const struct grd_summary *s, uint32_t tag)
{
    uint64_t mixed = cf_mix64(tag, s->seed), n = s->lines_count;
    uint64_t print = mixed >> 48 & ~(uint64_t)CODE_MASK;
    uint64_t first = (mixed & UINT32_MAX) * n >> 32;
    uint64_t point = (cf_mix64(print, s->seed) & UINT32_MAX) * n >> 32;
    uint64_t other = point >= first ? point - first : point + n - first;
    struct place p;

    p.line[0] = s->lines + (first < other ? first : other) * LINE_WORDS;
    p.line[1] = s->lines + (first < other ? other : first) * LINE_WORDS;
    p.print = (uint16_t)print;
    return p;
}

void grd_summary_init(struct grd_summary *s, void *memory, uint64_t lines, uint64_t seed)
{
    cf_assert(lines > 0 && lines <= UINT32_MAX);
    *s = (struct grd_summary){.lines = memory, .lines_count = lines, .seed = seed ^ UINT64_C(0x5a17)};
}

static uint32_t used_of(const uint16_t *line)
{
    uint32_t i, used = 0;

    for (i = SLOT_FIRST; i < LINE_WORDS; i++)
        used += line[i] != 0;
    return used;
}

/* The slot with this word, or LINE_WORDS. Word 0 finds a free one. */
static uint32_t slot_of(const uint16_t *line, uint16_t word)
{
    uint32_t i = SLOT_FIRST;

    while (i < LINE_WORDS && line[i] != word)
        i++;
    return i;
}

void grd_summary_add(struct grd_summary *s, uint32_t tag, uint8_t code)
{
    struct place p = place_of(s, tag);
    uint32_t used[2] = {used_of(p.line[0]), used_of(p.line[1])};
    uint32_t emptier = used[1] < used[0];
    uint16_t *over = &p.line[0][code == GRD_SUMMARY_PAST ? OVER_PAST : OVER_PLAIN];

    cf_assert(code > GRD_SUMMARY_FREE && code <= GRD_SUMMARY_PAST);
    s->keys++;
    if (used[emptier] < GRD_SUMMARY_SLOTS) {
        p.line[emptier][slot_of(p.line[emptier], 0)] = p.print | code;
        return;
    }
    s->over++;
    if (*over < OVER_MAX)
        (*over)++;
}

struct grd_hint grd_summary_look(const struct grd_summary *s, uint32_t tag)
{
    struct grd_hint hint = {0};
    struct place p = place_of(s, tag);
    uint32_t l, i;

    if (s->keys == 0)
        return hint;
    for (l = 0; l < 2; l++)
        for (i = SLOT_FIRST; i < LINE_WORDS; i++) {
            uint32_t code = p.line[l][i] & CODE_MASK;

            if (code == 0 || (p.line[l][i] & ~CODE_MASK) != p.print)
                continue;
            hint.is_any = true;
            hint.has_past |= code == GRD_SUMMARY_PAST;
            if (code >= GRD_SUMMARY_MANY)
                hint.ask_all = true;
            else
                hint.classes |= UINT32_C(1) << (code - 1);
        }
    if (p.line[0][OVER_PLAIN] | p.line[0][OVER_PAST]) {
        hint.is_any = hint.ask_all = true;
        hint.has_past |= p.line[0][OVER_PAST] != 0;
    }
    return hint;
}

/* One less in the count; a count at its end is not known and stays. */
static void over_less(uint16_t *count)
{
    if (*count < OVER_MAX)
        (*count)--;
}

static bool slot_clear(const struct place *p, uint8_t code)
{
    uint32_t l, i;

    for (l = 0; l < 2; l++) {
        i = slot_of(p->line[l], p->print | code);
        if (i < LINE_WORDS) {
            p->line[l][i] = 0;
            return true;
        }
    }
    return false;
}

bool grd_summary_remove(struct grd_summary *s, uint32_t tag, uint8_t code)
{
    struct place p = place_of(s, tag);
    uint16_t *plain = &p.line[0][OVER_PLAIN], *past = &p.line[0][OVER_PAST];

    if (slot_clear(&p, code)) {
        s->keys--;
        return true;
    }
    if (slot_clear(&p, GRD_SUMMARY_PAST)) {
        s->keys--;
        if (*plain > 0 && *past < OVER_MAX) {
            over_less(plain);
            (*past)++;
        }
        return true;
    }
    if (*plain == 0 && *past == 0)
        return false;
    s->keys -= s->keys != 0;
    s->over -= s->over != 0;
    over_less(*plain > 0 ? plain : past);
    return true;
}

void grd_summary_prefetch(const struct grd_summary *s, uint32_t tag)
{
    struct place p = place_of(s, tag);

    __builtin_prefetch(p.line[0]);
    __builtin_prefetch(p.line[1]);
}

void grd_summary_check(const struct grd_summary *s)
{
    uint64_t l, keys = 0, over = 0;
    bool is_full = false;

    for (l = 0; l < s->lines_count; l++) {
        const uint16_t *line = s->lines + l * LINE_WORDS;

        keys += used_of(line);
        over += (uint64_t)line[OVER_PLAIN] + line[OVER_PAST];
        is_full |= line[OVER_PLAIN] == OVER_MAX || line[OVER_PAST] == OVER_MAX;
    }
    cf_assert_id(is_full || keys + over == s->keys, "G-14");
    cf_assert_id(is_full || over == s->over, "G-14");
}
