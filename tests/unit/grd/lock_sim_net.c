/* SPDX-License-Identifier: Apache-2.0 */
/* The network of the simulated cluster, and what happens when a message or a timer is due, or an instance dies. */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>
#include <string.h>

#include "base/assert.h"

/* ------------------------------------------------------------------ network: a heap by (due, number) */

static bool is_before(const struct lsim_flight *a, const struct lsim_flight *b)
{
    return a->due_ns < b->due_ns || (a->due_ns == b->due_ns && a->number < b->number);
}

static void flight_push(struct lsim *s, const struct lsim_flight *flight)
{
    uint32_t at = s->flights_count++;

    cf_assert(at < LSIM_FLIGHT_MAX);
    while (at > 0 && is_before(flight, &s->flights[(at - 1) / 2])) {
        s->flights[at] = s->flights[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    s->flights[at] = *flight;
}

static void flight_pop(struct lsim *s, struct lsim_flight *flight_out)
{
    struct lsim_flight last = s->flights[--s->flights_count];
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

static void send(struct lsim *s, uint16_t from, uint16_t to, const struct grd_msg *msg)
{
    struct lsim_flight flight = {.from = from, .to = to, .type = msg->type};
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

void lsim_act(struct lsim *s, uint16_t node)
{
    for (uint32_t i = 0; i < s->actions.count; i++) {
        cf_assert(s->actions.item[i].type == GRD_ACT_SEND);
        if (s->nodes[node].is_alive)
            send(s, node, s->actions.item[i].to, &s->actions.item[i].msg);
    }
    s->actions.count = 0;
}

/* ------------------------------------------------------------------ steps */

static bool is_for_master(uint16_t type)
{
    return type == GRD_MSG_LOCK_REQUEST || type == GRD_MSG_LOCK_CANCEL || type == GRD_MSG_LOCK_DOWN ||
           type == GRD_MSG_LOCK_IN_USE || type == GRD_MSG_LOCK_SWAP || type == GRD_MSG_LOCK_READ;
}

static uint32_t name_of(const struct lsim *s, const struct cf_block_key *key)
{
    uint32_t name = 0;

    while (!grd_key_equal(&s->keys[name], key))
        name++;
    return name;
}

/* A swap is carried out while somebody waits for it, on the version he named, and never once he was told its end. */
static void swapped(struct lsim *s, uint16_t from, uint32_t name, const struct grd_lock_value *value)
{
    uint64_t stamp = lsim_value_stamp(s, value);
    const struct lsim_client *client = lsim_client_swapping(s, from, name, stamp);

    if (stamp == 0) /* a record made for a swap that was not carried out */
        return;
    if (client == NULL)
        lsim_fail(s, "lock %u: a swap of node %u is carried out after its end", name, from);
    if (client->expected != s->truth[name].version)
        lsim_fail(s, "lock %u: swapped from version %" PRIu64, name, client->expected);
    lsim_truth_set(s, name, value->version, value->is_valid, stamp);
}

/* A swap is carried out here: what the master has afterwards is the newest there is. */
static void master_deliver(struct lsim *s, uint16_t to, const struct grd_msg *msg)
{
    struct lsim_node *node = &s->nodes[to];
    uint64_t hash = grd_map_hash(&s->map, &msg->key);
    const struct grd_lock_value *value = grd_lock_master_value(node->master, &msg->key, hash);
    uint64_t before = value ? value->version : 0;

    grd_lock_master_step(node->master, msg, hash, s->now_ns, &s->actions);
    value = grd_lock_master_value(node->master, &msg->key, hash);
    lsim_truth_note(s, to);
    if (msg->type == GRD_MSG_LOCK_SWAP && value && value->version != before)
        swapped(s, msg->from, name_of(s, &msg->key), value);
}

static void deliver(struct lsim *s, const struct lsim_flight *flight)
{
    struct lsim_node *node = &s->nodes[flight->to];
    static struct grd_msg msg;

    if (!node->is_alive || !s->nodes[flight->from].is_alive)
        return;
    memset(&msg, 0x5a, sizeof msg);
    if (!grd_msg_decode(flight->type, flight->body, flight->bytes, s->o.nodes, &msg))
        lsim_fail(s, "a %s that does not decode", grd_msg_name(flight->type));
    msg.from = flight->from;
    if (is_for_master(msg.type))
        master_deliver(s, flight->to, &msg);
    else
        grd_lock_local_step(node->local, &msg, s->now_ns, &s->actions);
    lsim_act(s, flight->to);
    lsim_drain(s, flight->to);
}

void lsim_timers(struct lsim *s, uint16_t n)
{
    struct lsim_node *node = &s->nodes[n];

    while (grd_lock_local_tick(node->local, s->now_ns, &s->actions)) {
        lsim_act(s, n);
        lsim_drain(s, n);
    }
    while (node->master && grd_lock_master_tick(node->master, s->now_ns, &s->actions))
        lsim_act(s, n);
}

void lsim_crash(struct lsim *s)
{
    uint16_t dead = (uint16_t)(s->o.nodes - 1);
    uint8_t held[LSIM_LOCKS_MAX] = {0};

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
            lsim_act(s, n);
    }
    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);
        const struct grd_lock_value *value = grd_lock_master_value(
            s->nodes[grd_map_master(&s->map, hash)].master, &s->keys[name], hash);

        if (held[name] < GRD_LOCK_PW)
            continue;
        if (value == NULL || value->is_valid)
            lsim_fail(s, "lock %u: the value of a writer that died is valid", name);
        /* What it had not given back is lost, and its version may be given anew. */
        if (s->truth[name].version >= value->version)
            s->truth[name].version = value->version - 1;
        lsim_truth_set(s, name, value->version, false, lsim_value_stamp(s, value));
    }
}

void lsim_deliver_due(struct lsim *s)
{
    struct lsim_flight flight;

    while (s->flights_count > 0 && s->flights[0].due_ns <= s->now_ns) {
        flight_pop(s, &flight);
        deliver(s, &flight);
    }
}
