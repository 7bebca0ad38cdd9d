/* SPDX-License-Identifier: Apache-2.0 */
#ifndef TOOLS_TOOLS_H
#define TOOLS_TOOLS_H

/* The subcommands of `cachefusion`: argv[0] is the command's name; each answers the exit status. */
int tool_sim(int argc, char **argv);
int tool_mkfs(int argc, char **argv);
int tool_check(int argc, char **argv);
int tool_run(int argc, char **argv);
int tool_instance(int argc, char **argv);
int tool_status(int argc, char **argv);
int tool_top(int argc, char **argv);
int tool_remaster(int argc, char **argv);
int tool_tune(int argc, char **argv);
int tool_bench(int argc, char **argv);
int tool_options(int argc, char **argv);
int tool_version(int argc, char **argv);

#endif
