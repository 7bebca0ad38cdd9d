/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion mkfs`: makes a data file in the native format. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cli.h"
#include "base/option.h"
#include "base/units.h"
#include "engine/format.h"
#include "tools/exits.h"
#include "tools/tools.h"

struct mkfs_args {
    char data[256];
    uint64_t blocks;
    uint64_t block_size;
    uint32_t file_id;
    bool force;
};

static const struct cf_option_desc table[] = {
    {.name = "data",
     .text = "path of the file or block device",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct mkfs_args, data),
     .max = 256,
     .dflt = ""},
    {.name = "blocks",
     .text = "data blocks",
     .type = CF_OPTION_U64,
     .offset = offsetof(struct mkfs_args, blocks),
     .dflt = "0"},
    {.name = "block-size",
     .text = "bytes of a block, a power of two",
     .type = CF_OPTION_SIZE,
     .offset = offsetof(struct mkfs_args, block_size),
     .dflt = "8KiB",
     .min = CF_BLOCK_BYTES_MIN,
     .max = CF_BLOCK_BYTES_MAX},
    {.name = "file-id",
     .text = "id of the file in its cluster; 0 = drawn at random",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct mkfs_args, file_id),
     .dflt = "0"},
    {.name = "force",
     .text = "overwrite a data file or block device; other files never",
     .type = CF_OPTION_BOOL,
     .offset = offsetof(struct mkfs_args, force),
     .dflt = "false"},
};

static const struct cf_cli_spec spec = {.program = "cachefusion",
                                        .command = "mkfs",
                                        .summary = "Makes a data file: a superblock and room for its blocks.",
                                        .table = table,
                                        .table_count = sizeof table / sizeof table[0],
                                        .notes = EXITS_NOTE};

int tool_mkfs(int argc, char **argv)
{
    struct mkfs_args args;
    struct eng_mkfs what;
    struct cf_error error;
    enum cf_cli_result result;
    char size[32];

    cf_options_defaults(table, spec.table_count, &args);
    result = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (result != CF_CLI_OK)
        return cf_cli_exit(result);
    if (args.data[0] == 0) {
        fprintf(stderr, "cachefusion mkfs: --data FILE is missing\n");
        return EXIT_USAGE;
    }
    what = (struct eng_mkfs){.path = args.data,
                             .blocks = args.blocks,
                             .block_bytes = (uint32_t)args.block_size,
                             .file_id = args.file_id,
                             .force = args.force};
    if (eng_format_make(&what, &error) != CF_OK) {
        fprintf(stderr, "cachefusion mkfs: %s (%s)\n", error.text, cf_rc_remedy((enum cf_rc)error.rc));
        return error.rc == CF_INVALID ? EXIT_USAGE : EXIT_TROUBLE;
    }
    printf("%s: %" PRIu64 " blocks of %s\n", args.data, args.blocks,
           cf_format_size(args.block_size, size, sizeof size));
    return EXIT_OK;
}
