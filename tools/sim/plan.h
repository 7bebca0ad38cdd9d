/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_SIM_PLAN_H
#define TOOLS_SIM_PLAN_H

/* What one seed runs: sizes, faults, work. Drawn from the seed alone, so that a command line repeats it. */
#include <stdbool.h>
#include <stdint.h>

#include "transport/sim/sim.h"

enum sim_fault {
#define SIM_FAULT(upper, name, text) SIM_FAULT_##upper,
#include "tools/sim/fault.def"
#undef SIM_FAULT
    SIM_FAULTS
};
enum sim_work {
#define SIM_WORK(upper, text) SIM_WORK_##upper,
#include "tools/sim/work.def"
#undef SIM_WORK
    SIM_WORKS
};

/* What instances talk over: lanes that the network itself orders (or does not), or the links of dpdk: over packets. */
enum sim_network { SIM_NETWORK_DRAWN = 0, SIM_NETWORK_LANES, SIM_NETWORK_LINKS };

#define SIM_FAULTS_ALL UINT32_MAX /* each with probability one half */
#define SIM_INSTANCES_MIN 2u
/* A link has the slots of both lanes at both ends: more instances would take gigabytes. */
#define SIM_LINKS_INSTANCES_MAX 32u
#define SIM_BLOCK_BYTES 2048u
#define SIM_FILE_ID 7u
/* From this size on directories are looked at now and then, not after every turn. */
#define SIM_SAMPLED_INSTANCES 65u
#define SIM_LOCKERS_MAX 128u /* of all instances */

struct sim_options {
    uint64_t seed;
    uint32_t instances; /* 0 = drawn, 2 to 8 */
    uint64_t run_ns;    /* virtual time of the phase with faults */
    uint64_t ops_max;   /* ends that phase earlier; 0 = no bound */
    uint32_t faults;    /* bits of enum sim_fault, or SIM_FAULTS_ALL */
    uint32_t cold;      /* blocks to cache for each entry of the directories; 0 = drawn */
    enum sim_network network;
    uint64_t moves;        /* microseconds between buckets that are told to move, on average; 0 = drawn */
    uint32_t hot;          /* 1 + percent of calls that write, to a few blocks that all want; 0 = not that */
    uint32_t own;          /* 1 + percent of calls in the instance's own part of the blocks; 0 = not that */
    uint64_t residency_ns; /* with hot */
    bool crash;            /* one instance dies */
    bool is_quiet;         /* facts of a run that held are not printed */
    const char *mutant;    /* NULL = none; "link_" and the name of one of transport/link/mutant.def */
};

struct sim_plan {
    struct sim_options options;
    uint32_t instances;
    uint32_t clients; /* an instance */
    uint32_t blocks;
    uint32_t blocks_born; /* may be got without CF_GET_NEW from the start */
    uint32_t frames;      /* an instance */
    uint32_t outstanding;
    uint32_t past_images;
    uint32_t buckets;
    uint32_t shards;
    uint32_t directory_entries; /* a shard; 0 = enough for all blocks */
    uint32_t lane_slots;
    uint32_t ship_checksum;
    bool speculative_read;
    uint32_t lockers; /* clients of locks, an instance */
    uint32_t locks;   /* they use */
    bool
        is_patient; /* no deadline, cancel or demotion ends a wait of theirs: nothing but the detector ends a deadlock */
    uint64_t deadlock_after_ns;
    uint64_t deadlock_period_ns;
    uint64_t resend_ns;
    uint64_t residency_ns;
    uint64_t dirty_age_ns;
    uint64_t think_ns_mean;
    uint64_t hold_ns_mean;
    uint64_t disk_ns_mean;
    uint64_t turn_ns;         /* from a call to the turn that sees it */
    uint64_t episode_ns_mean; /* between cuts, flaps, stalls, injected messages */
    uint64_t move_ns_mean;    /* between buckets that are told to move; 0 = none is */
    bool moves_by_use;        /* instances move buckets by who uses them */
    uint32_t export_window;   /* entries of a bucket that goes under way; 0 = as in earnest */
    bool faults[SIM_FAULTS];
    bool works[SIM_WORKS];
    struct sim_net_options net;
};

const char *sim_fault_name(uint32_t fault);
const char *sim_fault_text(uint32_t fault);
void sim_plan_draw(const struct sim_options *options, struct sim_plan *plan_out);
/* Directories are too large, or runs too long, to look at them after every turn. */
bool sim_plan_is_sampled(const struct sim_plan *plan);
/* One line of facts. */
void sim_plan_print(const struct sim_plan *plan, char *text, size_t text_bytes);

#endif
