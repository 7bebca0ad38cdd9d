/* SPDX-License-Identifier: Apache-2.0 */
#include "base/log.h"

#include <inttypes.h>
#include <stdarg.h>
#include <stdbool.h>
#include <string.h>
#include <time.h>

#include "base/assert.h"
#include "base/clock.h"
#include "base/hash.h"

void cf_log_init(struct cf_log *log, int level, FILE *out, uint16_t node)
{
    int rc;

    memset(log, 0, sizeof(*log));
    log->level = level;
    log->out = out;
    log->node = node;
    log->burst_max = CF_LOG_BURST_DEFAULT;
    rc = pthread_mutex_init(&log->lock, NULL);
    cf_assert(rc == 0);
}

static uint64_t wall_ns(const struct cf_log *log)
{
    return log->wall_ns != NULL ? log->wall_ns(log->wall_arg) : cf_wall_ns();
}

static void print_locked(const struct cf_log *log, uint64_t now_ns, const char *component, const char *text)
{
    time_t seconds = (time_t)(now_ns / CF_NS_PER_S);
    char stamp[32];
    struct tm tm;

    gmtime_r(&seconds, &tm);
    strftime(stamp, sizeof(stamp), "%Y-%m-%dT%H:%M:%S", &tm);
    fprintf(log->out, "%s.%06" PRIu64 "Z %u %s: %s\n", stamp, now_ns % CF_NS_PER_S / CF_NS_PER_US, log->node,
            component, text);
}

static void print_suppressed_locked(const struct cf_log *log, uint64_t now_ns, struct cf_log_site *site)
{
    char text[CF_LOG_LINE_BYTES_MAX];

    if (site->suppressed_count == 0)
        return;
    snprintf(text, sizeof(text), "suppressed %" PRIu64 " lines like: %s", site->suppressed_count, site->fmt);
    print_locked(log, now_ns, site->component, text);
    site->suppressed_count = 0;
}

/*
 * Whether the call site may print now. Two sites that share an entry take it from each other: then lines
 * pass that the bound would have stopped, and none is lost.
 */
static bool admit_locked(struct cf_log *log, uint64_t now_ns, const char *component, const char *fmt)
{
    struct cf_log_site *site = &log->sites[cf_mix64((uint64_t)(uintptr_t)fmt, 0) % CF_LOG_SITES];

    if (log->burst_max == 0)
        return true;
    if (site->fmt != fmt || now_ns - site->window_began_ns >= CF_LOG_WINDOW_NS) {
        print_suppressed_locked(log, now_ns, site);
        *site = (struct cf_log_site){.fmt = fmt, .component = component, .window_began_ns = now_ns};
    }
    if (site->printed_count >= log->burst_max) {
        site->suppressed_count++;
        return false;
    }
    site->printed_count++;
    return true;
}

void cf_log(struct cf_log *log, int level, const char *component, const char *fmt, ...)
{
    char text[CF_LOG_LINE_BYTES_MAX];
    uint64_t now_ns;
    va_list args;

    if (log == NULL || log->out == NULL || level > log->level)
        return;
    va_start(args, fmt);
    vsnprintf(text, sizeof(text), fmt, args);
    va_end(args);
    now_ns = wall_ns(log);
    pthread_mutex_lock(&log->lock);
    if (admit_locked(log, now_ns, component, fmt)) {
        print_locked(log, now_ns, component, text);
        fflush(log->out);
    }
    pthread_mutex_unlock(&log->lock);
}

void cf_log_close(struct cf_log *log)
{
    int rc;

    if (log->out != NULL) {
        pthread_mutex_lock(&log->lock);
        for (uint32_t i = 0; i < CF_LOG_SITES; i++)
            print_suppressed_locked(log, wall_ns(log), &log->sites[i]);
        fflush(log->out);
        pthread_mutex_unlock(&log->lock);
    }
    rc = pthread_mutex_destroy(&log->lock);
    cf_assert(rc == 0);
}
