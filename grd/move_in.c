/* SPDX-License-Identifier: Apache-2.0 */
/* Buckets that come: one from each instance at a time. */
#include <string.h>

#include "grd/move_impl.h"

static void send_moved_all(struct grd_move *move, uint32_t bucket, struct grd_actions *actions)
{
    uint32_t node;

    for (node = 0; node < move->nodes; node++)
        if (node != move->node)
            grd_move_tell(move, (uint16_t)node, bucket, actions);
}

static void order_in(struct grd_move *move, uint16_t from, enum grd_move_order how,
                     struct grd_actions *actions)
{
    const struct grd_move_in *in = &move->in[from];
    uint32_t s;

    for (s = 0; s < move->shards; s++) {
        struct grd_msg *msg = grd_move_send(actions, move->node, GRD_MSG_MOVE_ORDER, in->bucket, in->place);

        msg->request = in->attempt;
        msg->tenure = in->tenure;
        msg->requester = (uint16_t)s;
        msg->behind = from;
        msg->how = (uint8_t)how;
        msg->flags = in->is_cold ? GRD_FLAG_COLD : 0;
    }
}

void grd_move_on_offer(struct grd_move *move, const struct grd_msg *msg, struct grd_actions *actions)
{
    const struct grd_move_out *out = &move->out;
    bool goes = out->phase != GRD_MOVE_IDLE && out->bucket == msg->bucket;

    if (msg->place <= move->map->number[msg->bucket]) {
        grd_move_tell(move, msg->from, msg->bucket, actions);
        return;
    }
    grd_move_send(actions, msg->from, GRD_MSG_MOVE_ACCEPT, msg->bucket, msg->place)->how =
        goes || move->in[msg->from].phase != GRD_IN_NONE;
}

void grd_move_on_take(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[msg->from];

    if (msg->place <= move->map->number[msg->bucket]) {
        grd_move_tell(move, msg->from, msg->bucket, actions);
        return;
    }
    if (in->phase != GRD_IN_NONE)
        return;
    *in = (struct grd_move_in){.phase = GRD_IN_SHARDS,
                               .bucket = msg->bucket,
                               .place = msg->place,
                               .tenure = msg->tenure,
                               .attempt = ++move->attempt_last,
                               .next_ns = now_ns + move->resend_ns};
    move->in_count++;
    order_in(move, msg->from, GRD_ORDER_IMPORT, actions);
}

void grd_move_on_done(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[msg->from];

    if (in->phase == GRD_IN_NONE || in->bucket != msg->bucket || in->place != msg->place) {
        if (msg->place <= move->map->number[msg->bucket]) /* its end was not heard */
            grd_move_send(actions, msg->from, GRD_MSG_MOVE_OVER, msg->bucket, msg->place);
        return;
    }
    if (in->phase != GRD_IN_OWNER)
        return;
    in->phase = GRD_IN_ENDING;
    in->reports = 0;
    in->is_cold = (msg->flags & GRD_FLAG_COLD) != 0;
    in->attempt = ++move->attempt_last;
    in->next_ns = now_ns + move->resend_ns;
    order_in(move, msg->from, GRD_ORDER_END, actions);
}

/* True: this instance has become the owner. */
bool grd_move_on_in_report(struct grd_move *move, uint16_t from, const struct grd_msg *msg, uint64_t now_ns,
                           struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[from];

    if (in->phase == GRD_IN_SHARDS && msg->how == GRD_REPORT_IMPORTS) {
        if (++in->reports < move->shards)
            return false;
        in->phase = GRD_IN_OWNER;
        move->map->owner[in->bucket] = move->node;
        move->map->number[in->bucket] = in->place;
        move->came_ns[in->bucket] = now_ns;
        move->streak[in->bucket] = 0;
        memset(&move->use[in->bucket], 0, sizeof move->use[0]);
        move->counters.taken++;
        send_moved_all(move, in->bucket, actions);
        return true;
    }
    if (in->phase == GRD_IN_ENDING && msg->how == GRD_REPORT_ENDED && ++in->reports == move->shards) {
        grd_move_send(actions, from, GRD_MSG_MOVE_OVER, in->bucket, in->place);
        in->phase = GRD_IN_NONE;
        move->in_count--;
    }
    return false;
}

void grd_move_in_tick(struct grd_move *move, uint16_t from, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_move_in *in = &move->in[from];

    in->next_ns = now_ns + move->resend_ns;
    in->attempt = ++move->attempt_last;
    in->reports = 0;
    if (in->phase == GRD_IN_SHARDS)
        order_in(move, from, GRD_ORDER_IMPORT, actions);
    else if (in->phase == GRD_IN_ENDING)
        order_in(move, from, GRD_ORDER_END, actions);
}
