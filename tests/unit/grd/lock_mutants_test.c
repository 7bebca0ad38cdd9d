/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every planted mistake of grd/lock_mutant.def is caught by the brute-force model of a queue or by the checkers of
 * the simulated cluster within SEEDS seeds; without one the same seeds pass. The sources that carry the mistakes are
 * compiled into this test with the mistakes alive, in place of those of the library.
 */
#define CF_LOCK_MUTANTS 1
#include "grd/lock_ask.c"
#include "grd/lock_hear.c"
#include "grd/lock_master.c"
#include "grd/lock_queue.c"
#include "grd/lock_share.c"
#include "grd/lock_store.c"
#include "grd/lock_swap.c"
#include "grd/lock_wait.c"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <cmocka.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include "tests/unit/grd/lock_model.h"
#include "tests/unit/grd/lock_sim.h"

#define SEEDS 300u
#define CHILD_S 20u

enum grd_lock_mutant_id grd_lock_mutant_selected;

static bool is_of_detector(enum grd_lock_mutant_id mutant)
{
    return mutant == GRD_LOCK_MUT_TELL_AFTER || mutant == GRD_LOCK_MUT_TELL_LATE;
}

/* In a process of its own, silent and without a core file: an assertion is as good an answer as a checker's. */
static bool passes(enum grd_lock_mutant_id mutant, uint64_t seed)
{
    int status = 0;
    pid_t pid;

    fflush(NULL);
    pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        struct lock_sim_options options = is_of_detector(mutant) ? lock_sim_draw_deadlocks(seed)
                                                                 : lock_sim_draw(seed);
        struct lock_sim_result result;
        struct lock_model_counts counts;
        struct rlimit none = {0, 0};
        int null = open("/dev/null", O_WRONLY);

        if (null < 0 || dup2(null, STDERR_FILENO) < 0 || setrlimit(RLIMIT_CORE, &none) != 0)
            _exit(3);
        alarm(CHILD_S);
        grd_lock_mutant_selected = mutant;
        if (!lock_model_run(seed, 1000, &counts))
            _exit(1);
        lock_sim_run(&options, &result);
        _exit(0);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_false(WIFEXITED(status) && WEXITSTATUS(status) == 3);
    return WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

static void planted_mistakes_are_caught(void **state)
{
    uint32_t survivors = 0;

    (void)state;
    for (uint32_t mutant = 1; mutant < GRD_LOCK_MUT_COUNT; mutant++) {
        uint64_t seed = 1;

        while (seed <= SEEDS && passes((enum grd_lock_mutant_id)mutant, seed))
            seed++;
        if (seed <= SEEDS)
            printf("%-20s killed by seed %u\n", grd_lock_mutant_name(mutant), (uint32_t)seed);
        else
            printf("%-20s SURVIVED\n", grd_lock_mutant_name(mutant));
        survivors += seed > SEEDS;
    }
    assert_int_equal(survivors, 0);
}

static void without_one_the_seeds_pass(void **state)
{
    (void)state;
    for (uint64_t seed = 1; seed <= SEEDS; seed++)
        assert_true(passes(GRD_LOCK_MUT_NONE, seed));
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(without_one_the_seeds_pass),
        cmocka_unit_test(planted_mistakes_are_caught),
    };

    return cmocka_run_group_tests_name("grd/lock_mutants", tests, NULL, NULL);
}
