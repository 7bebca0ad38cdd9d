/* SPDX-License-Identifier: Apache-2.0 */
/* The next owner's part of a move (master_move.c): entries are taken over as they come, or asked for. */
#include "grd/master_move_impl.h"
#include "grd/mutant.h"

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
                                  ? grd_entry_get(master->directory, &msg->key, hash,
                                                  grd_master_bucket(master, hash))
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
    rebuild->bucket = grd_master_bucket(master, hash);
    cf_timer_init(&rebuild->timer, GRD_TIMER_REBUILD);
    cf_wheel_arm(&master->wheel, &rebuild->timer, now_ns + master->probe_ns);
    return entry;
}

void grd_master_on_entry(struct grd_master *master, const struct grd_msg *msg, uint64_t hash, uint64_t now_ns,
                         struct grd_actions *actions)
{
    const struct grd_import *import = import_of(master, msg->from, grd_master_bucket(master, hash));
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
        if (import_of(master, msg->from, grd_master_bucket(master, hash)) ==
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
