/* SPDX-License-Identifier: Apache-2.0 */
#include "tools/bench/facts.h"

#include <dirent.h>
#include <hwloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/utsname.h>

#include <cachefusion/cachefusion.h>

#include "engine/place.h"

#define VALUE_BYTES 256u
#define UNKNOWN "unknown"

/* First line of a small file of the kernel's, without its end. */
static void line_of(const char *path, char *value, size_t value_bytes)
{
    FILE *file = fopen(path, "r");

    snprintf(value, value_bytes, UNKNOWN);
    if (file == NULL)
        return;
    if (fgets(value, (int)value_bytes, file) == NULL)
        snprintf(value, value_bytes, UNKNOWN);
    value[strcspn(value, "\n")] = '\0';
    fclose(file);
}

/* "name : value" of a file such as /proc/cpuinfo; the first that is found. */
static void field_of(const char *path, const char *name, char *value, size_t value_bytes)
{
    char line[512];
    FILE *file = fopen(path, "r");

    snprintf(value, value_bytes, UNKNOWN);
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        char *colon = strchr(line, ':');

        if (colon == NULL || strncmp(line, name, strlen(name)) != 0)
            continue;
        colon += 1 + strspn(colon + 1, " \t");
        colon[strcspn(colon, "\n")] = '\0';
        snprintf(value, value_bytes, "%s", colon);
        break;
    }
    if (file != NULL)
        fclose(file);
}

static void count_of(hwloc_topology_t topology, hwloc_obj_type_t type, char *value, size_t value_bytes)
{
    snprintf(value, value_bytes, "%d", hwloc_get_nbobjs_by_type(topology, type));
}

static void cache_of(hwloc_topology_t topology, hwloc_obj_type_t type, char *value, size_t value_bytes)
{
    hwloc_obj_t cache = hwloc_get_obj_by_type(topology, type, 0);

    snprintf(value, value_bytes, UNKNOWN);
    if (cache != NULL)
        snprintf(value, value_bytes, "%llu KiB x %d", (unsigned long long)(cache->attr->cache.size >> 10),
                 hwloc_get_nbobjs_by_type(topology, type));
}

static void topology_facts(bench_fact_fn each, void *arg)
{
    static const struct {
        const char *name;
        hwloc_obj_type_t type;
        int is_cache;
    } asked[] = {
        {"packages", HWLOC_OBJ_PACKAGE, 0}, {"numa_nodes", HWLOC_OBJ_NUMANODE, 0},
        {"cores", HWLOC_OBJ_CORE, 0},       {"cpus", HWLOC_OBJ_PU, 0},
        {"l1d", HWLOC_OBJ_L1CACHE, 1},      {"l2", HWLOC_OBJ_L2CACHE, 1},
        {"l3", HWLOC_OBJ_L3CACHE, 1},
    };
    hwloc_topology_t topology = NULL;
    int is_loaded = hwloc_topology_init(&topology) == 0 && hwloc_topology_load(topology) == 0;

    for (size_t i = 0; i < sizeof asked / sizeof asked[0]; i++) {
        char value[VALUE_BYTES] = UNKNOWN;

        if (is_loaded)
            (asked[i].is_cache ? cache_of : count_of)(topology, asked[i].type, value, sizeof value);
        each(arg, asked[i].name, value);
    }
    if (topology != NULL)
        hwloc_topology_destroy(topology);
}

static void kernel_facts(bench_fact_fn each, void *arg)
{
    char value[VALUE_BYTES];
    struct utsname name;

    if (uname(&name) == 0)
        snprintf(value, sizeof value, "%.60s %.100s %.60s", name.sysname, name.release, name.machine);
    else
        snprintf(value, sizeof value, UNKNOWN);
    each(arg, "kernel", value);
    line_of("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor", value, sizeof value);
    each(arg, "governor", value);
    field_of("/proc/meminfo", "HugePages_Total", value, sizeof value);
    each(arg, "hugepages", value);
    line_of("/sys/kernel/mm/transparent_hugepage/enabled", value, sizeof value);
    each(arg, "transparent_hugepages", value);
    line_of("/sys/devices/system/clocksource/clocksource0/current_clocksource", value, sizeof value);
    each(arg, "clocksource", value);
    line_of("/sys/module/haltpoll/parameters/guest_halt_poll_ns", value, sizeof value);
    each(arg, "guest_halt_poll_ns", value);
    line_of("/proc/loadavg", value, sizeof value);
    each(arg, "load", value);
}

/* Appends " NAME (STATE)" for each entry of a folder of devices. */
static void devices_of(const char *folder, const char *state, const char *left_out, char *value,
                       size_t value_bytes)
{
    DIR *directory = opendir(folder);
    const struct dirent *entry;

    while (directory != NULL && (entry = readdir(directory)) != NULL) {
        char path[2 * VALUE_BYTES], seen[VALUE_BYTES];
        size_t used = strlen(value);

        if (entry->d_name[0] == '.' || strcmp(entry->d_name, left_out) == 0)
            continue;
        snprintf(path, sizeof path, "%s/%.200s/%s", folder, entry->d_name, state);
        line_of(path, seen, sizeof seen);
        snprintf(value + used, value_bytes - used, "%s%.40s (%.40s)", used > 0 ? " " : "", entry->d_name,
                 seen);
    }
    if (directory != NULL)
        closedir(directory);
}

static void network_facts(bench_fact_fn each, void *arg)
{
    char value[VALUE_BYTES] = "";

    devices_of("/sys/class/infiniband", "ports/1/rate", "", value, sizeof value);
    each(arg, "rdma", value[0] != '\0' ? value : "none");
    value[0] = '\0';
    devices_of("/sys/class/net", "operstate", "lo", value, sizeof value);
    each(arg, "nic", value[0] != '\0' ? value : "none");
}

static void placement_fact(bench_fact_fn each, void *arg)
{
    struct cf_options options;
    struct cf_error error;
    struct eng_plan plan;

    cf_options_init(&options);
    each(arg, "placement", eng_plan_make(&options, NULL, &plan, &error) == CF_OK ? plan.text : error.text);
}

/* The Makefile tells commit and flags; the environment comes over them. */
#ifndef CF_BUILD_COMMIT
#define CF_BUILD_COMMIT UNKNOWN
#endif
#ifndef CF_BUILD_FLAGS
#define CF_BUILD_FLAGS UNKNOWN
#endif

static void build_facts(bench_fact_fn each, void *arg)
{
    static const char *const names[][3] = {{"commit", "BENCH_COMMIT", CF_BUILD_COMMIT},
                                           {"config", "BENCH_CONFIG", CF_BUILD_FLAGS}};

    each(arg, "version", cf_version());
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        const char *value = getenv(names[i][1]);

        each(arg, names[i][0], value != NULL && value[0] != '\0' ? value : names[i][2]);
    }
#if defined(__clang__)
    each(arg, "compiler", "clang " __VERSION__);
#else
    each(arg, "compiler", "gcc " __VERSION__);
#endif
#if defined(CF_DEBUG)
    each(arg, "assertions", "all");
#else
    each(arg, "assertions", "cheap");
#endif
}

void bench_facts(bench_fact_fn each, void *arg)
{
    char value[VALUE_BYTES];

    field_of("/proc/cpuinfo", "model name", value, sizeof value);
    each(arg, "cpu", value);
    topology_facts(each, arg);
    kernel_facts(each, arg);
    network_facts(each, arg);
    placement_fact(each, arg);
    build_facts(each, arg);
}
