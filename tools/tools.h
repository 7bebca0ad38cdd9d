/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

/* The subcommands of `cachefusion`: argv[0] is the command's name; each answers the exit status. */
int tool_sim(int argc, char **argv);

#endif
