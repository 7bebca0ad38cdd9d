/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records of the blocks this instance has business with, found by their keys, and the dispatch of messages. The
 * requester's steps are in requester.c, the holder's in holder.c.
 */
#include "grd/local.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "grd/local_impl.h"
#include "grd/mutant.h"

/* 2^64 divided by the golden ratio: neighbours lie far from each other. */
#define SLOT_MIX UINT64_C(0x9e3779b97f4a7c15)

_Static_assert(offsetof(struct grd_block, begun_ns) == CF_CACHE_LINE &&
                   offsetof(struct grd_block, timer) == 2 * CF_CACHE_LINE &&
                   offsetof(struct grd_block, stay) == 3 * CF_CACHE_LINE,
               "what belongs together lies in one line");

/* ------------------------------------------------------------------ table: linear probing, deletion by shifting back */

static uint32_t slot_of(const struct grd_local *local, const struct cf_block_key *key)
{
    uint64_t name = key->block ^ ((uint64_t)key->file << 40) ^ ((uint64_t)key->generation << 52);

    return (uint32_t)((name ^ local->seed) * SLOT_MIX >> local->table_shift);
}

static CF_INLINE struct grd_block *find(const struct grd_local *local, const struct cf_block_key *key)
{
    uint32_t slot = slot_of(local, key), number;

    while ((number = local->table[slot]) != GRD_FRAME_NONE) {
        if (grd_key_equal(&local->blocks[number].key, key))
            return &local->blocks[number];
        slot = (slot + 1) & local->table_mask;
    }
    return NULL;
}

struct grd_block *grd_local_find(struct grd_local *local, const struct cf_block_key *key)
{
    return find(local, key);
}

void grd_local_prefetch_record(const struct grd_block *block)
{
    for (uint32_t at = 0; at < offsetof(struct grd_block, stay); at += CF_CACHE_LINE)
        cf_prefetch_write((const char *)block + at);
}

void grd_local_prefetch(const struct grd_local *local, const struct cf_block_key *key)
{
    cf_prefetch_write(&local->table[slot_of(local, key)]);
}

void grd_local_prefetch_free(const struct grd_local *local)
{
    const struct grd_block *block;

    if (local->block_free == GRD_FRAME_NONE)
        return;
    block = &local->blocks[local->block_free];
    grd_local_prefetch_record(block);
    __builtin_prefetch(&block->stay); /* that it is not armed is asserted */
}

static void table_remove(struct grd_local *local, const struct cf_block_key *key)
{
    uint32_t slot = slot_of(local, key), hole, home;

    while (!grd_key_equal(&local->blocks[local->table[slot]].key, key))
        slot = (slot + 1) & local->table_mask;
    for (hole = slot;;) {
        slot = (slot + 1) & local->table_mask;
        if (local->table[slot] == GRD_FRAME_NONE)
            break;
        home = slot_of(local, &local->blocks[local->table[slot]].key);
        /* Does the hole lie on the way from home to slot? Then the record may move into it. */
        if (((slot - home) & local->table_mask) >= ((slot - hole) & local->table_mask)) {
            local->table[hole] = local->table[slot];
            hole = slot;
        }
    }
    local->table[hole] = GRD_FRAME_NONE;
}

struct grd_block *grd_local_get(struct grd_local *local, const struct cf_block_key *key)
{
    struct grd_block *block = find(local, key);

    return block ? block : grd_local_make(local, key, grd_map_hash(local->map, key));
}

struct grd_block *grd_local_make(struct grd_local *local, const struct cf_block_key *key, uint64_t hash)
{
    struct grd_block *block;
    uint32_t number, slot;

    number = local->block_free;
    if (number == GRD_FRAME_NONE)
        return NULL;
    block = &local->blocks[number];
    local->block_free = block->next;
    local->blocks_used++;
    memset(block, 0, offsetof(struct grd_block, stay)); /* each of the rest is set before it counts */
    block->key = *key;
    block->hash = hash;
    block->in_use = true;
    block->frame = block->kept_frame = block->past_frame = GRD_FRAME_NONE;
    block->conv = block->demand_first = GRD_FRAME_NONE;
    cf_timer_init(&block->timer, 0);
    cf_assert(!cf_timer_armed(&block->stay));
    slot = slot_of(local, key);
    while (local->table[slot] != GRD_FRAME_NONE)
        slot = (slot + 1) & local->table_mask;
    local->table[slot] = number;
    return block;
}

static CF_INLINE bool is_over(const struct grd_block *block)
{
    return block->users == 0 && block->mode == CF_MODE_N && block->conv == GRD_FRAME_NONE &&
           block->release_tenure == 0 && block->kept_tenure == 0 && block->past_version == 0 &&
           block->demand_first == GRD_FRAME_NONE && !block->is_writing;
}

bool grd_local_settle(struct grd_local *local, struct grd_block *block)
{
    if (!is_over(block))
        return false;
    cf_assert(block->frame == GRD_FRAME_NONE);
    cf_wheel_disarm(&local->wheel, &block->timer);
    cf_wheel_disarm(&local->stays, &block->stay);
    table_remove(local, &block->key);
    block->in_use = false;
    block->next = local->block_free;
    local->block_free = (uint32_t)(block - local->blocks);
    local->blocks_used--;
    return true;
}

uint16_t grd_local_master(const struct grd_local *local, const struct grd_block *block)
{
    if (grd_mutant(GRD_MUT_WRONG_MASTER) && local->node == 1 && (block->hash >> 40 & 1) == 0)
        return local->node;
    return grd_map_owner(local->map, block->hash);
}

/* ------------------------------------------------------------------ messages */

void grd_local_truth(struct grd_local *local, struct grd_block *block, uint64_t tenure,
                     struct grd_actions *actions)
{
    struct grd_msg *msg;

    if (block->mode != CF_MODE_N && block->tenure == tenure) {
        msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_INSTALLED, &block->key);
        msg->request = 0;
        msg->tenure = tenure;
        msg->version = block->version;
        msg->durable = block->durable;
    } else if (block->release_tenure == tenure && tenure != 0) {
        grd_local_send_release(local, block, actions);
    } else {
        local->counters.stale++;
    }
}

static void on_unknown(struct grd_local *local, const struct grd_msg *msg, uint32_t frame,
                       struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_FORWARD:
    case GRD_MSG_INVALIDATE:
        grd_holder_answer_gone(local, NULL, msg, actions);
        break;
    case GRD_MSG_RECALL:
        grd_holder_on_recall(local, NULL, msg, actions);
        break;
    default:
        local->counters.stale++;
        break;
    }
    grd_local_free_frame(actions, frame);
}

static void on_released(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                        uint64_t now_ns, struct grd_actions *actions)
{
    if (block->release_tenure == 0 || block->release_tenure != msg->tenure) {
        local->counters.stale++;
        return;
    }
    grd_local_release_end(local, block);
    grd_requester_on_released(local, block, now_ns, actions);
}

/* What only a block's master may say: a peer that says it of another's block has gone wrong. */
#define OF_MASTERS                                                                                       \
    (UINT64_C(1) << GRD_MSG_GRANT | UINT64_C(1) << GRD_MSG_FORWARD | UINT64_C(1) << GRD_MSG_INVALIDATE | \
     UINT64_C(1) << GRD_MSG_RELEASED | UINT64_C(1) << GRD_MSG_DISCARD | UINT64_C(1) << GRD_MSG_PROBE |   \
     UINT64_C(1) << GRD_MSG_CONFIRMED | UINT64_C(1) << GRD_MSG_BOUNCE | UINT64_C(1) << GRD_MSG_WRITE |   \
     UINT64_C(1) << GRD_MSG_RECALL)
_Static_assert(GRD_MSG_MAX <= 64, "a bit for each type");

static bool is_masters(uint16_t type)
{
    return type < GRD_MSG_MAX && (OF_MASTERS >> type & 1) != 0;
}

/* It may have become the master without this instance having heard. */
static void say_where(struct grd_local *local, const struct grd_block *block, const struct grd_msg *msg,
                      struct grd_actions *actions)
{
    grd_action_send(actions, msg->from, GRD_MSG_MOVE_WHERE, &block->key)->bucket = grd_map_bucket(
        local->map, block->hash);
}

void grd_local_step(struct grd_local *local, const struct grd_msg *msg, uint32_t frame, uint64_t now_ns,
                    struct grd_actions *actions)
{
    struct grd_block *block = find(local, &msg->key);

    if (block == NULL) {
        on_unknown(local, msg, frame, actions);
        return;
    }
    if (is_masters(msg->type) && msg->from != grd_local_master(local, block)) {
        local->counters.stale++;
        say_where(local, block, msg, actions);
        grd_local_free_frame(actions, frame);
        return;
    }
    switch (msg->type) {
    case GRD_MSG_GRANT:
        grd_requester_on_grant(local, block, msg, now_ns, actions);
        break;
    case GRD_MSG_SHIP:
        grd_requester_on_ship(local, block, msg, frame, now_ns, actions);
        break;
    case GRD_MSG_INVALIDATED:
        grd_requester_on_invalidated(local, block, msg, now_ns, actions);
        break;
    case GRD_MSG_BOUNCE:
        grd_requester_on_bounce(local, block, msg, now_ns, actions);
        break;
    case GRD_MSG_FORWARD:
    case GRD_MSG_INVALIDATE:
        grd_holder_on_demand(local, block, msg, now_ns, actions);
        break;
    case GRD_MSG_RELEASED:
        on_released(local, block, msg, now_ns, actions);
        break;
    case GRD_MSG_DISCARD: /* I-5: the version named is durable */
        if (block->past_version != 0 && block->past_version <= msg->durable)
            grd_local_past_drop(local, block, actions);
        break;
    case GRD_MSG_PROBE:
        grd_local_truth(local, block, msg->tenure, actions);
        break;
    case GRD_MSG_CONFIRMED:
        if (block->kept_tenure == msg->tenure)
            grd_local_kept_drop(local, block, actions);
        break;
    case GRD_MSG_RECALL:
        grd_holder_on_recall(local, block, msg, actions);
        break;
    case GRD_MSG_WRITE:
        if (block->mode != CF_MODE_N && block->has_duty)
            grd_action_add(actions, GRD_ACT_WRITE)->block = block;
        break;
    default:
        local->counters.stale++;
        break;
    }
    if (is_over(block))
        (void)grd_local_settle(local, block);
}

void grd_block_dump(const struct grd_local *local, const struct grd_block *block, FILE *out)
{
    const struct grd_conv *conv = block->conv == GRD_FRAME_NONE ? NULL : &local->convs[block->conv];
    uint32_t number;

    fprintf(out,
            "block file %" PRIu32 " block %" PRIu64 " mode %u tenure %" PRIu64 " version %" PRIu64
            " durable %" PRIu64 " frame %d duty %d writing %d closing %u master %u\n",
            block->key.file, block->key.block, block->mode, block->tenure, block->version, block->durable,
            (int)block->frame, block->has_duty, block->is_writing, block->closing,
            grd_local_master(local, block));
    if (block->release_tenure)
        fprintf(out, "  release tenure %" PRIu64 "\n", block->release_tenure);
    if (block->kept_tenure)
        fprintf(out, "  kept tenure %" PRIu64 " version %" PRIu64 "\n", block->kept_tenure,
                block->kept_version);
    if (block->past_version)
        fprintf(out, "  past image version %" PRIu64 "\n", block->past_version);
    if (conv)
        fprintf(out,
                "  wants %u request %" PRIu64 " granted %d tenure %" PRIu64
                " how %u data %d need %u acks %u refuse %" PRIu64 "\n",
                conv->want, conv->request, conv->is_granted, conv->tenure, conv->how, conv->has_data,
                conv->need.count, conv->acks.count, conv->refuse);
    for (number = block->demand_first; number != GRD_FRAME_NONE; number = local->demands[number].next)
        fprintf(out, "  demand %s for node %u tenure %" PRIu64 "\n",
                grd_msg_name(local->demands[number].msg.type), local->demands[number].msg.requester,
                local->demands[number].msg.tenure);
}
