/* SPDX-License-Identifier: Apache-2.0 */
/* What a private snapshot may show: one change of the block that was its newest at a moment of the call. */
#include <stdlib.h>

#include "base/assert.h"
#include "tools/sim/ghost.h"

#define ULL(x) ((unsigned long long)(x))
#define CHANGES_FIRST 16u

void sim_check_changed(struct sim_check *check, uint64_t version, const struct sim_content *content)
{
    struct sim_changes *changes = &check->changes[content->block];

    if (content->counter != changes->count + 1) {
        sim_check_break(check, content->block, "I-2 block %llu: change %llu follows change %llu",
                        ULL(content->block), ULL(content->counter), ULL(changes->count));
        return;
    }
    if (changes->count == changes->room) {
        changes->room = changes->room != 0 ? changes->room * 2 : CHANGES_FIRST;
        changes->change = realloc(changes->change, changes->room * sizeof(*changes->change));
        cf_assert(changes->change != NULL);
    }
    changes->change[changes->count++] = (struct sim_change){.value = content->value, .version = version};
}

bool sim_check_snapshot(struct sim_check *check, uint16_t node, uint64_t counter_before, uint64_t version,
                        const struct sim_content *content)
{
    const struct sim_changes *changes = &check->changes[content->block];
    uint64_t counter = content->counter;
    struct sim_change change = {0}; /* of a block that nobody has changed */

    if (counter < counter_before || counter > changes->count) {
        sim_check_break(
            check, content->block,
            "snapshot of block %llu: node %u got change %llu, it was at change %llu when it asked "
            "and is at %llu",
            ULL(content->block), node, ULL(counter), ULL(counter_before), ULL(changes->count));
        return false;
    }
    if (counter != 0)
        change = changes->change[counter - 1];
    if (change.value == content->value && change.version == version)
        return true;
    sim_check_break(
        check, content->block,
        "snapshot of block %llu: node %u got value %llx as version %llu, change %llu is value %llx "
        "of version %llu",
        ULL(content->block), node, ULL(content->value), ULL(version), ULL(counter), ULL(change.value),
        ULL(change.version));
    return false;
}
