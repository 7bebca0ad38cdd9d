/* SPDX-License-Identifier: Apache-2.0 */
#include <stdlib.h>

#include "base/assert.h"
#include "transport/sim/net.h"

#define HEAP_ROOM_FIRST 64u

static uint32_t size_of(uint32_t index)
{
    static const uint32_t bytes[SIM_PACKET_SIZES] = {64, 128, 256, XP_BODY_BYTES_MAX};

    return bytes[index];
}

struct sim_packet *sim_packet_take(struct sim_net *net, uint32_t bytes)
{
    struct sim_packet *packet;
    uint32_t index = 0;

    while (size_of(index) < bytes)
        index++;
    packet = net->free_packets[index];
    if (packet != NULL) {
        net->free_packets[index] = packet->next;
    } else {
        packet = malloc(sizeof(*packet) + size_of(index));
        cf_assert(packet != NULL);
    }
    *packet = (struct sim_packet){.size_index = (uint8_t)index};
    return packet;
}

/* A block on the free list keeps the link to the next one in its first bytes. */
void sim_packet_give(struct sim_net *net, struct sim_packet *packet)
{
    if (packet->block != NULL) {
        *(void **)(void *)packet->block = net->free_blocks[packet->class_index];
        net->free_blocks[packet->class_index] = packet->block;
        packet->block = NULL;
    }
    packet->next = net->free_packets[packet->size_index];
    net->free_packets[packet->size_index] = packet;
}

void sim_packet_block_take(struct sim_net *net, struct sim_packet *packet)
{
    void *block = net->free_blocks[packet->class_index];

    if (block != NULL)
        net->free_blocks[packet->class_index] = *(void **)block;
    else
        block = malloc(packet->block_bytes);
    cf_assert(block != NULL);
    packet->block = block;
}

static bool is_before(const struct sim_due *a, const struct sim_due *b)
{
    return a->at_ns != b->at_ns ? a->at_ns < b->at_ns : a->order < b->order;
}

void sim_heap_push(struct sim_heap *heap, struct sim_due due)
{
    uint32_t at = heap->count++;

    if (at == heap->room) {
        heap->room = heap->room != 0 ? heap->room * 2 : HEAP_ROOM_FIRST;
        heap->due = realloc(heap->due, heap->room * sizeof(*heap->due));
        cf_assert(heap->due != NULL);
    }
    while (at > 0 && is_before(&due, &heap->due[(at - 1) / 2])) {
        heap->due[at] = heap->due[(at - 1) / 2];
        at = (at - 1) / 2;
    }
    heap->due[at] = due;
}

struct sim_due sim_heap_pop(struct sim_heap *heap)
{
    struct sim_due first = heap->due[0];
    struct sim_due last = heap->due[--heap->count];
    uint32_t at = 0;

    for (;;) {
        uint32_t child = at * 2 + 1;

        if (child >= heap->count)
            break;
        if (child + 1 < heap->count && is_before(&heap->due[child + 1], &heap->due[child]))
            child++;
        if (!is_before(&heap->due[child], &last))
            break;
        heap->due[at] = heap->due[child];
        at = child;
    }
    if (heap->count > 0)
        heap->due[at] = last;
    return first;
}

void sim_packet_pools_close(struct sim_net *net)
{
    for (uint32_t i = 0; i < SIM_PACKET_SIZES; i++) {
        while (net->free_packets[i] != NULL) {
            struct sim_packet *packet = net->free_packets[i];

            net->free_packets[i] = packet->next;
            free(packet);
        }
    }
    for (uint32_t i = 0; i < CF_BLOCK_SIZES; i++) {
        while (net->free_blocks[i] != NULL) {
            void *block = net->free_blocks[i];

            net->free_blocks[i] = *(void **)block;
            free(block);
        }
    }
}
