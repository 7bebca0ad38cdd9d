/* SPDX-License-Identifier: Apache-2.0 */
/* The instances as seen by the launcher: starting them, what they say, how they end. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/run.h"

/* In the child, between fork and exec: async-signal-safe calls only. Descriptors but the control end are close-on-exec. */
static void become_instance(const char *program, const char *const argv[], int control_fd,
                            const char *log_path)
{
    sigset_t none;
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    sigemptyset(&none);
    if (log_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0 || dup2(log_fd, STDOUT_FILENO) < 0 ||
        fcntl(control_fd, F_SETFD, 0) != 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0)
        _exit(127);
    execv(program, (char *const *)(uintptr_t)argv); /* execv changes nothing in it */
    _exit(127);
}

/* This binary by its name, for the sake of ps; by the kernel's link when it has been replaced since. */
static void program_path(char *path, size_t path_bytes)
{
    ssize_t length = readlink("/proc/self/exe", path, path_bytes - 1);

    if (length > 0)
        path[length] = '\0';
    if (length <= 0 || access(path, X_OK) != 0)
        snprintf(path, path_bytes, "/proc/self/exe");
}

static bool start_one(struct run *run, uint32_t node)
{
    const struct run_args *args = run->args;
    char program[RUN_PATH_BYTES], config[RUN_PATH_BYTES], log[RUN_PATH_BYTES], words[5][32];
    const char *const argv[] = {"cachefusion",
                                "instance",
                                "--config",
                                config,
                                "--node",
                                words[0],
                                "--workload",
                                args->workload,
                                "--data",
                                run->data,
                                "--threads",
                                words[1],
                                "--seed",
                                words[2],
                                "--control",
                                words[3],
                                "--block-size",
                                words[4],
                                args->accept_loss ? "--accept-loss" : "--no-accept-loss",
                                NULL};
    int fds[2];

    if (ctl_pair(fds) != 0)
        return false;
    program_path(program, sizeof(program));
    rundir_file(&run->dir, "cluster.ini", 0, config, sizeof(config));
    rundir_file(&run->dir, "node%u.log", node, log, sizeof(log));
    snprintf(words[0], sizeof(words[0]), "%u", node);
    snprintf(words[1], sizeof(words[1]), "%u", args->threads);
    snprintf(words[2], sizeof(words[2]), "%" PRIu64, args->seed);
    snprintf(words[3], sizeof(words[3]), "%d", fds[1]);
    snprintf(words[4], sizeof(words[4]), "%" PRIu64, args->block_bytes);
    run->child[node].pid = fork();
    if (run->child[node].pid == 0)
        become_instance(program, argv, fds[1], log);
    close(fds[1]);
    if (run->child[node].pid < 0) {
        run->child[node].exited = true;
        close(fds[0]);
        return false;
    }
    run->child[node].fd = fds[0];
    run->child[node].exited = false;
    return true;
}

bool run_children_start(struct run *run)
{
    for (uint32_t node = 0; node < run->args->instances; node++) {
        run->child[node].fd = -1;
        run->child[node].exited = true;
    }
    for (uint32_t node = 0; node < run->args->instances; node++)
        if (!start_one(run, node)) {
            run_failure(run, "node %u could not be started: %s", node, strerror(errno));
            return false;
        }
    return true;
}

void run_children_say(struct run *run, enum ctl_kind kind)
{
    struct ctl_record record = {.magic = CTL_MAGIC, .kind = kind};

    for (uint32_t node = 0; node < run->args->instances; node++)
        if (run->child[node].fd >= 0 && !ctl_send(run->child[node].fd, &record)) {
            /* It has gone; its death is told when it has been waited for. */
            close(run->child[node].fd);
            run->child[node].fd = -1;
        }
}

void run_children_kill(struct run *run, int signal_number)
{
    for (uint32_t node = 0; node < run->args->instances; node++)
        if (!run->child[node].exited)
            kill(run->child[node].pid, signal_number);
}

bool run_children_gone(const struct run *run)
{
    for (uint32_t node = 0; node < run->args->instances; node++)
        if (!run->child[node].exited)
            return false;
    return true;
}

static void on_record(struct run *run, uint32_t node, const struct ctl_record *record)
{
    struct child *child = &run->child[node];

    if (record->stats.size == sizeof(record->stats))
        child->stats = record->stats;
    if (record->kind != CTL_PROGRESS)
        child->reached = record->kind;
    switch (record->kind) {
    case CTL_PREPARED:
        child->begin = record->stats;
        break;
    case CTL_STOPPED:
        child->end = record->stats;
        child->op_latency = record->op_latency;
        memcpy(child->tally, record->tally, sizeof(child->tally));
        child->ops = record->ops;
        break;
    case CTL_PROGRESS:
        child->ops = record->ops;
        break;
    case CTL_VERIFIED:
        child->sums = record->sums;
        break;
    case CTL_FAILED:
        if (!child->told)
            run_failure(run, "node %u (pid %d) stopped: %s", node, (int)child->pid, record->text);
        child->told = true;
        run->damaged |= record->rc == CF_CORRUPT;
        break;
    }
}

static void take_records(struct run *run, uint32_t node)
{
    struct child *child = &run->child[node];
    struct ctl_record record;
    enum ctl_result result = CTL_EMPTY;

    while (child->fd >= 0 && (result = ctl_receive(child->fd, &record)) == CTL_GOT)
        on_record(run, node, &record);
    if (child->fd >= 0 && result == CTL_END) {
        close(child->fd);
        child->fd = -1;
    }
}

static void on_exit_of(struct run *run, uint32_t node)
{
    struct child *child = &run->child[node];
    int status = child->wait_status;

    take_records(run, node); /* what it said last */
    if (child->told || (child->reached == CTL_CLOSED && WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return;
    child->told = true;
    if (WIFSIGNALED(status))
        run_failure(run, "node %u (pid %d) was killed by signal %d (SIG%s)", node, (int)child->pid,
                    WTERMSIG(status), sigabbrev_np(WTERMSIG(status)));
    else
        run_failure(run, "node %u (pid %d) ended with status %d after it had said '%s'", node,
                    (int)child->pid, WEXITSTATUS(status), ctl_kind_name(child->reached));
}

static void take_deaths(struct run *run)
{
    for (uint32_t node = 0; node < run->args->instances; node++) {
        struct child *child = &run->child[node];

        if (child->exited || waitpid(child->pid, &child->wait_status, WNOHANG) != child->pid)
            continue;
        child->exited = true;
        on_exit_of(run, node);
    }
}

static void take_signals(struct run *run)
{
    struct signalfd_siginfo info;

    while (read(run->signal_fd, &info, sizeof(info)) == (ssize_t)sizeof(info))
        if (info.ssi_signo != SIGCHLD) {
            run->interrupted = (int)info.ssi_signo;
            run->interrupts++;
        }
}

static bool all_reached(const struct run *run)
{
    static const enum ctl_kind goals[] = {
        [RUN_OPENING] = CTL_PREPARED, [RUN_STOPPING] = CTL_STOPPED, [RUN_VERIFYING] = CTL_VERIFIED};

    if (run->phase == RUN_CLOSING || run->phase == RUN_FAILING)
        return run_children_gone(run);
    if (run->phase == RUN_WORKING)
        return false;
    for (uint32_t node = 0; node < run->args->instances; node++)
        if (run->child[node].reached != (uint32_t)goals[run->phase])
            return false;
    return true;
}

bool run_children_step(struct run *run, uint32_t timeout_ms)
{
    struct pollfd ready[RUN_INSTANCES_MAX + 1] = {{.fd = run->signal_fd, .events = POLLIN}};

    for (uint32_t node = 0; node < run->args->instances; node++)
        ready[1 + node] = (struct pollfd){.fd = run->child[node].fd, .events = POLLIN};
    if (poll(ready, 1 + run->args->instances, (int)timeout_ms) < 0 && errno != EINTR)
        run_failure(run, "poll: %s", strerror(errno));
    take_signals(run);
    for (uint32_t node = 0; node < run->args->instances; node++)
        take_records(run, node);
    take_deaths(run);
    return all_reached(run);
}
