/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Messages other than requests that wait for a rebuild to begin. A cache that is emptied releases hundreds of blocks at
 * once; each needs a rebuild where entries are few, and only so many can be under way.
 */
#include <string.h>

#include "grd/master_impl.h"

#define LATE_RUN_MAX 64u /* of what waited, in one step */

/* Releases wait once, however often they are said again. True: it was so already. */
static bool late_swap(struct grd_master *master, uint16_t type, uint16_t from, uint64_t number, bool is_late)
{
    uint64_t *word = &master->is_late[from * (GRD_WINDOW / 64) + number % GRD_WINDOW / 64];
    uint64_t bit = UINT64_C(1) << (number % 64);
    bool was = (*word & bit) != 0;

    if (type != GRD_MSG_RELEASE)
        return false;
    *word = is_late ? *word | bit : *word & ~bit;
    return was;
}

/* Requests do not wait here: there is a rebuild for each that may be open. */
void grd_master_late_push(struct grd_master *master, const struct grd_msg *msg, uint64_t hash)
{
    if (msg->type == GRD_MSG_REQUEST || master->late_count == GRD_LATE_MAX) {
        master->counters.refused_bounds++;
        return;
    }
    if (late_swap(master, msg->type, msg->from, msg->number, true))
        return;
    master->late[(master->late_first + master->late_count++) % GRD_LATE_MAX] = (struct grd_late){
        .key = msg->key,
        .hash = hash,
        .tenure = msg->tenure,
        .version = msg->version,
        .durable = msg->durable,
        .number = msg->number,
        .from = msg->from,
        .type = msg->type};
}

/* What waited for a rebuild begins where there is room now. Doubles among it cost a look and an answer. */
void grd_master_late_run(struct grd_master *master, uint64_t now_ns, struct grd_actions *actions)
{
    uint32_t tries;

    for (tries = 0;
         tries < LATE_RUN_MAX && master->late_count != 0 && grd_rebuild_has_room(master->directory, false) &&
         actions->count <= GRD_ACTIONS_MAX - GRD_STEP_ACTIONS_MAX;
         tries++) {
        struct grd_late late = master->late[master->late_first];
        struct grd_msg msg;

        master->late_first = (master->late_first + 1) % GRD_LATE_MAX;
        master->late_count--;
        (void)late_swap(master, late.type, late.from, late.number, false);
        memset(&msg, 0, offsetof(struct grd_msg, set));
        grd_set_clear(&msg.set);
        msg.key = late.key;
        msg.tenure = late.tenure;
        msg.version = late.version;
        msg.durable = late.durable;
        msg.number = late.number;
        msg.from = late.from;
        msg.type = late.type;
        grd_master_one(master, &msg, late.hash, now_ns, actions);
    }
}
