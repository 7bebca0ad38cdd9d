/* SPDX-License-Identifier: Apache-2.0 */
/* The last owner's part of a move (master_move.c): entries are sent, and sent again, until the next owner has them. */
#include "base/assert.h"
#include "grd/master_move_impl.h"
#include "grd/mutant.h"

/*
 * From a step of the walk over the entries to the next, and from what the next owner took to what it gets. The bucket is served
 * already: both sides rest in between, so that calls come first on cores that they share with progress.
 */
#define EXPORT_TICK_NS 50000u

static bool word_of(uint16_t node, uint32_t flags, uint64_t value, struct grd_msg *msg)
{
    if (msg->words.count == GRD_WORDS_MAX || value > GRD_MOVE_VALUE_MAX)
        return false;
    msg->words.word[msg->words.count++] = value << GRD_MOVE_SHIFT | flags | node;
    return true;
}

static void entry_tell(struct grd_master *master, const struct grd_entry *entry, struct grd_msg *msg)
{
    struct grd_holder holder;
    struct grd_pair pair;
    uint32_t cursor = 0;
    bool fits = true;

    msg->tenure = entry->last_tenure;
    msg->version = entry->version;
    msg->durable = grd_entry_durable(master->directory, entry);
    while (fits && grd_holder_next(master->directory, entry, &cursor, &holder)) {
        cf_assert(!holder.is_pending);
        fits = word_of(holder.node, (holder.is_x ? GRD_MOVE_X : 0) | (holder.has_duty ? GRD_MOVE_DUTY : 0),
                       holder.tenure, msg);
    }
    for (cursor = 0; fits && grd_list_next(master->directory, entry, GRD_LIST_PAST, &cursor, &pair);)
        fits = word_of(pair.node, GRD_MOVE_PAST, pair.value, msg);
    msg->how = fits ? GRD_MOVE_ENTRY : GRD_MOVE_ALL;
    if (!fits)
        msg->words.count = 0;
}

static struct grd_msg *entry_begin(const struct grd_export *export, const struct cf_block_key *key,
                                   uint64_t request, struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, export->peer, GRD_MSG_MOVE_ENTRY, key);

    msg->request = request;
    msg->place = export->place;
    msg->tenure = msg->version = msg->durable = 0;
    msg->words.count = 0;
    return msg;
}

/* Nothing of it is left but a name, or requests that wait for the next owner to say so. */
static bool is_nothing(const struct grd_master *master, const struct grd_entry *entry)
{
    return grd_holders_count(master->directory, entry) == 0 &&
           grd_list_count(master->directory, entry, GRD_LIST_PAST) == 0;
}

void grd_master_export_done(struct grd_master *master, struct grd_actions *actions)
{
    const struct grd_export *export = &master->export;
    struct grd_msg order = {.request = export->order,
                            .bucket = export->bucket,
                            .place = export->place,
                            .requester = export->shard};
    uint8_t state = grd_bucket_state(master->directory, export->bucket);
    bool is_cold = (state & GRD_BUCKET_OPEN) != 0 ||
                   (!(state & GRD_BUCKET_FOREIGN) && grd_directory_summary(master->directory)->keys != 0);

    grd_master_report(master, &order, GRD_REPORT_DONE, is_cold ? GRD_FLAG_COLD : 0, actions);
}

/*
 * A pass over the entries sends each that is still here; what its next owner has taken is gone. Answers are counted for
 * the window only: those to questions, and those to an earlier pass, are among them. What is left is seen by looking: a
 * pass that finds nothing ends the export.
 */
void grd_master_export(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    struct grd_entry *entry;
    uint32_t looked = 0, before = export->cursor;
    bool more = true;

    if (!export->is_active || !export->is_started || export->is_done)
        return;
    cf_wheel_arm(&master->wheel, &export->timer, now_ns + EXPORT_TICK_NS);
    while (more && looked < master->export_looks && export->sent - export->taken < master->export_window) {
        entry = grd_bucket_next(master->directory, export->bucket, &export->cursor,
                                master->export_looks - looked, &more);
        looked += export->cursor - before;
        before = export->cursor;
        if (entry == NULL)
            continue;
        if (is_nothing(master, entry) || grd_mutant(GRD_MUT_MOVE_NO_ENTRIES)) {
            grd_entry_drop(master->directory, entry);
            continue;
        }
        entry_tell(master, entry, entry_begin(export, &entry->key, 0, actions));
        export->found++;
        export->sent++;
        master->counters.entries_sent++;
    }
    if (!more && export->sent == export->taken && (export->found == 0 || grd_mutant(GRD_MUT_MOVE_COUNTS))) {
        cf_wheel_disarm(&master->wheel, &export->timer);
        export->is_done = true;
        grd_master_export_done(master, actions);
    } else if (!more && export->sent == export->taken) {
        grd_export_pass(export);
    } else if (!more || export->sent - export->taken >= master->export_window) { /* until some are taken */
        cf_wheel_arm(&master->wheel, &export->timer, now_ns + master->probe_ns);
    }
}

/* Nothing has been taken for long: what was lost is sent again, from the first entry on. */
void grd_master_export_again(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    bool more;

    if (export->sent - export->taken >= master->export_window ||
        (grd_bucket_next(master->directory, export->bucket, &export->cursor, 0, &more) == NULL && !more))
        grd_export_pass(export);
    grd_master_export(master, now_ns, actions);
}

void grd_master_on_ask(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                       struct grd_actions *actions)
{
    const struct grd_export *export = &master->export;
    struct grd_export other = {.peer = msg->from, .place = msg->place};
    uint32_t bucket = grd_master_bucket(master, hash);
    uint8_t state = grd_bucket_state(master->directory, bucket);
    bool is_mine = export->is_active && export->bucket == bucket && export->place == msg->place &&
                   export->peer == msg->from;
    struct grd_entry *entry = is_mine ? grd_entry_find(master->directory, &msg->key, hash) : NULL;
    struct grd_msg *answer = entry_begin(is_mine ? export : &other, &msg->key, msg->request, actions);

    if (entry && !is_nothing(master, entry))
        entry_tell(master, entry, answer);
    else if (!is_mine || (state & GRD_BUCKET_OPEN) ||
             (!(state & GRD_BUCKET_FOREIGN) && grd_entry_hint(master->directory, hash).is_any))
        answer->how = GRD_MOVE_ALL;
    else
        answer->how = GRD_MOVE_NONE;
    if (entry)
        answer->tenure = entry->last_tenure;
}

void grd_master_on_got(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns)
{
    struct grd_export *export = &master->export;
    struct grd_entry *entry;
    uint32_t in_flight;
    bool more;

    if (!export->is_active || export->bucket != grd_master_bucket(master, hash) ||
        export->place != msg->place || export->peer != msg->from)
        return;
    entry = grd_entry_find(master->directory, &msg->key, hash);
    if (entry == NULL)
        return;
    grd_entry_drop(master->directory, entry);
    if (export->taken < export->sent)
        export->taken++;
    in_flight = export->sent - export->taken;
    (void)grd_bucket_next(master->directory, export->bucket, &export->cursor, 0, &more);
    if (export->is_started && !export->is_done &&
        (in_flight == 0 || (more && in_flight <= master->export_window / 2)))
        cf_wheel_arm(&master->wheel, &export->timer, now_ns + EXPORT_TICK_NS);
}
