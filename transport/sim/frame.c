/* SPDX-License-Identifier: Apache-2.0 */
/* Frames of an instance, and those it has lent: a lent frame is marked at both ends and must come back so (T-4). */
#include <stdatomic.h>
#include <string.h>

#include "base/assert.h"
#include "transport/sim/net.h"
#include "transport/space.h"

uint32_t sim_frame_class_of(const struct xp_frame_space *space, uint32_t frame)
{
    uint32_t i = xp_space_class_of(space, frame);

    cf_assert(i < CF_BLOCK_SIZES);
    return i;
}

uint8_t *sim_frame_bytes_of(const struct xp_frame_space *space, uint32_t frame)
{
    return xp_space_bytes(space, sim_frame_class_of(space, frame), frame);
}

uint64_t sim_frame_word_of(const struct xp_frame_space *space, uint32_t frame)
{
    return atomic_load_explicit(&space->words[frame], memory_order_relaxed) & space->words_stable_mask;
}

static bool is_poison(const uint8_t *bytes)
{
    for (uint32_t i = 0; i < SIM_POISON_BYTES; i++) {
        if (bytes[i] != SIM_POISON)
            return false;
    }
    return true;
}

void sim_frame_lend(struct xp_sim *sim, uint32_t class_index, uint32_t frame)
{
    struct sim_lent *lent = &sim->lent[class_index];
    uint8_t *bytes = sim_frame_bytes_of(sim->space, frame);
    uint32_t block_bytes = sim->space->classes[class_index].bytes;

    cf_assert(sim_frame_class_of(sim->space, frame) == class_index);
    cf_assert(lent->count < sim->lane_slots);
    for (uint32_t i = 0; i < lent->count; i++)
        cf_assert_id(lent->frames[i] != frame, "T-4");
    memset(bytes, SIM_POISON, SIM_POISON_BYTES);
    memset(bytes + block_bytes - SIM_POISON_BYTES, SIM_POISON, SIM_POISON_BYTES);
    lent->frames[lent->count++] = frame;
}

uint32_t sim_frame_take(struct xp_sim *sim, uint32_t class_index)
{
    struct sim_lent *lent = &sim->lent[class_index];
    const uint8_t *bytes;
    uint32_t frame;

    if (lent->count == 0) {
        sim->net->counters.no_frame++;
        return XP_LINK_FRAME_NONE;
    }
    frame = lent->frames[0];
    lent->count--;
    memmove(&lent->frames[0], &lent->frames[1], lent->count * sizeof(lent->frames[0]));
    bytes = sim_frame_bytes_of(sim->space, frame);
    if (!is_poison(bytes) || !is_poison(bytes + sim->space->classes[class_index].bytes - SIM_POISON_BYTES))
        sim_net_break_link(sim->net, "T-4 a lent frame was written", sim->node, sim->node);
    return frame;
}

static uint32_t link_take(void *arg, uint8_t class_index)
{
    struct xp_sim *sim = arg;

    if (sim_net_chance(sim->net, sim->net->options.faults.torn_ppm))
        return XP_LINK_FRAME_NONE;
    return sim_frame_take(sim, class_index);
}

static uint8_t *link_bytes(void *arg, uint8_t class_index, uint32_t frame)
{
    (void)class_index;
    return sim_frame_bytes_of(((struct xp_sim *)arg)->space, frame);
}

static void link_give(void *arg, uint8_t class_index, uint32_t frame)
{
    sim_frame_lend(arg, class_index, frame);
}

struct xp_link_frames sim_frames_of(struct xp_sim *sim)
{
    return (struct xp_link_frames){.take = link_take, .bytes = link_bytes, .give = link_give, .arg = sim};
}
