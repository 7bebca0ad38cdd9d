/* SPDX-License-Identifier: Apache-2.0 */
/* The one bucket that goes from here: offered, closed at rest, given, its entries sent after it. */
#include <string.h>

#include "grd/move_impl.h"

/* Pause after the first busy try; each further one doubles it, so many times. */
#define PAUSE_NS 50000u
#define PAUSE_DOUBLINGS 6u
#define DRAIN_TRY_NS 20000u

static void order_out(struct grd_move *move, enum grd_move_order how, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;
    uint32_t s;

    for (s = 0; s < move->shards; s++) {
        struct grd_msg *msg = grd_move_send(actions, move->node, GRD_MSG_MOVE_ORDER, out->bucket, out->place);

        msg->request = out->attempt;
        msg->tenure = 0;
        msg->requester = (uint16_t)s;
        msg->behind = out->to;
        msg->how = (uint8_t)how;
        msg->flags = 0;
    }
}

bool grd_move_is_frozen(const struct grd_move_out *out)
{
    return out->phase == GRD_MOVE_CLOSING || out->phase == GRD_MOVE_OPENING || out->phase == GRD_MOVE_GIVEN;
}

static void enter(struct grd_move *move, enum grd_move_phase phase, enum grd_move_order order,
                  uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    out->phase = (uint8_t)phase;
    out->attempt = ++move->attempt_last;
    out->reports = 0;
    out->next_ns = now_ns + move->resend_ns;
    order_out(move, order, actions);
}

static void close_begin(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    if (move->out.frozen_ns == 0)
        move->out.frozen_ns = now_ns ? now_ns : 1;
    move->out.has_busy = false;
    move->out.tenure = 0;
    enter(move, GRD_MOVE_CLOSING, GRD_ORDER_CLOSE, now_ns, actions);
}

static void thaw(struct grd_move *move, uint64_t now_ns)
{
    cf_hist_add(move->freeze_hist, now_ns > move->out.frozen_ns ? now_ns - move->out.frozen_ns : 0);
    move->out.frozen_ns = 0;
}

/* Served again: what was held is delivered. */
static void pause_begin(struct grd_move *move, uint64_t now_ns)
{
    struct grd_move_out *out = &move->out;
    uint32_t doublings = out->tries < PAUSE_DOUBLINGS ? out->tries : PAUSE_DOUBLINGS;

    if (move->held_count == 0 && out->tries <= GRD_MOVE_TRIES_PLAIN)
        out->frozen_ns = 0; /* a look at a busy bucket that kept nobody waiting is no freeze */
    else
        thaw(move, now_ns);
    move->release_count = move->held_count;
    out->phase = GRD_MOVE_PAUSE;
    out->next_ns = now_ns + ((uint64_t)PAUSE_NS << doublings);
    move->counters.retried++;
    if (out->tries >= GRD_MOVE_TRIES_MAX) {
        out->phase = GRD_MOVE_IDLE;
        move->counters.given_up++;
    }
}

/* Requests stay held until the bucket has been frozen as long as may be. */
static void opened(struct grd_move *move, uint64_t now_ns)
{
    struct grd_move_out *out = &move->out;
    uint32_t i, kept = 0;

    if (out->tries < GRD_MOVE_TRIES_PLAIN || now_ns - out->frozen_ns >= GRD_MOVE_FREEZE_NS_MAX) {
        out->tries++;
        pause_begin(move, now_ns);
        return;
    }
    out->phase = GRD_MOVE_DRAIN;
    out->next_ns = now_ns + DRAIN_TRY_NS;
    /* all but requests to the front, in order: they are what the bucket waits for */
    for (i = 0; i < move->held_count; i++)
        if (move->held[i].type != GRD_MSG_REQUEST) {
            struct grd_msg other = move->held[i];

            memmove(&move->held[kept + 1], &move->held[kept], (i - kept) * sizeof move->held[0]);
            move->held[kept++] = other;
        }
    move->release_count = kept;
}

static void give(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    out->phase = GRD_MOVE_GIVEN;
    out->next_ns = now_ns + move->resend_ns;
    grd_move_send(actions, out->to, GRD_MSG_MOVE_TAKE, out->bucket, out->place)->tenure = out->tenure;
}

void grd_move_on_out_report(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                            struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    if (msg->how == GRD_REPORT_DONE && out->phase == GRD_MOVE_EXPORTING) {
        out->is_cold |= (msg->flags & GRD_FLAG_COLD) != 0;
        if (++out->reports < move->shards)
            return;
        enter(move, GRD_MOVE_LEAVING, GRD_ORDER_GONE, now_ns, actions);
        return;
    }
    if (out->phase == GRD_MOVE_CLOSING && (msg->how == GRD_REPORT_CLOSED || msg->how == GRD_REPORT_BUSY)) {
        out->has_busy |= msg->how == GRD_REPORT_BUSY;
        if (out->tenure < msg->tenure)
            out->tenure = msg->tenure;
        if (++out->reports < move->shards)
            return;
        if (out->has_busy)
            enter(move, GRD_MOVE_OPENING, GRD_ORDER_OPEN, now_ns, actions);
        else
            give(move, now_ns, actions);
        return;
    }
    if (out->phase == GRD_MOVE_OPENING && msg->how == GRD_REPORT_OPENED) {
        if (++out->reports == move->shards)
            opened(move, now_ns);
        return;
    }
    if (out->phase == GRD_MOVE_LEAVING && msg->how == GRD_REPORT_GONE && ++out->reports == move->shards)
        grd_move_send(actions, out->to, GRD_MSG_MOVE_DONE, out->bucket, out->place)->flags =
            out->is_cold ? GRD_FLAG_COLD : 0;
}

void grd_move_on_accept(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                        struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    if (out->phase != GRD_MOVE_OFFERED || msg->from != out->to || msg->bucket != out->bucket ||
        msg->place != out->place)
        return;
    if (msg->how != 0) {
        out->phase = GRD_MOVE_IDLE;
        move->counters.refused++;
        return;
    }
    close_begin(move, now_ns, actions);
}

/* The next owner has it: the move cannot fail any more. */
static void given(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t i;

    thaw(move, now_ns);
    move->counters.moved++;
    for (i = 0; i < move->held_count; i++)
        if (move->held[i].from != move->node)
            grd_move_tell(move, move->held[i].from, move->out.bucket, actions);
    move->held_count = move->release_count = 0;
    move->out.is_cold = false;
    enter(move, GRD_MOVE_EXPORTING, GRD_ORDER_START, now_ns, actions);
}

/* Somebody says who owns a bucket. The owner itself hears it of its next owner only, and after TAKE. */
bool grd_move_on_moved(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                       struct grd_actions *actions, uint32_t *bucket_out)
{
    struct grd_move_out *out = &move->out;
    uint32_t bucket = msg->bucket;
    bool is_mine = move->map->owner[bucket] == move->node;

    if (msg->place <= move->map->number[bucket])
        return false;
    if (is_mine && (out->phase != GRD_MOVE_GIVEN || out->bucket != bucket || out->place != msg->place ||
                    out->to != msg->requester)) {
        move->counters.stale++;
        return false;
    }
    if (msg->requester == move->node) /* what comes here is known by TAKE */
        return false;
    move->map->owner[bucket] = msg->requester;
    move->map->number[bucket] = msg->place;
    if (is_mine)
        given(move, now_ns, actions);
    *bucket_out = bucket;
    return true;
}

enum cf_rc grd_move_begin(struct grd_move *move, uint32_t bucket, uint16_t to, uint64_t now_ns,
                          struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;
    uint32_t node;

    if (bucket >= move->map->buckets || to >= move->nodes || to == move->map->owner[bucket])
        return CF_OPTION;
    if (move->map->owner[bucket] != move->node)
        return CF_INVALID;
    if (move->is_off)
        return CF_UNSUPPORTED;
    if (out->phase != GRD_MOVE_IDLE)
        return CF_BUSY;
    for (node = 0; node < move->nodes; node++)
        if (move->in[node].phase != GRD_IN_NONE && move->in[node].bucket == bucket)
            return CF_BUSY;
    *out = (struct grd_move_out){.phase = GRD_MOVE_OFFERED,
                                 .to = to,
                                 .bucket = bucket,
                                 .place = move->map->number[bucket] + 1,
                                 .begun_ns = now_ns,
                                 .next_ns = now_ns + move->resend_ns};
    move->counters.begun++;
    grd_move_send(actions, to, GRD_MSG_MOVE_OFFER, bucket, out->place);
    return CF_OK;
}

void grd_move_out_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    out->next_ns = now_ns + move->resend_ns;
    switch ((enum grd_move_phase)out->phase) {
    case GRD_MOVE_IDLE:
        break;
    case GRD_MOVE_OFFERED:
        if (out->tries++ < GRD_MOVE_TRIES_MAX) {
            grd_move_send(actions, out->to, GRD_MSG_MOVE_OFFER, out->bucket, out->place);
        } else {
            out->phase = GRD_MOVE_IDLE;
            move->counters.given_up++;
        }
        break;
    case GRD_MOVE_CLOSING: /* an order or a report found its queue full: all again under a new number */
        close_begin(move, now_ns, actions);
        break;
    case GRD_MOVE_OPENING:
        enter(move, GRD_MOVE_OPENING, GRD_ORDER_OPEN, now_ns, actions);
        break;
    case GRD_MOVE_PAUSE:
    case GRD_MOVE_DRAIN:
        if (move->release_count == 0)
            close_begin(move, now_ns, actions);
        break;
    case GRD_MOVE_GIVEN:
        give(move, now_ns, actions);
        break;
    case GRD_MOVE_EXPORTING:
        enter(move, GRD_MOVE_EXPORTING, GRD_ORDER_START, now_ns, actions);
        break;
    case GRD_MOVE_LEAVING:
        if (out->reports < move->shards)
            enter(move, GRD_MOVE_LEAVING, GRD_ORDER_GONE, now_ns, actions);
        else
            grd_move_send(actions, out->to, GRD_MSG_MOVE_DONE, out->bucket, out->place)->flags =
                out->is_cold ? GRD_FLAG_COLD : 0;
        break;
    }
}
