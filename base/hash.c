/* SPDX-License-Identifier: Apache-2.0 */
#include "base/hash.h"

#include <string.h>

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

struct sip {
    uint64_t a, b, c, d;
};

static inline uint64_t rotated(uint64_t x, unsigned bits)
{
    return x << bits | x >> (64 - bits);
}

static inline struct sip sip_round(struct sip v)
{
    v.a += v.b;
    v.c += v.d;
    v.b = rotated(v.b, 13) ^ v.a;
    v.d = rotated(v.d, 16) ^ v.c;
    v.a = rotated(v.a, 32) + v.d;
    v.c += v.b;
    v.b = rotated(v.b, 17) ^ v.c;
    v.d = rotated(v.d, 21) ^ v.a;
    v.c = rotated(v.c, 32);
    return v;
}

static inline struct sip sip_word(struct sip v, uint64_t word)
{
    v.d ^= word;
    v = sip_round(sip_round(v));
    v.a ^= word;
    return v;
}

static inline uint64_t word_at(const void *bytes, size_t at)
{
    uint64_t word;

    memcpy(&word, (const uint8_t *)bytes + at, sizeof word);
#if __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
    word = __builtin_bswap64(word);
#endif
    return word;
}

uint64_t cf_siphash16(const struct cf_hash_key *key, const void *bytes)
{
    uint64_t low = word_at(key->k, 0), high = word_at(key->k, 8);
    struct sip v = {.a = low ^ UINT64_C(0x736f6d6570736575),
                    .b = high ^ UINT64_C(0x646f72616e646f6d),
                    .c = low ^ UINT64_C(0x6c7967656e657261),
                    .d = high ^ UINT64_C(0x7465646279746573)};

    v = sip_word(v, word_at(bytes, 0));
    v = sip_word(v, word_at(bytes, 8));
    v = sip_word(v, UINT64_C(16) << 56); /* the length, and no bytes left over */
    v.c ^= 0xff;
    v = sip_round(sip_round(sip_round(sip_round(v))));
    return v.a ^ v.b ^ v.c ^ v.d;
}
