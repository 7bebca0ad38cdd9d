/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Metrics: a thread of libmicrohttpd answers GET /metrics with the statistics in Prometheus' text format. It reads
 * counters only, and never asks the owner of progress: an instance that hangs can still be scraped.
 *
 * Concurrency: the server's one thread calls answer(); the instance outlives it.
 */
#include "engine/metrics.h"

#include <arpa/inet.h>
#include <errno.h>
#include <inttypes.h>
#include <microhttpd.h>
#include <netinet/in.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/thread.h"
#include "base/units.h"
#include "engine/instance.h"

#define METRICS_CONNECTIONS_MAX 8u
#define METRICS_IDLE_S_MAX 5u
#define METRICS_BACKLOG_MAX 8
#define METRICS_TYPE "text/plain; version=0.0.4; charset=utf-8"

struct metrics_server {
    struct cf_instance *instance;
    struct MHD_Daemon *daemon;
    int listen_fd;
    char where[INET6_ADDRSTRLEN + sizeof "[]:65535"];
};

/* ------------------------------------------------------------------ the address */

bool eng_metrics_parse(const char *text, struct eng_metrics_address *address_out)
{
    struct eng_metrics_address address = {.bytes = 0};
    struct sockaddr_in *v4 = (struct sockaddr_in *)(void *)&address.socket.storage;
    struct sockaddr_in6 *v6 = (struct sockaddr_in6 *)(void *)&address.socket.storage;
    const char *colon = strrchr(text, ':');
    char host[INET6_ADDRSTRLEN + 2];
    size_t host_bytes;
    uint64_t port;

    if (colon == NULL || cf_parse_u64(colon + 1, &port) != 0 || port > UINT16_MAX)
        return false;
    host_bytes = (size_t)(colon - text);
    if (host_bytes == 0 || host_bytes >= sizeof host)
        return false;
    memcpy(host, text, host_bytes);
    host[host_bytes] = '\0';
    if (host[0] == '[' && host[host_bytes - 1] == ']') {
        host[host_bytes - 1] = '\0';
        if (inet_pton(AF_INET6, host + 1, &v6->sin6_addr) != 1)
            return false;
        v6->sin6_family = AF_INET6;
        v6->sin6_port = htons((uint16_t)port);
        address.bytes = sizeof *v6;
        address.is_loopback = IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
    } else {
        if (inet_pton(AF_INET, host, &v4->sin_addr) != 1)
            return false;
        v4->sin_family = AF_INET;
        v4->sin_port = htons((uint16_t)port);
        address.bytes = sizeof *v4;
        address.is_loopback = ntohl(v4->sin_addr.s_addr) >> 24 == IN_LOOPBACKNET;
    }
    *address_out = address;
    return true;
}

static bool where_is(int fd, char *where, size_t where_bytes)
{
    struct eng_metrics_address address = {.bytes = sizeof address.socket.storage};
    const struct sockaddr_in *v4 = (const struct sockaddr_in *)(const void *)&address.socket.storage;
    const struct sockaddr_in6 *v6 = (const struct sockaddr_in6 *)(const void *)&address.socket.storage;
    char host[INET6_ADDRSTRLEN];

    if (getsockname(fd, &address.socket.any, &address.bytes) != 0)
        return false;
    if (address.socket.any.sa_family == AF_INET6) {
        if (inet_ntop(AF_INET6, &v6->sin6_addr, host, sizeof host) == NULL)
            return false;
        snprintf(where, where_bytes, "[%s]:%u", host, ntohs(v6->sin6_port));
    } else {
        if (inet_ntop(AF_INET, &v4->sin_addr, host, sizeof host) == NULL)
            return false;
        snprintf(where, where_bytes, "%s:%u", host, ntohs(v4->sin_port));
    }
    return true;
}

static int open_listener(const struct eng_metrics_address *address)
{
    int fd = socket(address->socket.any.sa_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0), one = 1;

    if (fd < 0)
        return -1;
    /* A port whose last connections still linger can be taken again; one that is listened on cannot. */
    if (setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) != 0 ||
        bind(fd, &address->socket.any, address->bytes) != 0 || listen(fd, METRICS_BACKLOG_MAX) != 0) {
        int system = errno;

        close(fd);
        errno = system;
        return -1;
    }
    return fd;
}

/* ------------------------------------------------------------------ the text */

/* Labels of every line: cluster and node. The cluster's name may hold what a label's value must not. */
#define LABELS_BYTES (2 * CF_OPTION_STRING_BYTES + 64)
static void labels_write(const struct cf_instance *instance, char labels[LABELS_BYTES])
{
    size_t at = (size_t)snprintf(labels, LABELS_BYTES, "cluster=\"");

    for (const char *from = instance->options.cluster; *from != '\0'; from++) {
        if (*from == '\\' || *from == '"' || *from == '\n')
            labels[at++] = '\\';
        labels[at++] = *from == '\n' ? 'n' : *from;
    }
    snprintf(labels + at, LABELS_BYTES - at, "\",node=\"%u\"", instance->node);
}

static void write_head(FILE *out, const char *name, const char *suffix, const char *type, const char *text)
{
    fprintf(out, "# HELP cachefusion_%s%s %s\n# TYPE cachefusion_%s%s %s\n", name, suffix, text, name, suffix,
            type);
}

static void write_counter(FILE *out, const char *labels, const char *name, const char *text, uint64_t value)
{
    write_head(out, name, "_total", "counter", text);
    fprintf(out, "cachefusion_%s_total{%s} %" PRIu64 "\n", name, labels, value);
}

static void write_gauge(FILE *out, const char *labels, const char *name, const char *text, uint64_t value)
{
    write_head(out, name, "", "gauge", text);
    fprintf(out, "cachefusion_%s{%s} %" PRIu64 "\n", name, labels, value);
}

static double seconds_of(uint64_t ns)
{
    return (double)ns / (double)CF_NS_PER_S;
}

static void write_latency(FILE *out, const char *labels, const char *name, const char *text,
                          const struct cf_latency *latency, double sum_ns)
{
    const struct {
        const char *quantile;
        uint64_t ns;
    } rows[] = {{"0.5", latency->p50}, {"0.99", latency->p99}, {"0.999", latency->p999}, {"1", latency->max}};

    write_head(out, name, "_seconds", "summary", text);
    for (size_t i = 0; i < CF_COUNTOF(rows); i++) {
        fprintf(out, "cachefusion_%s_seconds{%s,quantile=\"%s\"} ", name, labels, rows[i].quantile);
        if (latency->count == 0)
            fprintf(out, "NaN\n");
        else
            fprintf(out, "%.9g\n", seconds_of(rows[i].ns));
    }
    fprintf(out, "cachefusion_%s_seconds_sum{%s} %.9g\ncachefusion_%s_seconds_count{%s} %" PRIu64 "\n", name,
            labels, sum_ns / (double)CF_NS_PER_S, name, labels, latency->count);
}

static void write_instance(FILE *out, const char *labels, const struct cf_instance *instance)
{
    write_head(out, "info", "", "gauge", "what runs: version, incarnation, transport without its address");
    fprintf(out, "cachefusion_info{%s,version=\"%s\",incarnation=\"%u\",transport=\"%.*s\"} 1\n", labels,
            cf_version(), instance->incarnation, (int)strcspn(instance->options.transport, ":\"\\\n"),
            instance->options.transport);
    write_gauge(out, labels, "running", "1 while calls are served, 0 when the instance has stopped for good",
                eng_state(instance) == CF_OK);
    write_gauge(out, labels, "members", "members of the static view", instance->nodes);
    write_head(out, "uptime_seconds", "", "gauge", "time since the instance was opened");
    fprintf(out, "cachefusion_uptime_seconds{%s} %.3f\n", labels,
            seconds_of(cf_now_ns() - instance->opened_ns));
}

/* NULL: no memory, or a forked child asks. */
static char *text_of(const struct cf_instance *instance, size_t *bytes_out)
{
    struct cf_stats stats = {.size = sizeof stats};
    struct eng_latency_sums sums;
    char labels[LABELS_BYTES], *text = NULL;
    FILE *out;

    if (cf_stats_read(instance, &stats) != CF_OK)
        return NULL;
    eng_stats_sums(instance, &sums);
    out = open_memstream(&text, bytes_out);
    if (out == NULL)
        return NULL;
    labels_write(instance, labels);
    write_instance(out, labels, instance);
#define CF_STAT(name, text) write_counter(out, labels, #name, text, stats.name);
#define CF_GAUGE(name, text) write_gauge(out, labels, #name, text, stats.name);
#define CF_LATENCY(name, text) write_latency(out, labels, #name, text, &stats.name, sums.name);
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_GAUGE
#undef CF_LATENCY
    if (fclose(out) != 0) {
        free(text);
        return NULL;
    }
    return text;
}

/* ------------------------------------------------------------------ the server */

static enum MHD_Result reply(struct MHD_Connection *connection, unsigned int status, const char *type,
                             const char *text)
{
    /* Copied: the library takes what is not const. */
    struct MHD_Response *response = MHD_create_response_from_buffer(strlen(text), (void *)(uintptr_t)text,
                                                                    MHD_RESPMEM_MUST_COPY);
    enum MHD_Result result;

    if (response == NULL)
        return MHD_NO;
    if (MHD_add_response_header(response, MHD_HTTP_HEADER_CONTENT_TYPE, type) == MHD_NO ||
        (status == MHD_HTTP_METHOD_NOT_ALLOWED &&
         MHD_add_response_header(response, MHD_HTTP_HEADER_ALLOW, "GET, HEAD") == MHD_NO))
        result = MHD_NO;
    else
        result = MHD_queue_response(connection, status, response);
    MHD_destroy_response(response);
    return result;
}

static enum MHD_Result answer(void *arg, struct MHD_Connection *connection, const char *url,
                              const char *method, const char *version, const char *upload,
                              size_t *upload_bytes, void **request)
{
    const struct metrics_server *server = arg;
    enum MHD_Result result;
    size_t bytes;
    char *text;

    (void)version;
    (void)upload;
    (void)upload_bytes;
    (void)request;
    if (strcmp(method, MHD_HTTP_METHOD_GET) != 0 && strcmp(method, MHD_HTTP_METHOD_HEAD) != 0)
        return reply(connection, MHD_HTTP_METHOD_NOT_ALLOWED, "text/plain", "GET /metrics\n");
    if (strcmp(url, "/metrics") != 0)
        return reply(connection, MHD_HTTP_NOT_FOUND, "text/plain", "the metrics are at /metrics\n");
    text = text_of(server->instance, &bytes);
    if (text == NULL)
        return reply(connection, MHD_HTTP_INTERNAL_SERVER_ERROR, "text/plain", "no memory\n");
    result = reply(connection, MHD_HTTP_OK, METRICS_TYPE, text);
    free(text);
    return result;
}

static void on_log(void *arg, const char *format, va_list args)
{
    struct cf_instance *instance = arg;
    char line[256];

    vsnprintf(line, sizeof line, format, args);
    line[strcspn(line, "\n")] = '\0';
    cf_log_debug(&instance->log, "metrics", "%s", line);
}

/* Its thread takes none of the host program's signals. */
static struct MHD_Daemon *daemon_start(struct metrics_server *server)
{
    struct MHD_Daemon *daemon;
    sigset_t before;

    cf_signals_block(&before);
    daemon = MHD_start_daemon(
        MHD_USE_INTERNAL_POLLING_THREAD | MHD_USE_POLL | MHD_USE_ITC | MHD_USE_ERROR_LOG, 0, NULL, NULL,
        answer, server, MHD_OPTION_EXTERNAL_LOGGER, on_log, server->instance, MHD_OPTION_LISTEN_SOCKET,
        server->listen_fd, MHD_OPTION_CONNECTION_LIMIT, METRICS_CONNECTIONS_MAX,
        MHD_OPTION_CONNECTION_TIMEOUT, METRICS_IDLE_S_MAX, MHD_OPTION_END);
    cf_signals_restore(&before);
    return daemon;
}

enum cf_rc eng_metrics_start(struct cf_instance *instance, struct cf_error *error)
{
    struct metrics_server *server = calloc(1, sizeof *server);
    struct eng_metrics_address address;
    int system;

    if (server == NULL) {
        eng_error_set(error, CF_MEMORY, 0, instance->node, "no memory for the metrics server");
        return CF_MEMORY;
    }
    if (!eng_metrics_parse(instance->options.metrics, &address))
        cf_unreachable(); /* cf_options_check has seen it */
    server->instance = instance;
    errno = 0;
    server->listen_fd = open_listener(&address);
    if (server->listen_fd >= 0 && where_is(server->listen_fd, server->where, sizeof server->where))
        server->daemon = daemon_start(server);
    system = errno;
    if (server->daemon == NULL) {
        eng_error_set(error, CF_SYSTEM, system, instance->node, "option metrics: %.100s: %s",
                      instance->options.metrics,
                      system != 0 ? strerror(system) : "the server could not be started");
        if (server->listen_fd >= 0)
            close(server->listen_fd);
        free(server);
        return CF_SYSTEM;
    }
    instance->metrics = server;
    if (!address.is_loopback)
        cf_log_warn(&instance->log, "metrics", "%s can be read by whoever reaches this host", server->where);
    cf_log_info(&instance->log, "metrics", "http://%s/metrics", server->where);
    return CF_OK;
}

void eng_metrics_stop(struct cf_instance *instance)
{
    struct metrics_server *server = instance->metrics;

    if (server == NULL)
        return;
    MHD_stop_daemon(server->daemon); /* closes listen_fd */
    free(server);
    instance->metrics = NULL;
}

const char *eng_metrics_where(const struct cf_instance *instance)
{
    const struct metrics_server *server = instance->metrics;

    return server != NULL ? server->where : NULL;
}
