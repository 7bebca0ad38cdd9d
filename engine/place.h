/* SPDX-License-Identifier: Apache-2.0 */
#ifndef ENGINE_PLACE_H
#define ENGINE_PLACE_H

/*
 * Where the threads and the memory of an instance go. A plan is made once, at open, from the machine's
 * topology (hwloc), the cpus this process may use, and the options; it names cpus and nodes by the operating
 * system's numbers. Nothing is bound until a thread binds itself.
 *
 *   compact    one thread runs all roles and is bound to no cpu: the host decides, and several instances of
 *              one host do not meet on one core
 *   dedicated  poller, directory workers and storage worker have a core each, near the NIC when one is given;
 *              instances that share a host (shm:) take different cores, by their node ids
 */
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include <cachefusion/options.h>

#include "base/compiler.h"

#define ENG_PLAN_WORKERS_MAX 64u
#define ENG_PLAN_TEXT_BYTES 512u
#define ENG_CPU_ANY (-1)  /* not bound */
#define ENG_NODE_ANY (-1) /* no node is better than another */

struct eng_plan {
    bool is_compact;
    uint32_t workers; /* threads of directory workers; 0 in the compact plan */
    int poller_cpu;
    int storage_cpu;
    int detector_cpu; /* where a core is left over; one for all instances of this host: one of them is the detector */
    int worker_cpu[ENG_PLAN_WORKERS_MAX];
    int node;       /* of the poller and of the memory it uses; ENG_NODE_ANY on a machine with one node */
    uint32_t cores; /* that this process may use */
    uint32_t nodes; /* NUMA nodes of the machine */
    char text[ENG_PLAN_TEXT_BYTES]; /* one line: what was chosen and why */
};

/* Reads this machine. `nic` = its device name (mlx5_0, or mlx5_0/1 with the port), NULL = none. CF_SYSTEM. */
CF_CHECK enum cf_rc eng_plan_make(const struct cf_options *options, const char *nic,
                                  struct eng_plan *plan_out, struct cf_error *error);
struct hwloc_topology;
/* The same on a loaded topology, of this machine or another; `topology` is only read. */
CF_CHECK enum cf_rc eng_plan_make_on(struct hwloc_topology *topology, const struct cf_options *options,
                                     const char *nic, struct eng_plan *plan_out, struct cf_error *error);

/*
 * Binds the calling thread to a cpu of the plan; ENG_CPU_ANY does nothing. CF_SYSTEM: the cpu is gone; the
 * thread runs where it did before, only slower, so that a caller may go on.
 */
enum cf_rc eng_plan_bind_thread(const struct eng_plan *plan, int cpu);
/*
 * Memory not yet touched shall come from the plan's node, or from the next one when that is full. Does
 * nothing on one node or where the kernel has no NUMA. `address` at the start of a page. CF_SYSTEM: refused;
 * the memory is usable all the same.
 */
enum cf_rc eng_plan_bind_memory(const struct eng_plan *plan, void *address, uint64_t bytes);

/* A line for each role: what `cachefusion tune` shows. */
void eng_plan_print(const struct eng_plan *plan, FILE *out);

#endif
