/* SPDX-License-Identifier: Apache-2.0 */
/* Binds a thread, and memory, to where the plan wants them. */
#include <errno.h>
#include <linux/mempolicy.h>
#include <pthread.h>
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "base/assert.h"
#include "engine/place.h"

/* NUMA node numbers of the operating system that a memory policy can name. */
#define NODE_NUMBERS_MAX 1024
#define CPU_NUMBERS_MAX 65536

enum cf_rc eng_plan_bind_thread(const struct eng_plan *plan, int cpu)
{
    cpu_set_t *set;
    size_t set_bytes;
    int failure;

    cf_assert(plan != NULL);
    if (cpu == ENG_CPU_ANY)
        return CF_OK;
    cf_assert(cpu >= 0 && cpu < CPU_NUMBERS_MAX);
    set = CPU_ALLOC((size_t)cpu + 1);
    if (set == NULL)
        return CF_SYSTEM;
    set_bytes = CPU_ALLOC_SIZE((size_t)cpu + 1);
    CPU_ZERO_S(set_bytes, set);
    CPU_SET_S((size_t)cpu, set_bytes, set);
    failure = pthread_setaffinity_np(pthread_self(), set_bytes, set);
    CPU_FREE(set);
    return failure == 0 ? CF_OK : CF_SYSTEM;
}

enum cf_rc eng_plan_bind_memory(const struct eng_plan *plan, void *address, uint64_t bytes)
{
    unsigned long mask[NODE_NUMBERS_MAX / (8 * sizeof(unsigned long))] = {0};
    const unsigned long word_bits = 8 * sizeof mask[0];

    if (plan->nodes < 2 || plan->node == ENG_NODE_ANY || bytes == 0)
        return CF_OK;
    cf_assert(plan->node < NODE_NUMBERS_MAX);
    mask[(unsigned long)plan->node / word_bits] = 1ul << ((unsigned long)plan->node % word_bits);
    /*
     * Preferred, not bound: a full node must not end the process. The pages were touched when they were taken: those on
     * another node move. The kernel reads a bit less of the mask than told.
     */
    if (syscall(SYS_mbind, address, bytes, MPOL_PREFERRED, mask, NODE_NUMBERS_MAX + 1, MPOL_MF_MOVE) == 0)
        return CF_OK;
    return errno == ENOSYS || errno == EPERM ? CF_OK : CF_SYSTEM;
}
