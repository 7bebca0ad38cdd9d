/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every planted mistake of transport/link/mutant.def is seen by the checker of the lossy network within MUTANT_SEEDS
 * seeds. The machine is compiled here a second time, with the mistakes in it; the library carries none.
 */
#define CF_MUTANTS 1
#include "transport/link/ack.c"
#include "transport/link/link.c"
#include "transport/link/mutant.c"
#include "transport/link/receive.c"
#include "transport/link/send.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stdio.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "tests/unit/transport/link_net.h"

#define MUTANT_SEEDS 20u

/* The first seed that sees it; 0: none does. */
static uint64_t killed_by(enum xp_link_mutant_id mutant)
{
    struct link_net_result result = {0};
    uint64_t seed = 0;

    xp_link_mutant_selected = mutant;
    while (result.why == NULL && seed < MUTANT_SEEDS) {
        struct link_net_options options;

        link_net_options_draw(&options, ++seed);
        link_net_run(&options, &result);
    }
    print_message("%-12s %s%s\n", mutant != XP_LINK_MUT_NONE ? xp_link_mutant_name(mutant) : "none",
                  result.why != NULL ? "killed: " : "lives", result.why != NULL ? result.why : "");
    return result.why != NULL ? seed : 0;
}

static void every_planted_mistake_is_seen(void **state)
{
    (void)state;
    for (uint32_t i = XP_LINK_MUT_NONE + 1; i < XP_LINK_MUT_COUNT; i++)
        assert_int_not_equal(killed_by((enum xp_link_mutant_id)i), 0);
}

static void the_machine_without_a_mistake_lives(void **state)
{
    (void)state;
    assert_int_equal(killed_by(XP_LINK_MUT_NONE), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(every_planted_mistake_is_seen),
        cmocka_unit_test(the_machine_without_a_mistake_lives),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
