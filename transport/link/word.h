/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_WORD_H
#define TRANSPORT_LINK_WORD_H

/*
 * Eight bytes of a packet at once: what a processor has stored in small pieces it does not soon read again in large
 * ones, and the other way round it does.
 */
#include <stdint.h>
#include <string.h>

static inline uint64_t xp_link_word(const uint8_t *bytes, uint32_t word)
{
    uint64_t value;

    memcpy(&value, bytes + word * sizeof(value), sizeof(value));
    return value;
}

static inline void xp_link_put_word(uint8_t *out, uint32_t word, uint64_t value)
{
    memcpy(out + word * sizeof(value), &value, sizeof(value));
}

#endif
