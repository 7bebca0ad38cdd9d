/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion status`, and how an instance is asked. */
#include "tools/status.h"

#include <errno.h>
#include <poll.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <cachefusion/options.h>

#include "base/clock.h"
#include "tools/exits.h"
#include "tools/tools.h"

static const struct cf_option_desc table[] = {
    {.name = "socket",
     .text = "status socket of the instance",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct status_args, socket),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "config",
     .text = "cluster file that names the socket (status_path)",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct status_args, config),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "node",
     .text = "which instance of the cluster file",
     .type = CF_OPTION_U16,
     .offset = offsetof(struct status_args, node),
     .dflt = "0",
     .max = CF_NODES_MAX - 1},
    {.name = "json",
     .text = "the instance's own words",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct status_args, json),
     .dflt = "false"},
    {.name = "waits",
     .text = "who waits for whom in the cluster, as its deadlock detector last saw it",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct status_args, waits),
     .dflt = "false"},
    {.name = "dot",
     .text = "the same for Graphviz",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct status_args, dot),
     .dflt = "false"},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "status",
    .summary =
        "Shows a running instance: members, modes held, requests in flight, who waits for what, latencies.",
    .table = table,
    .table_count = sizeof(table) / sizeof(table[0]),
    .notes = "One of --socket and --config is needed; 'cachefusion run --status' prints the sockets of its "
             "instances.\n" EXITS_NOTE,
};

bool status_path(const struct status_args *args, char *path, size_t path_bytes, char *text, size_t text_bytes)
{
    struct cf_options options;
    struct cf_error error = {0};

    if (args->socket[0] != '\0') {
        snprintf(path, path_bytes, "%s", args->socket);
        return true;
    }
    if (args->config[0] == '\0') {
        snprintf(text, text_bytes, "give --socket PATH, or --config FILE and --node N");
        return false;
    }
    cf_options_init(&options);
    if (cf_options_load(&options, args->config, args->node, &error) != CF_OK) {
        snprintf(text, text_bytes, "%s", error.text);
        return false;
    }
    if (options.status_path[0] == '\0') {
        snprintf(text, text_bytes, "%.120s gives node %u no status_path", args->config, args->node);
        return false;
    }
    snprintf(path, path_bytes, "%s", options.status_path);
    return true;
}

int status_connect(const char *path, char *text, size_t text_bytes)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    int fd;

    if (strlen(path) >= sizeof(address.sun_path)) {
        snprintf(text, text_bytes, "the path of the socket is longer than %zu bytes",
                 sizeof(address.sun_path) - 1);
        return -1;
    }
    memcpy(address.sun_path, path, strlen(path) + 1);
    fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd >= 0 && connect(fd, (struct sockaddr *)&address, sizeof(address)) == 0)
        return fd;
    snprintf(text, text_bytes, "%s: %s%s", path, strerror(errno),
             errno == ECONNREFUSED ? "; the instance is gone"
             : errno == ENOENT     ? "; is the instance running?"
                                   : "");
    if (fd >= 0)
        close(fd);
    return -1;
}

/* Reads to the end, within STATUS_WAIT_MS and STATUS_BYTES_MAX. NULL: words in text. */
static char *read_all(int fd, size_t *bytes_out, char *text, size_t text_bytes)
{
    uint64_t end_ns = cf_now_ns() + STATUS_WAIT_MS * CF_NS_PER_MS;
    size_t room = 65536, bytes = 0;
    char *buffer = malloc(room);

    while (buffer != NULL) {
        struct pollfd ready = {.fd = fd, .events = POLLIN};
        uint64_t now_ns = cf_now_ns();
        ssize_t got;

        if (now_ns >= end_ns || poll(&ready, 1, (int)((end_ns - now_ns) / CF_NS_PER_MS) + 1) == 0) {
            snprintf(text, text_bytes, "no answer for %d ms", STATUS_WAIT_MS);
            break;
        }
        got = read(fd, buffer + bytes, room - bytes);
        if (got < 0 && errno == EINTR)
            continue;
        if (got < 0) {
            snprintf(text, text_bytes, "%s", strerror(errno));
            break;
        }
        if (got == 0) {
            *bytes_out = bytes;
            return buffer;
        }
        bytes += (size_t)got;
        if (bytes == room) {
            char *larger = room < STATUS_BYTES_MAX ? realloc(buffer, 2 * room) : NULL;

            if (larger == NULL) {
                snprintf(text, text_bytes, "the answer is too long");
                break;
            }
            buffer = larger;
            room *= 2;
        }
    }
    free(buffer);
    return NULL;
}

json_t *status_fetch(const char *path, char *text, size_t text_bytes)
{
    int fd = status_connect(path, text, text_bytes);
    json_error_t error;
    json_t *status;
    size_t bytes;
    char *buffer;

    if (fd < 0)
        return NULL;
    buffer = read_all(fd, &bytes, text, text_bytes);
    close(fd);
    if (buffer == NULL)
        return NULL;
    status = json_loadb(buffer, bytes, 0, &error);
    free(buffer);
    if (!json_is_object(status)) {
        snprintf(text, text_bytes, "the answer is not JSON: %s", status == NULL ? error.text : "no object");
        json_decref(status);
        return NULL;
    }
    if (json_is_string(json_object_get(status, "error"))) {
        snprintf(text, text_bytes, "%s", json_string_value(json_object_get(status, "error")));
        json_decref(status);
        return NULL;
    }
    return status;
}

static void print_line(void *arg, const char *line)
{
    fprintf(arg, "%s\n", line);
}

int tool_status(int argc, char **argv)
{
    struct status_args args = {0};
    char path[STATUS_PATH_BYTES], text[512] = "";
    enum cf_cli_result result;
    int exit_status = EXIT_OK;
    json_t *status;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    if (!status_path(&args, path, sizeof(path), text, sizeof(text))) {
        fprintf(stderr, "cachefusion status: %s\n", text);
        return EXIT_USAGE;
    }
    status = status_fetch(path, text, sizeof(text));
    if (status == NULL) {
        fprintf(stderr, "cachefusion status: %s\n", text);
        return EXIT_TROUBLE;
    }
    if (args.json) {
        json_dumpf(status, stdout, JSON_INDENT(2));
        putchar('\n');
    } else if (args.waits || args.dot) {
        if (!status_waits(status, args.dot, stdout, text, sizeof(text))) {
            fprintf(stderr, "cachefusion status: %s\n", text);
            exit_status = EXIT_TROUBLE;
        }
    } else {
        status_describe(status, NULL, 0, UINT32_MAX, print_line, stdout);
    }
    json_decref(status);
    return exit_status;
}
