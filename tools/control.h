/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_CONTROL_H
#define TOOLS_CONTROL_H

/*
 * What `run` and its instances say to each other: fixed records over a SOCK_SEQPACKET pair, both ends of one
 * binary on one host.
 *
 *   instance: PREPARED            launcher: START      all are open, the file is filled
 *             PROGRESS ...                  STOP       after --seconds, or Ctrl-C
 *             STOPPED                       VERIFY     all clients have ended: the file is quiet
 *             VERIFIED                      CLOSE      all have looked at every block
 *             DETACHED, CLOSED                         dirty blocks are written; all have closed
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

#define CTL_MAGIC 0x43464354u
#define CTL_TEXT_BYTES 320u
/* Between two PROGRESS records. */
#define CTL_PROGRESS_MS 250

struct ctl_record {
    uint32_t magic;
    uint32_t kind; /* enum ctl_kind */
    uint32_t node;
    int32_t rc;                   /* FAILED: enum cf_rc */
    uint64_t ops;                 /* PROGRESS, STOPPED */
    uint64_t tally[WL_TALLIES];   /* STOPPED */
    struct cf_latency op_latency; /* STOPPED */
    struct wl_sums sums;          /* VERIFIED */
    struct cf_stats stats;        /* all of the instance's */
    char text[CTL_TEXT_BYTES];    /* FAILED */
};

enum ctl_result { CTL_GOT, CTL_EMPTY, CTL_END };

/* Two connected ends, close-on-exec. 0, or -1 with errno. */
CF_CHECK int ctl_pair(int fds_out[2]);
/* False: the other end is gone. Waits while the socket is full. */
CF_CHECK bool ctl_send(int fd, const struct ctl_record *record);
/* Does not wait. A record that is not of this form counts as the end. */
CF_CHECK enum ctl_result ctl_receive(int fd, struct ctl_record *record_out);
const char *ctl_kind_name(enum ctl_kind kind);

#endif
