/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_WIRE_H
#define TRANSPORT_WIRE_H

/*
 * The header in front of every message, on every provider: 48 bytes, little endian, natural alignment. Body
 * types are the business of the layer above (grd/msg.def); the transport looks at the header only.
 *
 *   byte  0  version   u16   XP_WIRE_VERSION
 *         2  type      u16   message type of the layer above, 0 is never used
 *         4  bytes     u32   length of the body behind the header
 *         8  node      u16   sender
 *        10  lane_class u16  enum xp_class
 *        12  incarnation u32 which life of the sender
 *        16  epoch     u64   membership epoch the sender lives in
 *        24  scn       u64   the sender's clock
 *        32  sequence  u64   rises by one a message of a lane generation, from 1
 *        40  generation u32  lane generation: which connection of this pair of incarnations
 *        44  tag       u32   hash of cluster id and secret
 */
#include <stdint.h>

#define XP_WIRE_VERSION 1u
#define XP_HEADER_BYTES 48u

struct xp_header {
    uint16_t version;
    uint16_t type;
    uint32_t bytes;
    uint16_t node;
    uint16_t lane_class;
    uint32_t incarnation;
    uint64_t epoch;
    uint64_t scn;
    uint64_t sequence;
    uint32_t generation;
    uint32_t tag;
};
_Static_assert(sizeof(struct xp_header) == XP_HEADER_BYTES, "wire header");

#endif
