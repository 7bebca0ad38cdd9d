/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TESTS_UNIT_BASE_STATM_H
#define TESTS_UNIT_BASE_STATM_H

/* What this process takes, by the kernel's own figure. */
#include <stdint.h>
#include <stdio.h>
#include <unistd.h>

#include "base/assert.h"

struct statm {
    uint64_t mapped_bytes, resident_bytes;
};

static inline struct statm statm_read(void)
{
    unsigned long mapped = 0, resident = 0;
    FILE *file = fopen("/proc/self/statm", "re");
    uint64_t page = (uint64_t)sysconf(_SC_PAGESIZE);

    cf_assert(file != NULL && fscanf(file, "%lu %lu", &mapped, &resident) == 2);
    fclose(file);
    return (struct statm){.mapped_bytes = mapped * page, .resident_bytes = resident * page};
}

#endif
