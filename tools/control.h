/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CONTROL_H
#define TOOLS_CONTROL_H

/*
 * What `run` and its instances say to each other: fixed records over a stream, both ends of one binary, or of one
 * version on two hosts of one kind, with a remote shell in between.
 *
 *   instance: PREPARED            launcher: the cluster file (to other hosts)
 *             PROGRESS ...                  START      all are open, the file is filled
 *             STOPPED                       STOP       after --seconds, or Ctrl-C
 *             VERIFIED                      VERIFY     all clients have ended: the file is quiet
 *             DETACHED, CLOSED              CLOSE      all have looked at every block
 *                                                      dirty blocks are written; all have closed
 *
 * FAILED comes instead of any of the instance's records, CLOSE instead of any of the launcher's. The end of the
 * connection is CLOSE to an instance, and a death to the launcher unless CLOSED or FAILED came before.
 */
#include "tools/workload/workload.h"

enum ctl_kind {
    CTL_NONE = 0,
    CTL_PREPARED,
    CTL_PROGRESS,
    CTL_STOPPED,
    CTL_VERIFIED,
    CTL_DETACHED,
    CTL_CLOSED,
    CTL_FAILED,
    CTL_START,
    CTL_STOP,
    CTL_VERIFY,
    CTL_CLOSE,
};

#define CTL_MAGIC 0x43464355u
#define CTL_TEXT_BYTES 320u
/* A cluster file at most. */
#define CTL_FILE_BYTES_MAX 65536u
/* Between two PROGRESS records. */
#define CTL_PROGRESS_MS 250

struct ctl_record {
    uint32_t magic;
    uint32_t bytes; /* of this struct: another version has another */
    uint32_t kind;  /* enum ctl_kind */
    uint32_t node;
    int32_t rc;                   /* FAILED: enum cf_rc */
    uint64_t ops;                 /* PROGRESS, STOPPED */
    uint64_t tally[WL_TALLIES];   /* STOPPED */
    struct cf_latency op_latency; /* STOPPED */
    struct cf_latency extra;      /* STOPPED; the workload's */
    struct wl_sums sums;          /* VERIFIED */
    struct cf_stats stats;        /* all of the instance's */
    char text[CTL_TEXT_BYTES];    /* FAILED */
};

/* One end. Records come in pieces: what has come of the next one is kept here. */
struct ctl_link {
    int in, out;      /* the same for a socket; -1: closed */
    bool is_foreign;  /* what came is no record of this version: its first bytes are in `record` */
    uint32_t arrived; /* bytes of the record */
    struct ctl_record record;
};

enum ctl_result { CTL_GOT, CTL_EMPTY, CTL_END };

/* Two connected sockets, close-on-exec. 0, or -1 with errno. */
CF_CHECK int ctl_pair(int fds_out[2]);
void ctl_open(struct ctl_link *link, int in, int out);
void ctl_close(struct ctl_link *link);
/* False: the other end is gone. Waits while there is no room. SIGPIPE has to be ignored. */
CF_CHECK bool ctl_send(struct ctl_link *link, const struct ctl_record *record);
/* Does not wait. What is not a record of this form counts as the end. */
CF_CHECK enum ctl_result ctl_receive(struct ctl_link *link, struct ctl_record *record_out);
/* A file before the first record; the receiver waits for it and gives a descriptor of it, -1: errno says why not. */
CF_CHECK bool ctl_file_send(struct ctl_link *link, const char *path);
CF_CHECK int ctl_file_receive(struct ctl_link *link);
const char *ctl_kind_name(enum ctl_kind kind);

#endif
