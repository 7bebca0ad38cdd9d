/* SPDX-License-Identifier: Apache-2.0 */
/* Whose stakes the rounds ask for: known from what stood behind whom in the round before. */
#include <string.h>

#include "engine/detect_impl.h"
#include "engine/instance.h"

void eng_wishes_clear(struct eng_role *role, struct eng_wishes *wishes)
{
    wishes->wishes_count = 0;
    memset(wishes->slots, 0, role->slots_count * sizeof *wishes->slots);
    for (uint32_t n = 0; n < role->instance->nodes; n++)
        wishes->first[n] = wishes->coming[n] = ENG_WISH_NONE;
}

/* All of them are to be asked for in this round. */
static void wishes_relink(struct eng_role *role, struct eng_wishes *wishes)
{
    for (uint32_t n = 0; n < role->instance->nodes; n++)
        wishes->first[n] = wishes->coming[n] = ENG_WISH_NONE;
    for (uint32_t i = 0; i < wishes->wishes_count; i++) {
        wishes->wish[i].next = wishes->first[wishes->wish[i].node];
        wishes->first[wishes->wish[i].node] = i;
    }
}

/* Those that came in the last round. */
static void wishes_turn(struct eng_role *role, struct eng_wishes *wishes)
{
    for (uint32_t n = 0; n < role->instance->nodes; n++) {
        wishes->first[n] = wishes->coming[n];
        wishes->coming[n] = ENG_WISH_NONE;
    }
}

void eng_wish_add(struct eng_role *role, uint16_t node, uint64_t key)
{
    struct eng_wishes *wishes = &role->wishes[role->is_changes ? role->wishes_now : role->wishes_now ^ 1];
    uint32_t slot = (uint32_t)cf_mix64(key, node) & (role->slots_count - 1), number;

    while ((number = wishes->slots[slot]) != 0) {
        if (wishes->wish[number - 1].key == key && wishes->wish[number - 1].node == node)
            return;
        slot = (slot + 1) & (role->slots_count - 1);
    }
    if (wishes->wishes_count == role->wishes_max) {
        /* There are as many as edges that stand behind something: some are not wanted any more. */
        role->is_anew_wanted = true;
        return;
    }
    wishes->wish[wishes->wishes_count] = (struct eng_wish){key, wishes->coming[node], node};
    wishes->coming[node] = wishes->wishes_count++;
    wishes->slots[slot] = wishes->wishes_count;
}

/*
 * What is asked for in this round. The first of a row of rounds told as changes, and each told anew after one told anew,
 * asks for all that the last one found; the others told as changes for what came since. One told anew after changes knows no
 * better than to ask for all again.
 */
void eng_wishes_begin(struct eng_role *role, bool was_changes)
{
    struct eng_wishes *found = &role->wishes[role->wishes_now ^ 1];

    if (was_changes && role->is_changes) {
        wishes_turn(role, &role->wishes[role->wishes_now]);
        return;
    }
    if (was_changes) {
        eng_wishes_clear(role, found);
    } else {
        role->wishes_now ^= 1;
        eng_wishes_clear(role, &role->wishes[role->wishes_now ^ 1]);
    }
    wishes_relink(role, &role->wishes[role->wishes_now]);
}
