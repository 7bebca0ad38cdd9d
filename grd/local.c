/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Records, pools and timers of the blocks this instance has business with, and the dispatch of messages. The
 * requester's steps are in requester.c, the holder's in holder.c.
 */
#include "grd/local.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"
#include "grd/backoff.h"
#include "grd/local_impl.h"
#include "grd/mutant.h"

/* Questions that are asked only in case a message was lost wait this many periods. */
#define GRD_SLOW_PERIODS 4u
/* A past image normally waits for a write-back by age: its question, this many periods; 4 when there are too many. */
#define GRD_PAST_PERIODS 256u
/* A residency ends late by at most this part of it, and by no less than a microsecond's tick. */
#define GRD_STAY_PARTS 16u
#define GRD_STAY_TICK_NS_MIN UINT64_C(1000)

/* 2^64 divided by the golden ratio: neighbours lie far from each other. */
#define SLOT_MIX UINT64_C(0x9e3779b97f4a7c15)

_Static_assert(offsetof(struct grd_block, begun_ns) == CF_CACHE_LINE &&
                   offsetof(struct grd_block, timer) == 2 * CF_CACHE_LINE &&
                   offsetof(struct grd_block, stay) == 3 * CF_CACHE_LINE,
               "what belongs together lies in one line");

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
    if (local->block_free != GRD_FRAME_NONE)
        grd_local_prefetch_record(&local->blocks[local->block_free]);
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

/* ------------------------------------------------------------------ timers */

static void arm_at(struct grd_local *local, struct grd_block *block, uint64_t due_ns)
{
    block->quiet_ns = due_ns;
    cf_wheel_arm(&local->wheel, &block->timer, due_ns);
}

/* A timer that is armed already goes off where it is and is put to the later time then: most have nothing to do by then. */
void grd_local_arm(struct grd_local *local, struct grd_block *block, uint64_t now_ns)
{
    uint64_t due_ns = now_ns + local->resend_ns;

    block->retries = 0;
    if (cf_timer_armed(&block->timer) && block->timer.due_ns <= due_ns)
        block->quiet_ns = due_ns;
    else
        arm_at(local, block, due_ns);
}

bool grd_local_release_has_room(const struct grd_local *local, uint32_t but)
{
    return local->release_next + but - local->releases.low < GRD_WINDOW;
}

void grd_local_release_begin(struct grd_local *local, struct grd_block *block, uint64_t tenure,
                             uint64_t version, uint64_t durable)
{
    cf_assert(block->release_tenure == 0 && tenure != 0);
    cf_assert_id(grd_local_release_has_room(local, 0), "G-15");
    block->release_tenure = tenure;
    block->release_version = version;
    block->release_durable = durable;
    block->release_number = local->release_next++;
    local->releases_used++;
}

void grd_local_release_end(struct grd_local *local, struct grd_block *block)
{
    bool is_noted = grd_window_end(&local->releases, block->release_number);

    cf_assert_id(is_noted, "G-15");
    grd_window_slide(&local->releases);
    block->release_tenure = 0;
    local->releases_used--;
}

void grd_local_release_name(const struct grd_local *local, const struct grd_block *block, uint64_t tenure,
                            struct grd_msg *msg)
{
    bool is_open = block && block->release_tenure != 0 && block->release_tenure == tenure;

    msg->number = is_open ? block->release_number : 0;
    msg->behind = is_open ? (uint16_t)(block->release_number - local->releases.low) : 0;
}

void grd_local_send_release(const struct grd_local *local, struct grd_block *block,
                            struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_RELEASE,
                                          &block->key);

    grd_local_release_name(local, block, block->release_tenure, msg);
    msg->tenure = block->release_tenure;
    msg->version = block->release_version;
    msg->durable = block->release_durable;
}

static void send_past(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions)
{
    bool over = local->past_used > local->past_max;
    uint64_t period_ns = local->resend_ns * (over ? GRD_SLOW_PERIODS : GRD_PAST_PERIODS);

    if (block->past_asked_ns == 0)
        block->past_asked_ns = now_ns;
    if (now_ns - block->past_asked_ns < period_ns)
        return;
    block->past_asked_ns = now_ns;
    grd_action_send(actions, grd_local_master(local, block), over ? GRD_MSG_WRITE_ASK : GRD_MSG_PAST,
                    &block->key)
        ->version = block->past_version;
    local->counters.resends++;
    local->counters.write_asks += over;
}

static bool asks(const struct grd_block *block, const struct grd_conv *conv)
{
    return !conv->is_reading && !(conv->is_granted && conv->failed && block->release_tenure);
}

static void send_again(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                       struct grd_actions *actions)
{
    struct grd_conv *conv = grd_local_conv(local, block);
    struct grd_msg *msg;

    if (conv && asks(block, conv)) {
        grd_requester_send(local, block, actions);
        local->counters.resends++;
    }
    if (block->release_tenure) {
        grd_local_send_release(local, block, actions);
        local->counters.resends++;
    }
    if (block->past_version)
        send_past(local, block, now_ns, actions);
    if (block->kept_tenure && block->retries % GRD_SLOW_PERIODS == GRD_SLOW_PERIODS - 1) {
        msg = grd_action_send(actions, grd_local_master(local, block), GRD_MSG_KEPT, &block->key);
        msg->tenure = block->kept_tenure;
        msg->requester = block->kept_for;
        local->counters.resends++;
    }
}

/* The residency of a copy is over: those who wait for it are served. */
static bool stay_tick(struct grd_local *local, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&local->stays, now_ns);
    struct grd_block *block;

    if (timer == NULL)
        return false;
    block = cf_container_of(timer, struct grd_block, stay);
    grd_holder_serve(local, block, now_ns, actions);
    grd_local_settle(local, block);
    return true;
}

bool grd_local_tick(struct grd_local *local, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&local->wheel, now_ns);
    struct grd_block *block;
    bool is_needed;

    if (timer == NULL)
        return stay_tick(local, now_ns, actions);
    block = cf_container_of(timer, struct grd_block, timer);
    is_needed = block->conv != GRD_FRAME_NONE || block->release_tenure || block->kept_tenure ||
                block->past_version || block->demand_first != GRD_FRAME_NONE;
    if (!is_needed) {
        grd_local_settle(local, block);
        return true;
    }
    if (now_ns < block->quiet_ns) {
        arm_at(local, block, block->quiet_ns);
        return true;
    }
    grd_requester_on_released(local, block, now_ns,
                              actions); /* a failed grant that found no release number */
    send_again(local, block, now_ns, actions);
    block->retries++;
    arm_at(local, block, now_ns + grd_backoff_ns(local->resend_ns, block->retries));
    grd_holder_serve(local, block, now_ns, actions);
    return true;
}

void grd_local_moved(struct grd_local *local, uint32_t bucket, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t i;

    for (i = 0; i < local->outstanding; i++) {
        struct grd_conv *conv = &local->convs[i];
        struct grd_block *block = conv->block == GRD_FRAME_NONE ? NULL : &local->blocks[conv->block];

        if (block == NULL || grd_map_bucket(local->map, block->hash) != bucket)
            continue;
        if (asks(block, conv))
            grd_requester_moved(local, block, now_ns, actions);
        else
            grd_local_arm(local, block, now_ns);
    }
}

uint64_t grd_local_next_ns(const struct grd_local *local)
{
    uint64_t next_ns = cf_wheel_next_ns(&local->wheel), stay_ns = grd_local_stay_ns(local);

    return next_ns < stay_ns ? next_ns : stay_ns;
}

void grd_local_reset(struct grd_local *local, uint16_t node, uint64_t now_ns)
{
    uint32_t i;

    (void)node; /* a holder's lane carries ships for conversations of any master: all of them look again */
    for (i = 0; i < local->blocks_count; i++) {
        struct grd_block *block = &local->blocks[i];

        if (block->in_use && cf_timer_armed(&block->timer)) {
            block->retries = GRD_SLOW_PERIODS - 1;
            arm_at(local, block, now_ns);
        }
    }
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
