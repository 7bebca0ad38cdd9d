/* SPDX-License-Identifier: Apache-2.0 */
/* Views of an instance for checkers, dumps and assertions. Owner of progress only; nothing here changes anything. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"

static void view_block(struct cf_instance *instance, const struct grd_block *block,
                       struct eng_block_view *view)
{
    const struct grd_conv *conv = grd_local_conv(instance->local, block);

    memset(view, 0, sizeof *view);
    view->key = block->key;
    view->mode = (enum cf_mode)block->mode;
    view->tenure = block->tenure;
    view->version = block->version;
    view->durable = block->durable;
    view->has_duty = block->has_duty;
    view->is_writing = block->is_writing;
    view->has_past_image = block->past_version != 0;
    view->past_version = block->past_version;
    view->has_kept = block->kept_tenure != 0;
    view->kept_tenure = block->kept_tenure;
    view->kept_version = block->kept_version;
    view->release_tenure = block->release_tenure;
    if (conv) {
        view->wants = (enum cf_mode)conv->want;
        view->request = conv->request;
        view->granted_tenure = conv->tenure;
        view->is_granted = conv->is_granted;
    }
    if (block->mode != CF_MODE_N) {
        const struct eng_frame *descriptor = eng_frames_at(instance->frames, block->frame);

        view->data = descriptor->data;
        if (descriptor->version > view->version)
            view->version = descriptor->version; /* changed under X and not told to the step functions yet */
    }
    if (block->past_version != 0)
        view->past_data = eng_frames_data(instance->frames, block->past_frame);
}

void eng_each_block(struct cf_instance *instance, void (*each)(void *arg, const struct eng_block_view *view),
                    void *arg)
{
    uint32_t i;

    for (i = 0; i < instance->local->blocks_count; i++) {
        struct eng_block_view view;

        if (!instance->local->blocks[i].in_use)
            continue;
        view_block(instance, &instance->local->blocks[i], &view);
        each(arg, &view);
    }
}

struct entry_walk {
    const struct grd_map *map;
    const struct grd_master *master;
    struct grd_directory *directory;
    void (*each)(void *arg, const struct eng_entry_view *view);
    void *arg;
    struct eng_holder_view *holders; /* CF_NODES_MAX */
};

/* What waits to be taken over by its bucket's next owner is no entry of this instance any more. */
static void view_entry(void *arg, struct grd_entry *entry)
{
    struct entry_walk *walk = arg;
    struct eng_entry_view view = {
        .key = entry->key, .last_tenure = entry->last_tenure, .version = entry->version};
    struct grd_waiter *waiter;
    struct grd_holder holder;
    uint32_t cursor = 0;

    if (grd_master_has_left(walk->master, grd_map_hash(walk->map, &entry->key)))
        return;
    view.is_rebuilt = grd_rebuild_of(walk->directory, entry) != NULL;
    view.durable = grd_entry_durable(walk->directory, entry);
    view.past_images = grd_list_count(walk->directory, entry, GRD_LIST_PAST);
    for (waiter = grd_waiter_first(walk->directory, entry); waiter;
         waiter = grd_waiter_next(walk->directory, waiter))
        view.waiters++;
    while (grd_holder_next(walk->directory, entry, &cursor, &holder))
        walk->holders[view.holders++] = (struct eng_holder_view){.node = holder.node,
                                                                 .mode = holder.is_x ? CF_MODE_X : CF_MODE_S,
                                                                 .is_pending = holder.is_pending,
                                                                 .has_duty = holder.has_duty,
                                                                 .tenure = holder.tenure};
    view.holder = walk->holders;
    walk->each(walk->arg, &view);
}

void eng_each_entry(struct cf_instance *instance, void (*each)(void *arg, const struct eng_entry_view *view),
                    void *arg)
{
    struct eng_holder_view holders[CF_NODES_MAX];
    struct entry_walk walk = {.each = each, .arg = arg, .holders = holders};
    uint32_t s;

    for (s = 0; s < instance->shards; s++) {
        walk.map = &instance->map;
        walk.master = instance->masters[s];
        walk.directory = instance->masters[s]->directory;
        grd_directory_each(walk.directory, view_entry, &walk);
    }
}

bool eng_is_cold(const struct cf_instance *instance, const struct cf_block_key *key)
{
    uint64_t hash = grd_map_hash(&instance->map, key);

    return grd_master_is_cold(instance->masters[grd_map_shard(&instance->map, hash)], hash);
}

uint32_t eng_bucket_of(const struct cf_instance *instance, const struct cf_block_key *key)
{
    return grd_map_bucket(&instance->map, grd_map_hash(&instance->map, key));
}

bool eng_serves(const struct cf_instance *instance, uint32_t bucket)
{
    return grd_move_serves(instance->move, bucket);
}

uint32_t eng_bucket_number(const struct cf_instance *instance, uint32_t bucket)
{
    return instance->map.number[bucket];
}

bool eng_is_moving(const struct cf_instance *instance, const struct cf_block_key *key)
{
    uint64_t hash = grd_map_hash(&instance->map, key);
    const struct grd_master *master = instance->masters[grd_map_shard(&instance->map, hash)];

    return (grd_bucket_state(master->directory, grd_map_bucket(&instance->map, hash)) &
            (GRD_BUCKET_EXPORT | GRD_BUCKET_IMPORT)) != 0;
}

bool eng_moves_are_quiet(const struct cf_instance *instance)
{
    return grd_move_is_quiet(instance->move);
}

uint64_t eng_cold_count(const struct cf_instance *instance)
{
    uint64_t count = 0;
    uint32_t s;

    for (s = 0; s < instance->shards; s++)
        count += grd_directory_summary(instance->masters[s]->directory)->keys;
    return count;
}

uint16_t eng_master_of(const struct cf_instance *instance, const struct cf_block_key *key)
{
    return grd_map_owner(&instance->map, grd_map_hash(&instance->map, key));
}

/* What is in use although nothing is under way; a held block, a lent frame and a past image explain themselves. */
uint64_t eng_refused_twice(const struct cf_instance *instance)
{
    return instance->local->counters.refused_again;
}

uint64_t eng_leaks(struct cf_instance *instance, char *text, size_t text_bytes)
{
    const struct grd_local *local = instance->local;
    uint64_t frames = 0, leaks = 0, records = 0, in_directory = 0, used;
    char directory_text[128] = "";
    uint32_t i, c, s;

    text[0] = 0;
    for (i = 0; i < local->blocks_count; i++) {
        const struct grd_block *block = &local->blocks[i];

        if (!block->in_use)
            continue;
        records++;
        frames += block->mode != CF_MODE_N;
        frames += block->kept_tenure != 0;
        frames += block->past_version != 0 &&
                  !(block->kept_tenure != 0 && block->kept_frame == block->past_frame);
        if (block->mode == CF_MODE_N && block->past_version == 0) {
            snprintf(text, text_bytes, "record of file %u block %" PRIu64 " holds nothing", block->key.file,
                     block->key.block);
            leaks++;
        }
    }
    for (c = 0; c < CF_BLOCK_SIZES; c++)
        frames += eng_frames_free_count(instance->frames, c) + instance->lent[c];
    frames += instance->sending_count;
    used = eng_frames_count(instance->frames);
    if (frames != used) {
        snprintf(text, text_bytes, "frames: %" PRIu64 " of %" PRIu64 " are accounted for", frames, used);
        leaks++;
    }
    if (records != local->blocks_used || local->convs_used || local->demands_used || local->releases_used ||
        local->kept_used || instance->slots_used || instance->backlog_used) {
        snprintf(text, text_bytes,
                 "records %" PRIu64 "/%u convs %u demands %u releases %u kept %u slots %u backlog %u",
                 records, local->blocks_used, local->convs_used, local->demands_used, local->releases_used,
                 local->kept_used, instance->slots_used, instance->backlog_used);
        leaks++;
    }
    if (instance->locks.local && leaks == 0)
        leaks += eng_lock_leaks(instance, text, text_bytes);
    if (instance->snapshots != NULL && instance->snapshots->used != 0) {
        snprintf(text, text_bytes, "snapshots: %u under way", instance->snapshots->used);
        leaks++;
    }
    for (s = 0; s < instance->shards; s++)
        in_directory += grd_directory_leaks(instance->masters[s]->directory, directory_text,
                                            sizeof directory_text);
    if (in_directory && leaks == 0)
        snprintf(text, text_bytes, "%s", directory_text);
    return leaks + in_directory;
}

void eng_dump(struct cf_instance *instance, void (*sink)(void *arg, const char *text, size_t bytes),
              void *arg)
{
    char *text = NULL;
    size_t bytes = 0;
    FILE *out = open_memstream(&text, &bytes);
    uint32_t i;

    if (out == NULL)
        return;
    fprintf(out, "instance node %u state %s progress scn %" PRIu64 "\n", instance->node,
            cf_rc_name(eng_state(instance)),
            (uint64_t)atomic_load_explicit(&instance->scn, memory_order_relaxed));
    for (i = 0; i < instance->local->blocks_count; i++)
        if (instance->local->blocks[i].in_use)
            grd_block_dump(instance->local, &instance->local->blocks[i], out);
    eng_snapshots_dump(instance, out);
    fclose(out);
    sink(arg, text, bytes);
    free(text);
}
