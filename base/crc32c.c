/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Long runs go to ISA-L, which folds many bytes at a time and takes a while to begin and end. A head or a small message
 * goes through the processor's own instruction, in three runs side by side, because one waits three cycles for the last:
 * V. Gopal et al., "Fast CRC Computation for iSCSI Polynomial Using CRC32 Instruction", Intel 2011.
 */
#include "base/crc32c.h"

#include <isa-l/crc.h>
#include <stdbool.h>
#include <stdint.h>
#include <string.h>

#if defined(__x86_64__)
#include <nmmintrin.h>
#include <wmmintrin.h>
#endif

/* ISA-L neither inverts its start value nor its result, and takes an int for the length. */
#define CRC_CHUNK_BYTES_MAX ((size_t)1 << 30)

#if defined(__x86_64__)
#define WORD_BYTES 8u
/* Of each of the three runs; chosen: beyond some 384 bytes ISA-L is as fast. */
#define RUN_WORDS_MAX 16u
#define SHORT_BYTES_MAX (3 * RUN_WORDS_MAX * WORD_BYTES)
/* Below it one run is as fast. */
#define RUN_WORDS_MIN 3u

/* [i - 1]: x^(64 i - 33) modulo the polynomial, reflected: a product with it carries a run over i words that follow. */
static const uint32_t carry_over[2 * RUN_WORDS_MAX] = {
    0x00000001, 0x493c7d27, 0xf20c0dfe, 0xba4fc28e, 0x3da6d0cb, 0xddc0152b, 0x1c291d04, 0x9e4addf8,
    0x740eef02, 0x39d3b296, 0x083a6eec, 0x0715ce53, 0xc49f4f67, 0x47db8317, 0x2ad91c30, 0x0d3b6092,
    0x6992cea2, 0xc96cfdc0, 0x7e908048, 0x878a92a7, 0x1b3d8f29, 0xdaece73e, 0xf1d0f55e, 0xab7aff2a,
    0xa87ab8a8, 0x2162d385, 0x8462d800, 0x83348832, 0x71d111a8, 0x299847d5, 0xffd852c6, 0xb9e02b86};

static uint64_t word_at(const uint8_t *bytes, size_t word)
{
    uint64_t value;

    memcpy(&value, bytes + word * WORD_BYTES, sizeof value);
    return value;
}

static bool has_instructions(void)
{
    return __builtin_cpu_supports("sse4.2") && __builtin_cpu_supports("pclmul");
}

__attribute__((target("sse4.2,pclmul"))) static uint64_t carried(uint64_t crc, size_t words)
{
    __m128i product = _mm_clmulepi64_si128(_mm_cvtsi64_si128((long long)crc),
                                           _mm_cvtsi64_si128((long long)carry_over[words - 1]), 0);

    return (uint64_t)_mm_cvtsi128_si64(product);
}

__attribute__((target("sse4.2,pclmul"))) static uint32_t crc_short(uint32_t crc, const uint8_t *bytes,
                                                                   size_t bytes_count)
{
    size_t run = bytes_count / (3 * WORD_BYTES);
    uint64_t a = crc;

    if (run >= RUN_WORDS_MIN) {
        uint64_t b = 0, c = 0;

        for (size_t i = 0; i < run; i++) {
            a = _mm_crc32_u64(a, word_at(bytes, i));
            b = _mm_crc32_u64(b, word_at(bytes, run + i));
            c = _mm_crc32_u64(c, word_at(bytes, 2 * run + i));
        }
        a = _mm_crc32_u64(0, carried(a, 2 * run) ^ carried(b, run)) ^ c;
        bytes += 3 * run * WORD_BYTES;
        bytes_count -= 3 * run * WORD_BYTES;
    }
    for (; bytes_count >= WORD_BYTES; bytes += WORD_BYTES, bytes_count -= WORD_BYTES)
        a = _mm_crc32_u64(a, word_at(bytes, 0));
    for (; bytes_count > 0; bytes++, bytes_count--)
        a = _mm_crc32_u8((uint32_t)a, *bytes);
    return (uint32_t)a;
}
#endif

/* A function of its own: the short way needs none of its registers. */
__attribute__((noinline)) static uint32_t crc_long(uint32_t crc, const void *bytes, size_t bytes_count)
{
    /* ISA-L declares the buffer without const and does not write it. */
    unsigned char *next = (unsigned char *)(uintptr_t)bytes;

    while (bytes_count > 0) {
        size_t chunk = bytes_count < CRC_CHUNK_BYTES_MAX ? bytes_count : CRC_CHUNK_BYTES_MAX;
        crc = crc32_iscsi(next, (int)chunk, crc);
        next += chunk;
        bytes_count -= chunk;
    }
    return ~crc;
}

uint32_t cf_crc32c(uint32_t seed, const void *bytes, size_t bytes_count)
{
#if defined(__x86_64__)
    if (bytes_count <= SHORT_BYTES_MAX && has_instructions())
        return ~crc_short(~seed, bytes, bytes_count);
#endif
    return crc_long(~seed, bytes, bytes_count);
}
