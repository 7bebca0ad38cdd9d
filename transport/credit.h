/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_CREDIT_H
#define TRANSPORT_CREDIT_H

/*
 * Credits of a lane: pure arithmetic on counts that only rise and may wrap.
 *
 * Sender:   sent = messages posted, returned = messages the receiver said it has taken.
 * Receiver: taken = messages taken, told = what it said last; it tells again every `batch` or when idle.
 * Invariant T-2: available + (sent - returned) = window, and returned never passes sent.
 */
#include <stdbool.h>
#include <stdint.h>

/* A receiver tells its count at the latest after window / XP_CREDIT_BATCHES messages (chosen: eight a lap). */
#define XP_CREDIT_BATCHES 8u

struct xp_credit {
    uint64_t window; /* 0 = the lane is closed: nothing is available */
    uint64_t sent;
    uint64_t returned;
};

struct xp_credit_taker {
    uint64_t batch;
    uint64_t taken;
    uint64_t told;
};

static inline void xp_credit_open(struct xp_credit *credit, uint64_t window)
{
    credit->window = window;
    credit->sent = 0;
    credit->returned = 0;
}

/* Negative only by a closed lane (window 0 with messages under way), which counts as none. */
static inline uint64_t xp_credit_available(const struct xp_credit *credit)
{
    uint64_t in_flight = credit->sent - credit->returned;

    return in_flight < credit->window ? credit->window - in_flight : 0;
}

/* The count a receiver tells comes from a peer: false when it fell or passed what was sent (nothing changes). */
static inline bool xp_credit_return(struct xp_credit *credit, uint64_t told)
{
    if (told - credit->returned > credit->sent - credit->returned)
        return false;
    credit->returned = told;
    return true;
}

static inline void xp_credit_taker_open(struct xp_credit_taker *taker, uint64_t window)
{
    taker->batch = window >= XP_CREDIT_BATCHES ? window / XP_CREDIT_BATCHES : 1;
    taker->taken = 0;
    taker->told = 0;
}

static inline bool xp_credit_taker_owes(const struct xp_credit_taker *taker)
{
    return taker->taken != taker->told;
}

static inline bool xp_credit_taker_is_due(const struct xp_credit_taker *taker)
{
    return taker->taken - taker->told >= taker->batch;
}

#endif
