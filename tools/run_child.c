/* SPDX-License-Identifier: Apache-2.0 */
/* The instances as seen by the launcher: what they say, how they end. */
#include <ctype.h>
#include <errno.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/signalfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "tools/run.h"

#define WHO_BYTES 96u

/* "node 1 (pid 42)" or "node 1 on host b". Returns buf. */
static const char *who(const struct run *run, uint32_t node, char *buf, size_t buf_bytes)
{
    if (run->hosts_count > 0)
        snprintf(buf, buf_bytes, "node %u on host %s", node, run->host[node]);
    else
        snprintf(buf, buf_bytes, "node %u (pid %d)", node, (int)run->child[node].pid);
    return buf;
}

void run_children_say(struct run *run, enum ctl_kind kind)
{
    struct ctl_record record = {.magic = CTL_MAGIC, .bytes = sizeof(record), .kind = kind};

    for (uint32_t node = 0; node < run->instances; node++)
        if (run->child[node].link.out >= 0 && !ctl_send(&run->child[node].link, &record))
            ctl_close(
                &run->child[node].link); /* it has gone; its death is told when it has been waited for */
}

void run_children_kill(struct run *run, int signal_number)
{
    for (uint32_t node = 0; node < run->instances; node++)
        if (!run->child[node].exited)
            /* A remote shell with all that it has started. */
            kill(run->hosts_count > 0 ? -run->child[node].pid : run->child[node].pid, signal_number);
}

bool run_children_gone(const struct run *run)
{
    for (uint32_t node = 0; node < run->instances; node++)
        if (!run->child[node].exited)
            return false;
    return true;
}

static void on_record(struct run *run, uint32_t node, const struct ctl_record *record)
{
    struct child *child = &run->child[node];
    char name[WHO_BYTES];

    if (record->stats.size == sizeof(record->stats))
        child->stats = record->stats;
    child->has_spoken = true;
    if (record->kind != CTL_PROGRESS)
        child->reached = record->kind;
    switch (record->kind) {
    case CTL_PREPARED:
        child->begin = record->stats;
        break;
    case CTL_STOPPED:
        child->end = record->stats;
        child->op_latency = record->op_latency;
        child->extra = record->extra;
        memcpy(child->tally, record->tally, sizeof(child->tally));
        child->ops = record->ops;
        break;
    case CTL_PROGRESS:
        child->ops = record->ops;
        run_local_look(run, child);
        break;
    case CTL_VERIFIED:
        child->sums = record->sums;
        break;
    case CTL_FAILED:
        if (!child->told)
            run_failure(run, "%s stopped: %s", who(run, node, name, sizeof(name)), record->text);
        child->told = true;
        run->damaged |= record->rc == CF_CORRUPT;
        break;
    }
}

/* Something else than an instance speaks: a shell that greets, another version. */
static void on_foreign(struct run *run, uint32_t node)
{
    struct child *child = &run->child[node];
    const char *bytes = (const char *)&child->link.record;
    char name[WHO_BYTES], said[64];
    uint32_t length = 0;

    if (child->told || child->link.arrived < sizeof(uint32_t))
        return;
    child->told = true;
    if (child->link.record.magic == CTL_MAGIC) {
        run_failure(run, "%s is of another version: install the same everywhere",
                    who(run, node, name, sizeof(name)));
        return;
    }
    for (; length < child->link.arrived && length + 1 < sizeof(said) && isprint((uint8_t)bytes[length]);
         length++)
        said[length] = bytes[length];
    said[length] = '\0';
    run_failure(run,
                "%s: not an instance speaks there, it says '%s': --launcher must print nothing of its own",
                who(run, node, name, sizeof(name)), said);
}

static void take_records(struct run *run, uint32_t node)
{
    struct child *child = &run->child[node];
    struct ctl_record record;
    enum ctl_result result = CTL_EMPTY;

    while (child->link.in >= 0 && (result = ctl_receive(&child->link, &record)) == CTL_GOT)
        on_record(run, node, &record);
    if (child->link.in < 0 || result != CTL_END)
        return;
    if (child->link.is_foreign)
        on_foreign(run, node);
    ctl_close(&child->link);
}

/* The last line of what it wrote to its log: a remote shell says there why it failed. Returns buf. */
static const char *last_words(const struct run *run, uint32_t node, char *buf, size_t buf_bytes)
{
    char path[RUN_PATH_BYTES], line[256];
    FILE *log = fopen(rundir_file(&run->dir, "node%u.log", node, path, sizeof(path)), "re");

    snprintf(buf, buf_bytes, "it said nothing");
    while (log != NULL && fgets(line, sizeof(line), log) != NULL) {
        line[strcspn(line, "\r\n")] = '\0';
        if (line[0] != '\0')
            snprintf(buf, buf_bytes, "%.160s", line);
    }
    if (log != NULL)
        fclose(log);
    return buf;
}

static void on_exit_of(struct run *run, uint32_t node)
{
    struct child *child = &run->child[node];
    int status = child->wait_status;
    char name[WHO_BYTES], words[192];

    take_records(run, node); /* what it said last */
    if (child->told || (child->reached == CTL_CLOSED && WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return;
    child->told = true;
    who(run, node, name, sizeof(name));
    if (WIFSIGNALED(status))
        run_failure(run, "%s was killed by signal %d (SIG%s)", name, WTERMSIG(status),
                    sigabbrev_np(WTERMSIG(status)));
    else if (run->hosts_count > 0 && child->reached == CTL_NONE && !child->has_spoken)
        run_failure(run, "%s could not be started: '%.60s' ended with status %d: %s", name,
                    run->args->launcher, WEXITSTATUS(status), last_words(run, node, words, sizeof(words)));
    else
        run_failure(run, "%s ended with status %d after it had said '%s'", name, WEXITSTATUS(status),
                    ctl_kind_name(child->reached));
}

static void take_deaths(struct run *run)
{
    for (uint32_t node = 0; node < run->instances; node++) {
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
    for (uint32_t node = 0; node < run->instances; node++)
        if (run->child[node].reached != (uint32_t)goals[run->phase])
            return false;
    return true;
}

bool run_children_step(struct run *run, uint32_t timeout_ms)
{
    struct pollfd ready[RUN_INSTANCES_MAX + 1] = {{.fd = run->signal_fd, .events = POLLIN}};

    for (uint32_t node = 0; node < run->instances; node++)
        ready[1 + node] = (struct pollfd){.fd = run->child[node].link.in, .events = POLLIN};
    if (poll(ready, 1 + run->instances, (int)timeout_ms) < 0 && errno != EINTR)
        run_failure(run, "poll: %s", strerror(errno));
    take_signals(run);
    for (uint32_t node = 0; node < run->instances; node++)
        take_records(run, node);
    take_deaths(run);
    return all_reached(run);
}
