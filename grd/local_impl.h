/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCAL_IMPL_H
#define GRD_LOCAL_IMPL_H

/*
 * Shared by the files that make up grd_local: records (local.c), pools (local_pool.c), timers (local_again.c), requester.c,
 * holder.c.
 */
#include "grd/local.h"

/* local_pool.c, local_again.c, local.c */
void grd_local_arm(struct grd_local *local, struct grd_block *block, uint64_t now_ns);
uint32_t grd_local_demand_add(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg);
void grd_local_demand_pop(struct grd_local *local, struct grd_block *block);
void grd_local_conv_free(struct grd_local *local, struct grd_block *block);
struct grd_conv *grd_local_conv_take(struct grd_local *local, struct grd_block *block);
void grd_local_free_frame(struct grd_actions *actions, uint32_t frame);
/* Says the truth about a tenure somebody asks for or grants again: held -> installed, released -> release. */
void grd_local_truth(struct grd_local *local, struct grd_block *block, uint64_t tenure,
                     struct grd_actions *actions);
/* A release is open from begin to end; begin needs room: at most GRD_WINDOW are between the lowest open and the next. */
bool grd_local_release_has_room(const struct grd_local *local, uint32_t but);
void grd_local_release_begin(struct grd_local *local, struct grd_block *block, uint64_t tenure,
                             uint64_t version, uint64_t durable);
void grd_local_release_end(struct grd_local *local, struct grd_block *block);
/* Number of the open release of this tenure and how far it is from the lowest, into the message; 0: there is none. */
void grd_local_release_name(const struct grd_local *local, const struct grd_block *block, uint64_t tenure,
                            struct grd_msg *msg);
void grd_local_send_release(const struct grd_local *local, struct grd_block *block,
                            struct grd_actions *actions);
void grd_local_kept_drop(struct grd_local *local, struct grd_block *block, struct grd_actions *actions);
void grd_local_past_drop(struct grd_local *local, struct grd_block *block, struct grd_actions *actions);

/* requester.c */
void grd_requester_on_grant(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions);
void grd_requester_on_ship(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                           uint32_t frame, uint64_t now_ns, struct grd_actions *actions);
void grd_requester_on_invalidated(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                                  uint64_t now_ns, struct grd_actions *actions);
void grd_requester_on_bounce(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                             uint64_t now_ns, struct grd_actions *actions);
/* An older release was acknowledged: a failed grant may be waiting to be released. */
void grd_requester_on_released(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                               struct grd_actions *actions);
void grd_requester_send(struct grd_local *local, struct grd_block *block, struct grd_actions *actions);
/* The open conversation, which may be asked again, goes on with another master. */
void grd_requester_moved(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                         struct grd_actions *actions);
/* An invalidate that concerns a grant still under way: true = there is such a conversation and it took note. */
bool grd_requester_refuse(struct grd_local *local, struct grd_block *block, uint64_t held, uint64_t now_ns,
                          struct grd_actions *actions);

/* holder.c */
void grd_holder_on_demand(struct grd_local *local, struct grd_block *block, const struct grd_msg *msg,
                          uint64_t now_ns, struct grd_actions *actions);
void grd_holder_serve(struct grd_local *local, struct grd_block *block, uint64_t now_ns,
                      struct grd_actions *actions);
/* Answers the master's question what is here; block may be NULL. */
void grd_holder_on_recall(const struct grd_local *local, const struct grd_block *block,
                          const struct grd_msg *msg, struct grd_actions *actions);
/* Answers a demand for a copy that is not here. */
void grd_holder_answer_gone(struct grd_local *local, const struct grd_block *block, const struct grd_msg *msg,
                            struct grd_actions *actions);

#endif
