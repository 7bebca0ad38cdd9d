/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_QUEUE_H
#define GRD_LOCK_QUEUE_H

/*
 * Who holds a lock, who converts, who waits for it, and who is next. The same discipline serves twice: at the
 * master over instances, and in each instance over owners. It knows neither.
 *
 *      add (holds nothing, or NL)        add (holds CR or more)
 *              |                               |
 *              v                               v
 *           WAITING  --next, grant-->  HELD <--next, grant-- CONVERTING
 *              |                        ^  |                  |
 *              +-- leave (gone) --+     |  +-- lower, drop    |
 *                                 v     +------- leave -------+
 *
 * Order: conversions before new requests. A conversion is granted when it goes together with all that is held;
 * with GRD_LOCK_FIFO only as the first of them. New requests are granted in order of arrival, and only while no
 * conversion waits. A conversion from NL excludes nobody while it waits and counts as a new request. NL itself
 * waits for nobody.
 *
 * Overtaking: whoever waits counts the conversions that arrived later, were granted before it, and held nothing
 * that kept it, or anybody it waits behind, out; requests for the head of the queue count too. At
 * GRD_LOCK_OVERTAKE_MAX the next ones are held back until it has been served.
 *
 * A conversion whose held mode keeps out somebody whom it would have to wait for must move first: it is never held
 * back, nor ordered by FIFO. So order alone never makes a cycle (docs/locks.md).
 */
#include <stdbool.h>
#include <stdint.h>

#include "grd/lock_table.h"

#define GRD_LOCK_OVERTAKE_MAX 16u

/* Flags of a request or conversion. */
#define GRD_LOCK_TRY 0x01u    /* do not wait: CF_BUSY */
#define GRD_LOCK_NOTIFY 0x02u /* with TRY: those who hold it are told that it is wanted */
#define GRD_LOCK_HEAD 0x04u   /* new: before the others that wait, as far as they may be overtaken */
#define GRD_LOCK_FIFO 0x08u   /* convert: behind the conversions that wait */
#define GRD_LOCK_DEMOTE 0x10u /* convert: on conversion deadlock come down to NL and go on waiting */
#define GRD_LOCK_PUBLISH \
    0x20u /* unlock, convert: the written value goes to the master; done when it is there */
#define GRD_LOCK_INVALIDATE 0x40u /* unlock, convert that writes: the value is marked not valid */

enum grd_lock_state {
    GRD_LOCK_FREE = 0,
    GRD_LOCK_HELD = 1,      /* holds `held`, waits for nothing */
    GRD_LOCK_WAITING = 2,   /* holds nothing or NL, waits for `want` among the new */
    GRD_LOCK_CONVERTING = 3 /* holds `held` (CR or more), waits for `want` among the conversions */
};

struct grd_lock_claim {
    struct grd_lock_claim *next, *prev;             /* all claims of the lock */
    struct grd_lock_claim *queue_next, *queue_prev; /* of the queue it waits in */
    uint64_t arrival;                               /* rises with each wait that begins */
    uint8_t state;                                  /* enum grd_lock_state */
    uint8_t held;
    uint8_t want;
    uint8_t stake; /* of `held`, what the very one who converts holds: kept until it is served */
    uint8_t flags;
    bool is_known; /* has been granted a mode, NL included */
    uint16_t overtaken;
};

struct grd_lock_queue {
    struct grd_lock_claim *first, *last;
    struct grd_lock_claim *convert_first, *convert_last;
    struct grd_lock_claim *new_first, *new_last;
    uint32_t held_count[GRD_LOCK_MODES];
    uint32_t claims_count;
    uint32_t exhausted_count; /* waiters that may not be overtaken any more */
    uint8_t guard;            /* a mode held besides, by nobody of the list; NL = none */
};

/* What may be granted here at most. The master has no limit; an instance has its own mode, and what peers demand. */
struct grd_lock_limit {
    bool is_known;   /* false: not even NL */
    uint8_t cap;     /* granted modes are covered by it ... */
    uint8_t ask_cap; /* ... and by it */
    uint8_t demand;  /* nothing new that conflicts with it; NL = none */
};

static inline bool grd_lock_is_waiting(const struct grd_lock_claim *claim)
{
    return claim->state >= GRD_LOCK_WAITING;
}
static inline bool grd_lock_queue_waits(const struct grd_lock_queue *queue)
{
    return queue->convert_first || queue->new_first;
}

/* Enters a claim that holds nothing yet. It has state FREE. */
CF_HOT void grd_lock_queue_enter(struct grd_lock_queue *queue, struct grd_lock_claim *claim);
/* Takes a claim out for good, whatever it holds or waits for. */
CF_HOT void grd_lock_queue_drop(struct grd_lock_queue *queue, struct grd_lock_claim *claim);
/* Begins to wait for `want`. `stake` and `flags` are set by the caller. */
CF_HOT void grd_lock_queue_add(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t want,
                               uint64_t arrival);
/* Ends the wait without a grant: HELD again, or FREE if nothing was ever granted. */
void grd_lock_queue_leave(struct grd_lock_queue *queue, struct grd_lock_claim *claim);
/* Holds `want` from now on. The claim waits, or is FREE or HELD and was found to fit. */
CF_HOT void grd_lock_queue_grant(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t want);
/* Comes down to a mode that `held` covers. */
CF_HOT void grd_lock_queue_lower(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t mode);

/* Does `want` go together with all that other claims than `claim` hold? */
CF_HOT bool grd_lock_queue_fits_claims(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim,
                                       uint8_t want);
/* And with the guard? */
CF_HOT bool grd_lock_queue_fits(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim,
                                uint8_t want);
/*
 * Who is to be granted now, or NULL. *short_out: the first who would be if it were not for the caps, or NULL.
 */
CF_HOT struct grd_lock_claim *grd_lock_queue_next(const struct grd_lock_queue *queue,
                                                  const struct grd_lock_limit *limit,
                                                  struct grd_lock_claim **short_out);
/* Who was overtaken too often and holds this conversion back, or NULL. */
struct grd_lock_claim *grd_lock_queue_holder_back(const struct grd_lock_queue *queue,
                                                  const struct grd_lock_claim *claim);
/* Would this conversion stand against the demand anew? Then it waits until the demand has been met. */
bool grd_lock_queue_is_demanded(const struct grd_lock_queue *queue, const struct grd_lock_limit *limit,
                                const struct grd_lock_claim *claim);
/* Does this conversion wait behind the conversions before it (FIFO)? */
bool grd_lock_queue_is_ordered(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim);
/* Two conversions that keep one another out: the partner of `claim` after `after` (NULL: the first), or NULL. */
struct grd_lock_claim *grd_lock_queue_deadlock(const struct grd_lock_queue *queue,
                                               const struct grd_lock_claim *claim,
                                               const struct grd_lock_claim *after);
/* The weakest mode that covers what all hold. */
CF_HOT uint8_t grd_lock_queue_join(const struct grd_lock_queue *queue);
/* Asserts lists and counts against each other. */
void grd_lock_queue_check(const struct grd_lock_queue *queue);

#endif
