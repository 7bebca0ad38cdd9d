/* SPDX-License-Identifier: Apache-2.0 */
#include "engine/lookup.h"

#include "base/assert.h"

#define ENG_LOOKUP_SLOTS_MIN 16u

uint64_t eng_lookup_slots(uint64_t count)
{
    uint64_t slots = ENG_LOOKUP_SLOTS_MIN;

    while (slots < 4 * count)
        slots *= 2;
    return slots;
}

void eng_lookup_init(struct eng_lookup *lookup, _Atomic uint64_t *slots, uint64_t count, uint64_t seed)
{
    uint64_t slots_count = eng_lookup_slots(count);

    /* The place of an entry is taken from its 32-bit tag. */
    cf_assert(slots_count <= UINT64_C(1) << 32);
    *lookup = (struct eng_lookup){.slots = slots, .mask = slots_count - 1, .seed = seed};
}

void eng_lookup_insert(struct eng_lookup *lookup, uint32_t tag, uint32_t frame)
{
    cf_assert((tag & ENG_LOOKUP_USED >> 32) != 0);
    for (uint64_t step = 0; step <= lookup->mask; step++) {
        _Atomic uint64_t *slot = &lookup->slots[(tag + step) & lookup->mask];

        if (cf_peek_u64(slot) != 0)
            continue;
        cf_publish_u64(slot, (uint64_t)tag << 32 | frame);
        return;
    }
    cf_unreachable();
}

/* The slot of an entry. */
static uint64_t find(const struct eng_lookup *lookup, uint32_t tag, uint32_t frame)
{
    uint64_t wanted = (uint64_t)tag << 32 | frame;

    for (uint64_t step = 0; step <= lookup->mask; step++) {
        uint64_t slot = cf_peek_u64(&lookup->slots[(tag + step) & lookup->mask]);

        cf_assert(slot != 0);
        if (slot == wanted)
            return (tag + step) & lookup->mask;
    }
    cf_unreachable();
}

void eng_lookup_remove(struct eng_lookup *lookup, uint32_t tag, uint32_t frame)
{
    uint64_t mask = lookup->mask;
    uint64_t hole = find(lookup, tag, frame);

    /* The run ends at an empty slot, and most of the slots are empty. */
    for (uint64_t at = (hole + 1) & mask;; at = (at + 1) & mask) {
        uint64_t slot = cf_peek_u64(&lookup->slots[at]);

        if (slot == 0)
            break;
        /* An entry whose probe starts behind the hole stays: the probe would not pass the hole. */
        if (((at - eng_lookup_slot_tag(slot)) & mask) < ((at - hole) & mask))
            continue;
        cf_publish_u64(&lookup->slots[hole], slot);
        hole = at;
    }
    cf_publish_u64(&lookup->slots[hole], 0);
}

uint64_t eng_lookup_check(const struct eng_lookup *lookup)
{
    uint64_t used_count = 0;

    for (uint64_t at = 0; at <= lookup->mask; at++) {
        uint64_t slot = cf_peek_u64(&lookup->slots[at]);

        if (slot == 0)
            continue;
        used_count++;
        cf_assert(find(lookup, eng_lookup_slot_tag(slot), eng_lookup_slot_frame(slot)) == at);
    }
    cf_assert(used_count <= (lookup->mask + 1) / 4);
    return used_count;
}
