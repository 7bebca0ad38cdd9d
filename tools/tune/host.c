/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the files of a host under a root, and the table of checks. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "tools/tune/tune.h"

#define ENTRIES_MAX 8192

const struct tune_check tune_checks[] = {
    {"numa", tune_look_numa},
    {"smt", tune_look_smt},
    {"governor", tune_look_governor},
    {"c-states", tune_look_idle},
    {"halt-poll", tune_look_haltpoll},
    {"clock", tune_look_clock},
    {"hugepages", tune_look_huge_pages},
    {"thp", tune_look_thp},
    {"thp-shmem", tune_look_thp_shmem},
    {"memlock", tune_look_memlock},
    {"nic", tune_look_nic},
    {"irq", tune_look_irq},
    {"mtu", tune_look_mtu},
    {"pause-ecn", tune_look_flow},
};
const size_t tune_checks_count = CF_COUNTOF(tune_checks);

const char *tune_verdict_name(enum tune_verdict verdict)
{
    switch (verdict) {
    case TUNE_PASS:
        return "pass";
    case TUNE_NONE:
        return "none";
    case TUNE_WARN:
        return "warn";
    case TUNE_FAIL:
        return "fail";
    }
    return "unknown";
}

void tune_check_run(const struct tune_check *check, const struct tune_host *host,
                    struct tune_finding *finding_out)
{
    *finding_out = (struct tune_finding){.name = check->name};
    check->look(host, finding_out);
}

void tune_say(struct tune_finding *finding, enum tune_verdict verdict, const char *format, ...)
{
    va_list args;

    finding->verdict = verdict;
    va_start(args, format);
    vsnprintf(finding->seen, sizeof finding->seen, format, args);
    va_end(args);
}

void tune_mend(struct tune_finding *finding, const char *format, ...)
{
    va_list args;

    va_start(args, format);
    vsnprintf(finding->mend, sizeof finding->mend, format, args);
    va_end(args);
}

/* False: longer than any path we look at. */
static bool path_make(const struct tune_host *host, char path[TUNE_PATH_BYTES], const char *format,
                      va_list args)
{
    int root_bytes = snprintf(path, TUNE_PATH_BYTES, "%s", host->root);
    int bytes;

    if (root_bytes < 0 || root_bytes >= (int)TUNE_PATH_BYTES)
        return false;
    bytes = vsnprintf(path + root_bytes, TUNE_PATH_BYTES - (size_t)root_bytes, format, args);
    return bytes >= 0 && root_bytes + bytes < (int)TUNE_PATH_BYTES;
}

static bool line_read(const struct tune_host *host, char *text, size_t text_bytes, const char *format,
                      va_list args)
{
    char path[TUNE_PATH_BYTES];
    ssize_t bytes;
    int fd;

    if (!path_make(host, path, format, args))
        return false;
    fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0)
        return false;
    do
        bytes = read(fd, text, text_bytes - 1);
    while (bytes < 0 && errno == EINTR);
    close(fd);
    if (bytes <= 0)
        return false;
    text[bytes] = '\0';
    text[strcspn(text, "\n")] = '\0';
    for (size_t end = strlen(text); end > 0 && text[end - 1] == ' '; end--)
        text[end - 1] = '\0';
    return text[0] != '\0';
}

bool tune_read(const struct tune_host *host, char *text, size_t text_bytes, const char *path, ...)
{
    va_list args;
    bool is_read;

    va_start(args, path);
    is_read = line_read(host, text, text_bytes, path, args);
    va_end(args);
    return is_read;
}

bool tune_read_u64(const struct tune_host *host, uint64_t *value_out, const char *path, ...)
{
    char text[32];
    va_list args;
    bool is_read;

    va_start(args, path);
    is_read = line_read(host, text, sizeof text, path, args);
    va_end(args);
    return is_read && cf_parse_u64(text, value_out) == 0;
}

bool tune_exists(const struct tune_host *host, const char *path, ...)
{
    char full[TUNE_PATH_BYTES];
    va_list args;
    bool is_path;

    va_start(args, path);
    is_path = path_make(host, full, path, args);
    va_end(args);
    return is_path && access(full, F_OK) == 0;
}

bool tune_read_choice(const struct tune_host *host, char *word, size_t word_bytes, const char *path)
{
    char line[TUNE_TEXT_BYTES];
    const char *from = line;
    size_t bytes;

    if (!tune_read(host, line, sizeof line, "%s", path))
        return false;
    if (strchr(line, '[') != NULL)
        from = strchr(line, '[') + 1;
    bytes = strcspn(from, "] ");
    snprintf(word, word_bytes, "%.*s", (int)bytes, from);
    return bytes > 0;
}

uint32_t tune_each(const struct tune_host *host, const char *folder, const char *prefix,
                   void (*on_entry)(void *arg, const char *name), void *arg)
{
    char path[TUNE_PATH_BYTES];
    struct dirent **entries;
    uint32_t count = 0;
    int found;

    if ((size_t)snprintf(path, sizeof path, "%s%s", host->root, folder) >= sizeof path)
        return 0;
    found = scandir(path, &entries, NULL, versionsort);
    if (found < 0)
        return 0;
    for (int i = 0; i < found; i++) {
        const char *name = entries[i]->d_name;

        if (name[0] != '.' && strncmp(name, prefix, strlen(prefix)) == 0 && count < ENTRIES_MAX) {
            count++;
            if (on_entry != NULL)
                on_entry(arg, name);
        }
        free(entries[i]);
    }
    free(entries);
    return count;
}

bool tune_list_has(const char *list, uint64_t cpu)
{
    while (*list != '\0') {
        char *end;
        uint64_t first = strtoull(list, &end, 10), last = first;

        if (end == list)
            return false;
        if (*end == '-') {
            list = end + 1;
            last = strtoull(list, &end, 10);
            if (end == list)
                return false;
        }
        if (cpu >= first && cpu <= last)
            return true;
        list = *end == ',' ? end + 1 : end;
        if (*list != '\0' && (*list < '0' || *list > '9'))
            return false;
    }
    return false;
}
