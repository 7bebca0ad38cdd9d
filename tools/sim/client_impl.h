/* SPDX-License-Identifier: Apache-2.0 */
#ifndef SIM_CLIENT_IMPL_H
#define SIM_CLIENT_IMPL_H

/* Shared by the files that make up the simulated callers: client.c, client_call.c, client_hold.c. */
#include "tools/sim/cluster.h"

#define BORN_NOT 0u
#define BORN_MAKING 1u
#define BORN_YES 2u

static inline bool sim_client_chance(struct sim_client *client, uint32_t percent)
{
    return cf_rng_below(&client->rng, 100) < percent;
}

/* Uniform around the mean: enough spread, no tail that would stretch a run. */
static inline uint64_t sim_client_spread(struct sim_client *client, uint64_t mean_ns)
{
    return cf_rng_below(&client->rng, 2 * mean_ns + 1);
}

/* Idle from now on, for about so long. */
void sim_client_rest(struct sim_client *client, uint64_t mean_ns);

/* client_call.c: a new call; what is held goes; one submit of the client's op. */
void sim_client_begin(struct sim_client *client);
void sim_client_give_up(struct sim_client *client);
void sim_client_submit(struct sim_client *client, enum cf_op_kind kind, enum cf_mode mode);
void sim_client_submit_get(struct sim_client *client);

/* client_hold.c: completions of the three kinds that succeeded, and the ends of what they began. */
void sim_client_on_got(struct sim_client *client);
void sim_client_on_snapshot(struct sim_client *client);
void sim_client_on_upgraded(struct sim_client *client);
void sim_client_finish_write(struct sim_client *client);
void sim_client_end_hold(struct sim_client *client);

#endif
