/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_RUN_H
#define TOOLS_RUN_H

/* `cachefusion run`: one launcher, N instances as processes; see control.h for what they say to each other. */
#include <sys/types.h>

#include <jansson.h>

#include "base/cli.h"
#include "tools/control.h"
#include "tools/datafile.h"
#include "tools/rundir.h"

#define RUN_INSTANCES_MAX 64u
#define RUN_SETS_MAX 64u
#define RUN_PATH_BYTES 256u
#define RUN_HOSTS_BYTES 1024u

struct run_args {
    uint32_t instances;
    char transport[RUN_PATH_BYTES];
    char workload[24];
    double seconds;
    uint64_t seed;
    uint32_t threads;
    uint64_t block_bytes;
    uint64_t blocks;
    uint64_t cache_bytes;
    char data[RUN_PATH_BYTES];
    char json[RUN_PATH_BYTES];
    char set[RUN_PATH_BYTES]; /* help only: --set may come many times, see sets */
    bool status;
    bool accept_loss;
    bool keep;
    const char *sets[RUN_SETS_MAX];
    uint32_t sets_count;
    uint32_t hot_locks;
    uint32_t numbers;
    bool ordered;
    char hosts[RUN_HOSTS_BYTES];
    char launcher[RUN_PATH_BYTES];
    char program[RUN_PATH_BYTES];
};

/* How far all instances have come. */
enum run_phase {
    RUN_OPENING = 0, /* until all are PREPARED */
    RUN_WORKING,     /* until --seconds are over */
    RUN_STOPPING,    /* until all are STOPPED */
    RUN_VERIFYING,   /* until all are VERIFIED */
    RUN_CLOSING,     /* until all have exited */
    RUN_FAILING,     /* until all have exited, or have been killed */
    RUN_DONE,
};

struct child {
    pid_t pid;
    struct ctl_link link;
    uint32_t reached; /* enum ctl_kind: the last step, PROGRESS aside */
    bool has_spoken;
    bool exited;
    int wait_status;
    bool told; /* its failure or death has been printed */
    uint64_t ops;
    uint64_t tally[WL_TALLIES];
    struct cf_latency op_latency;
    struct cf_latency extra;
    struct wl_sums sums;
    struct cf_stats begin; /* when PREPARED */
    struct cf_stats late;  /* the first that came after three quarters of --seconds; size 0: none did */
    uint64_t late_ns;      /* when it came */
    struct cf_stats end;   /* when STOPPED */
    struct cf_stats stats; /* newest */
};

struct run {
    const struct run_args *args;
    uint32_t instances;
    uint32_t hosts_count; /* 0: all run on this one */
    char hosts[RUN_HOSTS_BYTES];
    const char *host[RUN_INSTANCES_MAX]; /* of each node, as the launcher is told; points into hosts */
    const struct workload *workload;
    struct wl_plan plan;
    struct rundir dir;
    struct cf_options options; /* as node 0 will read them */
    char data[RUN_PATH_BYTES];
    struct datafile datafile;
    bool made_data;
    struct wl_sums before, after;
    struct child child[RUN_INSTANCES_MAX];
    int signal_fd;
    enum run_phase phase;
    uint64_t phase_end_ns;     /* the bound of the phase */
    uint64_t begin_ns, end_ns; /* of the work */
    int interrupted;           /* signal that ended it early, 0 = none */
    uint32_t interrupts;       /* how many came: the second one kills */
    bool failed;
    bool damaged; /* a client saw a wrong block: status 1, not 3 */
    char failure[CTL_TEXT_BYTES];
    /* what the checks found */
    bool verified;
    char verdict[CTL_TEXT_BYTES];
    struct wl_figures figures;
    char file_report[CTL_TEXT_BYTES];
};

/* run.c */
void run_failure(struct run *run, const char *format, ...) CF_PRINTF(2, 3);

/* run_args.c: argv is changed; args->sets point into it. */
CF_CHECK enum cf_cli_result run_args_parse(struct run_args *args, int argc, char **argv);

/* run_prepare.c: directory, cluster file, data file. A status of tools/exits.h; on failure the words are printed. */
int run_prepare(struct run *run);

/* run_start.c: one child an instance: itself, or the remote shell (--launcher) that runs it on another host. */
bool run_children_start(struct run *run);

/* run_child.c */
void run_children_say(struct run *run, enum ctl_kind kind);
/* Takes what has come and who has died; true when all have reached the step that ends the phase. */
bool run_children_step(struct run *run, uint32_t timeout_ms);
void run_children_kill(struct run *run, int signal_number);
bool run_children_gone(const struct run *run);

/* run_check.c: after all have closed; sets verified, verdict, file_report. */
void run_check(struct run *run);

/* run_show.c: progress while it runs. */
struct show {
    bool is_terminal;
    uint32_t lines; /* of the table on the terminal, to go back over */
    uint64_t last_ns;
    struct cf_stats last[RUN_INSTANCES_MAX];
    uint64_t last_ops[RUN_INSTANCES_MAX];
};
void show_begin(struct show *show, const struct run *run);
/* Prints when it is time to. */
void show_step(struct show *show, const struct run *run);
void show_end(struct show *show);

/* run_local.c: where requests are mastered, in the whole time of work and in its last quarter. */
/* Sees what an instance says while it works. */
void run_local_look(struct run *run, struct child *child);
void run_local_print(const struct run *run, const struct cf_stats *worked);
/* 0, or not: no memory. The last quarter is left out where an instance said nothing in time. */
CF_CHECK int run_local_json(json_t *object, const struct run *run);

/* run_report.c, run_json.c, run_totals.c */
/* 1234567 as "1,234,567"; returns buf. */
char *report_grouped(uint64_t value, char *buf, size_t buf_bytes);
/* Of one instance: what counts of the time the clients worked; else from open to close. */
struct cf_stats report_worked(const struct child *child);
void report_print(const struct run *run);
/* False: OUT could not be written; the words are printed. */
bool report_json(const struct run *run);

#endif
