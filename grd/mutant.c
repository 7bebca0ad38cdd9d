/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/mutant.h"

#include <stddef.h>
#include <string.h>

static const struct {
    const char *name;
    const char *text;
} mutants[GRD_MUT_COUNT] = {
#define GRD_MUTANT(upper, name, text) [GRD_MUT_##upper] = {#name, text},
#include "grd/mutant.def"
#undef GRD_MUTANT
};

const char *grd_mutant_name(uint32_t mutant)
{
    return mutant < GRD_MUT_COUNT ? mutants[mutant].name : NULL;
}

const char *grd_mutant_text(uint32_t mutant)
{
    return mutant < GRD_MUT_COUNT ? mutants[mutant].text : NULL;
}

#if CF_MUTANTS
enum grd_mutant_id grd_mutant_selected = GRD_MUT_NONE;

bool grd_mutant_select(const char *name)
{
    for (uint32_t i = GRD_MUT_NONE + 1; name != NULL && i < GRD_MUT_COUNT; i++) {
        if (strcmp(mutants[i].name, name) == 0) {
            grd_mutant_selected = (enum grd_mutant_id)i;
            return true;
        }
    }
    grd_mutant_selected = GRD_MUT_NONE;
    return name == NULL;
}
#endif
