/* SPDX-License-Identifier: Apache-2.0 */
/* xoshiro256** seeded by splitmix64: the same sequence for a seed on every build and host (B-5). Not secret. */
#ifndef CF_BASE_RNG_H
#define CF_BASE_RNG_H

#include <stdbool.h>
#include <stdint.h>

struct cf_rng {
    uint64_t s[4];
};

static inline uint64_t cf_rng_rotl(uint64_t x, unsigned k)
{
    return (x << k) | (x >> (64 - k));
}

static inline void cf_rng_seed(struct cf_rng *rng, uint64_t seed)
{
    for (unsigned i = 0; i < 4; i++) {
        uint64_t z = (seed += UINT64_C(0x9e3779b97f4a7c15));
        z = (z ^ (z >> 30)) * UINT64_C(0xbf58476d1ce4e5b9);
        z = (z ^ (z >> 27)) * UINT64_C(0x94d049bb133111eb);
        rng->s[i] = z ^ (z >> 31);
    }
}

static inline uint64_t cf_rng_next(struct cf_rng *rng)
{
    uint64_t *s = rng->s;
    uint64_t result = cf_rng_rotl(s[1] * 5, 7) * 9;
    uint64_t t = s[1] << 17;

    s[2] ^= s[0];
    s[3] ^= s[1];
    s[1] ^= s[2];
    s[0] ^= s[3];
    s[2] ^= t;
    s[3] = cf_rng_rotl(s[3], 45);
    return result;
}

/* Uniform in [0, n), without bias; 0 for n = 0. Values under 2^64 mod n are drawn again. */
static inline uint64_t cf_rng_below(struct cf_rng *rng, uint64_t n)
{
    uint64_t refused, x;

    if (n == 0)
        return 0;
    refused = (0 - n) % n;
    do
        x = cf_rng_next(rng);
    while (x < refused);
    return x % n;
}

/* Uniform in [0, 1), 53 bits. */
static inline double cf_rng_unit(struct cf_rng *rng)
{
    return (double)(cf_rng_next(rng) >> 11) * 0x1.0p-53;
}

/* True with probability p; p <= 0 never, p >= 1 always. Always draws once. */
static inline bool cf_rng_chance(struct cf_rng *rng, double p)
{
    return cf_rng_unit(rng) < p;
}

#endif
