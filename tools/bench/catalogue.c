/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A catalogue is an ini file, a section for each benchmark:
 *
 *   [fetch]
 *   question = How long ...?
 *   run = fusion_ship -b {2000}           the contender "cachefusion"
 *   run.redis = peer_socket ...           one that takes turns with it
 *   target = redis 12                     the first is to be that many times faster (words for the report)
 *   limit_s = 60                          of one run
 */
#include <ini.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/units.h"
#include "tools/bench/bench.h"

#define LIMIT_S_DEFAULT 60u
#define LIMIT_S_MAX 600u

static bool refuse(struct bench_catalogue *catalogue, const char *what, const char *name)
{
    snprintf(catalogue->error, sizeof catalogue->error, "%.200s: %.40s", what, name);
    return false;
}

static struct bench_entry *entry_of(struct bench_catalogue *catalogue, const char *name)
{
    struct bench_entry *entry = catalogue->count > 0 ? &catalogue->entries[catalogue->count - 1] : NULL;

    if (entry != NULL && strcmp(entry->name, name) == 0)
        return entry;
    if (catalogue->count == BENCH_ENTRIES_MAX || strlen(name) >= BENCH_NAME_BYTES)
        return NULL;
    entry = &catalogue->entries[catalogue->count++];
    memset(entry, 0, sizeof *entry);
    snprintf(entry->name, sizeof entry->name, "%s", name);
    entry->limit_s = LIMIT_S_DEFAULT;
    return entry;
}

static bool add_contender(struct bench_entry *entry, const char *name, const char *command)
{
    struct bench_contender *contender = &entry->contenders[entry->contenders_count];

    if (entry->contenders_count == BENCH_CONTENDERS_MAX || strlen(name) >= sizeof contender->name ||
        strlen(command) >= sizeof contender->command)
        return false;
    snprintf(contender->name, sizeof contender->name, "%s", name);
    snprintf(contender->command, sizeof contender->command, "%s", command);
    entry->contenders_count++;
    return true;
}

static bool set(struct bench_catalogue *catalogue, struct bench_entry *entry, const char *name,
                const char *value)
{
    uint64_t limit_s = 0;

    if (strcmp(name, "question") == 0)
        snprintf(entry->question, sizeof entry->question, "%s", value);
    else if (strcmp(name, "target") == 0)
        snprintf(entry->target, sizeof entry->target, "%s", value);
    else if (strcmp(name, "limit_s") == 0 && cf_parse_u64(value, &limit_s) == 0 && limit_s > 0 &&
             limit_s <= LIMIT_S_MAX)
        entry->limit_s = (uint32_t)limit_s;
    else if (strcmp(name, "run") == 0)
        return add_contender(entry, "cachefusion", value) || refuse(catalogue, "cannot take", name);
    else if (strncmp(name, "run.", 4) == 0 && name[4] != '\0')
        return add_contender(entry, name + 4, value) || refuse(catalogue, "cannot take", name);
    else
        return refuse(catalogue, "not a name or value of a catalogue", name);
    return true;
}

/* For inih: 1 = go on. */
static int on_line(void *user, const char *section, const char *name, const char *value)
{
    struct bench_catalogue *catalogue = user;
    struct bench_entry *entry = section[0] != '\0' ? entry_of(catalogue, section) : NULL;

    if (catalogue->error[0] != '\0')
        return 0;
    if (entry == NULL)
        return refuse(catalogue, "no place for", name);
    return set(catalogue, entry, name, value);
}

/* In a build the catalogue is in bench/ beside this command; installed, in ../libexec/cachefusion. */
static bool find(struct bench_catalogue *catalogue)
{
    static const char *const places[] = {"bench", "../libexec/cachefusion"};
    char self[BENCH_PATH_BYTES / 2];
    ssize_t self_bytes = readlink("/proc/self/exe", self, sizeof self - 1);

    if (self_bytes <= 0)
        return refuse(catalogue, "no path of this command", "/proc/self/exe");
    self[self_bytes] = '\0';
    *strrchr(self, '/') = '\0';
    for (size_t i = 0; i < CF_COUNTOF(places); i++) {
        snprintf(catalogue->folder, sizeof catalogue->folder, "%s/%s", self, places[i]);
        snprintf(catalogue->path, sizeof catalogue->path, "%s/%s/catalogue.ini", self, places[i]);
        if (access(catalogue->path, R_OK) == 0)
            return true;
    }
    snprintf(catalogue->error, sizeof catalogue->error,
             "there are no benchmarks beside this command ('make bench-build' builds them, 'make install' "
             "installs them)");
    return false;
}

static bool is_whole(struct bench_catalogue *catalogue)
{
    for (uint32_t i = 0; i < catalogue->count; i++) {
        const struct bench_entry *entry = &catalogue->entries[i];

        if (entry->question[0] == '\0' || entry->contenders_count == 0)
            return refuse(catalogue, "no question, or nothing to run", entry->name);
    }
    return catalogue->count > 0 || refuse(catalogue, "nothing in it", catalogue->path);
}

bool bench_catalogue_read(struct bench_catalogue *catalogue, const char *path)
{
    int line;

    memset(catalogue, 0, sizeof *catalogue);
    if (!find(catalogue) && path[0] == '\0')
        return false;
    catalogue->error[0] = '\0';
    if (path[0] != '\0')
        snprintf(catalogue->path, sizeof catalogue->path, "%s", path);
    line = ini_parse(catalogue->path, on_line, catalogue);
    if (line != 0) {
        char why[BENCH_TEXT_BYTES];

        snprintf(why, sizeof why, "%.150s",
                 catalogue->error[0] != '\0' ? catalogue->error : "cannot be read");
        snprintf(catalogue->error, sizeof catalogue->error, "%.80s line %d: %.150s", catalogue->path, line,
                 why);
        return false;
    }
    return is_whole(catalogue);
}
