/* SPDX-License-Identifier: Apache-2.0 */
/* The store of the locks of a shard: entries, claims, their index. It knows no protocol; lock_master.c does. */
#include <string.h>

#include "base/assert.h"
#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"
#include "grd/msg.h"

static uint32_t index_slots(uint32_t resources)
{
    uint32_t slots = 64;

    while (slots < resources * 2u)
        slots *= 2;
    return slots;
}

uint64_t grd_lock_master_bytes(const struct grd_lock_master_options *o)
{
    return sizeof(struct grd_lock_master) + (uint64_t)o->resources * sizeof(struct grd_lock_entry) +
           (uint64_t)o->claims * sizeof(struct grd_lock_share) +
           (uint64_t)o->nodes * (GRD_LOCK_SWAP_SLOTS * sizeof(struct grd_lock_swap) + sizeof(uint64_t)) +
           (uint64_t)index_slots(o->resources) * sizeof(uint32_t);
}

static void pools_link(struct grd_lock_master *master)
{
    const struct grd_lock_master_options *o = &master->options;

    memset(master->index, 0xff, (master->index_mask + (size_t)1) * sizeof *master->index);
    for (uint32_t i = 0; i < o->resources; i++)
        master->entries[i].idle_next = i + 1 < o->resources ? i + 1 : GRD_LOCK_NONE;
    master->entry_free = 0;
    master->idle_first = master->idle_last = GRD_LOCK_NONE;
    for (uint32_t i = o->claims; i > 0; i--) {
        master->shares[i - 1].claim.next = master->share_free;
        master->share_free = &master->shares[i - 1].claim;
    }
}

enum cf_rc grd_lock_master_open(const struct grd_lock_master_options *options,
                                struct grd_lock_master **master_out)
{
    const struct cf_allocator *a = options->allocator;
    struct grd_lock_master *master;

    cf_assert(options->resources > 0 && options->resources < GRD_LOCK_NONE / 2);
    cf_assert(options->nodes > 0 && options->nodes <= CF_NODES_MAX);
    master = cf_alloc(a, sizeof *master, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (master == NULL)
        return CF_MEMORY;
    master->options = *options;
    master->index_mask = index_slots(options->resources) - 1;
    master->entries = cf_alloc(a, options->resources * sizeof *master->entries, CF_CACHE_LINE,
                               CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    master->shares = cf_alloc(a, options->claims * sizeof *master->shares, CF_CACHE_LINE,
                              CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    master->swaps = cf_alloc(a, (size_t)options->nodes * GRD_LOCK_SWAP_SLOTS * sizeof *master->swaps,
                             CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->mark = cf_alloc(a, options->nodes * sizeof *master->mark, CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->index = cf_alloc(a, (master->index_mask + (size_t)1) * sizeof *master->index, CF_CACHE_LINE,
                             CF_ALLOC_HUGE);
    if (!master->entries || !master->shares || !master->swaps || !master->mark || !master->index) {
        grd_lock_master_close(&master);
        return CF_MEMORY;
    }
    pools_link(master);
    cf_wheel_init(&master->wheel, options->now_ns, options->wheel_tick_ns);
    *master_out = master;
    return CF_OK;
}

void grd_lock_master_close(struct grd_lock_master **master)
{
    struct grd_lock_master *m = *master;
    const struct cf_allocator *a;

    if (m == NULL)
        return;
    a = m->options.allocator;
    cf_free(a, m->entries, m->options.resources * sizeof *m->entries);
    cf_free(a, m->shares, m->options.claims * sizeof *m->shares);
    cf_free(a, m->swaps, (size_t)m->options.nodes * GRD_LOCK_SWAP_SLOTS * sizeof *m->swaps);
    cf_free(a, m->mark, m->options.nodes * sizeof *m->mark);
    cf_free(a, m->index, (m->index_mask + (size_t)1) * sizeof *m->index);
    cf_free(a, m, sizeof *m);
    *master = NULL;
}

/* ------------------------------------------------------------------ index: linear probing, deletion by shifting back */

static uint32_t slot_of(const struct grd_lock_master *master, uint64_t hash)
{
    return (uint32_t)cf_mix64(hash, master->options.seed) & master->index_mask;
}

struct grd_lock_entry *grd_lock_entry_find(const struct grd_lock_master *master,
                                           const struct cf_block_key *key, uint64_t hash)
{
    uint32_t slot = slot_of(master, hash), number;

    while ((number = master->index[slot]) != GRD_LOCK_NONE) {
        if (grd_key_equal(&master->entries[number].key, key))
            return &master->entries[number];
        slot = (slot + 1) & master->index_mask;
    }
    return NULL;
}

static void index_remove(struct grd_lock_master *master, const struct grd_lock_entry *entry)
{
    uint32_t slot = slot_of(master, entry->hash), hole, home;

    while (&master->entries[master->index[slot]] != entry)
        slot = (slot + 1) & master->index_mask;
    for (hole = slot;;) {
        slot = (slot + 1) & master->index_mask;
        if (master->index[slot] == GRD_LOCK_NONE)
            break;
        home = slot_of(master, master->entries[master->index[slot]].hash);
        if (((slot - home) & master->index_mask) >= ((slot - hole) & master->index_mask)) {
            master->index[hole] = master->index[slot];
            hole = slot;
        }
    }
    master->index[hole] = GRD_LOCK_NONE;
}

/* ------------------------------------------------------------------ entries */

static void idle_unlink(struct grd_lock_master *master, struct grd_lock_entry *entry)
{
    *(entry->idle_prev == GRD_LOCK_NONE ? &master->idle_first
                                        : &master->entries[entry->idle_prev].idle_next) = entry->idle_next;
    *(entry->idle_next == GRD_LOCK_NONE ? &master->idle_last
                                        : &master->entries[entry->idle_next].idle_prev) = entry->idle_prev;
    entry->is_idle = false;
    master->idle_count--;
}

static void entry_free(struct grd_lock_master *master, struct grd_lock_entry *entry)
{
    uint32_t number = (uint32_t)(entry - master->entries);

    index_remove(master, entry);
    if (master->options.records)
        grd_lock_record_poison(&master->options.records[number]);
    /* Above it: who still has the value forgotten here must not take the next one of that version for it. */
    if (entry->value.version != entry->born_version && entry->value.version >= master->version_floor)
        master->version_floor = entry->value.version + !grd_lock_mutant(GRD_LOCK_MUT_VERSION_TWICE);
    entry->in_use = false;
    entry->idle_next = master->entry_free;
    master->entry_free = number;
    master->entries_used--;
}

void grd_lock_entry_publish(struct grd_lock_master *master, struct grd_lock_entry *entry)
{
    if (master->options.records)
        grd_lock_record_write(&master->options.records[entry - master->entries], &entry->key,
                              master->options.epoch, &entry->value);
}

struct grd_lock_entry *grd_lock_entry_get(struct grd_lock_master *master, const struct cf_block_key *key,
                                          uint64_t hash, const struct grd_lock_name *name)
{
    struct grd_lock_entry *entry = grd_lock_entry_find(master, key, hash);
    uint32_t number, slot;

    if (entry)
        return entry;
    if (master->entry_free == GRD_LOCK_NONE && master->idle_first != GRD_LOCK_NONE) {
        entry = &master->entries[master->idle_first];
        idle_unlink(master, entry);
        entry_free(master, entry);
        master->counters.forgotten++;
    }
    number = master->entry_free;
    if (number == GRD_LOCK_NONE)
        return NULL;
    entry = &master->entries[number];
    master->entry_free = entry->idle_next;
    master->entries_used++;
    memset(entry, 0, sizeof *entry);
    entry->key = *key;
    entry->hash = hash;
    entry->name = *name;
    entry->in_use = true;
    entry->value.is_valid = true;
    entry->value.version = entry->born_version = master->version_floor;
    cf_timer_init(&entry->timer, 0);
    slot = slot_of(master, hash);
    while (master->index[slot] != GRD_LOCK_NONE)
        slot = (slot + 1) & master->index_mask;
    master->index[slot] = number;
    grd_lock_entry_publish(master, entry);
    return entry;
}

void grd_lock_entry_settle(struct grd_lock_master *master, struct grd_lock_entry *entry)
{
    uint32_t number = (uint32_t)(entry - master->entries);

    if (entry->queue.claims_count > 0) {
        if (entry->is_idle)
            idle_unlink(master, entry);
        return;
    }
    if (entry->is_idle)
        return;
    if (entry->value.version == entry->born_version) {
        entry_free(master, entry);
        return;
    }
    entry->is_idle = true;
    entry->idle_prev = master->idle_last;
    entry->idle_next = GRD_LOCK_NONE;
    *(master->idle_last == GRD_LOCK_NONE ? &master->idle_first
                                         : &master->entries[master->idle_last].idle_next) = number;
    master->idle_last = number;
    master->idle_count++;
}

/* ------------------------------------------------------------------ claims */

struct grd_lock_share *grd_lock_share_of(const struct grd_lock_entry *entry, uint16_t node)
{
    struct grd_lock_claim *claim;

    for (claim = entry->queue.first; claim; claim = claim->next)
        if (grd_lock_share_from(claim)->node == node)
            return grd_lock_share_from(claim);
    return NULL;
}

struct grd_lock_share *grd_lock_share_take(struct grd_lock_master *master, struct grd_lock_entry *entry,
                                           uint16_t node)
{
    struct grd_lock_share *share;

    if (master->share_free == NULL)
        return NULL;
    share = grd_lock_share_from(master->share_free);
    master->share_free = share->claim.next;
    master->shares_used++;
    memset(share, 0, sizeof *share);
    share->entry = entry;
    share->node = node;
    grd_lock_queue_enter(&entry->queue, &share->claim);
    return share;
}

void grd_lock_share_drop(struct grd_lock_master *master, struct grd_lock_share *share)
{
    grd_lock_queue_drop(&share->entry->queue, &share->claim);
    share->entry = NULL;
    share->claim.next = master->share_free;
    master->share_free = &share->claim;
    master->shares_used--;
}
