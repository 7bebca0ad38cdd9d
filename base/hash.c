/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <sodium.h>

_Static_assert(crypto_shorthash_KEYBYTES == sizeof(struct cf_hash_key), "key of SipHash");
_Static_assert(crypto_shorthash_BYTES == sizeof(uint64_t), "result of SipHash");

bool cf_hash_init(void)
{
    return sodium_init() >= 0;
}

void cf_hash_key_random(struct cf_hash_key *key_out)
{
    randombytes_buf(key_out->k, sizeof(key_out->k));
}

/* libsodium gives the result as eight little-endian bytes; it is the same number on every host. */
uint64_t cf_siphash(const struct cf_hash_key *key, const void *bytes, size_t bytes_count)
{
    unsigned char out[crypto_shorthash_BYTES];
    uint64_t hash = 0;

    crypto_shorthash(out, bytes, bytes_count, key->k);
    for (unsigned i = 0; i < sizeof(out); i++)
        hash |= (uint64_t)out[i] << (8 * i);
    return hash;
}
