/* SPDX-License-Identifier: Apache-2.0 */
#include "base/crc32c.h"

#include <isa-l/crc.h>

/* ISA-L neither inverts its start value nor its result, and takes an int for the length. */
#define CRC_CHUNK_BYTES_MAX ((size_t)1 << 30)

uint32_t cf_crc32c(uint32_t seed, const void *bytes, size_t bytes_count)
{
    /* ISA-L declares the buffer without const and does not write it. */
    unsigned char *next = (unsigned char *)(uintptr_t)bytes;
    uint32_t crc = ~seed;

    while (bytes_count > 0) {
        size_t chunk = bytes_count < CRC_CHUNK_BYTES_MAX ? bytes_count : CRC_CHUNK_BYTES_MAX;
        crc = crc32_iscsi(next, (int)chunk, crc);
        next += chunk;
        bytes_count -= chunk;
    }
    return ~crc;
}
