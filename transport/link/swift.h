/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_SWIFT_H
#define TRANSPORT_LINK_SWIFT_H

/*
 * Congestion control by round trip: Swift (Kumar et al., "Swift: Delay is Simple and Effective for Congestion Control in
 * the Datacenter", SIGCOMM 2020, algorithm 1), in integers. A window in segments, 1/256 each, that may fall below one:
 * then packets are paced, one in srtt / window. Not taken over: the scaling of the target by hops and flows (a link
 * does not know its hops, and there is one flow a pair of instances), and the split of host and fabric delay (the time
 * a packet waits in the receiver before it is acknowledged is subtracted from the sample instead).
 */
#include <stdbool.h>
#include <stdint.h>

#define XP_SWIFT_ONE 256u
/* The paper's parameters: additive increase 1, beta 0.8, largest decrease one half, 5 time-outs in a row reset. */
#define XP_SWIFT_BETA_TENTHS 8u
#define XP_SWIFT_TIMEOUTS_MAX 5u
#define XP_SWIFT_WINDOW_FIRST (16 * XP_SWIFT_ONE)

struct xp_swift {
    uint64_t target_ns;
    uint64_t decreased_ns; /* when the window fell last; it does once a round trip at most */
    uint32_t window;
    uint32_t window_min;
    uint32_t window_max;
    uint32_t timeouts;
};

static inline void xp_swift_clamp(struct xp_swift *swift)
{
    if (swift->window < swift->window_min)
        swift->window = swift->window_min;
    if (swift->window > swift->window_max)
        swift->window = swift->window_max;
}

static inline void xp_swift_open(struct xp_swift *swift, uint64_t target_ns, uint32_t window_min,
                                 uint32_t window_max)
{
    *swift = (struct xp_swift){.target_ns = target_ns,
                               .window = XP_SWIFT_WINDOW_FIRST,
                               .window_min = window_min,
                               .window_max = window_max};
    xp_swift_clamp(swift);
}

static inline bool xp_swift_may_decrease(const struct xp_swift *swift, uint64_t now_ns, uint64_t srtt_ns)
{
    return now_ns - swift->decreased_ns >= srtt_ns;
}

static inline void xp_swift_on_ack(struct xp_swift *swift, uint64_t now_ns, uint64_t delay_ns,
                                   uint64_t srtt_ns, uint32_t segments)
{
    swift->timeouts = 0;
    if (delay_ns < swift->target_ns) {
        if (swift->window == swift->window_max)
            return;
        uint32_t more = segments * XP_SWIFT_ONE;

        swift->window += swift->window >= XP_SWIFT_ONE ? more * XP_SWIFT_ONE / swift->window : more;
    } else if (xp_swift_may_decrease(swift, now_ns, srtt_ns)) {
        uint64_t over = delay_ns - swift->target_ns;
        uint64_t cut = swift->window * over / delay_ns * XP_SWIFT_BETA_TENTHS / 10;

        swift->window -= cut < swift->window / 2 ? (uint32_t)cut : swift->window / 2;
        swift->decreased_ns = now_ns;
    }
    xp_swift_clamp(swift);
}

/* A segment was found missing. */
static inline void xp_swift_on_loss(struct xp_swift *swift, uint64_t now_ns, uint64_t srtt_ns)
{
    if (!xp_swift_may_decrease(swift, now_ns, srtt_ns))
        return;
    swift->window /= 2;
    swift->decreased_ns = now_ns;
    xp_swift_clamp(swift);
}

static inline void xp_swift_on_timeout(struct xp_swift *swift, uint64_t now_ns, uint64_t srtt_ns)
{
    if (++swift->timeouts >= XP_SWIFT_TIMEOUTS_MAX) {
        swift->window = swift->window_min;
        swift->decreased_ns = now_ns;
    } else {
        xp_swift_on_loss(swift, now_ns, srtt_ns);
    }
}

/* Segments that may be in flight; at least one, paced when the window is below one. */
static inline uint32_t xp_swift_segments(const struct xp_swift *swift)
{
    return swift->window < XP_SWIFT_ONE ? 1 : swift->window / XP_SWIFT_ONE;
}

/* Time between two packets; 0: no pacing. */
static inline uint64_t xp_swift_gap_ns(const struct xp_swift *swift, uint64_t srtt_ns)
{
    return swift->window < XP_SWIFT_ONE ? srtt_ns * XP_SWIFT_ONE / swift->window : 0;
}

#endif
