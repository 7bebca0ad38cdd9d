/* SPDX-License-Identifier: Apache-2.0 */
/*
 * SIM_LINKS: the machine's own invariants, and what both ends of a link together must hold:
 *
 *   sender: acknowledged  <=  receiver: complete  <=  sender: posted       credits returned  <=  messages taken
 */
#include "transport/sim/wire.h"

static bool is_between(uint64_t low, uint64_t value, uint64_t high)
{
    return low <= value && value <= high;
}

/* One direction, when both ends are of one connection. */
static const char *direction_check(const struct xp_link *sender, const struct xp_link *receiver)
{
    for (uint32_t i = 0; i < XP_LANES; i++) {
        const struct xp_link_tx *tx = &sender->tx[i];
        const struct xp_link_rx *rx = &receiver->rx[i];

        if (!is_between(tx->messages_acked, rx->complete, tx->credit.sent))
            return "acknowledged <= complete <= posted";
        if (tx->credit.returned > rx->taker.taken)
            return "T-2 credits returned <= messages taken";
        if (rx->next - tx->una > tx->next - tx->una)
            return "the first missing segment is outstanding";
    }
    return NULL;
}

const char *sim_wire_end_check(struct xp_sim *sim, const struct sim_wire *wire)
{
    const struct sim_wire *other = sim_link_of(sim->net, wire->peer, sim->node)->wire;
    const char *why = xp_link_check(&wire->link);

    if (why == NULL && wire->link.is_violated)
        why = "an honest peer is accused";
    if (why != NULL || other == NULL || !other->is_open || other->session != wire->session)
        return why;
    why = direction_check(&wire->link, &other->link);
    return why != NULL ? why : direction_check(&other->link, &wire->link);
}

const char *sim_wire_check(struct sim_net *net, uint16_t node, uint16_t peer)
{
    struct sim_wire *wire = sim_link_of(net, node, peer)->wire;
    struct xp_sim *sim = sim_node_xp(net, node);

    return sim == NULL || !sim_wire_is_live(sim, wire) ? NULL : sim_wire_end_check(sim, wire);
}
