/* SPDX-License-Identifier: Apache-2.0 */
/* Connections, and what the harness does to them. */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "transport/sim/wire.h"

void sim_net_faults_set(struct sim_net *net, const struct sim_net_faults *faults)
{
    net->options.faults = *faults;
}

void sim_net_slow(struct sim_net *net, uint16_t from, uint16_t to, uint32_t factor)
{
    cf_assert(factor > 0);
    sim_link_of(net, from, to)->slow = factor;
}

void sim_net_cut(struct sim_net *net, uint16_t from, uint16_t to, uint64_t until_ns)
{
    sim_link_of(net, from, to)->cut_until_ns = until_ns;
}

void sim_net_heal(struct sim_net *net)
{
    for (uint32_t from = 0; from < net->options.nodes; from++) {
        for (uint32_t to = 0; net->nodes[from].links != NULL && to < net->options.nodes; to++) {
            if (net->nodes[from].links[to] != NULL)
                net->nodes[from].links[to]->cut_until_ns = 0;
        }
    }
}

void sim_net_stall(struct sim_net *net, uint16_t node, uint64_t until_ns)
{
    net->nodes[node].stall_until_ns = until_ns;
    sim_net_refresh(net, node);
}

uint64_t sim_net_stalled_until(const struct sim_net *net, uint16_t node)
{
    return net->nodes[node].stall_until_ns;
}

static void link_rewind(struct sim_link *link, uint32_t generation, uint64_t receiver_opens_ns)
{
    link->generation = generation;
    link->is_open = false;
    link->is_starved = false;
    link->floor_ns = receiver_opens_ns;
    for (uint32_t i = 0; i < XP_LANES; i++)
        link->lanes[i] = (struct sim_lane){.last_ns = receiver_opens_ns};
}

/* Opens both ends under a new generation, each when its own event is delivered. */
static void reopen(struct sim_net *net, uint16_t a, uint16_t b, enum sim_kind kind, uint64_t after_ns)
{
    struct sim_link *ab = sim_link_of(net, a, b);
    struct sim_link *ba = sim_link_of(net, b, a);
    uint64_t a_ns = net->now_ns + after_ns + sim_net_delay(net, ba, XP_HEADER_BYTES);
    uint64_t b_ns = net->now_ns + after_ns + sim_net_delay(net, ab, XP_HEADER_BYTES);
    uint32_t generation = ab->generation + 1;

    link_rewind(ab, generation, b_ns);
    link_rewind(ba, generation, a_ns);
    sim_net_tell(net, kind, b, a, a_ns, CF_OK);
    sim_net_tell(net, kind, a, b, b_ns, CF_OK);
}

void sim_net_connect(struct sim_net *net, uint16_t a, uint16_t b)
{
    if (sim_link_of(net, a, b)->is_accepted && sim_link_of(net, b, a)->is_accepted)
        reopen(net, a, b, SIM_UP, 0);
}

bool sim_net_is_whole(const struct sim_net *net)
{
    for (uint32_t a = 0; a < net->options.nodes; a++)
        for (uint32_t b = 0; b < net->options.nodes; b++)
            if (a != b && !net->nodes[a].is_gone && !net->nodes[b].is_gone &&
                !sim_link_of((struct sim_net *)(uintptr_t)net, (uint16_t)a, (uint16_t)b)->is_open)
                return false;
    return true;
}

uint64_t sim_net_calm_ns(const struct sim_net *net)
{
    uint64_t calm_ns = 0;

    for (uint32_t n = 0; n < net->options.nodes; n++) {
        const struct sim_node *node = &net->nodes[n];

        if (node->is_gone)
            continue;
        if (node->stall_until_ns > calm_ns)
            calm_ns = node->stall_until_ns;
        for (uint32_t i = 0; i < node->heap.count; i++)
            if (node->heap.due[i].at_ns > calm_ns)
                calm_ns = node->heap.due[i].at_ns;
    }
    return calm_ns;
}

bool sim_net_flap(struct sim_net *net, uint16_t a, uint16_t b, uint64_t reopen_ns)
{
    if (a == b || net->nodes[a].is_gone || net->nodes[b].is_gone || !sim_link_of(net, a, b)->is_open ||
        !sim_link_of(net, b, a)->is_open)
        return false;
    reopen(net, a, b, SIM_RESET, reopen_ns);
    net->counters.flaps++;
    return true;
}

void sim_net_crash(struct sim_net *net, uint16_t gone)
{
    struct sim_node *node = &net->nodes[gone];

    if (node->is_gone)
        return;
    node->is_gone = true;
    while (node->heap.count > 0)
        sim_packet_give(net, sim_heap_pop(&node->heap).packet);
    for (uint32_t n = 0; n < net->options.nodes; n++) {
        if (n == gone || !net->nodes[n].is_started || net->nodes[n].is_gone || net->nodes[n].xp == NULL)
            continue;
        sim_net_tell(net, SIM_DOWN, gone, (uint16_t)n,
                     net->now_ns + net->options.detect_ns +
                         cf_rng_below(&net->rng, net->options.detect_ns + 1),
                     CF_PEER_LOST);
    }
    sim_net_refresh(net, gone);
}

/* Packets of one lane under way, lost ones included until their time comes: each of them holds a credit. */
static uint32_t under_way(const struct sim_net *net, uint16_t from, uint16_t to, uint32_t lane,
                          uint32_t generation)
{
    const struct sim_heap *heap = &net->nodes[to].heap;
    uint32_t count = 0;

    for (uint32_t i = 0; i < heap->count; i++) {
        const struct sim_packet *p = heap->due[i].packet;

        count += p->from == from && p->lane == lane && p->generation == generation && p->kind <= SIM_BLOCK &&
                 !p->is_double && !p->is_injected;
    }
    return count;
}

/* Lanes: each packet under way holds a credit. Links: what both machines say of each other. */
static bool pair_check(struct sim_net *net, uint16_t from, uint16_t to, char *text, size_t text_bytes)
{
    const struct sim_link *link = net->nodes[from].links[to];
    const char *why = sim_wire_is_on(net) ? sim_wire_check(net, from, to) : NULL;

    if (why != NULL) {
        snprintf(text, text_bytes, "I-26 link from %u to %u: %s", from, to, why);
        return false;
    }
    for (uint32_t lane = 0; lane < XP_LANES; lane++) {
        uint32_t count = under_way(net, from, to, lane, link->generation);

        if (count == link->lanes[lane].in_flight)
            continue;
        snprintf(text, text_bytes, "I-26 credits: from %u to %u lane %u holds %u, %u are under way", from, to,
                 lane, link->lanes[lane].in_flight, count);
        return false;
    }
    return true;
}

bool sim_net_check(struct sim_net *net, char *text, size_t text_bytes)
{
    if (net->broken[0] != 0) {
        snprintf(text, text_bytes, "%s", net->broken);
        return false;
    }
    for (uint32_t from = 0; from < net->options.nodes; from++) {
        for (uint32_t to = 0; net->nodes[from].links != NULL && to < net->options.nodes; to++) {
            const struct sim_link *link = net->nodes[from].links[to];

            if (link == NULL || net->nodes[from].is_gone || net->nodes[to].is_gone)
                continue;
            if (!pair_check(net, (uint16_t)from, (uint16_t)to, text, text_bytes))
                return false;
        }
    }
    return true;
}
