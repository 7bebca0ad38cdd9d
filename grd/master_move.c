/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A shard's part in moving a bucket (docs/remaster.md). The last owner's entries stay where they are, unchanged, and are
 * taken over one by one after the switch:
 *
 *   last owner   CLOSE: nothing of the bucket is under way -> EXPORT     next owner   IMPORT: no entry = ask the last owner
 *                START: --MOVE_ENTRY, a window of them---------------->               no entry yet: made, as a rebuild
 *                       <----------------MOVE_GOT--------------------- one that is here, or is not wanted: GOT
 *                       <----------------MOVE_ASK--------------------- somebody wants the block now
 *                all taken: report DONE                                               END
 *
 * While the bucket is IMPORT and not OPEN, what has no entry here has never had one since the bucket came: losing one makes
 * the bucket OPEN. So an entry may be taken from the last owner whenever none is here, doubled and late ones too.
 */
#include "base/assert.h"
#include "grd/master_impl.h"
#include "grd/move_order.h"
#include "grd/mutant.h"

/* From a step of the walk over the entries to the next. */
#define EXPORT_TICK_NS 50000u

static uint32_t bucket_of(const struct grd_master *master, uint64_t hash)
{
    return (uint32_t)hash & (master->buckets - 1);
}

bool grd_master_has_left(const struct grd_master *master, uint64_t hash)
{
    return (grd_bucket_state(master->directory, bucket_of(master, hash)) & GRD_BUCKET_EXPORT) != 0;
}

/* ------------------------------------------------------------------ the last owner */

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

static void report(const struct grd_master *master, const struct grd_msg *order, enum grd_move_report how,
                   uint8_t flags, struct grd_actions *actions)
{
    static const struct cf_block_key none = {0};
    struct grd_msg *msg = grd_action_send(actions, master->node, GRD_MSG_MOVE_REPORT, &none);

    msg->request = order->request;
    msg->tenure = grd_tenure_last(master->directory);
    msg->bucket = order->bucket;
    msg->place = order->place;
    msg->requester = order->requester;
    msg->how = (uint8_t)how;
    msg->flags = flags;
}

static void report_done(struct grd_master *master, struct grd_actions *actions)
{
    const struct grd_export *export = &master->export;
    struct grd_msg order = {.request = export->order,
                            .bucket = export->bucket,
                            .place = export->place,
                            .requester = export->shard};
    uint8_t state = grd_bucket_state(master->directory, export->bucket);
    bool is_cold = (state & GRD_BUCKET_OPEN) != 0 ||
                   (!(state & GRD_BUCKET_FOREIGN) && grd_directory_summary(master->directory)->keys != 0);

    report(master, &order, GRD_REPORT_DONE, is_cold ? GRD_FLAG_COLD : 0, actions);
}

static void pass_begin(struct grd_export *export)
{
    export->cursor = export->found = export->sent = export->taken = 0;
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
        report_done(master, actions);
    } else if (!more && export->sent == export->taken) {
        pass_begin(export);
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
        pass_begin(export);
    grd_master_export(master, now_ns, actions);
}

static void on_ask(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                   struct grd_actions *actions)
{
    const struct grd_export *export = &master->export;
    struct grd_export other = {.peer = msg->from, .place = msg->place};
    uint32_t bucket = bucket_of(master, hash);
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

static void on_got(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                   struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    struct grd_entry *entry;

    if (!export->is_active || export->bucket != bucket_of(master, hash) || export->place != msg->place ||
        export->peer != msg->from)
        return;
    entry = grd_entry_find(master->directory, &msg->key, hash);
    if (entry == NULL)
        return;
    grd_entry_drop(master->directory, entry);
    if (export->taken < export->sent)
        export->taken++;
    if (export->is_started && export->sent - export->taken <= master->export_window / 2)
        grd_master_export(master, now_ns, actions);
}

/* ------------------------------------------------------------------ the next owner */

static const struct grd_import *import_of(const struct grd_master *master, uint16_t from, uint32_t bucket)
{
    const struct grd_import *import = &master->imports[from];
    uint8_t state = grd_bucket_state(master->directory, bucket);

    return import->is_active && import->bucket == bucket && (state & GRD_BUCKET_IMPORT) &&
                   !(state & GRD_BUCKET_OPEN)
               ? import
               : NULL;
}

static void send_ask(struct grd_master *master, const struct grd_rebuild *rebuild, uint32_t place,
                     struct grd_actions *actions)
{
    struct grd_msg *msg = grd_action_send(actions, rebuild->last_owner, GRD_MSG_MOVE_ASK, &rebuild->key);

    msg->request = rebuild->number;
    msg->place = place;
    master->counters.owners_asked++;
}

bool grd_master_ask_last_owner(struct grd_master *master, struct grd_rebuild *rebuild, uint32_t bucket,
                               struct grd_actions *actions)
{
    uint32_t node;

    for (node = 0; node < master->nodes; node++) {
        const struct grd_import *import = import_of(master, (uint16_t)node, bucket);

        if (import == NULL)
            continue;
        rebuild->asks_last_owner = true;
        rebuild->last_owner = (uint16_t)node;
        rebuild->bucket = bucket;
        send_ask(master, rebuild, import->place, actions);
        return true;
    }
    return false;
}

void grd_master_ask_owner_again(struct grd_master *master, struct grd_rebuild *rebuild,
                                struct grd_actions *actions)
{
    const struct grd_import *import = import_of(master, rebuild->last_owner, rebuild->bucket);

    if (import) {
        send_ask(master, rebuild, import->place, actions);
        return;
    }
    rebuild->repetitions = 0;
    grd_master_ask_all(master, rebuild, actions);
}

static void send_got(const struct grd_msg *msg, struct grd_actions *actions)
{
    grd_action_send(actions, msg->from, GRD_MSG_MOVE_GOT, &msg->key)->place = msg->place;
}

/* An entry in rebuild has nothing but what it was told here. */
static void words_drop(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg,
                       uint32_t count)
{
    while (count-- > 0) {
        uint16_t node = (uint16_t)(msg->words.word[count] & GRD_MOVE_NODE);

        if (msg->words.word[count] & GRD_MOVE_PAST)
            grd_list_remove(master->directory, entry, GRD_LIST_PAST, node);
        else
            grd_holder_remove(master->directory, entry, node);
    }
}

/* False: others that are under way have all the room; it comes again. All of it is taken or nothing. */
static bool take_words(struct grd_master *master, struct grd_entry *entry, const struct grd_msg *msg)
{
    uint32_t i;

    if (entry->last_tenure < msg->tenure)
        entry->last_tenure = msg->tenure;
    for (i = 0; i < msg->words.count; i++) {
        uint64_t word = msg->words.word[i];
        struct grd_holder holder = {.node = (uint16_t)(word & GRD_MOVE_NODE),
                                    .is_x = (word & GRD_MOVE_X) != 0,
                                    .has_duty = (word & GRD_MOVE_DUTY) != 0,
                                    .tenure = word >> GRD_MOVE_SHIFT};

        if (!grd_holder_fits(master->directory, entry)) {
            words_drop(master, entry, msg, i);
            return false;
        }
        if (word & GRD_MOVE_PAST)
            grd_list_set(master->directory, entry, GRD_LIST_PAST, holder.node, holder.tenure);
        else
            grd_holder_set(master->directory, entry, &holder);
    }
    return true;
}

static void known(struct grd_master *master, struct grd_entry *entry, struct grd_rebuild *rebuild,
                  const struct grd_msg *msg, uint64_t hash, uint64_t now_ns, struct grd_actions *actions)
{
    if (msg->how == GRD_MOVE_ALL) {
        if (entry->last_tenure < msg->tenure)
            entry->last_tenure = msg->tenure;
        grd_master_ask_all(master, rebuild, actions);
        cf_wheel_arm(&master->wheel, &rebuild->timer, now_ns + master->probe_ns);
        return;
    }
    if (!take_words(master, entry, msg)) {
        master->counters.refused_bounds++;
        return;
    }
    if (rebuild->version < msg->version)
        rebuild->version = msg->version;
    if (rebuild->durable < msg->durable)
        rebuild->durable = msg->durable;
    grd_master_rebuilt(master, entry, rebuild, hash, now_ns, actions);
    if (msg->how == GRD_MOVE_ENTRY) {
        send_got(msg, actions);
        master->counters.entries_taken++;
    }
}

static struct grd_entry *entry_new(struct grd_master *master, const struct grd_msg *msg, uint64_t hash,
                                   uint64_t now_ns)
{
    struct grd_entry *entry = grd_rebuild_has_room(master->directory, false)
                                  ? grd_entry_get(master->directory, &msg->key, hash, bucket_of(master, hash))
                                  : NULL;
    struct grd_rebuild *rebuild;

    if (entry == NULL) {
        master->counters.refused_bounds++;
        return NULL;
    }
    rebuild = grd_rebuild_begin(master->directory, entry);
    rebuild->number = ++master->rebuild_last;
    rebuild->since_ns = now_ns;
    rebuild->is_unlisted = rebuild->asks_last_owner = true;
    rebuild->last_owner = msg->from;
    rebuild->bucket = bucket_of(master, hash);
    cf_timer_init(&rebuild->timer, GRD_TIMER_REBUILD);
    cf_wheel_arm(&master->wheel, &rebuild->timer, now_ns + master->probe_ns);
    return entry;
}

static void on_entry(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                     struct grd_actions *actions)
{
    const struct grd_import *import = import_of(master, msg->from, bucket_of(master, hash));
    struct grd_entry *entry = grd_entry_find(master->directory, &msg->key, hash);
    struct grd_rebuild *rebuild = entry ? grd_rebuild_of(master->directory, entry) : NULL;

    if (grd_mutant(GRD_MUT_MOVE_ENTRY_TWICE) && entry && rebuild == NULL && msg->how == GRD_MOVE_ENTRY) {
        (void)take_words(master, entry, msg);
        grd_entry_settle(master->directory, entry);
    }
    if (import == NULL || import->place != msg->place || (entry && (!rebuild || !rebuild->asks_last_owner))) {
        if (msg->request == 0 && import == NULL &&
            !(master->imports[msg->from].is_active && master->imports[msg->from].place == msg->place)) {
            master->counters.stale++; /* before the shard has heard that the bucket comes, or long after */
            return;
        }
        send_got(msg, actions);
        return;
    }
    if (msg->request != 0 && (rebuild == NULL || rebuild->number != msg->request)) {
        master->counters.stale++; /* the answer to a question that is over */
        return;
    }
    if (entry == NULL) {
        entry = entry_new(master, msg, hash, now_ns);
        if (entry == NULL)
            return;
        if (import_of(master, msg->from, bucket_of(master, hash)) ==
            NULL) { /* it made room at the bucket's cost */
            rebuild = grd_rebuild_of(master->directory, entry);
            grd_master_ask_all(master, rebuild, actions);
            return;
        }
        rebuild = grd_rebuild_of(master->directory, entry);
    }
    known(master, entry, rebuild, msg, hash, now_ns, actions);
    grd_entry_settle(master->directory, entry);
}

bool grd_master_on_move(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                        struct grd_actions *actions)
{
    switch (msg->type) {
    case GRD_MSG_MOVE_ENTRY:
        on_entry(master, msg, hash, now_ns, actions);
        return true;
    case GRD_MSG_MOVE_ASK:
        on_ask(master, msg, hash, actions);
        return true;
    case GRD_MSG_MOVE_GOT:
        on_got(master, msg, hash, now_ns, actions);
        return true;
    default:
        return false;
    }
}

/* ------------------------------------------------------------------ orders of progress */

/* Also what waits for a rebuild must have been dealt with. */
static bool is_busy(const struct grd_master *master, uint32_t bucket)
{
    uint32_t i;

    for (i = 0; i < master->late_count; i++)
        if (bucket_of(master, master->late[(master->late_first + i) % GRD_LATE_MAX].hash) == bucket)
            return true;
    return grd_bucket_is_busy(master->directory, bucket);
}

static void order_close(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    uint8_t state = grd_bucket_state(master->directory, msg->bucket);

    if (!(export->is_active && export->bucket == msg->bucket)) {
        if (export->is_active || (is_busy(master, msg->bucket) && !grd_mutant(GRD_MUT_MOVE_WHILE_GRANTING))) {
            report(master, msg, GRD_REPORT_BUSY, 0, actions);
            return;
        }
        export->is_active = true;
        export->is_started = export->is_done = false;
        export->bucket = msg->bucket;
        export->state = state;
        pass_begin(export);
        grd_bucket_state_set(master->directory, msg->bucket, state | GRD_BUCKET_EXPORT);
    }
    export->place = msg->place;
    export->peer = msg->behind; /* it may ask before this shard hears that it has the bucket */
    report(master, msg, GRD_REPORT_CLOSED, 0, actions);
}

static void order_open(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;
    uint8_t state;

    if (export->is_active && export->bucket == msg->bucket) {
        state = grd_bucket_state(master->directory, msg->bucket);
        grd_bucket_state_set(master->directory, msg->bucket, (uint8_t)(state & ~GRD_BUCKET_EXPORT));
        export->is_active = false;
    }
    report(master, msg, GRD_REPORT_OPENED, 0, actions);
}

static void order_start(struct grd_master *master, const struct grd_msg *msg, uint64_t now_ns,
                        struct grd_actions *actions)
{
    struct grd_export *export = &master->export;

    cf_assert(export->is_active && export->bucket == msg->bucket);
    export->order = msg->request;
    export->shard = msg->requester;
    if (export->is_done) {
        report_done(master, actions);
    } else if (!export->is_started) {
        export->is_started = true;
        grd_master_export(master, now_ns, actions);
    }
}

static void order_gone(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_export *export = &master->export;

    if (export->is_active && export->bucket == msg->bucket) {
        cf_wheel_disarm(&master->wheel, &export->timer);
        grd_bucket_state_set(master->directory, msg->bucket, 0);
        export->is_active = false;
    }
    report(master, msg, GRD_REPORT_GONE, 0, actions);
}

static void order_import(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_import *import = &master->imports[msg->behind];

    if (!import->is_active || import->bucket != msg->bucket || import->place != msg->place) {
        *import = (struct grd_import){.is_active = true, .bucket = msg->bucket, .place = msg->place};
        grd_bucket_state_set(master->directory, msg->bucket, GRD_BUCKET_FOREIGN | GRD_BUCKET_IMPORT);
        grd_tenure_raise(master->directory, msg->tenure);
    }
    report(master, msg, GRD_REPORT_IMPORTS, 0, actions);
}

static void order_end(struct grd_master *master, const struct grd_msg *msg, struct grd_actions *actions)
{
    struct grd_import *import = &master->imports[msg->behind];
    uint8_t state = grd_bucket_state(master->directory, msg->bucket);

    if (import->is_active && import->bucket == msg->bucket && import->place == msg->place) {
        import->is_active = false;
        state = (uint8_t)(state & ~GRD_BUCKET_IMPORT);
        if (msg->flags & GRD_FLAG_COLD)
            state |= GRD_BUCKET_OPEN;
        grd_bucket_state_set(master->directory, msg->bucket, state);
    }
    report(master, msg, GRD_REPORT_ENDED, 0, actions);
}

void grd_master_order(struct grd_master *master, const struct grd_msg *msg, uint64_t now_ns,
                      struct grd_actions *actions)
{
    cf_assert(master->imports != NULL);
    switch ((enum grd_move_order)msg->how) {
    case GRD_ORDER_CLOSE:
        order_close(master, msg, actions);
        break;
    case GRD_ORDER_OPEN:
        order_open(master, msg, actions);
        break;
    case GRD_ORDER_START:
        order_start(master, msg, now_ns, actions);
        break;
    case GRD_ORDER_GONE:
        order_gone(master, msg, actions);
        break;
    case GRD_ORDER_IMPORT:
        order_import(master, msg, actions);
        break;
    case GRD_ORDER_END:
        order_end(master, msg, actions);
        break;
    }
}
