/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion tune`: shows which threads an instance would run where, and why. */
#include <stdio.h>

#include <cachefusion/cachefusion.h>

#include "base/cli.h"
#include "base/option.h"
#include "engine/place.h"
#include "tools/exits.h"
#include "tools/tools.h"

struct tune_args {
    char config[256];
    char nic[64];
    uint32_t node;
};

static const struct cf_option_desc table[] = {
    {.name = "config",
     .text = "cluster file; without it the defaults count",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct tune_args, config),
     .max = 256,
     .dflt = ""},
    {.name = "node",
     .text = "instance of the cluster file",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct tune_args, node),
     .max = CF_NODES_MAX - 1,
     .dflt = "0"},
    {.name = "nic",
     .text = "network device the pollers should be near, for instance mlx5_0",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct tune_args, nic),
     .max = 64,
     .dflt = ""},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "tune",
    .summary = "Shows the placement of threads and memory on this machine.",
    .table = table,
    .table_count = sizeof table / sizeof table[0],
    .notes = EXITS_NOTE};

int tool_tune(int argc, char **argv)
{
    struct cf_options options;
    struct tune_args args;
    struct eng_plan plan;
    struct cf_error error;
    enum cf_cli_result result;
    enum cf_rc rc = CF_OK;

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    cf_options_init(&options);
    if (args.config[0] != 0)
        rc = cf_options_load(&options, args.config, (uint16_t)args.node, &error);
    if (rc == CF_OK)
        rc = eng_plan_make(&options, args.nic[0] != 0 ? args.nic : NULL, &plan, &error);
    if (rc != CF_OK) {
        fprintf(stderr, "cachefusion tune: %s (%s)\n", error.text, cf_rc_remedy(rc));
        return EXIT_TROUBLE;
    }
    eng_plan_print(&plan, stdout);
    return EXIT_OK;
}
