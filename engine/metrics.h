/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_METRICS_H
#define ENGINE_METRICS_H

/* The counters of an instance as Prometheus text, over HTTP on a port of this host (option `metrics`). */
#include <stdbool.h>
#include <sys/socket.h>

#include <cachefusion/cachefusion.h>

struct eng_metrics_address {
    union {
        struct sockaddr any;
        struct sockaddr_storage storage;
    } socket;
    socklen_t bytes;
    bool is_loopback;
};

/* "127.0.0.1:9300", "[::1]:9300": a numeric address and a port; port 0 takes a free one. False: it is neither. */
bool eng_metrics_parse(const char *text, struct eng_metrics_address *address_out);

/* Serves until eng_metrics_stop, which may be called without a start. CF_SYSTEM: *error names option and cause. */
enum cf_rc eng_metrics_start(struct cf_instance *instance, struct cf_error *error);
void eng_metrics_stop(struct cf_instance *instance);
/* Where it listens, the port that was taken included; NULL = metrics are off. */
const char *eng_metrics_where(const struct cf_instance *instance);

/* ---- stats.c ---- */
/* Nanoseconds in all, of each latency of stats.def. Any thread. */
struct eng_latency_sums {
#define CF_STAT(name, text)
#define CF_LATENCY(name, text) double name;
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_LATENCY
};
void eng_stats_sums(const struct cf_instance *instance, struct eng_latency_sums *sums_out);

#endif
