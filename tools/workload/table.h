/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_WORKLOAD_TABLE_H
#define TOOLS_WORKLOAD_TABLE_H

/* Every workload, each defined in the file of its name. */
struct workload;

extern const struct workload workload_bank, workload_ring, workload_hot, workload_scan;
extern const struct workload workload_locks, workload_sequence;
extern const struct workload workload_ycsb_a, workload_ycsb_b, workload_ycsb_c, workload_ycsb_d,
    workload_ycsb_e, workload_ycsb_f, workload_affinity;

#endif
