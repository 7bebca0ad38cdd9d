/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TRANSPORT_LINK_MUTANT_H
#define TRANSPORT_LINK_MUTANT_H

/*
 * Planted mistakes, so that the test of the lossy network and the simulator can prove that they see each of them. Without
 * CF_MUTANTS the condition is the constant false and leaves no code.
 */
#include <stdbool.h>
#include <stdint.h>

#ifndef CF_MUTANTS
#define CF_MUTANTS 0
#endif

enum xp_link_mutant_id {
    XP_LINK_MUT_NONE = 0,
#define XP_LINK_MUTANT(upper, name, text) XP_LINK_MUT_##upper,
#include "transport/link/mutant.def"
#undef XP_LINK_MUTANT
    XP_LINK_MUT_COUNT
};

/* "wrap"; NULL outside 1 .. XP_LINK_MUT_COUNT - 1. */
const char *xp_link_mutant_name(uint32_t mutant);
const char *xp_link_mutant_text(uint32_t mutant);

#if CF_MUTANTS
/* The one planted mistake of this process; set before a link is opened, by who is built with mutants. */
extern enum xp_link_mutant_id xp_link_mutant_selected;
#define xp_link_mutant(id) (xp_link_mutant_selected == (id))
#else
#define xp_link_mutant(id) false
#endif

#endif
