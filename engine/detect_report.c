/* SPDX-License-Identifier: Apache-2.0 */
/* An instance that the detector asks: its parts of the ask, its answer as a stream, and its word that somebody waits long. */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/directory.h"
#include "engine/instance.h"

enum cf_rc eng_reporter_open(struct eng_reporter *reporter, const struct cf_allocator *allocator,
                             uint32_t edges)
{
    reporter->keys_max = edges;
    reporter->parts_max = edges / GRD_WORDS_MAX + 1;
    reporter->keys = cf_alloc(allocator, edges * sizeof *reporter->keys, CF_CACHE_LINE, 0);
    reporter->parts = cf_alloc(allocator, eng_reporter_parts_bytes(reporter), CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (reporter->keys == NULL || reporter->parts == NULL)
        return CF_MEMORY;
    return eng_known_open(&reporter->known, allocator, edges);
}

void eng_reporter_close(struct eng_reporter *reporter, const struct cf_allocator *allocator)
{
    eng_known_close(&reporter->known, allocator);
    cf_free(allocator, reporter->parts, eng_reporter_parts_bytes(reporter));
    cf_free(allocator, reporter->keys, reporter->keys_max * sizeof *reporter->keys);
}

/* An ask of another round begins: what was here of the one before is dropped, and never answered. */
static void ask_begin(struct eng_reporter *reporter, const struct grd_msg *msg)
{
    reporter->stream.stage = ENG_DETECT_OFF;
    if (!(msg->flags & GRD_FLAG_MORE))
        reporter->keys_count = 0;
    reporter->round = msg->request;
    reporter->parts_count = reporter->parts_all = 0;
    memset(reporter->parts, 0, eng_reporter_parts_bytes(reporter));
}

/* False: this part was here already, or there cannot be so many. */
static bool part_take(struct eng_reporter *reporter, const struct grd_msg *msg)
{
    uint64_t number = msg->number - 1, bit = UINT64_C(1) << number % 64;

    if (number >= reporter->parts_max || (reporter->parts[number / 64] & bit))
        return false;
    reporter->parts[number / 64] |= bit;
    reporter->parts_count++;
    if (msg->flags & GRD_FLAG_LAST)
        reporter->parts_all = (uint32_t)msg->number;
    for (uint32_t i = 0; i < msg->words.count; i++) {
        if (reporter->keys_count == reporter->keys_max)
            reporter->known.lost++;
        else
            reporter->keys[reporter->keys_count++] = msg->words.word[i];
    }
    return true;
}

/*
 * The asks of a round come in parts, in any order; the answer begins when all are here. One that lacks a part is not
 * answered: the detector asks again, parts that are here already change nothing.
 */
void eng_reporter_ask(struct cf_instance *instance, struct eng_reporter *reporter, const struct grd_msg *msg,
                      uint64_t now_ns)
{
    struct eng_detect_stream *stream = &reporter->stream;
    struct grd_msg ask = {.type = GRD_MSG_DETECT_ASK,
                          .from = msg->from,
                          .request = msg->request,
                          .held = msg->held,
                          .flags = msg->flags & GRD_FLAG_SINCE,
                          .hops = (uint8_t)(1 + instance->workers_count)};

    if (msg->request < reporter->round && (msg->request ^ reporter->round) >> ENG_ROUND_NODE_SHIFT == 0)
        return; /* of a round that is over: the same detector has begun another one */
    reporter->asked_ns = now_ns;
    if (reporter->round != msg->request)
        ask_begin(reporter, msg);
    if (!part_take(reporter, msg) || reporter->parts_count != reporter->parts_all)
        return;
    eng_detect_stream_begin(stream, &reporter->known, &ask, 0, instance->workers_count ? 0 : 1, now_ns);
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
