/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Rule numbers in brackets are those of docs/protocol.md ("Rules"). The flow of one request:
 *
 *   on_request -> serve -> do_grant_s / do_grant_x -> send_grant or send_forward, send_invalidate -> on_installed
 *   (master_grant.c)                                  (master_send.c)                            (master_end.c)
 *   on_request -> serve_alone -> the same             where nobody waits and nothing is pending: the queue is not touched
 *   on_request -> rebuild -> recall -> on_held -> serve    where the entry was given back (master_rebuild.c)
 */
#include "grd/master_impl.h"

#include "base/assert.h"
#include "grd/backoff.h"

static uint64_t imports_bytes(bool is_movable, uint32_t nodes)
{
    return is_movable ? nodes * sizeof(struct grd_import) : 0;
}

static uint64_t beside(uint32_t nodes, bool is_movable)
{
    return sizeof(struct grd_master) + sizeof(struct cf_hist) + imports_bytes(is_movable, nodes) +
           GRD_LATE_MAX * sizeof(struct grd_late) + sizeof(struct grd_hot) +
           nodes * (sizeof(uint64_t) + sizeof(struct grd_window) + GRD_WINDOW / 8 + sizeof(uint16_t)) +
           5 * CF_CACHE_LINE;
}

uint64_t grd_master_size(const struct grd_master_options *options)
{
    return beside(options->nodes, options->directory.is_movable) + grd_directory_size(&options->directory);
}

enum cf_rc grd_master_fit(const struct grd_master_options *need, uint64_t bytes,
                          struct grd_directory_options *fit_out, uint64_t *bytes_min_out)
{
    uint64_t other = beside(need->nodes, need->directory.is_movable);
    enum cf_rc rc = grd_directory_fit(&need->directory, bytes > other ? bytes - other : 0, fit_out,
                                      bytes_min_out);

    *bytes_min_out += other;
    return rc;
}

enum cf_rc grd_master_open(const struct grd_master_options *options, struct grd_master **master_out)
{
    const struct cf_allocator *allocator = options->directory.allocator;
    struct grd_master *master;
    uint32_t node;
    enum cf_rc rc;

    master = cf_alloc(allocator, sizeof *master, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (master == NULL)
        return CF_MEMORY;
    master->allocator = allocator;
    master->node = options->node;
    master->nodes = options->nodes;
    master->probe_ns = options->probe_ns;
    master->export_window = options->export_window ? options->export_window : GRD_EXPORT_WINDOW;
    master->export_looks = options->export_window ? options->export_window : GRD_EXPORT_LOOKS_MAX;
    master->buckets = options->directory.buckets;
    cf_wheel_init(&master->wheel, options->now_ns, options->wheel_tick_ns);
    master->mark = cf_alloc(allocator, options->nodes * sizeof *master->mark, CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->seen = cf_alloc(allocator, options->nodes * sizeof *master->seen, CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->is_late = cf_alloc(allocator, options->nodes * (GRD_WINDOW / 8), CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->late = cf_alloc(allocator, GRD_LATE_MAX * sizeof *master->late, CF_CACHE_LINE, 0);
    master->rebuild_hist = cf_alloc(allocator, sizeof *master->rebuild_hist, CF_CACHE_LINE, 0);
    master->hosts = cf_alloc(allocator, options->nodes * sizeof *master->hosts, CF_CACHE_LINE, CF_ALLOC_ZERO);
    master->hot = cf_alloc(allocator, sizeof *master->hot, CF_CACHE_LINE, CF_ALLOC_ZERO);
    if (options->directory.is_movable)
        master->imports = cf_alloc(allocator, imports_bytes(true, options->nodes), CF_CACHE_LINE,
                                   CF_ALLOC_ZERO);
    rc = CF_MEMORY;
    if (master->hosts && master->hot && master->mark && master->seen && master->is_late && master->late &&
        master->rebuild_hist && (master->imports || !options->directory.is_movable))
        rc = grd_directory_open(&options->directory, &master->directory);
    if (rc != CF_OK) {
        grd_master_close(&master);
        return rc;
    }
    cf_hist_init(master->rebuild_hist);
    cf_timer_init(&master->export.timer, GRD_TIMER_EXPORT);
    cf_wheel_init(&master->shares, options->now_ns, GRD_SHARE_TICK_NS);
    for (uint32_t i = 0; i < GRD_HOT_ENTRIES; i++)
        cf_timer_init(&master->share[i].timer, 0);
    for (node = 0; node < options->nodes; node++)
        grd_window_init(&master->seen[node]);
    for (node = 0; options->hosts && node < options->nodes; node++)
        master->hosts[node] = options->hosts[node];
    *master_out = master;
    return CF_OK;
}

void grd_master_close(struct grd_master **master)
{
    struct grd_master *m = *master;

    if (m == NULL)
        return;
    grd_directory_close(&m->directory);
    cf_free(m->allocator, m->is_late, m->nodes * (GRD_WINDOW / 8));
    cf_free(m->allocator, m->late, GRD_LATE_MAX * sizeof *m->late);
    cf_free(m->allocator, m->rebuild_hist, sizeof *m->rebuild_hist);
    cf_free(m->allocator, m->imports, imports_bytes(true, m->nodes));
    cf_free(m->allocator, m->hosts, m->nodes * sizeof *m->hosts);
    cf_free(m->allocator, m->hot, sizeof *m->hot);
    cf_free(m->allocator, m->seen, m->nodes * sizeof *m->seen);
    cf_free(m->allocator, m->mark, m->nodes * sizeof *m->mark);
    cf_free(m->allocator, m, sizeof *m);
    *master = NULL;
}

uint64_t grd_master_bytes(const struct grd_master *master)
{
    return beside(master->nodes, master->imports != NULL) + grd_directory_bytes(master->directory);
}

bool grd_master_is_cold(const struct grd_master *master, uint64_t hash)
{
    uint8_t state = grd_bucket_state(master->directory, (uint32_t)hash & (master->buckets - 1));

    if (state != 0)
        return (state & (GRD_BUCKET_OPEN | GRD_BUCKET_IMPORT)) != 0;
    return grd_entry_hint(master->directory, hash).is_any;
}

static void send_bounce(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    grd_action_send(actions, msg->from, GRD_MSG_BOUNCE, &msg->key)->request = msg->request;
    master->counters.bounced++;
}

static void on_request(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                       uint64_t now_ns, struct grd_actions *actions)
{
    const struct grd_side *side = grd_side_of(master->directory, entry);
    struct grd_pending *pending;
    struct grd_waiter *waiter;

    master->counters.requests++;
    if ((side == NULL || grd_side_is_quiet(side)) && msg->request > master->mark[msg->from] &&
        grd_master_serve_alone(master, entry, msg, now_ns, actions))
        return;
    pending = grd_pending_of(master->directory, entry, msg->from);
    if (pending && pending->request >= msg->request) {
        if (pending->request == msg->request)
            grd_master_repeat(master, entry, pending, actions);
        else
            master->counters.stale++;
        return;
    }
    waiter = grd_waiter_of(master->directory, entry, msg->from);
    if (waiter && waiter->request >= msg->request) { /* queued already */
        grd_master_serve(master, entry, now_ns, actions);
        return;
    }
    if (msg->request <= master->mark[msg->from]) {
        send_bounce(master, msg, actions);
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
    grd_master_serve(master, entry, now_ns, actions);
}

/* The entry was forgotten, or never was, or nothing the message is about was given back: nobody holds the block,
 * nothing is pending, nothing of it is undurable. */
static void on_unknown(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_RELEASE:
        if (!grd_window_end(&master->seen[msg->from], msg->number))
            break;
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
        grd_master_on_where(master, NULL, msg, actions);
        return;
    default:
        break;
    }
    master->counters.stale++;
}

static void on_other(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                     uint64_t now_ns, struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_INSTALLED:
        grd_master_on_installed(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_RELEASE:
        grd_master_on_release(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_NOT_HELD:
        grd_master_on_not_held(master, entry, msg, now_ns, actions);
        break;
    case GRD_MSG_WRITTEN:
        grd_master_durable(master, entry, msg->durable, actions);
        break;
    case GRD_MSG_KEPT:
        grd_master_on_kept(master, entry, msg, actions);
        break;
    case GRD_MSG_PAST:
        grd_master_on_past(master, entry, msg, actions);
        break;
    case GRD_MSG_WRITE_ASK:
        grd_master_on_write_ask(master, entry, msg, actions);
        break;
    case GRD_MSG_WHERE:
        grd_master_on_where(master, entry, msg, actions);
        break;
    default:
        master->counters.stale++;
        break;
    }
}

#define OF_RELEASES \
    (UINT64_C(1) << GRD_MSG_RELEASE | UINT64_C(1) << GRD_MSG_NOT_HELD | UINT64_C(1) << GRD_MSG_HELD)

/* What a message says of its sender's releases, whatever else becomes of it. */
static void hear_number(struct grd_master *master, const struct grd_msg *msg)
{
    if (!(msg->type < GRD_MSG_MAX && (OF_RELEASES >> msg->type & 1)))
        return;
    if (msg->number > msg->behind)
        grd_window_raise(&master->seen[msg->from], msg->number - msg->behind);
}

/*
 * An entry for a message that has none: for a request, or to rebuild one that was given back. NULL: the message has been
 * answered, or is dropped and its sender says it again.
 */
static struct grd_entry *entry_make(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                                    uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_hint hint = {0};
    bool is_cold = grd_master_needs_rebuild(master, msg, hash, &hint);
    struct grd_entry *entry;

    if (msg->type != GRD_MSG_REQUEST && !is_cold) {
        on_unknown(master, msg, actions);
        return NULL;
    }
    if (msg->type == GRD_MSG_REQUEST && msg->request <= master->mark[msg->from]) {
        send_bounce(master, msg, actions);
        return NULL;
    }
    if (is_cold && !grd_rebuild_has_room(master->directory, msg->type == GRD_MSG_REQUEST)) {
        grd_master_late_push(master, msg, hash);
        return NULL;
    }
    entry = grd_entry_get(master->directory, &msg->key, hash, (uint32_t)hash & (master->buckets - 1));
    if (entry == NULL)
        master->counters.refused_bounds++;
    else if (is_cold)
        grd_master_rebuild(master, entry, msg, &hint, hash, now_ns, actions);
    return entry;
}

static inline bool is_rebuilt(const struct grd_master *master, const struct grd_entry *entry)
{
    const struct grd_side *side = grd_side_of(master->directory, entry);

    return side && side->rebuild != GRD_NONE;
}

static CF_INLINE void one(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                          uint64_t now_ns, struct grd_actions *actions)
{
    const struct grd_side *side;
    struct grd_entry *entry;

    if (msg->type >= GRD_MSG_MOVE_ENTRY && grd_master_on_move(master, msg, hash, now_ns, actions))
        return;
    entry = grd_entry_find(master->directory, &msg->key, hash);
    if (entry == NULL)
        entry = entry_make(master, msg, hash, now_ns, actions);
    if (entry == NULL)
        return;
    if (msg->type == GRD_MSG_REQUEST)
        on_request(master, entry, msg, now_ns, actions);
    else if (msg->type == GRD_MSG_HELD)
        grd_master_on_held(master, entry, msg, hash, now_ns, actions);
    else if (CF_UNLIKELY(is_rebuilt(master, entry)))
        grd_master_meanwhile(master, entry, msg, now_ns, actions);
    else
        on_other(master, entry, msg, now_ns, actions);
    side = grd_side_of(master->directory, entry);
    if (side == NULL || grd_side_is_empty(side))
        grd_entry_settle(master->directory, entry);
}

void grd_master_one(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                    struct grd_actions *actions)
{
    one(master, msg, hash, now_ns, actions);
}

void grd_master_step(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                     struct grd_actions *actions)
{
    hear_number(master, msg);
    one(master, msg, hash, now_ns, actions);
    if (CF_UNLIKELY(master->late_count != 0))
        grd_master_late_run(master, now_ns, actions);
}

static void probe(struct grd_master *master, struct grd_pending *pending, uint64_t now_ns,
                  struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, pending->node, GRD_MSG_PROBE, &pending->key);

    msg->request = pending->request;
    msg->tenure = pending->tenure;
    master->counters.probes++;
    if (pending->probes < GRD_BACKOFF_MAX)
        pending->probes++;
    cf_wheel_arm(&master->wheel, &pending->timer, now_ns + grd_backoff_ns(master->probe_ns, pending->probes));
}

bool grd_master_tick(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct cf_timer *timer = cf_wheel_expire(&master->wheel, now_ns);

    if (timer == NULL)
        return grd_fair_tick(master, now_ns, actions);
    if (timer->kind == GRD_TIMER_EXPORT)
        grd_master_export_again(master, now_ns, actions);
    else if (timer->kind == GRD_TIMER_REBUILD)
        grd_master_recall_again(master, cf_container_of(timer, struct grd_rebuild, timer), now_ns, actions);
    else
        probe(master, cf_container_of(timer, struct grd_pending, timer), now_ns, actions);
    return true;
}

uint64_t grd_master_next_ns(const struct grd_master *master)
{
    uint64_t next_ns = cf_wheel_next_ns(&master->wheel), share_ns = grd_master_share_ns(master);

    return next_ns < share_ns ? next_ns : share_ns;
}
