/* SPDX-License-Identifier: Apache-2.0 */
/* Threads of the library and the program's signals: what the program has blocked stays blocked, whichever signal it is. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/thread.h"

static volatile sig_atomic_t taken;

static void on_signal(int number)
{
    (void)number;
    taken = taken + 1;
}

static void *mask_read(void *arg)
{
    return pthread_sigmask(SIG_BLOCK, NULL, arg) == 0 ? arg : NULL;
}

static sigset_t mask_of_a_thread(void)
{
    pthread_t thread;
    sigset_t mask;
    void *answer;

    assert_int_equal(cf_thread_start(&thread, "cf-test", mask_read, &mask), 0);
    assert_int_equal(pthread_join(thread, &answer), 0);
    assert_ptr_equal(answer, &mask);
    return mask;
}

static void a_thread_takes_its_own_faults_and_nothing_else(void **state)
{
    sigset_t before, after, mask;

    (void)state;
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &before), 0);
    mask = mask_of_a_thread();
    assert_int_equal(pthread_sigmask(SIG_BLOCK, NULL, &after), 0);
    assert_int_equal(sigismember(&mask, SIGTERM), 1);
    assert_int_equal(sigismember(&mask, SIGCHLD), 1);
    assert_int_equal(sigismember(&mask, SIGSEGV), 0);
    assert_int_equal(sigismember(&mask, SIGTRAP), 0);
    for (int number = 1; number < SIGRTMIN; number++)
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
}

/* A program that takes them by sigwait has all signals blocked in all of its threads: ours must not take one for it. */
static void what_the_program_blocks_waits_for_the_program(void **state)
{
    struct sigaction action = {.sa_handler = on_signal}, old;
    sigset_t all, before, mask, pending, trap;
    int number = 0;

    (void)state;
    taken = 0;
    sigemptyset(&trap);
    sigaddset(&trap, SIGTRAP);
    sigfillset(&all);
    assert_int_equal(sigaction(SIGTRAP, &action, &old), 0);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &all, &before), 0);
    assert_int_equal(kill(getpid(), SIGTRAP), 0);
    mask = mask_of_a_thread();
    assert_int_equal(sigismember(&mask, SIGTRAP), 1);
    assert_int_equal(taken, 0);
    assert_int_equal(sigpending(&pending), 0);
    assert_int_equal(sigismember(&pending, SIGTRAP), 1);
    assert_int_equal(sigwait(&trap, &number), 0);
    assert_int_equal(number, SIGTRAP);
    assert_int_equal(pthread_sigmask(SIG_SETMASK, &before, NULL), 0);
    assert_int_equal(sigaction(SIGTRAP, &old, NULL), 0);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(a_thread_takes_its_own_faults_and_nothing_else),
                                       cmocka_unit_test(what_the_program_blocks_waits_for_the_program)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
