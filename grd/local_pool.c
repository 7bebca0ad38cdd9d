/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The memory of what an instance knows of its blocks: opened and closed as a whole, then taken and given in records.
 */
#include <string.h>

#include "base/assert.h"
#include "grd/local_impl.h"

/* A residency ends late by at most this part of it, and by no less than a microsecond's tick. */
#define GRD_STAY_PARTS 16u
#define GRD_STAY_TICK_NS_MIN UINT64_C(1000)

static uint32_t table_slots(uint32_t blocks)
{
    uint32_t slots = 64;

    while (slots < blocks * 2u)
        slots *= 2;
    return slots;
}

static enum cf_rc pools_take(struct grd_local *local, const struct grd_local_options *options)
{
    const struct cf_allocator *a = options->allocator;
    uint32_t i, slots = table_slots(local->blocks_count);

    local->table = cf_alloc(a, slots * sizeof *local->table, CF_CACHE_LINE, CF_ALLOC_HUGE);
    local->blocks = cf_alloc(a, local->blocks_count * sizeof *local->blocks, CF_CACHE_LINE,
                             CF_ALLOC_HUGE | CF_ALLOC_ZERO);
    local->convs = cf_alloc(a, local->outstanding * sizeof *local->convs, CF_CACHE_LINE, CF_ALLOC_ZERO);
    local->demands = cf_alloc(a, local->demands_count * sizeof *local->demands, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (local->table == NULL || local->blocks == NULL || local->convs == NULL || local->demands == NULL)
        return CF_MEMORY;
    local->table_mask = slots - 1;
    local->table_shift = 64 - (uint32_t)__builtin_ctz(slots);
    memset(local->table, 0xff, slots * sizeof *local->table);
    for (i = 0; i < local->blocks_count; i++)
        local->blocks[i].next = i + 1 < local->blocks_count ? i + 1 : GRD_FRAME_NONE;
    for (i = 0; i < local->outstanding; i++) {
        local->convs[i].block = GRD_FRAME_NONE;
        local->convs[i].next = i + 1 < local->outstanding ? i + 1 : GRD_FRAME_NONE;
    }
    for (i = 0; i < local->demands_count; i++)
        local->demands[i].next = i + 1 < local->demands_count ? i + 1 : GRD_FRAME_NONE;
    return CF_OK;
}

static uint64_t stay_tick_ns(const struct grd_local_options *options)
{
    uint64_t tick_ns = options->residency_ns / GRD_STAY_PARTS;

    return tick_ns > GRD_STAY_TICK_NS_MIN ? tick_ns : GRD_STAY_TICK_NS_MIN;
}

enum cf_rc grd_local_open(const struct grd_local_options *options, struct grd_local **local_out)
{
    struct grd_local *local = cf_alloc(options->allocator, sizeof *local, CF_CACHE_LINE, CF_ALLOC_ZERO);
    enum cf_rc rc;

    if (local == NULL)
        return CF_MEMORY;
    local->node = options->node;
    local->outstanding = options->outstanding;
    local->past_max = options->past_images;
    local->resend_ns = options->resend_ns;
    local->residency_ns = options->residency_ns;
    local->request_next = local->release_next = 1;
    grd_window_init(&local->releases);
    local->map = options->map;
    local->allocator = options->allocator;
    local->seed = options->seed;
    /* A record lives for a frame, a conversation, or a release: the third kind is bounded here. */
    local->releases_max = options->outstanding * 4u + options->frames / 4u + 64u;
    local->blocks_count = options->frames + options->outstanding + local->releases_max;
    local->demands_count = options->demands;
    cf_wheel_init(&local->wheel, options->now_ns, options->wheel_tick_ns);
    cf_wheel_init(&local->stays, options->now_ns, stay_tick_ns(options));
    rc = pools_take(local, options);
    if (rc != CF_OK) {
        grd_local_close(&local);
        return rc;
    }
    *local_out = local;
    return CF_OK;
}

void grd_local_close(struct grd_local **local)
{
    struct grd_local *l = *local;
    const struct cf_allocator *a;

    if (l == NULL)
        return;
    a = l->allocator;
    cf_free(a, l->table, (l->table_mask + 1ull) * sizeof *l->table);
    cf_free(a, l->blocks, l->blocks_count * sizeof *l->blocks);
    cf_free(a, l->convs, l->outstanding * sizeof *l->convs);
    cf_free(a, l->demands, l->demands_count * sizeof *l->demands);
    cf_free(a, l, sizeof *l);
    *local = NULL;
}

/* ------------------------------------------------------------------ pools */

struct grd_conv *grd_local_conv_take(struct grd_local *local, struct grd_block *block)
{
    uint32_t number = local->conv_free;

    cf_assert(number != GRD_FRAME_NONE);
    cf_assert(block->conv == GRD_FRAME_NONE);
    local->conv_free = local->convs[number].next;
    local->convs[number].next = (uint32_t)(block - local->blocks);
    local->convs_used++;
    block->conv = number;
    local->convs[number].block = (uint32_t)(block - local->blocks);
    return &local->convs[number];
}

void grd_local_conv_free(struct grd_local *local, struct grd_block *block)
{
    local->convs[block->conv].next = local->conv_free;
    local->convs[block->conv].block = GRD_FRAME_NONE;
    local->conv_free = block->conv;
    local->convs_used--;
    block->conv = GRD_FRAME_NONE;
}

/* What a forward and an invalidate carry. */
static void demand_copy(struct grd_msg *to, const struct grd_msg *from)
{
    to->type = from->type;
    to->from = from->from;
    to->requester = from->requester;
    to->mode = from->mode;
    to->key = from->key;
    to->request = from->request;
    to->tenure = from->tenure;
    to->held = from->held;
    grd_set_copy(&to->set, &from->set);
}

/* Parks a demand at the end of the block's queue. Doubles are dropped; so is one that finds the pool empty: its
 * sender's timer says it again. */
uint32_t grd_local_demand_add(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg)
{
    uint32_t number;
    struct grd_demand *demand;

    for (number = block->demand_first; number != GRD_FRAME_NONE; number = local->demands[number].next) {
        demand = &local->demands[number];
        if (demand->msg.type == msg->type && demand->msg.tenure == msg->tenure &&
            demand->msg.requester == msg->requester && demand->msg.request == msg->request)
            return number;
    }
    number = local->demand_free;
    if (number == GRD_FRAME_NONE) {
        local->counters.demands_dropped++;
        return GRD_FRAME_NONE;
    }
    demand = &local->demands[number];
    local->demand_free = demand->next;
    local->demands_used++;
    demand_copy(&demand->msg, msg);
    demand->next = GRD_FRAME_NONE;
    if (block->demand_first == GRD_FRAME_NONE)
        block->demand_first = number;
    else
        local->demands[block->demand_last].next = number;
    block->demand_last = number;
    return number;
}

void grd_local_demand_pop(struct grd_local *local, struct grd_block *block)
{
    uint32_t number = block->demand_first;

    block->demand_first = local->demands[number].next;
    local->demands[number].next = local->demand_free;
    local->demand_free = number;
    local->demands_used--;
}

void grd_local_free_frame(struct grd_actions *actions, uint32_t frame)
{
    if (frame != GRD_FRAME_NONE)
        grd_action_add(actions, GRD_ACT_FREE)->frame = frame;
}

/* A kept image and a past image of a block may share a frame: the last of them gives it back. */
void grd_local_kept_drop(struct grd_local *local, struct grd_block *block, struct grd_actions *actions)
{
    if (block->kept_tenure == 0)
        return;
    if (block->kept_frame != block->past_frame)
        grd_local_free_frame(actions, block->kept_frame);
    block->kept_tenure = 0;
    block->kept_frame = GRD_FRAME_NONE;
    local->kept_used--;
}

void grd_local_past_drop(struct grd_local *local, struct grd_block *block, struct grd_actions *actions)
{
    if (block->past_version == 0)
        return;
    if (block->past_frame != block->kept_frame)
        grd_local_free_frame(actions, block->past_frame);
    block->past_version = 0;
    block->past_frame = GRD_FRAME_NONE;
    local->past_used--;
    local->counters.past_dropped++;
}
