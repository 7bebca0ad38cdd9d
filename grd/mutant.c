/* SPDX-License-Identifier: Apache-2.0 */
#include "grd/lock_mutant.h"

#include <stddef.h>
#include <string.h>

struct mutant {
    const char *name;
    const char *text;
};

static const struct mutant mutants[GRD_MUT_COUNT] = {
#define GRD_MUTANT(upper, name, text) [GRD_MUT_##upper] = {#name, text},
#include "grd/mutant.def"
#undef GRD_MUTANT
};

static const struct mutant lock_mutants[GRD_LOCK_MUT_COUNT] = {
#define GRD_LOCK_MUTANT(upper, name, text) [GRD_LOCK_MUT_##upper] = {#name, text},
#include "grd/lock_mutant.def"
#undef GRD_LOCK_MUTANT
};

const char *grd_mutant_name(uint32_t mutant)
{
    return mutant < GRD_MUT_COUNT ? mutants[mutant].name : NULL;
}

const char *grd_mutant_text(uint32_t mutant)
{
    return mutant < GRD_MUT_COUNT ? mutants[mutant].text : NULL;
}

const char *grd_lock_mutant_name(uint32_t mutant)
{
    return mutant < GRD_LOCK_MUT_COUNT ? lock_mutants[mutant].name : NULL;
}

const char *grd_lock_mutant_text(uint32_t mutant)
{
    return mutant < GRD_LOCK_MUT_COUNT ? lock_mutants[mutant].text : NULL;
}

#if CF_MUTANTS
enum grd_mutant_id grd_mutant_selected = GRD_MUT_NONE;
enum grd_lock_mutant_id grd_lock_mutant_selected = GRD_LOCK_MUT_NONE;

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
