/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/move.h"

#include <string.h>

#include "base/assert.h"
#include "grd/move_order.h"
#include "grd/mutant.h"

/* Pause after the first busy try; each further one doubles it, so many times. */
#define PAUSE_NS 50000u
#define PAUSE_DOUBLINGS 6u
#define DRAIN_TRY_NS 20000u

enum { IN_NONE = 0, IN_SHARDS, IN_OWNER, IN_ENDING };

static const struct cf_block_key no_key;

uint64_t grd_move_bytes(const struct grd_move_options *o)
{
    return sizeof(struct grd_move) + sizeof(struct cf_hist) + o->nodes * sizeof(struct grd_move_in) +
           GRD_MOVE_HELD_MAX * sizeof(struct grd_msg) +
           o->map->buckets * (sizeof(struct grd_move_use) + sizeof(uint64_t) + sizeof(uint8_t));
}

enum cf_rc grd_move_open(const struct grd_move_options *options, struct grd_move **move_out)
{
    const struct cf_allocator *a = options->allocator;
    uint64_t buckets = options->map->buckets;
    struct grd_move *move = cf_alloc(a, sizeof *move, CF_CACHE_LINE, CF_ALLOC_ZERO);

    if (move == NULL)
        return CF_MEMORY;
    move->node = options->node;
    move->is_off = options->is_off;
    move->nodes = options->nodes;
    move->shards = options->shards;
    move->resend_ns = options->resend_ns;
    move->period_ns = options->period_ns;
    move->rest_ns = options->rest_ns;
    move->gap_ns = options->gap_ns;
    move->map = options->map;
    move->allocator = a;
    move->plan_next_ns = options->now_ns + options->period_ns;
    move->in = cf_alloc(a, options->nodes * sizeof *move->in, CF_CACHE_LINE, CF_ALLOC_ZERO);
    move->held = cf_alloc(a, GRD_MOVE_HELD_MAX * sizeof *move->held, CF_CACHE_LINE, CF_ALLOC_ZERO);
    move->use = cf_alloc(a, buckets * sizeof *move->use, CF_CACHE_LINE, CF_ALLOC_ZERO);
    move->came_ns = cf_alloc(a, buckets * sizeof *move->came_ns, CF_CACHE_LINE, CF_ALLOC_ZERO);
    move->streak = cf_alloc(a, buckets * sizeof *move->streak, CF_CACHE_LINE, CF_ALLOC_ZERO);
    move->freeze_hist = cf_alloc(a, sizeof *move->freeze_hist, CF_CACHE_LINE, 0);
    if (!move->in || !move->held || !move->use || !move->came_ns || !move->streak || !move->freeze_hist) {
        grd_move_close(&move);
        return CF_MEMORY;
    }
    cf_hist_init(move->freeze_hist);
    *move_out = move;
    return CF_OK;
}

void grd_move_close(struct grd_move **move)
{
    struct grd_move *m = *move;

    if (m == NULL)
        return;
    cf_free(m->allocator, m->in, m->nodes * sizeof *m->in);
    cf_free(m->allocator, m->held, GRD_MOVE_HELD_MAX * sizeof *m->held);
    cf_free(m->allocator, m->use, m->map->buckets * sizeof *m->use);
    cf_free(m->allocator, m->came_ns, m->map->buckets * sizeof *m->came_ns);
    cf_free(m->allocator, m->streak, m->map->buckets * sizeof *m->streak);
    cf_free(m->allocator, m->freeze_hist, sizeof *m->freeze_hist);
    cf_free(m->allocator, m, sizeof *m);
    *move = NULL;
}

/* ------------------------------------------------------------------ what is said */

static struct grd_msg *send(struct grd_actions *actions, uint16_t to, enum grd_msg_type type, uint32_t bucket,
                            uint32_t place)
{
    struct grd_msg *msg = grd_action_send(actions, to, type, &no_key);

    msg->bucket = bucket;
    msg->place = place;
    return msg;
}

static void send_moved(struct grd_move *move, uint16_t to, uint32_t bucket, struct grd_actions *actions)
{
    send(actions, to, GRD_MSG_MOVED, bucket, move->map->number[bucket])->requester = move->map->owner[bucket];
    move->counters.told++;
}

static void send_moved_all(struct grd_move *move, uint32_t bucket, struct grd_actions *actions)
{
    uint32_t node;

    for (node = 0; node < move->nodes; node++)
        if (node != move->node)
            send_moved(move, (uint16_t)node, bucket, actions);
}

static void order_out(struct grd_move *move, enum grd_move_order how, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;
    uint32_t s;

    for (s = 0; s < move->shards; s++) {
        struct grd_msg *msg = send(actions, move->node, GRD_MSG_MOVE_ORDER, out->bucket, out->place);

        msg->request = out->attempt;
        msg->tenure = 0;
        msg->requester = (uint16_t)s;
        msg->behind = out->to;
        msg->how = (uint8_t)how;
        msg->flags = 0;
    }
}

static void order_in(struct grd_move *move, uint16_t from, enum grd_move_order how,
                     struct grd_actions *actions)
{
    const struct grd_move_in *in = &move->in[from];
    uint32_t s;

    for (s = 0; s < move->shards; s++) {
        struct grd_msg *msg = send(actions, move->node, GRD_MSG_MOVE_ORDER, in->bucket, in->place);

        msg->request = in->attempt;
        msg->tenure = in->tenure;
        msg->requester = (uint16_t)s;
        msg->behind = from;
        msg->how = (uint8_t)how;
        msg->flags = in->is_cold ? GRD_FLAG_COLD : 0;
    }
}

/* ------------------------------------------------------------------ what goes */

static bool is_frozen(const struct grd_move_out *out)
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
    send(actions, out->to, GRD_MSG_MOVE_TAKE, out->bucket, out->place)->tenure = out->tenure;
}

static void on_out_report(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
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
        send(actions, out->to, GRD_MSG_MOVE_DONE, out->bucket, out->place)->flags = out->is_cold
                                                                                        ? GRD_FLAG_COLD
                                                                                        : 0;
}

static void on_accept(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
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
            send_moved(move, move->held[i].from, move->out.bucket, actions);
    move->held_count = move->release_count = 0;
    move->out.is_cold = false;
    enter(move, GRD_MOVE_EXPORTING, GRD_ORDER_START, now_ns, actions);
}

/* ------------------------------------------------------------------ what comes */

static bool is_bucket(const struct grd_move *move, const struct grd_msg *msg)
{
    return msg->bucket < move->map->buckets && msg->place != 0;
}

static void on_offer(struct grd_move *move, const struct grd_msg *msg, struct grd_actions *actions)
{
    const struct grd_move_out *out = &move->out;
    bool goes = out->phase != GRD_MOVE_IDLE && out->bucket == msg->bucket;

    if (msg->place <= move->map->number[msg->bucket]) {
        send_moved(move, msg->from, msg->bucket, actions);
        return;
    }
    send(actions, msg->from, GRD_MSG_MOVE_ACCEPT, msg->bucket, msg->place)->how = goes ||
                                                                                  move->in[msg->from].phase !=
                                                                                      IN_NONE;
}

static void on_take(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                    struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[msg->from];

    if (msg->place <= move->map->number[msg->bucket]) {
        send_moved(move, msg->from, msg->bucket, actions);
        return;
    }
    if (in->phase != IN_NONE)
        return;
    *in = (struct grd_move_in){.phase = IN_SHARDS,
                               .bucket = msg->bucket,
                               .place = msg->place,
                               .tenure = msg->tenure,
                               .attempt = ++move->attempt_last,
                               .next_ns = now_ns + move->resend_ns};
    move->in_count++;
    order_in(move, msg->from, GRD_ORDER_IMPORT, actions);
}

static void on_done(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                    struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[msg->from];

    if (in->phase == IN_NONE || in->bucket != msg->bucket || in->place != msg->place) {
        if (msg->place <= move->map->number[msg->bucket]) /* its end was not heard */
            send(actions, msg->from, GRD_MSG_MOVE_OVER, msg->bucket, msg->place);
        return;
    }
    if (in->phase != IN_OWNER)
        return;
    in->phase = IN_ENDING;
    in->reports = 0;
    in->is_cold = (msg->flags & GRD_FLAG_COLD) != 0;
    in->attempt = ++move->attempt_last;
    in->next_ns = now_ns + move->resend_ns;
    order_in(move, msg->from, GRD_ORDER_END, actions);
}

/* True: this instance has become the owner. */
static bool on_in_report(struct grd_move *move, uint16_t from, const struct grd_msg *msg, uint64_t now_ns,
                         struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[from];

    if (in->phase == IN_SHARDS && msg->how == GRD_REPORT_IMPORTS) {
        if (++in->reports < move->shards)
            return false;
        in->phase = IN_OWNER;
        move->map->owner[in->bucket] = move->node;
        move->map->number[in->bucket] = in->place;
        move->came_ns[in->bucket] = now_ns;
        move->streak[in->bucket] = 0;
        memset(&move->use[in->bucket], 0, sizeof move->use[0]);
        move->counters.taken++;
        send_moved_all(move, in->bucket, actions);
        return true;
    }
    if (in->phase == IN_ENDING && msg->how == GRD_REPORT_ENDED && ++in->reports == move->shards) {
        send(actions, from, GRD_MSG_MOVE_OVER, in->bucket, in->place);
        in->phase = IN_NONE;
        move->in_count--;
    }
    return false;
}

static bool on_report(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions, uint32_t *bucket_out)
{
    uint32_t node;

    if (move->out.phase != GRD_MOVE_IDLE && move->out.attempt == msg->request) {
        on_out_report(move, msg, now_ns, actions);
        return false;
    }
    for (node = 0; node < move->nodes && move->in_count != 0; node++) {
        if (move->in[node].phase == IN_NONE || move->in[node].attempt != msg->request)
            continue;
        *bucket_out = move->in[node].bucket;
        return on_in_report(move, (uint16_t)node, msg, now_ns, actions);
    }
    return false;
}

/* Somebody says who owns a bucket. The owner itself hears it of its next owner only, and after TAKE. */
static bool on_moved(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
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
        if (move->in[node].phase != IN_NONE && move->in[node].bucket == bucket)
            return CF_BUSY;
    *out = (struct grd_move_out){.phase = GRD_MOVE_OFFERED,
                                 .to = to,
                                 .bucket = bucket,
                                 .place = move->map->number[bucket] + 1,
                                 .begun_ns = now_ns,
                                 .next_ns = now_ns + move->resend_ns};
    move->counters.begun++;
    send(actions, to, GRD_MSG_MOVE_OFFER, bucket, out->place);
    return CF_OK;
}

bool grd_move_step(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                   struct grd_actions *actions, uint32_t *bucket_out)
{
    if (msg->type == GRD_MSG_MOVE_REPORT)
        return on_report(move, msg, now_ns, actions, bucket_out);
    if (msg->bucket >= move->map->buckets) {
        move->counters.stale++;
        return false;
    }
    if (msg->type == GRD_MSG_MOVE_WISH) {
        move->counters.wished++;
        move->counters.refused += grd_move_begin(move, msg->bucket, msg->requester, now_ns, actions) != CF_OK;
        return false;
    }
    if (msg->type == GRD_MSG_MOVE_WHERE) {
        send_moved(move, msg->from, msg->bucket, actions);
        return false;
    }
    if (!is_bucket(move, msg) || msg->from == move->node)
        return false;
    switch (msg->type) {
    case GRD_MSG_MOVE_OFFER:
        on_offer(move, msg, actions);
        return false;
    case GRD_MSG_MOVE_ACCEPT:
        on_accept(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_TAKE:
        on_take(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_DONE:
        on_done(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_OVER:
        if (move->out.phase == GRD_MOVE_LEAVING && move->out.reports >= move->shards &&
            move->out.to == msg->from && move->out.bucket == msg->bucket && move->out.place == msg->place)
            move->out.phase = GRD_MOVE_IDLE;
        return false;
    case GRD_MSG_MOVED:
        return on_moved(move, msg, now_ns, actions, bucket_out);
    default:
        return false;
    }
}

/* ------------------------------------------------------------------ the rest */

static bool hold(struct grd_move *move, const struct grd_msg *msg)
{
    if (move->held_count == GRD_MOVE_HELD_MAX) {
        move->counters.held_dropped++;
        return false;
    }
    grd_msg_copy(&move->held[move->held_count++], msg);
    move->counters.held++;
    return true;
}

enum grd_move_verdict grd_move_route(struct grd_move *move, const struct grd_msg *msg, uint64_t hash,
                                     struct grd_actions *actions)
{
    uint32_t bucket = grd_map_bucket(move->map, hash);
    const struct grd_move_out *out = &move->out;

    if (move->map->owner[bucket] != move->node &&
        !(grd_mutant(GRD_MUT_MOVE_BOTH) && move->map->number[bucket] != 0)) {
        send_moved(move, msg->from, bucket, actions);
        return GRD_MOVE_TOLD;
    }
    if (out->bucket == bucket && out->phase != GRD_MOVE_IDLE &&
        (is_frozen(out) || (out->phase == GRD_MOVE_DRAIN && msg->type == GRD_MSG_REQUEST)))
        return hold(move, msg) ? GRD_MOVE_HELD : GRD_MOVE_TOLD;
    if (msg->type != GRD_MSG_REQUEST)
        return GRD_MOVE_SERVE;
    if (msg->place != move->map->number[bucket] && !grd_mutant(GRD_MUT_MOVE_ANY_PLACE)) {
        send_moved(move, msg->from, bucket, actions);
        return GRD_MOVE_TOLD;
    }
    move->counters.requests++;
    move->counters.requests_local += msg->from == move->node;
    grd_move_count(move, bucket, msg->from);
    return GRD_MOVE_SERVE;
}

bool grd_move_release(struct grd_move *move, struct grd_msg *msg_out)
{
    if (move->release_count == 0)
        return false;
    grd_msg_copy(msg_out, &move->held[0]);
    memmove(&move->held[0], &move->held[1], (move->held_count - 1) * sizeof move->held[0]);
    move->held_count--;
    move->release_count--;
    return true;
}

static void out_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_out *out = &move->out;

    out->next_ns = now_ns + move->resend_ns;
    switch ((enum grd_move_phase)out->phase) {
    case GRD_MOVE_IDLE:
        break;
    case GRD_MOVE_OFFERED:
        if (out->tries++ < GRD_MOVE_TRIES_MAX) {
            send(actions, out->to, GRD_MSG_MOVE_OFFER, out->bucket, out->place);
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
            send(actions, out->to, GRD_MSG_MOVE_DONE, out->bucket, out->place)->flags = out->is_cold
                                                                                            ? GRD_FLAG_COLD
                                                                                            : 0;
        break;
    }
}

static void in_tick(struct grd_move *move, uint16_t from, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[from];

    in->next_ns = now_ns + move->resend_ns;
    in->attempt = ++move->attempt_last;
    in->reports = 0;
    if (in->phase == IN_SHARDS)
        order_in(move, from, GRD_ORDER_IMPORT, actions);
    else if (in->phase == IN_ENDING)
        order_in(move, from, GRD_ORDER_END, actions);
}

void grd_move_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t node;

    if (move->out.phase != GRD_MOVE_IDLE && now_ns >= move->out.next_ns)
        out_tick(move, now_ns, actions);
    for (node = 0; node < move->nodes && move->in_count != 0; node++)
        if ((move->in[node].phase == IN_SHARDS || move->in[node].phase == IN_ENDING) &&
            now_ns >= move->in[node].next_ns)
            in_tick(move, (uint16_t)node, now_ns, actions);
    if (move->period_ns != 0 && now_ns >= move->plan_next_ns)
        grd_move_plan(move);
    if (move->period_ns != 0 && now_ns > move->plan_next_ns + move->period_ns) /* nobody was here for long */
        move->plan_next_ns = now_ns;
    if (move->begin_left != 0 && move->out.phase == GRD_MOVE_IDLE && now_ns >= move->plan_gap_ns)
        grd_move_plan_begin(move, now_ns, actions);
}

uint64_t grd_move_next_ns(const struct grd_move *move)
{
    uint64_t next = move->period_ns != 0 ? move->plan_next_ns : UINT64_MAX;
    uint32_t node;

    if (move->out.phase != GRD_MOVE_IDLE && move->out.next_ns < next)
        next = move->out.next_ns;
    if (move->out.phase == GRD_MOVE_IDLE && move->begin_left != 0 && move->plan_gap_ns < next)
        next = move->plan_gap_ns;
    for (node = 0; node < move->nodes && move->in_count != 0; node++)
        if ((move->in[node].phase == IN_SHARDS || move->in[node].phase == IN_ENDING) &&
            move->in[node].next_ns < next)
            next = move->in[node].next_ns;
    return next;
}

bool grd_move_serves(const struct grd_move *move, uint32_t bucket)
{
    return move->map->owner[bucket] == move->node &&
           !(move->out.phase == GRD_MOVE_GIVEN && move->out.bucket == bucket);
}

bool grd_move_is_quiet(const struct grd_move *move)
{
    return move->out.phase == GRD_MOVE_IDLE && move->in_count == 0;
}
