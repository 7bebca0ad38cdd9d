/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_TABLE_H
#define GRD_LOCK_TABLE_H

/*
 * Lock modes and what follows from them, as literal tables: which go together, what a conversion does with the
 * lock's value. docs/locks.md shows them; a test compares them with the text.
 */
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

enum grd_lock_mode {
    GRD_LOCK_NL = 0, /* null: excludes nothing, keeps the lock known */
    GRD_LOCK_CR = 1, /* concurrent read */
    GRD_LOCK_CW = 2, /* concurrent write */
    GRD_LOCK_PR = 3, /* protected read */
    GRD_LOCK_PW = 4, /* protected write */
    GRD_LOCK_EX = 5, /* exclusive */
    GRD_LOCK_MODES = 6,
    /* In reports to the deadlock detector: waits behind another waiter whatever the modes, by order alone. */
    GRD_LOCK_ANY = 7
};

/* What a conversion does with the value: nothing, hands it to the caller, stores the caller's. */
enum grd_lock_move { GRD_LOCK_KEEP = 0, GRD_LOCK_READ_VALUE = 1, GRD_LOCK_WRITE_VALUE = 2 };

/* Row of the value table for a new lock; the other rows are modes. */
#define GRD_LOCK_ROW_NEW GRD_LOCK_MODES

/* Bit m of conflicts[a]: a and m do not go together. Symmetric. */
extern const uint8_t grd_lock_conflicts[GRD_LOCK_MODES];
/* Bit m of covered[a]: whoever holds a keeps everybody out that m would. */
extern const uint8_t grd_lock_covered[GRD_LOCK_MODES];

static inline bool grd_lock_compatible(uint8_t held, uint8_t wanted)
{
    return !(grd_lock_conflicts[wanted] >> held & 1);
}

const char *grd_lock_mode_name(uint8_t mode);
/* Conversion from `from` (a mode, or GRD_LOCK_ROW_NEW) to `to`. */
CF_HOT enum grd_lock_move grd_lock_value_move(uint8_t from, uint8_t to);
/* Whoever holds `mode` keeps everybody else out that `other` would: so `other` can be granted beneath it. */
static inline bool grd_lock_covers(uint8_t mode, uint8_t other)
{
    return grd_lock_covered[mode] >> other & 1;
}
/* The weakest mode that covers both. */
CF_HOT uint8_t grd_lock_join(uint8_t a, uint8_t b);
/* The strongest mode that `mode` covers and that goes together with `wanted`; NL where there is no other. */
uint8_t grd_lock_lowered(uint8_t mode, uint8_t wanted);

#endif
