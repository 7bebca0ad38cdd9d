/* SPDX-License-Identifier: Apache-2.0 */
#include <stdio.h>
#include <stdlib.h>

#include "base/assert.h"
#include "transport/sim/wire.h"

enum cf_rc sim_net_open(const struct sim_net_options *options, struct sim_net **net_out)
{
    struct sim_net *net = calloc(1, sizeof(*net));

    if (net == NULL)
        return CF_MEMORY;
    net->options = *options;
    net->target_delay_ns = options->delay_floor_ns + options->faults.delay_mean_ns;
    cf_rng_seed(&net->rng, options->seed);
    net->nodes = calloc(options->nodes, sizeof(*net->nodes));
    if (net->nodes == NULL || !sim_tree_open(&net->tree, options->nodes)) {
        free(net->nodes);
        free(net);
        return CF_MEMORY;
    }
    *net_out = net;
    return CF_OK;
}

void sim_net_close(struct sim_net **net_ref)
{
    struct sim_net *net = *net_ref;

    if (net == NULL)
        return;
    for (uint32_t n = 0; n < net->options.nodes; n++) {
        struct sim_node *node = &net->nodes[n];

        cf_assert(node->xp == NULL);
        for (uint32_t i = 0; i < node->heap.count; i++)
            sim_packet_give(net, node->heap.due[i].packet);
        free(node->heap.due);
        for (uint32_t i = 0; node->links != NULL && i < net->options.nodes; i++) {
            if (node->links[i] != NULL)
                sim_wire_free(node->links[i]->wire);
            free(node->links[i]);
        }
        free(node->links);
    }
    sim_packet_pools_close(net);
    sim_tree_close(&net->tree);
    free(net->nodes);
    free(net);
    *net_ref = NULL;
}

struct sim_link *sim_link_of(struct sim_net *net, uint16_t from, uint16_t to)
{
    struct sim_node *node = &net->nodes[from];

    if (CF_UNLIKELY(node->links == NULL)) {
        node->links = calloc(net->options.nodes, sizeof(*node->links));
        cf_assert(node->links != NULL);
    }
    if (CF_UNLIKELY(node->links[to] == NULL)) {
        node->links[to] = calloc(1, sizeof(*node->links[to]));
        cf_assert(node->links[to] != NULL);
        node->links[to]->slow = 1;
    }
    return node->links[to];
}

uint64_t sim_net_now(const struct sim_net *net)
{
    return net->now_ns;
}

void sim_net_advance(struct sim_net *net, uint64_t now_ns)
{
    cf_assert(now_ns >= net->now_ns);
    net->now_ns = now_ns;
}

void sim_net_refresh(struct sim_net *net, uint16_t n)
{
    struct sim_node *node = &net->nodes[n];
    uint64_t next_ns = UINT64_MAX;

    if (node->xp != NULL && !node->is_gone) {
        if (node->is_awake)
            next_ns = 0;
        else if (node->heap.count > 0)
            next_ns = node->heap.due[0].at_ns;
        if (next_ns < node->stall_until_ns)
            next_ns = node->stall_until_ns;
    }
    sim_tree_set(&net->tree, n, next_ns);
}

uint64_t sim_net_next_ns(const struct sim_net *net)
{
    return sim_tree_first_time(&net->tree);
}

uint16_t sim_net_next_node(const struct sim_net *net)
{
    return (uint16_t)sim_tree_first(&net->tree);
}

uint64_t sim_net_node_next_ns(const struct sim_net *net, uint16_t node)
{
    return net->tree.times[node];
}

bool sim_net_chance(struct sim_net *net, uint32_t ppm)
{
    return ppm != 0 && cf_rng_below(&net->rng, SIM_PPM) < ppm;
}

/*
 * Exponential by whole numbers, so that every build draws the same: -log2(u) = zeros in front of a random word
 * plus a straight line through the rest (at most 9 % off), times ln 2 = 45426 / 65536.
 */
static uint64_t exponential(struct cf_rng *rng, uint64_t mean_ns)
{
    uint64_t word = cf_rng_next(rng) | 1;
    uint64_t zeros = (uint64_t)__builtin_clzll(word);
    uint64_t fraction = zeros < 48 ? (word >> (47 - zeros)) & 0xffff : 0;
    uint64_t log2_q16 = (zeros << 16) + 0x10000 - fraction;

    return ((mean_ns * log2_q16) >> 16) * 45426 >> 16;
}

uint64_t sim_net_delay(struct sim_net *net, const struct sim_link *link, uint64_t bytes)
{
    uint64_t delay_ns = net->options.delay_floor_ns +
                        exponential(&net->rng, net->options.faults.delay_mean_ns);

    if (net->options.bytes_per_us != 0)
        delay_ns += bytes * 1000 / net->options.bytes_per_us;
    return delay_ns * link->slow + 1;
}

void sim_net_queue(struct sim_net *net, struct sim_packet *packet, uint64_t at_ns)
{
    sim_heap_push(&net->nodes[packet->to].heap,
                  (struct sim_due){.at_ns = at_ns, .order = net->order++, .packet = packet});
    sim_net_refresh(net, packet->to);
}

static void send_double(struct sim_net *net, const struct sim_packet *packet, uint64_t at_ns)
{
    uint32_t bytes = packet->header.bytes;
    struct sim_packet *copy = sim_packet_take(net, bytes);
    uint8_t size_index = copy->size_index;

    *copy = *packet;
    copy->size_index = size_index;
    copy->is_double = true;
    copy->is_lost = false;
    copy->next = NULL;
    copy->block = NULL;
    __builtin_memcpy(copy->body, packet->body, bytes);
    if (packet->block != NULL) {
        sim_packet_block_take(net, copy);
        __builtin_memcpy(copy->block, packet->block, packet->block_bytes);
    }
    net->counters.doubled++;
    sim_net_queue(net, copy, at_ns);
}

void sim_net_send(struct sim_net *net, struct sim_packet *packet)
{
    struct sim_link *link = sim_link_of(net, packet->from, packet->to);
    struct sim_lane *lane = &link->lanes[packet->lane];
    const struct sim_net_faults *faults = &net->options.faults;
    bool is_ordered = net->options.order == SIM_ORDERED;
    uint64_t bytes = XP_HEADER_BYTES + packet->header.bytes + packet->block_bytes;
    uint64_t start_ns = net->now_ns;
    uint64_t at_ns;

    net->counters.posted++;
    if (start_ns < link->cut_until_ns) {
        packet->is_lost = !is_ordered;
        start_ns = link->cut_until_ns;
    }
    while (sim_net_chance(net, faults->loss_ppm)) {
        packet->is_lost = !is_ordered;
        if (!is_ordered)
            break;
        start_ns += net->options.retransmit_ns;
    }
    at_ns = start_ns + sim_net_delay(net, link, bytes);
    if (at_ns <= link->floor_ns)
        at_ns = link->floor_ns + 1;
    if (!is_ordered && sim_net_chance(net, faults->duplicate_ppm)) {
        uint64_t double_ns = net->now_ns + 1 + cf_rng_below(&net->rng, faults->late_ns_max + 1);

        send_double(net, packet, double_ns <= link->floor_ns ? link->floor_ns + 1 : double_ns);
    }
    if (net->options.order != SIM_CHAOS && at_ns <= lane->last_ns)
        at_ns = lane->last_ns + 1;
    if (at_ns > lane->last_ns)
        lane->last_ns = at_ns;
    sim_net_queue(net, packet, at_ns);
}

void sim_net_tell(struct sim_net *net, enum sim_kind kind, uint16_t from, uint16_t to, uint64_t at_ns,
                  enum cf_rc rc)
{
    struct sim_packet *packet = sim_packet_take(net, 0);

    packet->kind = (uint8_t)kind;
    packet->from = from;
    packet->to = to;
    packet->rc = rc;
    packet->generation = sim_link_of(net, from, to)->generation;
    sim_net_queue(net, packet, at_ns);
}

void sim_net_inject(struct sim_net *net, uint16_t from, uint16_t to, uint16_t type, const void *body,
                    uint32_t bytes, uint64_t epoch, uint64_t scn)
{
    struct sim_link *link = sim_link_of(net, from, to);
    struct sim_packet *packet = sim_packet_take(net, bytes);

    packet->kind = SIM_MESSAGE;
    packet->lane = XP_CONTROL;
    packet->from = from;
    packet->to = to;
    packet->is_injected = true;
    packet->generation = link->generation;
    packet->header = (struct xp_header){.version = XP_WIRE_VERSION,
                                        .type = type,
                                        .bytes = bytes,
                                        .node = from,
                                        .epoch = epoch,
                                        .scn = scn,
                                        .generation = link->generation};
    __builtin_memcpy(packet->body, body, bytes);
    net->counters.injected++;
    sim_net_queue(net, packet, net->now_ns + sim_net_delay(net, link, bytes));
}

const struct sim_net_counters *sim_net_counters(const struct sim_net *net)
{
    return &net->counters;
}

void sim_net_observe(struct sim_net *net, sim_observe_fn observe, void *arg)
{
    net->observe = observe;
    net->observe_arg = arg;
}

uint64_t sim_net_trace(const struct sim_net *net)
{
    return net->trace;
}

void sim_net_break(struct sim_net *net, const char *what, const struct sim_packet *packet)
{
    if (net->broken[0] == 0)
        snprintf(net->broken, sizeof(net->broken), "I-26 %s: from %u to %u lane %u type %u sequence %llu",
                 what, packet->from, packet->to, packet->lane, packet->header.type,
                 (unsigned long long)packet->header.sequence);
}

void sim_net_break_link(struct sim_net *net, const char *what, uint16_t from, uint16_t to)
{
    if (net->broken[0] == 0)
        snprintf(net->broken, sizeof(net->broken), "I-26 link from %u to %u: %s", from, to, what);
}

const char *sim_net_broken(const struct sim_net *net)
{
    return net->broken[0] != 0 ? net->broken : NULL;
}
