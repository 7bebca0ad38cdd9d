/* SPDX-License-Identifier: Apache-2.0 */
/* The library in somebody else's program: its threads leave the program's signals to the program. Real threads. */
#include <ctype.h>
#include <dirent.h>
#include <inttypes.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>
#include <cmocka.h>

#include "base/compiler.h"
#include "tests/unit/engine/cluster_fixture.h"

static const int of_the_program[] = {SIGINT,  SIGTERM, SIGHUP,   SIGUSR1, SIGUSR2,
                                     SIGALRM, SIGCHLD, SIGWINCH, SIGPIPE};
static const int of_the_thread[] = {SIGSEGV, SIGBUS, SIGFPE, SIGILL};

static bool is_blocked(uint64_t mask, int number)
{
    return (mask >> (number - 1) & 1) != 0;
}

/* False: it has ended meanwhile. */
static bool thread_read(const char *tid, char name[32], uint64_t *mask_out)
{
    char path[300], line[128];
    unsigned fields = 0;
    FILE *file;

    snprintf(path, sizeof path, "/proc/self/task/%s/status", tid);
    file = fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL)
        fields += sscanf(line, "Name: %31s", name) == 1 || sscanf(line, "SigBlk: %" SCNx64, mask_out) == 1;
    if (file != NULL)
        fclose(file);
    return fields == 2;
}

/* Threads of the library seen; each with the masks it must have. */
static uint32_t threads_check(const char *expected)
{
    DIR *tasks = opendir("/proc/self/task");
    const struct dirent *task;
    uint32_t seen = 0;

    assert_non_null(tasks);
    while ((task = readdir(tasks)) != NULL) {
        char name[32];
        uint64_t mask;

        if (!isdigit((unsigned char)task->d_name[0]) || atoi(task->d_name) == getpid() ||
            !thread_read(task->d_name, name, &mask) || strncmp(name, "iou-", 4) == 0)
            continue; /* workers of io_uring are the kernel's */
        for (uint32_t i = 0; i < CF_COUNTOF(of_the_program); i++)
            if (!is_blocked(mask, of_the_program[i]))
                fail_msg("thread %s takes the program's signal %d", name, of_the_program[i]);
        for (uint32_t i = 0; i < CF_COUNTOF(of_the_thread) && strncmp(name, "cf-", 3) == 0; i++)
            if (is_blocked(mask, of_the_thread[i]))
                fail_msg("thread %s hides its fault %d from the program", name, of_the_thread[i]);
        seen += strcmp(name, expected) == 0;
    }
    closedir(tasks);
    return seen;
}

static void threads_of_the_library_leave_signals_to_the_program(void **state)
{
    struct cluster cluster;
    sigset_t before, after;
    char path[128];

    (void)state;
    cluster_init(&cluster, 2);
    cluster_path(&cluster, "status", path);
    cluster.status_path = path;
    cluster.is_dedicated = true;
    cluster.metrics = "127.0.0.1:0";
    pthread_sigmask(SIG_BLOCK, NULL, &before);
    cluster_open(&cluster);
    pthread_sigmask(SIG_BLOCK, NULL, &after);
    for (int number = 1; number < SIGRTMIN; number++)
        assert_int_equal(sigismember(&before, number), sigismember(&after, number));
    assert_int_equal(threads_check("cf-poller"), 2);
    assert_int_equal(threads_check("cf-detect"), 2);
    assert_int_equal(threads_check("cf-directory"), 4);
    assert_int_equal(threads_check("cf-status"), 1);
    cluster_close(&cluster);
    cluster_end(&cluster);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(threads_of_the_library_leave_signals_to_the_program)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
