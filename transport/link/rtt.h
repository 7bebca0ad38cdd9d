/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_RTT_H
#define TRANSPORT_LINK_RTT_H

/*
 * The measured round trip and the time to wait for an acknowledgement: RFC 6298, section 2, in integers. Samples come
 * from stamps that are echoed, so a segment that was sent again gives a right sample too (no need of Karn's rule).
 */
#include <stdint.h>

struct xp_link_rtt {
    uint64_t srtt_ns; /* 0: no sample yet */
    uint64_t var_ns;
    uint64_t rto_ns;
    uint64_t rto_ns_min;
    uint64_t rto_ns_max;
};

static inline void xp_link_rtt_open(struct xp_link_rtt *rtt, uint64_t rto_ns_min, uint64_t rto_ns_max)
{
    *rtt = (struct xp_link_rtt){
        .rto_ns_min = rto_ns_min, .rto_ns_max = rto_ns_max, .rto_ns = 10 * rto_ns_min};
    if (rtt->rto_ns > rto_ns_max)
        rtt->rto_ns = rto_ns_max;
}

static inline void xp_link_rtt_sample(struct xp_link_rtt *rtt, uint64_t sample_ns)
{
    uint64_t error;

    /* More than the longest wait is a peer that was stopped, not a network. */
    if (sample_ns > rtt->rto_ns_max)
        sample_ns = rtt->rto_ns_max;
    if (rtt->srtt_ns == 0) {
        rtt->srtt_ns = sample_ns | 1;
        rtt->var_ns = sample_ns / 2;
    } else {
        error = rtt->srtt_ns > sample_ns ? rtt->srtt_ns - sample_ns : sample_ns - rtt->srtt_ns;
        rtt->var_ns = rtt->var_ns - rtt->var_ns / 4 + error / 4;
        rtt->srtt_ns = (rtt->srtt_ns - rtt->srtt_ns / 8 + sample_ns / 8) | 1;
    }
    rtt->rto_ns = rtt->srtt_ns + 4 * rtt->var_ns;
    if (rtt->rto_ns < rtt->rto_ns_min)
        rtt->rto_ns = rtt->rto_ns_min;
    if (rtt->rto_ns > rtt->rto_ns_max)
        rtt->rto_ns = rtt->rto_ns_max;
}

/* After `backoff` time-outs in a row. */
static inline uint64_t xp_link_rtt_wait_ns(const struct xp_link_rtt *rtt, uint32_t backoff)
{
    uint64_t wait = rtt->rto_ns << (backoff < 16 ? backoff : 16);

    return wait < rtt->rto_ns_max ? wait : rtt->rto_ns_max;
}

#endif
