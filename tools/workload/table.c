/* SPDX-License-Identifier: Apache-2.0 */
#include <stddef.h>
#include <string.h>

#include "tools/workload/table.h"
#include "tools/workload/workload.h"

static const struct workload *const table[] = {
    &workload_bank,   &workload_ring,   &workload_ycsb_a,   &workload_ycsb_b,   &workload_ycsb_c,
    &workload_ycsb_d, &workload_ycsb_e, &workload_ycsb_f,   &workload_affinity, &workload_hot,
    &workload_scan,   &workload_locks,  &workload_sequence,
};

const struct workload *workload_at(uint32_t index)
{
    return index < sizeof(table) / sizeof(table[0]) ? table[index] : NULL;
}

const struct workload *workload_find(const char *name)
{
    for (uint32_t i = 0; workload_at(i) != NULL; i++)
        if (strcmp(table[i]->name, name) == 0)
            return table[i];
    return NULL;
}
