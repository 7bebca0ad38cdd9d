/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/lane.h"

enum xp_lane_verdict xp_lane_judge(const struct xp_lane_facts *facts, const struct xp_header *header,
                                   struct xp_counters *counters)
{
    if (header->version != XP_WIRE_VERSION || header->type == 0 || header->node != facts->node ||
        header->lane_class != facts->lane_class) {
        counters->bad_header++;
        return XP_LANE_FAULT;
    }
    if (header->bytes > XP_BODY_BYTES_MAX) {
        counters->bad_length++;
        return XP_LANE_FAULT;
    }
    if (header->tag != facts->tag) {
        counters->bad_tag++;
        return XP_LANE_FAULT;
    }
    if (header->incarnation != facts->incarnation) {
        counters->stale_incarnation++;
        return XP_LANE_FAULT;
    }
    if (header->generation != facts->generation) {
        counters->stale_generation++;
        return XP_LANE_FAULT;
    }
    if (header->epoch != facts->epoch) {
        /* Views do not change everywhere at one moment: an honest peer may be behind or ahead (T-3). */
        counters->stale_epoch++;
        return XP_LANE_SKIP;
    }
    return XP_LANE_PASS;
}
