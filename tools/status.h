/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_STATUS_H
#define TOOLS_STATUS_H

/* The state of a running instance: one JSON text a connection to its status socket. */
#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/cli.h"

#define STATUS_PATH_BYTES 256u
/* An answer longer than this is refused. */
#define STATUS_BYTES_MAX (16u << 20)
/* An instance that does not answer for so long is told to be stuck. */
#define STATUS_WAIT_MS 5000

struct status_args {
    char socket[STATUS_PATH_BYTES];
    char config[STATUS_PATH_BYTES];
    uint16_t node;
    bool json;      /* status */
    bool waits;     /* status: who waits for whom in the cluster */
    bool dot;       /* the same for Graphviz */
    double every;   /* top: seconds */
    uint64_t count; /* top: 0 = until it is ended */
};

/* Path of the socket that the arguments name. False: words in text. */
bool status_path(const struct status_args *args, char *path, size_t path_bytes, char *text,
                 size_t text_bytes);
/* A connection to a socket of a running instance; -1: words in text. */
int status_connect(const char *path, char *text, size_t text_bytes);
/* The instance's answer; the caller lets it go with json_decref. NULL: words in text. */
json_t *status_fetch(const char *path, char *text, size_t text_bytes);

uint64_t status_u64(const json_t *object, const char *key);
const char *status_str(const json_t *object, const char *key);
/* counters.name */
uint64_t status_counter(const json_t *status, const char *name);

/* Who waits for whom, as the detector saw it. False: this instance does not know; words in text. */
bool status_waits(const json_t *status, bool is_dot, FILE *out, char *text, size_t text_bytes);

/* One line of what is to be shown; printed or drawn by the one who asked. */
typedef void (*status_line_fn)(void *arg, const char *line);
/* Rates by difference when `before` is not NULL. */
void status_describe(const json_t *status, const json_t *before, double seconds, uint32_t lines_max,
                     status_line_fn line, void *arg);

#endif
