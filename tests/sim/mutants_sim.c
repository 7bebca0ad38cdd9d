/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Every planted mistake of grd/mutant.def and transport/link/mutant.def is caught within MUTANT_SEEDS seeds by a checker
 * or an assertion, in the program that carries them (SIM_BIN = path of cachefusion-sim). The short run tries a few of
 * the protocol's and all of the links', FULL=1 all. A lane of a link wraps after 1,024 segments: their runs are longer.
 */
#include <fcntl.h>
#include <setjmp.h>
#include <spawn.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/compiler.h"
#include "grd/mutant.h"
#include "tests/sim/harness.h"
#include "tools/sim/seed.h"
#include "transport/link/mutant.h"

#define MUTANT_SEEDS 200u

extern char **environ;

static const char *const short_run[] = {"skip_sharer",  "drop_dirty", "no_refuse",     "release_early",
                                        "cold_unasked", "cold_twice", "move_no_floor", "move_no_entries"};

static const char *const lock_run[] = {SIM_LOCK_MUTANT "tell_after", SIM_LOCK_MUTANT "tell_late"};

static const char *program(void)
{
    const char *path = getenv("SIM_BIN");

    return path != NULL && path[0] != 0 && access(path, X_OK) == 0 ? path : NULL;
}

static bool is_about(const char *mutant, const char *prefix)
{
    return strncmp(mutant, prefix, strlen(prefix)) == 0;
}

/* Exit status of one seed, its output thrown away. */
static int run_seed(const char *path, const char *mutant, uint32_t seed)
{
    char seed_text[16];
    bool is_link = is_about(mutant, SIM_LINK_MUTANT), is_lock = is_about(mutant, SIM_LOCK_MUTANT);
    /* Takes a release or installed that is late, and three who ask for S meanwhile. */
    bool is_crowd = is_about(mutant, "passed");
    const char *argv[] = {path,
                          "sim",
                          "--quiet",
                          "--seed",
                          seed_text,
                          "--mutant",
                          mutant,
                          "--network",
                          is_link ? "links" : "lanes",
                          "--faults",
                          is_link    ? "loss,duplicate,reorder"
                          : is_crowd ? "loss,duplicate,reorder,delay"
                                     : "all",
                          "--instances",
                          is_link    ? "2"
                          : is_crowd ? "16"
                                     : "0",
                          "--seconds",
                          is_link ? "10" : "1",
                          "--ops",
                          is_link    ? "20000"
                          : is_lock  ? "6000"
                          : is_crowd ? "12000"
                                     : "1500",
                          "--cold",
                          is_about(mutant, "cold_") || is_about(mutant, "move_forgets") ? "10" : "0",
                          "--moves",
                          is_about(mutant, "move_") ? "300" : "0",
                          NULL};
    posix_spawn_file_actions_t actions;
    pid_t pid;
    int status = 0;

    snprintf(seed_text, sizeof(seed_text), "%u", seed);
    assert_int_equal(posix_spawn_file_actions_init(&actions), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, STDOUT_FILENO, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn_file_actions_addopen(&actions, STDERR_FILENO, "/dev/null", O_WRONLY, 0), 0);
    assert_int_equal(posix_spawn(&pid, path, &actions, NULL, (char **)(uintptr_t)argv, environ), 0);
    posix_spawn_file_actions_destroy(&actions);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFEXITED(status));
    return WEXITSTATUS(status);
}

/* 0 = survived. */
static uint32_t killed_by(const char *path, const char *mutant)
{
    for (uint32_t seed = 1; seed <= MUTANT_SEEDS; seed++) {
        int status = run_seed(path, mutant, seed);

        if (status == 1)
            return seed;
        assert_int_equal(status, 0);
    }
    return 0;
}

static bool is_chosen(const char *mutant)
{
    if (sim_is_full())
        return true;
    for (uint32_t i = 0; i < CF_COUNTOF(short_run); i++) {
        if (strcmp(short_run[i], mutant) == 0)
            return true;
    }
    return false;
}

/* True: it was caught. */
static bool tell(const char *path, const char *mutant)
{
    uint32_t seed = killed_by(path, mutant);

    if (seed != 0)
        printf("%-24s killed by seed %u\n", mutant, seed);
    else
        printf("%-24s SURVIVED %u seeds\n", mutant, MUTANT_SEEDS);
    return seed != 0;
}

static void planted_mistakes_are_caught(void **state)
{
    const char *path = program();
    uint32_t survivors = 0, tried = 0;

    (void)state;
    if (path == NULL)
        skip();
    for (uint32_t i = 1; i < GRD_MUT_COUNT; i++) {
        if (!is_chosen(grd_mutant_name(i)))
            continue;
        tried++;
        survivors += !tell(path, grd_mutant_name(i));
    }
    assert_true(tried >= CF_COUNTOF(short_run));
    assert_int_equal(survivors, 0);
}

static void planted_mistakes_of_links_are_caught(void **state)
{
    const char *path = program();
    uint32_t survivors = 0;

    (void)state;
    if (path == NULL)
        skip();
    for (uint32_t i = 1; i < XP_LINK_MUT_COUNT; i++) {
        char mutant[64];

        snprintf(mutant, sizeof(mutant), SIM_LINK_MUTANT "%s", xp_link_mutant_name(i));
        survivors += !tell(path, mutant);
    }
    assert_int_equal(survivors, 0);
}

/* Those that what the simulator does to locks can show; grd/lock_mutants_test.c catches all. */
static void planted_mistakes_of_locks_are_caught(void **state)
{
    const char *path = program();
    uint32_t survivors = 0;

    (void)state;
    if (path == NULL)
        skip();
    for (uint32_t i = 0; i < CF_COUNTOF(lock_run); i++)
        survivors += !tell(path, lock_run[i]);
    assert_int_equal(survivors, 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(planted_mistakes_are_caught),
        cmocka_unit_test(planted_mistakes_of_links_are_caught),
        cmocka_unit_test(planted_mistakes_of_locks_are_caught),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
