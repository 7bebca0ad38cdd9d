/* SPDX-License-Identifier: Apache-2.0 */
/* The masters of a shard, of blocks and locks alike, stepped by whoever owns it. */
#include "engine/instance.h"

void eng_master_step(struct cf_instance *instance, uint32_t shard, const struct grd_msg *msg, uint64_t hash,
                     uint64_t now_ns, struct grd_actions *actions)
{
    if (msg->type == GRD_MSG_MOVE_ORDER)
        grd_master_order(instance->masters[shard], msg, now_ns, actions);
    else if (!eng_lock_is_for_master(msg->type))
        grd_master_step(instance->masters[shard], msg, hash, now_ns, actions);
    else if (instance->locks.masters[shard])
        grd_lock_master_step(instance->locks.masters[shard], msg, hash, now_ns, actions);
}

bool eng_master_tick(struct cf_instance *instance, uint32_t shard, uint64_t now_ns,
                     struct grd_actions *actions)
{
    struct grd_lock_master *locks = instance->locks.masters[shard];

    if (grd_master_next_ns(instance->masters[shard]) <= now_ns &&
        grd_master_tick(instance->masters[shard], now_ns, actions))
        return true;
    return locks && grd_lock_master_next_ns(locks) <= now_ns && grd_lock_master_tick(locks, now_ns, actions);
}

uint64_t eng_master_next_ns(const struct cf_instance *instance, uint32_t shard)
{
    uint64_t blocks = grd_master_next_ns(instance->masters[shard]), locks = UINT64_MAX;

    if (instance->locks.masters[shard])
        locks = grd_lock_master_next_ns(instance->locks.masters[shard]);
    return blocks < locks ? blocks : locks;
}
