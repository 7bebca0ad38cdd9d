/* SPDX-License-Identifier: Apache-2.0 */
#ifndef CF_BASE_CRC32C_H
#define CF_BASE_CRC32C_H

#include <stddef.h>
#include <stdint.h>

/*
 * CRC-32C (Castagnoli), as in iSCSI: cf_crc32c(0, "123456789", 9) is 0xE3069283. To continue over more
 * bytes, pass the result as seed. Any thread.
 */
uint32_t cf_crc32c(uint32_t seed, const void *bytes, size_t bytes_count);

#endif
