/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_WORKLOAD_ZIPF_H
#define TOOLS_WORKLOAD_ZIPF_H

/*
 * Ranks with a zipfian distribution: rank 0 is drawn most. After Gray et al., "Quickly generating billion-record
 * synthetic databases", as YCSB uses it.
 */
#include <stdint.h>

#include "base/rng.h"

#define ZIPF_THETA 0.99

struct zipf {
    uint64_t count;
    double zeta, alpha, eta, half;
};

/* Takes time linear in `count`. */
void zipf_init(struct zipf *zipf, uint64_t count);
uint64_t zipf_rank(const struct zipf *zipf, struct cf_rng *rng);
/* The rank scattered over all keys, so that hot keys do not lie in one block. */
uint64_t zipf_key(const struct zipf *zipf, struct cf_rng *rng);

#endif
