/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A poller asks the kernel for short slices. It works for microseconds at a time and then sleeps; a peer's message waits
 * until it runs again. Where it shares a core with threads that compute, Linux (EEVDF, 6.12 and later) lets a thread with a
 * shorter slice in before the present one's slice is over, and otherwise not before the next tick, which is up to 4 ms.
 * Its share of the core stays the same. Older kernels take the wish and do nothing about it.
 */
#include <sched.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "engine/instance.h"

/* The shortest that the kernel grants. */
#define ENG_SLICE_NS 100000u

/* The first version of the kernel's struct sched_attr; glibc 2.36 has none. */
struct slice_attr {
    uint32_t size;
    uint32_t policy;
    uint64_t flags;
    int32_t nice;
    uint32_t priority;
    uint64_t runtime_ns;
    uint64_t deadline_ns;
    uint64_t period_ns;
};

void eng_slice_shorten(void)
{
    struct slice_attr attr = {.size = sizeof attr};

    if (syscall(SYS_sched_getattr, 0, &attr, sizeof attr, 0) != 0 || attr.policy != SCHED_OTHER)
        return; /* a real-time class set by the operator is better than this */
    attr.size = sizeof attr;
    attr.runtime_ns = ENG_SLICE_NS;
    (void)syscall(SYS_sched_setattr, 0, &attr, 0); /* a sandbox may forbid it: slices stay as they are */
}
