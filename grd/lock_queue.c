/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/lock_queue.h"

#include <stddef.h>

#include "base/assert.h"
#include "grd/lock_mutant.h"

/* ------------------------------------------------------------------ lists */

static void queue_unlink(struct grd_lock_queue *queue, struct grd_lock_claim *claim)
{
    bool is_conversion = claim->state == GRD_LOCK_CONVERTING;
    struct grd_lock_claim **first = is_conversion ? &queue->convert_first : &queue->new_first;
    struct grd_lock_claim **last = is_conversion ? &queue->convert_last : &queue->new_last;

    *(claim->queue_prev ? &claim->queue_prev->queue_next : first) = claim->queue_next;
    *(claim->queue_next ? &claim->queue_next->queue_prev : last) = claim->queue_prev;
    claim->queue_next = claim->queue_prev = NULL;
    if (claim->overtaken >= GRD_LOCK_OVERTAKE_MAX)
        queue->exhausted_count--;
    claim->overtaken = 0;
}

/* Behind `after`, or first. */
static void new_link(struct grd_lock_queue *queue, struct grd_lock_claim *claim, struct grd_lock_claim *after)
{
    claim->queue_prev = after;
    claim->queue_next = after ? after->queue_next : queue->new_first;
    *(after ? &after->queue_next : &queue->new_first) = claim;
    *(claim->queue_next ? &claim->queue_next->queue_prev : &queue->new_last) = claim;
}

void grd_lock_queue_enter(struct grd_lock_queue *queue, struct grd_lock_claim *claim)
{
    cf_assert(claim->state == GRD_LOCK_FREE);
    claim->next = NULL;
    claim->prev = queue->last;
    *(queue->last ? &queue->last->next : &queue->first) = claim;
    queue->last = claim;
    queue->claims_count++;
    claim->queue_next = claim->queue_prev = NULL;
    claim->held = claim->want = claim->stake = GRD_LOCK_NL;
    claim->is_known = false;
    claim->overtaken = 0;
}

void grd_lock_queue_drop(struct grd_lock_queue *queue, struct grd_lock_claim *claim)
{
    if (grd_lock_is_waiting(claim))
        queue_unlink(queue, claim);
    if (claim->is_known)
        queue->held_count[claim->held]--;
    *(claim->prev ? &claim->prev->next : &queue->first) = claim->next;
    *(claim->next ? &claim->next->prev : &queue->last) = claim->prev;
    claim->next = claim->prev = NULL;
    claim->state = GRD_LOCK_FREE;
    claim->is_known = false;
    queue->claims_count--;
}

/* ------------------------------------------------------------------ waiting */

static void overtake(struct grd_lock_queue *queue, struct grd_lock_claim *waiter)
{
    if (++waiter->overtaken == GRD_LOCK_OVERTAKE_MAX)
        queue->exhausted_count++;
}

/* The head of the queue, but behind those that may not be overtaken any more. */
static void head_link(struct grd_lock_queue *queue, struct grd_lock_claim *claim)
{
    struct grd_lock_claim *after = queue->new_last;

    while (after && after->overtaken < GRD_LOCK_OVERTAKE_MAX) {
        overtake(queue, after);
        after = after->queue_prev;
    }
    new_link(queue, claim, after);
}

void grd_lock_queue_add(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t want,
                        uint64_t arrival)
{
    cf_assert(claim->state == GRD_LOCK_FREE || claim->state == GRD_LOCK_HELD);
    claim->want = want;
    claim->arrival = arrival;
    claim->overtaken = 0;
    if (claim->held != GRD_LOCK_NL) {
        claim->state = GRD_LOCK_CONVERTING;
        claim->queue_next = NULL;
        claim->queue_prev = queue->convert_last;
        *(queue->convert_last ? &queue->convert_last->queue_next : &queue->convert_first) = claim;
        queue->convert_last = claim;
        return;
    }
    claim->state = GRD_LOCK_WAITING;
    if (want == GRD_LOCK_NL)
        new_link(queue, claim, NULL);
    else if (claim->flags & GRD_LOCK_HEAD)
        head_link(queue, claim);
    else
        new_link(queue, claim, queue->new_last);
}

void grd_lock_queue_leave(struct grd_lock_queue *queue, struct grd_lock_claim *claim)
{
    queue_unlink(queue, claim);
    claim->state = claim->is_known ? GRD_LOCK_HELD : GRD_LOCK_FREE;
    claim->want = claim->held;
}

/* Does what it holds keep a conversion that waits out? Then it must move first, whatever the order. */
static bool keeps_out(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim)
{
    const struct grd_lock_claim *other;

    for (other = queue->convert_first; other; other = other->queue_next)
        if (other != claim && !grd_lock_compatible(claim->held, other->want))
            return true;
    return false;
}

/* The first of the new who holds it back. Behind one that it keeps out itself nobody does. */
static struct grd_lock_claim *new_holder_back(const struct grd_lock_queue *queue,
                                              const struct grd_lock_claim *claim)
{
    struct grd_lock_claim *waiter;

    if (keeps_out(queue, claim))
        return NULL;
    for (waiter = queue->new_first; waiter && grd_lock_compatible(claim->held, waiter->want);
         waiter = waiter->queue_next)
        if (waiter->overtaken >= GRD_LOCK_OVERTAKE_MAX && waiter->arrival < claim->arrival)
            return waiter;
    return NULL;
}

/* The conversion is granted, and passes those that came before it. It is out of its queue already. */
static void count_overtaken(struct grd_lock_queue *queue, const struct grd_lock_claim *claim)
{
    struct grd_lock_claim *waiter;

    if (keeps_out(queue, claim))
        return;
    for (waiter = queue->convert_first; waiter; waiter = waiter->queue_next)
        if (waiter->arrival < claim->arrival && !(queue->exhausted_count && new_holder_back(queue, waiter)))
            overtake(queue, waiter);
    for (waiter = queue->new_first; waiter && grd_lock_compatible(claim->held, waiter->want);
         waiter = waiter->queue_next)
        if (waiter->arrival < claim->arrival)
            overtake(queue, waiter);
}

void grd_lock_queue_grant(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t want)
{
    bool is_conversion = claim->state == GRD_LOCK_CONVERTING;

    if (grd_lock_is_waiting(claim))
        queue_unlink(queue, claim);
    if (is_conversion)
        count_overtaken(queue, claim);
    if (claim->is_known)
        queue->held_count[claim->held]--;
    queue->held_count[want]++;
    claim->held = claim->want = claim->stake = want;
    claim->state = GRD_LOCK_HELD;
    claim->is_known = true;
}

void grd_lock_queue_lower(struct grd_lock_queue *queue, struct grd_lock_claim *claim, uint8_t mode)
{
    cf_assert(claim->is_known);
    cf_assert(grd_lock_covers(claim->held, mode));
    queue->held_count[claim->held]--;
    queue->held_count[mode]++;
    claim->held = mode;
    if (!grd_lock_is_waiting(claim))
        claim->want = claim->stake = mode;
    else if (!grd_lock_covers(mode, claim->stake))
        claim->stake = GRD_LOCK_NL;
}

/* ------------------------------------------------------------------ who is next */

bool grd_lock_queue_fits(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim, uint8_t want)
{
    if (grd_lock_mutant(GRD_LOCK_MUT_GUARD_NONE) && claim->held == GRD_LOCK_PR)
        return true;
    return !(grd_lock_conflicts[want] >> queue->guard & 1) && grd_lock_queue_fits_claims(queue, claim, want);
}

bool grd_lock_queue_fits_claims(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim,
                                uint8_t want)
{
    uint8_t conflicts = grd_lock_conflicts[want];

    for (uint8_t mode = GRD_LOCK_CR; mode < GRD_LOCK_MODES; mode++)
        if ((conflicts >> mode & 1) &&
            queue->held_count[mode] > (uint32_t)(claim->is_known && claim->held == mode))
            return false;
    return true;
}

struct grd_lock_claim *grd_lock_queue_holder_back(const struct grd_lock_queue *queue,
                                                  const struct grd_lock_claim *claim)
{
    struct grd_lock_claim *waiter;

    if (queue->exhausted_count == 0 || grd_lock_mutant(GRD_LOCK_MUT_NO_BOUND) || keeps_out(queue, claim))
        return NULL;
    waiter = new_holder_back(queue, claim);
    if (waiter)
        return waiter;
    for (waiter = queue->convert_first; waiter; waiter = waiter->queue_next)
        if (waiter->overtaken >= GRD_LOCK_OVERTAKE_MAX && waiter->arrival < claim->arrival &&
            !new_holder_back(queue, waiter))
            return waiter;
    return NULL;
}

bool grd_lock_queue_is_demanded(const struct grd_lock_queue *queue, const struct grd_lock_limit *limit,
                                const struct grd_lock_claim *claim)
{
    return !grd_lock_compatible(claim->want, limit->demand) &&
           grd_lock_compatible(claim->held, limit->demand) && !keeps_out(queue, claim);
}

bool grd_lock_queue_is_ordered(const struct grd_lock_queue *queue, const struct grd_lock_claim *claim)
{
    return (claim->flags & GRD_LOCK_FIFO) && !keeps_out(queue, claim);
}

static bool is_allowed(const struct grd_lock_limit *limit, const struct grd_lock_claim *claim)
{
    return limit->is_known && grd_lock_covers(limit->cap, claim->want) &&
           grd_lock_covers(limit->ask_cap, claim->want);
}

/* Notes the first who only lacks the caps, one that holds something before one that was demoted. */
static bool may_go(const struct grd_lock_limit *limit, struct grd_lock_claim *claim,
                   struct grd_lock_claim **short_out)
{
    if (is_allowed(limit, claim))
        return true;
    if (*short_out == NULL || (claim->held != GRD_LOCK_NL && (*short_out)->held == GRD_LOCK_NL))
        *short_out = claim;
    return false;
}

struct grd_lock_claim *grd_lock_queue_next(const struct grd_lock_queue *queue,
                                           const struct grd_lock_limit *limit,
                                           struct grd_lock_claim **short_out)
{
    struct grd_lock_claim *claim = queue->new_first;
    bool is_gated = false;

    *short_out = NULL;
    if (claim && claim->want == GRD_LOCK_NL && may_go(limit, claim, short_out))
        return claim;
    for (claim = queue->convert_first; claim; claim = claim->queue_next) {
        if (grd_lock_queue_is_demanded(queue, limit, claim) || grd_lock_queue_holder_back(queue, claim))
            continue;
        if (is_gated && grd_lock_queue_is_ordered(queue, claim))
            continue;
        is_gated = true;
        if (grd_lock_queue_fits(queue, claim, claim->want) && may_go(limit, claim, short_out))
            return claim;
    }
    claim = queue->new_first;
    if (claim == NULL || (is_gated && !grd_lock_mutant(GRD_LOCK_MUT_NEW_FIRST)) ||
        !grd_lock_compatible(claim->want, limit->demand) || !grd_lock_queue_fits(queue, claim, claim->want) ||
        !may_go(limit, claim, short_out))
        return NULL;
    return claim;
}

/* With more than two, two of them keep one another out already: docs/locks.md. */
struct grd_lock_claim *grd_lock_queue_deadlock(const struct grd_lock_queue *queue,
                                               const struct grd_lock_claim *claim,
                                               const struct grd_lock_claim *after)
{
    struct grd_lock_claim *other = after ? after->queue_next : queue->convert_first;

    if (grd_lock_mutant(GRD_LOCK_MUT_NO_DEADLOCK))
        return NULL;
    for (; other; other = other->queue_next)
        if (other != claim && !grd_lock_compatible(other->stake, claim->want) &&
            !grd_lock_compatible(claim->stake, other->want))
            return other;
    return NULL;
}

uint8_t grd_lock_queue_join(const struct grd_lock_queue *queue)
{
    uint8_t mode, join = GRD_LOCK_NL;

    for (mode = GRD_LOCK_CR; mode < GRD_LOCK_MODES; mode++)
        if (queue->held_count[mode] > 0)
            join = grd_lock_join(join, mode);
    return join;
}

/* ------------------------------------------------------------------ check */

static void check_queue(const struct grd_lock_claim *first, const struct grd_lock_claim *last, uint8_t state,
                        uint32_t *exhausted_count)
{
    const struct grd_lock_claim *claim, *before = NULL;

    for (claim = first; claim; before = claim, claim = claim->queue_next) {
        cf_assert(claim->queue_prev == before);
        cf_assert(claim->state == state);
        cf_assert_id(claim->overtaken <= GRD_LOCK_OVERTAKE_MAX, "I-11");
        *exhausted_count += claim->overtaken == GRD_LOCK_OVERTAKE_MAX;
    }
    cf_assert(before == last);
}

void grd_lock_queue_check(const struct grd_lock_queue *queue)
{
    uint32_t held_count[GRD_LOCK_MODES] = {0}, claims_count = 0, exhausted_count = 0;
    const struct grd_lock_claim *claim;

    for (claim = queue->first; claim; claim = claim->next) {
        claims_count++;
        if (claim->is_known)
            held_count[claim->held]++;
        cf_assert_id(!claim->is_known || grd_lock_queue_fits(queue, claim, claim->held) ||
                         !grd_lock_compatible(queue->guard, claim->held),
                     "I-11");
    }
    cf_assert(claims_count == queue->claims_count);
    for (uint8_t mode = 0; mode < GRD_LOCK_MODES; mode++)
        cf_assert(held_count[mode] == queue->held_count[mode]);
    check_queue(queue->convert_first, queue->convert_last, GRD_LOCK_CONVERTING, &exhausted_count);
    check_queue(queue->new_first, queue->new_last, GRD_LOCK_WAITING, &exhausted_count);
    cf_assert(exhausted_count == queue->exhausted_count);
}
