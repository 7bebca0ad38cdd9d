/* SPDX-License-Identifier: Apache-2.0 */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "base/assert.h"

static void node_open(struct lsim *s, uint16_t n)
{
    struct grd_lock_local_options local = {.node = n,
                                           .resources = s->o.locks,
                                           .claims = s->o.clients * (LSIM_HELD_MAX + 1),
                                           .calls = 4,
                                           .resend_ns = 4000000,
                                           .wheel_tick_ns = LSIM_TURN_NS,
                                           .seed = n,
                                           .epoch = 1,
                                           .map = &s->map,
                                           .allocator = cf_allocator_default()};
    struct grd_lock_master_options master = {.node = n,
                                             .nodes = s->o.nodes,
                                             .resources = s->o.is_tight ? s->o.locks / 3 + 1 : s->o.locks,
                                             .claims = s->o.is_tight ? s->o.locks + 1
                                                                     : s->o.locks * s->o.nodes,
                                             .demand_ns = 8000000,
                                             .epoch = 1,
                                             .seed = n,
                                             .wheel_tick_ns = LSIM_TURN_NS,
                                             .allocator = cf_allocator_default()};
    struct lsim_node *node = &s->nodes[n];

    node->is_alive = true;
    if (grd_lock_local_open(&local, &node->local) != CF_OK ||
        (n < s->o.masters && grd_lock_master_open(&master, &node->master) != CF_OK))
        lsim_fail(s, "no memory");
    for (uint32_t name = 0; name < s->o.locks; name++)
        if (grd_lock_local_attach(node->local, &s->names[name], &node->handle[name]) != CF_OK)
            lsim_fail(s, "no handle");
    for (uint32_t c = 0; c < s->o.clients; c++) {
        node->clients[c].node = n;
        node->clients[c].number = c;
    }
}

static void open_all(struct lsim *s)
{
    static const uint16_t members[LSIM_NODES_MAX] = {0, 1, 2, 3, 4, 5, 6, 7};
    struct cf_hash_key key = {{1, 2, 3}};

    cf_rng_seed(&s->rng, s->o.seed);
    if (grd_map_open(&key, 1, 64, 1, members, s->o.masters, cf_allocator_default(), &s->map) != CF_OK)
        lsim_fail(s, "no map");
    for (uint32_t name = 0; name < s->o.locks; name++) {
        grd_lock_name_ids(7, name, s->o.seed, &s->names[name]);
        grd_lock_key(&key, &s->names[name], &s->keys[name]);
        s->truth[name].is_valid = true;
    }
    for (uint16_t n = 0; n < s->o.nodes; n++)
        node_open(s, n);
    if (s->o.has_detector)
        lsim_detect_open(s);
}

void lsim_turn(struct lsim *s)
{
    s->now_ns += LSIM_TURN_NS;
    lsim_deliver_due(s);
    for (uint16_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        lsim_timers(s, n);
        if (s->o.has_resets && s->is_faulty && cf_rng_chance(&s->rng, 0.002))
            grd_lock_local_reset(s->nodes[n].local, s->now_ns);
        if (s->o.has_handles && !s->is_ending)
            lsim_handles_turn(s, n);
        for (uint32_t c = 0; c < s->o.clients; c++)
            lsim_client_turn(s, &s->nodes[n].clients[c]);
    }
    if (s->detect && s->now_ns / LSIM_TURN_NS % LSIM_DETECT_TURNS == 0)
        lsim_detect_round(s);
    if (s->detect && !s->is_faulty)
        lsim_detect_bound(s);
}

static void check_all(struct lsim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        if (!s->nodes[n].is_alive)
            continue;
        grd_lock_local_check(s->nodes[n].local);
        if (s->nodes[n].master)
            grd_lock_master_check(s->nodes[n].master);
    }
}

static bool is_quiet(const struct lsim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++)
        for (uint32_t c = 0; s->nodes[n].is_alive && c < s->o.clients; c++)
            if (s->nodes[n].clients[c].state != LSIM_IDLE || s->nodes[n].clients[c].held_count > 0)
                return false;
    return true;
}

static bool is_empty(const struct lsim *s)
{
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        struct grd_lock_local_use use = grd_lock_local_used(s->nodes[n].local);

        if (s->nodes[n].is_alive && (use.resources || use.claims || use.calls))
            return false;
    }
    return true;
}

/* I-16 and I-28: without faults everything ends, and every pool is as it was. */
static void end_all(struct lsim *s)
{
    uint32_t turns;

    s->is_faulty = false;
    s->is_ending = true;
    for (turns = 0; !is_quiet(s); turns++) {
        if (turns == LSIM_QUIET_TURNS_MAX)
            lsim_fail(s, "a request that does not end");
        lsim_turn(s);
    }
    for (uint16_t n = 0; n < s->o.nodes; n++)
        for (uint32_t name = 0; s->nodes[n].is_alive && name < s->o.locks; name++) {
            if (s->nodes[n].handle[name] == NULL)
                continue;
            grd_lock_local_detach(s->nodes[n].local, s->nodes[n].handle[name], s->now_ns, &s->actions);
            lsim_act(s, n);
        }
    for (turns = 0; !is_empty(s) || s->flights_count > 0; turns++) {
        if (turns == LSIM_QUIET_TURNS_MAX)
            lsim_fail(s, "something is left in a pool of an instance");
        lsim_turn(s);
    }
    for (uint32_t n = 0; n < s->o.masters; n++) {
        struct grd_lock_master_use use = grd_lock_master_used(s->nodes[n].master);

        if (use.claims || use.resources || use.timers)
            lsim_fail(s, "something is left at master %u", n);
    }
    for (uint32_t name = 0; name < s->o.locks; name++) {
        uint64_t hash = grd_map_hash(&s->map, &s->keys[name]);
        const struct grd_lock_value *value = grd_lock_master_value(
            s->nodes[grd_map_master(&s->map, hash)].master, &s->keys[name], hash);

        if (value && s->truth[name].version != value->version)
            lsim_fail(s, "lock %u: the master has version %" PRIu64, name, value->version);
        if (value == NULL && s->truth[name].stamp != 0 && !s->o.is_tight)
            lsim_fail(s, "lock %u: its value is forgotten", name);
    }
}

struct lock_sim_options lock_sim_draw(uint64_t seed)
{
    struct lock_sim_options o = {.seed = seed, .turns = 1500};
    struct cf_rng rng;

    cf_rng_seed(&rng, seed ^ 0x10c);
    o.nodes = 2 + (uint32_t)cf_rng_below(&rng, 7);
    o.masters = 1 + (uint32_t)cf_rng_below(&rng, o.nodes - 1);
    o.locks = 1 + (uint32_t)cf_rng_below(&rng, cf_rng_chance(&rng, 0.5) ? 3 : LSIM_LOCKS_MAX);
    o.clients = 1 + (uint32_t)cf_rng_below(&rng, LSIM_CLIENTS_MAX);
    o.locks_each = 1;
    o.loss = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.3;
    o.dup = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.3;
    o.late = cf_rng_chance(&rng, 0.5) ? 0 : cf_rng_unit(&rng) * 0.5;
    o.has_crash = cf_rng_chance(&rng, 0.4);
    o.has_swaps = cf_rng_chance(&rng, 0.5);
    o.has_cancels = cf_rng_chance(&rng, 0.5);
    o.has_handles = cf_rng_chance(&rng, 0.5);
    o.is_tight = o.has_handles && cf_rng_chance(&rng, 0.5);
    o.has_resets = cf_rng_chance(&rng, 0.3);
    return o;
}

struct lock_sim_options lock_sim_draw_deadlocks(uint64_t seed)
{
    struct lock_sim_options o = lock_sim_draw(seed);

    o.locks_each = 2 + seed % 2;
    o.locks = 2 + (uint32_t)(seed % 5);
    o.has_detector = true;
    o.has_cancels = o.has_swaps = false;
    return o;
}

void lock_sim_run(const struct lock_sim_options *options, struct lock_sim_result *result_out)
{
    struct lsim *s = calloc(1, sizeof *s);

    cf_assert(s != NULL);
    s->o = *options;
    open_all(s);
    s->is_faulty = true;
    for (uint32_t i = 0; i < s->o.turns; i++) {
        if (s->o.has_crash && i == s->o.turns / 2)
            lsim_crash(s);
        lsim_turn(s);
        if (i % 16 == 0)
            check_all(s);
    }
    end_all(s);
    check_all(s);
    for (uint32_t n = 0; n < s->o.nodes; n++) {
        struct grd_lock_local_counters counts = grd_lock_local_counts(s->nodes[n].local);

        s->result.cached += counts.cached;
        s->result.demoted += counts.demoted;
        s->result.released += counts.released;
        if (s->nodes[n].master) {
            uint32_t most = grd_lock_master_counts(s->nodes[n].master).overtaken_max;

            s->result.forgotten += grd_lock_master_counts(s->nodes[n].master).forgotten;
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
