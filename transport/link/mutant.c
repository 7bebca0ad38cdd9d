/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/link/mutant.h"

#include <stddef.h>

static const struct {
    const char *name;
    const char *text;
} mutants[XP_LINK_MUT_COUNT] = {
#define XP_LINK_MUTANT(upper, name, text) [XP_LINK_MUT_##upper] = {#name, text},
#include "transport/link/mutant.def"
#undef XP_LINK_MUTANT
};

const char *xp_link_mutant_name(uint32_t mutant)
{
    return mutant < XP_LINK_MUT_COUNT ? mutants[mutant].name : NULL;
}

const char *xp_link_mutant_text(uint32_t mutant)
{
    return mutant < XP_LINK_MUT_COUNT ? mutants[mutant].text : NULL;
}

#if CF_MUTANTS
enum xp_link_mutant_id xp_link_mutant_selected = XP_LINK_MUT_NONE;
#endif
