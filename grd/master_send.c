/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a master says of a pending grant, the first time and again. Rule numbers in brackets are those of
 * docs/protocol.md ("Rules").
 */
#include "grd/master_impl.h"
#include "grd/mutant.h"

/* The sharers of the pending X, as the set its grantee waits for [4]; the set of a new message is empty. */
static void fill_sharers(struct grd_master *master, const struct grd_entry *entry, struct grd_set *set)
{
    struct grd_pair pair;
    uint32_t cursor = 0;
    bool skip = grd_mutant(GRD_MUT_SKIP_SHARER);

    while (grd_list_next(master->directory, entry, GRD_LIST_SHARERS, &cursor, &pair)) {
        if (!skip)
            grd_set_add(set, pair.node);
        skip = false;
    }
}

void grd_master_send_grant(struct grd_master *master, const struct grd_entry *entry,
                           const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, pending->node, GRD_MSG_GRANT, &entry->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    msg->version = entry->version;
    msg->durable = grd_entry_durable(master->directory, entry);
    msg->mode = pending->mode;
    msg->how = pending->how;
    if (pending->mode == CF_MODE_X && grd_master_has_sharers(master, entry))
        fill_sharers(master, entry, &msg->set);
    master->counters.grants++;
}

void grd_master_send_forward(struct grd_master *master, const struct grd_entry *entry,
                             const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, pending->source, GRD_MSG_FORWARD, &entry->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    msg->held = pending->source_tenure;
    msg->requester = pending->node;
    msg->mode = pending->mode;
    if (pending->mode == CF_MODE_X && grd_master_has_sharers(master, entry))
        fill_sharers(master, entry, &msg->set);
    master->counters.forwards++;
}

static void send_invalidate(struct grd_master *master, const struct grd_entry *entry, uint16_t sharer,
                            uint64_t held, const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, sharer, GRD_MSG_INVALIDATE, &entry->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    msg->held = held;
    msg->requester = pending->node;
    master->counters.invalidates++;
}

void grd_master_send_invalidates(struct grd_master *master, const struct grd_entry *entry,
                                 const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_pair pair;
    uint32_t cursor = 0;

    while (grd_list_next(master->directory, entry, GRD_LIST_SHARERS, &cursor, &pair))
        send_invalidate(master, entry, pair.node, pair.value, pending, actions);
}
