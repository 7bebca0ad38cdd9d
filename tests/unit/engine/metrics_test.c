/* SPDX-License-Identifier: Apache-2.0 */
/* Metrics over HTTP: the address, what a scrape holds, requests that are none. Real instances, loopback only. */
#include <arpa/inet.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include <cmocka.h>

#include "cluster_fixture.h"
#include "engine/metrics.h"

#define ANSWER_BYTES_MAX (1u << 18)

static int port_of(const struct cf_instance *instance)
{
    const char *where = eng_metrics_where(instance);

    assert_non_null(where);
    assert_int_equal(strncmp(where, "127.0.0.1:", 10), 0);
    return atoi(where + 10);
}

/* The whole answer to one request; the caller frees. */
static char *ask(int port, const char *request)
{
    struct sockaddr_in address = {
        .sin_family = AF_INET, .sin_port = htons((uint16_t)port), .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char *answer = malloc(ANSWER_BYTES_MAX);
    size_t bytes = 0;
    ssize_t got;

    assert_true(fd >= 0);
    assert_non_null(answer);
    assert_int_equal(connect(fd, (struct sockaddr *)&address, sizeof address), 0);
    assert_int_equal(send(fd, request, strlen(request), MSG_NOSIGNAL), strlen(request));
    while ((got = read(fd, answer + bytes, ANSWER_BYTES_MAX - 1 - bytes)) > 0)
        bytes += (size_t)got;
    assert_int_equal(got, 0);
    close(fd);
    answer[bytes] = '\0';
    return answer;
}

static char *scrape(int port)
{
    return ask(port, "GET /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
}

static void assert_has(const char *answer, const char *line)
{
    if (strstr(answer, line) == NULL)
        fail_msg("'%s' is not in: %.2000s", line, answer);
}

static void an_address_is_numeric_and_has_a_port(void **state)
{
    static const char *const wrong[] = {"9300",
                                        "127.0.0.1",
                                        ":9300",
                                        "localhost:9300",
                                        "127.0.0.1:",
                                        "127.0.0.1:65536",
                                        "127.0.0.1:http",
                                        "127.0.0.1:-1",
                                        "::1:9300",
                                        "[127.0.0.1]:9300",
                                        "[::1:9300",
                                        "[]:9300",
                                        "127.0.0.1:9300 ",
                                        "256.0.0.1:9300",
                                        "[]",
                                        ":",
                                        "0123456789012345678901234567890123456789012345678901234:1"};
    struct eng_metrics_address address;

    (void)state;
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++)
        if (eng_metrics_parse(wrong[i], &address))
            fail_msg("'%s' passes", wrong[i]);
    assert_true(eng_metrics_parse("127.0.0.1:9300", &address));
    assert_true(address.is_loopback);
    assert_int_equal(address.socket.any.sa_family, AF_INET);
    assert_true(eng_metrics_parse("[::1]:0", &address));
    assert_true(address.is_loopback);
    assert_int_equal(address.socket.any.sa_family, AF_INET6);
    assert_true(eng_metrics_parse("0.0.0.0:65535", &address));
    assert_false(address.is_loopback);
}

static void a_wrong_address_is_refused_with_the_options_name(void **state)
{
    struct cf_options options;
    struct cf_error error = {0};

    (void)state;
    cf_options_init(&options);
    assert_int_equal(cf_options_check(&options, &error), CF_OK); /* off: the default */
    assert_int_equal(cf_options_set(&options, "metrics", "127.0.0.1:99999", &error), CF_OK);
    assert_int_equal(cf_options_check(&options, &error), CF_OPTION);
    assert_has(error.text, "option metrics: value '127.0.0.1:99999'");
    assert_has(error.text, "0 to 65535");
}

static void a_scrape_holds_every_counter_with_its_help_and_type(void **state)
{
    char line[256];
    struct cf_stats stats = {.size = sizeof stats};
    struct cf_file *file;
    struct cluster c;
    char *answer;
    uint32_t i;

    (void)state;
    cluster_init(&c, 1);
    c.name = "a \"b\\ c";
    c.metrics = "127.0.0.1:0";
    cluster_file(&c, "data", 7, 40);
    cluster_open(&c);
    file = cluster_attach(&c, 0, "data", 7);
    for (i = 0; i < 5000; i++)
        (void)cluster_read(&c, 0, file, i % 10);
    assert_int_equal(cf_stats_read(c.instance[0], &stats), CF_OK);
    answer = scrape(port_of(c.instance[0]));
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    assert_has(answer, "text/plain; version=0.0.4");
#define LABELS "{cluster=\"a \\\"b\\\\ c\",node=\"0\""
#define CF_STAT(name, text)                                                                                 \
    assert_has(answer, "# HELP cachefusion_" #name "_total ");                                              \
    assert_has(answer, "# TYPE cachefusion_" #name "_total counter\ncachefusion_" #name "_total" LABELS "}" \
                       " ");
#define CF_GAUGE(name, text)                             \
    assert_has(answer, "# HELP cachefusion_" #name " "); \
    assert_has(answer, "# TYPE cachefusion_" #name " gauge\ncachefusion_" #name LABELS "} ");
#define CF_LATENCY(name, text)                                                          \
    assert_has(answer, "# TYPE cachefusion_" #name "_seconds summary\n");               \
    assert_has(answer, "cachefusion_" #name "_seconds" LABELS ",quantile=\"0.999\"} "); \
    assert_has(answer, "cachefusion_" #name "_seconds_sum" LABELS "} ");                \
    assert_has(answer, "cachefusion_" #name "_seconds_count" LABELS "} ");
#include <cachefusion/stats.def>
#undef CF_STAT
#undef CF_GAUGE
#undef CF_LATENCY
    snprintf(line, sizeof line, "cachefusion_gets_total" LABELS "} %" PRIu64 "\n", stats.gets);
    assert_has(answer, line);
    snprintf(line, sizeof line, "cachefusion_frames" LABELS "} %" PRIu64 "\n", stats.frames);
    assert_has(answer, line);
    snprintf(line, sizeof line, "cachefusion_hit_seconds_count" LABELS "} %" PRIu64 "\n", stats.hit.count);
    assert_has(answer, line);
    assert_true(stats.hit.count > 0);
    assert_has(answer, "cachefusion_remote2_seconds" LABELS ",quantile=\"0.5\"} NaN\n");
    assert_null(strstr(answer, "cachefusion_hit_seconds_sum" LABELS "} 0\n"));
    assert_has(answer, "cachefusion_running" LABELS "} 1\n");
    free(answer);
    cluster_close(&c);
    cluster_end(&c);
}

static void what_is_no_scrape_is_refused_and_the_next_one_is_answered(void **state)
{
    struct cluster c;
    char *answer;
    int port;

    (void)state;
    cluster_init(&c, 1);
    c.metrics = "127.0.0.1:0";
    cluster_open(&c);
    port = port_of(c.instance[0]);
    answer = ask(port, "GET /other HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    assert_int_equal(strncmp(answer, "HTTP/1.1 404 ", 13), 0);
    free(answer);
    answer = ask(port, "DELETE /metrics HTTP/1.1\r\nHost: here\r\nConnection: close\r\n\r\n");
    assert_int_equal(strncmp(answer, "HTTP/1.1 405 ", 13), 0);
    free(answer);
    answer = ask(port, "no request at all\r\n\r\n");
    assert_int_not_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    free(answer);
    answer = scrape(port);
    assert_int_equal(strncmp(answer, "HTTP/1.1 200 ", 13), 0);
    free(answer);
    cluster_close(&c);
    cluster_end(&c);
}

static void a_port_that_is_taken_is_a_named_error_and_free_again_after_the_close(void **state)
{
    struct cluster c, d;
    char where[64];

    (void)state;
    cluster_init(&c, 1);
    cluster_init(&d, 1);
    c.metrics = "127.0.0.1:0";
    cluster_open(&c);
    snprintf(where, sizeof where, "%s", eng_metrics_where(c.instance[0]));
    free(scrape(port_of(c.instance[0])));
    d.metrics = where;
    cluster_open_try(&d);
    assert_int_equal(d.opened[0], CF_SYSTEM);
    assert_has(d.error[0].text, "option metrics: ");
    assert_has(d.error[0].text, where);
    assert_has(d.error[0].text, "in use");
    cluster_close(&c);
    cluster_open(&d); /* the scrape's connection lingers: no hindrance */
    free(scrape(port_of(d.instance[0])));
    cluster_close(&d);
    cluster_end(&c);
    cluster_end(&d);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(an_address_is_numeric_and_has_a_port),
        cmocka_unit_test(a_wrong_address_is_refused_with_the_options_name),
        cmocka_unit_test(a_scrape_holds_every_counter_with_its_help_and_type),
        cmocka_unit_test(what_is_no_scrape_is_refused_and_the_next_one_is_answered),
        cmocka_unit_test(a_port_that_is_taken_is_a_named_error_and_free_again_after_the_close),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
