/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Closing an instance: the leave among the members, then everything that opening took goes back, also when opening came
 * half way.
 */
#include <sys/mman.h>

#include "base/clock.h"
#include "engine/metrics.h"
#include "engine/open.h"
#include "engine/peers.h"
#include "engine/pool.h"
#include "engine/snapshot.h"
#include "engine/status.h"
#include "engine/storage.h"

/* Files that could not be detached, after a stop for instance: their descriptors at least go back. */
static void store_files_close(struct cf_instance *instance)
{
    uint32_t f;

    for (f = 0; instance->files && f < instance->options.files; f++)
        if (instance->files[f].is_reserved && instance->files[f].store_file && !instance->files[f].is_manual)
            instance->store->ops->close_file(instance->store, &instance->files[f].store_file);
}

void eng_instance_free(struct cf_instance *instance)
{
    const struct cf_allocator *a = instance->allocator;
    uint32_t s, depth = (uint32_t)instance->options.io_depth;

    eng_status_stop(instance);
    eng_metrics_stop(instance);
    eng_threads_stop(instance);
    if (instance->store &&
        !instance->is_manual) { /* first: reads under way go into frames, which are the transport's memory */
        store_files_close(instance);
        eng_store_close(&instance->store);
    }
    if (instance->xp)
        xp_close(&instance->xp);
    eng_peers_free(instance->peer_list, instance->nodes, a);
    for (s = 0; s < instance->shards; s++)
        grd_master_close(&instance->masters[s]);
    cf_free(a, instance->actions, sizeof *instance->actions);
    cf_free(a, instance->self, ENG_SELF_SLOTS * sizeof *instance->self);
    cf_free(a, instance->backlog, ENG_BACKLOG_SLOTS * sizeof *instance->backlog);
    cf_free(a, instance->backlog_next, ENG_BACKLOG_SLOTS * sizeof *instance->backlog_next);
    cf_free(a, instance->peers, instance->nodes * sizeof *instance->peers);
    if (instance->local) {
        cf_free(a, instance->attention_list,
                instance->local->blocks_count * sizeof *instance->attention_list);
        cf_free(a, instance->is_attended, instance->local->blocks_count * sizeof *instance->is_attended);
    }
    if (instance->frames)
        cf_free(a, instance->sending_list,
                eng_frames_count(instance->frames) * sizeof *instance->sending_list);
    cf_free(a, instance->read_wait, instance->options.outstanding * sizeof *instance->read_wait);
    cf_free(a, instance->slots, depth * sizeof *instance->slots);
    cf_free(a, instance->slot_buffers, (uint64_t)depth * CF_BLOCK_BYTES_MAX);
    cf_free(a, instance->hists, ENG_HISTS * sizeof *instance->hists);
    for (s = 0; instance->sessions && s < instance->options.sessions; s++)
        eng_session_free(instance, &instance->sessions[s]);
    cf_free(a, instance->sessions, instance->options.sessions * sizeof *instance->sessions);
    cf_free(a, instance->files, instance->options.files * sizeof *instance->files);
    cf_free(a, instance->inbox_mem, cf_ring_bytes(ENG_INBOX_SLOTS, sizeof(struct eng_inbox_record)));
    cf_free(a, instance->trace.records, ENG_TRACE_RECORDS * sizeof *instance->trace.records);
    eng_snapshots_close(instance);
    grd_local_close(&instance->local);
    eng_locks_close(instance);
    grd_move_close(&instance->move);
    grd_map_close(&instance->map);
    eng_frames_close(&instance->frames);
    if (instance->guard)
        munmap(instance->guard, eng_guard_bytes(instance));
    pthread_mutex_destroy(&instance->lock);
    cf_log_close(&instance->log);
    instance->magic = 0;
    cf_free(a, instance, sizeof *instance);
}

/* Waits under progress until something is true of the instance. */
bool eng_instance_wait(struct cf_instance *instance, bool (*is_done)(void *), uint64_t timeout_ns)
{
    _Atomic uint32_t wake = 0, sleeping = 0;
    struct eng_wait wait = {is_done, instance, cf_now_ns() + timeout_ns, &wake, &sleeping};

    return eng_wait_for(instance, &wait);
}

static bool all_have_left(void *arg)
{
    struct cf_instance *instance = arg;
    uint32_t n;

    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node && !cf_observe_bool(&instance->peers[n].has_left))
            return eng_state(instance) != CF_OK;
    return true;
}

static void send_leave(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct grd_msg msg = {.type = GRD_MSG_LEAVE, .request = 1};
    uint32_t n;

    (void)arg;
    (void)now_ns;
    atomic_store_explicit(&instance->closing, 2, memory_order_relaxed);
    for (n = 0; n < instance->nodes; n++)
        if (n != instance->node)
            eng_send_owner(instance, (uint16_t)n, &msg);
}

static void look_at_backlog(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    (void)now_ns;
    *(uint32_t *)arg = instance->backlog_used;
}

static bool has_stopped(void *arg)
{
    return eng_state(arg) != CF_OK;
}

/* What was said last may wait for a credit: it must be out before the connection goes. */
static bool backlog_is_out(void *arg)
{
    uint32_t left = 0;

    (void)eng_call_run(arg, look_at_backlog, &left);
    return left == 0 || eng_state(arg) != CF_OK;
}

/* Tells the members that this one is done and serves them until they are: the directory lives in every member. */
static enum cf_rc leave(struct cf_instance *instance)
{
    uint64_t until = cf_now_ns() + instance->options.close_timeout;

    if (instance->nodes == 1)
        return CF_OK;

    while (cf_now_ns() < until) {
        (void)eng_call_run(instance, send_leave, NULL); /* again and again: a lane may have been lost */
        if (!eng_instance_wait(instance, all_have_left, instance->options.resend * 4))
            continue;
        if (backlog_is_out(instance))
            return eng_state(instance);
        (void)eng_instance_wait(instance, has_stopped,
                                instance->options.resend); /* not at once: that would only add to it */
    }
    cf_log_warn(&instance->log, "engine", "closing without the leave of every member: close_timeout is over");
    return CF_TIMEOUT;
}

enum cf_rc cf_close(struct cf_instance **instance_io)
{
    struct cf_instance *instance = *instance_io;
    struct cf_session *session = NULL;
    enum cf_rc rc, first = CF_OK;
    uint32_t i;

    if (instance == NULL)
        return CF_OK;
    if (instance->magic != ENG_MAGIC)
        return CF_INVALID;
    if (eng_is_forked(instance))
        return CF_FORKED;
    for (i = 0; i < instance->options.sessions; i++)
        if (instance->sessions[i].in_use)
            return CF_BUSY;
    first = eng_state(instance);
    if (first == CF_OK)
        first = cf_session_open(instance, &session);
    if (first == CF_OK) {
        first = eng_files_close_all(session);
        (void)cf_session_close(&session);
        rc = leave(instance);
        if (first == CF_OK)
            first = rc;
    }
    eng_instance_free(instance);
    *instance_io = NULL;
    return first;
}

void eng_close_manual(struct cf_instance **instance)
{
    if (*instance)
        eng_instance_free(*instance);
    *instance = NULL;
}
