/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Timers of one owner: a hierarchical wheel, intrusive, without clock calls and without allocation.
 *
 *   level 0   | | | |t| ...  64 slots of one tick
 *   level 1   | |t| | | ...  64 slots of 64 ticks; a slot is spread over level 0 when its time begins
 *   ...                      11 levels span all 64 bits
 *
 * A timer sits at the level of the highest six-bit digit in which its due tick differs from the wheel's
 * tick. So before a slot is spread no timer of that span can be on a lower level, and lists keep the
 * order of arming: expiry is ordered by due tick, then by arming (B-3), the same in every run.
 *
 * A timer never fires early (its due time is rounded up to a tick) and is at most one tick late. One armed
 * for a tick that has passed counts as due at the wheel's current tick.
 *
 * Concurrency: one owner, no locks.
 */
#ifndef CF_BASE_WHEEL_H
#define CF_BASE_WHEEL_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define CF_WHEEL_SLOT_BITS 6
#define CF_WHEEL_SLOTS (1u << CF_WHEEL_SLOT_BITS)
#define CF_WHEEL_LEVELS 11

/* Of a list in a ring; timers and the heads of lists have the same. */
struct cf_timer_link {
    struct cf_timer_link *next;
    struct cf_timer_link *prev;
};

struct cf_timer {
    struct cf_timer_link link; /* next is NULL when not armed */
    uint64_t due_ns;
    uint32_t kind; /* the user's, untouched */
    uint16_t slot; /* level * CF_WHEEL_SLOTS + slot, while armed */
    uint16_t spare;
};

struct cf_wheel {
    uint64_t tick; /* all timers of earlier ticks have been returned */
    uint64_t tick_ns;
    uint64_t ticks_a_ns; /* of 2^64 parts, rounded down: no timer costs a division */
    uint64_t armed_count;
    uint64_t occupied[CF_WHEEL_LEVELS]; /* bit s: slot s of the level is not empty */
    struct cf_timer_link slots[CF_WHEEL_LEVELS * CF_WHEEL_SLOTS];
};

void cf_wheel_init(struct cf_wheel *wheel, uint64_t now_ns, uint64_t tick_ns);
void cf_timer_init(struct cf_timer *timer, uint32_t kind);

static inline bool cf_timer_armed(const struct cf_timer *timer)
{
    return timer->link.next != NULL;
}

/* Arms, or moves a timer already armed in this wheel. O(1). */
void cf_wheel_arm(struct cf_wheel *wheel, struct cf_timer *timer, uint64_t due_ns);
/* No effect on a timer that is not armed. O(1). */
void cf_wheel_disarm(struct cf_wheel *wheel, struct cf_timer *timer);
/*
 * One timer due at now_ns, disarmed, or NULL when there is none left. A caller that re-arms what it gets
 * for a time already passed gets it again: bound such loops. now_ns may not fall.
 */
struct cf_timer *cf_wheel_expire(struct cf_wheel *wheel, uint64_t now_ns);
/* A time at or before the next expiry; UINT64_MAX when nothing is armed. Exact within 64 ticks. */
uint64_t cf_wheel_next_ns(const struct cf_wheel *wheel);

#endif
