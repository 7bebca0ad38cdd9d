/* SPDX-License-Identifier: Apache-2.0 */
/* Values without a lock, at the master: compare-and-swap and read. */
#include <string.h>

#include "grd/lock_master_impl.h"
#include "grd/lock_mutant.h"

static struct grd_msg *send_answer(struct grd_lock_master *master, const struct grd_msg *msg,
                                   const struct grd_lock_entry *entry, enum grd_lock_answer how,
                                   struct grd_actions *actions)
{
    struct grd_msg *answer = grd_action_send(actions, msg->from, GRD_MSG_LOCK_VALUE, &msg->key);
    struct grd_lock_value none = {.version = master->version_floor, .is_valid = true};

    answer->request = msg->request;
    answer->how = (uint8_t)how;
    answer->record = entry ? (uint32_t)(entry - master->entries) : GRD_LOCK_NONE;
    grd_lock_share_send_value(answer, entry ? &entry->value : &none);
    return answer;
}

/*
 * Who stands against PW but for the asker's own CW or PR, whose copy of the value the answer renews. All are asked
 * to come down if they do not use it.
 */
static bool swap_is_kept_out(struct grd_lock_master *master, struct grd_lock_entry *entry, uint16_t from,
                             struct grd_actions *actions)
{
    struct grd_lock_claim *claim;
    bool is_kept_out = false;

    for (claim = entry->queue.first; claim; claim = claim->next) {
        struct grd_lock_share *share = grd_lock_share_from(claim);

        if (grd_lock_compatible(claim->held, GRD_LOCK_PW) ||
            (share->node == from && !grd_lock_covers(claim->held, GRD_LOCK_PW)))
            continue;
        is_kept_out = true;
        if (share->node != from)
            grd_lock_share_send_demand(master, share, GRD_LOCK_PW, GRD_LOCK_TRY, actions);
    }
    return is_kept_out;
}

static enum grd_lock_answer swap_try(struct grd_lock_master *master, struct grd_lock_entry *entry,
                                     const struct grd_msg *msg, struct grd_actions *actions)
{
    if (entry == NULL)
        return GRD_LOCK_FULL;
    if (!grd_lock_name_equal(&entry->name, &msg->name))
        return GRD_LOCK_TAKEN;
    if (swap_is_kept_out(master, entry, msg->from, actions)) {
        master->counters.swaps_busy++;
        return GRD_LOCK_BUSY;
    }
    if (entry->value.version != msg->held)
        return GRD_LOCK_CHANGED;
    entry->value.version++;
    entry->value.is_valid = true;
    entry->value.bytes_count = msg->value.count;
    memcpy(entry->value.bytes, msg->value.bytes, msg->value.count);
    grd_lock_entry_publish(master, entry);
    return GRD_LOCK_DONE;
}

/* Each number is answered once and for all, or a copy that comes late would store what its sender was told it did not. */
void grd_lock_swap_on_swap(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                           struct grd_actions *actions)
{
    struct grd_lock_swap *last = &master->swaps[msg->from * GRD_LOCK_SWAP_SLOTS + msg->slot];
    struct grd_lock_entry *entry = grd_lock_entry_find(master, &msg->key, hash);
    struct grd_msg *answer;

    master->counters.swaps++;
    if (msg->request < last->request) {
        master->counters.stale++;
        return;
    }
    if (msg->request != last->request || grd_lock_mutant(GRD_LOCK_MUT_SWAP_TWICE) ||
        (last->how == GRD_LOCK_BUSY && grd_lock_mutant(GRD_LOCK_MUT_BUSY_AGAIN))) {
        entry = grd_lock_entry_get(master, &msg->key, hash, &msg->name);
        last->request = msg->request;
        last->how = swap_try(master, entry, msg, actions);
        last->version = entry ? entry->value.version : 0;
    }
    answer = send_answer(master, msg, entry, (enum grd_lock_answer)last->how, actions);
    if (last->how == GRD_LOCK_DONE)
        answer->version = last->version;
    if (entry)
        grd_lock_entry_settle(master, entry);
}

void grd_lock_swap_on_read(struct grd_lock_master *master, const struct grd_msg *msg, uint64_t hash,
                           struct grd_actions *actions)
{
    master->counters.reads++;
    send_answer(master, msg, grd_lock_entry_find(master, &msg->key, hash), GRD_LOCK_DONE, actions);
}
