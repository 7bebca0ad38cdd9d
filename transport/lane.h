/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LANE_H
#define TRANSPORT_LANE_H

/*
 * What every header of a lane must say. The sender stamps it from its own facts, the receiver holds the facts
 * it learned of the peer in the handshake and compares (T-1, T-3).
 */
#include <stdbool.h>
#include <stdint.h>

#include "transport/xp.h"

struct xp_lane_facts {
    uint16_t node;
    uint16_t lane_class;
    uint32_t incarnation;
    uint32_t generation;
    uint32_t tag;
    uint64_t epoch;
};

enum xp_lane_verdict {
    XP_LANE_PASS = 0,
    XP_LANE_SKIP, /* a message of another epoch: counted, dropped, the lane goes on */
    XP_LANE_FAULT /* not what an honest peer sends: counted, the connection is dropped */
};

static inline void xp_lane_stamp(const struct xp_lane_facts *facts, struct xp_header *header, uint16_t type,
                                 uint32_t bytes, uint64_t scn)
{
    header->version = XP_WIRE_VERSION;
    header->type = type;
    header->bytes = bytes;
    header->node = facts->node;
    header->lane_class = facts->lane_class;
    header->incarnation = facts->incarnation;
    header->epoch = facts->epoch;
    header->scn = scn;
    header->generation = facts->generation;
    header->tag = facts->tag;
}

/* All but the sequence, which the provider checks while it finds the message. One branch when all is well. */
static inline bool xp_lane_is_sound(const struct xp_lane_facts *facts, const struct xp_header *header)
{
    uint64_t differs = (uint64_t)(header->version ^ XP_WIRE_VERSION) |
                       (uint64_t)(header->node ^ facts->node) |
                       (uint64_t)(header->lane_class ^ facts->lane_class) |
                       (uint64_t)(header->incarnation ^ facts->incarnation) | (header->epoch ^ facts->epoch) |
                       (uint64_t)(header->generation ^ facts->generation) |
                       (uint64_t)(header->tag ^ facts->tag);

    return (differs == 0) & (header->type != 0) & (header->bytes <= XP_BODY_BYTES_MAX);
}

/* Why a header is not sound; raises the counter of the first reason found. */
CF_COLD enum xp_lane_verdict xp_lane_judge(const struct xp_lane_facts *facts, const struct xp_header *header,
                                           struct xp_counters *counters);

#endif
