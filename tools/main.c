/* SPDX-License-Identifier: Apache-2.0 */
/* The one command. Each subcommand is a file of its own. */
#include <cachefusion/cachefusion.h>

#include "base/cli.h"
#include "tools/tools.h"

static const struct cf_cli_command commands[] = {
    {"run", "start instances as processes, run a workload, prove the result", tool_run},
    {"instance", "run one instance of a cluster file (run starts these)", tool_instance},
    {"mkfs", "make a data file", tool_mkfs},
    {"check", "check a data file without the engine", tool_check},
    {"status", "show the state of a running instance", tool_status},
    {"top", "watch the rates of a running instance", tool_top},
    {"remaster", "have the blocks of a bucket mastered by another instance", tool_remaster},
    {"sim", "run a simulated cluster with faults by seed", tool_sim},
    {"tune", "show the placement of threads and memory", tool_tune},
    {"bench", "measure, with the facts of the machine", tool_bench},
    {"options", "list the engine's options", tool_options},
    {"version", "print the version", tool_version},
};

int main(int argc, char **argv)
{
    const struct cf_cli_program program = {.name = "cachefusion",
                                           .summary = "several database instances, one cache",
                                           .version = cf_version(),
                                           .commands = commands,
                                           .commands_count = sizeof commands / sizeof commands[0]};

    return cf_cli_main(&program, argc, argv);
}
