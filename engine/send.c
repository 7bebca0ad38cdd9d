/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What leaves the instance. A message to this instance goes through a queue, so that no step runs inside another. A message that
 * finds no credit waits in its peer's backlog, in order; a full backlog drops it, and the timers of grd/ repair that. A ship
 * waits for the redo that describes its image.
 */
#include "base/crc32c.h"
#include "base/probe.h"
#include "engine/instance.h"
#include "engine/pool.h"

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

/* A list through backlog_next, of entries that wait. */
static void list_append(struct cf_instance *instance, uint32_t *first, uint32_t *last, uint32_t number)
{
    instance->backlog_next[number] = GRD_FRAME_NONE;
    if (*first == GRD_FRAME_NONE)
        *first = number;
    else
        instance->backlog_next[*last] = number;
    *last = number;
}

/* False: the backlog is full, and the message is dropped. */
static bool entry_take(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg, bool is_ship,
                       uint32_t frame, uint32_t *number_out)
{
    uint32_t number = instance->backlog_free;
    struct eng_backlog *entry;

    if (number == GRD_FRAME_NONE) {
        instance->counters.backlog_dropped++;
        return false;
    }
    instance->backlog_free = instance->backlog_next[number];
    instance->backlog_used++;
    entry = &instance->backlog[number];
    entry->to = to;
    entry->is_ship = is_ship;
    entry->frame = frame;
    entry->word = is_ship ? eng_frames_word(instance->frames, frame) & ENG_WORD_STABLE : 0;
    grd_msg_copy(&entry->msg, msg);
    *number_out = number;
    return true;
}

static void entry_free(struct cf_instance *instance, uint32_t number)
{
    instance->backlog_next[number] = instance->backlog_free;
    instance->backlog_free = number;
    instance->backlog_used--;
}

static void backlog_push(struct cf_instance *instance, uint16_t to, const struct grd_msg *msg, bool is_ship,
                         uint32_t frame)
{
    struct eng_peer *peer = &instance->peers[to];
    uint32_t number;

    if (!entry_take(instance, to, msg, is_ship, frame, &number))
        return;
    instance->counters.lane_full++;
    list_append(instance, &peer->backlog_first, &peer->backlog_last, number);
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
        entry_free(instance, number);
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
                list_append(instance, &instance->ship_wait_first, &instance->ship_wait_last, number);
                continue;
            }
            send_or_queue(instance, entry->to, &entry->msg, true, entry->frame);
        }
        entry_free(instance, number);
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

void eng_ship_owner(struct cf_instance *instance, struct grd_action *action)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, action->frame);
    uint32_t number;

    if (action->to == instance->node) { /* a forward that names us as requester: no master says so */
        instance->counters.bad_messages++;
        return;
    }
    CF_PROBE6(ship, instance->node, action->to, action->msg.key.file, action->msg.key.block,
              action->msg.version, action->msg.tenure);
    ship_checksum(instance, &action->msg, action->frame);
    if (action->msg.version > action->msg.durable && !eng_log_is_durable(instance, descriptor->position)) {
        if (entry_take(instance, action->to, &action->msg, true, action->frame, &number))
            list_append(instance, &instance->ship_wait_first, &instance->ship_wait_last, number);
        return;
    }
    send_or_queue(instance, action->to, &action->msg, true, action->frame);
}
