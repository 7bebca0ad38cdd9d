/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One turn of the progress loop: arrivals, callers, frames that others let go of, storage, timers; each bounded, so
 * that none starves another. All roles of the instance meet here; what they say to each other goes through the
 * queue of messages to oneself.
 */
#include <stdarg.h>

#include "base/assert.h"
#include "engine/directory.h"
#include "engine/instance.h"
#include "engine/pool.h"
#include "engine/snapshot.h"
#include "engine/storage.h"
#include "engine/turn.h"

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

static void on_event(struct cf_instance *instance, const struct xp_event *event, uint64_t now_ns)
{
    switch ((enum xp_event_type)event->type) {
    case XP_EV_MESSAGE:
    case XP_EV_BLOCK:
    case XP_EV_TORN:
        eng_message_owner(instance, event, now_ns);
        break;
    case XP_EV_HELLO:
        eng_peer_hello_owner(instance, event);
        break;
    case XP_EV_UP:
        eng_peer_up_owner(instance, event->node);
        break;
    case XP_EV_RESET:
        instance->counters.lane_resets++;
        grd_local_reset(instance->local, event->node, now_ns);
        eng_lock_reset_owner(instance, now_ns);
        break;
    case XP_EV_DOWN:
        eng_peer_down_owner(instance, event);
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

/* Is there nothing for a turn to do but what the transport brings? Most turns are such: whoever waits for a peer. */
static bool is_quiet(const struct cf_instance *instance, uint64_t now_ns)
{
    return instance->timers_next_ns > now_ns && instance->scan_next_ns > now_ns && !instance->is_manual &&
           instance->workers_count == 0 && eng_state(instance) == CF_OK && instance->slots_used == 0 &&
           instance->starved.first == NULL && instance->flush_first == NULL &&
           instance->files_stopping == 0 && instance->backlog_used == 0 && instance->sending_count == 0 &&
           instance->self_head == instance->self_tail &&
           atomic_load_explicit(&instance->attention, memory_order_relaxed) == 0 &&
           cf_mpsc_count(&instance->inbox) == 0 && !timers_are_due(instance, now_ns);
}

/* An answer that is on its way is seen sooner where looks at the transport follow one another. */
#define ENG_QUIET_POLLS 3u

/* What may change in a quiet turn: other threads of the process add work. */
static inline bool has_work_from_inside(const struct cf_instance *instance)
{
    return atomic_load_explicit(&instance->attention, memory_order_relaxed) != 0 ||
           cf_mpsc_count(&instance->inbox) != 0;
}

static inline bool quiet_end(struct cf_instance *instance, bool did)
{
    xp_flush(instance->xp);
    instance->counters.turns++;
    return did;
}

/* Nothing has come: the time for what steps have put off. Workers do it themselves. */
static CF_NOINLINE void masters_settle(struct cf_instance *instance)
{
    uint32_t s;

    instance->masters_owe = false;
    for (s = 0; s < instance->shards && instance->workers_count == 0; s++)
        grd_master_settle(instance->masters[s]);
}

/* Frames and locks that threads of the process have let go of. */
static void attention_take(struct cf_instance *instance, uint64_t now_ns)
{
    /* Cleared first: an unpin that comes during the walk asks for another one. */
    atomic_exchange_explicit(&instance->attention, 0, memory_order_acquire);
    if (eng_state(instance) == CF_OK) { /* after a stop nothing is given up any more */
        eng_attention_walk(instance, now_ns);
        if (atomic_exchange_explicit(&instance->locks.news, 0, memory_order_relaxed))
            eng_lock_news_owner(instance, now_ns);
    }
    eng_self_drain(instance, now_ns);
}

/* What storage has done, and what is due. `did`: the turn has had something to do already. */
static bool due_take(struct cf_instance *instance, uint64_t now_ns, bool did)
{
    did |= eng_store_turn(instance, now_ns);
    did |= take_timers(instance, now_ns);
    eng_self_drain(instance, now_ns);
    if (instance->starved.first)
        did |= eng_ops_starved(instance, now_ns);
    if (now_ns >= instance->scan_next_ns)
        eng_write_back_tick(instance, now_ns);
    if (instance->flush_first)
        did |= eng_flush_turn(instance, now_ns);
    if (instance->files_stopping)
        did |= eng_file_stop_turn(instance, now_ns);
    eng_self_drain(instance, now_ns);
    return did;
}

static bool turn(struct cf_instance *instance, uint64_t now_ns)
{
    struct xp_event events[XP_EVENTS_MAX];
    uint32_t count = xp_poll(instance->xp, now_ns, events, XP_EVENTS_MAX), i;
    bool did = count != 0;

    instance->trace.now_ns = now_ns;
    if (count == 0 && instance->masters_owe)
        masters_settle(instance);
    if (count == 0 && is_quiet(instance, now_ns)) {
        for (i = 1; count == 0 && i < ENG_QUIET_POLLS && !has_work_from_inside(instance); i++)
            count = xp_poll(instance->xp, now_ns, events, XP_EVENTS_MAX);
        did = count != 0;
        if (!did)
            return quiet_end(instance, did);
    }
    for (i = 0; i < count; i++) {
        on_event(instance, &events[i], now_ns);
        eng_self_drain(instance, now_ns);
    }
    if (is_quiet(instance, now_ns)) /* nothing but arrivals */
        return quiet_end(instance, did);
    if (instance->workers_count && eng_state(instance) == CF_OK)
        did |= eng_workers_take(instance);
    did |= eng_inbox_take(instance, now_ns);
    eng_self_drain(instance, now_ns);
    if (atomic_load_explicit(&instance->attention, memory_order_relaxed)) {
        attention_take(instance, now_ns);
        did = true;
    }
    if (eng_state(instance) == CF_OK) {
        did = due_take(instance, now_ns, did);
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
    if (instance->flush_first || instance->starved.first || instance->files_stopping)
        next = earlier(next, instance->trace.now_ns + ENG_FLUSH_TICK_NS);
    if (instance->dirty_seen || instance->starved.first)
        next = earlier(next, instance->scan_next_ns);
    return next;
}
