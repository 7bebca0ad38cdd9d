/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MASTER_MOVE_IMPL_H
#define GRD_MASTER_MOVE_IMPL_H

/* Shared by a shard's files about buckets that move: orders (master_move.c), the last owner's part, the next owner's. */
#include "grd/master_impl.h"
#include "grd/move_order.h"

static inline uint32_t grd_master_bucket(const struct grd_master *master, uint64_t hash)
{
    return (uint32_t)hash & (master->buckets - 1);
}

static inline void grd_export_pass(struct grd_export *export)
{
    export->cursor = export->found = export->sent = export->taken = 0;
}

/* master_move.c: the answer to an order. */
void grd_master_report(const struct grd_master *master, const struct grd_msg *order, enum grd_move_report how,
                       uint8_t flags, struct grd_actions *actions);

/* master_export.c */
void grd_master_export_done(struct grd_master *master, struct grd_actions *actions);
void grd_master_on_ask(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                       struct grd_actions *actions);
void grd_master_on_got(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns);

/* master_import.c */
void grd_master_on_entry(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                         struct grd_actions *actions);

#endif
