/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_BACKOFF_H
#define GRD_BACKOFF_H

/*
 * How long to wait before a message is said again. Lanes lose nothing while a connection lives: repetition is for what
 * was dropped, refused, or went with a connection. Where a message takes longer than the first period it must not grow
 * into the load that delays it, so each period is twice the one before, up to a bound.
 */
#include <stdint.h>

#define GRD_BACKOFF_MAX 8u

static inline uint64_t grd_backoff_ns(uint64_t first_ns, uint32_t repetitions)
{
    return first_ns << (repetitions < GRD_BACKOFF_MAX ? repetitions : GRD_BACKOFF_MAX);
}

#endif
