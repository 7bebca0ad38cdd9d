/* SPDX-License-Identifier: Apache-2.0 */
/* What tests, checkers and tools may ask of the master of locks. */
#include <inttypes.h>

#include "base/assert.h"
#include "grd/lock_master_impl.h"

struct grd_lock_master_counters grd_lock_master_counts(const struct grd_lock_master *master)
{
    return master->counters;
}

struct grd_lock_master_use grd_lock_master_used(const struct grd_lock_master *master)
{
    return (struct grd_lock_master_use){.resources = master->entries_used - master->idle_count,
                                        .remembered = master->idle_count,
                                        .claims = master->shares_used,
                                        .timers = (uint32_t)master->wheel.armed_count};
}

bool grd_lock_master_holds(const struct grd_lock_master *master, const struct cf_block_key *key,
                           uint64_t hash, uint16_t node, uint8_t *mode_out)
{
    const struct grd_lock_entry *entry = grd_lock_entry_find(master, key, hash);
    const struct grd_lock_share *share = entry ? grd_lock_share_of(entry, node) : NULL;

    if (share == NULL || !share->claim.is_known)
        return false;
    *mode_out = share->claim.held;
    return true;
}

const struct grd_lock_value *grd_lock_master_value(const struct grd_lock_master *master,
                                                   const struct cf_block_key *key, uint64_t hash)
{
    const struct grd_lock_entry *entry = grd_lock_entry_find(master, key, hash);

    return entry ? &entry->value : NULL;
}

static void entry_check(const struct grd_lock_master *master, const struct grd_lock_entry *entry)
{
    const struct grd_lock_claim *claim;

    grd_lock_queue_check(&entry->queue);
    cf_assert(grd_lock_entry_find(master, &entry->key, entry->hash) == entry);
    cf_assert(cf_timer_armed(&entry->timer) == grd_lock_queue_waits(&entry->queue));
    cf_assert(entry->is_idle == (entry->queue.claims_count == 0));
    for (claim = entry->queue.first; claim; claim = claim->next) {
        const struct grd_lock_share *share = cf_container_of(claim, struct grd_lock_share, claim);

        cf_assert(share->entry == entry);
        cf_assert(claim->is_known == (share->tenure != 0));
        cf_assert(grd_lock_share_of(entry, share->node) == share); /* one claim an instance */
    }
}

void grd_lock_master_check(const struct grd_lock_master *master)
{
    uint32_t entries_count = 0, shares_count = 0, idle_count = 0;

    for (uint32_t i = 0; i < master->options.resources; i++) {
        if (!master->entries[i].in_use)
            continue;
        entry_check(master, &master->entries[i]);
        entries_count++;
        shares_count += master->entries[i].queue.claims_count;
        idle_count += master->entries[i].is_idle;
    }
    cf_assert(entries_count == master->entries_used);
    cf_assert(shares_count == master->shares_used);
    cf_assert(idle_count == master->idle_count);
}

void grd_lock_master_dump(const struct grd_lock_master *master, FILE *out)
{
    for (uint32_t i = 0; i < master->options.resources; i++) {
        const struct grd_lock_entry *entry = &master->entries[i];
        const struct grd_lock_claim *claim;

        if (!entry->in_use)
            continue;
        fprintf(out, "lock %016" PRIx64 " at master %u value %" PRIu64 "%s\n", entry->key.block,
                master->options.node, entry->value.version, entry->value.is_valid ? "" : " not valid");
        for (claim = entry->queue.first; claim; claim = claim->next) {
            const struct grd_lock_share *share = cf_container_of(claim, struct grd_lock_share, claim);

            fprintf(out,
                    "  node %u state %u held %s want %s tenure %" PRIu64 " request %" PRIu64
                    " demanded %s overtaken %u\n",
                    share->node, claim->state, grd_lock_mode_name(claim->held),
                    grd_lock_mode_name(claim->want), share->tenure, share->request,
                    grd_lock_mode_name(share->demanded), claim->overtaken);
        }
    }
}
