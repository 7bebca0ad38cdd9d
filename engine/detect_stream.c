/* SPDX-License-Identifier: Apache-2.0 */
/*
 * An answer to the detector, a bounded part at a time: records are looked at some hundred a part, inside the gate of locks where
 * they belong to it, and a message goes out when it is full.
 */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/instance.h"

void eng_detect_stream_begin(struct eng_detect_stream *stream, struct eng_known *known,
                             const struct grd_msg *ask, uint32_t shard, uint32_t shard_step, uint64_t now_ns)
{
    bool is_since = (ask->flags & GRD_FLAG_SINCE) != 0;

    memset(stream, 0, sizeof *stream);
    stream->known = known;
    /* Rounds are numbered by their detector, without a gap: the one before was answered to the same one. */
    stream->is_unknown = is_since && known->round != ask->request - 1;
    if (!is_since || stream->is_unknown)
        eng_known_clear(known);
    known->round = 0;
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
        stream->stage = ENG_DETECT_TAKES;
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

static void message_of(struct eng_detect_stream *stream, struct grd_msg *msg, uint8_t flags)
{
    msg->type = GRD_MSG_DETECT_REPORT;
    msg->request = stream->round;
    msg->held = ++stream->messages_count;
    msg->how = stream->number;
    msg->hops = stream->numbers;
    msg->flags = flags;
    msg->words = stream->words;
    stream->words.count = 0;
}

/*
 * The reports of the part at hand that the detector does not know. True: *msg is full, and there are more. What cannot be
 * remembered is not told, since it could not be taken back.
 */
static bool tell_part(struct eng_detect_stream *stream, struct grd_msg *msg)
{
    struct eng_known *known = stream->known;

    for (; stream->report_at < stream->reports_count; stream->report_at++) {
        const struct grd_detect_report *report = &stream->report[stream->report_at];
        uint64_t print = grd_detect_print(report);

        if (eng_known_mark(known, print, stream->round))
            continue;
        if (known->count == known->count_max) {
            known->lost++;
            continue;
        }
        if (!eng_detect_pack(&stream->words, report)) {
            message_of(stream, msg, 0);
            return true;
        }
        eng_known_add(known, print, stream->round);
    }
    stream->report_at = stream->reports_count = 0;
    return false;
}

/* What was told and is no more. True: *msg is to be sent. */
static bool takes_part(struct eng_detect_stream *stream, struct grd_msg *msg)
{
    struct eng_known *known = stream->known;
    uint32_t end = stream->known_at + ENG_DETECT_PRINTS;
    uint64_t print;

    if (!stream->is_taking && stream->words.count != 0) {
        message_of(stream, msg, 0); /* reports and prints do not go into one message */
        return true;
    }
    stream->is_taking = true;
    while (stream->known_at < end && stream->words.count < GRD_WORDS_MAX &&
           eng_known_gone(known, &stream->known_at, end - stream->known_at, stream->round, &print))
        stream->words.word[stream->words.count++] = print;
    if (stream->known_at < known->count && stream->words.count < GRD_WORDS_MAX)
        return false;
    if (stream->words.count != 0) {
        message_of(stream, msg, GRD_FLAG_TAKEN);
        return true;
    }
    stream->stage = ENG_DETECT_END;
    return false;
}

bool eng_detect_stream_step(struct cf_instance *instance, struct eng_detect_stream *stream, uint64_t now_ns,
                            struct grd_msg *msg)
{
    if (tell_part(stream, msg))
        return true;
    if (stream->is_unknown)
        stream->stage = ENG_DETECT_END;
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
    case ENG_DETECT_TAKES:
        return takes_part(stream, msg);
    case ENG_DETECT_END:
        message_of(stream, msg, GRD_FLAG_LAST | (stream->is_unknown ? GRD_FLAG_UNKNOWN : 0));
        stream->known->round = stream->is_unknown ? 0 : stream->round;
        stream->stage = ENG_DETECT_OFF;
        return true;
    }
    return false;
}
