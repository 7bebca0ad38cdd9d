/* SPDX-License-Identifier: Apache-2.0 */
#ifndef GRD_MOVE_ORDER_H
#define GRD_MOVE_ORDER_H

/* What progress orders of its own shards when a bucket moves, and their answers: `how` of MOVE_ORDER and MOVE_REPORT. */
enum grd_move_order {
    GRD_ORDER_CLOSE = 0,  /* stop serving the bucket, if nothing of it is under way */
    GRD_ORDER_OPEN = 1,   /* serve it again */
    GRD_ORDER_START = 2,  /* it has gone: send its entries to its next owner */
    GRD_ORDER_GONE = 3,   /* its next owner has all: forget that it was here */
    GRD_ORDER_IMPORT = 4, /* it comes: tenures go on above this one */
    GRD_ORDER_END = 5     /* all entries have come */
};
enum grd_move_report {
    GRD_REPORT_CLOSED = 0, /* with the last tenure given */
    GRD_REPORT_BUSY = 1,
    GRD_REPORT_OPENED = 2,
    GRD_REPORT_DONE = 3,
    GRD_REPORT_GONE = 4,
    GRD_REPORT_IMPORTS = 5,
    GRD_REPORT_ENDED = 6
};

#endif
