/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Entries that were given back, put together again from what their holders say (docs/directory.md).
 *
 *   message of a resource without entry --summary says "may be"--> entry in rebuild --RECALL--> those the hint names
 *      request: queued                                              |  HELD: copy, release not acknowledged, past image
 *      release, written, past, write-ask: its sender says           |  a timer asks again
 *      the rest itself in HELD                                      v
 *                                        all have answered: out of the summary if anybody held it, served
 *
 * Only an answer to this rebuild's number counts, and of it only what proves that the resource was given back: a copy, since
 * whoever holds one was in the entry; or a release that was never heard (grd/window.h), since whoever has one was in
 * the entry until it is [G-14, G-15]. So the summary is never told to forget what it does not hold.
 */
#include "base/assert.h"
#include "grd/backoff.h"
#include "grd/master_impl.h"
#include "grd/mutant.h"

static bool is_awaited(const struct grd_rebuild *rebuild, uint16_t node)
{
    return (rebuild->awaited[node / 64] >> (node % 64) & 1) != 0;
}

bool grd_master_needs_rebuild(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                              struct grd_hint *hint_out)
{
    uint8_t state = grd_bucket_state(master->directory, (uint32_t)hash & (master->buckets - 1));

    if (state != 0)
        return grd_master_needs_ask(msg, state, hint_out);
    switch (msg->type) {
    case GRD_MSG_REQUEST:
        *hint_out = grd_entry_hint(master->directory, hash);
        return hint_out->is_any && !grd_mutant(GRD_MUT_COLD_UNASKED);
    case GRD_MSG_RELEASE:
        *hint_out = grd_entry_hint(master->directory, hash);
        return hint_out->is_any && (!grd_window_is_over(&master->seen[msg->from], msg->number) ||
                                    grd_mutant(GRD_MUT_COLD_OLD_RELEASE));
    case GRD_MSG_WRITTEN: /* of no interest but to past images */
    case GRD_MSG_PAST:
    case GRD_MSG_WRITE_ASK:
        *hint_out = grd_entry_hint(master->directory, hash);
        return hint_out->has_past;
    default: /* grants that are over, forwards that are over: of an entry with neither nothing can have been given back */
        return false;
    }
}

/* Of a bucket that has come: its last owner may know of the block, or anybody may hold it. */
static bool needs_ask(uint8_t state)
{
    return (state & (GRD_BUCKET_IMPORT | GRD_BUCKET_OPEN)) != 0;
}

bool grd_master_needs_ask(const struct grd_msg *msg, uint8_t state, struct grd_hint *hint_out)
{
    *hint_out = (struct grd_hint){.is_any = needs_ask(state), .ask_all = true, .has_past = true};
    if (!hint_out->is_any)
        return false;
    switch (msg->type) {
    case GRD_MSG_REQUEST:
    case GRD_MSG_RELEASE:
    case GRD_MSG_PAST:
    case GRD_MSG_WRITE_ASK:
        return true;
    default:
        return false;
    }
}

static void send_recall(struct grd_master *master, const struct grd_rebuild *rebuild, uint16_t to,
                        struct grd_actions *actions)
{
    grd_action_send(actions, to, GRD_MSG_RECALL, &rebuild->key)->request = rebuild->number;
    master->counters.recalls++;
}

void grd_master_rebuild(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        const struct grd_hint *hint, uint64_t hash, uint64_t now_ns,
                        struct grd_actions *actions)
{
    uint32_t bucket = (uint32_t)hash & (master->buckets - 1);
    struct grd_rebuild *rebuild = grd_rebuild_begin(master->directory, entry);
    uint32_t node;

    master->counters.rebuilds++;
    master->counters.rebuilds_all += hint->ask_all;
    rebuild->number = ++master->rebuild_last;
    rebuild->since_ns = now_ns;
    rebuild->wants_write = msg->type == GRD_MSG_WRITE_ASK;
    cf_timer_init(&rebuild->timer, GRD_TIMER_REBUILD);
    cf_wheel_arm(&master->wheel, &rebuild->timer, now_ns + master->probe_ns);
    rebuild->is_unlisted = grd_bucket_state(master->directory, bucket) != 0;
    if (rebuild->is_unlisted && grd_master_ask_last_owner(master, rebuild, bucket, actions)) {
        master->counters.rebuilds_all -= hint->ask_all;
        return;
    }
    for (node = 0; node < master->nodes; node++) {
        if (!hint->ask_all && node != msg->from &&
            !(hint->classes >> (grd_summary_class((uint16_t)node) - 1) & 1))
            continue;
        rebuild->awaited[node / 64] |= UINT64_C(1) << (node % 64);
        rebuild->awaited_count++;
        send_recall(master, rebuild, (uint16_t)node, actions);
    }
}

void grd_master_ask_all(struct grd_master *master, struct grd_rebuild *rebuild, struct grd_actions *actions)
{
    uint32_t node;

    rebuild->asks_last_owner = false;
    rebuild->number = ++master->rebuild_last;
    for (node = 0; node < master->nodes; node++) {
        rebuild->awaited[node / 64] |= UINT64_C(1) << (node % 64);
        send_recall(master, rebuild, (uint16_t)node, actions);
    }
    rebuild->awaited_count = (uint16_t)master->nodes;
    master->counters.rebuilds_all++;
}

void grd_master_recall_again(struct grd_master *master, struct grd_rebuild *rebuild, uint64_t now_ns,
                             struct grd_actions *actions)
{
    uint32_t node;

    if (rebuild->asks_last_owner)
        grd_master_ask_owner_again(master, rebuild, actions);
    for (node = 0; node < master->nodes; node++)
        if (is_awaited(rebuild, (uint16_t)node))
            send_recall(master, rebuild, (uint16_t)node, actions);
    master->counters.recalled_again++;
    if (rebuild->repetitions < GRD_BACKOFF_MAX)
        rebuild->repetitions++;
    cf_wheel_arm(&master->wheel, &rebuild->timer,
                 now_ns + grd_backoff_ns(master->probe_ns, rebuild->repetitions));
}

/*
 * Past images that were listed have been listed again, and perhaps some that need not be. With nobody responsible for a
 * write all is durable; else whoever is knows what is, or will say so when it has written.
 */
static void past_images_settle(struct grd_master *master, struct grd_entry *entry, uint64_t durable,
                               struct grd_actions *actions)
{
    struct grd_holder holder;
    struct grd_pair pair;
    uint32_t cursor = 0;

    while (grd_holder_next(master->directory, entry, &cursor, &holder))
        if (holder.has_duty) {
            grd_master_durable(master, entry, durable, actions);
            return;
        }
    for (cursor = 0; grd_list_next(master->directory, entry, GRD_LIST_PAST, &cursor, &pair); cursor = 0) {
        grd_action_send(actions, pair.node, GRD_MSG_DISCARD, &entry->key)->durable = pair.value;
        grd_list_remove(master->directory, entry, GRD_LIST_PAST, pair.node);
    }
}

void grd_master_rebuilt(struct grd_master *master, struct grd_entry *entry, struct grd_rebuild *rebuild,
                        uint64_t hash, uint64_t now_ns, struct grd_actions *actions)
{
    bool wants_write = rebuild->wants_write;
    uint64_t durable = rebuild->durable;

    if (entry->version < rebuild->version)
        entry->version = rebuild->version;
    /* A caller that drives brings the time at which its call began, which may be before the last turn's. */
    cf_hist_add(master->rebuild_hist, now_ns > rebuild->since_ns ? now_ns - rebuild->since_ns : 0);
    cf_wheel_disarm(&master->wheel, &rebuild->timer);
    grd_rebuild_end(master->directory, entry, hash);
    past_images_settle(master, entry, durable, actions);
    if (wants_write)
        (void)grd_master_ask_write(master, entry, entry->version, actions);
    grd_master_serve(master, entry, now_ns, actions);
}

static void found(struct grd_rebuild *rebuild, const struct grd_msg *msg)
{
    rebuild->found_count++;
    rebuild->found = msg->from;
    if (rebuild->version < msg->version)
        rebuild->version = msg->version;
    if (rebuild->durable < msg->durable)
        rebuild->durable = msg->durable;
}

/* A release says the same as a copy, and is acknowledged with it. */
static void hear_release(struct grd_master *master, struct grd_rebuild *rebuild, const struct grd_msg *msg,
                         struct grd_actions *actions)
{
    bool is_over = grd_window_is_over(&master->seen[msg->from], msg->number);

    if (!grd_window_end(&master->seen[msg->from], msg->number)) {
        master->counters.stale++;
        return;
    }
    if (!is_over || grd_mutant(GRD_MUT_COLD_OLD_RELEASE))
        found(rebuild, msg);
    grd_action_send(actions, msg->from, GRD_MSG_RELEASED, &msg->key)->tenure = msg->tenure;
}

void grd_master_on_held(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                        uint64_t hash, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_rebuild *rebuild = grd_rebuild_of(master->directory, entry);
    struct grd_holder holder = {.node = msg->from,
                                .is_x = msg->mode == CF_MODE_X,
                                .has_duty = (msg->flags & GRD_FLAG_DUTY) != 0,
                                .tenure = msg->tenure};

    if (rebuild == NULL || rebuild->number != msg->request || !is_awaited(rebuild, msg->from) ||
        (msg->mode != CF_MODE_N && msg->tenure > entry->last_tenure)) {
        master->counters.stale++;
        return;
    }
    if (!grd_holder_fits(master->directory, entry)) { /* others that are under way have all the room */
        master->counters.refused_bounds++;
        return;
    }
    rebuild->awaited[msg->from / 64] &= ~(UINT64_C(1) << (msg->from % 64));
    rebuild->awaited_count--;
    if (msg->mode != CF_MODE_N) {
        grd_holder_set(master->directory, entry, &holder);
        found(rebuild, msg);
    } else if (msg->flags & GRD_FLAG_RELEASED) {
        hear_release(master, rebuild, msg, actions);
    }
    if (msg->held != 0)
        grd_list_set(master->directory, entry, GRD_LIST_PAST, msg->from, msg->held);
    if (rebuild->awaited_count == 0 || grd_mutant(GRD_MUT_COLD_EARLY))
        grd_master_rebuilt(master, entry, rebuild, hash, now_ns, actions);
}

void grd_master_meanwhile(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                          uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_rebuild *rebuild = grd_rebuild_of(master->directory, entry);

    switch (msg->type) {
    case GRD_MSG_RELEASE:
        if (!is_awaited(rebuild, msg->from) &&
            !rebuild->asks_last_owner) /* else its answer says so, or it comes again */
            grd_master_on_release(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_WRITTEN:
        grd_master_durable(master, entry, msg->durable, actions);
        break;
    case GRD_MSG_KEPT:
        grd_master_on_kept(master, entry, msg, actions);
        break;
    case GRD_MSG_WRITE_ASK:
        rebuild->wants_write = true;
        break;
    case GRD_MSG_WHERE:
        grd_master_on_where(master, entry, msg, actions);
        break;
    case GRD_MSG_PAST: /* comes again */
        break;
    default:
        master->counters.stale++;
        break;
    }
}
