/* SPDX-License-Identifier: Apache-2.0 */
/* Checks of memory: huge pages, transparent ones, how much may be locked. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "base/alloc.h"
#include "base/units.h"
#include "tools/tune/tune.h"

#define LIMITS_BYTES 4096u

void tune_look_huge_pages(const struct tune_host *host, struct tune_finding *finding)
{
    const char *folder = "/sys/kernel/mm/hugepages/hugepages-2048kB";
    uint64_t pages_each = (host->frames_bytes + CF_HUGE_PAGE_BYTES - 1) / CF_HUGE_PAGE_BYTES;
    uint64_t need = pages_each * host->instances, total = 0, free = 0;

    if (!tune_read_u64(host, &total, "%s/nr_hugepages", folder) ||
        !tune_read_u64(host, &free, "%s/free_hugepages", folder)) {
        tune_say(finding, host->needs_huge_pages ? TUNE_FAIL : TUNE_NONE, "the kernel has no pages of 2 MiB");
        return;
    }
    if (free >= need) {
        tune_say(finding, TUNE_PASS,
                 "%" PRIu64 " of %" PRIu64 " pages of 2 MiB are free, frames of %u instances take %" PRIu64,
                 free, total, host->instances, need);
        return;
    }
    tune_say(finding, host->needs_huge_pages ? TUNE_FAIL : TUNE_WARN,
             "%" PRIu64 " of %" PRIu64 " pages of 2 MiB are free, frames of %u instances take %" PRIu64, free,
             total, host->instances, need);
    tune_mend(finding, "sysctl -w vm.nr_hugepages=%" PRIu64, total - free + need);
}

void tune_look_thp(const struct tune_host *host, struct tune_finding *finding)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/enabled";
    char word[TUNE_NAME_BYTES];

    if (!tune_read_choice(host, word, sizeof word, path)) {
        tune_say(finding, TUNE_NONE, "the kernel has no transparent huge pages");
        return;
    }
    if (strcmp(word, "madvise") == 0) {
        tune_say(finding, TUNE_PASS, "madvise: memory that asks for huge pages gets them");
        return;
    }
    if (strcmp(word, "always") == 0)
        tune_say(finding, TUNE_WARN,
                 "always: other programs' memory is compacted and moved for them as well");
    else
        tune_say(finding, TUNE_WARN, "%s: the directory gets small pages unless huge ones are reserved",
                 word);
    tune_mend(finding, "echo madvise > %s", path);
}

void tune_look_thp_shmem(const struct tune_host *host, struct tune_finding *finding)
{
    const char *path = "/sys/kernel/mm/transparent_hugepage/shmem_enabled";
    char word[TUNE_NAME_BYTES];
    uint64_t free = 0;

    if (!tune_read_choice(host, word, sizeof word, path)) {
        tune_say(finding, TUNE_NONE, "the kernel has none for shared memory");
        return;
    }
    (void)tune_read_u64(host, &free, "/sys/kernel/mm/hugepages/hugepages-2048kB/free_hugepages");
    if (strcmp(word, "never") != 0 && strcmp(word, "deny") != 0) {
        tune_say(finding, TUNE_PASS, "%s", word);
    } else if (free * CF_HUGE_PAGE_BYTES >= host->frames_bytes * host->instances) {
        tune_say(finding, TUNE_PASS, "%s: not needed, enough pages are reserved", word);
    } else {
        tune_say(finding, TUNE_WARN, "%s: frames get small pages unless huge ones are reserved", word);
        tune_mend(finding, "echo advise > %s", path);
    }
}

/* The line "Max locked memory  SOFT  HARD  bytes"; UINT64_MAX = unlimited. */
static bool locked_max(const struct tune_host *host, uint64_t *bytes_out)
{
    char path[TUNE_PATH_BYTES], line[LIMITS_BYTES], soft[32];
    bool is_found = false;
    FILE *file;

    if ((size_t)snprintf(path, sizeof path, "%s/proc/self/limits", host->root) >= sizeof path)
        return false;
    file = fopen(path, "re");
    if (file == NULL)
        return false;
    while (!is_found && fgets(line, sizeof line, file) != NULL)
        is_found = sscanf(line, "Max locked memory %31s", soft) == 1;
    fclose(file);
    if (!is_found)
        return false;
    if (strcmp(soft, "unlimited") == 0) {
        *bytes_out = UINT64_MAX;
        return true;
    }
    return cf_parse_u64(soft, bytes_out) == 0;
}

void tune_look_memlock(const struct tune_host *host, struct tune_finding *finding)
{
    char have[32], need[32];
    uint64_t bytes;

    if (!locked_max(host, &bytes)) {
        tune_say(finding, TUNE_NONE, "the kernel does not say");
        return;
    }
    if (bytes == UINT64_MAX) {
        tune_say(finding, TUNE_PASS, "unlimited");
        return;
    }
    cf_format_size(bytes, have, sizeof have);
    cf_format_size(host->frames_bytes, need, sizeof need);
    if (!host->is_rdma) {
        tune_say(finding, TUNE_NONE, "%s; nothing is locked without an RDMA device", have);
    } else if (bytes >= host->frames_bytes + host->frames_bytes / 8) {
        tune_say(finding, TUNE_PASS, "%s, frames take %s and queues a little", have, need);
    } else {
        tune_say(finding, TUNE_FAIL, "%s, but frames of %s are registered with the device", have, need);
        tune_mend(finding,
                  "scripts/tune-host --apply --only memlock (then log in again), or ulimit -l unlimited");
    }
}
