/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks across locks: rounds of the detector, and whether its victims are in one. */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>
#include <stdlib.h>

#include "base/assert.h"

/*
 * Who could still go on if everybody who does not wait unlocked: all others are stuck. Everybody who holds what
 * conflicts, or waits for the same lock, may be in the way, so that nobody who is stuck is missed.
 */
static bool is_stuck(struct lsim *s, uint64_t owner)
{
    bool goes[LSIM_NODES_MAX * 100] = {false}, moved = true;

    while (moved) {
        moved = false;
        for (uint32_t a = 0; a < s->o.nodes * s->o.clients; a++) {
            struct lsim_client *client = &s->nodes[a / s->o.clients].clients[a % s->o.clients];
            uint32_t id = client->node * 100u + client->number;
            bool can = true;

            if (goes[id])
                continue;
            for (uint32_t b = 0; (client->state == LSIM_WAITING || client->state == LSIM_CONVERTING) &&
                                 b < s->o.nodes * s->o.clients;
                 b++) {
                struct lsim_client *other = &s->nodes[b / s->o.clients].clients[b % s->o.clients];
                bool waits = other->state == LSIM_WAITING || other->state == LSIM_CONVERTING;

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

static void detect_victims(struct lsim *s)
{
    struct grd_detect_victim victim;
    struct grd_detect_step steps[32];

    grd_detect_resolve(s->detect);
    while (grd_detect_victim_next(s->detect, &victim, steps, 32)) {
        struct lsim_node *node = &s->nodes[victim.node];
        grd_lock_id lock = grd_lock_local_waiter(node->local, victim.wait);

        if (!node->is_alive || lock == 0)
            continue;
        if (!is_stuck(s, victim.owner))
            lsim_fail(s, "owner %" PRIu64 " was made a victim, and is in no deadlock", victim.owner);
        s->result.victims++;
        if (victim.cycle_length > s->result.max_cycle)
            s->result.max_cycle = victim.cycle_length;
        if (grd_lock_local_cancel(node->local, lock, CF_DEADLOCK, s->now_ns, &s->actions) != CF_OK)
            lsim_fail(s, "a victim that could not be told");
        lsim_act(s, victim.node);
        lsim_drain(s, victim.node);
    }
}

void lsim_detect_round(struct lsim *s)
{
    static struct grd_detect_report reports[LSIM_REPORTS_MAX];
    uint64_t before_ns = s->now_ns - LSIM_TURN_NS * 2, cursor;

    grd_detect_round_begin(s->detect);
    for (uint16_t n = 0; n < s->o.nodes; n++) {
        struct lsim_node *node = &s->nodes[n];

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
            grd_detect_round_report(
                s->detect, reports,
                grd_lock_local_stakes(node->local, &s->keys[name], reports, LSIM_REPORTS_MAX));
    }
    grd_detect_round_end(s->detect);
    if (++s->rounds > 1)
        detect_victims(s);
}

void lsim_detect_open(struct lsim *s)
{
    struct grd_detect_options options = {.vertices_max = 4096, .edges_max = 16384, .seed = 3};
    uint64_t bytes = grd_detect_bytes(options.vertices_max, options.edges_max);

    for (uint32_t mode = 0; mode < GRD_LOCK_MODES; mode++)
        options.conflicts[mode] = grd_lock_conflicts[mode];
    options.conflicts[GRD_LOCK_ANY] = 0xff;
    s->arena = aligned_alloc(CF_CACHE_LINE, (bytes + CF_CACHE_LINE - 1) / CF_CACHE_LINE * CF_CACHE_LINE);
    cf_assert(s->arena != NULL);
    if (grd_detect_open(&options, s->arena, bytes, &s->detect) != CF_OK)
        lsim_fail(s, "no detector");
}
