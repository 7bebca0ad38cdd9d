/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CF_BASE_HASH_H
#define CF_BASE_HASH_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

struct cf_hash_key {
    uint8_t k[16];
};

/* Readies libsodium; any thread, any number of times. False: no source of randomness, refuse to start. */
CF_CHECK bool cf_hash_init(void);
/* A key from the system's random source; cf_hash_init first. */
void cf_hash_key_random(struct cf_hash_key *key_out);

/*
 * SipHash-2-4: the same on every build and host for one key, and not predictable without it. For what
 * instances must agree on and peers could attack.
 */
CF_HOT uint64_t cf_siphash(const struct cf_hash_key *key, const void *bytes, size_t bytes_count);

/* The same of exactly 16 bytes, which is what keys of blocks have, without a call into the library. */
CF_HOT uint64_t cf_siphash16(const struct cf_hash_key *key, const void *bytes);

/*
 * A cheap bijective mix for tables of this process only, with a seed of the process. Not for anything a
 * peer can choose freely.
 */
static inline uint64_t cf_mix64(uint64_t x, uint64_t seed)
{
    x ^= seed;
    x ^= x >> 30;
    x *= UINT64_C(0xbf58476d1ce4e5b9);
    x ^= x >> 27;
    x *= UINT64_C(0x94d049bb133111eb);
    x ^= x >> 31;
    return x;
}

#endif
