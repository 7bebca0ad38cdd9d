/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An instance's answer to the detector, a bounded part at a time: records are looked at some hundred a part, inside
 * the gate of locks where they belong to it, and a message goes out when it is full.
 */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/instance.h"

void eng_detect_stream_begin(struct eng_detect_stream *stream, const struct grd_msg *ask, uint32_t shard,
                             uint32_t shard_step, uint64_t now_ns)
{
    memset(stream, 0, sizeof *stream);
    stream->round = ask->request;
    stream->before_ns = now_ns > ask->held ? now_ns - ask->held : 0;
    stream->to = ask->from;
    stream->number = ask->how;
    stream->numbers = ask->hops;
    stream->shard = shard;
    stream->shard_step = shard_step;
    stream->stage = ENG_DETECT_SHARDS;
}

static void part_waits(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns)
{
    struct eng_locks *locks = &instance->locks;

    eng_gate_enter(locks);
    stream->reports_count = grd_lock_local_waits(locks->local, now_ns, stream->before_ns, &stream->cursor,
                                                 stream->report, ENG_DETECT_PART);
    eng_gate_leave(locks);
    if (stream->cursor == 0)
        stream->stage = ENG_DETECT_BLOCKS;
}

static void part_blocks(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns)
{
    stream->reports_count = eng_block_waits(instance, now_ns, stream->before_ns, &stream->cursor,
                                            stream->report, ENG_DETECT_PART);
    if (stream->cursor == 0)
        stream->stage = ENG_DETECT_CONVS;
}

static void part_convs(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns)
{
    stream->reports_count = eng_conv_waits(instance, now_ns, stream->before_ns, &stream->cursor,
                                           stream->report, ENG_DETECT_PART);
    if (stream->cursor == 0)
        stream->stage = ENG_DETECT_STAKES;
}

static void part_stakes(struct cf_instance *instance, struct eng_detect_stream *stream)
{
    struct eng_locks *locks = &instance->locks;

    if (stream->key_at == stream->keys_count) {
        stream->stage = ENG_DETECT_SHARDS;
        return;
    }
    eng_gate_enter(locks);
    stream->reports_count = grd_lock_local_stakes_of(locks->local, stream->keys[stream->key_at],
                                                     &stream->cursor, stream->report, ENG_DETECT_PART);
    eng_gate_leave(locks);
    stream->key_at += stream->cursor == 0;
}

static void part_shards(struct cf_instance *instance, struct eng_detect_stream *stream)
{
    if (stream->shard_step == 0 || stream->shard >= instance->shards) {
        stream->stage = ENG_DETECT_END;
        return;
    }
    stream->reports_count = grd_lock_master_waits(instance->locks.masters[stream->shard], stream->before_ns,
                                                  &stream->cursor, stream->report, ENG_DETECT_PART);
    if (stream->cursor == 0)
        stream->stage = ENG_DETECT_QUEUES;
}

static void part_queues(struct cf_instance *instance, struct eng_detect_stream *stream)
{
    stream->reports_count = grd_master_waits(instance->masters[stream->shard], stream->before_ns,
                                             &stream->cursor, stream->report, ENG_DETECT_PART);
    if (stream->cursor != 0)
        return;
    stream->stage = ENG_DETECT_SHARDS; /* of the next one */
    stream->shard += stream->shard_step;
}

static void message_of(struct eng_detect_stream *stream, struct grd_msg *msg)
{
    msg->type = GRD_MSG_DETECT_REPORT;
    msg->request = stream->round;
    msg->held = ++stream->messages_count;
    msg->how = stream->number;
    msg->hops = stream->numbers;
    msg->flags = 0;
    msg->words = stream->words;
    stream->words.count = 0;
}

bool eng_detect_stream_step(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns,
                            struct grd_msg *msg)
{
    while (stream->report_at < stream->reports_count) {
        if (!eng_detect_pack(&stream->words, &stream->report[stream->report_at])) {
            message_of(stream, msg);
            return true;
        }
        stream->report_at++;
    }
    stream->report_at = stream->reports_count = 0;
    switch ((enum eng_detect_stage)stream->stage) {
    case ENG_DETECT_OFF:
        break;
    case ENG_DETECT_WAITS:
        part_waits(instance, stream, now_ns);
        break;
    case ENG_DETECT_BLOCKS:
        part_blocks(instance, stream, now_ns);
        break;
    case ENG_DETECT_CONVS:
        part_convs(instance, stream, now_ns);
        break;
    case ENG_DETECT_STAKES:
        part_stakes(instance, stream);
        break;
    case ENG_DETECT_SHARDS:
        part_shards(instance, stream);
        break;
    case ENG_DETECT_QUEUES:
        part_queues(instance, stream);
        break;
    case ENG_DETECT_END:
        message_of(stream, msg);
        msg->flags = GRD_FLAG_LAST;
        stream->stage = ENG_DETECT_OFF;
        return true;
    }
    return false;
}

/* ------------------------------------------------------------------ the owner of progress */

/* The asks of a round come in parts; the answer begins when the last is here. */
void eng_reporter_ask(struct cf_instance *instance, struct eng_reporter *reporter, const struct grd_msg *msg,
                      uint64_t now_ns)
{
    struct eng_detect_stream *stream = &reporter->stream;
    struct grd_msg ask = {.type = GRD_MSG_DETECT_ASK,
                          .from = msg->from,
                          .request = msg->request,
                          .held = msg->held,
                          .hops = (uint8_t)(1 + instance->workers_count)};

    reporter->asked_ns = now_ns;
    if (reporter->round != msg->request) {
        reporter->round = msg->request;
        reporter->keys_count = 0;
        stream->stage = ENG_DETECT_OFF;
    }
    for (uint32_t i = 0; i < msg->words.count && reporter->keys_count < reporter->keys_max; i++)
        reporter->keys[reporter->keys_count++] = msg->words.word[i];
    if (!(msg->flags & GRD_FLAG_LAST))
        return;
    eng_detect_stream_begin(stream, &ask, 0, instance->workers_count ? 0 : 1, now_ns);
    stream->stage = ENG_DETECT_WAITS;
    stream->keys = reporter->keys;
    stream->keys_count = reporter->keys_count;
    for (uint32_t w = 0; w < instance->workers_count; w++) {
        ask.how = (uint8_t)(1 + w);
        eng_worker_push(instance, &ask, w);
    }
}

/* What waits for a credit goes first: reports never fill the backlog. */
static bool may_send(const struct cf_instance *instance, uint16_t to)
{
    return to == instance->node || instance->peers[to].backlog_first == GRD_FRAME_NONE;
}

bool eng_reporter_turn(struct cf_instance *instance, struct eng_reporter *reporter, uint64_t now_ns)
{
    struct eng_detect_stream *stream = &reporter->stream;
    uint32_t parts = 0, messages = 0;
    struct grd_msg msg = {.type = GRD_MSG_NONE};

    if (stream->stage == ENG_DETECT_OFF || !may_send(instance, stream->to))
        return false;
    while (stream->stage != ENG_DETECT_OFF && parts < ENG_DETECT_TURN_PARTS &&
           messages < ENG_DETECT_TURN_MESSAGES && may_send(instance, stream->to)) {
        if (!eng_detect_stream_step(instance, stream, now_ns, &msg)) {
            parts++;
            continue;
        }
        eng_send_owner(instance, stream->to, &msg);
        messages++;
    }
    return true;
}

/* The time from which the oldest wait counts, UINT64_MAX: nobody waits. A call is no wait. */
static uint64_t oldest_ns(const struct cf_instance *instance)
{
    const struct cf_op *op = instance->locks.waiting_last;
    uint64_t since_ns = eng_block_oldest_ns(instance);
    uint32_t looked = 0;

    while (op && op->kind != CF_OP_LOCK && op->kind != CF_OP_CONVERT && looked++ < ENG_REPORTER_LOOKS_MAX)
        op = eng_op_of((struct cf_op *)(uintptr_t)op)->prev;
    if (op && eng_op_of((struct cf_op *)(uintptr_t)op)->started_ns < since_ns)
        since_ns = eng_op_of((struct cf_op *)(uintptr_t)op)->started_ns;
    return since_ns != UINT64_MAX ? since_ns + instance->options.deadlock_after : UINT64_MAX;
}

static bool somebody_waits(const struct cf_instance *instance)
{
    return instance->locks.waiting_last != NULL || instance->attention_count != 0 ||
           instance->local->convs_used != 0;
}

/*
 * An instance with a wait older than the threshold tells the detector, and says it again each period while no round asks
 * for it. So a cluster in which nobody waits long sends nothing at all, and a lost word is said again.
 */
bool eng_reporter_notice(struct cf_instance *instance, struct eng_reporter *reporter, uint64_t now_ns)
{
    struct grd_msg msg = {.type = GRD_MSG_DETECT_ASK, .flags = GRD_FLAG_WAITS};
    uint64_t period_ns = instance->options.deadlock_period, due_ns;
    uint16_t to;

    if (!somebody_waits(instance) || now_ns < reporter->notice_ns)
        return false;
    due_ns = oldest_ns(instance);
    if (due_ns > now_ns) {
        reporter->notice_ns = due_ns == UINT64_MAX ? now_ns + period_ns : due_ns;
        return false;
    }
    reporter->notice_ns = now_ns + period_ns;
    if (reporter->asked_ns != 0 && now_ns < reporter->asked_ns + 2 * period_ns)
        return false; /* rounds go on */
    to = eng_detect_node(instance);
    if (to != CF_NODE_NONE)
        eng_send_owner(instance, to, &msg);
    return true;
}

uint64_t eng_reporter_next_ns(const struct cf_instance *instance, const struct eng_reporter *reporter)
{
    if (reporter->stream.stage != ENG_DETECT_OFF && may_send(instance, reporter->stream.to))
        return 0;
    return somebody_waits(instance) ? reporter->notice_ns : UINT64_MAX;
}
