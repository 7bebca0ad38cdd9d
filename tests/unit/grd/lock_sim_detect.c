/* SPDX-License-Identifier: Apache-2.0 */
/* Deadlocks across locks: rounds of the detector, and whether its victims are in one. */
#include "tests/unit/grd/lock_sim_impl.h"

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/assert.h"

/*
 * Who waits for what somebody holds who is stuck, and so on: those left when all who can go on have gone. Only what is
 * surely held counts, order in queues does not: whoever is stuck by this is in a deadlock or behind one.
 */
static void stuck_find(struct lsim *s, bool *goes)
{
    uint32_t clients = s->o.nodes * s->o.clients;
    bool moved = true;

    while (moved) {
        moved = false;
        for (uint32_t a = 0; a < clients; a++) {
            const struct lsim_client *client = lsim_client_at(s, a);
            bool can = true;

            if (goes[a])
                continue;
            for (uint32_t b = 0; lsim_client_waits(client) && b < clients; b++) {
                const struct lsim_client *other = lsim_client_at(s, b);

                for (uint32_t h = 0; b != a && !goes[b] && h < other->held_count; h++)
                    if (other->held[h].name == client->held[client->at].name &&
                        !grd_lock_compatible(other->held[h].mode, client->want))
                        can = false;
            }
            goes[a] = can;
            moved = moved || can;
        }
    }
}

/* I-15: no deadlock lives longer than the bound once faults have ceased. */
void lsim_detect_bound(struct lsim *s)
{
    bool goes[LSIM_NODES_MAX * LSIM_CLIENTS_MAX] = {false};

    stuck_find(s, goes);
    for (uint32_t a = 0; a < s->o.nodes * s->o.clients; a++) {
        struct lsim_client *client = lsim_client_at(s, a);

        if (goes[a]) {
            client->stuck_ns = 0;
            continue;
        }
        if (client->stuck_ns == 0)
            client->stuck_ns = s->now_ns;
        if (s->now_ns - client->stuck_ns > s->result.stuck_ns_max)
            s->result.stuck_ns_max = s->now_ns - client->stuck_ns;
        if (s->result.stuck_ns_max > LSIM_STUCK_NS_MAX)
            lsim_fail(s, "node %u client %u has been in a deadlock for %" PRIu64 " us", client->node,
                      client->number, s->result.stuck_ns_max / 1000);
    }
}

/*
 * I-14, by trying: in a copy of the whole cluster nobody is a victim, nothing is lost, and everybody who does not wait
 * unlocks. Should the victim's wait end with a grant there, it was in no deadlock. A conversion deadlock that its
 * master ends there proves nothing.
 */
static bool is_phantom(struct lsim *s, const struct lsim_client *client)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    cf_assert(pid >= 0);
    if (pid == 0) {
        uint64_t deadlocks = s->result.deadlocks;
        grd_lock_id lock = client->held[client->at].lock;

        s->detect = NULL;
        s->is_faulty = false;
        s->is_ending = true;
        s->result.demoted = 0;
        for (uint32_t turns = 0; turns < LSIM_PHANTOM_TURNS && lsim_client_waits(client); turns++)
            lsim_turn(s);
        _exit(!lsim_client_waits(client) && s->result.deadlocks == deadlocks &&
              client->held_count > client->at && client->held[client->at].lock == lock);
    }
    cf_assert(waitpid(pid, &status, 0) == pid);
    cf_assert(WIFEXITED(status));
    return WEXITSTATUS(status) != 0;
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
        if (is_phantom(s, lsim_client_at(s, victim.node * s->o.clients + (uint32_t)victim.owner % 100u)))
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
