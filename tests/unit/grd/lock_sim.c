/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/lock_sim.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"
#include "base/rng.h"
#include "grd/detect.h"

#define NODES_MAX 8u
#define LOCKS_MAX 20u
#define CLIENTS_MAX 6u
#define HELD_MAX 3u
#define HISTORY_MAX 4096u
#define FLIGHT_MAX 16384u
#define TURN_NS UINT64_C(100000)
#define QUIET_TURNS_MAX 60000u
#define DETECT_TURNS 40u
#define REPORTS_MAX 4096u

struct flight {
    uint64_t due_ns, number;
    uint16_t from, to, type;
    uint32_t bytes;
    uint8_t body[GRD_MSG_BYTES_MAX];
};

struct held {
    grd_lock_id lock;
    uint32_t name;
    uint8_t mode; /* what nobody else may stand against; NL while it may have been demoted */
};

enum client_state { IDLE, WAITING, CONVERTING, PUBLISHING, SWAPPING, READING };

struct client {
    uint16_t node;
    uint32_t number;
    enum client_state state;
    struct held held[HELD_MAX];
    uint32_t held_count;
    uint32_t at; /* the one that waits, converts, publishes */
    uint32_t name;
    uint8_t before, want; /* modes of the conversion or request */
    uint8_t flags;
    uint64_t stamp; /* of the swap */
    bool gives_up;  /* a victim: unlocks all it has */
};

/* What a lock's value is, as the one who sees everything knows it. */
struct truth {
    uint64_t version;
    bool is_valid;
    uint64_t stamp;
    uint64_t history[HISTORY_MAX]; /* stamp of each version; 0 = none */
};

struct node {
    struct grd_lock_local *local;
    struct grd_lock_master *master;
    struct grd_lock_resource *handle[LOCKS_MAX];
    struct client clients[CLIENTS_MAX];
    bool is_alive;
};

struct sim {
    struct lock_sim_options o;
    struct lock_sim_result result;
    struct cf_rng rng;
    struct grd_map map;
    struct node nodes[NODES_MAX];
    struct grd_lock_name names[LOCKS_MAX];
    struct cf_block_key keys[LOCKS_MAX];
    struct truth truth[LOCKS_MAX];
    struct flight flights[FLIGHT_MAX];
    uint32_t flights_count;
    uint64_t flight_number, now_ns, stamp_last, lane_ns[NODES_MAX][NODES_MAX];
    bool is_faulty, is_ending;
    struct grd_detect *detect;
    void *arena;
    uint32_t rounds;
    struct grd_actions actions;
};

static void fail(struct sim *s, const char *format, ...)
{
    va_list args;

    fprintf(stderr, "lock sim: seed %" PRIu64 " at %" PRIu64 " us: ", s->o.seed, s->now_ns / 1000);
    va_start(args, format);
    vfprintf(stderr, format, args);
    va_end(args);
    fputc('\n', stderr);
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        grd_lock_local_dump(s->nodes[n].local, stderr);
        if (s->nodes[n].master)
            grd_lock_master_dump(s->nodes[n].master, stderr);
    }
    exit(1);
}

/* ------------------------------------------------------------------ network: a heap by (due, number) */

static bool is_before(const struct flight *a, const struct flight *b)
{
    return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->number < b->number);
}

static void flight_push(struct sim *s, const struct flight *flight)
{
    uint32_t at = s->flights_count++;

    cf_assert(at < FLIGHT_MAX);
    while (at > 0 && is_before(flight, &s->flights[(at - 1) / 2])) {
        s->flights[at] = s->flights[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->flights[at] = *flight;
}

static void flight_pop(struct sim *s, struct flight *flight_out)
{
    struct flight last = s->flights[--s->flights_count];
    uint32_t at = 0, child;

    *flight_out = s->flights[0];
    while ((child = at * 2 + 1) < s->flights_count) {
        if (child + 1 < s->flights_count && is_before(&s->flights[child + 1], &s->flights[child]))
            child++;
        if (!is_before(&s->flights[child], &last))
            break;
        s->flights[at] = s->flights[child];
        at = child;
    }
    s->flights[at] = last;
}

static void send(struct sim *s, uint16_t from, uint16_t to, const struct grd_msg *msg)
{
    struct flight flight = {.from = from, .to = to, .type = msg->type};
    uint32_t copies = 1;

    s->result.messages++;
    flight.bytes = grd_msg_encode(msg, flight.body);
    if (s->is_faulty && from != to) {
        copies = cf_rng_chance(&s->rng, s->o.loss) ? 0 : 1;
        copies += cf_rng_chance(&s->rng, s->o.dup);
    }
    for (; copies > 0; copies--) {
        flight.number = ++s->flight_number;
        flight.due_ns = s->now_ns + 20000;
        if (s->is_faulty && from != to && cf_rng_chance(&s->rng, s->o.late)) {
            flight.due_ns += cf_rng_below(&s->rng, cf_rng_chance(&s->rng, 0.1) ? 60000000 : 3000000);
        } else { /* a lane keeps its order */
            if (flight.due_ns < s->lane_ns[from][to])
                flight.due_ns = s->lane_ns[from][to];
            s->lane_ns[from][to] = flight.due_ns;
        }
        flight_push(s, &flight);
    }
}

static void act(struct sim *s, uint16_t node)
{
    for (uint32_t i = 0; i < s->actions.count; i++) {
        cf_assert(s->actions.item[i].type == GRD_ACT_SEND);
        if (s->nodes[node].is_alive)
            send(s, node, s->actions.item[i].to, &s->actions.item[i].msg);
    }
    s->actions.count = 0;
}

/* ------------------------------------------------------------------ the checker */

static void value_make(struct sim *s, struct grd_lock_value *value, uint64_t stamp)
{
    memset(value, 0, sizeof *value);
    value->bytes_count = (uint8_t)(8 + stamp % 57);
    memset(value->bytes, (int)(stamp & 0xff), value->bytes_count);
    memcpy(value->bytes, &stamp, sizeof stamp);
    (void)s;
}

static uint64_t stamp_of(struct sim *s, const struct grd_lock_value *value)
{
    struct grd_lock_value again;
    uint64_t stamp = 0;

    if (value->bytes_count == 0)
        return 0;
    memcpy(&stamp, value->bytes, sizeof stamp);
    value_make(s, &again, stamp);
    if (again.bytes_count != value->bytes_count || memcmp(again.bytes, value->bytes, again.bytes_count) != 0)
        fail(s, "a torn value");
    return stamp;
}

static void truth_set(struct sim *s, uint32_t name, uint64_t version, bool is_valid, uint64_t stamp)
{
    struct truth *truth = &s->truth[name];

    if (version <= truth->version)
        fail(s, "lock %u: version %" PRIu64 " after %" PRIu64, name, version, truth->version);
    truth->version = version;
    truth->is_valid = is_valid;
    truth->stamp = stamp;
    if (version < HISTORY_MAX)
        truth->history[version] = stamp;
}

static bool truth_has(const struct truth *truth, uint64_t stamp)
{
    for (uint64_t v = 0; v <= truth->version && v < HISTORY_MAX; v++)
        if (truth->history[v] == stamp)
            return true;
    return false;
}

/* I-12: who excludes writers sees the newest value; others see one that was. */
static void value_check(struct sim *s, uint32_t name, uint8_t mode, const struct grd_lock_value *value)
{
    const struct truth *truth = &s->truth[name];
    uint64_t stamp = stamp_of(s, value);

    s->result.values_checked++;
    s->result.invalid_seen += !value->is_valid;
    if (value->version > truth->version)
        fail(s, "lock %u: version %" PRIu64 " was never stored, %" PRIu64 " is the newest", name,
             value->version, truth->version);
    if (mode >= GRD_LOCK_CW &&
        (value->version != truth->version || value->is_valid != truth->is_valid || stamp != truth->stamp))
        fail(s, "lock %u: %s reads version %" PRIu64 "%s, the newest is %" PRIu64 "%s", name,
             grd_lock_mode_name(mode), value->version, value->is_valid ? "" : " not valid", truth->version,
             truth->is_valid ? "" : " not valid");
    if (value->version < HISTORY_MAX && truth->history[value->version] != stamp)
        fail(s, "lock %u: version %" PRIu64 " has other bytes", name, value->version);
}

/* I-11 over all owners of all instances. */
static void grant_check(struct sim *s, const struct client *client, uint32_t name, uint8_t mode,
                        const struct held *own)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        for (uint32_t c = 0; c < s->o.clients; c++) {
            const struct client *other = &s->nodes[n].clients[c];

            for (uint32_t h = 0; h < other->held_count; h++)
                if (&other->held[h] != own && other->held[h].name == name &&
                    !grd_lock_compatible(other->held[h].mode, mode))
                    fail(s, "lock %u: node %u client %u got %s while node %u client %u holds %s", name,
                         client->node, client->number, grd_lock_mode_name(mode), n, c,
                         grd_lock_mode_name(other->held[h].mode));
        }
    }
}

static void granted(struct sim *s, struct client *client, struct held *held, uint8_t mode)
{
    const struct grd_lock_value *value = grd_lock_local_value(s->nodes[client->node].local, held->lock);

    s->result.grants++;
    grant_check(s, client, held->name, mode, held);
    held->mode = mode;
    if (value == NULL)
        fail(s, "a granted lock without a value");
    value_check(s, held->name, mode, value);
}

/* ------------------------------------------------------------------ clients */

static void drain(struct sim *s, uint16_t node);

static struct held *held_add(struct client *client, uint32_t name, grd_lock_id lock)
{
    struct held *held = &client->held[client->held_count++];

    cf_assert(client->held_count <= HELD_MAX);
    *held = (struct held){.lock = lock, .name = name, .mode = GRD_LOCK_NL};
    return held;
}

static void held_remove(struct client *client, uint32_t at)
{
    client->held[at] = client->held[--client->held_count];
}

static bool has_name(const struct client *client, uint32_t name)
{
    for (uint32_t h = 0; h < client->held_count; h++)
        if (client->held[h].name == name)
            return true;
    return false;
}

/* The checker learns of a write before the call: the grant it may let through must see it. */
static bool write_begin(struct sim *s, struct client *client, const struct held *held,
                        struct grd_lock_value *value)
{
    const struct grd_lock_value *now = grd_lock_local_value(s->nodes[client->node].local, held->lock);

    if (held->mode < GRD_LOCK_PW || cf_rng_chance(&s->rng, 0.3))
        return false;
    value_check(s, held->name, held->mode, now);
    value_make(s, value, ++s->stamp_last);
    truth_set(s, held->name, now->version + 1, true, s->stamp_last);
    return true;
}

static void client_unlock(struct sim *s, struct client *client, uint32_t at)
{
    struct held *held = &client->held[at];
    struct grd_lock_value value;
    bool writes = write_begin(s, client, held, &value);
    uint8_t flags = writes && cf_rng_chance(&s->rng, 0.2) ? GRD_LOCK_PUBLISH : 0;
    grd_lock_id lock = held->lock;
    enum cf_rc rc;

    held->mode = GRD_LOCK_NL;
    rc = grd_lock_local_unlock(s->nodes[client->node].local, lock, flags, writes ? &value : NULL, s->now_ns,
                               &s->actions);
    if (rc != CF_OK && rc != CF_PENDING)
        fail(s, "unlock answered %d", rc);
    if (grd_lock_local_unlock(s->nodes[client->node].local, lock, 0, NULL, s->now_ns, &s->actions) !=
        CF_NOT_HELD)
        fail(s, "unlocked twice");
    held_remove(client, at);
    if (rc == CF_PENDING)
        client->state = PUBLISHING;
}

static void client_want(struct sim *s, struct client *client)
{
    static const uint8_t flags_of[] = {
        0, 0, 0, 0, 0, 0, GRD_LOCK_TRY, GRD_LOCK_TRY | GRD_LOCK_NOTIFY, GRD_LOCK_HEAD};
    struct node *node = &s->nodes[client->node];
    struct grd_lock_want want = {.owner = client->node * 100u + client->number,
                                 .cookie = client->number,
                                 .mode = (uint8_t)cf_rng_below(&s->rng, GRD_LOCK_MODES),
                                 .flags = flags_of[cf_rng_below(&s->rng, sizeof flags_of)]};
    uint32_t name = (uint32_t)cf_rng_below(&s->rng, s->o.locks);
    struct held *held;
    grd_lock_id lock = 0;
    enum cf_rc rc;

    if (has_name(client, name))
        return;
    rc = grd_lock_local_want(node->local, node->handle[name], &want, s->now_ns, &s->actions, &lock);
    if (rc == CF_BUSY && (want.flags & GRD_LOCK_TRY)) {
        s->result.busy++;
        return;
    }
    if (rc != CF_OK && rc != CF_PENDING)
        fail(s, "want answered %d", rc);
    held = held_add(client, name, lock);
    client->want = want.mode;
    client->flags = want.flags;
    if (rc == CF_OK) {
        drain(s, client->node); /* others may have been granted or demoted within this call */
        granted(s, client, held, want.mode);
        return;
    }
    s->result.waits++;
    client->state = WAITING;
    client->at = client->held_count - 1;
}

static void client_convert(struct sim *s, struct client *client, uint32_t at)
{
    static const uint8_t flags_of[] = {0, 0, 0, GRD_LOCK_FIFO, GRD_LOCK_DEMOTE, GRD_LOCK_TRY};
    struct node *node = &s->nodes[client->node];
    struct held *held = &client->held[at];
    uint8_t mode = (uint8_t)cf_rng_below(&s->rng, GRD_LOCK_MODES), before = held->mode;
    uint8_t flags = flags_of[cf_rng_below(&s->rng, sizeof flags_of)];
    struct grd_lock_value value;
    bool writes = false;
    enum cf_rc rc;

    if (grd_lock_value_move(before, mode) == GRD_LOCK_WRITE_VALUE)
        writes = write_begin(s, client, held, &value);
    if (grd_lock_covers(before, mode))
        held->mode = mode; /* down: from here on others may be granted */
    else if (flags & GRD_LOCK_DEMOTE)
        held->mode = GRD_LOCK_NL;
    rc = grd_lock_local_convert(node->local, held->lock, mode, flags, writes ? &value : NULL, s->now_ns,
                                &s->actions);
    client->before = before;
    client->want = mode;
    client->flags = flags;
    client->at = at;
    if (rc == CF_OK) {
        held->mode = GRD_LOCK_NL;
        drain(s, client->node);
        granted(s, client, held, mode);
    } else if (rc == CF_PENDING) {
        s->result.waits++;
        client->state = CONVERTING;
    } else if ((rc == CF_BUSY && (flags & GRD_LOCK_TRY)) || (rc == CF_DEADLOCK && before != GRD_LOCK_NL)) {
        s->result.deadlocks += rc == CF_DEADLOCK;
        held->mode = before;
        if (rc == CF_DEADLOCK)
            client_unlock(s, client, at);
    } else {
        fail(s, "convert %s to %s answered %d", grd_lock_mode_name(before), grd_lock_mode_name(mode), rc);
    }
}

static void client_swap(struct sim *s, struct client *client)
{
    struct node *node = &s->nodes[client->node];
    uint32_t name = (uint32_t)cf_rng_below(&s->rng, s->o.locks);
    uint64_t expected = s->truth[name].version - (cf_rng_chance(&s->rng, 0.2) && s->truth[name].version > 0);
    struct grd_lock_value value;
    enum cf_rc rc;

    if (cf_rng_chance(&s->rng, 0.3)) {
        rc = grd_lock_local_read(node->local, node->handle[name], client->number, s->now_ns, &s->actions);
        if (rc == CF_PENDING)
            client->state = READING;
        client->name = name;
        return;
    }
    value_make(s, &value, ++s->stamp_last);
    client->stamp = s->stamp_last;
    client->name = name;
    rc = grd_lock_local_swap(node->local, node->handle[name], expected, &value, client->number, s->now_ns,
                             &s->actions);
    if (rc == CF_OK) {
        if (expected != s->truth[name].version)
            fail(s, "lock %u: swapped from version %" PRIu64, name, expected);
        truth_set(s, name, expected + 1, true, client->stamp);
    } else if (rc == CF_PENDING) {
        client->state = SWAPPING;
    } else if (rc != CF_BUSY && rc != CF_AGAIN &&
               (rc != CF_VALUE_CHANGED || expected == s->truth[name].version)) {
        fail(s, "swap answered %d", rc);
    }
}

static void swap_done(struct sim *s, struct client *client, const struct grd_lock_done *done)
{
    bool is_stored = truth_has(&s->truth[client->name], client->stamp);

    client->state = IDLE;
    if ((done->rc == CF_OK) != is_stored && s->truth[client->name].version < HISTORY_MAX)
        fail(s, "lock %u: swap answered %d, stored %d", client->name, done->rc, is_stored);
    s->result.swaps_done += done->rc == CF_OK;
    s->result.swaps_changed += done->rc == CF_VALUE_CHANGED;
    value_check(s, client->name, GRD_LOCK_NL, done->value);
}

static void wait_done(struct sim *s, struct client *client, const struct grd_lock_done *done)
{
    struct held *held = &client->held[client->at];
    bool is_conversion = client->state == CONVERTING;

    if (held->lock != done->lock)
        fail(s, "a completion of another lock");
    client->state = IDLE;
    if (done->rc == CF_OK) {
        granted(s, client, held, client->want);
        return;
    }
    s->result.busy += done->rc == CF_BUSY;
    s->result.cancelled += done->rc == CF_CANCELLED;
    s->result.deadlocks += done->rc == CF_DEADLOCK;
    if (done->rc == CF_BUSY && !(client->flags & GRD_LOCK_TRY))
        fail(s, "busy without try");
    if (done->rc == CF_DEADLOCK && !s->o.has_detector && (!is_conversion || client->before == GRD_LOCK_NL))
        fail(s, "a deadlock that cannot be");
    client->gives_up = done->rc == CF_DEADLOCK;
    if (done->is_held != is_conversion)
        fail(s, "held %d after a failed %s", done->is_held, is_conversion ? "conversion" : "request");
    if (is_conversion)
        granted(s, client, held, done->mode);
    else
        held_remove(client, client->at);
}

static void drain(struct sim *s, uint16_t node)
{
    struct grd_lock_done done;
    struct grd_lock_resource *resource;
    uint8_t mode;

    while (s->nodes[node].is_alive && grd_lock_local_next_done(s->nodes[node].local, &done)) {
        struct client *client = &s->nodes[node].clients[done.cookie];

        switch (client->state) {
        case WAITING:
        case CONVERTING:
            wait_done(s, client, &done);
            break;
        case SWAPPING:
            swap_done(s, client, &done);
            break;
        case PUBLISHING:
        case READING:
            if (done.rc != CF_OK)
                fail(s, "publish or read answered %d", done.rc);
            if (client->state == READING)
                value_check(s, client->name, GRD_LOCK_NL, done.value);
            client->state = IDLE;
            break;
        case IDLE:
            fail(s, "a completion that nobody waits for");
        }
    }
    while (grd_lock_local_next_wanted(s->nodes[node].local, &resource, &mode))
        cf_assert(mode != GRD_LOCK_NL);
    act(s, node);
}

static void client_turn(struct sim *s, struct client *client)
{
    struct grd_lock_local *local = s->nodes[client->node].local;

    if (client->state == WAITING || client->state == CONVERTING) {
        if (s->o.has_cancels && cf_rng_chance(&s->rng, 0.01) &&
            grd_lock_local_cancel(local, client->held[client->at].lock, CF_CANCELLED, s->now_ns,
                                  &s->actions) != CF_OK)
            fail(s, "a wait that could not be cancelled");
    } else if (client->state == IDLE) {
        if (client->held_count > 0 && (s->is_ending || client->gives_up)) {
            client_unlock(s, client, 0);
        } else if (s->is_ending || !cf_rng_chance(&s->rng, 0.3)) {
            client->gives_up = false;
            return;
        } else if (client->held_count > 0 && cf_rng_chance(&s->rng, 0.4)) {
            client_unlock(s, client, (uint32_t)cf_rng_below(&s->rng, client->held_count));
        } else if (client->held_count > 0 && cf_rng_chance(&s->rng, 0.4)) {
            client_convert(s, client, (uint32_t)cf_rng_below(&s->rng, client->held_count));
        } else if (s->o.has_swaps && cf_rng_chance(&s->rng, 0.15)) {
            client_swap(s, client);
        } else if (client->held_count < s->o.locks_each) {
            client_want(s, client);
        }
        if (client->held_count == 0)
            client->gives_up = false;
    }
    act(s, client->node);
    drain(s, client->node);
}

/* ------------------------------------------------------------------ steps */

static bool is_for_master(uint16_t type)
{
    return type == GRD_MSG_LOCK_REQUEST || type == GRD_MSG_LOCK_CANCEL || type == GRD_MSG_LOCK_DOWN ||
           type == GRD_MSG_LOCK_IN_USE || type == GRD_MSG_LOCK_SWAP || type == GRD_MSG_LOCK_READ;
}

static uint32_t name_of(const struct sim *s, const struct cf_block_key *key)
{
    uint32_t name = 0;

    while (!grd_key_equal(&s->keys[name], key))
        name++;
    return name;
}

/* A swap is carried out here: what the master has afterwards is the newest there is. */
static void master_deliver(struct sim *s, struct node *node, const struct grd_msg *msg)
{
    uint64_t hash = grd_map_hash(&s->map, &msg->key);
    const struct grd_lock_value *value = grd_lock_master_value(node->master, &msg->key, hash);
    uint64_t before = value ? value->version : 0;

    grd_lock_master_step(node->master, msg, hash, s->now_ns, &s->actions);
    value = grd_lock_master_value(node->master, &msg->key, hash);
    if (msg->type == GRD_MSG_LOCK_SWAP && value && value->version != before)
        truth_set(s, name_of(s, &msg->key), value->version, value->is_valid, stamp_of(s, value));
}

static void deliver(struct sim *s, const struct flight *flight)
{
    struct node *node = &s->nodes[flight->to];
    static struct grd_msg msg;

    if (!node->is_alive || !s->nodes[flight->from].is_alive)
        return;
    memset(&msg, 0x5a, sizeof msg);
    if (!grd_msg_decode(flight->type, flight->body, flight->bytes, s->o.nodes, &msg))
        fail(s, "a %s that does not decode", grd_msg_name(flight->type));
    msg.from = flight->from;
    if (is_for_master(msg.type))
        master_deliver(s, node, &msg);
    else
        grd_lock_local_step(node->local, &msg, s->now_ns, &s->actions);
    act(s, flight->to);
    drain(s, flight->to);
}

static void timers(struct sim *s, uint16_t n)
{
    struct node *node = &s->nodes[n];

    while (grd_lock_local_tick(node->local, s->now_ns, &s->actions))
        act(s, n);
    while (node->master && grd_lock_master_tick(node->master, s->now_ns, &s->actions))
        act(s, n);
}

static void crash(struct sim *s)
{
    uint16_t dead = (uint16_t)(s->o.nodes - 1);
    uint8_t held[LOCKS_MAX] = {0};

    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);

        if (!grd_lock_master_holds(s->nodes[grd_map_master(&s->map, hash)].master, &s->keys[name], hash, dead,
                                   &held[name]))
            held[name] = GRD_LOCK_NL;
    }
    s->nodes[dead].is_alive = false;
    for (uint16_t n = 0; n < s->o.masters; n++) {
        uint32_t cursor = 0;

        while (grd_lock_master_remove_instance(s->nodes[n].master, dead, &cursor, s->now_ns, &s->actions))
            act(s, n);
    }
    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);
        const struct grd_lock_value *value = grd_lock_master_value(
            s->nodes[grd_map_master(&s->map, hash)].master, &s->keys[name], hash);

        if (held[name] < GRD_LOCK_PW)
            continue;
        if (value == NULL || value->is_valid)
            fail(s, "lock %u: the value of a writer that died is valid", name);
        /* What it had not given back is lost, and its version may be given anew. */
        if (s->truth[name].version >= value->version)
            s->truth[name].version = value->version - 1;
        truth_set(s, name, value->version, false, stamp_of(s, value));
    }
}

/* ------------------------------------------------------------------ deadlocks across locks */

/*
 * Who could still go on if everybody who does not wait unlocked: all others are stuck. Everybody who holds what
 * conflicts, or waits for the same lock, may be in the way, so that nobody who is stuck is missed.
 */
static bool is_stuck(struct sim *s, uint64_t owner)
{
    bool goes[NODES_MAX * 100] = {false}, moved = true;

    while (moved) {
        moved = false;
        for (uint32_t a = 0; a < s->o.nodes * s->o.clients; a++) {
            struct client *client = &s->nodes[a / s->o.clients].clients[a % s->o.clients];
            uint32_t id = client->node * 100u + client->number;
            bool can = true;

            if (goes[id])
                continue;
            for (uint32_t b = 0;
                 (client->state == WAITING || client->state == CONVERTING) && b < s->o.nodes * s->o.clients;
                 b++) {
                struct client *other = &s->nodes[b / s->o.clients].clients[b % s->o.clients];
                bool waits = other->state == WAITING || other->state == CONVERTING;

                if (other == client || goes[other->node * 100u + other->number])
                    continue;
                for (uint32_t h = 0; h < other->held_count; h++)
                    if (other->held[h].name == client->held[client->at].name &&
                        ((waits && h == other->at) ||
                         !grd_lock_compatible(other->held[h].mode, client->want)))
                        can = false;
            }
            goes[id] = can;
            moved = moved || can;
        }
    }
    return !goes[owner];
}

static void detect_victims(struct sim *s)
{
    struct grd_detect_victim victim;
    struct grd_detect_step steps[32];

    grd_detect_resolve(s->detect);
    while (grd_detect_victim_next(s->detect, &victim, steps, 32)) {
        struct node *node = &s->nodes[victim.node];
        grd_lock_id lock = grd_lock_local_waiter(node->local, victim.wait);

        if (!node->is_alive || lock == 0)
            continue;
        if (!is_stuck(s, victim.owner))
            fail(s, "owner %" PRIu64 " was made a victim, and is in no deadlock", victim.owner);
        s->result.victims++;
        if (victim.cycle_length > s->result.max_cycle)
            s->result.max_cycle = victim.cycle_length;
        if (grd_lock_local_cancel(node->local, lock, CF_DEADLOCK, s->now_ns, &s->actions) != CF_OK)
            fail(s, "a victim that could not be told");
        act(s, victim.node);
        drain(s, victim.node);
    }
}

static void detect_round(struct sim *s)
{
    static struct grd_detect_report reports[REPORTS_MAX];
    uint64_t before_ns = s->now_ns - TURN_NS * 2, cursor;

    grd_detect_round_begin(s->detect);
    for (uint16_t n = 0; n < s->o.nodes; n++) {
        struct node *node = &s->nodes[n];

        if (!node->is_alive)
            continue;
        cursor = 0;
        do { /* small parts, so that the cursor is used */
            uint32_t count = grd_lock_local_waits(node->local, s->now_ns, before_ns, &cursor, reports, 3);
            grd_detect_round_report(s->detect, reports, count);
        } while (cursor != 0);
        cursor = 0;
        while (node->master) {
            uint32_t count = grd_lock_master_waits(node->master, before_ns, &cursor, reports, 5);

            grd_detect_round_report(s->detect, reports, count);
            if (cursor == 0)
                break;
        }
        for (uint32_t name = 0; name < s->o.locks; name++)
            grd_detect_round_report(s->detect, reports,
                                    grd_lock_local_stakes(node->local, &s->keys[name], reports, REPORTS_MAX));
    }
    grd_detect_round_end(s->detect);
    if (++s->rounds > 1)
        detect_victims(s);
}

/* ------------------------------------------------------------------ run */

static void detect_open(struct sim *s)
{
    struct grd_detect_options options = {.vertices_max = 4096, .edges_max = 16384, .seed = 3};
    uint64_t bytes = grd_detect_bytes(options.vertices_max, options.edges_max);

    for (uint32_t mode = 0; mode < GRD_LOCK_MODES; mode++)
        options.conflicts[mode] = grd_lock_conflicts[mode];
    options.conflicts[GRD_LOCK_ANY] = 0xff;
    s->arena = aligned_alloc(CF_CACHE_LINE, (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE);
    cf_assert(s->arena != NULL);
    if (grd_detect_open(&options, s->arena, bytes, &s->detect) != CF_OK)
        fail(s, "no detector");
}

static void node_open(struct sim *s, uint16_t n)
{
    struct grd_lock_local_options local = {.node = n,
                                           .resources = s->o.locks,
                                           .claims = s->o.clients * (HELD_MAX + 1),
                                           .calls = 4,
                                           .resend_ns = 4000000,
                                           .wheel_tick_ns = TURN_NS,
                                           .seed = n,
                                           .epoch = 1,
                                           .map = &s->map,
                                           .allocator = cf_allocator_default()};
    struct grd_lock_master_options master = {.node = n,
                                             .nodes = s->o.nodes,
                                             .resources = s->o.locks,
                                             .claims = s->o.locks * s->o.nodes,
                                             .demand_ns = 8000000,
                                             .epoch = 1,
                                             .seed = n,
                                             .wheel_tick_ns = TURN_NS,
                                             .allocator = cf_allocator_default()};
    struct node *node = &s->nodes[n];

    node->is_alive = true;
    if (grd_lock_local_open(&local, &node->local) != CF_OK ||
        (n < s->o.masters && grd_lock_master_open(&master, &node->master) != CF_OK))
        fail(s, "no memory");
    for (uint32_t name = 0; name < s->o.locks; name++)
        if (grd_lock_local_attach(node->local, &s->names[name], &node->handle[name]) != CF_OK)
            fail(s, "no handle");
    for (uint32_t c = 0; c < s->o.clients; c++) {
        node->clients[c].node = n;
        node->clients[c].number = c;
    }
}

static void open_all(struct sim *s)
{
    static const uint16_t members[NODES_MAX] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct cf_hash_key key = {{1, 2, 3}};

    cf_rng_seed(&s->rng, s->o.seed);
    if (grd_map_open(&key, 1, 64, 1, members, s->o.masters, cf_allocator_default(), &s->map) != CF_OK)
        fail(s, "no map");
    for (uint32_t name = 0; name < s->o.locks; name++) {
        grd_lock_name_ids(7, name, s->o.seed, &s->names[name]);
        grd_lock_key(&key, &s->names[name], &s->keys[name]);
        s->truth[name].is_valid = true;
    }
    for (uint16_t n = 0; n < s->o.nodes; n++)
        node_open(s, n);
    if (s->o.has_detector)
        detect_open(s);
}

static void turn(struct sim *s)
{
    struct flight flight;

    s->now_ns += TURN_NS;
    while (s->flights_count > 0 && s->flights[0].due_ns <= s->now_ns) {
        flight_pop(s, &flight);
        deliver(s, &flight);
    }
    for (uint16_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        timers(s, n);
        for (uint32_t c = 0; c < s->o.clients; c++)
            client_turn(s, &s->nodes[n].clients[c]);
    }
    if (s->detect && s->now_ns / TURN_NS % DETECT_TURNS == 0)
        detect_round(s);
}

static void check_all(struct sim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        grd_lock_local_check(s->nodes[n].local);
        if (s->nodes[n].master)
            grd_lock_master_check(s->nodes[n].master);
    }
}

static bool is_quiet(const struct sim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++)
        for (uint32_t c = 0; s->nodes[n].is_alive && c < s->o.clients; c++)
            if (s->nodes[n].clients[c].state != IDLE || s->nodes[n].clients[c].held_count > 0)
                return false;
    return true;
}

static bool is_empty(const struct sim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        struct grd_lock_local_use use = grd_lock_local_used(s->nodes[n].local);

        if (s->nodes[n].is_alive && (use.resources || use.claims || use.calls))
            return false;
    }
    return true;
}

/* I-16 and I-28: without faults everything ends, and every pool is as it was. */
static void end_all(struct sim *s)
{
    uint32_t turns;

    s->is_faulty = false;
    s->is_ending = true;
    for (turns = 0; !is_quiet(s); turns++) {
        if (turns == QUIET_TURNS_MAX)
            fail(s, "a request that does not end");
        turn(s);
    }
    for (uint16_t n = 0; n < s->o.nodes; n++)
        for (uint32_t name = 0; s->nodes[n].is_alive && name < s->o.locks; name++) {
            grd_lock_local_detach(s->nodes[n].local, s->nodes[n].handle[name], s->now_ns, &s->actions);
            act(s, n);
        }
    for (turns = 0; !is_empty(s) || s->flights_count > 0; turns++) {
        if (turns == QUIET_TURNS_MAX)
            fail(s, "something is left in a pool of an instance");
        turn(s);
    }
    for (uint32_t n = 0; n < s->o.masters; n++) {
        struct grd_lock_master_use use = grd_lock_master_used(s->nodes[n].master);

        if (use.claims || use.resources || use.timers)
            fail(s, "something is left at master %u", n);
    }
    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);
        const struct grd_lock_value *value = grd_lock_master_value(
            s->nodes[grd_map_master(&s->map, hash)].master, &s->keys[name], hash);

        if (s->truth[name].version != (value ? value->version : 0))
            fail(s, "lock %u: the master has version %" PRIu64, name, value ? value->version : 0);
    }
}

struct lock_sim_options lock_sim_draw(uint64_t seed)
{
    struct lock_sim_options o = {.seed = seed, .turns = 1500};
    struct cf_rng rng;

    cf_rng_seed(&rng, seed ^ 0x10c);
    o.nodes = 2 + (uint32_t)cf_rng_below(&rng, 7);
    o.masters = 1 + (uint32_t)cf_rng_below(&rng, o.nodes - 1);
    o.locks = 1 + (uint32_t)cf_rng_below(&rng, cf_rng_chance(&rng, 0.5) ? 3 : LOCKS_MAX);
    o.clients = 1 + (uint32_t)cf_rng_below(&rng, CLIENTS_MAX);
    o.locks_each = 1;
    o.loss = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.3;
    o.dup = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.3;
    o.late = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.5;
    o.has_crash = cf_rng_chance(&rng, 0.4);
    o.has_swaps = cf_rng_chance(&rng, 0.5);
    o.has_cancels = cf_rng_chance(&rng, 0.5);
    return o;
}

void lock_sim_run(const struct lock_sim_options *options, struct lock_sim_result *result_out)
{
    struct sim *s = calloc(1, sizeof *s);

    cf_assert(s != NULL);
    s->o = *options;
    open_all(s);
    s->is_faulty = true;
    for (uint32_t i = 0; i < s->o.turns; i++) {
        if (s->o.has_crash && i == s->o.turns / 2)
            crash(s);
        turn(s);
        if (i % 16 == 0)
            check_all(s);
    }
    end_all(s);
    check_all(s);
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        struct grd_lock_local_counters counts = grd_lock_local_counts(s->nodes[n].local);

        s->result.cached += counts.cached;
        s->result.demoted += counts.demoted;
        if (s->nodes[n].master) {
            uint32_t most = grd_lock_master_counts(s->nodes[n].master).overtaken_max;

            s->result.overtaken_max = most > s->result.overtaken_max ? most : s->result.overtaken_max;
        }
        grd_lock_local_close(&s->nodes[n].local);
        grd_lock_master_close(&s->nodes[n].master);
    }
    grd_map_close(&s->map);
    *result_out = s->result;
    free(s->arena);
    free(s);
}
