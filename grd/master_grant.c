/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Granting: who is next, where the image comes from, what is said to whom. Rule numbers in brackets are those of
 * docs/protocol.md ("Rules").
 */
#include "base/assert.h"
#include "grd/master_impl.h"
#include "grd/mutant.h"

/* ------------------------------------------------------------------ what is true of an entry */

/* The X grant that has not begun, if there is one: nothing else is granted meanwhile. */
struct grd_pending *grd_master_pending_x(struct grd_master *master, const struct grd_entry *entry)
{
    struct grd_pending *pending;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending))
        if (pending->mode == CF_MODE_X)
            return pending;
    return NULL;
}

/* "Tenure held" of a request agrees with the entry; else it overtook a release and waits for it [7]. */
static bool is_ready(const struct grd_holders *look, uint64_t held)
{
    return !look->has_own || (!look->own.is_x && !look->own.is_pending && look->own.tenure == held);
}

/*
 * The holder to ship from: installed, not the requester. For X the write-responsible one if there is one [2]; otherwise
 * the nearest, and of those as near as each other now this one, now that (grd_source_rank).
 */
static bool choose_source(struct grd_master *master, const struct grd_entry *entry,
                          const struct grd_holders *look, uint16_t requester, enum cf_mode mode,
                          struct grd_holder *source_out)
{
    struct grd_holder holder;
    uint64_t rank, best = 0;
    uint32_t cursor = 0;

    if (look->others < 2) { /* there is no choice */
        *source_out = look->other;
        return look->others == 1 && !look->other.is_pending;
    }
    while (grd_holder_next(master->directory, entry, &cursor, &holder)) {
        if (holder.node == requester || holder.is_pending)
            continue;
        if (holder.has_duty && mode == CF_MODE_X && !grd_mutant(GRD_MUT_FORWARD_ANY)) {
            *source_out = holder;
            return true;
        }
        rank = grd_source_rank(master, requester, holder.node, entry->last_tenure);
        if (grd_mutant(GRD_MUT_FORWARD_ANY) && !holder.has_duty)
            rank = UINT64_MAX;
        if (rank > best)
            *source_out = holder;
        best = rank > best ? rank : best;
    }
    return best != 0;
}

/* ------------------------------------------------------------------ granting */

/*
 * A request that is granted now, with who holds the block at this moment. The waiter is one of the queue, or of a request
 * that never stood in it.
 */
struct turn {
    struct grd_waiter *waiter;
    bool is_queued;
    struct grd_holders look;
};

/* NULL: no room for another pending grant now; the request stays queued and its repetition serves it. */
static struct grd_pending *grant_begin(struct grd_master *master, struct grd_entry *entry,
                                       const struct turn *turn, uint64_t now_ns)
{
    struct grd_pending *pending = grd_pending_add(master->directory, entry);
    const struct grd_waiter *waiter = turn->waiter;
    struct grd_holder holder;

    if (pending ==
        NULL) { /* more grants unanswered than instances may have requests open: probes will end some */
        master->counters.refused_bounds++;
        return NULL;
    }
    pending->node = waiter->node;
    pending->mode = waiter->mode;
    pending->flags = waiter->flags;
    pending->source = CF_NODE_NONE;
    pending->request = waiter->request;
    pending->tenure = grd_entry_tenure(master->directory, entry);
    pending->since_ns = now_ns;
    pending->key = entry->key;
    if (turn->is_queued) {
        grd_fair_granted(master, entry, waiter, now_ns);
        grd_waiter_remove(master->directory, entry, turn->waiter);
    }

    holder.node = pending->node;
    holder.is_x = pending->mode == CF_MODE_X;
    holder.has_duty = holder.is_x;
    holder.is_pending = !grd_mutant(GRD_MUT_REUSE_BEFORE_INSTALLED);
    holder.tenure = pending->tenure;
    grd_holder_add(master->directory, entry, &turn->look, &holder);
    cf_timer_init(&pending->timer, GRD_TIMER_PENDING);
    if (!grd_mutant(GRD_MUT_NO_PROBE))
        cf_wheel_arm(&master->wheel, &pending->timer, now_ns + master->probe_ns);
    return pending;
}

/* Says where the data of an S grant comes from: an installed holder, or the disk when there is none. */
static void do_source_s(struct grd_master *master, struct grd_entry *entry, const struct grd_holders *look,
                        struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_holder source;

    pending->again = 0;
    if (!grd_mutant(GRD_MUT_DISK_ANY) &&
        choose_source(master, entry, look, pending->node, CF_MODE_S, &source)) {
        pending->how = GRD_HOW_SHIP;
        pending->source = source.node;
        pending->source_tenure = source.tenure;
        grd_hot_note(master->hot, &entry->key, pending->node, CF_MODE_S, pending->since_ns);
        if (source.is_x) { /* its next step is S; the write duty stays with it */
            source.is_x = false;
            grd_holder_set(master->directory, entry, &source);
        }
        grd_master_send_forward(master, entry, pending, actions);
        return;
    }
    pending->how = GRD_HOW_DISK;
    pending->source = CF_NODE_NONE;
    grd_master_send_grant(master, entry, pending, actions);
}

static void sharers_clear(struct grd_master *master, struct grd_entry *entry)
{
    if (CF_UNLIKELY(
            grd_master_has_sharers(master, entry))) /* of an X that ended in another way than by beginning */
        grd_list_clear(master->directory, entry, GRD_LIST_SHARERS);
}

/* They are names of the pending X's set from here on, and hold nothing; as many as were seen. */
static void sharers_out(struct grd_master *master, struct grd_entry *entry, uint16_t requester,
                        uint16_t source, uint32_t seen)
{
    struct grd_holder holder;
    uint32_t count;

    for (count = 0; grd_holder_take(master->directory, entry, requester, source, &holder); count++) {
        grd_master_holder_left(master, entry, &holder);
        grd_list_add(master->directory, entry, GRD_LIST_SHARERS, holder.node, holder.tenure);
    }
    cf_assert_id(count == seen, "G-3");
}

/*
 * X: everybody else who holds, pending S grants included, becomes a name of the set; the source of the image
 * leaves by its forward. An S copy of the requester itself is raised in place.
 */
static bool do_grant_x(struct grd_master *master, struct grd_entry *entry, const struct turn *turn,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_holder source;
    struct grd_pending *pending;
    uint32_t others = turn->look.others, sharers;
    uint16_t requester = turn->waiter->node;
    bool is_upgrade = turn->look.has_own;
    bool is_new = (turn->waiter->flags & GRD_FLAG_NEW) != 0;
    bool has_source = !is_upgrade && choose_source(master, entry, &turn->look, requester, CF_MODE_X, &source);

    pending = grant_begin(master, entry, turn, now_ns);
    if (pending == NULL)
        return false;
    sharers_clear(master, entry);
    sharers = others - (has_source ? 1u : 0u);
    if (sharers != 0)
        sharers_out(master, entry, requester, has_source ? source.node : requester, sharers);
    if (has_source)
        grd_master_holder_out(master, entry, &source);
    if (others != 0)
        grd_hot_note(master->hot, &entry->key, requester, CF_MODE_X, now_ns);
    if (sharers != 0)
        grd_master_send_invalidates(master, entry, pending, actions);
    if (has_source) {
        pending->how = GRD_HOW_SHIP;
        pending->source = source.node;
        pending->source_tenure = source.tenure;
        grd_master_send_forward(master, entry, pending, actions);
        return true;
    }
    pending->how = is_upgrade ? GRD_HOW_UPGRADE : is_new ? GRD_HOW_NEW : GRD_HOW_DISK;
    grd_master_send_grant(master, entry, pending, actions);
    return true;
}

static bool do_grant_s(struct grd_master *master, struct grd_entry *entry, const struct turn *turn,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grant_begin(master, entry, turn, now_ns);

    if (pending == NULL)
        return false;
    do_source_s(master, entry, &turn->look, pending, actions);
    return true;
}

/* Sources that said not-held: another holder for S; the disk for X, whose source had written before it let go [8]. */
static void do_again(struct grd_master *master, struct grd_entry *entry, struct grd_actions *actions)
{
    struct grd_pending *pending;
    struct grd_holders look;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending)) {
        if (!pending->again)
            continue;
        if (pending->mode == CF_MODE_S) {
            grd_holders_look(master->directory, entry, pending->node, &look);
            do_source_s(master, entry, &look, pending, actions);
        } else {
            pending->again = 0;
            pending->how = GRD_HOW_DISK;
            pending->source = CF_NODE_NONE;
            grd_master_send_grant(master, entry, pending, actions);
        }
    }
}

static bool do_grant(struct grd_master *master, struct grd_entry *entry, const struct turn *turn,
                     uint64_t now_ns, struct grd_actions *actions)
{
    return turn->waiter->mode == CF_MODE_S ? do_grant_s(master, entry, turn, now_ns, actions)
                                           : do_grant_x(master, entry, turn, now_ns, actions);
}

bool grd_master_serve_alone(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                            uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_waiter waiter = {.node = msg->from,
                                .mode = msg->mode & 3u,
                                .flags = msg->flags,
                                .request = msg->request,
                                .held = msg->held};
    struct turn turn = {.waiter = &waiter};

    grd_holders_look(master->directory, entry, msg->from, &turn.look);
    if (!is_ready(&turn.look, msg->held) ||
        (msg->mode == CF_MODE_X && grd_fair_is_shared(master, entry, turn.look.others, now_ns)))
        return false;
    return do_grant(master, entry, &turn, now_ns, actions);
}

/* Serves the queue in order of arrival, as far as it can be served now. */
static CF_NOINLINE void serve_queue(struct grd_master *master, struct grd_entry *entry, uint64_t now_ns,
                                    struct grd_actions *actions)
{
    struct turn turn = {.is_queued = true};
    struct grd_waiter *next;
    bool is_shared = false;

    do_again(master, entry, actions);
    for (turn.waiter = grd_fair_first(master, entry); turn.waiter && !grd_master_pending_x(master, entry);
         turn.waiter = next) {
        bool is_x = turn.waiter->mode == CF_MODE_X;

        next = grd_waiter_next(master->directory, turn.waiter);
        grd_holders_look(master->directory, entry, turn.waiter->node, &turn.look);
        if (!is_ready(&turn.look, turn.waiter->held)) {
            if (grd_fair_is_due(turn.waiter))
                return;
            continue;
        }
        is_shared = is_shared || (is_x && grd_fair_is_shared(master, entry, turn.look.others, now_ns));
        if (is_x && is_shared) /* nor does another X pass this one */
            continue;
        if (is_x && grd_fair_reader_first(master, entry))
            return;
        if (!do_grant(master, entry, &turn, now_ns, actions))
            return;
    }
}

void grd_master_serve(struct grd_master *master, struct grd_entry *entry, uint64_t now_ns,
                      struct grd_actions *actions)
{
    const struct grd_side *side = grd_side_of(master->directory, entry);

    if (side && !grd_side_is_quiet(side) && side->rebuild == GRD_NONE)
        serve_queue(master, entry, now_ns, actions);
}

/* The same request again: say again what has not been answered, the invalidates too [17]. */
void grd_master_repeat(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                       struct grd_actions *actions)
{
    master->counters.repeated++;
    if (pending->again)
        return;
    if (pending->mode == CF_MODE_X && !grd_mutant(GRD_MUT_NO_XSET))
        grd_master_send_invalidates(master, entry, pending, actions);
    if (pending->how == GRD_HOW_SHIP)
        grd_master_send_forward(master, entry, pending, actions);
    else
        grd_master_send_grant(master, entry, pending, actions);
}

static void send_nowhere(const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_msg *there = grd_action_send(actions, msg->from, GRD_MSG_THERE, &msg->key);

    there->request = msg->request;
    there->version = there->word = there->offset = 0;
    there->frame = 0;
    there->how = GRD_THERE_NOT;
}

/* A hint, which changes nothing here: the READs themselves prove what is where. */
void grd_master_on_where(struct grd_master *master, const struct grd_entry *entry, const struct grd_msg *msg,
                         struct grd_actions *actions)
{
    struct grd_holders holders = {0};
    struct grd_holder source;
    struct grd_msg *look;

    if (entry)
        grd_holders_look(master->directory, entry, msg->from, &holders);
    if (entry == NULL || !choose_source(master, entry, &holders, msg->from, CF_MODE_S, &source)) {
        send_nowhere(msg, actions);
        return;
    }
    look = grd_action_send(actions, source.node, GRD_MSG_LOOK, &msg->key);
    look->request = msg->request;
    look->requester = msg->from;
}
