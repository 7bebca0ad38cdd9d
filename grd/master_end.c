/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What ends at the master: grants that have begun, copies that were released or are not there, past images that are durable
 * elsewhere. Rule numbers in brackets are those of docs/protocol.md ("Rules").
 */
#include "base/assert.h"
#include "grd/master_impl.h"
#include "grd/mutant.h"

static void send_confirmed(const struct grd_entry *entry, uint16_t to, uint64_t tenure,
                           struct grd_actions *actions)
{
    grd_action_send(actions, to, GRD_MSG_CONFIRMED, &entry->key)->tenure = tenure;
}

/* ------------------------------------------------------------------ ends of things */

static void mark_raise(struct grd_master *master, uint16_t node, uint64_t request)
{
    if (master->mark[node] < request && !grd_mutant(GRD_MUT_DUP_REQUEST))
        master->mark[node] = request;
}

void grd_master_pending_end(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending)
{
    mark_raise(master, pending->node, pending->request);
    cf_wheel_disarm(&master->wheel, &pending->timer);
    grd_pending_remove(master->directory, entry, pending);
}

/* It holds no more; with the duty it leaves a past image behind, whose version is not known yet. */
void grd_master_holder_left(struct grd_master *master, struct grd_entry *entry,
                            const struct grd_holder *holder)
{
    struct grd_pending *pending;

    if (holder->has_duty)
        grd_list_set(master->directory, entry, GRD_LIST_PAST, holder->node, 0);
    if (holder->is_pending) {
        pending = grd_pending_of(master->directory, entry, holder->node);
        cf_assert(pending != NULL);
        grd_master_pending_end(master, entry, pending);
    }
}

void grd_master_holder_out(struct grd_master *master, struct grd_entry *entry,
                           const struct grd_holder *holder)
{
    grd_holder_remove(master->directory, entry, holder->node);
    grd_master_holder_left(master, entry, holder);
}

/* A version became durable: past images up to it may go [I-5]. */
void grd_master_durable(struct grd_master *master, struct grd_entry *entry, uint64_t durable,
                        struct grd_actions *actions)
{
    struct grd_side *side = grd_side_of(master->directory, entry);
    struct grd_pair pair;
    uint32_t cursor = 0, count = 0, i;
    struct grd_msg *msg;

    if (side == NULL) /* nothing is remembered of it */
        return;
    if (side->durable < durable)
        grd_entry_durable_raise(master->directory, entry, durable);
    durable = side->durable;
    if (!grd_side_lists(side, GRD_LIST_PAST) || grd_past_oldest(master->directory, entry) > durable)
        return;
    while (grd_list_next(master->directory, entry, GRD_LIST_PAST, &cursor, &pair)) {
        if (pair.value == 0 || pair.value > durable)
            continue;
        msg = grd_action_send(actions, pair.node, GRD_MSG_DISCARD, &entry->key);
        msg->durable = durable;
        count++;
    }
    for (i = 0; i < count; i++) /* the last `count` actions name the nodes */
        grd_list_remove(master->directory, entry, GRD_LIST_PAST,
                        actions->item[actions->count - count + i].to);
}

/*
 * The pending X began with this version: past images left by its grant are at most that new [13]. When it began
 * with a durable version there are none: durable versions are learned along the chain of the write duty, so that
 * whoever had the duty before knew it to be clean as well. (Where that knowledge came late, PAST mends it.)
 */
static void past_images_learn(struct grd_master *master, struct grd_entry *entry, uint64_t version,
                              uint64_t durable)
{
    grd_past_learn(master->directory, entry, version <= durable ? 0 : version);
}

/* The grant began: learn what the past images are worth, let the source drop what it kept. */
static void grant_began(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                        const struct grd_msg *msg, struct grd_actions *actions)
{
    const struct grd_side *side = grd_side_of(master->directory, entry);

    if (pending->mode == CF_MODE_X) {
        /* A grant by disk or as new followed a source that had written, or none at all: it left no past image. */
        if (grd_side_lists(side, GRD_LIST_PAST))
            past_images_learn(master, entry, msg->version,
                              pending->how == GRD_HOW_DISK || pending->how == GRD_HOW_NEW ? msg->version
                                                                                          : msg->durable);
        if (grd_side_lists(side, GRD_LIST_SHARERS))
            grd_list_clear(master->directory, entry, GRD_LIST_SHARERS);
        if (pending->how == GRD_HOW_SHIP)
            send_confirmed(entry, pending->source, pending->tenure, actions);
    }
    grd_master_pending_end(master, entry, pending);
}

static void version_learn(struct grd_entry *entry, uint64_t version)
{
    if (version > entry->version)
        entry->version = version;
}

void grd_master_on_installed(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                             uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_side_pending_of(master->directory,
                                                      grd_side_of(master->directory, entry), msg->from);

    if (pending == NULL || pending->tenure != msg->tenure) {
        master->counters.stale++;
        return;
    }
    grd_holder_begun(master->directory, entry, msg->from);
    version_learn(entry, msg->version);
    grant_began(master, entry, pending, msg, actions);
    grd_master_durable(master, entry, msg->durable, actions);
    grd_master_serve(master, entry, now_ns, actions);
}

void grd_master_on_release(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                           uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_pending_of(master->directory, entry, msg->from);
    struct grd_holder holder;

    (void)grd_window_end(&master->seen[msg->from], msg->number);
    version_learn(entry, msg->version);
    if (grd_holder_find(master->directory, entry, msg->from, &holder) && holder.tenure == msg->tenure &&
        !(grd_mutant(GRD_MUT_RELEASE_DROPPED) && pending)) {
        if (pending &&
            pending->tenure == msg->tenure) /* it overtook its own installed and counts as both [9] */
            grant_began(master, entry, pending, msg, actions);
        grd_holder_remove(master->directory, entry,
                          msg->from); /* written before it was released: no past image stays */
    } else {
        master->counters.stale++;
    }
    grd_master_durable(master, entry, msg->durable, actions);
    grd_action_send(actions, msg->from, GRD_MSG_RELEASED, &msg->key)->tenure = msg->tenure;
    grd_master_serve(master, entry, now_ns, actions);
}

/* A forward met an eviction: that tenure and its duty end here too [8], and another source is chosen. */
void grd_master_on_not_held(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_pending_of(master->directory, entry, msg->requester);
    struct grd_holder holder;

    if (pending == NULL || pending->tenure != msg->tenure || pending->how != GRD_HOW_SHIP ||
        pending->source != msg->from || pending->source_tenure != msg->held || pending->again ||
        grd_mutant(GRD_MUT_NOT_HELD_SAME)) {
        master->counters.stale++;
        return;
    }
    master->counters.not_held++;
    if (msg->number !=
        0) /* of the release that says the same: it may come when the entry is forgotten [G-15] */
        (void)grd_window_end(&master->seen[msg->from], msg->number);
    if (grd_holder_find(master->directory, entry, msg->from, &holder) && holder.tenure == msg->held &&
        !holder.is_pending)
        grd_holder_remove(master->directory, entry, msg->from);
    pending->again = 1;
    pending->source = CF_NODE_NONE;
    grd_master_serve(master, entry, now_ns, actions);
}

/* "May the image I keep go?" Yes, unless exactly that tenure has not begun yet. */
void grd_master_on_kept(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        struct grd_actions *actions)
{
    struct grd_pending *pending;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending))
        if (pending->tenure == msg->tenure)
            return;
    send_confirmed(entry, msg->from, msg->tenure, actions);
}

/* A past image whose discard was lost, or was never listed because its copy was clean to the master: say it again. */
void grd_master_on_past(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        struct grd_actions *actions)
{
    uint64_t version;

    if (grd_list_find(master->directory, entry, GRD_LIST_PAST, msg->from, &version))
        return; /* still needed, and do_durable will tell it */
    grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
}

bool grd_master_ask_write(struct grd_master *master, struct grd_entry *entry, uint64_t version,
                          struct grd_actions *actions)
{
    struct grd_holder holder;
    uint32_t cursor = 0;

    while (grd_holder_next(master->directory, entry, &cursor, &holder)) {
        if (!holder.has_duty)
            continue;
        grd_action_send(actions, holder.node, GRD_MSG_WRITE, &entry->key)->version = version;
        return true;
    }
    return false;
}

/*
 * Somebody holds too many past images, or flushes: whoever has the write duty shall write. A past image that is not
 * listed is needed no more; when nobody has the duty and no X is pending, everything is durable.
 */
void grd_master_on_write_ask(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                             struct grd_actions *actions)
{
    uint64_t version;

    if (!grd_list_find(master->directory, entry, GRD_LIST_PAST, msg->from, &version)) {
        grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
        return;
    }
    if (grd_master_pending_x(master, entry) || /* its grantee will have the duty; the asker asks again */
        grd_master_ask_write(master, entry, msg->version, actions))
        return;
    grd_list_remove(master->directory, entry, GRD_LIST_PAST, msg->from);
    grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
}
