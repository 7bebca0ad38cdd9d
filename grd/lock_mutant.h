/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_LOCK_MUTANT_H
#define GRD_LOCK_MUTANT_H

/*
 * Planted mistakes of the lock protocol, as in grd/mutant.h; alive only where the lock's sources are compiled with
 * CF_LOCK_MUTANTS: in the test that proves that the checkers see each of them, and in cachefusion-sim, where their names
 * begin with lock_.
 */
#include <stdint.h>

#include "grd/mutant.h"

#ifndef CF_LOCK_MUTANTS
#define CF_LOCK_MUTANTS CF_MUTANTS
#endif

enum grd_lock_mutant_id {
    GRD_LOCK_MUT_NONE = 0,
#define GRD_LOCK_MUTANT(upper, name, text) GRD_LOCK_MUT_##upper,
#include "grd/lock_mutant.def"
#undef GRD_LOCK_MUTANT
    GRD_LOCK_MUT_COUNT
};

/* "tell_late"; NULL outside 1 .. GRD_LOCK_MUT_COUNT - 1. */
const char *grd_lock_mutant_name(uint32_t mutant);
const char *grd_lock_mutant_text(uint32_t mutant);

#if CF_LOCK_MUTANTS
/* The one planted mistake. */
extern enum grd_lock_mutant_id grd_lock_mutant_selected;
#define grd_lock_mutant(id) (grd_lock_mutant_selected == (id))
#else
#define grd_lock_mutant(id) 0
#endif

#endif
