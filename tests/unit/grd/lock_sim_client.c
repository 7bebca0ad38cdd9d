/* SPDX-License-Identifier: Apache-2.0 */
/* Clients: what they ask for at random, and what they make of the answers. */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>

#include "base/assert.h"

static struct lsim_held *held_add(struct lsim_client *client, uint32_t name, grd_lock_id lock)
{
    struct lsim_held *held = &client->held[client->held_count++];

    cf_assert(client->held_count <= LSIM_HELD_MAX);
    *held = (struct lsim_held){.lock = lock, .name = name, .mode = GRD_LOCK_NL};
    return held;
}

static void held_remove(struct lsim_client *client, uint32_t at)
{
    client->held[at] = client->held[--client->held_count];
}

static bool has_name(const struct lsim_client *client, uint32_t name)
{
    for (uint32_t h = 0; h < client->held_count; h++)
        if (client->held[h].name == name)
            return true;
    return false;
}

/* The checker learns of a write before the call: the grant it may let through must see it. */
static bool write_begin(struct lsim *s, struct lsim_client *client, const struct lsim_held *held,
                        struct grd_lock_value *value)
{
    const struct grd_lock_value *now = grd_lock_local_value(s->nodes[client->node].local, held->lock);

    if (held->mode < GRD_LOCK_PW || cf_rng_chance(&s->rng, 0.3))
        return false;
    lsim_value_check(s, held->name, held->mode, now);
    lsim_value_make(value, ++s->stamp_last);
    lsim_truth_set(s, held->name, now->version + 1, true, s->stamp_last);
    return true;
}

/* What was written is published at once, or marked not valid. */
static uint8_t write_flags(struct lsim *s, uint32_t name)
{
    uint8_t flags = cf_rng_chance(&s->rng, 0.2) ? GRD_LOCK_PUBLISH : 0;

    if (!cf_rng_chance(&s->rng, 0.1))
        return flags;
    s->truth[name].is_valid = false;
    return flags | GRD_LOCK_INVALIDATE;
}

static void client_unlock(struct lsim *s, struct lsim_client *client, uint32_t at)
{
    struct lsim_held *held = &client->held[at];
    struct grd_lock_value value;
    bool writes = write_begin(s, client, held, &value);
    uint8_t flags = writes ? write_flags(s, held->name) : 0;
    grd_lock_id lock = held->lock;
    enum cf_rc rc;

    held->mode = GRD_LOCK_NL;
    rc = grd_lock_local_unlock(s->nodes[client->node].local, lock, flags, writes ? &value : NULL, s->now_ns,
                               &s->actions);
    if (rc != CF_OK && rc != CF_PENDING)
        lsim_fail(s, "unlock answered %d", rc);
    if (grd_lock_local_unlock(s->nodes[client->node].local, lock, 0, NULL, s->now_ns, &s->actions) !=
        CF_NOT_HELD)
        lsim_fail(s, "unlocked twice");
    held_remove(client, at);
    if (rc == CF_PENDING)
        client->state = LSIM_PUBLISHING;
}

/* A lock by chance, with a handle. */
static uint32_t name_open(struct lsim *s, struct lsim_node *node)
{
    uint32_t name = (uint32_t)cf_rng_below(&s->rng, s->o.locks);

    if (node->handle[name] == NULL &&
        grd_lock_local_attach(node->local, &s->names[name], &node->handle[name]) != CF_OK)
        lsim_fail(s, "no handle");
    return name;
}

static bool is_held_here(const struct lsim *s, const struct lsim_node *node, uint32_t name)
{
    for (uint32_t c = 0; c < s->o.clients; c++)
        if (has_name(&node->clients[c], name))
            return true;
    return false;
}

/* Closes a handle that nobody holds a lock through; calls and values on their way may still be open. */
void lsim_handles_turn(struct lsim *s, uint16_t n)
{
    struct lsim_node *node = &s->nodes[n];
    uint32_t name = (uint32_t)cf_rng_below(&s->rng, s->o.locks);

    if (node->handle[name] == NULL || !cf_rng_chance(&s->rng, 0.2) || is_held_here(s, node, name))
        return;
    grd_lock_local_detach(node->local, node->handle[name], s->now_ns, &s->actions);
    node->handle[name] = NULL;
    lsim_act(s, n);
}

static void client_want(struct lsim *s, struct lsim_client *client)
{
    static const uint8_t flags_of[] = {
        0, 0, 0, 0, 0, 0, GRD_LOCK_TRY, GRD_LOCK_TRY | GRD_LOCK_NOTIFY, GRD_LOCK_HEAD};
    struct lsim_node *node = &s->nodes[client->node];
    struct grd_lock_want want = {.owner = client->node * 100u + client->number,
                                 .cookie = client->number,
                                 .mode = (uint8_t)cf_rng_below(&s->rng, GRD_LOCK_MODES),
                                 .flags = flags_of[cf_rng_below(&s->rng, sizeof flags_of)]};
    uint32_t name = name_open(s, node);
    struct lsim_held *held;
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
        lsim_fail(s, "want answered %d", rc);
    held = held_add(client, name, lock);
    client->want = want.mode;
    client->flags = want.flags;
    if (rc == CF_OK) {
        lsim_drain(s, client->node); /* others may have been granted or demoted within this call */
        lsim_granted(s, client, held, want.mode);
        return;
    }
    s->result.waits++;
    client->state = LSIM_WAITING;
    client->at = client->held_count - 1;
}

static void client_convert(struct lsim *s, struct lsim_client *client, uint32_t at)
{
    static const uint8_t flags_of[] = {0, 0, 0, GRD_LOCK_FIFO, GRD_LOCK_DEMOTE, GRD_LOCK_TRY};
    struct lsim_node *node = &s->nodes[client->node];
    struct lsim_held *held = &client->held[at];
    uint8_t mode = (uint8_t)cf_rng_below(&s->rng, GRD_LOCK_MODES), before = held->mode;
    uint8_t flags = flags_of[cf_rng_below(&s->rng, sizeof flags_of)];
    struct grd_lock_value value;
    bool writes = false;
    enum cf_rc rc;

    if (grd_lock_value_move(before, mode) == GRD_LOCK_WRITE_VALUE)
        writes = write_begin(s, client, held, &value);
    if (writes)
        flags = write_flags(s, held->name);
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
        lsim_drain(s, client->node);
        lsim_granted(s, client, held, mode);
    } else if (rc == CF_PENDING && grd_lock_covers(before, mode)) {
        client->state = LSIM_PUBLISHING;
    } else if (rc == CF_PENDING) {
        s->result.waits++;
        client->state = LSIM_CONVERTING;
    } else if ((rc == CF_BUSY && (flags & GRD_LOCK_TRY)) || (rc == CF_DEADLOCK && before != GRD_LOCK_NL)) {
        s->result.deadlocks += rc == CF_DEADLOCK;
        held->mode = before;
        if (rc == CF_DEADLOCK)
            client_unlock(s, client, at);
    } else {
        lsim_fail(s, "convert %s to %s answered %d", grd_lock_mode_name(before), grd_lock_mode_name(mode),
                  rc);
    }
}

const struct lsim_client *lsim_client_swapping(const struct lsim *s, uint16_t node, uint32_t name,
                                               uint64_t stamp)
{
    for (uint32_t c = 0; c < s->o.clients; c++) {
        const struct lsim_client *client = &s->nodes[node].clients[c];

        if (client->state == LSIM_SWAPPING && client->name == name && client->stamp == stamp)
            return client;
    }
    return NULL;
}

static void client_swap(struct lsim *s, struct lsim_client *client)
{
    struct lsim_node *node = &s->nodes[client->node];
    uint32_t name = name_open(s, node);
    uint64_t expected = s->truth[name].version - (cf_rng_chance(&s->rng, 0.2) && s->truth[name].version > 0);
    struct grd_lock_value value;
    enum cf_rc rc;

    if (cf_rng_chance(&s->rng, 0.3)) {
        rc = grd_lock_local_read(node->local, node->handle[name], client->number, s->now_ns, &s->actions);
        if (rc == CF_PENDING)
            client->state = LSIM_READING;
        client->name = name;
        return;
    }
    lsim_value_make(&value, ++s->stamp_last);
    client->stamp = s->stamp_last;
    client->expected = expected;
    client->name = name;
    rc = grd_lock_local_swap(node->local, node->handle[name], expected, &value, client->number, s->now_ns,
                             &s->actions);
    if (rc == CF_OK) {
        if (expected != s->truth[name].version)
            lsim_fail(s, "lock %u: swapped from version %" PRIu64, name, expected);
        lsim_truth_set(s, name, expected + 1, true, client->stamp);
    } else if (rc == CF_PENDING) {
        client->state = LSIM_SWAPPING;
    } else if (rc != CF_BUSY && rc != CF_AGAIN &&
               (rc != CF_VALUE_CHANGED || expected == s->truth[name].version)) {
        lsim_fail(s, "swap answered %d", rc);
    }
}

static void swap_done(struct lsim *s, struct lsim_client *client, const struct grd_lock_done *done)
{
    bool is_stored = lsim_truth_has(&s->truth[client->name], client->stamp);

    client->state = LSIM_IDLE;
    if (done->rc == CF_OK && !is_stored && done->value->version == client->expected + 1 &&
        s->truth[client->name].version == client->expected) {
        /* tried again when this instance had the lock itself */
        lsim_truth_set(s, client->name, done->value->version, true, client->stamp);
        is_stored = true;
    }
    if ((done->rc == CF_OK) != is_stored && s->truth[client->name].version < LSIM_HISTORY_MAX)
        lsim_fail(s, "lock %u: swap answered %d, stored %d", client->name, done->rc, is_stored);
    s->result.swaps_done += done->rc == CF_OK;
    s->result.swaps_changed += done->rc == CF_VALUE_CHANGED;
    lsim_value_check(s, client->name, GRD_LOCK_NL, done->value);
}

static void wait_done(struct lsim *s, struct lsim_client *client, const struct grd_lock_done *done)
{
    struct lsim_held *held = &client->held[client->at];
    bool is_conversion = client->state == LSIM_CONVERTING;

    if (held->lock != done->lock)
        lsim_fail(s, "a completion of another lock");
    client->state = LSIM_IDLE;
    if (done->rc == CF_OK) {
        lsim_granted(s, client, held, client->want);
        return;
    }
    s->result.busy += done->rc == CF_BUSY;
    s->result.full += done->rc == CF_AGAIN;
    s->result.cancelled += done->rc == CF_CANCELLED;
    s->result.deadlocks += done->rc == CF_DEADLOCK;
    if (done->rc == CF_BUSY && !(client->flags & GRD_LOCK_TRY))
        lsim_fail(s, "busy without try");
    if (done->rc == CF_DEADLOCK && !s->o.has_detector && (!is_conversion || client->before == GRD_LOCK_NL))
        lsim_fail(s, "a deadlock that cannot be");
    client->gives_up = done->rc == CF_DEADLOCK;
    if (done->is_held != is_conversion)
        lsim_fail(s, "held %d after a failed %s", done->is_held, is_conversion ? "conversion" : "request");
    if (is_conversion)
        lsim_granted(s, client, held, done->mode);
    else
        held_remove(client, client->at);
}

void lsim_drain(struct lsim *s, uint16_t node)
{
    struct grd_lock_done done;
    struct grd_lock_resource *resource;
    uint8_t mode;

    while (s->nodes[node].is_alive && grd_lock_local_next_done(s->nodes[node].local, &done)) {
        struct lsim_client *client = &s->nodes[node].clients[done.cookie];

        switch (client->state) {
        case LSIM_WAITING:
        case LSIM_CONVERTING:
            wait_done(s, client, &done);
            break;
        case LSIM_SWAPPING:
            swap_done(s, client, &done);
            break;
        case LSIM_PUBLISHING:
        case LSIM_READING:
            if (done.rc != CF_OK)
                lsim_fail(s, "publish or read answered %d", done.rc);
            if (client->state == LSIM_READING)
                lsim_value_check(s, client->name, GRD_LOCK_NL, done.value);
            client->state = LSIM_IDLE;
            break;
        case LSIM_IDLE:
            lsim_fail(s, "a completion that nobody waits for");
        }
    }
    while (grd_lock_local_next_wanted(s->nodes[node].local, &resource, &mode))
        cf_assert(mode != GRD_LOCK_NL);
    lsim_act(s, node);
}

void lsim_client_turn(struct lsim *s, struct lsim_client *client)
{
    struct grd_lock_local *local = s->nodes[client->node].local;

    if (client->state == LSIM_WAITING || client->state == LSIM_CONVERTING) {
        if (s->o.has_cancels && cf_rng_chance(&s->rng, 0.01) &&
            grd_lock_local_cancel(local, client->held[client->at].lock, CF_CANCELLED, s->now_ns,
                                  &s->actions) != CF_OK)
            lsim_fail(s, "a wait that could not be cancelled");
    } else if (client->state == LSIM_IDLE) {
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
    lsim_act(s, client->node);
    lsim_drain(s, client->node);
}
