/* SPDX-License-Identifier: Apache-2.0 */
/* Slots of snapshots under way, and what is taken for them at open. */
#include <inttypes.h>

#include "engine/snapshot.h"

enum cf_rc eng_snapshots_open(struct cf_instance *instance, struct cf_error *error)
{
    uint64_t slot_bytes = CF_BLOCK_BYTES_MAX + CF_CACHE_LINE;
    struct eng_snapshots *snapshots;
    void *memory;
    enum cf_rc rc;

    if (instance->options.speculative_read == 0 || !(xp_caps(instance->xp) & XP_CAP_READ))
        return CF_OK;
    rc = xp_memory(instance->xp, ENG_SNAPSHOT_SLOTS * slot_bytes, 0, &memory, error);
    if (rc != CF_OK)
        return rc;
    snapshots = cf_alloc(instance->allocator, sizeof *snapshots, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (snapshots == NULL) {
        eng_error_set(error, CF_MEMORY, 0, instance->node, "no memory for the places of blocks");
        return CF_MEMORY;
    }
    for (uint32_t i = 0; i < ENG_SNAPSHOT_SLOTS; i++) {
        struct eng_snapshot *slot = &snapshots->slots[i];

        slot->bytes = (uint8_t *)memory + i * slot_bytes;
        slot->word = (uint64_t *)(void *)(slot->bytes + CF_BLOCK_BYTES_MAX);
        slot->number = i;
        slot->next = i + 1 < ENG_SNAPSHOT_SLOTS ? i + 1 : GRD_FRAME_NONE;
    }
    snapshots->next_ns = UINT64_MAX;
    instance->snapshots = snapshots;
    return CF_OK;
}

void eng_snapshots_close(struct cf_instance *instance)
{
    if (instance->snapshots != NULL)
        cf_free(instance->allocator, instance->snapshots, sizeof *instance->snapshots);
    instance->snapshots = NULL;
}

struct eng_snapshot *eng_snapshot_take(struct eng_snapshots *snapshots)
{
    struct eng_snapshot *slot;

    if (snapshots->free == GRD_FRAME_NONE)
        return NULL;
    slot = &snapshots->slots[snapshots->free];
    snapshots->free = slot->next;
    snapshots->used++;
    return slot;
}

void eng_snapshot_free(struct eng_snapshots *snapshots, struct eng_snapshot *slot)
{
    slot->op = NULL;
    if (slot->is_reading)
        return;
    eng_snapshot_stage_set(snapshots, slot, ENG_SNAPSHOT_FREE);
    slot->next = snapshots->free;
    snapshots->free = slot->number;
    snapshots->used--;
}

void eng_snapshots_dump(const struct cf_instance *instance, FILE *out)
{
    static const char *const stages[] = {"free", "asking", "first", "bytes", "second"};
    const struct eng_snapshots *snapshots = instance->snapshots;

    if (snapshots == NULL)
        return;
    fprintf(out, "snapshots %u under way, %u places known\n", snapshots->used, snapshots->places_used);
    for (uint32_t i = 0; i < ENG_SNAPSHOT_SLOTS; i++) {
        const struct eng_snapshot *slot = &snapshots->slots[i];

        if (slot->stage != ENG_SNAPSHOT_FREE)
            fprintf(out, "snapshot %u %s file %u block %" PRIu64 " at node %u frame %u tries %u%s\n", i,
                    stages[slot->stage], slot->place.key.file, slot->place.key.block, slot->place.node,
                    slot->place.frame, slot->tries, slot->op == NULL ? " (nobody waits)" : "");
    }
}
