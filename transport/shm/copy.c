/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The copy of a block out of a peer's frame, whose lines are mostly in no cache of this core. Its halves are copied side by
 * side: a core fetches the lines that follow by itself, but within a page only, and waits for the translation of each page;
 * so two pages are under way at once. Measured: bench/model.md, "The frame a block lands in".
 */
#include <string.h>

#include "transport/shm/shm.h"

#if defined(__x86_64__)
#include <immintrin.h>

#define LINE_HALF 32u

__attribute__((target("avx"))) static void copy_avx(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    uint32_t half = bytes / 2;

    for (uint32_t at = 0; at < half; at += CF_CACHE_LINE) {
        const uint8_t *low = from + at, *high = from + half + at;
        __m256i a = _mm256_load_si256((const void *)low);
        __m256i b = _mm256_load_si256((const void *)(low + LINE_HALF));
        __m256i c = _mm256_load_si256((const void *)high);
        __m256i d = _mm256_load_si256((const void *)(high + LINE_HALF));

        _mm256_store_si256((void *)(to + at), a);
        _mm256_store_si256((void *)(to + at + LINE_HALF), b);
        _mm256_store_si256((void *)(to + half + at), c);
        _mm256_store_si256((void *)(to + half + at + LINE_HALF), d);
    }
}

void xp_shm_copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    if (__builtin_cpu_supports("avx"))
        copy_avx(to, from, bytes);
    else
        memcpy(to, from, bytes);
}
#else
void xp_shm_copy(uint8_t *to, const uint8_t *from, uint32_t bytes)
{
    memcpy(to, from, bytes);
}
#endif
