/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Carries out what the step functions want: messages, ships, closes, begins, frees. A message to this instance goes
 * through a queue, so that no step runs inside another. A message that finds no credit waits in its peer's backlog,
 * in order; a full backlog drops it, and the timers of grd/ repair that.
 */
#include <string.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/crc32c.h"
#include "base/probe.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/storage.h"
#include "grd/mutant.h"

/* ------------------------------------------------------------------ sending */

static void self_push(struct cf_instance *instance, const struct grd_msg *msg)
{
    if (instance->self_tail - instance->self_head == ENG_SELF_SLOTS) {
        instance->counters.backlog_dropped++;
        return;
    }
    grd_msg_copy(&instance->self[instance->self_tail++ & (ENG_SELF_SLOTS - 1)], msg);
    instance->counters.messages_local++;
}

void eng_self_drain(struct cf_instance *instance, uint64_t now_ns)
{
    while (instance->self_head != instance->self_tail) {
        struct grd_msg *msg = &instance->self[instance->self_head & (ENG_SELF_SLOTS - 1)];

        msg->from = instance->node;
        eng_deliver_owner(instance, msg, GRD_FRAME_NONE, now_ns);
        instance->self_head++; /* after the step: what it sends goes behind, never over it */
    }
}

/* The image's checksum, when the option asks for it: off, one in sixteen, always. */
static void ship_checksum(struct cf_instance *instance, struct grd_msg *msg, uint32_t frame)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);

    if (instance->options.ship_checksum == 0 ||
        (instance->options.ship_checksum == 1 && (msg->tenure & 15) != 0))
        return;
    msg->flags |= GRD_FLAG_CHECKED;
    msg->checksum = cf_crc32c(0, descriptor->data, descriptor->bytes);
}

/* False: no credit now. */
static bool post(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg, bool is_ship,
                 uint32_t frame)
{
    enum xp_class lane = is_ship ? XP_DATA : XP_CONTROL;
    uint32_t bytes = grd_msg_bytes(msg);
    void *body = xp_begin(instance->xp, to, lane, bytes);
    uint64_t scn;

    if (body == NULL)
        return false;
    grd_msg_encode(msg, body);
    scn = atomic_load_explicit(&instance->scn, memory_order_relaxed);
    if (is_ship) {
        xp_post_block(instance->xp, to, lane, msg->type, scn, frame);
        instance->counters.blocks_shipped++;
    } else {
        xp_post(instance->xp, to, lane, msg->type, scn);
    }
    instance->counters.messages_sent++;
    cf_trace_add(&instance->trace, CF_TRACE_MSG_SENT, to, msg->type, msg->request, msg->tenure);
    return true;
}

static void backlog_push(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg, bool is_ship,
                         uint32_t frame)
{
    struct eng_peer *peer = &instance->peers[to];
    uint32_t number = instance->backlog_free;
    struct eng_backlog *entry;

    if (number == GRD_FRAME_NONE) {
        instance->counters.backlog_dropped++;
        return;
    }
    instance->counters.lane_full++;
    instance->backlog_free = instance->backlog_next[number];
    instance->backlog_used++;
    entry = &instance->backlog[number];
    entry->to = to;
    entry->is_ship = is_ship;
    entry->frame = frame;
    entry->word = is_ship ? eng_frames_word(instance->frames, frame) & ENG_WORD_STABLE : 0;
    grd_msg_copy(&entry->msg, msg);
    instance->backlog_next[number] = GRD_FRAME_NONE;
    if (peer->backlog_first == GRD_FRAME_NONE)
        peer->backlog_first = number;
    else
        instance->backlog_next[peer->backlog_last] = number;
    peer->backlog_last = number;
}

/* A ship whose frame has been given to another block since is dropped: the requester asks again. */
static bool ship_is_stable(struct cf_instance *instance, const struct eng_backlog *entry)
{
    return (eng_frames_word(instance->frames, entry->frame) & ENG_WORD_STABLE) == entry->word;
}

void eng_backlog_drain(struct cf_instance *instance, uint16_t node)
{
    struct eng_peer *peer = &instance->peers[node];

    while (peer->backlog_first != GRD_FRAME_NONE) {
        uint32_t number = peer->backlog_first;
        struct eng_backlog *entry = &instance->backlog[number];

        if (!(entry->is_ship && !ship_is_stable(instance, entry)) && peer->state == ENG_PEER_UP &&
            !post(instance, node, &entry->msg, entry->is_ship, entry->frame))
            return;
        peer->backlog_first = instance->backlog_next[number];
        instance->backlog_next[number] = instance->backlog_free;
        instance->backlog_free = number;
        instance->backlog_used--;
    }
    peer->backlog_last = GRD_FRAME_NONE;
}

static void send_or_queue(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg, bool is_ship,
                          uint32_t frame)
{
    const struct eng_peer *peer = &instance->peers[to];

    if (peer->state != ENG_PEER_UP)
        return; /* nobody is there: a timer says it again, or the cluster has stopped */
    if (peer->backlog_first == GRD_FRAME_NONE && post(instance, to, msg, is_ship, frame))
        return;
    backlog_push(instance, to, msg, is_ship, frame);
}

/* Messages of the roles of this instance to each other are told as well: the path of a block stays whole. */
static inline void probe_sent(const struct cf_instance *instance, uint16_t to, const struct grd_msg *msg)
{
    if (msg->type == GRD_MSG_REQUEST)
        CF_PROBE6(request, instance->node, to, msg->key.file, msg->key.block, msg->mode, msg->request);
    else if (msg->type == GRD_MSG_FORWARD)
        CF_PROBE6(forward, instance->node, to, msg->key.file, msg->key.block, msg->mode, msg->requester);
    else if (msg->type == GRD_MSG_GRANT)
        CF_PROBE6(grant, instance->node, to, msg->key.file, msg->key.block, msg->mode, msg->tenure);
}

void eng_send_owner(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg)
{
    probe_sent(instance, to, msg);
    if (to == instance->node)
        self_push(instance, msg);
    else
        send_or_queue(instance, to, msg, false, GRD_FRAME_NONE);
}

/* ------------------------------------------------------------------ ships, and the redo before them (I-7) */

bool eng_log_is_durable(struct cf_instance *instance, uint64_t position)
{
    if (position == 0 || instance->callbacks.log_ensure == NULL ||
        position <= atomic_load_explicit(&instance->log_durable, memory_order_acquire))
        return true;
    return instance->callbacks.log_ensure(instance->callbacks.context, position) == CF_OK;
}

static void ship_wait_push(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg,
                           uint32_t frame)
{
    uint32_t number = instance->backlog_free;
    struct eng_backlog *entry;

    if (number == GRD_FRAME_NONE) {
        instance->counters.backlog_dropped++;
        return;
    }
    instance->backlog_free = instance->backlog_next[number];
    instance->backlog_used++;
    entry = &instance->backlog[number];
    entry->to = to;
    entry->is_ship = 1;
    entry->frame = frame;
    entry->word = eng_frames_word(instance->frames, frame) & ENG_WORD_STABLE;
    grd_msg_copy(&entry->msg, msg);
    instance->backlog_next[number] = GRD_FRAME_NONE;
    if (instance->ship_wait_first == GRD_FRAME_NONE)
        instance->ship_wait_first = number;
    else
        instance->backlog_next[instance->ship_wait_last] = number;
    instance->ship_wait_last = number;
}

/* Looks at each ship that waits once: what is durable by now goes out, the rest waits on. */
void eng_ships_drain(struct cf_instance *instance)
{
    uint32_t number = instance->ship_wait_first, next;

    instance->ship_wait_first = instance->ship_wait_last = GRD_FRAME_NONE;
    for (; number != GRD_FRAME_NONE; number = next) {
        struct eng_backlog *entry = &instance->backlog[number];

        next = instance->backlog_next[number];
        if (ship_is_stable(instance, entry)) {
            if (!eng_log_is_durable(instance, eng_frames_at(instance->frames, entry->frame)->position)) {
                instance->backlog_next[number] = GRD_FRAME_NONE;
                if (instance->ship_wait_first == GRD_FRAME_NONE)
                    instance->ship_wait_first = number;
                else
                    instance->backlog_next[instance->ship_wait_last] = number;
                instance->ship_wait_last = number;
                continue;
            }
            send_or_queue(instance, entry->to, &entry->msg, true, entry->frame);
        }
        instance->backlog_next[number] = instance->backlog_free;
        instance->backlog_free = number;
        instance->backlog_used--;
    }
}

static void do_ship(struct cf_instance *instance, struct grd_action *action)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, action->frame);

    if (action->to == instance->node) { /* a forward that names us as requester: no master says so */
        instance->counters.bad_messages++;
        return;
    }
    CF_PROBE6(ship, instance->node, action->to, action->msg.key.file, action->msg.key.block,
              action->msg.version, action->msg.tenure);
    ship_checksum(instance, &action->msg, action->frame);
    if (action->msg.version > action->msg.durable && !eng_log_is_durable(instance, descriptor->position)) {
        ship_wait_push(instance, action->to, &action->msg, action->frame);
        return;
    }
    send_or_queue(instance, action->to, &action->msg, true, action->frame);
}

/* ------------------------------------------------------------------ frames */

void eng_frame_give_back(struct cf_instance *instance, uint32_t frame)
{
    uint32_t class_index = eng_frames_at(instance->frames, frame)->class_index;

    if (CF_UNLIKELY(xp_frame_is_sending(instance->xp, frame))) {
        /* A device still reads it: an S copy may be evicted while a ship of it is under way. */
        cf_assert(instance->sending_count < eng_frames_count(instance->frames));
        instance->sending_list[instance->sending_count++] = frame;
        return;
    }
    /* One that was reserved and never opened is as it was taken: no peer has been told of it. */
    if (eng_frames_at(instance->frames, frame)->local == ENG_FRAME_NONE &&
        instance->lent[class_index] < instance->lent_target[class_index]) {
        instance->lent[class_index]++;
        xp_frame_post(instance->xp, class_index, frame);
        return;
    }
    /* Free bumps the generation, so that a peer which still copies out of it finds out; take makes it writable. */
    eng_frame_free_owner(instance->frames, frame);
    if (instance->lent[class_index] < instance->lent_target[class_index]) {
        uint32_t lent = eng_frame_take_owner(instance->frames, class_index);

        cf_assert(lent != ENG_FRAME_NONE);
        instance->lent[class_index]++;
        xp_frame_post(instance->xp, class_index, lent);
    }
}

void eng_frames_sent(struct cf_instance *instance)
{
    uint32_t i = 0;

    while (i < instance->sending_count) {
        uint32_t frame = instance->sending_list[i];

        if (xp_frame_is_sending(instance->xp, frame)) {
            i++;
            continue;
        }
        instance->sending_list[i] = instance->sending_list[--instance->sending_count];
        eng_frame_give_back(instance, frame);
    }
}

void eng_attention_add(struct cf_instance *instance, struct grd_block *block)
{
    uint32_t number = (uint32_t)(block - instance->local->blocks);

    if (instance->is_attended[number])
        return;
    cf_assert(instance->attention_count < instance->local->blocks_count);
    instance->is_attended[number] = true;
    instance->attention_list[instance->attention_count++] = number;
}

static void do_close(struct cf_instance *instance, struct grd_block *block, enum cf_mode to, uint64_t now_ns)
{
    if (to == CF_MODE_N && instance->callbacks.before_invalidate)
        instance->callbacks.before_invalidate(instance->callbacks.context, &block->key);
    if (!eng_frame_close_begin_owner(instance->frames, block->frame, to) &&
        !grd_mutant(GRD_MUT_PIN_WHILE_CLOSING)) {
        eng_attention_add(instance, block);
        return;
    }
    eng_block_refresh(instance, block);
    eng_frame_close_end_owner(instance->frames, block->frame, to);
    grd_local_closed(instance->local, block, now_ns, instance->actions);
    eng_block_serve(instance, block, now_ns);
    grd_local_settle(instance->local, block);
}

/* One look at each block of the list; those that need no more looking leave it. */
void eng_attention_walk(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i, kept = 0, count = instance->attention_count;

    for (i = 0; i < count; i++) {
        uint32_t number = instance->attention_list[i];
        struct grd_block *block = &instance->local->blocks[number];
        bool is_waiting = false;

        if (!block->in_use) {
            instance->is_attended[number] = false;
            continue;
        }
        if (block->closing && !block->is_closed) {
            enum cf_mode to = (enum cf_mode)(block->closing - 1);

            if (eng_frame_close_ready_owner(instance->frames, block->frame, to)) {
                eng_block_refresh(instance, block);
                eng_frame_close_end_owner(instance->frames, block->frame, to);
                grd_local_closed(instance->local, block, now_ns, instance->actions);
                eng_block_serve(instance, block, now_ns);
                eng_actions_run(instance, now_ns);
            } else {
                is_waiting = true;
            }
        } else if (block->waiter_first) {
            eng_block_serve(instance, block, now_ns);
            eng_actions_run(instance, now_ns);
        }
        if (block->in_use &&
            ((block->closing && !block->is_closed) || (block->waiter_first && block->mode != CF_MODE_N)))
            is_waiting = true;
        if (is_waiting) {
            instance->attention_list[kept++] = number;
            continue;
        }
        instance->is_attended[number] = false;
        if (block->in_use) /* an action may have settled it */
            grd_local_settle(instance->local, block);
    }
    /* Steps above may have added blocks behind `count`. */
    for (; i < instance->attention_count; i++)
        instance->attention_list[kept++] = instance->attention_list[i];
    instance->attention_count = kept;
}

/* How the block came, in the number that the probe `install` tells; 2 and 3 are hops. */
static inline uint8_t way_of(const struct grd_msg *msg)
{
    return msg->how == GRD_HOW_DISK      ? 0
           : msg->how == GRD_HOW_UPGRADE ? 1
           : msg->how == GRD_HOW_SHIP    ? msg->hops
                                         : 4;
}

/* The mode begins: the frame becomes visible, and who waited is served before anybody else can take it away. */
static void do_begin(struct cf_instance *instance, const struct grd_action *action, uint64_t now_ns)
{
    struct grd_block *block = action->block;
    struct eng_frame *descriptor = eng_frames_at(instance->frames, block->frame);
    struct cf_hist *hist = NULL;
    uint64_t took_ns = 0;

    if (action->msg.how == GRD_HOW_UPGRADE) {
        eng_frame_raise_owner(instance->frames, block->frame);
        instance->counters.upgrades++;
        hist = &instance->hists[3];
    } else {
        descriptor->local = (uint32_t)(block - instance->local->blocks);
        descriptor->version = block->version;
        descriptor->position = 0;
        descriptor->dirty_since_ns = 0;
        if (instance->callbacks.arrived)
            instance->callbacks.arrived(instance->callbacks.context, &block->key, descriptor->data,
                                        descriptor->bytes);
        eng_frame_open_owner(instance->frames, block->frame, &block->key, (enum cf_mode)action->mode,
                             block->has_duty && block->version > block->durable);
        if (action->msg.how == GRD_HOW_SHIP) {
            instance->counters.hops2 += action->msg.hops == 2;
            instance->counters.hops3 += action->msg.hops == 3;
            hist = &instance->hists[action->msg.hops == 2 ? 0 : 1];
        } else if (action->msg.how == GRD_HOW_DISK) {
            hist = &instance->hists[2];
        } else {
            instance->counters.news++;
        }
    }
    if (hist) { /* a turn's time may be some turns old, which is half of what a remote block takes */
        took_ns = (instance->is_manual ? now_ns : cf_now_ns()) - action->msg.request;
        cf_hist_add(hist, took_ns);
    }
    CF_PROBE6(install, instance->node, block->key.file, block->key.block, action->mode, way_of(&action->msg),
              took_ns);
    eng_block_serve(instance, block, now_ns);
}

/* Somebody who holds too many past images wants the block on storage. */
static void do_write_asked(struct cf_instance *instance, struct grd_block *block)
{
    if (block->is_writing || !eng_block_refresh(instance, block))
        return; /* it will be written, or is being changed: the asker asks again */
    if (grd_local_can_write(block))
        eng_write_start(instance, block);
    else
        grd_local_say_written(instance->local, block, instance->actions);
}

/* ------------------------------------------------------------------ the list */

/*
 * Steps append to one list; whoever called them runs it. Carrying an action out may append more, so that the list
 * grows behind the loop; a call from inside the loop leaves the work to it.
 */
void eng_actions_run(struct cf_instance *instance, uint64_t now_ns)
{
    struct grd_actions *actions = instance->actions;
    uint32_t i;

    if (instance->is_acting || actions->count == 0)
        return;
    instance->is_acting = true;
    for (i = 0; i < actions->count; i++) {
        struct grd_action *action = &actions->item[i];

        switch ((enum grd_action_type)action->type) {
        case GRD_ACT_SEND:
            eng_send_owner(instance, action->to, &action->msg);
            break;
        case GRD_ACT_SHIP:
            do_ship(instance, action);
            break;
        case GRD_ACT_READ:
            eng_read_start(instance, action->block, now_ns);
            break;
        case GRD_ACT_FORMAT:
            eng_format_start(instance, action->block, now_ns);
            break;
        case GRD_ACT_CLOSE:
            do_close(instance, action->block, (enum cf_mode)action->mode, now_ns);
            break;
        case GRD_ACT_BEGIN:
            do_begin(instance, action, now_ns);
            break;
        case GRD_ACT_FAILED:
            eng_block_fail(instance, action->block, (enum cf_rc)(int32_t)action->frame);
            grd_local_settle(instance->local, action->block);
            break;
        case GRD_ACT_FREE:
            eng_frame_give_back(instance, action->frame);
            break;
        case GRD_ACT_WRITE:
            do_write_asked(instance, action->block);
            break;
        }
    }
    actions->count = 0;
    instance->is_acting = false;
}
