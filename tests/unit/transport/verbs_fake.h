/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_TRANSPORT_VERBS_FAKE_H
#define TESTS_UNIT_TRANSPORT_VERBS_FAKE_H

/*
 * An RDMA device in memory, as a table of calls: reliable queue pairs over shared receive queues, READ and atomics,
 * completion channels, rdma_cm. Everything happens inside the call that asks for it, in the thread that calls. What the
 * specification forbids (keys that do not cover, a receive that is too short, too many requests) fails here too.
 */
#include "transport/verbs/calls.h"

#include <stdbool.h>
#include <stdint.h>

/* What the device can do and what goes wrong; a test sets it before or while instances use it. */
struct verbs_fake {
    int max_qp_wr, max_srq_wr, max_cqe;
    uint32_t inline_max;
    bool has_atomics;
    uint64_t locked_max; /* bytes that may be registered in all; 0: no limit */

    bool is_lost;           /* the device has gone: every call fails, queue pairs give back what they have */
    bool is_cut;            /* nothing arrives any more: a send ends with its retries used up */
    bool is_starved;        /* receives are not found: a send ends as receiver not ready */
    uint32_t refused_sends; /* so many calls of post_send fail with ENOMEM */
    uint32_t refused_receives; /* so many of post_srq_recv */
    uint32_t
        swallowed; /* so many blocks break their connection in the middle: the receive is used, and nobody told */
    uint32_t rejected;              /* so many connect requests are rejected by the other side's rdma_cm */
    enum ibv_wc_status status;      /* the next send ends so, IBV_WC_SUCCESS: well */
    uint32_t sends, reads, atomics; /* done */
    uint64_t locked;                /* bytes registered */
    int32_t living;                 /* objects of all kinds that were made and not taken back */
};

extern struct verbs_fake verbs_fake;
extern const struct xp_verbs_calls verbs_fake_calls;

/* A device without faults; asserts that nothing is left of the one before. */
void verbs_fake_reset(void);
/* Tells all who have opened the device; IBV_EVENT_DEVICE_FATAL also loses it, IBV_EVENT_CQ_ERR ends all completion queues. */
void verbs_fake_event(enum ibv_event_type type);

#endif
