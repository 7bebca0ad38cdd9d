/* SPDX-License-Identifier: Apache-2.0 */
/* How the launcher starts an instance: as its child, or on another host as the child of a remote shell. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tools/run.h"

#define WORDS_MAX 32u
#define COMMAND_BYTES 4096u

/* The words of an instance's command line. */
struct command {
    const char *word[WORDS_MAX];
    uint32_t count;
    char config[RUN_PATH_BYTES];
    char text[7][32];
    uint32_t texts;
};

static void add(struct command *command, const char *word)
{
    command->word[command->count++] = word;
    command->word[command->count] = NULL;
}

static void add_number(struct command *command, const char *name, uint64_t value)
{
    char *text = command->text[command->texts++];

    snprintf(text, sizeof(command->text[0]), "%" PRIu64, value);
    add(command, name);
    add(command, text);
}

static void command_make(struct command *command, const struct run *run, uint32_t node, int control_fd)
{
    const struct run_args *args = run->args;

    command->count = command->texts = 0;
    add(command, "cachefusion");
    add(command, "instance");
    add_number(command, "--node", node);
    add(command, "--workload");
    add(command, args->workload);
    add(command, "--data");
    add(command, run->data);
    add_number(command, "--threads", args->threads);
    add_number(command, "--seed", args->seed);
    add_number(command, "--block-size", args->block_bytes);
    add(command, args->accept_loss ? "--accept-loss" : "--no-accept-loss");
    if (run->workload->has_side) {
        add_number(command, "--hot-locks", args->hot_locks);
        add_number(command, "--numbers", args->numbers);
        add(command, args->ordered ? "--ordered" : "--no-ordered");
        add(command, "--side");
        add(command, run->plan.side);
    }
    if (run->hosts_count > 0) {
        add(command, "--led");
        return;
    }
    rundir_file(&run->dir, "cluster.ini", 0, command->config, sizeof(command->config));
    add(command, "--config");
    add(command, command->config);
    add_number(command, "--control", (uint64_t)control_fd);
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

/* Appends a word as a shell reads it back. False: no room. */
static bool quote(char *text, size_t text_bytes, const char *word)
{
    size_t at = strlen(text);

    if (at + strlen(word) * 4 + 4 > text_bytes)
        return false;
    if (at > 0)
        text[at++] = ' ';
    text[at++] = '\'';
    for (; *word != '\0'; word++) {
        if (*word == '\'') {
            memcpy(text + at, "'\\''", 4);
            at += 4;
        } else {
            text[at++] = *word;
        }
    }
    text[at++] = '\'';
    text[at] = '\0';
    return true;
}

/* The line that the remote shell is given. */
static bool line_make(const struct run *run, const struct command *command, char *line, size_t line_bytes)
{
    char path[RUN_PATH_BYTES];
    bool has_room;

    snprintf(path, sizeof(path), "%s", run->args->program);
    if (path[0] == '\0')
        program_path(path, sizeof(path));
    snprintf(line, line_bytes, "exec");
    has_room = quote(line, line_bytes, path);
    for (uint32_t i = 1; i < command->count && has_room; i++)
        has_room = quote(line, line_bytes, command->word[i]);
    if (!has_room)
        errno = E2BIG;
    return has_room;
}

/* In the child, between fork and exec: async-signal-safe calls only. Other descriptors are close-on-exec. */
static void become(const char *program, const char *const argv[], int control_fd, const char *log_path,
                   bool is_remote)
{
    sigset_t none;
    int log_fd = open(log_path, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0600);

    sigemptyset(&none);
    if (log_fd < 0 || dup2(log_fd, STDERR_FILENO) < 0 || sigprocmask(SIG_SETMASK, &none, NULL) != 0 ||
        signal(SIGPIPE, SIG_DFL) == SIG_ERR)
        _exit(127);
    if (is_remote) {
        /* A group of its own: Ctrl-C is told by word, a remote shell that took the signal would cut it off. */
        if (setpgid(0, 0) != 0 || dup2(control_fd, STDIN_FILENO) < 0 || dup2(control_fd, STDOUT_FILENO) < 0)
            _exit(127);
    } else if (dup2(log_fd, STDOUT_FILENO) < 0 || fcntl(control_fd, F_SETFD, 0) != 0) {
        _exit(127);
    }
    execv(program, (char *const *)(uintptr_t)argv); /* execv changes nothing in it */
    _exit(127);
}

static bool child_fork(struct run *run, uint32_t node, const char *program, const char *const argv[],
                       const int fds[2])
{
    struct child *child = &run->child[node];
    char log[RUN_PATH_BYTES];

    rundir_file(&run->dir, "node%u.log", node, log, sizeof(log));
    child->pid = fork();
    if (child->pid == 0)
        become(program, argv, fds[1], log, run->hosts_count > 0);
    close(fds[1]);
    if (child->pid < 0) {
        close(fds[0]);
        return false;
    }
    if (run->hosts_count > 0)
        (void)setpgid(child->pid, child->pid); /* whoever of us comes first */
    ctl_open(&child->link, fds[0], fds[0]);
    child->exited = false;
    return true;
}

static bool start_here(struct run *run, uint32_t node)
{
    char program[RUN_PATH_BYTES];
    struct command command;
    int fds[2];

    if (ctl_pair(fds) != 0)
        return false;
    program_path(program, sizeof(program));
    command_make(&command, run, node, fds[1]);
    return child_fork(run, node, program, command.word, fds);
}

/* The launcher's words are split by a shell; host and command line are words of their own. */
static bool start_there(struct run *run, uint32_t node)
{
    char script[RUN_PATH_BYTES + 32], line[COMMAND_BYTES], config[RUN_PATH_BYTES];
    const char *const argv[] = {"sh", "-c", script, run->host[node], line, NULL};
    struct command command;
    int fds[2];

    command_make(&command, run, node, 0);
    if (!line_make(run, &command, line, sizeof(line)) || ctl_pair(fds) != 0)
        return false;
    snprintf(script, sizeof(script), "exec %s \"$0\" \"$1\"", run->args->launcher);
    if (!child_fork(run, node, "/bin/sh", argv, fds))
        return false;
    /* One that has ended already cannot take it: its death says more. */
    (void)!ctl_file_send(&run->child[node].link,
                         rundir_file(&run->dir, "cluster.ini", 0, config, sizeof(config)));
    return true;
}

bool run_children_start(struct run *run)
{
    for (uint32_t node = 0; node < run->instances; node++) {
        ctl_open(&run->child[node].link, -1, -1);
        run->child[node].exited = true;
    }
    for (uint32_t node = 0; node < run->instances; node++)
        if (!(run->hosts_count > 0 ? start_there(run, node) : start_here(run, node))) {
            run_failure(run, "node %u could not be started: %s", node, strerror(errno));
            return false;
        }
    return true;
}
