/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule numbers in brackets are those of docs/protocol.md ("Rules"). The flow of one request:
 *
 *   on_request -> serve -> do_grant_s / do_grant_x -> send_grant or send_forward, send_invalidate -> on_installed
 */
#include "grd/master.h"

#include "base/assert.h"
#include "grd/mutant.h"

static void do_serve(struct grd_master *master, struct grd_entry *entry, uint64_t now_ns,
                     struct grd_actions *actions);

enum cf_rc grd_master_open(const struct grd_master_options *options, struct grd_master **master_out)
{
    const struct cf_allocator *allocator = options->directory.allocator;
    struct grd_master *master;
    enum cf_rc rc;

    master = cf_alloc(allocator, sizeof *master, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (master == NULL)
        return CF_MEMORY;
    master->allocator = allocator;
    master->node = options->node;
    master->nodes = options->nodes;
    master->probe_ns = options->probe_ns;
    master->buckets = options->directory.buckets;
    cf_wheel_init(&master->wheel, options->now_ns, options->wheel_tick_ns);
    master->mark = cf_alloc(allocator, options->nodes * sizeof *master->mark, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (master->mark == NULL) {
        rc = CF_MEMORY;
        goto undo_master;
    }
    rc = grd_directory_open(&options->directory, &master->directory);
    if (rc != CF_OK)
        goto undo_mark;
    *master_out = master;
    return CF_OK;

undo_mark:
    cf_free(allocator, master->mark, options->nodes * sizeof *master->mark);
undo_master:
    cf_free(allocator, master, sizeof *master);
    return rc;
}

void grd_master_close(struct grd_master **master)
{
    struct grd_master *m = *master;

    if (m == NULL)
        return;
    grd_directory_close(&m->directory);
    cf_free(m->allocator, m->mark, m->nodes * sizeof *m->mark);
    cf_free(m->allocator, m, sizeof *m);
    *master = NULL;
}

/* ------------------------------------------------------------------ what is true of an entry */

/* The X grant that has not begun, if there is one: nothing else is granted meanwhile. */
static struct grd_pending *pending_x(struct grd_master *master, const struct grd_entry *entry)
{
    struct grd_pending *pending;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending))
        if (pending->mode == CF_MODE_X)
            return pending;
    return NULL;
}

/* "Tenure held" of a queued request agrees with the entry; else it overtook a release and waits for it [7]. */
static bool is_ready(struct grd_master *master, const struct grd_entry *entry,
                     const struct grd_waiter *waiter)
{
    struct grd_holder holder;

    if (!grd_holder_find(master->directory, entry, waiter->node, &holder))
        return true;
    return !holder.is_x && !holder.is_pending && holder.tenure == waiter->held;
}

/*
 * The holder to ship from: installed, not the requester. The write-responsible one if there is one [2]; otherwise
 * this instance when it holds the block (two hops instead of three), else the first.
 */
static bool choose_source(struct grd_master *master, const struct grd_entry *entry, uint16_t requester,
                          enum cf_mode mode, struct grd_holder *source_out)
{
    struct grd_holder holder;
    uint32_t cursor = 0;
    bool found = false;

    while (grd_holder_next(master->directory, entry, &cursor, &holder)) {
        if (holder.node == requester || holder.is_pending)
            continue;
        if (holder.has_duty && mode == CF_MODE_X && !grd_mutant(GRD_MUT_FORWARD_ANY)) {
            *source_out = holder;
            return true;
        }
        if (!found || holder.node == master->node || (grd_mutant(GRD_MUT_FORWARD_ANY) && !holder.has_duty))
            *source_out = holder;
        found = true;
    }
    return found;
}

/* ------------------------------------------------------------------ sending */

/* The sharers of the pending X, as the set its grantee waits for [4]. */
static void fill_sharers(struct grd_master *master, const struct grd_entry *entry, struct grd_set *set)
{
    struct grd_pair pair;
    uint32_t cursor = 0;
    bool skip = grd_mutant(GRD_MUT_SKIP_SHARER);

    grd_set_clear(set);
    while (grd_list_next(master->directory, entry, GRD_LIST_SHARERS, &cursor, &pair)) {
        if (!skip)
            grd_set_add(set, pair.node);
        skip = false;
    }
}

static void send_grant(struct grd_master *master, const struct grd_entry *entry,
                       const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, pending->node, GRD_MSG_GRANT, &entry->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    msg->version = entry->version;
    msg->durable = grd_entry_durable(master->directory, entry);
    msg->mode = pending->mode;
    msg->how = pending->how;
    if (pending->mode == CF_MODE_X)
        fill_sharers(master, entry, &msg->set);
    master->counters.grants++;
}

static void send_forward(struct grd_master *master, const struct grd_entry *entry,
                         const struct grd_pending *pending, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, pending->source, GRD_MSG_FORWARD, &entry->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    msg->held = pending->source_tenure;
    msg->requester = pending->node;
    msg->mode = pending->mode;
    if (pending->mode == CF_MODE_X)
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

static void pending_end(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending)
{
    mark_raise(master, pending->node, pending->request);
    cf_wheel_disarm(&master->wheel, &pending->timer);
    grd_pending_remove(master->directory, entry, pending);
}

/* The holder leaves the entry; with the duty it leaves a past image behind, whose version is not known yet. */
static void holder_out(struct grd_master *master, struct grd_entry *entry, const struct grd_holder *holder)
{
    struct grd_pending *pending;

    if (holder->has_duty)
        grd_list_set(master->directory, entry, GRD_LIST_PAST, holder->node, 0);
    if (holder->is_pending) {
        pending = grd_pending_of(master->directory, entry, holder->node);
        cf_assert(pending != NULL);
        pending_end(master, entry, pending);
    }
    grd_holder_remove(master->directory, entry, holder->node);
}

/* A version became durable: past images up to it may go [I-5]. */
static void do_durable(struct grd_master *master, struct grd_entry *entry, uint64_t durable,
                       struct grd_actions *actions)
{
    struct grd_pair pair;
    uint32_t cursor = 0, count = 0, i;
    struct grd_msg *msg;

    grd_entry_durable_raise(master->directory, entry, durable);
    durable = grd_entry_durable(master->directory, entry);
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
    struct grd_pair pair;
    uint32_t cursor = 0;
    struct grd_set gone;
    uint32_t node;

    grd_set_clear(&gone);
    while (grd_list_next(master->directory, entry, GRD_LIST_PAST, &cursor, &pair)) {
        if (pair.value != 0)
            continue;
        if (version <= durable)
            grd_set_add(&gone, pair.node);
        else
            grd_list_set(master->directory, entry, GRD_LIST_PAST, pair.node, version);
    }
    for (node = grd_set_next(&gone, 0); node < CF_NODES_MAX; node = grd_set_next(&gone, node + 1))
        grd_list_remove(master->directory, entry, GRD_LIST_PAST, (uint16_t)node);
}

/* ------------------------------------------------------------------ granting */

/* NULL: no room for another pending grant now; the request stays queued and its repetition serves it. */
static struct grd_pending *grant_begin(struct grd_master *master, struct grd_entry *entry,
                                       struct grd_waiter *waiter, uint64_t now_ns)
{
    struct grd_pending *pending = grd_pending_add(master->directory, entry);
    struct grd_holder holder;

    if (pending ==
        NULL) { /* more grants unanswered than instances may have requests open: probes will end some */
        master->counters.refused_bounds++;
        return NULL;
    }
    pending->node = waiter->node;
    pending->mode = waiter->mode;
    pending->flags = waiter->flags;
    pending->again = 0;
    pending->source = CF_NODE_NONE;
    pending->source_tenure = 0;
    pending->request = waiter->request;
    pending->tenure = grd_entry_tenure(master->directory, entry);
    pending->since_ns = now_ns;
    pending->key = entry->key;
    grd_waiter_remove(master->directory, entry, waiter);

    holder.node = pending->node;
    holder.is_x = pending->mode == CF_MODE_X;
    holder.has_duty = holder.is_x;
    holder.is_pending = !grd_mutant(GRD_MUT_REUSE_BEFORE_INSTALLED);
    holder.tenure = pending->tenure;
    grd_holder_set(master->directory, entry, &holder);
    cf_timer_init(&pending->timer, 0);
    if (!grd_mutant(GRD_MUT_NO_PROBE))
        cf_wheel_arm(&master->wheel, &pending->timer, now_ns + master->probe_ns);
    return pending;
}

/* Says where the data of an S grant comes from: an installed holder, or the disk when there is none. */
static void do_source_s(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                        struct grd_actions *actions)
{
    struct grd_holder source;

    pending->again = 0;
    if (!grd_mutant(GRD_MUT_DISK_ANY) && choose_source(master, entry, pending->node, CF_MODE_S, &source)) {
        pending->how = GRD_HOW_SHIP;
        pending->source = source.node;
        pending->source_tenure = source.tenure;
        if (source.is_x) { /* its next step is S; the write duty stays with it */
            source.is_x = false;
            grd_holder_set(master->directory, entry, &source);
        }
        send_forward(master, entry, pending, actions);
        return;
    }
    pending->how = GRD_HOW_DISK;
    pending->source = CF_NODE_NONE;
    send_grant(master, entry, pending, actions);
}

/*
 * X: everybody else who holds, pending S grants included, becomes a name of the set; the source of the image
 * leaves by its forward. An S copy of the requester itself is raised in place.
 */
static bool do_grant_x(struct grd_master *master, struct grd_entry *entry, struct grd_waiter *waiter,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_directory *directory = master->directory;
    struct grd_holder holder, own, source;
    struct grd_pending *pending;
    struct grd_pair pair;
    uint32_t cursor = 0;
    uint16_t requester = waiter->node;
    bool is_upgrade = grd_holder_find(directory, entry, requester, &own);
    bool is_new = (waiter->flags & GRD_FLAG_NEW) != 0;
    bool has_source = !is_upgrade && choose_source(master, entry, requester, CF_MODE_X, &source);

    pending = grant_begin(master, entry, waiter, now_ns);
    if (pending == NULL)
        return false;
    grd_list_clear(directory, entry, GRD_LIST_SHARERS);
    while (grd_holder_next(directory, entry, &cursor, &holder))
        if (holder.node != requester && !(has_source && holder.node == source.node))
            grd_list_set(directory, entry, GRD_LIST_SHARERS, holder.node, holder.tenure);
    cursor = 0;
    while (grd_list_next(directory, entry, GRD_LIST_SHARERS, &cursor, &pair)) {
        bool found = grd_holder_find(directory, entry, pair.node, &holder);

        cf_assert_id(found, "I-3");
        holder_out(master, entry, &holder);
    }
    if (has_source)
        holder_out(master, entry, &source);
    cursor = 0;
    while (grd_list_next(directory, entry, GRD_LIST_SHARERS, &cursor, &pair))
        send_invalidate(master, entry, pair.node, pair.value, pending, actions);
    if (has_source) {
        pending->how = GRD_HOW_SHIP;
        pending->source = source.node;
        pending->source_tenure = source.tenure;
        send_forward(master, entry, pending, actions);
        return true;
    }
    pending->how = is_upgrade ? GRD_HOW_UPGRADE : is_new ? GRD_HOW_NEW : GRD_HOW_DISK;
    send_grant(master, entry, pending, actions);
    return true;
}

static bool do_grant_s(struct grd_master *master, struct grd_entry *entry, struct grd_waiter *waiter,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grant_begin(master, entry, waiter, now_ns);

    if (pending == NULL)
        return false;
    do_source_s(master, entry, pending, actions);
    return true;
}

/* Sources that said not-held: another holder for S; the disk for X, whose source had written before it let go [8]. */
static void do_again(struct grd_master *master, struct grd_entry *entry, struct grd_actions *actions)
{
    struct grd_pending *pending;

    for (pending = grd_pending_first(master->directory, entry); pending;
         pending = grd_pending_next(master->directory, pending)) {
        if (!pending->again)
            continue;
        if (pending->mode == CF_MODE_S) {
            do_source_s(master, entry, pending, actions);
        } else {
            pending->again = 0;
            pending->how = GRD_HOW_DISK;
            pending->source = CF_NODE_NONE;
            send_grant(master, entry, pending, actions);
        }
    }
}

/* Serves the queue in order of arrival, as far as it can be served now. */
static void do_serve(struct grd_master *master, struct grd_entry *entry, uint64_t now_ns,
                     struct grd_actions *actions)
{
    struct grd_waiter *waiter, *next;

    do_again(master, entry, actions);
    for (waiter = grd_waiter_first(master->directory, entry); waiter && !pending_x(master, entry);
         waiter = next) {
        next = grd_waiter_next(master->directory, waiter);
        if (!is_ready(master, entry, waiter))
            continue;
        if (!(waiter->mode == CF_MODE_S ? do_grant_s(master, entry, waiter, now_ns, actions)
                                        : do_grant_x(master, entry, waiter, now_ns, actions)))
            return;
    }
}

/* ------------------------------------------------------------------ messages */

/* The same request again: say again what has not been answered, the invalidates too [17]. */
static void do_repeat(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                      struct grd_actions *actions)
{
    struct grd_pair pair;
    uint32_t cursor = 0;

    master->counters.repeated++;
    if (pending->again)
        return;
    if (pending->mode == CF_MODE_X && !grd_mutant(GRD_MUT_NO_XSET))
        while (grd_list_next(master->directory, entry, GRD_LIST_SHARERS, &cursor, &pair))
            send_invalidate(master, entry, pair.node, pair.value, pending, actions);
    if (pending->how == GRD_HOW_SHIP)
        send_forward(master, entry, pending, actions);
    else
        send_grant(master, entry, pending, actions);
}

static void on_request(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_pending_of(master->directory, entry, msg->from);
    struct grd_waiter *waiter;

    master->counters.requests++;
    if (pending && pending->request >= msg->request) {
        if (pending->request == msg->request)
            do_repeat(master, entry, pending, actions);
        else
            master->counters.stale++;
        return;
    }
    waiter = grd_waiter_of(master->directory, entry, msg->from);
    if (waiter && waiter->request >= msg->request) { /* queued already */
        do_serve(master, entry, now_ns, actions);
        return;
    }
    if (msg->request <= master->mark[msg->from]) {
        grd_action_send(actions, msg->from, GRD_MSG_BOUNCE, &msg->key)->request = msg->request;
        master->counters.bounced++;
        return;
    }
    if (waiter == NULL) {
        waiter = grd_waiter_add(master->directory, entry);
        if (waiter == NULL) { /* a peer has more conversations open than it may: its timer asks again */
            master->counters.refused_bounds++;
            return;
        }
        waiter->node = msg->from;
        waiter->since_ns = now_ns;
    }
    waiter->mode = msg->mode;
    waiter->flags = msg->flags;
    waiter->request = msg->request;
    waiter->held = msg->held;
    do_serve(master, entry, now_ns, actions);
}

/* The grant began: learn what the past images are worth, let the source drop what it kept. */
static void grant_began(struct grd_master *master, struct grd_entry *entry, struct grd_pending *pending,
                        const struct grd_msg *msg, struct grd_actions *actions)
{
    if (pending->mode == CF_MODE_X) {
        /* A grant by disk or as new followed a source that had written, or none at all: it left no past image. */
        past_images_learn(master, entry, msg->version,
                          pending->how == GRD_HOW_DISK || pending->how == GRD_HOW_NEW ? msg->version
                                                                                      : msg->durable);
        grd_list_clear(master->directory, entry, GRD_LIST_SHARERS);
        if (pending->how == GRD_HOW_SHIP)
            send_confirmed(entry, pending->source, pending->tenure, actions);
    }
    pending_end(master, entry, pending);
}

static void version_learn(struct grd_entry *entry, uint64_t version)
{
    if (version > entry->version)
        entry->version = version;
}

static void on_installed(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                         uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_pending_of(master->directory, entry, msg->from);
    struct grd_holder holder;

    if (pending == NULL || pending->tenure != msg->tenure) {
        master->counters.stale++;
        return;
    }
    if (grd_holder_find(master->directory, entry, msg->from, &holder)) {
        holder.is_pending = false;
        grd_holder_set(master->directory, entry, &holder);
    }
    version_learn(entry, msg->version);
    grant_began(master, entry, pending, msg, actions);
    do_durable(master, entry, msg->durable, actions);
    do_serve(master, entry, now_ns, actions);
}

static void on_release(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                       uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_pending *pending = grd_pending_of(master->directory, entry, msg->from);
    struct grd_holder holder;

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
    do_durable(master, entry, msg->durable, actions);
    grd_action_send(actions, msg->from, GRD_MSG_RELEASED, &msg->key)->tenure = msg->tenure;
    do_serve(master, entry, now_ns, actions);
}

/* A forward met an eviction: that tenure and its duty end here too [8], and another source is chosen. */
static void on_not_held(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
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
    if (grd_holder_find(master->directory, entry, msg->from, &holder) && holder.tenure == msg->held &&
        !holder.is_pending)
        grd_holder_remove(master->directory, entry, msg->from);
    pending->again = 1;
    pending->source = CF_NODE_NONE;
    do_serve(master, entry, now_ns, actions);
}

/* "May the image I keep go?" Yes, unless exactly that tenure has not begun yet. */
static void on_kept(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
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
static void on_past(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                    struct grd_actions *actions)
{
    uint64_t version;

    if (grd_list_find(master->directory, entry, GRD_LIST_PAST, msg->from, &version))
        return; /* still needed, and do_durable will tell it */
    grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
}

/*
 * Somebody holds too many past images, or flushes: whoever has the write duty shall write. A past image that is not
 * listed is needed no more; when nobody has the duty and no X is pending, everything is durable.
 */
static void on_write_ask(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                         struct grd_actions *actions)
{
    struct grd_holder holder;
    uint32_t cursor = 0;
    uint64_t version;

    if (!grd_list_find(master->directory, entry, GRD_LIST_PAST, msg->from, &version)) {
        grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
        return;
    }
    if (pending_x(master, entry))
        return; /* its grantee will have the duty; the asker asks again */
    while (grd_holder_next(master->directory, entry, &cursor, &holder)) {
        if (!holder.has_duty)
            continue;
        grd_action_send(actions, holder.node, GRD_MSG_WRITE, &msg->key)->version = msg->version;
        return;
    }
    grd_list_remove(master->directory, entry, GRD_LIST_PAST, msg->from);
    grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
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
static void on_where(struct grd_master *master, const struct grd_entry *entry, const struct grd_msg *msg,
                     struct grd_actions *actions)
{
    struct grd_holder source;
    struct grd_msg *look;

    if (!choose_source(master, entry, msg->from, CF_MODE_S, &source)) {
        send_nowhere(msg, actions);
        return;
    }
    look = grd_action_send(actions, source.node, GRD_MSG_LOOK, &msg->key);
    look->request = msg->request;
    look->requester = msg->from;
}

/* The entry was forgotten, or never was: nobody holds the block, nothing is pending, nothing of it is undurable. */
static void on_unknown(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_RELEASE:
        grd_action_send(actions, msg->from, GRD_MSG_RELEASED, &msg->key)->tenure = msg->tenure;
        break;
    case GRD_MSG_KEPT:
        grd_action_send(actions, msg->from, GRD_MSG_CONFIRMED, &msg->key)->tenure = msg->tenure;
        break;
    case GRD_MSG_PAST:
    case GRD_MSG_WRITE_ASK:
        grd_action_send(actions, msg->from, GRD_MSG_DISCARD, &msg->key)->durable = msg->version;
        break;
    case GRD_MSG_WHERE:
        send_nowhere(msg, actions);
        return;
    default:
        break;
    }
    master->counters.stale++;
}

void grd_master_step(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                     struct grd_actions *actions)
{
    struct grd_entry *entry = msg->type == GRD_MSG_REQUEST
                                  ? grd_entry_get(master->directory, &msg->key, hash,
                                                  (uint32_t)hash & (master->buckets - 1))
                                  : grd_entry_find(master->directory, &msg->key, hash);

    if (entry == NULL) {
        on_unknown(master, msg, actions);
        return;
    }
    switch (msg->type) {
    case GRD_MSG_REQUEST:
        on_request(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_INSTALLED:
        on_installed(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_RELEASE:
        on_release(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_NOT_HELD:
        on_not_held(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_WRITTEN:
        do_durable(master, entry, msg->durable, actions);
        break;
    case GRD_MSG_KEPT:
        on_kept(master, entry, msg, actions);
        break;
    case GRD_MSG_PAST:
        on_past(master, entry, msg, actions);
        break;
    case GRD_MSG_WRITE_ASK:
        on_write_ask(master, entry, msg, actions);
        break;
    case GRD_MSG_WHERE:
        on_where(master, entry, msg, actions);
        break;
    default:
        master->counters.stale++;
        break;
    }
    grd_entry_settle(master->directory, entry);
}

bool grd_master_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&master->wheel, now_ns);
    struct grd_pending *pending;
    struct grd_msg *msg;

    if (timer == NULL)
        return false;
    pending = cf_container_of(timer, struct grd_pending, timer);
    msg = grd_action_send(actions, pending->node, GRD_MSG_PROBE, &pending->key);
    msg->request = pending->request;
    msg->tenure = pending->tenure;
    master->counters.probes++;
    cf_wheel_arm(&master->wheel, timer, now_ns + master->probe_ns);
    return true;
}

uint64_t grd_master_next_ns(const struct grd_master *master)
{
    return cf_wheel_next_ns(&master->wheel);
}
