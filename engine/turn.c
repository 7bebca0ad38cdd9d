/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn of the progress loop: arrivals, callers, frames that others let go of, storage, timers; each bounded, so
 * that none starves another. All roles of the instance meet here; what they say to each other goes through the
 * queue of messages to oneself.
 */
#include <inttypes.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/crc32c.h"
#include "engine/format.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"
#include "grd/mutant.h"

void eng_scn_raise(struct cf_instance *instance, uint64_t scn)
{
    uint64_t now = atomic_load_explicit(&instance->scn, memory_order_relaxed);

    while (now < scn && !atomic_compare_exchange_weak_explicit(&instance->scn, &now, scn,
                                                               memory_order_relaxed, memory_order_relaxed))
        ;
}

void eng_stop_owner(struct cf_instance *instance, enum cf_rc rc, int system, uint16_t node, const char *fmt,
                    ...)
{
    va_list args;
    uint32_t i;

    if (eng_state(instance) != CF_OK)
        return;
    instance->stop_error.rc = rc;
    instance->stop_error.system = system;
    instance->stop_error.node = node;
    va_start(args, fmt);
    vsnprintf(instance->stop_error.text, sizeof instance->stop_error.text, fmt, args);
    va_end(args);
    cf_log_error(&instance->log, "engine", "stopped: %s", instance->stop_error.text);
    atomic_store_explicit(&instance->state, (int32_t)rc, memory_order_release); /* partner: eng_state */
    instance->guard->state = ENG_STOPPED; /* sends every call to look at the state */
    cf_fence_full();                      /* partner: hit_name_set */
    for (i = 0; i < instance->options.files; i++)
        cf_poke_u64(&instance->guard->hit_names[i], 0);
    instance->is_stop_told = false; /* at the end of a turn: the caller may be at work on any queue of ops */
}

/* Those who waited when the instance stopped hear of it. */
static void stop_tell(struct cf_instance *instance)
{
    if (instance->is_stop_told)
        return;
    instance->is_stop_told = true;
    eng_ops_fail_all(instance, eng_state(instance));
}

/* ------------------------------------------------------------------ messages */

uint64_t eng_hash_owner(struct cf_instance *instance, const struct cf_block_key *key)
{
    struct eng_hashed *hashed = &instance->hashed[key->block % ENG_HASHED];

    if (hashed->hash == 0 || !grd_key_equal(&hashed->key, key)) {
        hashed->key = *key;
        hashed->hash = grd_map_hash(&instance->map, key);
    }
    return hashed->hash;
}

void eng_hash_note_owner(struct cf_instance *instance, const struct cf_block_key *key, uint64_t hash)
{
    instance->hashed[key->block % ENG_HASHED] = (struct eng_hashed){.key = *key, .hash = hash};
}

/*
 * What a demand will look at, record and frame, was last used when the block came, and is in no near cache. Here its lines are
 * asked for, to come while the message goes on its way.
 */
static void foresee(struct cf_instance *instance, const struct grd_msg *msg)
{
    const struct grd_block *block;

    if (msg->type == GRD_MSG_REQUEST && instance->workers_count == 0) {
        uint64_t hash = eng_hash_owner(instance, &msg->key);

        grd_entry_prefetch(instance->masters[grd_map_shard(&instance->map, hash)]->directory, hash);
    } else if (msg->type != GRD_MSG_FORWARD && msg->type != GRD_MSG_INVALIDATE) {
        return;
    }
    block = grd_local_find(instance->local, &msg->key);
    if (block == NULL || block->frame == GRD_FRAME_NONE)
        return;
    eng_frame_prefetch_owner(instance->frames, block->frame);
    grd_local_prefetch_record(block);
}

static void master_step(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    uint64_t hash = eng_hash_owner(instance, &msg->key);

    if (eng_lock_is_for_master(msg->type)) {
        if (grd_map_master(&instance->map, hash) != instance->node && !grd_mutant(GRD_MUT_WRONG_MASTER)) {
            instance->counters.bad_messages++; /* I-10: not mine in this epoch */
            return;
        }
    } else if (grd_move_route(instance->move, msg, hash, instance->actions) != GRD_MOVE_SERVE) {
        return; /* I-10: not mine under this number, or not now */
    }
    if (instance->workers_count)
        eng_worker_push(instance, msg, grd_map_shard(&instance->map, hash));
    else
        eng_master_step(instance, grd_map_shard(&instance->map, hash), msg, hash, now_ns, instance->actions);
}

void eng_master_step_again(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    master_step(instance, msg, now_ns);
}

static void on_scn_ask(struct cf_instance *instance, const struct grd_msg *msg)
{
    struct grd_msg answer = {.type = GRD_MSG_SCN_TELL, .request = msg->request};

    eng_send_owner(instance, msg->from, &answer);
}

void eng_deliver_owner(struct cf_instance *instance, const struct grd_msg *msg, uint32_t frame,
                       uint64_t now_ns)
{
    if (eng_state(instance) != CF_OK) { /* nothing is granted, served or given up any more */
        if (frame != GRD_FRAME_NONE)
            eng_frame_give_back(instance, frame);
        return;
    }
    switch (msg->type) {
    case GRD_MSG_REQUEST:
    case GRD_MSG_INSTALLED:
    case GRD_MSG_RELEASE:
    case GRD_MSG_NOT_HELD:
    case GRD_MSG_WRITTEN:
    case GRD_MSG_KEPT:
    case GRD_MSG_PAST:
    case GRD_MSG_WRITE_ASK:
    case GRD_MSG_LOCK_REQUEST:
    case GRD_MSG_LOCK_CANCEL:
    case GRD_MSG_LOCK_IN_USE:
    case GRD_MSG_LOCK_DOWN:
    case GRD_MSG_LOCK_SWAP:
    case GRD_MSG_LOCK_READ:
    case GRD_MSG_HELD:
        master_step(instance, msg, now_ns);
        break;
    case GRD_MSG_LOCK_GRANT:
    case GRD_MSG_LOCK_REFUSED:
    case GRD_MSG_LOCK_DEMAND:
    case GRD_MSG_LOCK_LOWERED:
    case GRD_MSG_LOCK_VALUE:
        eng_lock_message_owner(instance, msg, now_ns);
        break;
    case GRD_MSG_WHERE:
        master_step(instance, msg, now_ns);
        break;
    case GRD_MSG_MOVE_OFFER:
    case GRD_MSG_MOVE_ACCEPT:
    case GRD_MSG_MOVE_TAKE:
    case GRD_MSG_MOVED:
    case GRD_MSG_MOVE_ENTRY:
    case GRD_MSG_MOVE_ASK:
    case GRD_MSG_MOVE_GOT:
    case GRD_MSG_MOVE_DONE:
    case GRD_MSG_MOVE_OVER:
    case GRD_MSG_MOVE_WHERE:
    case GRD_MSG_MOVE_WISH:
    case GRD_MSG_MOVE_ORDER:
    case GRD_MSG_MOVE_REPORT:
        eng_move_message_owner(instance, msg, now_ns);
        break;
    case GRD_MSG_LOOK:
        eng_snapshot_on_look(instance, msg);
        break;
    case GRD_MSG_THERE:
        eng_snapshot_on_there(instance, msg, now_ns);
        break;
    case GRD_MSG_DETECT_ASK:
    case GRD_MSG_DETECT_REPORT:
    case GRD_MSG_DETECT_VICTIM:
    case GRD_MSG_DETECT_TOLD:
        eng_detect_message_owner(instance, msg, now_ns);
        break;
    case GRD_MSG_SCN_ASK:
        on_scn_ask(instance, msg);
        break;
    case GRD_MSG_SCN_TELL:
        cf_publish_u64(&instance->peers[msg->from].scn_asked, msg->request);
        break;
    case GRD_MSG_LEAVE:
        cf_publish_bool(&instance->peers[msg->from].has_left, true);
        break;
    case GRD_MSG_FILE_STOP:
    case GRD_MSG_FILE_STOPPED:
    case GRD_MSG_FILE_GO:
        eng_file_op_on_message(instance, msg, now_ns);
        break;
    case GRD_MSG_RECALL:
        eng_file_asked_owner(instance, msg, now_ns);
        grd_local_step(instance->local, msg, frame, now_ns, instance->actions);
        break;
    default:
        grd_local_step(instance->local, msg, frame, now_ns, instance->actions);
        break;
    }
    eng_actions_run(instance, now_ns);
}

/* An image that arrived: header and, when it carries one, checksum. False = it must be asked for again. */
static bool image_is_good(struct cf_instance *instance, const struct grd_msg *msg, uint32_t frame)
{
    const struct eng_frame *descriptor = eng_frames_at(instance->frames, frame);
    struct cf_file *file = eng_file_of_key(instance, &msg->key);
    uint64_t version = 0;

    if (file == NULL || file->block_bytes != descriptor->bytes)
        return false;
    if ((msg->flags & GRD_FLAG_CHECKED) &&
        cf_crc32c(0, descriptor->data, descriptor->bytes) != msg->checksum) {
        instance->counters.checksum_failures++;
        return false;
    }
    if (file->format != CF_FORMAT_NATIVE)
        return true;
    if (eng_block_verify_header(descriptor->data, descriptor->bytes, &msg->key, &version) !=
            ENG_DAMAGE_NONE ||
        version != msg->version) {
        instance->counters.checksum_failures++;
        return false;
    }
    return true;
}

static void on_message(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    struct grd_msg *msg = &instance->decoded;
    uint32_t frame = event->type == XP_EV_BLOCK ? event->frame : GRD_FRAME_NONE;
    uint64_t scn = event->header->scn;
    bool is_block = event->type != XP_EV_MESSAGE;

    instance->counters.messages_received++;
    if (frame != GRD_FRAME_NONE)
        instance->lent[eng_frames_at(instance->frames, frame)->class_index]--;
    msg->requester = event->node;
    grd_set_clear(&msg->set);
    if (scn > atomic_load_explicit(&instance->scn, memory_order_relaxed) + ENG_SCN_AHEAD_MAX ||
        !grd_msg_decode(event->header->type, event->message, event->bytes, instance->nodes, msg) ||
        (msg->type == GRD_MSG_SHIP) != is_block) {
        instance->counters.bad_messages++;
        if (frame != GRD_FRAME_NONE)
            eng_frame_give_back(instance, frame);
        return;
    }
    eng_scn_raise(instance, scn);
    msg->from = event->node;
    cf_trace_add(&instance->trace, CF_TRACE_MSG_RECEIVED, msg->from, msg->type, msg->request, msg->tenure);
    if (event->type == XP_EV_BLOCK && eng_state(instance) == CF_OK && !image_is_good(instance, msg, frame)) {
        eng_frame_give_back(instance, frame);
        grd_local_torn(instance->local, msg, now_ns, instance->actions);
        eng_actions_run(instance, now_ns);
    } else if (event->type == XP_EV_TORN) {
        if (eng_state(instance) == CF_OK)
            grd_local_torn(instance->local, msg, now_ns, instance->actions);
        eng_actions_run(instance, now_ns);
    } else {
        foresee(instance, msg);
        eng_deliver_owner(instance, msg, frame, now_ns);
    }
}

/* ------------------------------------------------------------------ connection events */

/* What every instance must agree on with its peers; carried by the transport's handshake. */
static void on_hello(struct cf_instance *instance, const struct xp_event *event)
{
    struct eng_hello hello;
    const char *why = NULL;

    memcpy(&hello, event->message, sizeof hello);
    if (hello.magic != ENG_HELLO_MAGIC || hello.version != ENG_HELLO_VERSION)
        why = "it speaks another version of the engine's protocol";
    else if (hello.nodes != instance->nodes)
        why = "it has another number of nodes";
    else if (hello.buckets != instance->options.buckets)
        why = "it has another number of buckets";
    else if (hello.locks != instance->options.locks)
        why = "it has another number of locks";
    else if (hello.outstanding > instance->peer_outstanding_max)
        why = "it may have more conversations open than this instance's directory allows for";
    instance->peers[event->node].incarnation = hello.incarnation;
    instance->peers[event->node].records_offset = hello.records_offset;
    instance->peers[event->node].records_shard = hello.records_shard;
    instance->peers[event->node].shards = hello.shards;
    xp_accept(instance->xp, event->node, why ? CF_OPTION : CF_OK, why ? why : "");
    if (why)
        cf_log_warn(&instance->log, "engine", "node %u refused: %s", event->node, why);
}

static int by_value(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a, y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* All members are here: the view has its name, and calls are served. */
static void view_complete(struct cf_instance *instance)
{
    uint64_t names[CF_NODES_MAX] = {0};
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        names[n] = (uint64_t)n << 32 |
                   (n == instance->node ? instance->incarnation : instance->peers[n].incarnation);
    qsort(names, instance->nodes, sizeof names[0], by_value);
    instance->view = cf_siphash(&instance->cluster_key, names, instance->nodes * sizeof names[0]) | 1;
    cf_trace_add(&instance->trace, CF_TRACE_VIEW_INSTALLED, (uint16_t)instance->nodes, 0, instance->epoch,
                 instance->view);
    cf_log_info(&instance->log, "engine", "open: %u members, epoch %" PRIu64 ", incarnation %u",
                instance->nodes, instance->epoch, instance->incarnation);
    cf_publish_u32(&instance->is_open, 1);
}

void eng_view_alone(struct cf_instance *instance)
{
    view_complete(instance);
}

static void on_up(struct cf_instance *instance, uint16_t node)
{
    struct eng_peer *peer = &instance->peers[node];

    if (peer->state == ENG_PEER_UP)
        return;
    peer->state = ENG_PEER_UP;
    instance->peers_up++;
    if (instance->peers_up + 1 == instance->nodes &&
        !atomic_load_explicit(&instance->is_open, memory_order_relaxed))
        view_complete(instance);
}

static void on_down(struct cf_instance *instance, const struct xp_event *event)
{
    struct eng_peer *peer = &instance->peers[event->node];
    uint16_t node = event->node;

    if (peer->state == ENG_PEER_UP)
        instance->peers_up--;
    if (!atomic_load_explicit(&instance->is_open, memory_order_relaxed)) {
        peer->state = ENG_PEER_ABSENT;
        if (event->rc != CF_PEER_LOST && event->rc != CF_CLOSING && event->rc != CF_OK)
            eng_stop_owner(instance, event->rc, 0, node, "node %u refused this instance: %s", node,
                           cf_rc_text(event->rc));
        return; /* it may come back: the static view waits for it until open_timeout */
    }
    peer->state = ENG_PEER_GONE;
    eng_backlog_drain(instance, node);
    if (cf_observe_bool(&peer->has_left) &&
        atomic_load_explicit(&instance->closing, memory_order_relaxed) == 2)
        return; /* it had everybody's leave and went: so may this one */
    /* Until redo and recovery exist, the death of a member stops the cluster: no survivor grants or writes. */
    eng_stop_owner(instance, CF_PEER_LOST, 0, node, "node %u is gone (%s)", node, cf_rc_name(event->rc));
}

static void on_event(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    switch ((enum xp_event_type)event->type) {
    case XP_EV_MESSAGE:
    case XP_EV_BLOCK:
    case XP_EV_TORN:
        on_message(instance, event, now_ns);
        break;
    case XP_EV_HELLO:
        on_hello(instance, event);
        break;
    case XP_EV_UP:
        on_up(instance, event->node);
        break;
    case XP_EV_RESET:
        instance->counters.lane_resets++;
        grd_local_reset(instance->local, event->node, now_ns);
        eng_lock_reset_owner(instance, now_ns);
        break;
    case XP_EV_DOWN:
        on_down(instance, event);
        break;
    case XP_EV_DONE:
        if ((event->token & ENG_TOKEN_WHO) == ENG_TOKEN_SNAPSHOT)
            eng_snapshot_on_read(instance, event, now_ns);
        else if ((event->token & ENG_TOKEN_WHO) == ENG_TOKEN_LOCK)
            eng_lock_on_read(instance, event, now_ns);
        eng_actions_run(instance, now_ns);
        break;
    }
}

/* ------------------------------------------------------------------ the rest of a turn */

bool eng_inbox_take(struct cf_instance *instance, uint64_t now_ns)
{
    struct eng_inbox_record record;
    uint32_t i;

    for (i = 0; i < ENG_TURN_OPS_MAX && cf_mpsc_pop(&instance->inbox, &record); i++) {
        if (record.kind == ENG_IN_CALL) {
            struct eng_call *call = record.object;

            call->run(instance, call->arg, now_ns);
            eng_actions_run(instance, now_ns);
            cf_publish_u32(&call->done, 1);
            eng_futex_wake(&call->done);
            continue;
        }
        if (record.kind == ENG_IN_CANCEL)
            eng_op_cancel_owner(instance, record.object);
        else
            eng_op_submit_owner(instance, record.object, now_ns);
        eng_actions_run(instance, now_ns);
    }
    return i != 0;
}

/* Is it time to look at the wheels? Twice a tick for the coarse ones; the fine ones are empty but where blocks are hot. */
static bool timers_are_due(const struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t s;

    if (now_ns >= instance->timers_next_ns || instance->is_manual ||
        now_ns >= grd_local_stay_ns(instance->local))
        return true;
    for (s = 0; s < instance->shards && instance->workers_count == 0; s++)
        if (now_ns >= grd_master_share_ns(instance->masters[s]))
            return true;
    return false;
}

static bool take_timers(struct cf_instance *instance, uint64_t now_ns)
{
    uint32_t i, s;
    bool did = false;

    if (!timers_are_due(instance, now_ns))
        return false;
    instance->timers_next_ns = now_ns + ENG_TIMER_TICK_NS / 2;
    if (grd_local_next_ns(instance->local) <= now_ns)
        for (i = 0; i < ENG_TURN_TIMERS_MAX && grd_local_tick(instance->local, now_ns, instance->actions);
             i++) {
            eng_actions_run(instance, now_ns);
            did = true;
        }
    for (s = 0; s < instance->shards && instance->workers_count == 0; s++)
        for (i = 0; i < ENG_TURN_TIMERS_MAX && eng_master_tick(instance, s, now_ns, instance->actions); i++) {
            eng_actions_run(instance, now_ns);
            did = true;
        }
    did |= eng_move_tick_owner(instance, now_ns);
    did |= eng_lock_tick_owner(instance, now_ns);
    did |= eng_detect_turn_owner(instance, now_ns);
    if (cf_wheel_next_ns(&instance->op_wheel) <= now_ns)
        eng_ops_expire(instance, now_ns);
    if (instance->snapshots != NULL && instance->snapshots->next_ns <= now_ns) {
        eng_snapshots_tick(instance, now_ns);
        eng_actions_run(instance, now_ns);
    }
    return did;
}

static void backlogs_drain(struct cf_instance *instance)
{
    uint32_t n;

    if (instance->backlog_used == 0)
        return;
    for (n = 0; n < instance->nodes; n++)
        if (instance->peers[n].backlog_first != GRD_FRAME_NONE)
            eng_backlog_drain(instance, (uint16_t)n);
    if (instance->ship_wait_first != GRD_FRAME_NONE)
        eng_ships_drain(instance);
}

/* Is there nothing for a turn to do that found nothing at the transport? Most turns are such: whoever waits for a peer. */
static bool is_quiet(const struct cf_instance *instance, uint64_t now_ns)
{
    return instance->timers_next_ns > now_ns && instance->scan_next_ns > now_ns && !instance->is_manual &&
           instance->workers_count == 0 && eng_state(instance) == CF_OK && instance->slots_used == 0 &&
           instance->starved_first == NULL && instance->flush_first == NULL &&
           instance->files_stopping == 0 && instance->backlog_used == 0 && instance->sending_count == 0 &&
           instance->self_head == instance->self_tail &&
           atomic_load_explicit(&instance->attention, memory_order_relaxed) == 0 &&
           cf_mpsc_count(&instance->inbox) == 0 && !timers_are_due(instance, now_ns);
}

static bool turn(struct cf_instance *instance, uint64_t now_ns)
{
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t count = xp_poll(instance->xp, now_ns, events, XP_EVENTS_MAX), i;
    bool did = count != 0;

    instance->trace.now_ns = now_ns;
    if (count == 0 && is_quiet(instance, now_ns)) {
        xp_flush(instance->xp);
        instance->counters.turns++;
        return false;
    }
    for (i = 0; i < count; i++) {
        on_event(instance, &events[i], now_ns);
        eng_self_drain(instance, now_ns);
    }
    if (instance->workers_count && eng_state(instance) == CF_OK)
        did |= eng_workers_take(instance);
    did |= eng_inbox_take(instance, now_ns);
    eng_self_drain(instance, now_ns);
    if (atomic_load_explicit(&instance->attention, memory_order_relaxed)) {
        /* Cleared first: an unpin that comes during the walk asks for another one. */
        atomic_exchange_explicit(&instance->attention, 0, memory_order_acquire);
        if (eng_state(instance) == CF_OK) { /* after a stop nothing is given up any more */
            eng_attention_walk(instance, now_ns);
            if (atomic_exchange_explicit(&instance->locks.news, 0, memory_order_relaxed))
                eng_lock_news_owner(instance, now_ns);
        }
        eng_self_drain(instance, now_ns);
        did = true;
    }
    if (eng_state(instance) == CF_OK) {
        did |= eng_store_turn(instance, now_ns);
        did |= take_timers(instance, now_ns);
        eng_self_drain(instance, now_ns);
        if (instance->starved_first)
            did |= eng_ops_starved(instance, now_ns);
        if (now_ns >= instance->scan_next_ns)
            eng_write_back_tick(instance, now_ns);
        if (instance->flush_first)
            did |= eng_flush_turn(instance, now_ns);
        if (instance->files_stopping)
            did |= eng_file_op_turn(instance, now_ns);
        eng_self_drain(instance, now_ns);
    } else {
        eng_store_abandon(instance);
        if (cf_wheel_next_ns(&instance->op_wheel) <= now_ns)
            eng_ops_expire(instance, now_ns);
    }
    if (eng_state(instance) == CF_OK)
        backlogs_drain(instance);
    else
        stop_tell(instance);
    if (instance->sending_count)
        eng_frames_sent(instance);
    xp_flush(instance->xp);
    instance->counters.turns++;
    return did;
}

bool eng_turn_owner(struct cf_instance *instance, uint64_t now_ns)
{
#ifdef CF_DEBUG
    bool did;

    cf_alloc_forbid_enter(); /* the data path allocates nothing after start */
    did = turn(instance, now_ns);
    cf_alloc_forbid_leave();
    return did;
#else
    return turn(instance, now_ns);
#endif
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t eng_next_ns_owner(const struct cf_instance *instance)
{
    uint64_t next;
    uint32_t s;

    if (eng_state(instance) != CF_OK) /* no timer of the protocol runs any more */
        return instance->is_stop_told ? cf_wheel_next_ns(&instance->op_wheel) : 0;
    next = grd_local_next_ns(instance->local);
    if (atomic_load_explicit(&instance->attention, memory_order_relaxed) ||
        cf_mpsc_count(&instance->inbox) != 0)
        return 0;
    for (s = 0; s < instance->shards && instance->workers_count == 0; s++)
        next = earlier(next, eng_master_next_ns(instance, s));
    if (atomic_load_explicit(&instance->is_open, memory_order_relaxed))
        next = earlier(next, grd_move_next_ns(instance->move));
    next = earlier(next, eng_lock_next_ns_owner(instance));
    next = earlier(next, eng_detect_next_ns_owner(instance));
    next = earlier(next, cf_wheel_next_ns(&instance->op_wheel));
    if (instance->snapshots != NULL)
        next = earlier(next, instance->snapshots->next_ns);
    if (instance->flush_first || instance->starved_first || instance->files_stopping)
        next = earlier(next, instance->trace.now_ns + ENG_FLUSH_TICK_NS);
    if (instance->dirty_seen || instance->starved_first)
        next = earlier(next, instance->scan_next_ns);
    return next;
}
