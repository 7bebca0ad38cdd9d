/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Buckets that move (grd/move.h), between the wire, the shards and the conversations of this instance.
 *
 *   MOVE_ENTRY, MOVE_ASK, MOVE_GOT --> the key's shard          MOVE_ORDER (from oneself) --> the shard it names
 *   all others --> grd_move_step --> a bucket has another owner: its conversations ask that one
 *                                --> messages held while it was frozen: served, as if they had just come
 */
#include <stdio.h>

#include "engine/directory.h"
#include "engine/instance.h"

enum cf_rc eng_move_open(struct cf_instance *instance, uint64_t now_ns, struct cf_error *error)
{
    const struct cf_options *options = &instance->options;
    bool plans = options->remaster == ENG_REMASTER_ON && instance->nodes > 1;
    struct grd_move_options move = {.node = instance->node,
                                    .nodes = instance->nodes,
                                    .shards = instance->shards,
                                    .resend_ns = options->resend,
                                    .period_ns = plans ? options->remaster_period : 0,
                                    .rest_ns = options->remaster_rest,
                                    .gap_ns = options->remaster_gap,
                                    .is_off = options->remaster == ENG_REMASTER_OFF,
                                    .now_ns = now_ns,
                                    .map = &instance->map,
                                    .allocator = instance->allocator};
    enum cf_rc rc = grd_move_open(&move, &instance->move);

    if (rc != CF_OK)
        eng_error_set(error, rc, 0, instance->node, "no memory for who uses %u buckets", move.map->buckets);
    return rc;
}

static void to_shard(struct cf_instance *instance, uint32_t shard, const struct grd_msg *msg, uint64_t hash,
                     uint64_t now_ns)
{
    if (shard >= instance->shards)
        return;
    if (instance->workers_count)
        eng_worker_push(instance, msg, shard);
    else
        eng_master_step(instance, shard, msg, hash, now_ns, instance->actions);
}

static void release_held(struct cf_instance *instance, uint64_t now_ns)
{
    struct grd_msg msg;

    while (grd_move_release(instance->move, &msg)) {
        eng_actions_run(instance, now_ns);
        eng_master_step_again(instance, &msg, now_ns);
    }
}

void eng_move_message_owner(struct cf_instance *instance, const struct grd_msg *msg, uint64_t now_ns)
{
    uint64_t hash;
    uint32_t bucket;

    switch (msg->type) {
    case GRD_MSG_MOVE_ENTRY:
    case GRD_MSG_MOVE_ASK:
    case GRD_MSG_MOVE_GOT:
        if (instance->nodes == 1 || msg->from == instance->node)
            break;
        hash = grd_map_hash(&instance->map, &msg->key);
        to_shard(instance, grd_map_shard(&instance->map, hash), msg, hash, now_ns);
        return;
    case GRD_MSG_MOVE_ORDER:
        if (msg->from != instance->node)
            break;
        to_shard(instance, msg->requester, msg, 0, now_ns);
        return;
    case GRD_MSG_MOVE_REPORT:
        if (msg->from != instance->node)
            break;
        /* fall through */
    default:
        if (grd_move_step(instance->move, msg, now_ns, instance->actions, &bucket)) {
            eng_actions_run(instance, now_ns); /* as many again follow as conversations may be open */
            grd_local_moved(instance->local, bucket, now_ns, instance->actions);
        }
        release_held(instance, now_ns);
        return;
    }
    instance->counters.bad_messages++;
}

enum cf_rc eng_remaster(struct cf_instance *instance, uint32_t bucket, uint16_t to, uint64_t now_ns)
{
    enum cf_rc rc;

    if (eng_state(instance) != CF_OK)
        return eng_state(instance);
    rc = grd_move_begin(instance->move, bucket, to, now_ns, instance->actions);
    eng_actions_run(instance, now_ns);
    return rc;
}

bool eng_move_tick_owner(struct cf_instance *instance, uint64_t now_ns)
{
    if (grd_move_next_ns(instance->move) > now_ns ||
        !atomic_load_explicit(&instance->is_open, memory_order_relaxed))
        return false;
    grd_move_tick(instance->move, now_ns, instance->actions);
    release_held(instance, now_ns);
    eng_actions_run(instance, now_ns);
    return true;
}

/* ------------------------------------------------------------------ told by the operator */

struct remaster_call {
    uint32_t bucket;
    uint16_t node, owner;
    enum cf_rc rc;
};

static void remaster_run(struct cf_instance *instance, void *arg, uint64_t now_ns)
{
    struct remaster_call *call = arg;
    struct grd_msg msg = {.type = GRD_MSG_MOVE_WISH, .bucket = call->bucket, .requester = call->node};

    call->rc = eng_remaster(instance, call->bucket, call->node, now_ns);
    if (call->bucket < instance->map.buckets)
        call->owner = instance->map.owner[call->bucket];
    if (call->rc != CF_INVALID)
        return;
    eng_send_owner(instance, call->owner, &msg);
    call->rc = CF_OK;
}

enum cf_rc cf_remaster(struct cf_instance *instance, uint32_t bucket, uint16_t node, struct cf_error *error)
{
    struct remaster_call call = {.bucket = bucket, .node = node};
    enum cf_rc rc = eng_enter(instance);

    if (rc == CF_OK && instance->options.remaster == ENG_REMASTER_OFF)
        rc = CF_UNSUPPORTED;
    if (rc == CF_OK) {
        (void)eng_call_run(instance, remaster_run, &call);
        rc = call.rc;
    }
    if (rc == CF_OK || rc == CF_INVALID || rc == CF_FORKED)
        return rc;
    if (rc == CF_OPTION && bucket >= instance->map.buckets)
        eng_error_set(error, rc, 0, instance->node, "bucket %u: there are %u", bucket, instance->map.buckets);
    else if (rc == CF_OPTION && node >= instance->nodes)
        eng_error_set(error, rc, 0, instance->node, "node %u is no member: there are %u", node,
                      instance->nodes);
    else if (rc == CF_OPTION)
        eng_error_set(error, rc, 0, instance->node, "bucket %u is mastered by node %u already", bucket, node);
    else if (rc == CF_BUSY)
        eng_error_set(error, rc, 0, instance->node,
                      "a bucket is on its way from node %u, or bucket %u has just come: try again",
                      instance->node, bucket);
    else if (rc == CF_UNSUPPORTED)
        eng_error_set(error, rc, 0, instance->node, "option remaster is off at node %u", instance->node);
    else
        eng_error_set(error, rc, 0, instance->node, "%s", cf_rc_text(rc));
    return rc;
}

/* One line of the control socket: "remaster BUCKET NODE". The answer, a line as well: "ok ..." or "error CODE words". */
void eng_control_line(struct cf_instance *instance, const char *line, char *answer, size_t answer_bytes)
{
    struct cf_error error = {0};
    uint32_t bucket, node;
    char end;
    enum cf_rc rc;

    if (sscanf(line, "remaster %u %u%c", &bucket, &node, &end) != 2 || node > UINT16_MAX) {
        snprintf(answer, answer_bytes, "error CF_INVALID this is no command: %.40s\n", line);
        return;
    }
    rc = cf_remaster(instance, bucket, (uint16_t)node, &error);
    if (rc != CF_OK)
        snprintf(answer, answer_bytes, "error %s %.200s\n", cf_rc_name(rc), error.text);
    else
        snprintf(answer, answer_bytes, "ok bucket %u goes to node %u\n", bucket, node);
}
