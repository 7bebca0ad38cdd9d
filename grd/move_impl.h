/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MOVE_IMPL_H
#define GRD_MOVE_IMPL_H

/* Shared by the files that make up grd/move.h: what comes in and is held (move.c), what goes (move_out.c), what comes (move_in.c). */
#include "grd/move.h"
#include "grd/move_order.h"

/* Phases of grd_move_in. */
enum { GRD_IN_NONE = 0, GRD_IN_SHARDS, GRD_IN_OWNER, GRD_IN_ENDING };

/* move.c: a message about a bucket; who owns it, as far as is known here. */
struct grd_msg *grd_move_send(struct grd_actions *actions, uint16_t to, enum grd_msg_type type,
                              uint32_t bucket, uint32_t place);
void grd_move_tell(struct grd_move *move, uint16_t to, uint32_t bucket, struct grd_actions *actions);

/* move_out.c */
/* Nothing of the bucket that goes is served. */
bool grd_move_is_frozen(const struct grd_move_out *out);
void grd_move_on_out_report(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                            struct grd_actions *actions);
void grd_move_on_accept(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                        struct grd_actions *actions);
/* Somebody says who owns a bucket; true: that is news. */
bool grd_move_on_moved(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                       struct grd_actions *actions, uint32_t *bucket_out);
void grd_move_out_tick(struct grd_move *move, uint64_t now_ns, struct grd_actions *actions);

/* move_in.c */
void grd_move_on_offer(struct grd_move *move, const struct grd_msg *msg, struct grd_actions *actions);
void grd_move_on_take(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions);
void grd_move_on_done(struct grd_move *move, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions);
/* True: this instance has become the owner. */
bool grd_move_on_in_report(struct grd_move *move, uint16_t from, const struct grd_msg *msg, uint64_t now_ns,
                           struct grd_actions *actions);
void grd_move_in_tick(struct grd_move *move, uint16_t from, uint64_t now_ns, struct grd_actions *actions);

#endif
