/* SPDX-License-Identifier: Apache-2.0 */
#ifndef BENCH_PEERS_BOOST_SCC_H
#define BENCH_PEERS_BOOST_SCC_H

/* Boost Graph's strong_components on its compressed sparse rows, where libboost-graph-dev is installed. */
#include <stdbool.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

struct boost_scc;

/* Built with Boost. False: open answers NULL. */
bool boost_scc_is_built(void);
struct boost_scc *boost_scc_open(uint32_t vertices, uint32_t edges, const uint32_t *from, const uint32_t *to);
/* Answers the number of components. The memory it works in is there since open. */
uint32_t boost_scc_run(struct boost_scc *peer);
void boost_scc_close(struct boost_scc **peer);

#ifdef __cplusplus
}
#endif
#endif
