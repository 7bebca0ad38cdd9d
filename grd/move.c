/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/move.h"

#include <string.h>

#include "grd/move_impl.h"
#include "grd/mutant.h"

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

struct grd_msg *grd_move_send(struct grd_actions *actions, uint16_t to, enum grd_msg_type type,
                              uint32_t bucket, uint32_t place)
{
    static const struct cf_block_key none;
    struct grd_msg *msg = grd_action_send(actions, to, type, &none);

    msg->bucket = bucket;
    msg->place = place;
    return msg;
}

void grd_move_tell(struct grd_move *move, uint16_t to, uint32_t bucket, struct grd_actions *actions)
{
    grd_move_send(actions, to, GRD_MSG_MOVED, bucket, move->map->number[bucket])->requester =
        move->map->owner[bucket];
    move->counters.told++;
}

/* ------------------------------------------------------------------ what comes in */

static bool is_bucket(const struct grd_move *move, const struct grd_msg *msg)
{
    return msg->bucket < move->map->buckets && msg->place != 0;
}

static bool on_report(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions, uint32_t *bucket_out)
{
    uint32_t node;

    if (move->out.phase != GRD_MOVE_IDLE && move->out.attempt == msg->request) {
        grd_move_on_out_report(move, msg, now_ns, actions);
        return false;
    }
    for (node = 0; node < move->nodes && move->in_count != 0; node++) {
        if (move->in[node].phase == GRD_IN_NONE || move->in[node].attempt != msg->request)
            continue;
        *bucket_out = move->in[node].bucket;
        return grd_move_on_in_report(move, (uint16_t)node, msg, now_ns, actions);
    }
    return false;
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
        grd_move_tell(move, msg->from, msg->bucket, actions);
        return false;
    }
    if (!is_bucket(move, msg) || msg->from == move->node)
        return false;
    switch (msg->type) {
    case GRD_MSG_MOVE_OFFER:
        grd_move_on_offer(move, msg, actions);
        return false;
    case GRD_MSG_MOVE_ACCEPT:
        grd_move_on_accept(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_TAKE:
        grd_move_on_take(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_DONE:
        grd_move_on_done(move, msg, now_ns, actions);
        return false;
    case GRD_MSG_MOVE_OVER:
        if (move->out.phase == GRD_MOVE_LEAVING && move->out.reports >= move->shards &&
            move->out.to == msg->from && move->out.bucket == msg->bucket && move->out.place == msg->place)
            move->out.phase = GRD_MOVE_IDLE;
        return false;
    case GRD_MSG_MOVED:
        return grd_move_on_moved(move, msg, now_ns, actions, bucket_out);
    default:
        return false;
    }
}

/* ------------------------------------------------------------------ messages of blocks */

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
        grd_move_tell(move, msg->from, bucket, actions);
        return GRD_MOVE_TOLD;
    }
    if (out->bucket == bucket && out->phase != GRD_MOVE_IDLE &&
        (grd_move_is_frozen(out) || (out->phase == GRD_MOVE_DRAIN && msg->type == GRD_MSG_REQUEST)))
        return hold(move, msg) ? GRD_MOVE_HELD : GRD_MOVE_TOLD;
    if (msg->type != GRD_MSG_REQUEST)
        return GRD_MOVE_SERVE;
    if (msg->place != move->map->number[bucket] && !grd_mutant(GRD_MUT_MOVE_ANY_PLACE)) {
        grd_move_tell(move, msg->from, bucket, actions);
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

/* ------------------------------------------------------------------ time */

void grd_move_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t node;

    if (move->out.phase != GRD_MOVE_IDLE && now_ns >= move->out.next_ns)
        grd_move_out_tick(move, now_ns, actions);
    for (node = 0; node < move->nodes && move->in_count != 0; node++)
        if ((move->in[node].phase == GRD_IN_SHARDS || move->in[node].phase == GRD_IN_ENDING) &&
            now_ns >= move->in[node].next_ns)
            grd_move_in_tick(move, (uint16_t)node, now_ns, actions);
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
        if ((move->in[node].phase == GRD_IN_SHARDS || move->in[node].phase == GRD_IN_ENDING) &&
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
