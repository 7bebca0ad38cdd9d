/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_EXITS_H
#define TOOLS_EXITS_H

/* Exit statuses of every subcommand. */
enum {
    EXIT_OK = 0,
    EXIT_CHECK = 1,   /* a check did not hold */
    EXIT_USAGE = 2,   /* the command line is wrong */
    EXIT_TROUBLE = 3, /* something else kept it from being done */
};
#define EXITS_NOTE "exit status: 0 ok, 1 a check did not hold, 2 wrong command line, 3 trouble"

#endif
