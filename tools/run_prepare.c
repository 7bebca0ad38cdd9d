/* SPDX-License-Identifier: Apache-2.0 */
/* What must be there before the first instance starts: directory, cluster file, data file, its sums. */
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <sodium.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/hash.h"
#include "base/units.h"
#include "engine/format.h"
#include "tools/exits.h"
#include "tools/run.h"

#define SECRET_BYTES 16u

static int complain(int status, const char *format, ...) CF_PRINTF(2, 3);
static int complain(int status, const char *format, ...)
{
    va_list arguments;

    fputs("cachefusion run: ", stderr);
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    return status;
}

/* Which option holds the frames of a block size. */
static const char *cache_option(uint64_t block_bytes)
{
    switch (block_bytes) {
    case 2048:
        return "cache_2k_bytes";
    case 4096:
        return "cache_4k_bytes";
    case 16384:
        return "cache_16k_bytes";
    case 32768:
        return "cache_32k_bytes";
    }
    return "cache_bytes";
}

/* The last --set of a name counts; true for that one. */
static bool set_counts(const struct run_args *args, uint32_t index)
{
    size_t length = strcspn(args->sets[index], "=") + 1;

    for (uint32_t i = index + 1; i < args->sets_count; i++)
        if (strncmp(args->sets[i], args->sets[index], length) == 0)
            return false;
    return true;
}

static bool is_set(const struct run_args *args, const char *name)
{
    for (uint32_t i = 0; i < args->sets_count; i++)
        if (strncmp(args->sets[i], name, strlen(name)) == 0 && args->sets[i][strlen(name)] == '=')
            return true;
    return false;
}

/* A file that belongs to a cluster already is opened under that name. */
static const char *cluster_name(const struct run *run)
{
    const char *name = run->datafile.cluster;

    for (const char *c = name; *c != '\0'; c++)
        if (!isalnum((unsigned char)*c) && strchr("._-", *c) == NULL)
            return "run";
    return name[0] != '\0' ? name : "run";
}

/* Instances that meet in a directory meet in that of the run, so that runs do not get in each other's way. */
static void write_transport(const struct run *run, FILE *file)
{
    const char *transport = run->args->transport;
    size_t memif = strlen("dpdk:memif");

    if (strcmp(transport, "shm:") == 0)
        fprintf(file, "transport = shm:%s\n", run->dir.path);
    else if (strncmp(transport, "dpdk:memif", memif) == 0 &&
             (transport[memif] == 0 || transport[memif] == ','))
        fprintf(file, "transport = dpdk:memif:%s%s\n", run->dir.path, transport + memif);
    else
        fprintf(file, "transport = %s\n", transport);
}

/* Where the instances are: at the hosts, without the name of a user. */
static void write_peers(const struct run *run, FILE *file)
{
    for (uint32_t node = 0; node < run->hosts_count; node++) {
        const char *at = strrchr(run->host[node], '@');

        fprintf(file, "%s%s", node == 0 ? "peers = " : ",", at != NULL ? at + 1 : run->host[node]);
    }
    fputc('\n', file);
}

static void write_cluster_file(const struct run *run, uint64_t block_bytes, const char *secret, FILE *file)
{
    const struct run_args *args = run->args;
    char socket[RUN_PATH_BYTES];

    fprintf(file, "[cluster]\ncluster = %s\nsecret = %s\nnodes = %u\n", cluster_name(run), secret,
            run->instances);
    write_transport(run, file);
    if (block_bytes != CF_BLOCK_BYTES_DEFAULT && !is_set(args, "cache_bytes"))
        fprintf(file, "cache_bytes = 0\n");
    if (!is_set(args, cache_option(block_bytes)))
        fprintf(file, "%s = %" PRIu64 "\n", cache_option(block_bytes), args->cache_bytes);
    for (uint32_t i = 0; i < args->sets_count; i++)
        if (set_counts(args, i))
            fprintf(file, "%.*s = %s\n", (int)strcspn(args->sets[i], "="), args->sets[i],
                    strchr(args->sets[i], '=') + 1);
    if (run->hosts_count > 0 && !is_set(args, "peers"))
        write_peers(run, file);
    for (uint32_t node = 0; run->hosts_count == 0 && node < run->instances; node++)
        fprintf(file, "[node %u]\nstatus_path = %s\n", node,
                rundir_file(&run->dir, "node%u.status", node, socket, sizeof(socket)));
}

/* Writes the cluster file and reads it as node 0 will. */
static int make_cluster_file(struct run *run, uint64_t block_bytes)
{
    char path[RUN_PATH_BYTES], secret[2 * SECRET_BYTES + 1];
    uint8_t random[SECRET_BYTES];
    struct cf_error error = {0};
    bool is_whole;
    FILE *file;

    rundir_file(&run->dir, "cluster.ini", 0, path, sizeof(path));
    file = fopen(path, "wex");
    if (file == NULL)
        return complain(EXIT_TROUBLE, "%s: %s", path, strerror(errno));
    randombytes_buf(random, sizeof(random));
    sodium_bin2hex(secret, sizeof(secret), random, sizeof(random));
    write_cluster_file(run, block_bytes, secret, file);
    is_whole = ferror(file) == 0;
    if (fclose(file) != 0 || !is_whole)
        return complain(EXIT_TROUBLE, "%s: %s", path, strerror(errno));
    cf_options_init(&run->options);
    if (cf_options_load(&run->options, path, 0, &error) != CF_OK ||
        cf_options_check(&run->options, &error) != CF_OK)
        return complain(EXIT_USAGE, "%s", error.text);
    return EXIT_OK;
}

/* What the launcher decides for each instance. */
static bool is_ours(const char *name)
{
    static const char *const ours[] = {"cluster",   "secret",      "node",       "nodes",
                                       "transport", "incarnation", "status_path"};

    for (size_t i = 0; i < sizeof(ours) / sizeof(ours[0]); i++)
        if (strcmp(name, ours[i]) == 0)
            return true;
    return false;
}

/* Refuses bad --set before anything is made: the words name the option and its range. */
static int check_sets(const struct run_args *args)
{
    struct cf_options options;
    struct cf_error error = {0};
    char name[64];

    cf_options_init(&options);
    for (uint32_t i = 0; i < args->sets_count; i++) {
        const char *equals = strchr(args->sets[i], '=');

        if (equals == NULL || (size_t)(equals - args->sets[i]) >= sizeof(name))
            return complain(EXIT_USAGE, "--set %s: give name=value; 'cachefusion options' lists the names",
                            args->sets[i]);
        snprintf(name, sizeof(name), "%.*s", (int)(equals - args->sets[i]), args->sets[i]);
        if (is_ours(name))
            return complain(EXIT_USAGE, "--set %s: run gives this one itself", args->sets[i]);
        if (strpbrk(equals, "\r\n") != NULL || cf_options_set(&options, name, equals + 1, &error) != CF_OK)
            return complain(EXIT_USAGE, "--set %s: %s; 'cachefusion options' lists the names", args->sets[i],
                            error.text);
    }
    return EXIT_OK;
}

static int make_data(struct run *run)
{
    const struct run_args *args = run->args;
    struct cf_error error = {0};
    struct eng_mkfs what = {.path = run->data,
                            .blocks = args->blocks > 0 ? args->blocks : run->workload->blocks_default,
                            .block_bytes = (uint32_t)args->block_bytes,
                            .force = true};

    if (what.blocks < run->workload->blocks_min)
        return complain(EXIT_USAGE, "--blocks %" PRIu64 ": workload %s needs at least %" PRIu64, args->blocks,
                        args->workload, run->workload->blocks_min);
    if (eng_format_make(&what, &error) != CF_OK)
        return complain(EXIT_TROUBLE, "%s: %s", run->data, error.text);
    run->made_data = true;
    if (datafile_probe(run->data, &run->datafile, &error) != CF_OK || !run->datafile.is_native)
        return complain(EXIT_TROUBLE, "%s: was made and cannot be read: %s", run->data, error.text);
    return EXIT_OK;
}

/* The sums before the run: of a file from an earlier run, or of nothing. */
static int look_before(struct run *run)
{
    char text[CTL_TEXT_BYTES] = "";
    enum cf_rc rc;

    if (run->workload->is_foreign)
        rc = wl_digest(run->data, run->before.digest, &run->plan.bytes);
    else
        rc = wl_plain(&run->plan, run->data, run->datafile.block_bytes, &run->before, text, sizeof(text));
    if (rc == CF_OK && run->before.bad > 0)
        return complain(EXIT_CHECK, "%s: is damaged: %s", run->data, run->before.first_bad);
    if (rc == CF_OK || rc == CF_NOT_FOUND)
        return EXIT_OK;
    return complain(EXIT_TROUBLE, "%s: %s", run->data, text[0] != '\0' ? text : cf_rc_text(rc));
}

static int find_data(struct run *run)
{
    const struct run_args *args = run->args;
    struct cf_error error = {0};

    if (args->data[0] == '\0' && run->workload->is_foreign)
        return complain(EXIT_USAGE, "workload scan reads a file that exists: name it with --data");
    if (args->data[0] == '\0')
        rundir_file(&run->dir, "data.cf", 0, run->data, sizeof(run->data));
    else if (realpath(args->data, run->data) == NULL) /* instances get it whole, wherever they run */
        snprintf(run->data, sizeof(run->data), "%s", args->data);
    if (datafile_probe(run->data, &run->datafile, &error) != CF_OK)
        return complain(EXIT_TROUBLE, "%s", error.text);
    if (run->workload->is_foreign)
        return run->datafile.exists ? EXIT_OK : complain(EXIT_TROUBLE, "%s: no such file", run->data);
    if (!run->datafile.exists || run->datafile.bytes == 0)
        return make_data(run);
    if (!run->datafile.is_native)
        return complain(
            EXIT_TROUBLE,
            "%s: not a data file of ours; it is left alone. Name another, or none to have one made",
            run->data);
    if (args->blocks > 0 && args->blocks != run->datafile.blocks)
        return complain(EXIT_USAGE, "--blocks %" PRIu64 ": %s has %" PRIu64 " already; leave --blocks out",
                        args->blocks, run->data, run->datafile.blocks);
    if (run->datafile.is_unclean && !args->accept_loss)
        return complain(EXIT_TROUBLE,
                        "%s: was not closed cleanly, the last changes may be lost; restore it, or take it as "
                        "it is with --accept-loss",
                        run->data);
    return EXIT_OK;
}

/* Bytes the system could give without swapping; UINT64_MAX: it does not say. */
static uint64_t memory_available(void)
{
    FILE *file = fopen("/proc/meminfo", "re");
    uint64_t kibibytes = UINT64_MAX;
    char line[128];

    while (file != NULL && fgets(line, sizeof(line), file) != NULL)
        if (sscanf(line, "MemAvailable: %" SCNu64, &kibibytes) == 1)
            break;
    if (file != NULL)
        fclose(file);
    return kibibytes > UINT64_MAX / 1024 ? UINT64_MAX : kibibytes * 1024;
}

/* Each instance takes its frames at start: too much of it would have the kernel kill somebody. */
static int check_memory(const struct run_args *args)
{
    uint64_t available = memory_available();
    char cache[32];

    if (args->cache_bytes <= available / args->instances)
        return EXIT_OK;
    return complain(
        EXIT_TROUBLE, "--cache %s for %u instances is more than the %" PRIu64 " MiB of memory that are free",
        cf_format_size(args->cache_bytes, cache, sizeof(cache)), args->instances, available >> 20);
}

/* Splits --hosts, and refuses what cannot be on several hosts. */
static int find_hosts(struct run *run)
{
    const struct run_args *args = run->args;
    char *save = NULL;

    if (args->hosts[0] == '\0')
        return EXIT_OK;
    snprintf(run->hosts, sizeof(run->hosts), "%s", args->hosts);
    for (char *host = strtok_r(run->hosts, ",", &save); host != NULL; host = strtok_r(NULL, ",", &save)) {
        if (run->hosts_count == RUN_INSTANCES_MAX)
            return complain(EXIT_USAGE, "--hosts names more than %u", RUN_INSTANCES_MAX);
        if (host[0] == '-' || strpbrk(host, " \t\r\n") != NULL)
            return complain(EXIT_USAGE, "--hosts: '%s' is not the name of a host", host);
        run->host[run->hosts_count++] = host;
    }
    if (run->hosts_count == 0)
        return complain(EXIT_USAGE, "--hosts names none; give them by commas");
    if (args->data[0] == '\0')
        return complain(EXIT_USAGE,
                        "--hosts needs --data: a file on storage that all hosts have at the same path");
    if (args->status)
        return complain(EXIT_USAGE,
                        "--status has no sockets to show on other hosts; --set metrics=ADDRESS:PORT does");
    run->instances = run->hosts_count;
    return EXIT_OK;
}

int run_prepare(struct run *run)
{
    int status = check_sets(run->args);

    if (status == EXIT_OK)
        status = find_hosts(run);
    if (status != EXIT_OK)
        return status;
    if ((run->args->block_bytes & (run->args->block_bytes - 1)) != 0)
        return complain(EXIT_USAGE, "--block-size %" PRIu64 ": 2KiB, 4KiB, 8KiB, 16KiB or 32KiB",
                        run->args->block_bytes);
    if (run->hosts_count == 0)
        status = check_memory(run->args);
    if (status != EXIT_OK)
        return status;
    if (!cf_hash_init() || !rundir_make(&run->dir))
        return complain(EXIT_TROUBLE, "no private directory in $TMPDIR, /dev/shm or /tmp: %s",
                        strerror(errno));
    status = find_data(run);
    if (status != EXIT_OK)
        return status;
    status = make_cluster_file(run,
                               run->datafile.is_native ? run->datafile.block_bytes : run->args->block_bytes);
    if (status != EXIT_OK)
        return status;
    run->plan.workload = run->workload;
    run->plan.nodes = run->instances;
    run->plan.threads = run->args->threads;
    run->plan.seed = run->args->seed;
    run->plan.hot_locks = run->args->hot_locks;
    run->plan.numbers = run->args->numbers;
    run->plan.is_ordered = run->args->ordered;
    run->plan.is_spread = run->hosts_count > 0;
    if (run->plan.is_spread) /* on the storage that all hosts have */
        snprintf(run->plan.side, sizeof(run->plan.side), "%s.side", run->data);
    else
        rundir_file(&run->dir, "side", 0, run->plan.side, sizeof(run->plan.side));
    if (!run->workload->is_foreign) {
        run->plan.data_bytes = run->datafile.block_bytes - ENG_BLOCK_HEADER_BYTES;
        run->plan.blocks = run->datafile.blocks;
    }
    return look_before(run);
}
