/* SPDX-License-Identifier: Apache-2.0 */
#include "base/wheel.h"

#include <stddef.h>

#include "base/assert.h"

#define SLOT_MASK (CF_WHEEL_SLOTS - 1)

_Static_assert(CF_WHEEL_LEVELS *CF_WHEEL_SLOT_BITS >= 64, "levels span all ticks");

static struct cf_timer *timer_of(struct cf_timer_link *link)
{
    return cf_container_of(link, struct cf_timer, link);
}

void cf_wheel_init(struct cf_wheel *wheel, uint64_t now_ns, uint64_t tick_ns)
{
    cf_assert(tick_ns != 0);
    wheel->tick = now_ns / tick_ns;
    wheel->tick_ns = tick_ns;
    wheel->ticks_a_ns = UINT64_MAX / tick_ns;
    wheel->armed_count = 0;
    for (uint32_t level = 0; level < CF_WHEEL_LEVELS; level++)
        wheel->occupied[level] = 0;
    for (uint32_t slot = 0; slot < CF_WHEEL_LEVELS * CF_WHEEL_SLOTS; slot++) {
        struct cf_timer_link *head = &wheel->slots[slot];
        head->next = head;
        head->prev = head;
    }
}

void cf_timer_init(struct cf_timer *timer, uint32_t kind)
{
    *timer = (struct cf_timer){.kind = kind};
}

static uint32_t slot_of_tick(const struct cf_wheel *wheel, uint64_t due_tick)
{
    uint64_t differs = due_tick ^ wheel->tick;
    uint32_t level = differs == 0 ? 0 : (63 - (uint32_t)__builtin_clzll(differs)) / CF_WHEEL_SLOT_BITS;
    uint32_t digit = (uint32_t)(due_tick >> (level * CF_WHEEL_SLOT_BITS)) & SLOT_MASK;

    return level * CF_WHEEL_SLOTS + digit;
}

/* The first tick that is not before the time. The product is too low by less than 3. */
static uint64_t tick_at(const struct cf_wheel *wheel, uint64_t due_ns)
{
    uint64_t tick = (uint64_t)((unsigned __int128)due_ns * wheel->ticks_a_ns >> 64);
    uint64_t left = due_ns - tick * wheel->tick_ns;

    for (; left > wheel->tick_ns; left -= wheel->tick_ns)
        tick++;
    return tick + (left != 0);
}

static void insert(struct cf_wheel *wheel, struct cf_timer *timer)
{
    uint64_t due_tick = tick_at(wheel, timer->due_ns);
    uint32_t slot = slot_of_tick(wheel, due_tick > wheel->tick ? due_tick : wheel->tick);
    struct cf_timer_link *head = &wheel->slots[slot], *link = &timer->link;

    timer->slot = (uint16_t)slot;
    link->next = head;
    link->prev = head->prev;
    link->prev->next = link;
    head->prev = link;
    wheel->occupied[slot / CF_WHEEL_SLOTS] |= UINT64_C(1) << (slot & SLOT_MASK);
}

static void unlink_timer(struct cf_wheel *wheel, struct cf_timer *timer)
{
    uint32_t slot = timer->slot;

    timer->link.prev->next = timer->link.next;
    timer->link.next->prev = timer->link.prev;
    timer->link.next = NULL;
    timer->link.prev = NULL;
    if (wheel->slots[slot].next == &wheel->slots[slot])
        wheel->occupied[slot / CF_WHEEL_SLOTS] &= ~(UINT64_C(1) << (slot & SLOT_MASK));
}

void cf_wheel_arm(struct cf_wheel *wheel, struct cf_timer *timer, uint64_t due_ns)
{
    if (cf_timer_armed(timer))
        unlink_timer(wheel, timer);
    else
        wheel->armed_count++;
    timer->due_ns = due_ns;
    insert(wheel, timer);
}

void cf_wheel_disarm(struct cf_wheel *wheel, struct cf_timer *timer)
{
    if (!cf_timer_armed(timer))
        return;
    cf_assert_slow(wheel->armed_count > 0);
    unlink_timer(wheel, timer);
    wheel->armed_count--;
}

/* First tick of a slot: the wheel's digits above the level, the slot's digit, zeros below. */
static uint64_t slot_begin_tick(const struct cf_wheel *wheel, uint32_t level, uint32_t digit)
{
    uint32_t shift = level * CF_WHEEL_SLOT_BITS;
    uint64_t above = shift + CF_WHEEL_SLOT_BITS >= 64
                         ? 0
                         : wheel->tick >> (shift + CF_WHEEL_SLOT_BITS) << (shift + CF_WHEEL_SLOT_BITS);

    return above | (uint64_t)digit << shift;
}

/*
 * The lowest level with a timer holds the earliest: all its slots lie before the next slot of the level
 * above. Slots behind the wheel's digit are empty, so the lowest bit is the first in time.
 */
static bool first_slot(const struct cf_wheel *wheel, uint32_t *level_out, uint32_t *digit_out)
{
    for (uint32_t level = 0; level < CF_WHEEL_LEVELS; level++) {
        if (wheel->occupied[level] != 0) {
            *level_out = level;
            *digit_out = (uint32_t)__builtin_ctzll(wheel->occupied[level]);
            return true;
        }
    }
    return false;
}

/* The wheel's tick has reached the slot's begin: its timers move to lower levels, in order. */
static void spread(struct cf_wheel *wheel, uint32_t level, uint32_t digit)
{
    uint32_t slot = level * CF_WHEEL_SLOTS + digit;

    while (wheel->slots[slot].next != &wheel->slots[slot]) {
        struct cf_timer *timer = timer_of(wheel->slots[slot].next);
        unlink_timer(wheel, timer);
        insert(wheel, timer);
        cf_assert_slow(timer->slot / CF_WHEEL_SLOTS < level);
    }
}

struct cf_timer *cf_wheel_expire(struct cf_wheel *wheel, uint64_t now_ns)
{
    uint64_t now_tick = now_ns / wheel->tick_ns;
    uint32_t level, digit;

    /* At most one turn a level: each spread leads to a lower one. */
    while (first_slot(wheel, &level, &digit)) {
        uint64_t begin = slot_begin_tick(wheel, level, digit);

        if (begin > now_tick)
            break;
        cf_assert(begin >= wheel->tick); /* B-3 */
        wheel->tick = begin;
        if (level == 0) {
            struct cf_timer *timer = timer_of(wheel->slots[digit].next);
            unlink_timer(wheel, timer);
            wheel->armed_count--;
            return timer;
        }
        spread(wheel, level, digit);
    }
    if (now_tick > wheel->tick)
        wheel->tick = now_tick;
    return NULL;
}

uint64_t cf_wheel_next_ns(const struct cf_wheel *wheel)
{
    uint32_t level, digit;
    uint64_t tick;

    if (!first_slot(wheel, &level, &digit))
        return UINT64_MAX;
    tick = slot_begin_tick(wheel, level, digit);
    return tick > UINT64_MAX / wheel->tick_ns ? UINT64_MAX - 1 : tick * wheel->tick_ns;
}
