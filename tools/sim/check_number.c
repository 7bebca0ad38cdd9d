/* SPDX-License-Identifier: Apache-2.0 */
/* What the messages themselves must keep to. G-19: no request number is asked under two numbers of its bucket. */
#include "grd/msg.h"
#include "tools/sim/ghost.h"
#include "transport/sim/sim.h"

#define ULL(x) ((unsigned long long)(x))

void sim_check_message(struct sim_check *check, const struct sim_seen *seen)
{
    struct grd_msg msg = {0};
    struct sim_number *last;

    if (seen->header->type != GRD_MSG_REQUEST || seen->from >= check->options.nodes ||
        !grd_msg_decode(seen->header->type, seen->body, seen->header->bytes, check->options.nodes, &msg))
        return;
    last = &check->numbers[seen->from * SIM_NUMBERS + msg.request % SIM_NUMBERS];
    if (last->request == msg.request && last->place != msg.place)
        sim_check_break(check, msg.key.block,
                        "G-19 block %llu: node %u asks under number %llu for its bucket's numbers %u and %u",
                        ULL(msg.key.block), seen->from, ULL(msg.request), last->place, msg.place);
    if (msg.request >= last->request)
        *last = (struct sim_number){.request = msg.request, .place = msg.place};
}
