/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lines for operators. The sink is a struct handed around, so that two instances in one process do not
 * mix. The data path does not log, it traces (base/trace.h).
 *
 *   2026-03-01T12:00:00.123456Z 3 engine: view installed epoch 17 members 3
 *
 * One call site may print `burst_max` lines a window; more are counted, and the count is printed with the
 * next line that passes, or by cf_log_close.
 *
 * Concurrency: any thread; a mutex in the struct keeps lines whole.
 */
#ifndef CF_BASE_LOG_H
#define CF_BASE_LOG_H

#include <pthread.h>
#include <stdint.h>
#include <stdio.h>

#include "base/compiler.h"

enum cf_log_level { CF_LOG_ERROR = 0, CF_LOG_WARN = 1, CF_LOG_INFO = 2, CF_LOG_DEBUG = 3 };

#define CF_LOG_SITES 64
#define CF_LOG_LINE_BYTES_MAX 512
#define CF_LOG_BURST_DEFAULT 20
#define CF_LOG_WINDOW_NS UINT64_C(1000000000)

struct cf_log_site {
    const char *fmt; /* address of the format string names the call site */
    const char *component;
    uint64_t window_began_ns;
    uint32_t printed_count;
    uint64_t suppressed_count;
};

struct cf_log {
    int level; /* lines above it are dropped */
    FILE *out; /* NULL drops everything */
    uint16_t node;
    uint32_t burst_max;             /* lines of one call site a window; 0 is without limit */
    uint64_t (*wall_ns)(void *arg); /* NULL: cf_wall_ns */
    void *wall_arg;
    pthread_mutex_t lock;
    struct cf_log_site sites[CF_LOG_SITES]; /* [lk:lock] */
};

void cf_log_init(struct cf_log *log, int level, FILE *out, uint16_t node);
/* Prints what was suppressed and flushes; does not close the file. */
void cf_log_close(struct cf_log *log);

/* log may be NULL: the line is dropped. */
void cf_log(struct cf_log *log, int level, const char *component, const char *fmt, ...) CF_PRINTF(4, 5);

#define cf_log_error(log, component, ...) cf_log((log), CF_LOG_ERROR, (component), __VA_ARGS__)
#define cf_log_warn(log, component, ...) cf_log((log), CF_LOG_WARN, (component), __VA_ARGS__)
#define cf_log_info(log, component, ...) cf_log((log), CF_LOG_INFO, (component), __VA_ARGS__)
#define cf_log_debug(log, component, ...) cf_log((log), CF_LOG_DEBUG, (component), __VA_ARGS__)

#endif
