/* SPDX-License-Identifier: Apache-2.0 */
#include "transport/link/mutant.h"

#if CF_MUTANTS
enum xp_link_mutant_id xp_link_mutant_selected = XP_LINK_MUT_NONE;
#endif
