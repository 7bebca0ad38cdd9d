/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MUTANT_H
#define GRD_MUTANT_H

/*
 * Planted protocol mistakes, so that tests can prove that the simulator's checkers see each of them. Written
 * where a rule of the protocol is applied, as `if (rule_holds || grd_mutant(GRD_MUT_NAME))`. Everywhere but in
 * cachefusion-sim (built with CF_MUTANTS) the condition is the constant false and leaves no code.
 */
#include <stdbool.h>
#include <stdint.h>

#ifndef CF_MUTANTS
#define CF_MUTANTS 0
#endif

enum grd_mutant_id {
    GRD_MUT_NONE = 0,
#define GRD_MUTANT(upper, name, text) GRD_MUT_##upper,
#include "grd/mutant.def"
#undef GRD_MUTANT
    GRD_MUT_COUNT
};

/* "skip_sharer"; NULL outside 1 .. GRD_MUT_COUNT - 1. */
const char *grd_mutant_name(uint32_t mutant);
const char *grd_mutant_text(uint32_t mutant);

#if CF_MUTANTS
/* The one planted mistake of this process; set before an instance is opened. */
extern enum grd_mutant_id grd_mutant_selected;
#define grd_mutant(id) (grd_mutant_selected == (id))
/* False: no mutant of this name. NULL plants none. */
bool grd_mutant_select(const char *name);
#else
#define grd_mutant(id) false
#endif

#endif
