/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_INSTANCE_H
#define TOOLS_INSTANCE_H

/* The life of one instance under a workload; see control.h for what it says to the launcher. */
#include "tools/clients.h"
#include "tools/control.h"
#include "tools/datafile.h"

struct instance_args {
    char config[256];
    uint16_t node;
    char workload[24];
    char data[256];
    double seconds;
    uint64_t seed;
    uint32_t threads;
    uint64_t block_bytes; /* of a foreign file */
    bool accept_loss;
    uint32_t control;   /* descriptor of the launcher's connection; 0 = by hand */
    uint32_t hot_locks; /* locks */
    uint32_t numbers;   /* sequence */
    bool ordered;
    char side[WL_SIDE_BYTES];
    bool led; /* the launcher is at the other end of standard input and output */
};

/* Words for every status the tools print; a full sentence. Returns buf. */
char *error_text(enum cf_rc rc, const struct cf_error *error, char *buf, size_t buf_bytes);

struct member {
    const struct instance_args *args;
    struct wl_plan plan;
    struct cf_options options;
    struct datafile datafile;
    struct cf_instance *instance;
    struct cf_session *session;
    struct cf_file *file;
    struct clients clients;
    uint64_t ops;                    /* of all clients, once stopped */
    uint8_t digest[WL_DIGEST_BYTES]; /* foreign: what the clients read */
    bool is_led;                     /* there is a launcher, at the other end of: */
    struct ctl_link link;
    int signal_fd;             /* by hand: SIGINT, SIGTERM; else -1 */
    bool closing;              /* the launcher said CLOSE, or is gone */
    enum cf_rc rc;             /* first failure */
    char text[CTL_TEXT_BYTES]; /* its words */
};

/* Opens instance, session and file; the plan is complete but for the head. False: member->rc and text say why. */
bool member_open(struct member *member);
/* Fills the file (node 0) or waits until that is done. */
bool member_prepare(struct member *member);
/* Runs the clients until STOP, --seconds, a signal, or the failure of one. */
bool member_run(struct member *member);
bool member_verify(struct member *member, struct wl_sums *sums_out);
/* Detaches and closes, in every case; a failure is told when there was none before. */
void member_close(struct member *member);

bool member_failed(struct member *member, enum cf_rc rc, const char *format, ...) CF_PRINTF(3, 4);
/* Says a record of this kind to the launcher, with the counters of now; nothing by hand. */
void member_say(struct member *member, enum ctl_kind kind, struct ctl_record *record);
/* Waits for a command, at most until CLOSE or the launcher's end; watches the instance meanwhile. By hand: at once. */
bool member_await(struct member *member, enum ctl_kind kind);

#endif
