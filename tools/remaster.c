/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion remaster`: tells a running instance to have a bucket mastered by another one. */
#include <errno.h>
#include <stddef.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <cachefusion/types.h>

#include "tools/exits.h"
#include "tools/status.h"
#include "tools/tools.h"

#define CONTROL_SUFFIX ".control"

struct remaster_args {
    struct status_args status;
    uint32_t bucket;
    uint32_t to;
};

static const struct cf_option_desc table[] = {
    {.name = "bucket",
     .text = "bucket, from 0",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct remaster_args, bucket),
     .dflt = "0",
     .max = UINT32_MAX},
    {.name = "to",
     .text = "node that is to master its blocks",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct remaster_args, to),
     .dflt = "0",
     .max = UINT16_MAX},
    {.name = "socket",
     .text = "status socket of an instance of the cluster",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct remaster_args, status.socket),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "config",
     .text = "cluster file that names the socket (status_path)",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct remaster_args, status.config),
     .dflt = "",
     .max = STATUS_PATH_BYTES},
    {.name = "node",
     .text = "which instance of the cluster file is told",
     .type = CF_OPTION_U16,
     .offset = offsetof(struct remaster_args, status.node),
     .dflt = "0",
     .max = CF_NODES_MAX - 1},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "remaster",
    .summary = "Has the blocks of a bucket mastered by another instance.",
    .table = table,
    .table_count = sizeof(table) / sizeof(table[0]),
    .notes = "Any instance can be told; if another one masters the bucket, that one is asked, and 'status' "
             "shows what "
             "came of it\n(remaster_given, remaster_refused, remaster_given_up).\n" EXITS_NOTE,
};

/* The answer's one line; false: words in it. */
static bool ask(const char *path, const struct remaster_args *args, char *answer, size_t answer_bytes)
{
    struct timeval wait = {.tv_sec = STATUS_WAIT_MS / 1000};
    char line[64];
    size_t bytes = 0;
    ssize_t got = 1;
    int fd = status_connect(path, answer, answer_bytes);

    if (fd < 0)
        return false;
    snprintf(line, sizeof(line), "remaster %u %u\n", args->bucket, args->to);
    (void)setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &wait, sizeof(wait));
    if (send(fd, line, strlen(line), MSG_NOSIGNAL) != (ssize_t)strlen(line))
        got = -1;
    while (got > 0 && bytes + 1 < answer_bytes) {
        got = recv(fd, answer + bytes, answer_bytes - 1 - bytes, 0);
        bytes += got > 0 ? (size_t)got : 0;
    }
    if (bytes == 0)
        snprintf(answer, answer_bytes, "no answer: %s", got < 0 ? strerror(errno) : "the instance has ended");
    else
        answer[bytes] = '\0';
    close(fd);
    answer[strcspn(answer, "\n")] = '\0';
    return bytes != 0;
}

int tool_remaster(int argc, char **argv)
{
    struct remaster_args args = {0};
    char path[STATUS_PATH_BYTES], control[STATUS_PATH_BYTES + sizeof(CONTROL_SUFFIX)], text[512] = "";
    enum cf_cli_result result;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    if (!status_path(&args.status, path, sizeof(path), text, sizeof(text))) {
        fprintf(stderr, "cachefusion remaster: %s\n", text);
        return EXIT_USAGE;
    }
    snprintf(control, sizeof(control), "%s" CONTROL_SUFFIX, path);
    if (!ask(control, &args, text, sizeof(text)) || strncmp(text, "ok ", 3) != 0) {
        fprintf(stderr, "cachefusion remaster: %s\n", strncmp(text, "error ", 6) == 0 ? text + 6 : text);
        return EXIT_TROUBLE;
    }
    printf("%s\n", text + 3);
    return EXIT_OK;
}
