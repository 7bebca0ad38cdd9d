/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/rundir.h"

#include <errno.h>
#include <ftw.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#define RUNDIR_NAME "cachefusion-XXXXXX"
#define RUNDIR_OPEN_FILES 8

static bool make_in(struct rundir *dir, const char *place)
{
    int length = snprintf(dir->path, sizeof(dir->path), "%s/" RUNDIR_NAME, place);

    if (length >= (int)sizeof(dir->path))
        errno = ENAMETOOLONG;
    else if (mkdtemp(dir->path) != NULL)
        return true;
    dir->path[0] = '\0';
    return false;
}

bool rundir_make(struct rundir *dir)
{
    const char *place = getenv("TMPDIR");

    return (place != NULL && place[0] == '/' && make_in(dir, place)) || make_in(dir, "/dev/shm") ||
           make_in(dir, "/tmp");
}

static int remove_one(const char *path, const struct stat *status, int kind, struct FTW *place)
{
    (void)status;
    (void)kind;
    (void)place;
    return remove(path);
}

void rundir_remove(struct rundir *dir)
{
    if (dir->path[0] == '\0')
        return;
    if (nftw(dir->path, remove_one, RUNDIR_OPEN_FILES, FTW_DEPTH | FTW_PHYS | FTW_MOUNT) != 0)
        fprintf(stderr, "cachefusion run: %s could not be removed: %s\n", dir->path, strerror(errno));
    dir->path[0] = '\0';
}

char *rundir_file(const struct rundir *dir, const char *format, uint32_t number, char *buf, size_t buf_bytes)
{
    int length = snprintf(buf, buf_bytes, "%s/", dir->path);

    if (length > 0 && (size_t)length < buf_bytes) {
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wformat-nonliteral"
        snprintf(buf + length, buf_bytes - (size_t)length, format, number);
#pragma GCC diagnostic pop
    }
    return buf;
}
