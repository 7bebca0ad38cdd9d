/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Question: how many frames of 64 bytes a second does DPDK's own testpmd carry one way over net_memif?
 *
 *   peer_testpmd [SECONDS]
 *
 * Two processes of dpdk-testpmd, each with its thread that forwards pinned to a processor of its own: one receives and drops
 * (rxonly), the other sends the same frame again and again (txonly). The figure is the median of what the receiver says
 * it got in a second, once it gets any.
 */
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/compiler.h"
#include "base/units.h"
#include "bench/figures.h"

#define PROGRAM "dpdk-testpmd"
#define SECONDS_DEFAULT 3u
#define SECONDS_MAX 30u
/* The first second that has frames is not a whole one. */
#define WARM_UP 1u
#define LIMIT_S 60u
#define LOOKS_MAX 10000u
#define LOOK_US 1000u

struct testpmd {
    pid_t pid;
    FILE *out;
};

static struct testpmd testpmd_start(int side, const char *directory)
{
    const char *role = side == 0 ? "server" : "client", *mode = side == 0 ? "rxonly" : "txonly";
    char lcores[48], vdev[160], forward[32], prefix[32];
    struct testpmd testpmd = {.pid = -1};
    int pipes[2];

    snprintf(lcores, sizeof lcores, "0@%d,1@%d", bench_cpu(side), bench_cpu(side));
    snprintf(vdev, sizeof vdev, "--vdev=net_memif0,role=%s,socket=%s/testpmd,socket-abstract=no,rsize=8",
             role, directory);
    snprintf(forward, sizeof forward, "--forward-mode=%s", mode);
    snprintf(prefix, sizeof prefix, "--file-prefix=cf%d-%d", (int)getpid(), side);
    const char *const argv[] = {PROGRAM,
                                "--no-huge",
                                "--no-shconf",
                                "--no-pci",
                                "--no-telemetry",
                                "-m",
                                "256",
                                "--lcores",
                                lcores,
                                prefix,
                                vdev,
                                "--",
                                forward,
                                "--auto-start",
                                "--stats-period=1",
                                "--nb-cores=1",
                                "--total-num-mbufs=8192",
                                "--txpkts=64",
                                NULL};

    if (pipe(pipes) != 0)
        return testpmd;
    testpmd.pid = fork();
    if (testpmd.pid == 0) {
        (void)prctl(PR_SET_PDEATHSIG, SIGKILL);
        (void)alarm(LIMIT_S);
        dup2(pipes[1], STDOUT_FILENO);
        dup2(pipes[1], STDERR_FILENO);
        close(pipes[0]);
        close(pipes[1]);
        execvp(argv[0], (char *const *)(uintptr_t)argv);
        _exit(127);
    }
    close(pipes[1]);
    testpmd.out = fdopen(pipes[0], "r");
    return testpmd;
}

static void testpmd_stop(struct testpmd *testpmd)
{
    int status;

    if (testpmd->pid > 0) {
        kill(testpmd->pid, SIGKILL);
        (void)waitpid(testpmd->pid, &status, 0);
    }
    if (testpmd->out != NULL)
        fclose(testpmd->out);
}

/* The server listens: a client that calls before is turned away for good. */
static bool await_server(const char *directory)
{
    char path[96];

    snprintf(path, sizeof path, "%s/testpmd", directory);
    for (uint32_t i = 0; i < LOOKS_MAX; i++) {
        if (access(path, F_OK) == 0)
            return true;
        usleep(LOOK_US);
    }
    return false;
}

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;

    return (x > y) - (x < y);
}

/* Frames a second, 0: it said nothing; `last` is then its last word. */
static double rate_of(FILE *out, uint32_t seconds, char *last, size_t last_bytes)
{
    double rates[SECONDS_MAX + WARM_UP];
    uint32_t count = 0;
    char line[512];

    while (count < seconds + WARM_UP && fgets(line, sizeof line, out) != NULL) {
        const char *at = strstr(line, "Rx-pps:");
        double rate;

        if (at != NULL && sscanf(at, "Rx-pps: %lf", &rate) == 1 && rate > 0)
            rates[count++] = rate;
        if (strlen(line) > 2)
            snprintf(last, last_bytes, "%.*s", (int)strcspn(line, "\n"), line);
    }
    if (count < seconds + WARM_UP)
        return 0;
    qsort(rates + WARM_UP, seconds, sizeof rates[0], by_size);
    return rates[WARM_UP + seconds / 2];
}

static bool is_installed(void)
{
    return system("command -v " PROGRAM " >/dev/null 2>&1") == 0;
}

int main(int argc, char **argv)
{
    char directory[] = "/tmp/peer_testpmd.XXXXXX", path[96], last[512] = "it said nothing";
    uint64_t seconds = SECONDS_DEFAULT;
    struct testpmd server, client = {.pid = -1};
    double rate = 0;

    if (argc > 2 || (argc == 2 && cf_parse_u64(argv[1], &seconds) != 0) || seconds == 0 ||
        seconds > SECONDS_MAX) {
        fprintf(stderr, "peer_testpmd: seconds are 1 to %u\n", SECONDS_MAX);
        return 2;
    }
    if (!bench_has_two_cpus())
        return 0;
    if (!is_installed()) {
        printf("not run: no " PROGRAM " (Debian: dpdk-dev; SETUP_PEERS=1 scripts/setup installs it)\n");
        return 0;
    }
    if (mkdtemp(directory) == NULL) {
        perror("peer_testpmd");
        return 1;
    }
    server = testpmd_start(0, directory);
    if (server.out != NULL && await_server(directory)) {
        client = testpmd_start(1, directory);
        rate = rate_of(server.out, (uint32_t)seconds, last, sizeof last);
    }
    testpmd_stop(&client);
    testpmd_stop(&server);
    snprintf(path, sizeof path, "%s/testpmd", directory);
    unlink(path);
    (void)rmdir(directory);
    if (rate == 0) {
        fprintf(stderr, "peer_testpmd: no frames came: %s\n", last);
        return 1;
    }
    bench_figure("message-rate-64B", rate, "1/s");
    return 0;
}
