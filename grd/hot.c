/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/hot.h"

#include <string.h>

#include "base/atomic.h"

#define COUNT_BITS 24u
#define COUNT_MAX ((1u << COUNT_BITS) - 1)
/* A reader that meets a writer this often leaves the entry out. */
#define READ_TRIES_MAX 64u
#define MIX UINT64_C(0x9e3779b97f4a7c15)

static uint64_t pack(uint16_t node, uint32_t s, uint32_t x)
{
    return (uint64_t)node << 48 | (uint64_t)s << COUNT_BITS | x;
}

static uint32_t s_of(uint64_t word)
{
    return (uint32_t)(word >> COUNT_BITS) & COUNT_MAX;
}

static uint32_t x_of(uint64_t word)
{
    return (uint32_t)word & COUNT_MAX;
}

static uint32_t count_of(uint64_t word)
{
    return s_of(word) + x_of(word);
}

static uint64_t halved(uint64_t word, uint32_t times)
{
    return pack((uint16_t)(word >> 48), s_of(word) >> times, x_of(word) >> times);
}

static uint64_t file_of(const struct cf_block_key *key)
{
    return (uint64_t)key->file << 32 | key->generation;
}

/*
 * Every word between the two is published, so that whoever observes one of them sees `change` odd or another. Partner:
 * view_of.
 */
static void write_begin(struct grd_hot_entry *entry)
{
    cf_poke_u32(&entry->change, cf_peek_u32(&entry->change) + 1);
}

static void write_end(struct grd_hot_entry *entry)
{
    cf_publish_u32(&entry->change, cf_peek_u32(&entry->change) + 1);
}

static uint32_t times_of(uint64_t now_period, uint64_t then)
{
    return now_period - then < COUNT_BITS ? (uint32_t)(now_period - then) : COUNT_BITS;
}

static CF_COLD void halve_all(struct grd_hot *hot, uint64_t period)
{
    uint32_t times = times_of(period, cf_peek_u64(&hot->period));

    for (uint32_t i = 0; i < GRD_HOT_ENTRIES; i++) {
        struct grd_hot_entry *entry = &hot->entry[i];

        if (hot->place[i].weight == 0)
            continue;
        write_begin(entry);
        cf_publish_u32(&entry->s, cf_peek_u32(&entry->s) >> times);
        cf_publish_u32(&entry->x, cf_peek_u32(&entry->x) >> times);
        cf_publish_u32(&entry->error, cf_peek_u32(&entry->error) >> times);
        for (uint32_t n = 0; n < GRD_HOT_NODES; n++)
            cf_publish_u64(&entry->node[n], halved(cf_peek_u64(&entry->node[n]), times));
        cf_publish_u64(&entry->period, period);
        write_end(entry);
        hot->place[i].weight = cf_peek_u32(&entry->s) + cf_peek_u32(&entry->x);
    }
    hot->least = 0;
    cf_poke_u64(&hot->period, period);
}

/* The node's word, or the one with the least counts, emptied for it. */
static void node_count(struct grd_hot_entry *entry, uint16_t node, bool is_x)
{
    uint32_t at = 0, least = UINT32_MAX;
    uint64_t word;

    for (uint32_t n = 0; n < GRD_HOT_NODES; n++) {
        word = cf_peek_u64(&entry->node[n]);
        if (count_of(word) != 0 && word >> 48 == node) {
            at = n;
            break;
        }
        if (count_of(word) < least) {
            least = count_of(word);
            at = n;
        }
    }
    word = cf_peek_u64(&entry->node[at]);
    if (count_of(word) == 0 || word >> 48 != node)
        word = pack(node, s_of(word), x_of(word)); /* as with blocks: never too low */
    if ((is_x ? x_of(word) : s_of(word)) < COUNT_MAX)
        word += is_x ? 1 : UINT64_C(1) << COUNT_BITS;
    cf_publish_u64(&entry->node[at], word);
}

/* The list of a tag: its places are numbered from 1. A place that has never been used is in none. */
static uint8_t *list_of(struct grd_hot *hot, uint32_t tag)
{
    return &hot->first[tag % GRD_HOT_LISTS];
}

static void list_leave(struct grd_hot *hot, uint32_t at)
{
    uint8_t *link = list_of(hot, hot->place[at].tag);

    while (*link != 0 && *link != at + 1)
        link = &hot->place[*link - 1].next;
    if (*link != 0)
        *link = hot->place[at].next;
}

/*
 * The next place from the hand on that is as cold as any. Weights rise by one, so that a search that goes all the way round
 * is followed by as many as there are places of that weight, which take a few steps together.
 */
static uint32_t coldest(struct grd_hot *hot)
{
    uint32_t least = UINT32_MAX, looked, at;

    for (looked = 0; looked < 2 * GRD_HOT_ENTRIES; looked++) {
        at = hot->hand;
        if (hot->place[at].weight <= hot->least)
            break;
        hot->hand = (at + 1) % GRD_HOT_ENTRIES;
        if (hot->place[at].weight < least)
            least = hot->place[at].weight;
        if (looked == GRD_HOT_ENTRIES - 1)
            hot->least = least;
    }
    return hot->hand;
}

static void entry_begin(struct grd_hot *hot, uint32_t at, const struct cf_block_key *key, uint32_t tag)
{
    struct grd_hot_entry *entry = &hot->entry[at];

    list_leave(hot, at);
    hot->place[at].next = *list_of(hot, tag);
    *list_of(hot, tag) = (uint8_t)(at + 1);
    hot->place[at].tag = tag;
    hot->place[at].x_ns = hot->place[at].s_ns = 0;
    cf_publish_u32(&entry->error, hot->place[at].weight);
    cf_publish_u64(&entry->file_generation, file_of(key));
    cf_publish_u64(&entry->block, key->block);
    cf_publish_u64(&entry->period, cf_peek_u64(&hot->period));
    for (uint32_t n = 0; n < GRD_HOT_NODES; n++)
        cf_publish_u64(&entry->node[n], 0);
}

static bool is_at(const struct grd_hot *hot, uint32_t at, const struct cf_block_key *key)
{
    const struct grd_hot_entry *entry = &hot->entry[at];

    return hot->place[at].weight != 0 && cf_peek_u64(&entry->block) == key->block &&
           cf_peek_u64(&entry->file_generation) == file_of(key);
}

static uint32_t tag_of(const struct cf_block_key *key)
{
    return (uint32_t)((key->block ^ file_of(key)) * MIX >> 32);
}

/* The key's place, or UINT32_MAX. */
static CF_INLINE uint32_t place_of(const struct grd_hot *hot, const struct cf_block_key *key, uint32_t tag)
{
    uint32_t number = hot->first[tag % GRD_HOT_LISTS];

    while (number != 0 && !(hot->place[number - 1].tag == tag && is_at(hot, number - 1, key)))
        number = hot->place[number - 1].next;
    return number - 1;
}

static void share_note(struct grd_hot *hot, uint32_t at, enum cf_mode mode, uint64_t now_ns)
{
    if (mode == CF_MODE_X) {
        hot->place[at].x_ns = now_ns;
        hot->place[at].s_ns = 0;
    } else if (hot->place[at].s_ns == 0 && hot->place[at].x_ns != 0) {
        hot->place[at].s_ns = now_ns;
    }
}

uint32_t grd_hot_shared(struct grd_hot *hot, const struct cf_block_key *key, uint64_t *until_ns_out)
{
    uint32_t at, s, x, error;
    uint64_t took_ns;

    grd_hot_settle(hot);
    at = place_of(hot, key, tag_of(key));
    if (at == UINT32_MAX || hot->place[at].s_ns == 0)
        return UINT32_MAX;
    s = cf_peek_u32(&hot->entry[at].s);
    x = cf_peek_u32(&hot->entry[at].x);
    error = cf_peek_u32(&hot->entry[at].error);
    if (s < error + GRD_HOT_SHARED_READS || 2 * (uint64_t)(s - error) < 3 * (uint64_t)x)
        return UINT32_MAX;
    took_ns = hot->place[at].s_ns > hot->place[at].x_ns ? hot->place[at].s_ns - hot->place[at].x_ns : 0;
    *until_ns_out = hot->place[at].s_ns + (took_ns < GRD_HOT_SHARED_NS_MAX ? took_ns : GRD_HOT_SHARED_NS_MAX);
    return at;
}

static void count(struct grd_hot *hot, const struct cf_block_key *key, uint16_t node, enum cf_mode mode,
                  uint64_t now_ns)
{
    uint32_t tag = tag_of(key), at;
    struct grd_hot_entry *entry;
    _Atomic uint32_t *times;
    bool is_new;

    if (CF_UNLIKELY(now_ns / GRD_HOT_HALF_NS > cf_peek_u64(&hot->period)))
        halve_all(hot, now_ns / GRD_HOT_HALF_NS);
    at = place_of(hot, key, tag);
    is_new = at == UINT32_MAX;
    if (is_new)
        at = coldest(hot);
    entry = &hot->entry[at];
    write_begin(entry);
    if (is_new)
        entry_begin(hot, at, key, tag);
    times = mode == CF_MODE_X ? &entry->x : &entry->s;
    cf_publish_u32(times, cf_peek_u32(times) + 1);
    node_count(entry, node, mode == CF_MODE_X);
    share_note(hot, at, mode, now_ns);
    write_end(entry);
    hot->place[at].weight++;
}

void grd_hot_settle(struct grd_hot *hot)
{
    for (uint32_t i = 0; i < hot->later_count; i++) {
        const struct grd_hot_note *note = &hot->later[i];

        count(hot, &note->key, note->node, (enum cf_mode)note->mode, note->now_ns);
    }
    hot->later_count = 0;
}

/* ------------------------------------------------------------------ readers */

static void view_fill(const struct grd_hot_entry *entry, uint64_t period, struct grd_hot_view *view)
{
    uint32_t times = times_of(period, cf_observe_u64(&entry->period));
    uint64_t file = cf_observe_u64(&entry->file_generation);

    memset(view, 0, sizeof *view);
    view->key = (struct cf_block_key){(uint32_t)(file >> 32), (uint32_t)file, cf_observe_u64(&entry->block)};
    view->s = cf_observe_u32(&entry->s) >> times;
    view->x = cf_observe_u32(&entry->x) >> times;
    view->error = cf_observe_u32(&entry->error) >> times;
    for (uint32_t n = 0; n < GRD_HOT_NODES; n++) {
        uint64_t word = halved(cf_observe_u64(&entry->node[n]), times);
        uint32_t at = view->nodes;

        if (count_of(word) == 0)
            continue;
        view->nodes++;
        for (; at > 0 && view->who[at - 1].s + view->who[at - 1].x < count_of(word); at--)
            view->who[at] = view->who[at - 1];
        view->who[at].node = (uint16_t)(word >> 48);
        view->who[at].s = s_of(word);
        view->who[at].x = x_of(word);
    }
}

/* False: nothing there, or it is written all the time. */
static bool view_of(const struct grd_hot_entry *entry, uint64_t period, struct grd_hot_view *view)
{
    for (uint32_t tries = 0; tries < READ_TRIES_MAX; tries++) {
        uint32_t change = cf_observe_u32(&entry->change); /* partner: write_end */

        if (change & 1)
            continue;
        view_fill(entry, period, view); /* observes each word; partner: write_begin and what follows it */
        if (cf_peek_u32(&entry->change) == change)
            return view->s + view->x != 0;
    }
    return false;
}

static uint32_t view_insert(struct grd_hot_view *views, uint32_t count, uint32_t max,
                            const struct grd_hot_view *view)
{
    uint32_t at = count;

    while (at > 0 && views[at - 1].s + views[at - 1].x < view->s + view->x)
        at--;
    if (at == max)
        return count;
    if (count == max)
        count--;
    memmove(&views[at + 1], &views[at], (count - at) * sizeof *views);
    views[at] = *view;
    return count + 1;
}

uint32_t grd_hot_top(const struct grd_hot *const *tables, uint32_t tables_count, uint64_t now_ns,
                     struct grd_hot_view *views, uint32_t views_max)
{
    struct grd_hot_view view;
    uint32_t count = 0;

    for (uint32_t t = 0; t < tables_count; t++)
        for (uint32_t i = 0; i < GRD_HOT_ENTRIES; i++)
            if (view_of(&tables[t]->entry[i], now_ns / GRD_HOT_HALF_NS, &view))
                count = view_insert(views, count, views_max, &view);
    return count;
}
