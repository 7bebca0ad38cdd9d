/* SPDX-License-Identifier: Apache-2.0 */
/* `cachefusion check`: reads a whole data file, without the engine, and lists what is wrong with it. */
#include <inttypes.h>
#include <stdio.h>

#include "base/cli.h"
#include "base/json.h"
#include "base/option.h"
#include "engine/format.h"
#include "tools/exits.h"
#include "tools/tools.h"

struct check_args {
    char data[256];
    char json[256];
    uint32_t list;
};

static const struct cf_option_desc table[] = {
    {.name = "data",
     .text = "path of the file",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct check_args, data),
     .max = 256,
     .dflt = ""},
    {.name = "json",
     .text = "write the result here as JSON",
     .type = CF_OPTION_STRING,
     .offset = offsetof(struct check_args, json),
     .max = 256,
     .dflt = ""},
    {.name = "list",
     .text = "findings listed at most",
     .type = CF_OPTION_U32,
     .offset = offsetof(struct check_args, list),
     .dflt = "20"},
};

static const struct cf_cli_spec spec = {
    .program = "cachefusion",
    .command = "check",
    .summary = "Checks headers, checksums, places and versions of a data file.",
    .table = table,
    .table_count = sizeof table / sizeof table[0],
    .notes = "A file that was not closed cleanly counts as wrong.\n" EXITS_NOTE};

struct findings {
    uint32_t listed, list_max;
};

static void print_finding(void *arg, uint64_t block, enum eng_damage damage, const char *text)
{
    struct findings *findings = arg;

    if (findings->listed++ >= findings->list_max)
        return;
    if (block == ENG_SUPER_BLOCK)
        printf("superblock: %s: %s\n", eng_damage_name(damage), text);
    else
        printf("block %" PRIu64 ": %s: %s\n", block, eng_damage_name(damage), text);
}

static int write_json(const char *path, const struct eng_check_result *result)
{
    json_t *root = json_object();
    int rc = root == NULL ? -1 : 0;

    if (rc == 0)
        rc = cf_json_add_u64(root, "blocks", result->blocks) |
             cf_json_add_u64(root, "written", result->written) |
             cf_json_add_u64(root, "damaged", result->damaged) |
             cf_json_add_u64(root, "newer_than_superblock", result->newer_than_super) |
             cf_json_add_bool(root, "superblock_damaged", result->super_damaged) |
             cf_json_add_u64(root, "beyond_bytes", result->beyond_bytes) |
             cf_json_add_u64(root, "highest_version", result->highest_version) |
             cf_json_add_bool(root, "unclean", result->unclean) |
             cf_json_add_u64(root, "file_id", result->super.file_id) |
             cf_json_add_u64(root, "generation", result->super.generation) |
             cf_json_add_u64(root, "block_bytes", result->super.block_bytes);
    if (rc == 0)
        rc = cf_json_write_file(root, path);
    json_decref(root);
    return rc;
}

int tool_check(int argc, char **argv)
{
    struct eng_check_result result;
    struct findings findings = {0, 0};
    struct check_args args;
    struct cf_error error;
    enum cf_cli_result parsed;
    enum cf_rc rc;

    cf_options_defaults(table, spec.table_count, &args);
    parsed = cf_cli_parse(&spec, argc, argv, &args, NULL, NULL);
    if (parsed != CF_CLI_OK)
        return cf_cli_exit(parsed);
    if (args.data[0] == 0) {
        fprintf(stderr, "cachefusion check: --data FILE is missing\n");
        return EXIT_USAGE;
    }
    findings.list_max = args.list;
    rc = eng_format_check(args.data, print_finding, &findings, &result, &error);
    if (rc != CF_OK) {
        fprintf(stderr, "cachefusion check: %s: %s\n", args.data, error.text);
        return rc == CF_CORRUPT || rc == CF_FORMAT || rc == CF_VERSION ? EXIT_CHECK : EXIT_TROUBLE;
    }
    if (findings.listed > findings.list_max)
        printf("and %u more\n", findings.listed - findings.list_max);
    if (result.beyond_bytes > 0)
        printf("%s: %" PRIu64 " bytes behind the last block belong to nothing\n", args.data,
               result.beyond_bytes);
    if (result.newer_than_super > 0)
        printf("%s: %" PRIu64 " blocks are newer than the superblock, which was closed cleanly\n", args.data,
               result.newer_than_super);
    if (result.super_damaged)
        printf("%s: the superblock is damaged, the data blocks were not looked at\n", args.data);
    else
        printf("%s: %" PRIu64 " blocks of %u bytes, %" PRIu64 " written, highest version %" PRIu64
               ", %" PRIu64 " damaged, %s\n",
               args.data, result.blocks, result.super.block_bytes, result.written, result.highest_version,
               result.damaged, result.unclean ? "NOT closed cleanly" : "closed cleanly");
    if (args.json[0] != 0 && write_json(args.json, &result) != 0) {
        fprintf(stderr, "cachefusion check: %s cannot be written\n", args.json);
        return EXIT_TROUBLE;
    }
    return result.damaged || result.newer_than_super || result.unclean ? EXIT_CHECK : EXIT_OK;
}
