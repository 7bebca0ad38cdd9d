/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_LINGER_H
#define TRANSPORT_LINK_LINGER_H

/*
 * How long a close waits for what it posted to be acknowledged. What counts is the time in which the closer itself ran:
 * one that was scheduled out for half a second has sent nothing again meanwhile, so nobody has failed to answer. And
 * while the peer is heard the wait goes on: its acknowledgement may have been lost, and what it did not get may have been.
 */
#include <stdbool.h>
#include <stdint.h>

struct xp_linger_options {
    uint64_t quiet_ns_max; /* without a word of a peer, of time in which the closer ran */
    uint64_t whole_ns_max; /* of all time, whatever happens */
    uint64_t step_ns_max;  /* between two steps; who comes later did not run */
};

struct xp_linger {
    struct xp_linger_options options;
    uint64_t began_ns;
    uint64_t last_ns;
    uint64_t quiet_ns;
    uint64_t heard; /* packets */
};

static inline void xp_linger_open(struct xp_linger *linger, const struct xp_linger_options *options,
                                  uint64_t now_ns, uint64_t heard)
{
    *linger = (struct xp_linger){.options = *options, .began_ns = now_ns, .last_ns = now_ns, .heard = heard};
}

/* One round of sending and receiving has been done; `heard` counts packets. True: another one is due. */
static inline bool xp_linger_step(struct xp_linger *linger, uint64_t now_ns, uint64_t heard)
{
    uint64_t step_ns = now_ns - linger->last_ns;

    linger->quiet_ns += step_ns < linger->options.step_ns_max ? step_ns : linger->options.step_ns_max;
    if (heard != linger->heard)
        linger->quiet_ns = 0;
    linger->heard = heard;
    linger->last_ns = now_ns;
    return linger->quiet_ns < linger->options.quiet_ns_max &&
           now_ns - linger->began_ns < linger->options.whole_ns_max;
}

#endif
