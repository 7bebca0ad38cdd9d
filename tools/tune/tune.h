/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_TUNE_TUNE_H
#define TOOLS_TUNE_TUNE_H

/*
 * What of a host matters to an instance. Each check reads the kernel's files under a root, "" for this machine or the
 * path of a tree that holds some of its sys, proc and etc, and says what it saw and which command mends it.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/compiler.h"

#define TUNE_TEXT_BYTES 256u
#define TUNE_NAME_BYTES 64u
#define TUNE_PATH_BYTES 512u
#define TUNE_CPUS_MAX 4096u

enum tune_verdict {
    TUNE_PASS = 0,
    TUNE_NONE, /* the host has no such thing, or it does not matter to these options */
    TUNE_WARN, /* slower than it could be */
    TUNE_FAIL, /* an instance with these options does not start */
};

/* What the driver of the network interface says; sysfs does not. */
struct tune_flow {
    bool is_known;
    bool rx_pause, tx_pause;  /* of all classes */
    bool has_priority_pause;  /* it counts pause frames of single classes */
    uint64_t priority_pauses; /* these, received and sent */
};

struct tune_host {
    const char *root;
    char nic[TUNE_NAME_BYTES]; /* RDMA or network device; "" = none */
    char net[TUNE_NAME_BYTES]; /* its network interface; "" = none */
    bool is_rdma;              /* the transport is, or the device */
    bool needs_huge_pages;     /* hugepages=require */
    uint32_t instances;        /* of this host */
    uint64_t frames_bytes;     /* of one instance */
    int poller_cpu;            /* of the plan; -1 = any */
    struct tune_flow flow;
};

struct tune_finding {
    const char *name;
    enum tune_verdict verdict;
    char seen[TUNE_TEXT_BYTES];
    char mend[TUNE_TEXT_BYTES]; /* "" = nothing to mend, or no command does it */
};

struct tune_check {
    const char *name;
    void (*look)(const struct tune_host *host, struct tune_finding *finding);
};
extern const struct tune_check tune_checks[];
extern const size_t tune_checks_count;

void tune_check_run(const struct tune_check *check, const struct tune_host *host,
                    struct tune_finding *finding_out);
const char *tune_verdict_name(enum tune_verdict verdict);
/* Fills in net, and is_rdma when the device is; takes the first RDMA device when none is named. */
void tune_host_find_nic(struct tune_host *host);
/* Asks the driver of `net`; this machine only. */
void tune_flow_read(struct tune_host *host);

/* ---- host.c: reading ---- */
/* First line of a file, without its end. False: not there, or empty. */
bool tune_read(const struct tune_host *host, char *text, size_t text_bytes, const char *path, ...)
    CF_PRINTF(4, 5);
bool tune_read_u64(const struct tune_host *host, uint64_t *value_out, const char *path, ...) CF_PRINTF(3, 4);
bool tune_exists(const struct tune_host *host, const char *path, ...) CF_PRINTF(2, 3);
/* The word in brackets of "always [madvise] never"; a line without brackets is the word. */
bool tune_read_choice(const struct tune_host *host, char *word, size_t word_bytes, const char *path);
/* Calls with each entry of a folder that begins with `prefix`, sorted by name; how many there were. */
uint32_t tune_each(const struct tune_host *host, const char *folder, const char *prefix,
                   void (*on_entry)(void *arg, const char *name), void *arg);
/* Is cpu in a list as "0-3,8"? */
bool tune_list_has(const char *list, uint64_t cpu);
void tune_say(struct tune_finding *finding, enum tune_verdict verdict, const char *format, ...)
    CF_PRINTF(3, 4);
void tune_mend(struct tune_finding *finding, const char *format, ...) CF_PRINTF(2, 3);

/* ---- cpu.c, memory.c, nic.c: the checks ---- */
void tune_look_numa(const struct tune_host *host, struct tune_finding *finding);
void tune_look_smt(const struct tune_host *host, struct tune_finding *finding);
void tune_look_governor(const struct tune_host *host, struct tune_finding *finding);
void tune_look_idle(const struct tune_host *host, struct tune_finding *finding);
void tune_look_haltpoll(const struct tune_host *host, struct tune_finding *finding);
void tune_look_clock(const struct tune_host *host, struct tune_finding *finding);
void tune_look_huge_pages(const struct tune_host *host, struct tune_finding *finding);
void tune_look_thp(const struct tune_host *host, struct tune_finding *finding);
void tune_look_thp_shmem(const struct tune_host *host, struct tune_finding *finding);
void tune_look_memlock(const struct tune_host *host, struct tune_finding *finding);
void tune_look_nic(const struct tune_host *host, struct tune_finding *finding);
void tune_look_irq(const struct tune_host *host, struct tune_finding *finding);
void tune_look_mtu(const struct tune_host *host, struct tune_finding *finding);
void tune_look_flow(const struct tune_host *host, struct tune_finding *finding);

#endif
