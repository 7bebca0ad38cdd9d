/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/workload/zipf.h"

#include <math.h>

#include "base/hash.h"

void zipf_init(struct zipf *zipf, uint64_t count)
{
    zipf->count = count;
    zipf->zeta = 0;
    for (uint64_t i = 1; i <= count; i++)
        zipf->zeta += 1 / pow((double)i, ZIPF_THETA);
    zipf->alpha = 1 / (1 - ZIPF_THETA);
    zipf->half = pow(0.5, ZIPF_THETA);
    zipf->eta = (1 - pow(2 / (double)count, 1 - ZIPF_THETA)) / (1 - (1 + zipf->half) / zipf->zeta);
}

uint64_t zipf_rank(const struct zipf *zipf, struct cf_rng *rng)
{
    double u = cf_rng_unit(rng);
    double scaled = u * zipf->zeta;
    uint64_t rank;

    if (scaled < 1 || zipf->count < 2)
        return 0;
    if (scaled < 1 + zipf->half)
        return 1;
    rank = (uint64_t)((double)zipf->count * pow(zipf->eta * u - zipf->eta + 1, zipf->alpha));
    return rank < zipf->count ? rank : zipf->count - 1;
}

uint64_t zipf_key(const struct zipf *zipf, struct cf_rng *rng)
{
    return cf_mix64(zipf_rank(zipf, rng), 0) % zipf->count;
}
