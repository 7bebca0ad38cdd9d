/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_RUNDIR_H
#define TOOLS_RUNDIR_H

/* A private directory of one run: cluster file, sockets, logs of the instances, the data file when none was named. */
#include <stdbool.h>
#include <stdint.h>

#include "base/compiler.h"

/* Sockets in it must fit sun_path (108 bytes). */
#define RUNDIR_BYTES 72u

struct rundir {
    char path[RUNDIR_BYTES]; /* empty: none */
};

/* In $TMPDIR, /dev/shm or /tmp, the first that can be used. False: errno. */
CF_CHECK bool rundir_make(struct rundir *dir);
/* Removes it with all that is in it. */
void rundir_remove(struct rundir *dir);
/* "<dir>/<name>" with %u = number. Returns buf. */
char *rundir_file(const struct rundir *dir, const char *format, uint32_t number, char *buf, size_t buf_bytes);

#endif
