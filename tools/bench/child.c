/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdarg.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/units.h"
#include "tools/bench/bench.h"

#define LINE_BYTES_MAX 512u
#define SHELL_NOT_FOUND 127

static void fail(struct bench_run *run, const char *format, ...) CF_PRINTF(2, 3);
static void fail(struct bench_run *run, const char *format, ...)
{
    va_list args;

    if (run->failure[0] != '\0')
        return;
    va_start(args, format);
    vsnprintf(run->failure, sizeof run->failure, format, args);
    va_end(args);
}

/* ------------------------------------------------------------------ the command */

/* What stands for a word in braces; false: it is no number and no name. */
static bool replacement(const struct bench_settings *settings, const char *word, char *text,
                        size_t text_bytes)
{
    uint64_t number;

    if (strcmp(word, "transport") == 0)
        snprintf(text, text_bytes, "%s", settings->transport);
    else if (strcmp(word, "work") == 0)
        snprintf(text, text_bytes, "%s", settings->work);
    else if (strcmp(word, "cpus") == 0)
        snprintf(text, text_bytes, "%d,%d", settings->cpus[0], settings->cpus[1]);
    else if (strcmp(word, "cpu0") == 0 || strcmp(word, "cpu1") == 0)
        snprintf(text, text_bytes, "%d", settings->cpus[word[3] - '0']);
    else if (cf_parse_u64(word, &number) == 0)
        snprintf(text, text_bytes, "%.0f",
                 (double)number * settings->scale < 1 ? 1 : (double)number * settings->scale);
    else
        return false;
    return true;
}

bool bench_command_expand(const struct bench_settings *settings, const char *command, char *text,
                          size_t text_bytes)
{
    size_t used = 0;

    while (*command != '\0') {
        size_t word_bytes = *command == '{' ? strcspn(command, "}") : 0;
        char word[BENCH_NAME_BYTES], value[BENCH_PATH_BYTES];
        size_t value_bytes;

        if (word_bytes > 1 && word_bytes <= sizeof word && command[word_bytes] == '}') {
            snprintf(word, word_bytes, "%s", command + 1);
            if (!replacement(settings, word, value, sizeof value))
                return false;
            command += word_bytes + 1;
        } else {
            snprintf(value, sizeof value, "%c", *command++);
        }
        value_bytes = strlen(value);
        if (used + value_bytes >= text_bytes)
            return false;
        memcpy(text + used, value, value_bytes + 1);
        used += value_bytes;
    }
    return used > 0;
}

/* Splits at blanks, in place; there are no quotes: a command that needs them is a script. */
static uint32_t split(char *text, char *words[BENCH_WORDS_MAX])
{
    uint32_t count = 0;

    for (char *word = strtok_r(text, " ", &text); word != NULL && count < BENCH_WORDS_MAX - 1;
         word = strtok_r(NULL, " ", &text))
        words[count++] = word;
    words[count] = NULL;
    return count;
}

/* ------------------------------------------------------------------ what it says */

static void add(struct bench_run *run, const char *name, double share, double value, const char *unit)
{
    struct bench_said *said = &run->said[run->said_count];

    if (run->said_count == BENCH_SERIES_MAX) {
        fail(run, "it says more than %u figures", BENCH_SERIES_MAX);
        return;
    }
    snprintf(said->name, sizeof said->name, "%s", name);
    snprintf(said->unit, sizeof said->unit, "%s", unit);
    said->share = share;
    said->value = value;
    run->said_count++;
}

static void on_line(struct bench_run *run, char *line)
{
    char name[BENCH_NAME_BYTES], unit[16];
    double value, share;

    line[strcspn(line, "\r\n")] = '\0';
    if (sscanf(line, "figure %63s %lf %15s", name, &value, unit) == 3)
        add(run, name, -1, value, unit);
    else if (sscanf(line, "percentile %63s %lf %lf", name, &share, &value) == 3 && share >= 0 && share <= 1)
        add(run, name, share, value, "");
    else if (strncmp(line, "not run: ", 9) == 0)
        snprintf(run->skipped, sizeof run->skipped, "%.200s", line + 9);
}

/* ------------------------------------------------------------------ running it */

/* Programs beside this command's own folder find the modules where this command does. */
static void modules_tell(const char *folder)
{
    static const char *const places[] = {"..", "../../lib/cachefusion"};

    for (size_t i = 0; i < CF_COUNTOF(places); i++) {
        char path[2 * BENCH_PATH_BYTES];

        snprintf(path, sizeof path, "%s/%s/libcachefusion-dpdk.so", folder, places[i]);
        if (access(path, R_OK) != 0)
            continue;
        *strrchr(path, '/') = '\0';
        setenv("CACHEFUSION_MODULES", path, 0);
        return;
    }
}

static void become(const struct bench_settings *settings, const char *folder, char **words, int out_fd)
{
    char path[2 * BENCH_PATH_BYTES], cpus[32];
    cpu_set_t set;
    sigset_t none;

    sigemptyset(&none);
    sigprocmask(SIG_SETMASK, &none, NULL);
    setpgid(0, 0);
    prctl(PR_SET_PDEATHSIG, SIGTERM);
    CPU_ZERO(&set);
    CPU_SET(settings->cpus[0], &set);
    CPU_SET(settings->cpus[1], &set);
    (void)sched_setaffinity(0, sizeof set, &set); /* refused: it runs where it may */
    snprintf(cpus, sizeof cpus, "%d,%d", settings->cpus[0], settings->cpus[1]);
    setenv("CF_BENCH_CPUS", cpus, 1);
    setenv("CF_BENCH_WORK", settings->work, 1);
    modules_tell(folder);
    dup2(out_fd, STDOUT_FILENO);
    dup2(out_fd, STDERR_FILENO);
    close(out_fd);
    snprintf(path, sizeof path, "%s/%s", folder, words[0]);
    if (strchr(words[0], '/') == NULL && access(path, X_OK) == 0)
        execv(path, words);
    execvp(words[0], words);
    printf("%s: %s\n", words[0], strerror(errno));
    fflush(stdout);
    _exit(SHELL_NOT_FOUND);
}

/* Waits for words, the end or a signal. False: there is no more to read. */
static bool await(const struct bench_settings *settings, int fd, uint64_t until_ns, struct bench_run *run)
{
    struct pollfd fds[2] = {{.fd = fd, .events = POLLIN}, {.fd = settings->signal_fd, .events = POLLIN}};

    while (run->failure[0] == '\0' && fds[0].revents == 0) {
        uint64_t now_ns = cf_now_ns();

        if (now_ns >= until_ns) {
            fail(run, "it did not end in time");
        } else if (poll(fds, 2, (int)((until_ns - now_ns) / 1000000 + 1)) < 0 && errno != EINTR) {
            fail(run, "poll: %s", strerror(errno));
        } else if (fds[1].revents != 0) {
            run->is_interrupted = true;
            fail(run, "interrupted");
        }
    }
    return run->failure[0] == '\0';
}

/* Reads to the end, line by line; keeps the last words of one that fails. */
static void listen_to(const struct bench_settings *settings, int fd, uint64_t until_ns, struct bench_run *run,
                      char last[LINE_BYTES_MAX])
{
    char line[LINE_BYTES_MAX], bytes[4096];
    size_t used = 0;

    while (await(settings, fd, until_ns, run)) {
        ssize_t got = read(fd, bytes, sizeof bytes);

        if (got == 0 || (got < 0 && errno != EAGAIN && errno != EINTR))
            break;
        for (ssize_t i = 0; i < got; i++) {
            if (used < sizeof line - 1)
                line[used++] = bytes[i];
            if (bytes[i] != '\n')
                continue;
            line[used] = '\0';
            if (settings->is_verbose)
                printf("    | %s", line);
            on_line(run, line);
            memcpy(last, line, sizeof line);
            used = 0;
        }
    }
}

void bench_child_run(const struct bench_settings *settings, const char *folder, const char *command,
                     uint32_t limit_s, struct bench_run *run)
{
    char text[BENCH_COMMAND_BYTES], last[LINE_BYTES_MAX] = "", *words[BENCH_WORDS_MAX];
    int pipes[2], status = 0;
    pid_t pid;

    memset(run, 0, sizeof *run);
    if (!bench_command_expand(settings, command, text, sizeof text) || split(text, words) == 0) {
        fail(run, "no command, one that is too long, or an unknown word in braces");
        return;
    }
    fflush(stdout);
    if (pipe(pipes) != 0 || (pid = fork()) < 0) {
        fail(run, "pipe or fork: %s", strerror(errno));
        return;
    }
    if (pid == 0) {
        close(pipes[0]);
        become(settings, folder, words, pipes[1]);
    }
    close(pipes[1]);
    listen_to(settings, pipes[0], cf_now_ns() + limit_s * CF_NS_PER_S, run, last);
    close(pipes[0]);
    /* With all it has started: its group is its own. After an orderly end there is nobody in it. */
    if (run->failure[0] != '\0')
        kill(-pid, SIGKILL);
    waitpid(pid, &status, 0);
    if (WIFSIGNALED(status))
        fail(run, "killed by signal %d: %.150s", WTERMSIG(status), last);
    else if (WEXITSTATUS(status) != 0)
        fail(run, "status %d: %.150s", WEXITSTATUS(status), last);
    else if (run->said_count == 0 && run->skipped[0] == '\0')
        fail(run, "it says no figure");
}
